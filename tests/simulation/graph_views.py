"""How the nodes of a graph stand, and what follows for a node from its spec and from those before it.

The second working out of what `execd/core/joining.py` and the node types decide; it shares no code with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import msgspec

from execd.core.event_parts import Failure
from execd.core.graph import Graph, Need, Node, OnError
from execd.core.nodes.bodies import CallSpec, MapSpec
from execd.core.nodes.conditions import IfSpec, SwitchSpec
from execd.core.nodes.http_call import HttpSpec
from execd.core.nodes.llm import LlmSpec
from execd.core.nodes.scripts import StepSpec
from execd.core.nodes.set_values import SetSpec
from execd.core.nodes.waiting import InputSpec, WaitSpec
from tests.simulation.calls import KEY_HEADER, KEY_MARK
from tests.simulation.hidden import NAME
from tests.simulation.values_oracle import evaluate, last_value

CUT_OFF = {"worker_lost", "sandbox_lost"}
"""Failures of an attempt whose deeds nobody knows."""
DEFECT = "internal_error"
CUT_SHORT = "cut_short"
NEVER_AGAIN = {DEFECT, CUT_SHORT, "input_expired", "output_incomplete"}
"""Failures that no policy repeats."""
MILLISECOND = timedelta(milliseconds=1)
OVER = {"completed", "failed", "skipped"}


@dataclass(slots=True)
class View:
    """How one node stands."""

    status: str = "pending"
    attempt: int = 0
    output: Any = None
    port: str | None = None
    error: Failure | None = None
    expected: tuple[str, Any, str | None] | None = None
    """What it must do next, where that follows from its spec: (`gives`, output, port), (`fails`, code, None) or
    (`expands`, items, None)."""
    due: Any = None
    """What it waits for: a moment, or the prompt that is open."""
    closed: list[Scope] = field(default_factory=list)
    """The runs of its body that are over, in that order."""
    opened: int = 0
    text: bytearray = field(default_factory=bytearray)
    """What this attempt wrote to stdout."""
    is_text_cut: bool = False
    """Whether a limit dropped the rest of it."""
    expires_at: datetime | None = None
    """When its body's time is over."""
    has_failed_body: bool = False
    """Whether nothing more may start in its body: an item failed that it does not survive, or its time was over."""
    is_timed_out: bool = False
    typed: dict[str, str] = field(default_factory=dict)
    """What it was answered in secret: expressions read it, and nobody else."""


@dataclass(slots=True)
class Scope:
    """One run of a graph."""

    name: str
    graph: Graph
    nodes: dict[str, Node]
    views: dict[str, View]
    left: int
    input: Any
    around: Scope | None = None
    owner: str = ""
    index: int | None = None
    failure: Failure | None = None
    """Of the first node that stops it."""


def open_scope(name: str, graph: Graph, given: Any) -> Scope:
    """Begin a run of a graph."""
    nodes: dict[str, Node] = {node.id: node for node in graph.nodes}
    return Scope(name, graph, nodes, {node: View() for node in nodes}, len(nodes), given)


def decide(scope: Scope, need: Need) -> bool | None:
    """Say whether an edge was taken; None: not decided."""
    view, node = scope.views[need.node], scope.nodes[need.node]
    if view.status == "completed":
        return need.port in {"out", view.port}
    if view.status == "skipped":
        return False
    code = view.error.code if view.error is not None else None
    if view.status != "failed" or node.on_error is OnError.STOP or code in {CUT_SHORT, DEFECT}:
        return None
    return need.port == ("out" if node.on_error is OnError.CONTINUE else "error")


def is_met(scope: Scope, node: Node) -> bool:
    """Whether a node may start: all its needs are decided, and one was taken."""
    decisions = [decide(scope, need) for need in node.needs]
    return not decisions or (None not in decisions and True in decisions)


def needs_of(scope: Scope, node: Node) -> dict[str, bool | None]:
    """Give how each need of a node stands, for messages."""
    return {f"{need.node}.{need.port}": decide(scope, need) for need in node.needs}


def may_repeat(node: Node, error: Failure, attempt: int) -> bool:
    """Whether its policy repeats a node after this failure."""
    group = error.details.get("group")
    has_reason = group == "platform" or (node.retry.on_failure and group in {"program", "limit"})
    is_final = error.code == "http:status" and error.details["status"] < 500
    if is_final or error.code in NEVER_AGAIN or not has_reason or attempt > node.retry.retries:
        return False
    return node.retry.on_lost or error.code not in CUT_OFF


def names_in(scope: Scope, root: Scope, secret: str) -> dict[str, Any]:
    """Give what the expressions of a scope's nodes read: a body of a `map` sees what is around it."""
    names: dict[str, Any] = {"vars": root.graph.vars, "nodes": {}, "secrets": {NAME: secret}}
    if scope.index is not None:
        names |= {"item": scope.input, "index": scope.index}
    here: Scope | None = scope
    while here is not None:
        for name, view in here.views.items():
            shown = {"status": view.status}
            output = {**view.output, **view.typed} if view.typed and view.status == "completed" else view.output
            names["nodes"].setdefault(name, {**shown, "output": output} if view.status in OVER else shown)
        if here.index is None:
            names["input"] = here.input
            break
        here = here.around
    return names


def begin(node: Node, names: Mapping[str, Any]) -> tuple[str, Any, str | None] | None:
    """Give what a node must do first; None: whatever its program, or time, makes of it.

    Raises:
        NoValueError: it must fail.
    """
    spec = node.spec
    match spec:
        case SetSpec():
            return "gives", evaluate(spec.values, names), None
        case IfSpec():
            result = evaluate(spec.condition, names)
            if not isinstance(result, bool):
                return "fails", "condition", None
            return "gives", {"result": result}, "true" if result else "false"
        case SwitchSpec():
            value = evaluate(spec.value, names)
            is_number = isinstance(value, int) and not isinstance(value, bool)
            port = next((name for name, case in spec.cases.items() if is_number and case == value), "default")
            return "gives", {"case": port, "value": value}, port
        case MapSpec():
            items = evaluate(spec.items, names)
            return ("expands", items, None) if isinstance(items, list) else ("fails", "items", None)
        case CallSpec():
            return "expands", [evaluate(spec.input, names)], None
        case InputSpec():
            return "asks", [evaluate(prompt.label, names) for prompt in spec.prompts], None
        case WaitSpec() if spec.until is None and not _is_length(evaluate(spec.seconds, names)):
            return "fails", "wait", None
    return None


def read_by(spec: StepSpec | HttpSpec | LlmSpec, names: Mapping[str, Any]) -> dict[str, Any]:
    """Give what a program or a call is given.

    Raises:
        NoValueError: its node must fail.
    """
    match spec:
        case StepSpec(input=given, script=script):
            env = evaluate(dict(script.env), names)
            secrets = {variable: names["secrets"][name] for variable, name in script.secrets.items()}
            return {"input": evaluate(given, names), "env": env | secrets}
        case HttpSpec():
            key = (evaluate(spec.headers, names) or {}).get(KEY_HEADER)
            return {"url": evaluate(spec.url, names), "key": key}
        case LlmSpec():
            return {"key": evaluate(spec.prompt, names).partition(KEY_MARK)[2] or None}


def _is_length(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def output_of_script(view: View) -> dict[str, Any]:
    """Give what a script that succeeded gives."""
    text: str | None
    try:
        text = view.text.decode()
    except UnicodeDecodeError as error:
        is_cut = view.is_text_cut and error.reason == "unexpected end of data"
        text = view.text[: error.start].decode() if is_cut else None
    return {"result": last_value(text or ""), "stdout": text, "exit_code": 0}


def join_items(node: Node, view: View, count: int) -> Any:
    """Put together what the items gave, in their order; an item that failed is its error, where the `map` goes on."""
    found: dict[int, Any] = {}
    for scope in view.closed:
        if scope.failure is None and not is_cut(scope):
            found[scope.index or 0] = output_of(scope)
        elif scope.failure is not None and isinstance(node.spec, MapSpec) and node.spec.on_item_error == "continue":
            found[scope.index or 0] = {"error": msgspec.to_builtins(scope.failure)}
    if sorted(found) != list(range(count)):
        return f"only the items {sorted(found)} of {count}"
    return [found[index] for index in range(count)] if isinstance(node.spec, MapSpec) else found[0]


def is_cut(scope: Scope) -> bool:
    """Whether something in it was not run or not finished, because all around it ended."""
    return any(view.error is not None and view.error.code in {CUT_SHORT, "not_run"} for view in scope.views.values())


def output_of(scope: Scope) -> Any:
    """Give what a run of a body gives: what its last nodes gave, by id if there are several."""
    needed = {need.node for node in scope.graph.nodes for need in node.needs}
    ends = {
        node.id: scope.views[node.id].output
        for node in scope.graph.nodes
        if node.id not in needed and scope.views[node.id].status != "skipped"
    }
    return next(iter(ends.values())) if len(ends) == 1 else ends


def find_node(graph: Graph, name: str) -> Node:
    """Give the node that a full id names, in whichever item."""
    *owners, last = (part.partition("[")[0] for part in name.split("/"))
    for owner in owners:
        body = next(node.body for node in graph.nodes if node.id == owner)
        assert body is not None
        graph = body
    return next(node for node in graph.nodes if node.id == last)
