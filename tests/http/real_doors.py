"""The application on the real actors, on any clock, and somebody who may use it: what a client sees is what the journal has."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import trio

from execd.core.events import Event, ExecutionId, ResultStored, WorkspaceId
from execd.http.access import Role, issue_token
from execd.http.app import ExecdApp, make_app
from tests.http.asgi import Answer, call, make_scope, open_call
from tests.http.doors import CONFIG, RUNTIMES
from tests.support.engines import World, virtual_now

URL = "/api/v1/definitions"
RUNS = "/api/v1/executions"


@dataclass
class Doors:
    """The application of one life of execd, and somebody who may run."""

    app: ExecdApp
    world: World
    headers: dict[str, str]
    token_id: str = ""

    async def ask(self, method: str, target: str, body: object = None, **headers: str) -> Answer:
        sent = b"" if body is None else json.dumps(body).encode()
        answer = await call(self.app, method, target, headers=self.headers | headers, body=sent)
        assert answer.status < 300, answer.body
        return answer

    async def save(self, body: dict[str, Any]) -> str:
        return str((await self.ask("POST", URL, body)).json()["id"])

    async def change(self, definition: str, version: int, body: dict[str, Any]) -> None:
        await self.ask("PUT", f"{URL}/{definition}", body, **{"if-match": str(version)})

    async def run(self, **body: Any) -> ExecutionId:
        return ExecutionId((await self.ask("POST", RUNS, body)).json()["id"])

    async def finish(self, execution_id: ExecutionId) -> tuple[list[Event], ResultStored]:
        events = await self.world.watch(execution_id)
        assert isinstance(events[-1].data, ResultStored)
        return events, events[-1].data

    def stream(self, execution_id: str, query: str = "", **headers: str) -> Any:
        """Open an event stream."""
        return open_call(self.app, "GET", f"{RUNS}/{execution_id}/stream{query}", headers=self.headers | headers)

    async def follow(self, execution_id: str, query: str = "", **headers: str) -> Answer:
        """Follow an event stream to its end."""
        async with self.stream(execution_id, query, **headers) as answer:
            await answer.is_over.wait()
        return answer

    def socket(self, target: str) -> Any:
        """Open a WebSocket."""
        return open_socket(self.app, target, headers=self.headers)

    async def another(self, *, user: str, role: Role = Role.VIEWER, workspace: str = "w") -> Doors:
        """Give the same doors to somebody else."""
        issued = await issue_token(
            self.world.engine.tokens, workspace=WorkspaceId(workspace), user=user, role=role, now=virtual_now()
        )
        return replace(self, headers={"authorization": f"Bearer {issued.secret}"}, token_id=issued.token.id)


async def open_doors(world: World, **config: Any) -> Doors:
    """Open doors for somebody who may run; `config` changes their configuration."""
    app = make_app(world.engine, RUNTIMES, replace(CONFIG, **config), now=virtual_now, uniform=lambda _low, high: high)
    return await Doors(app, world, {}).another(user="u", role=Role.RUNNER)


@dataclass
class Socket:
    """The client's end of a WebSocket: all that came, with the moment of each, and how it was closed."""

    frames: list[tuple[float, str]] = field(default_factory=list)
    close: tuple[int, str] | None = None
    is_over: trio.Event = field(default_factory=trio.Event)
    to_server: trio.MemorySendChannel[dict[str, Any]] | None = None

    @property
    def messages(self) -> list[Any]:
        return [json.loads(text) for _, text in self.frames]

    async def say(self, **message: Any) -> None:
        assert self.to_server is not None
        await self.to_server.send({"type": "websocket.receive", "text": json.dumps(message)})

    async def take(self, message: dict[str, Any]) -> None:
        """As the server: take what the application sends."""
        await trio.lowlevel.checkpoint()
        if message["type"] == "websocket.send":
            self.frames.append((trio.current_time(), message["text"]))
        elif message["type"] == "websocket.close":
            self.close = (message["code"], message.get("reason") or "")
            self.is_over.set()


@asynccontextmanager
async def open_socket(app: ExecdApp, target: str, *, headers: dict[str, str]) -> AsyncIterator[Socket]:
    """Connect; leaving the block is the client going away."""
    scope = make_scope("GET", target, headers)
    del scope["method"]
    scope |= {
        "type": "websocket",
        "scheme": "ws",
        "subprotocols": [],
        "asgi": {"version": "3.0", "spec_version": "2.3"},
    }
    tx, rx = trio.open_memory_channel[dict[str, Any]](100)
    tx.send_nowait({"type": "websocket.connect"})
    client = Socket(to_server=tx)
    async with trio.open_nursery() as nursery:

        async def serve() -> None:
            await app(scope, rx.receive, client.take)  # type: ignore[arg-type] # ASGI by hand

        nursery.start_soon(serve)
        yield client
        tx.send_nowait({"type": "websocket.disconnect", "code": 1006})
