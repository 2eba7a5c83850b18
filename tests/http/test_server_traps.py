"""What breaks hypercorn on trio, done to the real server: each is one connection's problem and nobody else's."""

from __future__ import annotations

import re
import socket

import pytest
import trio

from tests.http.doors import Served, open_server, read_all, read_until

pytestmark = pytest.mark.slow
UPGRADE = (
    "GET {target} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: {connection}\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{extra}\r\n"
)
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"


def upgrade(served: Served, target: str = "/api/v1/ws", *, connection: str = "Upgrade", extra: str = "") -> bytes:
    text = UPGRADE.format(target=target, host=served.authority, connection=connection, extra=extra)
    return text.encode("latin1")


async def assert_serves(served: Served) -> None:
    async with served.client() as client:
        assert (await client.get("/healthz")).status_code == 200


ONE_PACKET = {
    "byte after an upgrade": lambda served: upgrade(served) + b"x",
    "non-ASCII Connection": lambda served: upgrade(served, connection="Upgrade, \xff"),
    "non-ASCII extensions": lambda served: upgrade(served, extra="Sec-WebSocket-Extensions: \xff\r\n"),
    "non-ASCII subprotocol": lambda served: upgrade(served, extra="Sec-WebSocket-Protocol: \xff\r\n"),
    "non-ASCII key": lambda served: upgrade(served).replace(b"dGhl", b"\xff\xfe\xfd\xfc"),
    "malformed deflate": lambda served: upgrade(
        served, extra="Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=x\r\n"
    ),
    "upgrade without key": lambda served: upgrade(served).replace(b"Sec-WebSocket-Key", b"X-Key"),
    "HTTP/2 preface": lambda served: PREFACE,
    "garbage": lambda served: b"\x16\x03\x01\x00\xff\x00\r\n\r\n",
    "no path": lambda served: b"GET ?a=1 HTTP/1.1\r\nHost: x\r\n\r\n",
    "CONNECT": lambda served: b"CONNECT [:1 HTTP/1.1\r\nHost: x\r\n\r\n",
    "asterisk": lambda served: b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    "absolute form of nonsense": lambda served: b"GET http://[ HTTP/1.1\r\nHost: x\r\n\r\n",
    "non-ASCII Host": lambda served: b"GET / HTTP/1.1\r\nHost: \xff\xfe\r\n\r\n",
    "two Hosts": lambda served: b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "bad length": lambda served: b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "HTTP/0.9": lambda served: b"GET /\r\n\r\n",
    "HTTP/1.0 without Host": lambda served: b"GET / HTTP/1.0\r\n\r\n",
    "undecodable cookie": lambda served: served.request_bytes(
        "/", extra='Cookie: execd_session="\xff\\400\r\n'
    ).replace(b"\xc3\xbf", b"\xff"),
    "head of 70 KiB": lambda served: b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000,
    "bad chunk": lambda served: (
        served.request_bytes("/api/v1/session", method="POST", extra="Transfer-Encoding: chunked\r\n") + b"zz\r\n"
    ),
}


@pytest.mark.parametrize("name", ONE_PACKET)
async def test_one_bad_packet_harms_nobody_else(name: str, captured_logs: list[dict[str, object]]) -> None:
    """Unpatched, several of these end the whole server; here another connection's stream goes on as if nothing were."""
    async with open_server() as served:
        execution_id = await served.door.begin()
        async with served.client() as client:
            target = f"/api/v1/executions/{execution_id}/stream"
            async with client.stream("GET", target) as response:
                chunks = response.aiter_raw()
                assert b"execution_requested" in await anext(chunks)
                bad = await served.connect()
                await bad.send_all(ONE_PACKET[name](served))
                with trio.fail_after(5):
                    answer = await _answer_or_end(bad)
                await served.door.engine.finish(execution_id)
                assert b"result_stored" in b"".join([chunk async for chunk in chunks])

        assert not answer.startswith(b"HTTP/1.1 5"), answer
        assert b"h2c" not in answer
        assert not [line for line in captured_logs if line["log_level"] == "error"]
        assert b"permessage-deflate" not in answer
        await assert_serves(served)


async def _answer_or_end(stream: trio.SocketStream) -> bytes:
    """Read what is answered, to the end or for as long as it takes to be sure that the connection just lives on."""
    with trio.move_on_after(0.3):
        await stream.send_eof()
        return await read_all(stream)
    return b""


async def test_h2c_is_answered_in_http_1() -> None:
    """There is no way into HTTP/2, whose buffers nothing bounds."""
    async with open_server() as served:
        stream = await served.connect()
        extra = "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"

        await stream.send_all(served.request_bytes("/healthz", extra=extra))

        assert (await read_until(stream, b'"ok"')).startswith(b"HTTP/1.1 200")


async def test_h2c_with_a_body_is_answered_in_http_1() -> None:
    """What `curl --http2 -d` sends: the offer is ignored and the body is read."""
    async with open_server() as served:
        stream = await served.connect()
        extra = "Upgrade: h2c\r\nConnection: Upgrade\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"

        await stream.send_all(served.request_bytes("/api/v1/session", method="POST", extra=extra) + b"{}")

        assert b'"path":"token"' in await read_until(stream, b"}]}")


async def test_no_server_banner_is_sent() -> None:
    """The version of the server is nobody's business."""
    async with open_server() as served, served.client() as client:
        response = await client.get("/healthz")

        assert "server" not in response.headers
        assert response.headers["x-content-type-options"] == "nosniff"


def small_buffers(stream: trio.SocketStream) -> None:
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)


@pytest.mark.parametrize("transport", ["sse", "websocket"])
async def test_a_viewer_that_does_not_read_is_dropped(transport: str) -> None:
    """Within the send deadline, its place given back, while another viewer sees everything."""
    async with open_server(send_deadline_s=0.3) as served:
        execution_id = await served.door.begin()
        stalled = await served.connect()
        small_buffers(stalled)
        base = f"/api/v1/executions/{execution_id}"
        if transport == "sse":
            await stalled.send_all(served.request_bytes(f"{base}/stream"))
        else:
            extra = f"Authorization: {served.door.headers()['authorization']}\r\n"
            await stalled.send_all(upgrade(served, f"{base}/ws", extra=extra))
        await read_until(stalled, b"execution_requested")

        with trio.fail_after(10):
            for _ in range(400):
                await served.door.engine.write(execution_id, "x" * 32_768)
            await served.door.app.front.streams.wait_empty()

        assert not served.door.engine.open_cursors
        assert served.door.app.front.counters.read()["execd_http_stalled_total"] == 1


async def test_a_slow_but_steady_viewer_is_served() -> None:
    """The deadline is for progress, not for the whole: a large block over a slow link arrives."""
    async with open_server(send_deadline_s=0.5) as served:
        execution_id = await served.door.begin()
        await served.door.engine.write(execution_id, "x" * 1_000_000)
        await served.door.engine.finish(execution_id)
        slow = await served.connect()
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 128 * 1024)
        await slow.send_all(
            served.request_bytes(f"/api/v1/executions/{execution_id}/stream", extra="Connection: close\r\n")
        )

        found = b""
        with trio.fail_after(30):
            while chunk := await slow.receive_some(16_384):
                found += chunk
                # Real time, because it is the kernel's buffers that make the server wait; 0.6 s in all.
                await trio.sleep(0.01)

        assert b"result_stored" in found
        assert len(found) > 1_000_000


@pytest.mark.parametrize("leave", ["close", "half-close", "reset", "pipelined"])
@pytest.mark.behaviour(18)
async def test_every_way_to_leave_gives_the_place_back(leave: str) -> None:
    """A closed, half-closed or reset connection releases the subscription; a pipelined request hides it no longer
    than a heartbeat."""
    async with open_server(heartbeat_s=0.1) as served:
        execution_id = await served.door.begin()
        stream = await served.connect()
        request = served.request_bytes(f"/api/v1/executions/{execution_id}/stream")
        await stream.send_all(request + (served.request_bytes("/healthz") if leave == "pipelined" else b""))
        await read_until(stream, b"execution_requested")

        if leave == "half-close":
            await stream.send_eof()
        elif leave == "reset":
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
            await trio.aclose_forcefully(stream)
        else:
            await stream.aclose()

        with trio.fail_after(5):
            await served.door.app.front.streams.wait_empty()
        assert not served.door.engine.open_cursors


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: x\r\nX-Half: ", None])
async def test_a_connection_that_goes_nowhere_is_cut(sent: bytes | None) -> None:
    """Nothing at all, half a head, or half a body: each is over within its deadline."""
    async with open_server(keep_alive_s=0.3, body_deadline_s=0.3) as served:
        stream = await served.connect()
        await stream.send_all(
            served.request_bytes("/api/v1/session", method="POST", extra="Content-Length: 100\r\n") + b"{"
            if sent is None
            else sent or b"\r\n"
        )

        with trio.fail_after(3):
            answer = await read_all(stream)

        assert (b"408" in answer) is (sent is None)


async def test_an_idle_connection_is_closed_after_a_response() -> None:
    """Under quart-trio hypercorn forgets this timer, and idle connections pile up."""
    async with open_server(keep_alive_s=0.3) as served:
        stream = await served.connect()
        await stream.send_all(served.request_bytes("/healthz"))

        with trio.fail_after(3):
            answer = await read_all(stream)

        assert answer.startswith(b"HTTP/1.1 200")


async def test_a_connection_is_reused_while_it_is_used() -> None:
    """The timer that closes idle connections leaves busy ones alone, and pipelining is served in order."""
    async with open_server(keep_alive_s=0.5) as served:
        stream = await served.connect()

        await stream.send_all(served.request_bytes("/healthz") * 3)

        found = b""
        while found.count(b"HTTP/1.1 200") < 3:
            found += await read_until(stream, b'"ok"')


async def test_a_large_body_is_refused_without_being_read_and_the_client_sees_it() -> None:
    """A reset would throw the answer away before a client that is still sending reads it."""
    async with open_server() as served, served.client() as client:
        for _ in range(5):
            response = await client.post(
                "/api/v1/executions", content=b"x" * 10_000_000, headers={"content-type": "application/json"}
            )

            assert (response.status_code, response.json()["code"]) == (413, "payload_too_large")


async def test_a_chunked_body_over_the_limit_is_refused() -> None:
    """No Content-Length is no way around it."""
    async with open_server() as served, served.client() as client:

        async def chunks() -> object:
            for _ in range(100):
                yield b"x" * 10_000

        response = await client.post(
            "/api/v1/executions", content=chunks(), headers={"content-type": "application/json"}
        )

        assert (response.status_code, response.json()["code"]) == (413, "payload_too_large")


async def test_going_down_ends_streams_politely_and_soon() -> None:
    """SSE ends with its final chunk and the reason, idle connections close, and nothing holds the server."""
    async with open_server() as served:
        execution_id = await served.door.begin()
        watching = await served.connect()
        await watching.send_all(served.request_bytes(f"/api/v1/executions/{execution_id}/stream"))
        await read_until(watching, b"execution_requested")
        idle = await served.connect()
        await idle.send_all(served.request_bytes("/healthz"))
        await read_until(idle, b'"ok"')
        began_at = trio.current_time()

        served.stop.set()
        with trio.fail_after(5):
            goodbye = await read_all(watching)
            await read_all(idle)
            await watching.aclose()
            await served.has_stopped.wait()

        assert b'"reason":"draining"' in goodbye
        assert goodbye.endswith(b"0\r\n\r\n")
        assert trio.current_time() - began_at < 3


async def test_a_stalled_viewer_does_not_hold_shutdown() -> None:
    """A hundred frozen tabs must not keep a deployment waiting."""
    async with open_server(send_deadline_s=0.3, drain_s=1.0) as served:
        execution_id = await served.door.begin()
        stalled = [await served.connect() for _ in range(10)]
        for stream in stalled:
            small_buffers(stream)
            await stream.send_all(served.request_bytes(f"/api/v1/executions/{execution_id}/stream"))
            await read_until(stream, b"execution_requested")
        for _ in range(200):
            await served.door.engine.write(execution_id, "x" * 32_768)

        served.stop.set()
        with trio.fail_after(8):
            await served.has_stopped.wait()


async def test_a_draining_server_is_not_ready() -> None:
    """A load balancer sends no more work; a stream that comes anyway is told to come back."""
    async with open_server() as served:
        door = served.door
        execution_id = await door.begin()
        door.app.front.streams.draining.set()
        door.engine.drain()

        ready = await door.ask("GET", "/readyz")
        stream = await door.ask("GET", f"/api/v1/executions/{execution_id}/stream?after=1")

        assert (ready.status, ready.json()["parts"]["http"]) == (503, "draining")
        assert stream.status == 200


async def test_a_body_that_is_too_large_ends_the_connection_and_says_so() -> None:
    """What was not read cannot be skipped, and a client that does not know would send its next request into the void."""
    async with open_server() as served, served.client("runner") as client:
        refused = await client.post(
            "/api/v1/executions", content=b"x" * (served.door.app.front.config.body_limit_bytes + 1)
        )
        listed = await client.get("/api/v1/executions")

    assert (refused.status_code, refused.headers["connection"]) == (413, "close")
    assert listed.status_code == 200


async def test_a_request_with_two_lengths_is_refused() -> None:
    """RFC 9112, section 6.1: a proxy may believe the one and this server the other, and see two requests where it saw one."""
    async with open_server() as served:
        stream = await served.connect()
        head = served.request_bytes(
            "/api/v1/executions", method="POST", extra="Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"
        )
        await stream.send_all(head + b"0\r\n\r\n" + served.request_bytes("/healthz"))
        answer = await read_all(stream)

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1


async def test_a_stranger_is_refused_before_the_body_at_every_door() -> None:
    """Ten megabytes of somebody who may not are never waited for, whichever way they are announced; and nobody sends the next
    request on a connection that ends."""
    async with open_server() as served:
        rules = [rule for rule in served.door.app.url_map.iter_rules() if not rule.websocket]
        bodies = [(rule, method) for rule in rules for method in (rule.methods or set()) & {"POST", "PUT", "PATCH"}]
        found = {}
        for rule, method in bodies:
            target = re.sub(r"<[^>]*>", "x", rule.rule)
            for announced in ("Content-Length: 1000000", "Transfer-Encoding: chunked"):
                head = f"{method} {target} HTTP/1.1\r\nHost: {served.authority}\r\nContent-Type: application/json\r\n"
                stream = await served.connect()
                with trio.fail_after(5):
                    await stream.send_all(f"{head}{announced}\r\n\r\n".encode())
                    answer = await read_until(stream, b"\r\n\r\n") if rule.endpoint != "open_session" else b""
                found[rule.endpoint, announced] = answer
                await stream.aclose()

    # Whoever signs in brings the credential in the body, which is small; engines elsewhere are refused in words of their own.
    told = {
        key: answer for key, answer in found.items() if key[0] not in {"open_session", "job_progress", "job_callback"}
    }
    assert {answer.split(b" ")[1] for answer in told.values()} == {b"401"}
    assert all(b"connection: close" in answer.lower() for answer in told.values())
    assert len(told) >= 50


@pytest.mark.parametrize("target", ["/ws/execute/1", "/api/v1/ws?limit=1", "/api/v1/executions/exec-none/ws"])
async def test_messages_nobody_takes_any_more_give_the_place_back(target: str) -> None:
    """Whoever goes on talking after a socket was closed costs a connection for a moment: hypercorn alone would wait for ever until
    the application, which is gone, took the next message."""
    frame = b"\x81\x87\x00\x00\x00\x00no json"
    async with open_server(max_connections=1) as served:
        for _ in range(3):
            stream = await served.connect()
            authorization = f"Authorization: {served.door.headers('runner')['authorization']}\r\n"
            await stream.send_all(upgrade(served, target, extra=authorization))
            assert b" 101 " in await read_until(stream, b"\r\n\r\n")
            await stream.send_all(frame * 20)
            with trio.fail_after(5):
                await read_all(stream)
            await stream.aclose()

        with trio.fail_after(5):
            await assert_serves(served)
