"""Specs as executions store them, and the graph each compiles to; the one place that knows the kinds."""

from __future__ import annotations

from typing import Any

import msgspec

from execd.core.events import NodeId
from execd.core.external import ExternalSpec, external_graph
from execd.core.flows.compiling import flow_graph
from execd.core.flows.specs import FlowSpec
from execd.core.graph import Graph, Need, Node, OnError
from execd.core.nodes import type_named
from execd.core.pins import Pin
from execd.core.specs import RetryPolicy, ScriptSpec

SCRIPT_NODE = NodeId("main")
"""The id of a script's one node."""


class StoredNode(msgspec.Struct, frozen=True, omit_defaults=True):
    """A node, complete and checked, as it is stored; `config` is the spec of its type as JSON."""

    id: NodeId
    type: str
    label: str
    config: dict[str, Any]
    needs: tuple[Need, ...] = ()
    retry: RetryPolicy = RetryPolicy()
    on_error: OnError = OnError.STOP
    nodes: tuple[StoredNode, ...] = ()
    """The body of a `map` or `workflow`."""


class WorkflowSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="workflow"):
    """A workflow, complete and checked, as it is stored and run."""

    nodes: tuple[StoredNode, ...]
    parallelism: int = 16
    """See `Graph`."""
    input: Any = None
    """What its nodes find as `input`."""
    vars: dict[str, Any] = {}
    """What its nodes find as `vars`."""
    pins: dict[NodeId, Pin] = {}
    """See `Graph`."""
    timeout_s: float | None = None
    """See `Graph`."""


ExecutionSpec = ScriptSpec | WorkflowSpec | FlowSpec | ExternalSpec

SPEC_TYPES: dict[str, type[ExecutionSpec]] = {
    "script": ScriptSpec,
    "workflow": WorkflowSpec,
    "flow": FlowSpec,
    "external": ExternalSpec,
}
"""The spec of each kind of execution."""


def kind_of(spec: ExecutionSpec) -> str:
    """Name the kind of execution, as records and events do."""
    return next(kind for kind, spec_type in SPEC_TYPES.items() if isinstance(spec, spec_type))


def encode_spec(spec: ExecutionSpec) -> bytes:
    """Give a spec as it is stored."""
    return msgspec.json.encode(spec)


def decode_spec(stored: bytes, *, kind: str) -> ExecutionSpec:
    """Read back what `encode_spec` gave.

    Args:
        kind: as the record has it.
    """
    return msgspec.json.decode(stored, type=SPEC_TYPES[kind])


def graph_of(spec: ExecutionSpec, *, name: str) -> Graph:
    """Compile a spec of any kind to the graph that runs it."""
    if isinstance(spec, ScriptSpec):
        return script_graph(spec, name=name)
    if isinstance(spec, ExternalSpec):
        return external_graph(spec)
    if isinstance(spec, FlowSpec):
        return flow_graph(spec)
    return Graph(
        nodes=tuple(map(_to_node, spec.nodes)),
        parallelism=spec.parallelism,
        input=spec.input,
        vars=spec.vars,
        pins=spec.pins,
        timeout_s=spec.timeout_s,
    )


def script_graph(spec: ScriptSpec, *, name: str) -> Graph:
    """Make the one-node graph of a script. Its `retries` are its author's word that it may be repeated."""
    retry = RetryPolicy(retries=spec.retries, on_lost=spec.retries > 0)
    return Graph(nodes=(Node(id=SCRIPT_NODE, type="script", label=name, spec=spec, retry=retry),))


def _to_node(stored: StoredNode) -> Node:
    return Node(
        id=stored.id,
        type=stored.type,
        label=stored.label,
        spec=msgspec.convert(stored.config, type_named(stored.type).spec_type),
        needs=stored.needs,
        retry=stored.retry,
        on_error=stored.on_error,
        body=Graph(nodes=tuple(map(_to_node, stored.nodes))) if stored.nodes else None,
    )


def store_node(node: Node) -> StoredNode:
    """Give a node as it is stored."""
    return StoredNode(
        id=node.id,
        type=node.type,
        label=node.label,
        config=msgspec.to_builtins(node.spec),
        needs=node.needs,
        retry=node.retry,
        on_error=node.on_error,
        nodes=() if node.body is None else tuple(map(store_node, node.body.nodes)),
    )
