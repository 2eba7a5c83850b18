"""Nodes that run also when their graph has failed: when they may, and what is skipped before them."""

from __future__ import annotations

from execd.core.events import NodeId
from execd.core.paths import node_in
from execd.core.state import State
from execd.core.transitions import NodePhase


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
        and state.may_go_on(node_in(name, run.plan.finals[0]))
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
    return any(state.may_go_on(node) and not state.run_of(node).phase.is_over for node in nodes)
