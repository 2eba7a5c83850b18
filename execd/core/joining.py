"""What happens around a node when it starts, ends or expands: edges are decided, lines grow, runs of graphs end.

Every function gives the state after it; nothing here tells a fact. So what follows from the end of a node is the same
live and in recovery.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from execd.core.event_parts import Failure
from execd.core.events import NOT_RUN, EventData, NodeCompleted, NodeFailed, NodeId, Status, Stream
from execd.core.graph import OnError
from execd.core.nodes.kinds import AFTER, ERROR, OUT
from execd.core.paths import ROOT, item_scope, node_in, scope_of
from execd.core.runs import SHARES, WALL, Expansion, NodeRun, ScopeRun, Tally, brief
from execd.core.transitions import NodePhase

if TYPE_CHECKING:
    from execd.core.state import State

CUT_SHORT = "cut_short"
"""The code of a node's failure when it had begun and the execution ended around it: it is not the reason for anything."""
DEFECT = "internal_error"
"""The code of a failure that is execd's own: it fails the execution as a whole, whatever the node says of failures."""

_SETS: dict[NodePhase, str] = {
    NodePhase.RUNNING: "running",
    NodePhase.RETRYING: "retrying",
    NodePhase.WAITING: "waiting",
}
_ACTIVE = frozenset({NodePhase.RUNNING, NodePhase.RETRYING, NodePhase.WAITING, NodePhase.EXPANDED})


def open_scope(state: State, scope: str, run: ScopeRun) -> State:
    """Begin a run of a graph: the nodes that need nothing are ready."""
    state = msgspec.structs.replace(state, scopes=state.scopes.set(scope, run))
    for local in run.plan.roots:
        state = _make_ready(state, node_in(scope, local), NodeRun())
    return state


def count_phase(state: State, node: NodeId, before: NodeRun, after: NodeRun) -> State:
    """Keep the sets that follow from the phases, so that no step has to look at every node."""
    if after.phase is before.phase:
        return state
    changes: dict[str, Any] = {}
    if before.ticket is not None and before.phase is NodePhase.PENDING:
        changes["ready"] = state.ready.leave(before.ticket)
    if before.phase is NodePhase.PENDING and node in state.passed_by:
        changes["passed_by"] = tuple(other for other in state.passed_by if other != node)
    if before.phase is NodePhase.EXPANDED and node in state.joining:
        changes["joining"] = tuple(other for other in state.joining if other != node)
    if before.phase in _SETS:
        changes[_SETS[before.phase]] = getattr(state, _SETS[before.phase]) - {node}
    if after.phase in _SETS:
        changes[_SETS[after.phase]] = getattr(state, _SETS[after.phase]) | {node}
    change = (after.phase in _ACTIVE) - (before.phase in _ACTIVE)
    if before.expansion is not None and after.expansion is None:
        state = _count_items(state, node, before.expansion, -len(before.expansion.results))
    if change:
        scope = scope_of(node)
        run = state.scopes[scope]
        changes["scopes"] = state.scopes.set(scope, msgspec.structs.replace(run, active=run.active + change))
    return msgspec.structs.replace(state, **changes) if changes else state


def settle(state: State, node: NodeId, run: NodeRun, data: EventData) -> State:
    """Decide the edges that lead away from a node that is over, and end its graph's run if it was the last."""
    scope = scope_of(node)
    planned = state.planned(node)
    taken = _taken_ports(run, data, planned.node.on_error)
    for edge in planned.dependents:
        if taken is not None or edge.port == AFTER:
            is_taken = edge.port == AFTER or edge.port in (taken or ())
            state = _decide(state, node_in(scope, edge.node), is_taken=is_taken)
    around = state.scopes[scope]
    around = msgspec.structs.replace(around, unfinished=around.unfinished - 1)
    if taken is None and around.failure is None and isinstance(data, NodeFailed) and data.error.code != CUT_SHORT:
        around = msgspec.structs.replace(around, failure=(_status_of(run), brief(data.error)))
    if (isinstance(data, NodeFailed) and data.error.code == CUT_SHORT) or run.reason == NOT_RUN:
        around = msgspec.structs.replace(around, is_cut=True)
    tally = _count_end(state, node, run) if scope == ROOT else state.tally
    state = msgspec.structs.replace(state, scopes=state.scopes.set(scope, around), tally=tally)
    if isinstance(data, NodeFailed) and data.error.code == DEFECT and state.root.failure is None:
        root = msgspec.structs.replace(state.root, failure=(Status.FAILED, data.error))
        state = msgspec.structs.replace(state, scopes=state.scopes.set(ROOT, root))
    return _close_scope(state, scope) if around.unfinished == 0 and scope != ROOT else state


def _count_end(state: State, node: NodeId, run: NodeRun) -> Tally:
    tally, known = state.tally, state.estimates
    weight, work_ms = (1, 0) if known is None else (known.weight_of(node), known.works.get(node, 0))
    is_skipped = run.phase is NodePhase.SKIPPED
    return msgspec.structs.replace(
        tally,
        finished=tally.finished + 1,
        skipped=tally.skipped + is_skipped,
        weight=tally.weight + (0 if is_skipped else weight),
        skipped_weight=tally.skipped_weight + (weight if is_skipped else 0),
        work_ms=tally.work_ms + work_ms,
    )


def _count_items(state: State, node: NodeId, expansion: Expansion, count: int) -> State:
    """Count so many more items of a `map` of the execution's own graph as over; fewer, once the `map` itself is."""
    if not expansion.is_map or not count or scope_of(node) != ROOT:
        return state
    weight = 1 if state.estimates is None else state.estimates.weight_of(node)
    shares = state.tally.item_shares + count * (weight * SHARES // len(expansion.items))
    return msgspec.structs.replace(state, tally=msgspec.structs.replace(state.tally, item_shares=shares))


def _taken_ports(run: NodeRun, data: EventData, on_error: OnError) -> tuple[str, ...] | None:
    """Give the ports that are taken; None when the failure stops the graph and nothing further is decided."""
    if isinstance(data, NodeCompleted):
        return (OUT,) if data.port is None else (OUT, data.port)
    if run.phase is NodePhase.SKIPPED:
        return ()
    if isinstance(data, NodeFailed) and data.error.code in {CUT_SHORT, DEFECT}:
        return None
    if on_error is OnError.CONTINUE:
        return (OUT,)
    return (ERROR,) if on_error is OnError.BRANCH else None


def _status_of(run: NodeRun) -> Status:
    timed_out = (run.verdict is not None and run.verdict.reason == WALL) or (
        run.error is not None and run.error.code == WALL
    )
    return Status.TIMEOUT if timed_out else Status.FAILED


def _decide(state: State, dependent: NodeId, *, is_taken: bool) -> State:
    run = state.run_of(dependent)
    run = msgspec.structs.replace(run, undecided=run.undecided - 1, taken=run.taken + is_taken)
    if run.undecided or run.phase is not NodePhase.PENDING:
        return msgspec.structs.replace(state, runs=state.runs.set(dependent, run))
    if run.taken:
        return _make_ready(state, dependent, run)
    runs = state.runs.set(dependent, run)
    return msgspec.structs.replace(state, runs=runs, passed_by=(*state.passed_by, dependent))


def _make_ready(state: State, node: NodeId, run: NodeRun) -> State:
    line, ticket = state.ready.join(node)
    runs = state.runs.set(node, msgspec.structs.replace(run, ticket=ticket))
    return msgspec.structs.replace(state, ready=line, runs=runs)


def expand(state: State, node: NodeId, run: NodeRun) -> State:
    """Begin with as many items as may be under way at one time."""
    expansion = run.expansion
    assert expansion is not None
    if expansion.is_over:
        return msgspec.structs.replace(state, joining=(*state.joining, node))
    for _ in range(min(expansion.concurrency, len(expansion.items))):
        state = _open_next(state, node)
    return state


def _open_next(state: State, node: NodeId) -> State:
    run = state.runs[node]
    expansion = run.expansion
    plan = state.planned(node).body
    assert expansion is not None
    assert plan is not None
    index = expansion.next_index
    expansion = msgspec.structs.replace(expansion, next_index=index + 1, open_count=expansion.open_count + 1)
    state = _with_expansion(state, node, expansion)
    inner = ScopeRun(
        plan=plan,
        unfinished=len(plan.nodes),
        node=node,
        index=index if expansion.is_map else None,
        input=expansion.items[index],
    )
    return open_scope(state, item_scope(node, inner.index), inner)


def _close_scope(state: State, scope: str) -> State:
    """A run of a body is over: keep what it gave, forget the rest, and go on with the next item."""
    run = state.scopes[scope]
    assert run.node is not None
    expansion = state.runs[run.node].expansion
    assert expansion is not None
    index = run.index or 0
    failure = None if run.failure is None else run.failure[1]
    before = results = expansion.results
    if failure is not None:
        results = results.set(index, {"error": msgspec.to_builtins(failure)})
    elif not run.is_cut:
        results = results.set(index, _output_of(state, scope, run))
    expansion = msgspec.structs.replace(expansion, open_count=expansion.open_count - 1, results=results)
    if failure is not None and not expansion.keeps_going and expansion.failure is None:
        expansion = msgspec.structs.replace(expansion, failure=_of_item(failure, run.index))
    state = _count_items(state, run.node, expansion, len(results) - len(before))
    state = _forget(_with_expansion(state, run.node, expansion), scope, run)
    if expansion.is_over or (not expansion.open_count and _may_open_no_more(state, run.node)):
        return msgspec.structs.replace(state, joining=(*state.joining, run.node))
    if expansion.next_index < len(expansion.items) and expansion.failure is None:
        return state if _may_open_no_more(state, run.node) else _open_next(state, run.node)
    return state


def _may_open_no_more(state: State, node: NodeId) -> bool:
    return state.stop is not None or not state.may_start_in(scope_of(node))


def _of_item(failure: Failure, index: int | None) -> Failure:
    return failure if index is None else msgspec.structs.replace(failure, details={**failure.details, "item": index})


def _output_of(state: State, scope: str, run: ScopeRun) -> Any:
    """Give what the last nodes gave: of one its output, of several an object by id. Those skipped gave nothing."""
    ends = [local for local in run.plan.sinks if state.run_of(node_in(scope, local)).phase is not NodePhase.SKIPPED]
    if len(ends) == 1:
        return state.run_of(node_in(scope, ends[0])).output
    return {local: state.run_of(node_in(scope, local)).output for local in ends}


def _forget(state: State, scope: str, run: ScopeRun) -> State:
    runs, captures = state.runs.mutate(), state.captures.mutate()
    for local in run.plan.nodes:
        node = node_in(scope, local)
        runs.pop(node, None)
        for stream in Stream:
            captures.pop((node, stream), None)
    return msgspec.structs.replace(
        state, scopes=state.scopes.delete(scope), runs=runs.finish(), captures=captures.finish()
    )


def _with_expansion(state: State, node: NodeId, expansion: Expansion) -> State:
    run = msgspec.structs.replace(state.runs[node], expansion=expansion)
    return msgspec.structs.replace(state, runs=state.runs.set(node, run))
