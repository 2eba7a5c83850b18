"""From raw bytes to pieces that JSON can carry, without ever splitting a character or losing a byte.

A piece is text where the bytes are UTF-8 and base64 where they are not. An incomplete character at the end of a chunk
(at most three bytes) is held back until the next chunk or the end. Nothing is ever replaced by U+FFFD. Secrets are
blotted out first, and what may be the beginning of one is held back too.
"""

from __future__ import annotations

import base64
import codecs

from execd.core.events import Output, Stream
from execd.core.masking import Mask, PieceMask


class OutputDecoder:
    """Cuts one stream into `Output` pieces with contiguous offsets. Owned by one task.

    Args:
        mask: what must not be seen; offsets then count what is told, in which a blot stands for a secret: they would tell
            its length otherwise.
    """

    def __init__(self, stream: Stream, mask: Mask | None = None) -> None:
        self._stream = stream
        self._mask = None if mask is None or mask.bytes is None else PieceMask(mask.bytes)
        self._held = b""
        self._offset = 0

    def feed(self, data: bytes) -> list[Output]:
        """Take the next bytes; give the pieces that are complete."""
        if self._mask is not None:
            data = self._mask.feed(data)
        whole, self._held = _split_incomplete(self._held + data)
        return self._pieces(whole)

    def finish(self) -> list[Output]:
        """End the stream: what was held back for a character that never came is given as it is."""
        held, self._held = self._held, b""
        if self._mask is not None:
            held += self._mask.finish()
        return self._pieces(held)

    def cut(self) -> int:
        """Drop what may be the beginning of a secret, because what follows is missing; give how many bytes that were."""
        return 0 if self._mask is None else self._mask.cut()

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
