"""A world: one life of the process after another on the same store, while people ask and watch.

Time is virtual and trio's scheduler is seeded, so that a seed is the whole story. Importing hypothesis makes trio sort
each batch of runnable tasks and shuffle it with its own generator; seeding that one is what trio's own test of it does
(`trio/_tests/test_scheduler_determinism.py`).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, MutableMapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NoReturn
from zlib import crc32

import hypothesis  # noqa: F401 - makes trio's scheduler deterministic
import msgspec
import structlog
import trio
import trio.testing

from execd.actors.call_runner import Callers
from execd.actors.supervisor import BudgetSpentError
from execd.adapters.memory_store import MemoryStore
from execd.bootstrap import Capacities, Parts, run_actors
from execd.core.codec import decode_event
from execd.core.errors import StoreUnavailableError
from execd.core.events import FINAL_STATUSES, PodCreated
from execd.settings import QueueSettings, Settings, ShutdownSettings, StoreSettings, StreamSettings
from tests.simulation import elsewhere, people
from tests.simulation.calls import SimulatedCallers, path_of
from tests.simulation.definitions import Librarian
from tests.simulation.evidence import Attempt, Evidence
from tests.simulation.hidden import LifeSecrets, fill_vault, open_vault
from tests.simulation.lives import Life, Lives
from tests.simulation.plan import Ending, ExternalPlan, LifeEnd, LifePlan, Plan, ProgramPlan, RivalPlan, SubmissionPlan
from tests.simulation.programs import SimulatedRunner
from tests.simulation.requests import programs_by_source
from tests.simulation.troubled import LifeStore
from tests.simulation.viewers import Viewer
from tests.support.engines import virtual_now

PATIENCE_S = 3000.0
"""Virtual time after which a world that has not come to its end hangs. Its longest takes some minutes, unless it does."""
RIVAL = 99
"""The number of the second instance."""
SETTLE_S = 10.0
"""After the last event: what was still on its way into the store is there, and what is let go of has been let go of."""


def run_world(plan: Plan, world: World) -> Evidence:
    """Live through a world, and give what was seen."""
    assert trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING, (
        "trio's scheduler is not deterministic: is hypothesis there?"
    )
    generator = trio._core._run._r
    before = generator.getstate()
    logging = structlog.get_config()
    structlog.configure(
        processors=[partial(_hear_log, world.evidence)], wrapper_class=structlog.make_filtering_bound_logger(40)
    )
    try:
        generator.seed(plan.seed)
        return trio.run(world.run, clock=trio.testing.MockClock(autojump_threshold=0))
    finally:
        generator.setstate(before)
        structlog.configure(**logging)


class World:
    """What a plan is played out on."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.contents = MemoryStore()
        self.evidence = Evidence()
        self._lives = Lives(plan, self.contents, self.evidence)
        self._programs = programs_by_source(plan)

    async def run(self) -> Evidence:
        """Play it out. The graveyard is where killed processes come to rest, while the next one is up already."""
        fill_vault(self.contents, {submission.workspace for submission in self._plan.submissions})
        async with trio.open_nursery() as graveyard:
            async with trio.open_nursery() as crowd:
                watching = trio.Event()
                crowd.start_soon(self._run_people, watching)
                for number, life_plan in enumerate(self._plan.lives):
                    life = self._make_life(number, life_plan)
                    graveyard.start_soon(self._run_life, life)
                    if life_plan.end is LifeEnd.LAST:
                        await self._finish(life, watching, graveyard)
                    else:
                        await self._suffer(life)
                crowd.cancel_scope.cancel()
            graveyard.cancel_scope.deadline = trio.current_time() + PATIENCE_S
        if graveyard.cancel_scope.cancelled_caught:
            self.evidence.violate("hang: a killed process never came to rest")
        return self.evidence

    async def _run_people(self, is_done: trio.Event) -> None:
        plan, lives, evidence = self._plan, self._lives, self.evidence
        workspaces = {submission.label: submission.workspace for submission in plan.submissions}
        async with trio.open_nursery() as nursery:
            for viewer in plan.viewers:
                nursery.start_soon(self._watch, Viewer(viewer, workspaces[viewer.label], lives, evidence), viewer.label)
            for submission in plan.submissions:
                nursery.start_soon(people.submit, submission, lives, evidence)
                if submission.external is not None:
                    nursery.start_soon(self._report_as_long_as_asked, submission, submission.external)
                asks = submission.graph is not None or submission.flow is not None
                for number, delay_s in enumerate(submission.answers_after if asks else ()):
                    who = f"answerer-{number}"
                    nursery.start_soon(self._run_as_long_as_asked, submission, delay_s, who)
            if plan.definition is not None:
                workspace = next(each.workspace for each in plan.submissions if each.run is not None)
                nursery.start_soon(Librarian(plan.definition, workspace, self.contents, evidence).work)
            for command in plan.commands:
                nursery.start_soon(people.command, command, lives, evidence)
        is_done.set()

    async def _watch(self, viewer: Viewer, label: str) -> None:
        """What was asked for without a key, and got no answer, may never exist: nobody watches it then."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._lose_interest, label, nursery.cancel_scope)
            await viewer.watch()
            nursery.cancel_scope.cancel()

    async def _lose_interest(self, label: str, watching: trio.CancelScope) -> None:
        await trio.sleep(PATIENCE_S / 2)
        if self._lives.find_id(label) is None:
            watching.cancel()

    async def _run_as_long_as_asked(self, submission: SubmissionPlan, delay_s: float, who: str) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._lose_interest, submission.label, nursery.cancel_scope)
            await people.answer(submission, delay_s, who, self._lives, self.evidence)
            nursery.cancel_scope.cancel()

    async def _report_as_long_as_asked(self, submission: SubmissionPlan, external: ExternalPlan) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._lose_interest, submission.label, nursery.cancel_scope)
            await elsewhere.report(submission, external, self._lives, self.evidence)
            nursery.cancel_scope.cancel()

    def _make_life(self, number: int, plan: LifePlan) -> Life:
        life = Life(number, plan, self.evidence)
        is_due_at_write = plan.end is LifeEnd.KILL_AT_WRITE
        life.store = LifeStore(
            self.contents,
            life=number,
            trouble=plan.trouble,
            dies_at_write=plan.dies_at_write if is_due_at_write else None,
            kill=life.kill,
            evidence=self.evidence,
            rng=self._plan.stream("store", number),
        )
        return life

    async def _run_life(self, life: Life) -> None:
        plan = self._plan
        sizes = Capacities() if plan.capacity is None else Capacities(*(plan.capacity,) * 4)
        try:
            with life.scope:
                async with trio.open_nursery() as programs:
                    life.runner = SimulatedRunner(
                        programs,
                        life=life.number,
                        find_program=self._find_program,
                        check_start=self._check_start,
                        check_slots=partial(self._check_slots, life),
                        evidence=self.evidence,
                    )
                    parts = Parts(
                        store=life.store,
                        tokens=life.store,
                        definitions=life.store.definitions,
                        runner=life.runner,
                        now=virtual_now,
                        capacities=sizes,
                        callers=self._make_callers(life),
                        vault=open_vault(LifeSecrets(life.store, self.contents)),
                    )
                    async with run_actors(parts, _settings(plan)) as life.engine:
                        self._lives.begin(life)
                        self.evidence.note("world", f"life {life.number} begins")
                        await life.stop_asked.wait()
                    programs.cancel_scope.cancel()
        except* BudgetSpentError:
            self.evidence.count("budget of crashes spent")
        finally:
            if not life.store.is_dead:
                life.store.is_dead = True
                life.runner.kill()
                life.cut_off()
                life.is_over.set()
            self._check_pods_closed(life)

    def _make_callers(self, life: Life) -> Callers:
        plans = dict(each for submission in self._plan.submissions for each in submission.node_calls)
        outside = SimulatedCallers(life.number, life.runner, plans, self._check_call, self.evidence)
        return outside.callers

    async def _suffer(self, life: Life) -> None:
        """Let a life have its troubles, and end it as the plan says."""
        async with trio.open_nursery() as nursery:
            for at, actors in life.plan.crashes:
                nursery.start_soon(self._crash, life, at, actors)
            with trio.move_on_after(life.plan.lasts_s):
                await life.is_over.wait()
            if not life.is_over.is_set():
                await self._end_life(life)
            nursery.cancel_scope.cancel()
        self._lives.end(life)
        await trio.sleep(life.plan.downtime_s)

    async def _end_life(self, life: Life) -> None:
        match life.plan.end:
            case LifeEnd.STOP:
                self.evidence.count("stopped in order")
                self.evidence.note("world", f"life {life.number} is asked to stop")
                life.stop_asked.set()
                with trio.move_on_after(PATIENCE_S):
                    await life.is_over.wait()
            case LifeEnd.BUDGET:
                life.store.fails_always = True
                with trio.move_on_after(30):
                    await life.is_over.wait()
                life.kill("because nobody met the broken store")
            case _:
                self.evidence.count("killed at an instant")
                life.kill("at an instant")

    async def _crash(self, life: Life, at: float, actors: tuple[str, ...]) -> None:
        """Give each actor a message that it cannot understand, or the watcher a watch that fails."""
        await trio.sleep(at)
        if len(actors) > 1:
            self.evidence.count("two actors crashed at once")
        async with trio.open_nursery() as nursery:
            for actor in actors:
                self.evidence.count(f"{actor} crashed")
                self.evidence.note("world", f"{actor} crashes")
                if actor == "watcher":
                    life.runner.fail_watching()
                    continue
                engine = life.engine
                box = engine._to_coordinator if actor == "coordinator" else engine._to_router
                nursery.start_soon(_poison, box.tx)

    async def _run_rival(self, rival: RivalPlan, life: Life, graveyard: trio.Nursery) -> None:
        """A second instance on the same store for a while; now the one, now the other is cut off, perhaps for longer than
        its lease runs, and goes on afterwards as if nothing had been."""
        await trio.sleep(rival.begins_after)
        other = self._make_life(RIVAL, life.plan)
        life.is_alone = other.is_alone = False
        graveyard.start_soon(self._run_life, other)
        async with trio.open_nursery() as nursery:
            for who, at, for_s in rival.freezes:
                nursery.start_soon(self._freeze, (life, other)[who], at, for_s)
            await trio.sleep(rival.stops_after)
        self.evidence.note("world", "the rival stops")
        other.stop_asked.set()
        self._lives.end(other)
        await other.is_over.wait()

    async def _freeze(self, life: Life, at: float, for_s: float) -> None:
        await trio.sleep(at)
        if life.is_frozen:
            return
        self.evidence.count(
            "cut off for longer than its lease" if for_s > self._plan.lease_s else "cut off for a while"
        )
        life.freeze()
        await trio.sleep(for_s)
        life.thaw()

    async def _finish(self, life: Life, is_done: trio.Event, graveyard: trio.Nursery) -> None:
        """The last life: all that was accepted must come to its end, and everyone who watches must see it."""
        with trio.move_on_after(PATIENCE_S) as patience:
            async with trio.open_nursery() as nursery:
                hanging = frozenset(
                    source.partition("/")[0]
                    for source, programs in self._programs.items()
                    if any(program.ending is Ending.HANG for program in programs)
                )
                for at, actors in life.plan.crashes:
                    nursery.start_soon(self._crash, life, at, actors)
                nursery.start_soon(partial(people.tidy_up, self._lives, self.evidence, hanging=hanging))
                if self._plan.rival is not None:
                    await self._run_rival(self._plan.rival, life, graveyard)
                await is_done.wait()
                await self._wait_all_over(life)
                nursery.cancel_scope.cancel()
        if patience.cancelled_caught:
            open_ones = [f"{r.name} {r.status}" for r in self.contents.records.values() if not r.status.is_final]
            self.evidence.violate(
                f"hang: not over after {PATIENCE_S:.0f} s: {', '.join(open_ones) or 'somebody waits'}"
            )
        else:
            self._check_rest(life)
        life.stop_asked.set()
        with trio.move_on_after(PATIENCE_S):
            await life.is_over.wait()

    async def _wait_all_over(self, life: Life) -> None:
        """Wait until everything is final, and nothing else was accepted while the last of it settled."""
        well_from = life.store.well_from
        if well_from < PATIENCE_S:
            await trio.sleep_until(well_from)
        is_over = False
        while not is_over:
            await trio.sleep(SETTLE_S)
            is_over = all(record.status in FINAL_STATUSES for record in self.contents.records.values())
        await trio.sleep(SETTLE_S)

    def _check_rest(self, life: Life) -> None:
        """When all is over nothing is held: no slot, no place in the line, no viewer, and memory within its limits."""
        numbers = life.engine.statistics()
        for name in ("execd_executions_running", "execd_executions_parked", "execd_executions_queued", "execd_viewers"):
            if numbers[name]:
                self.evidence.violate(f"{name} is {numbers[name]:.0f} when all is over")
        # What another instance took over is never told to have ended here: its log stays.
        if self._plan.rival is None and numbers["execd_hot_bytes"] > self._plan.hot_bytes_total:
            self.evidence.violate(
                f"{numbers['execd_hot_bytes']:.0f} hot bytes, {self._plan.hot_bytes_total} are allowed"
            )
        if any(not attempt.is_closed for attempt in life.runner.attempts):
            self.evidence.violate("a pod is left open when all is over")
        if any(call.is_open for call in self.evidence.calls):
            self.evidence.violate("a call is left open when all is over")

    def _check_pods_closed(self, life: Life) -> None:
        for attempt in life.runner.attempts:
            if not attempt.is_closed and not attempt.is_dead:
                self.evidence.violate(f"{attempt.pod} was left open by a process that stopped")

    def _find_program(self, source: str, node: str, attempt: int) -> ProgramPlan:
        programs = self._programs[source]
        if "[" in node:
            return programs[(attempt + crc32(node.encode())) % len(programs)]
        return programs[min(attempt, len(programs)) - 1]

    def _check_start(self, attempt: Attempt) -> None:
        """Judge at the instant: a program starts once, after its announcement is stored, while its execution is open and
        nobody has taken it over since."""
        journal = self.contents.journals[attempt.execution_id]
        who = f"{attempt.label} attempt {attempt.number} ({attempt.pod})"
        announced = [event for event in journal if event.type == "pod_created" and _announces(event.body, attempt)]
        if not announced:
            self.evidence.violate(f"{who} starts before its announcement is stored")
        epochs = {self.evidence.epochs[attempt.execution_id, event.seq] for event in announced}
        is_stale = self.contents.records[attempt.execution_id].epoch not in epochs
        if self._plan.rival is not None and announced and is_stale:
            # It was announced, then cut off, and does not know yet: no store can stop that, only what it would write.
            self.evidence.count("a stale owner started what it had announced")
            return
        if journal[-1].type == "result_stored":
            self.evidence.violate(f"{who} starts after the end")
        if announced and is_stale:
            self.evidence.violate(f"{who} starts although somebody else has it")
        for other in self.evidence.attempts:
            is_same = (other.execution_id, other.node, other.number) == (
                attempt.execution_id,
                attempt.node,
                attempt.number,
            )
            if is_same and other.is_started:
                self.evidence.violate(f"{who} starts a second time")

    def _check_slots(self, life: Life) -> None:
        """Judge at the instant: only what has a slot does anything. What is taken over goes on beyond their number."""
        if len(self._plan.lives) > 1 or not life.is_calm or life.plan.crashes:
            return
        asking = {self._lives.find_id(call.path.partition("/")[0]) for call in self.evidence.calls if call.is_open}
        busy = life.runner.busy | asking
        self.evidence.count("slots all in use" if len(busy) == self._plan.slots else "slots to spare")
        if len(busy) > self._plan.slots:
            self.evidence.violate(f"{len(busy)} executions do something, and there are {self._plan.slots} slots")

    def _check_call(self, path: str) -> None:
        """Judge at the instant: nothing is asked more often than the journal says that it begins."""
        label = path.partition("/")[0]
        execution_id = self._lives.find_id(label)
        journal = () if execution_id is None else self.contents.journals[execution_id]
        starts = [decode_event(event.body).node or "" for event in journal if event.type == "node_started"]
        if sum(call.path == path for call in self.evidence.calls) >= sum(path_of(label, n) == path for n in starts):
            self.evidence.violate(f"{path} is asked before its announcement is stored, or twice")
        if journal and journal[-1].type == "result_stored" and self._plan.rival is None:
            self.evidence.violate(f"{path} is asked after the end")


def _hear_log(evidence: Evidence, _logger: object, _method: str, entry: MutableMapping[str, Any]) -> NoReturn:
    """A saga may crash of what this world does to it, and of nothing else: a defect of the machine is told as
    `internal_error` too, and must not hide among those."""
    if entry["event"] == "saga_crashed":
        for error in _leaves(sys.exception()):
            if not isinstance(error, StoreUnavailableError) and "not a frame" not in str(error):
                evidence.violate(f"a saga crashed: {error!r}")
    raise structlog.DropEvent


def _leaves(error: BaseException | None) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    elif error is not None:
        yield error


async def _poison(tx: trio.MemorySendChannel[Any]) -> None:
    with suppress(trio.ClosedResourceError):
        await tx.send("no such message")


def _announces(body: bytes, attempt: Attempt) -> bool:
    event = decode_event(body)
    assert isinstance(event.data, PodCreated)
    return (event.node, event.attempt, event.data.pod) == (attempt.node, attempt.number, attempt.pod)


def _settings(plan: Plan) -> Settings:
    stream = StreamSettings(
        per_workspace=plan.per_workspace,
        hot_history_s=plan.hot_history_s,
        hot_bytes_per_execution=plan.hot_bytes_per_execution,
        hot_bytes_total=plan.hot_bytes_total,
        max_lag_bytes=plan.max_lag_bytes,
    )
    settings = Settings(
        data_dir=Path("/nonexistent"),
        queue=QueueSettings(slots=plan.slots, max_queued=plan.max_queued),
        store=StoreSettings(lease_s=plan.lease_s),
        shutdown=ShutdownSettings(grace_s=1.0, watchdog_s=5.0),
    )
    return msgspec.structs.replace(settings, stream=stream)
