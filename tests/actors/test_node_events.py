"""What nodes tell: when it is told, in which order, and what every event carries. On virtual time, so that seconds are exact."""

from __future__ import annotations

import json
import re
from collections import Counter
from contextlib import suppress
from typing import Any

import msgspec
import pytest
import trio
import trio.testing

from execd.adapters.memory_store import MemoryStore
from execd.core.codec import decode_event
from execd.core.errors import ConflictError
from execd.core.events import (
    Event,
    ExecutionEnded,
    ExecutionId,
    ExecutionQueued,
    ExecutionTimeout,
    NodeCompleted,
    NodeFailed,
    NodeRetrying,
    NodeSkipped,
    NodeStarted,
    Output,
    ResultStored,
    Status,
)
from execd.ports import Cancel, Interrupt, Pause, ProvideInput, Resume
from tests.support.engines import W, World, open_world
from tests.support.performers import constant, finish, perform, run, script, wait, workflow
from tests.support.scripted_runner import ScriptedPod
from tests.support.stores import TroubledStore

ENDS = (NodeCompleted, NodeFailed, NodeSkipped, NodeRetrying)


def of(events: list[Event], node: str) -> list[str]:
    return [event.type for event in events if event.node == node]


@pytest.mark.behaviour(6)
async def test_what_is_skipped_says_why_and_never_began(autojump_clock: trio.testing.MockClock) -> None:
    """The branch that was not taken, and what a failure left undone: one event each, no other."""
    events, result = await run(
        workflow(
            {"id": "check", "type": "if", "condition": False},
            constant("yes", "check.true"),
            constant("after", "yes"),
            script("bad", "bad", "check.false"),
            constant("never", "bad"),
            script("never_too", "x", "never", "after"),
        )
    )

    reasons = {event.node: event.data.reason for event in events if isinstance(event.data, NodeSkipped)}
    assert reasons == {
        "yes": "branch_not_taken",
        "after": "branch_not_taken",
        "never": "not_run",
        "never_too": "not_run",
    }
    assert all(of(events, str(node)) == ["node_skipped"] for node in reasons)
    assert {node.id: node.status for node in result.nodes if node.id in reasons} == {
        "yes": "skipped",
        "after": "skipped",
        "never": "not_run",
        "never_too": "not_run",
    }


@pytest.mark.behaviour(7, 25)
async def test_nodes_side_by_side_make_one_journal(autojump_clock: trio.testing.MockClock) -> None:
    """Twelve that all write: one order for everybody, each line in the second it was written, and every line of a node before
    its end."""
    seen: list[tuple[float, Event]] = []
    async with open_world(perform) as world:
        nodes = [script(f"n{number}", " ".join(["1"] * (number % 4 + 1))) for number in range(12)]
        execution_id = await world.submit(spec=workflow(*nodes))
        began_at = trio.current_time()
        async with world.engine.subscribe(execution_id, workspace=W, after_seq=0) as subscription:
            while not (seen and isinstance(seen[-1][1].data, ResultStored)):
                came = await subscription.receive()
                seen += [(trio.current_time() - began_at, decode_event(event.body)) for event in came]
        again = await world.watch(execution_id)

    events = [event for _, event in seen]
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert events == again
    for number in range(12):
        mine = [(at, event) for at, event in seen if event.node == f"n{number}"]
        lines = [(at, event.data) for at, event in mine if isinstance(event.data, Output)]
        assert [round(at) for at, _ in lines] == list(range(number % 4 + 1)), "live, not at the end"
        assert [line.offset for _, line in lines] == [2 * place for place in range(len(lines))]
        assert mine[-1][1].type == "node_completed"
    interleaved = [event.node for event in events if isinstance(event.data, Output)]
    assert interleaved != sorted(interleaved, key=str)


@pytest.mark.behaviour(22)
async def test_every_event_carries_what_a_reader_needs(autojump_clock: trio.testing.MockClock) -> None:
    """Node, attempt, label, number, the moment in UTC with milliseconds, and how long it really took."""
    async with open_world(perform) as world:
        retry = {"retries": 1, "delay_s": 2, "jitter": 0}
        spec = workflow(script("slow", "1.234", label="Slow one"), script("again", "0.5 bad", retry=retry))
        execution_id = await world.submit(spec=spec)
        events = await world.watch(execution_id)
        bodies = [json.loads(stored.body) for stored in world.store.journals[execution_id]]

    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", body["at"]) for body in bodies)
    assert [body["seq"] for body in bodies] == list(range(1, len(bodies) + 1))
    assert {body["execution_id"] for body in bodies} == {execution_id}
    for body in bodies:
        is_of_node = body["type"].startswith(("node_", "pod_", "output"))
        assert ("node" in body and "attempt" in body) is is_of_node, body["type"]
    started = [event for event in events if isinstance(event.data, NodeStarted)]
    assert {(e.node, e.attempt, e.data.label) for e in started if isinstance(e.data, NodeStarted)} == {
        ("slow", 1, "Slow one"),
        ("again", 1, "again"),
        ("again", 2, "again"),
    }
    slow = next(event.data for event in events if event.node == "slow" and isinstance(event.data, NodeCompleted))
    failed = next(event.data for event in events if isinstance(event.data, NodeFailed))
    ended = next(event.data for event in events if isinstance(event.data, ExecutionEnded))
    assert (slow.duration_ms, failed.duration_ms, ended.duration_ms) == (1234, 500, 3000)
    times = [event.at for event in events]
    assert times == sorted(times)


@pytest.mark.behaviour(23)
async def test_a_start_is_seen_while_the_work_is_done(autojump_clock: trio.testing.MockClock) -> None:
    """Of a hundred programs, side by side and after one another, the start of each has reached a viewer within 100 ms of its
    first instruction, whatever the store has to do besides; and so has the start of a request or a wait."""
    began: dict[str, float] = {}
    seen: dict[str, float] = {}

    async def note(pod: ScriptedPod) -> None:
        began[pod.request.node] = trio.current_time()
        await pod.write(b"x" * 50_000)
        await trio.sleep(5)
        await pod.exit(0)

    store = SlowStore()
    async with open_world(note, store=store) as world:
        nodes = [script(f"n{i}", "x", *([f"n{i - 20}"] if i >= 20 else [])) for i in range(100)]
        waits = [{"id": f"w{i}", "type": "wait", "seconds": 5, "needs": [f"n{i}"]} for i in range(0, 100, 10)]
        execution_id = await world.submit(spec=workflow(*nodes, *waits, parallelism=20))
        async with world.engine.subscribe(execution_id, workspace=W, after_seq=0) as subscription:
            while "result" not in seen:
                for event in [decode_event(event.body) for event in await subscription.receive()]:
                    if isinstance(event.data, NodeStarted):
                        seen[str(event.node)] = trio.current_time()
                    elif isinstance(event.data, NodeCompleted):
                        assert trio.current_time() - seen[str(event.node)] > 4.9, "the start came with the result"
                    elif isinstance(event.data, ResultStored):
                        seen["result"] = trio.current_time()

    assert len(began) == 100
    assert max(seen[node] - at for node, at in began.items()) <= 0.1


class SlowStore(TroubledStore):
    """A disk that takes 20 ms for every write."""

    async def write(self, batch: Any) -> Any:
        await trio.sleep(0.02)
        return await super().write(batch)


@pytest.mark.behaviour(24)
async def test_every_turn_of_a_run_is_an_event_of_its_own(autojump_clock: trio.testing.MockClock) -> None:
    """Nobody has to guess from silence: each state is named when it begins, with what there is to know about it."""
    async with open_world(perform) as world:
        retry = {"retries": 1, "delay_s": 7, "jitter": 0}
        nodes = [
            script("w", "bad", retry=retry, on_error="continue"),
            wait("rest", 30, "w"),
            {"id": "ask", "type": "input", "prompts": [{"key": "go"}], "needs": ["rest"]},
            script("last", "hang", "ask"),
        ]
        first = await world.submit(spec=workflow(*nodes))
        await trio.sleep(40)
        await world.engine.command(first, Pause(by="ann"))
        await world.engine.command(first, Resume(by="bob"))
        await world.engine.command(first, ProvideInput(by="eve", prompt_id="ask.1", values={"go": "yes"}))
        await world.engine.command(first, Cancel(by="joe"))
        told = {event.type: event for event in await world.watch(first)}

    def data(name: str) -> Any:
        return told[name].data

    retrying = told["node_retrying"]
    assert (retrying.attempt, data("node_retrying").error.code) == (1, "exit")
    assert (data("node_retrying").retry_at - retrying.at).total_seconds() == 7
    assert (data("node_waiting").until - told["node_waiting"].at).total_seconds() == 30
    assert data("input_required").prompts[0].key == "go"
    assert [data(f"execution_{turn}").by for turn in ("paused", "resumed")] == ["ann", "bob"]
    assert (data("input_received").by, data("stop_requested").by, data("stop_requested").mode) == (
        "eve",
        "joe",
        "cancel",
    )
    assert list(told)[-2:] == ["execution_cancelled", "result_stored"]


@pytest.mark.behaviour(24)
async def test_waiting_in_line_and_running_out_of_time_are_said(autojump_clock: trio.testing.MockClock) -> None:
    """The place in the line when it joins it, the start when it has a slot; and a time-out is no other failure."""
    async with open_world(perform) as world:
        for _ in range(4):
            await world.submit(spec=workflow(script("n", "10")))
        second = [await world.submit(spec=workflow(script("n", "late"))) for _ in range(2)][1]
        events = await world.watch(second)

    assert isinstance(events[1].data, ExecutionQueued)
    assert (events[1].data.position, events[1].data.ahead) == (2, 1)
    assert (events[2].type, (events[2].at - events[1].at).total_seconds()) == ("execution_started", 10)
    assert isinstance(events[-2].data, ExecutionTimeout)
    assert events[-2].data.error is not None
    assert events[-2].data.error.code == "limit:wall"


@pytest.mark.behaviour(4)
@pytest.mark.parametrize("how", ["completed", "failed", "timeout", "cancelled", "interrupted", "crashed", "lost"])
async def test_whatever_started_has_an_end_before_the_end(how: str, autojump_clock: trio.testing.MockClock) -> None:
    """No spinner survives: of a script, a retry, a wait, a question and a map's items under way, however it ends."""
    last = {"completed": "5", "failed": "5 bad", "timeout": "5 late", "crashed": "5 defect"}.get(how, "hang")
    each = {"id": "each", "type": "map", "items": [1, 2, 3], "nodes": [script("in", "2"), script("in2", "hang", "in")]}
    busy = () if how == "completed" else (wait("rest", 1000), ASK, script("try", "lost", retry=OFTEN), each)
    contents = MemoryStore()
    store = TroubledStore(contents)
    with trio.CancelScope() as killed:
        async with open_world(perform, store=store) as world:
            execution_id = await world.submit(spec=workflow(script("main", last), *busy))
            await trio.sleep(4)
            if how in {"cancelled", "interrupted"}:
                await world.engine.command(execution_id, (Cancel if how == "cancelled" else Interrupt)(by="u"))
            if how == "lost":
                store.dies_at = 0
                killed.cancel()
            await cancel_what_hangs(world, execution_id)
    contents.leases.clear()
    async with open_world(perform, store=contents) as world:
        await cancel_what_hangs(world, execution_id)
        events = await world.watch(execution_id)

    end = next(place for place, event in enumerate(events) if isinstance(event.data, ExecutionEnded))
    started = Counter((event.node, event.attempt) for event in events if isinstance(event.data, NodeStarted))
    ended = Counter((event.node, event.attempt) for event in events[:end] if isinstance(event.data, ENDS))
    assert started
    assert all(ended[key] == count == 1 for key, count in started.items())
    assert not [event for event in events[end + 1 :] if event.type != "result_stored"]


async def cancel_what_hangs(world: World, execution_id: ExecutionId) -> None:
    await trio.sleep(10)
    with suppress(ConflictError):
        await world.engine.command(execution_id, Cancel(by="u"))
    await world.watch(execution_id)


ASK = {"id": "ask", "type": "input", "prompts": [{"key": "go"}]}
OFTEN = {"retries": 5, "delay_s": 100}


@pytest.mark.behaviour(29)
async def test_nothing_of_a_refused_write_is_ever_seen(autojump_clock: trio.testing.MockClock) -> None:
    """A former owner goes on in good faith, and the store refuses what it writes: its viewers see what is stored, and only that,
    though its program has written ten lines more."""
    contents = MemoryStore()
    seen: list[Event] = []
    async with open_world(perform, store=contents) as world:
        execution_id = await world.submit(spec=workflow(script("n", "1 1 1 " + "0.1 " * 100)))

        async def view() -> None:
            async with world.engine.subscribe(execution_id, workspace=W, after_seq=0) as subscription:
                while True:
                    seen.extend(decode_event(event.body) for event in await subscription.receive())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(view)
            await trio.sleep(2.5)
            record = contents.records[execution_id]
            contents.records[execution_id] = msgspec.structs.replace(record, epoch=record.epoch + 1, owner="another")
            contents.leases["another"] = trio.current_time() + 1000
            await trio.sleep(50)
            nursery.cancel_scope.cancel()

        assert [event.seq for event in seen] == list(range(1, record.head_seq + 1))
        assert len(contents.journals[execution_id]) == record.head_seq
        assert world.runner.pods[0].is_closed


@pytest.mark.behaviour(33, 34)
@pytest.mark.parametrize("way", ["pause", "cancel"])
async def test_pause_and_cancel_reach_the_deepest_body(way: str, autojump_clock: trio.testing.MockClock) -> None:
    """A workflow in a map in a workflow: paused, what runs finishes and nothing starts, however long; cancelled, it is stopped."""
    chain = [script("one", "5"), script("two", "5", "one")]
    deep = {"id": "deep", "type": "workflow", "nodes": chain}
    each = {"id": "each", "type": "map", "items": [1, 2], "nodes": [deep]}
    async with open_world(perform) as world:
        execution_id = await world.submit(spec=workflow({"id": "sub", "type": "workflow", "nodes": [each]}))
        await trio.sleep(2)
        assert sorted(pod.request.node for pod in world.runner.pods) == [f"sub/each[{i}]/deep/one" for i in (0, 1)]
        if way == "cancel":
            await world.engine.command(execution_id, Cancel(by="u"))
            with trio.fail_after(0.1):
                _, result = await finish(world, execution_id)
            assert all(pod.is_closed for pod in world.runner.pods)
            assert (result.status, len(world.runner.started)) == (Status.CANCELLED, 2)
            return
        await world.engine.command(execution_id, Pause(by="u"))
        assert world.store.records[execution_id].status is Status.PAUSED
        await trio.sleep(10_000)
        assert len(world.runner.started) == 2
        await world.engine.command(execution_id, Resume(by="u"))
        events, result = await finish(world, execution_id)

    assert (result.status, len(world.runner.started)) == (Status.COMPLETED, 4)
    types = [event.type for event in events]
    paused, resumed = types.index("execution_paused"), types.index("execution_resumed")
    assert "node_started" not in types[paused:resumed]
    assert types[paused:resumed].count("node_completed") == 2
    assert {event.execution_id for event in events} == {execution_id}


@pytest.mark.behaviour(38, 52)
async def test_an_answer_is_data_and_no_expression(autojump_clock: trio.testing.MockClock) -> None:
    """Whatever a person types, it arrives as it was typed, in the same execution."""
    typed = '{{ vars.key }} {% raw %} "quotes" \\ \u2028'
    after = {"id": "after", "type": "set", "values": {"said": "<{{ nodes.ask.output.go }}>"}, "needs": ["ask"]}
    async with open_world(perform) as world:
        execution_id = await world.submit(spec=workflow(ASK, after, vars={"key": "secret"}))
        await trio.sleep(1)
        await world.engine.command(execution_id, ProvideInput(by="u", prompt_id="ask.1", values={"go": typed}))
        events, result = await finish(world, execution_id)

    assert result.outputs["after"] == {"said": f"<{typed}>"}
    assert [event.type for event in events].count("execution_started") == 1


@pytest.mark.behaviour(49)
async def test_what_a_body_does_is_seen_live_in_its_parent(autojump_clock: trio.testing.MockClock) -> None:
    """One journal, read by one viewer: each call has one entry of its own and a name that says where it is, its steps come in
    their seconds, and what it gave stands at its end. The part of a journal under a name is that run's own log."""
    inner = {"id": "inner", "type": "workflow", "input": 1, "nodes": [script("a", "1"), script("b", "1", "a")]}
    call = {"id": "call", "type": "workflow", "input": "{{ item }}", "nodes": [inner]}
    each = {"id": "each", "type": "map", "items": ["x", "y"], "concurrency": 1, "nodes": [call]}
    seen: list[tuple[int, Event]] = []
    async with open_world(perform) as world:
        execution_id = await world.submit(spec=workflow(each))
        began_at = trio.current_time()
        async with world.engine.subscribe(execution_id, workspace=W, after_seq=0) as subscription:
            while not (seen and isinstance(seen[-1][1].data, ResultStored)):
                came = [decode_event(event.body) for event in await subscription.receive()]
                seen += [(round(trio.current_time() - began_at), event) for event in came]

    runs = [f"each[{index}]/call" for index in (0, 1)]
    starts = [str(event.node) for _, event in seen if isinstance(event.data, NodeStarted)]
    assert Counter(starts) == Counter(
        ["each", *(f"{run}{part}" for run in runs for part in ("", "/inner", "/inner/a", "/inner/b"))]
    )
    for index, name in enumerate(runs):
        log = [
            (at, str(event.node).removeprefix(name), event.type)
            for at, event in seen
            if str(event.node).startswith(name)
        ]
        told = [entry for entry in log if entry[2] in {"node_started", "node_completed"}]
        at = 2 * index
        assert told == [
            (at, "", "node_started"),
            (at, "/inner", "node_started"),
            (at, "/inner/a", "node_started"),
            (at + 1, "/inner/a", "node_completed"),
            (at + 1, "/inner/b", "node_started"),
            (at + 2, "/inner/b", "node_completed"),
            (at + 2, "/inner", "node_completed"),
            (at + 2, "", "node_completed"),
        ]


@pytest.mark.behaviour(50)
async def test_a_join_waits_for_what_will_run_and_not_for_what_is_skipped(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The slow side that was taken, a third that has nothing to do with it, and the side that never comes."""
    events, result = await run(
        workflow(
            {"id": "check", "type": "if", "condition": True},
            script("slow", "20", "check.true"),
            script("never", "1", "check.false"),
            script("never_too", "1", "never"),
            script("quick", "1"),
            {"id": "join", "type": "set", "needs": ["slow", "never_too", "quick"], "values": STATUSES},
        )
    )

    at = {(event.node, event.type): event.at for event in events}
    waited = at["join", "node_started"] - at["check", "node_started"]  # type: ignore[index] # ids are texts
    assert waited.total_seconds() == 20
    assert result.outputs["join"] == ["completed", "skipped", "completed"]
    assert result.status is Status.COMPLETED


STATUSES = ["{{ nodes.slow.status }}", "{{ nodes.never_too.status }}", "{{ nodes.quick.status }}"]
