"""The head of an output stream, kept for the result while the whole goes to the journal.

`Capture` is a value: `extend` gives a new one. Copies share one buffer, which only grows, so that keeping a quarter of a
mebibyte in pieces of a line each costs no more than the bytes themselves.
"""

from __future__ import annotations

import base64

from execd.core.event_parts import StreamTotals
from execd.core.events import Output

SHOWN_BYTES = 256 * 1024
"""How much of each stream a result shows: more than people read, little enough to send whole. The journal has it all."""


class Capture:
    """What a stream began with, and how much there was of it."""

    __slots__ = ("_buffer", "_length", "dropped_bytes", "total_bytes")

    def __init__(self, buffer: bytearray | None = None, *, length: int = 0, total: int = 0, dropped: int = 0) -> None:
        self._buffer = bytearray() if buffer is None else buffer
        self._length = length
        self.total_bytes = total
        self.dropped_bytes = dropped

    def extend(self, data: bytes) -> Capture:
        """Give the capture after these further bytes."""
        kept = data[: max(0, SHOWN_BYTES - self._length)]
        buffer = self._buffer
        if kept:
            if len(buffer) != self._length:
                buffer = bytearray(buffer[: self._length])
            buffer += kept
        length = self._length + len(kept)
        return Capture(buffer, length=length, total=self.total_bytes + len(data), dropped=self.dropped_bytes)

    def drop(self, dropped_bytes: int) -> Capture:
        """Give the capture when so many bytes in all were written and not kept."""
        kept_bytes = self.total_bytes - self.dropped_bytes
        return Capture(self._buffer, length=self._length, total=kept_bytes + dropped_bytes, dropped=dropped_bytes)

    def show(self) -> tuple[str | None, str | None]:
        """Give it as text, or as base64 where it is not UTF-8; a character cut by the limit is left out."""
        head = bytes(self._buffer[: self._length])
        try:
            return head.decode(), None
        except UnicodeDecodeError as error:
            if self.total_bytes > self._length and error.reason == "unexpected end of data":
                return head[: error.start].decode(), None
            return None, base64.b64encode(head).decode()

    def totals(self) -> StreamTotals:
        text, _ = self.show()
        shown = self._length if text is None else len(text.encode())
        return StreamTotals(total_bytes=self.total_bytes, shown_bytes=shown, dropped_bytes=self.dropped_bytes)


def output_bytes(output: Output) -> bytes:
    """Give the raw bytes of a piece of output."""
    if output.base64 is not None:
        return base64.b64decode(output.base64)
    return (output.text or "").encode()
