"""An application on a fake engine, and the real server in front of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any

import httpx2
import trio

from execd.core.events import ExecutionId, WorkspaceId
from execd.core.runtimes import Runtimes, parse_runtimes
from execd.core.specs import Limits
from execd.http.access import Role, issue_token
from execd.http.app import ExecdApp, make_app
from execd.http.config import HttpConfig
from execd.http.server import Bound, serve_http
from tests.http.asgi import Answer, call, open_call
from tests.http.fake_engine import EPOCH, FakeEngine, make_submission, virtual_now

RUNTIMES: Runtimes = parse_runtimes(
    {
        "python": {"argv": ["python3", "{file}"], "file_name": "main.py", "image": "python", "aliases": ["py"]},
        "bash": {"argv": ["bash", "{file}"], "file_name": "main.sh", "image": "debian"},
    }
)
CONFIG = HttpConfig(caps=Limits(wall_s=600.0, network=False), body_limit_bytes=64 * 1024, version="test")
RESULT_SEQ = 4


@dataclass
class Door:
    """An application, its engine and a token of each role."""

    app: ExecdApp
    engine: FakeEngine
    secrets: dict[str, str]
    """By role; `foreign` is an admin of another workspace."""

    def headers(self, role: str = "runner") -> dict[str, str]:
        return {"authorization": f"Bearer {self.secrets[role]}"}

    async def ask(self, method: str, target: str, *, role: str = "runner", body: bytes = b"", **headers: str) -> Answer:
        """Call the application as somebody of this role; `_` in header names stands for `-`."""
        named = self.headers(role) | {name.replace("_", "-"): value for name, value in headers.items()}
        return await call(self.app, method, target, headers=named, body=body)

    def open(self, target: str, **headers: str) -> Any:
        """Open a stream as a viewer."""
        named = self.headers("viewer") | {name.replace("_", "-"): value for name, value in headers.items()}
        return open_call(self.app, "GET", target, headers=named)

    async def begin(self, workspace: str = "w") -> ExecutionId:
        """Put a running execution with one event into the store."""
        accepted = await self.engine.submit(make_submission(workspace))
        self.engine.submissions.clear()
        return accepted.id

    async def finished(self) -> ExecutionId:
        """Put an ended execution of four events into the store."""
        execution_id = ExecutionId("exec-1700000000000-finished0")
        await self.engine.begin(execution_id, make_submission())
        await self.engine.write(execution_id, "hello")
        await self.engine.finish(execution_id, total_bytes=5)
        return execution_id


async def make_door(config: HttpConfig = CONFIG, *, expires_at: datetime | None = None, **changes: Any) -> Door:
    """Make an application on a fresh fake engine; jitter is always the upper end."""
    engine = FakeEngine()
    app = make_app(engine, RUNTIMES, replace(config, **changes), now=virtual_now, uniform=lambda _low, high: high)
    secrets: dict[str, str] = {}
    for role in Role:
        issued = await issue_token(
            engine.tokens, workspace=WorkspaceId("w"), user="u", role=role, now=EPOCH, expires_at=expires_at
        )
        secrets[role.word] = issued.secret
    foreign = await issue_token(engine.tokens, workspace=WorkspaceId("other"), user="f", role=Role.ADMIN, now=EPOCH)
    return Door(app, engine, secrets | {"foreign": foreign.secret})


@dataclass
class Served:
    """A real server on a free port."""

    door: Door
    bound: Bound
    stop: trio.Event
    has_stopped: trio.Event
    sockets: list[trio.SocketStream] = field(default_factory=list)

    @property
    def authority(self) -> str:
        return f"127.0.0.1:{self.bound.port}"

    def client(self, role: str = "runner") -> httpx2.AsyncClient:
        return httpx2.AsyncClient(base_url=self.bound.url, headers=self.door.headers(role), trust_env=False)

    async def connect(self) -> trio.SocketStream:
        """Open a raw connection; it is closed with the server."""
        stream = await trio.open_tcp_stream("127.0.0.1", self.bound.port)
        self.sockets.append(stream)
        return stream

    def request_bytes(self, target: str, *, method: str = "GET", role: str = "viewer", extra: str = "") -> bytes:
        """Give a request as bytes; `extra` is further header lines."""
        head = f"{method} {target} HTTP/1.1\r\nHost: {self.authority}\r\nAuthorization: {self.door.headers(role)['authorization']}"
        return f"{head}\r\n{extra}\r\n".encode()


@asynccontextmanager
async def open_server(**changes: Any) -> AsyncIterator[Served]:
    """Serve until the block is left; leaving drains, and must not take longer than 5 s."""
    door = await make_door(**changes)
    stop = trio.Event()
    has_stopped = trio.Event()
    config = door.app.front.config

    async def serve(*, task_status: trio.TaskStatus[Bound]) -> None:
        await serve_http(door.app, config, shutdown_trigger=stop.wait, task_status=task_status)
        has_stopped.set()

    async with trio.open_nursery() as nursery:
        bound = await nursery.start(partial(serve))
        served = Served(door, bound, stop, has_stopped)
        try:
            yield served
            stop.set()
            with trio.fail_after(8):
                await has_stopped.wait()
        finally:
            for stream in served.sockets:
                stream.socket.close()
            nursery.cancel_scope.cancel()


async def read_all(stream: trio.SocketStream) -> bytes:
    """Read to the end; a reset counts as one."""
    found = b""
    try:
        async for chunk in stream:
            found += chunk
    except trio.BrokenResourceError:
        pass
    return found


async def read_until(stream: trio.SocketStream, part: bytes) -> bytes:
    """Read until this has come."""
    found = b""
    while part not in found:
        chunk = await stream.receive_some()
        assert chunk, found
        found += chunk
    return found


async def follow(door: Door, target: str, **headers: str) -> Answer:
    """Follow a stream to its end."""
    with trio.fail_after(3600 * 24):
        async with door.open(target, **headers) as answer:
            await answer.is_over.wait()
    return answer
