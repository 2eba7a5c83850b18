"""What the commands talk to: a server elsewhere, or the engine inside this process. They cannot tell which."""

from __future__ import annotations

from collections.abc import AsyncIterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import msgspec

from execd.client_records import (
    DefinitionDetail,
    DefinitionList,
    ExecutionDetail,
    ExecutionList,
    RuntimeView,
    SavedDefinition,
    SecretList,
    Submitted,
    TokenCreated,
    TokenList,
)
from execd.core.codec import StoredEvent
from execd.core.events import ExecutionId, ResultStored, Status
from execd.core.replay import Rhythm


class RunRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A script somebody wants to run, as far as the command line knows."""

    source: str
    language: str
    name: str
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = {}
    secrets: Mapping[str, str] = {}
    """Variables that are secrets: their names, by the variable's."""
    limits: Mapping[str, Any] = {}
    stdin: str | None = None
    """Fixed bytes for stdin, as text."""
    stdin_open: bool = False
    """Whether stdin follows live."""
    retries: int = 0


class TokenRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A token somebody wants to make."""

    user: str
    role: str
    workspace: str | None = None
    """None: the caller's own."""
    expires_in_s: float | None = None
    """None: never."""


class Definitions(Protocol):
    """What is saved, near or far; see `client_definitions.RemoteDefinitions`."""

    async def save(self, body: Mapping[str, Any]) -> SavedDefinition: ...

    async def update(self, id_or_name: str, body: Mapping[str, Any], *, version: int) -> SavedDefinition: ...

    async def find(self, id_or_name: str, *, version: int | None = None) -> DefinitionDetail: ...

    async def list(
        self, *, kind: str | None = None, name: str | None = None, limit: int | None = None, cursor: str | None = None
    ) -> DefinitionList: ...

    async def versions(
        self, id_or_name: str, *, limit: int | None = None, cursor: str | None = None
    ) -> DefinitionList: ...

    async def delete(self, id_or_name: str) -> None: ...

    async def export_yaml(self, id_or_name: str, *, version: int | None = None) -> bytes: ...

    async def export_json(self, id_or_name: str, *, version: int | None = None) -> bytes: ...

    async def run(
        self,
        id_or_name: str,
        *,
        idempotency_key: str,
        input: Any = None,  # noqa: A002 - the wire's own name
        version: int | None = None,
        name: str | None = None,
        until: str | None = None,
    ) -> Submitted: ...


class Backend(Protocol):
    """execd, near or far. Every method raises an `ExecdError` for what the caller can act on."""

    @property
    def outlives_this_process(self) -> bool:
        """Whether what runs goes on when this command ends."""

    @property
    def definitions(self) -> Definitions: ...

    async def runtimes(self) -> Sequence[RuntimeView]: ...

    async def submit(self, request: RunRequest) -> ExecutionId: ...

    async def submit_body(self, body: Mapping[str, Any]) -> ExecutionId:
        """Run what the body of `POST /api/v1/executions` says, of whatever kind."""

    async def retry(self, execution_id: ExecutionId, *, begin: str, until: str | None) -> ExecutionId:
        """Run an execution that ended again: from `start`, from what `failed`, or from a node; all of it, or `until` a node."""

    def journal(
        self, execution_id: ExecutionId, *, after_seq: int, rhythm: Rhythm | None = None
    ) -> AbstractAsyncContextManager[AsyncIterable[StoredEvent]]:
        """Follow a journal to its end, through restarts; in its rhythm where it is to be replayed."""

    async def cancel(self, execution_id: ExecutionId) -> None: ...

    async def interrupt(self, execution_id: ExecutionId) -> None: ...

    async def answer(self, execution_id: ExecutionId, *, prompt_id: str, values: Mapping[str, str]) -> None:
        """Answer what an `input` node asks."""

    async def send_stdin(self, execution_id: ExecutionId, data: bytes, *, close: bool) -> None: ...

    async def find(self, execution_id: ExecutionId) -> ExecutionDetail: ...

    async def result(self, execution_id: ExecutionId) -> ResultStored:
        """Give the result of an execution that ended; an error with status 404 or 409 where it did not."""

    async def list_executions(self, *, status: Status | None, limit: int, cursor: str | None) -> ExecutionList: ...

    async def create_token(self, request: TokenRequest) -> TokenCreated: ...

    async def list_tokens(self) -> TokenList: ...

    async def revoke_token(self, token_id: str) -> None: ...

    async def set_secret(self, name: str, value: str) -> None: ...

    async def list_secrets(self) -> SecretList: ...

    async def delete_secret(self, name: str) -> None: ...
