"""The n8n door: frames, their order and pace, and an end on every path."""

from __future__ import annotations

from itertools import pairwise

import pytest
import trio
from trio.testing import MockClock

from execd.core.codec import decode_event
from execd.core.events import ExecutionId, Status
from execd.ports import Cancel
from tests.http.asgi import call
from tests.support.engines import TEST_SETTINGS, with_stream
from tests.support.flow_doors import FlowDoor, frames, open_flow_door, shown
from tests.support.flows import TRIGGER, drawn
from tests.support.performers import until_stopped
from tests.support.scripted_runner import ScriptedPod

HELLO = drawn(
    TRIGGER,
    ("code_1", "action-code", {"code": "result = 1"}),
    ("r", "response-data", {"body": {"n": "{{code.result}}", "ü": "{{trigger.name}}"}}),
)
CODE = drawn(TRIGGER, ("code_1", "action-code", {"code": "x"}), ("r", "response-data", {}))

ROUNDING_S = 1e-9
"""Of differences of moments on a clock that does not begin at 0."""


async def break_down(pod: ScriptedPod) -> None:
    """As a program that raises."""
    await pod.write(b'{"error": "ValueError: \xc3\xbc"}\n')
    await pod.exit(1)


async def last_status(door: FlowDoor, execution_id: str) -> Status:
    record = await door.world.engine.find(ExecutionId(execution_id))
    assert record is not None
    return record.status


@pytest.mark.behaviour(54)
async def test_a_run_is_told_in_order_and_in_the_words_of_the_hooks(autojump_clock: MockClock) -> None:
    """Started, pairs, every end once more, and the last frame with the result."""
    async with open_flow_door() as door, door.open(await door.save(HELLO), {"name": "Zoë"}) as answer:
        await answer.is_over.wait()
        found = frames(answer)

        names = ["TRIGGER_1", "CODE_1", "R"]
        pairs = [f"nodeExecution{when} {name}" for name in names for when in ("Before", "After")]
        again = [f"nodeExecutionAfter {name}" for name in names]
        assert shown(found) == ["executionStarted", *pairs, *again, "executionFinished"]
        assert found[0]["data"]["executionId"] == answer.headers["x-execution-id"]
        assert found[4]["data"]["data"] == {"executed": True, "result": 1, "scope": "{}"}
        assert found[-2] == found[6]
        assert found[-1]["data"]["result"] == {"responded": True, "status": 200, "body": {"n": 1, "ü": "Zoë"}}
        assert found[-1]["data"]["finishedAt"].endswith("Z")
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["cache-control"] == "no-cache"
        assert answer.headers["x-accel-buffering"] == "no"


@pytest.mark.behaviour(54)
async def test_frames_leave_time_for_the_reader_and_the_last_comes_alone(autojump_clock: MockClock) -> None:
    """A turn of the reader between any two, never more than 48 KiB in 0.16 s, a pause before the end."""
    many = drawn(TRIGGER, *((f"n{i}", "logic-transform", {"mappings": {"text": "x" * 3000}}) for i in range(60)))
    async with open_flow_door() as door, door.open(await door.save(many)) as answer:
        await answer.is_over.wait()

    moments = [at for at, _ in answer.chunks]
    assert all(later - earlier >= 0.001 - ROUNDING_S for earlier, later in pairwise(moments))
    assert moments[-1] - moments[-2] >= 0.1 - ROUNDING_S
    for at, _ in answer.chunks:
        assert sum(len(chunk) for when, chunk in answer.chunks if at <= when < at + 0.16) < 48 * 1024


@pytest.mark.behaviour(54)
async def test_a_failed_node_is_an_error_and_the_run_an_execution_error(autojump_clock: MockClock) -> None:
    """The message stands in `data.error.message`, and the last frame's `error` is text."""
    async with open_flow_door(break_down) as door:
        found = await door.run(CODE)

    after = next(frame for frame in found if frame["data"].get("error"))
    assert after["data"]["error"] == {"message": "ValueError: ü", "code": "exit"}
    assert shown(found)[-3:] == ["nodeExecutionAfter TRIGGER_1", "nodeExecutionAfter CODE_1", "executionError"]
    assert found[-1]["data"]["error"] == "ValueError: ü"
    assert found[-1]["data"]["status"] == "failed"


async def test_a_cancelled_run_ends_with_an_error_that_names_the_cause(autojump_clock: MockClock) -> None:
    """No spinner survives: the node in flight has its end, then the stream has its own."""
    async with open_flow_door(until_stopped) as door, door.open(await door.save(CODE)) as answer:
        await answer.wait_for(b'"nodeExecutionBefore","data":{"executionId":"' + b"exec")
        await answer.wait_for(b"CODE_1")
        await door.world.engine.command(ExecutionId(answer.headers["x-execution-id"]), Cancel(by="u"))
        await answer.is_over.wait()

    found = frames(answer)
    assert "error" in next(f for f in found if shown([f]) == ["nodeExecutionAfter CODE_1"])["data"]
    assert (found[-1]["data"]["error"], found[-1]["data"]["status"]) == ("Execution was cancelled", "cancelled")


@pytest.mark.behaviour(54)
async def test_a_server_that_goes_down_says_that_the_run_goes_on_and_as_which(autojump_clock: MockClock) -> None:
    """Else a browser shows it as executing for ever."""
    async with open_flow_door(until_stopped) as door, door.open(await door.save(CODE)) as answer:
        await answer.wait_for(b"CODE_1")
        began = trio.current_time()
        door.world.engine.drain()
        await answer.is_over.wait()
        assert trio.current_time() - began < 1

        execution_id = answer.headers["x-execution-id"]
        last = frames(answer)[-1]
        assert last["type"] == "executionError"
        assert last["data"]["executionId"] == execution_id
        assert execution_id in last["data"]["error"]
        assert await last_status(door, execution_id) is Status.RUNNING


@pytest.mark.behaviour(14, 54)
async def test_a_stream_ends_at_its_age_with_a_frame_and_breaks_silence_with_comments(
    autojump_clock: MockClock,
) -> None:
    """A comment block of its own every 15 s; at the limit an error that names the run."""
    async with open_flow_door(until_stopped, lifetime_s=100.0) as door, door.open(await door.save(CODE)) as answer:
        await answer.is_over.wait()

    beats = [at for at, chunk in answer.chunks if chunk == b": hb\n\n"]
    assert len(beats) == 6
    assert all(later - earlier == pytest.approx(15) for earlier, later in pairwise(beats))
    assert frames(answer)[-1]["data"]["reason"] == "lifetime"


@pytest.mark.behaviour(18, 54)
async def test_who_goes_away_stops_nothing(autojump_clock: MockClock) -> None:
    """The run belongs to the server."""
    release = trio.Event()

    async def wait_for_release(pod: ScriptedPod) -> None:
        await release.wait()
        await pod.write(b'{"result": 2, "scope": "{}"}\n')
        await pod.exit()

    async with open_flow_door(wait_for_release) as door:
        async with door.open(await door.save(CODE)) as answer:
            await answer.wait_for(b"CODE_1")
        execution_id = ExecutionId(answer.headers["x-execution-id"])
        release.set()
        events = await door.world.watch(execution_id)
        assert events[-1].type == "result_stored"
        assert await last_status(door, execution_id) is Status.COMPLETED


@pytest.mark.behaviour(40, 54)
async def test_a_key_makes_a_second_request_the_first_run_again(autojump_clock: MockClock) -> None:
    """A retry of the client is safe, even when the flow is gone by then; another body with the key is a conflict."""
    async with open_flow_door() as door:
        flow_id = await door.save(HELLO)
        answers = []
        for _ in range(2):
            async with door.open(flow_id, {"name": "A"}, idempotency_key="k") as answer:
                await answer.is_over.wait()
            answers.append(answer)
            await door.ask("DELETE", f"/api/v1/flows/{flow_id}")
        assert answers[0].headers["x-execution-id"] == answers[1].headers["x-execution-id"]
        assert frames(answers[0])[-1] == frames(answers[1])[-1]

        again = await door.save(HELLO)
        conflict = await door.ask("POST", "/api/v1/executions/stream", {"flow_id": again}, idempotency_key="k")
        assert conflict.status == 409
        assert isinstance(conflict.json()["detail"], str)


@pytest.mark.behaviour(54)
async def test_labels_name_nodes_unless_they_could_mean_another(autojump_clock: MockClock) -> None:
    """Hooks compare the name with labels and ids alike."""
    flow = drawn(("a", "trigger-manual", {}), ("b", "logic-transform", {}), ("c", "logic-transform", {}))
    labels = ["same", "same", "a"]
    for node, label in zip(flow["data"]["nodes"], labels, strict=True):
        node["data"]["label"] = label
    async with open_flow_door() as door:
        found = await door.run(flow)
    before = [frame["data"] for frame in found if frame["type"] == "nodeExecutionBefore"]
    assert [(data["nodeName"], data["nodeId"]) for data in before] == [("a", "a"), ("b", "b"), ("c", "c")]


@pytest.mark.behaviour(26, 54)
async def test_large_outputs_are_previews_with_the_address_of_the_whole(autojump_clock: MockClock) -> None:
    """No frame is near 64 KiB, and nothing is lost."""
    mappings = {"long": "{{trigger.long}}", "list": list(range(5000)), "ü" * 50: {"deep": [["x" * 500] * 50] * 50}}
    async with open_flow_door() as door:
        found = await door.run(drawn(TRIGGER, ("t", "logic-transform", {"mappings": mappings})), {"long": "ö" * 30_000})
        after = next(frame for frame in found if shown([frame]) == ["nodeExecutionAfter T"])["data"]
        assert after["truncated"]
        assert after["outputSizeBytes"] > 60_000
        assert after["data"]["long"].startswith("ööö")
        whole = (await door.ask("GET", after["outputUrl"])).json()["items"][0]
        assert whole["data"]["output"]["long"] == "ö" * 30_000


@pytest.mark.behaviour(52)
async def test_an_unresolved_reference_is_told_beside_the_node(autojump_clock: MockClock) -> None:
    """It stays visible in the output too."""
    async with open_flow_door() as door:
        found = await door.run(drawn(TRIGGER, ("r", "response-data", {"body": "{{trigger.nobody}}"})))
    warning = next(frame for frame in found if frame["type"] == "nodeExecutionWarning")
    assert warning["data"]["messages"] == ["{{trigger.nobody}} leads to nothing and stays as it is"]
    assert found[-1]["data"]["result"]["body"] == "{{trigger.nobody}}"


@pytest.mark.behaviour(53)
async def test_a_run_shows_the_same_states_in_the_same_order_in_every_dialect(autojump_clock: MockClock) -> None:
    """execd's own words, LinkFlow's and this dialect's are views of one journal."""
    flow = drawn(
        TRIGGER,
        ("if_1", "logic-condition", {"value1": "a", "value2": "b"}),
        ("yes", "logic-transform", {}),
        ("code_1", "action-code", {"code": "x"}),
        ("bad", "action-upload-image", {}),
        edges="trigger_1>if_1 if_1:true>yes if_1:false>code_1 code_1>bad",
    )
    async with open_flow_door() as door:
        found = await door.run(flow)
        execution_id = found[0]["data"]["executionId"]
        native = [
            decode_event(e.body)
            for e in await door.world.store.read_events(execution_id, after_seq=0, limit_bytes=10**6)
        ]
        linkflow = await door.ask("GET", f"/api/v1/workspaces/w/executions/{execution_id}/stream", role="viewer")

    told = [
        (event.type, event.node) for event in native if event.type in {"node_started", "node_completed", "node_failed"}
    ]
    words = {"nodeExecutionBefore": {"node_started"}, "nodeExecutionAfter": {"node_completed", "node_failed"}}
    own = [frame for frame in found if frame["type"] in words][: len(told)]
    assert [frame["data"]["nodeId"] for frame in own] == [node for _, node in told]
    assert all(kind in words[frame["type"]] for (kind, _), frame in zip(told, own, strict=True))
    assert ["error" in frame["data"] for frame in own] == [kind == "node_failed" for kind, _ in told]

    blocks = [
        dict(line.partition(": ")[::2] for line in block.splitlines()) for block in linkflow.body.decode().split("\n\n")
    ]
    states = [block for block in blocks if block.get("event") in {"node.started", "node.completed", "node.failed"}]
    assert [block["event"].replace(".", "_") for block in states] == [kind for kind, _ in told]
    assert [int(block["id"]) for block in states] == [frame["data"]["seq"] for frame in own]


@pytest.mark.behaviour(58)
async def test_unknown_keys_are_ignored(autojump_clock: MockClock) -> None:
    """Editors send what execd has never heard of: beside the request, in the flow, in its nodes and edges."""
    flow = drawn(TRIGGER, viewport={"zoom": 1})
    flow["data"] |= {"viewport": {"x": 0}, "unknown": [1]}
    flow["data"]["nodes"][0] |= {"measured": {"width": 1}, "selected": True}
    flow["data"]["nodes"][0]["data"] |= {"icon": "x"}
    async with open_flow_door() as door:
        body = {"flow_id": await door.save(flow), "conversation_id": 3, "input_data": None}
        answer = await door.ask("POST", "/api/v1/executions/stream", body)
    assert frames(answer)[-1]["type"] == "executionFinished"


# --- refusals


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b"", ["body"]),
        (b"{", ["body"]),
        (b"[]", ["body"]),
        (b"{}", ["body", "flow_id"]),
        (b'{"flow_id": {}}', ["body", "flow_id"]),
        (b'{"flow_id": true}', ["body", "flow_id"]),
        (b'{"flow_id": -1}', ["body", "flow_id"]),
        (b'{"flow_id": 1, "input_data": []}', ["body", "input_data"]),
    ],
)
async def test_a_bad_body_is_422_with_the_place_of_each_fault(body: bytes, where: list[str]) -> None:
    """The shape that FastAPI gives, before anything has begun."""
    async with open_flow_door() as door:
        answer = await call(door.app, "POST", "/api/v1/executions/stream", headers=door.headers(), body=body)
        assert answer.status == 422
        assert answer.json()["detail"][0]["loc"] == where
        assert answer.json()["detail"][0].keys() == {"loc", "msg", "type"}


@pytest.mark.parametrize(("role", "status"), [("", 401), ("viewer", 403), ("foreign", 404)])
async def test_who_may_not_run_a_flow_is_told_so_in_json(role: str, status: int) -> None:
    """Before the stream, with `detail` as text; a flow of another workspace is as unknown as none."""
    async with open_flow_door() as door:
        flow_id = await door.save(HELLO)
        answer = await door.ask("POST", "/api/v1/executions/stream", {"flow_id": flow_id}, role=role)
        assert answer.status == status
        assert isinstance(answer.json()["detail"], str)
        assert ("www-authenticate" in answer.headers) == (status == 401)
        assert not door.world.runner.pods


async def test_an_unknown_flow_is_404_and_a_broken_one_422() -> None:
    """Both before the run; every fault of the drawing is named."""
    async with open_flow_door() as door:
        unknown = await door.ask("POST", "/api/v1/executions/stream", {"flow_id": "7"})
        assert (unknown.status, unknown.json()) == (404, {"detail": "Flow 7 not found"})

        flow_id = await door.save(drawn(("a", "teleport", {}), ("b", "response-data", {}), edges="a>b b>a"))
        broken = await door.ask("POST", "/api/v1/executions/stream", {"flow_id": flow_id})
        assert broken.status == 422
        assert ["body", "definition", "data", "nodes", 0, "data", "type"] in [d["loc"] for d in broken.json()["detail"]]
        runs = await door.ask("GET", "/api/v1/executions")
        assert runs.json()["items"] == []


async def test_too_many_streams_are_refused_before_the_run_begins() -> None:
    """A 429 that had begun something would be run again by whoever tries again."""
    async with open_flow_door(world={"settings": with_stream(TEST_SETTINGS, per_workspace=0)}) as door:
        flow_id = await door.save(HELLO)
        answer = await door.ask("POST", "/api/v1/executions/stream", {"flow_id": flow_id})
        assert answer.status == 429
        assert "retry-after" in answer.headers
        runs = await door.ask("GET", "/api/v1/executions")
        assert runs.json()["items"] == []
