"""Read Server-Sent Events out of bytes, however they were cut on the way; no I/O here.

Source: WHATWG HTML, section 9.2.6 "Interpreting an event stream". Lines end with CR, LF or CRLF, one leading byte order
mark is dropped, an event is complete only at a blank line, so a cut connection never yields a torn one.
"""

from __future__ import annotations

import msgspec

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class ServerSentEvent(msgspec.Struct, frozen=True):
    """One dispatched event."""

    name: str
    """The `event` field, `message` where there was none."""
    id: str
    """The last `id` seen when it was dispatched; empty before the first."""
    data: bytes


class EventStreamParser:
    """Turns chunks into events. Owned by one task, used for one connection."""

    def __init__(self) -> None:
        self.retry_ms: int | None = None
        """What the server asked to wait before the next connection; None while it asked for nothing."""
        self._rest = b""
        self._at_start = True
        self._after_cr = False
        self._last_id = ""
        self._name = ""
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        """Take the next bytes; give the events they completed."""
        if not chunk:
            return []
        if self._after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]
        self._after_cr = chunk.endswith(b"\r")
        buffer = self._rest + chunk
        if self._at_start:
            if len(buffer) < len(_BYTE_ORDER_MARK) and _BYTE_ORDER_MARK.startswith(buffer):
                self._rest = buffer
                return []
            buffer = buffer.removeprefix(_BYTE_ORDER_MARK)
            self._at_start = False
        if b"\r" in buffer:
            buffer = buffer.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, self._rest = buffer.split(b"\n")
        events = [self._read_line(line) for line in lines]
        return [event for event in events if event is not None]

    def _read_line(self, line: bytes) -> ServerSentEvent | None:
        if not line:
            return self._dispatch()
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        match field:
            case b"data":
                self._data.append(value)
            case b"event":
                self._name = value.decode(errors="replace")
            case b"id" if b"\0" not in value:
                self._last_id = value.decode(errors="replace")
            case b"retry" if value.isdigit():
                self.retry_ms = int(value)
        return None

    def _dispatch(self) -> ServerSentEvent | None:
        name, data = self._name or "message", self._data
        self._name, self._data = "", []
        if not data:
            return None
        return ServerSentEvent(name=name, id=self._last_id, data=b"\n".join(data))
