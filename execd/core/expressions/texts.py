"""The filters of expressions that work on one text: case, pieces, and the encodings between text and values.

There is no pattern language: a pattern can take for ever. Each filter counts the text before it works on it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from urllib.parse import quote

import msgspec

from execd.core.expressions.values import EvaluationError, Filter, Work, strict_kind, text_of, to_text, whole_of

MAX_ARGUMENT_CHARS = 100
"""Of a set of characters given to a filter: the work is their number times the length of the text."""


def _on_text(change: Callable[[str], str]) -> Filter:
    def apply(work: Work, value: object, /) -> str:
        text = text_of(value)
        work.spend_text(len(text))
        return change(text)

    return apply


def _trim(work: Work, value: object, /, chars: object = None) -> str:
    text = text_of(value)
    wanted = None if chars is None else text_of(chars)
    work.spend_text(len(text))
    if wanted is not None and len(wanted) > MAX_ARGUMENT_CHARS:
        raise EvaluationError(f"trims at most {MAX_ARGUMENT_CHARS} different characters")
    return text.strip(wanted)


def _replace(work: Work, value: object, /, old: object, new: object, count: object = -1) -> str:
    text, gone, come = text_of(value), text_of(old), text_of(new)
    limit = whole_of(count)
    work.spend_text(len(text) * 2)
    found = text.count(gone) if limit < 0 else min(text.count(gone), limit)
    work.spend_text(max(0, len(text) + found * (len(come) - len(gone))))
    return text.replace(gone, come, limit)


def _split(work: Work, value: object, /, separator: object = None, max_count: object = -1) -> list[object]:
    text = text_of(value)
    by = None if separator is None else text_of(separator)
    if by == "":
        raise EvaluationError("splits at an empty text")
    work.spend(len(text) // 4 + 1)
    return list(text.split(by, whole_of(max_count)))


def _to_json(work: Work, value: object, /) -> str:
    if isinstance(value, str):
        work.spend_text(len(value))
        return to_text(work, [value])[1:-1]
    return to_text(work, value)


def _from_json(work: Work, value: object, /) -> object:
    text = text_of(value)
    work.spend_text(len(text))
    work.spend(4 + 2 * (text.count("[") + text.count("{")) + text.count(",") // 2)
    try:
        return msgspec.json.decode(text)
    except (ValueError, RecursionError):
        raise EvaluationError(f"has {strict_kind(value)} that is no JSON") from None


def _base64_encode(work: Work, value: object, /) -> str:
    text = text_of(value)
    work.spend_text(len(text))
    return base64.b64encode(_encoded(text)).decode()


def _base64_decode(work: Work, value: object, /) -> str:
    text = text_of(value)
    work.spend_text(len(text))
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, ValueError):
        raise EvaluationError(f"has {strict_kind(value)} that is no base64 of UTF-8") from None


def _url_encode(work: Work, value: object, /, safe: object = "") -> str:
    text = to_text(work, value)
    work.spend_text(len(text))
    work.spend(len(text) // 2)
    kept = text_of(safe)
    if not kept.isascii() or len(kept) > MAX_ARGUMENT_CHARS:
        raise EvaluationError("keeps ASCII characters only")
    return quote(_encoded(text), safe=kept)


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise EvaluationError(f"has a text with a lone surrogate at {error.start}") from None


TEXT_FILTERS: dict[str, Filter] = {
    "base64_decode": _base64_decode,
    "base64_encode": _base64_encode,
    "capitalize": _on_text(str.capitalize),
    "from_json": _from_json,
    "json": _to_json,
    "lower": _on_text(str.lower),
    "replace": _replace,
    "split": _split,
    "string": lambda work, value, /: to_text(work, value),
    "title": _on_text(str.title),
    "tojson": _to_json,
    "trim": _trim,
    "upper": _on_text(str.upper),
    "urlencode": _url_encode,
}
"""By name."""
