"""The vault: secrets of the store, opened with the server's key, and those of the settings beside them.

Owns: nothing but how often something changed. *Never* keeps a value that it read from the store, nor logs one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime

import msgspec
import structlog

from execd.core.errors import ConflictError
from execd.core.events import WorkspaceId
from execd.ports import Cipher, SecretHead, SecretStore, SecretUnreadableError, StoredSecret

log = structlog.get_logger()

MAX_SECRETS = 1000
"""Of one workspace: more are data."""
SETTINGS_WORKSPACE = WorkspaceId("default")
"""Whoever writes the settings owns the server, and this is the owner's workspace; other workspaces set their own."""
SETTINGS_USER = "settings"
_SINCE = datetime(1970, 1, 1, tzinfo=UTC)


class SecretVault:
    """Implements `ports.Vault`.

    Args:
        fixed: secrets of the settings, which cannot be changed here.
        env: variables of the server that expressions may read.
        since: when the settings were read.
    """

    def __init__(
        self,
        store: SecretStore,
        cipher: Cipher,
        *,
        fixed: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        since: datetime = _SINCE,
    ) -> None:
        self._store = store
        self._cipher = cipher
        self._fixed = dict(fixed or {})
        self._since = since
        self.env = dict(env or {})
        self.changes = 0

    async def put(
        self, workspace: WorkspaceId, name: str, value: str, *, by: str, at: datetime
    ) -> tuple[SecretHead, bool]:
        self._check_changeable(workspace, name)
        sealed = self._cipher.seal(value, context=_context(workspace, name))
        there = {head.name for head in await self._store.list_secrets(workspace)}
        if name not in there and len(there) >= MAX_SECRETS:
            raise ConflictError(f"the workspace has {len(there)} secrets, as many as it may; delete one first")
        secret = StoredSecret(workspace=workspace, name=name, set_by=by, set_at=at, sealed=sealed)
        try:
            existed = await self._store.put_secret(secret)
        finally:
            self.changes += 1
        return _head_of(secret), not existed

    async def list(self, workspace: WorkspaceId) -> Sequence[SecretHead]:
        stored = {head.name: head for head in await self._store.list_secrets(workspace)}
        fixed = {
            name: SecretHead(workspace=workspace, name=name, set_by=SETTINGS_USER, set_at=self._since)
            for name in self._fixed_in(workspace)
        }
        return [head for _, head in sorted((stored | fixed).items())]

    async def delete(self, workspace: WorkspaceId, name: str) -> bool:
        self._check_changeable(workspace, name)
        try:
            return await self._store.delete_secret(workspace, name)
        finally:
            self.changes += 1

    async def read(self, workspace: WorkspaceId, names: Collection[str]) -> Mapping[str, str]:
        fixed = self._fixed_in(workspace)
        found = {name: fixed[name] for name in names if name in fixed}
        for secret in await self._store.find_secrets(workspace, [name for name in names if name not in fixed]):
            try:
                found[secret.name] = self._cipher.unseal(secret.sealed, context=_context(workspace, secret.name))
            except SecretUnreadableError as error:
                log.error("secret_unreadable", workspace=workspace, name=secret.name, error=error.message)
        return found

    def seal_answer(self, workspace: WorkspaceId, node: str, key: str, value: str) -> str:
        return self._cipher.seal(value, context=("answer", workspace, node, key))

    def unseal_answer(self, workspace: WorkspaceId, node: str, key: str, sealed: str) -> str:
        return self._cipher.unseal(sealed, context=("answer", workspace, node, key))

    async def renew(self) -> int:
        """Encrypt with the key of now what a former one encrypted; give how many that were. Done at each start, so that a
        former key is needed only for answers in journals."""
        count = 0
        for secret in await self._store.all_secrets():
            if self._cipher.is_current(secret.sealed):
                continue
            context = _context(secret.workspace, secret.name)
            try:
                sealed = self._cipher.seal(self._cipher.unseal(secret.sealed, context=context), context=context)
            except SecretUnreadableError as error:
                log.error("secret_unreadable", workspace=secret.workspace, name=secret.name, error=error.message)
                continue
            await self._store.put_secret(msgspec.structs.replace(secret, sealed=sealed))
            count += 1
        return count

    def _fixed_in(self, workspace: WorkspaceId) -> Mapping[str, str]:
        return self._fixed if workspace == SETTINGS_WORKSPACE else {}

    def _check_changeable(self, workspace: WorkspaceId, name: str) -> None:
        if name in self._fixed_in(workspace):
            raise ConflictError(f"the secret {name} comes from the server's settings; change it there")


def _context(workspace: WorkspaceId, name: str) -> tuple[str, ...]:
    return ("secret", workspace, name)


def _head_of(secret: StoredSecret) -> SecretHead:
    return SecretHead(workspace=secret.workspace, name=secret.name, set_by=secret.set_by, set_at=secret.set_at)
