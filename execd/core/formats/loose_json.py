"""Looking into JSON that somebody else wrote, where anything may be anything, and writing scalars as texts."""

from __future__ import annotations

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


def write_json(value: object) -> str:
    """Write compact JSON."""
    return msgspec.json.encode(value).decode()


def read_json_body(text: str) -> object:
    """Give the object or list that a JSON text says, so that it can be edited; the text itself if it says none."""
    try:
        value = msgspec.json.decode(text.encode(errors="replace"))
    except (msgspec.DecodeError, RecursionError):
        return text
    return value if isinstance(value, dict | list) else text
