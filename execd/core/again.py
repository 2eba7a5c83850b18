"""Running a part of a workflow: again from a node, what the nodes before it gave being pinned; or only up to one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from execd.core.errors import ConflictError, FieldFault, InvalidRequestError
from execd.core.event_types import TYPE_NAMES
from execd.core.events import Event, InputReceived, NodeCompleted, NodeFailed, NodeId
from execd.core.expressions import references
from execd.core.external import ExternalSpec
from execd.core.fields import Faults, summarise
from execd.core.flows.compiling import ROWS, flow_graph
from execd.core.flows.specs import FlowSpec
from execd.core.nodes import type_named
from execd.core.pins import Pin
from execd.core.specs import ScriptSpec
from execd.core.workflows import ExecutionSpec, StoredNode, WorkflowSpec

READ_TYPES = frozenset({TYPE_NAMES[NodeCompleted], TYPE_NAMES[NodeFailed], TYPE_NAMES[InputReceived]})
"""What is read of the journal of an execution that is run again."""
START = "start"
FAILED = "failed"


def nodes_of(spec: ExecutionSpec) -> tuple[NodeId, ...]:
    """Give the nodes an execution can be run again from; a script has but its start, and so has an engine elsewhere."""
    if isinstance(spec, ExternalSpec):
        return ()
    if isinstance(spec, FlowSpec):
        return tuple(node.id for node in flow_graph(spec).nodes)
    return tuple(node.id for node in spec.nodes) if isinstance(spec, WorkflowSpec) else (NodeId("main"),)


def spec_from(
    spec: ExecutionSpec, begin: str, journal: Iterable[Event], *, former: ExecutionSpec | None = None
) -> ExecutionSpec:
    """Give the spec of a further execution.

    Args:
        spec: what is to run.
        begin: `start`; `failed`: the nodes that did not succeed, and all that come after them; or a node: it, and all
            that come after it. What came before keeps what it gave.
        journal: at least what `READ_TYPES` names of the execution that ended.
        former: what ran, if it is not `spec`. A node that is new, or that does or reads something else than it did, runs
            whatever `begin` says, and so does all that comes after it.

    Raises:
        ConflictError: `failed`, and nothing has failed or was cut short; or an engine elsewhere would have to know where.
    """
    if isinstance(spec, ExternalSpec) and begin != START:
        raise ConflictError("an engine elsewhere does the work, so it can only begin at the start")
    if isinstance(spec, ScriptSpec | ExternalSpec):
        return spec
    if begin == START:
        return msgspec.structs.replace(spec, pins={})
    if isinstance(spec, FlowSpec):
        return _flow_from(spec, begin, journal, is_same=former is None or _is_same_flow(spec, former))
    journal = list(journal)
    answers = _answers(journal, spec if former is None else former)
    given = {
        e.node: _pin(e.data, answers.get(e.node, {}))
        for e in journal
        if isinstance(e.data, NodeCompleted) and e.node is not None
    }
    changed = set() if former is None else _changed(spec, former)
    given = {name: pin for name, pin in given.items() if name not in changed}
    broken = {event.node for event in journal if isinstance(event.data, NodeFailed)}
    own = [node.id for node in spec.nodes]
    missing = [name for name in own if name not in given]
    begins = missing if begin == FAILED else [NodeId(begin), *changed]
    if begin == FAILED and not broken and len(given.keys() & set(own)) == len(own):
        raise ConflictError("every node completed; run it again from `start` or from a node")
    again = _with_what_follows(spec.nodes, begins)
    return msgspec.structs.replace(
        spec, pins={name: given[name] for name in own if name in given and name not in again}
    )


def spec_until(spec: ExecutionSpec, until: str | None, *, begin: str = START) -> ExecutionSpec:
    """Give what has to run to get what one node gives: that node, and all it needs.

    Args:
        until: None: everything.
        begin: as for `spec_from`, which comes first; a node has to be among what is left, or nothing would run again.

    Raises:
        InvalidRequestError: there is no such node, or it does not come after `begin`.
    """
    if until is None:
        return spec
    nodes = spec.nodes if isinstance(spec, WorkflowSpec) else ()
    needed = _with_what_precedes(nodes, NodeId(until))
    if not needed:
        raise _wrong_until(
            f"is {until[:64]!r}",
            ", ".join(node.id for node in nodes[:50]) or "nothing: only workflows have nodes to choose",
        )
    if begin not in {START, FAILED} and begin not in needed:
        raise _wrong_until(f"is {until!r}, which does not need {begin!r}", f"{begin}, or a node that comes after it")
    assert isinstance(spec, WorkflowSpec)
    return msgspec.structs.replace(
        spec,
        nodes=tuple(node for node in nodes if node.id in needed),
        pins={name: pin for name, pin in spec.pins.items() if name in needed},
    )


def _wrong_until(message: str, accepted: str) -> InvalidRequestError:
    fault = FieldFault(path="until", message=message, accepted=accepted)
    return InvalidRequestError(summarise((fault,)), faults=(fault,))


def _with_what_precedes(nodes: Sequence[StoredNode], until: NodeId) -> set[NodeId]:
    needs = {node.id: node.needs for node in nodes}
    found: set[NodeId] = set()
    waiting = [until] if until in needs else []
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(need.node for need in needs[name])
    return found


def _is_same_flow(spec: FlowSpec, former: ExecutionSpec) -> bool:
    return isinstance(former, FlowSpec) and spec == msgspec.structs.replace(former, pins=spec.pins)


def _flow_from(spec: FlowSpec, begin: str, journal: Iterable[Event], *, is_same: bool) -> FlowSpec:
    """A flow is a chain: what comes before the first node to run keeps what it gave, unless the flow has changed. With rows
    of data there is no part to keep."""
    own = [node.id for node in flow_graph(spec).nodes]
    events = list(journal)
    answers = _answers(events, spec)
    given = {
        e.node: _pin(e.data, answers.get(e.node, {}))
        for e in events
        if isinstance(e.data, NodeCompleted) and e.node is not None and e.node in own
    }
    broken = [own.index(e.node) for e in events if isinstance(e.data, NodeFailed) and e.node in own]
    # What stands before a node that completed and did neither complete nor fail was skipped, and will be again.
    first = min([*broken, 1 + max((own.index(name) for name in given), default=-1)])
    if begin == FAILED and first == len(own):
        raise ConflictError("every node completed; run it again from `start` or from a node")
    if begin != FAILED:
        first = own.index(NodeId(begin))
    kept = own[:first] if is_same and own[0] != ROWS else []
    return msgspec.structs.replace(spec, pins={name: given[name] for name in kept if name in given})


def _changed(spec: WorkflowSpec, former: ExecutionSpec) -> set[NodeId]:
    """Name the nodes that need not give what they gave: new ones, and those with other fields, needs or values to read."""
    if not isinstance(former, WorkflowSpec):
        return {node.id for node in spec.nodes}
    names = {name for name in ("input", "vars") if getattr(spec, name) != getattr(former, name)}
    before = {node.id: node for node in former.nodes}
    return {
        node.id
        for node in spec.nodes
        if node.id not in before or _doing(node) != _doing(before[node.id]) or (names and names & _read_by(node))
    }


def _doing(node: StoredNode) -> tuple[object, ...]:
    return node.type, node.config, node.needs, node.nodes


def _read_by(node: StoredNode) -> set[str]:
    """Give what a node's expressions begin with, and those of its body."""
    node_type = type_named(node.type)
    spec = msgspec.convert(node.config, node_type.spec_type)
    compiled = node_type.compile(spec, path=node.id, faults=Faults())
    return {reference.root for reference in references(compiled)}.union(*map(_read_by, node.nodes))


def _pin(data: NodeCompleted, sealed: dict[str, str]) -> Pin:
    return Pin(output=data.output, port=data.port, sealed=sealed)


def _answers(journal: Iterable[Event], ran: ExecutionSpec) -> dict[NodeId, dict[str, str]]:
    """Give what was answered in secret, in what ran or before it."""
    kept = {name: pin.sealed for name, pin in ran.pins.items()} if isinstance(ran, WorkflowSpec | FlowSpec) else {}
    return kept | {e.node: e.data.sealed for e in journal if isinstance(e.data, InputReceived) and e.node is not None}


def _with_what_follows(nodes: Sequence[StoredNode], begins: Iterable[NodeId]) -> set[NodeId]:
    dependents: dict[NodeId, list[NodeId]] = {node.id: [] for node in nodes}
    for node in nodes:
        for need in node.needs:
            dependents[need.node].append(node.id)
    found: set[NodeId] = set()
    waiting = list(begins)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(dependents[name])
    return found
