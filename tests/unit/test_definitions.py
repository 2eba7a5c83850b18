"""Saved definitions, purely: what a run is given, and which nodes of a newer version keep what they gave."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from execd.core.again import spec_from
from execd.core.definitions import (
    NotRunnableError,
    changed_fields,
    hide_env,
    parse_definition,
    renew,
    request_of,
    with_input,
)
from execd.core.errors import ConflictError, InvalidRequestError
from execd.core.event_parts import Failure
from execd.core.events import Event, EventData, ExecutionId, NodeCompleted, NodeFailed, NodeId
from execd.core.script_fields import ScriptTools
from execd.core.specs import Limits
from execd.core.workflows import ExecutionSpec, WorkflowSpec
from tests.http.doors import RUNTIMES

TOOLS = ScriptTools(runtimes=RUNTIMES, defaults=Limits(), caps=Limits(wall_s=600.0))
CHAIN: list[dict[str, Any]] = [
    {"id": "a", "type": "set", "values": {"x": 1}},
    {"id": "b", "type": "set", "values": {"x": "{{ nodes.a.output.x }}"}, "needs": ["a"]},
    {"id": "c", "type": "set", "values": {"x": "{{ vars.v }}"}, "needs": ["b"]},
    {"id": "d", "type": "set", "values": {"x": "{{ input.i }}"}, "needs": ["c"]},
]


def read(nodes: list[dict[str, Any]] = CHAIN, **fields: Any) -> WorkflowSpec:
    body = {"kind": "workflow", "name": "w", "nodes": nodes, **fields}
    draft = parse_definition(body, TOOLS)
    spec = request_of(kind=draft.kind, name=draft.name, body=draft.body, tools=TOOLS).spec
    assert isinstance(spec, WorkflowSpec)
    return spec


def script(**fields: Any) -> ExecutionSpec:
    draft = parse_definition({"kind": "script", "name": "s", "language": "python", "source": "x", **fields}, TOOLS)
    return request_of(kind=draft.kind, name=draft.name, body=draft.body, tools=TOOLS).spec


def journal(completed: str, failed: str = "") -> list[Event]:
    """Give the ends of nodes that completed, each with its name as its output, and of those that failed."""
    ends: list[tuple[str, EventData]] = [(name, NodeCompleted(duration_ms=1, output=name)) for name in completed]
    ends += [(name, NodeFailed(duration_ms=1, error=Failure(code="exit", message="x"))) for name in failed]
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return [
        Event(seq=seq, type="t", execution_id=ExecutionId("e"), at=at, data=data, node=NodeId(name))
        for seq, (name, data) in enumerate(ends, start=1)
    ]


def pins(newest: WorkflowSpec, former: WorkflowSpec, begin: str = "failed") -> str:
    """Say which nodes keep what they gave after `d` failed."""
    again = spec_from(newest, begin, journal("abc", "d"), former=former)
    assert isinstance(again, WorkflowSpec)
    return "".join(again.pins)


def changed(place: int, **fields: Any) -> list[dict[str, Any]]:
    return [node | fields if number == place else node for number, node in enumerate(CHAIN)]


RETRIES = {
    "nothing changed": (read(), "failed", "abc"),
    "the failed node was mended": (read(changed(3, values={"x": 2})), "failed", "abc"),
    "an earlier node changed": (read(changed(1, values={"x": 2})), "failed", "a"),
    "a label changed": (read(changed(1, label="B")), "failed", "abc"),
    "a type changed": (read([{"id": "a", "type": "wait", "seconds": 1}, *CHAIN[1:]]), "failed", ""),
    "needs changed": (read(changed(2, needs=["a", "b"])), "failed", "ab"),
    "a node came first": (read([{"id": "z", "type": "set", "values": {}}, *CHAIN]), "failed", "abc"),
    "a node came between": (
        read([*changed(2, needs=["b", "z"]), {"id": "z", "type": "set", "values": {}, "needs": ["a"]}]),
        "failed",
        "ab",
    ),
    "a node went": (read([*CHAIN[:2], {"id": "d", "type": "set", "values": {}, "needs": ["b"]}]), "failed", "ab"),
    "vars changed": (read(vars={"v": 2}), "failed", "ab"),
    "input changed": (read(input={"i": 2}), "failed", "abc"),
    "from a node": (read(), "b", "a"),
    "from a node, and one before it changed": (read(changed(0, values={"x": 5})), "c", ""),
    "from the start": (read(), "start", ""),
}


@pytest.mark.parametrize("name", RETRIES)
def test_a_node_keeps_what_it_gave_only_if_it_would_do_the_same_again(name: str) -> None:
    """What was changed runs, what comes after it too, and nothing else runs twice."""
    newest, begin, kept = RETRIES[name]

    assert pins(newest, read(), begin) == kept


def test_a_body_that_reads_what_changed_runs_again() -> None:
    """The expressions of a map's body count as its own."""
    nodes = [
        {"id": "m", "type": "map", "items": [1], "nodes": [{"id": "i", "type": "set", "values": {"x": "{{ vars.v }}"}}]}
    ]
    again = spec_from(read(nodes, vars={"v": 2}), "failed", journal("m", "x"), former=read(nodes))

    assert isinstance(again, WorkflowSpec)
    assert again.pins == {}


def test_a_retry_of_what_completed_needs_a_change() -> None:
    """`failed` of a success is a slip; of one whose definition was mended it is a wish."""
    with pytest.raises(ConflictError, match="every node completed"):
        spec_from(read(), "failed", journal("abcd"), former=read())

    mended = spec_from(read(changed(3, values={})), "failed", journal("abcd"), former=read())
    assert isinstance(mended, WorkflowSpec)
    assert "".join(mended.pins) == "abc"


def body(**fields: Any) -> bytes:
    return msgspec.json.encode(fields)


def test_a_newer_version_gets_the_input_that_was_given() -> None:
    """What came from the definition comes from its newest version; what came from the caller comes again."""
    assert renew(read(input=2), former=read(input=1), former_body=body(input=1)).input == 2
    assert renew(read(input=2), former=read(input=5), former_body=body(input=1)).input == 5
    assert renew(script(stdin="new"), former=script(stdin="old"), former_body=body(stdin="old")).stdin == "new"
    assert renew(script(), former=script(stdin="old"), former_body=body(stdin="old")).stdin is None
    assert renew(script(), former=script(stdin="given"), former_body=body()).stdin == "given"
    with pytest.raises(ConflictError, match="another kind"):
        renew(script(), former=read(), former_body=body())


def test_input_reaches_a_script_on_stdin() -> None:
    """As JSON; where the definition has fixed bytes there is no place, and dropping it would be silent."""
    assert with_input(script(), {"a": [1, "ä"]}).stdin == '{"a":[1,"ä"]}'
    assert with_input(script(stdin="x"), None).stdin == "x"
    with pytest.raises(InvalidRequestError, match="stdin is saved"):
        with_input(script(stdin=""), 1)


def test_a_body_is_what_its_author_wrote() -> None:
    """Without defaults filled in, in their order; what belongs to a run or stands beside it is left out."""
    fields = {"kind": "script", "source": "x", "priority": 0, "name": "s", "language": "py", "limits": {"wall_s": 5}}

    draft = parse_definition(fields, TOOLS)

    assert draft.body == b'{"source":"x","language":"py","limits":{"wall_s":5}}'


def test_what_could_not_be_written_is_refused() -> None:
    """Whoever calls without HTTP in between may bring values that nothing has bounded."""
    deep: Any = 1
    for _ in range(5000):
        deep = [deep]

    with pytest.raises(InvalidRequestError, match="nested too deeply"):
        read(input=deep)


def test_what_is_not_good_any_more_says_so() -> None:
    """A cap fell since it was saved: the fault is the definition's, not the caller's."""
    tight = msgspec.structs.replace(TOOLS, caps=Limits(wall_s=1.0, cpu_s=1.0))

    with pytest.raises(NotRunnableError) as refused:
        request_of(kind="script", name="s", body=body(language="python", source="x", limits={"wall_s": 5}), tools=tight)

    assert [fault.path for fault in refused.value.faults] == ["definition.limits.wall_s"]


def test_values_of_env_are_hidden_wherever_scripts_stand() -> None:
    """In a script, in a node, in the node of a body; as written and as stored. A value that is called `env` is none."""
    node = {"id": "n", "type": "script", "env": {"K": "secret"}}
    stored = {"config": {"script": {"env": {"K": "secret"}}}}
    hidden = hide_env(
        {"env": {"K": "secret"}, "nodes": [node, {"nodes": [node]}, stored, {"values": {"env": {"K": "v"}}}, 5]}
    )

    assert b"secret" not in msgspec.json.encode(hidden)
    assert hidden["nodes"][3] == {"values": {"env": {"K": "v"}}}
    assert node["env"] == {"K": "secret"}


@pytest.mark.parametrize(
    ("body", "changed"),
    [
        ({"a": 1, "b": [True]}, []),
        ({"kind": "x", "name": "y", "priority": 0, "b": [True], "a": 1}, []),
        ({"a": 1.0, "b": [True]}, ["a"]),
        ({"a": True, "b": [1]}, ["a", "b"]),
        ({"b": [True], "c": None}, ["a", "c"]),
    ],
)
def test_what_a_file_changes_is_named(body: dict[str, Any], changed: list[str]) -> None:
    """An order that is another one is no change, and a number that equals a boolean is one."""
    assert changed_fields({"a": 1, "b": [True]}, body) == changed
