"""Calls to the outside, on virtual time: when they are made, how they end, and that nothing of them is left."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import trio
import trio.testing

from execd.adapters.memory_store import MemoryStore
from execd.core.events import Event, NodeOutput, Status
from execd.core.requests import parse_request
from execd.core.script_fields import ScriptTools
from execd.core.specs import Limits
from execd.core.workflows import WorkflowSpec
from execd.ports import (
    Cancel,
    HttpAnswer,
    HttpCallError,
    HttpRequest,
    Interrupt,
    LlmAnswer,
    LlmError,
    LlmRequest,
    OnDelta,
    Pause,
    Resume,
)
from execd.settings import Settings, load_runtimes
from tests.support.engines import open_world
from tests.support.performers import finish
from tests.support.scripted_callers import ScriptedCallers, ok, said
from tests.support.scripted_runner import ScriptedPod
from tests.support.stores import TroubledStore

TOOLS = ScriptTools(runtimes=load_runtimes(Settings()), defaults=Limits(), caps=Limits())
KEY = "sk-very-secret"


def workflow(*nodes: dict[str, Any]) -> WorkflowSpec:
    spec = parse_request({"kind": "workflow", "nodes": list(nodes)}, TOOLS).spec
    assert isinstance(spec, WorkflowSpec)
    return spec


def http(name: str = "a", *, needs: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    return {"id": name, "type": "http", "url": f"http://example.com/{name}", "needs": list(needs), **more}


def llm(**more: Any) -> dict[str, Any]:
    fields = {"id": "a", "type": "llm", "base_url": "http://example.com/v1", "model": "m", "prompt": "hi"}
    return fields | {"api_key": KEY} | more


async def no_script(pod: ScriptedPod) -> None:
    """There are no programs here."""
    await pod.exit(0)


async def a_second(request: HttpRequest) -> HttpAnswer:
    """Answer after a second."""
    await trio.sleep(1)
    return ok()


async def never(request: HttpRequest) -> HttpAnswer:
    await trio.sleep_forever()
    raise AssertionError


def types_of(contents: MemoryStore) -> list[str]:
    (journal,) = contents.journals.values()
    return [event.type for event in journal]


async def test_no_request_is_made_before_its_node_started_is_stored(autojump_clock: trio.testing.MockClock) -> None:
    """Invariant 2: what the store does not know of has not happened."""
    store = TroubledStore()
    outside = ScriptedCallers()
    async with open_world(no_script, store=store, callers=outside.callers) as world:
        execution_id = await world.submit(
            spec=workflow({"id": "first", "type": "wait", "seconds": 5}, http(needs=("first",)))
        )
        await trio.sleep(4)
        store.gate = trio.Event()
        await trio.sleep(10)
        assert outside.made == []
        assert "node_completed" not in types_of(store)

        store.gate.set()
        store.gate = None
        _, end = await finish(world, execution_id)
    assert len(outside.made) == 1
    assert end.outputs["a"]["body"] == "ok"


async def test_calls_of_one_graph_are_made_side_by_side(autojump_clock: trio.testing.MockClock) -> None:
    """Three that take a second each take a second."""
    outside = ScriptedCallers(serve=a_second)
    async with open_world(no_script, callers=outside.callers) as world:
        began = trio.current_time()
        spec = workflow(
            http("a"), http("b"), http("c"), {"id": "join", "type": "set", "values": 1, "needs": ["a", "b", "c"]}
        )
        _, end = await finish(world, await world.submit(spec=spec))
        assert trio.current_time() - began == pytest.approx(1, abs=0.1)
    assert end.status is Status.COMPLETED


@pytest.mark.behaviour(30)
async def test_a_cancel_breaks_off_a_call_within_a_second(autojump_clock: trio.testing.MockClock) -> None:
    """A request that hangs must not keep a person waiting, and nothing of it is left."""
    outside = ScriptedCallers(serve=never)
    async with open_world(no_script, callers=outside.callers) as world:
        execution_id = await world.submit(spec=workflow(http(), http("b", needs=("a",))))
        await trio.sleep(10)
        assert outside.open_count == 1
        asked_at = trio.current_time()
        await world.engine.command(execution_id, Cancel(by="u"))
        _, end = await finish(world, execution_id)
        assert trio.current_time() - asked_at < 1
        assert outside.open_count == 0
    assert end.status is Status.CANCELLED
    assert [node.status for node in end.nodes] == ["failed", "not_run"]
    assert end.nodes[0].error is not None
    assert end.nodes[0].error.code == "cancelled"


async def test_an_interrupt_lets_a_call_finish(autojump_clock: trio.testing.MockClock) -> None:
    """What is in flight is not wasted; nothing starts after it."""
    outside = ScriptedCallers(serve=a_second)
    async with open_world(no_script, callers=outside.callers) as world:
        execution_id = await world.submit(spec=workflow(http(), http("b", needs=("a",))))
        await trio.sleep(0.5)
        await world.engine.command(execution_id, Interrupt(by="u"))
        _, end = await finish(world, execution_id)
    assert end.status is Status.INTERRUPTED
    assert [node.status for node in end.nodes] == ["completed", "not_run"]
    assert len(outside.made) == 1


@pytest.mark.behaviour(34)
async def test_a_pause_lets_a_call_finish_and_holds_the_next(autojump_clock: trio.testing.MockClock) -> None:
    """Paused means that nothing starts."""
    outside = ScriptedCallers(serve=a_second)
    async with open_world(no_script, callers=outside.callers) as world:
        execution_id = await world.submit(spec=workflow(http(), http("b", needs=("a",))))
        await trio.sleep(0.5)
        await world.engine.command(execution_id, Pause(by="u"))
        await trio.sleep(100)
        assert len(outside.made) == 1
        assert outside.open_count == 0
        await world.engine.command(execution_id, Resume(by="u"))
        _, end = await finish(world, execution_id)
    assert end.status is Status.COMPLETED
    assert len(outside.made) == 2


@pytest.mark.parametrize("on_lost", [False, True])
async def test_a_call_in_flight_when_execd_dies(on_lost: bool, autojump_clock: trio.testing.MockClock) -> None:
    """It may have been done: only its author's word lets it be made again, once."""
    contents = MemoryStore()
    outside = ScriptedCallers(serve=a_second)
    store = TroubledStore(contents)
    with trio.CancelScope() as killed:
        async with open_world(no_script, store=store, callers=outside.callers) as world:
            execution_id = await world.submit(spec=workflow(http(retry={"retries": 3, "on_lost": on_lost})))
            await trio.sleep(0.5)
            store.dies_at = 0
            killed.cancel()
    assert outside.open_count == 0
    contents.leases.clear()

    async with open_world(no_script, store=contents, callers=outside.callers) as world:
        _, end = await finish(world, execution_id)
    assert len(outside.made) == (2 if on_lost else 1)
    assert end.status is (Status.COMPLETED if on_lost else Status.FAILED)
    if end.error is not None:
        assert end.error.code == "worker_lost"


@pytest.mark.behaviour(39)
async def test_a_retry_comes_when_the_server_asked_for_it(autojump_clock: trio.testing.MockClock) -> None:
    """429 with `Retry-After: 120` is asked again after two minutes, to the second."""

    async def busy_once(request: HttpRequest) -> HttpAnswer:
        await trio.lowlevel.checkpoint()
        return ok() if len(outside.made) > 1 else ok(status=429, headers=(("retry-after", "120"),))

    outside = ScriptedCallers(serve=busy_once)
    async with open_world(no_script, callers=outside.callers) as world:
        spec = workflow(http(retry={"retries": 1, "delay_s": 1, "jitter": 0}))
        _, end = await finish(world, await world.submit(spec=spec))
    first, second = (made.at for made in outside.made)
    assert 120 <= second - first < 120.1
    assert (end.status, end.nodes[0].attempts) == (Status.COMPLETED, 2)


async def test_a_call_without_an_answer_fails_its_node(autojump_clock: trio.testing.MockClock) -> None:
    """The code says what went wrong, the message where, and neither tells the query."""

    async def refuse(request: HttpRequest) -> HttpAnswer:
        await trio.lowlevel.checkpoint()
        raise HttpCallError("nobody listens", code="connect", errno_name="ECONNREFUSED")

    outside = ScriptedCallers(serve=refuse)
    async with open_world(no_script, callers=outside.callers) as world:
        _, end = await finish(world, await world.submit(spec=workflow(http(query={"token": KEY}))))
    assert end.error is not None
    assert (end.error.code, end.error.details["errno"]) == ("http:connect", "ECONNREFUSED")
    assert end.error.message == "GET http://example.com/a: nobody listens"


async def test_an_engine_without_a_way_out_says_so(autojump_clock: trio.testing.MockClock) -> None:
    """Parts in memory have none unless a test gives one."""
    async with open_world(no_script) as world:
        _, end = await finish(world, await world.submit(spec=workflow(http(), llm(id="b"))))
    assert {node.error.code for node in end.nodes if node.error is not None} == {
        "http:private_address",
        "llm:private_address",
    }


async def test_a_defect_in_a_call_fails_that_execution_only(autojump_clock: trio.testing.MockClock) -> None:
    """Its saga crashes; the neighbour notices nothing."""

    async def break_down(request: HttpRequest) -> HttpAnswer:
        await trio.sleep(0.5)
        if request.url.endswith("/bad"):
            raise RuntimeError("a defect")
        await trio.sleep(0.5)
        return ok()

    outside = ScriptedCallers(serve=break_down)
    async with open_world(no_script, callers=outside.callers) as world:
        bad = await world.submit(spec=workflow(http("bad"), http("other")))
        good = await world.submit(spec=workflow(http("good")))
        _, bad_end = await finish(world, bad)
        _, good_end = await finish(world, good)
    assert bad_end.error is not None
    assert bad_end.error.code == "internal_error"
    assert good_end.status is Status.COMPLETED
    assert outside.open_count == 0


# --- models


def deltas_of(events: list[Event]) -> list[str]:
    return [event.data.delta for event in events if isinstance(event.data, NodeOutput)]


async def test_a_fast_model_makes_few_events_of_many_words(autojump_clock: trio.testing.MockClock) -> None:
    """A thousand words in two seconds are about forty events, the first at once, and no word is missing."""

    async def speak(request: LlmRequest, on_delta: OnDelta) -> LlmAnswer:
        for number in range(1000):
            await on_delta(f"{number} ")
            await trio.sleep(0.002)
        return said("".join(f"{number} " for number in range(1000)))

    outside = ScriptedCallers(speak=speak)
    async with open_world(no_script, callers=outside.callers) as world:
        events, end = await finish(world, await world.submit(spec=workflow(llm())))
    deltas = deltas_of(events)
    assert deltas[0] == "0 "
    assert "".join(deltas) == end.outputs["a"]["text"]
    assert 35 <= len(deltas) <= 45
    assert KEY not in b"".join(event.body for event in world.store.journals[events[0].execution_id]).decode()


@pytest.mark.behaviour(25)
async def test_a_slow_model_is_heard_word_by_word(autojump_clock: trio.testing.MockClock) -> None:
    """Nothing waits for more to come."""

    async def speak(request: LlmRequest, on_delta: OnDelta) -> LlmAnswer:
        for word in ("one", "two", "three"):
            await on_delta(word)
            await trio.sleep(10)
        return said("onetwothree")

    outside = ScriptedCallers(speak=speak)
    async with open_world(no_script, callers=outside.callers) as world:
        began = trio.current_time()
        events, _ = await finish(world, await world.submit(spec=workflow(llm())))
        assert trio.current_time() - began == pytest.approx(30, abs=0.1)
    told = [event for event in events if isinstance(event.data, NodeOutput)]
    assert deltas_of(events) == ["one", "two", "three"]
    assert (told[1].at - told[0].at).total_seconds() == pytest.approx(10, abs=0.1)


async def test_a_model_waits_while_the_store_does(autojump_clock: trio.testing.MockClock) -> None:
    """What is not stored yet is bounded, and so is what was read of the answer; in the end all of it is there."""
    store = TroubledStore()
    spoken = 0

    async def speak(request: LlmRequest, on_delta: OnDelta) -> LlmAnswer:
        nonlocal spoken
        for _ in range(1000):
            await on_delta("x" * 10_000)
            spoken += 10_000
            await trio.sleep(0.01)
        return said("x")

    outside = ScriptedCallers(speak=speak)
    async with open_world(no_script, store=store, capacity=1, callers=outside.callers) as world:
        execution_id = await world.submit(spec=workflow(llm()))
        await trio.sleep(1)
        store.gate = trio.Event()
        await trio.sleep(60)
        stuck_at = spoken
        assert stuck_at < 2 * 1024 * 1024
        await trio.sleep(60)
        assert spoken == stuck_at
        store.gate.set()
        store.gate = None
        events, end = await finish(world, execution_id)
    assert sum(map(len, deltas_of(events))) == spoken == 10_000_000
    assert max(map(len, deltas_of(events))) <= 64 * 1024
    assert end.status is Status.COMPLETED


async def test_what_a_model_said_before_it_broke_off_is_kept(autojump_clock: trio.testing.MockClock) -> None:
    """The stream tells it, and the next attempt begins anew."""

    async def speak(request: LlmRequest, on_delta: OnDelta) -> LlmAnswer:
        await on_delta("half")
        if len(outside.made) == 1:
            raise LlmError("too many", code="rate_limited", retryable=True, retry_after_s=7.0)
        return said("half")

    outside = ScriptedCallers(speak=speak)
    async with open_world(no_script, callers=outside.callers) as world:
        spec = workflow(llm(retry={"retries": 1, "delay_s": 0, "jitter": 0}))
        events, end = await finish(world, await world.submit(spec=spec))
    assert [(event.attempt, event.data.delta) for event in events if isinstance(event.data, NodeOutput)] == [
        (1, "half"),
        (2, "half"),
    ]
    assert 7 <= outside.made[1].at - outside.made[0].at < 7.1
    assert end.outputs["a"]["text"] == "half"


async def test_a_cancel_silences_a_model(autojump_clock: trio.testing.MockClock) -> None:
    """It costs by the word."""

    async def speak(request: LlmRequest, on_delta: OnDelta) -> LlmAnswer:
        while True:
            await on_delta("word ")
            await trio.sleep(0.01)

    outside = ScriptedCallers(speak=speak)
    async with open_world(no_script, callers=outside.callers) as world:
        execution_id = await world.submit(spec=workflow(llm()))
        await trio.sleep(10)
        asked_at = trio.current_time()
        await world.engine.command(execution_id, Cancel(by="u"))
        _, end = await finish(world, execution_id)
        assert trio.current_time() - asked_at < 1
    assert end.status is Status.CANCELLED
    assert outside.open_count == 0


async def test_a_refused_announcement_means_no_request(autojump_clock: trio.testing.MockClock) -> None:
    """Who lost an execution to another instance asks nothing in its name any more."""
    contents = MemoryStore()
    outside = ScriptedCallers(serve=a_second)
    async with open_world(no_script, store=contents, callers=outside.callers) as world:
        spec = workflow({"id": "first", "type": "wait", "seconds": 5}, http(needs=("first",)))
        execution_id = await world.submit(spec=spec)
        await trio.sleep(1)
        record = contents.records[execution_id]
        contents.records[execution_id] = msgspec.structs.replace(record, epoch=record.epoch + 1)
        await trio.sleep(100)
        assert outside.made == []


async def test_a_key_that_a_model_says_in_two_pieces_is_not_told(autojump_clock: trio.testing.MockClock) -> None:
    """What is held back because a key may begin so is told in the end, if it was none."""

    async def speak(request: LlmRequest, on_delta: OnDelta) -> LlmAnswer:
        for piece in ("It is sk-very", "-secret, you", "rs"):
            await on_delta(piece)
            await trio.sleep(1)
        await on_delta(". sk")
        return said(f"It is {KEY}, yours. sk")

    outside = ScriptedCallers(speak=speak)
    async with open_world(no_script, callers=outside.callers) as world:
        events, end = await finish(world, await world.submit(spec=workflow(llm())))
    assert "".join(deltas_of(events)) == end.outputs["a"]["text"] == "It is ***, yours. sk"


async def test_calls_count_against_the_parallelism(autojump_clock: trio.testing.MockClock) -> None:
    """Whoever limits a graph means its requests above all."""
    outside = ScriptedCallers(serve=a_second)
    async with open_world(no_script, callers=outside.callers) as world:
        began = trio.current_time()
        spec = msgspec.structs.replace(workflow(*(http(name) for name in "abcd")), parallelism=2)
        await finish(world, await world.submit(spec=spec))
        assert trio.current_time() - began == pytest.approx(2, abs=0.1)
