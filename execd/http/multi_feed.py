"""Several journals over one SSE connection: browsers open six per host and no more.

Each journal is read by a task of its own that hands its events over directly (no buffer), so a viewer holds at most one
page per journal. The id of each block is the composite cursor of all journals at that point.
"""

from __future__ import annotations

from collections.abc import Sequence

import trio

from execd.core.event_types import RESULT_STORED
from execd.http.cursors import join_cursor
from execd.http.sse import HEARTBEAT, frame_eviction, frame_tail
from execd.ports import EvictedError, StreamedEvent, Subscription, Take


class MultiFeed:
    """The merged blocks of several journals. Owns the tasks that read them."""

    def __init__(self, subscriptions: Sequence[Subscription], after: Sequence[int]) -> None:
        self._subscriptions = subscriptions
        self._seqs = list(after)
        self._ended_count = 0
        self._eviction: EvictedError | None = None
        self._to_feed, self._arriving = trio.open_memory_channel[tuple[int, Sequence[StreamedEvent]]](0)
        self._nursery_manager = trio.open_nursery()
        self._nursery: trio.Nursery | None = None

    @property
    def is_complete(self) -> bool:
        return self._ended_count == len(self._subscriptions)

    def opening(self) -> bytes:
        return b""

    def heartbeat(self) -> bytes:
        return HEARTBEAT

    async def open(self) -> None:
        self._nursery = await self._nursery_manager.__aenter__()
        for place, subscription in enumerate(self._subscriptions):
            self._nursery.start_soon(self._read, place, subscription)

    async def next_blocks(self) -> bytes:
        if self._eviction is not None:
            raise self._eviction
        place, events = await self._arriving.receive()
        if not events and self._eviction is not None:
            raise self._eviction
        return b"".join(self._frame(place, event) for event in events)

    async def relay(self, take: Take) -> None:
        """Nothing: ids of several executions are this feed's own, so its blocks are not everybody's."""

    async def close(self) -> None:
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()
            self._nursery = None
            await self._nursery_manager.__aexit__(None, None, None)
        for subscription in self._subscriptions:
            subscription.close()

    def eviction(self, reason: str) -> bytes:
        return frame_eviction(reason, join_cursor(self._seqs), self._seqs)

    def _frame(self, place: int, event: StreamedEvent) -> bytes:
        self._seqs[place] = event.seq
        if event.type == RESULT_STORED:
            self._ended_count += 1
        return b"id: %b\n%b" % (join_cursor(self._seqs).encode(), frame_tail(event))

    async def _read(self, place: int, subscription: Subscription) -> None:
        try:
            while True:
                await self._to_feed.send((place, await subscription.receive()))
        except trio.EndOfChannel:
            return
        except EvictedError as error:
            self._eviction = self._eviction or error
            await self._to_feed.send((place, ()))
