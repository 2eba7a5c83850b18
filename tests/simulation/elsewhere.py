"""Engines elsewhere: what they report of their work, and what must come of it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import trio

from execd.core.errors import ConflictError, OverloadedError, StoreUnavailableError
from execd.core.event_parts import Failure
from execd.core.events import (
    Event,
    ExecutionEnded,
    ExecutionId,
    NodeCompleted,
    NodeFailed,
    NodeId,
    NodeSkipped,
    NodeStarted,
    Progress,
    Status,
    StopMode,
    StopRequested,
)
from execd.core.external import ExternalSpec
from execd.core.job_reports import EndReport, JobReport, NodeReport, ProgressReport, ReportedEnd, ReportedNode
from execd.ports import Report
from tests.simulation.evidence import Evidence
from tests.simulation.lives import ConnectionLostError, Lives
from tests.simulation.plan import ExternalPlan, ReportPlan, SubmissionPlan

ASK_AGAIN_S = 0.5
MOST_ASKS = 60
WENT_WELL, WENT_WRONG = 80, 50
BROKEN = Failure(code="elsewhere", message="It broke.", details={"group": "program"})


def draw_external(rng: random.Random) -> ExternalPlan:
    """Draw what an engine does: node after node, now and then twice or out of order, and mostly an end."""
    nodes = [NodeId(f"e{number}") for number in range(rng.choice((1, 2, 3, 5)))]
    reports = [report for node in nodes for report in _of_node(rng, node)]
    if rng.random() < 0.2:
        reports.append(EndReport(status=ReportedEnd.WAITING))
    if rng.random() < 0.85:
        status = rng.choice((ReportedEnd.COMPLETED, ReportedEnd.COMPLETED, ReportedEnd.FAILED))
        told = tuple(_at_the_end(rng, node) for node in nodes if rng.random() < 0.7)
        reports.append(EndReport(status=status, nodes=told, failure=BROKEN if status is ReportedEnd.FAILED else None))
    meaning = rng.choice(("linkflow", "percent"))
    spec = ExternalSpec(timeout_s=rng.choice((60.0, round(rng.uniform(1, 40), 3))), progress=meaning)
    delays = [rng.choice((0.0, rng.uniform(0, 1), rng.uniform(0, 8))) for _ in reports]
    return ExternalPlan(spec, tuple(ReportPlan(*both) for both in zip(delays, reports, strict=True)))


def _of_node(rng: random.Random, node: NodeId) -> Iterator[JobReport]:
    if rng.random() < 0.5:
        yield ProgressReport(progress=rng.randrange(101))
    if rng.random() < 0.7:
        yield ProgressReport(progress=rng.randrange(45), node=node)
    if rng.random() < 0.8:
        yield ProgressReport(progress=rng.choice((WENT_WELL, WENT_WELL, WENT_WRONG)), node=node)


def _at_the_end(rng: random.Random, node: NodeId) -> NodeReport:
    return NodeReport(
        id=node, status=rng.choice(tuple(ReportedNode)), label=node, type="t", output={"n": rng.randrange(4)}
    )


async def report(plan: SubmissionPlan, elsewhere: ExternalPlan, lives: Lives, evidence: Evidence) -> None:
    """Report as a good engine does: again until there is an answer, and nothing more once it is over."""
    execution_id = await lives.wait_stored(plan.label)
    for each in elsewhere.reports:
        await trio.sleep(each.after_s)
        evidence.reports.append((execution_id, each.report))
        if not await _tell(execution_id, each.report, elsewhere.spec, plan.label, lives, evidence):
            return


async def _tell(
    execution_id: ExecutionId, said: JobReport, spec: ExternalSpec, label: str, lives: Lives, evidence: Evidence
) -> bool:
    for _ in range(MOST_ASKS):
        try:
            async with lives.connect(execution_id) as life:
                await life.engine.command(execution_id, Report(report=said))
        except (OverloadedError, StoreUnavailableError, ConnectionLostError):
            evidence.count("report not heard")
        except ConflictError:
            evidence.count("report after the end")
            return False
        else:
            _note_heard(execution_id, said, spec, label, lives, evidence)
            return True
        await trio.sleep(ASK_AGAIN_S)
    return False


def _note_heard(
    execution_id: ExecutionId, said: JobReport, spec: ExternalSpec, label: str, lives: Lives, evidence: Evidence
) -> None:
    """Judge at the instant: what was answered is stored."""
    evidence.count("report heard")
    evidence.note("elsewhere", f"reports of {label}")
    events = [to_event.type for to_event in lives.contents.journals[execution_id]]
    if events[-1] == "result_stored":
        return
    if isinstance(said, EndReport) and said.status is not ReportedEnd.WAITING:
        evidence.violate(f"the end of {label} was taken, and it goes on")
    if isinstance(said, ProgressReport) and said.node is not None and spec.progress == "linkflow":
        is_end = said.progress in {WENT_WELL, WENT_WRONG}
        if is_end and not {"node_completed", "node_failed", "node_skipped"} & set(events):
            evidence.violate(f"the end of {said.node} of {label} was taken, and is not there")


def check_external(events: Sequence[Event], reports: Sequence[JobReport]) -> Iterator[str]:
    """Its engine's word decides, and nothing else is made up: no end that nobody told, no node that nobody named."""
    ends = {each.status for each in reports if isinstance(each, EndReport)}
    named = {node.id for each in reports if isinstance(each, EndReport) for node in each.nodes}
    named |= {each.node for each in reports if isinstance(each, ProgressReport) and each.node is not None}
    stops = {event.data.mode for event in events if isinstance(event.data, StopRequested)}
    percent, over = 0, set[str | None]()
    for event in events:
        data = event.data
        if isinstance(data, NodeStarted) and event.node not in named:
            yield f"{event.node} starts, and nobody named it"
        if isinstance(data, NodeCompleted | NodeFailed | NodeSkipped):
            if event.node in over:
                yield f"{event.node} ends twice"
            over.add(event.node)
        if isinstance(data, Progress):
            if data.percent <= percent:
                yield f"progress {data.percent} after {percent}"
            percent = data.percent
        if isinstance(data, ExecutionEnded) and not _is_told(data, ends, stops):
            yield f"ended {data.status}, its engine said {ends}, it was stopped by {stops}"


def _is_told(data: ExecutionEnded, ends: set[ReportedEnd], stops: set[StopMode]) -> bool:
    match data.status:
        case Status.COMPLETED:
            return ReportedEnd.COMPLETED in ends
        case Status.FAILED:
            is_defect = data.error is not None and data.error.code == "internal_error"
            return is_defect or ReportedEnd.FAILED in ends
        case Status.CANCELLED:
            return StopMode.CANCEL in stops
        case Status.TIMEOUT:
            return StopMode.TIMEOUT in stops
    return False
