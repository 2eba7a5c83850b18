"""A request as bytes on a socket, well sent or not, and what came back within its deadline."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime

import h11
import trio

from execd.core.job_keys import sign
from fuzz.requests import SIGNED, Request

HOST = "127.0.0.1"
JOBS_SECRET = "a-secret-of-engines"
HEAD_S = 15.0
"""For the first byte of an answer. Far above what any takes; two processors may be busy with other things."""
PATIENT_S = 40.0
"""Where the server waits for somebody else by design: a flow that is run to its end, or one step of it."""
WAITING = frozenset({"/api/execute", "/api/execute-step", "/api/execute-node"})
STREAM_S = 0.7
"""How long a stream is read; then its client leaves."""
MAX_READ_BYTES = 3 * 1024 * 1024
DRIP_BYTES = 5


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int = 0
    """0: none."""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""
    is_whole: bool = False
    is_late: bool = False
    """Whether nothing came within the deadline."""
    was_given_up: bool = False
    """Whether the request itself was broken off on purpose, so that no answer is owed."""

    def header(self, wanted: bytes) -> str:
        return next((value.decode("latin1") for name, value in self.headers if name == wanted), "")


class Sender:
    """Sends to one server. Owns nothing: each request has a connection of its own."""

    def __init__(self, port: int, token: str) -> None:
        self._port = port
        self._token = token

    async def send(self, request: Request, names: dict[str, str]) -> Answer:
        """Send it with what its ids stand for, and read the answer."""
        body, target = _resolved(request.body, names), _resolved(request.target.encode(), names).decode()
        async with await trio.open_tcp_stream(HOST, self._port) as stream:
            try:
                await self._say(stream, request, target, body)
                if request.way == "cut":
                    return Answer(was_given_up=True)
                return await self._hear(stream, request)
            except (trio.BrokenResourceError, h11.RemoteProtocolError):
                return Answer(was_given_up=request.way != "whole" or request.door.is_socket)

    async def _say(self, stream: trio.SocketStream, request: Request, target: str, body: bytes) -> None:
        head = self._head(request, target, body)
        if request.door.is_socket:
            await stream.send_all(head)
            return
        match request.way:
            case "chunked":
                pieces = [body[place : place + 1000] for place in range(0, len(body), 1000)]
                framed = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
                await stream.send_all(head + framed + b"0\r\n\r\n")
            case "pieces":
                await stream.send_all(head)
                for place in range(0, min(len(body), 100), DRIP_BYTES):
                    await stream.send_all(body[place : place + DRIP_BYTES])
                    await trio.sleep(0.001)
                await stream.send_all(body[100:])
            case "cut":
                await stream.send_all((head + body)[: len(head) + len(body) // 2])
            case _:
                await stream.send_all(head + body)

    def _head(self, request: Request, target: str, body: bytes) -> bytes:
        headers = {"Host": f"{HOST}:{self._port}", "Authorization": f"Bearer {self._token}"}
        headers |= {name: value for name, value in request.headers if (name, value) != SIGNED}
        if SIGNED in request.headers:
            at = datetime.now(UTC).isoformat()
            headers |= {"X-LinkFlow-Timestamp": at, "X-LinkFlow-Signature": sign(JOBS_SECRET, at, body)}
        if request.door.is_socket:
            headers |= {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
            headers |= {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
        elif request.way == "chunked":
            headers["Transfer-Encoding"] = "chunked"
        elif request.door.schema is not None:
            headers["Content-Length"] = str(len(body) + (10 if request.way == "short" else 0))
        lines = [f"{request.method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join(lines).encode("utf-8", errors="replace") + b"\r\n\r\n"

    async def _hear(self, stream: trio.SocketStream, request: Request) -> Answer:
        if request.way == "short":
            await stream.send_eof()
        connection = h11.Connection(h11.CLIENT)
        connection.send(_expected(request))
        connection.send(h11.EndOfMessage())
        patience_s = PATIENT_S if request.door.path in WAITING else HEAD_S
        found = Answer(is_late=True)
        with trio.move_on_after(patience_s):
            found = await _read_head(stream, connection, gives_up=request.way == "short")
        if found.status == 101:
            return await _converse(stream, request, found)
        return found if not found.status else await _read_body(stream, connection, found)


def _expected(request: Request) -> h11.Request:
    """What h11 is told was asked, so that it knows how an answer ends."""
    headers = [("Host", "x")]
    if request.door.is_socket:
        headers += [("Connection", "Upgrade"), ("Upgrade", "websocket")]
    return h11.Request(method="HEAD" if request.method == "HEAD" else "GET", target="/", headers=headers)


def _resolved(data: bytes, names: dict[str, str]) -> bytes:
    for name, value in names.items():
        data = data.replace(b"@" + name.encode(), value.encode())
    return data


async def _read_head(stream: trio.SocketStream, connection: h11.Connection, *, gives_up: bool) -> Answer:
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Response) or (
            isinstance(event, h11.InformationalResponse) and event.status_code == 101
        ):
            return Answer(status=event.status_code, headers=tuple(event.headers))
        if isinstance(event, h11.ConnectionClosed):
            return Answer(was_given_up=gives_up)
        if event is h11.NEED_DATA:
            try:
                connection.receive_data(await stream.receive_some(65536))
            except h11.RemoteProtocolError:
                return Answer(was_given_up=gives_up)


async def _read_body(stream: trio.SocketStream, connection: h11.Connection, head: Answer) -> Answer:
    """Read it to its end; of a stream, what comes in a moment."""
    body = bytearray()
    is_whole = False
    is_stream = head.header(b"content-type").startswith("text/event-stream")
    with trio.move_on_after(STREAM_S if is_stream else HEAD_S):
        while not is_whole and len(body) < MAX_READ_BYTES:
            event = connection.next_event()
            if isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed) or event is h11.PAUSED:
                is_whole = True
            elif event is h11.NEED_DATA:
                connection.receive_data(await stream.receive_some(65536))
    return Answer(head.status, head.headers, bytes(body), is_whole=is_whole or is_stream)


async def _converse(stream: trio.SocketStream, request: Request, head: Answer) -> Answer:
    """Send the frames, masked; the server answers, or closes, and is left after a moment."""
    said = b"".join(map(_masked, request.messages))
    heard = bytearray()
    with trio.move_on_after(STREAM_S):
        try:
            await stream.send_all(said)
            while data := await stream.receive_some(65536):
                heard += data
        except trio.BrokenResourceError:
            pass
    return Answer(head.status, head.headers, bytes(heard), is_whole=True)


def _masked(frame: bytes) -> bytes:
    """Source: RFC 6455, section 5.2."""
    first, payload = frame[:1], frame[1:]
    key = os.urandom(4)
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    mask = (key * (size // 4 + 1))[:size]
    return first + length + key + bytes(one ^ other for one, other in zip(payload, mask, strict=True))
