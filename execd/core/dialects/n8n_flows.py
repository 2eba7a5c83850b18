"""Flows as React Flow draws them, compiled to workflows: `{nodes, edges}` in, a `WorkflowSpec` out.

All that is wrong is told at once, with its path. A reference to a node that is not there is no fault but a warning: texts
may hold braces for other reasons, and such a reference stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any

import msgspec

from execd.core.events import NodeId
from execd.core.fields import Faults, Fields, describe, text_fault
from execd.core.graph import Need
from execd.core.nodes.kinds import OUT, Reading
from execd.core.nodes.n8n import DRAWING_TYPE_WORDS, find_flow_type
from execd.core.nodes.n8n.kinds import FlowSpec, FlowType
from execd.core.nodes.n8n.logic import SIDES
from execd.core.nodes.n8n.templates import Ambiguous, Names, Ref, choose, references_in
from execd.core.parsing import read_name, read_priority
from execd.core.script_fields import ScriptTools
from execd.core.specs import Priority
from execd.core.workflows import StoredNode, WorkflowSpec

DRAWING_KIND = "reactflow"
"""As requests and definitions name these documents; what runs is a workflow."""
MAX_NODES = 1000
"""Of one flow: people draw them."""
MAX_EDGES = 10_000
MAX_REFERENCES = 10_000
"""Of all nodes, the same one in one node counted once: finding them takes some 50 ms."""
MAX_WARNINGS = 50
"""Told at most, as faults are."""
MAX_ID_CHARS = 200
MAX_LABEL_CHARS = 200
_ID_WORDS = "printable text without `/`, at most 200 characters, or a number"
_SCHEDULE = "trigger-schedule"


class FlowWarning(msgspec.Struct, frozen=True):
    """Something that looks wrong and does not stop the flow."""

    path: str
    message: str


class FlowRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A flow and how to queue it, checked."""

    name: str
    spec: WorkflowSpec
    priority: int = Priority.NORMAL
    warnings: tuple[FlowWarning, ...] = ()


class _Drawn(msgspec.Struct):
    """A node as it was read."""

    id: str
    path: str
    type: str
    label: str
    kind: FlowType[Any] | None
    """None: there is no such type."""
    spec: FlowSpec
    needs: dict[tuple[str, str], None] = {}
    """(node, port), in the order of the edges."""


def parse_drawing(body: object, tools: ScriptTools) -> FlowRequest:
    """Read a request to run a flow: `{name, data: {nodes, edges}}`, or nodes and edges beside the name.

    Raises:
        InvalidRequestError: `faults` has an entry for everything that is wrong.
    """
    faults = Faults()
    if not isinstance(body, Mapping):
        faults.refuse("", describe(body), "a flow: {name, data: {nodes, edges}}")
    fields = Fields(body, faults, known=body)
    inner = body.get("data")
    graph = fields if inner is None else Fields(inner, faults, known=_names(inner), path="data")
    compiler = _Compiler(faults, tools)
    nodes = compiler.compile(graph)
    name, priority = read_name(fields), read_priority(fields)
    faults.raise_if_any()
    spec = WorkflowSpec(nodes=nodes, input=fields.raw("input"))
    return FlowRequest(name=name or "flow", spec=spec, priority=priority, warnings=tuple(compiler.warnings))


def _names(table: object) -> Sequence[str]:
    return tuple(table) if isinstance(table, Mapping) else ()


class _Compiler:
    """Compiles one flow. Owns: what was found to be odd."""

    def __init__(self, faults: Faults, tools: ScriptTools) -> None:
        self._faults = faults
        self._reading = Reading(faults=faults, tools=tools)
        self._needs: dict[str, set[str]] = {}
        self._before = _Before((), {})
        self._names = Names(())
        self._candidates: dict[str, tuple[tuple[Ref, ...], ...]] = {}
        self._reference_count = 0
        self.warnings: list[FlowWarning] = []

    def compile(self, graph: Fields) -> tuple[StoredNode, ...]:
        items = graph.items("nodes", max_count=MAX_NODES, accepted="a list of nodes")
        if not items and not self._faults.found:
            graph.fault("nodes", "is missing or empty", "a list of nodes")
        drawn = [self._read_node(item, f"{graph.path_of('nodes')}[{i}]") for i, item in enumerate(items)]
        by_id = self._index([node for node in drawn if node is not None])
        self._needs = {name: set() for name in by_id}
        edges = graph.items("edges", max_count=MAX_EDGES, accepted="a list of {source, target}")
        for index, edge in enumerate(edges):
            self._read_edge(edge, f"{graph.path_of('edges')}[{index}]", by_id)
        self._refuse_cycle(by_id)
        self._names = Names(by_id)
        return tuple(map(self._finish, by_id.values()))

    def _index(self, drawn: Sequence[_Drawn]) -> dict[str, _Drawn]:
        by_id: dict[str, _Drawn] = {}
        for node in drawn:
            if node.id in by_id:
                self._faults.add(f"{node.path}.id", f"{node.id!r} is there already", "an id no other node has")
            by_id.setdefault(node.id, node)
        return by_id

    def _read_node(self, item: object, path: str) -> _Drawn | None:
        if not isinstance(item, Mapping):
            self._faults.add(path, describe(item), "a node: {id, data: {type, label, config}}")
            return None
        identifier = self._read_id(item.get("id"), f"{path}.id")
        data = item.get("data")
        fields = Fields({} if data is None else data, self._faults, known=_names(data), path=f"{path}.data")
        if not fields.has("type"):  # an editor may draw it under its own type, and say nothing more
            outer = item.get("type")
            data = {**(data if isinstance(data, Mapping) else {}), "type": outer}
            fields = Fields(data, self._faults, known=data, path=f"{path}.data")
        name = fields.required_text("type", max_chars=64, accepted=DRAWING_TYPE_WORDS)
        kind = find_flow_type(name)
        if kind is None and name:
            fields.fault("type", f"is {name[:64]!r}, which is no node type", DRAWING_TYPE_WORDS)
        if name == _SCHEDULE and len(self.warnings) < MAX_WARNINGS:
            self.warnings.append(FlowWarning(path, "its schedule is kept, but nothing starts the flow by it"))
        spec = FlowSpec() if kind is None else kind.read(fields, self._reading)
        label = fields.text("label", max_chars=MAX_LABEL_CHARS, accepted="one line of text") or identifier
        return _Drawn(id=identifier, path=path, type=name, label=label, kind=kind, spec=spec, needs={})

    def _read_id(self, value: object, path: str) -> str:
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        wrong = text_fault(value, max_chars=MAX_ID_CHARS) if isinstance(value, str) else describe(value)
        if isinstance(value, str) and wrong is None and (not value or "/" in value or not value.isprintable()):
            wrong = "is empty" if not value else "has a `/` or no printable characters"
        if wrong is not None:
            self._faults.add(path, wrong, _ID_WORDS)
        return value if isinstance(value, str) else ""

    def _read_edge(self, edge: object, path: str, by_id: Mapping[str, _Drawn]) -> None:
        if not isinstance(edge, Mapping):
            self._faults.add(path, describe(edge), "an edge: {source, target}")
            return
        ends = [self._read_end(edge, name, path, by_id) for name in ("source", "target")]
        if ends[0] is None or ends[1] is None:
            return
        source, target = ends[0], ends[1]
        port = self._read_port(edge.get("sourceHandle"), source, f"{path}.sourceHandle")
        target.needs[source.id, port] = None
        self._needs[target.id].add(source.id)

    def _read_end(self, edge: Mapping[str, object], name: str, path: str, by_id: Mapping[str, _Drawn]) -> _Drawn | None:
        value = edge.get(name)
        key = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
        if key not in by_id:
            shown = f"is {key[:64]!r}, which is no node" if key else describe(value)
            self._faults.add(f"{path}.{name}", shown, "the id of a node of this flow")
        return by_id.get(key)

    def _read_port(self, handle: object, source: _Drawn, path: str) -> str:
        """Only a condition has sides; without a handle an edge is on the true one."""
        if source.kind is None or not source.kind.ports(source.spec):
            return OUT
        if handle is None or handle == "":
            return SIDES[0]
        word = str(handle).lower()
        if word not in SIDES:
            self._faults.add(path, f"is {word[:64]!r}", "true or false, the sides of a condition")
        return word

    def _refuse_cycle(self, by_id: Mapping[str, _Drawn]) -> None:
        try:
            order = tuple(TopologicalSorter(self._needs).static_order())
        except CycleError as error:
            cycle: list[str] = error.args[1]
            path = by_id[cycle[0]].path
            self._faults.add(path, f"is part of a cycle: {' -> '.join(reversed(cycle))}", "an acyclic graph")
        else:
            self._before = _Before(order, self._needs)

    def _finish(self, node: _Drawn) -> StoredNode:
        spec = msgspec.structs.replace(node.spec, node=node.id, refs=self._resolve(node))
        return StoredNode(
            id=NodeId(node.id),
            type=node.type,
            label=node.label,
            config=msgspec.to_builtins(spec),
            needs=tuple(Need(NodeId(name), port) for name, port in node.needs),
        )

    def _resolve(self, node: _Drawn) -> dict[str, Ref]:
        """Find where the references of a node lead: among the nodes before it, which are all it can read."""
        verbatim = frozenset() if node.kind is None else node.kind.verbatim
        config = {name: value for name, value in node.spec.config.items() if name not in verbatim}
        found: dict[str, Ref | None] = {}
        for inner, path in references_in(config, path=f"{node.path}.data.config"):
            if inner in found:
                continue
            self._reference_count += 1
            if self._reference_count <= MAX_REFERENCES:
                found[inner] = self._choose(inner, node, path)
            elif self._reference_count == MAX_REFERENCES + 1:
                self._faults.add(path, "has too many references with those before it", f"at most {MAX_REFERENCES}")
        return {inner: ref for inner, ref in found.items() if ref is not None}

    def _choose(self, inner: str, node: _Drawn, path: str) -> Ref | None:
        candidates = self._candidates.get(inner)
        if candidates is None:
            candidates = self._candidates[inner] = self._names.candidates(inner)
        ref = choose(candidates, lambda other: self._before.is_before(other, node.id))
        if isinstance(ref, Ambiguous):
            words = f"reads {{{{{inner}}}}}, which may be any of {', '.join(ref.nodes)}"
            self._faults.add(path, words, "the whole id of a node")
        elif isinstance(ref, Ref):
            return ref
        elif len(self.warnings) < MAX_WARNINGS:
            is_there = any(candidates)
            why = "which does not come before it: join them by an edge" if is_there else "which is not there"
            self.warnings.append(FlowWarning(path, f"reads {{{{{inner}}}}}, {why}; it stays as it is"))
        return None


class _Before:
    """What comes before what in a graph, as one number a node whose bits are the places of those before it.

    Args:
        order: every node after those it needs.
    """

    def __init__(self, order: Sequence[str], needs: Mapping[str, set[str]]) -> None:
        self._places = {name: place for place, name in enumerate(order)}
        self._masks: dict[str, int] = {}
        for name in order:
            mask = 0
            for need in needs[name]:
                mask |= self._masks[need] | 1 << self._places[need]
            self._masks[name] = mask

    def is_before(self, earlier: str, node: str) -> bool:
        return bool(self._masks.get(node, 0) >> self._places.get(earlier, 0) & 1)
