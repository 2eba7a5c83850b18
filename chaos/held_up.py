"""Held up from outside: the database locked by another process, and execd itself stopped and continued."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from chaos.load import Load
from chaos.world import World

BEFORE_S = 2.0
LOCKED_S = (12.0, 3.0)
"""The first longer than a submission waits for its answer (10 s), so that the refusal is seen."""
STOPPED_S = 20.0
HOLDER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
db.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.read()
"""


async def play_locked(world: World, rng: random.Random, *, kills: int) -> None:
    """Another process holds `BEGIN EXCLUSIVE` while everything goes on."""
    async with _loaded(world, rng):
        for held_s in LOCKED_S:
            await trio.sleep(BEFORE_S)
            async with _locked(world):
                await trio.sleep(held_s)


async def play_stopped(world: World, rng: random.Random, *, kills: int) -> None:
    """`SIGSTOP`, twenty seconds, `SIGCONT`: programs go on until their pipes are full, and their limits with them."""
    async with _loaded(world, rng):
        await trio.sleep(BEFORE_S)
        world.server.is_troubled = True
        world.server.signal(signal.SIGSTOP)
        await trio.sleep(STOPPED_S)
        world.server.signal(signal.SIGCONT)
        await trio.sleep(BEFORE_S)


@asynccontextmanager
async def _loaded(world: World, rng: random.Random) -> AsyncIterator[None]:
    """Keep the server loaded within the block, and see everything to its end."""
    load = Load(world, random.Random(rng.getrandbits(64)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(load.run)
        try:
            yield
        finally:
            load.close()
            world.server.signal(signal.SIGCONT)


@asynccontextmanager
async def _locked(world: World) -> AsyncIterator[None]:
    command = [sys.executable, "-c", HOLDER, str(world.server.data_dir / "execd.db")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:  # noqa: ASYNC220 - a fork, no wait
        assert holder.stdin is not None
        assert holder.stdout is not None
        world.server.is_troubled = True
        try:
            await trio.to_thread.run_sync(holder.stdout.readline)
            yield
        finally:
            holder.stdin.close()
            holder.kill()
            world.server.is_troubled = False
