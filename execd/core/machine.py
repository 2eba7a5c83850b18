"""What to do next: `step(state, signal) -> (state, orders)`, pure, for every kind of execution.

A step decides by telling facts, each folded into the state at once (core/state.py), so a decision always sees what the
journal will say. Cases that rightly change nothing are common: a late frame of an attempt that is over, a second cancel,
a pod that was prepared for a node nobody wants any more. What a signal makes possible is core/advancing.py's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from execd.core.advancing import (
    advance,
    complete,
    end_attempt,
    fail_whole,
    set_deadline,
    set_timer,
    start_node,
    stop_within,
    tell_beginning,
    values_of,
)
from execd.core.answers import check_answers
from execd.core.draft import Draft
from execd.core.errors import ConflictError
from execd.core.event_parts import Failure
from execd.core.events import (
    ExecutionPaused,
    ExecutionResumed,
    InputReceived,
    NodeFailed,
    NodeId,
    NodeOutput,
    NodeTimedOut,
    OutputTruncated,
    PodCreated,
    PodRunning,
    PodScheduled,
    Status,
    StopMode,
    StopRequested,
    Stream,
)
from execd.core.finals import may_go_on
from execd.core.following import follow
from execd.core.masking import BLOT
from execd.core.moments import milliseconds_between
from execd.core.nodes.kinds import Fails, Printed
from execd.core.outcome import Outcome, outcome_of_loss
from execd.core.outside import NOTHING, Outside
from execd.core.paths import ROOT, scope_of
from execd.core.progress import PACE, look_at_time, set_alarm
from execd.core.runs import NodeRun
from execd.core.signals import (
    Begin,
    CallReturned,
    DeltaArrived,
    GoOn,
    InputProvided,
    Lost,
    NodeExited,
    Order,
    OutputArrived,
    OutputDropped,
    PauseAsked,
    PodPrepared,
    PodProgressed,
    Reported,
    ResumeAsked,
    Signal,
    SlotGranted,
    StartPod,
    StopAsked,
    StopNode,
    TimerDue,
)
from execd.core.slots import mind_slot
from execd.core.state import SlotPlace, State
from execd.core.transitions import IS_OVER, NodePhase, Phase


def step(state: State, signal: Signal, *, outside: Outside = NOTHING) -> tuple[State, list[Order]]:
    """Hear one signal.

    Args:
        outside: what expressions read that is in no journal; nothing of it is told, and nothing of it is in the state.

    Returns:
        The state after it, and what to do, in order; a `Record`, if there is one, comes first.

    Raises:
        ConflictError: a person asked for what this state does not allow; nothing changed.
        InvalidRequestError: an answer to a question cannot be taken; nothing changed.
        IllegalTransitionError: a defect of execd; nothing changed.
    """
    draft = Draft(state, signal.at, outside)
    if draft.state.phase in IS_OVER:
        pass
    elif draft.state.graph.external is not None:
        follow(draft, signal)
    else:
        _HANDLERS[type(signal)](draft, signal)
        mind_slot(draft)
    return draft.state, draft.conclude()


def _begin(draft: Draft, signal: Begin) -> None:
    if draft.state.phase is not Phase.QUEUED:
        return
    tell_beginning(draft, runner=signal.runner, started_from=signal.started_from)
    advance(draft)


def _go_on(draft: Draft, signal: GoOn) -> None:
    advance(draft)


def _slot_granted(draft: Draft, signal: SlotGranted) -> None:
    """What should have run again meanwhile is looked at anew."""
    draft.place(SlotPlace.HELD)
    for node in sorted(draft.state.retrying):
        set_timer(draft, node)
    advance(draft)


def _pod_prepared(draft: Draft, signal: PodPrepared) -> None:
    run = _current(draft.state, signal.node, signal.attempt)
    if run is None:
        return
    placed = PodCreated(pod=signal.pod, runtime=signal.runtime, isolation=signal.isolation, image=signal.image)
    draft.tell(placed, node=signal.node)
    draft.order(StartPod(node=signal.node, attempt=signal.attempt))
    if _is_unwanted(draft.state, signal.node):
        draft.order(StopNode(node=signal.node, attempt=signal.attempt))


def _is_unwanted(state: State, node: NodeId) -> bool:
    """Whether it was to be stopped before its pod was there to be stopped."""
    if state.stop is not None and state.stop.kills:
        return True
    owner = state.scopes[scope_of(node)].node
    while owner is not None:
        expansion = state.runs[owner].expansion
        if expansion is not None and expansion.is_timed_out:
            return True
        owner = state.scopes[scope_of(owner)].node
    return False


def _pod_progressed(draft: Draft, signal: PodProgressed) -> None:
    run = _current(draft.state, signal.node, signal.attempt)
    if run is None or run.pod is None:
        return
    fact = PodScheduled if signal.phase == "scheduled" else PodRunning
    draft.tell(fact(pod=run.pod.pod, runtime=run.pod.runtime), node=signal.node)


def _output_arrived(draft: Draft, signal: OutputArrived) -> None:
    if _current(draft.state, signal.node, signal.attempt) is not None:
        draft.tell(signal.output, node=signal.node)


def _output_dropped(draft: Draft, signal: OutputDropped) -> None:
    if _current(draft.state, signal.node, signal.attempt) is not None:
        draft.tell(OutputTruncated(stream=signal.stream, dropped_bytes=signal.dropped_bytes), node=signal.node)


def _node_exited(draft: Draft, signal: NodeExited) -> None:
    if _current(draft.state, signal.node, signal.attempt) is not None:
        capture = draft.state.captures.get((signal.node, Stream.STDOUT))
        text = capture.show()[0] if capture is not None else ""
        _end_work(draft, signal.node, signal.outcome, Printed(text, signal.outcome.exit_code))
        advance(draft)


def _end_work(draft: Draft, node: NodeId, outcome: Outcome, gave: Any) -> None:
    """A program or call is over. Its node's type says what comes of a success, and may explain a failure."""
    planned, output = draft.state.planned(node), None
    if outcome.failure is None:
        end = planned.type.finish(planned.node.spec, gave, partial(values_of, draft, node))
        if isinstance(end, Fails):
            outcome = msgspec.structs.replace(outcome, status=Status.FAILED, failure=end.failure)
        else:
            output = end.output
    elif outcome.reason == "exit" and isinstance(gave, Printed):
        failure = planned.type.explain(planned.node.spec, gave.stdout, outcome.failure)
        outcome = msgspec.structs.replace(outcome, failure=failure)
    end_attempt(draft, node, outcome, output=output)


def _delta_arrived(draft: Draft, signal: DeltaArrived) -> None:
    if _current(draft.state, signal.node, signal.attempt) is not None:
        draft.tell(NodeOutput(delta=signal.delta), node=signal.node)


def _call_returned(draft: Draft, signal: CallReturned) -> None:
    if _current(draft.state, signal.node, signal.attempt) is not None:
        _end_work(draft, signal.node, signal.result.outcome, signal.result.output)
        advance(draft)


def _timer_due(draft: Draft, signal: TimerDue) -> None:
    """Six timers: the end of the whole's time, and the moment from which it is late; the next attempt, which a pause holds back
    until the resume sets it anew; the end of a wait, of a person's time to answer, and of a body's."""
    if signal.node == PACE:
        look_at_time(draft, signal.attempt)
        return
    if signal.node == ROOT:
        _stop(draft, by="execd", mode=StopMode.TIMEOUT)
        return
    run = draft.state.runs.get(signal.node)
    if run is None or run.attempt != signal.attempt:
        return
    if run.phase is NodePhase.RETRYING:
        if _may_run_again(draft.state, signal.node):
            start_node(draft, signal.node, attempt=run.attempt + 1)
            advance(draft)
    elif run.phase is NodePhase.WAITING:
        _end_waiting(draft, signal.node)
        advance(draft)
    elif run.expansion is not None and not run.expansion.is_timed_out:
        _end_body(draft, signal.node, run)
        advance(draft)


def _may_run_again(state: State, node: NodeId) -> bool:
    """A pause holds it back, and a slot that is not there; what ends either sets the timer anew."""
    has_slot = state.slot is SlotPlace.HELD or not state.planned(node).type.takes_place
    return has_slot and state.phase is Phase.RUNNING and may_go_on(state, node)


def _end_body(draft: Draft, node: NodeId, run: NodeRun) -> None:
    assert run.due_at is not None
    assert run.started_at is not None
    draft.tell(NodeTimedOut(timeout_s=milliseconds_between(run.started_at, run.due_at) / 1000), node=node)
    stop_within(draft, node)


def _end_waiting(draft: Draft, node: NodeId) -> None:
    run = draft.state.runs[node]
    if run.asking is None:
        complete(draft, node, None, port=None)
    else:
        duration_ms = milliseconds_between(run.started_at or draft.at, draft.at)
        failure = Failure(code="input_expired", message="Nobody answered in time.", details={"group": "program"})
        draft.tell(NodeFailed(duration_ms=duration_ms, error=failure), node=node)


def _input_provided(draft: Draft, signal: InputProvided) -> None:
    node = next((n for n in draft.state.waiting if _asks(draft.state, n, signal.prompt_id)), None)
    if node is None:
        raise ConflictError(
            f"nothing asks for input {signal.prompt_id!r} now: it was answered, has expired or never asked"
        )
    run = draft.state.runs[node]
    assert run.asking is not None
    values = check_answers(run.asking, signal.values)
    secret = [prompt.key for prompt in run.asking.prompts if prompt.secret]
    values |= dict.fromkeys(secret, BLOT)
    sealed = {key: signal.sealed.get(key, "") for key in secret}
    draft.tell(InputReceived(prompt_id=signal.prompt_id, by=signal.by, values=values, sealed=sealed), node=node)
    complete(draft, node, values, port=None)
    advance(draft)


def _asks(state: State, node: NodeId, prompt_id: str) -> bool:
    asking = state.runs[node].asking
    return asking is not None and asking.prompt_id == prompt_id


def _stop_asked(draft: Draft, signal: StopAsked) -> None:
    _stop(draft, by=signal.by, mode=signal.mode)


def _stop(draft: Draft, *, by: str, mode: StopMode) -> None:
    """Four cases: the first stop; a kill after an interrupt, which is harder and counts; the same again, and anything
    after a kill, which change nothing."""
    earlier = draft.state.stop
    if earlier is not None and (earlier.kills or earlier is mode):
        return
    draft.tell(StopRequested(by=by, mode=mode))
    if mode.kills:
        for node in sorted(draft.state.running):
            draft.order(StopNode(node=node, attempt=draft.state.runs[node].attempt))
    advance(draft)


def _pause_asked(draft: Draft, signal: PauseAsked) -> None:
    if draft.state.phase is Phase.PAUSED:
        return
    if draft.state.phase is not Phase.RUNNING:
        raise ConflictError(f"only a running execution can be paused; this one is {draft.state.phase.value}")
    draft.tell(ExecutionPaused(by=signal.by))


def _resume_asked(draft: Draft, signal: ResumeAsked) -> None:
    if draft.state.phase is Phase.RUNNING:
        return
    if draft.state.phase is not Phase.PAUSED:
        raise ConflictError(f"only a paused execution can be resumed; this one is {draft.state.phase.value}")
    draft.tell(ExecutionResumed(by=signal.by))
    for node in sorted(draft.state.retrying):
        set_timer(draft, node)
    advance(draft)


def _reported(draft: Draft, signal: Reported) -> None:
    raise ConflictError("execd does the work of this execution itself: nobody reports it")


def _lost(draft: Draft, signal: Lost) -> None:
    """Whoever ran it is gone. What ran is lost with its sandbox; what waited for a moment or a person waits on. Of a
    defect, the execution fails as a whole."""
    if signal.code == "internal_error":
        fail_whole(draft, signal.code)
    elif draft.state.phase is not Phase.QUEUED:
        sleeping = sorted(draft.state.retrying | draft.state.waiting | draft.state.timed_bodies)
        for node in sorted(draft.state.running):
            end_attempt(draft, node, outcome_of_loss(signal.code))
        for node in sleeping:
            set_timer(draft, node)
        set_deadline(draft)
        set_alarm(draft)
    else:
        return
    advance(draft)


def _current(state: State, node: NodeId, attempt: int) -> NodeRun | None:
    """Give the run a signal is about; None when that attempt is over, which is normal for a late signal."""
    run = state.runs.get(node)
    if run is None or run.phase is not NodePhase.RUNNING or run.attempt != attempt:
        return None
    return run


_HANDLERS: dict[type[Signal], Callable[[Draft, Any], None]] = {
    Begin: _begin,
    PodPrepared: _pod_prepared,
    PodProgressed: _pod_progressed,
    OutputArrived: _output_arrived,
    OutputDropped: _output_dropped,
    NodeExited: _node_exited,
    DeltaArrived: _delta_arrived,
    CallReturned: _call_returned,
    GoOn: _go_on,
    SlotGranted: _slot_granted,
    TimerDue: _timer_due,
    InputProvided: _input_provided,
    StopAsked: _stop_asked,
    PauseAsked: _pause_asked,
    ResumeAsked: _resume_asked,
    Reported: _reported,
    Lost: _lost,
}
