"""What a frame shows of an output: all of it when it is small, else its shape with long texts and lists cut."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

PREVIEW_CHARS = 4 * 1024
"""Of JSON in ASCII: what a person reads at a node, and little enough that a frame is never near 48 KiB."""
MORE = "…"
_STEPS = ((1000, 20, 6), (300, 20, 5), (100, 12, 4), (40, 8, 3), (20, 4, 2))
"""How long a text, how many items, how deep: tried in turn until it fits."""
MAX_VALUES = 400
"""Looked at in one try."""


class Preview(msgspec.Struct, frozen=True):
    """An output as it is shown."""

    value: Any
    is_cut: bool = False
    size_bytes: int = 0
    """Of the whole as JSON."""


def preview_of(value: Any) -> Preview:
    """Show a JSON value in at most `PREVIEW_CHARS`."""
    size = len(msgspec.json.encode(value))
    if size <= PREVIEW_CHARS and _fits(value):
        return Preview(value, size_bytes=size)
    for chars, items, depth in _STEPS:
        shown = _Cut(chars, items).value(value, depth)
        if _fits(shown):
            return Preview(shown, is_cut=True, size_bytes=size)
    return Preview(MORE, is_cut=True, size_bytes=size)


def _fits(value: Any) -> bool:
    return len(json.dumps(value, ensure_ascii=True, separators=(",", ":"))) <= PREVIEW_CHARS


class _Cut:
    """One try. Owns: how many values it may still look at."""

    def __init__(self, chars: int, items: int) -> None:
        self._chars = chars
        self._items = items
        self._left = MAX_VALUES

    def value(self, value: Any, depth: int) -> Any:
        self._left -= 1
        if isinstance(value, str):
            return value if len(value) <= self._chars else value[: self._chars] + MORE
        if not isinstance(value, list | Mapping):
            return value
        if depth == 0 or self._left < 0:
            return MORE
        if isinstance(value, list):
            shown = [self.value(item, depth - 1) for item in value[: self._items]]
            return shown if len(value) <= self._items else [*shown, MORE]
        keys = list(value)[: self._items]
        table = {key[: self._chars]: self.value(value[key], depth - 1) for key in keys}
        return table if len(value) <= self._items else {**table, MORE: f"{len(value) - self._items} more"}
