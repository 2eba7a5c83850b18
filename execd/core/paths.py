"""The names of nodes inside nodes: `each[3]/fetch` is `fetch` in the body that `each` runs for its item 3.

A scope is one run of a graph: `` is the execution's own, `each[3]` and `sub` are those of a `map` and a `workflow` node.
"""

from __future__ import annotations

from execd.core.events import NodeId

ROOT = ""


def scope_of(node: NodeId) -> str:
    """Give the scope a node is in."""
    return node.rpartition("/")[0]


def local_id(node: NodeId) -> NodeId:
    """Give the node's id as its graph has it."""
    return NodeId(node.rpartition("/")[2])


def node_in(scope: str, local: NodeId) -> NodeId:
    """Give the full id of a node of a scope."""
    return NodeId(f"{scope}/{local}") if scope else local


def item_scope(node: NodeId, index: int | None) -> str:
    """Give the scope of one run of a node's body; None where there is only one."""
    return node if index is None else f"{node}[{index}]"
