"""The pod watcher: a second opinion on every pod, from outside it.

Owns: the one watch on the runner's pods. Sends: `PodObservation`s into conflating slots, which cannot block.

Never: decides how a run ended. A step runner weighs what it sees here against the frames and the exit record, because
no single signal is to be trusted: a program can be gone before its last bytes are read, and a record can be lost.
"""

from __future__ import annotations

import trio

from execd.actors.pod_registry import PodRegistry
from execd.ports import Runner
from execd.telemetry import Counters


async def run_pod_watcher(
    runner: Runner,
    *,
    registry: PodRegistry,
    counters: Counters,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Watch for ever. A crash loses nothing: the runner tells again what changed meanwhile."""
    task_status.started()
    while True:
        for observation in await runner.observe():
            registry.tell(observation)
            counters.add("execd_pod_observations_total")
