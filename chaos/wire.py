"""HTTP/1.1 to the server under test, by hand: one connection per request, so that it is known what was sent when it died.

Not execd's own client: that one mends what this campaign wants to see, such as an event that comes twice.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import h11
import trio

HOST = "127.0.0.1"
READ_BYTES = 256 * 1024
SILENCE_S = 60.0
"""A connection without a byte for so long, heartbeats included, is given up and told: four heartbeats are missing."""


class BrokenError(Exception):
    """There was no whole answer. `was_sent` says whether the server may have read the request."""

    def __init__(self, why: str, *, was_sent: bool) -> None:
        super().__init__(why)
        self.was_sent = was_sent


@dataclass(frozen=True)
class Answer:
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Request:
    """What is asked of the server."""

    method: str
    target: str
    token: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    def encode(self, connection: h11.Connection) -> bytes:
        headers = {
            "Host": HOST,
            "Authorization": f"Bearer {self.token}",
            "Connection": "close",
            "Content-Length": str(len(self.body)),
            **({"Content-Type": "application/json"} if self.body else {}),
            **self.headers,
        }
        head = h11.Request(method=self.method, target=self.target, headers=list(headers.items()))
        parts = (head, h11.Data(data=self.body), h11.EndOfMessage())
        return b"".join(connection.send(part) or b"" for part in parts)


class Exchange:
    """An answer whose head has come; the body comes in pieces."""

    def __init__(self, stream: trio.SocketStream, connection: h11.Connection) -> None:
        self._stream = stream
        self._connection = connection
        self.status = 0
        self.headers: dict[str, str] = {}

    async def read_head(self) -> None:
        event = await self._next()
        while isinstance(event, h11.InformationalResponse):
            event = await self._next()
        if not isinstance(event, h11.Response):
            raise BrokenError("the connection ended before the answer", was_sent=True)
        self.status = event.status_code
        self.headers = {name.decode().lower(): value.decode() for name, value in event.headers}

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Give the body as it comes; its caller reads to the end or closes it."""
        while True:
            event = await self._next()
            if isinstance(event, h11.EndOfMessage):
                return
            if not isinstance(event, h11.Data):
                raise BrokenError("the connection ended within the answer", was_sent=True)
            yield bytes(event.data)

    async def _next(self) -> Any:
        try:
            while (event := self._connection.next_event()) is h11.NEED_DATA:
                with trio.fail_after(SILENCE_S):
                    self._connection.receive_data(await self._stream.receive_some(READ_BYTES))
        except (trio.BrokenResourceError, trio.TooSlowError, h11.RemoteProtocolError) as error:
            raise BrokenError(repr(error), was_sent=True) from error
        return event


@asynccontextmanager
async def open_exchange(
    port: int, request: Request, *, on_sent: Callable[[], None] = lambda: None
) -> AsyncIterator[Exchange]:
    """Send a request and read the head of its answer.

    Raises:
        BrokenError: nobody listens, or the connection broke; later, from `pieces`, too.
    """
    try:
        stream = await trio.open_tcp_stream(HOST, port)
    except OSError as error:
        raise BrokenError(repr(error), was_sent=False) from error
    async with stream:
        connection = h11.Connection(h11.CLIENT)
        try:
            await stream.send_all(request.encode(connection))
        except trio.BrokenResourceError as error:
            raise BrokenError(repr(error), was_sent=True) from error
        on_sent()
        exchange = Exchange(stream, connection)
        await exchange.read_head()
        yield exchange


async def ask(port: int, request: Request, *, on_sent: Callable[[], None] = lambda: None) -> Answer:
    """Send a request and read the whole answer. Raises BrokenError."""
    async with open_exchange(port, request, on_sent=on_sent) as exchange:
        body = b"".join([piece async for piece in exchange.pieces()])
        return Answer(exchange.status, exchange.headers, body)
