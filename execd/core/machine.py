"""What to do next: `step(state, signal) -> (state, orders)`, pure, for every kind of execution.

A step decides by telling facts, each folded into the state at once (core/state.py), so a decision always sees what the
journal will say. Cases that rightly change nothing are common: a late frame of an attempt that is over, a second cancel,
a pod that was prepared for a node nobody wants any more.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, assert_never

from execd.core.answers import check_answers
from execd.core.errors import ConflictError
from execd.core.events import (
    TERMINAL_TYPES,
    EventData,
    ExecutionPaused,
    ExecutionResumed,
    ExecutionStarted,
    Fact,
    Failure,
    InputReceived,
    InputRequired,
    NodeCompleted,
    NodeFailed,
    NodeId,
    NodeRetrying,
    NodeSkipped,
    NodeStarted,
    NodeWaiting,
    OutputTruncated,
    PodCreated,
    PodRunning,
    PodScheduled,
    PodTerminated,
    Status,
    StopMode,
    StopRequested,
)
from execd.core.outcome import Outcome, outcome_of_loss
from execd.core.result import make_result
from execd.core.signals import (
    Begin,
    InputProvided,
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
    SetTimer,
    Signal,
    StartPod,
    StopAsked,
    StopNode,
    TimerDue,
)
from execd.core.specs import InputSpec, ScriptSpec, WaitSpec
from execd.core.state import NodeRun, State, evolve, milliseconds_between
from execd.core.transitions import NodePhase, Phase

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
    elif _may_retry(draft.state, node, outcome):
        retry_at = _later(draft.at, _retry_delay_s(draft.state, node, run))
        draft.tell(NodeRetrying(error=outcome.failure, retry_at=retry_at), node=node)
        _set_timer(draft, node)
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


def _may_retry(state: State, node: NodeId, outcome: Outcome) -> bool:
    """Platform failures only, as often as the policy says; one that was cut off in the middle only with its author's word."""
    policy = state.nodes_by_id[node].retry
    if state.is_winding_down or not outcome.retryable or (outcome.was_cut_off and not policy.on_lost):
        return False
    return state.runs[node].attempt <= policy.retries


def _retry_delay_s(state: State, node: NodeId, run: NodeRun) -> float:
    policy = state.nodes_by_id[node].retry
    return float(min(policy.delay_s * 2 ** (run.attempt - 1), MAX_RETRY_DELAY_S))


def _set_timer(draft: _Draft, node: NodeId) -> None:
    run = draft.state.runs[node]
    if run.due_at is not None:
        spec = draft.state.nodes_by_id[node].spec
        is_moment = isinstance(spec, WaitSpec) and spec.until is not None
        draft.order(SetTimer(node=node, attempt=run.attempt, due_at=run.due_at, is_moment=is_moment))


def _timer_due(draft: _Draft, signal: TimerDue) -> None:
    """Three timers: the next attempt, which a pause holds back until the resume sets it anew; the end of a wait; and the
    end of a person's time to answer."""
    run = draft.state.runs[signal.node]
    if run.attempt != signal.attempt:
        return
    if run.phase is NodePhase.RETRYING:
        if draft.state.phase is Phase.RUNNING and not draft.state.is_winding_down:
            _start_node(draft, signal.node, attempt=run.attempt + 1)
    elif run.phase is NodePhase.WAITING:
        _end_waiting(draft, signal.node)
        _advance(draft)


def _end_waiting(draft: _Draft, node: NodeId) -> None:
    run = draft.state.runs[node]
    duration_ms = milliseconds_between(run.started_at or draft.at, draft.at)
    if run.asking is None:
        draft.tell(NodeCompleted(duration_ms=duration_ms), node=node)
    else:
        failure = Failure(code="input_expired", message="Nobody answered in time.")
        draft.tell(NodeFailed(duration_ms=duration_ms, error=failure), node=node)


def _input_provided(draft: _Draft, signal: InputProvided) -> None:
    node = next((n for n in draft.state.waiting if _asks(draft.state, n, signal.prompt_id)), None)
    if node is None:
        raise ConflictError(
            f"nothing asks for input {signal.prompt_id!r} now: it was answered, has expired or never asked"
        )
    run = draft.state.runs[node]
    assert run.asking is not None
    values = check_answers(run.asking.prompts, signal.values)
    draft.tell(InputReceived(prompt_id=signal.prompt_id, by=signal.by, values=values), node=node)
    duration_ms = milliseconds_between(run.started_at or draft.at, draft.at)
    draft.tell(NodeCompleted(duration_ms=duration_ms, output=values, output_keys=tuple(values)), node=node)
    _advance(draft)


def _asks(state: State, node: NodeId, prompt_id: str) -> bool:
    asking = state.runs[node].asking
    return asking is not None and asking.prompt_id == prompt_id


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
    for node in sorted(draft.state.retrying):
        _set_timer(draft, node)
    _advance(draft)


def _lost(draft: _Draft, signal: Lost) -> None:
    """Whoever ran it is gone. What ran is lost with its sandbox; what waited for a moment or a person waits on.

    Of a defect, the execution fails as a whole: all that began fails, and if nothing has, the node that would be next.
    """
    if signal.code == "internal_error":
        _fail_whole(draft, signal.code)
    elif draft.state.phase is not Phase.QUEUED:
        sleeping = sorted(draft.state.retrying | draft.state.waiting)
        for node in sorted(draft.state.running):
            _end_attempt(draft, node, outcome_of_loss(signal.code))
        for node in sleeping:
            _set_timer(draft, node)
    else:
        return
    _advance(draft)


def _fail_whole(draft: _Draft, code: str) -> None:
    outcome = outcome_of_loss(code)
    assert outcome.failure is not None
    if draft.state.phase is Phase.QUEUED:
        draft.tell(ExecutionStarted(runner="none", started_from="cold"))
    if not draft.state.is_winding_down and not draft.state.running:
        for node in draft.state.ready[:1]:
            draft.tell_start(node, attempt=1)
    for node in sorted(draft.state.running):
        _end_attempt(draft, node, outcome)
    for node in sorted(draft.state.retrying | draft.state.waiting):
        draft.tell(NodeFailed(duration_ms=0, error=outcome.failure), node=node)


def _advance(draft: _Draft) -> None:
    """Start what may start, or end the execution if nothing is left to wait for."""
    while draft.state.phase is Phase.RUNNING and not draft.state.is_winding_down:
        if not draft.state.ready or not draft.state.has_free_place:
            break
        _start_node(draft, draft.state.ready[0], attempt=1)
    if draft.state.running:
        return
    if draft.state.unfinished == 0 or draft.state.is_winding_down:
        _end(draft)


def _start_node(draft: _Draft, node: NodeId, *, attempt: int) -> None:
    """A script is launched; what only waits does so from here on, without a place of its own."""
    draft.tell_start(node, attempt=attempt)
    match draft.state.nodes_by_id[node].spec:
        case ScriptSpec():
            draft.order(LaunchNode(node=node, attempt=attempt))
        case WaitSpec(seconds=seconds, until=until):
            draft.tell(NodeWaiting(reason="timer", until=until or _later(draft.at, seconds or 0.0)), node=node)
            _set_timer(draft, node)
        case InputSpec(prompts=prompts, expires_s=expires_s):
            expires_at = None if expires_s is None else _later(draft.at, expires_s)
            draft.tell(InputRequired(prompt_id=f"{node}.{attempt}", prompts=prompts, expires_at=expires_at), node=node)
            _set_timer(draft, node)
        case spec:
            assert_never(spec)


def _later(at: datetime, delay_s: float) -> datetime:
    """To the millisecond, as journals keep time."""
    return at + timedelta(milliseconds=round(delay_s * 1000))


def _end(draft: _Draft) -> None:
    """Give every node an end, then the execution, then the result; all in one write."""
    for node in (node.id for node in draft.state.graph.nodes):  # not the map's own order, which depends on hashes
        run = draft.state.runs[node]
        if run.phase in {NodePhase.PENDING, NodePhase.WAITING}:
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
    TimerDue: _timer_due,
    InputProvided: _input_provided,
    StopAsked: _stop_asked,
    PauseAsked: _pause_asked,
    ResumeAsked: _resume_asked,
    Lost: _lost,
}
