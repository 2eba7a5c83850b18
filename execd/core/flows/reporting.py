"""A flow that ran, as a report for CI servers: what its journal said of every step. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from execd.core.events import NOT_RUN, Event, ExecutionId, ExecutionStarted, NodeId, ResultStored, Status
from execd.core.flows.step_words import checks_of, is_step, messages_of, record_of, request_line, response_line, table
from execd.core.flows.titles import StepTitle, has_rows, titles_of
from execd.core.formats.junit_export import FlowReport, StepOutcome, StepReport
from execd.core.node_book import NodeBook, NodeEntry
from execd.core.printing import shorten, shown_value

SHOWN_BODY_CHARS = 2000
"""Of an answer, in a step's output."""
_OUTCOMES = {
    "completed": StepOutcome.PASSED,
    "skipped": StepOutcome.SKIPPED,
    "not_run": StepOutcome.NOT_RUN,
    "pending": StepOutcome.NOT_RUN,
}


class FlowRecord:
    """What a report needs of a journal, event by event."""

    def __init__(self) -> None:
        self._book = NodeBook()
        self._started_at: datetime | None = None
        self._result: ResultStored | None = None

    def take(self, event: Event) -> None:
        """Hear the next event."""
        self._book.take(event)
        if isinstance(event.data, ExecutionStarted):
            self._started_at = event.at
        elif isinstance(event.data, ResultStored):
            self._result = event.data

    def report(self, execution_id: ExecutionId, *, name: str, config: Mapping[str, Any]) -> FlowReport:
        """Give what is known; steps nobody heard of were not run.

        Args:
            config: the flow, whose `environment` is told too.
        """
        titles = titles_of(config)
        entries = {entry.id: entry for entry in self._book.entries.values() if is_step(entry)}
        if not has_rows(config):
            entries = {node: entries.get(node, NodeEntry(node)) for node in titles}
        steps = [_step_report(entry, flow=name, titles=titles) for entry in entries.values()]
        result = self._result
        properties = {"execution": str(execution_id), "status": "unknown" if result is None else str(result.status)}
        environment = config.get("environment")
        return FlowReport(
            name=name,
            steps=steps,
            started_at=self._started_at,
            duration_ms=(result.usage.wall_ms or 0) if result is not None else 0,
            properties=properties | ({"environment": environment} if isinstance(environment, str) else {}),
            error=_own_error(result, steps),
        )


def _step_report(entry: NodeEntry, *, flow: str, titles: Mapping[NodeId, StepTitle]) -> StepReport:
    around, _, inner = entry.id.rpartition("/")
    title = titles.get(NodeId(inner))
    record = table(entry.output) if entry.error is None else record_of(entry.error)
    return StepReport(
        name=inner if title is None else title.name,
        group=f"{flow}.{around}" if around else flow,
        outcome=_outcome_of(entry),
        duration_ms=entry.duration_ms or 0,
        reason=_reason_of(entry),
        kind="" if entry.error is None else entry.error.code,
        details="" if entry.error is None else "\n".join(messages_of(entry.error)),
        output=_output_of(record, shows_body=entry.error is not None),
    )


def _reason_of(entry: NodeEntry) -> str:
    if entry.error is not None:
        return entry.error.message
    return "" if entry.reason == NOT_RUN else entry.reason


def _outcome_of(entry: NodeEntry) -> StepOutcome:
    """What is still under way when the journal breaks off has not passed."""
    if entry.error is None:
        return _OUTCOMES.get(entry.status, StepOutcome.ERROR)
    is_ours = entry.error.details.get("group") == "program"
    return StepOutcome.FAILED if is_ours else StepOutcome.ERROR


def _output_of(record: Mapping[str, Any], *, shows_body: bool) -> str:
    """A report is kept and passed around, so answers that were as they should be stay out of it: they may hold tokens."""
    if not record:
        return ""
    lines = [request_line(record), response_line(record)]
    lines += [f"held: {check}" for check in checks_of(record, passed=True)]
    lines += [f"failed: {check}" for check in checks_of(record, passed=False)]
    body = table(record.get("response")).get("body")
    if shows_body and body not in (None, ""):
        lines.append(shorten(body, SHOWN_BODY_CHARS) if isinstance(body, str) else shown_value(body, SHOWN_BODY_CHARS))
    return "\n".join(line for line in lines if line)


def _own_error(result: ResultStored | None, steps: list[StepReport]) -> str:
    """Say why the run as a whole is no success, where no step does."""
    if result is None:
        return "the journal was not followed to its end"
    if result.status is Status.COMPLETED or (
        result.status is Status.FAILED and any(step.outcome is StepOutcome.FAILED for step in steps)
    ):
        return ""
    return f"the flow ended as {result.status}" if result.error is None else result.error.message
