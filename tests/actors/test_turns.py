"""Turns: only what does something has a slot, everybody who needs one gets it, and nobody fills the store alone."""

from __future__ import annotations

import msgspec
import pytest
import trio
import trio.testing

from execd.adapters.memory_store import MemoryStore
from execd.core.errors import OverloadedError
from execd.core.events import ExecutionStarted, NodeStarted, Status
from execd.core.nodes.set_values import SetSpec
from execd.core.nodes.waiting import WaitSpec
from execd.ports import Cancel, ProvideInput
from execd.settings import QueueSettings, Settings
from tests.actors.test_workflow_recovery import ASK, SCRIPT, finish, reopened, work, workflow
from tests.support.engines import TEST_SETTINGS, open_world, submission
from tests.support.stores import TroubledStore

ONE_SLOT = msgspec.structs.replace(TEST_SETTINGS, queue=QueueSettings(slots=1))
APPROVAL = workflow(("ask", ASK, ""), ("work", SCRIPT, "ask"))


def with_queue(**changes: int) -> Settings:
    return msgspec.structs.replace(TEST_SETTINGS, queue=QueueSettings(**changes))


@pytest.mark.parametrize("capacity", [0, None])
async def test_open_questions_block_nobody(capacity: int | None, autojump_clock: trio.testing.MockClock) -> None:
    """A hundred approvals wait on a server with one slot, and a script runs at once; then all are answered and each goes on,
    one at a time."""
    running = most = 0

    async def count(pod: object) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await work(pod)  # type: ignore[arg-type]
        running -= 1

    async with open_world(count, settings=ONE_SLOT, capacity=capacity) as world:
        waiting = [await world.submit(spec=APPROVAL) for _ in range(100)]
        for execution_id in waiting:
            await world.wait_status(execution_id, Status.WAITING_INPUT)
        started_at = trio.current_time()
        await world.watch(await world.submit())
        assert trio.current_time() - started_at < 1.5
        assert world.engine.statistics()["execd_executions_parked"] == 100
        for execution_id in waiting:
            await world.command(execution_id, ProvideInput(by="u", prompt_id="ask.1", values={"go": "yes"}))
        for execution_id in waiting:
            _, end = await finish(world, execution_id)
            assert end.status is Status.COMPLETED

    assert most == 1


async def test_what_has_begun_goes_first(autojump_clock: trio.testing.MockClock) -> None:
    """An answered approval does not stand behind whatever was submitted since."""
    async with open_world(work, settings=ONE_SLOT) as world:
        approval = await world.submit(spec=APPROVAL)
        await world.wait_status(approval, Status.WAITING_INPUT)
        others = [await world.submit() for _ in range(5)]
        await world.command(approval, ProvideInput(by="u", prompt_id="ask.1", values={"go": "yes"}))
        events = await world.watch(approval)
        begun = [event.at for event in events if isinstance(event.data, NodeStarted) and event.node == "work"]
        starts = []
        for other in others:
            starts += [event.at for event in await world.watch(other) if isinstance(event.data, ExecutionStarted)]

    assert sum(start < begun[0] for start in starts) <= 1


async def test_a_cancel_in_the_second_line_frees_everything(autojump_clock: trio.testing.MockClock) -> None:
    """A thousand in a row, cancelled while they stand in line for another slot: the line and the slots are as new."""
    async with open_world(work, settings=ONE_SLOT) as world:
        for _ in range(1000):
            busy = await world.submit()
            approval = await world.submit(spec=APPROVAL)
            await world.watch(busy)
            await world.wait_status(approval, Status.WAITING_INPUT)
            busy = await world.submit()
            await world.wait_status(busy, Status.RUNNING)
            await world.command(approval, ProvideInput(by="u", prompt_id="ask.1", values={"go": "yes"}))
            await world.command(approval, Cancel(by="u"))
            _, end = await finish(world, approval)
            assert end.status is Status.CANCELLED
            await world.command(busy, Cancel(by="u"))
            await world.watch(busy)
        await trio.testing.wait_all_tasks_blocked()
        numbers = world.engine.statistics()

    assert (numbers["execd_executions_running"], numbers["execd_executions_queued"]) == (0, 0)
    assert numbers["execd_executions_parked"] == 0


async def test_those_that_wait_wake_after_a_restart(autojump_clock: trio.testing.MockClock) -> None:
    """Ten timers outlive execd, on a server with one slot, and each goes on when its time has come."""
    contents = MemoryStore()
    pause = workflow(("pause", WaitSpec(seconds=60.0), ""), ("work", SCRIPT, "pause"))
    with trio.CancelScope() as killed:
        store = TroubledStore(contents)
        async with open_world(work, store=store, settings=ONE_SLOT) as world:
            for _ in range(10):
                await world.submit(spec=pause)
            await trio.sleep(5)
            store.dies_at = 0
            killed.cancel()
    async with open_world(work, store=reopened(contents), settings=ONE_SLOT) as world:
        started_at = trio.current_time()
        await world.watch(await world.submit())
        assert trio.current_time() - started_at < 2
        for execution_id in list(contents.records):
            _, end = await finish(world, execution_id)
            assert end.status is Status.COMPLETED


async def test_shutdown_waits_for_nobody_who_only_waits(autojump_clock: trio.testing.MockClock) -> None:
    """An open approval does not hold the server for its grace."""
    async with open_world(work) as world:
        approval = await world.submit(spec=APPROVAL)
        await world.wait_status(approval, Status.WAITING_INPUT)
        began_at = trio.current_time()

    assert trio.current_time() - began_at < 0.5


async def test_more_that_wait_than_there_may_be_are_refused(autojump_clock: trio.testing.MockClock) -> None:
    """Each keeps memory, and nobody knows for how long: the door says so, and opens again."""
    async with open_world(work, settings=with_queue(slots=1, max_parked=3)) as world:
        waiting = [await world.submit(spec=APPROVAL) for _ in range(3)]
        for execution_id in waiting:
            await world.wait_status(execution_id, Status.WAITING_INPUT)
        with pytest.raises(OverloadedError, match="3 executions wait"):
            await world.engine.submit(submission(spec=APPROVAL))
        await world.command(waiting[0], Cancel(by="u"))
        await world.watch(waiting[0])
        await world.submit(spec=APPROVAL)


async def test_a_large_workflow_does_not_hold_up_a_small_one(autojump_clock: trio.testing.MockClock) -> None:
    """Whoever has ten thousand events to store lets others' come between its own, on a store that takes a millisecond for each."""
    store = TroubledStore()
    store.s_per_event = 0.001
    one = ("n0", SetSpec(values=1), "")
    many = workflow(one, *((f"n{i}", SetSpec(values=i), "n0") for i in range(1, 5000)))
    async with open_world(work, store=store) as world:
        large = await world.submit(spec=many)
        slowest = 0.0
        for _ in range(5):
            await trio.sleep(1)
            began_at = trio.current_time()
            await world.watch(await world.submit(spec=workflow(one)))
            slowest = max(slowest, trio.current_time() - began_at)
        assert (await world.engine.find(large)).status is Status.RUNNING  # type: ignore[union-attr] # it is there
        await world.watch(large)

    assert slowest < 1.5
