"""Executions whose work an engine elsewhere does: what is asked for, and the graph its reports are about.

The graph begins with the nodes the request names, joined by nothing, because only the engine knows their order; those it
speaks of later are added by a fact of their own (`nodes_declared`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from execd.core.events import DeclaredNode, NodeId
from execd.core.fields import Faults, Fields, Range
from execd.core.graph import ExternalTerms, Graph, Node
from execd.core.nodes.external import ExternalNode
from execd.core.parsing import read_name

EXTERNAL_FIELDS = ("kind", "name", "nodes", "timeout_s", "progress", "input")
EXTERNAL_NODE_FIELDS = ("id", "label", "type")
MAX_EXTERNAL_NODES = 2000
"""Of one execution. All that one report says is one step and one write: 4,000 facts, 50 ms and a mebibyte for so many."""
MAX_NODE_ID_CHARS = 100
"""LinkFlow's own limit."""
MAX_LABEL_CHARS = 200
DAY_S = 24 * 3600.0
MAX_TIMEOUT_S = 30 * DAY_S
UNKNOWN_TYPE = "unknown"
"""Of a node whose engine named only its id."""
NODE_ID_WORDS = f"1 to {MAX_NODE_ID_CHARS} printable characters without /"
_NODES = "a list of {id, label, type}"
MEANINGS = ("linkflow", "percent")


class ExternalSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="external"):
    """Work of an engine elsewhere, complete and checked, as it is stored."""

    nodes: tuple[DeclaredNode, ...] = ()
    timeout_s: float = DAY_S
    """From its start to the report of its end; then it is over without one."""
    progress: str = "linkflow"
    """What the number in a progress report means: `linkflow` sends one after each node, 80 for one that went well and 50 for
    one that failed; `percent` is the whole's progress and ends no node."""
    input: Any = None
    """For the engine to read; nothing here looks at it."""


class ExternalRequest(msgspec.Struct, frozen=True, kw_only=True):
    """External work and its name, checked."""

    name: str
    spec: ExternalSpec


def parse_external(body: object) -> ExternalRequest:
    """Read a request to follow an engine elsewhere.

    Raises:
        InvalidRequestError: `faults` has an entry for everything that is wrong.
    """
    faults = Faults()
    fields = Fields(body, faults, known=EXTERNAL_FIELDS)
    if not isinstance(body, Mapping):
        faults.raise_if_any()
    timeout = Range(1.0, MAX_TIMEOUT_S, unit="seconds")
    spec = ExternalSpec(
        nodes=_read_nodes(fields, faults),
        timeout_s=fields.number("timeout_s", timeout, default=DAY_S),
        progress=fields.choice("progress", MEANINGS, default="linkflow"),
        input=fields.raw("input"),
    )
    name = read_name(fields)
    faults.raise_if_any()
    return ExternalRequest(name=name or "external work", spec=spec)


def _read_nodes(fields: Fields, faults: Faults) -> tuple[DeclaredNode, ...]:
    found: dict[NodeId, DeclaredNode] = {}
    for index, item in enumerate(fields.items("nodes", max_count=MAX_EXTERNAL_NODES, accepted=_NODES)):
        node = Fields(item, faults, known=EXTERNAL_NODE_FIELDS, path=f"nodes[{index}]")
        name = read_node_id(node, "id")
        if name in found:
            node.fault("id", "is there already", "an id no other node has")
        label = node.text("label", max_chars=MAX_LABEL_CHARS, accepted="one line of text") or name
        kind = node.text("type", max_chars=MAX_LABEL_CHARS, accepted="what its engine calls its type")
        found[name] = DeclaredNode(id=name, label=label, type=kind or UNKNOWN_TYPE)
    return tuple(found.values())


def read_node_id(fields: Fields, name: str) -> NodeId:
    """Read the id of a node; gives `` after noting a fault. A `/` would lead into the body of another node."""
    text = fields.required_text(name, max_chars=MAX_NODE_ID_CHARS, accepted=NODE_ID_WORDS)
    if "/" in text or not text.isprintable():
        fields.fault(name, "has a / or a control character", NODE_ID_WORDS)
        return NodeId("")
    return NodeId(text)


def external_graph(spec: ExternalSpec) -> Graph:
    """Give the graph that the reports are about."""
    ends = spec.progress == "linkflow"
    terms = ExternalTerms(ends_by_progress=ends, counts_nodes=ends and bool(spec.nodes))
    return Graph(nodes=nodes_of_engine(spec.nodes), input=spec.input, timeout_s=spec.timeout_s, external=terms)


def nodes_of_engine(declared: Sequence[DeclaredNode]) -> tuple[Node, ...]:
    """Give declared nodes as a graph has them."""
    return tuple(Node(id=node.id, type=node.type, label=node.label, spec=ExternalNode()) for node in declared)
