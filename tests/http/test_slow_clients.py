"""Clients that do not read, send too much, or come in numbers: each costs a bounded amount, and nobody else anything."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import socket
import struct
from collections.abc import Iterator

import pytest
import trio

from execd.http.connection import MessageBuffer
from tests.http.doors import Served, open_server, read_all, read_until
from tests.http.test_server_traps import assert_serves, small_buffers, upgrade

pytestmark = pytest.mark.slow
MASK = b"\0\0\0\0"


def text_frame(size: int, *, announced: int | None = None) -> bytes:
    """Give one masked text frame; `announced` is the length it claims."""
    return struct.pack("!BBQ", 0x81, 0xFF, announced or size) + MASK + b"x" * size


async def open_socket(served: Served, execution_id: str) -> trio.SocketStream:
    stream = await served.connect()
    extra = f"Authorization: {served.door.headers()['authorization']}\r\n"
    await stream.send_all(upgrade(served, f"/api/v1/executions/{execution_id}/ws", extra=extra))
    await read_until(stream, b"execution_requested")
    return stream


async def open_stalled(served: Served, execution_id: str) -> trio.SocketStream:
    stream = await served.connect()
    small_buffers(stream)
    await stream.send_all(served.request_bytes(f"/api/v1/executions/{execution_id}/stream"))
    await read_until(stream, b"execution_requested")
    return stream


async def test_a_dropped_viewer_leaves_the_server_standing() -> None:
    """Giving one connection up is a cancellation, and it must end with that connection."""
    async with open_server(send_deadline_s=0.2) as served:
        execution_id = await served.door.begin()
        for _ in range(5):
            await open_stalled(served, execution_id)

        with trio.fail_after(10):
            for _ in range(100):
                await served.door.engine.write(execution_id, "x" * 32_768)
            await served.door.app.front.streams.wait_empty()

        await assert_serves(served)
        assert not served.has_stopped.is_set()


async def test_an_endless_frame_ends_its_connection() -> None:
    """Told 1009, a client may go on sending; what it sends must not be kept, nor read for ever."""
    async with open_server() as served:
        stream = await open_socket(served, await served.door.begin())
        await stream.send_all(text_frame(65536, announced=2**40))

        with trio.fail_after(5):
            with contextlib.suppress(trio.BrokenResourceError):
                while True:
                    await stream.send_all(b"x" * 65536)
            await served.door.app.front.streams.wait_empty()


def test_a_message_that_is_too_large_is_not_kept() -> None:
    """The rest of it arrives anyway, and would grow the server as long as the client likes."""
    from hypercorn.protocol.ws_stream import FrameTooLargeError
    from wsproto.events import TextMessage

    buffer = MessageBuffer(10)
    buffer.extend(TextMessage(data="12345", message_finished=False))

    for _ in range(3):
        with pytest.raises(FrameTooLargeError):
            buffer.extend(TextMessage(data="1234567890", message_finished=False))

    assert not buffer._pieces  # what is kept shows nowhere else


async def test_a_message_in_pieces_arrives_whole() -> None:
    """The buffer is ours, so its ordinary work is tested too: pieces in order, text as text."""
    async with open_server() as served:
        stream = await open_socket(served, await served.door.begin())
        first, rest = b'{"type":"pi', b'ng","id":7}'

        await stream.send_all(
            struct.pack("!BB", 0x01, 0x80 | len(first))
            + MASK
            + first
            + struct.pack("!BB", 0x80, 0x80 | len(rest))
            + MASK
            + rest
        )

        assert b'"type":"pong"' in await read_until(stream, b"}")


@pytest.mark.parametrize("send_deadline_s", [0.5, 60.0])
async def test_clients_that_do_not_read_hardly_delay_the_end(send_deadline_s: float) -> None:
    """However long a send may take: when the server goes down, who does not read cannot be told goodbye."""
    async with open_server(send_deadline_s=send_deadline_s, drain_s=5.0) as served:
        execution_id = await served.door.begin()
        for _ in range(10):
            await open_stalled(served, execution_id)
        for _ in range(100):
            await served.door.engine.write(execution_id, "x" * 32_768)
        began_at = trio.current_time()

        served.stop.set()
        with trio.fail_after(20):
            await served.has_stopped.wait()

        assert trio.current_time() - began_at < 4


@pytest.mark.behaviour(17)
async def test_a_viewer_that_lags_is_told_the_last_event_it_was_given() -> None:
    """A page is sent in parts; a stream that ends between two of them must be resumed after the part that was sent."""
    async with open_server(lifetime_s=0.5) as served:
        execution_id = await served.door.begin()
        for _ in range(200):
            await served.door.engine.write(execution_id, "x" * 8192)
        slow = await served.connect()
        small_buffers(slow)
        await slow.send_all(
            served.request_bytes(f"/api/v1/executions/{execution_id}/stream", extra="Connection: close\r\n")
        )
        # Longer than the lifetime, with the stream in the middle of a page.
        await trio.sleep(0.7)

        with trio.fail_after(10):
            found = await read_all(slow)

        ids = [int(line[4:]) for line in found.split(b"\n") if line.startswith(b"id: ")]
        assert b'"reason":"lifetime"' in found
        assert ids == [*range(1, ids[-1] + 1), ids[-1]]
        evicted = json.loads(found.split(b"event: evicted\ndata: ")[1].split(b"\n")[0])
        assert evicted["last_seq"] == ids[-1]


async def test_when_all_places_are_taken_the_next_client_waits_for_one() -> None:
    """Sandboxes need descriptors too: viewers may not take the last ones, and nobody is refused for good."""
    async with open_server(max_connections=2) as served:
        first, second = await served.connect(), await served.connect()
        for stream in (first, second):
            await stream.send_all(served.request_bytes("/healthz"))
            await read_until(stream, b'"ok"')
        waiting = await served.connect()
        await waiting.send_all(served.request_bytes("/healthz"))
        with trio.move_on_after(0.2) as unanswered:
            await waiting.receive_some()

        await first.aclose()

        assert unanswered.cancelled_caught
        with trio.fail_after(5):
            assert (await read_until(waiting, b'"ok"')).startswith(b"HTTP/1.1 200")
        assert served.door.app.front.counters.read()["execd_http_full_total"] >= 1


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    """Leave the process some twenty descriptors, whatever it has open."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 20, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_running_out_of_descriptors_is_survived(few_descriptors: None) -> None:
    """No crash and no spinning: the clients that do not fit wait, and are served when descriptors come back."""
    async with open_server(max_connections=1000) as served:
        clients = [socket.socket() for _ in range(4)]
        hoard: list[int] = []
        with contextlib.suppress(OSError):
            while True:
                hoard.append(os.open("/dev/null", os.O_RDONLY))
        for client in clients:
            client.setblocking(False)
            assert client.connect_ex(("127.0.0.1", served.bound.port)) in {0, 115}
        with trio.fail_after(5):
            while "execd_http_accept_failures_total" not in served.door.app.front.counters.read():
                await trio.testing.wait_all_tasks_blocked(0.05)

        for fd in hoard:
            os.close(fd)

        for client in clients:
            stream = trio.SocketStream(trio.socket.from_stdlib_socket(client))
            await stream.send_all(served.request_bytes("/healthz"))
            with trio.fail_after(5):
                assert (await read_until(stream, b'"ok"')).startswith(b"HTTP/1.1 200")
            await stream.aclose()
        assert served.door.app.front.counters.read()["execd_http_accept_failures_total"] < 50
