"""Engines elsewhere through crashes of execd: what they do goes on, what they said is kept, and what ended stays ended."""

from __future__ import annotations

import random

import pytest
import trio
import trio.testing

from execd.adapters.memory_store import MemoryStore
from execd.core.errors import ConflictError
from execd.core.events import DeclaredNode, NodeCompleted, NodeId, NodeStarted, Status
from execd.core.external import ExternalSpec
from execd.core.job_reports import EndReport, NodeReport, ProgressReport, ReportedEnd, ReportedNode
from execd.ports import Cancel, Pause, Report
from tests.actors.test_workflow_recovery import only, reopened
from tests.support.engines import open_world
from tests.support.performers import finish
from tests.support.scripted_runner import ScriptedPod
from tests.support.stores import TroubledStore

SPEC = ExternalSpec(nodes=(DeclaredNode(id=NodeId("a"), label="A", type="http"),), timeout_s=1000.0)


async def run_nothing(pod: ScriptedPod) -> None:
    raise AssertionError("an engine elsewhere does the work")


def went_well(name: str) -> Report:
    return Report(report=ProgressReport(progress=80, node=NodeId(name)))


def begins(name: str) -> Report:
    return Report(report=ProgressReport(progress=10, node=NodeId(name)))


def completed(*names: str) -> Report:
    nodes = tuple(
        NodeReport(id=NodeId(name), status=ReportedNode.COMPLETED, label=name, type="http", output=name)
        for name in names
    )
    return Report(report=EndReport(status=ReportedEnd.COMPLETED, nodes=nodes))


async def live(contents: MemoryStore, *reports: Report, begin: bool = False, seconds: float = 1.0) -> None:
    """Run execd on these contents for a while, take these reports, and kill it."""
    store = TroubledStore(contents if begin else reopened(contents))
    with trio.CancelScope() as killed:
        async with open_world(run_nothing, store=store) as world:
            if begin:
                await world.submit(spec=SPEC)
            for report in reports:
                await world.engine.command(only(contents), report)
            await trio.sleep(seconds)
            store.dies_at = 0
            killed.cancel()


async def test_an_engine_reports_through_any_number_of_lives(autojump_clock: trio.testing.MockClock) -> None:
    """Each life takes one report; together they are one journal without a hole, and no node is told twice."""
    contents = MemoryStore()
    await live(contents, begins("a"), begin=True)
    await live(contents, went_well("a"))
    await live(contents, went_well("a"), begins("b"))
    await live(contents)

    async with open_world(run_nothing, store=reopened(contents)) as world:
        await world.engine.command(only(contents), completed("a", "b", "c"))
        events, end = await finish(world, only(contents))

    assert end.status is Status.COMPLETED
    assert [(event.type, event.node) for event in events if isinstance(event.data, NodeStarted | NodeCompleted)] == [
        ("node_started", "a"),
        ("node_completed", "a"),
        ("node_started", "b"),
        ("node_completed", "b"),
        ("node_started", "c"),
        ("node_completed", "c"),
    ]
    assert end.outputs == {"a": "a", "b": "b", "c": "c"}


async def test_its_time_is_counted_through_a_crash(autojump_clock: trio.testing.MockClock) -> None:
    """An engine that died while execd was down is timed out when its time is over, not later."""
    contents = MemoryStore()
    await live(contents, begins("a"), begin=True, seconds=100)
    await trio.sleep(200)

    async with open_world(run_nothing, store=reopened(contents)) as world:
        events, end = await finish(world, only(contents))

    assert end.status is Status.TIMEOUT
    assert 1000 <= (events[-1].at - events[0].at).total_seconds() < 1001


async def test_what_ended_stays_ended_in_a_later_life(autojump_clock: trio.testing.MockClock) -> None:
    """A callback that comes after a cancel and a crash changes nothing."""
    contents = MemoryStore()
    store = TroubledStore(contents)
    with trio.CancelScope() as killed:
        async with open_world(run_nothing, store=store) as world:
            await world.submit(spec=SPEC)
            await world.engine.command(only(contents), Cancel(by="u"))
            store.dies_at = 0
            killed.cancel()

    async with open_world(run_nothing, store=reopened(contents)) as world:
        with pytest.raises(ConflictError):
            await world.engine.command(only(contents), completed("a"))
        _, end = await finish(world, only(contents))

    assert end.status is Status.CANCELLED


async def test_one_that_was_stored_and_never_begun_begins(autojump_clock: trio.testing.MockClock) -> None:
    """A kill right after the answer: the next life takes it up, without a slot."""
    contents = MemoryStore()
    store = TroubledStore(contents)
    store.dies_at = 3  # after the adoption at the start and the submission
    with trio.CancelScope() as killed:
        async with open_world(run_nothing, store=store) as world:
            await world.submit(spec=SPEC)
            await store.has_died.wait()
            killed.cancel()
    assert contents.records[only(contents)].status is Status.QUEUED

    async with open_world(run_nothing, store=reopened(contents)) as world:
        await trio.sleep(1)
        assert contents.records[only(contents)].status is Status.RUNNING
        await world.engine.command(only(contents), completed("a"))
        _, end = await finish(world, only(contents))

    assert end.status is Status.COMPLETED


@pytest.mark.parametrize("seed", range(10))
async def test_any_reports_through_any_deaths_leave_one_end(seed: int, autojump_clock: trio.testing.MockClock) -> None:
    """With mailboxes of no room, and deaths at any write: what was thanked for is in the journal, and the end is one."""
    rng = random.Random(seed)
    contents = MemoryStore()
    await live(contents, begin=True, seconds=0.1)
    thanked: set[str] = set()
    for _ in range(6):
        store = TroubledStore(reopened(contents))
        store.dies_at = rng.randint(1, 6)
        with trio.move_on_after(5):
            async with open_world(run_nothing, store=store, capacity=0) as world:
                for _ in range(4):
                    name = rng.choice("abcdef")
                    await world.command(only(contents), went_well(name))
                    thanked.add(name)
                    with pytest.raises(ConflictError):
                        await world.command(only(contents), Pause(by="u"))

    async with open_world(run_nothing, store=reopened(contents)) as world:
        await world.engine.command(only(contents), completed())
        events, end = await finish(world, only(contents))

    ended = [event.node for event in events if isinstance(event.data, NodeCompleted)]
    assert len(ended) == len(set(ended))
    assert thanked <= set(filter(None, ended))
    assert end.status is Status.COMPLETED
