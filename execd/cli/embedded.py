"""The backend that is an engine inside this process: for a machine where no server runs.

What it runs is stored like everything else, in the same data directory, so a server started later shows it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from typing import Any

import msgspec
import trio

from execd.bootstrap import now_utc
from execd.cli.backend import RunRequest, TokenRequest
from execd.cli.embedded_definitions import DefinitionsHere, check_runs_here
from execd.client_records import (
    ExecutionDetail,
    ExecutionList,
    ExecutionView,
    RuntimeView,
    SecretList,
    SecretView,
    TokenCreated,
    TokenList,
    TokenView,
)
from execd.core.codec import StoredEvent, decode_event
from execd.core.definitions import hide_env
from execd.core.errors import ConflictError, FieldFault, InvalidRequestError, NotFoundError
from execd.core.event_types import RESULT_STORED
from execd.core.events import (
    ExecutionId,
    ResultStored,
    Status,
    WorkspaceId,
)
from execd.core.replay import Rhythm
from execd.embed import EmbeddedEngine, open_engine
from execd.http.access import Role, issue_token
from execd.http.replaying import check_replayable, open_replay
from execd.ports import (
    Cancel,
    EvictedError,
    ExecutionFilter,
    ExecutionRecord,
    Interrupt,
    ProvideInput,
    SendStdin,
    Subscription,
    Token,
)
from execd.settings import Settings, load_runtimes
from execd.telemetry import configure_logging

WORKSPACE = WorkspaceId("default")
USER = "local"
RESULT_LIMIT_BYTES = 1 << 20
"""Enough for one result: two streams of a quarter of a mebibyte, base64 at worst."""


class EmbeddedBackend:
    """One engine, closed with this process."""

    outlives_this_process = False

    def __init__(self, engine: EmbeddedEngine, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings
        self.definitions = DefinitionsHere(engine)

    async def runtimes(self) -> Sequence[RuntimeView]:
        known = load_runtimes(self._settings).by_name
        return [
            RuntimeView(name=name, aliases=runtime.aliases, file_name=runtime.file_name)
            for name, runtime in known.items()
        ]

    async def submit(self, request: RunRequest) -> ExecutionId:
        run = await self._engine.submit(
            request.source,
            language=request.language,
            name=request.name,
            args=request.args,
            env=dict(request.env),
            secrets=dict(request.secrets),
            stdin=request.stdin,
            stdin_open=request.stdin_open,
            limits=dict(request.limits),
            retries=request.retries,
        )
        return ExecutionId(run.id)

    async def submit_body(self, body: Mapping[str, Any]) -> ExecutionId:
        check_runs_here(body.get("kind"))
        return (await self._engine.submit_request(body)).id

    async def retry(self, execution_id: ExecutionId, *, begin: str, until: str | None) -> ExecutionId:
        run = await self._engine.open_run(execution_id)
        return (await run.retry(begin, until=until)).id

    def journal(
        self, execution_id: ExecutionId, *, after_seq: int, rhythm: Rhythm | None = None
    ) -> AbstractAsyncContextManager[AsyncIterable[StoredEvent]]:
        return self._journal(execution_id, after_seq, rhythm)

    @trio.as_safe_channel
    async def _journal(
        self, execution_id: ExecutionId, after_seq: int, rhythm: Rhythm | None
    ) -> AsyncGenerator[StoredEvent, None]:
        record = await self._record(execution_id)
        if after_seq > record.head_seq:
            raise _beyond_the_end(after_seq, record.head_seq)
        if rhythm is not None:
            check_replayable(record)
        while True:
            try:
                async with self._engine.port.subscribe(
                    execution_id, workspace=WORKSPACE, after_seq=after_seq
                ) as subscription:
                    paced = await self._paced(subscription, rhythm)
                    while True:
                        for event in await paced.receive():
                            after_seq = event.seq
                            # as_safe_channel closes this generator.
                            yield StoredEvent(execution_id, event.seq, event.type, event.body)
            except trio.EndOfChannel:
                return
            except EvictedError as evicted:
                if evicted.reason == "draining":
                    raise
                after_seq = evicted.last_seq

    async def _paced(self, subscription: Subscription, rhythm: Rhythm | None) -> Subscription:
        return (
            subscription if rhythm is None else await open_replay(subscription, rhythm, store=self._engine.port.store)
        )

    async def cancel(self, execution_id: ExecutionId) -> None:
        await self._engine.port.command(execution_id, Cancel(by=USER))

    async def interrupt(self, execution_id: ExecutionId) -> None:
        await self._engine.port.command(execution_id, Interrupt(by=USER))

    async def answer(self, execution_id: ExecutionId, *, prompt_id: str, values: Mapping[str, str]) -> None:
        await self._engine.port.command(execution_id, ProvideInput(by=USER, prompt_id=prompt_id, values=values))

    async def send_stdin(self, execution_id: ExecutionId, data: bytes, *, close: bool) -> None:
        await self._engine.port.command(execution_id, SendStdin(data=data, close=close))

    async def find(self, execution_id: ExecutionId) -> ExecutionDetail:
        record = await self._record(execution_id)
        spec = hide_env(msgspec.json.decode(record.spec))
        return ExecutionDetail(**msgspec.structs.asdict(_view(record)), spec=spec)

    async def result(self, execution_id: ExecutionId) -> ResultStored:
        record = await self._record(execution_id)
        stored = await self._engine.port.store.read_events(
            execution_id, after_seq=0, limit_bytes=RESULT_LIMIT_BYTES, types=frozenset({RESULT_STORED})
        )
        if not stored:
            raise ConflictError(f"{execution_id} is {record.status} and has no result yet")
        result = decode_event(stored[0].body).data
        assert isinstance(result, ResultStored)
        return result

    async def list_executions(self, *, status: Status | None, limit: int, cursor: str | None) -> ExecutionList:
        which = ExecutionFilter(workspace=WORKSPACE, status=status)
        page = await self._engine.port.store.list_executions(which, cursor=cursor, limit=limit)
        return ExecutionList(items=tuple(_view(record) for record in page.items), next_cursor=page.next_cursor)

    async def create_token(self, request: TokenRequest) -> TokenCreated:
        now = now_utc()
        lifetime_s = request.expires_in_s
        issued = await issue_token(
            self._engine.port.tokens,
            workspace=WorkspaceId(request.workspace or WORKSPACE),
            user=request.user,
            role=Role[request.role.upper()],
            now=now,
            expires_at=None if lifetime_s is None else now + timedelta(seconds=lifetime_s),
        )
        return TokenCreated(token=issued.secret, **msgspec.structs.asdict(_token_view(issued.token)))

    async def list_tokens(self) -> TokenList:
        tokens = await self._engine.port.tokens.list_tokens(WORKSPACE)
        return TokenList(items=tuple(_token_view(token) for token in tokens))

    async def revoke_token(self, token_id: str) -> None:
        if not await self._engine.port.tokens.delete_token(WORKSPACE, token_id):
            raise NotFoundError(f"there is no token {token_id}")

    async def set_secret(self, name: str, value: str) -> None:
        await self._engine.set_secret(name, value)

    async def list_secrets(self) -> SecretList:
        heads = await self._engine.list_secrets()
        return SecretList(items=tuple(SecretView(name=h.name, set_by=h.set_by, set_at=h.set_at) for h in heads))

    async def delete_secret(self, name: str) -> None:
        await self._engine.delete_secret(name)

    async def _record(self, execution_id: ExecutionId) -> ExecutionRecord:
        record = await self._engine.port.find(execution_id)
        if record is None:
            raise NotFoundError(f"there is no execution {execution_id}")
        return record


@asynccontextmanager
async def open_embedded(settings: Settings) -> AsyncIterator[EmbeddedBackend]:
    """Start an engine, and stop it afterwards. Of its log only warnings show: stderr belongs to the script."""
    configure_logging(level="warning", style=settings.log_format)
    async with open_engine(settings) as engine:
        yield EmbeddedBackend(engine, settings)


def _beyond_the_end(after_seq: int, head_seq: int) -> InvalidRequestError:
    """Refuse as a server does: nothing would ever come to a viewer who waits there."""
    fault = FieldFault(
        path="after",
        message=f"is {after_seq}, beyond the last event",
        accepted=f"at most {head_seq}, the last event there is",
    )
    return InvalidRequestError(f"after {fault.message}", faults=(fault,))


def _view(record: ExecutionRecord) -> ExecutionView:
    shared = {name: getattr(record, name) for name in ExecutionView.__struct_fields__}
    return ExecutionView(**shared)


def _token_view(token: Token) -> TokenView:
    return TokenView(**{name: getattr(token, name) for name in TokenView.__struct_fields__})
