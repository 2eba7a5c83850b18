"""Fan-out: one event at a time to many viewers, deliveries per second of the server's processor time.

execd runs a real script that prints a line every few milliseconds; each line is read from the sandbox, journaled on disk and
streamed. The peer only publishes from memory. Both send frames of the same size to the same reading process.
"""

from __future__ import annotations

import json
import urllib.request
from dataclasses import dataclass

from bench.processes import Server, execd, sse_starlette
from bench.viewers import Tally, connect, read_to_end

LINE_BYTES = 100


@dataclass(frozen=True)
class FanOut:
    """One side's figures."""

    name: str
    viewers: int
    deliveries: int
    cpu_s: float
    memory_per_viewer_bytes: float | None
    """None for the peer: it accepts its viewers later than they connect, so there is no moment to measure."""

    @property
    def per_cpu_s(self) -> float:
        return self.deliveries / self.cpu_s

    @property
    def cpu_us_each(self) -> float:
        return self.cpu_s / self.deliveries * 1e6


def measure(*, viewers: int, events: int, pace_s: float) -> list[FanOut]:
    """Measure execd, then the peer with frames of the size execd sent."""
    ours, tally = _execd(viewers, events, pace_s)
    frame_bytes = tally.received_bytes // max(1, tally.deliveries)
    return [ours, _peer(viewers, events, pace_s, frame_bytes)]


def _execd(viewers: int, events: int, pace_s: float) -> tuple[FanOut, Tally]:
    settings = {"EXECD_STREAM__PER_WORKSPACE": str(viewers + 1)}
    script = (
        "import sys, time\nsys.stdin.readline()\n"
        f"for _ in range({events}):\n    print('x' * {LINE_BYTES - 1}, flush=True)\n    time.sleep({pace_s})\n"
    )
    with execd(**settings) as server:
        execution_id = submit(server, {"kind": "script", "language": "python", "source": script, "stdin_open": True})
        idle = server.rss_bytes()
        request = _get(server, f"/api/v1/executions/{execution_id}/stream")
        connections = connect(server.port, request, viewers)
        _wait_for_viewers(server, viewers)
        memory = (server.rss_bytes() - idle) / viewers
        before = server.cpu_s()
        post(server, f"/api/v1/executions/{execution_id}/stdin", {"text": "go\n", "close": True})
        tally = read_to_end(connections, deadline_s=120)
        used = server.cpu_s() - before
    return FanOut("execd", viewers, tally.deliveries, used, memory), tally


def _peer(viewers: int, events: int, pace_s: float, frame_bytes: int) -> FanOut:
    payload = frame_bytes - len("id: 1\r\nevent: output\r\ndata: \r\n\r\n") - 6
    with sse_starlette(viewers=viewers, events=events, payload_bytes=payload, pace_s=pace_s) as server:
        request = b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n"
        connections = connect(server.port, request, viewers - 1)
        before = server.cpu_s()
        connections += connect(server.port, request, 1)
        tally = read_to_end(connections, deadline_s=120)
        used = server.cpu_s() - before
    return FanOut("sse-starlette on uvicorn", viewers, tally.deliveries, used, None)


def _wait_for_viewers(server: Server, viewers: int) -> None:
    for _ in range(10_000):
        text = fetch(server, "/metrics").decode()
        found = [line for line in text.splitlines() if line.startswith("execd_viewers ")]
        if found and float(found[0].split()[1]) >= viewers:
            return
    raise RuntimeError("the viewers did not all arrive")


def _get(server: Server, path: str) -> bytes:
    head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nAuthorization: Bearer {server.token}\r\n\r\n"
    return head.encode()


def submit(server: Server, body: dict[str, object]) -> str:
    """Submit an execution and give its id."""
    return str(post(server, "/api/v1/executions", body)["id"])


def post(server: Server, path: str, body: dict[str, object]) -> dict[str, object]:
    """Post JSON and give the JSON that came back."""
    answer = fetch(server, path, json.dumps(body).encode())
    return json.loads(answer) if answer else {}


def fetch(server: Server, path: str, body: bytes | None = None) -> bytes:
    """Get a path, or post a body to it."""
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}{path}", data=body)
    request.add_header("Authorization", f"Bearer {server.token}")
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request) as response:
        return bytes(response.read())
