"""Replay: what has ended, once more in its own rhythm, over the same doors and with the same bytes as live.

A replay is a subscription that hands each event out when it is due, so limits, cursors, heartbeats, lifetimes and memory are
those of every other stream. It reads the journal page by page as the viewer goes on. Level with the wall clock it cannot be:
an execution that still runs is refused. It knows no web framework: the command line replays with it too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from datetime import datetime

import trio

from execd.core.errors import ConflictError
from execd.core.events import ExecutionId
from execd.core.replay import Rhythm, moment_of
from execd.ports import EvictedError, ExecutionRecord, Store, StreamedEvent, Subscription, Take


def check_replayable(record: ExecutionRecord) -> None:
    """Raise ConflictError for an execution that goes on."""
    if not record.status.is_final:
        raise ConflictError(
            f"the execution is {record.status}, and only what has ended can be replayed: leave `speed` out to follow it live"
        )


class ReplayedSubscription:
    """Implements `ports.Subscription` around another one, of an execution that has ended.

    Args:
        seen_at: when the last event happened that the viewer has; None where it has none, and the first comes at once.
        draining: set when all streams have to end.
    """

    def __init__(
        self, inner: Subscription, rhythm: Rhythm, *, seen_at: datetime | None, draining: trio.Event | None = None
    ) -> None:
        self.last_seq = inner.last_seq
        self._inner = inner
        self._rhythm = rhythm
        self._draining = trio.Event() if draining is None else draining
        self._page: deque[StreamedEvent] = deque()
        self._at = seen_at
        """When the event happened that was due last."""
        self._due = trio.current_time()
        """When it was due, or the next one is, on trio's clock."""
        self._is_timed = False
        """Whether `_due` is the next one's."""

    @property
    def execution_id(self) -> ExecutionId:
        return self._inner.execution_id

    async def receive(self) -> Sequence[StreamedEvent]:
        """Wait for the next events to be due. What was due while the viewer did not read comes at once."""
        if not self._page:
            self._page.extend(await self._inner.receive())
        self._time_next()
        await self._wait_due()
        return self._take_due()

    async def relay(self, take: Take) -> None:
        """Nothing: events are due one by one."""

    def close(self) -> None:
        self._inner.close()

    async def _wait_due(self) -> None:
        with trio.move_on_at(self._due):
            await self._draining.wait()
        if self._draining.is_set():
            raise EvictedError("draining", last_seq=self.last_seq)

    def _take_due(self) -> list[StreamedEvent]:
        due: list[StreamedEvent] = []
        while self._page:
            self._time_next()
            if self._due > trio.current_time():
                break
            due.append(self._page.popleft())
            self._is_timed = False
            self.last_seq = due[-1].seq
        return due

    def _time_next(self) -> None:
        """Say when the event at hand is due; once, because a wait may be cut short and begun again."""
        if not self._is_timed:
            at = moment_of(self._page[0].body)
            self._due += 0.0 if self._at is None else self._rhythm.wait_s(self._at, at)
            self._at, self._is_timed = at, True


async def open_replay(
    inner: Subscription, rhythm: Rhythm, *, store: Store, draining: trio.Event | None = None
) -> ReplayedSubscription:
    """Begin after what the viewer has seen, in the middle of the rhythm."""
    seen_at = None
    if inner.last_seq > 0:
        last = await store.read_events(inner.execution_id, after_seq=inner.last_seq - 1, limit_bytes=1)
        seen_at = moment_of(last[0].body) if last else None
    return ReplayedSubscription(inner, rhythm, seen_at=seen_at, draining=draining)
