"""Secrets over HTTP: set by admins, listed without values, and never readable again by anybody."""

from __future__ import annotations

import json

import pytest

from execd.core.events import WorkspaceId
from tests.http.asgi import Answer
from tests.http.doors import Door, make_door

URL = "/api/v1/secrets"
DEFAULT = WorkspaceId("default")
VALUE = "sk-live-do-not-show"


async def put(door: Door, name: str = "KEY", value: object = VALUE, **changes: str) -> Answer:
    return await door.ask(
        "PUT", f"{URL}/{name}", body=json.dumps({"value": value}).encode(), **{"role": "admin"} | changes
    )


async def test_a_secret_is_set_listed_and_deleted() -> None:
    """Names, when and by whom; the first time it is made, then changed."""
    door = await make_door()

    made, changed = await put(door), await put(door, value="sk-live-another-one")
    listed = await door.ask("GET", URL, role="viewer")
    shown = await door.ask("GET", f"{URL}/KEY", role="viewer")
    deleted = await door.ask("DELETE", f"{URL}/KEY", role="admin")
    gone = [await door.ask(method, f"{URL}/KEY", role="admin") for method in ("GET", "DELETE")]

    assert (made.status, changed.status, deleted.status) == (201, 200, 204)
    assert listed.json() == {"items": [shown.json()]}
    assert shown.json() == changed.json() | {"set_at": shown.json()["set_at"]}
    assert {**shown.json(), "set_at": ""} == {"name": "KEY", "workspace": "w", "set_by": "u", "set_at": ""}
    assert [answer.status for answer in gone] == [404, 404]
    assert not [answer for answer in (made, changed, listed, shown) if b"sk-live" in answer.body]


@pytest.mark.parametrize("role", ["viewer", "runner"])
async def test_only_admins_change_secrets(role: str) -> None:
    """Whoever may run could otherwise replace the key that others trust; everybody may see the names."""
    door = await make_door()
    await put(door)

    assert (await put(door, role=role)).status == 403
    assert (await door.ask("DELETE", f"{URL}/KEY", role=role)).status == 403
    assert (await door.ask("GET", URL, role=role)).status == 200
    assert (await door.ask("GET", URL, authorization="Bearer none")).status == 401


async def test_other_workspaces_have_their_own() -> None:
    """They neither see nor delete these."""
    door = await make_door()
    await put(door)

    assert (await door.ask("GET", URL, role="foreign")).json() == {"items": []}
    assert (await door.ask("GET", f"{URL}/KEY", role="foreign")).status == 404
    assert (await door.ask("DELETE", f"{URL}/KEY", role="foreign")).status == 404
    assert (await door.ask("GET", f"{URL}/KEY", role="viewer")).status == 200


@pytest.mark.parametrize("value", ["abc", "", 12345678, None, ["sk-live"], "with *** in it", "x\0yz", "x" * 40_000])
async def test_what_cannot_be_kept_is_refused_without_being_shown(value: object) -> None:
    """The answer says what is wrong and what would be accepted; it may end up in somebody's log."""
    door = await make_door()

    answer = await put(door, value=value)

    assert answer.status == 400
    assert [fault["path"] for fault in answer.json()["errors"]] == ["value"]
    assert not value or str(value).encode()[:8] not in answer.body
    assert (await door.ask("GET", URL, role="viewer")).json() == {"items": []}


@pytest.mark.parametrize("name", ["1KEY", "a-b", "a.b", "x" * 65, "%C3%A4", "a%00b", "a%20b"])
async def test_a_name_that_none_could_read_is_refused(name: str) -> None:
    """Expressions read it as `secrets.NAME`."""
    door = await make_door()

    answer = await put(door, name)

    assert answer.status == 400
    assert [fault["path"] for fault in answer.json()["errors"]] == ["name"]
    assert (await door.ask("DELETE", f"{URL}/{name}", role="admin")).status == 404
    assert (await door.ask("GET", f"{URL}/{name}", role="admin")).status == 404


async def test_a_body_that_is_none_is_refused_and_not_shown() -> None:
    """Whatever was sent may be the secret."""
    door = await make_door()

    answers = [
        await door.ask("PUT", f"{URL}/KEY", role="admin", body=body)
        for body in (b"", b"sk-live-plain", b'"sk-live-text"', b'{"valu":"sk-live-typo"}', b"\xff")
    ]

    assert [answer.status for answer in answers] == [400] * 5
    assert not [answer.body for answer in answers if b"sk-live" in answer.body]


async def test_a_secret_of_the_settings_is_listed_and_not_changed() -> None:
    """In the workspace of whoever owns the server, and in no other."""
    door = await make_door()

    assert (await door.ask("GET", URL, role="viewer")).json() == {"items": []}
    heads = await door.engine.vault.list(DEFAULT)

    assert [(head.name, head.set_by) for head in heads] == [("FIXED", "settings")]


async def test_validating_warns_of_what_may_be_unwise() -> None:
    """A credential in clear, and a secret that is not there yet; both may be saved."""
    door = await make_door()
    await put(door)
    nodes = [
        {"id": "a", "type": "http", "url": "https://x.example", "auth": {"bearer": VALUE}},
        {"id": "b", "type": "http", "url": "https://x.example", "auth": {"bearer": "{{ secrets.KEY }}"}},
        {"id": "c", "type": "http", "url": "https://x.example/{{ secrets.NOT_YET }}"},
    ]
    body = json.dumps({"kind": "workflow", "name": "w", "nodes": nodes}).encode()

    answer = await door.ask("POST", "/api/v1/definitions/validate", role="viewer", body=body)
    saved = await door.ask("POST", "/api/v1/definitions", body=body)

    assert answer.json()["valid"] is True
    assert [warning["path"] for warning in answer.json()["warnings"]] == ["nodes[0].auth.bearer", "nodes[2].url"]
    assert answer.json()["warnings"][1]["accepted"] == "KEY"
    assert VALUE.encode() not in answer.body
    assert saved.status == 201


async def test_an_environment_variable_is_read_only_if_it_is_allowed() -> None:
    """A fault names what would be accepted."""
    door = await make_door(env_names=frozenset({"REGION"}))
    body = {"kind": "workflow", "nodes": [{"id": "a", "type": "set", "values": "{{ env.HOME ~ env.REGION }}"}]}

    answer = await door.ask("POST", "/api/v1/executions", body=json.dumps(body).encode())

    assert answer.status == 400
    (fault,) = answer.json()["errors"]
    assert (fault["path"], fault["accepted"]) == ("nodes[0].values", "REGION")
