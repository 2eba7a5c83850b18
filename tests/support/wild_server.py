"""A real HTTP server on a loopback socket that answers with exactly the bytes a test says, well-formed or not."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import trio


@dataclass
class Received:
    """One request as it arrived."""

    method: str
    target: str
    headers: dict[str, str]
    """Names in lower case; the last of several counts."""
    body: bytes
    connection: int
    """Which connection it came on, from 1."""


Handler = Callable[[Received, trio.abc.Stream], Awaitable[None]]
"""Answers one request. The connection goes on to the next when it returns, unless it has closed it."""


@dataclass
class WildServer:
    """Where it listens, and what it saw."""

    port: int = 0
    scheme: str = "http"
    connections: int = 0
    requests: list[Received] = field(default_factory=list)
    hung_up: trio.Event = field(default_factory=trio.Event)
    """Set when a client closed a connection."""
    asked: trio.Event = field(default_factory=trio.Event)
    """Set when a request came."""

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{host}:{self.port}{path}"


@asynccontextmanager
async def open_server(
    handler: Handler, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> AsyncIterator[WildServer]:
    """Serve until the block ends."""
    server = WildServer(scheme="https" if tls else "http")
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host=host)
        server.port = listener.socket.getsockname()[1]
        serve = partial(trio.serve_listeners, partial(_serve, server, handler, tls), [listener])
        nursery.start_soon(serve)
        yield server
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_raw_server(serve: Callable[[trio.SocketStream], Awaitable[None]]) -> AsyncIterator[int]:
    """Hand every connection as it is to `serve`; give the port."""
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(partial(trio.serve_listeners, serve, [listener]))
        yield listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def _serve(server: WildServer, handler: Handler, tls: ssl.SSLContext | None, raw: trio.SocketStream) -> None:
    server.connections += 1
    number = server.connections
    stream: trio.abc.Stream = trio.SSLStream(raw, tls, server_side=True, https_compatible=True) if tls else raw
    buffer = b""
    try:
        async with stream:
            while True:
                while b"\r\n\r\n" not in buffer:
                    buffer += await _receive(stream)
                head, _, buffer = buffer.partition(b"\r\n\r\n")
                request = _read_head(head, number)
                while len(buffer) < int(request.headers.get("content-length", "0")):
                    buffer += await _receive(stream)
                length = int(request.headers.get("content-length", "0"))
                request.body, buffer = buffer[:length], buffer[length:]
                server.requests.append(request)
                server.asked.set()
                await handler(request, stream)
    except (trio.BrokenResourceError, trio.ClosedResourceError, trio.EndOfChannel):
        server.hung_up.set()


async def _receive(stream: trio.abc.Stream) -> bytes:
    data = bytes(await stream.receive_some(65536))
    if not data:
        raise trio.EndOfChannel
    return data


def _read_head(head: bytes, connection: int) -> Received:
    request_line, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = request_line.split(" ")
    headers = dict(line.split(": ", 1) for line in lines)
    return Received(method, target, {name.lower(): value for name, value in headers.items()}, b"", connection)


def answer(
    body: bytes = b"ok", *, status: str = "200 OK", headers: tuple[str, ...] = (), framing: str | None = None
) -> bytes:
    """Give a well-formed answer, but for what the arguments spoil."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}" if framing is None else framing, *headers]
    return "\r\n".join([line for line in lines if line]).encode("latin-1") + b"\r\n\r\n" + body


def always(data: bytes) -> Handler:
    """Answer every request with these bytes."""

    async def handle(request: Received, stream: trio.abc.Stream) -> None:
        await stream.send_all(data)

    return handle


def then_close(data: bytes) -> Handler:
    """Answer with these bytes and hang up."""

    async def handle(request: Received, stream: trio.abc.Stream) -> None:
        await stream.send_all(data)
        await stream.aclose()

    return handle


def then_silence(data: bytes) -> Handler:
    """Answer with these bytes, then say nothing more until the client hangs up."""

    async def handle(request: Received, stream: trio.abc.Stream) -> None:
        if data:
            await stream.send_all(data)
        await _receive(stream)

    return handle


def drip(head: bytes, *, every_s: float) -> Handler:
    """Answer with this head and then a byte at a time, without end."""

    async def handle(request: Received, stream: trio.abc.Stream) -> None:
        await stream.send_all(head)
        while True:
            await stream.send_all(b"x")
            await trio.sleep(every_s)

    return handle


def in_pieces(pieces: list[bytes]) -> Handler:
    """Answer with pieces that arrive one by one."""

    async def handle(request: Received, stream: trio.abc.Stream) -> None:
        for piece in pieces:
            await stream.send_all(piece)
            await trio.sleep(0.002)

    return handle


def by_path(routes: dict[str, bytes]) -> Handler:
    """Answer by path."""

    async def handle(request: Received, stream: trio.abc.Stream) -> None:
        await stream.send_all(routes[request.target])

    return handle


def make_certificate(directory: Path, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Make a certificate for this name: the server's context, and one of a client that believes it."""
    key, certificate = directory / "key.pem", directory / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    return server, ssl.create_default_context(cafile=certificate)
