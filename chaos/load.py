"""The load: wishes of all sorts, in several workspaces, each watched by one to three viewers and steered if it wants that."""

from __future__ import annotations

import random
from collections.abc import Sequence

import trio

from chaos.book import Viewing, Wish
from chaos.clients import steer, submit
from chaos.flow_clients import come_by_door, steer_flow
from chaos.flows import AT_THE_DOOR, FLOWS
from chaos.recipes import RECIPES, Recipe
from chaos.viewers import view
from chaos.world import WORKSPACES, World

SUBMITTERS = 4
OUTSTANDING = 12
"""Wishes under way: six run, the others wait in the line."""
IMPATIENT_SHARE = 0.1
EVERYTHING = (*RECIPES, *FLOWS, *AT_THE_DOOR)
LATE_S = 1.5
"""How much later than the acceptance the last of the viewers comes, at most."""


class Load:
    """Makes wishes until `close`, then sees all of them to their end."""

    def __init__(
        self,
        world: World,
        rng: random.Random,
        *,
        recipes: Sequence[Recipe] = EVERYTHING,
        outstanding: int = OUTSTANDING,
    ) -> None:
        self._world = world
        self._rng = rng
        self._recipes = recipes
        self._room = trio.CapacityLimiter(outstanding)
        self._is_closed = False

    def close(self) -> None:
        """Wish for nothing more; `run` returns when all that was wished for has ended."""
        self._is_closed = True

    async def run(self) -> None:
        """Carry the load."""
        async with trio.open_nursery() as nursery:
            for _ in range(SUBMITTERS):
                nursery.start_soon(self._submit_for_ever, nursery)

    async def _submit_for_ever(self, nursery: trio.Nursery) -> None:
        while not self._is_closed:
            recipe, workspace = self._rng.choice(self._recipes), self._rng.choice(WORKSPACES)
            wish = self._world.wish(recipe, workspace, is_impatient=self._rng.random() < IMPATIENT_SHARE)
            await self._room.acquire_on_behalf_of(wish.token)
            nursery.start_soon(self.carry, wish)
            await trio.sleep(self._rng.uniform(0, 0.2))

    async def carry(self, wish: Wish) -> None:
        """See one wish from its submission to its end."""
        seed = self._rng.getrandbits(64)
        try:
            await carry(self._world, wish, random.Random(seed))
        finally:
            self._room.release_on_behalf_of(wish.token)


async def carry(world: World, wish: Wish, rng: random.Random) -> Viewing | None:
    """Submit a wish, watch it and steer it; give the first viewing, None when it was not accepted."""
    async with trio.open_nursery() as nursery:
        if wish.recipe.door:
            await nursery.start(come_by_door, world, wish)
        else:
            await submit(world, wish, rng)
        return await _watch(world, wish, rng) if wish.execution_id else None


async def _watch(world: World, wish: Wish, rng: random.Random) -> Viewing:
    viewings = [
        Viewing(wish.execution_id, wish.workspace, rng.choice(("sse", "ws"))) for _ in range(rng.choice((1, 1, 2, 3)))
    ]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(steer_flow if wish.recipe.flow is not None else steer, world, wish, viewings[0])
        nursery.start_soon(view, world, viewings[0], rng)
        for late in viewings[1:]:
            await trio.sleep(rng.uniform(0, LATE_S))
            nursery.start_soon(view, world, late, rng)
    return viewings[0]
