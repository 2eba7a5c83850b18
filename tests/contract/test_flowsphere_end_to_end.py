"""FlowSphere's clients against the real server, engine and sockets, read as its page reads: byte for byte where it is known."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from execd.core.events import ExecutionId, Status
from tests.http.doors import CONFIG
from tests.support.flow_page import LIMIT_S, FlowServer, serve_flowsphere
from tests.support.wild_server import Received, answer, open_raw_server

pytestmark = pytest.mark.slow
JSON = "Content-Type: application/json"


async def shop(request: Received, stream: trio.abc.Stream) -> None:
    """What flows speak to."""
    path = request.target.partition("?")[0]
    if path == "/auth/login":
        body = b'{"token":"tok-123","user":{"id":7,"name":"ada"}}'
        headers = (JSON, f"Content-Length: {len(body)}", "X-Auth-Token: hdr-1")
        await stream.send_all(answer(body, headers=headers, framing=""))
    elif path == "/status/500":
        headers = (JSON, "Content-Length: 14")
        await stream.send_all(answer(b'{"status":500}', status="500 <b>no phrase</b>", headers=headers, framing=""))
    elif path.startswith("/echo"):
        await stream.send_all(answer(msgspec.json.encode({"target": request.target, "body": request.body.decode()})))
    elif path == "/large":
        await stream.send_all(answer(b"x" * (3 * 1024 * 1024)))
    elif path == "/medium":
        await stream.send_all(answer(msgspec.json.encode({"text": "ü" * 200_000}), headers=(JSON,)))
    else:
        await stream.send_all(answer(b'{"id":1,"n":1.0}', headers=(JSON,)))


class Gate:
    """An API whose first answer waits until it is opened."""

    def __init__(self) -> None:
        self.asked = trio.Event()
        self.opened = trio.Event()

    async def __call__(self, request: Received, stream: trio.abc.Stream) -> None:
        self.asked.set()
        await self.opened.wait()
        await shop(request, stream)


async def status_of(server: FlowServer, execution_id: str) -> Status:
    """Wait for the end of a run."""
    with trio.fail_after(LIMIT_S):
        while True:
            record = await server.engine.find(ExecutionId(execution_id))
            assert record is not None
            if record.status.is_final:
                return record.status
            await trio.testing.wait_all_tasks_blocked(0.005)


async def until_nobody_watches(server: FlowServer) -> None:
    with trio.fail_after(LIMIT_S):
        await server.app.front.streams.wait_empty()


def settled(text: str, server: FlowServer) -> str:
    """Put the moments and numbers of a run into the form of the samples."""
    text = text.replace(f"127.0.0.1:{server.api.port}", "127.0.0.1:8099")
    text = re.sub(r"id: \d+\n\n$", "\n", text)
    text = re.sub(r"exec-\d+-[a-z0-9]{9}", "exec-1795194755869-m4xo3agqc", text)
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "e1310fd3-9912-4b3b-8c56-e0884b63d56b", text)
    text = re.sub(r'"duration":[0-9.]+', '"duration":0.01', text)
    return re.sub(r"(?<=[:\"])179\d{7}(?!\d)", "1795194704", text)


SAMPLE = {
    "variables": {"n": 3, "apiVersion": "v1"},
    "nodes": [
        {
            "id": "login",
            "name": "Log in",
            "method": "POST",
            "url": "/auth/login",
            "body": {"username": "ada", "n": "{{ .vars.n }}", "sid": "{{ $guid }}", "ts": "{{ $timestamp }}"},
            "headers": {"Content-Type": "application/json", "X-Env": "{{ .vars.apiVersion }}"},
            "validations": [{"httpStatusCode": 200}, {"jsonpath": ".token", "exists": True}],
        },
        {"id": "ok", "name": "ok", "method": "GET", "url": "/one"},
        {
            "id": "skipme",
            "name": "Skipped",
            "method": "GET",
            "url": "/users/{{ .responses.login.user.id }}",
            "conditions": [{"variable": "apiVersion", "equals": "v2"}],
        },
        {
            "id": "bad",
            "name": "bad",
            "method": "GET",
            "url": "/status/500?x={{ .responses.ok.id }}",
            "validations": [{"httpStatusCode": 200}, {"jsonpath": ".status", "equals": "200"}],
        },
    ],
}
STEP_1 = (
    'event: step\ndata: {"step":1,"id":"login","name":"Log in","method":"POST","url":"http://127.0.0.1:8099/auth/login",'
    '"request":{"headers":{"Content-Type":"application/json","X-Env":"v1"},"body":{"username":"ada","n":"3",'
    '"sid":"e1310fd3-9912-4b3b-8c56-e0884b63d56b","ts":"1795194704"}},"response":{"status":200,"statusText":"OK","headers":'
    '{"content-type":"application/json","content-length":"48","x-auth-token":"hdr-1"},"body":{"token":"tok-123","user":'
    '{"id":7,"name":"ada"}}},"substitutions":[{"original":"{{ .vars.n }}","value":3,"type":"variable","path":"body.n"},'
    '{"original":"{{ $guid }}","value":"e1310fd3-9912-4b3b-8c56-e0884b63d56b","type":"dynamic-guid","path":"body.sid"},'
    '{"original":"{{ $timestamp }}","value":1795194704,"type":"dynamic-timestamp","path":"body.ts"},'
    '{"original":"{{ .vars.apiVersion }}","value":"v1","type":"variable","path":"headers.X-Env"}],"validations":'
    '[{"type":"httpStatusCode","expected":200,"actual":200,"passed":true},{"type":"jsonpath","path":".token",'
    '"value":"tok-123","checks":[],"passed":true}],"duration":0.01,"status":"completed"}\n\n'
)
STEP_3 = (
    'event: step\ndata: {"step":3,"id":"skipme","name":"Skipped","method":"GET","url":"http://127.0.0.1:8099/users/'
    '{{ .responses.login.user.id }}","status":"skipped","skipReason":"variable \'apiVersion\': expected \'v2\', got \'v1\'"}\n\n'
)
STEP_4 = (
    'event: step\ndata: {"step":4,"id":"bad","name":"bad","method":"GET","url":"http://127.0.0.1:8099/status/500?x=1",'
    '"request":{"headers":{},"body":{}},"substitutions":[{"original":"{{ .responses.ok.id }}","value":1,"type":"response",'
    '"path":"url"}],"status":"failed","error":"HTTP status validation failed: expected 200, got 500; Validation failed: field '
    '.status should equal \\"200\\", got \\"500\\"","duration":0.01,"response":{"status":500,"statusText":"Internal Server '
    'Error","headers":{"content-type":"application/json","content-length":"14"},"body":{"status":500}},"validations":[{"type":'
    '"httpStatusCode","expected":200,"actual":500,"passed":false},{"type":"jsonpath","path":".status","value":500,'
    '"checks":[],"passed":false}]}\n\n'
)


async def test_a_run_is_told_byte_for_byte_as_flowsphere_tells_it(tmp_path: Path) -> None:
    """Names, keys and their order, spaces and line ends are what its clients were written against."""
    async with serve_flowsphere(tmp_path, shop) as server:
        base = server.url("").rstrip("/")
        reader = await server.run({**SAMPLE, "defaults": {"baseUrl": base}})
        texts = [settled(frame.text, server) for frame in reader.frames]

    assert reader.names == [
        "start",
        "step_start",
        "step",
        "step_start",
        "step",
        "step",
        "step_start",
        "step",
        "error",
        "end",
    ]
    assert texts[0] == 'event: start\ndata: {"totalSteps":4,"executionId":"exec-1795194755869-m4xo3agqc"}\n\n'
    assert texts[1] == (
        'event: step_start\ndata: {"step":1,"id":"login","name":"Log in","method":"POST",'
        '"url":"http://127.0.0.1:8099/auth/login"}\n\n'
    )
    assert (texts[2], texts[5], texts[7]) == (STEP_1, STEP_3, STEP_4)
    message = json.loads(STEP_4.split("data: ")[1])["error"]
    assert texts[8] == f"event: error\ndata: {json.dumps({'message': message, 'step': 4}, separators=(',', ':'))}\n\n"
    steps = ",".join(text.split("data: ")[1].rstrip("\n") for text in (texts[2], texts[4], texts[5], texts[7]))
    head = '{"success":false,"stepsExecuted":2,"stepsSkipped":1,"stepsFailed":1,"executionLog":['
    assert texts[9] == f"event: end\ndata: {head}{steps}]}}\n\n"
    assert reader.headers["content-type"] == "text/event-stream"
    assert reader.headers["cache-control"] == "no-cache"
    assert reader.headers["connection"] == "keep-alive"
    assert reader.headers["transfer-encoding"] == "chunked"


async def test_every_write_ends_a_step_or_the_run(tmp_path: Path) -> None:
    """The page handles one more chunk after Stop, and hangs unless that ends something; `step_start` never goes alone."""
    async with serve_flowsphere(tmp_path, shop) as server:
        skipped = {"conditions": [{"variable": "v", "exists": True}]}
        nodes = [server.node(f"n{i}", "/echo", **(skipped if i % 3 == 2 else {})) for i in range(30)]
        async with server.stream({"config": {"nodes": nodes}}) as page:
            groups = []
            while (found := await page.next_chunk()) is not None:
                groups.append([frame.name for frame in found])
            page.reader.check_order()

    assert groups[0] == ["start", "step_start"]
    assert groups[-1] == ["end"]
    assert {tuple(group) for group in groups[1:-1]} == {("step", "step_start"), ("step",)}
    assert [step["step"] for step in page.reader.steps] == list(range(1, 31))


async def test_nobody_there_is_told_in_known_words(tmp_path: Path) -> None:
    """The samples of a failure without an answer."""

    async def never(stream: trio.SocketStream) -> None:
        raise AssertionError("nobody connects")

    async with open_raw_server(never) as port:
        pass
    async with serve_flowsphere(tmp_path, shop) as server:
        reader = await server.run(
            {"nodes": [{"id": "a", "name": "refused", "method": "GET", "url": f"http://127.0.0.1:{port}/x"}]}
        )
        text = f"Network error: connect ECONNREFUSED 127.0.0.1:{port}"

        assert reader.steps[0] | {"duration": 0} == {
            "step": 1, "id": "a", "name": "refused", "method": "GET", "url": f"http://127.0.0.1:{port}/x",
            "request": {"headers": {}, "body": {}}, "substitutions": [], "status": "failed", "error": text, "duration": 0,
        }  # fmt: skip
        assert [(frame.name, frame.data) for frame in reader.frames[-2:-1]] == [("error", {"message": text, "step": 1})]
        assert reader.end["executionLog"] == reader.steps


@pytest.mark.parametrize(
    "config", [{}, {"nodes": []}, {"nodes": "none"}, {"nodes": None, "variables": 3}, {"whatever": [1]}]
)
async def test_nothing_to_do_is_a_success(config: dict[str, Any], tmp_path: Path) -> None:
    """This door does not validate; an empty config is a start and an end."""
    async with serve_flowsphere(tmp_path, shop) as server:
        reader = await server.run(config or {"x": 1})

    assert reader.names == ["start", "end"]
    assert reader.frames[0].data["totalSteps"] == 0
    assert reader.end == {"success": True, "stepsExecuted": 0, "stepsSkipped": 0, "stepsFailed": 0, "executionLog": []}


async def test_the_run_behind_a_stream_is_one_like_any_other(tmp_path: Path) -> None:
    """Journaled, listed, followed by the native stream, and told again from any point in FlowSphere's words."""
    async with serve_flowsphere(tmp_path, shop) as server:
        reader = await server.run({"name": "Mine", "nodes": [server.node("a"), server.node("b")]})
        execution_id = reader.frames[0].data["executionId"]
        listed = (await server.client.get("/api/v1/executions")).json()["items"]
        journal = (await server.client.get(f"/api/v1/executions/{execution_id}/events?limit=500")).json()["items"]
        native = (await server.client.get(f"/api/v1/executions/{execution_id}/stream?after=4")).text

        assert [(item["id"], item["kind"], item["name"], item["user"]) for item in listed] == [
            (execution_id, "flow", "Mine", "ada")
        ]
        assert [event["seq"] for event in journal] == list(range(1, len(journal) + 1))
        assert "event: result_stored" in native
        ids = [int(found) for frame in reader.frames for found in re.findall(r"\nid: (\d+)\n\n", frame.text)]
        assert ids == sorted(set(ids))
        assert ids[-1] == journal[-1]["seq"]
        whole = "".join(frame.text for frame in reader.frames)
        for seq in ids[:-1]:
            async with server.stream(
                None,
                method="GET",
                target=f"/api/execute-stream/{execution_id}",
                token=server.viewer,
                Last_Event_ID=str(seq),
            ) as page:
                again = "".join(frame.text for frame in (await page.read()).frames)
            assert again == whole[whole.index(f"\nid: {seq}\n\n") + len(f"\nid: {seq}\n\n") :]
        done = await server.client.get(f"/api/execute-stream/{execution_id}", headers={"Last-Event-ID": str(ids[-1])})
        assert (done.status_code, done.content) == (204, b"")


async def test_a_prompt_takes_one_answer_by_the_codes_clients_know(tmp_path: Path) -> None:
    """What was asked and answered is in the journal; a second answer, another place or another run is a 404."""
    async with serve_flowsphere(tmp_path, shop) as server:
        prompts = {"username": "Enter your username:", "password": "Enter your password:"}
        node = server.node(
            "login", "/echo/{{ .input.username }}-{{ .input.extra }}", name="User login", userPrompts=prompts
        )
        async with server.stream({"config": {"nodes": [server.node("a"), node]}}) as page:
            asked = await page.until("input_required")
            place = {"executionId": asked.data["executionId"], "stepIndex": 1}
            refused = [
                await server.post("/api/provide-input", body)
                for body in ({}, {"executionId": "x"}, {"stepIndex": 1}, {**place, "stepIndex": 0}, {**place, "stepIndex": None},
                             {**place, "executionId": "exec-1-000000000"}, {**place, "executionId": 7})
            ]  # fmt: skip
            odd = await server.post("/api/provide-input", {**place, "userInput": "text"})
            given = {"username": "ada <b>", "password": "", "extra": 3}
            done = await server.post("/api/provide-input", {**place, "stepIndex": "1", "userInput": given})
            again = await server.post("/api/provide-input", {**place, "userInput": given})
            reader = await page.read()

    assert asked.text.startswith('event: input_required\ndata: {"executionId":"exec-')
    assert asked.data == {
        "executionId": place["executionId"],
        "stepIndex": 1,
        "step": 2,
        "name": "User login",
        "prompts": prompts,
    }
    assert [answer.status_code for answer in refused] == [400, 400, 400, 404, 404, 404, 404]
    assert refused[0].content == b'{"success":false,"error":"Missing executionId or stepIndex"}'
    assert refused[-1].content == b'{"success":false,"error":"No pending input request found"}'
    assert (odd.status_code, done.content) == (400, b'{"success":true}')
    assert (again.status_code, again.content) == (404, refused[-1].content)
    assert reader.names == ["start", "step_start", "step", "input_required", "step_start", "step", "end"]
    assert reader.steps[1]["response"]["body"]["target"] == "/echo/ada%20%3Cb%3E-3"
    assert [each["value"] for each in reader.steps[1]["substitutions"]] == [3], "what the page would hang on or run"


@pytest.mark.parametrize(("typed", "sent"), [("hunter22", b"hunter22"), (1234567, b"1234567")])
async def test_a_secret_prompt_is_used_and_never_shown(typed: Any, sent: bytes, tmp_path: Path) -> None:
    """A key more than FlowSphere has: what is typed there is in no frame and no journal."""
    async with serve_flowsphere(tmp_path, shop) as server:
        node = server.node(
            "a", "/echo", method="POST", body={"p": "{{ .input.p }}"}, userPrompts={"p": "P?"}, secretPrompts=["p"]
        )
        async with server.stream({"config": {"nodes": [node]}}) as page:
            asked = await page.until("input_required")
            place = {"executionId": asked.data["executionId"], "stepIndex": 0}
            short = await server.post("/api/provide-input", {**place, "userInput": {"p": "abc"}})
            await server.post("/api/provide-input", {**place, "userInput": {"p": typed}})
            reader = await page.read()
        journal = await server.client.get(f"/api/v1/executions/{place['executionId']}/events?limit=500")

    assert asked.data["secretPrompts"] == ["p"]
    assert (short.status_code, "too short" in short.json()["error"]) == (400, True)
    assert server.api.requests[0].body == b'{"p":"%b"}' % sent
    assert sent not in b"".join(reader.chunks) + journal.content
    assert reader.end["success"] is True


@pytest.mark.parametrize("mode", ["interrupt", "cancel"])
async def test_a_stop_ends_the_run_and_says_so(mode: str, tmp_path: Path) -> None:
    """An interrupt lets the step in flight finish and sends nothing after it; a cancel breaks it off."""
    gate = Gate()
    async with serve_flowsphere(tmp_path, gate) as server:
        nodes = [server.node("a", "/echo"), server.node("b", "/never")]
        async with server.stream({"config": {"nodes": nodes}}) as page:
            await page.until("step_start")
            await gate.asked.wait()
            execution_id = page.reader.frames[0].data["executionId"]
            stopped = await server.post("/api/stop", {"executionId": execution_id, "mode": mode})
            if mode == "interrupt":
                gate.opened.set()
            reader = await page.read()
        again = await server.post("/api/stop", {"executionId": execution_id})
        status = await status_of(server, execution_id)

    assert stopped.content == b'{"success":true}'
    assert reader.names == ["start", "step_start", "step", "interrupted"]
    assert reader.steps[0]["status"] == ("completed" if mode == "interrupt" else "failed")
    assert reader.end == {"lastCompletedStep": 1, "totalSteps": 2, "executionLog": reader.steps}
    assert list(reader.end) == ["lastCompletedStep", "totalSteps", "executionLog"]
    assert [request.target for request in server.api.requests] == ["/echo"]
    assert status is (Status.INTERRUPTED if mode == "interrupt" else Status.CANCELLED)
    assert again.status_code == 409


async def test_a_stop_wakes_a_prompt(tmp_path: Path) -> None:
    """Nothing was begun, so nothing but the end is told."""
    async with (
        serve_flowsphere(tmp_path, shop) as server,
        server.stream({"config": {"nodes": [server.node("a", userPrompts={"x": "X?"})]}}) as page,
    ):
        asked = await page.until("input_required")
        await server.post("/api/stop", {"executionId": asked.data["executionId"]})
        reader = await page.read()

    assert reader.names == ["start", "input_required", "interrupted"]
    assert reader.end["lastCompletedStep"] == 0
    assert server.api.requests == []


@pytest.mark.parametrize("is_detached", [False, True])
async def test_who_goes_away_interrupts_the_run_unless_detached(is_detached: bool, tmp_path: Path) -> None:
    """The step in flight finishes; nothing after it is sent, or everything is."""
    gate = Gate()
    async with serve_flowsphere(tmp_path, gate) as server:
        nodes = [server.node("a", "/echo"), server.node("b", "/echo")]
        async with server.stream({"config": {"nodes": nodes}, "options": {"detach": is_detached}}) as page:
            await page.until("step_start")
            execution_id = page.reader.frames[0].data["executionId"]
            await gate.asked.wait()
        await until_nobody_watches(server)
        gate.opened.set()
        status = await status_of(server, execution_id)

    assert status is (Status.COMPLETED if is_detached else Status.INTERRUPTED)
    assert len(server.api.requests) == (2 if is_detached else 1)


@pytest.mark.parametrize("leave", ["close", "reset", "half-close"])
async def test_no_step_begins_after_its_client_has_left(leave: str, tmp_path: Path) -> None:
    """However it leaves, in the middle of a long flow: what is in flight is the last that is sent."""
    gate = Gate()

    async def serve(request: Received, stream: trio.abc.Stream) -> None:
        await (gate if request.target == "/gate" else shop)(request, stream)

    async with serve_flowsphere(tmp_path, serve) as server:
        nodes = [server.node(f"n{i}", "/gate" if i == 20 else "/echo") for i in range(200)]
        async with server.stream({"config": {"nodes": nodes}}) as page:
            await page.until("step_start")
            execution_id = page.reader.frames[0].data["executionId"]
            await gate.asked.wait()
            await page.leave(leave)
            await until_nobody_watches(server)
        gate.opened.set()
        status = await status_of(server, execution_id)

    assert status is Status.INTERRUPTED
    assert len(server.api.requests) == 21


async def test_a_silence_is_no_bytes_on_the_wire(tmp_path: Path) -> None:
    """Not even an empty chunk, which would be the end of the response."""
    gate = Gate()
    async with serve_flowsphere(tmp_path, gate, config=replace(CONFIG, heartbeat_s=0.005)) as server:
        async with server.stream({"config": {"nodes": [server.node("a"), server.node("b")]}}) as page:
            await page.until("step_start")
            for _ in range(30):
                await server.client.get("/healthz")
            gate.opened.set()
            reader = await page.read()
        async with server.stream({"config": {"nodes": [server.node("a")]}, "options": {"heartbeats": True}}) as page:
            beating = await page.read()

    assert reader.names == ["start", "step_start", "step", "step_start", "step", "end"]
    assert all(chunk.startswith(b"event: ") for chunk in reader.chunks)
    assert beating.end["success"] is True


async def test_who_goes_away_from_a_waiting_answer_interrupts_the_run_too(tmp_path: Path) -> None:
    """`/api/execute` is waited for as a stream is."""
    gate = Gate()
    async with serve_flowsphere(tmp_path, gate) as server:
        config = {"nodes": [server.node("a", "/echo"), server.node("b", "/echo")]}
        async with server.stream({"config": config}, target="/api/execute"):
            with trio.fail_after(LIMIT_S):
                await gate.asked.wait()
            (listed,) = (await server.client.get("/api/v1/executions")).json()["items"]
        with trio.fail_after(LIMIT_S):
            while (await server.client.get(f"/api/v1/executions/{listed['id']}/events?types=stop_requested")).json()[
                "items"
            ] == []:
                await trio.testing.wait_all_tasks_blocked(0.005)
        gate.opened.set()
        status = await status_of(server, listed["id"])

    assert status is Status.INTERRUPTED
    assert len(server.api.requests) == 1


async def test_who_goes_away_from_a_prompt_leaves_nobody_waiting(tmp_path: Path) -> None:
    """A closed tab is an end, not a run that waits for ever."""
    async with serve_flowsphere(tmp_path, shop) as server:
        async with server.stream({"config": {"nodes": [server.node("a", userPrompts={"x": "X?"})]}}) as page:
            asked = await page.until("input_required")
        assert await status_of(server, asked.data["executionId"]) is Status.INTERRUPTED


async def test_two_at_once_do_not_meet(tmp_path: Path) -> None:
    """Same config, same moment: each answer reaches its own run."""
    async with serve_flowsphere(tmp_path, shop) as server:
        config = {"nodes": [server.node("a", "/echo/{{ .input.x }}", userPrompts={"x": "X?"})]}
        targets = {}

        async def run(name: str) -> None:
            async with server.stream({"config": config}) as page:
                asked = await page.until("input_required")
                place = {"executionId": asked.data["executionId"], "stepIndex": 0}
                assert (await server.post("/api/provide-input", {**place, "userInput": {"x": name}})).status_code == 200
                targets[name] = (await page.read()).steps[0]["response"]["body"]["target"]

        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(run, f"n{number}")

    assert targets == {f"n{number}": f"/echo/n{number}" for number in range(8)}


async def test_a_step_tried_again_is_told_once(tmp_path: Path) -> None:
    """Cards are numbered by arrival: a step reported twice would shift all that follow."""
    calls = 0

    async def flaky(request: Received, stream: trio.abc.Stream) -> None:
        nonlocal calls
        calls += 1
        await stream.send_all(answer(b"{}", status="503 Busy" if calls < 3 else "200 OK"))

    async with serve_flowsphere(tmp_path, flaky) as server:
        node = server.node("a", retry={"attempts": 3, "delay_s": 0.01})
        reader = await server.run({"nodes": [node, server.node("b")]})

    assert reader.names == ["start", "step_start", "step", "step_start", "step", "end"]
    assert calls == 4


async def test_what_execd_adds_is_numbered_on(tmp_path: Path) -> None:
    """Rows, `finally` and `continueOnError`: more steps than FlowSphere knows, in its words, and `error` only before the end."""
    async with serve_flowsphere(tmp_path, shop) as server:
        rows = await server.run(
            {"data": [{"n": "a"}, {"n": "b"}], "nodes": [server.node("x", "/echo/{{ .vars.n }}"), server.node("y")]}
        )
        lenient = server.node("bad", "/status/500", continueOnError=True)
        final = await server.run(
            {
                "nodes": [lenient, server.node("bad2", "/status/500"), server.node("no")],
                "finally": [server.node("out", "/echo/out")],
            }
        )

    assert [(step["step"], step["id"]) for step in rows.steps] == [(1, "x"), (2, "y"), (3, "x"), (4, "y")]
    assert rows.frames[0].data["totalSteps"] == 4
    assert rows.end["stepsExecuted"] == 4
    assert [(step["step"], step["status"]) for step in final.steps] == [(1, "failed"), (2, "failed"), (4, "completed")]
    assert final.names[-2:] == ["error", "end"]
    assert final.frames[-2].data == {"message": "HTTP status validation failed: expected 200, got 500", "step": 2}
    assert final.end["stepsFailed"] == 2


async def test_steps_before_the_first_are_skipped_in_known_words(tmp_path: Path) -> None:
    """`startStep` counts from 0, and odd ones are as JavaScript compares them."""
    async with serve_flowsphere(tmp_path, shop) as server:
        nodes = [server.node(f"n{i}", userPrompts={"x": "X?"} if i == 0 else {}) for i in range(3)]
        reasons = {}
        for given in (1, "1", 0.5, 9, -1, "x", None, [1]):
            config = {"nodes": nodes if given in (1, "1", 0.5, 9) else nodes[1:]}
            reader = await server.run(config, startStep=given)
            reasons[str(given)] = [step.get("skipReason") for step in reader.steps]

    text = "--start-step: execution begins at step {}"
    assert reasons["1"] == reasons["0.5"] == [text.format(2), None, None]
    assert reasons["9"] == [text.format(10)] * 3
    assert reasons["-1"] == reasons["x"] == reasons["None"] == reasons["[1]"] == [None, None]


async def test_bodies_are_cut_in_frames_and_logs_have_an_end(tmp_path: Path) -> None:
    """A body of megabytes is its head, marked; a log that would be too large to save has steps without bodies."""
    async with serve_flowsphere(tmp_path, shop) as server:
        large = await server.run({"nodes": [server.node("a", "/large")]})
        many = await server.run({"nodes": [server.node(f"n{i}", "/medium") for i in range(14)]})
        bare = await server.run({"nodes": [server.node("a")]}, executionLog=False)
        saved = await server.post(
            "/api/save-log", {"executionLog": many.end["executionLog"], "executionResult": many.end}
        )

    response = large.steps[0]["response"]
    assert response["truncated"] is True
    assert 100_000 < len(response["body"]) < 1024 * 1024
    assert all(len(step["response"]["body"]["text"]) == 200_000 for step in many.steps)
    log = many.end["executionLog"]
    kept = ["truncated" not in step["response"] for step in log]
    assert kept.count(True) == 7
    assert log[-1]["response"] == {"status": 200, "statusText": "OK", "headers": {}, "body": None, "truncated": True}
    assert list(log[-1]) == list(many.steps[-1])
    assert len(many.frames[-1].text.encode()) < 5 * 1024 * 1024
    assert bare.end == {"success": True, "stepsExecuted": 1, "stepsSkipped": 0, "stepsFailed": 0}
    assert saved.status_code == 200


async def test_a_reader_that_does_not_read_is_dropped_and_its_run_interrupted(tmp_path: Path) -> None:
    """A page that stopped keeps its connection open and reads no more: what waits for it is bounded."""
    config = replace(CONFIG, send_deadline_s=0.3)
    may_go_on = trio.Event()

    async def serve(request: Received, stream: trio.abc.Stream) -> None:
        if request.target == "/gate":
            await may_go_on.wait()
        await shop(request, stream)

    async with serve_flowsphere(tmp_path, serve, config=config) as server:
        nodes = [
            *(server.node(f"n{i}", "/medium") for i in range(20)),
            server.node("gate", "/gate"),
            server.node("never"),
        ]
        async with server.stream({"config": {"nodes": nodes}}) as page:
            await page.until("step_start")
            execution_id = page.reader.frames[0].data["executionId"]
            await until_nobody_watches(server)
            may_go_on.set()
            status = await status_of(server, execution_id)

    assert status is Status.INTERRUPTED
    assert server.api.requests[-1].target == "/gate"


async def test_texts_of_any_language_pass(tmp_path: Path) -> None:
    """UTF-8, unescaped; line separators and control characters in JSON end no line."""
    async with serve_flowsphere(tmp_path, shop) as server:
        text = "ü 漢字 \U0001f600 \u2028 \x00 \x7f \r\n"
        node = server.node("ä", "/echo", name=text, method="POST", body={"t": text})
        reader = await server.run({"name": text, "nodes": [node]})

    assert reader.steps[0]["name"] == text
    assert json.loads(reader.steps[0]["response"]["body"]["body"]) == {"t": text}
    assert "漢字".encode() in b"".join(reader.chunks)


async def test_markup_never_reaches_the_page(tmp_path: Path) -> None:
    """What it would put into itself unescaped, or hang on, is left out or made harmless."""
    bad = "<img src=x onerror=alert(1)>"
    async with serve_flowsphere(tmp_path, shop) as server:
        nodes = [
            server.node(
                "a",
                "/echo",
                method="POST",
                body={"t": "{{ .vars.bad }}", "e": "{{ .vars.empty }}", "n": "{{ .vars.n }}"},
            ),
            server.node("b", "/echo", method="POST", body={"t": "<span>" + bad + "</span>", "n": "{{ .vars.n }}"}),
            server.node("q", '/echo?"onmouseover="x'),
            server.node("d", "/status/500", name=[bad], validations=[{"httpStatusCode": bad}]),
        ]
        reader = await server.run({"variables": {"bad": bad, "empty": "", "n": 1}, "nodes": nodes})
        method = await server.run({"nodes": [server.node("m", method=f"GET{bad}")]})

    assert [each["value"] for each in reader.steps[0]["substitutions"]] == [1]
    assert reader.steps[1]["substitutions"] == []
    assert '"' not in reader.steps[2]["url"]
    assert reader.steps[3]["name"] == bad, "a text, which the page escapes, and no list, which it does not"
    assert reader.steps[3]["validations"][0]["expected"] is None
    assert reader.steps[3]["response"]["statusText"] == "Internal Server Error"
    assert "<" not in method.steps[0]["method"]


async def test_a_bad_reference_in_a_condition_is_a_failed_step(tmp_path: Path) -> None:
    """FlowSphere ends such a run without a step; a list of steps without gaps is easier to read."""
    async with serve_flowsphere(tmp_path, shop) as server:
        node = server.node("a", conditions=[{"variable": "v", "equals": "{{ .responses.zz.x }}"}])
        reader = await server.run({"variables": {"v": 1}, "nodes": [node]})

    assert reader.names == ["start", "step_start", "step", "error", "end"]
    assert reader.frames[3].data == {"message": "Could not find response for node: zz", "step": 1}


async def test_a_place_that_is_not_there_is_refused_before_anything_runs(tmp_path: Path) -> None:
    """With all streams of the workspace taken nothing is begun; places come back with their streams."""
    async with serve_flowsphere(tmp_path, shop, streams=1) as server:
        config = {"nodes": [server.node("a", userPrompts={"x": "X?"})]}
        async with server.stream({"config": config}) as page:
            await page.until("input_required")
            refused = await server.post("/api/execute-stream", {"config": config})
            listed = (await server.client.get("/api/v1/executions")).json()["items"]
        await until_nobody_watches(server)
        reader = await server.run({"nodes": [server.node("a")]})

    assert (refused.status_code, refused.json()["success"]) == (429, False)
    assert len(listed) == 1
    assert reader.end["success"] is True
