"""What an answer must be: the validations of a step, compiled once, with what each found and the message if it fails.

All rules are looked at. No rule at all is one: status 200. Rules of the original look at the status or at a field of the
body; a header, the response time and a JSON Schema are execd's own. Nothing in a rule is a placeholder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET

from execd.core.flows.field_paths import reader_of
from execd.core.flows.js_values import (
    is_missing,
    is_same,
    is_truthy,
    js_text,
    json_text,
    leading_number,
    number_text,
)
from execd.core.flows.moments import Response
from execd.core.flows.operators import ALL, ORDERINGS, OWN, holds_order
from execd.core.flows.schemas import SchemaCheck, compile_schema

IMPLICIT = ({"httpStatusCode": 200},)
MAX_RULES = 1000
"""Of one step, conditions and validations each: every one looks at an answer and is told with what it found."""
SHOWN_VALUE_CHARS = 2000
"""Of a value in a message: a field may be a whole page."""


class Verdict(msgspec.Struct, frozen=True):
    """What one rule found."""

    record: dict[str, Any]
    messages: tuple[str, ...] = ()
    """Why it fails; empty if it holds."""


Check = Callable[[Response], Verdict | None]


class Checks:
    """All rules of a step. Immutable."""

    def __init__(self, rules: Sequence[Any]) -> None:
        self._checks = [_compile(rule) for rule in (rules or IMPLICIT)]
        self.has_schema = any(isinstance(rule, Mapping) and "schema" in rule for rule in rules)
        """Whether looking may take longer than a turn of the scheduler should."""

    def judge(self, response: Response) -> tuple[list[dict[str, Any]], str | None]:
        """Look at an answer.

        Returns:
            What every rule found, in order, and all messages in one; None if all hold.
        """
        verdicts = [found for check in self._checks if (found := check(response)) is not None]
        messages = [message for verdict in verdicts for message in verdict.messages]
        return [verdict.record for verdict in verdicts], "; ".join(messages) if messages else None


def _compile(rule: Any) -> Check:
    """A rule that names nothing to look at checks nothing, and still counts as one."""
    if not isinstance(rule, Mapping):
        return lambda _response: None
    if "httpStatusCode" in rule:
        return _of_status(rule["httpStatusCode"])
    if is_truthy(rule.get("jsonpath")):
        return _of_field(rule)
    if isinstance(rule.get("header"), str):
        return _of_header(rule)
    if "responseTimeMs" in rule:
        return _of_time(rule)
    if "schema" in rule:
        return _of_schema(rule["schema"])
    return lambda _response: None


def _of_status(expected: Any) -> Check:
    def check(response: Response) -> Verdict:
        passed = is_same(response.status, expected)
        record = {"type": "httpStatusCode", "expected": expected, "actual": response.status, "passed": passed}
        text = f"HTTP status validation failed: expected {js_text(expected)}, got {response.status}"
        return Verdict(record, () if passed else (text,))

    return check


def _of_field(rule: Mapping[str, Any]) -> Check:
    path = js_text(rule["jsonpath"])
    read = reader_of(rule["jsonpath"])
    return _of_value(rule, f"field {path}", {"type": "jsonpath", "path": path}, lambda response: read(response.body))


def _of_header(rule: Mapping[str, Any]) -> Check:
    name = rule["header"]
    head = {"type": "header", "name": name}
    return _of_value(rule, f"header {name}", head, lambda response: response.headers.get(name.lower(), UNSET))


def _of_time(rule: Mapping[str, Any]) -> Check:
    limit = rule["responseTimeMs"]
    if not any(name in rule for name in ALL):
        rule = {"lessThanOrEqual": limit}
    return _of_value(rule, "response time in ms", {"type": "responseTimeMs"}, lambda response: response.time_ms)


def _of_value(rule: Mapping[str, Any], subject: str, head: dict[str, Any], read: Callable[[Response], Any]) -> Check:
    """Make a check of one value through every operator the rule has; without any, it must be there."""
    tests = [(test, rule[name]) for name, test in _TESTS.items() if name in rule]
    schema = compile_schema(rule["schema"]) if "schema" in rule else None
    has_operator = bool(tests) or schema is not None

    def check(response: Response) -> Verdict:
        value = read(response)
        messages = [found for test, expected in tests for found in test(value, expected)]
        if schema is not None:
            messages += _schema_messages(schema, value)
        if not has_operator and is_missing(value):
            messages.append("does not exist")
        passed = not messages
        found = {} if value is UNSET else {"value": value}
        checks = ["exists"] if passed and not has_operator else []
        record = {**head, **found, "checks": checks, "passed": passed}
        return Verdict(record, tuple(f"Validation failed: {subject} {text}" for text in messages))

    return check


def _of_schema(schema: Any) -> Check:
    compiled = compile_schema(schema)

    def check(response: Response) -> Verdict:
        messages = tuple(f"Validation failed: body {text}" for text in _schema_messages(compiled, response.body))
        return Verdict({"type": "schema", "passed": not messages}, messages)

    return check


def _schema_messages(schema: SchemaCheck, value: Any) -> list[str]:
    return [f"does not match the schema: {fault}" for fault in schema.faults(None if value is UNSET else value)]


def _test_exists(value: Any, expected: Any) -> list[str]:
    if is_truthy(expected):
        return ["should exist but doesn't"] if is_missing(value) else []
    return [] if is_missing(value) else [f"should not exist but does (value: {_short(json_text(value))})"]


def _test_equals(value: Any, expected: Any) -> list[str]:
    actual, wanted = js_text(value), js_text(expected)
    return [] if actual == wanted else [f'should equal "{wanted}", got "{_short(actual)}"']


def _test_not_equals(value: Any, expected: Any) -> list[str]:
    wanted = js_text(expected)
    return [f'should not equal "{wanted}"'] if js_text(value) == wanted else []


def _ordering(operator: str) -> Callable[[Any, Any], list[str]]:
    """What is compared with no number always holds, as it does in FlowSphere; `warnings` tells it."""
    sign = ORDERINGS[operator][0]

    def test(value: Any, expected: Any) -> list[str]:
        actual, threshold = leading_number(value), leading_number(expected)
        if actual is None:
            return [f"is not numeric (value: {_short(js_text(value))})"]
        if threshold is None or holds_order(operator, actual, threshold):
            return []
        return [f"should be {sign} {number_text(threshold)}, got {number_text(actual)}"]

    return test


def _own(operator: str) -> Callable[[Any, Any], list[str]]:
    known = OWN[operator]

    def test(value: Any, expected: Any) -> list[str]:
        if known.holds(value, expected):
            return []
        return [f'should {known.words} "{js_text(expected)}", got "{_short(js_text(value))}"']

    return test


_TESTS: dict[str, Callable[[Any, Any], list[str]]] = {
    "exists": _test_exists,
    "equals": _test_equals,
    "notEquals": _test_not_equals,
    **{name: _ordering(name) for name in ORDERINGS},
    **{name: _own(name) for name in OWN},
}


def _short(text: str) -> str:
    return text if len(text) <= SHOWN_VALUE_CHARS else text[:SHOWN_VALUE_CHARS] + "…"
