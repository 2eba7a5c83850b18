"""What comes in: good requests are stored, bad ones are told everything that is wrong with them, at once."""

from __future__ import annotations

import json

import msgspec
import pytest

from execd.ports import LISTED_BYTES, Cancel, ProvideInput, SendStdin
from tests.http.doors import make_door

GOOD = {"kind": "script", "language": "python", "source": "print(1)"}
URL = "/api/v1/executions"


def body_of(**changes: object) -> bytes:
    return json.dumps(GOOD | changes).encode()


async def test_a_script_is_accepted_and_stored() -> None:
    """A 202 names the execution and everything there is to do with it."""
    door = await make_door()

    answer = await door.ask("POST", URL, body=body_of(language="py", args=["a"], priority=0, limits={"wall_s": 5}))

    assert answer.status == 202
    assert answer.json()["links"]["stream"].endswith("/stream")
    (submission,) = door.engine.submissions
    assert (submission.spec.language, submission.spec.args, submission.priority) == ("python", ("a",), 0)
    assert (submission.workspace, submission.user, submission.spec.limits.wall_s) == ("w", "u", 5.0)


HOSTILE = {
    "empty": (b"", 400, "invalid_request", [""]),
    "spaces": (b"   ", 400, "invalid_request", [""]),
    "not JSON": (b"{nope", 400, "invalid_request", [""]),
    "a list": (b"[]", 400, "invalid_request", [""]),
    "null": (b"null", 400, "invalid_request", [""]),
    "text": (b'"x"', 400, "invalid_request", [""]),
    "deep nesting": (b"[" * 60_000, 400, "invalid_request", [""]),
    "deep nesting of objects": (b'{"a":' * 12_000, 400, "invalid_request", [""]),
    "huge exponent": (b'{"retries":1e999}', 400, "invalid_request", [""]),
    "number of 5000 digits": (b'{"retries":' + b"1" * 5000 + b"}", 400, "invalid_request", [""]),
    "invalid UTF-8": (b'{"source":"\xff"}', 400, "invalid_request", [""]),
    "lone surrogate": (b'{"source":"\\ud800"}', 400, "invalid_request", [""]),
    "byte order mark": (b"\xef\xbb\xbf{}", 400, "invalid_request", [""]),
    "NaN": (b'{"limits":{"wall_s":NaN}}', 400, "invalid_request", [""]),
    "too large": (body_of(source="x" * 70_000), 413, "payload_too_large", None),
    "nothing in it": (b"{}", 400, "invalid_request", ["kind", "language", "source"]),
    "a flow without steps": (b'{"kind":"flow"}', 400, "invalid_request", ["nodes"]),
    "a flow with faults": (
        b'{"kind":"flow","nodes":[{"id":"a","method":"X","url":"{{ y }}"},null],"data":5}',
        400,
        "invalid_request",
        [
            "nodes[1]",
            "nodes[0].method",
            "nodes[0]",
            "nodes[1].method",
            "nodes[1].url",
            "data",
        ],
    ),
    "a flow that begins after its end": (
        b'{"kind":"flow","nodes":[{"id":"a","method":"GET","url":"http://h"}],"startStep":1}',
        400,
        "invalid_request",
        ["startStep"],
    ),
    "kind unknown": (body_of(kind="x" * 500), 400, "unsupported_kind", ["kind"]),
    "kind a number": (body_of(kind=5), 400, "invalid_request", ["kind"]),
    "definition unknown": (b'{"definition":"d"}', 404, "not_found", None),
    "definition a number": (b'{"definition":5}', 400, "invalid_request", ["definition"]),
    "definition and more": (
        b'{"definition":"d","version":0,"source":"x","priority":9}',
        400,
        "invalid_request",
        ["source", "version", "priority"],
    ),
    "NUL in source": (body_of(source="a\0b"), 400, "invalid_request", ["source"]),
    "empty source": (body_of(source=""), 400, "invalid_request", ["source"]),
    "source a number": (body_of(source=5), 400, "invalid_request", ["source"]),
    "language unknown": (body_of(language="cobol"), 400, "invalid_request", ["language"]),
    "language a list": (body_of(language=["python"]), 400, "invalid_request", ["language"]),
    "unknown field": (body_of(sauce="x"), 400, "invalid_request", ["sauce"]),
    "name with newline": (body_of(name="a\nb"), 400, "invalid_request", ["name"]),
    "name too long": (body_of(name="x" * 201), 400, "invalid_request", ["name"]),
    "args a text": (body_of(args="x"), 400, "invalid_request", ["args"]),
    "args of numbers": (body_of(args=["a", 1, "b\0"]), 400, "invalid_request", ["args[1]", "args[2]"]),
    "too many args": (body_of(args=["a"] * 1001), 400, "invalid_request", ["args"]),
    "env a list": (body_of(env=["A"]), 400, "invalid_request", ["env"]),
    "env name": (body_of(env={"A=B": "x", "1A": "x"}), 400, "invalid_request", ["env.A=B", "env.1A"]),
    "env value": (body_of(env={"A": 1}), 400, "invalid_request", ["env.A"]),
    "stdin a number": (body_of(stdin=1), 400, "invalid_request", ["stdin"]),
    "stdin_open a text": (body_of(stdin_open="yes"), 400, "invalid_request", ["stdin_open"]),
    "retries too many": (body_of(retries=11), 400, "invalid_request", ["retries"]),
    "retries a boolean": (body_of(retries=True), 400, "invalid_request", ["retries"]),
    "retries huge": (body_of(retries=10**30), 400, "invalid_request", ["retries"]),
    "retries half": (body_of(retries=0.5), 400, "invalid_request", ["retries"]),
    "priority": (body_of(priority=3), 400, "invalid_request", ["priority"]),
    "limits a list": (body_of(limits=[]), 400, "invalid_request", ["limits"]),
    "limit unknown": (body_of(limits={"wall": 1}), 400, "invalid_request", ["limits.wall"]),
    "limit over the cap": (body_of(limits={"wall_s": 601}), 400, "invalid_request", ["limits.wall_s"]),
    "limit negative": (body_of(limits={"cpu_s": -1}), 400, "invalid_request", ["limits.cpu_s"]),
    "limit zero": (body_of(limits={"memory_bytes": 0}), 400, "invalid_request", ["limits.memory_bytes"]),
    "limit of text": (body_of(limits={"processes": "1"}), 400, "invalid_request", ["limits.processes"]),
    "network refused": (body_of(limits={"network": True}), 400, "invalid_request", ["limits.network"]),
    "file outside": (body_of(files=[{"path": "../x", "text": ""}]), 400, "invalid_request", ["files[0].path"]),
    "file absolute": (body_of(files=[{"path": "/x", "text": ""}]), 400, "invalid_request", ["files[0].path"]),
    "file without content": (body_of(files=[{"path": "x"}]), 400, "invalid_request", ["files[0]"]),
    "file base64": (body_of(files=[{"path": "x", "base64": "?"}]), 400, "invalid_request", ["files[0].base64"]),
    "file is the script": (body_of(files=[{"path": "main.py", "text": ""}]), 400, "invalid_request", ["files[0].path"]),
    "file twice": (body_of(files=[{"path": "x", "text": ""}] * 2), 400, "invalid_request", ["files[1].path"]),
    "file in a file": (
        body_of(files=[{"path": "x", "text": ""}, {"path": "x/y", "text": ""}]),
        400,
        "invalid_request",
        ["files"],
    ),
    "several": (
        body_of(language="cobol", source=1, limits={"wall_s": 0, "x": 1}, zz=1),
        400,
        "invalid_request",
        ["zz", "language", "source", "limits.x", "limits.wall_s"],
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_bad_body_is_refused_with_all_its_faults(name: str) -> None:
    """Whatever the bytes are: a 4xx with a code and the path of every fault, and nothing is submitted."""
    body, status, code, paths = HOSTILE[name]
    door = await make_door()

    answer = await door.ask("POST", URL, body=body, content_type="application/json", content_length=str(len(body)))

    problem = answer.json()
    assert (answer.status, problem["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert [fault["path"] for fault in problem.get("errors", [])] == (paths or [])
    assert all(fault["accepted"] and fault["message"] for fault in problem.get("errors", []))
    assert door.engine.submissions == []


async def test_a_limit_over_the_cap_names_the_cap() -> None:
    """The one number a caller needs in order to mend the request."""
    door = await make_door()

    answer = await door.ask("POST", URL, body=body_of(limits={"wall_s": 601}))

    assert "to 600.0 seconds" in answer.json()["errors"][0]["accepted"]


async def test_an_unknown_language_names_the_known_ones() -> None:
    """A typing slip is mended without looking anything up."""
    door = await make_door()

    answer = await door.ask("POST", URL, body=body_of(language="pyton"))

    assert answer.json()["errors"][0]["accepted"] == "python, bash"


async def test_another_content_type_is_refused() -> None:
    """A form of another site cannot submit (it can send three content types, and JSON is none of them)."""
    door = await make_door()

    answer = await door.ask("POST", URL, body=body_of(), content_type="text/plain")

    assert (answer.status, answer.json()["code"]) == (415, "unsupported_media_type")
    assert door.engine.submissions == []


@pytest.mark.behaviour(40)
async def test_an_idempotency_key_makes_a_request_safe_to_repeat() -> None:
    """The same key gives the same execution, however the JSON is spaced; another request with it is a conflict."""
    door = await make_door()

    first = await door.ask("POST", URL, body=body_of(), idempotency_key="k1")
    second = await door.ask("POST", URL, body=b" " + body_of(), idempotency_key="k1")
    third = await door.ask("POST", URL, body=body_of(source="other"), idempotency_key="k1")

    assert first.json()["id"] == second.json()["id"]
    assert second.headers["idempotent-replayed"] == "true"
    assert (third.status, third.json()["code"]) == (409, "idempotency_conflict")


@pytest.mark.parametrize("key", ["", "a b", "ä", "x" * 256])
async def test_a_bad_idempotency_key_is_refused(key: str) -> None:
    """A key that a proxy or store might change is no key."""
    door = await make_door()

    answer = await door.ask("POST", URL, body=body_of(), idempotency_key=key)

    assert (answer.status, answer.json()["errors"][0]["path"]) == (400, "Idempotency-Key")
    assert door.engine.submissions == []


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("status=done", "status"),
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=1e3", "limit"),
        ("limit=1&limit=2", "limit"),
        ("kind=x", "kind"),
        ("colour=red", "colour"),
        ("name=%00", "name"),
        ("%ff=1", "%FF"),
    ],
)
async def test_a_bad_filter_is_named(query: str, path: str) -> None:
    """A filter that is ignored would show the wrong executions."""
    door = await make_door()

    answer = await door.ask("GET", f"{URL}?{query}")

    assert (answer.status, [fault["path"] for fault in answer.json()["errors"]]) == (400, [path])


async def test_a_list_goes_on_by_cursor() -> None:
    """Newest first, each once."""
    door = await make_door()
    for _ in range(3):
        await door.ask("POST", URL, body=body_of())

    first = (await door.ask("GET", f"{URL}?limit=2")).json()
    second = (await door.ask("GET", f"{URL}?limit=2&cursor={first['next_cursor']}")).json()

    assert [item["id"][-1] for item in first["items"] + second["items"]] == ["3", "2", "1"]
    assert second["next_cursor"] is None
    assert (await door.ask("GET", f"{URL}?cursor=zz")).status == 400


async def test_commands_reach_the_engine() -> None:
    """A 202 means that it was handed on, in the name of who asked."""
    door = await make_door()
    execution_id = await door.begin()

    cancelled = await door.ask("POST", f"{URL}/{execution_id}/cancel")
    written = await door.ask("POST", f"{URL}/{execution_id}/stdin", body=b'{"base64":"aGk=","close":true}')

    assert (cancelled.status, written.status) == (202, 202)
    assert door.engine.commands == [(execution_id, Cancel(by="u")), (execution_id, SendStdin(data=b"hi", close=True))]


@pytest.mark.parametrize(
    "body", [b'{"text":"a","base64":"aGk="}', b'{"base64":"?"}', b"{}", b'{"text":1}', b'{"x":1}', b"[]"]
)
async def test_bad_stdin_is_refused(body: bytes) -> None:
    """Bytes that are not meant must not reach a program."""
    door = await make_door()
    execution_id = await door.begin()

    answer = await door.ask("POST", f"{URL}/{execution_id}/stdin", body=body)

    assert answer.status == 400
    assert door.engine.commands == []


@pytest.mark.behaviour(32)
async def test_a_command_to_what_has_ended_is_a_conflict() -> None:
    """Terminal is absorbing, and the caller learns the state."""
    door = await make_door()
    execution_id = await door.finished()

    answer = await door.ask("POST", f"{URL}/{execution_id}/cancel", body=b"{}")

    assert (answer.status, answer.json()["code"]) == (409, "conflict")


async def test_an_answer_is_handed_to_the_execution() -> None:
    """In the name of whoever answers; what is no text is refused before."""
    door = await make_door()
    execution_id = await door.begin()

    wrong = await door.ask("POST", f"{URL}/{execution_id}/input", body=b'{"values":{"a":1}}')
    right = await door.ask("POST", f"{URL}/{execution_id}/input", body=b'{"prompt_id":"ask.1","values":{"a":"1"}}')

    assert wrong.status == 400
    assert {fault["path"] for fault in wrong.json()["errors"]} == {"prompt_id", "values.a"}
    assert right.status == 202
    assert door.engine.commands[-1] == (execution_id, ProvideInput(by="u", prompt_id="ask.1", values={"a": "1"}))


@pytest.mark.behaviour(35)
async def test_a_retry_is_a_new_execution_of_the_same_spec() -> None:
    """It names the one it retries and takes its source, limits and secrets along."""
    door = await make_door()
    ended = await door.finished()
    running = await door.begin()

    answer = await door.ask("POST", f"{URL}/{ended}/retry", body=b'{"from":"failed"}')
    refused = await door.ask("POST", f"{URL}/{running}/retry")
    garbled = await door.ask("POST", f"{URL}/{ended}/retry", body=b'{"from":"node7"}')

    assert answer.status == 202
    (submission,) = door.engine.submissions
    assert (submission.attempt_of, submission.spec.env) == (ended, {"KEY": "secret"})
    assert (refused.status, refused.json()["code"]) == (409, "not_finished")
    assert garbled.json()["errors"][0] == {
        "path": "from",
        "message": "is not one of them",
        "accepted": "start, failed, main",
    }


async def test_the_result_is_there_once_it_is_stored() -> None:
    """Before, a 409 names the stream to follow instead of asking again."""
    door = await make_door()
    ended = await door.finished()
    running = await door.begin()

    answer = await door.ask("GET", f"{URL}/{ended}/result")
    early = await door.ask("GET", f"{URL}/{running}/result")

    assert (answer.status, answer.json()["status"]) == (200, "completed")
    assert (early.status, early.json()["code"]) == (409, "not_finished")
    assert "/stream" in early.json()["detail"]


async def test_the_journal_is_read_in_pieces() -> None:
    """`next_after` leads on, and types are filtered by name."""
    door = await make_door()
    execution_id = await door.finished()

    first = (await door.ask("GET", f"{URL}/{execution_id}/events?limit=3")).json()
    rest = (await door.ask("GET", f"{URL}/{execution_id}/events?after={first['next_after']}")).json()
    outputs = (await door.ask("GET", f"{URL}/{execution_id}/events?types=output")).json()

    assert [event["seq"] for event in first["items"] + rest["items"]] == [1, 2, 3, 4]
    assert [event["type"] for event in outputs["items"]] == ["output"]
    assert (await door.ask("GET", f"{URL}/{execution_id}/events?types=nope")).status == 400


async def test_values_of_env_are_hidden() -> None:
    """A viewer of an execution is not told its secrets."""
    door = await make_door()
    execution_id = await door.begin()

    answer = await door.ask("GET", f"{URL}/{execution_id}")

    assert answer.json()["spec"]["env"] == {"KEY": "***"}
    assert b"secret" not in answer.body


async def test_a_list_has_as_many_as_are_asked_for_however_long_each_is() -> None:
    """The store's pages end where its memory would; the answer's where the client wanted it to, and the cursor goes on there."""
    door = await make_door()
    ids = [await door.begin() for _ in range(4)]
    for name in ids:
        records = door.engine.memory.records
        records[name] = msgspec.structs.replace(records[name], spec=b"x" * LISTED_BYTES)

    first = (await door.ask("GET", f"{URL}?limit=3")).json()
    rest = (await door.ask("GET", f"{URL}?limit=3&cursor={first['next_cursor']}")).json()

    assert [one["id"] for one in first["items"] + rest["items"]] == ids[::-1]
    assert (len(first["items"]), rest["next_cursor"]) == (3, None)
