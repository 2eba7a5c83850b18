"""Conditions and checks: every message, word by word, and when it is said."""

from __future__ import annotations

from typing import Any

import pytest

from execd.core.flows.checks import Checks
from execd.core.flows.conditions import compile_conditions, skip_reason, start_step_reason
from execd.core.flows.moments import Moment, Response, StepError
from execd.core.flows.placeholders import Reader
from execd.core.flows.schemas import compile_schema

RESPONSES = {
    "X": Response(status=200, body={"f": "1", "n": "12abc", "t": True, "z": None, "l": [1, 2]}, headers={"x-a": "7"}),
    "skipped": Response.SKIPPED,
}
VARIABLES = {"v": "v1", "n": 3}


def reason(*conditions: Any, **answers: Any) -> str | None:
    """Give why a step with these conditions is skipped."""
    compiled = compile_conditions(list(conditions), Reader(VARIABLES), VARIABLES)
    moment = Moment(timestamp=0, make_guid=lambda: "g", response_of=RESPONSES.get, input=answers)
    return skip_reason(compiled, moment)


def of_x(field: str = ".f", **operator: Any) -> dict[str, Any]:
    return {"node": "X", "field": field, **operator}


REASONS = [
    ({"node": "Y", "field": ".f", "exists": True}, "node 'Y' not found or not executed yet"),
    ({"node": "X", "httpStatusCode": 201}, "node 'X' HTTP status: expected 201, got 200"),
    ({"node": "X", "httpStatusCode": "200"}, "node 'X' HTTP status: expected 200, got 200"),
    ({"node": "X", "statusCode": 404}, "node 'X' HTTP status: expected 404, got 200"),
    ({"node": "X", "httpStatusCode": 200, "field": ".f", "equals": "no"}, None),
    ({"node": "X", "statusCode": 404, "field": ".f", "equals": "1"}, None),
    ({"node": "skipped", "httpStatusCode": 0}, None),
    ({"node": "skipped", "field": ".id", "exists": False}, None),
    (of_x(equals="E"), "node 'X' field .f: expected 'E', got '1'"),
    (of_x(equals=1), None),
    (of_x(".gone", equals="undefined"), None),
    (of_x(".z", equals="E"), "node 'X' field .z: expected 'E', got 'null'"),
    (of_x(".l", equals="1,2"), None),
    (of_x(notEquals="1"), "node 'X' field .f: should not equal '1', but it does"),
    (of_x(".gone", exists=True), "node 'X' field .gone: expected to exist, but it doesn't"),
    (of_x(".gone", exists=False), None),
    (of_x(exists=False), "node 'X' field .f: expected to not exist, but got '1'"),
    (of_x(exists="true"), "node 'X' field .f: expected to exist, but it doesn't"),
    (of_x(greaterThan=1), "node 'X' field .f: expected > 1, got 1"),
    (of_x(greaterThan="2.50"), "node 'X' field .f: expected > 2.5, got 1"),
    (of_x(greaterThan="x"), "node 'X' field .f: expected > NaN, got 1"),
    (of_x(lessThan=1), "node 'X' field .f: expected < 1, got 1"),
    (of_x(greaterThanOrEqual=2), "node 'X' field .f: expected >= 2, got 1"),
    (of_x(lessThanOrEqual=0), "node 'X' field .f: expected <= 0, got 1"),
    (of_x(".n", greaterThan=11), None),
    (of_x(".t", greaterThan=0), "node 'X' field .t: expected numeric value for comparison, got 'true'"),
    (of_x(equals="1", notEquals="1"), None),
    ({"node": "X"}, "node 'X' field undefined: no valid condition type specified"),
    (of_x(), "node 'X' field .f: no valid condition type specified"),
    ({"variable": "v", "equals": "v2"}, "variable 'v': expected 'v2', got 'v1'"),
    ({"variable": "gone", "equals": "1"}, "variable 'gone': expected '1', got 'undefined'"),
    ({"variable": "n", "equals": "{{ .vars.n }}"}, None),
    ({"input": "k", "equals": "yes"}, "user input 'k': expected 'yes', got 'no'"),
    ({"source": "input", "node": "X", "input": "k", "equals": "no"}, None),
    ({"source": "input", "node": "X", "equals": "no"}, "user input 'undefined': expected 'no', got 'undefined'"),
    ({"node": "X", "variable": "v", "field": ".f", "equals": "1"}, None),
    ({"node": "", "variable": "v", "equals": "v1"}, None),
    ({"node": None, "variable": None, "input": "k", "equals": "no"}, None),
    ({"source": "elsewhere", "node": "X", "equals": "1"}, "undefined: expected '1', got 'undefined'"),
    (of_x(exists="{{ .responses.gone.id }}"), "node 'X' field .f: expected to exist, but it doesn't"),
    (of_x(equals=["{{ .responses.gone.id }}"]), "node 'X' field .f: expected '{{ .responses.gone.id }}', got '1'"),
    (None, "user input 'undefined': no valid condition type specified"),
    ({"node": "X", "header": "X-A", "equals": "8"}, "node 'X' header X-A: expected '8', got '7'"),
    ({"node": "X", "statusCode": True, "lessThan": 200}, "node 'X' HTTP status: expected < 200, got 200"),
    (of_x(contains="2"), "node 'X' field .f: expected to contain '2', got '1'"),
    (of_x(matches="^[0-9]$"), None),
    (of_x(".l", length=2), None),
    (of_x(type="number"), "node 'X' field .f: expected to be of type 'number', got '1'"),
    (of_x(**{"in": [1, 2]}), None),
]


@pytest.mark.parametrize(("condition", "expected"), REASONS)
def test_a_condition_gives_its_reason(condition: Any, expected: str | None) -> None:
    """People read these in the page, and scripts compare them."""
    assert reason(condition, k="no") == expected


def test_the_first_condition_that_does_not_hold_decides() -> None:
    """All must hold."""
    assert (
        reason(of_x(equals=1), {"variable": "v", "equals": "b"}, of_x(equals=2))
        == "variable 'v': expected 'b', got 'v1'"
    )


def test_a_bad_reference_in_a_condition_is_a_failure_of_the_step() -> None:
    """The original ends the run without saying which step it was."""
    with pytest.raises(StepError, match="Could not find response for node: Y"):
        reason({"variable": "v", "equals": "{{ .responses.Y.id }}"})


def test_steps_before_the_first_have_a_reason_of_their_own() -> None:
    """It counts from 1, as people do."""
    assert start_step_reason(2) == "--start-step: execution begins at step 3"


def judge(*rules: Any, status: int = 200, body: Any = None, **more: Any) -> tuple[list[dict[str, Any]], str | None]:
    body = {"f": "1", "z": None, "l": [1], "s": "abc", "n": 2.5, "o": {"a": 1}} if body is None else body
    return Checks(list(rules)).judge(Response(status=status, body=body, **more))


MESSAGES = [
    ({"httpStatusCode": 200}, "HTTP status validation failed: expected 200, got 500"),
    ({"httpStatusCode": "500"}, "HTTP status validation failed: expected 500, got 500"),
    ({"httpStatusCode": 500, "jsonpath": ".gone"}, None),
    ({"jsonpath": ".gone", "exists": True}, "Validation failed: field .gone should exist but doesn't"),
    ({"jsonpath": ".o", "exists": False}, 'Validation failed: field .o should not exist but does (value: {"a":1})'),
    ({"jsonpath": ".f", "exists": "yes"}, None),
    ({"jsonpath": ".gone", "exists": 0}, None),
    ({"jsonpath": ".f", "equals": 1}, None),
    ({"jsonpath": ".f", "equals": "2"}, 'Validation failed: field .f should equal "2", got "1"'),
    ({"jsonpath": ".gone", "equals": "2"}, 'Validation failed: field .gone should equal "2", got "undefined"'),
    ({"jsonpath": ".gone", "equals": "undefined"}, None),
    ({"jsonpath": ".z", "equals": "2"}, 'Validation failed: field .z should equal "2", got "null"'),
    (
        {"jsonpath": ".f", "equals": "{{ .vars.one }}"},
        'Validation failed: field .f should equal "{{ .vars.one }}", got "1"',
    ),
    ({"jsonpath": ".f", "notEquals": 1}, 'Validation failed: field .f should not equal "1"'),
    ({"jsonpath": ".s", "greaterThan": 1}, "Validation failed: field .s is not numeric (value: abc)"),
    (
        {"jsonpath": ".s", "greaterThan": 1, "lessThan": 3},
        "Validation failed: field .s is not numeric (value: abc); Validation failed: field .s is not numeric (value: abc)",
    ),
    ({"jsonpath": ".n", "greaterThan": "2.50"}, "Validation failed: field .n should be > 2.5, got 2.5"),
    ({"jsonpath": ".n", "greaterThan": "{{ .vars.min }}", "lessThan": None}, None),
    ({"jsonpath": ".s", "lessThan": "x"}, "Validation failed: field .s is not numeric (value: abc)"),
    ({"jsonpath": "", "equals": 1}, None),
    ({"jsonpath": ".n", "lessThan": 2}, "Validation failed: field .n should be < 2, got 2.5"),
    ({"jsonpath": ".n", "greaterThanOrEqual": 3}, "Validation failed: field .n should be >= 3, got 2.5"),
    ({"jsonpath": ".n", "lessThanOrEqual": 2}, "Validation failed: field .n should be <= 2, got 2.5"),
    ({"jsonpath": ".gone"}, "Validation failed: field .gone does not exist"),
    ({"jsonpath": ".z"}, "Validation failed: field .z does not exist"),
    ({"jsonpath": ".f"}, None),
    ({}, None),
    (None, None),
    ({"jsonpath": ".l", "contains": 1}, None),
    ({"jsonpath": ".s", "contains": "x"}, 'Validation failed: field .s should contain "x", got "abc"'),
    (
        {"jsonpath": ".o", "notContains": "a"},
        'Validation failed: field .o should not contain "a", got "[object Object]"',
    ),
    ({"jsonpath": ".s", "matches": "^b"}, 'Validation failed: field .s should match "^b", got "abc"'),
    ({"jsonpath": ".n", "in": [1, 2]}, 'Validation failed: field .n should be one of "1,2", got "2.5"'),
    ({"jsonpath": ".n", "type": "integer"}, 'Validation failed: field .n should be of type "integer", got "2.5"'),
    ({"jsonpath": ".l", "type": ["array"]}, None),
    ({"jsonpath": ".s", "length": 2}, 'Validation failed: field .s should have length "2", got "abc"'),
    ({"header": "X-Rate", "greaterThan": 9}, "Validation failed: header X-Rate should be > 9, got 7"),
    ({"header": "X-None"}, "Validation failed: header X-None does not exist"),
    ({"responseTimeMs": 10}, "Validation failed: response time in ms should be <= 10, got 12"),
    ({"responseTimeMs": True, "lessThan": 20}, None),
    (
        {"schema": {"required": ["id"]}},
        "Validation failed: body does not match the schema: .: 'id' is a required property",
    ),
    (
        {"jsonpath": ".l", "schema": {"items": {"type": "string"}}},
        "Validation failed: field .l does not match the schema: [0]: 1 is not of type 'string'",
    ),
]


@pytest.mark.parametrize(("rule", "message"), MESSAGES)
def test_a_rule_says_why_it_fails(rule: Any, message: str | None) -> None:
    """The page finds `validation failed` in these, and leaves the text out of the card."""
    assert judge(rule, status=500, headers={"x-rate": "7"}, time_ms=12)[1] == message


def test_no_rule_at_all_is_a_status_of_200() -> None:
    """And any rule takes that away: a 500 with a field that is there passes."""
    assert judge(status=500)[1] == "HTTP status validation failed: expected 200, got 500"
    assert judge({"jsonpath": ".f"}, status=500)[1] is None
    assert judge({}, status=500) == ([], None)


def test_all_rules_are_looked_at_and_told() -> None:
    """One run shows everything that is wrong."""
    records, message = judge({"httpStatusCode": 201}, {"jsonpath": ".gone"}, {"jsonpath": ".f"})

    assert message == (
        "HTTP status validation failed: expected 201, got 200; Validation failed: field .gone does not exist"
    )
    assert records == [
        {"type": "httpStatusCode", "expected": 201, "actual": 200, "passed": False},
        {"type": "jsonpath", "path": ".gone", "checks": [], "passed": False},
        {"type": "jsonpath", "path": ".f", "value": "1", "checks": ["exists"], "passed": True},
    ]


@pytest.mark.parametrize(
    ("schema", "fault"),
    [
        ({"type": "nothing"}, "is not valid under any of the given schemas"),
        ("text", "a schema is an object"),
        ({"pattern": "(?=a)"}, "is not taken"),
        ({"patternProperties": {"a": {}}}, "patternProperties is not taken"),
    ],
)
def test_a_schema_that_cannot_be_used_says_why(schema: Any, fault: str) -> None:
    """And fails every body: what was not checked has not passed."""
    check = compile_schema(schema)

    assert check.fault is not None
    assert fault in check.fault
    assert check.faults({})


def test_a_schema_never_reads_from_elsewhere() -> None:
    """A reference to a URL would let a config make execd call anybody."""
    check = compile_schema({"$ref": "http://127.0.0.1:9/schema.json"})

    assert check.faults({}) == ["the schema cannot be followed (_WrappedReferencingError)"]


def test_patterns_of_schemas_are_linear_too() -> None:
    """A body of a stranger and a careless pattern must not hold up the process."""
    assert compile_schema({"pattern": "^(a+)+$"}).faults("a" * 5000 + "b") == [".: does not match its pattern"]
