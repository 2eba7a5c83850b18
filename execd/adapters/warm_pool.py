"""Interpreters that wait inside finished sandboxes, each for one script, so that a start costs less than an interpreter's.

A slot has never seen user code and is never used twice. Its blueprint and isolation are fixed when it is made; whoever
needs another one starts cold. Refilling is one at a time, after a pause, off the path of whoever claims.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import msgspec
import structlog
import trio

from execd.adapters.sandbox_process import Blueprint, Sandbox, SandboxLauncher
from execd.core.specs import Limits

log = structlog.get_logger()

REFILL_PAUSE_S = 0.02
"""After a claim the refill waits this long: a short script is over by then, and the processors are its own."""
FAILURE_PAUSE_S = 30.0
"""After a slot that did not come up; whatever is wrong is unlikely to mend itself at once."""
READY_DEADLINE_S = 10.0
FAREWELL_S = 5.0


class WarmKind(msgspec.Struct, frozen=True, kw_only=True):
    """One sort of slot."""

    key: Blueprint
    """What a run asks for: the blueprint it would start cold with."""
    blueprint: Blueprint
    """How the slot is made: the same with modules imported."""
    limits: Limits
    """What its cgroup begins with; a claim may change it."""


class _Slot(msgspec.Struct, frozen=True):
    sandbox: Sandbox
    stale_at: float


class WarmPool:
    """A few slots of each kind. Owns its sandboxes until they are claimed."""

    def __init__(
        self,
        launcher: SandboxLauncher,
        kinds: tuple[WarmKind, ...],
        *,
        size: int,
        age_s: float,
        name: Callable[[], str],
    ) -> None:
        self._launcher = launcher
        self._kinds = kinds
        self.size = size if kinds else 0
        self._age_s = age_s
        self._name = name
        self._slots: dict[Blueprint, deque[_Slot]] = {kind.key: deque() for kind in kinds}
        self._wanted = trio.Event()
        self._filled = trio.Event()
        self.claims = {"warm": 0, "cold": 0}

    def claim_nowait(self, key: Blueprint) -> Sandbox | None:
        """Take a living, fresh slot for good; None when there is none."""
        slots = self._slots.get(key)
        while slots:
            slot = slots.popleft()
            self._wanted.set()
            if slot.sandbox.is_alive() and slot.stale_at > trio.current_time():
                self.claims["warm"] += 1
                return slot.sandbox
            slots.appendleft(slot)  # the refill puts it away, because that waits
            break
        self.claims["cold"] += 1
        return None

    @property
    def ready_count(self) -> int:
        return sum(len(slots) for slots in self._slots.values())

    async def wait_filled(self) -> None:
        """Wait until every kind has all its slots; for benchmarks and tests."""
        while self._wanted.is_set() or self.ready_count < self.size * len(self._kinds):
            self._filled = trio.Event()
            await self._filled.wait()

    async def run(self) -> None:
        """Keep the pool full for ever.

        Cancellation: puts every slot away under a bounded shield.
        """
        try:
            while True:
                self._wanted = trio.Event()
                is_healthy = await self._fill()
                self._filled.set()
                await self._pause(is_healthy=is_healthy)
        finally:
            with trio.move_on_after(FAREWELL_S, shield=True):
                for slots in self._slots.values():
                    while slots:
                        await slots.popleft().sandbox.put_away()

    async def _pause(self, *, is_healthy: bool) -> None:
        if not is_healthy:
            await trio.sleep(FAILURE_PAUSE_S)
            return
        with trio.move_on_at(self._next_stale_at()):
            await self._wanted.wait()
        await trio.sleep(REFILL_PAUSE_S)

    def _next_stale_at(self) -> float:
        return min((slot.stale_at for slots in self._slots.values() for slot in slots), default=float("inf"))

    async def _fill(self) -> bool:
        """Replace what is stale or dead, then make what is missing; False when one did not come up."""
        for kind in self._kinds:
            slots = self._slots[kind.key]
            await self._discard_unfit(slots)
            while len(slots) < self.size:
                slot = await self._make(kind)
                if slot is None:
                    return False
                slots.append(slot)
        return True

    async def _discard_unfit(self, slots: deque[_Slot]) -> None:
        now = trio.current_time()
        for slot in [slot for slot in slots if slot.stale_at <= now or not slot.sandbox.is_alive()]:
            slots.remove(slot)
            await self._put_away(slot.sandbox)

    async def _make(self, kind: WarmKind) -> _Slot | None:
        try:
            sandbox = self._launcher.launch(self._name(), kind.blueprint)
        except OSError as error:
            log.warning("warm_slot_failed", error=str(error))
            return None
        is_ready = False
        try:
            with trio.move_on_after(READY_DEADLINE_S):
                is_ready = await self._launcher.make_ready(sandbox, kind.limits)
            if not is_ready:
                log.warning("warm_slot_failed", error=sandbox.diagnostics())
        finally:
            if not is_ready:
                with trio.move_on_after(FAREWELL_S, shield=True):
                    await sandbox.put_away()
        return _Slot(sandbox, trio.current_time() + self._age_s) if is_ready else None

    async def _put_away(self, sandbox: Sandbox) -> None:
        with trio.move_on_after(FAREWELL_S, shield=True):
            await sandbox.put_away()
