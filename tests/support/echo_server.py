"""A real server on loopback that keeps every request as it came over the wire and answers with JSON."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import h11
import trio


@dataclass
class EchoServer:
    """What it has received, in order."""

    url: str = ""
    answers: list[bytes] = field(default_factory=list)
    """Bodies of the answers to come; `{}` when there are none left."""
    requests: list[ReceivedRequest] = field(default_factory=list)


@dataclass
class ReceivedRequest:
    """One request, byte for byte."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@asynccontextmanager
async def serve_echo() -> AsyncIterator[EchoServer]:
    """Serve on a free port of loopback until the block ends."""
    server = EchoServer()
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        server.url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        nursery.start_soon(trio.serve_listeners, lambda stream: _talk(server, stream), listeners)
        yield server
        nursery.cancel_scope.cancel()


async def _talk(server: EchoServer, stream: trio.SocketStream) -> None:
    connection = h11.Connection(h11.SERVER)
    with trio.CancelScope():
        try:
            while connection.our_state is h11.IDLE:
                await _answer(server, stream, connection)
        except (trio.BrokenResourceError, EOFError):
            return


async def _next_event(stream: trio.SocketStream, connection: h11.Connection) -> h11.Event:
    while True:
        event = connection.next_event()
        if isinstance(event, h11.ConnectionClosed):
            raise EOFError
        if event is not h11.NEED_DATA:
            assert not isinstance(event, type)
            return event
        if connection.they_are_waiting_for_100_continue:
            await stream.send_all(connection.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
        connection.receive_data(await stream.receive_some(65536))


async def _answer(server: EchoServer, stream: trio.SocketStream, connection: h11.Connection) -> None:
    request = await _next_event(stream, connection)
    assert isinstance(request, h11.Request)
    body = b""
    while isinstance(event := await _next_event(stream, connection), h11.Data):
        body += event.data
    headers = {name.decode("latin-1"): value.decode("utf-8", "replace") for name, value in request.headers}
    server.requests.append(ReceivedRequest(request.method.decode(), request.target.decode(), headers, body))
    content = server.answers.pop(0) if server.answers else b"{}"
    fields = [("content-type", "application/json"), ("content-length", str(len(content)))]
    data = connection.send(h11.Response(status_code=200, headers=fields)) or b""
    if request.method != b"HEAD":
        data += connection.send(h11.Data(data=content)) or b""
    await stream.send_all(data + (connection.send(h11.EndOfMessage()) or b""))
    connection.start_next_cycle()
