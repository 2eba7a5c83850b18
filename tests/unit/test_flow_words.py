"""What a flow is called, given and said at the terminal: pure, without a process."""

from __future__ import annotations

from typing import Any

import pytest

from execd.cli.flow_files import asked_keys, looks_like_flow, with_run_values
from execd.cli.flow_wording import FlowWords, summary_of
from execd.cli.recording import Recorder
from execd.cli.views import JsonView
from execd.core.codec import decode_event, number_fact
from execd.core.errors import InvalidRequestError
from execd.core.event_parts import Failure, Prompt
from execd.core.events import (
    EventData,
    Fact,
    InputReceived,
    InputRequired,
    NodeCompleted,
    NodeExpanded,
    NodeFailed,
    NodeId,
    NodeSkipped,
    NodeStarted,
    ResultStored,
    Status,
)
from execd.core.flows.titles import titles_of
from execd.core.formats.junit_export import StepOutcome
from execd.core.node_book import NodeBook
from tests.support.scripted_server import AT, ID, make_result

CONFIG: dict[str, Any] = {
    "defaults": {"baseUrl": "https://a.example"},
    "variables": {"n": 1, "name": "Ada"},
    "environments": {"_common": {}, "test": {}},
    "nodes": [
        {"id": "login", "name": "Log in", "method": "POST", "url": "/login", "userPrompts": {"user": "", "pin": ""}},
        {"id": "odd id", "method": "GET", "url": "/{{ .vars.other }}", "userPrompts": {"user": "", "late": ""}},
    ],
    "finally": [{"id": "out", "method": "GET", "url": "/out", "userPrompts": {"why": ""}}],
}
STARTED = NodeStarted(label="x", type="flow_step")
RECORD = {
    "request": {"method": "GET", "url": "https://a.example/x", "headers": {}, "body": {}},
    "substitutions": [],
    "response": {"status": 500, "statusText": "Oops", "headers": {}, "body": "\x1b[2Jbad \x07body"},
    "validations": [{"type": "httpStatusCode", "expected": 200, "actual": 500, "passed": False}],
}
FAILED = Failure(
    code="http:validation",
    message="HTTP status validation failed: expected 200, got 500; Validation failed: field .x should exist but doesn't",
    details={"group": "program", "step": RECORD},
)


def events(*facts: tuple[str, EventData] | EventData) -> list[Any]:
    """Give the events of a journal with these facts, some of them of a node."""
    pairs = [fact if isinstance(fact, tuple) else ("", fact) for fact in facts]
    made = [Fact(data=data, at=AT, node=NodeId(node) if node else None, attempt=1) for node, data in pairs]
    return [number_fact(ID, seq, fact) for seq, fact in enumerate(made, start=1)]


def said(*facts: tuple[str, EventData] | EventData) -> list[str]:
    """Give every line that is said of them."""
    words, book = FlowWords(ID, titles_of(CONFIG)), NodeBook()
    lines: list[str] = []
    for stored in events(*facts):
        event = decode_event(stored.body)
        book.take(event)
        lines += [line.text for line in words.of(event, book)]
    return lines


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"nodes": [{"id": "a", "method": "GET", "url": "/"}]}, True),
        ({"nodes": [{"id": "a", "type": "http", "method": "GET", "url": "/"}]}, False),
        ({"nodes": [{"id": "a", "type": "set", "values": 1}]}, False),
        ({"nodes": []}, False),
        ({"nodes": "a"}, False),
        ({"nodes": [7]}, False),
    ],
)
def test_a_flow_is_told_from_a_workflow(body: dict[str, Any], expected: bool) -> None:
    """FlowSphere's files say nothing of what they are; a workflow's request has a type."""
    assert looks_like_flow(body) is expected


def test_steps_are_called_as_their_author_called_them() -> None:
    """By the node of the journal, with what is requested as it is written."""
    titles = {node: (title.name, title.request) for node, title in titles_of(CONFIG).items()}

    assert titles == {
        "login": ("Log in", "POST https://a.example/login"),
        "step-2": ("step-2", "GET https://a.example/{{ .vars.other }}"),
        "out": ("out", "GET https://a.example/out"),
    }


def test_what_is_typed_is_of_the_kind_it_replaces() -> None:
    """A number stays a number, a text a text, and a variable that is only read may be given."""
    body = with_run_values(CONFIG, environment="test", variables=["n=2", "name=3", "other=4"], start_step=2)

    assert body["input"] == {"n": 2, "name": "3", "other": "4"}
    assert (body["environment"], body["startStep"]) == ("test", 1)


@pytest.mark.parametrize(
    "typed",
    [{"environment": "_common"}, {"variables": ["nope=1"]}, {"variables": ["n"]}, {"start_step": 3}],
)
def test_what_nothing_reads_is_refused(typed: dict[str, Any]) -> None:
    """A typing error must not run against the wrong place."""
    with pytest.raises(InvalidRequestError):
        with_run_values(CONFIG, **{"environment": None, "variables": (), "start_step": None, **typed})


def test_only_what_will_be_asked_has_to_be_given() -> None:
    """Steps before the first that runs ask nothing; those of `finally` always do."""
    assert asked_keys(CONFIG) == ["user", "pin", "late", "why"]
    assert asked_keys({**CONFIG, "startStep": 1}) == ["user", "late", "why"]


def test_a_failed_step_says_each_reason_and_what_was_answered() -> None:
    """And nothing the server said can command the terminal."""
    lines = said(("login", STARTED), ("login", NodeFailed(duration_ms=7, error=FAILED)))

    assert lines == [
        "✘ Log in  GET https://a.example/x  500 Oops  7 ms",
        "    ✘ HTTP status validation failed: expected 200, got 500",
        "    ✘ Validation failed: field .x should exist but doesn't",
        "    answered: bad \N{REPLACEMENT CHARACTER}body",
    ]


def test_a_secret_answer_is_not_repeated() -> None:
    """A log is read by many."""
    asked = InputRequired(prompt_id="p", prompts=(Prompt(key="user", label="User"),), is_open=True)
    node = "login.prompts"
    received = InputReceived(prompt_id="p", by="ada", values={"user": "ada", "password": "hunter2", "n": 3})

    lines = said((node, NodeStarted(label="x", type="input")), (node, asked), (node, received))

    assert lines[0] == "? Log in  User"
    assert lines[-1] == "! answered by ada: user=ada, password=***, n=3"


def test_rows_have_a_heading_and_the_whole_a_summary() -> None:
    """Each row once, and what only holds steps is not counted as one."""
    done = NodeCompleted(duration_ms=1, output={**RECORD, "validations": []})
    rows = NodeExpanded(items=({"a": 1}, {"a": 2}), concurrency=1, keeps_going=True, is_map=True)
    facts = [
        ("rows", NodeStarted(label="x", type="flow_rows")),
        ("rows", rows),
        ("rows[0]/login", STARTED),
        ("rows[0]/login", done),
        ("rows[0]/step-2", NodeSkipped(reason="variable 'a': expected '2', got '1'")),
        ("rows[0]/row.end", NodeCompleted(duration_ms=0)),
        ("rows[1]/login", STARTED),
        (
            "rows[1]/login",
            NodeFailed(duration_ms=1, error=Failure(code="cut_short", message="x", details={"group": "cancelled"})),
        ),
        ("rows[1]/step-2", NodeSkipped(reason="not_run")),
        (
            "rows",
            NodeFailed(duration_ms=1, error=Failure(code="cut_short", message="x", details={"group": "cancelled"})),
        ),
        ("rows.verdict", NodeSkipped(reason="not_run")),
        make_result(status=Status.CANCELLED, exit_code=None),
    ]

    lines = said(*facts)  # type: ignore[arg-type] # a list of pairs and one result

    assert [line for line in lines if line.startswith("row ")] == ["row 1 of 2  a=1", "row 2 of 2  a=2"]
    assert lines[-1] == "Summary: 1 executed, 1 skipped, 1 cut short, 1 not run"


def test_a_book_of_nothing_sums_up_to_nothing() -> None:
    """An execution that was cancelled in the queue has no steps."""
    assert summary_of(NodeBook()) == "0 executed, 0 skipped"


async def write(_fd: int, _data: bytes) -> None:
    """Write nowhere."""


async def report_of(*facts: tuple[str, EventData] | EventData) -> Any:
    recorder = Recorder(JsonView(write))
    for stored in events(*facts):
        await recorder.show(stored, decode_event(stored.body))
    return recorder.record.report(ID, name="w", config={**CONFIG, "environment": "test"})


async def test_a_journal_that_breaks_off_is_never_green() -> None:
    """What ran when the server was lost, and what nobody heard of, did not pass."""
    report = await report_of(("login", STARTED))

    outcomes = {step.name: step.outcome for step in report.steps}
    assert outcomes == {"Log in": StepOutcome.ERROR, "step-2": StepOutcome.NOT_RUN, "out": StepOutcome.NOT_RUN}
    assert report.error == "the journal was not followed to its end"


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (Status.COMPLETED, ""),
        (Status.INTERRUPTED, "the flow ended as interrupted"),
        (Status.TIMEOUT, "the flow ended as timeout"),
        (Status.FAILED, "the flow ended as failed"),
    ],
)
async def test_an_end_that_no_step_explains_is_told(status: Status, error: str) -> None:
    """A report without a failure is green, whatever became of the run."""
    result: ResultStored = make_result(status=status, exit_code=None)

    assert (await report_of(result)).error == error
    assert (
        await report_of(("login", NodeFailed(duration_ms=1, error=FAILED)), make_result(status=Status.FAILED))
    ).error == ""
