"""CI servers read what a flow did, and a red run is red there."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from execd.core.formats.junit_export import MAX_TEXT_CHARS, FlowReport, StepOutcome, StepReport, export_junit

ATTRIBUTES = {
    "testsuites": ({"name", "time", "tests", "failures", "errors"}, set()),
    "testsuite": (
        {
            "name",
            "tests",
            "failures",
            "errors",
            "group",
            "time",
            "skipped",
            "timestamp",
            "hostname",
            "id",
            "package",
            "file",
            "log",
            "url",
        },
        {"name", "tests", "failures", "errors"},
    ),
    "testcase": ({"name", "time", "classname", "group"}, {"name"}),
    "properties": (set(), set()),
    "property": ({"name", "value"}, {"name", "value"}),
    "failure": ({"type", "message"}, set()),
    "error": ({"type", "message"}, set()),
    "skipped": ({"type", "message"}, set()),
    "system-out": (set(), set()),
}
CHILDREN = {
    "testsuites": {"testsuite"},
    "testsuite": {"properties", "testcase"},
    "testcase": {"skipped", "error", "failure", "system-out"},
    "properties": {"property"},
}
SECONDS = re.compile(r"[0-9]+\.[0-9]{3}")
"""Narrower than what the schema takes, which refuses an exponent."""


def parse(text: str) -> ElementTree.Element:
    """Read a report, and hold it against what junit-10.xsd of the Jenkins xUnit plugin allows."""
    root = ElementTree.fromstring(text.encode())
    assert root.tag == "testsuites"
    for element in root.iter():
        allowed, required = ATTRIBUTES[element.tag]
        assert required <= set(element.attrib) <= allowed
        assert {child.tag for child in element} <= CHILDREN.get(element.tag, set())
        if "time" in element.attrib:
            assert SECONDS.fullmatch(element.attrib["time"])
    return root


def step(name: str, outcome: StepOutcome = StepOutcome.PASSED, **fields: object) -> StepReport:
    return StepReport(name=name, outcome=outcome, **fields)  # type: ignore[arg-type]


REPORT = FlowReport(
    name="Checkout",
    started_at=datetime(2026, 11, 21, 12, 0, 5, tzinfo=UTC),
    duration_ms=1234.5678,
    properties={"execution": "exec-1", "environment": "staging"},
    steps=[
        step("log in", duration_ms=12.3, output="POST https://h/login 200"),
        step(
            "order",
            StepOutcome.FAILED,
            kind="validation",
            reason="expected 201, got 500",
            details="line\nline",
            group="orders",
        ),
        step("pay", StepOutcome.SKIPPED, reason="node 'order' HTTP status: expected 201, got 500"),
        step("refund", StepOutcome.ERROR, kind="worker_lost", reason="execd died"),
        step("logout", StepOutcome.NOT_RUN),
    ],
)


def test_a_run_is_a_suite_and_a_step_a_case() -> None:
    """With names, durations and what happened."""
    suite = parse(export_junit([REPORT]))[0]

    assert suite.attrib == {
        "name": "Checkout",
        "tests": "5",
        "failures": "1",
        "errors": "1",
        "skipped": "2",
        "time": "1.235",
        "timestamp": "2026-11-21T12:00:05",
    }
    cases = {case.attrib["name"]: case for case in suite.iter("testcase")}
    assert cases["log in"].attrib == {"name": "log in", "classname": "Checkout", "time": "0.012"}
    assert cases["log in"].findtext("system-out") == "POST https://h/login 200"
    failure = cases["order"].find("failure")
    assert failure is not None
    assert failure.attrib == {"type": "validation", "message": "expected 201, got 500"}
    assert failure.text == "line\nline"
    assert cases["order"].attrib["classname"] == "orders"
    assert {name: case[0].tag for name, case in cases.items() if len(case)} == {
        "log in": "system-out",
        "order": "failure",
        "pay": "skipped",
        "refund": "error",
        "logout": "skipped",
    }
    assert [(item.get("name"), item.get("value")) for item in suite.iter("property")] == [
        ("execution", "exec-1"),
        ("environment", "staging"),
    ]


def test_a_run_that_failed_by_itself_is_not_green() -> None:
    """A timeout before the first step leaves no step that failed."""
    root = parse(export_junit([FlowReport(name="x", steps=[], error="timeout after 30 s")]))

    assert root.attrib["errors"] == "1"
    assert root[0].attrib["errors"] == "1"
    assert root[0][0][0].attrib["message"] == "timeout after 30 s"


def test_several_runs_are_one_document() -> None:
    """`execd flow *.json` in CI writes one file."""
    root = parse(export_junit([REPORT, FlowReport(name="two", steps=[step("a")])], name="nightly"))

    assert (root.attrib["name"], root.attrib["tests"], len(root)) == ("nightly", "6", 2)


def test_nothing_ran_is_still_a_document() -> None:
    """An empty file fails a build for the wrong reason."""
    assert parse(export_junit([])).attrib["tests"] == "0"


TEXTS = st.text(st.characters(exclude_categories=[]), max_size=60) | st.sampled_from(
    ["]]>", "<!--", "&amp;", "\x00\x1b[31m", "\ud800", "a\r\nb\tc", "\ufffe"]
)


@given(TEXTS, TEXTS, st.floats(0, 1e12) | st.integers(-5, 5), st.sampled_from(StepOutcome))
@settings(max_examples=400, deadline=None)
def test_any_text_makes_a_document_that_says_it(name: str, text: str, duration_ms: float, outcome: StepOutcome) -> None:
    """Answers hold terminal colours, NULs and half characters; a report that does not parse hides the failure."""
    one = step(name, outcome, reason=text, details=text, output=text, kind=name, duration_ms=duration_ms)
    root = parse(export_junit([FlowReport(name=name, steps=[one], duration_ms=duration_ms, properties={name: text})]))

    case = next(root.iter("testcase"))
    if name.isprintable():
        assert case.attrib["name"] == name
    if text.isprintable() and text:
        assert case.findtext("system-out") == text
    if set(text) <= set("\r\n\tabc") and text:
        assert case.findtext("system-out") == text


def test_long_texts_are_cut_and_say_so() -> None:
    """Jenkins keeps reports in memory."""
    text = export_junit([FlowReport(name="x", steps=[step("a", output="y" * 3 * MAX_TEXT_CHARS)])])

    assert len(text) < 2 * MAX_TEXT_CHARS
    assert "(cut: 300000 characters)" in text
