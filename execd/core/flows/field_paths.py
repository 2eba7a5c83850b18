"""Paths into a response: `.user.id`, `.items[0].x`, `.items | length`.

A path begins with a dot; `.` is the whole body. The rest is split at dots into property names, each with at most one index.
Property access is JavaScript's: `.items.0`, `.items.length` and `.name.length` work. A missing leaf is undefined (`UNSET`);
what lies beyond a null or missing parent, and an index on what is no list, is null.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from msgspec import UNSET

from execd.core.flows.js_values import is_missing, length_of, text_length

_INDEXED = re.compile(r"(.*)\[(\d{1,15})\]", re.ASCII)
_CANONICAL = re.compile(r"0|[1-9]\d{0,14}", re.ASCII)
_BAR = " | "

Reader = Callable[[Any], Any]


def _nothing(_value: Any) -> Any:
    return None


@lru_cache(maxsize=4096)
def compile_path(text: str) -> Reader:
    """Make what reads a path out of a value. Every text has one: of those that are no path, it gives null."""
    path, *filters = text.split(_BAR)
    if not filters or not path.startswith("."):
        return _compile_plain(path)
    read = _compile_plain(path.strip())
    return (lambda value: length_of(read(value))) if filters[0].strip() == "length" else read


def reader_of(path: Any) -> Reader:
    """Make a reader from what stands where a path should."""
    return compile_path(path) if isinstance(path, str) else _nothing


def _compile_plain(path: str) -> Reader:
    if not path.startswith("."):
        return _nothing
    rest = path[1:]
    if not rest:
        return lambda value: value
    steps = [_split(part) for part in rest.split(".")]

    def read(value: Any) -> Any:
        for name, index in steps:
            if is_missing(value):
                return None
            if name is not None:
                value = _property(value, name)
            if index is not None:
                if not isinstance(value, list | tuple):
                    return None
                value = value[index] if index < len(value) else UNSET
        return value

    return read


def _split(part: str) -> tuple[str | None, int | None]:
    found = _INDEXED.fullmatch(part)
    if found is None:
        return part, None
    return found[1] or None, int(found[2])


def _property(value: Any, name: str) -> Any:
    if isinstance(value, Mapping):
        return value.get(name, UNSET)
    if isinstance(value, str):
        return _text_property(value, name)
    if not isinstance(value, list | tuple):
        return UNSET
    if name == "length":
        return len(value)
    index = int(name) if _CANONICAL.fullmatch(name) else len(value)
    return value[index] if index < len(value) else UNSET


def _text_property(text: str, name: str) -> Any:
    if name == "length":
        return text_length(text)
    if not _CANONICAL.fullmatch(name):
        return UNSET
    units = text.encode("utf-16-le", errors="replace")[2 * int(name) :][:2]
    return units.decode("utf-16-le", errors="replace") if units else UNSET
