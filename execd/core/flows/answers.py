"""Reading what a server said: headers by name, and a body that is JSON whatever its type says."""

from __future__ import annotations

import codecs
import json
import math
import re
from collections.abc import Iterable
from typing import Any

import msgspec

from execd.core.http_answers import MAX_JSON_DEPTH, depth_fits

_BOM = codecs.BOM_UTF8
_ONCE = frozenset(
    {
        *(
            "age",
            "authorization",
            "content-length",
            "content-type",
            "etag",
            "expires",
            "from",
            "host",
            "if-modified-since",
        ),
        *("if-unmodified-since", "last-modified", "location", "max-forwards", "proxy-authorization", "referer"),
        *("retry-after", "server", "user-agent"),
    }
)
"""Headers that have one value: of several the first counts. Source: Node.js, `message.headers`."""
_NOT_JSON = object()
_LARGE_NUMBER = re.compile(r"\d[eE]\+?\d{3}")


def read_headers(headers: Iterable[tuple[str, str]], *, was_decoded: bool) -> dict[str, str]:
    """Give the headers by name in lower case, repeated ones joined by `, ` unless they can have one value only.

    Args:
        was_decoded: whether the body came compressed and is not any more; then nothing says that it is.
    """
    table: dict[str, str] = {}
    for name, value in headers:
        if name not in table:
            table[name] = value
        elif name not in _ONCE:
            table[name] += f", {value}"
    if was_decoded and table.get("content-encoding") != "identity":
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
        return _parse_leniently(text) if "\\u" in text or _LARGE_NUMBER.search(text) else _NOT_JSON
    return value if not isinstance(value, list | dict) or depth_fits(value, MAX_JSON_DEPTH) else _NOT_JSON


def _parse_leniently(text: str) -> Any:
    """JavaScript takes escapes of half a character and numbers over all bounds, which nothing can store: the ones are replaced,
    the others are null."""
    try:
        value = json.loads(text, parse_constant=_refuse, parse_float=_read_float)
        if not depth_fits(value, MAX_JSON_DEPTH):
            return _NOT_JSON
        return msgspec.json.decode(json.dumps(value, ensure_ascii=False).encode(errors="replace"))
    except (ValueError, RecursionError, msgspec.DecodeError):
        return _NOT_JSON


def _read_float(text: str) -> float | None:
    value = float(text)
    return value if math.isfinite(value) else None


def _refuse(name: str) -> Any:
    raise ValueError(name)
