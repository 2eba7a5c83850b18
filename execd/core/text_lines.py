"""Where the fields of a text in JSON or YAML stand: the line of each path that a fault names. Pure.

It reads events, never a tree, and keeps the paths that were asked for only, so a text of any depth costs its length.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import msgspec
import yaml

_JSON_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]]|[^\s{}\[\],:"]+', re.DOTALL)


@dataclass(slots=True)
class _Open:
    """An object or list that has begun."""

    path: str | None
    """None where nothing in it is asked for: only what leads somewhere is put together."""
    is_list: bool
    count: int = 0
    key: str | None = None


@dataclass(frozen=True, slots=True)
class _Token:
    """A value's beginning, or the end of an object or list."""

    line: int
    kind: str
    """`{`, `[`, `end`, or `scalar`."""
    text: str = ""


def lines_of(text: str, paths: Iterable[str]) -> dict[str, int]:
    """Give the line of each path, from 1: its field's, or that of the nearest thing around it. What cannot be read has none.

    Args:
        paths: as faults have them: `nodes[2].url`, `` for the whole.
    """
    wanted = {around for path in paths for around in _upwards(path)}
    try:
        found = _walk(_json_tokens(text) if text.lstrip()[:1] in {"{", "["} else _yaml_tokens(text), wanted)
    except yaml.YAMLError:
        return {}
    return {path: line for path in wanted if (line := line_of(path, found)) is not None}


def line_of(path: str, lines: Mapping[str, int]) -> int | None:
    """Give the line of a path, or of the nearest thing around it."""
    return next((lines[around] for around in _upwards(path) if around in lines), None)


def _upwards(path: str) -> Iterator[str]:
    while path:
        yield path
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    yield ""


def _walk(tokens: Iterator[_Token], wanted: set[str]) -> dict[str, int]:
    found = {"": 1}
    stack: list[_Open] = []
    for token in tokens:
        if token.kind == "end":
            del stack[-1:]
            continue
        inner = stack[-1] if stack else None
        is_key = inner is not None and not inner.is_list and inner.key is None and token.kind == "scalar"
        path = _path_of_key(inner, token.text) if inner is not None and is_key else _path_of_value(inner)
        path = path if path in wanted else None
        if path is not None:
            found.setdefault(path, token.line)
        if not is_key and token.kind != "scalar":
            stack.append(_Open(path, is_list=token.kind == "["))
    return found


def _path_of_key(inner: _Open, key: str) -> str | None:
    inner.key = key
    return _joined(inner.path, key)


def _path_of_value(inner: _Open | None) -> str | None:
    """Give the path of the value that begins inside `inner`, which goes on to the next."""
    if inner is None:
        return ""
    if inner.is_list:
        inner.count += 1
        return None if inner.path is None else f"{inner.path}[{inner.count - 1}]"
    key, inner.key = inner.key, None
    return _joined(inner.path, key or "")


def _joined(path: str | None, key: str) -> str | None:
    return f"{path}.{key}" if path else None if path is None else key


def _json_tokens(text: str) -> Iterator[_Token]:
    line, at = 1, 0
    for found in _JSON_TOKEN.finditer(text):
        line, at = line + text.count("\n", at, found.start()), found.start()
        match found[0]:
            case "{" | "[" as opening:
                yield _Token(line, opening)
            case "}" | "]":
                yield _Token(line, "end")
            case scalar:
                yield _Token(line, "scalar", _decoded(scalar))


def _decoded(text: str) -> str:
    try:
        return str(msgspec.json.decode(text))
    except (msgspec.DecodeError, ValueError):
        return text


def _yaml_tokens(text: str) -> Iterator[_Token]:
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        line = 1 if event.start_mark is None else event.start_mark.line + 1
        match event:
            case yaml.MappingStartEvent():
                yield _Token(line, "{")
            case yaml.SequenceStartEvent():
                yield _Token(line, "[")
            case yaml.CollectionEndEvent():
                yield _Token(line, "end")
            case yaml.ScalarEvent(value=value):
                yield _Token(line, "scalar", value)
            case yaml.AliasEvent():
                yield _Token(line, "scalar")
