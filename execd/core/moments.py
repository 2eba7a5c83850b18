"""Moments and durations as journals keep them: to the millisecond."""

from __future__ import annotations

from datetime import datetime, timedelta


def later(at: datetime, delay_s: float) -> datetime:
    """Give the moment so many seconds after another."""
    return at + timedelta(milliseconds=round(delay_s * 1000))


def milliseconds_between(earlier: datetime, later: datetime) -> int:
    """Give a duration for the wire; a clock that was set back gives 0, not a negative time."""
    return max(0, round((later - earlier).total_seconds() * 1000))
