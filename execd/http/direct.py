"""The short cut of a live stream: blocks written straight to the socket, past task, framework and protocol.

With hundreds of viewers the cost of an event is not the event but the way to each socket: a task switch, quart, ASGI, h11.
A level viewer's blocks are the same bytes for everyone, already framed as an HTTP/1.1 chunk, so they are handed to the
kernel at once; h11, which keeps no count of chunks, resumes after them. What the kernel does not take is kept and flushed
by the stream's own task, under the same deadline as every other send, before anything else is written.

Never: waits; writes while a send is under way; is used but for a chunked response of HTTP/1.1 that has begun.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence

from execd.http.framing import Dialect
from execd.http.sse import NATIVE
from execd.ports import StreamedEvent

SCOPE_KEY = "execd.direct"
"""Where the ASGI scope's `state` has the writer of its connection."""


class DirectWriter:
    """One connection's way to its socket. Owned by the connection, used by one stream at a time."""

    def __init__(
        self, fileno: Callable[[], int], *, is_busy: Callable[[], bool], send: Callable[[bytes], Awaitable[None]]
    ) -> None:
        self._fileno = fileno
        self._is_busy = is_busy
        self._send = send
        self._rest = b""
        self._dialect = NATIVE
        self.taken_bytes = 0
        """Of the current response, to be counted with what went the long way."""

    def begin(self, dialect: Dialect = NATIVE) -> None:
        """Start a new response: its dialect, and the count of its bytes."""
        self._dialect = dialect
        self.taken_bytes = 0

    def take(self, events: Sequence[StreamedEvent]) -> bool:
        """Write the blocks of these events; False when some of it has to be flushed before there can be more."""
        chunk = self._dialect.chunk
        data = chunk(events[0]) if len(events) == 1 else b"".join(map(chunk, events))
        self.taken_bytes += len(data)
        written = 0
        if data and not self._rest and not self._is_busy():
            try:
                written = os.write(self._fileno(), data)
            except OSError:
                # Full, or broken: the flush waits for the one and is told of the other.
                written = 0
        self._rest += data[written:]
        return not self._rest

    async def flush(self) -> None:
        """Send what the kernel did not take.

        Cancellation: before the first byte only, and then nothing is lost: half a chunk is never left behind.
        """
        if self._rest:
            await self._send(self._rest)
            self._rest = b""
