"""The wire format of Server-Sent Events in execd's own words, and the body that carries a stream in any.

Source: WHATWG HTML, section 9.2 "Server-sent events". Every block has data, so no client ever sees an empty message; the
first carries `retry`; the heartbeat is the two bytes `:\\n` between blocks. A stream that ends before `result_stored`
says so with an `evicted` block, whose id is the cursor to resume from, because a clean end alone means "reconnect" to
some clients and "finished" to others.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

import trio
from quart.wrappers.response import ResponseBody

from execd.core.codec import encode_json
from execd.core.event_types import RESULT_STORED
from execd.http.framing import Dialect
from execd.ports import EvictedError, StreamedEvent, Subscription, Take

HEARTBEAT = b":\n"
REVOKED = "credential_revoked"
"""Why a stream ends whose credential was revoked."""
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


def _frame_event(event: StreamedEvent) -> bytes:
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (event.seq, event.type.encode(), event.body)


def frame_eviction(reason: str, cursor: str, last_seq: int | Sequence[int]) -> bytes:
    """Give the block that ends a stream early; its id repeats the cursor, which leaves every client where it was."""
    body = encode_json({"type": "evicted", "reason": reason, "last_seq": last_seq})
    return b"id: %b\nevent: evicted\ndata: %b\n\n" % (cursor.encode(), body)


NATIVE = Dialect(
    name="sse",
    project=_frame_event,
    make_heartbeat=lambda: HEARTBEAT,
    make_eviction=lambda reason, last_seq: frame_eviction(reason, str(last_seq), last_seq),
)
"""execd's own: each event as it is in the journal."""


class Feed(Protocol):
    """Where a body takes its blocks from."""

    def opening(self) -> bytes:
        """Give the blocks that are sent at once; none where the first block is that of the first event."""

    def heartbeat(self) -> bytes:
        """Give what breaks a silence."""

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
    """One journal's blocks in one dialect. Owns: the page at hand."""

    def __init__(self, subscription: Subscription, dialect: Dialect = NATIVE) -> None:
        self._subscription = subscription
        self._dialect = dialect
        self._page: deque[StreamedEvent] = deque()
        self._last_seq = subscription.last_seq
        self.is_complete = False

    def opening(self) -> bytes:
        return self._dialect.make_opening()

    def heartbeat(self) -> bytes:
        return self._dialect.make_heartbeat()

    async def open(self) -> None:
        """Nothing to begin: the subscription is there already."""

    async def next_blocks(self) -> bytes:
        """Events for which the dialect has no word are passed over without an end of the wait."""
        blocks = b""
        while not blocks and not self.is_complete:
            if not self._page:
                self._page.extend(await self._subscription.receive())
            blocks = self._frame_page()
        return blocks

    def _frame_page(self) -> bytes:
        blocks: list[bytes] = []
        size = 0
        while self._page and size < BLOCKS_BYTES:
            event = self._page.popleft()
            blocks.append(self._dialect.frame(event))
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
        return self._dialect.make_eviction(reason, self._last_seq)


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
    retry_ms: int | None
    """When to come back; None says nothing of it. Random, so that a restart does not bring every viewer back at one instant."""
    may_stay: Callable[[], Awaitable[bool]]
    """Whether the credential is still good; asked once in every `heartbeat_s`."""


class EventStreamBody(ResponseBody):
    """A response body that follows a feed to its end. Iterated by one task.

    No cancel scope or nursery is ever open while a block is handed over: each call makes and leaves its own.
    """

    def __init__(self, feed: Feed, pace: Pace, shortcut: Shortcut | None = None) -> None:
        self._feed = feed
        self._pace = pace
        self._shortcut = shortcut
        self._prefix = b"" if pace.retry_ms is None else b"retry: %d\n" % pace.retry_ms
        self._has_opened = False
        self._is_over = False
        self._deadline = math.inf
        self._look_at = math.inf

    async def __aenter__(self) -> EventStreamBody:
        self._deadline = trio.current_time() + self._pace.lifetime_s
        self._look_at = trio.current_time() + self._pace.heartbeat_s
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
        """Five cases: the dialect has something to say first; blocks come; the silence lasts, so a heartbeat; the
        connection's time is up; its credential is gone."""
        if not self._has_opened:
            self._has_opened = True
            if opening := self._feed.opening():
                return self._first(opening)
        heartbeat_at = trio.current_time() + self._pace.heartbeat_s
        while True:
            if trio.current_time() >= self._deadline:
                return self._end(self._pace.lifetime_reason)
            if not await self._may_stay():
                return self._end(REVOKED)
            if trio.current_time() >= heartbeat_at:
                return self._feed.heartbeat()
            with trio.move_on_at(min(heartbeat_at, self._deadline, self._look_at)):
                return await self._receive()

    async def _may_stay(self) -> bool:
        if trio.current_time() < self._look_at:
            return True
        self._look_at = trio.current_time() + self._pace.heartbeat_s
        return await self._pace.may_stay()

    async def _receive(self) -> bytes:
        if self._shortcut is not None and not self._prefix:
            await self._feed.relay(self._shortcut.take)
            await self._shortcut.flush()
        blocks = await self._feed.next_blocks()
        self._is_over = self._feed.is_complete
        return self._first(blocks)

    def _end(self, reason: str) -> bytes:
        self._is_over = True
        return self._first(self._feed.eviction(reason))

    def _first(self, blocks: bytes) -> bytes:
        """Put `retry` into the first block, where it is no block of its own."""
        prefix, self._prefix = self._prefix, b""
        return prefix + blocks if prefix else blocks
