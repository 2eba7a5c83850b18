"""The scenarios by name: what each prepares, and what it does to the server."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from chaos import clock, deaf, descriptors, full_disk, held_up, storm
from chaos.world import World

Prepared = tuple[Path, Mapping[str, str]]
"""Its data directory, and settings and variables of its server."""


class Play(Protocol):
    """What is done to a running world; the checker comes after it."""

    async def __call__(self, world: World, rng: random.Random, *, kills: int) -> None: ...


@asynccontextmanager
async def plainly(parent: Path) -> AsyncIterator[Prepared]:
    """Prepare nothing."""
    yield parent / "data", {}


@dataclass(frozen=True)
class Scenario:
    """One sort of trouble."""

    about: str
    play: Play
    prepare: Callable[[Path], AbstractAsyncContextManager[Prepared]] = plainly


SCENARIOS: Mapping[str, Scenario] = {
    "kills": Scenario(
        "`kill -9` at random moments and aimed ones: right after a submission's bytes, right after the 202, within a flood, "
        "behind a terminal event, in the middle of a flow's request, behind an answer that was taken, while it starts, while it "
        "stops after SIGTERM, twice in quick succession.",
        storm.play,
    ),
    "disk-full": Scenario(
        "The data directory's small tmpfs is filled for 14 s under load; then execd is killed and started "
        "with the disk still full.",
        full_disk.play,
        full_disk.small_disk,
    ),
    "store-locked": Scenario(
        "Another process holds `BEGIN EXCLUSIVE` on the database for 12 s and again for 3 s.", held_up.play_locked
    ),
    "clock": Scenario(
        "The server's wall clock jumps an hour forward, back, an hour back and forward; its monotonic clock does not.",
        clock.play,
        clock.steered_clock,
    ),
    "fds": Scenario(
        "Its limit on open files is lowered to 30 more than it has, then 200 connections are opened; then it is loaded.",
        descriptors.play,
    ),
    "sigstop": Scenario("`SIGSTOP` for 20 s with viewers attached and scripts running.", held_up.play_stopped),
    "deaf-sandbox": Scenario(
        "Nine sorts of scripts that ignore SIGTERM, four times each, are cancelled: children, daemons, busy, stopped, flooding.",
        deaf.play,
    ),
}
