"""Where an execution stands: a value that only facts can change.

`evolve(state, fact)` is the whole of it: the table says which facts may follow in which phase, the functions below it
what each adds. A live machine and a recovered one are the same thing, because both are this fold over the journal.
A missing row is an error in execd, never in a script.

Anyone who edits the tables: the diagram in docs/architecture.md is drawn from them (`make diagram`).
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from datetime import datetime

import msgspec
from immutables import Map

from execd.core.capture import Capture, output_bytes
from execd.core.events import (
    TERMINAL_TYPES,
    EventData,
    ExecutionEnded,
    ExecutionPaused,
    ExecutionQueued,
    ExecutionRequested,
    ExecutionResumed,
    ExecutionStarted,
    Fact,
    Failure,
    NodeCompleted,
    NodeFailed,
    NodeId,
    NodeRetrying,
    NodeSkipped,
    NodeStarted,
    Output,
    OutputTruncated,
    PodCreated,
    PodRunning,
    PodScheduled,
    PodTerminated,
    ResultStored,
    Status,
    StopMode,
    StopRequested,
    Stream,
    Usage,
)
from execd.core.specs import Graph, Node


class Phase(enum.Enum):
    """The execution as a whole."""

    NEW = "new"
    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    """What runs finishes, nothing starts."""
    STOPPING = "stopping"
    """A stop was asked for and what runs is not over yet."""
    ENDED = "ended"
    """The terminal event is there, `result_stored` comes in the same write."""
    STORED = "stored"


class NodePhase(enum.StrEnum):
    """One node."""

    PENDING = "pending"
    RUNNING = "running"
    RETRYING = "retrying"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"

    @property
    def is_over(self) -> bool:
        return self in {NodePhase.COMPLETED, NodePhase.FAILED, NodePhase.SKIPPED}


_NODE_LIFE: tuple[type[EventData], ...] = (
    NodeStarted,
    PodCreated,
    PodScheduled,
    PodRunning,
    Output,
    OutputTruncated,
    PodTerminated,
    NodeCompleted,
    NodeFailed,
    NodeSkipped,
    NodeRetrying,
)
_ENDINGS: tuple[type[EventData], ...] = tuple(TERMINAL_TYPES.values())

TRANSITIONS: dict[tuple[Phase, type[EventData]], Phase] = {
    (Phase.NEW, ExecutionRequested): Phase.QUEUED,
    (Phase.QUEUED, ExecutionQueued): Phase.QUEUED,
    (Phase.QUEUED, ExecutionStarted): Phase.RUNNING,
    (Phase.QUEUED, StopRequested): Phase.STOPPING,
    (Phase.RUNNING, ExecutionPaused): Phase.PAUSED,
    (Phase.RUNNING, StopRequested): Phase.STOPPING,
    (Phase.PAUSED, ExecutionResumed): Phase.RUNNING,
    (Phase.PAUSED, StopRequested): Phase.STOPPING,
    (Phase.STOPPING, StopRequested): Phase.STOPPING,
    (Phase.ENDED, ResultStored): Phase.STORED,
    **{(phase, fact): phase for phase in (Phase.RUNNING, Phase.PAUSED, Phase.STOPPING) for fact in _NODE_LIFE},
    **{(phase, fact): Phase.ENDED for phase in (Phase.RUNNING, Phase.PAUSED, Phase.STOPPING) for fact in _ENDINGS},
}

NODE_TRANSITIONS: dict[tuple[NodePhase, type[EventData]], NodePhase] = {
    (NodePhase.PENDING, NodeStarted): NodePhase.RUNNING,
    (NodePhase.PENDING, NodeSkipped): NodePhase.SKIPPED,
    (NodePhase.RUNNING, PodCreated): NodePhase.RUNNING,
    (NodePhase.RUNNING, PodScheduled): NodePhase.RUNNING,
    (NodePhase.RUNNING, PodRunning): NodePhase.RUNNING,
    (NodePhase.RUNNING, Output): NodePhase.RUNNING,
    (NodePhase.RUNNING, OutputTruncated): NodePhase.RUNNING,
    (NodePhase.RUNNING, PodTerminated): NodePhase.RUNNING,
    (NodePhase.RUNNING, NodeCompleted): NodePhase.COMPLETED,
    (NodePhase.RUNNING, NodeFailed): NodePhase.FAILED,
    (NodePhase.RUNNING, NodeRetrying): NodePhase.RETRYING,
    (NodePhase.RETRYING, NodeStarted): NodePhase.RUNNING,
    (NodePhase.RETRYING, NodeFailed): NodePhase.FAILED,
}


class IllegalTransitionError(Exception):
    """A fact came in a phase that has no row for it: a defect of execd, which the saga's crash barrier turns into
    `internal_error`. The state is unchanged."""


class NodeRun(msgspec.Struct, frozen=True):
    """How one node stands."""

    phase: NodePhase = NodePhase.PENDING
    attempt: int = 0
    unmet: int = 0
    """How many of the nodes it needs are not completed yet."""
    started_at: datetime | None = None
    duration_ms: int | None = None
    error: Failure | None = None
    retry_at: datetime | None = None
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
        return Status.PAUSED if self.phase is Phase.PAUSED else Status.RUNNING


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


def _count_phase(state: State, node: NodeId, before: NodePhase, after: NodePhase) -> State:
    """Keep the sets that follow from the phases, so that no step has to look at every node."""
    if after is before:
        return state
    changes: dict[str, object] = {}
    if before is NodePhase.PENDING and node in state.ready:
        changes["ready"] = tuple(other for other in state.ready if other != node)
    if after is NodePhase.RUNNING:
        changes["running"] = state.running | {node}
    if before is NodePhase.RUNNING:
        changes["running"] = state.running - {node}
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
    return msgspec.structs.replace(run, duration_ms=fact.data.duration_ms)


def _failed(run: NodeRun, fact: Fact) -> NodeRun:
    assert isinstance(fact.data, NodeFailed)
    return msgspec.structs.replace(run, duration_ms=fact.data.duration_ms, error=fact.data.error)


def _retrying(run: NodeRun, fact: Fact) -> NodeRun:
    assert isinstance(fact.data, NodeRetrying)
    return msgspec.structs.replace(run, error=fact.data.error, retry_at=fact.data.retry_at)


_RUN_CHANGES: dict[type[EventData], Callable[[NodeRun, Fact], NodeRun]] = {
    NodeStarted: _started,
    PodCreated: _placed,
    PodTerminated: _terminated,
    NodeCompleted: _completed,
    NodeFailed: _failed,
    NodeRetrying: _retrying,
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
