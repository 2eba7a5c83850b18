"""Undo gzip and deflate piece by piece, never making more bytes at once than asked for, so that a bomb stays small.

No I/O. What is in another coding, or in several, is left as it came.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

ACCEPTED_CODINGS = "gzip, deflate"
PIECE_BYTES = 256 * 1024
"""Decompressed at one go; about 1 ms, after which others get their turn."""

_GZIP = 16 + zlib.MAX_WBITS
_ZLIB = zlib.MAX_WBITS
_RAW_DEFLATE = -zlib.MAX_WBITS


class CodingError(Exception):
    """The body is not in the coding it claims, or ends in the middle."""


class Decoder:
    """Decodes one body."""

    def __init__(self, window_bits: int) -> None:
        self._window_bits = window_bits
        self._inflater = zlib.decompressobj(window_bits)
        self._has_begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Give what these bytes decode to, in pieces; stop asking and no more is made.

        Raises:
            CodingError: they are not in this coding.
        """
        rest = data
        is_full = False  # a full piece may leave output inside, even when all input is taken
        while rest or is_full:
            if self._inflater.eof:  # gzip may have several members; anything else behind the end is padding
                if self._window_bits != _GZIP or not rest.startswith(b"\x1f"):
                    return
                self._inflater = zlib.decompressobj(_GZIP)
            piece = self._inflate(rest)
            rest = self._inflater.unconsumed_tail or self._inflater.unused_data
            is_full = len(piece) == PIECE_BYTES and not self._inflater.eof
            if piece:
                yield piece

    def finish(self) -> None:
        """Check that the body was whole; an empty one is.

        Raises:
            CodingError: it ended in the middle.
        """
        if self._has_begun and not self._inflater.eof:
            raise CodingError("the compressed body ends in the middle")

    def _inflate(self, data: bytes) -> bytes:
        try:
            piece = self._inflater.decompress(data, PIECE_BYTES)
        except zlib.error as error:
            if self._window_bits != _ZLIB or self._has_begun:
                raise CodingError("the body is not in the compression it claims") from error
            # "deflate" means zlib (RFC 9110, 8.4.1.2), and some servers never knew.
            self._window_bits = _RAW_DEFLATE
            self._inflater = zlib.decompressobj(_RAW_DEFLATE)
            return self._inflate(data)
        self._has_begun = True
        return piece


def decoder_for(content_encoding: str) -> Decoder | None:
    """Give a decoder for a `Content-Encoding`; None for a coding that is not known here."""
    match content_encoding.strip().lower():
        case "gzip" | "x-gzip":
            return Decoder(_GZIP)
        case "deflate":
            return Decoder(_ZLIB)
    return None
