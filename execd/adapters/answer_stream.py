"""An answer whose head has come and whose body is read piece by piece."""

from __future__ import annotations

from collections.abc import Iterator

import h11
import msgspec
import trio

from execd.adapters.call_budget import CallBudget
from execd.adapters.content_decoding import PIECE_BYTES, CodingError, decoder_for
from execd.adapters.http_connection import HttpConnection
from execd.adapters.http_message import decode_headers, first_header
from execd.ports.http_caller import HttpCallError


class Body(msgspec.Struct, frozen=True):
    """A body, or its beginning."""

    data: bytes
    seen_bytes: int
    truncated: bool


class AnswerStream:
    """The head, and `read` for the rest. Lives as long as its call; the connection is the call's."""

    def __init__(self, response: h11.Response, connection: HttpConnection, budget: CallBudget) -> None:
        self.status = response.status_code
        self.reason = response.reason.decode("latin-1")
        self.http_version = response.http_version.decode("ascii")
        self.headers = decode_headers(response)
        self._connection = connection
        self._budget = budget
        coding = first_header(self.headers, "content-encoding")
        self._decoder = decoder_for(coding) if coding else None
        self.is_decoded = self._decoder is not None or (coding or "identity").strip().lower() == "identity"
        self._pieces: Iterator[bytes] | None = None

    async def read(self) -> bytes | None:
        """Wait for the next piece of the decompressed body; None after the last.

        Raises:
            HttpCallError: `protocol`: it was cut, or is not what it claims to be.
        """
        while True:
            piece = self._next_piece()
            if piece is not None:
                if len(piece) == PIECE_BYTES:
                    await trio.lowlevel.checkpoint()  # a bomb goes off in small bangs, and others run between them
                return piece
            data = await self._connection.receive_data(self._budget)
            if self._decoder is None:
                return data
            if data is None:
                self._check_end()
                return None
            self._pieces = self._decoder.feed(data)

    async def read_up_to(self, limit_bytes: int) -> Body:
        """Read the body, and stop when it is over the limit; the connection is then of no further use."""
        kept = bytearray()
        seen_bytes = 0
        while (piece := await self.read()) is not None:
            seen_bytes += len(piece)
            kept += piece[: max(0, limit_bytes - len(kept))]
            if seen_bytes > limit_bytes:
                return Body(bytes(kept), seen_bytes, truncated=True)
        return Body(bytes(kept), seen_bytes, truncated=False)

    def _next_piece(self) -> bytes | None:
        if self._pieces is None:
            return None
        try:
            piece = next(self._pieces, None)
        except CodingError as error:
            raise self._not_decodable(error) from error
        if piece is None:
            self._pieces = None
        return piece

    def _check_end(self) -> None:
        assert self._decoder is not None
        try:
            self._decoder.finish()
        except CodingError as error:
            raise self._not_decodable(error) from error

    def _not_decodable(self, error: CodingError) -> HttpCallError:
        return HttpCallError(str(error), code="protocol", retryable=False, was_sent=True)
