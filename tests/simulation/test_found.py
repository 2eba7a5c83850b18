"""What the simulation found, each as the smallest test that fails without its mending."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
import trio
import trio.testing

from execd.actors.broadcast import BroadcastLog, Cursor
from execd.actors.supervisor import supervise
from execd.adapters.memory_store import MemoryStore
from execd.core.errors import OverloadedError
from execd.core.event_parts import Prompt
from execd.core.events import NodeId
from execd.core.graph import Node
from execd.core.nodes.waiting import InputSpec
from execd.core.workflows import WorkflowSpec, store_node
from execd.ports import Write, WriteOutcome
from execd.telemetry import Counters
from tests.support.engines import W, open_world, submission
from tests.support.scripted_runner import ScriptedPod


async def short(pod: ScriptedPod) -> None:
    await pod.write(b"x")
    await trio.sleep(1)
    await pod.exit(0)


class _DiesWithTheResult(MemoryStore):
    """A store that meets a defect right after it wrote a result."""

    async def write(self, batch: Sequence[Write]) -> list[WriteOutcome]:
        outcomes = await super().write(batch)
        if any(event.type == "result_stored" for write in batch for event in write.events):
            raise RuntimeError("the writer dies with the answer in hand")
        return outcomes


async def test_a_viewer_learns_of_an_end_that_was_stored_and_never_published(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """After the last event nothing more is published that could wake it: it would have waited for ever."""
    async with open_world(short, store=_DiesWithTheResult()) as world:
        execution_id = await world.submit()
        with trio.fail_after(60):
            events = await world.watch(execution_id)

        await trio.sleep(10)
        assert world.engine.statistics()["execd_hot_bytes"] == 0
    assert events[-1].type == "result_stored"


async def test_a_repeated_request_whose_first_node_asks_takes_no_slot_for_ever(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The store refuses the second of two at one instant; its saga, which waits for a person, must notice that."""
    ask = InputSpec(prompts=(Prompt(key="name", label="Who?"),))
    node = Node(id=NodeId("ask"), type="input", label="ask", spec=ask)
    spec = WorkflowSpec(nodes=(store_node(node),))
    asked = msgspec.structs.replace(submission(spec=spec), idempotency_key="k", request_sha256="s")
    async with open_world(short) as world:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.engine.submit, asked)
            nursery.start_soon(world.engine.submit, asked)
        await trio.sleep(1)

        assert len(world.store.records) == 1
        numbers = world.engine.statistics()
        assert (numbers["execd_executions_running"], numbers["execd_executions_parked"]) == (0, 1)


async def test_a_viewer_that_has_seen_the_end_elsewhere_is_told_that_it_is_over(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """An instance that lost an execution keeps the beginning of its log; a viewer ahead of that is not level with it."""
    store = MemoryStore()
    async with open_world(short, store=store) as world:
        execution_id = await world.submit()
        await world.watch(execution_id)
    journal = store.journals[execution_id]
    log = BroadcastLog(execution_id, limit_bytes=1000)
    log.append(journal[0])
    cursor = Cursor(log, store, workspace=W, after_seq=len(journal), max_lag_bytes=1000, on_close=lambda cursor: None)

    with trio.fail_after(10), pytest.raises(trio.EndOfChannel):
        await cursor.receive()


async def test_who_subscribes_while_execd_stops_is_told_so(autojump_clock: trio.testing.MockClock) -> None:
    """A closed mailbox is ours to explain; it must not reach a client as a defect."""
    async with open_world(short) as world:
        execution_id = await world.submit()
        engine = world.engine

    with pytest.raises(OverloadedError, match="shutting down"):
        async with engine.subscribe(execution_id, workspace=W, after_seq=0):
            pass


async def test_an_actor_that_crashes_while_it_is_cancelled_ends_nobody_else(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Its crash and its cancel come out together; the writer beside it still has to store what it was handed."""

    async def crash_on_the_way_out() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            try:
                await trio.sleep_forever()
            finally:
                raise RuntimeError("a defect")

    counters = Counters()
    with trio.move_on_after(1) as scope:
        await supervise("victim", crash_on_the_way_out, counters=counters)

    assert scope.cancelled_caught
    assert counters.read()["execd_actor_crashes_total"] == 1
