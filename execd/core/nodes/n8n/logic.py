"""`logic-condition` and `logic-transform`: take one of two ways, or put values together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from execd.core.nodes.kinds import Beginning, Done, as_text, failure
from execd.core.nodes.n8n.kinds import ConfigError, FlowSpec, FlowType, Values, as_number, table_in, text_in
from execd.core.nodes.n8n.templates import lone_reference

SIDES = ("true", "false")
CONDITIONS = ("equals", "not_equals", "contains", "greater_than", "less_than", "is_empty", "is_not_empty")


class ConditionSpec(FlowSpec, frozen=True, kw_only=True, omit_defaults=True):
    pass


class ConditionType(FlowType[ConditionSpec]):
    name = "logic-condition"
    spec_type = ConditionSpec

    def ports(self, spec: ConditionSpec) -> Sequence[str]:
        return SIDES

    def begin(self, spec: ConditionSpec, values: Values, at: datetime) -> Beginning:
        operator = text_in(values.config, "condition_type", default="equals")
        if operator not in CONDITIONS:
            return failure("condition", f"`config.condition_type` must be one of {', '.join(CONDITIONS)}.")
        result = _holds(operator, values)
        return Done({"evaluated": True, "operator": operator, "result": result}, port="true" if result else "false")


class TransformSpec(FlowSpec, frozen=True, kw_only=True, omit_defaults=True):
    pass


class TransformType(FlowType[TransformSpec]):
    name = "logic-transform"
    spec_type = TransformSpec
    json_texts = frozenset({"mappings"})

    def begin(self, spec: TransformSpec, values: Values, at: datetime) -> Done:
        return Done(table_in(values.config, "mappings"))


def _holds(operator: str, values: Values) -> bool:
    one, other = values.config.get("value1"), values.config.get("value2")
    match operator:
        case "equals":
            return _equal(one, other)
        case "not_equals":
            return not _equal(one, other)
        case "contains":
            return _contains(one, other)
        case "greater_than":
            return _compare(one, other) > 0
        case "less_than":
            return _compare(one, other) < 0
    return _is_empty(one, values.unresolved) == (operator == "is_empty")


def _equal(one: Any, other: Any) -> bool:
    """Editors give every constant as text: `5` equals `"5"`, and `true` equals `"true"`. Null and nothing equal no text."""
    if isinstance(one, str) == isinstance(other, str):
        return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)
    text, value = (one, other) if isinstance(one, str) else (other, one)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return as_number(text) == as_number(value)
    return value is not None and as_text(value) == text


def _contains(one: Any, other: Any) -> bool:
    if isinstance(one, list):
        return any(_equal(item, other) for item in one)
    if isinstance(one, Mapping):
        return as_text(other) in one
    return one is not None and as_text(other) in as_text(one)


def _compare(one: Any, other: Any) -> int:
    """Compare as numbers where both are, else as texts, which is right for moments in RFC 3339. Raises ConfigError."""
    left, right = as_number(one), as_number(other)
    if left is not None and right is not None:
        return (left > right) - (left < right)
    if isinstance(one, str) and isinstance(other, str):
        return (one > other) - (one < other)
    raise ConfigError("`config.value1` and `config.value2` must both give numbers, or both texts, to be compared so")


def _is_empty(value: Any, unresolved: Sequence[str]) -> bool:
    """Whether nothing is there; a reference that leads nowhere gave nothing."""
    if isinstance(value, str):
        return not value.strip() or lone_reference(value) in unresolved
    return value is None or (isinstance(value, list | Mapping) and not value)
