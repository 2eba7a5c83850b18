"""The process as the world outside sees it: now this life, now that one, sometimes none.

A client connects to whichever life is up, and loses its connection when that one is killed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from execd.actors.engine import LocalEngine
from execd.adapters.memory_store import MemoryStore
from execd.core.events import ExecutionId
from tests.simulation.evidence import Evidence
from tests.simulation.plan import LifeEnd, LifePlan, Plan, Trouble
from tests.simulation.programs import SimulatedRunner
from tests.simulation.troubled import LifeStore

LOOK_AGAIN_S = 0.5
"""How soon a client looks again for an instance that has its execution."""


class ConnectionLostError(Exception):
    """The process was killed while a client was connected: what it asked may or may not have happened."""


class Life:
    """One life of the process."""

    def __init__(self, number: int, plan: LifePlan, evidence: Evidence) -> None:
        self.number = number
        self.plan = plan
        self.store: LifeStore
        self.runner: SimulatedRunner
        self.engine: LocalEngine
        self.stop_asked = trio.Event()
        self.is_over = trio.Event()
        self.connections: dict[trio.CancelScope, None] = {}
        self.scope = trio.CancelScope()
        self.is_alone = True
        self._evidence = evidence
        self._began_at = trio.current_time()

    @property
    def is_calm(self) -> bool:
        """Whether everything that is stored in this life is published in the same instant."""
        return self.is_alone and self.plan.end is LifeEnd.LAST and self.plan.trouble == Trouble()

    def published_since(self, execution_id: ExecutionId, since: float) -> list[tuple[float, int]]:
        """Give (when, bytes) of each batch that was stored in this life after a moment."""
        return [batch for batch in self.store.batches.get(execution_id, []) if batch[0] > since]

    def kill(self, why: str) -> None:
        """End the process now: nothing it does afterwards reaches the store or starts anything."""
        if self.store.is_dead:
            return
        self._evidence.note("world", f"life {self.number} killed {why}")
        self.store.is_dead = True
        self.runner.kill()
        self.cut_off()
        self.scope.cancel()
        self.is_over.set()

    @property
    def is_frozen(self) -> bool:
        return not self.store.thawed.is_set()

    def freeze(self) -> None:
        """Cut it off from its store and its clients; what it has in memory, it goes on believing."""
        self._evidence.note("world", f"life {self.number} freezes")
        self.store.thawed = trio.Event()
        self.runner.thawed = self.store.thawed
        self.cut_off()

    def thaw(self) -> None:
        """Let it go on as if nothing had been."""
        self._evidence.note("world", f"life {self.number} thaws")
        self.store.thawed.set()

    def cut_off(self) -> None:
        """Every client loses its connection."""
        for scope in list(self.connections):
            scope.cancel()


class Lives:
    """All that clients may know: which life is up, and what the store holds, which they use to judge what they are told."""

    def __init__(self, plan: Plan, contents: MemoryStore, evidence: Evidence) -> None:
        self.plan = plan
        self.contents = contents
        self._evidence = evidence
        self._up: list[Life] = []
        self._turn = 0
        self._news = trio.lowlevel.ParkingLot()

    def begin(self, life: Life) -> None:
        """A life answers from now on."""
        self._up.append(life)
        self._news.unpark_all()

    def end(self, life: Life) -> None:
        """It answers no more."""
        if life in self._up:
            self._up.remove(life)

    @asynccontextmanager
    async def connect(self, execution_id: ExecutionId | None = None) -> AsyncIterator[Life]:
        """Wait for a life and use it: where there are two, the one that has the execution, else either in turn.

        Raises:
            ConnectionLostError: it was killed meanwhile.
        """
        while (life := self._choose(execution_id)) is None:
            if self._up:
                await trio.sleep(LOOK_AGAIN_S)
            else:
                await self._news.park()
        with trio.CancelScope() as scope:
            life.connections[scope] = None
            try:
                yield life
            finally:
                del life.connections[scope]
        if scope.cancelled_caught:
            raise ConnectionLostError

    def _choose(self, execution_id: ExecutionId | None) -> Life | None:
        reachable = [life for life in self._up if not life.is_frozen and not life.store.is_dead]
        if self.plan.rival is not None and execution_id is not None:
            record = self.contents.records[execution_id]
            if not record.status.is_final:
                return next((life for life in reachable if record.owner in life.store.owners), None)
        self._turn += 1
        return reachable[self._turn % len(reachable)] if reachable else None

    def find_id(self, label: str) -> ExecutionId | None:
        """Give the execution with this name, if one is stored."""
        for execution_id, name in self._evidence.labels.items():
            if name == label:
                return execution_id
        return None

    async def wait_stored(self, label: str) -> ExecutionId:
        """Wait until there is such an execution."""
        while (found := self.find_id(label)) is None:
            await self._evidence.created.park()
        return found
