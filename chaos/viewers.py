"""Those who watch: over SSE with `Last-Event-ID`, and over WebSocket with `?after=`; they come back until the journal ends.

A viewer believes nothing: what comes twice or out of order is noted as it comes, and the bytes are kept as digests.
"""

from __future__ import annotations

import json
import random
from contextlib import aclosing
from typing import Any

import trio
from trio_websocket import ConnectionClosed, HandshakeError, WebSocketConnection, open_websocket

from chaos.book import Seen, Viewing, digest
from chaos.wire import HOST, SILENCE_S, BrokenError, Request, open_exchange
from chaos.world import API, COME_BACK_S, World
from execd.client_sse import EventStreamParser

FLOOD, ENDED = "flood", "ended"
"""Moments to aim at: in the middle of much output, and right behind a terminal event."""
FLOOD_BYTES = 32 * 1024
"""An event of output this large belongs to a flood."""
TERMINAL = frozenset(f"execution_{how}" for how in ("completed", "failed", "timeout", "cancelled", "interrupted"))
CONNECT_S = 4.0
"""trio-websocket waits for ever when its peer dies within the handshake; a server that lives answers sooner."""
RESTLESS_SHARE = 0.3
"""Of viewers who hang up by themselves now and then, as phones do."""
VIEW_S = 240.0
"""When a viewer that never saw the end stops waiting; the checker then calls it lost."""


async def view(world: World, viewing: Viewing, rng: random.Random) -> None:
    """Watch until `result_stored`."""
    world.book.viewings.append(viewing)
    hang_up_after = rng.randint(1, 30) if rng.random() < RESTLESS_SHARE else 0
    connect = _view_over_sse if viewing.door == "sse" else _view_over_socket
    with trio.move_on_after(VIEW_S):
        while not viewing.is_complete:
            viewing.connections += 1
            await connect(world, viewing, hang_up_after if viewing.connections < 4 else 0)
            if not viewing.is_complete:
                await trio.sleep(rng.uniform(COME_BACK_S, 4 * COME_BACK_S))
    if not viewing.is_complete:
        world.book.blame("lost", viewing.execution_id, f"a viewer ({viewing.door}) never saw the end")
        viewing.ended.set()


async def _view_over_sse(world: World, viewing: Viewing, hang_up_after: int) -> None:
    headers = {"Accept": "text/event-stream"}
    if viewing.last_seq:
        headers["Last-Event-ID"] = str(viewing.last_seq)
    target = f"{API}/executions/{viewing.execution_id}/stream"
    request = Request("GET", target, world.tokens[viewing.workspace], headers=headers)
    parser = EventStreamParser()
    count = 0
    try:
        async with open_exchange(world.server.port, request) as exchange, aclosing(exchange.pieces()) as pieces:
            if exchange.status != 200:
                _refused(world, viewing, exchange.status)
                return
            async for piece in pieces:
                for event in parser.feed(piece):
                    if event.name in {"evicted", "reconnect"} or b'"seq"' not in event.data[:200]:
                        continue
                    _take(world, viewing, event.data, sse_id=event.id)
                    count += 1
                    if viewing.is_complete or count == hang_up_after:
                        return
    except BrokenError:
        return


async def _view_over_socket(world: World, viewing: Viewing, hang_up_after: int) -> None:
    target = f"{API}/executions/{viewing.execution_id}/ws?after={viewing.last_seq}"
    headers = [(b"authorization", f"Bearer {world.tokens[viewing.workspace]}".encode())]
    pids = tuple(world.server.pids)
    connecting = trio.CancelScope(deadline=trio.current_time() + CONNECT_S)
    try:
        with connecting:
            async with open_websocket(
                HOST, world.server.port, target, use_ssl=False, extra_headers=headers, disconnect_timeout=1
            ) as socket:
                connecting.deadline = float("inf")
                await _read_socket(world, viewing, socket, hang_up_after)
    except* (ConnectionClosed, HandshakeError, OSError, trio.BrokenResourceError, trio.TooSlowError):
        pass  # it comes back
    if connecting.cancelled_caught and pids == tuple(world.server.pids) and world.server.is_healthy:
        world.book.blame("other", viewing.execution_id, f"a socket was not opened within {CONNECT_S:.0f} s")


async def _read_socket(world: World, viewing: Viewing, socket: WebSocketConnection, hang_up_after: int) -> None:
    count = 0
    while not viewing.is_complete and (count == 0 or count != hang_up_after):
        with trio.fail_after(SILENCE_S):
            text = await socket.get_message()
        message = json.loads(text)
        if "seq" in message:
            _take(world, viewing, text.encode() if isinstance(text, str) else text)
            count += 1
        else:
            _heed(world, viewing, message)


def _heed(world: World, viewing: Viewing, message: dict[str, Any]) -> None:
    if message.get("type") == "error" and message.get("code") not in {"store_unavailable", "overloaded"}:
        world.book.blame("other", viewing.execution_id, f"a socket was told {message}")


def _refused(world: World, viewing: Viewing, status: int) -> None:
    """503 and 429 ask for patience. 404 means it was forgotten; 400, that a viewer saw more than there is; and 204 comes
    only to one who has `result_stored`, which this one has not."""
    if status in {429, 503}:
        world.book.refusals[f"stream {status}"] += 1
        return
    fault = {404: "lost", 400: "differs", 204: "lost"}.get(status, "other")
    text = f"a stream after {viewing.last_seq} was answered {status}"
    world.book.blame(fault, viewing.execution_id, text)
    if status == 204:
        viewing.is_complete = True
        viewing.ended.set()


def _take(world: World, viewing: Viewing, body: bytes, *, sse_id: str | None = None) -> None:
    head = json.loads(body)
    seq, type_name = head["seq"], head["type"]
    book, last = world.book, viewing.last_seq
    if sse_id is not None and sse_id != str(seq):
        book.blame("differs", viewing.execution_id, f"an event has id {sse_id} and seq {seq}")
    if seq <= last:
        book.blame("doubles", viewing.execution_id, f"a viewer ({viewing.door}) got event {seq} after {last}")
    elif seq != last + 1:
        book.blame("gaps", viewing.execution_id, f"a viewer ({viewing.door}) got event {seq} after {last}")
    if head["execution_id"] != viewing.execution_id:
        book.blame("differs", viewing.execution_id, f"a viewer got an event of {head['execution_id']}")
    viewing.seen.append(Seen(seq, type_name, digest(body)))
    _tell_moments(world, viewing, type_name, len(body))


def _tell_moments(world: World, viewing: Viewing, type_name: str, size: int) -> None:
    if type_name == "output":
        viewing.first_output.set()
        if size >= FLOOD_BYTES:
            world.trigger.see(FLOOD)
    elif type_name in TERMINAL:
        world.trigger.see(ENDED)
    elif type_name == "result_stored":
        viewing.is_complete = True
        viewing.ended.set()
