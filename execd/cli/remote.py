"""The backend that is a server: a thin shape over the client."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import msgspec

from execd.cli.backend import RunRequest, TokenRequest
from execd.client import Client, Reconnecting, open_client
from execd.client_records import ExecutionDetail, ExecutionList, RuntimeView, SecretList, TokenCreated, TokenList
from execd.core.codec import StoredEvent
from execd.core.events import ExecutionId, ResultStored, Status
from execd.core.replay import Rhythm


class RemoteBackend:
    """One server."""

    outlives_this_process = True

    def __init__(self, client: Client) -> None:
        self._client = client
        self.definitions = client.definitions

    async def runtimes(self) -> Sequence[RuntimeView]:
        return (await self._client.runtimes()).runtimes

    async def submit(self, request: RunRequest) -> ExecutionId:
        return await self.submit_body({"kind": "script", **msgspec.to_builtins(request)})

    async def submit_body(self, body: Mapping[str, Any]) -> ExecutionId:
        return (await self._client.submit(body, idempotency_key=secrets.token_hex(16))).id

    async def retry(self, execution_id: ExecutionId, *, begin: str, until: str | None) -> ExecutionId:
        key = secrets.token_hex(16)
        answer = await self._client.retry(execution_id, begin=begin, until=until, idempotency_key=key)
        return answer.id

    def journal(
        self, execution_id: ExecutionId, *, after_seq: int, rhythm: Rhythm | None = None
    ) -> AbstractAsyncContextManager[AsyncIterable[StoredEvent]]:
        return self._client.journal(execution_id, after_seq=after_seq, rhythm=rhythm)

    async def cancel(self, execution_id: ExecutionId) -> None:
        await self._client.cancel(execution_id)

    async def interrupt(self, execution_id: ExecutionId) -> None:
        await self._client.interrupt(execution_id)

    async def answer(self, execution_id: ExecutionId, *, prompt_id: str, values: Mapping[str, str]) -> None:
        await self._client.answer(execution_id, prompt_id=prompt_id, values=values)

    async def send_stdin(self, execution_id: ExecutionId, data: bytes, *, close: bool) -> None:
        await self._client.send_stdin(execution_id, data, close=close)

    async def find(self, execution_id: ExecutionId) -> ExecutionDetail:
        return await self._client.find(execution_id)

    async def result(self, execution_id: ExecutionId) -> ResultStored:
        return await self._client.result(execution_id)

    async def list_executions(self, *, status: Status | None, limit: int, cursor: str | None) -> ExecutionList:
        return await self._client.list_executions(status=status, limit=limit, cursor=cursor)

    async def create_token(self, request: TokenRequest) -> TokenCreated:
        body = {name: value for name, value in msgspec.to_builtins(request).items() if value is not None}
        return await self._client.create_token(body)

    async def list_tokens(self) -> TokenList:
        return await self._client.list_tokens()

    async def revoke_token(self, token_id: str) -> None:
        await self._client.revoke_token(token_id)

    async def set_secret(self, name: str, value: str) -> None:
        await self._client.secrets.set(name, value)

    async def list_secrets(self) -> SecretList:
        return await self._client.secrets.list()

    async def delete_secret(self, name: str) -> None:
        await self._client.secrets.delete(name)


@asynccontextmanager
async def open_remote(
    url: str, token: str | None, *, on_reconnecting: Callable[[Reconnecting], None]
) -> AsyncIterator[RemoteBackend]:
    """Talk to the server at `url`."""
    async with open_client(url, token, on_reconnecting=on_reconnecting) as client:
        yield RemoteBackend(client)
