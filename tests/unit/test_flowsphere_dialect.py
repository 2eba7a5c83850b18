"""FlowSphere's words, without a server: numbers, phrases, names, and which records its page survives."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from execd.core.codec import number_fact
from execd.core.events import ExecutionId, Fact, NodeId, NodeSkipped
from execd.core.flows.specs import FlowSpec
from execd.http.dialects.flowsphere import Drawing, Frame, Teller
from execd.http.dialects.flowsphere_runs import name_of, parse_options
from execd.http.dialects.flowsphere_steps import (
    StepRecord,
    cli_step,
    lean_step,
    phrase_of,
    shown_method,
    shown_substitutions,
    shown_validations,
    write_json,
)
from execd.ports import StreamedEvent

NODES = [{"id": "a"}, {"id": "a"}, {"id": "has space"}, {}]
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": 1.0, "b": [0.0, 2.5]}, '{"a":1,"b":[0,2.5]}'),
        ([1e21, 1e-7, 0.000001], "[1e+21,1e-7,0.000001]"),
        ([2**64, 12345678901234567890], "[18446744073709551616,12345678901234567890]"),
        ({"t": "1.0, 1e21"}, '{"t":"1.0, 1e21"}'),
        ({"ü": "\u2028</script>"}, '{"ü":"\u2028</script>"}'),
    ],
)
def test_numbers_are_written_as_javascript_writes_them(value: Any, text: str) -> None:
    """Clients compare bytes where they compare at all; digits are never lost."""
    assert write_json(value).decode() == text


@given(JSON_VALUES)
def test_what_is_written_is_one_line_that_reads_the_same(value: Any) -> None:
    """No value of a target can end a line or change on its way."""
    written = write_json([value])

    assert b"\n" not in written
    assert b"\r" not in written
    assert json.loads(written, parse_int=float) == json.loads(json.dumps([value]), parse_int=float)


@pytest.mark.parametrize(
    ("status", "phrase"),
    [(200, "OK"), (413, "Payload Too Large"), (422, "Unprocessable Entity"), (404, "Not Found"), (599, ""), (0, "")],
)
def test_phrases_are_those_of_the_standard(status: int, phrase: str) -> None:
    """A server may send any text there, and the page would put it into itself."""
    assert phrase_of(status) == phrase


@pytest.mark.parametrize(
    ("method", "shown"), [("get", "get"), ("PATCH", "PATCH"), ("GET<b>", "GETb"), (["<i>"], "i"), (7, "")]
)
def test_methods_are_methods(method: Any, shown: str) -> None:
    """In the case they are written in."""
    assert shown_method(method) == shown


@pytest.mark.parametrize(
    ("value", "body", "is_kept"),
    [
        ("x", "{}", True), (0, "{}", True), (None, "{}", True), ("", "{}", False), ([], "{}", False), ([None], "{}", False),
        ("a<b", "{}", False), ([["<"]], "{}", False), ({"a": "<"}, "{}", True), ("x", '"<span>"', False), ("x", '"< span"', True),
    ],
)  # fmt: skip
def test_records_that_the_page_would_hang_on_or_run_are_left_out(value: Any, body: str, is_kept: bool) -> None:
    """It looks for the text of the value, without end if that is empty, and takes `<span` for its own."""
    record = {"request": {"body": json.loads(body)}, "substitutions": [{"original": "{{ .vars.v }}", "value": value}]}
    read = msgspec.json.decode(msgspec.json.encode(record), type=StepRecord)

    assert bool(shown_substitutions(read)) is is_kept


def test_what_a_check_expected_is_no_markup() -> None:
    """Numbers and plain texts stay; the rest is null."""
    rules = [{"expected": value, "actual": 200} for value in (200, "200", True, "<b>", ['"'], None)]

    assert [each["expected"] for each in shown_validations(rules)] == [200, "200", True, None, None, None]


def test_a_step_without_bodies_has_the_same_keys() -> None:
    """Whoever reads a log need not know that it was too large."""
    step = {
        "step": 1, "request": {"headers": {"a": "b"}, "body": "x"}, "response": {"status": 200, "headers": {}, "body": "y"},
        "substitutions": [1], "validations": [1], "duration": 1, "status": "completed",
    }  # fmt: skip
    lean = lean_step(step)

    assert list(lean) == list(step)
    assert (lean["request"]["truncated"], lean["response"]["body"], lean["response"]["truncated"]) == (True, None, True)
    assert list(lean_step({"step": 1, "status": "skipped", "skipReason": "x"})) == ["step", "status", "skipReason"]
    assert list(cli_step({"step": 1, "status": "skipped", "skipReason": "x"})) == ["step", "status", "skip_reason"]


def test_steps_are_found_by_their_nodes() -> None:
    """Ids that are no names, or there twice, have nodes of other names; prompts belong to their step."""
    drawing = Drawing(FlowSpec(config={"nodes": NODES, "finally": [{"id": "end"}]}))
    rows = Drawing(FlowSpec(config={"nodes": NODES, "data": [{"a": 1}, {"a": 2}]}))

    names = ["a", "step-2", "step-3", "step-4", "end"]
    heads = [drawing.find(NodeId(name)) for name in names]
    assert [None if head is None else head.number for head in heads] == [1, 2, 3, 4, 5]
    assert drawing.find(NodeId("rows.verdict")) is None
    assert drawing.find(None) is None
    asked = rows.find(NodeId("rows[1]/step-2.prompts"))
    assert asked is not None
    assert asked.number == 6
    assert [drawing.prompt_of(index) for index in (-1, 0, 4, 5)] == [None, "a.prompts.1", "end.prompts.1", None]
    assert rows.prompt_of(5) == "rows[1]/step-2.prompts.1"
    assert (drawing.total_steps, rows.total_steps, Drawing(FlowSpec(config={})).total_steps) == (5, 8, 0)


def test_only_the_last_frame_of_an_event_may_be_resumed_after() -> None:
    """Else a reader that comes back after `error` would miss the `end` of the same event."""
    assert Frame("end", b"{}", 7).block == b"event: end\ndata: {}\nid: 7\n\n"
    assert Frame("error", b"{}", 7, is_last=False).block == b"event: error\ndata: {}\n\n"
    teller = Teller(ExecutionId("exec-1"), Drawing(FlowSpec(config={})))
    assert [frame.name for frame in teller.broken_off("draining", 3)] == ["error", "end"]
    assert len(teller.start(1)) == 1
    assert teller.start(2) == []


def skips(count: int, reason: str) -> list[StreamedEvent]:
    """Give the events of so many steps that were skipped, and the end."""
    at = datetime(2026, 1, 1, tzinfo=UTC)
    facts = [Fact(data=NodeSkipped(reason=reason), at=at, node=NodeId(f"n{index}")) for index in range(count)]
    stored = [number_fact(ExecutionId("exec-1"), seq, fact) for seq, fact in enumerate(facts, start=1)]
    end = {
        "seq": count + 1,
        "type": "result_stored",
        "execution_id": "exec-1",
        "at": "",
        "data": {"status": "completed"},
    }
    events = [StreamedEvent(seq=event.seq, type=event.type, body=event.body) for event in stored]
    return [*events, StreamedEvent(seq=count + 1, type="result_stored", body=json.dumps(end).encode())]


@pytest.mark.parametrize(("count", "size", "left_out"), [(10, 100, False), (600, 10_000, False), (1500, 10_000, True)])
def test_a_log_has_an_end_however_many_steps_there_are(count: int, size: int, left_out: bool) -> None:
    """With a million rows of data a viewer's memory must not grow with them: the first are whole, then lean, then counted."""
    nodes = [{"id": f"n{index}", "method": "GET", "url": "/"} for index in range(count)]
    teller = Teller(ExecutionId("exec-1"), Drawing(FlowSpec(config={"nodes": nodes})))
    frames = [frame for event in skips(count, "x" * size) for frame in teller.tell(event)]
    end = json.loads(frames[-1].data)

    assert [frame.name for frame in frames] == ["start", *["step"] * count, "end"]
    assert end["stepsSkipped"] == count
    assert len(end["executionLog"]) + end.get("stepsLeftOut", 0) == count
    assert ("stepsLeftOut" in end) is left_out
    assert len(frames[-1].data) < 4.5 * 1024 * 1024
    assert max(len(step["skipReason"]) for step in end["executionLog"]) == size


@pytest.mark.parametrize(
    ("given_step", "found"),
    [(None, 0), (2, 2), ("2", 2), ("x", 0), (1.5, 2), (-3, 0), (True, 0), (10**30, 10_000), ([], 0)],
)
def test_odd_options_are_as_if_they_were_not_there(given_step: Any, found: int) -> None:
    """A step is skipped if its place is less, as JavaScript compares."""
    assert parse_options({"options": {"startStep": given_step}}).start_step == found
    assert parse_options({"options": given_step}).start_step == 0


@pytest.mark.parametrize(
    ("name", "shown"),
    [(None, "FlowSphere"), (["x"], "FlowSphere"), ("  \n", "FlowSphere"), ("a\x00b\n", "ab"), ("x" * 500, "x" * 200)],
)
def test_a_run_has_a_name_that_can_be_listed(name: Any, shown: str) -> None:
    """Whatever the config says; nothing of it is refused by this door."""
    assert name_of({"name": name})[:200] == shown
