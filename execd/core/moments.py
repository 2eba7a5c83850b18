"""Moments and durations: read as others write them, and kept as journals do, to the millisecond."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def parse_moment(text: str) -> datetime | None:
    """Read a moment of RFC 3339, in its own zone; None when it is none, or has no zone."""
    if not _RFC3339.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text.upper())
    except ValueError:
        return None


def later(at: datetime, delay_s: float) -> datetime:
    """Give the moment so many seconds after another."""
    return at + timedelta(milliseconds=round(delay_s * 1000))


def milliseconds_between(earlier: datetime, later: datetime) -> int:
    """Give a duration for the wire; a clock that was set back gives 0, not a negative time."""
    return max(0, round((later - earlier).total_seconds() * 1000))
