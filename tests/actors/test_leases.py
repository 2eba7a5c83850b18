"""Several instances on one store: who lives keeps what it has, who is gone is taken over from, and nothing runs twice for good.

Each instance is the real wiring on a store wrapper of its own around shared contents: one can be frozen or killed alone.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from execd.adapters.memory_store import MemoryStore
from execd.core.codec import decode_event
from execd.core.errors import ExecdError
from execd.core.events import FINAL_STATUSES, ExecutionEnded, ExecutionId, ResultStored, Status
from execd.settings import StoreSettings
from tests.contract.test_store_contract import E1, create
from tests.support.engines import World, open_world
from tests.support.scripted_runner import Script, ScriptedPod
from tests.support.stores import TroubledStore

LEASE_S = StoreSettings().lease_s
TICK_S = LEASE_S / 3
CAPACITIES = pytest.mark.parametrize("capacity", [None, 0])


async def be_silent(pod: ScriptedPod) -> None:
    await trio.sleep_forever()


async def be_quick(pod: ScriptedPod) -> None:
    await pod.write(b"hello\n")
    await pod.exit(0)


async def talk(pod: ScriptedPod) -> None:
    for number in range(60):
        await pod.write(b"line %d\n" % number)
        await trio.sleep(1)
    await pod.exit(0)


@asynccontextmanager
async def open_instance(
    contents: MemoryStore, script: Script, *, capacity: int | None = None
) -> AsyncIterator[tuple[World, TroubledStore]]:
    store = TroubledStore(contents)
    async with open_world(script, store=store, capacity=capacity) as world:
        yield world, store


async def wait_final(contents: MemoryStore, execution_id: ExecutionId, *, within_s: float) -> ResultStored:
    """Wait on virtual time, then look at the whole journal: no gap, one end, the result last."""
    with trio.fail_after(within_s):
        while contents.records[execution_id].status not in FINAL_STATUSES:  # noqa: ASYNC110 - virtual time
            await trio.sleep(0.1)
    events = [decode_event(stored.body) for stored in contents.journals[execution_id]]
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert len([event for event in events if isinstance(event.data, ExecutionEnded)]) == 1
    assert [event.type for event in events].count("result_stored") == 1
    assert isinstance(events[-1].data, ResultStored)
    assert events[-1].data.status is contents.records[execution_id].status
    return events[-1].data


def thaw(store: TroubledStore) -> None:
    assert store.gate is not None
    store.gate.set()
    store.gate = None


@CAPACITIES
@pytest.mark.behaviour(41)
async def test_what_a_dead_instance_had_is_taken_over_when_its_lease_lapses(
    capacity: int | None, autojump_clock: trio.testing.MockClock
) -> None:
    """Invariant 4 without a restart: what it ran ends or runs again as the spec says, what waited runs."""
    contents = MemoryStore()
    async with (
        open_instance(contents, be_quick, capacity=capacity) as (_, _),
        open_instance(contents, be_silent, capacity=capacity) as (dead, dying),
    ):
        lost = await dead.submit("lost")
        rerun = [await dead.submit(f"rerun {number}", retries=1) for number in range(3)]
        waiting = await dead.submit("waiting")
        await trio.sleep(1)
        dying.dies_at = 0

        result = await wait_final(contents, lost, within_s=LEASE_S + TICK_S + 1)
        assert trio.current_time() > LEASE_S - TICK_S
        assert result.error is not None
        assert result.error.code == "worker_lost"
        for execution_id in [*rerun, waiting]:
            assert (await wait_final(contents, execution_id, within_s=1)).status is Status.COMPLETED


@CAPACITIES
async def test_an_instance_that_lives_keeps_what_it_has(
    capacity: int | None, autojump_clock: trio.testing.MockClock
) -> None:
    """Invariant 6: silent for an hour is not dead; nobody takes a long run from its owner."""
    contents = MemoryStore()
    async with (
        open_instance(contents, be_silent, capacity=capacity) as (one, _),
        open_instance(contents, be_silent, capacity=capacity) as (two, _),
    ):
        first, second = await one.submit(), await two.submit()
        await trio.sleep(3600)

        assert [contents.records[i].epoch for i in (first, second)] == [1, 1]
        assert [len(world.runner.started) for world in (one, two)] == [1, 1]


async def test_a_clean_stop_lets_others_go_on_at_once(autojump_clock: trio.testing.MockClock) -> None:
    """A rolling restart must not make what waited wait for a lease to lapse."""
    contents = MemoryStore()
    async with open_instance(contents, be_quick):
        async with open_instance(contents, be_silent) as (leaving, _):
            ids = [await leaving.submit(retries=1) for _ in range(6)]
            await trio.sleep(1)
        stopped = trio.current_time()
        for execution_id in ids:
            assert (await wait_final(contents, execution_id, within_s=TICK_S + 1)).status is Status.COMPLETED
        assert trio.current_time() - stopped <= TICK_S + 1


async def test_nobody_noticed_so_it_goes_on(autojump_clock: trio.testing.MockClock) -> None:
    """A lapsed lease alone stops nothing: an instance frozen alone finishes what it had, in its first epoch."""
    contents = MemoryStore()
    async with open_instance(contents, talk) as (world, store):
        execution_id = await world.submit()
        await trio.sleep(5.5)
        store.gate = trio.Event()
        await trio.sleep(10 * LEASE_S)
        thaw(store)

        assert (await wait_final(contents, execution_id, within_s=100)).status is Status.COMPLETED
        assert contents.records[execution_id].epoch == 1


@CAPACITIES
@pytest.mark.behaviour(42)
async def test_thawed_while_another_runs_it_the_stale_owner_writes_nothing(
    capacity: int | None, autojump_clock: trio.testing.MockClock
) -> None:
    """Invariant 6, first order: the store refuses what the frozen instance still had to say, and its pod is removed."""
    contents = MemoryStore()
    async with (
        open_instance(contents, talk, capacity=capacity) as (frozen, store),
        open_instance(contents, talk, capacity=capacity) as (other, _),
    ):
        execution_id = await frozen.submit(retries=1)
        await trio.sleep(5.5)
        store.gate = trio.Event()
        await trio.sleep(LEASE_S + TICK_S)
        assert len(other.runner.started) == 1
        thaw(store)
        await trio.sleep(2)

        assert frozen.runner.pods[0].is_closed
        assert frozen.engine.statistics()["execd_executions_running"] == 0
        result = await wait_final(contents, execution_id, within_s=100)
        assert (result.status, result.nodes[0].attempts) == (Status.COMPLETED, 2)
        assert contents.records[execution_id].epoch == 2


@CAPACITIES
async def test_adopted_back_the_stale_saga_is_out_of_the_way_first(
    capacity: int | None, autojump_clock: trio.testing.MockClock
) -> None:
    """Invariant 6, second order: lost, and back before its saga here noticed. Its pod is gone before the next one starts, and a
    program that says nothing cannot keep two sagas alive."""
    contents = MemoryStore()
    closed_before: list[list[bool]] = []

    async def silent_at_first(pod: ScriptedPod) -> None:
        closed_before.append([earlier.is_closed for earlier in frozen.runner.pods[:-1]])
        if len(closed_before) == 1:
            await trio.sleep_forever()
        await pod.exit(0)

    async with open_instance(contents, silent_at_first, capacity=capacity) as (frozen, store):
        execution_id = await frozen.submit(retries=3)
        await trio.sleep(1)
        store.gate = trio.Event()
        async with open_instance(contents, be_silent, capacity=capacity) as (other, _):
            await trio.sleep(LEASE_S + TICK_S)
            assert len(other.runner.started) == 1
        assert not frozen.runner.pods[0].is_closed
        frozen.runner.pods[0].closing_s = 2
        thaw(store)

        result = await wait_final(contents, execution_id, within_s=TICK_S + 1)
        assert (result.status, result.nodes[0].attempts) == (Status.COMPLETED, 3)
        assert closed_before == [[], [True]]
        assert contents.records[execution_id].epoch == 3
        await trio.sleep(0.1)
        assert frozen.engine.statistics()["execd_executions_running"] == 0


@CAPACITIES
async def test_adopted_back_what_still_waited_here_leaves_the_line(
    capacity: int | None, autojump_clock: trio.testing.MockClock
) -> None:
    """The other instance had begun it; here it stands in the line under an old epoch. It must not be started as if it were new."""
    contents = MemoryStore()
    async with open_instance(contents, be_silent, capacity=capacity) as (frozen, store):
        for _ in range(4):
            await frozen.submit()
        waiting = await frozen.submit("waiting", retries=1)
        await trio.sleep(1)
        store.gate = trio.Event()
        async with open_instance(contents, be_silent, capacity=capacity):
            await trio.sleep(LEASE_S + TICK_S)
            assert contents.records[waiting].status is Status.RUNNING
        frozen.runner.script = be_quick
        thaw(store)

        result = await wait_final(contents, waiting, within_s=TICK_S + 1)
        assert (result.status, result.nodes[0].attempts) == (Status.COMPLETED, 2)
        await trio.sleep(0.1)
        assert frozen.engine.statistics()["execd_executions_running"] == 0
        assert frozen.engine.statistics()["execd_executions_queued"] == 0


async def test_a_silent_program_that_was_lost_gives_its_slot_back(autojump_clock: trio.testing.MockClock) -> None:
    """It writes nothing, so the store has nothing to refuse: without a look after a lapse it would run on beside its successor."""
    contents = MemoryStore()
    async with (
        open_instance(contents, be_silent) as (frozen, store),
        open_instance(contents, be_silent) as (other, _),
    ):
        execution_id = await frozen.submit(retries=1)
        await trio.sleep(1)
        store.gate = trio.Event()
        await trio.sleep(LEASE_S + TICK_S)
        thaw(store)
        await trio.sleep(TICK_S)

        assert frozen.runner.pods[0].is_closed
        assert frozen.engine.statistics()["execd_executions_running"] == 0
        assert other.engine.statistics()["execd_executions_running"] == 1
        assert contents.records[execution_id].epoch == 2


async def test_a_saga_that_crashes_takes_nothing_back_from_another(autojump_clock: trio.testing.MockClock) -> None:
    """It was lost in a lapse and fails here before it has noticed: whoever runs it now is not disturbed."""
    contents = MemoryStore()
    async with (
        open_instance(contents, be_silent) as (frozen, store),
        open_instance(contents, talk) as (_, _),
    ):
        execution_id = await frozen.submit(retries=1)
        await trio.sleep(1)
        store.gate = trio.Event()
        await trio.sleep(LEASE_S + TICK_S)
        await crash_saga(frozen.runner.pods[0])
        thaw(store)

        assert (await wait_final(contents, execution_id, within_s=100)).status is Status.COMPLETED
        assert contents.records[execution_id].epoch == 2


async def test_while_draining_nothing_is_adopted(autojump_clock: trio.testing.MockClock) -> None:
    """Who is about to leave takes up no new work, but keeps what still runs from being taken away."""
    contents = MemoryStore()
    async with open_instance(contents, be_silent) as (leaving, _), open_instance(contents, be_silent):
        running = await leaving.submit()
        await trio.sleep(1)
        leaving.engine.drain()
        async with open_instance(contents, be_silent) as (dead, dying):
            orphan = await dead.submit()
            await trio.sleep(1)
            dying.dies_at = 0
            await trio.sleep(LEASE_S + TICK_S + 1)

        assert contents.records[running].epoch == 1
        assert contents.records[orphan].status is Status.FAILED
        assert len(leaving.runner.started) == 1


async def test_a_lone_instance_that_drains_leaves_orphans_to_the_next(autojump_clock: trio.testing.MockClock) -> None:
    """The same with nobody else there: the record is not touched."""
    contents = MemoryStore()
    async with open_instance(contents, be_silent) as (leaving, _):
        leaving.engine.drain()
        await contents.write([create(owner="dead")])
        await trio.sleep(100)

        assert (contents.records[E1].owner, contents.records[E1].epoch) == ("dead", 1)


async def test_the_next_generation_takes_over_from_its_former_at_once(autojump_clock: trio.testing.MockClock) -> None:
    """A coordinator that crashed lets go of its own lease: nobody waits for it to lapse, and no other instance is needed."""
    contents = MemoryStore()
    async with open_instance(contents, be_silent) as (world, _):
        execution_id = await world.submit()
        await trio.sleep(1)
        world.engine._to_coordinator.tx.send_nowait("no such message")  # type: ignore[arg-type] # the defect

        result = await wait_final(contents, execution_id, within_s=0.5)
        assert result.error is not None
        assert result.error.code == "worker_lost"
        assert len(contents.leases) == 1
    assert contents.leases == {}


async def test_a_store_that_is_away_costs_the_lease_task_nothing(autojump_clock: trio.testing.MockClock) -> None:
    """It goes on when the store is back: no crash, no restart, and others' orphans are found as before."""
    contents = MemoryStore()
    async with open_instance(contents, be_quick) as (world, store):
        store.is_away = True
        await trio.sleep(100)
        store.is_away = False
        await contents.write([create(owner="dead")])
        await trio.sleep(2 * TICK_S)

        assert contents.records[E1].owner != "dead"
        assert world.engine.statistics().get("execd_actor_crashes_total", 0) == 0
        assert all(deadline > trio.current_time() for deadline in contents.leases.values())


async def test_a_writer_crash_with_the_renewal_in_hand_is_survived(autojump_clock: trio.testing.MockClock) -> None:
    """The lease task asks again next time; only the writer starts anew."""
    contents = MemoryStore()
    async with open_instance(contents, be_silent) as (world, store):
        execution_id = await world.submit()
        await trio.sleep(1)
        store.defects = 1
        await trio.sleep(10 * TICK_S)

        assert world.engine.statistics()["execd_actor_crashes_total"] == 1
        assert contents.records[execution_id].epoch == 1
        assert all(deadline > trio.current_time() for deadline in contents.leases.values())


async def test_an_idle_instance_asks_the_store_twice_a_tick_and_says_nothing(
    autojump_clock: trio.testing.MockClock, captured_logs: list[object]
) -> None:
    """An idle server stays idle: one renewal and one look for orphans every five seconds, and no log line."""
    contents = MemoryStore()
    async with open_instance(contents, be_silent) as (_, store):
        began = store.write_count
        captured_logs.clear()
        await trio.sleep(100 * TICK_S)

        assert 99 <= store.write_count - began <= 101
        assert captured_logs == []


async def test_a_viewer_sees_what_another_instance_stores(autojump_clock: trio.testing.MockClock) -> None:
    """Without a relay nothing of it is published here; the store has it, so the stream is later but complete."""
    contents = MemoryStore()
    async with open_world(talk, store=contents) as runs, open_world(talk, store=TroubledStore(contents)) as watches:
        execution_id = await runs.submit()
        began = trio.current_time()
        events = await watches.watch(execution_id)

        assert trio.current_time() - began < 70
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert events[-1].type == "result_stored"


@CAPACITIES
@pytest.mark.parametrize("seed", range(20))
async def test_whoever_freezes_crashes_or_dies_everything_ends_once(
    seed: int, capacity: int | None, autojump_clock: trio.testing.MockClock
) -> None:
    """Three instances, any of them frozen, thawed, or hit by a saga's or a coordinator's crash at any moment: no execution is
    lost between owners, none ends twice."""
    chance = random.Random(seed)
    contents = MemoryStore()

    async def wander(pod: ScriptedPod) -> None:
        for _ in range(chance.randrange(4)):
            await trio.sleep(chance.choice([0.1, 1, 7, 20]))
            await pod.write(b"x")
        await pod.exit(0)

    async with (
        open_instance(contents, wander, capacity=capacity) as one,
        open_instance(contents, wander, capacity=capacity) as two,
        open_instance(contents, wander, capacity=capacity) as three,
    ):
        instances = [one, two, three]
        for _ in range(25):
            await do_something(chance, *chance.choice(instances), capacity=capacity)
            await trio.sleep(chance.choice([0, 0.1, 3, 9, 16]))
        for _, store in instances:
            store.defects = 0
            if store.gate is not None:
                thaw(store)
        await trio.sleep(1)  # what was submitted in front of a closed gate gets through it

        for execution_id in list(contents.records):
            await wait_final(contents, execution_id, within_s=3600)
        await trio.sleep(30)
        for world, _ in instances:
            assert world.engine.statistics()["execd_executions_running"] == 0
            assert world.engine.statistics()["execd_executions_queued"] == 0


async def do_something(chance: random.Random, world: World, store: TroubledStore, *, capacity: int | None) -> None:
    what = chance.randrange(8)
    if what == 0 and store.gate is None:
        store.gate = trio.Event()
    elif what in {1, 2} and store.gate is not None:
        thaw(store)
    elif what == 3:
        store.defects += store.gate is None
    elif what == 4 and world.runner.pods:
        await crash_saga(world.runner.pods[-1])
    elif what == 5 and capacity is None:
        world.engine._to_coordinator.post_nowait("no such message")  # type: ignore[arg-type] # the defect
    else:
        await try_submit(world, retries=chance.choice([0, 9]))


async def try_submit(world: World, *, retries: int) -> None:
    with trio.move_on_after(0.5):
        try:
            await world.submit(retries=retries)
        except ExecdError:
            return


async def crash_saga(pod: ScriptedPod) -> None:
    with trio.move_on_after(0.1):
        await pod._tx.send("not a frame")  # type: ignore[arg-type] # the defect


async def test_a_lease_outlives_two_missed_renewals(autojump_clock: trio.testing.MockClock) -> None:
    """A store that hangs for ten seconds is no death: nobody takes anything from an instance that comes back in time."""
    contents = MemoryStore()
    async with (
        open_instance(contents, be_silent) as (slow, store),
        open_instance(contents, be_silent) as (other, _),
    ):
        execution_id = await slow.submit()
        await trio.sleep(TICK_S + 0.5)
        store.gate = trio.Event()
        await trio.sleep(2 * TICK_S)
        thaw(store)
        await trio.sleep(10 * LEASE_S)

        assert contents.records[execution_id].epoch == 1
        assert other.runner.started == []
