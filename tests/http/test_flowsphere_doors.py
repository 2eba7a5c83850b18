"""The FlowSphere door: who may, what odd requests get, and what time does; the real actors on any clock."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from execd.core.errors import ConfigurationError
from execd.core.events import ExecutionId, Status
from execd.http.config import FlowsphereConfig
from execd.ports import HttpAnswer, HttpRequest
from execd.settings import load_settings
from tests.http.asgi import Answer, call, open_call
from tests.http.doors import CONFIG, make_door
from tests.http.real_doors import Doors, open_doors
from tests.support.engines import TEST_SETTINGS, open_world, with_stream
from tests.support.flow_page import PageReader
from tests.support.scripted_callers import ScriptedCallers, ok
from tests.support.scripted_runner import ScriptedPod

RUN = "/api/execute-stream"
ROUTES = ("execute-stream", "execute", "execute-step", "execute-node", "validate", "provide-input", "save-log", "stop")
NODE = {"id": "a", "method": "GET", "url": "http://api.example/x"}
HERE = {"host": "localhost:3737"}


async def nothing(pod: ScriptedPod) -> None:
    raise AssertionError("a flow runs no program")


@asynccontextmanager
async def doors(callers: ScriptedCallers | None = None, **config: Any) -> AsyncIterator[Doors]:
    chosen = (callers or ScriptedCallers()).callers
    async with open_world(nothing, settings=TEST_SETTINGS, callers=chosen) as world:
        yield await open_doors(world, **config)


def run(door: Doors, body: Any, **headers: str) -> Any:
    """Open a stream."""
    return open_call(door.app, "POST", RUN, headers=door.headers | headers, body=json.dumps(body).encode())


def read(answer: Answer) -> PageReader:
    """Read what came as the page does."""
    reader = PageReader()
    for _, chunk in answer.chunks:
        reader.feed(chunk)
    return reader


def open_to_all(**changes: Any) -> dict[str, Any]:
    return {"flowsphere": FlowsphereConfig(is_open=True, workspace="w", **changes)}


async def slow(request: HttpRequest) -> HttpAnswer:
    await trio.sleep(100)
    return ok(b"{}")


async def test_silence_is_not_broken_unless_that_was_asked_for(autojump_clock: MockClock) -> None:
    """A heartbeat in the wrong moment freezes the page for ever."""
    found = {}
    async with doors(ScriptedCallers(serve=slow)) as door:
        for wants_beats in (False, True):
            options = {"heartbeats": wants_beats}
            async with run(door, {"config": {"nodes": [NODE, NODE]}, "options": options}) as answer:
                await answer.is_over.wait()
            found[wants_beats] = [chunk for _, chunk in answer.chunks]

    assert [chunk.count(b"event: ") for chunk in found[False]] == [2, 2, 1, 1]
    assert [chunk for chunk in found[True] if b"event" not in chunk] == [b": hb\n\n"] * 12


async def test_a_run_that_waits_in_line_is_told_of(autojump_clock: MockClock) -> None:
    """Its client sees the headers and the start soon, and everything else once it has begun."""
    queue = msgspec.structs.replace(TEST_SETTINGS.queue, slots=1)
    one = msgspec.structs.replace(TEST_SETTINGS, queue=queue)
    async with open_world(nothing, settings=one, callers=ScriptedCallers(serve=slow).callers) as world:
        door = await open_doors(world)
        async with run(door, {"config": {"nodes": [NODE]}}) as first:
            await first.wait_for(b"step_start")
            async with run(door, {"config": {"nodes": [NODE]}}) as second:
                await second.is_over.wait()

    began_at = first.chunks[0][0]
    assert [round(at - began_at) for at, _ in second.chunks] == [2, 100, 200, 200]
    assert read(second).names == ["start", "step_start", "step", "end"]


async def test_a_prompt_that_nobody_answers_ends_the_run(autojump_clock: MockClock) -> None:
    """As a failed step, so that its card says why; until then it may take days."""
    async with doors() as door:
        node = {**NODE, "userPrompts": {"x": "X?"}}
        async with run(door, {"config": {"promptTimeout": 200_000, "nodes": [node]}}) as answer:
            await answer.is_over.wait()

    reader = read(answer)
    assert reader.names == ["start", "input_required", "step", "error", "end"]
    assert (reader.steps[0]["status"], reader.steps[0]["error"]) == ("failed", "Nobody answered in time.")
    assert reader.frames[1].data["expiresAt"].endswith("Z")
    assert answer.chunks[-1][0] - answer.chunks[0][0] > 199_000, "no connection's age ends it"


async def test_a_server_that_goes_down_says_where_the_run_is(autojump_clock: MockClock) -> None:
    """An end without a word would leave the page running for ever; the run itself is not interrupted."""
    async with doors(ScriptedCallers(serve=slow)) as door:
        async with run(door, {"config": {"nodes": [NODE]}}) as answer:
            await answer.wait_for(b"step_start")
            door.app.front.streams.draining.set()
            door.world.engine.drain()
            await answer.is_over.wait()
        reader = read(answer)
        execution_id = reader.frames[0].data["executionId"]
        record = await door.world.engine.find(ExecutionId(execution_id))
        assert record is not None
        assert record.status is Status.RUNNING

    assert reader.names == ["start", "step_start", "error", "end"]
    assert execution_id in reader.end["error"]


async def test_a_viewer_that_fell_behind_goes_on_from_the_store(autojump_clock: MockClock) -> None:
    """Being slow is no end here: the page could not come back."""

    async def large(request: HttpRequest) -> HttpAnswer:
        await trio.sleep(1)
        return ok(b"x" * 100_000)

    tight = with_stream(TEST_SETTINGS, max_lag_bytes=1000, hot_bytes_per_execution=1000)
    async with open_world(nothing, settings=tight, callers=ScriptedCallers(serve=large).callers) as world:
        door = await open_doors(world)
        async with run(door, {"config": {"nodes": [{**NODE, "id": f"n{i}"} for i in range(20)]}}) as answer:
            await answer.is_over.wait()

    assert [step["step"] for step in read(answer).steps] == list(range(1, 21))
    assert read(answer).end["success"] is True


@pytest.mark.parametrize("route", ROUTES)
async def test_without_a_credential_nothing_is_done(route: str) -> None:
    """Closed unless a setting says otherwise, in the shape clients read."""
    door = await make_door()

    answer = await call(door.app, "POST", f"/api/{route}", body=b'{"config":{"nodes":[]}}')
    viewer = await door.ask("POST", f"/api/{route}", role="viewer", body=b'{"config":{"nodes":[]}}')

    assert (answer.status, answer.json()["success"]) == (401, False)
    assert viewer.status == (403 if route not in {"validate", "save-log"} else viewer.status)
    assert door.engine.submissions == []


@pytest.mark.parametrize(
    ("changes", "peer", "headers", "status"),
    [
        ({"is_open": True}, "127.0.0.1", {}, 200),
        ({"is_open": True}, "::1", {"host": "[::1]:7070"}, 200),
        ({"is_open": True}, "127.0.0.1", {"origin": "http://localhost:3737"}, 200),
        ({"is_open": True}, "127.0.0.1", {"cookie": "execd_session_3737=stale"}, 200),
        ({"is_open": False}, "127.0.0.1", {}, 401),
        ({"is_open": True}, "203.0.113.9", {}, 401),
        ({"is_open": True}, "127.0.0.1", {"authorization": "Bearer wrong"}, 401),
        ({"is_open": True}, "127.0.0.1", {"x-forwarded-for": "203.0.113.9"}, 401),
        ({"is_open": True}, "127.0.0.1", {"via": "1.1 proxy"}, 401),
        ({"is_open": True}, "127.0.0.1", {"host": "192.0.2.1:3737"}, 401),
        ({"is_open": True}, "127.0.0.1", {"host": "evil.example"}, 421),
        ({"is_open": True}, "127.0.0.1", {"origin": "http://evil.example"}, 403),
        ({"is_open": True}, "127.0.0.1", {"origin": "null"}, 403),
        ({"is_open": True}, "127.0.0.1", {"origin": "http://localhost:8080"}, 403),
        ({"is_open": True}, "127.0.0.1", {"sec-fetch-site": "cross-site"}, 403),
    ],
)
async def test_open_means_this_machine_and_no_page_of_others(
    changes: dict[str, Any], peer: str, headers: dict[str, str], status: int
) -> None:
    """FlowSphere's clients send no credential; what could come from elsewhere is refused all the same."""
    door = await make_door(flowsphere=FlowsphereConfig(**changes))

    answer = await call(
        door.app, "POST", "/api/validate", headers=HERE | headers, body=b'{"config":{"nodes":[]}}', peer=peer
    )
    other = await call(door.app, "GET", "/api/v1/executions", headers=HERE | headers, peer=peer)

    assert answer.status == status
    assert other.status in {401, 421}, "only the routes of this dialect are open"


async def test_an_open_run_belongs_to_the_workspace_of_the_setting(autojump_clock: MockClock) -> None:
    """Whoever has a token of it sees what was run; no revoked credential ends its stream."""
    async with doors(ScriptedCallers(serve=slow), **open_to_all()) as door:
        body = json.dumps({"config": {"nodes": [NODE]}}).encode()
        async with open_call(door.app, "POST", RUN, headers=HERE, body=body, peer="127.0.0.1") as answer:
            await answer.is_over.wait()
        listed = (await door.ask("GET", "/api/v1/executions")).json()["items"]

    assert read(answer).end["success"] is True
    assert [(item["user"], item["workspace"]) for item in listed] == [("flowsphere", "w")]


@pytest.mark.parametrize(
    "environ",
    [
        {"EXECD_FLOWSPHERE__OPEN": "true", "EXECD_HTTP__HOST": "0.0.0.0"},
        {"EXECD_FLOWSPHERE__OPEN": "true", "EXECD_HTTP__PUBLIC_URL": "https://flows.example"},
    ],
)
def test_open_to_the_world_is_no_setting(environ: dict[str, str]) -> None:
    """Whoever could reach it could run requests from inside."""
    with pytest.raises(ConfigurationError, match=r"flowsphere\.open"):
        load_settings(environ=environ)

    assert load_settings(environ={"EXECD_FLOWSPHERE__OPEN": "true"}).flowsphere.open is True


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    ("body", "content_type", "statuses"),
    [
        (b"{", "application/json", {400}),
        (b"7", "application/json", {400}),
        (b'"x"', "application/json", {400}),
        (b"\xff\xfe", "application/json", {400}),
        (b"[" * 5000, "application/json", {400}),
        (b'{"config":NaN}', "application/json", {400}),
        (b"null", "application/json", {400}),
        (b"[1]", "application/json", {400}),
        (b"", "application/json", {400}),
        (b'{"config":{}}', "text/plain", {400}),
        (b'{"config":{}}', "application/x-www-form-urlencoded", {400}),
        (b'{"a":' * 300 + b"1" + b"}" * 300, "application/json", {400}),
        (b'{"config":' * 1 + b'{"a":' * 200 + b"1" + b"}" * 201, "application/json", {200, 400}),
        (b'{"config":{},"executionLog":[],"node":1}', "application/json; charset=utf-8", {200, 400}),
        (b"x" * (11 * 1024 * 1024), "application/json", {413}),
    ],
)
async def test_odd_bodies_are_refused_in_the_shape_of_the_dialect(
    route: str, body: bytes, content_type: str, statuses: set[int], autojump_clock: MockClock
) -> None:
    """Never an error of the server, never a page of HTML, and nothing begins."""
    async with doors() as door:
        sent = door.headers | {"content-type": content_type}
        answer = await call(door.app, "POST", f"/api/{route}", headers=sent, body=body)
        listed = (await door.ask("GET", "/api/v1/executions")).json()["items"]

    assert answer.status in statuses
    if answer.status != 200:
        assert answer.json()["success"] is False
        assert isinstance(answer.json()["error"], str)
        assert listed == []


async def test_a_log_that_is_nested_too_deeply_is_refused() -> None:
    """Writing it recurses, and no run makes such a log."""
    door = await make_door()
    body = b'{"executionLog":[' + b'{"a":' * 450 + b"1.0" + b"}" * 450 + b"]}"

    answer = await door.ask("POST", "/api/save-log", body=body)

    assert (answer.status, answer.json()["success"]) == (400, False)
    assert "150 levels" in answer.json()["error"]


async def test_bodies_of_this_dialect_may_be_larger_and_of_others_may_not() -> None:
    """A step brings all answers before it; nothing else needs so much."""
    door = await make_door()
    body = json.dumps({"executionLog": ["x" * (3 * 1024 * 1024)]}).encode()

    saved = await door.ask("POST", "/api/save-log", body=body)
    other = await door.ask("POST", "/api/v1/executions", body=body)

    assert (saved.status, other.status) == (200, 413)


PLAIN = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8)
)
ODD = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)
NODE_KEYS = ("id", "name", "method", "url", "headers", "body", "timeout", "userPrompts", "conditions", "condition",
             "validations", "launchBrowser", "retry", "auth", "continueOnError", "secretPrompts")  # fmt: skip
ODD_NODE = st.dictionaries(st.sampled_from(NODE_KEYS), ODD, max_size=6) | ODD
ROOT_KEYS = ("variables", "defaults", "finally", "data", "environments", "environment", "auth", "name", "promptTimeout")
ODD_CONFIG = st.builds(
    lambda nodes, rest: {**rest, "nodes": nodes},
    st.lists(ODD_NODE | st.just(NODE), max_size=3) | ODD,
    st.dictionaries(st.sampled_from(ROOT_KEYS), ODD, max_size=3),
)


@given(config=ODD_CONFIG, options=ODD, index=ODD, responses=ODD)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_no_config_is_an_error_of_the_server(
    autojump_clock: MockClock, config: Any, options: Any, index: Any, responses: Any
) -> None:
    """Nothing is validated before a run: whatever JSON there is has a start and an end, or is refused."""
    async with doors() as door:
        encoded = json.dumps({"config": config, "options": options}).encode()
        async with open_call(door.app, "POST", RUN, headers=door.headers, body=encoded) as answer:
            while not answer.is_over.is_set():
                with trio.move_on_after(60):
                    await answer.is_over.wait()
                if b"input_required" in answer.body and not answer.is_over.is_set():
                    stop = {"executionId": read(answer).frames[0].data["executionId"]}
                    await call(door.app, "POST", "/api/stop", headers=door.headers, body=json.dumps(stop).encode())
        assert answer.status in {200, 400}
        if answer.status == 200:
            read(answer).check_order()
        for path, body in {
            "validate": {"config": config},
            "execute-step": {"config": config, "stepIndex": index, "responses": responses, "userInput": options},
            "execute-node": {"config": config, "node": config, "mockResponses": responses},
            "execute": {"config": config, "options": options},
            "provide-input": {"executionId": options, "stepIndex": index, "userInput": config},
            "save-log": {"executionLog": responses, "executionResult": options},
            "stop": {"executionId": index, "mode": options},
        }.items():
            found = await call(door.app, "POST", f"/api/{path}", headers=door.headers, body=json.dumps(body).encode())
            assert found.status in {200, 400, 404}, (path, found.body)
            json.loads(found.body)


async def test_the_page_is_served_from_its_folder_and_nothing_beside_it(tmp_path: Path) -> None:
    """FlowSphere's page needs no edit: its own files by relative paths, the API by the root of the same origin."""
    (tmp_path / "studio" / "js").mkdir(parents=True)
    (tmp_path / "studio" / "index.html").write_text("<head></head><script src=js/main.js></script>")
    (tmp_path / "studio" / "js" / "main.js").write_text("1")
    (tmp_path / "studio" / ".hidden.js").write_text("x")
    (tmp_path / "outside.js").write_text("x")
    door = await make_door(flowsphere=replace(CONFIG.flowsphere, page_dir=tmp_path / "studio"))
    plain = await make_door()

    page = await call(door.app, "GET", "/flowsphere/", headers={})
    script = await call(door.app, "GET", "/flowsphere/js/main.js", headers={})
    paths = (
        "../outside.js",
        "%2e%2e/outside.js",
        ".hidden.js",
        "js/../../outside.js",
        "js//main.js",
        "js",
        "x.toml",
        "js/no.js",
    )
    missing = {path: (await call(door.app, "GET", f"/flowsphere/{path}", headers={})).status for path in paths}

    stop = await call(door.app, "GET", "/flowsphere/execd-stop.js", headers={})

    assert page.body == b'<head><script src="execd-stop.js"></script></head><script src=js/main.js></script>'
    assert (stop.status, stop.headers["content-type"]) == (200, script.headers["content-type"])
    assert b'"/api/stop"' in stop.body
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "connect-src 'self'" in page.headers["content-security-policy"]
    assert (script.status, script.body) == (200, b"1")
    assert set(missing.values()) == {404}, missing
    assert (await call(plain.app, "GET", "/flowsphere/", headers={})).status == 404
