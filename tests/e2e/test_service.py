"""The whole service as its users have it: a real server with real sandboxes, crashed, stopped and flooded."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from execd.client import Client, open_client
from execd.core.events import (
    FINAL_STATUSES,
    Event,
    ExecutionEnded,
    ExecutionId,
    Output,
    ResultStored,
    Status,
    Stream,
)
from tests.support.server_process import ServerProcess

pytestmark = pytest.mark.slow


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server with sandboxes; the tests restart it by making another on the same directory and port."""
    running = ServerProcess(tmp_path / "data", sandbox="bubblewrap", EXECD_STREAM__PER_WORKSPACE="200")
    yield running
    running.kill()


def again(server: ServerProcess) -> ServerProcess:
    """Start a server where the last one was."""
    port = server.port
    return ServerProcess(server.data_dir, port=port, sandbox="bubblewrap", EXECD_STREAM__PER_WORKSPACE="200")


async def submit(client: Client, source: str, **more: object) -> ExecutionId:
    body = {"kind": "script", "language": "python", "source": source, **more}
    return (await client.submit(body, idempotency_key=secrets.token_hex())).id


async def follow(client: Client, execution_id: ExecutionId) -> list[Event]:
    async with client.events(execution_id) as events:
        return [event async for event in events]


def check_whole(events: list[Event]) -> ResultStored:
    """One journal: no gap, no double, one end, the result last."""
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert len([event for event in events if isinstance(event.data, ExecutionEnded)]) == 1
    assert isinstance(events[-1].data, ResultStored)
    return events[-1].data


@pytest.mark.behaviour(25)
async def test_output_arrives_while_the_script_still_runs(server: ServerProcess) -> None:
    """The script ends only after its output was seen: what is called live is live."""
    async with open_client(server.url, server.token) as client:
        execution_id = await submit(client, "print('ready')\nprint(input())", stdin_open=True)
        seen: list[Event] = []
        async with client.events(execution_id) as events:
            async for event in events:
                seen.append(event)
                written = "".join(past.data.text or "" for past in seen if isinstance(past.data, Output))
                if isinstance(event.data, Output) and written == "ready\n":
                    await client.send_stdin(execution_id, b"go on\n", close=True)

    assert check_whole(seen).stdout == "ready\ngo on\n"


async def test_sixty_four_mebibytes_arrive_whole_and_memory_stays_low(server: ServerProcess) -> None:
    """Every byte, in order, with back-pressure in between: execd itself never holds more than a little of it."""
    source = "import sys\nblock = bytes(range(32, 96)) * 1024\nfor _ in range(1024): sys.stdout.buffer.write(block)"
    block = bytes(range(32, 96)) * 1024
    async with open_client(server.url, server.token) as client:
        execution_id = await submit(client, source, limits={"output_bytes": 100 * 2**20})
        offset = 0
        async with client.events(execution_id) as events:
            async for event in events:
                if isinstance(event.data, Output):
                    data = (event.data.text or "").encode()
                    assert event.data.offset == offset
                    start = offset % len(block)
                    assert data == (block + block)[start : start + len(data)]
                    offset += len(data)
                elif isinstance(event.data, ResultStored):
                    assert event.data.streams[Stream.STDOUT].total_bytes == 64 * 2**20
                    assert event.data.status is Status.COMPLETED

    assert offset == 64 * 2**20
    assert server.peak_memory_bytes() < 200 * 2**20


async def test_fifty_at_once_all_finish(server: ServerProcess) -> None:
    """Two cores, fifty submissions in one burst, each watched: none is lost, refused or confused with another."""
    results: dict[int, ResultStored] = {}
    async with open_client(server.url, server.token) as client:

        async def run(number: int) -> None:
            results[number] = check_whole(await follow(client, await submit(client, f"print({number})")))

        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(run, number)

    assert {number: result.stdout for number, result in results.items()} == {n: f"{n}\n" for n in range(50)}


@pytest.mark.behaviour(3, 12, 41)
async def test_killed_and_started_again_every_accepted_run_ends_once(server: ServerProcess) -> None:
    """`kill -9` under load: viewers reconnect by themselves, each sees one whole journal, lost scripts say so, scripts
    that may run again do, and what waited runs."""
    ready = "import time\nprint('up', flush=True)\ntime.sleep(1.5)\nprint('done')"
    second: list[ServerProcess] = []
    journals: dict[str, list[Event]] = {}
    async with open_client(server.url, server.token) as client:
        lost = [await submit(client, ready + f" # {n}") for n in range(4)]
        rerun = [await submit(client, ready + f" # again {n}", retries=2) for n in range(2)]
        waiting = [await submit(client, f"print('waited {n}')") for n in range(6)]
        up = trio.Event()

        async def view(execution_id: ExecutionId) -> None:
            seen = journals[execution_id] = []
            while not (seen and isinstance(seen[-1].data, ResultStored)):
                async with client.events(execution_id, after_seq=len(seen)) as events:
                    async for event in events:
                        seen.append(event)
                        if isinstance(event.data, Output):
                            up.set()

        async with trio.open_nursery() as nursery:
            for execution_id in lost + rerun + waiting:
                nursery.start_soon(view, execution_id)
            await up.wait()
            server.kill()
            second.append(await trio.to_thread.run_sync(again, server))
    try:
        ends = {execution_id: check_whole(events) for execution_id, events in journals.items()}
        assert all(end.status in FINAL_STATUSES for end in ends.values())
        assert [ends[i].error.code for i in lost if ends[i].error is not None] == ["worker_lost"] * 4
        assert [ends[i].status for i in rerun + waiting] == [Status.COMPLETED] * 8
        async with open_client(second[0].url, second[0].token) as client:
            for execution_id, events in journals.items():
                assert await follow(client, execution_id) == events
    finally:
        second[0].kill()


async def test_sigterm_lets_what_runs_finish_and_leaves_with_zero(server: ServerProcess) -> None:
    """A polite stop: the stream ends early and says so, the script has its grace, the exit code is 0, and after the next
    start the journal is whole."""
    async with open_client(server.url, server.token) as client:
        execution_id = await submit(client, "import time\nprint('up', flush=True)\ntime.sleep(1)\nprint('done')")
        async with client.events(execution_id) as events:
            async for event in events:
                if isinstance(event.data, Output):
                    break
    assert await trio.to_thread.run_sync(server.stop) == 0

    second = again(server)
    try:
        async with open_client(second.url, second.token) as client:
            assert check_whole(await follow(client, execution_id)).stdout == "up\ndone\n"
    finally:
        second.kill()
