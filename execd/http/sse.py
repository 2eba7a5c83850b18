"""The wire format of Server-Sent Events, and the body that carries one stream.

Source: WHATWG HTML, section 9.2 "Server-sent events". Every block has data, so no client ever sees an empty message; the
first carries `retry`; the heartbeat is the two bytes `:\\n` between blocks. A stream that ends before `result_stored`
says so with an `evicted` block, whose id is the cursor to resume from, because a clean end alone means "reconnect" to
some clients and "finished" to others.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

import trio
from quart.wrappers.response import ResponseBody

from execd.core.codec import encode_json
from execd.core.event_types import RESULT_STORED
from execd.ports import EvictedError, StreamedEvent, Subscription, Take

HEARTBEAT = b":\n"
FRAMING = "sse"
"""The key of this framing in `StreamedEvent.frames`."""
TAIL_FRAMING = "sse-tail"
"""The same without the id line, for streams whose ids are their own."""

HEADERS = {
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",
}
CONTENT_TYPE = "text/event-stream; charset=utf-8"


def frame_tail(event: StreamedEvent) -> bytes:
    """Give everything of an event's block but its id; made once for all viewers."""
    tail = event.frames.get(TAIL_FRAMING)
    if tail is None:
        tail = event.frames[TAIL_FRAMING] = b"event: %b\ndata: %b\n\n" % (event.type.encode(), event.body)
    return tail


def frame_event(event: StreamedEvent) -> bytes:
    """Give an event's block; made once for all viewers."""
    frame = event.frames.get(FRAMING)
    if frame is None:
        frame = event.frames[FRAMING] = b"id: %d\nevent: %b\ndata: %b\n\n" % (
            event.seq,
            event.type.encode(),
            event.body,
        )
    return frame


def frame_eviction(reason: str, cursor: str, last_seq: int | Sequence[int]) -> bytes:
    """Give the block that ends a stream early; its id repeats the cursor, which leaves every client where it was."""
    body = encode_json({"type": "evicted", "reason": reason, "last_seq": last_seq})
    return b"id: %b\nevent: evicted\ndata: %b\n\n" % (cursor.encode(), body)


class Feed(Protocol):
    """Where a body takes its blocks from."""

    async def open(self) -> None:
        """Begin; called once, after the headers were sent."""

    async def next_blocks(self) -> bytes:
        """Wait for the next whole blocks. Cancellation: safe, nothing is skipped.

        Raises:
            trio.EndOfChannel: the stream is complete.
            EvictedError: it ends early.
        """

    async def close(self) -> None:
        """Give back what `open` took. Idempotent."""

    def eviction(self, reason: str) -> bytes:
        """Give the block that ends it here."""

    async def relay(self, take: Take) -> None:
        """Let `take` have what comes without this task, as long as that works. Returns at once where it does not."""

    @property
    def is_complete(self) -> bool:
        """Whether the last block that was given is the last of all."""


BLOCKS_BYTES = 64 * 1024
"""Framed at one time: each is copied on its way through framework and protocol, and all copies stay while a client stalls."""


class JournalFeed:
    """One journal's blocks. Owns: the page at hand."""

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription
        self._page: deque[StreamedEvent] = deque()
        self._last_seq = subscription.last_seq
        self.is_complete = False

    async def open(self) -> None:
        """Nothing to begin: the subscription is there already."""

    async def next_blocks(self) -> bytes:
        if not self._page:
            self._page.extend(await self._subscription.receive())
        blocks: list[bytes] = []
        size = 0
        while self._page and size < BLOCKS_BYTES:
            event = self._page.popleft()
            blocks.append(frame_event(event))
            size += len(blocks[-1])
            self._last_seq = event.seq
            self.is_complete = event.type == RESULT_STORED
        return b"".join(blocks)

    async def relay(self, take: Take) -> None:
        if not self._page:
            try:
                await self._subscription.relay(take)
            finally:
                self._last_seq = self._subscription.last_seq

    async def close(self) -> None:
        self._subscription.close()

    def eviction(self, reason: str) -> bytes:
        return frame_eviction(reason, str(self._last_seq), self._last_seq)


class Shortcut(Protocol):
    """A way to the client's socket past this task (execd/http/direct.py)."""

    def take(self, events: Sequence[StreamedEvent]) -> bool:
        """As `ports.Take`."""

    async def flush(self) -> None:
        """Send what could not be written at once; before this nothing else may be sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How one connection is served."""

    heartbeat_s: float
    lifetime_s: float
    """Until it is asked to come back; math.inf for ever."""
    lifetime_reason: str
    """`lifetime`, or `credential_expired` where that comes first."""
    retry_ms: int
    """Random, so that a restart does not bring every viewer back at one instant."""


class EventStreamBody(ResponseBody):
    """A response body that follows a feed to its end. Iterated by one task.

    No cancel scope or nursery is ever open while a block is handed over: each call makes and leaves its own.
    """

    def __init__(self, feed: Feed, pace: Pace, shortcut: Shortcut | None = None) -> None:
        self._feed = feed
        self._pace = pace
        self._shortcut = shortcut
        self._prefix = b"retry: %d\n" % pace.retry_ms
        self._is_over = False
        self._deadline = math.inf

    async def __aenter__(self) -> EventStreamBody:
        self._deadline = trio.current_time() + self._pace.lifetime_s
        await self._feed.open()
        return self

    async def __aexit__(
        self, exc_type: type | None, exc_value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._feed.close()  # noqa: ASYNC102 - gives places back; the request's own stack does it again if cut short

    def __aiter__(self) -> EventStreamBody:
        return self

    async def __anext__(self) -> bytes:
        if self._is_over:
            raise StopAsyncIteration
        try:
            return await self._next_blocks()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None
        except EvictedError as error:
            return self._end(error.reason)
        finally:
            if self._shortcut is not None:
                await self._shortcut.flush()  # noqa: ASYNC102 - a cancelled stream is cut anyway, and its rest with it

    async def _next_blocks(self) -> bytes:
        """Three cases: blocks come; the silence lasts, so a heartbeat; the connection's time is up."""
        if trio.current_time() >= self._deadline:
            return self._end(self._pace.lifetime_reason)
        with trio.move_on_at(min(trio.current_time() + self._pace.heartbeat_s, self._deadline)):
            if self._shortcut is not None and not self._prefix:
                await self._feed.relay(self._shortcut.take)
                await self._shortcut.flush()
            blocks = await self._feed.next_blocks()
            self._is_over = self._feed.is_complete
            return self._first(blocks)
        if trio.current_time() >= self._deadline:
            return self._end(self._pace.lifetime_reason)
        return HEARTBEAT

    def _end(self, reason: str) -> bytes:
        self._is_over = True
        return self._first(self._feed.eviction(reason))

    def _first(self, blocks: bytes) -> bytes:
        """Put `retry` into the first block, where it is no block of its own."""
        prefix, self._prefix = self._prefix, b""
        return prefix + blocks if prefix else blocks
