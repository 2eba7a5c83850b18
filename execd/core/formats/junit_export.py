"""The result of a flow as JUnit XML, which every CI server reads.

One suite per run, one test case per step. A failed validation or step is a `failure`, what execd itself could not do is an
`error`, and what was skipped or never reached is `skipped`: a run that was cut short never looks like one that passed.
Source: the schema of the Jenkins xUnit plugin (junit-10.xsd), whose `testcase` takes no properties: those of a step are in
its `system-out`. XML 1.0, section 2.2, says which characters there are; others are written as `\\u0000`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from xml.sax.saxutils import escape, quoteattr

import msgspec

MAX_TEXT_CHARS = 100_000
"""Of one message or output; Jenkins keeps reports in memory."""
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class StepOutcome(Enum):
    """How a step ended."""

    PASSED = "passed"
    FAILED = "failed"
    """A validation did not hold, or the request got no answer."""
    ERROR = "error"
    """execd could not try: an internal error, a lost worker, a timeout of the whole run."""
    SKIPPED = "skipped"
    """A condition was false."""
    NOT_RUN = "not_run"
    """The run ended before it."""


class StepReport(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a finished flow."""

    name: str
    outcome: StepOutcome
    duration_ms: float = 0
    group: str = ""
    """What CI servers group by; the flow's name where there is none."""
    reason: str = ""
    """One line: why it failed or was skipped."""
    kind: str = ""
    """Of a failure, a stable word: `validation`, `http:timeout`."""
    details: str = ""
    """What a person reads to understand it; secrets are already masked."""
    output: str = ""
    """For `system-out`: the request and the beginning of the answer."""


class FlowReport(msgspec.Struct, frozen=True, kw_only=True):
    """A finished flow."""

    name: str
    steps: Sequence[StepReport]
    started_at: datetime | None = None
    duration_ms: float = 0
    properties: Mapping[str, str] = {}
    """Such as the execution's id, its status and the environment."""
    error: str = ""
    """Why the run as a whole failed where no step says it; it becomes a test case of its own."""


def export_junit(reports: Sequence[FlowReport], *, name: str = "execd") -> str:
    """Write one document for one or more runs."""
    suites = [_suite_lines(_with_own_error(report)) for report in reports]
    steps = [step for report in reports for step in _with_own_error(report).steps]
    head = {"name": name, "time": _seconds(sum(report.duration_ms for report in reports)), **_counts(steps)}
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', f"<testsuites{_attributes(head)}>"]
    lines += [line for suite in suites for line in suite]
    return "\n".join([*lines, "</testsuites>", ""])


def _with_own_error(report: FlowReport) -> FlowReport:
    """Give the run a case for a failure of its own: a suite without failures is green."""
    if not report.error:
        return report
    own = StepReport(name="run", outcome=StepOutcome.ERROR, kind="run", reason=report.error, group=report.name)
    return msgspec.structs.replace(report, steps=[*report.steps, own], error="")


def _counts(steps: Sequence[StepReport]) -> dict[str, str]:
    outcomes = [step.outcome for step in steps]
    return {
        "tests": str(len(steps)),
        "failures": str(outcomes.count(StepOutcome.FAILED)),
        "errors": str(outcomes.count(StepOutcome.ERROR)),
    }


def _suite_lines(report: FlowReport) -> list[str]:
    skipped = sum(step.outcome in {StepOutcome.SKIPPED, StepOutcome.NOT_RUN} for step in report.steps)
    head = {"name": report.name, **_counts(report.steps), "skipped": str(skipped), "time": _seconds(report.duration_ms)}
    if report.started_at is not None:
        head["timestamp"] = report.started_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
    lines = [f"<testsuite{_attributes(head)}>"]
    if report.properties:
        pairs = [_attributes({"name": key, "value": value}) for key, value in report.properties.items()]
        lines += ["<properties>", *(f"<property{pair}/>" for pair in pairs), "</properties>"]
    return [*lines, *(line for step in report.steps for line in _case_lines(step, report)), "</testsuite>"]


def _case_lines(step: StepReport, report: FlowReport) -> list[str]:
    head = {"name": step.name, "classname": step.group or report.name, "time": _seconds(step.duration_ms)}
    inside = _verdict_lines(step)
    if step.output:
        inside.append(f"<system-out>{_text(step.output)}</system-out>")
    if not inside:
        return [f"<testcase{_attributes(head)}/>"]
    return [f"<testcase{_attributes(head)}>", *inside, "</testcase>"]


def _verdict_lines(step: StepReport) -> list[str]:
    match step.outcome:
        case StepOutcome.PASSED:
            return []
        case StepOutcome.SKIPPED | StepOutcome.NOT_RUN:
            reason = step.reason or "the run ended before it"
            return [f"<skipped{_attributes({'type': step.outcome.value, 'message': reason})}/>"]
        case StepOutcome.FAILED | StepOutcome.ERROR:
            tag = "failure" if step.outcome is StepOutcome.FAILED else "error"
            head = _attributes({"type": step.kind or tag, "message": step.reason or tag})
            return [f"<{tag}{head}>{_text(step.details or step.reason)}</{tag}>"]


def _seconds(duration_ms: float) -> str:
    """Give seconds as the schema takes them: digits and a point, never an exponent."""
    return f"{max(duration_ms, 0) / 1000:.3f}"


def _attributes(values: Mapping[str, str]) -> str:
    return "".join(f" {key}={_attribute(value)}" for key, value in values.items())


def _attribute(value: str) -> str:
    return quoteattr(_clean(value))  # which writes line ends as references: a reader would make spaces of them


def _text(value: str) -> str:
    # A carriage return is written as a reference: a reader would make a line feed of it.
    return escape(_clean(value), {"\r": "&#13;"})


def _clean(value: str) -> str:
    cut = value if len(value) <= MAX_TEXT_CHARS else f"{value[:MAX_TEXT_CHARS]}… (cut: {len(value)} characters)"
    return _NO_XML.sub(lambda found: f"\\u{ord(found.group()):04x}", cut)
