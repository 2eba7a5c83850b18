"""Those who submit and steer, with the bounded patience of a client: the same key again when an answer was lost."""

from __future__ import annotations

import json
import random

import trio

from chaos.book import Viewing, Wish
from chaos.wire import BrokenError, Request, ask
from chaos.world import API, COME_BACK_S, World

PATIENCE_S = 60.0
"""Longer than any outage here, so that giving up is a finding; bounded, so that the campaign ends."""
SENT, ACCEPTED = "sent", "accepted"
"""Moments to aim at."""


async def submit(world: World, wish: Wish, rng: random.Random) -> bool:
    """Send a wish until it is accepted; False when patience ended first."""
    deadline = trio.current_time() + (0.0 if wish.is_impatient else PATIENCE_S)
    request = Request(
        "POST",
        f"{API}/executions",
        world.tokens[wish.workspace],
        json.dumps(wish.body).encode(),
        {"Idempotency-Key": wish.token},
    )
    while True:
        if await _submit_once(world, wish, request):
            return bool(wish.execution_id)
        if trio.current_time() >= deadline:
            if not wish.is_impatient:
                world.book.blame("other", "", f"{wish.token} was not accepted within {PATIENCE_S:.0f} s")
            return False
        await trio.sleep(rng.uniform(COME_BACK_S, 4 * COME_BACK_S))


async def _submit_once(world: World, wish: Wish, request: Request) -> bool:
    """Send it; False where sending it again may help."""
    wish.sends += 1
    try:
        answer = await ask(world.server.port, request, on_sent=lambda: world.trigger.see(SENT))
    except BrokenError:
        return False
    if answer.status == 202:
        world.trigger.see(ACCEPTED)
        found = answer.json()["id"]
        if wish.execution_id not in {"", found}:
            world.book.blame("doubles", found, f"{wish.token} has two executions, the other is {wish.execution_id}")
        wish.execution_id = found
        return True
    if answer.status == 503:
        world.book.refusals[str(answer.json().get("code"))] += 1
        if "retry-after" not in answer.headers or answer.json().get("retryable") is not True:
            world.book.blame("other", "", f"a 503 that does not say when to come back: {answer.body[:300]!r}")
        return False
    world.book.blame("other", "", f"the submission of {wish.token} was answered {answer.status}: {answer.body[:600]!r}")
    return True


async def steer(world: World, wish: Wish, viewing: Viewing) -> None:
    """Do to a run what its recipe says, once it has written something, or at once."""
    match wish.recipe.steer:
        case "cancel at once":
            await command(world, wish, "cancel")
        case "cancel" | "interrupt" | "stdin":
            await first_of(viewing.first_output, viewing.ended)
            if wish.recipe.steer == "stdin":
                await command(world, wish, "stdin", {"text": f"{wish.token}\n", "close": True})
            else:
                await command(world, wish, wish.recipe.steer)


async def command(world: World, wish: Wish, name: str, body: dict[str, object] | None = None) -> None:
    """Send a command until it is taken (202) or it is too late for it (409)."""
    deadline = trio.current_time() + PATIENCE_S
    while trio.current_time() < deadline:
        target = f"/executions/{wish.execution_id}/{name}"
        answer = await world.ask_patiently(
            "POST", target, wish.workspace, body=json.dumps(body or {}).encode(), patience_s=PATIENCE_S
        )
        if answer.status == 202:
            wish.commands_taken.append(name)
            return
        if answer.status != 409:
            world.book.blame("other", wish.execution_id, f"{name} was answered {answer.status}: {answer.body[:300]!r}")
            return
        # Also said of what waits in the line again after a restart: it may yet run.
        found = await world.ask_patiently(
            "GET", f"/executions/{wish.execution_id}", wish.workspace, patience_s=PATIENCE_S
        )
        if found.status != 200 or found.json()["finished_at"] is not None:
            return
        await trio.sleep(4 * COME_BACK_S)


async def first_of(*events: trio.Event) -> None:
    """Wait until one of them is set."""
    async with trio.open_nursery() as nursery:
        for event in events:

            async def wait(event: trio.Event = event) -> None:
                await event.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(wait)
