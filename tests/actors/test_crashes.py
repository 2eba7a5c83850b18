"""What happens on each crash: the sentences of docs/architecture.md, as tests on virtual time."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from execd.actors.engine import ASK_DEADLINE_S
from execd.actors.messages import SendCommand, SubmitExecution, Subscribe
from execd.actors.supervisor import BUDGET, BudgetSpentError, supervise
from execd.core.errors import ExecdError, OverloadedError, StoreUnavailableError
from execd.core.events import ExecutionId, ResultStored, Status
from execd.mailbox import Reply
from execd.ports import EvictedError, Pause, Subscription, WriteOutcome
from execd.telemetry import Counters
from tests.support.engines import W, open_world, submission
from tests.support.scripted_runner import ScriptedPod
from tests.support.stores import TroubledStore


async def talk(pod: ScriptedPod) -> None:
    for number in range(5):
        await pod.write(b"line %d\n" % number)
        await trio.sleep(1)
    await pod.exit(0)


async def test_five_crashes_in_a_minute_are_survived_and_the_sixth_is_not(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The budget is exact: an actor that keeps crashing ends the process, so that its manager notices."""
    runs = 0

    async def crash() -> None:
        nonlocal runs
        runs += 1
        await trio.sleep(1)
        raise RuntimeError("again")

    with pytest.raises(BudgetSpentError, match="crashed 6 times"):
        await supervise("victim", crash, counters=Counters())

    assert runs == BUDGET + 1


async def test_crashes_far_apart_never_spend_the_budget(autojump_clock: trio.testing.MockClock) -> None:
    """A crash every quarter of a minute for an hour is annoying, not fatal."""
    runs = 0

    async def crash_now_and_then() -> None:
        nonlocal runs
        runs += 1
        await trio.sleep(15)
        if runs < 240:
            raise RuntimeError("again")

    await supervise("victim", crash_now_and_then, counters=Counters())

    assert runs == 240


async def test_a_writer_crash_fails_only_what_it_had_in_hand(autojump_clock: trio.testing.MockClock) -> None:
    """The saga whose write was in hand cannot know its fate, so it reads the journal and ends as internal_error; a later
    execution knows nothing of it."""
    store = TroubledStore()
    async with open_world(talk, store=store) as world:
        victim = await world.submit("victim")
        await trio.sleep(2.5)
        store.defects = 1
        events = await world.watch(victim)
        later = await world.watch(await world.submit("later"))

    result = events[-1].data
    assert isinstance(result, ResultStored)
    assert result.error is not None
    assert result.error.code == "internal_error"
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert isinstance(later[-1].data, ResultStored)
    assert later[-1].data.status is Status.COMPLETED


async def test_a_writer_that_keeps_crashing_ends_the_process(autojump_clock: trio.testing.MockClock) -> None:
    """A store that is broken for good must not be served from: the engine's nursery fails."""
    store = TroubledStore()
    store.defects = 10**6

    with pytest.raises(ExceptionGroup) as caught:
        async with open_world(talk, store=store):
            await trio.sleep_forever()

    assert caught.group_contains(BudgetSpentError)


async def test_a_saga_that_crashes_is_that_executions_failure(autojump_clock: trio.testing.MockClock) -> None:
    """A program that drives a defect of execd ends as internal_error; its neighbour is not disturbed."""

    async def fault_the_first(pod: ScriptedPod) -> None:
        await trio.sleep(2)
        if pod is world.runner.pods[0]:
            await pod._tx.send("not a frame")  # type: ignore[arg-type] # the defect
        await talk(pod)

    async with open_world(fault_the_first) as world:
        victim, neighbour = await world.submit("victim"), await world.submit("neighbour")
        ends = [(await world.watch(execution_id))[-1].data for execution_id in (victim, neighbour)]

        await trio.sleep(0.1)
        assert world.runner.pods[0].is_closed
        assert world.engine.statistics()["execd_executions_running"] == 0
    assert [end.status for end in ends if isinstance(end, ResultStored)] == [Status.FAILED, Status.COMPLETED]
    assert isinstance(ends[0], ResultStored)
    assert ends[0].error is not None
    assert ends[0].error.code == "internal_error"


async def test_a_coordinator_crash_adopts_and_goes_on(autojump_clock: trio.testing.MockClock) -> None:
    """Its sagas die with it and their pods are removed; what it adopts ends as worker_lost, what waited still runs."""
    async with open_world(talk) as world:
        running = [await world.submit() for _ in range(4)]
        waiting = await world.submit()
        await trio.sleep(1)
        world.engine._to_coordinator.tx.send_nowait("no such message")  # type: ignore[arg-type] # the defect
        ends = [(await world.watch(execution_id))[-1].data for execution_id in [*running, waiting]]

        assert all(pod.is_closed for pod in world.runner.pods)
    statuses = [end.status for end in ends if isinstance(end, ResultStored)]
    assert statuses == [Status.FAILED] * 4 + [Status.COMPLETED]


async def test_a_router_crash_loses_only_memory(autojump_clock: trio.testing.MockClock) -> None:
    """Viewers are told to resume, and what was in memory comes from the store."""
    async with open_world(talk) as world:
        execution_id = await world.submit()
        await trio.sleep(2.5)
        async with world.engine.subscribe(execution_id, workspace=W, after_seq=0) as subscription:
            first = await subscription.receive()
            world.engine._to_router.tx.send_nowait("no such message")  # type: ignore[arg-type] # the defect
            with pytest.raises(EvictedError, match="restarted"):
                await subscription.receive()
        events = await world.watch(execution_id, after_seq=first[-1].seq)

    assert [event.seq for event in events] == list(range(first[-1].seq + 1, events[-1].seq + 1))
    assert isinstance(events[-1].data, ResultStored)


async def test_stopping_leaves_what_waits_to_the_next_start(autojump_clock: trio.testing.MockClock) -> None:
    """SIGTERM: what runs gets the grace and ends; what waits was accepted and runs after the restart."""
    store = TroubledStore()

    async def short(pod: ScriptedPod) -> None:
        await trio.sleep(0.5)
        await pod.exit(0)

    async with open_world(short, store=store) as world:
        ids = [await world.submit() for _ in range(6)]
        await trio.sleep(0.1)
    assert sorted(str(store.records[i].status) for i in ids) == ["completed"] * 4 + ["queued"] * 2

    async with open_world(short, store=store) as world:
        for execution_id in ids:
            await world.watch(execution_id)
    assert {store.records[ExecutionId(i)].status for i in ids} == {Status.COMPLETED}


async def test_what_outlasts_the_grace_is_cut_and_its_pod_removed(autojump_clock: trio.testing.MockClock) -> None:
    """The grace is a limit, to the second; the journal stays as it is, and the next start ends it honestly."""
    store = TroubledStore()

    async def stubborn(pod: ScriptedPod) -> None:
        await trio.sleep_forever()

    async with open_world(stubborn, store=store) as world:
        execution_id = await world.submit()
        await trio.sleep(1)
        began = trio.current_time()
    assert trio.current_time() - began == pytest.approx(1.0)
    assert world.runner.pods[0].is_closed

    async with open_world(stubborn, store=store) as world:
        result = (await world.watch(execution_id))[-1].data
    assert isinstance(result, ResultStored)
    assert result.error is not None
    assert result.error.code == "worker_lost"


async def test_a_submission_in_a_crashed_coordinators_hand_is_answered_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """It was not accepted and may be sent again: nobody should wait ten seconds to hear that nothing is known."""
    async with open_world(talk) as world:
        reply: Reply[WriteOutcome] = Reply()
        broken = SubmitExecution(execution_id=ExecutionId("e"), submission=None, state=None, reply=reply)  # type: ignore[arg-type] # the defect
        world.engine._to_coordinator.post_nowait(broken)
        with trio.fail_after(0.1), pytest.raises(OverloadedError, match="restarting"):
            await reply.wait()

        assert world.store.records == {}
        assert isinstance((await world.watch(await world.submit()))[-1].data, ResultStored)


async def test_a_submission_that_no_store_takes_is_answered_when_the_coordinator_goes(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The other way out of the hand: it waits for room at a writer whose store hangs, and execd stops. It was not accepted."""
    store = TroubledStore()
    answers: list[ExecdError] = []

    async def submit_in_vain() -> None:
        try:
            await world.engine.submit(submission())
        except ExecdError as error:
            answers.append(error)

    async with trio.open_nursery() as nursery:
        async with open_world(talk, store=store, capacity=0) as world:
            await trio.sleep(1)
            store.gate = trio.Event()
            for _ in range(2):
                nursery.start_soon(submit_in_vain)
                await trio.sleep(0.1)
            began = trio.current_time()
        assert trio.current_time() - began < ASK_DEADLINE_S

    assert [type(answer) for answer in answers] == [OverloadedError, StoreUnavailableError]


async def test_a_command_in_a_crashed_coordinators_hand_is_answered_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Its saga dies with the coordinator, so it is not obeyed, and the asker may try again."""
    async with open_world(talk) as world:
        reply: Reply[bool] = Reply()
        broken = SendCommand(execution_id=[], command=Pause(by="u"), reply=reply)  # type: ignore[arg-type] # the defect
        world.engine._to_coordinator.post_nowait(broken)
        with trio.fail_after(0.1), pytest.raises(OverloadedError, match="restarting"):
            await reply.wait()


async def test_a_subscription_in_a_crashed_routers_hand_is_answered_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A viewer that comes in that instant is told to come again, as those that were there already are."""
    async with open_world(talk) as world:
        reply: Reply[Subscription] = Reply()
        broken = Subscribe(execution_id=[], workspace=W, after_seq=0, reply=reply)  # type: ignore[arg-type] # the defect
        await world.engine._to_router.tx.send(broken)
        with trio.fail_after(0.1), pytest.raises(OverloadedError, match="restarting"):
            await reply.wait()

        assert world.engine.statistics()["execd_viewers"] == 0
        assert isinstance((await world.watch(await world.submit()))[-1].data, ResultStored)
