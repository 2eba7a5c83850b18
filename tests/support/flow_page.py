"""A server with the FlowSphere door on the real engine and real sockets, and readers as strict as FlowSphere's page.

The page splits what it has at empty lines, takes lines that begin with exactly `event: ` and `data: `, and after its Stop
button handles one more chunk.
"""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import h11
import httpx2
import trio

from execd.actors.engine import LocalEngine
from execd.bootstrap import open_local_engine
from execd.core.events import WorkspaceId
from execd.http.access import Role, issue_token
from execd.http.app import ExecdApp, make_app
from execd.http.config import FlowsphereConfig, HttpConfig
from execd.http.server import Bound, serve_http
from execd.settings import SandboxSettings, Settings, StreamSettings
from tests.http.doors import CONFIG, RUNTIMES
from tests.support.wild_server import Handler, WildServer, open_server

LIMIT_S = 30
RUN = "/api/execute-stream"


@dataclass
class Frame:
    """As the page understands it."""

    name: str
    data: Any
    text: str
    """All of it."""


@dataclass
class PageReader:
    """Reads a stream chunk by chunk, as the page does. `chunks` are what the server wrote, in its own pieces."""

    chunks: list[bytes] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    status: int = 0
    is_over: bool = False
    _buffer: str = ""

    def feed(self, chunk: bytes) -> list[Frame]:
        """Take a chunk; give the frames that it completes."""
        assert b"\r" not in chunk
        self.chunks.append(chunk)
        assert chunk.endswith(b"\n\n"), "a frame in two writes"
        *texts, self._buffer = (self._buffer + chunk.decode()).split("\n\n")
        found = [_read_frame(text) for text in texts if text.strip()]
        self.frames += [frame for frame in found if frame is not None]
        return [frame for frame in found if frame is not None]

    @property
    def names(self) -> list[str]:
        return [frame.name for frame in self.frames]

    @property
    def steps(self) -> list[dict[str, Any]]:
        return [frame.data for frame in self.frames if frame.name == "step"]

    @property
    def end(self) -> dict[str, Any]:
        found: dict[str, Any] = self.frames[-1].data
        return found

    def check_order(self) -> None:
        """Hold the stream to the rules of its reader."""
        assert self.names[0] == "start"
        assert self.names[-1] in {"end", "interrupted"}
        pending: int | None = None
        for name, data in ((frame.name, frame.data) for frame in self.frames):
            if name == "step_start":
                assert pending is None
                pending = data["step"]
            elif pending is not None:
                assert (name, data["step"]) == ("step", pending)
                pending = None


def _read_frame(text: str) -> Frame | None:
    name = data = ""
    for line in text.split("\n"):
        if line.startswith("event: "):
            name = line[7:]
        elif line.startswith("data: "):
            assert not data, "JSON in several lines"
            data = line[6:]
    return Frame(name, json.loads(data, parse_constant=_refuse), text + "\n\n") if name and data else None


def _refuse(name: str) -> Any:
    raise AssertionError(f"{name} is no JSON")


class PageStream:
    """A stream that is open: its frames, one after another."""

    def __init__(self, stream: trio.SocketStream, request: bytes, connection: h11.Connection) -> None:
        self.reader = PageReader()
        self._stream = stream
        self._request = request
        self._connection = connection

    async def open(self) -> None:
        await self._stream.send_all(self._request)

    async def next_chunk(self) -> list[Frame] | None:
        """Wait for the next chunk the server wrote; None at the end."""
        with trio.fail_after(LIMIT_S):
            piece = b""
            while True:
                event = self._connection.next_event()
                if isinstance(event, h11.Response):
                    self.reader.status = event.status_code
                    self.reader.headers = {name.decode(): value.decode() for name, value in event.headers}
                elif isinstance(event, h11.Data):
                    piece += bytes(event.data)
                    if event.chunk_end:
                        return self.reader.feed(piece)
                elif isinstance(event, h11.EndOfMessage):
                    self.reader.is_over = True
                    return None
                else:
                    self._connection.receive_data(await self._stream.receive_some(65536))

    async def read(self) -> PageReader:
        """Read to the end."""
        while await self.next_chunk() is not None:
            pass
        return self.reader

    async def until(self, name: str) -> Frame:
        """Read until a frame of this name."""
        while True:
            found = await self.next_chunk()
            assert found is not None, self.reader.names
            for frame in found:
                if frame.name == name:
                    return frame

    async def go_away(self) -> None:
        await self._stream.aclose()

    async def leave(self, how: str) -> None:
        """Close the connection, reset it, or close only our half."""
        if how == "half-close":
            await self._stream.send_eof()
            return
        if how == "reset":
            self._stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self._stream.socket.close()


@dataclass
class FlowServer:
    """execd, and an API beside it that flows speak to."""

    api: WildServer
    bound: Bound
    app: ExecdApp
    engine: LocalEngine
    token: str
    viewer: str
    client: httpx2.AsyncClient

    def url(self, path: str = "/") -> str:
        return self.api.url(path)

    def node(self, identifier: str, path: str = "/", /, **fields: Any) -> dict[str, Any]:
        return {"id": identifier, "method": "GET", "url": self.url(path), **fields}

    async def post(self, path: str, body: Any, **headers: str) -> httpx2.Response:
        with trio.fail_after(LIMIT_S):
            return await self.client.post(path, json=body, headers=headers)

    @asynccontextmanager
    async def stream(
        self, body: Any, *, target: str = RUN, method: str = "POST", token: str | None = None, **headers: str
    ) -> AsyncIterator[PageStream]:
        """Ask for a stream; leaving the block is the client going away."""
        sent = b"" if body is None else json.dumps(body).encode()
        lines = {
            "Host": f"127.0.0.1:{self.bound.port}",
            **{name.replace("_", "-"): text for name, text in headers.items()},
        }
        if token != "":
            lines["Authorization"] = f"Bearer {token or self.token}"
        if body is not None:
            lines |= {"Content-Type": "application/json", "Content-Length": str(len(sent))}
        connection = h11.Connection(h11.CLIENT)
        head = connection.send(h11.Request(method=method, target=target, headers=list(lines.items()))) or b""
        head += (connection.send(h11.Data(data=sent)) or b"") if sent else b""
        head += connection.send(h11.EndOfMessage()) or b""
        raw = await trio.open_tcp_stream("127.0.0.1", self.bound.port)
        page = PageStream(raw, head, connection)
        try:
            await page.open()
            yield page
        finally:
            raw.socket.close()

    async def run(self, config: Any, **options: Any) -> PageReader:
        """Run a flow and read all of it, by the rules."""
        async with self.stream({"config": config, "options": options}) as page:
            reader = await page.read()
        reader.check_order()
        return reader


def now_utc() -> datetime:
    return datetime.now(UTC)


@asynccontextmanager
async def serve_flowsphere(
    data_dir: Path, handler: Handler, *, streams: int = 100, config: HttpConfig = CONFIG, **flowsphere: Any
) -> AsyncIterator[FlowServer]:
    """Serve until the block is left."""
    settings = Settings(
        data_dir=data_dir,
        sandbox=SandboxSettings(sandbox="none", warm_slots=0),
        stream=StreamSettings(per_workspace=streams),
        log_level="error",
    )
    chosen = replace(config, flowsphere=FlowsphereConfig(**flowsphere))
    stop = trio.Event()
    async with open_server(handler) as api, open_local_engine(settings) as engine:
        app = make_app(engine, RUNTIMES, chosen, now=now_utc)
        async with trio.open_nursery() as nursery:
            bound = await nursery.start(partial(serve_http, app, chosen, shutdown_trigger=stop.wait))
            secrets = []
            for role in (Role.RUNNER, Role.VIEWER):
                made = await issue_token(
                    engine.tokens, workspace=WorkspaceId("default"), user="ada", role=role, now=now_utc()
                )
                secrets.append(made.secret)
            headers = {"Authorization": f"Bearer {secrets[0]}"}
            async with httpx2.AsyncClient(base_url=bound.url, headers=headers, trust_env=False) as client:
                yield FlowServer(api, bound, app, engine, *secrets, client)
            stop.set()
            nursery.cancel_scope.deadline = trio.current_time() + 8
