"""Every route there is, against everybody who may not: the table is held to the routes, so that no new door is forgotten."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import trio

from execd.http.access import Role
from execd.http.socket_session import CLOSE_CODES
from tests.http.doors import Door, make_door
from tests.http.real_doors import open_socket
from tests.support.flows import TRIGGER, drawn

OPEN = frozenset(
    {
        "page",
        "page_file",
        "docs",
        "openapi",
        "healthz",
        "readyz",
        "metrics",
        "open_session",
        "close_session",
        "flowsphere_page",
        "flowsphere_page_file",
    }
)
"""Whoever comes: descriptions, health, and the doors where a credential is brought and given up. What is in `/metrics` is for
this machine only, see test_access.py."""
SIGNED = frozenset({"job_progress", "job_callback"})
"""Engines elsewhere prove themselves by a signature and not by a credential."""
VIEWER = frozenset(
    [
        "list_executions",
        "show",
        "result",
        "events",
        "output",
        "node",
        "stream",
        "multi_stream",
        "socket",
        "multi_socket",
        "linkflow_stream",
        "list_runs",
        "show_run",
        "list_definitions",
        "show_definition",
        "list_versions",
        "export_definition",
        "validate_definition",
        "import_file",
        "export_file",
        "report",
        "list_flows",
        "show_flow",
        "list_node_types",
        "list_node_categories",
        "show_node_type",
        "list_secrets",
        "show_secret",
        "flowsphere_validate",
        "flowsphere_save_log",
        "flowsphere_templates",
        "flowsphere_template",
        "flowsphere_stream_again",
        "runtimes",
        "show_session",
        "make_ticket",
    ]
)
RUNNER = frozenset(
    [
        "submit",
        "command_cancel",
        "command_interrupt",
        "command_pause",
        "command_resume",
        "stdin",
        "input",
        "retry",
        "save_definition",
        "change_definition",
        "delete_definition",
        "run_flow",
        "flow_socket",
        "flow_socket_at_root",
        "run_and_wait",
        "cancel_run",
        "create_flow",
        "replace_flow",
        "change_flow",
        "delete_flow",
        "archive_flow",
        "duplicate_flow",
        "flowsphere_execute_step",
        "flowsphere_execute_node",
        "flowsphere_execute_stream",
        "flowsphere_execute",
        "flowsphere_provide_input",
        "flowsphere_stop",
    ]
)
ADMIN = frozenset({"set_secret", "delete_secret", "create_token", "list_tokens", "revoke_token"})
NAMED = frozenset({"definition_id", "execution_id", "flow_id"})
"""Parts of a path that name what belongs to a workspace, and that a stranger could guess. A secret's name is that of the
caller's own workspace; a token's id see test_access.py."""


class Place:
    """An application with something of each sort in the workspace `w`."""

    def __init__(self, door: Door, names: dict[str, str]) -> None:
        self.door = door
        self.names = names

    def doors(self, *, without: frozenset[str] = frozenset()) -> Iterator[tuple[str, str, str]]:
        """Give endpoint, method (`WS` for a WebSocket) and target of every route but these."""
        for rule in self.door.app.url_map.iter_rules():
            target = rule.rule.replace("path:", "")
            for name, value in self.names.items():
                target = target.replace(f"<{name}>", value)
            for method in {"WS"} if rule.websocket else (rule.methods or set()) - {"HEAD", "OPTIONS"}:
                if rule.endpoint not in without:
                    yield rule.endpoint, method, target

    async def ask(self, method: str, target: str, headers: dict[str, str]) -> int:
        """Give the status, of a WebSocket the code it was closed with."""
        if method == "WS":
            return await self._connect(target, headers)
        body = b"" if method == "GET" else b"{}"
        with trio.fail_after(5):
            return (await self.door.ask(method, target, body=body, **headers)).status

    async def _connect(self, target: str, headers: dict[str, str]) -> int:
        async with open_socket(self.door.app, target, headers=headers) as socket:
            await socket.say(action="start")
            with trio.fail_after(5):
                await socket.is_over.wait()
        assert socket.close is not None
        return socket.close[0]

    async def contents(self) -> object:
        """What a request could have changed."""
        engine = self.door.engine
        definitions = (await self.door.ask("GET", "/api/v1/definitions")).body
        secrets = (await self.door.ask("GET", "/api/v1/secrets")).body
        tokens = (await self.door.ask("GET", "/api/v1/tokens", role="admin")).body
        return (
            list(engine.submissions),
            list(engine.commands),
            list(engine.memory.records),
            definitions,
            secrets,
            tokens,
        )


async def make_place() -> Place:
    door = await make_door(jobs_secret="a-secret-of-engines")
    body: dict[str, Any] = {"kind": "script", "name": "s", "language": "python", "source": "print(1)"}
    saved = await door.ask("POST", "/api/v1/definitions", body=json.dumps(body).encode())
    flow = await door.ask("POST", "/api/v1/flows", body=json.dumps(drawn(TRIGGER)).encode())
    set_secret = await door.ask("PUT", "/api/v1/secrets/KEY", role="admin", body=b'{"value": "long enough"}')
    assert (saved.status, flow.status, set_secret.status) == (201, 200, 201)
    names = {
        "definition_id": saved.json()["id"],
        "flow_id": str(flow.json()["id"]),
        "execution_id": str(await door.begin()),
        "workspace": "w",
        "node": "main",
        "secret_name": "KEY",
        "node_type": "trigger-manual",
        "token_id": "token-0",
        "file_name": "x",
    }
    return Place(door, names)


async def test_the_table_has_every_route() -> None:
    """Whoever adds a door says here who may use it."""
    groups = (OPEN, SIGNED, VIEWER, RUNNER, ADMIN)
    place = await make_place()

    assert {endpoint for endpoint, _, _ in place.doors()} == frozenset().union(*groups)
    assert sum(map(len, groups)) == len(frozenset().union(*groups))


@pytest.mark.behaviour(21)
@pytest.mark.parametrize("authorization", ["", "Bearer execd_nobodys", "Basic eDp5"])
async def test_no_door_opens_without_a_credential(authorization: str) -> None:
    """401 or the close code of it, whatever is asked for, and nothing is changed."""
    place = await make_place()
    before = await place.contents()

    for endpoint, method, target in place.doors(without=OPEN):
        status = await place.ask(method, target, {"authorization": authorization})
        assert status == (CLOSE_CODES["unauthenticated"] if method == "WS" else 401), (endpoint, method, status)

    assert await place.contents() == before


@pytest.mark.parametrize(("role", "closed"), [(Role.VIEWER, RUNNER | ADMIN), (Role.RUNNER, ADMIN)])
async def test_no_door_opens_to_a_lesser_role(role: Role, closed: frozenset[str]) -> None:
    """403 where the role is not enough, nowhere else, and nothing is changed."""
    place = await make_place()
    before = await place.contents()
    headers = place.door.headers(role.word)

    for endpoint, method, target in place.doors():
        if endpoint in closed:
            status = await place.ask(method, target, headers)
            assert status == (CLOSE_CODES["forbidden"] if method == "WS" else 403), (endpoint, method, status)

    assert await place.contents() == before


@pytest.mark.behaviour(21)
async def test_no_door_shows_a_stranger_what_is_there() -> None:
    """To an admin of another workspace it is as if it were not there; LinkFlow's clients are told so by 403."""
    place = await make_place()
    before = await place.contents()
    headers = place.door.headers("foreign")

    for rule in place.door.app.url_map.iter_rules():
        if NAMED & rule.arguments:
            for endpoint, method, target in place.doors():
                if endpoint == rule.endpoint:
                    status = await place.ask(method, target, headers)
                    expected = 403 if endpoint == "linkflow_stream" else 404
                    assert status == (CLOSE_CODES["not_found"] if method == "WS" else expected), (endpoint, status)

    assert await place.contents() == before
