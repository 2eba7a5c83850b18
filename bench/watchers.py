"""Good viewers, measured: every event's delay from the script's own time stamp to this process, and every `seq` looked at.

The script prints `T<nanoseconds>E`; script and viewers run on one machine, so they read one clock.
"""

from __future__ import annotations

import re
import selectors
import socket
import struct
import time
from dataclasses import dataclass, field

STAMP = re.compile(rb"T(\d{19})E")
HEAD = re.compile(rb'"seq":(\d+),"type":"(\w+)"')
LAST = b"result_stored"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One stamped event in one viewer's hands."""

    sent_at: float
    """What the script's clock said, seconds."""
    delay_s: float


@dataclass
class Watcher:
    """One viewer that reads at once whatever comes."""

    connection: socket.socket
    kind: str
    """`sse` or `websocket`."""
    pending: bytes = b""
    deliveries: list[Delivery] = field(default_factory=list)
    seqs: list[int] = field(default_factory=list)
    last_type: bytes = b""

    @property
    def is_whole(self) -> bool:
        """Whether it saw every event once, in order, to the end."""
        return self.last_type == LAST and self.seqs == list(range(1, len(self.seqs) + 1))

    def take(self, data: bytes, now: float) -> None:
        """Read what arrived; half an event waits for its rest."""
        self.pending += data
        whole = self._cut_sse() if self.kind == "sse" else self._cut_frames()
        for line in whole.split(b"\n"):
            head = HEAD.search(line)
            if head is not None:
                self.seqs.append(int(head[1]))
                self.last_type = head[2]
                # The result repeats what was printed.
                stamps = STAMP.findall(line) if head[2] == b"output" else []
                self.deliveries += [Delivery(int(stamp) / 1e9, now - int(stamp) / 1e9) for stamp in stamps]

    def _cut_sse(self) -> bytes:
        end = self.pending.rfind(b"\n\n") + 2
        if end < 2:
            return b""
        whole, self.pending = self.pending[:end], self.pending[end:]
        return whole

    def _cut_frames(self) -> bytes:
        """Give the payloads of the whole frames. Source: RFC 6455, section 5.2; a server's frames have no mask."""
        payloads = []
        while len(self.pending) >= 2:
            length, start = self.pending[1], 2
            if length >= 126:
                form = "!H" if length == 126 else "!Q"
                start += struct.calcsize(form)
                if len(self.pending) < start:
                    break
                (length,) = struct.unpack_from(form, self.pending, 2)
            if len(self.pending) < start + length:
                break
            payloads.append(self.pending[start : start + length])
            self.pending = self.pending[start + length :]
        return b"\n".join(payloads)


def head_of(port: int, token: str, path: str, *, is_socket: bool) -> bytes:
    """Give the request that opens a stream or a WebSocket."""
    lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", f"Authorization: Bearer {token}"]
    if is_socket:
        lines += ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
        lines += ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def open_watcher(port: int, token: str, execution_id: str, kind: str) -> Watcher:
    """Connect one good viewer and read its response's head."""
    is_socket = kind == "websocket"
    path = f"/api/v1/executions/{execution_id}/{'ws' if is_socket else 'stream'}"
    connection = socket.create_connection(("127.0.0.1", port))
    connection.sendall(head_of(port, token, path, is_socket=is_socket))
    found = b""
    while b"\r\n\r\n" not in found:
        data = connection.recv(65536)
        if not data:
            raise RuntimeError(f"the server did not answer: {found[:200]!r}")
        found += data
    head, _, rest = found.partition(b"\r\n\r\n")
    if not head.startswith((b"HTTP/1.1 200", b"HTTP/1.1 101")):
        raise RuntimeError(f"the server refused: {found[:300]!r}")
    watcher = Watcher(connection, kind)
    watcher.take(rest, time.time())
    return watcher


def read_all(watchers: list[Watcher], *, deadline_s: float) -> None:
    """Read until every viewer has the last event, or its connection ended, or the time is over."""
    ends_at = time.monotonic() + deadline_s
    with selectors.DefaultSelector() as selector:
        for watcher in watchers:
            watcher.connection.setblocking(False)
            selector.register(watcher.connection, selectors.EVENT_READ, watcher)
        while selector.get_map() and time.monotonic() < ends_at:
            for key, _ in selector.select(0.5):
                watcher = key.data
                data = watcher.connection.recv(262144)
                watcher.take(data, time.time())
                if not data or watcher.last_type == LAST:
                    selector.unregister(watcher.connection)
                    watcher.connection.close()
