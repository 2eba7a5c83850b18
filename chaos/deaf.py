"""Scripts that are deaf to SIGTERM, with children and daemons, cancelled: gone in time, with everything they started."""

from __future__ import annotations

import random
from pathlib import Path

import trio

from chaos.book import Viewing
from chaos.clients import command, submit
from chaos.recipes import CANCELLED, Recipe
from chaos.viewers import view
from chaos.world import WORKSPACES, World

GRACE_S = 0.8
"""`sandbox.stop_grace_s`, as it is by default."""
PROMISE_S = GRACE_S + 1.0
"""From the taken cancel to the stored result."""
AT_ONCE = 5
ROUNDS = 4

_DEAF = "import os, signal, sys, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
_SLEEP = "os.execvp('sleep', ['TOKEN-{what}', '300'])"
_FOR_EVER = "print('TOKEN')\nwhile True:\n    time.sleep(1)\n"
_DAEMON = (
    "if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        "
    + _SLEEP.format(what="daemon")
    + "\n    os._exit(0)\n"
)


def _deaf(name: str, language: str, source: str) -> Recipe:
    limits = {"limits": {"wall_s": 55.0}}
    return Recipe(name, language, source, ends=(CANCELLED,), has_whole_output=False, more=limits)


RECIPES = (
    _deaf("python", "python", _DEAF + _FOR_EVER),
    _deaf(
        "python, children",
        "python",
        _DEAF + "for _ in range(4):\n    if os.fork() == 0:\n        " + _SLEEP.format(what="child") + "\n" + _FOR_EVER,
    ),
    _deaf("python, daemon", "python", _DEAF + _DAEMON + _FOR_EVER),
    _deaf("python, daemon alone", "python", _DEAF + _DAEMON + "print('TOKEN')\ntime.sleep(300)\n"),
    _deaf("python, busy", "python", _DEAF + "print('TOKEN')\nwhile True:\n    pass\n"),
    _deaf(
        "python, stopped", "python", _DEAF + "print('TOKEN')\nos.kill(os.getpid(), signal.SIGSTOP)\ntime.sleep(300)\n"
    ),
    _deaf("bash", "bash", "trap '' TERM; echo TOKEN; while :; do sleep 1; done"),
    _deaf(
        "bash, children and daemon",
        "bash",
        "trap '' TERM\n(exec -a TOKEN-child sleep 300) &\n"
        "setsid bash -c \"trap '' TERM; exec -a TOKEN-daemon sleep 300\" >/dev/null 2>&1 &\n"
        "echo TOKEN\nwhile :; do sleep 1; done",
    ),
    _deaf("bash, flooding", "bash", "trap '' TERM\necho TOKEN\nwhile :; do echo TOKEN TOKEN TOKEN; done"),
)


async def play(world: World, rng: random.Random, *, kills: int) -> None:
    """Cancel each sort some times, a few at once."""
    worst_s: list[float] = []
    limiter = trio.CapacityLimiter(AT_ONCE)
    async with trio.open_nursery() as nursery:
        for recipe in RECIPES * ROUNDS:
            await limiter.acquire_on_behalf_of(token := object())
            nursery.start_soon(_cancel_one, world, recipe, rng, worst_s, limiter, token)
    world.book.notes.append(f"From the taken cancel to the stored result: at most {max(worst_s, default=0):.2f} s.")


async def _cancel_one(
    world: World,
    recipe: Recipe,
    rng: random.Random,
    worst_s: list[float],
    limiter: trio.CapacityLimiter,
    token: object,
) -> None:
    try:
        wish = world.wish(recipe, rng.choice(WORKSPACES))
        if not await submit(world, wish, rng):
            return
        viewing = Viewing(wish.execution_id, wish.workspace, rng.choice(("sse", "ws")))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(view, world, viewing, rng)
            await viewing.first_output.wait()
            await command(world, wish, "cancel")
            taken_at = trio.current_time()
            await viewing.ended.wait()
            worst_s.append(trio.current_time() - taken_at)
        if worst_s[-1] > PROMISE_S:
            text = f"{recipe.name}: cancelled after {worst_s[-1]:.2f} s, promised are {PROMISE_S:.1f}"
            world.book.blame("wrong ends", wish.execution_id, text)
        for process in await trio.to_thread.run_sync(_processes_of, wish.token):
            world.book.blame("orphans", wish.execution_id, f"{recipe.name} left {process}")
    finally:
        limiter.release_on_behalf_of(token)


def _processes_of(token: str) -> list[str]:
    """Find what calls itself by the token, wherever it hides."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command_line = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if command_line.startswith(token.encode() + b"-"):
            found.append(f"process {entry.name}: {command_line.decode(errors='replace')}")
    return found
