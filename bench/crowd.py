"""The crowd of a campaign against slow and hostile viewers, in a process of its own.

Run as `python -m bench.crowd`; the first line of stdin says in JSON where the server is and how many of each kind to be. It
answers `ready` when the stalled ones are connected, misbehaves until stdin ends, and then says in JSON how often it did.

- `sse`, `websocket`: connected with a small receive buffer, and never read.
- `trickle`: reads one byte a second. `reset`: opens a stream and resets it, in a loop. `half`: sends half a request's head.
- `chatter`: a WebSocket that sends pings as fast as it may and never reads. `flood`: the same with messages of 1 MiB.
- `endless`: one WebSocket frame said to be 1 TiB long. `malformed`: frames that RFC 6455 forbids.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from bench.watchers import head_of

RECEIVE_BUFFER_BYTES = 4096
TICK_S = 0.05
MASK = b"\0\0\0\0"
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: closing sends RST."""
LIFE_S = {"reset": 0.5, "half": 10.0, "malformed": 0.5}
"""How long one connection of a kind lives before it is opened anew; the others stay until the server drops them."""
PAUSE_S = 0.5
"""Before a dropped hostile one comes back."""
FORBIDDEN = (
    b"\xf1\x80" + MASK,
    b"\x81\x05hello",
    b"\x83\x80" + MASK,
    b"\x09\x80" + MASK,
    b"\x89\xfe\x01\x00" + MASK + b"x" * 256,
    b"\x81\x82" + MASK + b"\xff\xfe",
    b"\x80\x80" + MASK,
)
"""Reserved bits, no mask, an unknown opcode, a ping in pieces, a ping that is too long, no UTF-8, a continuation of nothing."""


def _frame(text: bytes) -> bytes:
    form = (
        struct.pack("!BBQ", 0x81, 0xFF, len(text)) if len(text) > 65535 else struct.pack("!BB", 0x81, 0x80 | len(text))
    )
    return form + MASK + text


PINGS = _frame(b'{"type":"ping"}') * 1000
FLOOD = _frame(b'{"type":"ping","id":"' + b"x" * 2**20 + b'"}')
ENDLESS = struct.pack("!BBQ", 0x81, 0xFF, 2**40) + MASK


@dataclass(frozen=True)
class Place:
    """Where the server is."""

    port: int
    token: str
    execution_id: str

    def open(self, *, is_socket: bool) -> socket.socket:
        """Connect with a small receive buffer and ask for the stream; for a WebSocket wait for the handshake's answer."""
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        connection.settimeout(10)
        connection.connect(("127.0.0.1", self.port))
        path = f"/api/v1/executions/{self.execution_id}/{'ws' if is_socket else 'stream'}"
        connection.sendall(head_of(self.port, self.token, path, is_socket=is_socket))
        if is_socket:
            connection.recv(64)
        connection.setblocking(False)
        return connection


class Member:
    """One hostile viewer; `act` is called every tick."""

    def __init__(self, kind: str, place: Place, tally: Counter[str], number: int) -> None:
        self._kind = kind
        self._place = place
        self._tally = tally
        self._connection: socket.socket | None = None
        self._opens_at = time.monotonic() + (number % 20) * TICK_S
        self._ends_at = 0.0
        self._reads_at = 0.0
        self._payload: Iterator[bytes] = iter(())
        self._rest = b""

    def act(self, now: float) -> None:
        """Do the next misdeed."""
        if self._connection is None:
            if now >= self._opens_at:
                self._open(now)
            return
        try:
            self._misbehave(self._connection, now)
        except BlockingIOError:
            return
        except OSError:
            self._tally[f"{self._kind}_dropped"] += 1
            self._close(now + PAUSE_S)

    def _open(self, now: float) -> None:
        is_socket = self._kind in {"chatter", "flood", "endless", "malformed"}
        try:
            if self._kind == "half":
                self._connection = socket.create_connection(("127.0.0.1", self._place.port), 10)
                self._connection.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Half: ")
                self._connection.setblocking(False)
            else:
                self._connection = self._place.open(is_socket=is_socket)
        except OSError:
            self._tally[f"{self._kind}_refused"] += 1
            self._opens_at = now + PAUSE_S
            return
        self._tally[f"{self._kind}_opened"] += 1
        self._ends_at = now + LIFE_S.get(self._kind, 1e9)
        self._payload = PAYLOADS.get(self._kind, lambda: iter(()))()
        self._rest = b""

    def _misbehave(self, connection: socket.socket, now: float) -> None:
        if now >= self._ends_at:
            self._close(now)
            return
        if self._kind == "trickle" and now >= self._reads_at:
            self._reads_at = now + 1
            if not connection.recv(1):
                raise ConnectionResetError
        for _ in range(16):
            self._rest = self._rest or next(self._payload, b"")
            if not self._rest:
                return
            self._rest = self._rest[connection.send(self._rest) :]

    def _close(self, opens_at: float) -> None:
        if self._connection is not None:
            with contextlib.suppress(OSError):
                self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self._connection.close()
            self._connection = None
        self._opens_at = opens_at


def _for_ever(first: bytes, then: bytes) -> Iterator[bytes]:
    yield first
    while True:
        yield then


def _malformed() -> Iterator[bytes]:
    yield FORBIDDEN[time.monotonic_ns() % len(FORBIDDEN)]


PAYLOADS: dict[str, Callable[[], Iterator[bytes]]] = {
    "chatter": lambda: _for_ever(PINGS, PINGS),
    "flood": lambda: _for_ever(FLOOD, FLOOD),
    "endless": lambda: _for_ever(ENDLESS, b"x" * 65536),
    "malformed": _malformed,
}


def main() -> None:
    order: dict[str, Any] = json.loads(sys.stdin.readline())
    place = Place(order["port"], order["token"], order["execution_id"])
    counts: dict[str, int] = order["counts"]
    tally: Counter[str] = Counter()
    stalled = [
        place.open(is_socket=kind == "websocket") for kind in ("sse", "websocket") for _ in range(counts.get(kind, 0))
    ]
    hostile = [
        Member(kind, place, tally, number)
        for kind, count in counts.items()
        if kind not in {"sse", "websocket"}
        for number in range(count)
    ]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    with selectors.DefaultSelector() as selector:
        selector.register(sys.stdin, selectors.EVENT_READ)
        while not (selector.select(TICK_S) and not os.read(0, 1)):
            for member in hostile:
                member.act(time.monotonic())
    sys.stdout.write(json.dumps(dict(tally) | {"stalled": len(stalled)}) + "\n")


if __name__ == "__main__":
    main()
