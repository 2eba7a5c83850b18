"""The storm: `kill -9` again and again under load, at random moments and at aimed ones."""

from __future__ import annotations

import random
import signal
from collections import Counter

import trio

from chaos.clients import ACCEPTED, SENT
from chaos.flow_clients import ANSWERED
from chaos.leftovers import find_leftovers
from chaos.load import Load
from chaos.viewers import ENDED, FLOOD
from chaos.world import ASKED, World

MOMENTS = {
    "random": 40,
    SENT: 12,
    ACCEPTED: 12,
    FLOOD: 10,
    ENDED: 8,
    ASKED: 12,
    ANSWERED: 4,
    "starting": 8,
    "stopping": 6,
    "twice": 4,
}
"""When to kill, with weights. sent, accepted, flood, ended, asked and answered fire within whoever sees the moment."""
UP_S = (0.05, 2.2)
"""How long it is up before a random kill: about what a start and a slow script take, so that both are hit."""
AIM_S = 4.0
"""How long an aimed moment may be waited for; then the kill comes anyway and counts as random."""
DOWN_S = 0.4
START_S = 0.6
"""A start takes about half a second: kills while starting fall anywhere in it."""
STOP_S = 1.2


class Storm:
    """Kills the server of a world `kills` times."""

    def __init__(self, world: World, rng: random.Random, *, kills: int) -> None:
        self._world = world
        self._server = world.server
        self._rng = rng
        self._kills = kills
        self.moments: Counter[str] = Counter()

    async def run(self) -> None:
        """Kill, start again, look for what was left; the server is up when this returns."""
        while self._world.book.kills < self._kills:
            left = self._kills - self._world.book.kills
            moment = self._rng.choices(tuple(MOMENTS), tuple(MOMENTS.values()))[0]
            if left < 2 and moment in {"starting", "twice"}:
                moment = "random"
            await self._kill_at(moment)
            await self._server.wait_gone()
            dead = self._server.pid
            await trio.sleep(self._rng.uniform(0, DOWN_S))
            await self._server.start()
            self._look_behind(await find_leftovers([dead], data_dir=self._server.data_dir))

    async def _kill_at(self, moment: str) -> None:
        match moment:
            case "random":
                await trio.sleep(self._rng.uniform(*UP_S))
            case "starting":
                await trio.sleep(self._rng.uniform(*UP_S))
                self._kill("before starting")
                await self._server.wait_gone()
                self._server.spawn()
                await trio.sleep(self._rng.uniform(0, START_S))
            case "twice":
                await trio.sleep(self._rng.uniform(*UP_S))
                self._kill("twice")
                await self._server.wait_gone()
                await self._server.start()
                await trio.sleep(self._rng.uniform(0, 0.3))
            case "stopping":
                await trio.sleep(self._rng.uniform(*UP_S))
                self._server.signal(signal.SIGTERM)
                await trio.sleep(self._rng.uniform(0, STOP_S))
            case _:
                moment = await self._aim(moment)
        if moment:
            self._kill(moment)

    async def _aim(self, moment: str) -> str:
        """Wait for a moment; the kill itself happens in whoever sees it. Gives what is left to do."""
        await trio.sleep(self._rng.uniform(*UP_S) / 2)
        trigger = self._world.trigger
        trigger.arm(moment, lambda: self._kill(moment))
        with trio.move_on_after(AIM_S):
            await trigger.fired.wait()
            return ""
        trigger.disarm()
        return "random"

    def _kill(self, moment: str) -> None:
        if self._server.is_running:
            self._server.kill()
            self.moments[moment] += 1
            self._world.book.kills += 1
        else:
            self.moments[f"{moment}: it had gone by itself"] += 1

    def _look_behind(self, leftovers: list[str]) -> None:
        for leftover in leftovers:
            self._world.book.blame("orphans", "", f"after a kill and a start: {leftover}")


async def play(world: World, rng: random.Random, *, kills: int) -> None:
    """Let the storm pass over a loaded server, and see everything to its end."""
    load = Load(world, random.Random(rng.getrandbits(64)))
    storm = Storm(world, random.Random(rng.getrandbits(64)), kills=kills)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(load.run)
        await storm.run()
        load.close()
    hit = ", ".join(f"{moment} {count}" for moment, count in sorted(storm.moments.items()))
    world.book.notes.append(f"Moments of the kills: {hit}.")
