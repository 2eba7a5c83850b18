"""Going on: what may start starts, what is passed by is skipped, runs of graphs are concluded, and in the end the whole.

Called after every signal that may have changed what is possible. What needs no effect is done here and now, some hundred
nodes at a time, so that a graph of thousands neither waits for anybody nor keeps anybody waiting.
"""

from __future__ import annotations

from typing import Any, assert_never
from zlib import crc32

import msgspec

from execd.core.calls import MAX_OUTPUT_BYTES
from execd.core.draft import Draft
from execd.core.errors import ExecdError
from execd.core.event_parts import Failure
from execd.core.event_types import TERMINAL_TYPES
from execd.core.events import (
    NOT_RUN,
    ExecutionStarted,
    InputRequired,
    NodeCompleted,
    NodeExpanded,
    NodeFailed,
    NodeId,
    NodeRetrying,
    NodeSkipped,
    NodeWaiting,
    NodeWarned,
    PodCreated,
    PodTerminated,
    Status,
    StopMode,
)
from execd.core.expressions import render
from execd.core.finals import has_final_to_run, may_go_on, pending_before_finals, scopes_before_finals
from execd.core.joining import CUT_SHORT
from execd.core.moments import later, milliseconds_between
from execd.core.nodes.kinds import Asks, Calls, Done, Expands, Fails, Runs, Skips, Waits
from execd.core.outcome import Outcome, outcome_of_loss
from execd.core.paths import ROOT, node_in, scope_of
from execd.core.progress import tell_progress
from execd.core.result import make_result
from execd.core.runs import WALL
from execd.core.signals import LaunchCall, LaunchNode, Proceed, SetTimer, StopNode
from execd.core.state import SlotPlace, State
from execd.core.transitions import IS_UNDER_WAY, NodePhase, Phase
from execd.core.views import scope_view

FACTS_PER_STEP = 200
"""A step that has told so many goes on in the next: one write stays small, and a cancel is heard in between."""


def advance(draft: Draft) -> None:
    """Start what may start, or end the execution if nothing is left to wait for."""
    if draft.state.phase not in IS_UNDER_WAY:
        return
    while _go_on_once(draft):
        if draft.told_count >= FACTS_PER_STEP:
            tell_progress(draft)
            draft.order(Proceed())
            return
    tell_progress(draft)
    state = draft.state
    if state.root.active:
        return
    if state.root.unfinished == 0 or (state.is_winding_down and not has_final_to_run(state, ROOT)):
        end(draft)


def _go_on_once(draft: Draft) -> bool:
    """Do the next thing there is to do; False when there is none."""
    state = draft.state
    if state.joining:
        _conclude(draft, state.joining[0])
    elif state.passed_by:
        draft.tell(NodeSkipped(reason="branch_not_taken"), node=state.passed_by[0])
    elif (node := _next_to_start(state)) is not None:
        start_node(draft, node, attempt=1)
    elif (cut := _next_to_cut(state)) is not None:
        _cut_short(draft, cut)
    elif failed := scopes_before_finals(state):
        _skip_before_finals(draft, failed[0])
    elif scopes := _scopes_to_close(state):
        _skip_rest(draft, scopes)
    else:
        return False
    return True


def _next_to_start(state: State) -> NodeId | None:
    if state.phase is not Phase.RUNNING or state.stop is not None or not state.ready:
        return None
    if state.is_winding_down and not state.root.plan.finals:
        return None
    has_place = state.slot is SlotPlace.HELD and state.has_free_place
    for node in state.ready:
        if (has_place or not state.planned(node).type.takes_place) and may_go_on(state, node):
            return node
        if not has_place:
            return None
    return None


def _next_to_cut(state: State) -> NodeId | None:
    """What waits for a moment, a person or its next attempt does not outlast the failure or stop of what it is part of."""
    if not state.is_winding_down and len(state.scopes) == 1:
        return None
    sleeping = sorted(state.waiting | state.retrying)
    return next((n for n in sleeping if not may_go_on(state, n)), None)


def _cut_short(draft: Draft, node: NodeId) -> None:
    run = draft.state.runs[node]
    error = run.error if run.phase is NodePhase.RETRYING and run.error is not None else cut_short()
    duration_ms = milliseconds_between(run.started_at or draft.at, draft.at)
    draft.tell(NodeFailed(duration_ms=duration_ms, error=error), node=node)


def _skip_before_finals(draft: Draft, scope: str) -> None:
    for node in pending_before_finals(draft.state, scope)[:FACTS_PER_STEP]:
        draft.tell(NodeSkipped(reason=NOT_RUN), node=node)


def _scopes_to_close(state: State) -> list[str]:
    """A run of a body that has failed, or around which all has, ends when nothing in it is active any more. In an order
    of their own: that of the map they are in differs from process to process."""
    if len(state.scopes) == 1:
        return []
    is_stopping = state.is_winding_down
    return sorted(
        name
        for name, run in state.scopes.items()
        if name != ROOT
        and not run.active
        and run.unfinished
        and (is_stopping or not state.may_start_in(name))
        and not has_final_to_run(state, name)
    )


def _skip_rest(draft: Draft, scopes: list[str]) -> None:
    for scope in scopes:
        for local in draft.state.scopes[scope].plan.nodes:
            node = node_in(scope, local)
            if scope in draft.state.scopes and draft.state.run_of(node).phase is NodePhase.PENDING:
                draft.tell(NodeSkipped(reason=NOT_RUN), node=node)
        if draft.told_count >= FACTS_PER_STEP:
            return


def _conclude(draft: Draft, node: NodeId) -> None:
    """All items of an expanded node are over: it is complete, or has failed with the first of them."""
    run = draft.state.runs[node]
    expansion = run.expansion
    assert expansion is not None
    duration_ms = milliseconds_between(run.started_at or draft.at, draft.at)
    if expansion.failure is not None:
        draft.tell(NodeFailed(duration_ms=duration_ms, error=expansion.failure), node=node)
    elif len(expansion.results) < len(expansion.items):
        draft.tell(NodeFailed(duration_ms=duration_ms, error=cut_short()), node=node)
    else:
        results = [expansion.results[index] for index in range(len(expansion.items))]
        _complete_expanded(draft, node, results if expansion.is_map else results[0])


def _complete_expanded(draft: Draft, node: NodeId, output: Any) -> None:
    """Many small outputs can be one that is too large to keep."""
    size = len(msgspec.json.encode(output))
    if size <= MAX_OUTPUT_BYTES:
        complete(draft, node, output, port=None)
        return
    text = f"What its items gave is {size} bytes of JSON together; {MAX_OUTPUT_BYTES} can be kept."
    failure = Failure(code="output_too_large", message=text, details={"group": "program"})
    end_attempt(draft, node, Outcome(status=Status.FAILED, reason="exit", failure=failure))


def start_node(draft: Draft, node: NodeId, *, attempt: int) -> None:
    """Begin an attempt as its type says; values that cannot be made are a failure of the node. One that skips itself has
    not begun: what it looks at is the same at each attempt, so only the first can be skipped."""
    planned = draft.state.planned(node)
    try:
        values = values_of(draft, node)
        warnings = planned.type.warnings(values)
        beginning = draft.outside.prepare(planned.type.begin(planned.node.spec, values, draft.at))
    except ExecdError as error:
        warnings = ()
        beginning = Fails(Failure(code=error.code, message=error.message, details={"group": "program"}))
    if isinstance(beginning, Skips):
        draft.tell(NodeSkipped(reason=beginning.reason), node=node)
        return
    draft.tell_start(node, attempt=attempt)
    if warnings:
        draft.tell(NodeWarned(messages=tuple(warnings)), node=node)
    _carry_out(draft, node, attempt, beginning)


def values_of(draft: Draft, node: NodeId) -> Any:
    """Give a node's fields with every expression replaced by its value; the same at its end as at its beginning.

    Raises:
        ExecdError: an expression reads what is not there.
    """
    return render(draft.state.planned(node).fields, scope_view(draft.state, scope_of(node), draft.outside))


def _carry_out(
    draft: Draft, node: NodeId, attempt: int, beginning: Done | Fails | Runs | Calls | Waits | Asks | Expands
) -> None:
    match beginning:
        case Done(output=output, port=port):
            complete(draft, node, output, port=port)
        case Fails(failure=failure, is_final=is_final):
            end_attempt(draft, node, Outcome(status=Status.FAILED, reason="exit", failure=failure, is_final=is_final))
        case Runs(script=script):
            draft.order(LaunchNode(node=node, attempt=attempt, script=script))
        case Calls(call=call):
            draft.order(LaunchCall(node=node, attempt=attempt, call=call))
        case Waits(until=until, is_moment=is_moment):
            draft.tell(NodeWaiting(reason="timer", until=until, is_moment=is_moment), node=node)
            set_timer(draft, node)
        case Asks(prompts=prompts, expires_at=expires_at, is_open=is_open):
            asked = InputRequired(
                prompt_id=f"{node}.{attempt}", prompts=prompts, expires_at=expires_at, is_open=is_open
            )
            draft.tell(asked, node=node)
            set_timer(draft, node)
        case Expands():
            _expand(draft, node, beginning)
        case other:
            assert_never(other)


def _expand(draft: Draft, node: NodeId, body: Expands) -> None:
    expires_at = None if body.timeout_s is None else later(draft.at, body.timeout_s)
    expanded = NodeExpanded(
        items=body.items,
        concurrency=body.concurrency,
        keeps_going=body.keeps_going,
        is_map=body.is_map,
        expires_at=expires_at,
    )
    draft.tell(expanded, node=node)
    set_timer(draft, node)


def complete(draft: Draft, node: NodeId, output: object, *, port: str | None) -> None:
    """Tell that a node succeeded, and what it gives."""
    run = draft.state.run_of(node)
    duration_ms = milliseconds_between(run.started_at or draft.at, draft.at)
    draft.tell(NodeCompleted(duration_ms=duration_ms, output=output, port=port), node=node)


def end_attempt(draft: Draft, node: NodeId, outcome: Outcome, *, output: object = None) -> None:
    """Tell how an attempt ended, and whether there will be another."""
    run = draft.state.runs[node]
    if run.pod is not None:
        draft.tell(_pod_end(run.pod, outcome), node=node)
    duration_ms = milliseconds_between(run.started_at or draft.at, draft.at)
    if outcome.failure is None:
        complete(draft, node, output, port=None)
    elif may_retry(draft.state, node, outcome):
        retry_at = later(draft.at, max(_retry_delay_s(draft, node), outcome.retry_after_s or 0.0))
        draft.tell(NodeRetrying(error=outcome.failure, retry_at=retry_at), node=node)
        set_timer(draft, node)
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


def may_retry(state: State, node: NodeId, outcome: Outcome) -> bool:
    """Three questions: is there a reason (the platform's fault, or a failure its author wants repeated), has it attempts
    left, and, if it was cut off in the middle, may it be repeated at all?"""
    policy = state.planned(node).node.retry
    may_help = policy.on_failure and not outcome.is_final and outcome.group in {"program", "limit"}
    has_reason = outcome.retryable or may_help
    if not may_go_on(state, node) or not has_reason:
        return False
    return state.runs[node].attempt <= policy.retries and (policy.on_lost or not outcome.was_cut_off)


def _retry_delay_s(draft: Draft, node: NodeId) -> float:
    policy, attempt = draft.state.planned(node).node.retry, draft.state.runs[node].attempt
    delay_s = min(policy.delay_s * policy.factor ** (attempt - 1), policy.max_delay_s)
    # The machine has no randomness; what it is told differs enough from node to node and from time to time.
    share = crc32(f"{node} {attempt} {draft.at.timestamp()}".encode()) / 2**32
    return float(delay_s * (1 + policy.jitter * share))


def set_timer(draft: Draft, node: NodeId) -> None:
    """Ask to be told when the moment comes that the node waits for."""
    run = draft.state.runs[node]
    if run.due_at is not None:
        is_moment = run.phase is NodePhase.WAITING and run.is_moment
        draft.order(SetTimer(node=node, attempt=run.attempt, due_at=run.due_at, is_moment=is_moment))


def set_deadline(draft: Draft) -> None:
    """Ask to be told when the time of the whole is over."""
    state = draft.state
    if state.graph.timeout_s is not None and state.started_at is not None:
        due_at = later(state.started_at, state.graph.timeout_s)
        draft.order(SetTimer(node=NodeId(ROOT), attempt=0, due_at=due_at, is_moment=False))


def stop_within(draft: Draft, node: NodeId) -> None:
    """Kill what runs in the body of a node."""
    inside = tuple(f"{node}{mark}" for mark in "/[")
    for name in sorted(draft.state.running):
        if name.startswith(inside):
            draft.order(StopNode(node=name, attempt=draft.state.runs[name].attempt))


def cut_short() -> Failure:
    """Give the failure of a node that had begun when the execution ended around it."""
    return Failure(code=CUT_SHORT, message="The execution ended before it did.", details={"group": "cancelled"})


def end(draft: Draft) -> None:
    """Give every node an end, then the execution, then the result; all in one write."""
    for local in draft.state.root.plan.nodes:
        run = draft.state.run_of(local)
        if run.phase is NodePhase.PENDING:
            draft.tell(NodeSkipped(reason=NOT_RUN), node=local)
    status, error = _verdict(draft.state)
    duration_ms = milliseconds_between(draft.state.started_at or draft.at, draft.at)
    draft.tell(TERMINAL_TYPES[status](status=status, duration_ms=duration_ms, error=error))
    draft.tell(make_result(draft.state))


def _verdict(state: State) -> tuple[Status, Failure | None]:
    """A cancel, or the end of its time, is never overwritten; then a failure; then an interrupt that left something undone."""
    if state.stop is StopMode.CANCEL:
        return Status.CANCELLED, Failure(code="cancelled", message="It was cancelled.")
    if state.stop is StopMode.TIMEOUT:
        text = f"It ran longer than its timeout of {state.graph.timeout_s:g} s."
        return Status.TIMEOUT, Failure(code=WALL, message=text, details={"group": "limit"})
    if state.root.failure is not None:
        return state.root.failure
    if state.stop is StopMode.INTERRUPT and any(_was_cut_off(state, local) for local in state.root.plan.nodes):
        return Status.INTERRUPTED, Failure(code="interrupted", message="It was interrupted; the rest was not run.")
    return Status.COMPLETED, None


def _was_cut_off(state: State, local: NodeId) -> bool:
    run = state.run_of(local)
    if run.error is not None and run.error.code == CUT_SHORT:
        return True
    return run.phase is NodePhase.SKIPPED and run.reason == NOT_RUN


def tell_beginning(draft: Draft, *, runner: str, started_from: str) -> None:
    """Tell that it begins, and what is known already."""
    draft.tell(ExecutionStarted(runner=runner, started_from=started_from))
    set_deadline(draft)
    for node, pin in draft.state.graph.pins.items():
        draft.tell(NodeCompleted(duration_ms=0, output=pin.output, port=pin.port, pinned=True), node=node)


def fail_whole(draft: Draft, code: str) -> None:
    """Fail the execution as a whole for a defect of execd: all that began fails, and if nothing has, the next node."""
    outcome = outcome_of_loss(code)
    assert outcome.failure is not None
    if draft.state.phase is Phase.QUEUED:
        tell_beginning(draft, runner="none", started_from="cold")
    state = draft.state
    if not (state.is_winding_down or state.running or state.retrying or state.waiting):
        for node in list(draft.state.ready)[:1]:
            draft.tell_start(node, attempt=1)
    for node in sorted(draft.state.running):
        end_attempt(draft, node, outcome)
    for node in sorted(draft.state.retrying | draft.state.waiting):
        draft.tell(NodeFailed(duration_ms=0, error=outcome.failure), node=node)
