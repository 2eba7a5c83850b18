"""The frames of the FlowSphere dialect in writes that its page survives.

After its Stop button the page handles exactly one more chunk, and hangs unless that ends a step or the run. So a frame is
one write; `step_start` goes out with the frame before it; nothing comes between it and its step; silence is not broken unless
somebody asked for that. Whatever ends a stream early is told as an end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence

import trio

from execd.core.errors import ExecdError
from execd.core.event_types import RESULT_STORED
from execd.http.dialects.flowsphere import HEARTBEAT, Frame, Teller
from execd.ports import EvictedError, StreamedEvent, Subscription, Take

JOIN_S = 0.05
"""How long a frame waits for the `step_start` that goes with it: both are of one write to the store, but may be of two pages."""
QUEUE_S = 2.0
"""How long the first frame waits for the run to begin; one that waits in line longer is told of."""
_OPENS = frozenset({"start", "step"})
"""Frames that `step_start` may follow at once."""

Subscribe = Callable[[int], Awaitable[Subscription]]
"""Follows the same journal from after this seq."""


class FlowFeed:
    """One flow's frames for one viewer. Owns: the teller, and the frames that wait.

    Args:
        after_seq: what was told up to this event is not told again.
        beats: whether silence is broken.
    """

    def __init__(
        self,
        subscription: Subscription,
        teller: Teller,
        *,
        subscribe: Subscribe,
        after_seq: int = 0,
        beats: bool = False,
    ) -> None:
        self._subscription = subscription
        self._teller = teller
        self._subscribe = subscribe
        self._after_seq = after_seq
        self._beats = beats
        self._held: list[bytes] = []
        """Of one write, while it is not known whether more belongs to it."""
        self._holds_open = False
        self._ready: deque[bytes] = deque()
        self._is_told = False
        self._has_begun = False
        self.is_complete = False

    def opening(self) -> bytes:
        return b""

    def heartbeat(self) -> bytes:
        return HEARTBEAT if self._beats else b""

    async def open(self) -> None:
        """Nothing to begin: the subscription is there already."""

    async def next_blocks(self) -> bytes:
        """Wait for the next write. Cancellation: safe, no frame is skipped."""
        while not self._ready:
            await self._fetch()
        block = self._ready.popleft()
        self.is_complete = self._is_told and not self._ready
        return block

    async def close(self) -> None:
        self._subscription.close()

    def eviction(self, reason: str) -> bytes:
        last = self._teller.broken_off(reason, self._subscription.last_seq)
        return b"".join([*self._ready, *self._held, *(frame.block for frame in last)])

    async def relay(self, take: Take) -> None:
        """Never: a short cut would know nothing of writes."""

    async def _fetch(self) -> None:
        try:
            await self._receive()
        except EvictedError as error:
            await self._resume(error)
        except ExecdError as error:
            self._break_off(error.code)

    async def _receive(self) -> None:
        patience_s = JOIN_S if self._held else QUEUE_S if not self._has_begun else float("inf")
        with trio.move_on_after(patience_s):
            self._take(await self._subscription.receive())
            return
        self._has_begun = True
        self._add(self._teller.start(max(1, self._subscription.last_seq)))
        self._flush()

    def _take(self, events: Sequence[StreamedEvent]) -> None:
        for event in events:
            self._add(self._teller.tell(event))
            self._is_told = event.type == RESULT_STORED
        if self._is_told or not self._holds_open:
            self._flush()

    def _add(self, frames: Sequence[Frame]) -> None:
        for frame in frames:
            self._has_begun = True
            if frame.seq <= self._after_seq:
                continue
            if not (frame.name == "step_start" and self._holds_open):
                self._flush()
            self._held.append(frame.block)
            self._holds_open = frame.name in _OPENS
            if frame.name == "step_start":
                self._flush()

    def _flush(self) -> None:
        if self._held:
            self._ready.append(b"".join(self._held))
        self._held, self._holds_open = [], False

    async def _resume(self, error: EvictedError) -> None:
        """Too slow for what is kept in memory, it goes on from the store. Going down is an end."""
        if error.reason == "draining":
            self._break_off(error.reason)
            return
        self._subscription.close()
        try:
            self._subscription = await self._subscribe(error.last_seq)
        except ExecdError as refused:
            self._break_off(refused.code)

    def _break_off(self, reason: str) -> None:
        self._add(self._teller.broken_off(reason, self._after_seq + 1))
        self._flush()
        self._is_told = True
