"""Graphs through crashes: what is finished stays finished, what waits goes on waiting, what a person said is kept."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import trio
import trio.testing

from execd.adapters.memory_store import MemoryStore
from execd.core.errors import ConflictError, InvalidRequestError
from execd.core.event_parts import Prompt
from execd.core.events import ExecutionId, NodeCompleted, NodeId, Status
from execd.core.graph import Need, Node
from execd.core.nodes import type_of
from execd.core.nodes.scripts import StepSpec
from execd.core.nodes.waiting import InputSpec, WaitSpec
from execd.core.specs import Limits, RetryPolicy, ScriptSpec
from execd.core.workflows import WorkflowSpec, store_node
from execd.ports import Pause, ProvideInput, Resume
from tests.support.engines import EPOCH, open_world
from tests.support.performers import finish
from tests.support.scripted_runner import ScriptedPod
from tests.support.stores import TroubledStore

SCRIPT = StepSpec(script=ScriptSpec(language="python", source="pass", limits=Limits()))
ASK = InputSpec(prompts=(Prompt(key="go", label="Go on?", choices=("yes", "no")),))


def workflow(*nodes: tuple[str, Any, str], on_lost: bool = True) -> WorkflowSpec:
    """Make a workflow of (id, spec, needs as one text) triples; its nodes may be repeated."""
    policy = RetryPolicy(retries=5 if on_lost else 0, on_lost=on_lost)
    return WorkflowSpec(
        nodes=tuple(
            store_node(
                Node(
                    id=NodeId(name),
                    type=type_of(spec).name,
                    label=name,
                    spec=spec,
                    needs=tuple(Need(NodeId(need)) for need in needs.split()),
                    retry=policy,
                )
            )
            for name, spec, needs in nodes
        )
    )


async def work(pod: ScriptedPod) -> None:
    """Take a second."""
    await pod.write(pod.request.node.encode())
    await trio.sleep(1)
    await pod.exit(0)


def reopened(contents: MemoryStore) -> MemoryStore:
    """As opening a SQLite file does: who opens it proves that its former owners are gone, and their leases with them."""
    contents.leases.clear()
    return contents


async def live(contents: MemoryStore, *, seconds: float) -> list[tuple[str, int]]:
    """Run execd on these contents for a while, kill it, and give what its runner started."""
    store = TroubledStore(reopened(contents))
    with trio.CancelScope() as killed:
        async with open_world(work, store=store) as world:
            await trio.sleep(seconds)
            store.dies_at = 0
            killed.cancel()
    return [(request.node, request.attempt) for request in world.runner.started]


async def begin(
    contents: MemoryStore, spec: WorkflowSpec, *, seconds: float, paused_after: float | None = None
) -> None:
    """Submit to a first life of execd that is killed after a while."""
    store = TroubledStore(contents)
    with trio.CancelScope() as killed:
        async with open_world(work, store=store) as world:
            execution_id = await world.submit(spec=spec)
            if paused_after is not None:
                await trio.sleep(paused_after)
                await world.engine.command(execution_id, Pause(by="u"))
            await trio.sleep(seconds)
            store.dies_at = 0
            killed.cancel()


def only(contents: MemoryStore) -> ExecutionId:
    (execution_id,) = contents.records
    return execution_id


async def test_no_finished_node_runs_again_however_often_execd_dies(autojump_clock: trio.testing.MockClock) -> None:
    """A chain of twenty, killed every two and a half seconds: each node completes once, and only the one in flight is
    repeated."""
    chain = workflow(*((f"n{i:02}", SCRIPT, f"n{i - 1:02}" if i else "") for i in range(20)))
    contents = MemoryStore()
    await begin(contents, chain, seconds=2.5)
    started: list[tuple[str, int]] = []
    while not contents.records[only(contents)].status.is_final:
        started += await live(contents, seconds=2.5)
        assert len(started) < 100

    async with open_world(work, store=reopened(contents)) as world:
        events, end = await finish(world, only(contents))
    completed = [event.node for event in events if isinstance(event.data, NodeCompleted)]
    assert completed == [f"n{i:02}" for i in range(20)]
    assert end.status is Status.COMPLETED
    assert len(set(started)) == len(started)


async def test_a_node_without_its_authors_word_fails_with_its_worker(autojump_clock: trio.testing.MockClock) -> None:
    """What may have happened already is not done again unasked; the rest is not run."""
    contents = MemoryStore()
    await begin(contents, workflow(("a", SCRIPT, ""), ("b", SCRIPT, "a"), on_lost=False), seconds=1.5)

    async with open_world(work, store=reopened(contents)) as world:
        _, end = await finish(world, only(contents))
    assert end.error is not None
    assert end.error.code == "worker_lost"
    assert [(node.status, node.attempts) for node in end.nodes] == [("completed", 1), ("failed", 1)]


@pytest.mark.parametrize("down_s", [10.0, 5000.0])
@pytest.mark.behaviour(38)
async def test_a_wait_ends_when_it_would_have_without_the_crash(
    down_s: float, autojump_clock: trio.testing.MockClock
) -> None:
    """A timer is a moment in the journal: a crash neither shortens nor lengthens it; one that passed meanwhile fires at once."""
    contents = MemoryStore()
    await begin(contents, workflow(("wait", WaitSpec(seconds=1000.0), ""), ("work", SCRIPT, "wait")), seconds=100)
    await trio.sleep(down_s)

    async with open_world(work, store=reopened(contents)) as world:
        events, _ = await finish(world, only(contents))
    at = {(event.type, event.node): event.at for event in events}
    waited = at["node_completed", NodeId("wait")] - at["node_started", NodeId("wait")]
    assert timedelta(0) <= waited - timedelta(seconds=max(1000, 100 + down_s)) < timedelta(seconds=1)


async def test_a_wait_until_a_moment_follows_the_clock(autojump_clock: trio.testing.MockClock) -> None:
    """`until` is a moment of the wall clock; one in the past is no wait."""
    until = EPOCH + timedelta(seconds=trio.current_time() + 90)
    async with open_world(work) as world:
        began = trio.current_time()
        past = WaitSpec(until="2020-01-01T00:00:00Z")
        _, end = await finish(
            world, await world.submit(spec=workflow(("a", past, ""), ("b", WaitSpec(until=until.isoformat()), "")))
        )
        assert end.status is Status.COMPLETED
        assert 89 < trio.current_time() - began < 91


@pytest.mark.behaviour(38)
async def test_a_question_outlives_a_crash_and_takes_one_answer(autojump_clock: trio.testing.MockClock) -> None:
    """Somebody may answer after a long lunch, through another life of execd, once."""
    contents = MemoryStore()
    await begin(contents, workflow(("ask", ASK, ""), ("work", SCRIPT, "ask")), seconds=5)
    assert contents.records[only(contents)].status is Status.WAITING_INPUT

    async with open_world(work, store=reopened(contents)) as world:
        await trio.sleep(3 * 3600)
        assert contents.records[only(contents)].status is Status.WAITING_INPUT
        with pytest.raises(InvalidRequestError):
            await world.engine.command(
                only(contents), ProvideInput(by="u", prompt_id="ask.1", values={"go": "perhaps"})
            )
        answer = ProvideInput(by="u", prompt_id="ask.1", values={"go": "yes"})
        await world.engine.command(only(contents), answer)
        with pytest.raises(ConflictError):
            await world.engine.command(only(contents), answer)
        _, end = await finish(world, only(contents))
    assert end.status is Status.COMPLETED
    assert end.outputs["ask"] == {"go": "yes"}


async def test_an_expiry_outlives_a_crash(autojump_clock: trio.testing.MockClock) -> None:
    """The time to answer goes on while execd is down."""
    contents = MemoryStore()
    await begin(contents, workflow(("ask", InputSpec(prompts=ASK.prompts, expires_s=60.0), "")), seconds=5)
    await trio.sleep(100)

    async with open_world(work, store=reopened(contents)) as world:
        _, end = await finish(world, only(contents))
    assert end.error is not None
    assert end.error.code == "input_expired"


@pytest.mark.behaviour(34)
async def test_a_pause_outlives_crashes(autojump_clock: trio.testing.MockClock) -> None:
    """Paused means paused, through any number of restarts, until somebody resumes."""
    contents = MemoryStore()
    await begin(contents, workflow(("a", SCRIPT, ""), ("b", SCRIPT, "a")), seconds=5, paused_after=0.5)
    for _ in range(3):
        assert await live(contents, seconds=50) == []
        assert contents.records[only(contents)].status is Status.PAUSED

    async with open_world(work, store=reopened(contents)) as world:
        await trio.sleep(1)
        await world.engine.command(only(contents), Resume(by="u"))
        _, end = await finish(world, only(contents))
    assert end.status is Status.COMPLETED
    assert [node.attempts for node in end.nodes] == [1, 1]
