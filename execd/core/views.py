"""What expressions see of a state: `input`, `vars`, `item`, `index`, `nodes`, made on demand and never copied."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from execd.core.events import NodeId
from execd.core.paths import node_in, scope_of
from execd.core.runs import ScopeRun
from execd.core.state import State


def scope_view(state: State, scope: str) -> dict[str, Any]:
    """Give what the expressions of a scope's nodes may refer to."""
    run = state.scopes[scope]
    names: dict[str, Any] = {"nodes": NodesView(state, scope), "vars": state.graph.vars, "input": _input_of(state, run)}
    names["execution"] = {"id": state.execution_id}
    if run.index is not None:
        names |= {"item": run.input, "index": run.index}
    return names


def _input_of(state: State, run: ScopeRun) -> Any:
    """An item of a `map` is `item`; its `input` is that of the graph around it."""
    while run.index is not None:
        assert run.node is not None
        run = state.scopes[scope_of(run.node)]
    return run.input


class NodesView(Mapping[str, Any]):
    """Nodes that are over, by id; a `map`'s body sees those around it too."""

    def __init__(self, state: State, scope: str) -> None:
        self._state = state
        self._scope = scope

    def __getitem__(self, name: str) -> Any:
        scope = self._scope
        while True:
            run = self._state.scopes[scope]
            if name in run.plan.nodes:
                return self._view(node_in(scope, NodeId(name)))
            if run.index is None or run.node is None:
                raise KeyError(name)
            scope = scope_of(run.node)

    def before(self, name: str) -> list[str]:
        """Name the nodes of this graph that come before one of them, in the order of the graph."""
        plan = self._state.scopes[self._scope].plan
        found: set[NodeId] = set()
        waiting = [NodeId(name)]
        while waiting:
            needs = {need.node for need in plan.nodes[waiting.pop()].node.needs} - found
            found |= needs
            waiting.extend(needs)
        return [node for node in plan.nodes if node in found]

    def _view(self, node: NodeId) -> dict[str, Any]:
        run = self._state.run_of(node)
        if run.reason is not None:
            return {"output": None, "status": str(run.phase), "reason": run.reason}
        return {"output": run.output, "status": str(run.phase)} if run.phase.is_over else {"status": str(run.phase)}

    def __iter__(self) -> Iterator[str]:
        return iter(self._state.scopes[self._scope].plan.nodes)

    def __len__(self) -> int:
        return len(self._state.scopes[self._scope].plan.nodes)
