"""JSON values whose texts hold placeholders, compiled once and rendered for each step. Keys of objects are never replaced."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from execd.core.flows.moments import Moment
from execd.core.flows.placeholders import Notes, Reader, Template

Render = Callable[[Moment, Notes], Any]

MAX_DEPTH = 100
"""Deeper parts are left as they are: nobody writes them by hand, and reading recurses."""
MAX_PATH_CHARS = 500
"""Of a path that goes on: every placeholder below keeps its own, and long keys could make a million of them a gigabyte."""
MAX_KEY_CHARS = 200


def below(path: str, part: str | int) -> str:
    """Give the path of a field or an item; too far down it is that of what is around it."""
    if len(path) > MAX_PATH_CHARS:
        return path
    if isinstance(part, int):
        return f"{path}[{part}]"
    return f"{path}.{part[:MAX_KEY_CHARS]}" if path else part[:MAX_KEY_CHARS]


def compile_tree(value: Any, path: str, reader: Reader, *, keeps_types: bool = False, depth: int = 0) -> Render | None:
    """Make what replaces every placeholder in a value; None where there is none.

    Args:
        path: where the value stands, as substitutions tell it: `body.items[0].id`.
        keeps_types: whether a text that is one placeholder becomes the value itself.
    """
    if isinstance(value, str):
        template = reader.template(value, path)
        return None if template is None else _of_text(template, keeps_types=keeps_types)
    if depth >= MAX_DEPTH or not isinstance(value, list | tuple | Mapping):
        return None
    if isinstance(value, Mapping):
        rows = [
            (key, item, compile_tree(item, below(path, key), reader, keeps_types=keeps_types, depth=depth + 1))
            for key, item in value.items()
        ]
        if all(render is None for _, _, render in rows):
            return None
        return lambda moment, notes: {
            key: item if render is None else render(moment, notes) for key, item, render in rows
        }
    items = [
        (item, compile_tree(item, below(path, index), reader, keeps_types=keeps_types, depth=depth + 1))
        for index, item in enumerate(value)
    ]
    if all(render is None for _, render in items):
        return None
    return lambda moment, notes: [item if render is None else render(moment, notes) for item, render in items]


def _of_text(template: Template, *, keeps_types: bool) -> Render:
    return template.value if keeps_types else template.text


def texts_in(value: Any, depth: int = 0) -> Iterator[str]:
    """Give every text that may hold a placeholder."""
    if isinstance(value, str):
        if "{{" in value:
            yield value
    elif isinstance(value, Mapping | list) and depth < MAX_DEPTH:
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from texts_in(item, depth + 1)
