"""Where an execution stands: a value that only facts can change.

`evolve(state, fact)` is the whole of it: core/transitions.py says which facts may follow in which phase, the functions
below and in core/run_changes.py what each adds; core/joining.py has what a node's end means for the others. A live machine
and a recovered one are the same thing, because both are this fold over the journal.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

import msgspec
from immutables import Map

from execd.core.capture import Capture, output_bytes
from execd.core.estimates import Estimates, estimates_of
from execd.core.event_types import TERMINAL_TYPES
from execd.core.events import (
    EventData,
    ExecutionEnded,
    ExecutionPaused,
    ExecutionRequested,
    ExecutionStarted,
    Fact,
    InputReceived,
    InputRequired,
    NodeExpanded,
    NodeId,
    NodesDeclared,
    NodeStarted,
    Output,
    OutputsReported,
    OutputTruncated,
    PodTerminated,
    Progress,
    Status,
    StopMode,
    StopRequested,
    Stream,
)
from execd.core.external import nodes_of_engine
from execd.core.graph import Graph, Plan, PlannedNode
from execd.core.history import RunTimes
from execd.core.joining import count_phase, expand, open_scope, settle
from execd.core.paths import ROOT, local_id, scope_of
from execd.core.run_changes import RUN_CHANGES
from execd.core.runs import NodeRun, ReadyLine, ScopeRun, Tally
from execd.core.transitions import NODE_TRANSITIONS, TRANSITIONS, IllegalTransitionError, NodePhase, Phase


class SlotPlace(enum.Enum):
    """Whether an execution has one of the slots."""

    HELD = "held"
    LEFT = "left"
    ASKED = "asked"


class State(msgspec.Struct, frozen=True):
    """One execution, as its journal tells it."""

    phase: Phase = Phase.NEW
    head_seq: int = 0
    """How many facts were folded: the number of the last event."""
    scopes: Map[str, ScopeRun] = Map()
    """The runs of graphs that are under way; the execution's own is `ROOT`, and stays."""
    runs: Map[NodeId, NodeRun] = Map()
    """Nodes that are not as they were in the beginning; those of a body are forgotten when its run is over."""
    ready: ReadyLine = ReadyLine()
    """Pending nodes whose needs are met."""
    passed_by: tuple[NodeId, ...] = ()
    """Pending nodes none of whose needs was taken: to be skipped."""
    joining: tuple[NodeId, ...] = ()
    """Expanded nodes all of whose items are over: to be concluded."""
    running: frozenset[NodeId] = frozenset()
    retrying: frozenset[NodeId] = frozenset()
    waiting: frozenset[NodeId] = frozenset()
    captures: Map[tuple[NodeId, Stream], Capture] = Map()
    """The head of each stream of each node's latest attempt."""
    sealed: Map[NodeId, dict[str, str]] = Map()
    """Answers that are secret, encrypted, by node and key; whoever has the key gives them to the machine."""
    stop: StopMode | None = None
    execution_id: str = ""
    """Of the execution, for what is made of it: values that are new in each."""
    requested_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    tally: Tally = Tally()
    estimates: Estimates | None = None
    """What past executions say of this one. Side data: whoever makes or folds the state gives it before any node is over."""
    progress: Progress | None = None
    """As it was last told."""
    progress_at: datetime | None = None
    alarm: int = 0
    """Names the timer that looks whether it takes longer than usual: the event with which that became possible."""
    has_idled: bool = False
    """Whether it was paused or asked somebody."""
    cpu_ms: int | None = None
    peak_memory_bytes: int | None = None
    ending: ExecutionEnded | None = None
    slot: SlotPlace = SlotPlace.HELD
    """No fact tells it (core/slots.py): whoever is started, or goes on after a loss, holds one."""

    @property
    def root(self) -> ScopeRun:
        return self.scopes[ROOT]

    @property
    def graph(self) -> Graph:
        return self.root.plan.graph

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
    def finished(self) -> int:
        """How many nodes of the execution's own graph are over."""
        return self.tally.finished

    @property
    def percent(self) -> int:
        """As the last `progress` told it."""
        return 0 if self.progress is None else self.progress.percent

    @property
    def is_winding_down(self) -> bool:
        """Whether nothing more may start: somebody stopped it, or it has failed."""
        return self.stop is not None or self.root.failure is not None

    @property
    def has_free_place(self) -> bool:
        """Whether one more node may run at this time."""
        return len(self.running) + len(self.retrying) < self.graph.parallelism

    @property
    def timed_bodies(self) -> frozenset[NodeId]:
        """Expanded nodes that have a timeout. Looks at every node: for recovery."""
        return frozenset(
            node for node, run in self.runs.items() if run.phase is NodePhase.EXPANDED and run.due_at is not None
        )

    @property
    def _waits_for_people_only(self) -> bool:
        if self.running or self.retrying:
            return False
        is_external = self.graph.external is not None
        return any(is_external or self.runs[node].asking is not None for node in self.waiting)

    def planned(self, node: NodeId) -> PlannedNode:
        """Give what the graph says of a node whose scope is under way."""
        return self.scopes[scope_of(node)].plan.nodes[local_id(node)]

    def run_of(self, node: NodeId) -> NodeRun:
        """Give how a node stands; one that nothing was told of stands as in the beginning."""
        found = self.runs.get(node)
        return NodeRun(undecided=len(self.planned(node).node.needs)) if found is None else found

    def may_start_in(self, scope: str) -> bool:
        """Whether neither this scope nor any around it has failed, nor an item beside it that its node does not survive."""
        while True:
            run = self.scopes[scope]
            if run.failure is not None:
                return False
            if run.node is None:
                return True
            expansion = self.runs[run.node].expansion
            if expansion is not None and expansion.failure is not None:
                return False
            scope = scope_of(run.node)


def new_state(graph: Graph, *, execution_id: str = "") -> State:
    """Make the state before the first event.

    Args:
        graph: acyclic, with ids that are unique and needs that exist; whoever parses a spec has seen to it.
        execution_id: as records have it.
    """
    sealed = Map({node: pin.sealed for node, pin in graph.pins.items() if pin.sealed})
    run = ScopeRun(plan=Plan(graph), unfinished=len(graph.nodes), input=graph.input)
    return open_scope(State(execution_id=execution_id, sealed=sealed), ROOT, run)


def with_history(state: State, runs: Sequence[RunTimes]) -> State:
    """Give a state, none of whose nodes is over yet, what past executions of its definition tell."""
    estimates = estimates_of(state.root.plan, runs)
    return state if estimates is None else msgspec.structs.replace(state, estimates=estimates)


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
    change = _CHANGES.get(kind)
    if change is not None:
        state = change(state, fact)
    if fact.node is not None:
        state = _evolve_node(state, fact.node, fact)
    return msgspec.structs.replace(state, phase=phase, head_seq=state.head_seq + 1)


def _evolve_node(state: State, node: NodeId, fact: Fact) -> State:
    kind = type(fact.data)
    before = state.run_of(node)
    phase = NODE_TRANSITIONS.get((before.phase, kind))
    if phase is None:
        raise IllegalTransitionError(f"{kind.__name__} for node {node} in phase {before.phase}")
    change = RUN_CHANGES.get(kind)
    if phase is before.phase and change is None:
        return state
    after = before if change is None else change(before, fact)
    after = msgspec.structs.replace(after, phase=phase)
    state = count_phase(state, node, before, after)
    state = msgspec.structs.replace(state, runs=state.runs.set(node, after))
    if phase.is_over:
        return settle(state, node, after, fact.data)
    return expand(state, node, after) if isinstance(fact.data, NodeExpanded) else state


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
    return state if captures is state.captures else msgspec.structs.replace(state, captures=captures)


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


def _on_answered(state: State, fact: Fact) -> State:
    assert isinstance(fact.data, InputReceived)
    if not fact.data.sealed or fact.node is None:
        return state
    return msgspec.structs.replace(state, sealed=state.sealed.set(fact.node, fact.data.sealed))


def _on_terminated(state: State, fact: Fact) -> State:
    """Add up what the attempts cost; the peak is the highest of them."""
    assert isinstance(fact.data, PodTerminated)
    usage = fact.data.usage
    cpu = [value for value in (state.cpu_ms, usage.cpu_ms) if value is not None]
    peaks = [value for value in (state.peak_memory_bytes, usage.peak_memory_bytes) if value is not None]
    return msgspec.structs.replace(state, cpu_ms=sum(cpu) if cpu else None, peak_memory_bytes=max(peaks, default=None))


def _on_declared(state: State, fact: Fact) -> State:
    assert isinstance(fact.data, NodesDeclared)
    root, nodes = state.root, nodes_of_engine(fact.data.nodes)
    root = msgspec.structs.replace(root, plan=root.plan.extended(nodes), unfinished=root.unfinished + len(nodes))
    return msgspec.structs.replace(state, scopes=state.scopes.set(ROOT, root))


def _on_outputs(state: State, fact: Fact) -> State:
    assert isinstance(fact.data, OutputsReported)
    runs = state.runs.mutate()
    for node, output in fact.data.outputs.items():
        runs[node] = msgspec.structs.replace(state.runs[node], output=output)
    return msgspec.structs.replace(state, runs=runs.finish())


def _on_progress(state: State, fact: Fact) -> State:
    assert isinstance(fact.data, Progress)
    before = state.progress
    had_time_left = before is not None and before.eta_ms is not None and not before.overrun
    has_time_left = fact.data.eta_ms is not None and not fact.data.overrun
    alarm = state.head_seq + 1 if has_time_left and not had_time_left else state.alarm
    return msgspec.structs.replace(state, progress=fact.data, progress_at=fact.at, alarm=alarm)


def _on_idling(state: State, fact: Fact) -> State:
    return state if state.has_idled else msgspec.structs.replace(state, has_idled=True)


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
    InputReceived: _on_answered,
    PodTerminated: _on_terminated,
    Progress: _on_progress,
    NodesDeclared: _on_declared,
    OutputsReported: _on_outputs,
    ExecutionPaused: _on_idling,
    InputRequired: _on_idling,
    **dict.fromkeys(TERMINAL_TYPES.values(), _on_ended),
}
