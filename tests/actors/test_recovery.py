"""What recovery meets when more than one thing goes wrong: each was a defect once, or would be."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
import trio
import trio.testing

from execd.adapters.memory_store import MemoryStore
from execd.adapters.sqlite_store import open_sqlite_store
from execd.core.codec import StoredEvent
from execd.core.errors import ExecdError, StoreUnavailableError
from execd.core.events import ExecutionId, Output, ResultStored, Status
from execd.embed import open_engine
from execd.ports import Fenced, Pause, PodObservation, Stored, Write, WriteOutcome
from execd.settings import SandboxSettings, Settings, StoreSettings
from tests.contract.test_store_contract import E2, append, create
from tests.support.engines import EPOCH, TEST_SETTINGS, W, World, open_world, with_stream
from tests.support.scripted_runner import ScriptedPod
from tests.support.stores import TroubledStore


async def talk(pod: ScriptedPod) -> None:
    for number in range(5):
        await pod.write(b"line %d\n" % number)
        await trio.sleep(1)
    await pod.exit(0)


async def end_of(world: World, execution_id: ExecutionId) -> ResultStored:
    events = await world.watch(execution_id)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert isinstance(events[-1].data, ResultStored)
    return events[-1].data


async def test_a_command_cannot_swallow_the_news_that_a_write_was_lost(autojump_clock: trio.testing.MockClock) -> None:
    """The saga whose record was in a crashed writer's hand must end, also if the next thing it hears is a command."""
    store = TroubledStore()

    async def one_line(pod: ScriptedPod) -> None:
        await trio.sleep(1)
        await pod.write(b"x")
        await trio.sleep_forever()

    async with open_world(one_line, store=store) as world:
        execution_id = await world.submit()
        await trio.sleep(0.5)
        store.defects = 1
        await trio.sleep(1)
        with pytest.raises(ExecdError):
            await world.engine.command(execution_id, Pause(by="u"))

        end = await end_of(world, execution_id)
    assert end.error is not None
    assert end.error.code == "internal_error"


async def test_a_journal_that_cannot_be_read_fails_its_execution_only(autojump_clock: trio.testing.MockClock) -> None:
    """One damaged row must not keep the server from starting, nor its neighbours from going on."""
    store = MemoryStore()

    async def endless(pod: ScriptedPod) -> None:
        await trio.sleep_forever()

    async with open_world(endless, store=store) as world:
        damaged, sound = await world.submit("damaged"), await world.submit("sound")
        await trio.sleep(1)
    store.journals[damaged][3] = msgspec.structs.replace(store.journals[damaged][3], body=b"rotten")

    async with open_world(endless, store=store) as world:
        assert (await end_of(world, sound)).status is Status.FAILED
        await trio.sleep(10)
        assert store.records[damaged].status is Status.FAILED
        assert [event.type for event in store.journals[damaged]][-2:] == ["execution_failed", "result_stored"]
        assert world.engine.statistics()["execd_executions_running"] == 0


class _AwayForReading(MemoryStore):
    """A store whose first reads find it away."""

    def __init__(self, contents: MemoryStore, *, failing_reads: int) -> None:
        super().__init__()
        self.records, self.journals = contents.records, contents.journals
        self.failing_reads = failing_reads

    async def read_events(
        self, execution_id: ExecutionId, *, after_seq: int, limit_bytes: int, types: frozenset[str] | None = None
    ) -> Sequence[StoredEvent]:
        if self.failing_reads:
            self.failing_reads -= 1
            raise StoreUnavailableError("locked")
        return await super().read_events(execution_id, after_seq=after_seq, limit_bytes=limit_bytes, types=types)


async def test_a_store_that_is_away_during_recovery_costs_no_retries(autojump_clock: trio.testing.MockClock) -> None:
    """A lock held by a backup while execd starts is not the script's fault, nor the saga's."""
    contents = MemoryStore()

    async def endless(pod: ScriptedPod) -> None:
        await trio.sleep_forever()

    async with open_world(endless, store=contents) as world:
        execution_id = await world.submit(retries=2)
        await trio.sleep(1)

    store = _AwayForReading(contents, failing_reads=40)
    async with open_world(talk, store=store) as world:
        await trio.sleep(60)
        assert store.records[execution_id].status is Status.COMPLETED


async def test_a_crash_with_the_very_first_write_in_hand_leaks_no_slot(autojump_clock: trio.testing.MockClock) -> None:
    """What was never stored never was: its saga finds nothing and gives the slot back."""
    store = TroubledStore()
    async with open_world(talk, store=store) as world:
        await trio.sleep(1)
        store.gate = trio.Event()
        async with trio.open_nursery() as nursery:

            async def submit_in_vain() -> None:
                with pytest.raises(StoreUnavailableError):
                    await world.submit("lost")

            nursery.start_soon(submit_in_vain)
            await trio.sleep(1)
            store.defects = 1
            store.gate.set()
        await trio.sleep(5)

        assert world.engine.statistics()["execd_executions_running"] == 0
        assert (await end_of(world, await world.submit("later"))).status is Status.COMPLETED


class _DiesAfterCommit(MemoryStore):
    """A store whose answer to one write gets lost in a crash."""

    dies_at = 7
    count = 0

    async def write(self, batch: Sequence[Write]) -> list[WriteOutcome]:
        outcomes = await super().write(batch)
        self.count += 1
        if self.count == self.dies_at:
            raise RuntimeError("the writer dies with the answer in hand")
        return outcomes


async def test_what_was_stored_and_never_published_reaches_a_live_viewer(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The hole that a crash of the writer leaves in memory is read from the store, not skipped."""
    store = _DiesAfterCommit()
    async with open_world(talk, store=store) as world:
        execution_id = await world.submit()
        await end_of(world, execution_id)

        assert store.count > store.dies_at


async def test_a_store_that_is_slow_costs_a_finished_pod_none_of_its_words(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The pod has gone, as pods do when they end; its last output waits for the store, and counts."""
    store = TroubledStore()

    async def end_and_go(pod: ScriptedPod) -> None:
        for number in range(200):
            if number == 20:
                pod._runner.tell(PodObservation(pod=pod.name, phase="gone"))
                store.is_away = True
            await pod.write(b"%d\n" % number)
        await pod.exit(0)

    async with open_world(end_and_go, store=store) as world:
        execution_id = await world.submit()
        await trio.sleep(20)
        store.is_away = False
        events = await world.watch(execution_id)

    assert isinstance(events[-1].data, ResultStored)
    assert events[-1].data.status is Status.COMPLETED
    text = "".join(event.data.text or "" for event in events if isinstance(event.data, Output))
    assert text == "".join(f"{number}\n" for number in range(200))


async def test_a_crash_of_the_coordinator_is_one_crash(autojump_clock: trio.testing.MockClock) -> None:
    """What its old sagas still had to say is about the old ones; the new ones go on."""
    async with open_world(talk) as world:
        ids = [await world.submit() for _ in range(4)]
        await trio.sleep(2.5)
        world.engine._to_coordinator.tx.send_nowait("no such message")  # type: ignore[arg-type] # the defect
        for execution_id in ids:
            await end_of(world, execution_id)

        assert world.engine.statistics()["execd_actor_crashes_total"] == 1


async def test_the_sweep_goes_on_until_nothing_is_left_to_sweep(autojump_clock: trio.testing.MockClock) -> None:
    """Retention is a promise about age, not about a hundred an hour."""
    store = MemoryStore()
    for number in range(250):
        execution_id = ExecutionId(f"exec-{number}")
        await store.write([create(execution_id), append(3, 3, execution_id=execution_id, status=Status.COMPLETED)])
    settings = msgspec.structs.replace(
        TEST_SETTINGS, store=StoreSettings(retention_s=timedelta(hours=1).total_seconds())
    )
    for record in list(store.records.values()):
        store.records[record.id] = msgspec.structs.replace(record, finished_at=EPOCH - timedelta(days=2))

    async with open_world(talk, store=store, settings=settings):
        await trio.sleep(10)
        assert store.records == {}


async def test_a_log_forgotten_at_the_very_end_leaves_no_viewer_waiting(autojump_clock: trio.testing.MockClock) -> None:
    """The last event may be appended and forgotten again while a viewer still reads the store."""

    class Slow(MemoryStore):
        async def read_events(
            self, execution_id: ExecutionId, *, after_seq: int, limit_bytes: int, types: frozenset[str] | None = None
        ) -> Sequence[StoredEvent]:
            page = await super().read_events(execution_id, after_seq=after_seq, limit_bytes=limit_bytes, types=types)
            await trio.sleep(0.5)
            return page

    settings = with_stream(TEST_SETTINGS, hot_bytes_total=1, hot_bytes_per_execution=1)
    async with open_world(talk, store=Slow(), settings=settings) as world:
        execution_id = await world.submit()
        with trio.fail_after(100):
            await end_of(world, execution_id)


async def test_a_place_that_was_chosen_and_never_used_is_given_back(autojump_clock: trio.testing.MockClock) -> None:
    """A warm interpreter must not leak because the way out came between choosing and starting."""
    store = TroubledStore()
    async with open_world(talk, store=store) as world:
        await trio.sleep(1)
        store.gate = trio.Event()
        with trio.move_on_after(2):
            await world.submit()
    assert world.runner.pods
    assert all(pod.is_closed for pod in world.runner.pods)


async def test_draining_reaches_every_relaying_viewer(autojump_clock: trio.testing.MockClock) -> None:
    """A viewer that is written to directly waits nowhere but in its relay; draining must end that too, for all of them."""
    async with open_world(talk) as world:
        execution_id = await world.submit()
        await trio.sleep(1)
        async with trio.open_nursery() as nursery:

            async def view() -> None:
                async with world.engine.subscribe(execution_id, workspace=W, after_seq=0) as subscription:
                    await subscription.receive()
                    await subscription.relay(lambda events: True)

            for _ in range(1000):
                nursery.start_soon(view)
            await trio.sleep(0.1)
            cursors = world.engine.statistics()["execd_viewers"]
            world.engine.drain()
            await trio.sleep(0.1)
            left = world.engine.statistics()["execd_viewers"]
            nursery.cancel_scope.cancel()

    assert (cursors, left) == (1000, 0)


async def test_what_sqlite_can_never_store_refuses_that_write_alone(tmp_path: Path) -> None:
    """A number too large for a column must not stop the writer, nor take a stranger's write along."""
    async with open_sqlite_store(tmp_path, is_power_safe=False) as store:
        poison = create(E2, priority=2**70)
        outcomes = await store.write([create(), poison, append(3, 3)])

    assert [type(outcome) for outcome in outcomes] == [Stored, Fenced, Stored]


@pytest.mark.slow
async def test_an_embedded_key_names_one_request(tmp_path: Path) -> None:
    """The same key with another script is a conflict in a library too."""
    settings = Settings(data_dir=tmp_path, sandbox=SandboxSettings(sandbox="none", warm_slots=0))
    async with open_engine(settings) as engine:
        first = await engine.submit("print(1)", idempotency_key="k")
        again = await engine.submit("print(1)", idempotency_key="k")
        with pytest.raises(ExecdError, match="another request"):
            await engine.submit("print('different')", idempotency_key="k")

        assert first.id == again.id
