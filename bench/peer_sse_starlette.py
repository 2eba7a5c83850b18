"""The peer of the fan-out measurement: sse-starlette on uvicorn, a queue per viewer, one event at a time to all."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator

import uvicorn
from sse_starlette.sse import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

VIEWERS, EVENTS, PAYLOAD_BYTES, PACE_S = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
queues: set[asyncio.Queue[str | None]] = set()
tasks: set[asyncio.Task[None]] = set()


async def publish() -> None:
    payload = "x" * PAYLOAD_BYTES
    for _ in range(EVENTS):
        for queue in queues:
            queue.put_nowait(payload)
        await asyncio.sleep(PACE_S)
    for queue in queues:
        queue.put_nowait(None)


async def events() -> AsyncIterator[dict[str, str]]:
    queue: asyncio.Queue[str | None] = asyncio.Queue()
    queues.add(queue)
    if len(queues) == VIEWERS:
        tasks.add(asyncio.create_task(publish()))
    while (payload := await queue.get()) is not None:
        yield {"event": "output", "id": "1", "data": payload}


async def stream(request: Request) -> Response:
    return EventSourceResponse(events())


def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    app = Starlette(routes=[Route("/stream", stream)])
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False))
    server.run(sockets=[listener])


if __name__ == "__main__":
    main()
