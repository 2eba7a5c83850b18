"""What expressions give, worked out a second time and by other means: only the few forms that `graph_drawing.py` draws."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_EXPRESSION = re.compile(r"\{\{(.*?)\}\}")


class NoValueError(Exception):
    """It reads what is not there, or adds what is no number."""


def evaluate(value: Any, names: Mapping[str, Any]) -> Any:
    """Give a field's value.

    Raises:
        NoValueError: its node must fail.
    """
    if isinstance(value, list):
        return [evaluate(item, names) for item in value]
    if isinstance(value, dict):
        return {key: evaluate(item, names) for key, item in value.items()}
    if not isinstance(value, str) or "{{" not in value:
        return value
    parts = _EXPRESSION.split(value)
    if len(parts) == 3 and not parts[0] and not parts[2]:
        return _give(parts[1], names)
    return "".join(part if index % 2 == 0 else _text(_give(part, names)) for index, part in enumerate(parts))


def _give(text: str, names: Mapping[str, Any]) -> Any:
    text = text.strip()
    for operator in (" > ", " == "):
        left, found, right = text.partition(operator)
        if found:
            one, other = _sum(left, names), _sum(right, names)
            if operator == " == ":
                return one == other
            return _number(one) > _number(other)
    return _sum(text, names)


def _sum(text: str, names: Mapping[str, Any]) -> Any:
    terms = [_term(term, names) for term in text.split(" + ")]
    return terms[0] if len(terms) == 1 else sum(_number(term) for term in terms)


def _number(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise NoValueError
    return value


def _term(text: str, names: Mapping[str, Any]) -> Any:
    if text.isdigit():
        return int(text)
    value: Any = names
    for key in text.split("."):
        if not isinstance(value, Mapping) or key not in value:
            raise NoValueError
        value = value[key]
    return value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def last_value(text: str) -> Any:
    """Give the JSON value of a program's last line, if that is one."""
    lines = text.rstrip().split("\n")
    try:
        return json.loads(lines[-1])
    except ValueError:
        return None
