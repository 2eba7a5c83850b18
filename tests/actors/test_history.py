"""What executions of a definition teach the next: kept with their end, read once at the start of the next, also by another life."""

from __future__ import annotations

from typing import Any

import trio
import trio.testing

from execd.adapters.memory_store import MemoryStore
from execd.core.errors import StoreUnavailableError
from execd.core.events import DefinitionId, Event, ExecutionId, Progress
from execd.core.history import RunTimes
from execd.ports import Definition, DefinitionLimits, Submission
from tests.actors.test_workflow_recovery import SCRIPT, reopened, work, workflow
from tests.support.engines import EPOCH, W, World, open_world, submission, watch
from tests.support.scripted_runner import ScriptedPod
from tests.support.stores import TroubledStore

D = DefinitionId("def-1")
THREE = workflow(("a", SCRIPT, ""), ("b", SCRIPT, "a"), ("c", SCRIPT, "b"))
"""Three seconds, one after the other."""


async def save(store: MemoryStore) -> None:
    """Save the definition that executions here say they were made of."""
    await store.definitions.save_definition(
        Definition(
            id=D,
            workspace=W,
            name="three",
            version=1,
            kind="workflow",
            saved_by="u",
            saved_at=EPOCH,
            sha256="",
            size_bytes=0,
            body=b"{}",
        ),
        limits=DefinitionLimits(),
    )


async def hang(pod: ScriptedPod) -> None:
    """Take ten seconds."""
    await trio.sleep(10)
    await pod.exit(0)


def of_definition(spec: Any = THREE) -> Submission:
    made = submission("three", spec=spec)
    return Submission(
        **{**{n: getattr(made, n) for n in made.__struct_fields__}, "definition": D, "definition_version": 1}
    )


async def run_once(world: World) -> list[Event]:
    """Run the definition to its end."""
    execution_id = (await world.engine.submit(of_definition())).id
    return await watch(world.engine, execution_id)


def told(events: list[Event]) -> list[Progress]:
    return [event.data for event in events if isinstance(event.data, Progress)]


async def test_the_fourth_run_knows_how_long_it_takes(autojump_clock: trio.testing.MockClock) -> None:
    """Three successes make a history; before, nothing is said of time, and without a definition never."""
    store = MemoryStore()
    await save(store)
    async with open_world(work, store=store) as world:
        for _ in range(3):
            assert {progress.eta_ms for progress in told(await run_once(world))} == {None}

        progress = told(await run_once(world))

        assert [(p.percent, p.eta_ms, p.eta_p75_ms) for p in progress] == [
            (0, 3000, 3000),
            (33, 2000, 2000),
            (66, 1000, 1000),
            (100, 0, 0),
        ]
        alone = await watch(world.engine, await world.submit(spec=THREE))
        assert {p.eta_ms for p in told(alone)} == {None}
    assert len(await store.read_history(W, D)) == 4


async def test_what_hangs_is_said_to_take_longer_than_usual(autojump_clock: trio.testing.MockClock) -> None:
    """Nothing happens, and still whoever looks is told, once."""
    store = MemoryStore()
    await save(store)
    for _ in range(3):
        store.definitions.keep_times(W, D, RunTimes(nodes=dict.fromkeys(("a", "b", "c"), 100), total_ms=300))

    async with open_world(hang, store=store) as world:
        events = await run_once(world)

    started = [event.at for event in events if event.type == "node_started"]
    late = [event for event in events if isinstance(event.data, Progress) and event.data.overrun]
    assert [(event.at - at).total_seconds() for event, at in zip(late, started, strict=True)] == [1.1, 1.1, 1.1]
    assert [progress.eta_ms for progress in told(late)] == [200, 100, 0]


async def test_another_life_reads_the_history_again(autojump_clock: trio.testing.MockClock) -> None:
    """Killed in the middle, its successor goes on telling the time that is left."""
    contents = MemoryStore()
    await save(contents)
    for _ in range(3):
        contents.definitions.keep_times(W, D, RunTimes(nodes=dict.fromkeys(("a", "b", "c"), 1000), total_ms=3000))
    store = TroubledStore(contents)
    with trio.CancelScope() as killed:
        async with open_world(work, store=store) as world:
            execution_id = (await world.engine.submit(of_definition())).id
            await trio.sleep(1.5)
            store.dies_at = 0
            killed.cancel()

    async with open_world(work, store=reopened(contents)) as world:
        events = await watch(world.engine, ExecutionId(execution_id))

    assert told(events)[-1] == Progress(done=3, total=3, percent=100, eta_ms=0, eta_p75_ms=0)
    assert all(progress.eta_ms is not None for progress in told(events))


class NoHistory(MemoryStore):
    """A store whose history cannot be read."""

    async def read_history(self, workspace: object, definition: object) -> list[RunTimes]:  # type: ignore[override]  # narrower on purpose
        await trio.lowlevel.checkpoint()
        raise StoreUnavailableError("away")


async def test_a_history_that_cannot_be_read_costs_the_time_left_only(autojump_clock: trio.testing.MockClock) -> None:
    """An estimate is never a reason not to run."""
    store = NoHistory()
    await save(store)
    async with open_world(work, store=store) as world:
        events = await run_once(world)

    assert events[-1].type == "result_stored"
    assert {progress.eta_ms for progress in told(events)} == {None}
