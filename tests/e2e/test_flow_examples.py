"""The examples of flows, run as they stand against an API that is what they expect. No internet, one engine each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
import trio

from execd.cli.workflow_files import read_request
from execd.core.events import Event, InputRequired, NodeSkipped, ResultStored, Status
from execd.core.flows.parsing import flow_warnings
from execd.embed import EmbeddedEngine, open_engine
from execd.settings import SandboxSettings, Settings
from tests.support.wild_server import Received, WildServer, answer, open_server

pytestmark = pytest.mark.slow

EXAMPLES = {path.stem: path for path in (Path(__file__).parents[2] / "examples" / "flows").iterdir()}
LIMIT_S = 60
THINGS = [{"id": number} for number in range(1, 6)]
JSON = "Content-Type: application/json"


class Api:
    """What the examples talk to; `starting` requests are refused first."""

    def __init__(self) -> None:
        self.starting = 0
        self.things = THINGS

    async def serve(self, request: Received, stream: trio.abc.Stream) -> None:
        url = urlsplit(request.target)
        path = f"{request.method} {url.path}"
        status, body, *more = self._answers(request, parse_qs(url.query)).get(path, ("404 Not Found", {}))
        if self.starting:
            self.starting -= 1
            status, body = "503 Service Unavailable", {}
        data = b"" if status.startswith("204") else msgspec.json.encode(body)
        await stream.send_all(answer(data, status=status, headers=(JSON, *more)))

    def _answers(self, request: Received, query: dict[str, list[str]]) -> dict[str, tuple[Any, ...]]:
        sent = request.body if request.headers.get("content-type") == "application/json" else b"{}"
        echo = msgspec.json.decode(sent or b"{}")
        is_known = "200 OK" if request.headers.get("authorization") == "Bearer tok-1" else "401 Unauthorized"
        return {
            "POST /login": ("200 OK", {"token": "tok-1", "user": {"id": 7, "role": "clerk"}}),
            "GET /users/7": (is_known, {"id": 7, "name": "Ada"}),
            "POST /logout": ("200 OK", {}),
            "POST /oauth/token": ("200 OK", {"access_token": "tok-1", "expires_in": 3600}),
            "GET /me": (is_known, {"id": 7, "name": "Ada"}, "X-Writable: yes"),
            "PATCH /me": (is_known, echo),
            "POST /people": ("201 Created", {**echo, "id": 3}),
            "DELETE /people/3": ("204 No Content", {}),
            "GET /health": ("200 OK", {"status": "ok"}),
            "GET /version": ("200 OK", {"version": "2.1.4"}, "Cache-Control: no-store"),
            "GET /account": ("401 Unauthorized", {}),
            "GET /things": ("200 OK", self._page(query)),
            "POST /totals": ("200 OK", echo),
        }

    def _page(self, query: dict[str, list[str]]) -> dict[str, Any]:
        begin, size = int(query.get("after", ["0"])[0]), int(query.get("size", ["2"])[0])
        rest = len(self.things) - begin - size
        return {
            "items": self.things[begin : begin + size],
            "total": len(self.things),
            **({"next": begin + size} if rest > 0 else {}),
        }


@asynccontextmanager
async def world(data_dir: Path) -> AsyncIterator[tuple[EmbeddedEngine, WildServer, Api]]:
    """Open an engine beside the API."""
    settings = Settings(data_dir=data_dir, sandbox=SandboxSettings(sandbox="none", warm_slots=0), log_level="error")
    api = Api()
    async with open_server(api.serve) as server, open_engine(settings) as engine:
        yield engine, server, api


async def run_example(
    engine: EmbeddedEngine, server: WildServer, name: str, answers: dict[str, str] | None = None
) -> tuple[list[Event], ResultStored]:
    """Run one, moved to where the API is."""
    text = EXAMPLES[name].read_text().replace("http://127.0.0.1:8099", server.url("").rstrip("/"))
    run = await engine.submit_request(read_request(text, file=EXAMPLES[name].name))
    events = []
    with trio.fail_after(LIMIT_S):
        async for event in run.events():
            events.append(event)
            if isinstance(event.data, InputRequired):
                await run.answer(event.data.prompt_id, answers or {})
    end = events[-1].data
    assert isinstance(end, ResultStored)
    assert end.status is Status.COMPLETED, end.error
    return events, end


def skipped(events: list[Event]) -> list[str]:
    return [str(event.node) for event in events if isinstance(event.data, NodeSkipped)]


def test_every_example_is_tested_and_gives_no_warning() -> None:
    """People copy what is nearest to what they want."""
    assert set(EXAMPLES) == {"login-and-look", "pages", "rows", "smoke-test", "token"}
    for path in EXAMPLES.values():
        assert flow_warnings(read_request(path.read_text(), file=path.name)) == ()


async def test_login_and_look_logs_out_in_the_end(tmp_path: Path) -> None:
    """What is only for admins is skipped, and the session is closed."""
    async with world(tmp_path) as (engine, server, _):
        events, _ = await run_example(engine, server, "login-and-look")

    assert skipped(events) == ["admin"]
    assert [request.target for request in server.requests] == ["/login", "/users/7", "/logout"]


async def test_rows_runs_once_for_each_person(tmp_path: Path) -> None:
    """What a CSV has is text, and what was made is removed."""
    async with world(tmp_path) as (engine, server, _):
        _, end = await run_example(engine, server, "rows")

    assert [request.body for request in server.requests if request.body] == [
        b'{"name":"Ada","age":"36"}',
        b'{"name":"Grace","age":"85"}',
    ]
    assert end.outputs["rows.verdict"] == {"rows": 2, "failed": 0}


async def test_the_smoke_test_waits_until_the_service_is_up(tmp_path: Path) -> None:
    """Two refusals are retried, a login page is expected to refuse, and a chat that is down fails nothing."""
    async with world(tmp_path) as (engine, server, api):
        api.starting = 2
        events, end = await run_example(engine, server, "smoke-test")

    assert [request.target for request in server.requests] == [
        *["/health"] * 3,
        "/version?expect=2.1",
        "/account",
        "/hooks/releases",
    ]
    assert end.outputs["version"]["response"]["body"] == {"version": "2.1.4"}
    assert [node.status for node in end.nodes] == ["completed", "completed", "completed", "failed"]
    assert skipped(events) == []


@pytest.mark.parametrize(("count", "passed"), [(5, []), (4, ["third"]), (3, ["third"])])
async def test_pages_are_read_until_there_is_no_more(tmp_path: Path, count: int, passed: list[str]) -> None:
    """Each goes on where the one before ended; what would be empty is skipped."""
    async with world(tmp_path) as (engine, server, api):
        api.things = [{"id": number} for number in range(count)]
        events, end = await run_example(engine, server, "pages")

    assert skipped(events) == passed
    assert server.requests[1].target == "/things?size=2&after=2"
    assert end.outputs["total"]["response"]["body"] == {"first": 2, "of": count}


async def test_a_token_is_used_and_not_shown(tmp_path: Path) -> None:
    """The password and the token reach the server and, by their names, nobody who reads the steps."""
    async with world(tmp_path) as (engine, server, _):
        _, end = await run_example(engine, server, "token", {"user": "ada", "password": "hunter2"})

    assert server.requests[0].body == b"grant_type=password&username=ada&password=hunter2"
    assert server.requests[-1].body == b'{"name":"Ada the Second"}'
    steps = {name: end.outputs[name]["request"] for name in ("login", "me", "rename")}
    assert steps["login"]["body"]["password"] == "***"
    assert "hunter2" not in str(steps)
    assert "tok-1" not in str(steps)
