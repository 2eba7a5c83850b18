"""Reading what a server said: headers by name, and a body that is JSON whatever its type says."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable
from typing import Any

import msgspec

from execd.core.http_answers import MAX_JSON_DEPTH, depth_fits

_BOM = codecs.BOM_UTF8
_NOT_JSON = object()


def read_headers(headers: Iterable[tuple[str, str]], *, was_decoded: bool) -> dict[str, str]:
    """Give the headers by name in lower case, repeated ones joined by `, `.

    Args:
        was_decoded: whether the body came compressed and is not any more; then nothing says that it is.
    """
    table: dict[str, str] = {}
    for name, value in headers:
        table[name] = f"{table[name]}, {value}" if name in table else value
    if was_decoded:
        table.pop("content-encoding", None)
    return table


def read_body(data: bytes, *, is_whole: bool) -> Any:
    """Give the body: JSON if it can be read as that, else text; nothing is the empty text.

    A JSON text that itself holds JSON is read again. Bytes that are no UTF-8 are replaced.

    Args:
        is_whole: whether nothing was cut off; the head of a body is never JSON.
    """
    text = data.removeprefix(_BOM).decode(errors="replace")
    if not is_whole:
        return text
    value = _parse(text)
    if value is _NOT_JSON:
        return text
    if isinstance(value, str):
        inner = _parse(value)
        return value if inner is _NOT_JSON else inner
    return value


def _parse(text: str) -> Any:
    """Read JSON; deeper than can be kept, it is only text."""
    if not text or text.isspace():
        return _NOT_JSON
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return _parse_leniently(text) if "\\u" in text else _NOT_JSON
    return value if not isinstance(value, list | dict) or depth_fits(value, MAX_JSON_DEPTH) else _NOT_JSON


def _parse_leniently(text: str) -> Any:
    """JavaScript takes escapes of half a character, which nothing can store: they are replaced."""
    try:
        value = json.loads(text, parse_constant=_refuse)
        if not depth_fits(value, MAX_JSON_DEPTH):
            return _NOT_JSON
        return msgspec.json.decode(json.dumps(value, ensure_ascii=False).encode(errors="replace"))
    except (ValueError, RecursionError, msgspec.DecodeError):
        return _NOT_JSON


def _refuse(name: str) -> Any:
    raise ValueError(name)
