"""Those who answer and stop flows, and those who come by FlowSphere's door: they stay, go away, or come back for the rest."""

from __future__ import annotations

import json
from contextlib import aclosing

import trio

from chaos.book import Frame, Viewing, Wish
from chaos.clients import PATIENCE_S, command, first_of
from chaos.flows import ASKING, STOPPED_AT, said_at
from chaos.viewers import VIEW_S
from chaos.wire import BrokenError, Exchange, Request, open_exchange
from chaos.world import COME_BACK_S, World
from execd.client_sse import EventStreamParser

DOOR = "/api/execute-stream"
ANSWERED = "answered"
"""A moment to aim at."""
LEAVES_AFTER = 2
"""Steps told, before a client goes away."""
LAST = frozenset({"end", "interrupted"})


async def steer_flow(world: World, wish: Wish, viewing: Viewing) -> None:
    """Do to a flow what its recipe says."""
    match wish.recipe.steer:
        case "cancel" | "interrupt":
            await _asked_or_ended(world, wish, viewing)
            await command(world, wish, wish.recipe.steer)
        case "answer":
            for step in ASKING:
                await _answer(world, wish, step, viewing)


async def _asked_or_ended(world: World, wish: Wish, viewing: Viewing) -> None:
    asked = trio.Event()
    async with trio.open_nursery() as nursery:

        async def wait() -> None:
            await world.outside.wait_asked(wish.token, STOPPED_AT)
            asked.set()

        nursery.start_soon(wait)
        await first_of(asked, viewing.ended)
        nursery.cancel_scope.cancel()


async def _answer(world: World, wish: Wish, step: str, viewing: Viewing) -> None:
    """Answer what a step asks, as soon as it asks: by FlowSphere's door if it came by it. Whether an answer that was lost was
    taken shows when the step goes on."""
    with trio.move_on_after(PATIENCE_S):
        while not viewing.ended.is_set() and not any(each.node == step for each in world.outside.of(wish.token)):
            status = await _give(world, wish, step)
            if status in {200, 202}:
                world.trigger.see(ANSWERED)
                wish.answered.append(step)
                return
            if status not in {404, 409}:
                world.book.blame("other", wish.execution_id, f"the answer to {step} was answered {status}")
                return
            await trio.sleep(4 * COME_BACK_S)


async def _give(world: World, wish: Wish, step: str) -> int:
    values = said_at(wish.token, step)
    if wish.recipe.door:
        names = [node["id"] for node in wish.body["config"]["nodes"]]
        target = "/api/provide-input"
        body = {"executionId": wish.execution_id, "stepIndex": names.index(step), "userInput": values}
    else:
        target = f"/executions/{wish.execution_id}/input"
        body = {"prompt_id": f"{step}.prompts.1", "values": values}
    answer = await world.ask_patiently(
        "POST", target, wish.workspace, body=json.dumps(body).encode(), patience_s=PATIENCE_S
    )
    return answer.status


async def come_by_door(world: World, wish: Wish, *, task_status: trio.TaskStatus[None]) -> None:
    """Send a flow once, as FlowSphere's clients do, and read what is told of it to its end, unless its recipe leaves."""
    with trio.move_on_after(VIEW_S):
        wish.sends += 1
        request = Request("POST", DOOR, world.tokens[wish.workspace], json.dumps(wish.body).encode())
        is_over = await _read_once(world, wish, request, task_status=task_status)
        if not wish.execution_id:
            task_status.started()  # told of no execution: it may have been begun all the same
            return
        while not is_over:
            await trio.sleep(COME_BACK_S)
            is_over = await _read_once(world, wish, _ask_again(world, wish))
        return
    world.book.blame("lost", wish.execution_id, "who came by FlowSphere's door never saw the end")


def _ask_again(world: World, wish: Wish) -> Request:
    headers = {"Last-Event-ID": str(wish.last_frame)} if wish.last_frame else {}
    return Request("GET", f"{DOOR}/{wish.execution_id}", world.tokens[wish.workspace], headers=headers)


async def _read_once(
    world: World,
    wish: Wish,
    request: Request,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> bool:
    """Read one connection; True where nothing more is to come."""
    try:
        async with open_exchange(world.server.port, request) as exchange:
            if exchange.status != 200:
                return _refused(world, wish, exchange)
            if not wish.execution_id:
                wish.execution_id = exchange.headers["x-execution-id"]
                task_status.started()
            return await _read_frames(wish, exchange)
    except BrokenError:
        return False


def _refused(world: World, wish: Wish, exchange: Exchange) -> bool:
    if exchange.status == 503:
        world.book.refusals["FlowSphere's door 503"] += 1
    elif exchange.status != 204 or not any(frame.name in LAST for frame in wish.frames):
        world.book.blame("other", wish.execution_id, f"FlowSphere's door answered {exchange.status}")
        return True
    return exchange.status == 204


async def _read_frames(wish: Wish, exchange: Exchange) -> bool:
    parser = EventStreamParser()
    async with aclosing(exchange.pieces()) as pieces:
        async for piece in pieces:
            for event in parser.feed(piece):
                data = json.loads(event.data)
                if event.name in LAST | {"error"} and "executionId" in data:
                    continue  # only the stream ends here: the server goes down
                wish.frames.append(Frame(event.name, data))
                wish.last_frame = int(event.id or wish.last_frame)
                if event.name in LAST:
                    return True
                if _leaves(wish):
                    return True
    return False


def _leaves(wish: Wish) -> bool:
    told = sum(frame.name == "step" for frame in wish.frames)
    return wish.recipe.steer == "leave" and told >= LEAVES_AFTER
