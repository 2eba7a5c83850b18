"""A workflow from outside: everything wrong is told at once, with its path, before anything runs."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from execd.core.errors import InvalidRequestError
from execd.core.events import Status
from execd.core.requests import parse_request
from execd.core.script_fields import ScriptTools
from execd.core.specs import Limits
from execd.core.workflows import WorkflowSpec, graph_of
from execd.settings import Settings, load_runtimes
from tests.unit.test_machine import World

TOOLS = ScriptTools(runtimes=load_runtimes(Settings()), defaults=Limits(), caps=Limits())


def parse(*nodes: Any, **more: Any) -> WorkflowSpec:
    spec = parse_request({"kind": "workflow", "nodes": list(nodes), **more}, TOOLS).spec
    assert isinstance(spec, WorkflowSpec)
    return spec


def faults_of(*nodes: Any, **more: Any) -> dict[str, str]:
    with pytest.raises(InvalidRequestError) as caught:
        parse(*nodes, **more)
    return {fault.path: fault.message for fault in caught.value.faults}


def test_a_workflow_of_every_type_is_read_and_runs() -> None:
    """What people write becomes a graph; its values are those that were written."""
    spec = parse(
        {"id": "start", "type": "set", "values": {"n": 3}},
        {"id": "big", "type": "if", "condition": "{{ nodes.start.output.n > 2 }}", "needs": ["start"]},
        {
            "id": "each",
            "type": "map",
            "items": "{{ range(nodes.start.output.n) }}",
            "needs": ["big.true"],
            "nodes": [
                {"id": "square", "type": "set", "values": "{{ item * item + nodes.start.output.n }}"},
            ],
        },
        {"id": "small", "type": "set", "values": "small", "needs": ["big.false"]},
        {
            "id": "route",
            "type": "switch",
            "value": "{{ nodes.each.output | length }}",
            "cases": {"three": 3},
            "needs": ["each"],
        },
        {
            "id": "sub",
            "type": "workflow",
            "input": "{{ vars.greeting }}",
            "needs": ["route.three"],
            "nodes": [
                {"id": "say", "type": "set", "values": "{{ input }}, world"},
            ],
        },
        {"id": "rest", "type": "wait", "seconds": 0, "needs": ["sub"]},
        vars={"greeting": "hello"},
    )
    world = World(graph_of(spec, name="n"))
    world.begin()
    world.fire(world.timers[0][0])

    assert world.result.status is Status.COMPLETED
    assert world.result.outputs["each"] == [3, 4, 7]
    assert world.result.outputs["sub"] == "hello, world"


@pytest.mark.behaviour(51)
def test_everything_wrong_is_told_at_once() -> None:
    """One request, one answer: every fault with the path of its field."""
    found = faults_of(
        {"id": "a", "type": "set", "values": "{{ 1 + }}"},
        {"id": "x", "type": "nonsense", "color": 1},
        {"id": "x", "type": "set", "values": 1},
        {"id": "9!", "type": "if", "condition": 3, "needs": ["gone", "a.left", "a.error"]},
        {"id": "s", "type": "script", "language": "klingon", "limits": {"wall_s": -1}, "colour": "red"},
        {"id": "w", "type": "wait", "seconds": 1, "until": "x"},
        {"id": "m", "type": "map", "items": 3, "retry": {"retries": 99}, "nodes": []},
        "no node",
        parallelism=0,
        priority=9,
    )

    assert {
        "nodes[0].values",
        "nodes[1].type",
        "nodes[3].id",
        "nodes[3].condition",
        "nodes[3].needs[0]",
        "nodes[3].needs[1]",
        "nodes[3].needs[2]",
        "nodes[4].language",
        "nodes[4].source",
        "nodes[4].limits.wall_s",
        "nodes[4].colour",
        "nodes[5]",
        "nodes[6].items",
        "nodes[6].retry",
        "nodes[6].nodes",
        "nodes[7]",
        "parallelism",
        "priority",
    } <= set(found)


def test_a_type_that_does_not_exist_hides_nothing() -> None:
    """Its node's other faults are told too, and who needs it is not blamed for it."""
    found = faults_of(
        {"id": "a", "type": "iff", "needs": ["gone"]},
        {"id": "b", "type": "set", "values": "{{ nodes.a.output }}", "needs": ["a.true"]},
    )

    assert set(found) == {"nodes[0].type", "nodes[0].needs[0]"}


@pytest.mark.behaviour(51)
def test_a_cycle_is_shown() -> None:
    """Whoever drew it sees the way round."""
    found = faults_of(
        {"id": "a", "type": "set", "values": 1, "needs": ["c"]},
        {"id": "b", "type": "set", "values": 1, "needs": ["a"]},
        {"id": "c", "type": "set", "values": 1, "needs": ["b"]},
    )

    (message,) = found.values()
    assert "cycle" in message
    assert message.count("->") == 3


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ("{{ nodes.gone.output }}", "is not there"),
        ("{{ nodes.later.output }}", "does not come before it"),
        ("{{ nodes.x.output }}", "does not come before it"),
        ("{{ item }}", "is not there"),
        ("{{ os.environ }}", "is not there"),
        ("{{ nodes.inner.output }}", "is not there"),
    ],
)
@pytest.mark.behaviour(51, 52)
def test_what_cannot_be_there_is_not_referred_to(values: str, words: str) -> None:
    """A node that is not certain to be over has no value yet: it must be among the needs."""
    found = faults_of(
        {"id": "each", "type": "map", "items": [1], "nodes": [{"id": "inner", "type": "set", "values": 1}]},
        {"id": "x", "type": "set", "values": {"deep": [values]}, "needs": ["each"]},
        {"id": "later", "type": "set", "values": 1, "needs": ["x"]},
    )

    assert words in found["nodes[1].values.deep[0]"]


def test_a_node_in_a_map_may_not_hide_one_around_it() -> None:
    """`nodes.a` would mean the one here and the one there, depending on who reads."""
    body = [{"id": "a", "type": "set", "values": "{{ nodes.a.output }}"}]
    found = faults_of(
        {"id": "a", "type": "set", "values": 1},
        {"id": "each", "type": "map", "items": [1], "needs": ["a"], "nodes": body},
        {"id": "sub", "type": "workflow", "needs": ["a"], "nodes": [{"id": "a", "type": "set", "values": 1}]},
    )

    assert "around this body" in found["nodes[1].nodes[0].id"]
    assert not any(path.startswith("nodes[2]") for path in found)


@pytest.mark.parametrize("seconds", [0, -1, 1e12, "soon", True])
def test_a_timeout_is_a_time(seconds: Any) -> None:
    """Of a body, and of the whole."""
    body = [{"id": "a", "type": "set", "values": 1}]
    found = faults_of({"id": "each", "type": "map", "items": [1], "nodes": body, "timeout_s": seconds})
    assert set(found) == {"nodes[0].timeout_s"}
    with pytest.raises(InvalidRequestError, match="timeout_s"):
        parse(*body, timeout_s=seconds)


def test_a_body_of_a_workflow_sees_only_its_input() -> None:
    """So that it can be understood, saved and run alone."""
    found = faults_of(
        {"id": "a", "type": "set", "values": 1},
        {
            "id": "sub",
            "type": "workflow",
            "needs": ["a"],
            "nodes": [{"id": "b", "type": "set", "values": "{{ nodes.a.output }}"}],
        },
    )

    assert set(found) == {"nodes[1].nodes[0].values"}


def test_a_source_is_never_expanded() -> None:
    """Braces in code are code; values reach a script through its input, arguments and environment."""
    spec = parse(
        {"id": "s", "type": "script", "language": "python", "source": "print('{{ 1 }}')", "args": ["{{ 1 + 1 }}"]}
    )
    world = World(graph_of(spec, name="n"))
    world.hear_begin_only()

    assert world.scripts[0].source == "print('{{ 1 }}')"
    assert world.scripts[0].args == ("2",)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
FIELDS = st.sampled_from(
    [
        "id",
        "type",
        "label",
        "needs",
        "retry",
        "on_error",
        "values",
        "condition",
        "value",
        "cases",
        "seconds",
        "until",
        "prompts",
        "expires_s",
        "items",
        "concurrency",
        "nodes",
        "input",
        "language",
        "source",
        "args",
        "env",
        "stdin",
        "files",
        "limits",
        "timeout_s",
    ]
)
TYPES = st.sampled_from(["set", "if", "switch", "wait", "input", "map", "workflow", "script", "x"])
NODE = st.dictionaries(FIELDS, JSON, max_size=6).flatmap(lambda node: TYPES.map(lambda name: {**node, "type": name}))


@settings(max_examples=400, deadline=None)
@given(
    nodes=st.lists(NODE | JSON, max_size=4), more=st.dictionaries(st.sampled_from(["vars", "input", "name", "x"]), JSON)
)
def test_any_garbage_is_refused_or_read(nodes: list[Any], more: dict[str, Any]) -> None:
    """Never another error than InvalidRequestError, and what is accepted compiles."""
    with suppress(InvalidRequestError):
        graph_of(parse(*nodes, **more), name="n")
