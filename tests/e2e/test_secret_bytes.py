"""Secrets from end to end: a real server, sandbox and API; then every byte that is left anywhere is searched for them."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import msgspec
import pytest
import trio

from execd.client import Client, open_client
from execd.client_errors import RemoteError
from execd.core.events import Event, ExecutionId, InputRequired, ResultStored, Status
from tests.support.server_process import ServerProcess
from tests.support.wild_server import Received, WildServer, answer, open_server

pytestmark = pytest.mark.slow

KEY = "sk-live/4f8a+very\"secret'key="
TYPED = "typed-In-secret?&7"
FIXED = "from-the-environment-9"
REGION = "eu-middle-1"

PROGRAM = f"""
import base64, json, os, sys, time, urllib.parse
key, typed = os.environ["TOKEN"], json.load(sys.stdin)["typed"]
assert (key, typed) == tuple(map(bytes.decode, map(base64.b85decode, {[base64.b85encode(t.encode()) for t in (KEY, TYPED)]})))
for secret in (key, typed):
    for form in (secret, json.dumps(secret), urllib.parse.quote(secret, safe=""), urllib.parse.quote_plus(secret)):
        print("form", form)
    for before in ("", "u", "u:"):
        print("form", base64.b64encode((before + secret + before).encode()).decode())
    for char in secret:
        sys.stdout.write(char)
        sys.stdout.flush()
        time.sleep(0.001)
    print()
    print("error", secret, file=sys.stderr)
print(json.dumps({{"nested": [{{key: typed}}]}}))
"""


def workflow(url: str) -> dict[str, Any]:
    return {
        "kind": "workflow",
        "name": "secretive",
        "nodes": [
            {"id": "ask", "type": "input", "prompts": [{"key": "pass", "label": "Pass", "secret": True}]},
            {
                "id": "call",
                "type": "http",
                "needs": ["ask"],
                "method": "POST",
                "url": f"{url}{{{{ env.REGION }}}}?q={{{{ secrets.KEY | urlencode }}}}",
                "auth": {"basic": {"username": "ada", "password": "{{ nodes.ask.output.pass }}"}},
                "json": {"key": "{{ secrets.KEY }}", "fixed": "{{ secrets.FIXED }}"},
            },
            {
                "id": "refused",
                "type": "http",
                "needs": ["ask"],
                "url": f"{url}refuse",
                "headers": {"X-Trace": "{{ secrets.KEY }}"},
                "on_error": "continue",
            },
            {"id": "pause", "type": "input", "needs": ["call", "refused"], "prompts": [{"key": "go", "label": "Go on?"}]},
            {
                "id": "work",
                "type": "script",
                "language": "python",
                "needs": ["pause"],
                "secrets": {"TOKEN": "KEY"},
                "input": {"typed": "{{ nodes.ask.output.pass }}"},
                "source": PROGRAM,
            },
            {"id": "set", "type": "set", "needs": ["work"], "values": ["{{ secrets.KEY }}", "{{ secrets.FIXED }}"]},
            {"id": "boom", "type": "set", "needs": ["set"], "values": "{{ 1 // (0 * (secrets.KEY | length)) }}"},
        ],
    }  # fmt: skip


@asynccontextmanager
async def echoing() -> AsyncIterator[WildServer]:
    """An API that quotes everything it is sent, in its answers and in its refusals."""

    async def echo(request: Received, stream: trio.abc.Stream) -> None:
        quoted = {"target": request.target, "headers": request.headers, "body": request.body.decode()}
        status = "403 Forbidden" if request.target.startswith("/refuse") else "200 OK"
        body = msgspec.json.encode(quoted | {"again": [KEY, {TYPED: FIXED}]})
        headers = ("Content-Type: application/json", f"X-Echo: {quote(KEY, safe='')}")
        await stream.send_all(answer(body, status=status, headers=headers))

    async with open_server(echo) as server:
        yield server


def start(data_dir: Path, *, port: int = 0) -> ServerProcess:
    settings = {"EXECD_LOG_LEVEL": "debug", "EXECD_LOG_FORMAT": "json", "EXECD_EXPRESSIONS__ENV": "REGION"}
    settings |= {"EXECD_SECRETS__FIXED": FIXED, "REGION": REGION, "EXECD_STREAM__PER_WORKSPACE": "50"}
    return ServerProcess(data_dir, port=port, sandbox="bubblewrap", **settings)


def forms_of(secret: str) -> set[bytes]:
    """In every way that is promised to be found; base64 of something longer is searched for by its middle."""
    texts = {secret, json.dumps(secret)[1:-1], quote(secret, safe=""), base64.b64encode(secret.encode()).decode()}
    texts |= {base64.b64encode((" " * pad + secret).encode()).decode()[4:-4] for pad in (1, 2)}
    return {text.encode() for text in texts}


def check_silent(where: str, data: bytes, *, but: Iterable[str] = ()) -> None:
    for secret in {KEY, TYPED, FIXED} - set(but):
        for form in forms_of(secret):
            assert form not in data, f"{where} has {form!r}"


def check_files(directory: Path) -> None:
    """Every byte of every file, the database and its log among them."""
    files = [path for path in directory.rglob("*") if path.is_file()]
    assert any(path.name == "execd.db" for path in files)
    for path in files:
        check_silent(path.name, path.read_bytes())


async def read_stream(server: ServerProcess, execution_id: ExecutionId) -> bytes:
    """Give the bytes of the stream as a browser gets them."""
    headers = {"Authorization": f"Bearer {server.token}"}
    async with httpx2.AsyncClient(base_url=server.url, headers=headers, trust_env=False, timeout=30) as http:
        paths = ("stream", "events?limit=1000", "result", "nodes/work", "output?stream=stdout", "")
        answers = [await http.get(f"/api/v1/executions/{execution_id}/{path}".rstrip("/")) for path in paths]
        answers += [await http.get(f"/api/v1/{path}") for path in ("secrets", "secrets/KEY", "executions")]
    assert {answer.status_code for answer in answers[:3]} == {200}
    return b"\n".join(answer.content for answer in answers)


async def asked(client: Client, execution_id: ExecutionId, node: str) -> str:
    """Wait until a node asks, and give the id of its question."""
    async with client.events(execution_id) as events:
        async for event in events:
            if event.node == node and isinstance(event.data, InputRequired):
                return event.data.prompt_id
    raise AssertionError(f"{node} never asked")


async def follow(client: Client, execution_id: ExecutionId) -> list[Event]:
    async with client.events(execution_id) as events:
        return [event async for event in events]


@pytest.mark.behaviour(28)
async def test_no_byte_that_is_left_has_a_secret(tmp_path: Path) -> None:
    """Set, typed, sent, printed and quoted back in every form, over a `kill -9`: it was used, and it is nowhere."""
    data_dir = tmp_path / "data"
    first = start(data_dir)
    async with echoing() as api, open_client(first.url, first.token) as client:
        await client.secrets.set("KEY", KEY)
        with pytest.raises(RemoteError):
            await client.secrets.set("FIXED", "another")
        submitted = await client.submit(workflow(api.url()), idempotency_key=secrets.token_hex())
        prompt = await asked(client, submitted.id, "ask")
        await client.answer(submitted.id, prompt_id=prompt, values={"pass": TYPED})
        await asked(client, submitted.id, "pause")
        first.kill()
    check_files(data_dir)
    check_silent("the log", b"".join(first.log))

    second = start(data_dir, port=first.port)
    try:
        async with open_client(second.url, second.token) as client:
            prompt = await asked(client, submitted.id, "pause")
            await client.answer(submitted.id, prompt_id=prompt, values={"go": "yes"})
            with trio.fail_after(60):
                events = await follow(client, submitted.id)
            told = await read_stream(second, submitted.id)
            names = [view.name for view in (await client.secrets.list()).items]
    finally:
        second.stop()

    result = events[-1].data
    assert isinstance(result, ResultStored)
    statuses = {node.id: node.status for node in result.nodes}
    assert statuses["work"] == statuses["call"] == "completed", result.error
    assert (result.status, statuses["boom"], statuses["refused"]) == (Status.FAILED, "failed", "failed")
    assert result.outputs["work"]["result"] == {"nested": [{"***": "***"}]}
    assert result.outputs["work"]["stdout"].count("form ") == 14
    assert result.outputs["set"] == ["***", "***"]
    assert names == ["FIXED", "KEY"]
    received = next(request for request in api.requests if request.method == "POST")
    assert received.target == f"/{REGION}?q={quote(KEY, safe='')}"
    assert json.loads(received.body) == {"key": KEY, "fixed": FIXED}
    assert base64.b64decode(received.headers["authorization"].removeprefix("Basic ")).decode() == f"ada:{TYPED}"
    check_silent("what was told", told)
    check_silent("the log", b"".join(second.log))
    check_files(data_dir)


def asking_flow(url: str) -> dict[str, Any]:
    """One answer is secret by its key, one because the step says so, and one may be seen."""
    return {
        "maskSecrets": True,
        "data": [{"row": 1}, {"row": 2}],
        "nodes": [
            {
                "id": "login",
                "method": "POST",
                "url": url,
                "userPrompts": {"password": "Password:", "pin": "PIN:", "city": "City:"},
                "secretPrompts": ["pin"],
                "body": {"p": "{{ .input.password }}", "q": "{{ .input.pin }}", "c": "{{ .input.city }}"},
                "headers": {"X-Pin": "Bearer {{ .input.pin }}"},
            },
            {"id": "skip", "method": "GET", "url": url, "conditions": [{"input": "password", "equals": "no"}]},
            {
                "id": "wrong",
                "method": "GET",
                "url": f"{url}?p={{{{ .input.password }}}}",
                "validations": [{"jsonpath": ".again[1]", "equals": "{{ .input.pin }}"}, {"httpStatusCode": 204}],
            },
        ],
    }


async def answer_all(http: httpx2.AsyncClient, url: str) -> tuple[str, bytes]:
    """Run the flow as FlowSphere's clients do; give its id and every byte that was told."""
    told = b""
    given = {"password": TYPED, "pin": KEY, "city": "Oslo"}
    async with http.stream("POST", "/api/execute-stream", json={"config": asking_flow(url)}) as response:
        execution_id = response.headers["X-Execution-Id"]
        answered = 0
        async for chunk in response.aiter_raw():
            told += chunk
            asked_for = told.count(b"event: input_required")
            if asked_for > answered and told.endswith(b"\n\n"):
                place = {"executionId": execution_id, "stepIndex": answered * 3}
                assert (await http.post("/api/provide-input", json={**place, "userInput": given})).status_code == 200
                answered += 1
    return execution_id, told


@pytest.mark.behaviour(28)
async def test_no_byte_that_is_left_has_an_answer_that_a_flow_calls_secret(tmp_path: Path) -> None:
    """Typed into FlowSphere's page, sent, quoted back, compared and failed with: it was used, and it is nowhere."""
    data_dir = tmp_path / "data"
    server = start(data_dir)
    try:
        headers = {"Authorization": f"Bearer {server.token}"}
        async with (
            echoing() as api,
            httpx2.AsyncClient(base_url=server.url, headers=headers, trust_env=False, timeout=30) as http,
        ):
            with trio.fail_after(60):
                execution_id, told = await answer_all(http, api.url())
            paths = ("stream", "events?limit=1000", "result", "")
            answers = [await http.get(f"/api/v1/executions/{execution_id}/{path}".rstrip("/")) for path in paths]
            again = await http.get(f"/api/execute-stream/{execution_id}")
            alone = {"config": {**asking_flow(api.url()), "data": None}, "stepIndex": 0}
            asked_alone = await http.post("/api/execute-step", json=alone)
            shown_alone = await http.post(
                "/api/execute-step", json={**alone, "userInput": {"password": TYPED, "pin": KEY, "city": "Oslo"}}
            )
    finally:
        server.stop()

    posted = [request for request in api.requests if request.method == "POST"]
    assert [json.loads(request.body) for request in posted] == [{"p": TYPED, "q": KEY, "c": "Oslo"}] * 3
    assert told.count(b'"secretPrompts":["password","pin"]') == 2
    assert b"Oslo" in told
    assert asked_alone.json()["secretPrompts"] == ["password", "pin"]
    shown = shown_alone.json()
    assert shown["request"]["body"] == {"p": "***", "q": "***", "c": "Oslo"}
    check_silent("a step alone", json.dumps([shown["request"], shown["substitutions"]]).encode(), but={FIXED})
    for where, data in {"frames": told, "frames again": again.content, "the log": b"".join(server.log)}.items():
        check_silent(where, data, but={FIXED})
    for path, found in zip(paths, answers, strict=True):
        assert found.status_code == 200
        check_silent(path, found.content, but={FIXED})
    for path in (path for path in data_dir.rglob("*") if path.is_file()):
        check_silent(path.name, path.read_bytes(), but={FIXED})
