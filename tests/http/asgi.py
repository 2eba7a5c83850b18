"""Calling the application without a server: for logic and for time, which a mock clock moves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import trio

from execd.client_sse import EventStreamParser, ServerSentEvent
from execd.http.app import ExecdApp


class Answer:
    """What came back, block by block with the moment of each."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.chunks: list[tuple[float, bytes]] = []
        self.is_over = trio.Event()
        self.has_started = trio.Event()
        self._grown = trio.Event()

    @property
    def body(self) -> bytes:
        return b"".join(chunk for _, chunk in self.chunks)

    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    async def wait_for(self, part: bytes) -> None:
        """Wait until the body has this in it."""
        while part not in self.body:
            await self._grown.wait()

    async def send(self, message: dict[str, Any]) -> None:
        """As the server: take what the application sends."""
        await trio.lowlevel.checkpoint()
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode().lower(): value.decode() for name, value in message["headers"]}
            self.has_started.set()
        elif message.get("body"):
            self.chunks.append((trio.current_time(), bytes(message["body"])))
        if not message.get("more_body", True):
            self.is_over.set()
        grown, self._grown = self._grown, trio.Event()
        grown.set()


def make_scope(method: str, target: str, headers: Mapping[str, str], peer: str = "203.0.113.9") -> dict[str, Any]:
    """Give a scope as hypercorn makes it."""
    path, _, query = target.partition("?")
    named = {"host": "localhost", **{name.lower(): value for name, value in headers.items()}}
    return {
        "type": "http",
        "http_version": "1.1",
        "asgi": {"spec_version": "2.1", "version": "3.0"},
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.encode(), value.encode("latin1")) for name, value in named.items()],
        "client": (peer, 5),
        "server": ("127.0.0.1", 80),
        "extensions": {},
    }


async def call(
    app: ExecdApp,
    method: str,
    target: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    peer: str = "203.0.113.9",
) -> Answer:
    """Ask and wait for the whole answer."""
    async with open_call(app, method, target, headers=headers, body=body, peer=peer) as answer:
        await answer.is_over.wait()
    return answer


@asynccontextmanager
async def open_call(
    app: ExecdApp,
    method: str,
    target: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    peer: str = "203.0.113.9",
) -> AsyncIterator[Answer]:
    """Ask; leaving the block is the client going away."""
    answer = Answer()
    messages = [{"type": "http.request", "body": body, "more_body": False}]
    has_gone = trio.Event()
    named = dict(headers or {})
    if body:
        named = {"content-type": "application/json", "content-length": str(len(body))} | named

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop()
        await has_gone.wait()
        return {"type": "http.disconnect"}

    async with trio.open_nursery() as nursery:

        async def serve() -> None:
            await app(make_scope(method, target, named, peer), receive, answer.send)  # type: ignore[arg-type]

        nursery.start_soon(serve)
        yield answer
        has_gone.set()


def events_of(answer: Answer) -> list[ServerSentEvent]:
    """Read a stream's blocks."""
    return EventStreamParser().feed(answer.body)
