"""The FlowSphere routes that answer from their body alone, on the real engine and sockets."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trio

from execd.core.events import WorkspaceId
from execd.core.flows.validator import validate
from execd.http.dialects.flowsphere_calls import write_log
from execd.http.dialects.flowsphere_templates import TEMPLATES
from tests.contract.test_flowsphere_end_to_end import SAMPLE, shop
from tests.support.flow_page import FlowServer, now_utc, serve_flowsphere
from tests.support.wild_server import Received, answer

pytestmark = pytest.mark.slow


async def walk(server: FlowServer, config: dict[str, Any], answers: dict[str, Any]) -> list[dict[str, Any]]:
    """Step by step, as the page does: it keeps what was answered, and nothing of what was skipped."""
    responses: list[dict[str, Any]] = []
    given: dict[str, Any] = {}
    steps = []
    for index in range(len(config["nodes"])):
        body = {"config": config, "stepIndex": index, "responses": responses, "userInput": given}
        found = (await server.post("/api/execute-step", body)).json()
        if found["inputRequired"]:
            assert list(found) == ["success", "inputRequired", "stepIndex", "step", "id", "name", "prompts"]
            given |= {key: answers[key] for key in found["prompts"]}
            found = (await server.post("/api/execute-step", {**body, "userInput": given})).json()
        assert list(found)[:2] == ["success", "inputRequired"]
        steps.append({key: value for key, value in found.items() if key not in {"success", "inputRequired"}})
        if found["status"] == "completed":
            responses.append({"id": found["id"], **{key: found["response"][key] for key in ("status", "body")}})
        if found["status"] == "failed":
            break
    return steps


def without_new(steps: list[dict[str, Any]]) -> str:
    """Leave out what is new in each run."""
    text = re.sub(r'"duration": [0-9.e-]+', '"duration": 0', json.dumps(steps))
    return re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|(?<=[:\" ])\d{10}(?=\D)", "new", text)


async def test_step_by_step_gives_what_the_stream_gives(tmp_path: Path) -> None:
    """One engine behind both; only the journal is missing."""
    async with serve_flowsphere(tmp_path, shop) as server:
        asking = {"id": "ask", "method": "GET", "url": "/echo/{{ .input.x }}", "userPrompts": {"x": "X?"}}
        nodes = [SAMPLE["nodes"][0], asking, *SAMPLE["nodes"][1:]]
        config = {**SAMPLE, "defaults": {"baseUrl": server.url("").rstrip("/")}, "nodes": nodes}
        async with server.stream({"config": config}) as page:
            asked = await page.until("input_required")
            place = {"executionId": asked.data["executionId"], "stepIndex": 1}
            await server.post("/api/provide-input", {**place, "userInput": {"x": "v"}})
            streamed = (await page.read()).steps
        stepped = await walk(server, config, {"x": "v"})
        count = len((await server.client.get("/api/v1/executions")).json()["items"])

    assert without_new(stepped) == without_new(streamed)
    assert [list(step) for step in stepped] == [list(step) for step in streamed]
    assert [step["status"] for step in stepped] == ["completed", "completed", "completed", "skipped", "failed"]
    assert count == 1, "a step of its own is no execution"


async def test_two_hundred_steps_at_once_are_all_made(tmp_path: Path) -> None:
    """FlowSphere lost 36 of them; here they wait their turn."""
    active = most = 0

    async def count(request: Received, stream: trio.abc.Stream) -> None:
        nonlocal active, most
        active += 1
        most = max(most, active)
        await trio.lowlevel.checkpoint()
        await shop(request, stream)
        active -= 1

    async with serve_flowsphere(tmp_path, count) as server:
        config = {"nodes": [server.node("a", "/echo")]}
        found = []

        async def call(number: int) -> None:
            answer = await server.post("/api/execute-step", {"config": config, "stepIndex": 0})
            found.append(answer.json()["status"])

        async with trio.open_nursery() as nursery:
            for number in range(200):
                nursery.start_soon(call, number)

    assert found == ["completed"] * 200
    assert most <= 64


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({}, "Missing config in request body"),
        ({"config": None}, "Missing config in request body"),
        ({"config": {"nodes": [{}, {}, {}]}}, "Missing stepIndex in request body"),
        ({"config": {"nodes": [{}, {}, {}]}, "stepIndex": None}, "Missing stepIndex in request body"),
        ({"config": {"nodes": [{}, {}, {}]}, "stepIndex": 9}, "Step index 9 out of range (0-2)"),
        ({"config": {"nodes": [{}, {}, {}]}, "stepIndex": -1}, "Step index -1 out of range (0-2)"),
        ({"config": {"nodes": [{}, {}, {}]}, "stepIndex": 1.5}, "Step index 1.5 out of range (0-2)"),
        ({"config": {"nodes": [{}, {}, {}]}, "stepIndex": {}}, "Step index [object Object] out of range (0-2)"),
    ],
)
async def test_a_step_that_is_not_there_is_refused(body: dict[str, Any], error: str, tmp_path: Path) -> None:
    """By the words clients know, and never as an error of the server."""
    async with serve_flowsphere(tmp_path, shop) as server:
        answer = await server.post("/api/execute-step", body)

    assert (answer.status_code, answer.json()) == (400, {"success": False, "error": error})


async def test_a_node_runs_with_mocked_answers(tmp_path: Path) -> None:
    """Its conditions and prompts do not count; the three shapes of its answer are those clients know."""
    async with serve_flowsphere(tmp_path, shop) as server:
        node = server.node(
            "n", "/echo/{{ .responses.login.token }}/{{ .input.x }}",
            userPrompts={"x": "X?"}, conditions=[{"variable": "v", "exists": True}],
        )  # fmt: skip
        config = {"defaults": {"headers": {"X-A": "1"}}}
        body = {"node": node, "config": config, "mockResponses": {"login": {"token": "t"}}}
        passed = (await server.post("/api/execute-node", body)).json()
        invalid = (
            await server.post("/api/execute-node", {"node": server.node("b", "/status/500"), "config": config})
        ).json()
        missing = (await server.post("/api/execute-node", {"node": node, "config": config})).json()
        dead = {"id": "x", "method": "GET", "url": "http://127.0.0.1:1/x"}
        refused = (await server.post("/api/execute-node", {"node": dead, "config": {"x": 1}})).json()
        answers = [
            await server.post("/api/execute-node", body)
            for body in ({}, {"node": node}, {"node": 3, "config": {"a": 1}})
        ]

    assert list(passed) == ["success", "response", "request", "substitutions", "validations", "duration"]
    assert list(passed["request"]) == ["method", "url", "headers", "body"]
    assert passed["response"]["body"]["target"] == "/echo/t/%7B%7B%20.input.x%20%7D%7D"
    assert list(invalid) == ["success", "response", "request", "substitutions", "validations", "duration", "error"]
    assert invalid["error"] == "HTTP status validation failed: expected 200, got 500"
    assert missing["error"] == "Could not find response for node: login"
    assert refused | {"duration": 0.001} == {
        "success": False,
        "request": {"method": "GET", "url": "http://127.0.0.1:1/x", "headers": {}, "body": {}},
        "substitutions": [],
        "duration": 0.001,
        "error": "Network error: connect ECONNREFUSED 127.0.0.1:1",
    }
    assert list(refused) == ["success", "request", "substitutions", "duration", "error"]
    assert [answer.json()["error"] for answer in answers] == [
        "Missing node in request body",
        "Missing config in request body",
        "node must be an object of at most 100 levels",
    ]
    assert {answer.status_code for answer in answers} == {400}


async def test_execute_waits_and_answers_as_the_command_line_logs(tmp_path: Path) -> None:
    """A failure is a result and no error of the server; nobody is asked, so answers come along."""
    async with serve_flowsphere(tmp_path, shop) as server:
        skipped = server.node("s", conditions=[{"variable": "v", "exists": True}])
        asking = server.node("ask", "/echo/{{ .input.x }}", userPrompts={"x": "X?"})
        config = {"nodes": [server.node("a"), skipped, asking, server.node("bad", "/status/500"), server.node("no")]}
        done = await server.post("/api/execute", {"config": config, "options": {"userInput": {"x": "v"}}})
        unasked = await server.post("/api/execute", {"config": config})
        invalid = await server.post("/api/execute", {"config": {"nodes": [{}]}})

    found = done.json()
    log = found["executionLog"]
    assert (done.status_code, {**found, "executionLog": []}) == (
        200,
        {"success": False, "stepsExecuted": 2, "stepsSkipped": 1, "stepsFailed": 1, "executionLog": []},
    )
    names = ["step", "id", "method", "url"]
    assert list(log[0]) == [*names, "request", "response", "substitutions", "duration", "status"]
    assert list(log[1]) == [*names, "status", "skip_reason"]
    assert list(log[3]) == [*names, "request", "substitutions", "error", "status"]
    assert (unasked.status_code, unasked.json()["error"]) == (
        400,
        "Nobody can be asked here: give options.userInput with x",
    )
    assert invalid.json()["error"] == "Config validation failed. Please fix the errors above and try again."
    assert invalid.json()["errors"]


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ("text", "root"),
        ([1], "nodes"),
        ({"a": 1}, "nodes"),
        ({"nodes": []}, "nodes"),
        ({"nodes": [None]}, "nodes[0]"),
        (7, "root"),
    ],
)
async def test_what_is_wrong_is_a_list_of_errors(config: Any, field: str, tmp_path: Path) -> None:
    """FlowSphere answers 500 to some of these, and its page shows an alert instead of the list."""
    async with serve_flowsphere(tmp_path, shop) as server:
        answer = await server.post("/api/validate", {"config": config})

    assert answer.status_code == 200
    assert answer.json()["valid"] is False
    assert answer.json()["errors"][0]["field"] == field
    assert list(answer.json()["errors"][0])[:3] == ["field", "message", "type"]


async def test_a_valid_config_is_answered_byte_for_byte(tmp_path: Path) -> None:
    """Warnings are one key more, and only where there are any."""
    async with serve_flowsphere(tmp_path, shop) as server:
        plain = await server.post("/api/validate", {"config": {"nodes": [server.node("a")]}})
        warned = await server.post("/api/validate", {"config": {"nodes": [server.node("a", body={"a": 1})]}})
        missing = await server.post("/api/validate", {})

    assert plain.content == b'{"valid":true,"errors":[]}'
    assert warned.json()["warnings"][0]["message"] == "The body is not sent with GET"
    assert (missing.status_code, missing.content) == (
        400,
        b'{"success":false,"error":"Missing config in request body"}',
    )


def test_a_log_is_written_as_flowsphere_saves_it() -> None:
    """Indented by two, whole numbers without a point, and which step failed."""
    steps = [
        {"step": 1, "id": "a", "status": "completed", "duration": 1.0, "e": [], "t": "ü"},
        {"step": 2, "id": "b", "status": "failed"},
    ]
    text = write_log(steps, {"success": False, "stepsSkipped": 3}, at=datetime(2026, 11, 20, 17, 13, 5, 7000, UTC))

    assert text.startswith(
        '{\n  "metadata": {\n    "config_file": "studio-execution",\n    "execution_status": "failure",\n'
    )
    assert '"timestamp": "2026-11-20T17:13:05.007Z",\n    "skip_steps": 3,\n    "executed_steps": 2,\n' in text
    assert '"failed_step": {\n      "step": 2,\n      "id": "b"\n    }\n' in text
    assert '"duration": 1,\n      "e": [],\n      "t": "ü"' in text
    unknown = json.loads(write_log([], {}, at=datetime(2026, 1, 1, tzinfo=UTC)))["metadata"]
    assert (unknown["execution_status"], unknown["skip_steps"]) == ("unknown", 0)


async def test_saving_a_log_writes_nothing(tmp_path: Path) -> None:
    """The page offers what comes back as a file."""
    async with serve_flowsphere(tmp_path, shop) as server:
        saved = (
            await server.post("/api/save-log", {"executionLog": [{"a": 1}], "executionResult": {"success": True}})
        ).json()
        refused = [
            await server.post("/api/save-log", body) for body in ({}, {"executionLog": {}}, {"executionLog": None})
        ]

    assert list(saved) == ["success", "path", "filename", "logContent"]
    assert re.fullmatch(r"execution_log_\d{8}_\d{6}\.json", saved["filename"])
    assert {answer.status_code for answer in refused} == {400}
    assert refused[0].json()["error"] == "Missing or invalid executionLog in request body"


async def test_templates_are_there_and_looked_up_by_key(tmp_path: Path) -> None:
    """Under the ids the page knows; no path of the host is ever made of a request."""
    async with serve_flowsphere(tmp_path, shop) as server:
        listed = (await server.client.get("/api/templates/nodes")).json()
        one = (await server.client.get("/api/templates/nodes/auth/api-key")).json()
        odd = [
            await server.client.get(f"/api/templates/nodes/{path}")
            for path in ("auth/nope", "nope/api-key", "..%2f..%2fpackage/x", "auth/..%2fauth%2fapi-key", "auth/%00")
        ]

    assert {category: [each["id"] for each in found] for category, found in listed.items()} == {
        "auth": ["api-key", "bearer-token", "oauth-flow"],
        "conditional": ["premium-user", "skip-on-error"],
        "user-input": ["custom-input", "username-password", "verification-code"],
        "validation": ["multi-field", "paginated-response", "status-token-extract"],
    }
    assert list(listed["auth"][0]) == ["id", "templateName", "description", "category", "requiredVariables", "nodes"]
    assert one == {key: value for key, value in listed["auth"][0].items() if key != "id"}
    assert {answer.status_code for answer in odd} == {404}
    assert odd[0].content == b'{"success":false,"error":"Template not found"}'


def test_every_template_makes_a_valid_flow() -> None:
    """With its variables and a base it could run as it is."""
    for found in TEMPLATES.values():
        for template in found.values():
            variables = dict.fromkeys(template["requiredVariables"], "x")
            config = {"variables": variables, "defaults": {"baseUrl": "http://x.example"}, "nodes": template["nodes"]}
            assert validate(config) == []
            used = set(re.findall(r"\{\{ \.vars\.(\w+) \}\}", json.dumps(template["nodes"])))
            assert used == set(variables)


async def test_a_secret_of_the_workspace_is_used_by_a_step_and_not_shown(tmp_path: Path) -> None:
    """Steps by themselves read the same secrets as flows."""
    async with serve_flowsphere(tmp_path, shop) as server:
        await server.engine.vault.put(WorkspaceId("default"), "KEY", "s3cr3t-value", by="ada", at=now_utc())
        node = server.node("a", "/echo", method="POST", body={"k": "{{ .secrets.KEY }}"})
        config = {"secrets": ["KEY"], "nodes": [node]}
        found = await server.post("/api/execute-step", {"config": config, "stepIndex": 0})

    assert server.api.requests[0].body == b'{"k":"s3cr3t-value"}'
    assert b"s3cr3t-value" not in found.content
    assert found.json()["request"]["body"] == {"k": "***"}


async def test_a_step_alone_sees_a_row_of_data_and_the_cookies_it_is_given(tmp_path: Path) -> None:
    """The first row unless another is named; cookies go to where they belong, from whoever kept them."""

    async def serve(request: Received, stream: trio.abc.Stream) -> None:
        headers = ("Set-Cookie: sid=1",) if request.target == "/login" else ()
        body = json.dumps({"target": request.target, "cookie": request.headers.get("cookie")}).encode()
        await stream.send_all(answer(body, headers=headers))

    async with serve_flowsphere(tmp_path, serve) as server:
        nodes = [server.node("login", "/login"), server.node("look", "/{{ .vars.name }}")]
        config = {"data": {"csv": "name\nada\nbob"}, "variables": {"name": "nobody"}, "cookies": True, "nodes": nodes}

        async def step(**body: Any) -> Any:
            return (await server.post("/api/execute-step", {"config": config, "stepIndex": 1, **body})).json()

        login = await step(stepIndex=0)
        kept = {"id": "login", "status": 200, "body": {}, "cookies": login["cookies"]}
        astray = {**kept, "cookies": [["http://elsewhere.example/", "sid=2", 0], "odd", [1], None, 7]}
        found = [await step(responses=[kept]), await step(row=1), await step(responses=[astray]), await step(row=2)]
        node = await server.post("/api/execute-node", {"config": config, "node": nodes[1], "row": 1})

    assert [each.get("response", {}).get("body") for each in found] == [
        {"target": "/ada", "cookie": "sid=1"},
        {"target": "/bob", "cookie": None},
        {"target": "/ada", "cookie": None},
        None,
    ]
    assert found[3]["error"] == "Row 2 out of range (0-1)"
    assert node.json()["response"]["body"]["target"] == "/bob"
