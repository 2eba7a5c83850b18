"""WebSockets against the real server: events, commands with answers, and a close code that says what to do."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio_websocket import ConnectionClosed, ConnectionRejected, WebSocketConnection, wrap_client_stream

from execd.core.errors import OverloadedError
from execd.ports import Cancel, SendStdin
from tests.http.doors import Served, open_server

pytestmark = pytest.mark.slow


@asynccontextmanager
async def connect(
    served: Served, target: str, *, role: str | None = "runner", origin: str | None = None
) -> AsyncIterator[WebSocketConnection]:
    """Open a socket; None sends no credential. The TCP stream is closed with the server: trio-websocket may forget it."""
    headers: list[tuple[bytes, bytes]] = []
    if role is not None:
        headers.append((b"authorization", served.door.headers(role)["authorization"].encode()))
    if origin is not None:
        headers.append((b"origin", origin.encode()))
    stream = await served.connect()
    async with trio.open_nursery() as nursery:
        socket = await wrap_client_stream(nursery, stream, served.authority, target, extra_headers=headers)
        async with socket:
            yield socket
        nursery.cancel_scope.cancel()


async def hear(socket: WebSocketConnection) -> Any:
    with trio.fail_after(5):
        return json.loads(await socket.get_message())


async def say(socket: WebSocketConnection, **message: Any) -> Any:
    """Send a message and give the next that comes."""
    await socket.send_message(json.dumps(message))
    return await hear(socket)


async def hear_close(socket: WebSocketConnection) -> tuple[int, str, list[Any]]:
    """Give the code and reason of the close, and what came before it."""
    heard: list[Any] = []
    try:
        while True:
            heard.append(await hear(socket))
    except ConnectionClosed as closed:
        reason = closed.reason
    return reason.code, reason.reason, heard


async def test_a_socket_has_every_event_and_closes_after_the_last() -> None:
    """The same bytes as everywhere, then 1000: do not come back."""
    async with open_server() as served:
        execution_id = await served.door.begin()
        async with connect(served, f"/api/v1/executions/{execution_id}/ws") as socket:
            assert (await hear(socket))["type"] == "execution_requested"
            await served.door.engine.finish(execution_id)

            code, reason, heard = await hear_close(socket)

        assert (code, reason) == (1000, "complete")
        assert [event["seq"] for event in heard] == [2, 3]


@pytest.mark.behaviour(8, 9)
async def test_a_socket_resumes_after_a_seq() -> None:
    """And one that has everything is told that it is over."""
    async with open_server() as served:
        execution_id = await served.door.finished()

        async with connect(served, f"/api/v1/executions/{execution_id}/ws?after=2") as socket:
            _, _, heard = await hear_close(socket)
        async with connect(served, f"/api/v1/executions/{execution_id}/ws?after=4") as socket:
            code, reason, nothing = await hear_close(socket)

        assert [event["seq"] for event in heard] == [3, 4]
        assert (code, reason, nothing) == (1000, "complete", [])


async def test_commands_are_acknowledged_by_id() -> None:
    """A client can tell which of its wishes was taken."""
    async with open_server() as served:
        execution_id = await served.door.begin()
        async with connect(served, f"/api/v1/executions/{execution_id}/ws?after=1") as socket:
            assert await say(socket, type="cancel", id="c1") == {"type": "ack", "id": "c1"}
            assert await say(socket, type="stdin", id=2, text="hi", close=True) == {"type": "ack", "id": 2}
            assert await say(socket, type="ping") == {"type": "pong"}

        assert served.door.engine.commands == [
            (execution_id, Cancel(by="u")),
            (execution_id, SendStdin(data=b"hi", close=True)),
        ]


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("{nope", "invalid_request"),
        ("[]", "invalid_request"),
        ("{}", "invalid_request"),
        ('{"type":"explode"}', "invalid_request"),
        ('{"type":5}', "invalid_request"),
        ('{"type":"ping","id":{}}', "invalid_request"),
        ('{"type":"ping","x":1}', "invalid_request"),
        ('{"type":"stdin"}', "invalid_request"),
        ('{"type":"cancel","execution_id":"exec-other"}', "invalid_request"),
        ('{"type":"subscribe","execution_id":"x"}', "invalid_request"),
        ("[" * 50_000, "invalid_request"),
        (b"\xff\x00", "invalid_request"),
    ],
)
async def test_a_bad_message_is_answered_and_the_socket_lives_on(said: str | bytes, code: str) -> None:
    """A slip in one message does not cost the stream."""
    async with open_server() as served:
        execution_id = await served.door.begin()
        async with connect(served, f"/api/v1/executions/{execution_id}/ws?after=1") as socket:
            await socket.send_message(said)
            answer = await hear(socket)

            assert (answer["type"], answer["code"]) == ("error", code)
            assert await say(socket, type="ping") == {"type": "pong"}
        assert served.door.engine.commands == []


async def test_a_refused_command_is_an_error_with_its_id() -> None:
    """The problem of HTTP, in the answer to the message."""
    async with open_server() as served:
        execution_id = await served.door.begin()
        served.door.engine.command_error = OverloadedError("the program does not read")
        async with connect(served, f"/api/v1/executions/{execution_id}/ws?after=1") as socket:
            answer = await say(socket, type="stdin", text="x", id="s")

        assert (answer["type"], answer["id"], answer["code"]) == ("error", "s", "overloaded")


async def test_a_viewer_may_watch_and_not_steer() -> None:
    """The role is checked for each command, not for the socket."""
    async with open_server() as served:
        execution_id = await served.door.begin()
        async with connect(served, f"/api/v1/executions/{execution_id}/ws", role="viewer") as socket:
            assert (await hear(socket))["type"] == "execution_requested"
            answer = await say(socket, type="cancel")

        assert answer["code"] == "forbidden"
        assert served.door.engine.commands == []


async def test_one_socket_follows_many() -> None:
    """Subscribe, unsubscribe and subscribe again; each journal without gaps or repeats."""
    async with open_server() as served:
        first, second = await served.door.begin(), await served.door.begin()
        async with connect(served, "/api/v1/ws") as socket:
            heard = [await say(socket, type="subscribe", execution_id=first, id=1) for _ in range(1)]
            heard.append(await hear(socket))
            heard.append(await say(socket, type="subscribe", execution_id=second, after=1))
            again = await say(socket, type="subscribe", execution_id=second)
            gone = await say(socket, type="unsubscribe", execution_id=second, id="u")
            await served.door.engine.finish(second)
            await served.door.engine.finish(first)
            heard += [await hear(socket), await hear(socket)]

            events = [message for message in heard if "seq" in message]
            acks = [message for message in heard if message["type"] == "ack"]
            assert [(event["execution_id"], event["seq"]) for event in events] == [(first, 1), (first, 2), (first, 3)]
            assert [ack["is_complete"] for ack in acks] == [False, False]
            assert again["code"] == "invalid_request"
            assert gone == {"type": "ack", "id": "u"}
            assert (await say(socket, type="subscribe", execution_id=first, after=3))["is_complete"] is True
            assert (await say(socket, type="subscribe", execution_id="exec-none"))["code"] == "not_found"


@pytest.mark.behaviour(17)
async def test_eviction_is_told_and_closes_a_socket_of_one() -> None:
    """4408: come back after the last seq, and read faster."""
    async with open_server() as served:
        execution_id = await served.door.begin()
        async with connect(served, f"/api/v1/executions/{execution_id}/ws") as socket:
            await hear(socket)
            served.door.engine.evict_all("slow")

            code, reason, heard = await hear_close(socket)

        assert (code, reason) == (4408, "slow")
        assert heard == [{"type": "evicted", "execution_id": execution_id, "reason": "slow", "last_seq": 1}]


@pytest.mark.parametrize("target", ["/api/v1/ws", "/api/v1/executions/{id}/ws?after=1"])
async def test_going_down_closes_with_1012(target: str) -> None:
    """Never 1006, which looks like a broken network."""
    async with open_server() as served:
        execution_id = await served.door.begin()
        async with connect(served, target.format(id=execution_id)) as socket:
            await say(socket, type="ping")
            served.stop.set()

            code, _, _ = await hear_close(socket)

        assert code == 1012


@pytest.mark.parametrize(
    ("role", "target", "origin", "code"),
    [
        (None, "/api/v1/ws", None, 4401),
        ("foreign", "/api/v1/executions/{id}/ws", None, 4404),
        ("viewer", "/api/v1/executions/{id}/ws?after=9", None, 4400),
        ("viewer", "/api/v1/executions/{id}/ws?speed=0", None, 4400),
        ("viewer", "/api/v1/ws?after=1", None, 4400),
        (None, "/api/v1/ws", "https://evil.example", 4403),
    ],
)
@pytest.mark.behaviour(10, 21)
async def test_a_refusal_is_a_close_code(role: str | None, target: str, origin: str | None, code: int) -> None:
    """A browser is not told the status of a refused upgrade, so it is accepted and closed with the reason."""
    async with open_server() as served:
        execution_id = await served.door.begin()
        async with connect(served, target.format(id=execution_id), role=role, origin=origin) as socket:
            found, _, heard = await hear_close(socket)

        assert found == code
        assert heard[0]["type"] == "error"
        assert served.door.engine.subscribe_count == 0


async def refuse(served: Served) -> None:
    async with connect(served, "/api/v1/nope"):
        pass


async def test_an_unknown_socket_path_is_refused() -> None:
    """A path without a socket does not crash the framework's error handling."""
    async with open_server() as served, served.client() as client:
        with pytest.RaisesGroup(ConnectionRejected):
            await refuse(served)
        assert (await client.get("/healthz")).status_code == 200


async def test_unread_messages_do_not_hide_the_close() -> None:
    """Sixty messages that nobody asked for, then gone: the place comes back (hypercorn alone loses the close)."""
    async with open_server() as served:
        execution_id = await served.door.begin()
        async with connect(served, f"/api/v1/executions/{execution_id}/ws?after=1") as socket:
            for _ in range(60):
                await socket.send_message('{"type":"pong"}')
            assert served.door.engine.open_cursors

        with trio.fail_after(5):
            await served.door.app.front.streams.wait_empty()
        assert not served.door.engine.open_cursors


async def test_silence_is_broken_by_a_ping_that_needs_no_answer() -> None:
    """The transport notices a vanished peer only when something is sent."""
    async with open_server(heartbeat_s=0.05) as served, connect(served, "/api/v1/ws") as socket:
        assert [await hear(socket) for _ in range(3)] == [{"type": "ping"}] * 3


async def test_an_oversized_message_is_1009() -> None:
    """Memory per socket is bounded whatever the client sends."""
    async with open_server() as served, connect(served, "/api/v1/ws") as socket:
        await socket.send_message("x" * 3_000_000)

        assert (await hear_close(socket))[0] == 1009


@pytest.mark.behaviour(19)
async def test_a_lifetime_ends_with_come_back() -> None:
    """4200: at once, after the last seq."""
    async with open_server(lifetime_s=0.1) as served, connect(served, "/api/v1/ws") as socket:
        assert (await hear_close(socket))[:2] == (4200, "lifetime")
