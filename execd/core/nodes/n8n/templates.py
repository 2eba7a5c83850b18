"""The templates of flows: `{{trigger.message}}` in the texts of a node's config.

A reference is the id of a node, or the beginning of one, and a path into what it gave. Unlike an expression it computes
nothing, and one that leads nowhere stays in the text as it is. A text that is exactly one reference keeps the type of its
value; elsewhere texts and numbers are inserted as they are and everything else as JSON. What was inserted is never read
again.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice, takewhile
from typing import Any

import msgspec

from execd.core.calls import MAX_OUTPUT_BYTES
from execd.core.errors import ExecdError
from execd.core.fields import is_nested_deeper

MAX_DEPTH = 100
"""Of a config, as deep as expressions go."""
_REFERENCE = re.compile(r"\{\{\s*+([^{}\s](?:[^{}]{0,298}[^{}\s])?)\s*+\}\}")
"""Longer ones are no path that anybody wrote. Spaces are never given back, else a text of nothing but them would take hours."""
_NUMBER = re.compile(r"[_-]\d+", re.ASCII)
SHOWN_NODES = 10
"""Of those that an ambiguous reference may mean."""
_HTTP_KEYS = frozenset({"executed", "status", "data"})
"""What tells the output of an `action-http` node from any other."""


class TemplateError(ExecdError):
    """A config cannot be filled in: refer to less, or hand it to a code node."""

    code = "template"
    status = 422


class Ref(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a reference leads."""

    node: str
    path: tuple[str, ...] = ()
    """Into its output; empty for all of it."""


class Ambiguous(msgspec.Struct, frozen=True):
    """A reference that means any of several nodes."""

    nodes: tuple[str, ...]


class _Nothing:
    """What a reference gives that leads nowhere; null is something."""


NOTHING = _Nothing()


def references_in(value: object, *, path: str) -> Iterator[tuple[str, str]]:
    """Give what stands between braces in each text of a config, with the path of the text."""
    if isinstance(value, str):
        yield from ((found[1], path) for found in _REFERENCE.finditer(value))
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from references_in(inner, path=f"{path}.{str(key)[:64]}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from references_in(inner, path=f"{path}[{index}]")


class Names:
    """The ids of some nodes, to be found by what a reference begins with."""

    def __init__(self, nodes: Iterable[str]) -> None:
        self._sorted = sorted(nodes)
        self._known = frozenset(self._sorted)

    def candidates(self, inner: str) -> tuple[tuple[Ref, ...], ...]:
        """Give what a reference may mean, the likelier first: the nodes of exactly such an id (which may have dots), each for
        itself; those named like it with a number behind `_` or `-`; those whose id begins like it."""
        parts = inner.split(".")
        exact = [
            (Ref(name, tuple(parts[length:])),)
            for length in range(len(parts), 0, -1)
            if (name := ".".join(parts[:length])) in self._known
        ]
        head, rest = parts[0], tuple(parts[1:])
        alike = self._beginning_with(head) if head else []
        near = tuple(Ref(name, rest) for name in alike if _NUMBER.fullmatch(name, len(head)))
        return (*exact, near, tuple(Ref(name, rest) for name in alike))

    def _beginning_with(self, head: str) -> list[str]:
        first = bisect_left(self._sorted, head)
        return list(takewhile(lambda name: name.startswith(head), islice(self._sorted, first, None)))


def choose(
    candidates: Iterable[tuple[Ref, ...]], can_read: Callable[[str], bool] = lambda _node: True
) -> Ref | Ambiguous | None:
    """Choose among the likeliest that can be read; several that are equally likely are ambiguous."""
    for group in candidates:
        found = tuple(islice((ref for ref in group if can_read(ref.node)), SHOWN_NODES))
        if found:
            return found[0] if len(found) == 1 else Ambiguous(tuple(ref.node for ref in found))
    return None


def follow(output: Any, path: tuple[str, ...]) -> Any:
    """Give what a path leads to in an output; of an HTTP answer, what is not beside its data may be in it."""
    found = _walk(output, path)
    if found is NOTHING and isinstance(output, Mapping) and output.keys() >= _HTTP_KEYS:
        return _walk(output["data"], path)
    return found


def _walk(value: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        if isinstance(value, Mapping) and key in value:
            value = value[key]
        elif isinstance(value, list | tuple) and key.isascii() and key.isdigit() and int(key[:9]) < len(value):
            value = value[int(key[:9])]
        else:
            return NOTHING
    return value


def lone_reference(value: object) -> str | None:
    """Give what stands between the braces of a text that is nothing but one reference."""
    found = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
    return None if found is None else found[1]


class Filling:
    """Fills one config in. Owns: what was not found, and how much may still be inserted."""

    def __init__(self, look_up: Callable[[str], Any]) -> None:
        self._look_up = look_up
        self._room_bytes = MAX_OUTPUT_BYTES
        self.unresolved: dict[str, None] = {}
        """In the order in which they were met."""

    def fill(self, value: Any) -> Any:
        """Give a config's value with every reference replaced.

        Raises:
            TemplateError: it is nested too deep, or gives more than a node may.
        """
        if is_nested_deeper(value, MAX_DEPTH):
            raise TemplateError(f"the config is nested more than {MAX_DEPTH} deep")
        filled = self._value(value)
        if is_nested_deeper(filled, MAX_DEPTH):
            raise TemplateError(f"the references make a value that is nested more than {MAX_DEPTH} deep")
        return filled

    def _value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, Mapping):
            return {key: self._value(inner) for key, inner in value.items()}
        return [self._value(inner) for inner in value] if isinstance(value, list) else value

    def _text(self, text: str) -> Any:
        if "{{" not in text:
            return text
        alone = lone_reference(text)
        if alone is not None:
            found = self._find(alone)
            return text if found is NOTHING else self._spend(found)
        return _REFERENCE.sub(self._insert, text)

    def _insert(self, match: re.Match[str]) -> str:
        found = self._find(match[1])
        if found is NOTHING:
            return match[0]
        value = self._spend(found)
        return value if isinstance(value, str) else msgspec.json.encode(value).decode()

    def _find(self, inner: str) -> Any:
        found = self._look_up(inner)
        if found is NOTHING:
            self.unresolved[inner] = None
        return found

    def _spend(self, value: Any) -> Any:
        self._room_bytes -= len(value) if isinstance(value, str) else len(msgspec.json.encode(value))
        if self._room_bytes < 0:
            raise TemplateError(f"the references of this node give more than {MAX_OUTPUT_BYTES} bytes together")
        return value
