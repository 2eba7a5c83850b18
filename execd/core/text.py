"""From raw bytes to pieces that JSON can carry, without ever splitting a character or losing a byte.

A piece is text where the bytes are UTF-8 and base64 where they are not. An incomplete character at the end of a chunk
(at most three bytes) is held back until the next chunk or the end. Nothing is ever replaced by U+FFFD.
"""

from __future__ import annotations

import base64
import codecs

from execd.core.events import Output, Stream


class OutputDecoder:
    """Cuts one stream into `Output` pieces with contiguous offsets. Owned by one task."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._held = b""
        self._offset = 0

    def feed(self, data: bytes) -> list[Output]:
        """Take the next bytes; give the pieces that are complete."""
        whole, self._held = _split_incomplete(self._held + data)
        return self._pieces(whole)

    def finish(self) -> list[Output]:
        """End the stream: what was held back for a character that never came is given as it is."""
        held, self._held = self._held, b""
        return self._pieces(held)

    def _pieces(self, data: bytes) -> list[Output]:
        if not data:
            return []
        offset = self._offset
        self._offset += len(data)
        try:
            return [Output(stream=self._stream, offset=offset, text=data.decode())]
        except UnicodeDecodeError:
            return [Output(stream=self._stream, offset=offset, base64=base64.b64encode(data).decode())]


def _split_incomplete(data: bytes) -> tuple[bytes, bytes]:
    """Part the trailing bytes that may be the beginning of a character from the rest."""
    for length in (1, 2, 3):
        tail = data[-length:]
        if len(tail) < length or tail[0] & 0xC0 == 0x80:
            continue
        if tail[0] >= 0xC2 and _is_prefix(tail):
            return data[:-length], tail
        break
    return data, b""


def _is_prefix(tail: bytes) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        return decoder.decode(tail) == ""
    except UnicodeDecodeError:
        return False
