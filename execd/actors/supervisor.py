"""The supervisor: lets an actor crash, starts it again from durable state, and gives up when that does not help.

Five crashes in a minute spend an actor's budget: then the whole process ends with a code that is not zero, and whoever
runs it (Procfile, systemd, Kubernetes) starts it afresh. Source: OTP's restart intensity.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable

import structlog
import trio

from execd.telemetry import Counters

log = structlog.get_logger()

BUDGET = 5
WINDOW_S = 60.0
"""More than five crashes in a minute is no accident any more."""


class BudgetSpentError(Exception):
    """An actor crashed too often. End the process with a code that is not zero."""


async def supervise(
    name: str,
    run: Callable[[], Awaitable[None]],
    *,
    counters: Counters,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run an actor until it returns, starting it again after each crash.

    Raises:
        BudgetSpentError: it crashed more than `BUDGET` times within `WINDOW_S`.
    """
    crashes: deque[float] = deque()
    task_status.started()
    while True:
        crash: Exception | None = None
        try:
            await run()
        except* Exception as errors:
            # An actor that crashes in the very moment it is cancelled raises both; its crash must not end the others.
            crash = errors
            log.exception("actor_crashed", actor=name)
            counters.add("execd_actor_crashes_total")
        if crash is None:
            return
        _count_crash(crashes, name, crash)


def _count_crash(crashes: deque[float], name: str, error: Exception) -> None:
    now = trio.current_time()
    crashes.append(now)
    while crashes[0] < now - WINDOW_S:
        crashes.popleft()
    if len(crashes) > BUDGET:
        raise BudgetSpentError(f"{name} crashed {len(crashes)} times in {WINDOW_S:.0f} s") from error
