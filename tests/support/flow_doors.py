"""The n8n door on the real actors, and a reader that behaves as the hooks of its editors do."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import h11
import trio

from execd.http.access import Role, issue_token
from execd.http.app import ExecdApp, make_app
from execd.http.config import HttpConfig
from execd.http.server import Bound, serve_http
from tests.http.asgi import Answer, call, open_call
from tests.http.doors import CONFIG, RUNTIMES
from tests.support.engines import TEST_SETTINGS, W, World, open_world, virtual_now
from tests.support.scripted_runner import Script, ScriptedPod

FLOW_CONFIG = replace(CONFIG, body_limit_bytes=2 * 1024 * 1024)
STREAM = "/api/v1/executions/stream"


async def give_one(pod: ScriptedPod) -> None:
    """As a program of a code node: result 1."""
    await pod.write(b'{"result": 1, "scope": "{}"}\n')
    await pod.exit()


@dataclass
class FlowDoor:
    """An application on a running engine, and tokens."""

    app: ExecdApp
    world: World
    secrets: dict[str, str]

    def headers(self, role: str = "runner") -> dict[str, str]:
        return {"authorization": f"Bearer {self.secrets[role]}"} if role else {}

    async def ask(self, method: str, target: str, body: Any = None, *, role: str = "runner", **headers: str) -> Answer:
        named = self.headers(role) | {name.replace("_", "-"): value for name, value in headers.items()}
        encoded = b"" if body is None else json.dumps(body).encode()
        return await call(self.app, method, target, headers=named, body=encoded)

    async def save(self, flow: dict[str, Any]) -> Any:
        """Save a flow and give its id."""
        answer = await self.ask("POST", "/api/v1/flows/", flow)
        assert answer.status == 200, answer.body
        return answer.json()["id"]

    def open(self, flow_id: Any, given: Any = None, **headers: str) -> Any:
        """Run a flow and watch it."""
        named = self.headers() | {name.replace("_", "-"): value for name, value in headers.items()}
        body = json.dumps({"flow_id": flow_id, "input_data": given}).encode()
        return open_call(self.app, "POST", STREAM, headers=named, body=body)

    async def run(self, flow: dict[str, Any], given: Any = None) -> list[dict[str, Any]]:
        """Save, run and watch a flow; give its frames."""
        async with self.open(await self.save(flow), given) as answer:
            await answer.is_over.wait()
        return frames(answer)


def frames(answer: Answer) -> list[dict[str, Any]]:
    """Give the frames of an answer, each of which must have come as one message of its own."""
    found = []
    for _, chunk in answer.chunks:
        if chunk == b": hb\n\n":
            continue
        assert chunk.startswith(b"data: ")
        assert chunk.endswith(b"\n\n")
        assert chunk.count(b"\n") == 2
        assert chunk.isascii()
        assert len(chunk) < 48 * 1024
        found.append(json.loads(chunk[6:]))
    return found


def shown(found: list[dict[str, Any]]) -> list[str]:
    """Give frames as `type name`, in order."""
    return [f"{frame['type']} {frame['data'].get('nodeName', '')}".strip() for frame in found]


@asynccontextmanager
async def open_flow_door(
    script: Script = give_one, *, config: HttpConfig = FLOW_CONFIG, world: dict[str, Any] | None = None, **changes: Any
) -> AsyncIterator[FlowDoor]:
    """Run the engine with its doors; jitter is always the upper end."""
    async with open_world(script, **(world or {"settings": TEST_SETTINGS})) as opened:
        app = make_app(
            opened.engine, RUNTIMES, replace(config, **changes), now=virtual_now, uniform=lambda _low, high: high
        )
        secrets = {}
        for role in Role:
            issued = await issue_token(opened.engine.tokens, workspace=W, user="u", role=role, now=virtual_now())
            secrets[role.word] = issued.secret
        other = await issue_token(
            opened.engine.tokens, workspace=type(W)("other"), user="f", role=Role.ADMIN, now=virtual_now()
        )
        yield FlowDoor(app, opened, secrets | {"foreign": other.secret})


@asynccontextmanager
async def serve_flows(door: FlowDoor) -> AsyncIterator[tuple[Bound, trio.Event]]:
    """Serve on a free port; the event stops the server, as a signal would."""
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        serve = partial(serve_http, door.app, door.app.front.config, shutdown_trigger=stop.wait)
        yield await nursery.start(serve), stop
        stop.set()


@dataclass
class HookReader:
    """Reads a stream as the hooks do: each read is decoded, split and parsed by itself, and what is cut is lost."""

    pause_s: float = 0.0
    """How long its program is busy after each read."""
    frames: list[dict[str, Any]] = field(default_factory=list)
    lost: int = 0
    reads: list[int] = field(default_factory=list)
    """The size of each read."""
    headers: dict[str, str] = field(default_factory=dict)
    grown: trio.Event = field(default_factory=trio.Event)

    async def wait_for(self, name: str) -> None:
        """Wait until something of this node was shown."""
        while name not in self.states:
            await self.grown.wait()

    async def run(self, bound: Bound, secret: str, flow_id: Any, given: Any = None) -> None:
        stream = await trio.open_tcp_stream("127.0.0.1", bound.port)
        async with stream:
            await self._ask(stream, bound, secret, {"flow_id": flow_id, "input_data": given})

    async def _ask(self, stream: trio.SocketStream, bound: Bound, secret: str, body: dict[str, Any]) -> None:
        protocol = h11.Connection(h11.CLIENT)
        encoded = json.dumps(body).encode()
        headers = [
            ("Host", f"127.0.0.1:{bound.port}"),
            ("Authorization", f"Bearer {secret}"),
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(encoded))),
        ]
        asked = protocol.send(h11.Request(method="POST", target=STREAM, headers=headers)) or b""
        await stream.send_all(asked + (protocol.send(h11.Data(data=encoded)) or b""))
        protocol.send(h11.EndOfMessage())
        while True:
            protocol.receive_data(await stream.receive_some(64 * 1024))
            if self._take(protocol):
                return
            await trio.sleep(self.pause_s)

    def _take(self, protocol: h11.Connection) -> bool:
        """Take what one read brought; True at the end."""
        read = b""
        while (event := protocol.next_event()) is not h11.NEED_DATA:
            match event:
                case h11.Response(headers=headers, status_code=status):
                    assert status == 200
                    self.headers = {name.decode().lower(): value.decode() for name, value in headers}
                case h11.Data(data=data):
                    read += bytes(data)
                case h11.EndOfMessage():
                    self._parse(read)
                    return True
        self._parse(read)
        return False

    def _parse(self, read: bytes) -> None:
        self.reads.append(len(read))
        for line in read.decode(errors="replace").split("\n"):
            if line.startswith("data: "):
                try:
                    self.frames.append(json.loads(line[6:]))
                except ValueError:
                    self.lost += 1
        self.grown.set()
        self.grown = trio.Event()

    @property
    def states(self) -> dict[str, str]:
        """What an editor shows of each node, by name."""
        found: dict[str, str] = {}
        for frame in self.frames:
            name = frame["data"].get("nodeName")
            if frame["type"] == "nodeExecutionBefore":
                found[name] = "running"
            elif frame["type"] == "nodeExecutionAfter":
                found[name] = "failed" if "error" in frame["data"] else "completed"
        return found
