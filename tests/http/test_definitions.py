"""Saved scripts and workflows over HTTP: saved whole or not at all, changed by one at a time, and run by id or name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from execd.core.runtimes import Runtimes
from execd.core.workflows import WorkflowSpec
from execd.http.app import make_app
from execd.ports import DefinitionLimits
from tests.http.asgi import Answer
from tests.http.doors import CONFIG, RUNTIMES, Door, make_door
from tests.http.fake_engine import virtual_now
from tests.support.flows import TRIGGER, drawn

URL = "/api/v1/definitions"
RUNS = "/api/v1/executions"
SCRIPT: dict[str, Any] = {"kind": "script", "name": "hello", "language": "python", "source": "print(1)"}
WORKFLOW: dict[str, Any] = {
    "kind": "workflow",
    "name": "flow",
    "input": {"i": 1},
    "nodes": [{"id": "a", "type": "set", "values": {"x": "{{ input.i }}"}}],
}
YAML = b"""
# A comment
kind: script
name: on call      # a text
language: python
source: |
  print(1)
args: [yes, 1:30, '5']
"""


async def post(door: Door, target: str, body: object, *, method: str = "POST", **headers: str) -> Answer:
    return await door.ask(method, target, body=json.dumps(body).encode(), **headers)


async def save(door: Door, body: dict[str, Any] = SCRIPT, **changes: Any) -> str:
    """Save a definition and give its id."""
    answer = await post(door, URL, body | changes)
    assert answer.status == 201, answer.body
    return str(answer.json()["id"])


def paths(answer: Answer) -> list[str]:
    return [fault["path"] for fault in answer.json()["errors"]]


async def test_what_is_saved_can_be_looked_up_by_id_and_name() -> None:
    """The answer to saving says where it is and what version it has."""
    door = await make_door()

    made = await post(door, URL, SCRIPT)
    saved = made.json()
    by_id = await door.ask("GET", made.headers["location"], role="viewer")
    by_name = await door.ask("GET", f"{URL}/hello", role="viewer")

    assert (made.status, made.headers["location"], made.headers["etag"]) == (201, f"{URL}/{saved['id']}", '"1"')
    assert (saved["version"], saved["kind"], saved["saved_by"], saved["name"]) == (1, "script", "u", "hello")
    assert saved["body"] == {"language": "python", "source": "print(1)"}
    assert saved.pop("dropped_versions") == 0
    assert by_id.json() == by_name.json() == saved


BAD = {
    "nothing": (b"{}", 400, ["kind", "name", "language", "source"]),
    "a list": (b"[]", 400, [""]),
    "no JSON": (b"{", 400, [""]),
    "no name": (b'{"kind":"script","language":"python","source":"x"}', 400, ["name"]),
    "an empty name": (json.dumps(SCRIPT | {"name": ""}).encode(), 400, ["name"]),
    "a name like an id": (json.dumps(SCRIPT | {"name": "def-000000001"}).encode(), 400, ["name"]),
    "a name of two lines": (json.dumps(SCRIPT | {"name": "a\nb"}).encode(), 400, ["name"]),
    "a name that is a number": (json.dumps(SCRIPT | {"name": 5}).encode(), 400, ["name"]),
    "a version": (json.dumps(SCRIPT | {"version": 1}).encode(), 400, ["version"]),
    "several": (json.dumps(SCRIPT | {"name": "", "language": "x", "zz": 1}).encode(), 400, ["name", "zz", "language"]),
    "a cycle": (
        json.dumps(
            WORKFLOW | {"nodes": [{"id": "a", "type": "set", "values": {}, "needs": ["a"]}, {"id": "b", "type": "no"}]}
        ).encode(),
        400,
        ["nodes[0].needs", "nodes[1].type"],
    ),
    "too large": (b'{"source":"' + b"x" * 70_000 + b'"}', 413, None),
    "deep": (b'{"kind":"workflow","name":"x","input":' + b"[" * 30_000, 400, [""]),
}


@pytest.mark.parametrize("name", BAD)
async def test_what_could_not_run_cannot_be_saved(name: str) -> None:
    """Everything that is wrong is told at once, with its path, and nothing is saved."""
    body, status, expected = BAD[name]
    door = await make_door()

    answer = await door.ask("POST", URL, body=body)

    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/problem+json"
    if expected is not None:
        assert set(paths(answer)) == set(expected)
    assert (await door.ask("GET", URL)).json()["items"] == []


async def test_a_name_is_taken_once() -> None:
    """A run by name must mean one thing; the problem names who has it."""
    door = await make_door()
    saved = await save(door)
    other = await save(door, name="other")

    again = await post(door, URL, SCRIPT)
    renamed = await post(door, f"{URL}/{other}", SCRIPT, method="PUT", if_match="1")

    assert [(a.status, a.json()["code"]) for a in (again, renamed)] == [(409, "name_taken")] * 2
    assert saved in again.json()["detail"]


async def test_a_change_is_a_new_version() -> None:
    """The versions before it stay as they were; a name that is left out stays, and one that is given is the new one."""
    door = await make_door()
    saved = await save(door)
    unnamed = {key: value for key, value in SCRIPT.items() if key != "name"}

    second = await post(door, f"{URL}/{saved}", unnamed | {"source": "2"}, method="PUT", if_match='"1"')
    third = await post(door, f"{URL}/hello", WORKFLOW | {"version": 2}, method="PUT")

    assert (second.status, second.json()["version"], second.json()["name"]) == (200, 2, "hello")
    assert (third.json()["version"], third.json()["name"], third.json()["kind"]) == (3, "flow", "workflow")
    assert "version" not in third.json()["body"]
    first = (await door.ask("GET", f"{URL}/{saved}?version=1")).json()
    assert (first["body"]["source"], first["kind"], first["name"]) == ("print(1)", "script", "hello")
    listed = (await door.ask("GET", f"{URL}/flow/versions?limit=2", role="viewer")).json()
    assert ([item["version"] for item in listed["items"]], listed["next_cursor"]) == ([3, 2], "2")
    assert (await door.ask("GET", f"{URL}/{saved}?version=4")).status == 404


async def test_the_oldest_versions_go_and_it_is_said() -> None:
    """Whoever saves is told what went for it, and whoever asks for what went learns why it is not there."""
    door = await make_door(definition_limits=DefinitionLimits(versions=2))
    saved = await save(door)
    changes = [
        (await post(door, f"{URL}/{saved}", SCRIPT | {"args": [str(n)]}, method="PUT", if_match=str(n))).json()
        for n in (1, 2, 3)
    ]

    dropped = await door.ask("GET", f"{URL}/hello?version=1")
    run = await post(door, RUNS, {"definition": "hello", "version": 2})
    never = await door.ask("GET", f"{URL}/hello?version=9")

    assert [change["dropped_versions"] for change in changes] == [0, 1, 1]
    assert (dropped.status, run.status, never.status) == (404, 404, 404)
    assert "version 1 of hello was dropped" in dropped.json()["detail"]
    assert "its newest is 4" in run.json()["detail"]
    assert never.json()["detail"] == "there is no version 9 of hello; its newest is 4"


async def test_a_full_workspace_refuses_another_definition() -> None:
    """Nothing of what is there is given up for it; the problem says what would help."""
    door = await make_door(definition_limits=DefinitionLimits(per_workspace=1))
    saved = await save(door)

    refused = await post(door, URL, SCRIPT | {"name": "another"})
    changed = await post(door, f"{URL}/{saved}", SCRIPT | {"source": "2"}, method="PUT", if_match="1")
    await door.ask("DELETE", f"{URL}/{saved}")
    made = await post(door, URL, SCRIPT | {"name": "another"})

    assert (refused.status, refused.json()["code"], refused.json()["retryable"]) == (409, "too_many_definitions", False)
    assert "definitions.per_workspace" in refused.json()["detail"]
    assert (changed.status, made.status) == (200, 201)


async def test_a_change_of_an_old_version_is_shown_the_newest() -> None:
    """Two people edit: the second loses nothing of the first's work and sees it at once."""
    door = await make_door()
    saved = await save(door)
    await post(door, f"{URL}/{saved}", SCRIPT | {"source": "theirs"}, method="PUT", if_match="1")

    late = await post(door, f"{URL}/{saved}", SCRIPT | {"source": "mine"}, method="PUT", if_match="1")

    problem = late.json()
    assert (late.status, problem["code"], paths(late)) == (409, "version_conflict", ["version"])
    assert (problem["newest"]["version"], problem["newest"]["body"]["source"]) == (2, "theirs")
    assert (await door.ask("GET", f"{URL}/{saved}")).json()["body"]["source"] == "theirs"


async def test_a_change_that_is_sent_again_is_no_conflict() -> None:
    """Its answer was lost: the same change of the same version gives the same answer."""
    door = await make_door()
    saved = await save(door)
    change = SCRIPT | {"source": "2", "version": 1}

    first = await post(door, f"{URL}/{saved}", change, method="PUT")
    second = await post(door, f"{URL}/{saved}", change, method="PUT")

    assert (second.status, second.body) == (200, first.body)


@pytest.mark.parametrize(
    ("body", "header", "path"),
    [
        (SCRIPT, None, "version"),
        (SCRIPT, "*", "If-Match"),
        (SCRIPT, "1, 2", "If-Match"),
        (SCRIPT, "0", "If-Match"),
        (SCRIPT | {"version": 2}, "1", "version"),
        (SCRIPT | {"version": "1"}, None, "version"),
        (SCRIPT | {"version": 1.5}, None, "version"),
        ([], "1", ""),
        (5, None, "version"),
    ],
)
async def test_a_change_says_what_it_changes(body: object, header: str | None, path: str) -> None:
    """A change of whatever is there would overwrite what its author never saw."""
    door = await make_door()
    saved = await save(door)

    answer = await post(door, f"{URL}/{saved}", body, method="PUT", **({} if header is None else {"if_match": header}))

    assert answer.status == 400
    assert path in paths(answer)
    assert (await door.ask("GET", f"{URL}/{saved}")).json()["version"] == 1


async def test_a_list_is_filtered_and_goes_on_by_cursor() -> None:
    """Those made last first, without their bodies."""
    door = await make_door()
    for name in ("one", "two", "three"):
        await save(door, name=name)
    await save(door, WORKFLOW)

    first = (await door.ask("GET", f"{URL}?limit=3", role="viewer")).json()
    rest = (await door.ask("GET", f"{URL}?limit=3&cursor={first['next_cursor']}")).json()

    assert [item["name"] for item in first["items"] + rest["items"]] == ["flow", "three", "two", "one"]
    assert rest["next_cursor"] is None
    assert "body" not in first["items"][0]
    assert [item["name"] for item in (await door.ask("GET", f"{URL}?kind=script&name=t")).json()["items"]] == [
        "three",
        "two",
    ]
    for query in ("kind=x", "colour=red", "limit=0", "cursor=zz"):
        assert (await door.ask("GET", f"{URL}?{query}")).status == 400


async def test_what_is_deleted_is_gone_and_its_executions_stay() -> None:
    """They say what they were made of, and can be found by it."""
    door = await make_door()
    saved = await save(door)
    run = (await post(door, RUNS, {"definition": saved})).json()["id"]

    deleted = await door.ask("DELETE", f"{URL}/hello")

    assert (deleted.status, deleted.body) == (204, b"")
    assert (await door.ask("GET", f"{URL}/{saved}")).status == 404
    assert (await door.ask("DELETE", f"{URL}/{saved}")).status == 404
    assert (await post(door, RUNS, {"definition": saved})).status == 404
    listed = (await door.ask("GET", f"{RUNS}?definition={saved}")).json()["items"]
    assert [(item["id"], item["definition"], item["definition_version"]) for item in listed] == [(run, saved, 1)]
    assert (await door.ask("GET", f"{RUNS}?definition=def-another00")).json()["items"] == []


async def test_roles_and_workspaces() -> None:
    """A viewer looks, a runner writes, and for another workspace there is nothing there."""
    door = await make_door()
    saved = await save(door)
    body = json.dumps(SCRIPT | {"name": "x"}).encode()
    one = f"{URL}/{saved}"
    writes = [("POST", URL, body), ("PUT", one, body), ("DELETE", one, b""), ("POST", RUNS, b'{"definition":"hello"}')]
    reads = [one, f"{one}/versions", f"{one}/export", f"{URL}/hello"]

    for method, target, sent in writes:
        assert (await door.ask(method, target, role="viewer", body=sent)).status == 403
    for target in reads:
        assert (await door.ask("GET", target, role="viewer")).status == 200
        assert (await door.ask("GET", target, role="foreign")).status == 404
    for method, target, sent in writes[1:]:
        foreign = await door.ask(method, target, role="foreign", body=sent, if_match="1")
        assert (foreign.status, foreign.json()["code"]) == (404, "not_found")
    assert (await door.ask("GET", URL, role="foreign")).json()["items"] == []
    assert (await door.ask("POST", URL, role="foreign", body=json.dumps(SCRIPT).encode())).status == 201


@pytest.mark.parametrize("name", ["%00", "%ff", "x" * 300, "def-000000000", "%ed%a0%80"])
async def test_an_odd_id_is_unknown(name: str) -> None:
    """Bad input never gives 5xx."""
    door = await make_door()

    for method, target in (("GET", ""), ("GET", "/versions"), ("GET", "/export"), ("DELETE", ""), ("PUT", "")):
        answer = await door.ask(method, f"{URL}/{name}{target}", body=b"{}" if method == "PUT" else b"")
        assert (answer.status, answer.json()["code"]) == (404, "not_found")


async def test_a_viewer_is_not_shown_values_of_env() -> None:
    """As with executions. Whoever may run it could print them, and needs them to change it."""
    door = await make_door()
    saved = await save(door, env={"KEY": "secret"})

    for target in (f"{URL}/{saved}", f"{URL}/{saved}/export", f"{URL}/{saved}/export?format=json"):
        assert b"secret" not in (await door.ask("GET", target, role="viewer")).body
        assert b"secret" in (await door.ask("GET", target)).body


async def test_yaml_is_run_as_json_is() -> None:
    """A file that can be saved can be run as it is, and a run by name can be written either way."""
    door = await make_door()
    await save(door)

    whole = await door.ask("POST", RUNS, body=YAML, content_type="application/yaml")
    named = await door.ask("POST", RUNS, body=b"definition: hello", content_type="application/yaml")

    assert (whole.status, named.status) == (202, 202)
    assert door.engine.submissions[0].spec.args == ("yes", "1:30", "5")


async def test_yaml_is_saved_as_it_means() -> None:
    """By the rules of 1.2: `yes` and `1:30` are texts."""
    door = await make_door()

    made = await door.ask("POST", URL, body=YAML, content_type="application/yaml")

    assert (made.status, made.json()["name"]) == (201, "on call")
    assert made.json()["body"]["args"] == ["yes", "1:30", "5"]
    changed = await door.ask("PUT", f"{URL}/{made.json()['id']}", body=YAML + b"version: 1\n", content_type="text/yaml")
    assert changed.json()["version"] == 2


@pytest.mark.parametrize(
    ("body", "status", "path"),
    [
        (b"kind: script\nkind: script\n", 400, "kind"),
        (b"a: &x [1]\nb: *x", 400, "b"),
        (b"kind: [", 400, ""),
        (b"", 400, ""),
        (b"\xff", 400, ""),
        (b"just text", 400, ""),
        (b"kind: script\nname: n\nlanguage: python\nsource: x\nargs: [1]", 400, "args[0]"),
    ],
)
async def test_bad_yaml_is_refused_where_it_is_bad(body: bytes, status: int, path: str) -> None:
    """Before it is a definition, and then like any other."""
    door = await make_door()

    answer = await door.ask("POST", URL, body=body, content_type="application/yaml")

    assert (answer.status, path in paths(answer)) == (status, True)


@pytest.mark.parametrize(("depth", "status"), [(450, 202), (501, 400), (975, 400), (985, 400), (5000, 400)])
async def test_nesting_is_refused_before_it_fills_the_stack(depth: int, status: int) -> None:
    """JSON that can be read and then not be written again was a 500."""
    door = await make_door()
    await save(door)
    deep = b"[" * depth + b"]" * depth

    for body in (b'{"definition":"hello","input":', json.dumps(WORKFLOW)[:-1].encode() + b',"vars":{"v":'):
        closing = b"}}" if b"vars" in body else b"}"
        answer = await door.ask("POST", RUNS, body=body + deep + closing, idempotency_key=f"k{len(body)}")
        assert answer.status == status


async def test_other_content_is_refused() -> None:
    """A form of another site can send neither JSON nor YAML."""
    door = await make_door()

    answer = await post(door, URL, SCRIPT, content_type="text/plain")

    assert (answer.status, answer.json()["errors"][0]["accepted"]) == (415, "application/json, application/yaml")


@pytest.mark.parametrize(("form", "media_type"), [("yaml", "application/yaml"), ("json", "application/json")])
async def test_an_export_can_be_imported(form: str, media_type: str) -> None:
    """The file holds everything, and posting it elsewhere makes the same thing."""
    door, elsewhere = await make_door(), await make_door()
    saved = await save(door, WORKFLOW, name="été / 1", vars={"no": "yes", "t": "1:30", "s": "a\nb\n"})

    file = await door.ask("GET", f"{URL}/{saved}/export?format={form}&version=1")
    made = await elsewhere.ask("POST", URL, body=file.body, content_type=file.headers["content-type"])

    assert (file.status, file.headers["content-type"]) == (200, media_type)
    assert file.headers["content-disposition"] == f'attachment; filename="t-1.{form}"'
    original = (await door.ask("GET", f"{URL}/{saved}")).json()
    assert [made.json()[key] for key in ("name", "kind", "body", "sha256")] == [
        original[key] for key in ("name", "kind", "body", "sha256")
    ]
    assert (await door.ask("GET", f"{URL}/{saved}/export?format=xml")).status == 400


async def test_validation_saves_nothing() -> None:
    """An editor asks while somebody types: what is wrong is an answer, not an error."""
    door = await make_door()

    good = await door.ask("POST", f"{URL}/validate", role="viewer", body=json.dumps(WORKFLOW).encode())
    bad = await post(door, f"{URL}/validate", WORKFLOW | {"nodes": [{"id": "a", "type": "no"}], "z": 1})
    torn = await door.ask("POST", f"{URL}/validate", body=b"a: [", content_type="application/yaml")

    assert (good.status, good.json()) == (
        200,
        {"valid": True, "errors": [], "warnings": [], "lines": {}, "document": None},
    )
    assert (bad.status, bad.json()["valid"], paths(bad)) == (200, False, ["z", "nodes[0].type"])
    assert (torn.status, torn.json()["valid"], paths(torn)) == (200, False, [""])
    assert (await door.ask("GET", URL)).json()["items"] == []


async def test_a_flow_is_checked_with_warnings_saved_and_run_with_values() -> None:
    """What the original ignores is told, and is no reason to refuse; a run's input takes the place of variables."""
    door = await make_door()
    step = {"id": "a", "method": "GET", "url": "http://h/{{ .vars.v }}", "body": {"x": 1}}
    flow = {
        "kind": "flow",
        "name": "f",
        "variables": {"v": 1},
        "nodes": [step],
        "responseSchemas": {"a": {"schema": {}}},
    }

    checked = (await post(door, f"{URL}/validate", flow)).json()
    saved = await save(door, flow)
    run = await post(door, RUNS, {"definition": saved, "input": {"v": 2}})
    refused = await post(door, RUNS, {"definition": saved, "input": [1]})

    assert (checked["valid"], [each["path"] for each in checked["warnings"]]) == (True, ["nodes[0].body"])
    assert (await door.ask("GET", f"{URL}/{saved}")).json()["body"]["responseSchemas"] == flow["responseSchemas"]
    assert run.status == 202
    assert door.engine.submissions[-1].spec.input == {"v": 2}
    assert (refused.status, paths(refused)) == (400, ["input"])


async def test_a_definition_is_run_by_id_or_name() -> None:
    """As its newest version or another, with its own name, input and priority or the caller's."""
    door = await make_door()
    saved = await save(door, WORKFLOW)
    await post(door, f"{URL}/{saved}", WORKFLOW | {"input": {"i": 2}}, method="PUT", if_match="1")

    answers = [
        await post(door, RUNS, {"definition": saved}),
        await post(door, RUNS, {"definition": "flow", "version": 1, "name": "mine", "priority": 2}),
        await post(door, RUNS, {"definition": "flow", "input": [3]}),
    ]

    assert [answer.status for answer in answers] == [202] * 3
    told = [(s.name, s.spec.input, s.priority, s.definition, s.definition_version) for s in door.engine.submissions]
    assert told == [("flow", {"i": 2}, 1, saved, 2), ("mine", {"i": 1}, 2, saved, 1), ("flow", [3], 1, saved, 2)]
    detail = (await door.ask("GET", f"{RUNS}/{answers[1].json()['id']}")).json()
    assert (detail["definition"], detail["definition_version"], detail["kind"]) == (saved, 1, "workflow")


async def test_a_script_reads_its_input_on_stdin() -> None:
    """As JSON, unless its stdin was saved with it: then an input has no place."""
    door = await make_door()
    await save(door)
    await save(door, name="fixed", stdin="abc")

    await post(door, RUNS, {"definition": "hello", "input": {"a": 1}})
    await post(door, RUNS, {"definition": "fixed"})
    refused = await post(door, RUNS, {"definition": "fixed", "input": 1})

    assert [submission.spec.stdin for submission in door.engine.submissions] == ['{"a":1}', "abc"]
    assert (refused.status, paths(refused)) == (400, ["input"])


async def test_a_run_that_is_sent_again_is_the_same_run() -> None:
    """Whatever became of the definition meanwhile: the key stands for what was asked, not for what it would mean now."""
    door = await make_door()
    saved = await save(door)

    first = await post(door, RUNS, {"definition": saved}, idempotency_key="k")
    await post(door, f"{URL}/{saved}", SCRIPT | {"source": "2"}, method="PUT", if_match="1")
    second = await post(door, RUNS, {"definition": saved}, idempotency_key="k")
    other = await post(door, RUNS, {"definition": saved, "input": 1}, idempotency_key="k")
    await door.ask("DELETE", f"{URL}/{saved}")
    third = await post(door, RUNS, {"definition": saved}, idempotency_key="k")

    assert first.json()["id"] == second.json()["id"] == third.json()["id"]
    assert third.headers["idempotent-replayed"] == "true"
    assert (other.status, other.json()["code"]) == (409, "idempotency_conflict")


async def test_what_cannot_run_any_more_is_a_conflict() -> None:
    """It was good when it was saved; here and now its language is gone, which is not the caller's fault."""
    door = await make_door()
    saved = await save(door, language="bash")
    fewer = Runtimes({name: runtime for name, runtime in RUNTIMES.by_name.items() if name != "bash"})
    door.app = make_app(door.engine, fewer, CONFIG, now=virtual_now)

    answer = await post(door, RUNS, {"definition": saved})

    assert (answer.status, answer.json()["code"], paths(answer)) == (
        409,
        "definition_not_runnable",
        ["definition.language"],
    )
    assert door.engine.submissions == []


async def ended(door: Door, body: dict[str, Any]) -> str:
    """Run something to its end and give its id."""
    run = (await post(door, RUNS, body)).json()["id"]
    await door.engine.finish(run)
    door.engine.submissions.clear()
    return str(run)


@pytest.mark.behaviour(35)
async def test_a_retry_is_of_the_same_version_or_the_latest() -> None:
    """As asked; the new execution says which it is, and repeats the input that was given."""
    door = await make_door()
    saved = await save(door, WORKFLOW)
    run = await ended(door, {"definition": saved, "input": "given"})
    await post(door, f"{URL}/{saved}", WORKFLOW | {"input": 2, "vars": {"v": 1}}, method="PUT", if_match="1")

    await post(door, f"{RUNS}/{run}/retry", {})
    await post(door, f"{RUNS}/{run}/retry", {"definition": "latest"})

    same, latest = door.engine.submissions
    assert isinstance(same.spec, WorkflowSpec)
    assert isinstance(latest.spec, WorkflowSpec)
    assert (same.definition, same.definition_version, same.spec.vars, same.spec.input) == (saved, 1, {}, "given")
    assert (latest.definition, latest.definition_version, latest.spec.vars) == (saved, 2, {"v": 1})
    assert (latest.spec.input, latest.attempt_of, latest.name) == ("given", run, "flow")


async def test_a_retry_with_the_latest_needs_one() -> None:
    """What was never saved, or was deleted, can only be retried as it was."""
    door = await make_door()
    saved = await save(door)
    plain = await ended(door, {"kind": "script", "language": "python", "source": "x"})
    run = await ended(door, {"definition": saved})
    await door.ask("DELETE", f"{URL}/{saved}")

    for execution_id in (plain, run):
        refused = await post(door, f"{RUNS}/{execution_id}/retry", {"definition": "latest"})
        assert (refused.status, refused.json()["code"]) == (409, "conflict")
        assert "definition: same" in refused.json()["detail"]
        assert (await post(door, f"{RUNS}/{execution_id}/retry", {"definition": "same"})).status == 202
    assert door.engine.submissions[-1].definition == saved


async def test_a_retry_begins_at_a_node_of_what_will_run() -> None:
    """A node that the newest version has not is refused by name."""
    door = await make_door()
    saved = await save(door, WORKFLOW)
    run = await ended(door, {"definition": saved})
    renamed = WORKFLOW | {"nodes": [{"id": "b", "type": "set", "values": {}}]}
    await post(door, f"{URL}/{saved}", renamed, method="PUT", if_match="1")

    gone = await post(door, f"{RUNS}/{run}/retry", {"definition": "latest", "from": "a"})
    there = await post(door, f"{RUNS}/{run}/retry", {"definition": "latest", "from": "b"})

    assert (gone.status, gone.json()["errors"][0]["accepted"]) == (400, "start, failed, b")
    assert there.status == 202


async def test_a_retry_that_is_sent_again_is_the_same_retry() -> None:
    """Even if a version was saved in between; a retry of the same one with its key is another request."""
    door = await make_door()
    saved = await save(door)
    run = await ended(door, {"definition": saved})
    url = f"{RUNS}/{run}/retry"

    first = await post(door, url, {"definition": "latest"}, idempotency_key="k")
    await post(door, f"{URL}/{saved}", SCRIPT | {"source": "2"}, method="PUT", if_match="1")
    second = await post(door, url, {"definition": "latest"}, idempotency_key="k")
    other = await post(door, url, {}, idempotency_key="k")

    assert first.json()["id"] == second.json()["id"]
    assert (other.status, other.json()["code"]) == (409, "idempotency_conflict")


@pytest.mark.parametrize("kind", [[], {}, ["script"], 7, True])
async def test_a_kind_of_any_type_is_refused_by_name(kind: object) -> None:
    """Whatever stands there, it is the caller's mistake."""
    door = await make_door()
    body = json.dumps({"kind": kind, "name": "x"}).encode()

    for target, status in (("definitions/validate", 200), ("definitions", 400), ("executions", 400)):
        answer = await door.ask("POST", f"/api/v1/{target}", body=body)
        assert answer.status == status
        assert answer.json()["errors"][0]["path"] == "kind"


async def test_a_drawn_flow_can_be_validated() -> None:
    """The types of its nodes are none that a workflow may name."""
    door = await make_door()
    body = {"kind": "reactflow", "name": "r", "data": drawn(TRIGGER)["data"]}

    answer = await door.ask("POST", "/api/v1/definitions/validate", body=json.dumps(body).encode())

    assert (answer.status, answer.json()["valid"]) == (200, True)
