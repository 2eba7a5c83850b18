"""Times in expressions: RFC 3339 texts to seconds and back, so that arithmetic on them is arithmetic on numbers.

`{{ ((input.start | timestamp) + 3600) | rfc3339 }}`. There is no `now`: the time comes from the scope, if at all.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from execd.core.codec import format_time
from execd.core.expressions.values import EvaluationError, Work, number_of, strict_kind, text_of
from execd.core.moments import parse_moment

_DIRECTIVES = frozenset("YmdHMSfjuVGyz%")
"""Of strftime: those that give the same text in every locale and on every system."""
_FORMAT_CHARS = 200
_STEPS = 20
"""What reading or writing a time costs."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_timestamp(work: Work, value: object, /) -> int | float:
    """Give the seconds since 1970 of an RFC 3339 text; whole where it has no fraction."""
    work.spend(_STEPS)
    moment = _read_time(text_of(value), value)
    seconds = (moment - _EPOCH) / timedelta(seconds=1)
    return int(seconds) if seconds.is_integer() else seconds


def from_timestamp(work: Work, value: object, /) -> str:
    """Give the RFC 3339 text of seconds since 1970, in UTC with milliseconds."""
    work.spend(_STEPS)
    return format_time(_moment_of(value))


def to_format(work: Work, value: object, /, form: object) -> str:
    """Write a time (RFC 3339 text or seconds since 1970) by a strftime form of numbers only.

    The offset of a text is kept; seconds are in UTC.
    """
    pattern = text_of(form)
    directives = re.findall(r"%(.?)", pattern, re.DOTALL)
    if len(pattern) > _FORMAT_CHARS or not _DIRECTIVES.issuperset(directives) or "" in directives:
        wanted = " ".join(f"%{letter}" for letter in sorted(_DIRECTIVES))
        raise EvaluationError(f"takes a form of at most {_FORMAT_CHARS} characters with {wanted}")
    work.spend(_STEPS + len(pattern))
    moment = _read_time(value, value) if isinstance(value, str) else _moment_of(value)
    try:
        return moment.strftime(pattern)
    except UnicodeEncodeError:
        raise EvaluationError("has a form with a lone surrogate") from None


def _read_time(text: str, value: object) -> datetime:
    moment = parse_moment(text)
    if moment is None:
        raise EvaluationError(f"has {strict_kind(value)} that is no RFC 3339 time such as 2026-01-31T08:00:00Z")
    return moment


def _moment_of(value: object) -> datetime:
    try:
        return _EPOCH + timedelta(seconds=number_of(value))
    except (OverflowError, ValueError):
        raise EvaluationError("has seconds outside the years 1 to 9999") from None
