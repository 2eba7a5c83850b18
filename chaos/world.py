"""One server, its witness, its workspaces and the book: what every scenario is played in."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import trio

from chaos.book import Book, Wish
from chaos.database import count_starts
from chaos.outside import Outside
from chaos.recipes import Ending, Recipe
from chaos.server import Server
from chaos.wire import Answer, BrokenError, Request, ask
from chaos.witness import Witness

API = "/api/v1"
WORKSPACES = ("default", "second", "third")
ASKED = "asked"
"""A moment to aim at: the outside has been asked something, and has not answered."""
COME_BACK_S = 0.05
"""Between two tries of a client whose server is away: short, so that some arrive the moment it is back."""


class Trigger:
    """Does a deed at an aimed moment, from within whoever sees it: no task switch lies between."""

    def __init__(self) -> None:
        self._moment = ""
        self._deed: Callable[[], None] = lambda: None
        self.fired = trio.Event()

    def arm(self, moment: str, deed: Callable[[], None]) -> None:
        self._moment, self._deed, self.fired = moment, deed, trio.Event()

    def disarm(self) -> None:
        self._moment = ""

    def see(self, moment: str) -> None:
        """Tell that a moment has come."""
        if moment == self._moment:
            self._moment = ""
            self._deed()
            self.fired.set()


class World:
    """Made by `open_world`."""

    def __init__(self, server: Server, witness: Witness, outside: Outside, name: str) -> None:
        self.server = server
        self.witness = witness
        self.outside = outside
        self.book = Book()
        self.trigger = Trigger()
        self.excused: frozenset[Ending] = frozenset()
        """Endings that are honest beside a script's own for what is wished for now: failures of the platform, named as such."""
        self.tokens: dict[str, str] = {}
        self._name = name
        self._numbers = itertools.count(1)

    async def admit(self, owner_token: str) -> None:
        """Take the owner's token for the first workspace and make one for each of the others."""
        self.tokens[WORKSPACES[0]] = owner_token
        for workspace in WORKSPACES[1:]:
            body = json.dumps({"user": "chaos", "role": "runner", "workspace": workspace}).encode()
            answer = await self.ask("POST", "/tokens", WORKSPACES[0], body=body)
            self.tokens[workspace] = answer.json()["token"]

    def wish(self, recipe: Recipe, workspace: str, *, is_impatient: bool = False, **more: Any) -> Wish:
        """Note a new wish; the token in its output is its `Idempotency-Key` too."""
        token = f"{self._name}-{next(self._numbers)}"
        body = recipe.body(token, witness_port=self.witness.port, outside_port=self.outside.port) | more
        wish = Wish(token, recipe, workspace, body, is_impatient=is_impatient, excused=self.excused)
        self.book.wishes.append(wish)
        return wish

    async def ask(self, method: str, target: str, workspace: str, *, body: bytes = b"", **headers: str) -> Answer:
        """Ask once; a target is of execd's own API, or a whole path. Raises BrokenError."""
        path = target if target.startswith("/api/") else f"{API}{target}"
        request = Request(method, path, self.tokens[workspace], body, headers)
        return await ask(self.server.port, request)

    async def ask_once_at_root(self, target: str) -> int | None:
        """Ask for a path outside the API; give the status, None when there is no answer."""
        try:
            return (await ask(self.server.port, Request("GET", target, self.tokens[WORKSPACES[0]]))).status
        except BrokenError:
            return None

    async def ask_patiently(
        self, method: str, target: str, workspace: str, *, body: bytes = b"", patience_s: float
    ) -> Answer:
        """Ask until there is an answer that is not 503. Raises BrokenError when patience ends."""
        deadline = trio.current_time() + patience_s
        while True:
            try:
                answer = await self.ask(method, target, workspace, body=body)
            except BrokenError:
                if trio.current_time() > deadline:
                    raise
            else:
                if answer.status != 503 or trio.current_time() > deadline:
                    return answer
                self.book.refusals[str(answer.json().get("code"))] += 1
            await trio.sleep(COME_BACK_S)


@asynccontextmanager
async def open_world(data_dir: Path, name: str, *, log_path: Path, settings: Mapping[str, str]) -> AsyncIterator[World]:
    """Start a server, a witness and the outside; whatever happens, no server of this world outlives it."""
    server = Server(data_dir, log_path=log_path, settings=settings)
    witness, outside = Witness(), Outside(look=partial(count_starts, data_dir / "execd.db"))
    async with trio.open_nursery() as nursery:
        await nursery.start(witness.run)
        await nursery.start(outside.run)
        world = World(server, witness, outside, name)
        outside.on_asked = partial(world.trigger.see, ASKED)
        try:
            await world.admit(await server.start())
            yield world
        finally:
            server.kill()
            nursery.cancel_scope.cancel()
