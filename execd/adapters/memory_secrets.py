"""Encrypted secrets in memory: for tests and simulations, held to the same contract suite as the real ones."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import trio

from execd.core.events import WorkspaceId
from execd.ports import SecretHead, StoredSecret


class MemorySecrets:
    """Implements `ports.SecretStore`."""

    def __init__(self) -> None:
        self._secrets: dict[tuple[WorkspaceId, str], StoredSecret] = {}

    async def put_secret(self, secret: StoredSecret) -> bool:
        await trio.lowlevel.checkpoint()
        existed = (secret.workspace, secret.name) in self._secrets
        self._secrets[secret.workspace, secret.name] = secret
        return existed

    async def find_secrets(self, workspace: WorkspaceId, names: Collection[str]) -> Sequence[StoredSecret]:
        await trio.lowlevel.checkpoint()
        return [self._secrets[workspace, name] for name in names if (workspace, name) in self._secrets]

    async def list_secrets(self, workspace: WorkspaceId) -> Sequence[SecretHead]:
        await trio.lowlevel.checkpoint()
        own = (secret for secret in self._secrets.values() if secret.workspace == workspace)
        return [
            SecretHead(**{field: getattr(secret, field) for field in SecretHead.__struct_fields__})
            for secret in sorted(own, key=lambda secret: secret.name)
        ]

    async def delete_secret(self, workspace: WorkspaceId, name: str) -> bool:
        await trio.lowlevel.checkpoint()
        return self._secrets.pop((workspace, name), None) is not None

    async def all_secrets(self) -> Sequence[StoredSecret]:
        await trio.lowlevel.checkpoint()
        return list(self._secrets.values())
