"""The server runs out of file descriptors: it neither dies nor spins, and it recovers."""

from __future__ import annotations

import random
import resource
from functools import partial

import trio

from chaos.load import Load
from chaos.recipes import RECIPES
from chaos.wire import HOST
from chaos.world import World

BEFORE_S = 2.0
SPARE = 30
"""Descriptors beyond those in use when the limit is lowered: less than the crowd below takes."""
CROWD = 200
QUIET_S = 5.0
SPIN_SHARE = 0.5
"""Of a processor, over `QUIET_S`, with nobody asking for anything: more is spinning."""
LOADED_S = 6.0
SHORT_ENDS = frozenset({("failed", "sandbox_unavailable"), ("failed", "sandbox_lost")})


async def play(world: World, rng: random.Random, *, kills: int) -> None:
    """Lower the limit, crowd it, look at what it burns, load it while it is short, let go."""
    await _loaded(world, rng, seconds=BEFORE_S)
    server = world.server
    soft, _ = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    server.limit(resource.RLIMIT_NOFILE, server.open_files() + SPARE)
    server.is_troubled = True
    async with trio.open_nursery() as nursery:
        connections = [await trio.open_tcp_stream(HOST, server.port) for _ in range(CROWD)]
        before_s = server.cpu_s()
        await trio.sleep(QUIET_S)
        burnt = (server.cpu_s() - before_s) / QUIET_S
        world.book.notes.append(f"Crowded and asked nothing it used {burnt:.0%} of a processor.")
        if burnt > SPIN_SHARE:
            world.book.blame("other", "", f"without descriptors it used {burnt:.0%} of a processor")
        nursery.start_soon(partial(_loaded, world, rng, seconds=LOADED_S + BEFORE_S, is_short=True))
        await trio.sleep(LOADED_S / 2)
        for connection in connections:
            await trio.aclose_forcefully(connection)
        await trio.sleep(LOADED_S / 2)
        if not server.is_running:
            world.book.blame("other", "", "it died for want of descriptors")
            return
        server.limit(resource.RLIMIT_NOFILE, soft)
    server.is_troubled = False
    await _loaded(world, rng, seconds=BEFORE_S)


async def _loaded(world: World, rng: random.Random, *, seconds: float, is_short: bool = False) -> None:
    """Load it. While it is short, a sandbox that cannot be made is the platform's failure, and the end may say so."""
    world.excused = SHORT_ENDS if is_short else frozenset()
    load = Load(world, random.Random(rng.getrandbits(64)), recipes=RECIPES)  # a call needs a descriptor, too
    async with trio.open_nursery() as nursery:
        nursery.start_soon(load.run)
        await trio.sleep(seconds)
        load.close()
