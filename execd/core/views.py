"""What expressions see of a state: `input`, `vars`, `item`, `index`, `nodes`, made on demand and never copied; and beside
it `env` and `secrets`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from execd.core.events import NodeId
from execd.core.outside import Outside
from execd.core.paths import node_in, scope_of
from execd.core.runs import ScopeRun
from execd.core.state import State


def scope_view(state: State, scope: str, outside: Outside) -> dict[str, Any]:
    """Give what the expressions of a scope's nodes may refer to."""
    run = state.scopes[scope]
    names: dict[str, Any] = {
        "nodes": NodesView(state, scope, outside),
        "vars": state.graph.vars,
        "input": _input_of(state, run),
        "env": outside.env,
        "secrets": outside.secrets,
        "execution": {"id": state.execution_id},
    }
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

    def __init__(self, state: State, scope: str, outside: Outside) -> None:
        self._state = state
        self._scope = scope
        self._outside = outside

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
        if not run.phase.is_over:
            return {"status": str(run.phase)}
        if run.reason is not None:
            return {"output": None, "status": str(run.phase), "reason": run.reason}
        sealed = self._state.sealed.get(node)
        if sealed is None:
            return {"output": run.output, "status": str(run.phase)}
        known = self._outside.answers.get(node, {})
        gone = [key for key, text in sealed.items() if text and key not in known]
        view = {"output": self._reveal(node, run.output, sealed), "status": str(run.phase)}
        return {**view, "gone": gone} if gone else view

    def _reveal(self, node: NodeId, output: Any, sealed: Mapping[str, str]) -> Any:
        """Give an answer with what is secret in it; what cannot be opened is missing, and never taken for its mask."""
        if not isinstance(output, dict):
            return output
        known = {key: value for key, value in output.items() if key not in sealed}
        return {**known, **self._outside.answers.get(node, {})}

    def __iter__(self) -> Iterator[str]:
        return iter(self._state.scopes[self._scope].plan.nodes)

    def __len__(self) -> int:
        return len(self._state.scopes[self._scope].plan.nodes)
