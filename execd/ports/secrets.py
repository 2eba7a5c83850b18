"""Ports around secrets: `Cipher`, `SecretStore`, and `Vault`, which doors and executions use."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from execd.core.errors import ExecdError
from execd.core.events import WorkspaceId


class SecretUnreadableError(ExecdError):
    """It was encrypted with a key this server does not have, or is damaged: bring the key back, or set the secret again."""

    code = "secret_unreadable"
    status = 409


class Cipher(Protocol):
    """Encrypts texts with the server's key. Pure computation; nothing here waits."""

    def seal(self, text: str, *, context: Sequence[str]) -> str:
        """Encrypt a text.

        Args:
            context: what it belongs to; it opens only with the same.
        """

    def unseal(self, sealed: str, *, context: Sequence[str]) -> str:
        """Give back what was sealed. Raises SecretUnreadableError."""

    def is_current(self, sealed: str) -> bool:
        """Whether it was sealed with the key that is used now, and not with a former one."""


class SecretHead(msgspec.Struct, frozen=True, kw_only=True):
    """A secret as it is listed: everything but its value."""

    workspace: WorkspaceId
    name: str
    """Within the workspace no two have the same."""
    set_by: str
    set_at: datetime


class StoredSecret(SecretHead, frozen=True, kw_only=True):
    """A secret as it is kept."""

    sealed: str
    """Its value, encrypted for this workspace and name."""


class SecretStore(Protocol):
    """Encrypted secrets of workspaces, kept beside the executions. It never sees a value or a key.

    Written by the doors, through a vault, as tokens are. Every change survives loss of power. All methods raise
    StoreUnavailableError.
    """

    async def put_secret(self, secret: StoredSecret) -> bool:
        """Store one, in place of the one of its name if there is one; give whether there was one."""

    async def find_secrets(self, workspace: WorkspaceId, names: Collection[str]) -> Sequence[StoredSecret]:
        """Give those of these names that are there, in no order."""

    async def list_secrets(self, workspace: WorkspaceId) -> Sequence[SecretHead]:
        """Give all of a workspace, by name."""

    async def delete_secret(self, workspace: WorkspaceId, name: str) -> bool:
        """Delete one; False when the workspace has none of this name."""

    async def all_secrets(self) -> Sequence[StoredSecret]:
        """Give all of every workspace, for when keys change."""


class Vault(Protocol):
    """Secrets for those who may: doors set them, sagas read them."""

    @property
    def changes(self) -> int:
        """Rises with each change, so that who has read secrets knows when to read them again."""

    @property
    def env(self) -> Mapping[str, str]:
        """Variables of the server that expressions may read."""

    async def put(
        self, workspace: WorkspaceId, name: str, value: str, *, by: str, at: datetime
    ) -> tuple[SecretHead, bool]:
        """Set a secret; give it without its value, and whether it is new.

        Raises:
            ConflictError: it comes from the settings, or the workspace has as many as it may.
        """

    async def list(self, workspace: WorkspaceId) -> Sequence[SecretHead]:
        """Give all of a workspace, by name."""

    async def delete(self, workspace: WorkspaceId, name: str) -> bool:
        """Delete one; False when there is none. Raises ConflictError: it comes from the settings."""

    async def read(self, workspace: WorkspaceId, names: Collection[str]) -> Mapping[str, str]:
        """Give the values of those that are there and can be read."""

    def seal_answer(self, workspace: WorkspaceId, node: str, key: str, value: str) -> str:
        """Encrypt what a person typed."""

    def unseal_answer(self, workspace: WorkspaceId, node: str, key: str, sealed: str) -> str:
        """Give back what a person typed. Raises SecretUnreadableError."""
