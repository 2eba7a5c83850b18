"""Flows end to end: a real engine, the real caller, and a real server on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from execd.core.errors import InvalidRequestError
from execd.core.events import Event, InputRequired, NodeSkipped, ResultStored, Status
from execd.core.yaml_text import parse_yaml
from execd.embed import EmbeddedEngine, Run, open_engine
from execd.settings import OutboundSettings, SandboxSettings, Settings
from tests.support.wild_server import (
    Handler,
    Received,
    WildServer,
    answer,
    by_path,
    open_raw_server,
    open_server,
    then_close,
    then_silence,
)

pytestmark = pytest.mark.slow
JSON = ("Content-Type: application/json",)


@asynccontextmanager
async def world(data_dir: Path, handler: Handler) -> AsyncIterator[tuple[EmbeddedEngine, WildServer]]:
    """Open an engine beside a server."""
    sandbox = SandboxSettings(sandbox="none", warm_slots=0)
    settings = Settings(data_dir=data_dir, sandbox=sandbox, outbound=OutboundSettings(), log_level="error")
    async with open_server(handler) as server, open_engine(settings) as engine:
        yield engine, server


async def events_of(run: Run) -> list[Event]:
    with trio.fail_after(20):
        return [event async for event in run.events()]


async def run_flow(engine: EmbeddedEngine, config: dict[str, Any]) -> tuple[list[Event], ResultStored]:
    events = await events_of(await engine.submit_request({"kind": "flow", **config}))
    end = events[-1].data
    assert isinstance(end, ResultStored)
    return events, end


async def shop(request: Received, stream: trio.abc.Stream) -> None:
    """An API: log in, look, clean up."""
    path = request.target.partition("?")[0]
    if path == "/login":
        body: Any = {"token": "t-1", "user": {"id": 7}, "sent": request.body.decode()}
        headers = (*JSON, "Set-Cookie: sid=abc; Path=/", "X-Rate: 9")
        await stream.send_all(answer(msgspec.json.encode(body), headers=headers))
    elif path == "/old":
        await stream.send_all(answer(b"", status="302 Found", headers=("Location: /new", "Set-Cookie: hop=1; Path=/")))
    elif path == "/broken":
        await stream.send_all(answer(b'{"ok":false}', status="500 Internal Server Error", headers=JSON))
    else:
        body = {"target": request.target, "headers": dict(request.headers), "body": request.body.decode()}
        await stream.send_all(answer(msgspec.json.encode(body), headers=("Content-Type: text/plain",)))


def step(name: str, url: str, **fields: Any) -> dict[str, Any]:
    return {"id": name, "method": "GET", "url": url, **fields}


async def test_a_flow_logs_in_looks_and_cleans_up(tmp_path: Path) -> None:
    """References, defaults, cookies, conditions, checks and `finally`, in one journal without gaps."""
    async with world(tmp_path, shop) as (engine, server):
        config = {
            "cookies": True,
            "variables": {"n": 3},
            "defaults": {
                "baseUrl": server.url("").rstrip("/"),
                "headers": {"X-Env": "{{ .vars.n }}"},
                "validations": [{"httpStatusCode": 200}],
            },
            "nodes": [
                {"id": "login", "method": "POST", "url": "/login", "body": {"n": "{{ .vars.n }}"}},
                step("hop", "/old", validations=[{"jsonpath": ".target", "equals": "/new"}]),
                step("skip", "/x", conditions=[{"node": "login", "field": ".user.id", "equals": 8}]),
                step("me", "/me/{{ .responses.login.user.id }}?rate={{ .responses.login.$headers.x-rate }}"),
                step("broken", "/broken"),
                step("never", "/never"),
            ],
            "finally": [step("out", "/logout/{{ .responses.login.token }}")],
        }
        events, end = await run_flow(engine, config)

    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert [(request.method, request.target) for request in server.requests] == [
        ("POST", "/login"),
        ("GET", "/old"),
        ("GET", "/new"),
        ("GET", "/me/7?rate=9"),
        ("GET", "/broken"),
        ("GET", "/logout/t-1"),
    ]
    assert server.requests[0].body == b'{"n":"3"}'
    assert "hop=1" in server.requests[2].headers["cookie"]
    assert server.requests[3].headers["cookie"] in {"sid=abc; hop=1", "hop=1; sid=abc"}
    assert (server.requests[3].headers["x-env"], server.requests[3].headers["accept"]) == (
        "3",
        "application/json, text/plain, */*",
    )
    assert end.status is Status.FAILED
    assert end.error is not None
    assert end.error.message == "HTTP status validation failed: expected 200, got 500"
    assert [event.data.reason for event in events if isinstance(event.data, NodeSkipped)] == [
        "node 'login' field .user.id: expected '8', got '7'",
        "not_run",
    ]
    assert end.outputs["me"]["response"]["body"]["target"] == "/me/7?rate=9"
    assert server.connections == 1


async def test_a_prompt_is_answered_and_flows_on(tmp_path: Path) -> None:
    """Through the same door as any question."""
    async with world(tmp_path, shop) as (engine, server):
        node = step("a", server.url("/hello/{{ .input.name }}"), userPrompts={"name": "Your name?"})
        run = await engine.submit_request({"kind": "flow", "nodes": [node]})
        with trio.fail_after(20):
            async for event in run.events():
                if isinstance(event.data, InputRequired):
                    await run.answer(event.data.prompt_id, {"name": "Ada L"})
        end = await run.result()

    assert end.status == "completed"
    assert server.requests[0].target == "/hello/Ada%20L"


async def test_rows_of_data_are_run_through(tmp_path: Path) -> None:
    """Each with its own values and its own journal entries."""
    async with world(tmp_path, shop) as (engine, server):
        config = {"data": {"csv": "name\nAda\nGrace"}, "nodes": [step("a", server.url("/{{ .vars.name }}"))]}
        _, end = await run_flow(engine, config)

    assert [request.target for request in server.requests] == ["/Ada", "/Grace"]
    assert end.outputs["rows.verdict"] == {"rows": 2, "failed": 0}


async def test_an_interrupt_lets_the_step_in_flight_finish(tmp_path: Path) -> None:
    """The rest is not run, and nothing more is sent."""
    is_asked, may_answer = trio.Event(), trio.Event()

    async def slow(request: Received, stream: trio.abc.Stream) -> None:
        is_asked.set()
        await may_answer.wait()
        await stream.send_all(answer(b"{}"))

    async with world(tmp_path, slow) as (engine, server):
        run = await engine.submit_request(
            {"kind": "flow", "nodes": [step("a", server.url("/a")), step("b", server.url("/b"))]}
        )
        with trio.fail_after(20):
            await is_asked.wait()
            await run.interrupt()
            may_answer.set()
            end = await run.result()

    assert (end.status, [node.status for node in end.nodes]) == ("interrupted", ["completed", "not_run"])
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("handler", "message"),
    [
        (then_close(b""), "socket hang up"),
        (then_close(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"), "stream has been aborted"),
        (then_silence(b""), "Request timeout after 0.2s"),
        (then_silence(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"), "stream has been aborted"),
        (
            by_path({"/": answer(b"", status="302 Found", headers=("Location: /",))}),
            "Maximum number of redirects exceeded",
        ),
    ],
)
async def test_servers_that_fail_are_told_in_known_words(handler: Handler, message: str, tmp_path: Path) -> None:
    """From the socket to the message."""
    async with world(tmp_path, handler) as (engine, server):
        _, end = await run_flow(engine, {"nodes": [step("a", server.url(), timeout=0.2)]})

    assert end.error is not None
    assert end.error.message == message


async def test_nobody_at_the_other_end_is_told_in_known_words(tmp_path: Path) -> None:
    """The two messages with a prefix."""

    async def never(stream: trio.SocketStream) -> None:
        raise AssertionError("nobody connects")

    async with open_raw_server(never) as port:
        pass
    async with world(tmp_path, shop) as (engine, _):
        messages = []
        for url in (f"http://127.0.0.1:{port}/", "http://no-such-host.invalid/"):
            _, end = await run_flow(engine, {"nodes": [step("a", url)]})
            assert end.error is not None
            messages.append(end.error.message)

    assert messages[0] == f"Network error: connect ECONNREFUSED 127.0.0.1:{port}"
    assert messages[1].endswith(" no-such-host.invalid")
    assert "getaddrinfo" in messages[1]


async def example_api(request: Received, stream: trio.abc.Stream) -> None:
    """What the examples speak to."""
    path, method = request.target, request.method
    body: Any = {}
    status = "200 OK"
    if path == "/login":
        body = {"token": "t-1", "user": {"id": 7, "role": "user"}}
    elif path == "/users/7":
        is_known = request.headers.get("authorization") == "Bearer t-1"
        body, status = ({"id": 7, "name": "Ada"}, status) if is_known else ({}, "401 Unauthorized")
    elif path == "/people" and method == "POST":
        body, status = {"id": 5, **msgspec.json.decode(request.body)}, "201 Created"
    elif method == "DELETE":
        await stream.send_all(b"HTTP/1.1 204 No Content\r\n\r\n")
        return
    await stream.send_all(answer(msgspec.json.encode(body), status=status, headers=JSON))


@pytest.mark.parametrize(
    ("name", "targets"),
    [
        ("login-and-look.yaml", ["/login", "/users/7", "/logout"]),
        ("rows.json", ["/people", "/people/5", "/people", "/people/5"]),
    ],
)
async def test_the_examples_run(name: str, targets: list[str], tmp_path: Path) -> None:
    """People copy what is nearest to what they want."""
    path = Path(__file__).parents[2] / "examples" / "flows" / name
    config = parse_yaml(path.read_bytes()) if path.suffix == ".yaml" else msgspec.json.decode(path.read_bytes())
    async with world(tmp_path, example_api) as (engine, server):
        config["defaults"]["baseUrl"] = server.url("").rstrip("/")
        run = await engine.submit_request(config)
        end = await run.result()

    assert (end.status, end.error) == ("completed", None)
    assert [request.target for request in server.requests] == targets


def read_files(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir() if path.is_file())


@pytest.mark.behaviour(28)
async def test_a_flow_sends_the_secrets_it_names_and_shows_none(tmp_path: Path) -> None:
    """The server gets the value and echoes it; nothing that is kept or told has it. One that is not there is refused at submit,
    with its place."""
    step = {
        "id": "a",
        "method": "POST",
        "headers": {"X-Key": "Key {{ .secrets.KEY }}"},
        "body": {"k": "{{ .secrets.KEY }}"},
        "validations": [{"httpStatusCode": 200}, {"jsonpath": ".body", "contains": "k"}],
    }
    async with world(tmp_path, shop) as (engine, server):
        config = {"secrets": ["KEY"], "nodes": [{**step, "url": server.url("/x")}]}
        with pytest.raises(InvalidRequestError) as refused:
            await engine.submit_request({"kind": "flow", **config})
        assert refused.value.faults[0].path == "secrets[0]"
        await engine.set_secret("KEY", "s3cr3t-value")
        events, end = await run_flow(engine, config)
        (sent,) = server.requests

    assert end.status is Status.COMPLETED
    assert (dict(sent.headers)["x-key"], b"s3cr3t-value" in sent.body) == ("Key s3cr3t-value", True)
    assert b"s3cr3t" not in msgspec.json.encode([msgspec.to_builtins(event) for event in events], enc_hook=repr)
    assert b"s3cr3t" not in read_files(tmp_path)
