"""The invariants of the design, on the real actors: a virtual clock, a store in memory, programs that do as told.

Each runs with every mailbox at capacity 0 too, where a blocking send down the ranks would deadlock.
"""

from __future__ import annotations

import ast
import random
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
import trio
import trio.testing

from execd.adapters.memory_store import MemoryStore
from execd.core.codec import decode_event
from execd.core.errors import ConflictError, InvalidRequestError, NotFoundError, OverloadedError, StoreUnavailableError
from execd.core.events import FINAL_STATUSES, Event, ExecutionEnded, ExecutionId, Output, ResultStored, Status, Stream
from execd.ports import Cancel, Dropped, EvictedError, PodObservation, SendStdin, StreamedEvent
from tests.support.engines import TEST_SETTINGS, W, open_world, submission, with_stream
from tests.support.scripted_runner import ScriptedPod
from tests.support.stores import TroubledStore

CAPACITIES = pytest.mark.parametrize("capacity", [0, 1, None])


async def talk(pod: ScriptedPod) -> None:
    """Write ten lines, one a second, and succeed."""
    for number in range(10):
        await pod.write(b"line %d\n" % number)
        await trio.sleep(1)
    await pod.exit(0)


async def wait_for_stop(pod: ScriptedPod) -> None:
    """Run until stopped."""
    await pod.write(b"running\n")
    await pod.stop_asked.wait()
    await pod.exit(signal=15, cancelled=True)


def types(events: list[Event]) -> list[str]:
    return [event.type for event in events]


@CAPACITIES
@pytest.mark.behaviour(3, 7, 11)
async def test_every_viewer_sees_the_same_events_with_the_same_seq(
    capacity: int | None, autojump_clock: trio.testing.MockClock
) -> None:
    """Invariant 1: whenever a viewer joins, before, during or after, it sees one gap-free journal."""
    seen: list[list[Event]] = []
    async with open_world(talk, capacity=capacity) as world:
        execution_id = await world.submit()

        async def join_after(delay_s: float) -> None:
            await trio.sleep(delay_s)
            seen.append(await world.watch(execution_id))

        async with trio.open_nursery() as nursery:
            for delay_s in (0, 0.5, 3, 7.2, 9.999, 10, 11, 400, 1000):
                nursery.start_soon(join_after, delay_s)

    assert len(seen) == 9
    assert [event.seq for event in seen[0]] == list(range(1, len(seen[0]) + 1))
    assert all(events == seen[0] for events in seen)
    assert seen[0][-1].type == "result_stored"


@CAPACITIES
@pytest.mark.behaviour(8)
async def test_a_viewer_that_resumes_sees_the_rest_once(
    capacity: int | None, autojump_clock: trio.testing.MockClock
) -> None:
    """A cursor anywhere in the journal gives exactly what comes after it."""
    async with open_world(talk, capacity=capacity) as world:
        execution_id = await world.submit()
        whole = await world.watch(execution_id)

        for after_seq in range(len(whole) + 1):
            rest = await world.watch(execution_id, after_seq=after_seq)
            assert rest == whole[after_seq:]


@pytest.mark.behaviour(29)
async def test_nothing_is_published_before_it_is_stored(autojump_clock: trio.testing.MockClock) -> None:
    """Invariant 2, for viewers: at the moment a viewer has an event, the store has it too."""
    store = TroubledStore()
    async with open_world(talk, store=store) as world:
        execution_id = await world.submit()

        async def look_at_each() -> None:
            async with world.engine.subscribe(execution_id, workspace=W, after_seq=0) as subscription:
                while True:
                    for event in await subscription.receive():
                        assert len(store.journals[execution_id]) >= event.seq

        with pytest.raises(trio.EndOfChannel):
            await look_at_each()


@pytest.mark.behaviour(23)
async def test_no_program_starts_before_its_announcement_is_stored(autojump_clock: trio.testing.MockClock) -> None:
    """Invariant 2, for side effects: while the store hangs, nothing begins; when it is back, all goes on."""
    store = TroubledStore()
    async with open_world(talk, store=store) as world:
        await trio.sleep(1)
        store.gate = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.submit)
            await trio.sleep(5)
            assert world.runner.pods
            assert world.runner.started == []
            store.gate.set()
        (execution_id,) = store.records
        await world.watch(execution_id)

    assert len(world.runner.started) == 1


async def test_a_request_is_not_accepted_before_it_is_stored(autojump_clock: trio.testing.MockClock) -> None:
    """Invariant 4: whoever has an answer has it in the store; who has none within the deadline is told that."""
    store = TroubledStore()
    async with open_world(talk, store=store) as world:
        await trio.sleep(1)
        store.is_away = True
        began = trio.current_time()

        with pytest.raises(Exception, match="no answer within 10 s") as caught:
            await world.engine.submit(submission())

        assert getattr(caught.value, "code", None) == "store_unavailable"
        assert trio.current_time() - began == 10
        store.is_away = False


@CAPACITIES
async def test_a_store_that_is_away_for_a_while_costs_time_and_nothing_else(
    capacity: int | None, autojump_clock: trio.testing.MockClock
) -> None:
    """A full disk in the middle of a run: the program waits, the journal is whole."""
    store = TroubledStore()
    async with open_world(talk, store=store, capacity=capacity) as world:
        execution_id = await world.submit()
        await trio.sleep(3.5)
        store.is_away = True
        await trio.sleep(60)
        store.is_away = False
        events = await world.watch(execution_id)

    lines = "".join(event.data.text or "" for event in events if isinstance(event.data, Output))
    assert lines == "".join(f"line {number}\n" for number in range(10))
    assert [event.seq for event in events] == list(range(1, len(events) + 1))


async def test_a_writer_that_cannot_write_makes_execd_unready(autojump_clock: trio.testing.MockClock) -> None:
    """A load balancer must not send work to an instance whose writes are stuck, although its small checks pass."""
    store = TroubledStore()
    async with open_world(talk, store=store) as world:
        await world.submit()
        store.is_away = True
        await trio.sleep(3)
        stuck = await world.engine.readiness()
        store.is_away = False
        await trio.sleep(5)
        well = await world.engine.readiness()

    assert stuck["store"] == "the disk is full"
    assert well["store"] == "ok"


@CAPACITIES
@pytest.mark.behaviour(1, 41)
async def test_killed_at_any_write_every_accepted_execution_ends_once(
    capacity: int | None, autojump_clock: trio.testing.MockClock
) -> None:
    """Invariants 3 and 4: whichever write is the last before a kill, after a restart each accepted execution ends, once,
    and a viewer's two halves fit together."""
    for dies_at in range(2, 30):
        contents = MemoryStore()
        dying = TroubledStore(contents)
        dying.dies_at = dies_at
        before = await _watch_until_killed(dying, capacity)
        async with open_world(talk, store=contents, capacity=capacity) as world:
            for execution_id, seen in before.items():
                if execution_id not in contents.records:
                    assert not seen
                    continue
                last_seq = seen[-1].seq if seen else 0
                whole = seen + await world.watch(execution_id, after_seq=last_seq)
                _check_whole(whole, contents, execution_id)


async def _watch_until_killed(dying: TroubledStore, capacity: int | None) -> dict[ExecutionId, list[Event]]:
    seen: dict[ExecutionId, list[Event]] = {}
    with trio.CancelScope() as killed:
        async with open_world(talk, store=dying, capacity=capacity) as world:

            async def view() -> None:
                execution_id = await world.submit()
                seen[execution_id] = []
                async with world.engine.subscribe(execution_id, workspace=W, after_seq=0) as subscription:
                    while True:
                        seen[execution_id].extend(decode_event(e.body) for e in await subscription.receive())

            async def view_while_it_lasts() -> None:
                with suppress(trio.EndOfChannel, EvictedError, OverloadedError):
                    await view()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(view_while_it_lasts)
                nursery.start_soon(view_while_it_lasts)
                with trio.move_on_after(60):
                    await dying.has_died.wait()
                await trio.sleep(1)
                nursery.cancel_scope.cancel()
            killed.cancel()
    return seen


def _check_whole(events: list[Event], store: MemoryStore, execution_id: ExecutionId) -> None:
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert [type(event.data) for event in events].count(ResultStored) == 1
    assert len([event for event in events if isinstance(event.data, ExecutionEnded)]) == 1
    assert isinstance(events[-1].data, ResultStored)
    record = store.records[execution_id]
    assert record.status in FINAL_STATUSES
    assert events[-1].data.status is record.status
    assert [decode_event(stored.body) for stored in store.journals[execution_id]] == events


async def test_a_script_lost_with_its_worker_fails_or_runs_again_as_its_spec_says(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The crash policy of the design: `worker_lost`, unless the author allowed a rerun."""
    contents = MemoryStore()
    dying = TroubledStore(contents)
    with trio.CancelScope() as killed:
        async with open_world(wait_for_stop, store=dying) as world:
            once = await world.submit("once")
            again = await world.submit("again", retries=1)
            await trio.sleep(1)
            dying.dies_at = 0
            killed.cancel()

    async with open_world(talk, store=contents) as world:
        lost = await world.watch(once)
        rerun = await world.watch(again)

    assert isinstance(lost[-1].data, ResultStored)
    assert lost[-1].data.error is not None
    assert lost[-1].data.error.code == "worker_lost"
    assert isinstance(rerun[-1].data, ResultStored)
    assert rerun[-1].data.status is Status.COMPLETED
    assert rerun[-1].data.nodes[0].attempts == 2


def test_only_the_result_writer_writes() -> None:
    """Invariant 5: no other module of the package calls what changes executions and journals."""
    package = Path(__file__).parents[2] / "execd"
    writers = {"write", "adopt", "sweep", "renew_lease", "release_lease"}
    found = set()
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in writers and "store" in ast.unparse(node.value):
                found.add(path.relative_to(package).as_posix())

    assert found == {"actors/result_writer.py"}


async def test_a_stale_owner_is_stopped_by_the_store(autojump_clock: trio.testing.MockClock) -> None:
    """Invariant 6: another instance takes over; the first one's next write is refused and its pod is removed."""
    store = MemoryStore()
    async with open_world(talk, store=store) as world:
        execution_id = await world.submit()
        await trio.sleep(2.5)
        store.leases.clear()
        await store.renew_lease("another", lease_s=3600)
        (taken,) = await store.adopt("another", only=execution_id)
        await trio.sleep(30)

        assert store.records[execution_id].epoch == taken.epoch
        assert len(store.journals[execution_id]) == taken.head_seq
        assert world.runner.pods[0].is_closed
        assert world.engine.statistics()["execd_executions_running"] == 0


@pytest.mark.behaviour(17)
async def test_a_slow_viewer_slows_nobody_and_is_evicted_with_its_last_seq(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Invariant 7: one viewer reads one event and stops; the run and the other viewer take no longer, and the slow one
    learns where to resume, and has then missed nothing."""

    async def flood(pod: ScriptedPod) -> None:
        for _ in range(100):
            await pod.write(b"x" * 1000)
            await trio.sleep(0.001)
        await pod.exit(0)

    settings = with_stream(TEST_SETTINGS, max_lag_bytes=20_000, hot_bytes_per_execution=10_000)
    async with open_world(flood, settings=settings) as world:
        execution_id = await world.submit()
        async with world.engine.subscribe(execution_id, workspace=W, after_seq=0) as slow:
            first = [decode_event(event.body) for event in await slow.receive()]
            whole = await world.watch(execution_id)
            assert trio.current_time() < 1
            with pytest.raises(EvictedError) as evicted:
                await slow.receive()
        rest = await world.watch(execution_id, after_seq=evicted.value.last_seq)

    assert evicted.value.reason == "slow"
    assert first + rest == whole


async def test_a_relaying_viewer_gets_everything_without_being_woken(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The short cut for many viewers loses, doubles and reorders nothing, also when its taker declines now and then."""
    async with open_world(talk) as world:
        execution_id = await world.submit()
        taken: list[int] = []
        declined: set[int] = set()

        def take(events: Sequence[StreamedEvent]) -> bool:
            taken.extend(event.seq for event in events)
            if len(taken) % 3 == 2:
                declined.add(len(taken))
            return len(taken) % 3 != 2

        async def follow() -> None:
            async with world.engine.subscribe(execution_id, workspace=W, after_seq=0) as subscription:
                while True:
                    taken.extend(event.seq for event in await subscription.receive())
                    await subscription.relay(take)

        with pytest.raises(trio.EndOfChannel):
            await follow()

        assert taken == [event.seq for event in await world.watch(execution_id)]
        assert len(declined) > 1


async def test_a_thousand_viewers_at_one_instant_are_all_taken(autojump_clock: trio.testing.MockClock) -> None:
    """After a restart everybody comes back at once; a refusal would end a browser's stream for good."""
    async with open_world(talk) as world:
        execution_id = await world.submit()
        arrived = 0

        async def view() -> None:
            nonlocal arrived
            async with world.engine.subscribe(execution_id, workspace=W, after_seq=0):
                arrived += 1
                await trio.sleep(5)

        async with trio.open_nursery() as nursery:
            for _ in range(1000):
                nursery.start_soon(view)

    assert arrived == 1000


async def test_a_relaying_viewer_is_not_left_waiting_for_the_second_page(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """More may be published at once than a viewer takes at once; the rest must not wait for the next event."""
    store = TroubledStore()

    async def burst(pod: ScriptedPod) -> None:
        await pod.write(b"first\n")
        await trio.sleep(1)
        for _ in range(20):
            await pod.write(b"b" * 60_000)
        await trio.sleep(1000)
        await pod.exit(0)

    async with open_world(burst, store=store) as world:
        execution_id = await world.submit()
        seen: list[int] = []

        def take(events: Sequence[StreamedEvent]) -> bool:
            seen.extend(event.seq for event in events)
            return True

        async def follow() -> None:
            async with world.engine.subscribe(execution_id, workspace=W, after_seq=0) as subscription:
                while True:
                    seen.extend(event.seq for event in await subscription.receive())
                    await subscription.relay(take)

        with trio.move_on_after(100):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(follow)
                await trio.sleep(0.5)
                store.gate = trio.Event()
                await trio.sleep(1)
                store.gate.set()
                await trio.sleep(50)
                assert len(seen) == len(store.journals[execution_id])
                nursery.cancel_scope.cancel()
        world.runner.pods[0]._scope.cancel()


async def test_hot_history_is_bounded_in_bytes(autojump_clock: trio.testing.MockClock) -> None:
    """Invariant 7: whatever runs, the router keeps no more than it may, and the journal can still be read whole."""

    async def flood(pod: ScriptedPod) -> None:
        for _ in range(300):
            await pod.write(b"y" * 1000)
        await pod.exit(0)

    settings = with_stream(TEST_SETTINGS, hot_bytes_per_execution=10_000, hot_bytes_total=25_000)
    async with open_world(flood, settings=settings) as world:
        ids = [await world.submit() for _ in range(8)]
        for execution_id in ids:
            await world.watch(execution_id)
        # one execution may exceed the total by the log it is still writing
        assert world.engine.statistics()["execd_hot_bytes"] <= 35_000
        for execution_id in ids:
            text = "".join(e.data.text or "" for e in await world.watch(execution_id) if isinstance(e.data, Output))
            assert text == "y" * 300_000


async def test_one_long_run_keeps_no_more_in_memory_than_it_may(autojump_clock: trio.testing.MockClock) -> None:
    """64 MiB of output must not become 64 MiB of memory while the run still goes on."""

    async def flood_and_wait(pod: ScriptedPod) -> None:
        for _ in range(100):
            await pod.write(b"y" * 1000)
        await trio.sleep(10)
        await pod.exit(0)

    settings = with_stream(TEST_SETTINGS, hot_bytes_per_execution=10_000)
    async with open_world(flood_and_wait, settings=settings) as world:
        execution_id = await world.submit()
        await trio.sleep(5)
        assert len(world.store.journals[execution_id]) > 100
        assert world.engine.statistics()["execd_hot_bytes"] <= 10_000
        await world.watch(execution_id)


async def test_hot_history_is_forgotten_after_its_time(autojump_clock: trio.testing.MockClock) -> None:
    """An ended execution costs memory for five minutes, to the second, and is served from the store after."""
    async with open_world(talk) as world:
        execution_id = await world.submit()
        await world.watch(execution_id)
        await trio.sleep(299)
        assert world.engine.statistics()["execd_hot_executions"] == 1
        await trio.sleep(2)
        assert world.engine.statistics()["execd_hot_executions"] == 0
        assert types(await world.watch(execution_id))[-1] == "result_stored"


@pytest.mark.behaviour(25)
async def test_bytes_that_a_limit_drops_are_counted_and_said(autojump_clock: trio.testing.MockClock) -> None:
    """Invariant 8: the event and the result both name how much is missing."""

    async def chatter(pod: ScriptedPod) -> None:
        await pod.write(b"kept")
        await pod._tx.send(Dropped(stream=Stream.STDOUT, dropped_bytes=96))
        await pod.exit(0)

    async with open_world(chatter) as world:
        events = await world.watch(await world.submit())

    assert "output_truncated" in types(events)
    result = events[-1].data
    assert isinstance(result, ResultStored)
    totals = result.streams[Stream.STDOUT]
    assert (totals.total_bytes, totals.shown_bytes, totals.dropped_bytes) == (100, 4, 96)


async def test_a_pod_that_vanishes_without_a_record_is_lost_not_done(autojump_clock: trio.testing.MockClock) -> None:
    """Invariant 10: no news is not good news."""

    async def vanish(pod: ScriptedPod) -> None:
        await pod.write(b"half")
        await pod.vanish()

    async with open_world(vanish) as world:
        events = await world.watch(await world.submit())

    result = events[-1].data
    assert isinstance(result, ResultStored)
    assert (result.status, result.stdout) == (Status.FAILED, "half")
    assert result.error is not None
    assert result.error.code == "sandbox_lost"


async def test_the_pod_watchers_word_ends_a_pod_whose_last_frame_never_comes(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The second opinion: the process table says gone, the pipes say nothing; after five seconds that is the end."""

    async def hang(pod: ScriptedPod) -> None:
        await pod.write(b"still here?")
        await trio.sleep_forever()

    async with open_world(hang) as world:
        execution_id = await world.submit()
        await trio.sleep(1)
        world.runner.tell(PodObservation(pod="pod-1", phase="gone"))
        await world.watch(execution_id)

        assert trio.current_time() - (trio.current_time() // 1) < 1
        assert world.store.records[execution_id].status is Status.FAILED


async def test_an_exit_that_comes_with_the_pod_watchers_word_counts(autojump_clock: trio.testing.MockClock) -> None:
    """A pod that ends is seen gone in the same instant; the record it left is still the verdict."""

    async def end_and_go(pod: ScriptedPod) -> None:
        await pod.write(b"done\n")
        pod._runner.tell(PodObservation(pod=pod.name, phase="gone"))
        await pod.exit(0)
        pod._runner.tell(PodObservation(pod=pod.name, phase="gone"))

    for capacity in (0, 1, None) * 10:
        async with open_world(end_and_go, capacity=capacity) as world:
            result = (await world.watch(await world.submit()))[-1].data
            assert isinstance(result, ResultStored)
            assert result.status is Status.COMPLETED


@CAPACITIES
async def test_a_cancel_is_stored_when_it_is_acknowledged_and_kills(
    capacity: int | None, autojump_clock: trio.testing.MockClock
) -> None:
    """Returning from a cancel means that it stands in the journal; then the program ends and so does the run."""
    async with open_world(wait_for_stop, capacity=capacity) as world:
        execution_id = await world.submit()
        await trio.sleep(1)

        await world.command(execution_id, Cancel(by="u"))

        assert "stop_requested" in [event.type for event in world.store.journals[execution_id]]
        events = await world.watch(execution_id)
        assert types(events)[-2:] == ["execution_cancelled", "result_stored"]
        with pytest.raises(ConflictError, match=r"is cancelled|just ended"):
            await world.command(execution_id, Cancel(by="u"))


async def test_a_cancel_reaches_a_program_that_floods(autojump_clock: trio.testing.MockClock) -> None:
    """Output that never ends must not keep a cancel waiting for ever."""

    async def flood(pod: ScriptedPod) -> None:
        while not pod.stop_asked.is_set():
            await pod.write(b"z" * 100)
            await trio.sleep(0.001)
        await pod.exit(signal=15, cancelled=True)

    async with open_world(flood) as world:
        execution_id = await world.submit()
        await trio.sleep(1)
        with trio.fail_after(1):
            await world.command(execution_id, Cancel(by="u"))
            await world.watch(execution_id)


@CAPACITIES
async def test_a_queued_execution_can_be_cancelled(
    capacity: int | None, autojump_clock: trio.testing.MockClock
) -> None:
    """It ends without ever having a pod, and frees its place in the line."""
    async with open_world(talk, capacity=capacity) as world:
        busy = [await world.submit() for _ in range(4)]
        waiting = await world.submit()

        await world.command(waiting, Cancel(by="u"))

        events = await world.watch(waiting)
        assert types(events) == [
            "execution_requested",
            "execution_queued",
            "stop_requested",
            "node_skipped",
            "execution_cancelled",
            "result_stored",
        ]
        for execution_id in busy:
            await world.watch(execution_id)
        assert len(world.runner.started) == 4


async def test_commands_to_strangers_and_the_dead_are_told_apart(autojump_clock: trio.testing.MockClock) -> None:
    """An id that never was is not found; one that is over is a conflict that names its state."""
    async with open_world(talk) as world:
        with pytest.raises(NotFoundError):
            await world.engine.command(ExecutionId("exec-0-nothere"), Cancel(by="u"))
        execution_id = await world.submit()
        await world.watch(execution_id)
        with pytest.raises(ConflictError, match=r"is completed|just ended"):
            await world.engine.command(execution_id, Cancel(by="u"))


async def test_stdin_reaches_the_program(autojump_clock: trio.testing.MockClock) -> None:
    """Bytes in order, then end-of-file; after that a conflict."""

    async def read(pod: ScriptedPod) -> None:
        while not pod.is_stdin_closed:  # noqa: ASYNC110 # virtual time; a program that polls is what is meant
            await trio.sleep(0.1)
        await pod.write(bytes(pod.stdin))
        await pod.exit(0)

    async with open_world(read) as world:
        execution_id = await world.submit()
        await trio.sleep(1)
        await world.command(execution_id, SendStdin(data=b"one "))
        await world.command(execution_id, SendStdin(data=b"two", close=True))
        events = await world.watch(execution_id)

    assert isinstance(events[-1].data, ResultStored)
    assert events[-1].data.stdout == "one two"


async def test_without_a_sandbox_a_run_fails_and_says_so(autojump_clock: trio.testing.MockClock) -> None:
    """Never silently weaker, never hanging: the execution ends with the reason."""
    async with open_world(talk) as world:
        world.runner.is_broken = True
        events = await world.watch(await world.submit())

    result = events[-1].data
    assert isinstance(result, ResultStored)
    assert result.error is not None
    assert result.error.code == "sandbox_unavailable"


async def test_fifty_at_once_all_finish_and_two_workspaces_share(autojump_clock: trio.testing.MockClock) -> None:
    """A workspace that came first with forty does not keep the other's ten waiting behind them."""
    async with open_world(talk) as world:
        many = [await world.submit(workspace="many") for _ in range(40)]
        few = [await world.submit(workspace="few") for _ in range(10)]
        for execution_id in many + few:
            await world.watch(execution_id)

        order = [request.workspace for request in world.runner.started]
        assert order.count("few") == 10
        last_of_few = max(place for place, workspace in enumerate(order) if workspace == "few")
        assert last_of_few < 25
        assert all(record.status is Status.COMPLETED for record in world.store.records.values())


@pytest.mark.parametrize("bad", ["", "\ud800", "a\nb", "\0", "x" * 201])
@pytest.mark.parametrize("field", ["workspace", "user", "name", "idempotency_key"])
async def test_what_no_journal_can_hold_is_refused_at_the_door(
    field: str, bad: str, autojump_clock: trio.testing.MockClock
) -> None:
    """A text that cannot be stored would crash an actor, and everybody's sagas with it."""
    async with open_world(talk) as world:
        with pytest.raises(InvalidRequestError, match=field):
            await world.engine.submit(msgspec.structs.replace(submission(), **{field: bad}))
        assert world.store.records == {}
        assert "execd_actor_crashes_total" not in world.engine.statistics()


async def test_a_full_line_refuses_with_a_time_to_come_back(autojump_clock: trio.testing.MockClock) -> None:
    """Overload is said at the door; nothing half-accepted is left behind."""
    queue = msgspec.structs.replace(TEST_SETTINGS.queue, slots=1, max_queued=3)
    async with open_world(talk, settings=msgspec.structs.replace(TEST_SETTINGS, queue=queue)) as world:
        for _ in range(4):
            await world.engine.submit(submission())
        with pytest.raises(OverloadedError) as refused:
            await world.engine.submit(submission())
        assert refused.value.retry_after_s == 5
        assert len(world.store.records) == 4


@pytest.mark.parametrize("seed", range(20))
async def test_chance_never_breaks_the_journal(seed: int, autojump_clock: trio.testing.MockClock) -> None:
    """A small storm per seed: submissions, viewers that come and go, cancels, a store that goes away and comes back."""
    rng = random.Random(seed)
    store = TroubledStore()

    async def wander(pod: ScriptedPod) -> None:
        for _ in range(rng.randrange(8)):
            await pod.write(b"%d\n" % rng.randrange(1000))
            with trio.move_on_after(rng.random() * 2):
                await pod.stop_asked.wait()
                await pod.exit(signal=15, cancelled=True)
                return
        await rng.choice([pod.exit, pod.exit, pod.vanish])()

    async with open_world(wander, store=store, capacity=rng.choice([0, 1, 4])) as world, trio.open_nursery() as storm:

        async def weather() -> None:
            while True:
                await trio.sleep(rng.random() * 3)
                store.is_away = not store.is_away

        async def live() -> None:
            await trio.sleep(rng.random() * 5)
            try:
                execution_id = await world.submit()
            except StoreUnavailableError:
                return
            with trio.move_on_after(rng.random() * 4):
                await world.watch(execution_id)
            if rng.random() < 0.3:
                with suppress(ConflictError, StoreUnavailableError):
                    await world.command(execution_id, Cancel(by="u"))

        storm.start_soon(weather)
        async with trio.open_nursery() as lives:
            for _ in range(12):
                lives.start_soon(live)
        storm.cancel_scope.cancel()
        store.is_away = False
        for execution_id in list(store.records):
            _check_whole(await world.watch(execution_id), store, execution_id)
