"""Saved definitions as clients, commands and embedding programs call them: a server far away and the engine in this process do
the same, on either store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from execd.adapters.memory_store import MemoryStore
from execd.adapters.sqlite_store import open_sqlite_store
from execd.cli.backend import Definitions
from execd.cli.embedded_definitions import DefinitionsHere
from execd.client import open_client
from execd.core.errors import ExecdError
from execd.core.events import Event, ExecutionId, ExecutionRequested, ResultStored
from execd.core.yaml_text import parse_yaml
from execd.embed import EmbeddedEngine
from execd.http.access import Role, issue_token
from execd.http.app import make_app
from execd.http.server import serve_http
from execd.library import VersionConflictError
from execd.settings import DefinitionSettings, Settings, load_runtimes
from tests.http.doors import CONFIG
from tests.support.engines import World, open_world, virtual_now
from tests.support.scripted_runner import ScriptedPod

SETTINGS = Settings(data_dir=Path("/nonexistent"), definitions=DefinitionSettings(per_workspace=4, versions=3))
RUNTIMES = load_runtimes(SETTINGS)
HELLO: dict[str, Any] = {"kind": "script", "name": "hello", "language": "python", "source": "print(1)"}
FLOW: dict[str, Any] = {
    "kind": "workflow",
    "name": "team/flow",
    "input": {"who": "Ada"},
    "nodes": [{"id": "say", "type": "set", "values": "Hello {{ input.who }}"}],
}


class Saved:
    """Both ends of one engine: what is under test, and where its executions are seen."""

    def __init__(self, definitions: Definitions, world: World) -> None:
        self.definitions = definitions
        self.world = world

    async def finish(self, execution_id: ExecutionId) -> tuple[ExecutionRequested, ResultStored]:
        with trio.fail_after(10):
            events: list[Event] = await self.world.watch(execution_id)
        first, last = events[0].data, events[-1].data
        assert isinstance(first, ExecutionRequested)
        assert isinstance(last, ResultStored)
        return first, last


async def echo(pod: ScriptedPod) -> None:
    """Give back what stands on stdin."""
    await pod.write((pod.request.spec.stdin or "").encode())
    await pod.exit(0)


@pytest.fixture(params=["near memory", "near sqlite", "far memory", "far sqlite"])
async def saved(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Saved]:
    place, kind = request.param.split()
    async with AsyncExitStack() as stack:
        file = open_sqlite_store(tmp_path, is_power_safe=False)
        store = MemoryStore() if kind == "memory" else await stack.enter_async_context(file)
        world = await stack.enter_async_context(open_world(echo, store=store))
        if place == "near":
            yield Saved(DefinitionsHere(EmbeddedEngine(world.engine, RUNTIMES, SETTINGS)), world)
            return
        nursery = await stack.enter_async_context(trio.open_nursery())
        url, token = await _serve(world, nursery)
        client = await stack.enter_async_context(open_client(url, token))
        yield Saved(client.definitions, world)
        nursery.cancel_scope.cancel()


async def _serve(world: World, nursery: trio.Nursery) -> tuple[str, str]:
    config = replace(CONFIG, definition_limits=SETTINGS.definitions.limits)
    app = make_app(world.engine, RUNTIMES, config, now=virtual_now)
    issued = await issue_token(
        world.engine.tokens, workspace="default", user="local", role=Role.RUNNER, now=virtual_now()
    )
    bound = await nursery.start(partial(serve_http, app, config, shutdown_trigger=trio.sleep_forever))
    return bound.url, issued.secret


async def test_what_is_saved_is_found_by_id_and_name(saved: Saved) -> None:
    """A name may hold what no path can; what was saved comes back as it was."""
    made = await saved.definitions.save(FLOW)

    by_name = await saved.definitions.find("team/flow")
    by_id = await saved.definitions.find(made.id, version=1)

    assert (made.version, made.kind, made.saved_by, made.dropped_versions) == (1, "workflow", "local", 0)
    assert by_name == by_id
    assert {"kind": by_id.kind, "name": by_id.name, **by_id.body} == FLOW


async def test_an_update_is_a_version_and_the_oldest_go(saved: Saved) -> None:
    """Each change is counted, the limit drops the first ones, and the answer says how many."""
    await saved.definitions.save(HELLO)
    changes = [
        await saved.definitions.update("hello", HELLO | {"source": f"print({n})"}, version=n - 1) for n in (2, 3, 4)
    ]

    page = await saved.definitions.versions("hello", limit=2)
    rest = await saved.definitions.versions("hello", cursor=page.next_cursor)

    assert [(change.version, change.dropped_versions) for change in changes] == [(2, 0), (3, 0), (4, 1)]
    assert [view.version for view in (*page.items, *rest.items)] == [4, 3, 2]
    assert (await saved.definitions.find("hello", version=2)).body["source"] == "print(2)"
    with pytest.raises(ExecdError, match="version 1 of hello was dropped") as caught:
        await saved.definitions.find("hello", version=1)
    assert caught.value.status == 404


async def test_a_list_goes_on_by_cursor(saved: Saved) -> None:
    """Those made last first, of a kind or with a part of their name."""
    for body in (HELLO, FLOW, HELLO | {"name": "hello again"}):
        await saved.definitions.save(body)

    first = await saved.definitions.list(limit=2)
    rest = await saved.definitions.list(limit=2, cursor=first.next_cursor)
    scripts = await saved.definitions.list(kind="script", name="hello")

    assert [view.name for view in first.items] == ["hello again", "team/flow"]
    assert ([view.name for view in rest.items], rest.next_cursor) == (["hello"], None)
    assert [view.name for view in scripts.items] == ["hello again", "hello"]


async def test_refusals_have_the_same_codes(saved: Saved) -> None:
    """A program that handles them far away handles them near."""
    calls = saved.definitions
    made = await calls.save(HELLO)
    await calls.update("hello", HELLO | {"source": "2"}, version=1)
    for name in ("two", "three", "four"):
        await calls.save(HELLO | {"name": name})

    codes = []
    for attempt in (
        partial(calls.save, HELLO),
        partial(calls.save, HELLO | {"name": "five"}),
        partial(calls.update, "hello", HELLO, version=1),
        partial(calls.update, "two", HELLO, version=1),
        partial(calls.save, {"kind": "script", "name": made.id, "language": "nope"}),
        partial(calls.find, "nothing/of/this"),
        partial(calls.find, "hello", version=9),
        partial(calls.delete, "nothing"),
        partial(calls.run, "nothing", idempotency_key="k"),
    ):
        with pytest.raises(ExecdError) as caught:
            await attempt()
        codes.append((caught.value.status, caught.value.code, [fault.path for fault in caught.value.faults]))

    assert codes == [
        (409, "name_taken", ["name"]),
        (409, "too_many_definitions", []),
        (409, "version_conflict", ["version"]),
        (409, "name_taken", ["name"]),
        (400, "invalid_request", ["name", "language", "source"]),
        *[(404, "not_found", [])] * 4,
    ]


async def test_an_export_can_be_saved_again(saved: Saved) -> None:
    """A file that was exported, in either format, is what was saved."""
    await saved.definitions.save(FLOW)

    as_yaml = parse_yaml(await saved.definitions.export_yaml("team/flow"))
    as_json = msgspec.json.decode(await saved.definitions.export_json("team/flow", version=1))

    assert as_yaml == as_json == FLOW
    await saved.definitions.delete("team/flow")
    assert (await saved.definitions.save(as_yaml)).version == 1


async def test_a_run_has_its_version_and_its_input(saved: Saved) -> None:
    """A pinned version runs what it was; the journal says of what it is made; a repeated key makes one execution."""
    made = await saved.definitions.save(FLOW)
    changed = FLOW | {"nodes": [{"id": "say", "type": "set", "values": "Bye {{ input.who }}"}]}
    await saved.definitions.update(made.id, changed, version=1)
    run = partial(saved.definitions.run, "team/flow")

    newest = await run(idempotency_key="a")
    pinned = await run(idempotency_key="b", version=1, input={"who": "Bo"}, name="by hand")
    repeated = await run(idempotency_key="b", version=1, input={"who": "Bo"}, name="by hand")

    assert repeated.id == pinned.id
    requested, result = await saved.finish(newest.id)
    assert (requested.definition, requested.version, result.outputs) == (made.id, 2, {"say": "Bye Ada"})
    requested, result = await saved.finish(pinned.id)
    assert (requested.version, requested.name, result.outputs) == (1, "by hand", {"say": "Hello Bo"})
    with pytest.raises(ExecdError) as caught:
        await run(idempotency_key="b", version=2)
    assert caught.value.code == "idempotency_conflict"


async def test_one_node_of_what_is_saved_can_be_run(saved: Saved) -> None:
    """With what it needs, and nothing else; a node there is not is named."""
    two = [*FLOW["nodes"], {"id": "after", "type": "set", "needs": ["say"], "values": 1}]
    await saved.definitions.save(FLOW | {"nodes": two})

    run = await saved.definitions.run("team/flow", idempotency_key="a", until="say")

    assert (await saved.finish(run.id))[1].outputs == {"say": "Hello Ada"}
    with pytest.raises(ExecdError) as caught:
        await saved.definitions.run("team/flow", idempotency_key="b", until="nope")
    assert (caught.value.code, [fault.path for fault in caught.value.faults]) == ("invalid_request", ["until"])


async def test_a_script_gets_its_input_on_stdin(saved: Saved) -> None:
    """As JSON, unless its definition says what is there."""
    await saved.definitions.save(HELLO)
    await saved.definitions.save(HELLO | {"name": "fixed", "stdin": "mine"})

    run = await saved.definitions.run("hello", idempotency_key="a", input=[1, "x"])

    assert (await saved.finish(run.id))[1].stdout == '[1,"x"]'
    with pytest.raises(ExecdError, match="input") as caught:
        await saved.definitions.run("fixed", idempotency_key="b", input=1)
    assert caught.value.code == "invalid_request"


async def test_what_is_deleted_is_gone_and_what_ran_stays(saved: Saved) -> None:
    """Its name is free at once."""
    await saved.definitions.save(HELLO)
    run = await saved.definitions.run("hello", idempotency_key="a")

    await saved.definitions.delete("hello")

    assert (await saved.finish(run.id))[0].name == "hello"
    assert (await saved.definitions.list()).items == ()
    assert (await saved.definitions.save(HELLO)).version == 1


async def test_an_embedding_program_is_shown_what_it_would_overwrite() -> None:
    """It need not ask again to merge; another workspace has definitions of its own."""
    async with open_world(echo) as world:
        definitions = EmbeddedEngine(world.engine, RUNTIMES, SETTINGS).definitions
        await definitions.save(HELLO, user="ada")
        await definitions.update("hello", HELLO | {"source": "2"}, version=1, user="bo")

        with pytest.raises(VersionConflictError, match="saved by bo") as caught:
            await definitions.update("hello", HELLO | {"source": "3"}, version=1)
        elsewhere = await definitions.save(HELLO, workspace="other")
        run = await definitions.run("hello", version=1, input=7)
        result = await run.result()

    assert (caught.value.newest.version, caught.value.newest.fields["source"]) == (2, "2")
    assert elsewhere.definition.version == 1
    assert result.stdout == "7"
