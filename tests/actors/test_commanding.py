"""What people ask of a run, in whatever state it is: it is obeyed once, nothing is left over, and the next one has its place."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import Any

import msgspec
import pytest
import trio
import trio.testing

from execd.core.errors import ConflictError, InvalidRequestError
from execd.core.events import NodeRetrying, Status
from execd.core.specs import Limits, ScriptSpec
from execd.ports import Cancel, Command, HttpAnswer, HttpRequest, Interrupt, Pause, ProvideInput, Resume
from tests.support.engines import TEST_SETTINGS, W, World, open_world
from tests.support.performers import finish, perform, run, script, wait, workflow
from tests.support.scripted_callers import ScriptedCallers

ONE_SLOT = msgspec.structs.replace(TEST_SETTINGS, queue=msgspec.structs.replace(TEST_SETTINGS.queue, slots=1))
ASK = {"id": "ask", "type": "input", "prompts": [{"key": "go"}]}
QUICK = workflow(script("quick", "1"))


def retrying(delay_s: float) -> dict[str, Any]:
    return script("n", "1 bad", retry={"retries": 5, "delay_s": delay_s, "jitter": 0})


STATES = {
    "queued": (workflow(script("n", "hang")), Status.QUEUED),
    "running": (workflow(script("n", "hang")), Status.RUNNING),
    "waiting": (workflow(wait("n", 10_000)), Status.RUNNING),
    "asking": (workflow(ASK), Status.WAITING_INPUT),
    "retrying": (workflow(retrying(300)), Status.RUNNING),
    "paused": (workflow(script("n", "5"), script("m", "5", "n")), Status.PAUSED),
    "paused while retrying": (workflow(retrying(300)), Status.PAUSED),
    "waiting in a body": (workflow({"id": "sub", "type": "workflow", "nodes": [wait("n", 10_000)]}), Status.RUNNING),
}


@pytest.mark.behaviour(31)
@pytest.mark.parametrize("state", STATES)
async def test_a_cancel_in_any_state_ends_it_and_frees_its_slot(
    state: str, autojump_clock: trio.testing.MockClock
) -> None:
    """One slot: whoever waits behind what was cancelled begins at once, and both have one journal with one end."""
    spec, status = STATES[state]
    async with open_world(perform, settings=ONE_SLOT) as world:
        before = await world.submit(spec=workflow(script("n", "50"))) if state == "queued" else None
        execution_id = await world.submit(spec=spec)
        await trio.sleep(2)
        if state.startswith("paused"):
            await world.engine.command(execution_id, Pause(by="u"))
            await trio.sleep(8)
        assert world.store.records[execution_id].status is status
        behind = await world.submit(spec=QUICK)

        asked_at = trio.current_time()
        await world.engine.command(execution_id, Cancel(by="u"))
        _, result = await finish(world, execution_id)
        assert trio.current_time() - asked_at < 0.1
        await finish(world, behind)
        assert trio.current_time() - asked_at < (52 if before else 1.1)
        await trio.sleep(10_000)
        statistics = world.engine.statistics()
        head = len(world.store.journals[execution_id])
        with pytest.raises(ConflictError, match="cancelled"):
            await world.engine.command(execution_id, Cancel(by="u"))

    assert result.status is Status.CANCELLED
    assert (statistics["execd_executions_running"], statistics["execd_executions_queued"]) == (0, 0)
    assert len(world.store.journals[execution_id]) == head
    assert all(pod.is_closed for pod in world.runner.pods)


@pytest.mark.behaviour(2, 32)
@pytest.mark.parametrize("end", ["completed", "failed", "cancelled"])
@pytest.mark.parametrize(
    "command",
    [
        Cancel(by="u"),
        Interrupt(by="u"),
        Pause(by="u"),
        Resume(by="u"),
        ProvideInput(by="u", prompt_id="ask.1", values={"go": "x"}),
    ],
)
async def test_what_has_ended_obeys_nobody(command: Command, end: str, autojump_clock: trio.testing.MockClock) -> None:
    """Refused with the state it is in; the record and the journal are byte for byte what they were."""
    source = {"completed": "1", "failed": "1 bad", "cancelled": "hang"}[end]
    async with open_world(perform) as world:
        execution_id = await world.submit(spec=workflow(script("n", source)))
        await trio.sleep(5)
        if end == "cancelled":
            await world.engine.command(execution_id, Cancel(by="u"))
        await finish(world, execution_id)
        await trio.sleep(1)
        before = (world.store.records[execution_id], list(world.store.journals[execution_id]))
        with pytest.raises(ConflictError, match=end):
            await world.engine.command(execution_id, command)
        await trio.sleep(1000)

    assert (world.store.records[execution_id], world.store.journals[execution_id]) == before


@pytest.mark.behaviour(32)
async def test_a_second_cancel_is_the_first(autojump_clock: trio.testing.MockClock) -> None:
    """Ten people press the button while a stubborn program still runs: all are told yes, one stop is recorded."""

    async def stubborn(pod: Any) -> None:
        await pod.stop_asked.wait()
        await trio.sleep(3)
        await pod.exit(signal=9, cancelled=True)

    async with open_world(stubborn) as world:
        execution_id = await world.submit(spec=workflow(script("n")))
        await trio.sleep(1)
        for number in range(10):
            await world.engine.command(execution_id, Cancel(by=f"u{number}"))
        events, result = await finish(world, execution_id)

    stops = [event.data for event in events if event.type == "stop_requested"]
    assert [stop.by for stop in stops] == ["u0"]  # type: ignore[attr-defined] # by its type
    assert result.status is Status.CANCELLED


@pytest.mark.behaviour(2, 39)
async def test_no_timer_of_a_retry_revives_what_was_cancelled(autojump_clock: trio.testing.MockClock) -> None:
    """Its moment comes, an hour after the end: nothing starts, nothing is written."""
    async with open_world(perform) as world:
        execution_id = await world.submit(spec=workflow(retrying(300)))
        await trio.sleep(2)
        await world.engine.command(execution_id, Cancel(by="u"))
        events, _ = await finish(world, execution_id)
        await trio.sleep(3600)

    assert len(world.runner.started) == 1
    assert len(world.store.journals[execution_id]) == len(events)


@pytest.mark.behaviour(39)
@pytest.mark.parametrize("jitter", [0.0, 0.5])
async def test_retries_come_when_their_policy_says(jitter: float, autojump_clock: trio.testing.MockClock) -> None:
    """Three more, after 2, 6 and 18 s and up to half of that more; each is announced with its moment and comes at that moment."""
    policy = {"retries": 3, "delay_s": 2, "factor": 3, "jitter": jitter}
    names = [f"n{number}" for number in range(10)]
    events, result = await run(workflow(*(script(name, "bad", retry=policy, on_error="continue") for name in names)))

    seen: set[float] = set()
    for name in names:
        mine = [event for event in events if event.node == name]
        announced = [event for event in mine if isinstance(event.data, NodeRetrying)]
        started = [event.at for event in mine if event.type == "node_started"]
        due = [event.data.retry_at for event in announced if isinstance(event.data, NodeRetrying)]
        waits = [(at - event.at).total_seconds() for at, event in zip(due, announced, strict=True)]
        assert all(low <= wait_s <= low * (1 + jitter) for low, wait_s in zip((2, 6, 18), waits, strict=True))
        late = [(began - at).total_seconds() for began, at in zip(started[1:], due, strict=True)]
        assert all(0 <= late_s < 0.01 for late_s in late)
        assert [event.attempt for event in announced] == [1, 2, 3]
        seen.update(waits)
    assert {node.attempts for node in result.nodes} == {4}
    assert (len(seen) > 10) is (jitter > 0), "those that failed together do not come back together"


@pytest.mark.behaviour(30)
async def test_a_cancel_stops_everything_at_once(autojump_clock: trio.testing.MockClock) -> None:
    """Programs, requests, timers, questions, retries and the items of a map, each at its worst moment: all are over within a
    second, and an hour later nothing has moved."""

    async def never(request: HttpRequest) -> HttpAnswer:
        await trio.sleep_forever()
        raise AssertionError

    outside = ScriptedCallers(serve=never)
    each = {"id": "each", "type": "map", "items": [1, 2, 3], "nodes": [script("in", "hang")]}
    call = {"id": "call", "type": "http", "url": "http://example.com/"}
    nodes = [script("main", "hang"), retrying(300), call, wait("rest", 3000), ASK, each]
    async with open_world(perform, callers=outside.callers) as world:
        await trio.sleep(0.1)
        tasks_before = trio.lowlevel.current_statistics().tasks_living
        execution_id = await world.submit(spec=workflow(*nodes, script("after", "1", "main")))
        await trio.sleep(5)
        assert outside.open_count == 1
        asked_at = trio.current_time()
        await world.engine.command(execution_id, Cancel(by="u"))
        assert trio.current_time() - asked_at < 0.1
        _, result = await finish(world, execution_id)
        assert trio.current_time() - asked_at < 1
        await trio.testing.wait_all_tasks_blocked()
        assert trio.lowlevel.current_statistics().tasks_living == tasks_before
        started = len(world.runner.started)
        await trio.sleep(3600)

    assert outside.open_count == 0
    assert len(world.runner.started) == started
    assert all(pod.is_closed for pod in world.runner.pods)
    assert {node.id: node.status for node in result.nodes} == {
        **dict.fromkeys(["main", "n", "call", "rest", "ask", "each"], "failed"),
        "after": "not_run",
    }


ENDINGS = ("", "bad", "late", "lost", "defect", "hang")


@pytest.mark.slow
@pytest.mark.behaviour(43)
async def test_a_thousand_runs_in_a_row_leave_no_slot_taken(autojump_clock: trio.testing.MockClock) -> None:
    """Two slots, and every way to end in turn: success, failure, time-out, a lost sandbox, a defect of execd, a cancel. Each run
    is watched; in the end both slots, the line and every viewer's place are free."""
    settings = msgspec.structs.replace(TEST_SETTINGS, queue=msgspec.structs.replace(TEST_SETTINGS.queue, slots=2))
    ends: Counter[str] = Counter()
    async with open_world(perform, settings=settings) as world:
        await trio.sleep(0.1)
        tasks_before = trio.lowlevel.current_statistics().tasks_living

        async def run_many(lane: int) -> None:
            for number in range(500):
                ending = ENDINGS[(number + lane) % len(ENDINGS)]
                ends[str(await run_one(world, ending))] += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_many, 0)
            nursery.start_soon(run_many, 1)
        await trio.sleep(1)
        statistics = world.engine.statistics()
        assert statistics["execd_executions_running"] == statistics["execd_executions_queued"] == 0
        assert statistics["execd_viewers"] == 0
        assert trio.lowlevel.current_statistics().tasks_living == tasks_before
        assert all(pod.is_closed for pod in world.runner.pods)

    assert ends.total() == len(world.store.records) == 1000
    assert set(ends) == {"completed", "failed", "timeout", "cancelled"}


async def run_one(world: World, ending: str) -> Status:
    source = ScriptSpec(language="python", source=f"0.1 {ending}", limits=Limits())
    execution_id = await world.submit(spec=source)
    if ending == "hang":
        with suppress(ConflictError):
            await trio.sleep(0.2)
            await world.engine.command(execution_id, Cancel(by="u"))
    async with world.engine.subscribe(execution_id, workspace=W, after_seq=0) as subscription:
        with suppress(trio.EndOfChannel):
            while True:
                await subscription.receive()
    return world.store.records[execution_id].status


async def test_half_a_character_is_refused_and_crashes_nobody(autojump_clock: trio.testing.MockClock) -> None:
    """No request over HTTP can hold one; an embedding program's can, and no store."""
    async with open_world(perform) as world:
        for _ in range(10):
            with pytest.raises(InvalidRequestError, match="surrogate"):
                await world.submit(spec=workflow(wait("n", 1), input={"k": "\ud800"}))
        _, end = await finish(world, await world.submit(spec=QUICK))

    assert end.status is Status.COMPLETED
