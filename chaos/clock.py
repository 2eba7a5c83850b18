"""The wall clock jumps an hour forward and back, for the server alone; only its calendar may notice."""

from __future__ import annotations

import random
import shutil
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from chaos.checker import API_PATIENCE_S
from chaos.load import Load
from chaos.world import World

SOURCE = Path(__file__).with_name("wall_clock.c")
CLOCK = "clock"
OFFSET = struct.Struct("=q")
"""What the file holds: seconds, as wall_clock.c reads them."""
STEPS_S = (3600, 0, -3600, 0)
"""Never more than an hour between one step and the next, so what ends is never older than an hour by any clock."""
BETWEEN_S = 3.0
RETENTION_S = "5400"
"""An hour and a half: nothing made here may be swept, though the sweeper looks every second."""
WALL_MS = (400, 5000)
"""What a run with a wall limit of 0.5 s may have taken by a clock that does not jump."""
ODD_MS = 600_000
"""A duration beyond this is the jump and not the run."""


@asynccontextmanager
async def steered_clock(parent: Path) -> AsyncIterator[tuple[Path, Mapping[str, str]]]:
    """Have the server read its wall clock through a library of ours, and its monotonic clock as it is."""
    library, clock = parent / "wall_clock.so", parent / CLOCK
    compiler = shutil.which("cc")
    if compiler is None:
        raise SystemExit("a C compiler is missing: install the Debian packages gcc and libc6-dev")
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE)]
    await trio.run_process(command)
    clock.write_bytes(OFFSET.pack(0))
    yield (
        parent / "data",
        {
            "LD_PRELOAD": str(library),
            "CHAOS_CLOCK": str(clock),
            "EXECD_STORE__RETENTION_S": RETENTION_S,
            "EXECD_STORE__SWEEP_EVERY_S": "1",
        },
    )


async def play(world: World, rng: random.Random, *, kills: int) -> None:
    """Step the clock under load, then look at every duration that was told."""
    load = Load(world, random.Random(rng.getrandbits(64)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(load.run)
        for step_s in STEPS_S:
            await trio.sleep(BETWEEN_S)
            _set(world.server.data_dir.parent / CLOCK, step_s)
        await trio.sleep(BETWEEN_S)
        load.close()
    await _check_durations(world)


def _set(path: Path, offset_s: int) -> None:
    """Write in place: the server has the file in its memory."""
    with path.open("r+b") as file:
        file.write(OFFSET.pack(offset_s))


async def _check_durations(world: World) -> None:
    """What the sandbox measured must be the run; what the journal counts from its times may hold a jump, and is counted."""
    odd = 0
    for wish in world.book.accepted():
        target = f"/executions/{wish.execution_id}/events?types=pod_terminated,node_completed,node_failed"
        answer = await world.ask_patiently("GET", target, wish.workspace, patience_s=API_PATIENCE_S)
        for event in answer.json()["items"]:
            data: dict[str, Any] = event["data"]
            odd += data.get("duration_ms", 0) > ODD_MS
            wall_ms = data.get("usage", {}).get("wall_ms")
            if wish.recipe.name != "wall limit" or wall_ms is None:
                continue
            if not WALL_MS[0] <= wall_ms <= WALL_MS[1]:
                world.book.blame("wrong ends", wish.execution_id, f"a wall limit of 500 ms ended it after {wall_ms} ms")
    world.book.notes.append(
        f"Nodes whose duration_ms holds a jump of the clock: {odd} of {len(world.book.accepted())}."
    )
