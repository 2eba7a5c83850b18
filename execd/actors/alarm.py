"""Waiting for a moment that a machine asked for, on two clocks."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime

import trio

from execd.core.signals import SetTimer

CLOCK_CHECK_S = 60.0
"""How often a long timer looks at the wall clock again."""


async def wait_due(timer: SetTimer, now: Callable[[], datetime]) -> None:
    """Wait until a timer is due.

    The wall clock is looked at again now and then, because it may be set, and because trio's clock stands still while a
    machine sleeps. A delay ends after its length at the latest.
    """
    left_s = _left_s(timer, now)
    latest = math.inf if timer.is_moment else trio.current_time() + left_s
    while left_s > 0 and trio.current_time() < latest:  # noqa: ASYNC110 - a clock can only be looked at
        await trio.sleep_until(min(trio.current_time() + min(left_s, CLOCK_CHECK_S), latest))
        left_s = _left_s(timer, now)


def _left_s(timer: SetTimer, now: Callable[[], datetime]) -> float:
    return (timer.due_at - now()).total_seconds()
