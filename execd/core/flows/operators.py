"""The operators that conditions and checks share: what each compares, and how it says that it does not hold.

Equality is that of texts, and numbers are what a text begins with. Those of the second table are execd's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from execd.core.flows.js_values import is_same, js_text, kind_of, leading_number, length_of
from execd.core.flows.patterns import is_found

ORDERINGS: dict[str, tuple[str, Callable[[float, float], bool]]] = {
    "greaterThan": (">", lambda one, other: one > other),
    "lessThan": ("<", lambda one, other: one < other),
    "greaterThanOrEqual": (">=", lambda one, other: one >= other),
    "lessThanOrEqual": ("<=", lambda one, other: one <= other),
}
"""By name, as the original has them; each with its sign."""


def holds_order(operator: str, actual: float, threshold: float | None) -> bool:
    """Compare; nothing is more or less than what is no number. (Checks ask nothing of such a threshold, see `checks`.)"""
    return threshold is not None and ORDERINGS[operator][1](actual, threshold)


def _contains(actual: Any, expected: Any) -> bool:
    if isinstance(actual, Mapping):
        return js_text(expected) in actual
    if isinstance(actual, list | tuple):
        return any(js_text(item) == js_text(expected) for item in actual)
    return isinstance(actual, str) and js_text(expected) in actual


def _is_in(actual: Any, expected: Any) -> bool:
    items = expected if isinstance(expected, list | tuple) else [expected]
    return any(js_text(item) == js_text(actual) for item in items)


def _is_type(actual: Any, expected: Any) -> bool:
    kind = kind_of(actual)
    wanted = expected if isinstance(expected, list | tuple) else [expected]
    return kind in wanted or ("integer" in wanted and kind == "number" and float(actual).is_integer())


def _has_length(actual: Any, expected: Any) -> bool:
    length = length_of(actual)
    return length is not None and is_same(length, leading_number(expected))


class OwnOperator:
    """One of execd's operators. Immutable."""

    def __init__(self, words: str, holds: Callable[[Any, Any], bool]) -> None:
        self.words = words
        """What the value should do or be; stands between `should` and the expected value."""
        self.holds = holds


OWN: dict[str, OwnOperator] = {
    "contains": OwnOperator("contain", _contains),
    "notContains": OwnOperator("not contain", lambda actual, expected: not _contains(actual, expected)),
    "matches": OwnOperator("match", lambda actual, expected: is_found(js_text(expected), js_text(actual))),
    "in": OwnOperator("be one of", _is_in),
    "type": OwnOperator("be of type", _is_type),
    "length": OwnOperator("have length", _has_length),
}
"""By name, in the order they are looked at."""

COMPARISONS = ("equals", "notEquals", "exists", *ORDERINGS)
"""In the order in which the first that is present decides a condition."""
ALL = (*COMPARISONS, *OWN)
