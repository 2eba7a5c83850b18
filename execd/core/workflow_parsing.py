"""From plain JSON to a checked workflow; the only way to a `WorkflowSpec` from outside.

Everything is checked at once, before anything runs: fields, types, needs and their ports, cycles, expressions and what
they refer to. Each fault has its path.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from graphlib import CycleError, TopologicalSorter
from typing import Any

import msgspec

from execd.core.events import NodeId
from execd.core.expressions import SECRETS, Reference, compile_value, references
from execd.core.fields import Faults, Fields, Range, describe
from execd.core.graph import Need, OnError
from execd.core.ids import NODE_ID
from execd.core.nodes import TYPES_BY_NAME
from execd.core.nodes.bodies import read_timeout
from execd.core.nodes.kinds import ERROR, OUT, Beginning, NodeType, Reading
from execd.core.nodes.set_values import SetSpec
from execd.core.parsing import MAX_RETRIES, read_name, read_priority
from execd.core.script_fields import ScriptTools
from execd.core.specs import Priority, RetryPolicy
from execd.core.workflows import StoredNode, WorkflowSpec

WORKFLOW_FIELDS = ("kind", "name", "priority", "parallelism", "timeout_s", "input", "vars", "nodes", "until")
NODE_FIELDS = ("id", "type", "label", "needs", "retry", "on_error")
RETRY_FIELDS = ("retries", "delay_s", "factor", "jitter", "on_failure", "on_lost")
NAMES = frozenset({"nodes", "input", "vars", "env", SECRETS})
"""What expressions may begin with anywhere."""
MAX_NODES = 10_000
MAX_DEPTH = 8
"""Bodies in bodies; each level is a part of every name inside."""
MAX_PARALLELISM = 1000
_ID_WORDS = "letters, digits, _ and -, beginning with a letter, at most 64"
_NODES = "a list of {id, type, …}"


class WorkflowRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow and how to queue it, checked."""

    name: str
    spec: WorkflowSpec
    priority: int = Priority.NORMAL
    until: str | None = None
    """Run only this node and what it needs."""


def parse_workflow(body: object, tools: ScriptTools) -> WorkflowRequest:
    """Read a request to run a workflow.

    Raises:
        InvalidRequestError: `faults` has an entry for everything that is wrong.
    """
    faults = Faults()
    fields = Fields(body, faults, known=WORKFLOW_FIELDS)
    if not isinstance(body, Mapping):
        faults.raise_if_any()
    reader = _Reader(Reading(faults=faults, tools=tools))
    nodes = reader.read_nodes(fields, _Surroundings(names=NAMES, env=tools.env_names), depth=0)
    name = read_name(fields)
    spec = WorkflowSpec(
        nodes=nodes,
        parallelism=fields.integer("parallelism", Range(1, MAX_PARALLELISM, unit="nodes"), default=16),
        timeout_s=read_timeout(fields),
        input=fields.raw("input"),
        vars=dict(fields.mapping("vars", max_count=1000, accepted="an object of constants")),
    )
    priority = read_priority(fields)
    until = _read_until(fields, nodes)
    faults.raise_if_any()
    return WorkflowRequest(name=name or "workflow", spec=spec, priority=priority, until=until)


def _read_until(fields: Fields, nodes: Sequence[StoredNode]) -> str | None:
    until = fields.text("until", max_chars=64, accepted=_ID_WORDS)
    names = [node.id for node in nodes]
    if until is not None and names and until not in names:
        fields.fault("until", f"is {until!r}, which is no node here", ", ".join(names[:50]))
    return until


class _Surroundings(msgspec.Struct, frozen=True):
    """What the expressions of a graph's nodes may refer to, besides the nodes of their own graph."""

    names: frozenset[str]
    env: frozenset[str]
    """Variables of the server."""
    outer: frozenset[str] = frozenset()
    """Nodes around a body that are over when it runs."""


class _Draft(msgspec.Struct):
    """A node that was read, and where it stands."""

    stored: StoredNode
    node_type: NodeType[Any]
    spec: msgspec.Struct
    fields: Fields
    path: str


class _UnknownType(NodeType[SetSpec]):
    """Stands in for a type that does not exist, so that what else is wrong with its node, and with those that need it, is
    told as well."""

    name = "unknown"
    spec_type = SetSpec

    def read(self, fields: Fields, reading: Reading) -> SetSpec:
        return SetSpec(values=None)

    def begin(self, spec: SetSpec, values: Any, at: datetime) -> Beginning:
        raise AssertionError("a request with an unknown type is refused")


_UNKNOWN: NodeType[Any] = _UnknownType()


class _Reader:
    """Reads the nodes of one request, bodies and all."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._faults = reading.faults
        self._count = 0

    def read_nodes(self, fields: Fields, around: _Surroundings, *, depth: int) -> tuple[StoredNode, ...]:
        """Read a graph; empty after a fault that leaves nothing to read."""
        items = fields.items("nodes", max_count=MAX_NODES, accepted=_NODES)
        if not items:
            fields.fault("nodes", "is missing or empty", _NODES)
            return ()
        self._count += len(items)
        if self._count > MAX_NODES:
            fields.fault(
                "nodes", f"makes {self._count} nodes with those before it", f"at most {MAX_NODES} in all bodies"
            )
            return ()
        if depth > MAX_DEPTH:
            fields.fault("nodes", f"is nested more than {MAX_DEPTH} deep", f"bodies at most {MAX_DEPTH} deep")
            return ()
        where = fields.path_of("nodes")
        drafts = [
            draft for i, item in enumerate(items) if (draft := self._read_node(item, f"{where}[{i}]")) is not None
        ]
        self._check_ids(drafts, around)
        order = self._check_needs(drafts)
        for draft in drafts:
            self._check_expressions(draft, around, order)
            if draft.node_type.has_body:
                inner = self._inside(draft, around, order)
                draft.stored = msgspec.structs.replace(
                    draft.stored, nodes=self.read_nodes(draft.fields, inner, depth=depth + 1)
                )
        return tuple(draft.stored for draft in drafts)

    def _inside(self, draft: _Draft, around: _Surroundings, order: _Order) -> _Surroundings:
        """A `map`'s body sees what is around it; a `workflow` only its input."""
        if draft.stored.type != "map":
            return _Surroundings(names=NAMES, env=around.env)
        outer = around.outer | order.before(draft.stored.id)
        return _Surroundings(names=around.names | {"item", "index"}, env=around.env, outer=outer)

    def _read_node(self, item: object, path: str) -> _Draft | None:
        if not isinstance(item, Mapping):
            self._faults.add(path, describe(item), "a node: {id, type, …}")
            return None
        kind = item.get("type")
        node_type = TYPES_BY_NAME.get(kind, _UNKNOWN) if isinstance(kind, str) else _UNKNOWN
        body = ("nodes",) if node_type.has_body else ()
        known: Collection[str] = item if node_type is _UNKNOWN else (*NODE_FIELDS, *node_type.fields, *body)
        fields = Fields(item, self._faults, known=known, path=path)
        identifier = fields.required_text("id", max_chars=64, accepted=_ID_WORDS)
        if identifier and not NODE_ID.fullmatch(identifier):
            fields.fault("id", f"is {identifier!r}", _ID_WORDS)
        if node_type is _UNKNOWN:
            found = "is missing" if kind is None else f"is {str(kind)[:64]!r}"
            fields.fault("type", found, ", ".join(TYPES_BY_NAME))
        spec = node_type.read(fields, self._reading)
        label = fields.text("label", max_chars=200, accepted="one line of text") or identifier
        stored = StoredNode(
            id=NodeId(identifier),
            type=node_type.name,
            label=label,
            config=msgspec.to_builtins(spec),
            needs=self._read_needs(fields),
            retry=self._read_retry(fields, has_body=node_type.has_body),
            on_error=OnError(fields.choice("on_error", [str(choice) for choice in OnError], default="stop")),
        )
        return _Draft(stored=stored, node_type=node_type, spec=spec, fields=fields, path=path)

    def _read_needs(self, fields: Fields) -> tuple[Need, ...]:
        needs = []
        for index, value in enumerate(fields.items("needs", max_count=MAX_NODES, accepted="a list of node ids")):
            if not isinstance(value, str):
                fields.fault(f"needs[{index}]", describe(value), "a node's id, or `id.port`")
                continue
            name, _, port = value.partition(".")
            needs.append(Need(NodeId(name), port or OUT))
        return tuple(needs)

    def _read_retry(self, fields: Fields, *, has_body: bool) -> RetryPolicy:
        if not fields.has("retry"):
            return RetryPolicy()
        if has_body:
            fields.fault("retry", "stands at a node with a body", "retry at the nodes inside it")
        inner = Fields(fields.raw("retry"), self._faults, known=RETRY_FIELDS, path=fields.path_of("retry"))
        return RetryPolicy(
            retries=inner.integer("retries", Range(0, MAX_RETRIES), default=1),
            delay_s=inner.number("delay_s", Range(0.0, 300.0, unit="seconds"), default=1.0),
            factor=inner.number("factor", Range(1.0, 10.0), default=2.0),
            jitter=inner.number("jitter", Range(0.0, 1.0), default=0.1),
            on_failure=inner.flag("on_failure", default=True),
            on_lost=inner.flag("on_lost", default=False),
        )

    def _check_ids(self, drafts: Sequence[_Draft], around: _Surroundings) -> None:
        seen: set[str] = set()
        for draft in drafts:
            if draft.stored.id in around.outer:
                found = f"{draft.stored.id!r} is the id of a node around this body, which is read by this name here"
                draft.fields.fault("id", found, "another id")
            if draft.stored.id and draft.stored.id in seen:
                draft.fields.fault("id", f"{draft.stored.id!r} is there already", "an id no other node here has")
            seen.add(draft.stored.id)

    def _check_needs(self, drafts: Sequence[_Draft]) -> _Order:
        """Check every edge, and give what comes before what."""
        by_id = {draft.stored.id: draft for draft in drafts}
        needs: dict[str, set[str]] = {draft.stored.id: set() for draft in drafts}
        for draft in drafts:
            for index, need in enumerate(draft.stored.needs):
                wrong = _fault_of_need(need, by_id)
                if wrong is not None:
                    draft.fields.fault(f"needs[{index}]", *wrong)
                else:
                    needs[draft.stored.id].add(need.node)
        try:
            TopologicalSorter(needs).prepare()
        except CycleError as error:
            cycle: list[str] = error.args[1]
            path = by_id[NodeId(cycle[0])].path
            self._faults.add(f"{path}.needs", f"is part of a cycle: {' -> '.join(reversed(cycle))}", "an acyclic graph")
        return _Order(needs)

    def _check_expressions(self, draft: _Draft, around: _Surroundings, order: _Order) -> None:
        compiled = compile_value(draft.node_type.templated(draft.spec), path=draft.path, faults=self._faults)
        for reference in sorted(references(compiled), key=str):
            wrong = _fault_of_reference(reference, draft.stored.id, around, order)
            if wrong is not None:
                self._faults.add(reference.field or draft.path, *wrong)


class _Order:
    """What comes before what in one graph. Asked for few pairs, so it walks up instead of keeping every pair there is."""

    def __init__(self, needs: Mapping[str, set[str]]) -> None:
        self._needs = needs

    def __contains__(self, node: str) -> bool:
        return node in self._needs

    def is_before(self, earlier: str, node: str) -> bool:
        return earlier in self._needs[node] or earlier in self.before(node)

    def before(self, node: str) -> frozenset[str]:
        """Give every node that is over when this one starts, or was skipped."""
        found: set[str] = set()
        waiting = list(self._needs[node])
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting.extend(self._needs[name])
        return frozenset(found)


def _fault_of_need(need: Need, by_id: Mapping[NodeId, _Draft]) -> tuple[str, str] | None:
    other = by_id.get(need.node)
    if other is None:
        return f"names {need.node!r}, which is no node here", ", ".join(sorted(by_id)[:20])
    if other.node_type is _UNKNOWN:
        return None
    ports = (OUT, ERROR, *other.node_type.ports(other.spec))
    if need.port not in ports:
        return f"names the port {need.port!r}, which {need.node!r} has not", ", ".join(ports)
    if need.port == ERROR and other.stored.on_error is not OnError.BRANCH:
        return f"names the port 'error' of {need.node!r}, which never takes it", f"on_error: branch at {need.node!r}"
    return None


def _fault_of_reference(
    reference: Reference, node: str, around: _Surroundings, order: _Order
) -> tuple[str, str] | None:
    """A name that cannot exist is refused; what a name holds is known only when it runs."""
    if reference.root not in around.names:
        return f"reads {reference.root!r}, which is not there", ", ".join(sorted(around.names))
    if reference.root in {"env", SECRETS}:
        return _fault_of_outside(reference, around)
    if reference.root != "nodes" or not reference.path:
        return None
    name = str(reference.path[0])
    if name in around.outer or (name in order and order.is_before(name, node)):
        return None
    if name in order:
        return (
            f"reads the node {name!r}, which does not come before it",
            "a node among its needs, or before one of them",
        )
    there = ", ".join(sorted(order.before(node) | around.outer)[:20])
    return f"reads the node {name!r}, which is not there", there or "input, vars"


def _fault_of_outside(reference: Reference, around: _Surroundings) -> tuple[str, str] | None:
    """What comes from outside is read by a name that stands there, so that nothing but it has to be known. Whether a
    workspace has a secret is seen when it is submitted."""
    root = reference.root
    if len(reference.path) != 1 or not isinstance(reference.path[0], str):
        return f"reads {reference}, and not one text by its name", f"{root}.NAME"
    if root == "env" and reference.path[0] not in around.env:
        words = ", ".join(sorted(around.env)) or "none: the setting expressions.env names no variable"
        return f"reads the variable {reference.path[0]!r}, which is not given to workflows here", words
    return None
