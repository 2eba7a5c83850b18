"""A server that exists as an httpx2 transport: its journal is real, and each connection breaks as the test says."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx2
import trio

from execd.client import Client, Reconnecting
from execd.core.codec import StoredEvent, encode_json, number_fact
from execd.core.event_parts import StreamTotals, Usage
from execd.core.events import (
    EventData,
    ExecutionCompleted,
    ExecutionId,
    ExecutionQueued,
    ExecutionRequested,
    ExecutionStarted,
    Fact,
    Output,
    PodRunning,
    ResultStored,
    Status,
    Stream,
)

ID = ExecutionId("exec-1700000000000-abcdefghi")
AT = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def make_result(**changes: object) -> ResultStored:
    """Give the result of a success, or of what the changes say."""
    fields: dict[str, object] = {
        "status": Status.COMPLETED,
        "exit_code": 0,
        "signal": None,
        "error": None,
        "stdout": "",
        "stderr": "",
        "stdout_base64": None,
        "stderr_base64": None,
        "streams": {Stream.STDOUT: StreamTotals()},
        "outputs": {},
        "nodes": (),
        "usage": Usage(wall_ms=12),
    }
    return ResultStored(**(fields | changes))  # type: ignore[arg-type]


def make_journal(*middle: EventData, result: ResultStored | None = None) -> list[StoredEvent]:
    """Give a whole journal with these facts in the middle."""
    facts: list[EventData] = [
        ExecutionRequested(kind="script", name="x", user="u", workspace="default"),
        ExecutionQueued(position=0, ahead=0),
        ExecutionStarted(runner="local", started_from="warm"),
        PodRunning(pod="p", runtime="python"),
        *middle,
        ExecutionCompleted(status=Status.COMPLETED, duration_ms=12),
        result or make_result(),
    ]
    return [number_fact(ID, seq, Fact(data=data, at=AT)) for seq, data in enumerate(facts, start=1)]


def output(text: str, *, stream: Stream = Stream.STDOUT) -> Output:
    """Give a piece of output; its offset does not matter here."""
    return Output(stream=stream, offset=0, text=text)


def frame(stored: StoredEvent) -> bytes:
    """Give an event as design.md section 5 frames it."""
    return f"id: {stored.seq}\nevent: {stored.type}\ndata: {stored.body.decode()}\n\n".encode()


@dataclass
class Connection:
    """How one connection of a stream goes."""

    events: int | None = None
    """How many events it serves before it ends; None for all."""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    breaks: bool = False
    """Whether it ends with a reset instead of a clean end."""
    skips: int = 0
    """Events it leaves out first: a gap."""
    goes_back: int = 0
    """Events it serves again."""
    before: bytes = b""
    after: bytes = b""


class ScriptedServer(httpx2.AsyncBaseTransport):
    """Serves one journal over connections that go as planned; further ones go well."""

    def __init__(self, journal: Sequence[StoredEvent], plan: Sequence[Connection] = ()) -> None:
        self.journal = list(journal)
        self.plan = list(plan)
        self.resumed_after: list[int] = []
        """The `Last-Event-ID` of each connection of the stream, 0 where there was none."""
        self.requests: list[httpx2.Request] = []
        self.answers: list[httpx2.Response | Exception] = []
        """What other requests are answered with, in order."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        await trio.lowlevel.checkpoint()
        self.requests.append(request)
        if not request.url.path.endswith("/stream"):
            answer = self.answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer
        after = int(request.headers.get("last-event-id", "0"))
        self.resumed_after.append(after)
        connection = self.plan.pop(0) if self.plan else Connection()
        if connection.status == 0:
            raise httpx2.ConnectError("connection refused")
        if connection.status != 200:
            return httpx2.Response(connection.status, headers=connection.headers, content=b"")
        headers = {"content-type": "text/event-stream"} | connection.headers
        return httpx2.Response(200, headers=headers, stream=_Body(self._serve(connection, after)))

    async def _serve(self, connection: Connection, after: int) -> AsyncGenerator[bytes, None]:
        yield connection.before
        start = max(0, after - connection.goes_back) + connection.skips
        stop = None if connection.events is None else start + connection.events
        for stored in self.journal[start:stop]:
            await trio.lowlevel.checkpoint()
            yield frame(stored)
        yield connection.after
        if connection.breaks:
            raise httpx2.ReadError("connection reset by peer")


class _Body(httpx2.AsyncByteStream):
    def __init__(self, chunks: AsyncGenerator[bytes, None]) -> None:
        self._chunks = chunks

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._chunks

    async def aclose(self) -> None:
        await self._chunks.aclose()


@asynccontextmanager
async def open_scripted(server: ScriptedServer, waits: list[Reconnecting] | None = None) -> AsyncIterator[Client]:
    """Give a client of this server; its breaks are noted in `waits`."""
    async with httpx2.AsyncClient(transport=server, base_url="http://execd.test") as http:
        yield Client(http, on_reconnecting=None if waits is None else waits.append, patience_s=60)


def json_answer(status: int, body: object, **headers: str) -> httpx2.Response:
    """Give a JSON answer."""
    return httpx2.Response(status, headers=headers, content=encode_json(body))
