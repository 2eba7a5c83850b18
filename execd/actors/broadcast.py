"""One execution's broadcast channel: a log with cursors, not a queue per viewer.

`BroadcastLog` keeps the newest events of a journal, up to a limit in bytes, each encoded once. A `Cursor` is a viewer's
place in the journal: level with the log it is handed the very same objects as everyone, behind it it reads the store,
page by page, and then meets the log without a seam, because an event is in the store before it is in the log.

Owns: the log is the stream router's; a cursor only reads it, and parks on it when there is nothing new.
A viewer costs the log nothing but a parked task, so a slow one slows nobody; memory per viewer is one page.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import trio

from execd.core.codec import StoredEvent
from execd.core.event_types import RESULT_STORED
from execd.core.events import ExecutionId, WorkspaceId
from execd.ports import EvictedError, Store, StreamedEvent, Take

PAGE_BYTES = 256 * 1024
"""What a cursor takes at once: enough to make replay cheap, little enough to bound a viewer's memory."""


class BroadcastLog:
    """The newest events of one journal and the viewers that wait for more."""

    def __init__(self, execution_id: ExecutionId, *, limit_bytes: int) -> None:
        self.execution_id = execution_id
        self.cursors: dict[Cursor, None] = {}
        """In the order they came; a set would have none that reruns the same."""
        self.kept_bytes = 0
        self.appended_bytes = 0
        """All that ever went through, to measure how far behind a viewer is."""
        self.is_ended = False
        self._limit_bytes = limit_bytes
        self._looked_at_bytes = 0
        self._events: deque[StreamedEvent] = deque()
        self._waiters = trio.lowlevel.ParkingLot()

    @property
    def last_seq(self) -> int:
        """0 while nothing was published since the log was made; the store may have more."""
        return self._events[-1].seq if self._events else 0

    def append(self, stored: StoredEvent) -> int:
        """Add the next event and wake who waits; give by how many bytes the log grew after trimming."""
        before = self.kept_bytes
        if self._events and stored.seq != self.last_seq + 1:
            # Something stored was never published (the writer died in between): only the store has the hole.
            self._events.clear()
            self.kept_bytes = 0
        self._events.append(StreamedEvent(seq=stored.seq, type=stored.type, body=stored.body))
        self.kept_bytes += len(stored.body)
        self.appended_bytes += len(stored.body)
        self.is_ended = stored.type == RESULT_STORED
        while self.kept_bytes > self._limit_bytes and len(self._events) > 1:
            self.kept_bytes -= len(self._events.popleft().body)
        return self.kept_bytes - before

    def has_news_since_last_look(self) -> bool:
        """Whether anything was appended since this was last asked."""
        has_news = self.appended_bytes != self._looked_at_bytes
        self._looked_at_bytes = self.appended_bytes
        return has_news

    def clear(self) -> int:
        """Forget every event and give how many bytes that freed; cursors read on in the store, also those that relay."""
        freed, self.kept_bytes = self.kept_bytes, 0
        self._events.clear()
        for cursor in list(self.cursors):
            cursor.offer(None)
        self.wake()
        return freed

    def evict(self, cursors: Sequence[Cursor], reason: str) -> None:
        """End some viewers' streams early, and wake each once."""
        for cursor in cursors:
            cursor.mark_evicted(reason)
        self.wake()

    def wake(self) -> None:
        """Hand what is new to the cursors that relay, and let every waiting one look again."""
        offers: dict[int, list[StreamedEvent] | None] = {}
        for cursor in [cursor for cursor in self.cursors if cursor.is_relaying]:
            seq = cursor.last_seq
            if seq not in offers:
                offers[seq] = self.after(seq)
            cursor.offer(offers[seq])
        self._waiters.unpark_all()

    async def wait(self) -> None:
        """Park until `wake`."""
        await self._waiters.park()

    def after(self, seq: int) -> list[StreamedEvent] | None:
        """Give the next events after `seq`, at most a page; empty when level, None when the log does not reach back so far."""
        if not self._events or seq >= self._events[-1].seq:
            return []
        first = self._events[0].seq
        if seq + 1 < first:
            return None
        return _one_page(self._events, seq + 1 - first)

    def reaches_back_to(self, seq: int) -> bool:
        """Whether the event after `seq` can only come from here, or does not exist yet. Of a viewer that has seen more than
        was published here (by another instance, say) this log knows nothing."""
        return bool(self._events) and self._events[0].seq - 1 <= seq <= self._events[-1].seq


def _one_page(events: Sequence[StreamedEvent], start: int) -> list[StreamedEvent]:
    page: list[StreamedEvent] = []
    size = 0
    for index in range(start, len(events)):
        event = events[index]
        size += len(event.body)
        if page and size > PAGE_BYTES:
            break
        page.append(event)
    return page


class Cursor:
    """One viewer's place in a journal; implements `ports.Subscription`."""

    def __init__(
        self,
        log: BroadcastLog,
        store: Store,
        *,
        workspace: WorkspaceId,
        after_seq: int,
        max_lag_bytes: int,
        on_close: Callable[[Cursor], None],
    ) -> None:
        self.workspace = workspace
        self.last_seq = after_seq
        self._log = log
        self._store = store
        self._max_lag_bytes = max_lag_bytes
        self._on_close = on_close
        self._joined_seq = log.last_seq
        self._seen_bytes = log.appended_bytes
        """How much of what went through the log this viewer has had; what was there before it came does not count."""
        self._is_over = False
        self._eviction: str | None = None
        self._take: Take | None = None
        self._relay_ended = trio.Event()

    @property
    def is_relaying(self) -> bool:
        return self._take is not None

    @property
    def execution_id(self) -> ExecutionId:
        return self._log.execution_id

    @property
    def lag_bytes(self) -> int:
        return self._log.appended_bytes - self._seen_bytes

    @property
    def is_too_slow(self) -> bool:
        return self.lag_bytes > self._max_lag_bytes

    def mark_evicted(self, reason: str) -> None:
        """End this viewer's stream early; it is told at its next `receive`. One that waits must be woken (`BroadcastLog.evict`)."""
        self._eviction = self._eviction or reason
        self.offer(None)

    async def receive(self) -> Sequence[StreamedEvent]:
        """See `ports.Subscription.receive`."""
        while True:
            self._raise_if_over()
            events: Sequence[StreamedEvent] | None = self._log.after(self.last_seq)
            if not events:
                events = await self._read_store_or_wait()
            if events:
                await trio.lowlevel.checkpoint_if_cancelled()
                return self._hand_out(events)

    async def relay(self, take: Take) -> None:
        """See `ports.Subscription.relay`."""
        self._raise_if_over()
        if not self._log.reaches_back_to(self.last_seq) or self._log.after(self.last_seq):
            return
        self._take, self._relay_ended = take, trio.Event()
        try:
            await self._relay_ended.wait()
        finally:
            self._take = None

    def offer(self, events: Sequence[StreamedEvent] | None) -> None:
        """As the log: give the taker what is new; end the relay when it is full, evicted or at the end, or when
        there is more than a page: `receive` goes on then."""
        if events == []:
            return
        if events and self._take is not None and self._eviction is None:
            can_take_more = self._take(events)
            self._hand_out(events)
            is_level = self._log.after(self.last_seq) == []
            if can_take_more and is_level and not self._is_over:
                return
        self._take = None
        self._relay_ended.set()

    def close(self) -> None:
        self._on_close(self)

    def _raise_if_over(self) -> None:
        if self._eviction is not None:
            raise EvictedError(self._eviction, last_seq=self.last_seq)
        if self._is_over:
            raise trio.EndOfChannel

    async def _read_store_or_wait(self) -> Sequence[StreamedEvent]:
        """Three cases: behind the log, so the store has it; level with it, so wait; and nothing is known yet (the log is
        new), so the store is asked first, also whether the viewer has seen the end already."""
        appended_bytes = self._log.appended_bytes
        if not self._log.reaches_back_to(self.last_seq):
            stored = await self._read_store(self.last_seq)
            if stored:
                return stored
            self._is_over = await self._has_seen_the_end()
            if self._log.appended_bytes != appended_bytes:
                return ()
        if self._eviction is None and not self._is_over:
            await self._log.wait()
        return ()

    async def _has_seen_the_end(self) -> bool:
        last = await self._read_store(self.last_seq - 1) if self.last_seq > 0 else ()
        return bool(last) and last[0].type == RESULT_STORED

    async def _read_store(self, after_seq: int) -> Sequence[StreamedEvent]:
        stored = await self._store.read_events(self.execution_id, after_seq=after_seq, limit_bytes=PAGE_BYTES)
        return [StreamedEvent(seq=event.seq, type=event.type, body=event.body) for event in stored]

    def _hand_out(self, events: Sequence[StreamedEvent]) -> Sequence[StreamedEvent]:
        self.last_seq = events[-1].seq
        self._seen_bytes += sum(len(event.body) for event in events if event.seq > self._joined_seq)
        self._seen_bytes = min(self._seen_bytes, self._log.appended_bytes)
        self._is_over = events[-1].type == RESULT_STORED
        return events
