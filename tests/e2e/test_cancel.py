"""Cancelling on the real server: programs that would not, their children, requests and timers, all at once."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import trio

from execd.client import open_client
from execd.core.events import ExecutionId, Output, ResultStored, Status
from tests.support.local_runs import processes_with, wait_until
from tests.support.server_process import ServerProcess

pytestmark = pytest.mark.slow

MARKER = "86398.25"
SOURCE = f"""
import os, signal, subprocess, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGINT, signal.SIG_IGN)
for _ in range(3):
    subprocess.Popen(["sh", "-c", "trap '' TERM INT HUP; sleep {MARKER}; sleep {MARKER}"], start_new_session=True)
print("up", flush=True)
while True:
    time.sleep(1)
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    running = ServerProcess(tmp_path / "data", sandbox="bubblewrap")
    yield running
    running.kill()


@pytest.mark.behaviour(30)
async def test_a_cancel_is_answered_at_once_and_done_within_five_seconds(server: ServerProcess) -> None:
    """A program and its children that ignore every polite word, a request that is never answered, a timer of a day: half a second
    for the answer, five seconds for the end, and nothing of any of them is left."""
    hung_up = trio.Event()

    async def never_answer(stream: trio.SocketStream) -> None:
        while await stream.receive_some():
            continue
        hung_up.set()

    async with trio.open_nursery() as nursery, open_client(server.url, server.token) as client:
        (listener,) = await nursery.start(partial(trio.serve_tcp, never_answer, 0, host="127.0.0.1"))
        port = listener.socket.getsockname()[1]
        stubborn = {"id": "stubborn", "type": "script", "language": "python", "source": SOURCE}
        call = {"id": "call", "type": "http", "url": f"http://127.0.0.1:{port}/", "timeout_s": 600}
        rest = {"id": "rest", "type": "wait", "seconds": 86400}
        body = {"kind": "workflow", "nodes": [stubborn, call, rest]}
        execution_id = ExecutionId((await client.submit(body, idempotency_key=secrets.token_hex())).id)
        async with client.events(execution_id) as events:
            async for event in events:
                if isinstance(event.data, Output):
                    await wait_until(lambda: len(processes_with(MARKER)) >= 3)
                    asked_at = trio.current_time()
                    await client.cancel(execution_id)
                    answered_s = trio.current_time() - asked_at
                if isinstance(event.data, ResultStored):
                    ended_s = trio.current_time() - asked_at
                    result = event.data
        with trio.fail_after(1):
            await hung_up.wait()
            await wait_until(lambda: processes_with(MARKER) == [])
        nursery.cancel_scope.cancel()

    assert result.status is Status.CANCELLED
    assert {node.status for node in result.nodes} == {"failed"}
    assert answered_s < 0.5
    assert ended_s < 5
