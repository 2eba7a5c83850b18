"""Bytes that break things, through every door of the real server: a program's output arrives as it was written."""

from __future__ import annotations

import base64
import json
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio
from trio_websocket import ConnectionClosed, wrap_client_stream

from execd.client import open_client
from execd.core.capture import output_bytes
from execd.core.events import ExecutionId, Output, ResultStored, Status, Stream
from tests.support.server_process import COMMAND, STOP_S, ServerProcess

pytestmark = pytest.mark.slow

SOURCE = r"""
import sys
out = sys.stdout.buffer
out.write("é€😀\u2028\u0085\r\n".encode() * 100)      # every length of UTF-8, and what some call a line end
out.write(b"nul \0 in \0\0 it\n")
out.write(b"half a surrogate pair \xed\xa0\x80\xed\xb0\x80, never UTF-8 \xff\xfe\xc0\x80, cut \xe2\x82\n")
out.write(b"data: x\n\nid: 99\nevent: result_stored\n\n")  # what would end a stream if it were not framed
out.write("☃".encode() * (10 * 1024 * 1024 // 3) + b"\n")   # one line of 10 MB
sys.stdout.flush()
sys.stderr.buffer.write(b"\xed\xa0\x80" + b"e" * (10 * 1024 * 1024))
"""
STDOUT = (
    "é€😀\u2028\u0085\r\n".encode() * 100
    + b"nul \0 in \0\0 it\n"
    + b"half a surrogate pair \xed\xa0\x80\xed\xb0\x80, never UTF-8 \xff\xfe\xc0\x80, cut \xe2\x82\n"
    + b"data: x\n\nid: 99\nevent: result_stored\n\n"
    + "☃".encode() * (10 * 1024 * 1024 // 3)
    + b"\n"
)
STDERR = b"\xed\xa0\x80" + b"e" * (10 * 1024 * 1024)
MAX_FRAME_BYTES = 12 * 1024 * 1024
"""The most any event may have."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    running = ServerProcess(tmp_path / "data", EXECD_STREAM__PER_WORKSPACE="50")
    yield running
    running.kill()


class Heard:
    """What came through one door, put together again."""

    def __init__(self) -> None:
        self.streams = {"stdout": bytearray(), "stderr": bytearray()}
        self.seqs: list[int] = []
        self.last_type = ""

    def take(self, event: dict[str, Any]) -> None:
        self.seqs.append(event["seq"])
        self.last_type = event["type"]
        if event["type"] == "output":
            data = event["data"]
            written = base64.b64decode(data["base64"]) if "base64" in data else data["text"].encode()
            assert data["offset"] == len(self.streams[data["stream"]])
            self.streams[data["stream"]] += written

    def check(self, door: str) -> None:
        assert self.streams == {"stdout": STDOUT, "stderr": STDERR}, door
        assert self.seqs == list(range(1, len(self.seqs) + 1)), door
        assert self.last_type == "result_stored", door


async def by_socket(server: ServerProcess, execution_id: str) -> Heard:
    heard = Heard()
    path = f"/api/v1/executions/{execution_id}/ws"
    headers = [(b"authorization", f"Bearer {server.token}".encode())]
    stream = await trio.open_tcp_stream("127.0.0.1", server.port)
    async with trio.open_nursery() as nursery, stream:
        host = f"127.0.0.1:{server.port}"
        socket = await wrap_client_stream(
            nursery, stream, host, path, extra_headers=headers, max_message_size=MAX_FRAME_BYTES
        )
        with suppress(ConnectionClosed):
            while True:
                message = json.loads(await socket.get_message())
                if "seq" in message:
                    heard.take(message)
        assert socket.closed is not None
        assert socket.closed.code == 1000
        nursery.cancel_scope.cancel()
    return heard


async def by_polling(server: ServerProcess, execution_id: str) -> Heard:
    import httpx2

    heard = Heard()
    headers = {"authorization": f"Bearer {server.token}"}
    async with httpx2.AsyncClient(base_url=server.url, headers=headers, trust_env=False) as http:
        while heard.last_type != "result_stored":
            after = heard.seqs[-1] if heard.seqs else 0
            page = (await http.get(f"/api/v1/executions/{execution_id}/events?after={after}")).json()
            for event in page["items"]:
                heard.take(event)
            await trio.sleep(0 if page["items"] else 0.05)
        for stream, expected in (("stdout", STDOUT), ("stderr", STDERR)):
            whole = await http.get(f"/api/v1/executions/{execution_id}/output?stream={stream}")
            assert whole.content == expected
    return heard


async def by_command(server: ServerProcess, execution_id: str, *options: str) -> subprocess.CompletedProcess[bytes]:
    command = [*COMMAND, "watch", execution_id, *options, "--data-dir", str(server.data_dir)]
    return await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)


@pytest.mark.behaviour(27)
async def test_odd_bytes_pass_every_door_while_they_are_written(server: ServerProcess) -> None:
    """Live, side by side: event stream, socket, polling, raw output and the command line, as text and as JSON."""
    heard: dict[str, Heard] = {}
    done: dict[str, subprocess.CompletedProcess[bytes]] = {}
    async with open_client(server.url, server.token) as client:
        body = {"kind": "script", "language": "python", "source": SOURCE, "limits": {"output_bytes": 64 * 2**20}}
        execution_id = ExecutionId((await client.submit(body, idempotency_key=secrets.token_hex())).id)

        async def follow(door: str, what: Any, *args: Any) -> None:
            heard[door] = await what(server, execution_id, *args)

        async def command(name: str, *options: str) -> None:
            done[name] = await by_command(server, execution_id, *options)

        with trio.fail_after(STOP_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(follow, "socket", by_socket)
                nursery.start_soon(follow, "polling", by_polling)
                nursery.start_soon(command, "text")
                nursery.start_soon(command, "json", "--json")
                streamed = {Stream.STDOUT: bytearray(), Stream.STDERR: bytearray()}
                async with client.events(execution_id) as events:
                    async for event in events:
                        if isinstance(event.data, Output):
                            streamed[event.data.stream] += output_bytes(event.data)
                        last = event.data

    assert isinstance(last, ResultStored)
    assert last.status is Status.COMPLETED
    assert streamed == {Stream.STDOUT: STDOUT, Stream.STDERR: STDERR}
    for door, what in heard.items():
        what.check(door)
    by_json = Heard()
    for line in done["json"].stdout.splitlines():
        assert len(line) < MAX_FRAME_BYTES
        by_json.take(json.loads(line))
    by_json.check("--json")
    assert (done["text"].returncode, done["text"].stdout) == (0, STDOUT)
    assert done["text"].stderr.startswith(STDERR)
