"""The machine of an execution whose work an engine elsewhere does: it starts nothing, and follows what is reported.

Facts are told as the engine reports them, and never taken back: a node that is over stays as it ended, lower progress and
a late start are passed over. On every way out each node that began ends before the execution does. A report is one step,
and so one write: all of it counts or nothing.

What makes no sense is refused: nobody here can make the engine pause, or finish only the step in flight.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from execd.core.advancing import set_deadline, tell_beginning
from execd.core.draft import Draft
from execd.core.errors import ConflictError, FieldFault, InvalidRequestError
from execd.core.event_parts import Failure
from execd.core.event_types import TERMINAL_TYPES
from execd.core.events import (
    NOT_RUN,
    DeclaredNode,
    NodeCompleted,
    NodeFailed,
    NodeId,
    NodesDeclared,
    NodeSkipped,
    NodeWaiting,
    OutputsReported,
    Progress,
    Status,
    StopMode,
    StopRequested,
)
from execd.core.external import MAX_EXTERNAL_NODES, UNKNOWN_TYPE
from execd.core.graph import ExternalTerms
from execd.core.job_reports import (
    FAILED_WITHOUT_WORDS,
    EndReport,
    NodeReport,
    ProgressReport,
    ReportedEnd,
    ReportedNode,
)
from execd.core.joining import CUT_SHORT
from execd.core.moments import later, milliseconds_between
from execd.core.outcome import outcome_of_loss
from execd.core.result import make_result
from execd.core.runs import WALL
from execd.core.signals import (
    Begin,
    InputProvided,
    Lost,
    PauseAsked,
    Reported,
    ResumeAsked,
    Signal,
    StopAsked,
    TimerDue,
)
from execd.core.transitions import NodePhase, Phase

RUNNER = "external"
WENT_WELL, FAILED = 80, 50
"""What LinkFlow's engine sends after a node, in the place of a percentage."""


def follow(draft: Draft, signal: Signal) -> None:
    """Hear a signal. Raises as `machine.step`."""
    _HANDLERS[type(signal)](draft, signal)


def _begin(draft: Draft, signal: Begin) -> None:
    if draft.state.phase is Phase.QUEUED:
        tell_beginning(draft, runner=RUNNER, started_from=signal.started_from)


def _reported(draft: Draft, signal: Reported) -> None:
    match signal.report:
        case ProgressReport() as report:
            _hear_progress(draft, report)
        case EndReport() as report:
            _hear_end(draft, report)


def _hear_progress(draft: Draft, report: ProgressReport) -> None:
    """Three cases: it says how a node ended; it is older than what is known; it says how far the whole is, and where. Where
    nodes are counted, a number that comes with a node is no percentage, so none is older than another."""
    terms = _terms(draft)
    is_end = report.node is not None and terms.ends_by_progress and report.progress in {WENT_WELL, FAILED}
    is_percent = not is_end and (report.node is None or not terms.counts_nodes)
    if is_percent and report.progress < draft.state.percent:
        return
    if report.node is not None:
        _declare(draft, [DeclaredNode(id=report.node, label=report.node, type=UNKNOWN_TYPE)])
        status = ReportedNode.RUNNING
        if is_end:
            status = ReportedNode.COMPLETED if report.progress == WENT_WELL else ReportedNode.FAILED
        _apply(
            draft,
            NodeReport(
                id=report.node,
                status=status,
                label=report.node,
                type=UNKNOWN_TYPE,
                failure=report.failure,
                duration_ms=report.duration_ms,
            ),
        )
    if is_percent:
        _tell_percent(draft, report.progress)
    _count_progress(draft)


def _hear_end(draft: Draft, report: EndReport) -> None:
    _declare(draft, [DeclaredNode(id=node.id, label=node.label, type=node.type) for node in report.nodes])
    late = {node.id: node.output for node in report.nodes if _is_late_output(draft, node)}
    for node in report.nodes:
        _apply(draft, node)
    if late:
        draft.tell(OutputsReported(outputs=late))
    _count_progress(draft)
    match report.status:
        case ReportedEnd.WAITING:
            for name in sorted(draft.state.running):
                draft.tell(NodeWaiting(reason=RUNNER, until=_deadline(draft)), node=name)
        case ReportedEnd.COMPLETED:
            _end(draft, Status.COMPLETED, None)
        case ReportedEnd.FAILED:
            _end(draft, Status.FAILED, report.failure or FAILED_WITHOUT_WORDS)


def _declare(draft: Draft, nodes: Sequence[DeclaredNode]) -> None:
    """Add the nodes nobody has named before."""
    known = draft.state.root.plan.nodes
    fresh = {node.id: node for node in nodes if node.id not in known}
    if len(known) + len(fresh) > MAX_EXTERNAL_NODES:
        accepted = f"at most {MAX_EXTERNAL_NODES} nodes in one execution"
        fault = FieldFault(path="nodes", message=f"makes {len(known) + len(fresh)} nodes", accepted=accepted)
        raise InvalidRequestError(f"nodes {fault.message}; accepted: {accepted}", faults=(fault,))
    if fresh:
        draft.tell(NodesDeclared(nodes=tuple(fresh.values())))


def _apply(draft: Draft, report: NodeReport) -> None:
    """Four cases: the node is over and stays as it is; it was skipped; it has not begun; it begins, or ends."""
    run = draft.state.run_of(report.id)
    if run.phase.is_over:
        return
    if report.status is ReportedNode.SKIPPED and run.phase is NodePhase.PENDING:
        draft.tell(NodeSkipped(reason="skipped_by_engine"), node=report.id)
    elif report.status is not ReportedNode.PENDING:
        if run.phase is NodePhase.PENDING:
            draft.tell_start(report.id, attempt=1)
        _end_node(draft, report)


def _is_late_output(draft: Draft, report: NodeReport) -> bool:
    """Whether a node that was told complete by a progress report, which has no room for an output, gets it now."""
    run = draft.state.run_of(report.id)
    is_complete = run.phase is NodePhase.COMPLETED and report.status is ReportedNode.COMPLETED
    return is_complete and run.output is None and report.output is not None


def _end_node(draft: Draft, report: NodeReport) -> None:
    """Tell the end of a node that has begun, if the report has one."""
    duration_ms = _duration_ms(draft, report.id) if report.duration_ms is None else report.duration_ms
    match report.status:
        case ReportedNode.COMPLETED:
            draft.tell(NodeCompleted(duration_ms=duration_ms, output=report.output), node=report.id)
        case ReportedNode.FAILED:
            failure = report.failure or FAILED_WITHOUT_WORDS
            draft.tell(NodeFailed(duration_ms=duration_ms, error=failure), node=report.id)
        case ReportedNode.SKIPPED:
            failure = _failure(CUT_SHORT, "It had begun, and its engine says that it was skipped.")
            draft.tell(NodeFailed(duration_ms=duration_ms, error=failure), node=report.id)


def _duration_ms(draft: Draft, node: NodeId) -> int:
    return milliseconds_between(draft.state.run_of(node).started_at or draft.at, draft.at)


def _tell_percent(draft: Draft, percent: int) -> None:
    """Progress never falls, and is told when it rises."""
    if percent > draft.state.percent:
        total = len(draft.state.root.plan.nodes)
        draft.tell(Progress(done=draft.state.finished, total=total, percent=percent))


def _count_progress(draft: Draft) -> None:
    """Say how much is done by the nodes that are over, where these say it."""
    total = len(draft.state.root.plan.nodes)
    if _terms(draft).counts_nodes and total > 1:
        _tell_percent(draft, 100 * draft.state.finished // total)


def _stop_asked(draft: Draft, signal: StopAsked) -> None:
    """Nothing of it runs here, so a cancel is the end at once; the engine learns of it by the answer to its next report."""
    if signal.mode is StopMode.INTERRUPT:
        raise ConflictError("an engine elsewhere does the work: it cannot be told to finish its step only; cancel it")
    draft.tell(StopRequested(by=signal.by, mode=signal.mode))
    _end(draft, Status.CANCELLED, Failure(code="cancelled", message="It was cancelled."))


def _refuse_hold(draft: Draft, signal: PauseAsked | ResumeAsked) -> None:
    raise ConflictError("an engine elsewhere does the work: it can be neither paused nor resumed from here")


def _refuse_input(draft: Draft, signal: InputProvided) -> None:
    raise ConflictError("an engine elsewhere does the work: what it asks is answered there")


def _timer_due(draft: Draft, signal: TimerDue) -> None:
    """There is one timer, of the whole."""
    text = f"Its engine did not report its end within its timeout of {draft.state.graph.timeout_s:g} s."
    draft.tell(StopRequested(by="execd", mode=StopMode.TIMEOUT))
    _end(draft, Status.TIMEOUT, _failure(WALL, text, group="limit"))


def _lost(draft: Draft, signal: Lost) -> None:
    """The engine is none of ours and goes on, whatever became of us; only a defect ends it."""
    if signal.code == "internal_error":
        _end(draft, Status.FAILED, outcome_of_loss(signal.code).failure)
    elif draft.state.phase is not Phase.QUEUED:
        set_deadline(draft)


def _end(draft: Draft, status: Status, error: Failure | None) -> None:
    """Give every node an end, then the execution, then the result."""
    if draft.state.phase is Phase.QUEUED:
        tell_beginning(draft, runner=RUNNER, started_from="cold")
    words = _failure("unreported", "Its engine ended and did not say how it went.")
    if status is not Status.COMPLETED:
        words = _failure(CUT_SHORT, "The execution ended before it did.", group="cancelled")
    for name in sorted(draft.state.running | draft.state.waiting):
        draft.tell(NodeFailed(duration_ms=_duration_ms(draft, name), error=words), node=name)
    for name in list(draft.state.root.plan.nodes):
        if draft.state.run_of(name).phase is NodePhase.PENDING:
            draft.tell(NodeSkipped(reason=NOT_RUN), node=name)
    duration_ms = milliseconds_between(draft.state.started_at or draft.at, draft.at)
    draft.tell(TERMINAL_TYPES[status](status=status, duration_ms=duration_ms, error=error))
    draft.tell(make_result(draft.state))


def _failure(code: str, message: str, *, group: str = "program") -> Failure:
    return Failure(code=code, message=message, details={"group": group})


def _deadline(draft: Draft) -> datetime:
    assert draft.state.graph.timeout_s is not None
    return later(draft.state.started_at or draft.at, draft.state.graph.timeout_s)


def _terms(draft: Draft) -> ExternalTerms:
    terms = draft.state.graph.external
    assert terms is not None
    return terms


_HANDLERS: dict[type[Signal], Callable[[Draft, Any], None]] = {
    Begin: _begin,
    Reported: _reported,
    StopAsked: _stop_asked,
    PauseAsked: _refuse_hold,
    ResumeAsked: _refuse_hold,
    InputProvided: _refuse_input,
    TimerDue: _timer_due,
    Lost: _lost,
}
