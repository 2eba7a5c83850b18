"""A hundred viewers that never read, on the real server: the good ones see everything, memory is bounded, and it stops in time."""

from __future__ import annotations

import json
import socket
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.watchers import Watcher, head_of, open_watcher, read_all
from tests.support.server_process import ServerProcess

pytestmark = pytest.mark.slow
GRACE_S = 6
STALLED_EACH = 50
LINES = 100
LINE_BYTES = 8192
SOURCE = (
    "import sys, time\nsys.stdin.readline()\n"
    f"for _ in range({LINES}):\n    sys.stdout.write(f'T{{time.time_ns():019d}}E' + 'x' * {LINE_BYTES} + '\\n')\n"
    "    sys.stdout.flush()\n    time.sleep(0.01)\n"
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    running = ServerProcess(
        tmp_path / "data",
        EXECD_STREAM__PER_WORKSPACE="200",
        EXECD_SHUTDOWN__GRACE_S=str(GRACE_S),
        # Longer than the test, so that all of them are still attached in the end.
        EXECD_HTTP__SEND_DEADLINE_S="60",
    )
    yield running
    running.kill()


def ask(server: ServerProcess, path: str, body: dict[str, object] | None = None) -> bytes:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{server.url}{path}", data=data)
    request.add_header("Authorization", f"Bearer {server.token}")
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request) as response:
        return bytes(response.read())


def begin(server: ServerProcess) -> str:
    spec: dict[str, object] = {"kind": "script", "language": "python", "source": SOURCE, "stdin_open": True}
    return str(json.loads(ask(server, "/api/v1/executions", spec))["id"])


def stall(server: ServerProcess, execution_id: str, *, is_socket: bool) -> socket.socket:
    """Connect a viewer that takes the head of its stream and nothing more."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", server.port))
    path = f"/api/v1/executions/{execution_id}/{'ws' if is_socket else 'stream'}"
    connection.sendall(head_of(server.port, server.token, path, is_socket=is_socket))
    connection.recv(64)
    return connection


def watch_among_the_stalled(server: ServerProcess) -> tuple[list[Watcher], list[socket.socket]]:
    execution_id = begin(server)
    stalled = [stall(server, execution_id, is_socket=number % 2 == 1) for number in range(2 * STALLED_EACH)]
    kinds = ["sse", "websocket", "sse", "websocket", "sse"]
    watchers = [open_watcher(server.port, server.token, execution_id, kind) for kind in kinds]
    ask(server, f"/api/v1/executions/{execution_id}/stdin", {"text": "go\n", "close": True})
    read_all(watchers, deadline_s=30)
    return watchers, stalled


@pytest.mark.behaviour(17)
def test_a_hundred_stalled_viewers_harm_nobody(server: ServerProcess) -> None:
    """Invariant 7: the others see every event; what the stalled cost is bounded; and going down does not wait for them."""
    before = server.peak_memory_bytes()
    watchers, stalled = watch_among_the_stalled(server)
    grown = server.peak_memory_bytes() - before
    attached = b"execd_viewers 100" in ask(server, "/metrics")
    began_at = time.monotonic()

    code = server.stop()
    took_s = time.monotonic() - began_at

    for connection in stalled:
        connection.close()
    assert [watcher.is_whole for watcher in watchers] == [True] * 5
    assert {len(watcher.deliveries) for watcher in watchers} == {LINES}
    assert attached
    # Seen: 18 MiB. 800 KiB went by each of the hundred; kept for each, it would be 80 MiB.
    assert grown < 48 * 2**20
    assert (code, took_s < GRACE_S) == (0, True)
