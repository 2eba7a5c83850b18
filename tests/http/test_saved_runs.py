"""Saved definitions on the real actors: what a run is made of stays with it, whatever becomes of the definition."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from execd.adapters.memory_store import MemoryStore
from execd.adapters.sqlite_store import open_sqlite_store
from execd.core.events import Event, ExecutionRequested, NodeCompleted, Status
from execd.ports import DefinitionLimits, Store
from tests.http.asgi import call
from tests.http.real_doors import RUNS, URL, open_doors
from tests.support.engines import open_world
from tests.support.scripted_runner import ScriptedPod
from tests.support.stores import TroubledStore


async def program(pod: ScriptedPod) -> None:
    """Take a second, tell what stands on stdin, and fail where the source is `bad`."""
    await pod.write((pod.request.spec.stdin or "").encode())
    await trio.sleep(1)
    await pod.exit(1 if pod.request.spec.source == "bad" else 0)


def flow(second: str, *, first: str = "good") -> dict[str, Any]:
    """Give a chain of two scripts and what joins them."""
    step = {"type": "script", "language": "python"}
    return {
        "kind": "workflow",
        "name": "flow",
        "nodes": [
            {"id": "one", **step, "source": first},
            {"id": "two", **step, "source": second, "needs": ["one"]},
            {"id": "end", "type": "set", "values": {"done": "{{ input.by }}"}, "needs": ["two"]},
        ],
    }


def pinned(events: list[Event]) -> list[str | None]:
    return [event.node for event in events if isinstance(event.data, NodeCompleted) and event.data.pinned]


async def test_a_run_says_what_it_is_made_of(autojump_clock: trio.testing.MockClock) -> None:
    """In its first event and in the list; and its input reaches it."""
    async with open_world(program) as world:
        doors = await open_doors(world)
        saved = await doors.save({"kind": "script", "name": "s", "language": "python", "source": "x"})
        execution_id = await doors.run(definition="s", input={"a": 1})
        events, result = await doors.finish(execution_id)
        listed = (await doors.ask("GET", f"{RUNS}?definition={saved}")).json()["items"]

    assert isinstance(events[0].data, ExecutionRequested)
    assert (events[0].data.definition, events[0].data.version, events[0].data.name) == (saved, 1, "s")
    assert (result.status, result.stdout) == (Status.COMPLETED, '{"a":1}')
    assert [(item["id"], item["definition_version"]) for item in listed] == [(execution_id, 1)]


@pytest.mark.behaviour(36)
async def test_a_failed_run_goes_on_with_the_mended_definition(autojump_clock: trio.testing.MockClock) -> None:
    """What had completed is not done again, the mended node is, and the input is the one that was given."""
    async with open_world(program) as world:
        doors = await open_doors(world)
        saved = await doors.save(flow("bad"))
        failed = await doors.run(definition=saved, input={"by": "me"})
        assert (await doors.finish(failed))[1].status is Status.FAILED
        await doors.change(saved, 1, flow("good"))
        retried = await doors.ask("POST", f"{RUNS}/{failed}/retry", {"from": "failed", "definition": "latest"})
        events, result = await doors.finish(retried.json()["id"])

    assert result.status is Status.COMPLETED
    assert result.outputs["end"] == {"done": "me"}
    assert pinned(events) == ["one"]
    assert isinstance(events[0].data, ExecutionRequested)
    assert (events[0].data.attempt_of, events[0].data.version) == (failed, 2)
    assert [request.node for request in world.runner.started] == ["one", "two", "two"]


@pytest.mark.behaviour(36)
async def test_a_retry_runs_a_changed_node_again(autojump_clock: trio.testing.MockClock) -> None:
    """What it gave before is not what it would give now, so what comes after it cannot rest on that."""
    async with open_world(program) as world:
        doors = await open_doors(world)
        saved = await doors.save(flow("bad"))
        failed = await doors.run(definition=saved)
        await doors.finish(failed)
        await doors.change(saved, 1, flow("good", first="better"))
        retried = await doors.ask("POST", f"{RUNS}/{failed}/retry", {"from": "failed", "definition": "latest"})
        events, _ = await doors.finish(retried.json()["id"])

    assert pinned(events) == []
    assert [request.spec.source for request in world.runner.started] == ["good", "bad", "better", "good"]


async def test_a_run_of_a_dropped_version_is_not_renewed(autojump_clock: trio.testing.MockClock) -> None:
    """Without it there is no telling what was its input and what its definition's; it can be run again as it was."""
    async with open_world(program) as world:
        doors = await open_doors(world, definition_limits=DefinitionLimits(versions=1))
        saved = await doors.save(flow("bad"))
        failed = await doors.run(definition=saved, input={"by": "me"})
        await doors.finish(failed)
        await doors.change(saved, 1, flow("good"))
        url, body = f"{RUNS}/{failed}/retry", json.dumps({"definition": "latest"}).encode()
        refused = await call(doors.app, "POST", url, headers=doors.headers, body=body)
        again = await doors.ask("POST", url, {"definition": "same"})
        await doors.finish(again.json()["id"])

    assert (refused.status, refused.json()["code"]) == (409, "conflict")
    assert "version 1 of flow, which it was made of, was dropped" in refused.json()["detail"]


@pytest.mark.parametrize("becomes", ["changed", "deleted"])
async def test_a_run_goes_on_as_it_was_submitted(becomes: str, autojump_clock: trio.testing.MockClock) -> None:
    """execd dies in the middle, and the definition is another one, or none, when it is back: the execution has its own spec
    and ends as if nothing had happened."""
    contents = MemoryStore()
    store = TroubledStore(contents)
    with trio.CancelScope() as killed:
        async with open_world(program, store=store) as world:
            doors = await open_doors(world)
            saved = await doors.save(flow("good"))
            execution_id = await doors.run(definition=saved, input={"by": "me"})
            await trio.sleep(1.5)
            if becomes == "deleted":
                await doors.ask("DELETE", f"{URL}/{saved}")
            else:
                await doors.change(saved, 1, flow("bad"))
            store.dies_at = 0
            killed.cancel()
    contents.leases.clear()

    async with open_world(program, store=contents) as world:
        doors = await open_doors(world)
        events, _ = await doors.finish(execution_id)
        retried = await doors.ask("POST", f"{RUNS}/{execution_id}/retry", {"from": "failed"})
        _, result = await doors.finish(retried.json()["id"])
        shown = (await doors.ask("GET", f"{RUNS}/{retried.json()['id']}")).json()

    assert [event.node for event in events if isinstance(event.data, NodeCompleted)] == ["one"]
    assert (result.status, result.outputs["end"]) == (Status.COMPLETED, {"done": "me"})
    assert (shown["definition"], shown["definition_version"]) == (saved, 1)
    assert {request.spec.source for request in world.runner.started} == {"good"}


@pytest.mark.slow
async def test_definitions_and_their_runs_survive_in_a_file(tmp_path: Path) -> None:
    """The same on SQLite, closed and opened again."""

    async def greet(pod: ScriptedPod) -> None:
        await pod.write(b"hello")
        await pod.exit(0)

    async def live(store: Store, *, saves: bool) -> list[int]:
        async with open_world(greet, store=store) as world:
            doors = await open_doors(world)
            if saves:
                await doors.save({"kind": "script", "name": "s", "language": "python", "source": "x"})
            _, result = await doors.finish(await doors.run(definition="s"))
            assert result.stdout == "hello"
            saved = (await doors.ask("GET", f"{URL}/s")).json()["id"]
            listed = (await doors.ask("GET", f"{RUNS}?definition={saved}")).json()["items"]
            return [item["definition_version"] for item in listed]

    async with open_sqlite_store(tmp_path, is_power_safe=False) as store:
        assert await live(store, saves=True) == [1]
    async with open_sqlite_store(tmp_path, is_power_safe=False) as store:
        assert await live(store, saves=False) == [1, 1]
