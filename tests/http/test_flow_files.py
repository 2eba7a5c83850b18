"""Other tools' files over HTTP: told, read, written; nothing in them is run, and nothing is stored."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx2
import pytest
import trio

from execd.http.access import Role, issue_token
from execd.http.app import make_app
from execd.http.server import serve_http
from tests.http.asgi import Answer
from tests.http.doors import CONFIG, RUNTIMES, Door, make_door
from tests.support.engines import W, open_world, virtual_now
from tests.support.scripted_runner import ScriptedPod

FORMATS = Path(__file__).parents[1] / "unit" / "formats"
IMPORT = "/api/v1/import"
EXPORT = "/api/v1/export"
FLOW: dict[str, Any] = {
    "name": "two of them",
    "environments": {"test": {"host": "h"}},
    "nodes": [{"id": "a", "method": "GET", "url": "http://h/a"}, {"id": "b", "method": "POST", "url": "http://h/b"}],
}


async def post(door: Door, target: str, body: object, role: str = "viewer") -> Answer:
    return await door.ask("POST", target, role=role, body=json.dumps(body).encode())


def paths(answer: Answer) -> list[str]:
    return [fault["path"] for fault in answer.json()["errors"]]


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("shop.postman_collection.json", "postman"),
        ("library.openapi.yaml", "openapi"),
        ("pets.swagger.json", "openapi"),
        ("checkout.har", "har"),
    ],
)
async def test_a_file_is_told_by_its_content_and_what_comes_can_be_saved(file: str, source: str) -> None:
    """Whoever has a file should not have to know what it is called, nor what a flow looks like."""
    door = await make_door()

    answer = await post(door, IMPORT, {"text": (FORMATS / file).read_text()})
    imported = answer.json()
    checked = await post(door, "/api/v1/definitions/validate", {"name": "x", **imported["flow"]})

    assert (answer.status, imported["source"]) == (200, source)
    assert all(set(note) == {"path", "message", "advice"} for note in imported["notes"])
    assert checked.json()["errors"] == []


async def test_an_environment_comes_with_its_collection() -> None:
    """As they are exported: two files."""
    door = await make_door()
    body = {
        "text": (FORMATS / "shop.postman_collection.json").read_text(),
        "environments": [(FORMATS / "staging.postman_environment.json").read_text()],
    }

    flow = (await post(door, IMPORT, body)).json()["flow"]

    assert flow["environment"] in flow["environments"]


async def test_keys_become_secrets_unless_they_are_to_stay() -> None:
    """A pasted command from a browser has a session in it."""
    door = await make_door()
    command = "curl https://a.example/x -H 'Authorization: Bearer sesame-opens'"

    hidden = await post(door, IMPORT, {"text": command})
    kept = await post(door, IMPORT, {"text": command, "keep_credentials": True})

    assert b"sesame-opens" not in hidden.body
    assert hidden.json()["flow"]["secrets"]
    assert b"sesame-opens" in kept.body


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({}, ["text"]),
        ({"text": 1, "source": "word", "z": 1}, ["z", "text", "source"]),
        ({"text": "hello"}, ["source"]),
        ({"text": "hello", "source": "postman"}, [""]),
        ({"text": "curl http://h", "environments": ["{}"]}, ["environments"]),
        ({"text": "curl http://h", "environments": [1]}, ["environments[0]"]),
        ({"text": "{}", "source": "postman", "keep_all": True}, ["keep_all"]),
        ([], ["", "text"]),
    ],
)
async def test_what_cannot_be_read_is_refused_with_its_field(body: object, wrong: list[str]) -> None:
    """Files of strangers are never a defect of the server."""
    door = await make_door()

    answer = await post(door, IMPORT, body)

    assert (answer.status, paths(answer)) == (400, wrong)


async def test_a_flow_is_written_as_what_others_read() -> None:
    """Each with a name it can be kept under."""
    door = await make_door()

    curl = (await post(door, EXPORT, {"flow": FLOW, "target": "curl"})).json()
    postman = (await post(door, EXPORT, {"flow": FLOW, "target": "postman", "name": "Mine"})).json()
    chosen = FLOW | {"environment": "test"}
    environment = (await post(door, EXPORT, {"flow": chosen, "target": "postman-environment"})).json()

    assert (curl["file_name"], "curl" in curl["text"]) == ("two-of-them.sh", True)
    assert json.loads(postman["text"])["info"]["name"] == "Mine"
    assert (environment["file_name"], json.loads(environment["text"])["name"]) == (
        "two-of-them.postman-environment.json",
        "test",
    )


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({}, ["flow", "target"]),
        ({"flow": FLOW, "target": "word"}, ["target"]),
        ({"flow": {}, "target": "curl"}, ["flow.nodes"]),
        ({"flow": FLOW, "target": "postman-environment"}, ["flow.environment"]),
        ({"flow": FLOW | {"name": 1}, "target": "curl"}, ["flow.name"]),
    ],
)
async def test_what_is_no_flow_is_not_written(body: object, wrong: list[str]) -> None:
    """Half a file would be worse than none."""
    door = await make_door()

    answer = await post(door, EXPORT, body)

    assert (answer.status, paths(answer)) == (400, wrong)


async def test_a_check_says_where_and_gives_what_it_read() -> None:
    """An editor marks lines, and needs no parser of YAML of its own."""
    door = await make_door()
    text = b"kind: flow\nname: x\nnodes:\n  - id: a\n    method: GOT\n    url: http://h\n"

    answer = await door.ask(
        "POST", "/api/v1/definitions/validate?document=true", body=text, content_type="application/yaml"
    )
    unread = await door.ask("POST", "/api/v1/definitions/validate?document=true", body=b"{")

    checked = answer.json()
    assert (checked["valid"], paths(answer), checked["lines"]) == (False, ["nodes[0].method"], {"nodes[0].method": 5})
    assert checked["document"]["nodes"][0]["method"] == "GOT"
    assert (unread.json()["lines"], unread.json()["document"]) == ({}, None)


async def never(_pod: ScriptedPod) -> None:
    """No program runs here."""


async def test_a_flow_that_ended_has_a_report() -> None:
    """What CI servers read, of a run that nobody watched; of a run under way there is none, nor of a script."""
    flow = {
        "kind": "flow",
        "name": "a <flow>",
        "nodes": [
            {"id": "a", "method": "GET", "url": "http://127.0.0.1:1/a", "name": "First"},
            {"id": "b", "method": "GET", "url": "http://127.0.0.1:1/b", "conditions": [{"input": "x", "equals": "1"}]},
        ],
    }
    async with open_world(never) as world, trio.open_nursery() as nursery:
        app = make_app(world.engine, RUNTIMES, CONFIG, now=virtual_now)
        issued = await issue_token(world.engine.tokens, workspace=W, user="u", role=Role.RUNNER, now=virtual_now())
        stop = trio.Event()
        bound = await nursery.start(partial(serve_http, app, CONFIG, shutdown_trigger=stop.wait))
        headers = {"authorization": f"Bearer {issued.secret}"}
        async with httpx2.AsyncClient(base_url=bound.url, headers=headers) as http:
            made = (await http.post("/api/v1/executions", json=flow)).json()
            await world.watch(made["id"])
            report = await http.get(f"{made['links']['self']}/report")
            asks = {"kind": "flow", "nodes": [{**flow["nodes"][0], "userPrompts": {"x": "X?"}}]}
            open_one = (await http.post("/api/v1/executions", json=asks)).json()
            early = await http.get(f"{open_one['links']['self']}/report")
            other = {"kind": "workflow", "nodes": [{"id": "a", "type": "set", "values": 1}]}
            none = (await http.post("/api/v1/executions", json=other)).json()
            refused = await http.get(f"{none['links']['self']}/report")
        stop.set()

    assert report.headers["content-disposition"] == 'attachment; filename="a-flow.xml"'
    suite = ElementTree.fromstring(report.content)[0]
    assert (suite.get("name"), suite.get("tests"), suite.get("failures")) == ("a <flow>", "2", "1")
    assert [case.get("name") for case in suite.iter("testcase")] == ["First", "b"]
    assert (early.status_code, early.json()["code"]) == (409, "not_finished")
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
