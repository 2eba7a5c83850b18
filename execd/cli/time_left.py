"""How long it takes yet, in words for people. Pure."""

from __future__ import annotations

import math

from execd.core.events import Progress

LATE = "longer than usual"
GRACE_S = 1.0
"""So much beyond what three quarters took is late, as for the server itself."""


def describe_time_left(progress: Progress, passed_s: float) -> str | None:
    """Say what is left; None where nobody knows, and at the end.

    Args:
        passed_s: since that progress was told; none of it while people are waited for.
    """
    if progress.eta_ms is None or progress.eta_p75_ms is None or progress.percent == 100:
        return None
    left_s, likely_s = (eta_ms / 1000 - passed_s for eta_ms in (progress.eta_ms, progress.eta_p75_ms))
    if progress.overrun or likely_s < -GRACE_S:
        return LATE
    left, likely = in_round_numbers(left_s), in_round_numbers(likely_s)
    words = f"about {left} left" if left == likely else f"about {left} left, likely under {likely}"
    return f"{words}, besides the time people take" if progress.excludes_people else words


def in_round_numbers(seconds: float) -> str:
    """Give a duration nobody will take for a promise: `1 s`, `45 s`, `3 min`, `2 h 10 min`."""
    whole = max(1, math.ceil(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes = math.ceil(whole / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
