"""Readers that keep nothing between two reads, on the real server and real sockets: none is left with a spinner."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
import trio
from trio_websocket import ConnectionClosed, wrap_client_stream

from execd.core.events import ExecutionId, Status
from execd.http.server import Bound
from execd.ports import Cancel
from tests.support.flow_doors import HookReader, open_flow_door, serve_flows
from tests.support.flows import TRIGGER, drawn
from tests.support.performers import until_stopped
from tests.support.scripted_runner import ScriptedPod

pytestmark = pytest.mark.slow
LIMIT_S = 60


def many(count: int, *, text: str = "") -> dict[str, Any]:
    """Draw so many nodes after one trigger: they all run in one burst."""
    nodes = [
        (f"n{i}", "logic-transform", {"mappings": {"i": i, "text": text, "of": "{{trigger.x}}"}}) for i in range(count)
    ]
    return drawn(TRIGGER, *nodes, edges=" ".join(f"trigger_1>n{i}" for i in range(count)))


@pytest.mark.behaviour(54)
@pytest.mark.parametrize("pause_s", [0.0, 0.03])
async def test_a_burst_of_thousands_of_frames_reaches_a_reader_without_memory(pause_s: float) -> None:
    """Every node ends as completed and the last frame comes, also for a reader that is busy after each read."""
    async with open_flow_door() as door, serve_flows(door) as (bound, _):
        flow_id = await door.save(many(999))
        reader = HookReader(pause_s=pause_s)
        with trio.fail_after(LIMIT_S):
            await reader.run(bound, door.secrets["runner"], flow_id, {"x": "ü"})

        kinds = Counter(frame["type"] for frame in reader.frames)
        assert reader.lost == 0
        assert kinds["nodeExecutionAfter"] == 2000
        assert kinds["nodeExecutionBefore"] == 1000
        assert set(reader.states.values()) == {"completed"}
        assert len(reader.states) == 1000
        assert reader.frames[-1]["type"] == "executionFinished"
        assert max(reader.reads) < 48 * 1024
        assert reader.headers["x-execution-id"].startswith("exec-")


@pytest.mark.behaviour(54)
async def test_large_outputs_in_a_burst_reach_a_busy_reader() -> None:
    """Previews of several KiB each, in multi-byte text, to somebody who reads twenty times a second."""
    async with open_flow_door() as door, serve_flows(door) as (bound, _):
        flow_id = await door.save(many(150, text="ö" * 2000))
        reader = HookReader(pause_s=0.05)
        with trio.fail_after(LIMIT_S):
            await reader.run(bound, door.secrets["runner"], flow_id)

        assert reader.lost == 0
        assert set(reader.states.values()) == {"completed"}
        assert reader.frames[-1]["type"] == "executionFinished"


async def test_several_readers_of_one_server_each_get_their_own_run() -> None:
    """Three bursts beside one another: pace is kept for each."""
    async with open_flow_door() as door, serve_flows(door) as (bound, _):
        flow_id = await door.save(many(200))
        readers = [HookReader(pause_s=0.01) for _ in range(3)]
        with trio.fail_after(LIMIT_S):
            async with trio.open_nursery() as nursery:
                for reader in readers:
                    nursery.start_soon(reader.run, bound, door.secrets["runner"], flow_id)

        assert len({reader.headers["x-execution-id"] for reader in readers}) == 3
        for reader in readers:
            assert reader.lost == 0
            assert reader.frames[-1]["type"] == "executionFinished"


@pytest.mark.behaviour(54)
async def test_a_failing_node_in_a_burst_is_shown_as_failed() -> None:
    """Neither as completed nor as running."""
    flow = many(300)
    flow["data"]["nodes"][150]["data"]["type"] = "action-upload-image"
    async with open_flow_door() as door, serve_flows(door) as (bound, _):
        reader = HookReader()
        with trio.fail_after(LIMIT_S):
            await reader.run(bound, door.secrets["runner"], await door.save(flow))

        assert [name for name, state in reader.states.items() if state == "failed"] == ["N149"]
        assert "running" not in reader.states.values()
        assert reader.frames[-1]["type"] == "executionError"


@pytest.mark.behaviour(54)
@pytest.mark.parametrize("how", ["cancel", "shutdown"])
async def test_a_silent_run_that_is_cut_off_ends_with_an_error(how: str) -> None:
    """By a person, or by the server going down while a program runs: the last frame comes within the drain."""
    flow = drawn(TRIGGER, ("code_1", "action-code", {"code": "x"}))
    async with open_flow_door(until_stopped) as door, serve_flows(door) as (bound, stop):
        reader = HookReader()
        flow_id = await door.save(flow)

        async def interfere() -> None:
            await reader.wait_for("CODE_1")
            execution_id = ExecutionId(reader.headers["x-execution-id"])
            if how == "cancel":
                await door.world.engine.command(execution_id, Cancel(by="u"))
            else:
                stop.set()

        with trio.fail_after(LIMIT_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(reader.run, bound, door.secrets["runner"], flow_id)
                nursery.start_soon(interfere)

        last = reader.frames[-1]
        assert last["type"] == "executionError"
        assert isinstance(last["data"]["error"], str)
        record = await door.world.engine.find(ExecutionId(last["data"]["executionId"]))
        assert record is not None
        assert record.status is (Status.CANCELLED if how == "cancel" else Status.RUNNING)


# --- the socket


async def hear_all(bound: Bound, target: str, secret: str, first: Any) -> tuple[int, list[dict[str, Any]]]:
    """Say one thing, and give the close code and all that came."""
    heard: list[dict[str, Any]] = []
    headers = [(b"authorization", f"Bearer {secret}".encode())] if secret else []
    stream = await trio.open_tcp_stream("127.0.0.1", bound.port)
    with trio.fail_after(LIMIT_S), stream.socket:
        async with trio.open_nursery() as nursery:
            authority = f"127.0.0.1:{bound.port}"
            socket = await wrap_client_stream(nursery, stream, authority, target, extra_headers=headers)
            await socket.send_message(first if isinstance(first, str) else json.dumps(first))
            try:
                while True:
                    heard.append(json.loads(await socket.get_message()))
            except ConnectionClosed as closed:
                code = closed.reason.code
            nursery.cancel_scope.cancel()
    return code, heard


@pytest.mark.parametrize("prefix", ["", "/api/v1"])
async def test_a_socket_runs_a_flow_and_carries_the_same_frames(prefix: str) -> None:
    """Start and end name the flow as it was asked for."""
    async with open_flow_door() as door, serve_flows(door) as (bound, _):
        flow_id = await door.save(drawn(TRIGGER, ("r", "response-data", {"body": "{{trigger.q}}"})))
        target = f"{prefix}/ws/execute/{flow_id}"

        code, heard = await hear_all(bound, target, door.secrets["runner"], {"action": "start", "input_data": {"q": 1}})

        assert code == 1000
        assert [frame["type"] for frame in heard] == [
            "executionStarted",
            *["nodeExecutionBefore", "nodeExecutionAfter"] * 2,
            "executionFinished",
        ]
        assert heard[0]["data"]["flowId"] == heard[-1]["data"]["flowId"] == str(flow_id)
        assert heard[-1]["data"]["result"]["body"] == 1


@pytest.mark.parametrize(
    ("role", "first", "code", "words"),
    [
        ("runner", {"action": "dance"}, 4400, "Expected 'start' action"),
        ("runner", [], 4400, "Expected 'start' action"),
        ("runner", "{", 4400, "cannot be read"),
        ("runner", {"action": "start", "input_data": []}, 4400, "input_data"),
        ("viewer", {"action": "start"}, 4403, "role"),
        ("", {"action": "start"}, 4401, "credential"),
        ("foreign", {"action": "start"}, 4404, "not found"),
    ],
)
async def test_a_socket_that_is_refused_is_told_why(role: str, first: Any, code: int, words: str) -> None:
    """An error message, then a close code; nothing has begun."""
    async with open_flow_door() as door, serve_flows(door) as (bound, _):
        flow_id = await door.save(drawn(TRIGGER))
        target = f"/ws/execute/{flow_id}"

        found, heard = await hear_all(bound, target, door.secrets.get(role, ""), first)

        assert found == code
        assert heard[-1]["type"] == "error"
        assert words in heard[-1]["data"]["message"]
        assert (await door.ask("GET", "/api/v1/executions")).json()["items"] == []


async def test_a_socket_that_is_left_stops_nothing_and_breaks_nothing() -> None:
    """The run belongs to the server, and the server does not stumble over who goes away."""
    release = trio.Event()

    async def wait_for_release(pod: ScriptedPod) -> None:
        await release.wait()
        await pod.write(b'{"result": 2, "scope": "{}"}\n')
        await pod.exit()

    flow = drawn(TRIGGER, ("code_1", "action-code", {"code": "x"}))
    async with open_flow_door(wait_for_release) as door, serve_flows(door) as (bound, _):
        target = f"/ws/execute/{await door.save(flow)}"
        headers = [(b"authorization", f"Bearer {door.secrets['runner']}".encode())]
        stream = await trio.open_tcp_stream("127.0.0.1", bound.port)
        with trio.fail_after(LIMIT_S), stream.socket:
            async with trio.open_nursery() as nursery:
                socket = await wrap_client_stream(nursery, stream, "127.0.0.1", target, extra_headers=headers)
                await socket.send_message('{"action": "start"}')
                execution_id = ExecutionId(json.loads(await socket.get_message())["data"]["executionId"])
                nursery.cancel_scope.cancel()
        with trio.fail_after(LIMIT_S):
            await door.app.front.streams.wait_empty()
        release.set()
        events = await door.world.watch(execution_id)
        assert events[-1].type == "result_stored"
        assert door.app.front.counters.read().get("execd_http_connections_crashed_total", 0) == 0
