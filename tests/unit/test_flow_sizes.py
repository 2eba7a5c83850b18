"""Configs of a few megabytes that ask for gigabytes or hours: each is a sentence in the answer, soon, and nothing else."""

from __future__ import annotations

import tracemalloc
from datetime import UTC, datetime
from typing import Any

import pytest

from execd.core.calls import CallEnd, HttpResult, ReadCall
from execd.core.errors import InvalidRequestError
from execd.core.flows.compiling import compile_alone
from execd.core.flows.data_rows import read_rows
from execd.core.flows.moments import Moment, Response
from execd.core.flows.placeholders import Notes, Reader
from execd.core.flows.steps import FailStep, SkipStep
from execd.core.flows.trees import compile_tree
from execd.core.flows.validator import validate
from execd.core.flows.warnings import warn
from execd.core.nodes.n8n.templates import references_in

NOW = datetime(2026, 11, 21, tzinfo=UTC)
NODE = {"id": "a", "method": "POST", "url": "http://api.example/"}
MEBIBYTE = 1024 * 1024


def moment(**changes: Any) -> Moment:
    return Moment(timestamp=1, make_guid=lambda: "g", response_of=lambda _name: None, **changes)


def begin(node: dict[str, Any], config: dict[str, Any] | None = None, **changes: Any) -> ReadCall | SkipStep | FailStep:
    return compile_alone({"nodes": [node], **(config or {})}, node).begin(moment(**changes), (), NOW)


def conclude(begun: object, body: bytes = b'{"id": 1}') -> CallEnd:
    assert isinstance(begun, ReadCall)
    result = HttpResult(
        status=200, reason="OK", headers=(), body=body, truncated=False, is_decoded=True, url="u", duration_ms=1
    )
    return begun.conclude(result, NOW)


@pytest.mark.parametrize(
    "text", ["{{" * 500_000, "{{ " * 300_000 + " " * 100_000, "{{" + " " * 500_000, "}}{{" * 40_000]
)
def test_what_opens_and_never_closes_is_read_once(text: str) -> None:
    """A pattern that looks for the end again and again would hold the whole process for hours."""
    Reader({}).template(text, "url")
    list(references_in(text, path="url"))
    validate({"nodes": [{**NODE, "url": text}]})
    warn({"nodes": [{**NODE, "url": text}]})


def test_long_keys_do_not_stand_before_every_placeholder() -> None:
    """Sixty keys of two hundred letters above a list of texts would be a copy of all of them for each."""
    tree: Any = ["{{ $guid }}"] * 20_000
    for number in range(60):
        tree = {"k" * 195 + str(number): tree}

    tracemalloc.start()
    render = compile_tree(tree, "body", Reader({}))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert render is not None
    assert peak_bytes < 60 * MEBIBYTE
    notes = Notes()
    render(moment(), notes)
    assert max(len(each.path) for each in notes.made) < 1000


@pytest.mark.parametrize(
    ("node", "config", "message"),
    [
        ({"body": ["{{ $guid }}"] * 50_001}, {}, "at most 50000 placeholders"),
        ({"body": ["a{{ .vars.v }}"] * 20}, {"variables": {"v": "x" * MEBIBYTE}}, "The variables put more than"),
        ({"body": ["a{{ .input.v }}"] * 20}, {}, "grew over"),
        ({"body": ["{{ .input.v }}"] * 20}, {"typed": True}, "grew over"),
        ({"conditions": [{"input": "x", "exists": False}] * 1001}, {}, "at most 1000 conditions"),
        ({"validations": [{"jsonpath": ".id"}] * 1001}, {}, "at most 1000 validations"),
    ],
)  # fmt: skip
def test_what_grows_too_large_fails_its_step(node: dict[str, Any], config: dict[str, Any], message: str) -> None:
    """Before a byte is sent, with a sentence that says what is too much; what was written is shown, cut."""
    begun = begin({**NODE, **node}, config, input={"v": "x" * MEBIBYTE})

    assert isinstance(begun, FailStep)
    assert message in begun.message


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"nodes": [0] * 3_000_000}, "nodes"),
        ({"nodes": [NODE] * 9000, "defaults": {"baseUrl": "http://x/" + "y" * MEBIBYTE}}, "defaults.baseUrl"),
        ({"nodes": [NODE] * 9000, "defaults": {"headers": dict.fromkeys(map(str, range(200)), "v")}}, "defaults.headers"),
        ({"nodes": [NODE] * 9000, "defaults": {"validations": [{"httpStatusCode": 200}] * 200}}, "defaults.validations"),
    ],
)  # fmt: skip
def test_what_would_be_multiplied_is_refused(config: dict[str, Any], field: str) -> None:
    """Defaults are put into every step, so that a megabyte of them in ten thousand steps is ten gigabytes."""
    (error,) = validate(config)

    assert error["field"] == field
    assert error["type"] == "structure"


@pytest.mark.parametrize("reason", [[], {}, ["5xx"], None, True])
def test_a_reason_of_any_type_is_an_error_of_the_config(reason: Any) -> None:
    """What can be no key of a table is no reason for a retry either."""
    (error,) = validate({"nodes": [{**NODE, "retry": {"on": [reason]}}]})

    assert error["field"] == "nodes[0].retry.on"


def test_nobody_waits_for_a_million_errors() -> None:
    """A thousand are told, and looking ends with them."""
    found = validate({"nodes": [{**NODE, "conditions": [0] * 3_000_000}]})

    assert len(found) == 1000
    assert len(warn({"nodes": [{**NODE, "body": ["{{ .vars.none }}"] * 1_000_000}]})) == 1000


def test_many_references_to_many_nodes_are_looked_up_at_once() -> None:
    """Each by one look, and not by reading all names."""
    nodes = [{**NODE, "id": f"n{i}", "url": "http://x/" + "{{ .responses.n0.id }}" * 5} for i in range(9000)]

    assert validate({"nodes": nodes}) == []
    assert {each["field"] for each in warn({"nodes": nodes})} == {"nodes[0]"}


def test_rows_of_data_have_an_end_in_both_directions() -> None:
    """A line of a million names makes every line below it as long."""
    with pytest.raises(InvalidRequestError, match="at most 1000 columns"):
        read_rows({"csv": ",".join(f"a{i}" for i in range(100_000)) + "\n" + "x\n" * 100_000})
    with pytest.raises(InvalidRequestError, match="more than 10000"):
        read_rows({"csv": "a\n" + "x\n" * 2_000_000})


def test_what_is_kept_of_a_step_has_an_end() -> None:
    """A journal is read by everybody who watches: records, heads and messages are counted or cut, and say so."""
    node = {
        **NODE,
        "headers": {f"h{i}": "v" * 2000 for i in range(100)},
        "body": ["{{ .input.v }}"] * 1500,
        "validations": [{"jsonpath": ".text", "equals": "y" * 100_000}] * 100,
    }
    end = conclude(begin(node, input={"v": "x" * 9000}), body=b'{"text": "' + b"z" * 9000 + b'"}')

    failure = end.outcome.failure
    assert failure is not None
    assert len(failure.message) <= 64 * 1024
    record = failure.details["step"]
    assert len(record["substitutions"]) == 1000
    assert record["substitutions_left_out"] == 500
    assert sum(len(each["value"] or "") for each in record["substitutions"]) <= 512 * 1024
    assert record["substitutions"][-1]["truncated"] is True
    assert sum(len(each.get("value") or "") for each in record["validations"]) <= 512 * 1024
    assert record["request"]["truncated"] is True
    assert sum(map(len, record["request"]["headers"].values())) <= 64 * 1024


def test_why_a_step_is_skipped_is_no_page() -> None:
    """It quotes what was compared, which may be all of a response."""
    node = {**NODE, "conditions": [{"node": "b", "field": ".", "equals": "no"}]}
    step = compile_alone({}, node)
    seen = Response(status=200, body="x" * MEBIBYTE)

    begun = step.begin(Moment(timestamp=1, make_guid=lambda: "g", response_of={"b": seen}.get), (), NOW)

    assert isinstance(begun, SkipStep)
    assert len(begun.reason) == 10_000
