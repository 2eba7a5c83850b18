"""The frames of the n8n-pattern dialect at the pace of its readers, and always an end.

A reader that parses each chunk by itself loses what is cut between two chunks. It is cut when more is waiting than one read
takes (64 KiB), so frames go out one by one, with time in between for the reader to run. When the execution is over, the
end of every node is told once more, which mends what was lost anyway; then, after a pause and alone, comes the last frame.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence

import trio

from execd.core.codec import StoredEvent
from execd.core.errors import ExecdError
from execd.core.event_types import RESULT_STORED
from execd.http.dialects.n8n import NODE_ENDS, broken_off, encode_frame
from execd.http.framing import Dialect
from execd.ports import EvictedError, Store, StreamedEvent, Subscription, Take

MIN_PAUSE_S = 0.001
"""After each frame: a turn for the reader. Without any, 8 to 14 of 3,000 frames were lost; with it none."""
BYTES_PER_S = 256 * 1024
"""So a reader that does not run for 0.16 s still finds less than 48 KiB waiting."""
END_PAUSE_S = 0.1
"""Before the last frame, so that it comes in a read of its own."""
RECAP_BYTES = 64 * 1024
"""Of the journal, read at one time for the second telling."""

Subscribe = Callable[[int], Awaitable[Subscription]]
"""Follows the same journal from after this seq."""


class PacedFeed:
    """One execution's frames, one for each call. Owns: the frames that wait, and where it stands in the second telling."""

    def __init__(
        self,
        subscription: Subscription,
        dialect: Dialect,
        *,
        store: Store,
        subscribe: Subscribe,
        draining: trio.Event,
    ) -> None:
        self._subscription = subscription
        self._dialect = dialect
        self._store = store
        self._draining = draining
        self._subscribe = subscribe
        self._waiting: deque[bytes] = deque()
        self._last: bytes | None = None
        """The frame after which nothing follows; known when the execution is over."""
        self._recap_seq = 0
        self._is_told = False
        """Whether only the last frame is left."""
        self._not_before = 0.0
        self._last_at: float | None = None
        self.is_complete = False

    def opening(self) -> bytes:
        return b""

    def heartbeat(self) -> bytes:
        return self._dialect.make_heartbeat()

    async def open(self) -> None:
        """Nothing to begin: the subscription is there already."""

    async def next_blocks(self) -> bytes:
        """Wait for the next frame, and for the time to send it. Cancellation: safe, no frame is skipped."""
        while not self._waiting:
            if self._is_told and self._last is not None:
                return await self._give_last(self._last)
            await self._fetch()
        await trio.sleep_until(self._not_before)
        frame = self._waiting.popleft()
        self._not_before = trio.current_time() + max(MIN_PAUSE_S, len(frame) / BYTES_PER_S)
        return frame

    async def _give_last(self, frame: bytes) -> bytes:
        if self._last_at is None:
            self._last_at = max(self._not_before, trio.current_time() + END_PAUSE_S)
        await trio.sleep_until(self._last_at)
        self.is_complete = True
        return frame

    async def close(self) -> None:
        self._subscription.close()

    def eviction(self, reason: str) -> bytes:
        return self._dialect.make_eviction(reason, self._subscription.last_seq)

    async def relay(self, take: Take) -> None:
        """Never: a short cut would know nothing of pace."""

    async def _fetch(self) -> None:
        """Fill the line: from the journal, then from the second telling. Whatever breaks it off is told as an end."""
        try:
            if self._last is None:
                self._take(await self._subscription.receive())
            else:
                await self._recapitulate()
        except EvictedError as error:
            await self._resume(error)
        except ExecdError as error:
            self._end(error.code)

    def _take(self, events: Sequence[StreamedEvent]) -> None:
        for event in events:
            frame = self._dialect.frame(event)
            if event.type == RESULT_STORED:
                self._last = frame
            elif frame:
                self._waiting.append(frame)

    async def _recapitulate(self) -> None:
        """Tell the next ends of nodes again; not while the server goes down, which leaves little time for the last frame."""
        stored: Sequence[StoredEvent] = ()
        if not self._draining.is_set():
            stored = await self._store.read_events(
                self._subscription.execution_id, after_seq=self._recap_seq, limit_bytes=RECAP_BYTES, types=NODE_ENDS
            )
        if not stored:
            self._is_told = True
            return
        self._recap_seq = stored[-1].seq
        for event in stored:
            if frame := self._dialect.frame(StreamedEvent(seq=event.seq, type=event.type, body=event.body)):
                self._waiting.append(frame)

    async def _resume(self, error: EvictedError) -> None:
        """Paced, it may fall behind what the router keeps for it; then it goes on from the store. Going down is an end."""
        if error.reason == "draining":
            self._end(error.reason)
            return
        self._subscription.close()
        try:
            self._subscription = await self._subscribe(error.last_seq)
        except ExecdError as refused:
            self._end(refused.code)

    def _end(self, reason: str) -> None:
        frame = broken_off(self._subscription.execution_id, reason, self._subscription.last_seq)
        self._last = encode_frame(frame)
        self._is_told = True
