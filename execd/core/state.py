"""Where an execution stands: a value that only facts can change.

`evolve(state, fact)` is the whole of it: core/transitions.py says which facts may follow in which phase, the functions
below what each adds. A live machine and a recovered one are the same thing, because both are this fold over the journal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

import msgspec
from immutables import Map

from execd.core.capture import Capture, output_bytes
from execd.core.events import (
    TERMINAL_TYPES,
    EventData,
    ExecutionEnded,
    ExecutionRequested,
    ExecutionStarted,
    Fact,
    Failure,
    InputReceived,
    InputRequired,
    NodeCompleted,
    NodeFailed,
    NodeId,
    NodeRetrying,
    NodeStarted,
    NodeWaiting,
    Output,
    OutputTruncated,
    PodCreated,
    PodTerminated,
    Status,
    StopMode,
    StopRequested,
    Stream,
    Usage,
)
from execd.core.specs import Graph, Node
from execd.core.transitions import NODE_TRANSITIONS, TRANSITIONS, IllegalTransitionError, NodePhase, Phase


class NodeRun(msgspec.Struct, frozen=True):
    """How one node stands."""

    phase: NodePhase = NodePhase.PENDING
    attempt: int = 0
    unmet: int = 0
    """How many of the nodes it needs are not completed yet."""
    started_at: datetime | None = None
    duration_ms: int | None = None
    error: Failure | None = None
    due_at: datetime | None = None
    """When its timer fires: the next attempt, the end of its wait, or the end of a person's time to answer."""
    asking: InputRequired | None = None
    """What a person is asked."""
    output: Any = None
    """What it gave, once it completed."""
    pod: PodCreated | None = None
    """The pod of this attempt, from its announcement to its end."""
    verdict: PodTerminated | None = None


class State(msgspec.Struct, frozen=True):
    """One execution, as its journal tells it."""

    graph: Graph
    nodes_by_id: Map[NodeId, Node]
    dependents: Map[NodeId, tuple[NodeId, ...]]
    phase: Phase = Phase.NEW
    head_seq: int = 0
    """How many facts were folded: the number of the last event."""
    runs: Map[NodeId, NodeRun] = Map()
    ready: tuple[NodeId, ...] = ()
    """Pending nodes whose needs are met, in the order they became so."""
    running: frozenset[NodeId] = frozenset()
    retrying: frozenset[NodeId] = frozenset()
    waiting: frozenset[NodeId] = frozenset()
    unfinished: int = 0
    """How many nodes are not over."""
    captures: Map[tuple[NodeId, Stream], Capture] = Map()
    """The head of each stream of each node's latest attempt."""
    stop: StopMode | None = None
    requested_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    first_failure: tuple[Status, Failure] | None = None
    """What the first node to fail failed with: it decides how the execution ends."""
    ending: ExecutionEnded | None = None

    @property
    def status(self) -> Status:
        """The phase as the API names it."""
        if self.ending is not None:
            return self.ending.status
        if self.phase in {Phase.NEW, Phase.QUEUED} or (self.phase is Phase.STOPPING and self.started_at is None):
            return Status.QUEUED
        if self.phase is Phase.PAUSED:
            return Status.PAUSED
        return Status.WAITING_INPUT if self._waits_for_people_only else Status.RUNNING

    @property
    def is_winding_down(self) -> bool:
        """Whether nothing more may start: somebody stopped it, or a node failed."""
        return self.stop is not None or self.first_failure is not None

    @property
    def has_free_place(self) -> bool:
        """Whether one more node may run at this time."""
        return len(self.running) + len(self.retrying) < self.graph.parallelism

    @property
    def _waits_for_people_only(self) -> bool:
        if self.running or self.retrying:
            return False
        return any(self.runs[node].asking is not None for node in self.waiting)


def new_state(graph: Graph) -> State:
    """Make the state before the first event.

    Args:
        graph: acyclic, with ids that are unique and needs that exist; whoever parses a spec has seen to it.
    """
    dependents: dict[NodeId, list[NodeId]] = {node.id: [] for node in graph.nodes}
    for node in graph.nodes:
        for need in node.needs:
            dependents[need].append(node.id)
    return State(
        graph=graph,
        nodes_by_id=Map((node.id, node) for node in graph.nodes),
        dependents=Map((node, tuple(after)) for node, after in dependents.items()),
        runs=Map((node.id, NodeRun(unmet=len(node.needs))) for node in graph.nodes),
        ready=tuple(node.id for node in graph.nodes if not node.needs),
        unfinished=len(graph.nodes),
    )


def fold(state: State, facts: Iterable[Fact]) -> State:
    """Give the state after these facts."""
    for fact in facts:
        state = evolve(state, fact)
    return state


def evolve(state: State, fact: Fact) -> State:
    """Give the state after one more fact.

    Raises:
        IllegalTransitionError: the tables have no row for it.
    """
    kind = type(fact.data)
    phase = TRANSITIONS.get((state.phase, kind))
    if phase is None:
        raise IllegalTransitionError(f"{kind.__name__} in phase {state.phase.value}")
    if fact.node is not None:
        state = _evolve_node(state, fact.node, fact)
    change = _CHANGES.get(kind)
    if change is not None:
        state = change(state, fact)
    return msgspec.structs.replace(state, phase=phase, head_seq=state.head_seq + 1)


def _evolve_node(state: State, node: NodeId, fact: Fact) -> State:
    run = state.runs[node]
    kind = type(fact.data)
    phase = NODE_TRANSITIONS.get((run.phase, kind))
    if phase is None:
        raise IllegalTransitionError(f"{kind.__name__} for node {node} in phase {run.phase}")
    if phase is run.phase and kind not in _RUN_CHANGES:
        return state
    change = _RUN_CHANGES.get(kind)
    if change is not None:
        run = change(run, fact)
    state = _count_phase(state, node, run.phase, phase)
    return msgspec.structs.replace(state, runs=state.runs.set(node, msgspec.structs.replace(run, phase=phase)))


_SETS: dict[NodePhase, str] = {
    NodePhase.RUNNING: "running",
    NodePhase.RETRYING: "retrying",
    NodePhase.WAITING: "waiting",
}


def _count_phase(state: State, node: NodeId, before: NodePhase, after: NodePhase) -> State:
    """Keep the sets that follow from the phases, so that no step has to look at every node."""
    if after is before:
        return state
    changes: dict[str, object] = {}
    if before is NodePhase.PENDING and node in state.ready:
        changes["ready"] = tuple(other for other in state.ready if other != node)
    if before in _SETS:
        changes[_SETS[before]] = getattr(state, _SETS[before]) - {node}
    if after in _SETS:
        changes[_SETS[after]] = getattr(state, _SETS[after]) | {node}
    if after.is_over:
        changes["unfinished"] = state.unfinished - 1
    return msgspec.structs.replace(state, **changes)


def _started(run: NodeRun, fact: Fact) -> NodeRun:
    return NodeRun(phase=run.phase, attempt=fact.attempt or 1, started_at=fact.at)


def _placed(run: NodeRun, fact: Fact) -> NodeRun:
    assert isinstance(fact.data, PodCreated)
    return msgspec.structs.replace(run, pod=fact.data)


def _terminated(run: NodeRun, fact: Fact) -> NodeRun:
    assert isinstance(fact.data, PodTerminated)
    return msgspec.structs.replace(run, verdict=fact.data)


def _completed(run: NodeRun, fact: Fact) -> NodeRun:
    assert isinstance(fact.data, NodeCompleted)
    return msgspec.structs.replace(run, duration_ms=fact.data.duration_ms, output=fact.data.output)


def _failed(run: NodeRun, fact: Fact) -> NodeRun:
    assert isinstance(fact.data, NodeFailed)
    return msgspec.structs.replace(run, duration_ms=fact.data.duration_ms, error=fact.data.error)


def _retrying(run: NodeRun, fact: Fact) -> NodeRun:
    assert isinstance(fact.data, NodeRetrying)
    return msgspec.structs.replace(run, error=fact.data.error, due_at=fact.data.retry_at)


def _waiting(run: NodeRun, fact: Fact) -> NodeRun:
    assert isinstance(fact.data, NodeWaiting)
    return msgspec.structs.replace(run, due_at=fact.data.until)


def _asking(run: NodeRun, fact: Fact) -> NodeRun:
    assert isinstance(fact.data, InputRequired)
    return msgspec.structs.replace(run, asking=fact.data, due_at=fact.data.expires_at)


def _answered(run: NodeRun, fact: Fact) -> NodeRun:
    return msgspec.structs.replace(run, asking=None, due_at=None)


_RUN_CHANGES: dict[type[EventData], Callable[[NodeRun, Fact], NodeRun]] = {
    NodeStarted: _started,
    PodCreated: _placed,
    PodTerminated: _terminated,
    NodeCompleted: _completed,
    NodeFailed: _failed,
    NodeRetrying: _retrying,
    NodeWaiting: _waiting,
    InputRequired: _asking,
    InputReceived: _answered,
}


def _on_requested(state: State, fact: Fact) -> State:
    return msgspec.structs.replace(state, requested_at=fact.at)


def _on_started(state: State, fact: Fact) -> State:
    return msgspec.structs.replace(state, started_at=fact.at)


def _on_stop(state: State, fact: Fact) -> State:
    assert isinstance(fact.data, StopRequested)
    return msgspec.structs.replace(state, stop=fact.data.mode)


def _on_node_started(state: State, fact: Fact) -> State:
    """A further attempt begins with empty streams; the journal keeps what the earlier ones wrote."""
    assert fact.node is not None
    captures = state.captures
    for stream in Stream:
        if (fact.node, stream) in captures:
            captures = captures.delete((fact.node, stream))
    return msgspec.structs.replace(state, captures=captures)


def _on_output(state: State, fact: Fact) -> State:
    assert isinstance(fact.data, Output)
    assert fact.node is not None
    key = (fact.node, fact.data.stream)
    capture = state.captures.get(key, _EMPTY).extend(output_bytes(fact.data))
    return msgspec.structs.replace(state, captures=state.captures.set(key, capture))


def _on_truncated(state: State, fact: Fact) -> State:
    assert isinstance(fact.data, OutputTruncated)
    assert fact.node is not None
    key = (fact.node, fact.data.stream)
    capture = state.captures.get(key, _EMPTY).drop(fact.data.dropped_bytes)
    return msgspec.structs.replace(state, captures=state.captures.set(key, capture))


def _on_node_completed(state: State, fact: Fact) -> State:
    assert fact.node is not None
    runs, ready = state.runs, list(state.ready)
    for dependent in state.dependents[fact.node]:
        run = runs[dependent]
        run = msgspec.structs.replace(run, unmet=run.unmet - 1)
        runs = runs.set(dependent, run)
        if run.unmet == 0 and run.phase is NodePhase.PENDING:
            ready.append(dependent)
    return msgspec.structs.replace(state, runs=runs, ready=tuple(ready))


def _on_node_failed(state: State, fact: Fact) -> State:
    assert isinstance(fact.data, NodeFailed)
    assert fact.node is not None
    if state.first_failure is not None:
        return state
    verdict = state.runs[fact.node].verdict
    timed_out = verdict is not None and verdict.reason == "limit:wall"
    status = Status.TIMEOUT if timed_out else Status.FAILED
    return msgspec.structs.replace(state, first_failure=(status, fact.data.error))


def _on_ended(state: State, fact: Fact) -> State:
    assert isinstance(fact.data, ExecutionEnded)
    return msgspec.structs.replace(state, ending=fact.data, ended_at=fact.at)


_EMPTY = Capture()

_CHANGES: dict[type[EventData], Callable[[State, Fact], State]] = {
    ExecutionRequested: _on_requested,
    ExecutionStarted: _on_started,
    StopRequested: _on_stop,
    NodeStarted: _on_node_started,
    Output: _on_output,
    OutputTruncated: _on_truncated,
    NodeCompleted: _on_node_completed,
    NodeFailed: _on_node_failed,
    **dict.fromkeys(TERMINAL_TYPES.values(), _on_ended),
}


def usage_of(state: State) -> Usage:
    """Add up what the nodes' last attempts cost; the peak is the highest of them."""
    verdicts = [run.verdict.usage for run in state.runs.values() if run.verdict is not None]
    peaks = [usage.peak_memory_bytes for usage in verdicts if usage.peak_memory_bytes is not None]
    cpu = [usage.cpu_ms for usage in verdicts if usage.cpu_ms is not None]
    wall = None
    if state.started_at is not None and state.ended_at is not None:
        wall = milliseconds_between(state.started_at, state.ended_at)
    return Usage(wall_ms=wall, cpu_ms=sum(cpu) if cpu else None, peak_memory_bytes=max(peaks, default=None))


def milliseconds_between(earlier: datetime, later: datetime) -> int:
    """Give a duration for the wire; a clock that was set back gives 0, not a negative time."""
    return max(0, round((later - earlier).total_seconds() * 1000))
