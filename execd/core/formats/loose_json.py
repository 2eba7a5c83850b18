"""Looking into JSON that somebody else wrote, where anything may be anything, and writing scalars as texts."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from execd.core.formats.drafting import Json


def entries(value: Any) -> list[Json]:
    """Give the objects of a list; nothing of anything else."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def table(value: Any) -> Json:
    """Give an object; an empty one instead of anything else."""
    return value if isinstance(value, dict) else {}


def text_of(value: Any) -> str:
    """Give a text; `` for nothing, and JSON for what should not be there."""
    return "" if value is None else write_scalar(value)


def write_scalar(value: object) -> str:
    """Write a value as a placeholder would put it into a text: `true`, `1`, and JSON for what has parts."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    return write_json(value)


def with_js_numbers(value: Any) -> Any:
    """Give the value as JavaScript writes it: `1.0` is `1`."""
    match value:
        case float():
            return int(value) if value.is_integer() and abs(value) < 2**53 else value
        case list():
            return [with_js_numbers(item) for item in value]
        case dict():
            return {key: with_js_numbers(item) for key, item in value.items()}
    return value


def write_json(value: object) -> str:
    """Write compact JSON."""
    return msgspec.json.encode(value).decode()


_STRING_OR_PLACEHOLDER = re.compile(r'"(?:[^"\\]|\\.)*"|(\{\{[^{}"]*\}\})', re.DOTALL)


def quote_placeholders(text: str) -> tuple[object, list[str]]:
    """Read JSON in which placeholders stand where values do: `{"count": {{count}}}`.

    Returns:
        The object or list with each of them as a text, and those placeholders; the text itself and none where that is
        not all that is wrong with it.
    """
    bare: list[str] = []

    def quote(found: re.Match[str]) -> str:
        if found[1] is None:
            return found.group()
        bare.append(found[1])
        return f'"{found[1]}"'

    value = read_json_body(_STRING_OR_PLACEHOLDER.sub(quote, text))
    return (text, []) if isinstance(value, str) else (value, bare)


def read_json_body(text: str) -> object:
    """Give the object or list that a JSON text says, so that it can be edited; the text itself if it says none."""
    try:
        value = msgspec.json.decode(text.encode(errors="replace"))
    except (msgspec.DecodeError, RecursionError):
        return text
    return value if isinstance(value, dict | list) else text
