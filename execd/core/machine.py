"""What to do next: `step(state, signal) -> (state, orders)`, pure, for every kind of execution.

A step decides by telling facts, each folded into the state at once (core/state.py), so a decision always sees what the
journal will say. Cases that rightly change nothing are common: a late frame of an attempt that is over, a second cancel,
a pod that was prepared for a node nobody wants any more.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from execd.core.errors import ConflictError
from execd.core.events import (
    TERMINAL_TYPES,
    EventData,
    ExecutionPaused,
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
    OutputTruncated,
    PodCreated,
    PodRunning,
    PodScheduled,
    PodTerminated,
    Status,
    StopMode,
    StopRequested,
)
from execd.core.outcome import Outcome
from execd.core.result import make_result
from execd.core.signals import (
    Begin,
    LaunchNode,
    Lost,
    NodeExited,
    Order,
    OutputArrived,
    OutputDropped,
    PauseAsked,
    PodPrepared,
    PodProgressed,
    Record,
    ResumeAsked,
    RetryDue,
    ScheduleRetry,
    Signal,
    StartPod,
    StopAsked,
    StopNode,
)
from execd.core.state import NodePhase, NodeRun, Phase, State, evolve, milliseconds_between

LOST_TEXTS = {
    "worker_lost": "execd stopped while this ran, and its sandbox went with it.",
    "internal_error": "execd failed while it ran this; the log of the server names the defect.",
}

MAX_RETRY_DELAY_S = 300.0
"""Doubling stops here: longer waits look like a hang."""


def step(state: State, signal: Signal) -> tuple[State, list[Order]]:
    """Hear one signal.

    Returns:
        The state after it, and what to do, in order; a `Record`, if there is one, comes first.

    Raises:
        ConflictError: a person asked for what this state does not allow; nothing changed.
        IllegalTransitionError: a defect of execd; nothing changed.
    """
    draft = _Draft(state, signal.at)
    if draft.state.phase not in {Phase.ENDED, Phase.STORED}:
        _HANDLERS[type(signal)](draft, signal)
    return draft.state, draft.conclude()


class _Draft:
    """A step being decided: the state so far, the facts told and the orders given."""

    def __init__(self, state: State, at: datetime) -> None:
        self.state = state
        self.at = at
        self._facts: list[Fact] = []
        self._orders: list[Order] = []

    def tell(self, data: EventData, *, node: NodeId | None = None) -> None:
        attempt = self.state.runs[node].attempt if node is not None else None
        self._tell(Fact(data=data, at=self.at, node=node, attempt=attempt))

    def tell_start(self, node: NodeId, *, attempt: int) -> None:
        spec = self.state.nodes_by_id[node]
        self._tell(Fact(data=NodeStarted(label=spec.label, type=spec.type), at=self.at, node=node, attempt=attempt))

    def order(self, order: Order) -> None:
        self._orders.append(order)

    def conclude(self) -> list[Order]:
        return [Record(facts=tuple(self._facts)), *self._orders] if self._facts else self._orders

    def _tell(self, fact: Fact) -> None:
        self.state = evolve(self.state, fact)
        self._facts.append(fact)


def _begin(draft: _Draft, signal: Begin) -> None:
    if draft.state.phase is not Phase.QUEUED:
        return
    draft.tell(ExecutionStarted(runner=signal.runner, started_from=signal.started_from))
    _advance(draft)


def _pod_prepared(draft: _Draft, signal: PodPrepared) -> None:
    run = _current(draft.state, signal.node, signal.attempt)
    if run is None:
        return
    placed = PodCreated(pod=signal.pod, runtime=signal.runtime, isolation=signal.isolation, image=signal.image)
    draft.tell(placed, node=signal.node)
    draft.order(StartPod(node=signal.node, attempt=signal.attempt))
    if draft.state.stop is StopMode.CANCEL:
        draft.order(StopNode(node=signal.node, attempt=signal.attempt))


def _pod_progressed(draft: _Draft, signal: PodProgressed) -> None:
    run = _current(draft.state, signal.node, signal.attempt)
    if run is None or run.pod is None:
        return
    fact = PodScheduled if signal.phase == "scheduled" else PodRunning
    draft.tell(fact(pod=run.pod.pod, runtime=run.pod.runtime), node=signal.node)


def _output_arrived(draft: _Draft, signal: OutputArrived) -> None:
    if _current(draft.state, signal.node, signal.attempt) is not None:
        draft.tell(signal.output, node=signal.node)


def _output_dropped(draft: _Draft, signal: OutputDropped) -> None:
    if _current(draft.state, signal.node, signal.attempt) is not None:
        draft.tell(OutputTruncated(stream=signal.stream, dropped_bytes=signal.dropped_bytes), node=signal.node)


def _node_exited(draft: _Draft, signal: NodeExited) -> None:
    if _current(draft.state, signal.node, signal.attempt) is not None:
        _end_attempt(draft, signal.node, signal.outcome)
        _advance(draft)


def _end_attempt(draft: _Draft, node: NodeId, outcome: Outcome) -> None:
    """Tell how an attempt ended, and whether there will be another."""
    run = draft.state.runs[node]
    if run.pod is not None:
        draft.tell(_pod_end(run.pod, outcome), node=node)
    duration_ms = milliseconds_between(run.started_at or draft.at, draft.at)
    if outcome.failure is None:
        draft.tell(NodeCompleted(duration_ms=duration_ms), node=node)
    elif outcome.retryable and _may_retry(draft.state, node, run):
        retry_at = draft.at + timedelta(seconds=_retry_delay_s(draft.state, node, run))
        draft.tell(NodeRetrying(error=outcome.failure, retry_at=retry_at), node=node)
        draft.order(ScheduleRetry(node=node, retry_at=retry_at))
    else:
        draft.tell(NodeFailed(duration_ms=duration_ms, error=outcome.failure), node=node)


def _pod_end(pod: PodCreated, outcome: Outcome) -> PodTerminated:
    return PodTerminated(
        pod=pod.pod,
        runtime=pod.runtime,
        reason=outcome.reason,
        exit_code=outcome.exit_code,
        signal=outcome.signal,
        usage=outcome.usage,
    )


def _may_retry(state: State, node: NodeId, run: NodeRun) -> bool:
    return state.stop is None and run.attempt <= state.nodes_by_id[node].retry.retries


def _retry_delay_s(state: State, node: NodeId, run: NodeRun) -> float:
    policy = state.nodes_by_id[node].retry
    return float(min(policy.delay_s * 2 ** (run.attempt - 1), MAX_RETRY_DELAY_S))


def _retry_due(draft: _Draft, signal: RetryDue) -> None:
    run = draft.state.runs[signal.node]
    if run.phase is NodePhase.RETRYING and draft.state.phase is Phase.RUNNING:
        _start_node(draft, signal.node, attempt=run.attempt + 1)


def _stop_asked(draft: _Draft, signal: StopAsked) -> None:
    """Four cases: the first stop; a cancel after an interrupt, which is harder and counts; the same again, and an
    interrupt after a cancel, which change nothing."""
    if draft.state.stop is StopMode.CANCEL or draft.state.stop is signal.mode:
        return
    draft.tell(StopRequested(by=signal.by, mode=signal.mode))
    if signal.mode is StopMode.CANCEL:
        for node in sorted(draft.state.running):
            draft.order(StopNode(node=node, attempt=draft.state.runs[node].attempt))
    _advance(draft)


def _pause_asked(draft: _Draft, signal: PauseAsked) -> None:
    if draft.state.phase is Phase.PAUSED:
        return
    if draft.state.phase is not Phase.RUNNING:
        raise ConflictError(f"only a running execution can be paused; this one is {draft.state.phase.value}")
    draft.tell(ExecutionPaused(by=signal.by))


def _resume_asked(draft: _Draft, signal: ResumeAsked) -> None:
    if draft.state.phase is Phase.RUNNING:
        return
    if draft.state.phase is not Phase.PAUSED:
        raise ConflictError(f"only a paused execution can be resumed; this one is {draft.state.phase.value}")
    draft.tell(ExecutionResumed(by=signal.by))
    for node, run in draft.state.runs.items():
        if run.phase is NodePhase.RETRYING and run.retry_at is not None:
            draft.order(ScheduleRetry(node=node, retry_at=run.retry_at))
    _advance(draft)


def _lost(draft: _Draft, signal: Lost) -> None:
    """Whoever ran it is gone. What ran is lost with its sandbox; what waits to be retried waits on."""
    is_defect = signal.code == "internal_error"
    failure = Failure(code=signal.code, message=LOST_TEXTS[signal.code], details={"group": "platform"})
    outcome = Outcome(status=Status.FAILED, reason=f"platform:{signal.code}", retryable=not is_defect, failure=failure)
    if draft.state.phase is Phase.QUEUED:
        if not is_defect:
            return
        draft.tell(ExecutionStarted(runner="none", started_from="cold"))
        for node in draft.state.ready:
            draft.tell_start(node, attempt=1)
    for node in sorted(draft.state.running):
        _end_attempt(draft, node, outcome)
    for node, run in draft.state.runs.items():
        if run.phase is not NodePhase.RETRYING or run.retry_at is None or node in _scheduled(draft):
            continue
        if is_defect:
            draft.tell(NodeFailed(duration_ms=0, error=failure), node=node)
        else:
            draft.order(ScheduleRetry(node=node, retry_at=run.retry_at))
    _advance(draft)


def _scheduled(draft: _Draft) -> set[NodeId]:
    return {order.node for order in draft.conclude() if isinstance(order, ScheduleRetry)}


def _advance(draft: _Draft) -> None:
    """Start what may start, or end the execution if nothing is left to wait for."""
    state = draft.state
    is_stopping = state.stop is not None or state.first_failure is not None
    if state.phase is Phase.RUNNING and not is_stopping:
        free = state.graph.parallelism - len(state.running)
        for node in state.ready[:free]:
            _start_node(draft, node, attempt=1)
    if draft.state.running:
        return
    if draft.state.unfinished == 0 or draft.state.stop is not None or draft.state.first_failure is not None:
        _end(draft)


def _start_node(draft: _Draft, node: NodeId, *, attempt: int) -> None:
    draft.tell_start(node, attempt=attempt)
    draft.order(LaunchNode(node=node, attempt=attempt))


def _end(draft: _Draft) -> None:
    """Give every node an end, then the execution, then the result; all in one write."""
    for node, run in draft.state.runs.items():
        if run.phase is NodePhase.PENDING:
            draft.tell(NodeSkipped(reason="not_run"), node=node)
        elif run.phase is NodePhase.RETRYING and run.error is not None:
            draft.tell(NodeFailed(duration_ms=0, error=run.error), node=node)
    status, error = _verdict(draft.state)
    duration_ms = milliseconds_between(draft.state.started_at or draft.at, draft.at)
    draft.tell(TERMINAL_TYPES[status](status=status, duration_ms=duration_ms, error=error))
    draft.tell(make_result(draft.state))


def _verdict(state: State) -> tuple[Status, Failure | None]:
    """A cancel is never overwritten; then a failure; then an interrupt that left something undone."""
    if state.stop is StopMode.CANCEL:
        return Status.CANCELLED, Failure(code="cancelled", message="It was cancelled.")
    if state.first_failure is not None:
        return state.first_failure
    if any(run.phase is NodePhase.SKIPPED for run in state.runs.values()):
        return Status.INTERRUPTED, Failure(code="interrupted", message="It was interrupted; the rest was not run.")
    return Status.COMPLETED, None


def _current(state: State, node: NodeId, attempt: int) -> NodeRun | None:
    """Give the run a signal is about; None when that attempt is over, which is normal for a late signal."""
    run = state.runs.get(node)
    if run is None or run.phase is not NodePhase.RUNNING or run.attempt != attempt:
        return None
    return run


_HANDLERS: dict[type[Signal], Callable[[_Draft, Any], None]] = {
    Begin: _begin,
    PodPrepared: _pod_prepared,
    PodProgressed: _pod_progressed,
    OutputArrived: _output_arrived,
    OutputDropped: _output_dropped,
    NodeExited: _node_exited,
    RetryDue: _retry_due,
    StopAsked: _stop_asked,
    PauseAsked: _pause_asked,
    ResumeAsked: _resume_asked,
    Lost: _lost,
}
