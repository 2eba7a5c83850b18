"""Nodes that run also when their graph has failed: when they may, and what is skipped before them."""

from __future__ import annotations

from execd.core.events import NodeId
from execd.core.joining import DEFECT
from execd.core.paths import node_in, scope_of
from execd.core.state import State
from execd.core.transitions import NodePhase


def may_go_on(state: State, node: NodeId) -> bool:
    """Whether a node may start, be tried again or wait on: nobody stopped it, and nothing it is part of has failed.
    The failure of its own graph does not count for one that is always run."""
    root = state.root
    if state.stop is not None or (root.failure is not None and root.failure[1].code == DEFECT):
        return False
    scope = scope_of(node)
    run = state.scopes[scope]
    if not (run.failure is not None and run.plan.finals and state.planned(node).node.is_always_run):
        return root.failure is None and state.may_start_in(scope)
    return run.node is None or (root.failure is None and state.may_start_in(scope_of(run.node)))


def scopes_before_finals(state: State) -> list[str]:
    """Graphs that have failed and have nodes that run all the same: these come after the rest was skipped."""
    if state.stop is not None or (state.root.failure is None and len(state.scopes) == 1):
        return []
    return sorted(
        name
        for name, run in state.scopes.items()
        if run.failure is not None
        and run.plan.finals
        and not run.active
        and may_go_on(state, node_in(name, run.plan.finals[0]))
        and pending_before_finals(state, name)
    )


def pending_before_finals(state: State, scope: str) -> list[NodeId]:
    """Give what a graph that has failed will not run any more."""
    nodes = [
        node_in(scope, local) for local, each in state.scopes[scope].plan.nodes.items() if not each.node.is_always_run
    ]
    return [node for node in nodes if state.run_of(node).phase is NodePhase.PENDING]


def has_final_to_run(state: State, scope: str) -> bool:
    """Whether something is still to run although all else has failed; a paused execution waits with it."""
    nodes = (node_in(scope, local) for local in state.scopes[scope].plan.finals)
    return any(may_go_on(state, node) and not state.run_of(node).phase.is_over for node in nodes)
