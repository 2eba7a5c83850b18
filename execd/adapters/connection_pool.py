"""Keep connections for the next call to the same origin, within limits per origin and in all.

Owns: every connection that is idle, and the count of those in use. Never: an idle connection whose socket has something to
say; a wait while it closes one; a task of its own (what is too old is closed at the next call).
"""

from __future__ import annotations

from collections import OrderedDict

import msgspec
import trio

from execd.adapters.call_budget import CallBudget
from execd.adapters.dialer import Dialer
from execd.adapters.http_connection import HttpConnection
from execd.adapters.http_target import Target

Origin = tuple[str, str, int, bool]
"""Scheme, host, port, and whether its certificate was checked."""

FRESH_S = 1.0
"""A request that may not be repeated takes only a connection used this recently: one idle for longer may be closing at the
other end just now, and then nobody can say whether the request arrived. Servers close after 5 s at the earliest."""


class PoolLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many connections there may be."""

    per_origin: int = 32
    """In use at one time for one scheme, host and port. Browsers take 6, and are one person."""
    in_use: int = 256
    """In use at one time in all."""
    idle: int = 64
    """Kept in all, when no call uses them."""
    idle_s: float = 30.0
    """How long one is kept. Node closes after 5 s and nginx after 75 s; a closed one is noticed."""


class PoolStatistics(msgspec.Struct, frozen=True):
    """What the pool holds and has done."""

    in_use: int
    idle: int
    opened: int
    """Connections made since the start."""
    reused: int
    """Requests that found one kept."""


class _Lane:
    """One origin: its idle connections, newest last, and how many calls it serves or keeps waiting."""

    __slots__ = ("idle", "slots", "users")

    def __init__(self, limit: int) -> None:
        self.idle: list[HttpConnection] = []
        self.slots = trio.Semaphore(limit)
        self.users = 0


class ConnectionPool:
    """Lends connections: `acquire`, then exactly one `release`."""

    def __init__(self, dialer: Dialer, limits: PoolLimits) -> None:
        self._dialer = dialer
        self._limits = limits
        self._slots = trio.Semaphore(limits.in_use)
        self._lanes: dict[Origin, _Lane] = {}
        self._idle: OrderedDict[HttpConnection, Origin] = OrderedDict()
        """Longest idle first."""
        self._is_closed = False
        self._opened = 0
        self._reused = 0

    async def acquire(
        self, target: Target, budget: CallBudget, *, verify_tls: bool, is_repeatable: bool, fresh_only: bool
    ) -> HttpConnection:
        """Give a connection, kept or new, waiting for a free place if need be.

        Args:
            is_repeatable: whether the request may be sent again when the connection turns out to be dead.
            fresh_only: make a new one, since a kept one was dead.

        Raises:
            HttpCallError: none can be made.
        """
        origin = (*target.origin, verify_tls)
        lane = self._lanes.get(origin)
        if lane is None:
            lane = self._lanes[origin] = _Lane(self._limits.per_origin)
        lane.users += 1
        held: list[trio.Semaphore] = []
        try:
            for slots in (lane.slots, self._slots):
                await _take(slots, budget)
                held.append(slots)
            kept = None if fresh_only else self._take_idle(lane, is_repeatable=is_repeatable)
            if kept is not None:
                self._reused += 1
                kept.begin_next()
                return kept
            connection = await self._dialer.dial(target, budget, verify_tls=verify_tls)
        except BaseException:
            self._leave(origin, lane, held)
            raise
        self._opened += 1
        return connection

    def release(self, connection: HttpConnection, target: Target, *, verify_tls: bool) -> None:
        """Take a connection back: keep it if its exchange ended cleanly, else close it."""
        origin = (*target.origin, verify_tls)
        lane = self._lanes[origin]
        if connection.is_reusable and not self._is_closed:
            connection.idle_since = trio.current_time()
            lane.idle.append(connection)
            self._idle[connection] = origin
        else:
            connection.close()
        self._leave(origin, lane, [lane.slots, self._slots])
        self._close_surplus()

    def close(self) -> None:
        """Close what is idle; what is in use belongs to its call, and is not kept after it."""
        self._is_closed = True
        for connection in self._idle:
            connection.close()
        self._idle.clear()
        for origin, lane in list(self._lanes.items()):
            lane.idle.clear()
            self._forget_if_empty(origin, lane)

    def statistics(self) -> PoolStatistics:
        """Count what there is."""
        in_use = self._limits.in_use - self._slots.value
        return PoolStatistics(in_use=in_use, idle=len(self._idle), opened=self._opened, reused=self._reused)

    def _take_idle(self, lane: _Lane, *, is_repeatable: bool) -> HttpConnection | None:
        """Take the one used last, which is the likeliest to live; close the dead ones found on the way."""
        now = trio.current_time()
        longest_s = self._limits.idle_s if is_repeatable else FRESH_S
        while lane.idle and now - lane.idle[-1].idle_since <= longest_s:
            connection = lane.idle.pop()
            del self._idle[connection]
            if not connection.has_gone_stale():
                return connection
            connection.close()
        return None

    def _close_surplus(self) -> None:
        """Close idle connections that are too old or too many."""
        now = trio.current_time()
        while self._idle:
            oldest, origin = next(iter(self._idle.items()))
            if len(self._idle) <= self._limits.idle and now - oldest.idle_since <= self._limits.idle_s:
                return
            del self._idle[oldest]
            lane = self._lanes[origin]
            lane.idle.remove(oldest)
            oldest.close()
            self._forget_if_empty(origin, lane)

    def _leave(self, origin: Origin, lane: _Lane, held: list[trio.Semaphore]) -> None:
        for slots in held:
            slots.release()
        lane.users -= 1
        self._forget_if_empty(origin, lane)

    def _forget_if_empty(self, origin: Origin, lane: _Lane) -> None:
        if not lane.users and not lane.idle:
            self._lanes.pop(origin, None)


async def _take(slots: trio.Semaphore, budget: CallBudget) -> None:
    """Take a place; a free one costs no turn of the scheduler."""
    try:
        slots.acquire_nowait()
    except trio.WouldBlock:
        budget.begin_own_work()
        await slots.acquire()
