"""What a machine runs: nodes joined by what each needs, and the plan a graph is compiled to once.

A need names a node and one of its ports: `out` is taken by every success, `error` by a failure that its node sends there,
and a node type may have further ones (`true` and `false` of an `if`). `after` is no port but an order, taken whatever
became of the node. A node is ready when all its needs are decided and
at least one was taken; one whose needs were all passed by is skipped.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import msgspec

from execd.core.events import NodeId
from execd.core.expressions import SECRETS, Compiled
from execd.core.fields import Faults
from execd.core.nodes import type_of
from execd.core.nodes.kinds import OUT
from execd.core.pins import Pin
from execd.core.specs import RetryPolicy


class OnError(enum.StrEnum):
    """What a node's failure does to the rest."""

    STOP = "stop"
    """The graph fails: what runs finishes, nothing more starts."""
    CONTINUE = "continue"
    """What needs it goes on, with `{"error": …}` as its output."""
    BRANCH = "branch"
    """What needs its port `error` goes on; what needs `out` does not."""


class Need(msgspec.Struct, frozen=True, omit_defaults=True):
    """One edge, seen from the node it leads to."""

    node: NodeId
    port: str = OUT


class Node(msgspec.Struct, frozen=True, omit_defaults=True):
    """One step of a graph."""

    id: NodeId
    type: str
    label: str
    spec: Any
    """The spec of its type."""
    needs: tuple[Need, ...] = ()
    retry: RetryPolicy = RetryPolicy()
    on_error: OnError = OnError.STOP
    is_always_run: bool = False
    """Whether it runs also when its graph has failed, after what runs then is over; not when somebody stopped it."""
    body: Graph | None = None
    """What a `map` runs for each item, and a `workflow` once."""


class ExternalTerms(msgspec.Struct, frozen=True):
    """How an engine elsewhere is followed."""

    ends_by_progress: bool
    """Whether its progress reports say how a node ended (`ExternalSpec.progress`)."""
    counts_nodes: bool
    """Whether the nodes that are over say how much is done, because all were named at the beginning and the engine's numbers
    are no percentages."""


class Graph(msgspec.Struct, frozen=True, omit_defaults=True):
    """Nodes, joined by what each needs; acyclic."""

    nodes: tuple[Node, ...]
    parallelism: int = 16
    """How many nodes may run, or wait to run again, at one time; one that waits for a person or a moment takes no place."""
    input: Any = None
    """What expressions find as `input`; of a body, whoever runs it says."""
    vars: dict[str, Any] = {}
    """What expressions find as `vars`."""
    pins: dict[NodeId, Pin] = {}
    """Nodes that do not run: what they gave is known already."""
    timeout_s: float | None = None
    """From its start to its end, waits and all; None: as long as it takes."""
    external: ExternalTerms | None = None
    """Set where an engine elsewhere runs it; nothing is started here then."""


class PlannedNode:
    """A node with what follows from its graph; made once, shared by every run of it."""

    def __init__(self, node: Node, dependents: tuple[Need, ...], faults: Faults) -> None:
        self.node = node
        self.type = type_of(node.spec)
        self.dependents = dependents
        """The edges that lead away: (the node that needs it, through which port)."""
        self.fields: Compiled = self.type.compile(node.spec, path=node.id, faults=faults)
        self.body = None if node.body is None else Plan(node.body, faults)


class Plan:
    """A graph, compiled. Immutable.

    Args:
        faults: where expressions that cannot be read are noted; None raises for the first graph that has any.
    """

    def __init__(self, graph: Graph, faults: Faults | None = None) -> None:
        noted = Faults() if faults is None else faults
        self.graph = graph
        dependents: dict[NodeId, list[Need]] = {node.id: [] for node in graph.nodes}
        for node in graph.nodes:
            for need in node.needs:
                dependents[need.node].append(Need(node=node.id, port=need.port))
        self.nodes: Mapping[NodeId, PlannedNode] = {
            node.id: PlannedNode(node, tuple(dependents[node.id]), noted) for node in graph.nodes
        }

        if faults is None:
            noted.raise_if_any()

    def extended(self, nodes: tuple[Node, ...]) -> Plan:
        """Give the plan with further nodes that need nothing and that nothing needs."""
        further = Plan(msgspec.structs.replace(self.graph, nodes=nodes))
        further.graph = msgspec.structs.replace(self.graph, nodes=(*self.graph.nodes, *nodes))
        further.nodes = {**self.nodes, **further.nodes}
        return further

    @cached_property
    def roots(self) -> tuple[NodeId, ...]:
        """The nodes that need nothing, in the order of the graph."""
        return tuple(node.id for node in self.graph.nodes if not node.needs)

    @cached_property
    def finals(self) -> tuple[NodeId, ...]:
        """The nodes that run also when the graph has failed."""
        return tuple(node.id for node in self.graph.nodes if node.is_always_run)

    @cached_property
    def secrets(self) -> frozenset[str]:
        """The names of all secrets that its nodes may read, bodies and all."""
        found: set[str] = set()
        for planned in self.nodes.values():
            found.update(planned.type.secrets(planned.node.spec).values())
            found.update(str(read.path[0]) for read in planned.fields.references if read.root == SECRETS and read.path)
            if planned.body is not None:
                found |= planned.body.secrets
        return frozenset(found)

    @cached_property
    def sinks(self) -> tuple[NodeId, ...]:
        """The nodes that nothing needs."""
        return tuple(name for name, planned in self.nodes.items() if not planned.dependents)
