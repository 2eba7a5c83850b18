"""The store of one life: the contents are shared by all lives, the trouble is this life's own.

Each single write is atomic and a batch is not, so a kill, or an error, may come between any two writes. Calls take their
time, are refused before the commit, lose their answer after it, or fail with an error that no store should raise.

After the life was killed nothing of it touches the contents any more: its calls never return.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime
from types import FrameType
from typing import Any, TypeVar

import outcome
import trio

from execd.adapters.memory_definitions import MemoryDefinitions
from execd.adapters.memory_store import MemoryStore
from execd.core.codec import StoredEvent
from execd.core.errors import StoreUnavailableError
from execd.core.events import DefinitionId, ExecutionId, WorkspaceId
from execd.core.history import RunTimes
from execd.ports import (
    Definition,
    Duplicate,
    ExecutionFilter,
    ExecutionPage,
    ExecutionRecord,
    Fenced,
    Stored,
    Write,
    WriteOutcome,
)
from tests.simulation.evidence import Evidence
from tests.simulation.plan import Trouble

T = TypeVar("T")

WELL = Trouble()


class LifeDefinitions(MemoryDefinitions):
    """The definitions of all lives, as one life reads them: with its trouble."""

    def __init__(self, store: LifeStore, contents: MemoryDefinitions) -> None:
        super().__init__()
        self._store = store
        self._contents = contents

    async def find_definition(
        self, workspace: WorkspaceId, id_or_name: str, *, version: int | None = None
    ) -> Definition | None:
        await self._store.enter_reading()
        return at_once(self._contents.find_definition(workspace, id_or_name, version=version))


class LifeStore(MemoryStore):
    """Implements `ports.Store` for one life. `kill` is called at the write the plan names."""

    def __init__(
        self,
        contents: MemoryStore,
        *,
        life: int,
        trouble: Trouble,
        dies_at_write: int | None,
        kill: Callable[[str], None],
        evidence: Evidence,
        rng: random.Random,
    ) -> None:
        super().__init__()
        self.definitions = LifeDefinitions(self, contents.definitions)
        self.is_dead = False
        self.thawed = trio.Event()
        self.thawed.set()
        self.owners: set[str] = set()
        """The names under which this life owns executions."""
        self.fails_always = False
        """Whether every write meets a defect, until the budget of crashes is spent."""
        self.batches: dict[ExecutionId, list[tuple[float, int]]] = {}
        """(when, bytes) of what was stored and answered, by execution."""
        self._contents = contents
        self._life = life
        self._drawn_trouble = trouble
        self.well_from = trio.current_time() + trouble.lasts_s
        self._dies_at_write = dies_at_write
        self._kill = kill
        self._evidence = evidence
        self._rng = rng
        self._write_count = 0
        self._unanswered: list[ExecutionRecord] = []
        """What an adoption took whose answer was lost: the next one gives it too, as the port demands."""
        self._defects = 0

    @property
    def _trouble(self) -> Trouble:
        return self._drawn_trouble if trio.current_time() < self.well_from else WELL

    async def write(self, batch: Sequence[Write]) -> list[WriteOutcome]:
        """Each write in turn; what is drawn decides how far it comes."""
        self._check_caller()
        await self._enter()
        outcomes: list[WriteOutcome] = []
        torn_at = self._rng.randrange(len(batch)) if self._happens(self._trouble.tear) else None
        for place, write in enumerate(batch):
            if torn_at == place and place:
                self._evidence.count("batch torn by an error")
                raise StoreUnavailableError("the connection broke in the middle")
            outcomes.append(self._write_one(write))
            await self._die_if_due(is_mid_batch=place + 1 < len(batch))
        await self._leave()
        self._note_batch(batch)
        return outcomes

    async def adopt(self, owner: str, *, only: ExecutionId | None = None) -> Sequence[ExecutionRecord]:
        self._check_caller()
        await self._enter()
        adopted = list(at_once(self._contents.adopt(owner, only=only)))
        if only is None:
            adopted = [*self._still_unanswered(owner), *adopted]
            self._unanswered = adopted
        for record in adopted:
            self._evidence.count("adopted")
            self._evidence.note(f"store/{self._life}", f"{record.name} adopted, epoch {record.epoch}")
        await self._leave()
        if only is None:
            self._unanswered = []
        return adopted

    def _still_unanswered(self, owner: str) -> list[ExecutionRecord]:
        current = self._contents.records
        return [r for r in self._unanswered if current[r.id].owner == owner and current[r.id].epoch == r.epoch]

    async def sweep(self, *, finished_before: datetime, limit: int) -> int:
        self._check_caller()
        await self._enter()
        return at_once(self._contents.sweep(finished_before=finished_before, limit=limit))

    async def renew_lease(self, owner: str, *, lease_s: float) -> None:
        self._check_caller()
        self.owners.add(owner)
        await self._enter()
        at_once(self._contents.renew_lease(owner, lease_s=lease_s))
        await self._leave()

    async def release_lease(self, owner: str) -> None:
        self._check_caller()
        await self._enter()
        at_once(self._contents.release_lease(owner))
        self._evidence.count("lease released")
        await self._leave()

    async def find_execution(self, execution_id: ExecutionId) -> ExecutionRecord | None:
        await self.enter_reading()
        return at_once(self._contents.find_execution(execution_id))

    async def find_by_idempotency_key(self, workspace: WorkspaceId, key: str) -> ExecutionRecord | None:
        await self.enter_reading()
        return at_once(self._contents.find_by_idempotency_key(workspace, key))

    async def list_executions(self, which: ExecutionFilter, *, cursor: str | None, limit: int) -> ExecutionPage:
        await self.enter_reading()
        return at_once(self._contents.list_executions(which, cursor=cursor, limit=limit))

    async def read_history(self, workspace: WorkspaceId, definition: DefinitionId) -> Sequence[RunTimes]:
        await self.enter_reading()
        return at_once(self._contents.read_history(workspace, definition))

    async def read_events(
        self, execution_id: ExecutionId, *, after_seq: int, limit_bytes: int, types: frozenset[str] | None = None
    ) -> Sequence[StoredEvent]:
        """Half of the time it passes before the reading and half after: a page may be old when it arrives."""
        await self.enter_reading()
        events = at_once(
            self._contents.read_events(execution_id, after_seq=after_seq, limit_bytes=limit_bytes, types=types)
        )
        if self._happens(0.5):
            await self._take_time()
        return events

    def _write_one(self, write: Write) -> WriteOutcome:
        (answer,) = at_once(self._contents.write([write]))
        match answer:
            case Stored():
                self._evidence.note_write(write, life=self._life)
            case Fenced():
                self._evidence.count("fenced")
                self._evidence.note(f"store/{self._life}", "refused a write")
            case Duplicate():
                self._evidence.count("duplicate key met in the store")
        return answer

    def _note_batch(self, batch: Sequence[Write]) -> None:
        sizes: dict[ExecutionId, int] = {}
        for event in (event for write in batch for event in write.events):
            sizes[event.execution_id] = sizes.get(event.execution_id, 0) + len(event.body)
        for execution_id, size in sizes.items():
            self.batches.setdefault(execution_id, []).append((trio.current_time(), size))

    async def _die_if_due(self, *, is_mid_batch: bool) -> None:
        self._write_count += 1
        if self._write_count == self._dies_at_write:
            self._evidence.count("killed in the middle of a batch" if is_mid_batch else "killed after a write")
            self._kill("at a write")
        await self._stay_dead()

    async def _enter(self) -> None:
        await self._take_time()
        if self._happens(self._trouble.refuse):
            self._evidence.count("store away before the commit")
            raise StoreUnavailableError("the database is locked")
        self._fail_if_drawn("before")

    async def _leave(self) -> None:
        await self._take_time()
        if self._happens(self._trouble.lose):
            self._evidence.count("answer lost after the commit")
            raise StoreUnavailableError("the connection broke before the answer")
        self._fail_if_drawn("after")

    async def enter_reading(self) -> None:
        """Take the time of a reading; it may be refused."""
        await self._take_time()
        if self._happens(self._trouble.read_refuse):
            self._evidence.count("store away for a reader")
            raise StoreUnavailableError("the database is locked")

    async def _take_time(self) -> None:
        await trio.lowlevel.checkpoint()
        slowest_s = self._trouble.slowest_s
        if slowest_s and self._happens(0.5):
            await trio.sleep(self._rng.uniform(0, slowest_s))
        await self._stay_dead()

    async def _stay_dead(self) -> None:
        while not self.thawed.is_set():
            await self.thawed.wait()
        if self.is_dead:
            await trio.sleep_forever()

    def _fail_if_drawn(self, when: str) -> None:
        is_drawn = self._defects < self._trouble.most_defects and self._happens(self._trouble.defect)
        if not is_drawn and not self.fails_always:
            return
        self._defects += 1
        self._evidence.count(f"result writer crashed {when} a commit")
        raise RuntimeError("a defect in the store")

    def _happens(self, chance: float) -> bool:
        return chance > 0 and self._rng.random() < chance

    def _check_caller(self) -> None:
        frame: FrameType | None = sys._getframe()
        while frame is not None and frame.f_code.co_name != "run_result_writer":
            frame = frame.f_back
        if frame is None:
            self._evidence.violate(f"{trio.lowlevel.current_task().name} wrote past the result writer")


def at_once(call: Coroutine[Any, Any, T]) -> T:
    """Run a call of the store in memory within this instant: it never waits for anything but trio's next turn."""
    try:
        call.send(None)
        while True:
            call.send(outcome.Value(None))
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return] # what a coroutine returns is in there
