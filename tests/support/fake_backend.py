"""A backend without an engine: it plays a journal and remembers what it was asked."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import trio

from execd.cli.backend import RunRequest, TokenRequest
from execd.client_records import ExecutionList, ExecutionView, RuntimeView, TokenCreated, TokenList, TokenView
from execd.core.codec import StoredEvent, decode_event
from execd.core.errors import ExecdError, NotFoundError, OverloadedError
from execd.core.events import ExecutionId, ResultStored, Status
from execd.core.replay import Rhythm

RUNTIMES = (
    RuntimeView(name="python", aliases=("py", "python3"), file_name="main.py"),
    RuntimeView(name="node", aliases=("javascript", "js", "nodejs"), file_name="main.mjs"),
    RuntimeView(name="bash", aliases=("sh", "shell"), file_name="main.sh"),
)


@dataclass
class FakeBackend:
    """Plays one journal; `hold_before` stops it before that event until `go_on` is set."""

    events: Sequence[StoredEvent]
    outlives_this_process: bool = True
    hold_before: int | None = None
    busy_sends: int = 0
    """How many stdin requests are refused as overloaded first."""
    fails_with: ExecdError | None = None
    """What the journal raises at its end."""
    go_on: trio.Event = field(default_factory=trio.Event)
    holding: trio.Event = field(default_factory=trio.Event)
    was_cancelled: trio.Event = field(default_factory=trio.Event)
    got_stdin: trio.Event = field(default_factory=trio.Event)
    cancelled: list[ExecutionId] = field(default_factory=list)
    interrupted: list[ExecutionId] = field(default_factory=list)
    rhythms: list[Rhythm | None] = field(default_factory=list)
    """How each journal was asked to be played."""
    stdin: list[tuple[bytes, bool]] = field(default_factory=list)
    answers: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    """What was answered; the journal then goes on."""

    async def runtimes(self) -> Sequence[RuntimeView]:
        await trio.lowlevel.checkpoint()
        return RUNTIMES

    async def submit(self, request: RunRequest) -> ExecutionId:
        await trio.lowlevel.checkpoint()
        return self.events[0].execution_id

    async def submit_body(self, body: Mapping[str, Any]) -> ExecutionId:
        await trio.lowlevel.checkpoint()
        return self.events[0].execution_id

    async def retry(self, execution_id: ExecutionId, *, begin: str, until: str | None) -> ExecutionId:
        await trio.lowlevel.checkpoint()
        return self.events[0].execution_id

    async def answer(self, execution_id: ExecutionId, *, prompt_id: str, values: Mapping[str, str]) -> None:
        await trio.lowlevel.checkpoint()
        self.answers.append((prompt_id, dict(values)))
        self.go_on.set()

    @trio.as_safe_channel
    async def journal(
        self, execution_id: ExecutionId, *, after_seq: int, rhythm: Rhythm | None = None
    ) -> AsyncGenerator[StoredEvent, None]:
        self.rhythms.append(rhythm)
        for stored in self.events[after_seq:]:
            if stored.seq == self.hold_before:
                self.holding.set()
                await self.go_on.wait()
            yield stored
        if self.fails_with is not None:
            raise self.fails_with

    async def cancel(self, execution_id: ExecutionId) -> None:
        await trio.lowlevel.checkpoint()
        self.cancelled.append(execution_id)
        self.was_cancelled.set()

    async def interrupt(self, execution_id: ExecutionId) -> None:
        await trio.lowlevel.checkpoint()
        self.interrupted.append(execution_id)
        self.go_on.set()

    async def send_stdin(self, execution_id: ExecutionId, data: bytes, *, close: bool) -> None:
        await trio.lowlevel.checkpoint()
        if self.busy_sends:
            self.busy_sends -= 1
            raise OverloadedError("it does not read")
        self.stdin.append((data, close))
        self.got_stdin.set()
        if close:
            self.go_on.set()

    async def find(self, execution_id: ExecutionId) -> ExecutionView:
        await trio.lowlevel.checkpoint()
        return ExecutionView(id=execution_id, status=Status.COMPLETED)

    async def result(self, execution_id: ExecutionId) -> ResultStored:
        await trio.lowlevel.checkpoint()
        data = decode_event(self.events[-1].body).data
        assert isinstance(data, ResultStored)
        return data

    async def list_executions(self, *, status: Status | None, limit: int, cursor: str | None) -> ExecutionList:
        await trio.lowlevel.checkpoint()
        return ExecutionList(items=())

    async def create_token(self, request: TokenRequest) -> TokenCreated:
        await trio.lowlevel.checkpoint()
        return TokenCreated(id="tok-1", token="secret", role=request.role, user=request.user)

    async def list_tokens(self) -> TokenList:
        await trio.lowlevel.checkpoint()
        return TokenList(items=(TokenView(id="tok-1"),))

    async def revoke_token(self, token_id: str) -> None:
        await trio.lowlevel.checkpoint()
        raise NotFoundError(f"there is no token {token_id}")
