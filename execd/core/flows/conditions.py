"""Whether a step runs: conditions, all of which must hold. The first that does not gives the reason of the skip.

A condition looks at one source (a node's response, a variable, an answer) through one operator; of several operators the
first present in `COMPARISONS` counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import UNSET

from execd.core.flows.field_paths import reader_of
from execd.core.flows.js_values import is_missing, is_same, is_truthy, js_text, leading_number, number_text
from execd.core.flows.moments import Moment, Response
from execd.core.flows.operators import COMPARISONS, ORDERINGS, OWN, holds_order
from execd.core.flows.placeholders import Notes, Reader
from execd.core.flows.trees import compile_tree

Condition = Callable[[Moment], str | None]
"""Gives the reason to skip; None where it holds. Raises StepError for a reference that cannot be read."""

_SOURCES = ("node", "variable", "input")
_STATUS = "httpStatusCode"


def start_step_reason(start_step: int) -> str:
    """Say why the steps before the first one are skipped; `start_step` counts from 0."""
    return f"--start-step: execution begins at step {start_step + 1}"


def compile_conditions(rules: Any, reader: Reader, variables: Mapping[str, Any]) -> tuple[Condition, ...]:
    """Make the conditions of a step; what is no list has none.

    Args:
        variables: of the config; a row of data may replace them.
    """
    if not isinstance(rules, list | tuple):
        return ()
    return tuple(
        _compile(rule if isinstance(rule, Mapping) else {}, f"conditions[{index}]", reader, variables)
        for index, rule in enumerate(rules)
    )


def skip_reason(conditions: Sequence[Condition], moment: Moment) -> str | None:
    """Give why the step is skipped; None if it runs. Raises StepError."""
    for condition in conditions:
        reason = condition(moment)
        if reason is not None:
            return reason
    return None


def _compile(rule: Mapping[str, Any], path: str, reader: Reader, variables: Mapping[str, Any]) -> Condition:
    source = rule.get("source")
    if not is_truthy(source):
        source = next((name for name in _SOURCES[:2] if is_truthy(rule.get(name))), "input")
    compare = _compile_comparison(rule, path, reader)
    if source not in _SOURCES:
        return lambda moment: compare(moment, UNSET, "undefined")
    if source == "node":
        return _of_node(rule, compare)
    name = js_text(rule.get(source, UNSET))
    if source == "variable":
        default = variables.get(name, UNSET)
        return lambda moment: compare(moment, moment.row.get(name, default), f"variable '{name}'")
    return lambda moment: compare(moment, moment.answer(name), f"user input '{name}'")


Compare = Callable[[Moment, Any, str], str | None]


def _of_node(rule: Mapping[str, Any], compare: Compare) -> Condition:
    """Three cases: the status alone decides; a header or the status is compared; a field of the body is."""
    node = js_text(rule.get("node", UNSET))
    is_compared = any(name in rule for name in (*COMPARISONS, *OWN))
    status = rule.get(_STATUS, UNSET)
    if status is UNSET and not is_compared:
        status = rule.get("statusCode", UNSET)
    read, words = _reader_of_node(rule)

    def check(moment: Moment) -> str | None:
        response = moment.response_of(node)
        if response is None:
            return f"node '{node}' not found or not executed yet"
        if status is not UNSET:
            if is_same(response.status, status):
                return None
            return f"node '{node}' HTTP status: expected {js_text(status)}, got {response.status}"
        return compare(moment, read(response), f"node '{node}' {words}")

    return check


def _reader_of_node(rule: Mapping[str, Any]) -> tuple[Callable[[Response], Any], str]:
    header = rule.get("header")
    if isinstance(header, str):
        return lambda response: response.headers.get(header.lower(), UNSET), f"header {header}"
    if rule.get("statusCode") is True:
        return lambda response: response.status, "HTTP status"
    path = js_text(rule.get("field", UNSET))
    read = reader_of(rule.get("field"))
    return lambda response: response.read(path, read), f"field {path}"


def _compile_comparison(rule: Mapping[str, Any], path: str, reader: Reader) -> Compare:
    operator = next((name for name in (*COMPARISONS, *OWN) if name in rule), None)
    if operator is None:
        return lambda _moment, _value, source: f"{source}: no valid condition type specified"
    expected = rule[operator]
    is_read = operator in OWN or (isinstance(expected, str) and operator != "exists")
    render = compile_tree(expected, f"{path}.{operator}", reader) if is_read else None
    judge = _JUDGES.get(operator) or _judge_of(operator)

    def compare(moment: Moment, value: Any, source: str) -> str | None:
        wanted = expected if render is None else render(moment, Notes())
        found = judge(value, wanted)
        return None if found is None else f"{source}: {found}"

    return compare


def _equals(value: Any, expected: Any) -> str | None:
    actual, wanted = js_text(value), js_text(expected)
    return None if actual == wanted else f"expected '{wanted}', got '{actual}'"


def _not_equals(value: Any, expected: Any) -> str | None:
    wanted = js_text(expected)
    return None if js_text(value) != wanted else f"should not equal '{wanted}', but it does"


def _exists(value: Any, expected: Any) -> str | None:
    """`===`: the text `"true"` is never what is found."""
    if (not is_missing(value)) is expected:
        return None
    if is_truthy(expected):
        return "expected to exist, but it doesn't"
    return f"expected to not exist, but got '{js_text(value)}'"


_JUDGES: dict[str, Callable[[Any, Any], str | None]] = {
    "equals": _equals,
    "notEquals": _not_equals,
    "exists": _exists,
}


def _judge_of(operator: str) -> Callable[[Any, Any], str | None]:
    return _ordering(operator) if operator in ORDERINGS else _own(operator)


def _ordering(operator: str) -> Callable[[Any, Any], str | None]:
    sign = ORDERINGS[operator][0]

    def judge(value: Any, expected: Any) -> str | None:
        actual, threshold = leading_number(value), leading_number(expected)
        if actual is None:
            return f"expected numeric value for comparison, got '{js_text(value)}'"
        if holds_order(operator, actual, threshold):
            return None
        return f"expected {sign} {number_text(threshold)}, got {number_text(actual)}"

    return judge


def _own(operator: str) -> Callable[[Any, Any], str | None]:
    known = OWN[operator]

    def judge(value: Any, expected: Any) -> str | None:
        if known.holds(value, expected):
            return None
        return f"expected to {known.words} '{js_text(expected)}', got '{js_text(value)}'"

    return judge
