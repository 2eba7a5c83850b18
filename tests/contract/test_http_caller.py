"""The HTTP caller against real servers on loopback, good and bad ones."""

from __future__ import annotations

import gc
import gzip
import random
import socket
import tracemalloc
import warnings
import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio
import trio.testing

from execd.adapters.address_policy import AddressPolicy
from execd.adapters.connection_pool import PoolLimits
from execd.adapters.http_caller import PooledHttpCaller, open_http_caller
from execd.ports.http_caller import BasicAuth, BearerAuth, HttpAnswer, HttpCallError, HttpRequest
from tests.support.wild_server import (
    Received,
    WildServer,
    always,
    answer,
    by_path,
    drip,
    in_pieces,
    make_certificate,
    open_raw_server,
    open_server,
    then_close,
    then_silence,
)

pytestmark = pytest.mark.slow

OPEN = AddressPolicy(allow_private=True)
MIB = 1024 * 1024


def get(url: str, **fields: object) -> HttpRequest:
    """Make a GET with short limits."""
    defaults: dict[str, object] = {"method": "GET", "url": url, "connect_s": 2.0, "read_s": 2.0, "total_s": 5.0}
    return HttpRequest(**(defaults | fields))  # type: ignore[arg-type]


@asynccontextmanager
async def calling(policy: AddressPolicy = OPEN, **options: object) -> AsyncIterator[PooledHttpCaller]:
    """Open a caller and see that it leaves no connection in use."""
    async with open_http_caller(policy, **options) as caller:  # type: ignore[arg-type]
        yield caller
        assert caller.statistics().in_use == 0


async def fetch(url: str, **fields: object) -> HttpAnswer:
    """Make one call with a caller of its own."""
    async with calling() as caller:
        return await caller.call(get(url, **fields))


async def fault(url: str, policy: AddressPolicy = OPEN, **fields: object) -> HttpCallError:
    """Give the error of a call that must fail."""
    async with calling(policy) as caller:
        with pytest.raises(HttpCallError) as caught:
            await caller.call(get(url, **fields))
    return caught.value


class Names:
    """A resolver that gives a name's addresses look-up by look-up, the last for ever."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        await trio.lowlevel.checkpoint()
        self.asked.append(host)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


# --- what is sent, what is answered


async def test_an_answer_is_given_whole() -> None:
    """Status, reason, headers in order and twice, body: nodes read all of them."""
    data = answer(b'{"a":1}', status="418 Teapot", headers=("X-A: 1", "Set-Cookie: a=1", "Set-Cookie: b=2"))
    async with open_server(always(data)) as server:
        got = await fetch(server.url("/x?q=1"))

    assert (got.status, got.reason, got.body, got.http_version) == (418, "Teapot", b'{"a":1}', "1.1")
    assert [value for name, value in got.headers if name == "set-cookie"] == ["a=1", "b=2"]
    assert (got.seen_bytes, got.truncated, got.url) == (7, False, server.url("/x?q=1"))
    assert got.timings.connect_ms is not None
    assert got.timings.total_ms >= got.timings.first_byte_ms > 0


async def test_a_request_is_sent_as_given() -> None:
    """Order of headers, body, cookies and credentials are the author's; framing is not."""
    async with open_server(always(answer())) as server:
        headers = (("X-One", "1"), ("Content-Length", "99"), ("Transfer-Encoding", "chunked"), ("Cookie", "c=3"))
        cookies = (("a", "1"), ("b", "2"))
        await fetch(server.url(), method="post", headers=headers, body=b"hi", cookies=cookies, auth=BearerAuth("t"))

    (seen,) = server.requests
    assert (seen.method, seen.body) == ("POST", b"hi")
    assert seen.headers["cookie"] == "c=3; a=1; b=2"
    assert seen.headers["authorization"] == "Bearer t"
    assert seen.headers["content-length"] == "2"
    assert seen.headers["accept-encoding"] == "gzip, deflate"
    assert "transfer-encoding" not in seen.headers


async def test_a_url_goes_out_as_browsers_send_it() -> None:
    """Some APIs sign what stands in the request line, and compare."""
    async with open_server(always(answer())) as server:
        await fetch(server.url('/a|b^c{d}`"e f?g={h}|i^`\'\\j"<ü>'))

    assert server.requests[0].target == "/a|b^c%7Bd%7D%60%22e%20f?g={h}|i^`%27\\j%22%3C%C3%BC%3E"


async def test_headers_go_out_in_latin_1_where_they_can() -> None:
    """As they are read; anything else is UTF-8, because a header that is refused helps nobody."""
    async with open_server(always(answer())) as server:
        await fetch(server.url(), headers=(("X-A", "grün"), ("X-B", "größer \N{EURO SIGN}")))

    seen = server.requests[0].headers
    assert (seen["x-a"], seen["x-b"].encode("latin-1").decode()) == ("grün", "größer \N{EURO SIGN}")


async def test_user_and_password_of_a_url_become_basic_auth_and_are_not_shown() -> None:
    """curl and browsers do so; the answer's URL ends up in journals."""
    async with open_server(always(answer())) as server:
        url = server.url().replace("http://", "http://ada:p%40ss@")
        got = await fetch(url)

    assert server.requests[0].headers["authorization"] == "Basic YWRhOnBAc3M="
    assert "p%40ss" not in got.url
    assert "p%40ss" not in repr(get(url))
    assert "p@ss" not in repr(BasicAuth("ada", "p@ss"))


async def test_a_url_is_encoded_for_the_wire() -> None:
    """Spaces and other alphabets come from templates; a raw one would break the request line."""
    async with open_server(always(answer())) as server:
        await fetch(server.url("/a b/é?q=ü x&r=%20"))

    assert server.requests[0].target == "/a%20b/%C3%A9?q=%C3%BC%20x&r=%20"


@pytest.mark.parametrize(
    "header", [("X-A", "b\r\nX-Evil: 1"), ("X A", "b"), ("X-A", "\0"), ("Ä", "b"), ("X", "\ud800")]
)
async def test_a_header_that_would_break_out_is_refused_unsent(header: tuple[str, str]) -> None:
    """Header injection: values come out of earlier answers."""
    async with open_server(always(answer())) as server:
        error = await fault(server.url(), headers=(header,))

    assert (error.code, error.retryable, error.was_sent) == ("invalid_request", False, False)
    assert server.requests == []
    assert "Evil" not in error.message


async def test_a_large_body_goes_out_whole() -> None:
    """It is sent in pieces, each with its own limit."""
    body = bytes(range(256)) * 8192
    async with open_server(always(answer())) as server:
        await fetch(server.url(), method="PUT", body=body)

    assert server.requests[0].body == body


async def test_an_answer_before_the_request_is_read_is_an_answer() -> None:
    """Servers refuse large bodies with 413 and hang up; that 413 is what the user must see."""

    async def refuse(raw: trio.SocketStream) -> None:
        await raw.receive_some(1)
        await raw.send_all(answer(b"", status="413 Too Large", headers=("Connection: close",)))
        await raw.send_eof()
        async for _ in raw:
            pass

    async with open_raw_server(refuse) as port:
        got = await fetch(f"http://127.0.0.1:{port}/", method="PUT", body=bytes(4 * MIB))

    assert got.status == 413


# --- limits


async def test_a_body_over_the_limit_is_cut_and_says_so() -> None:
    """Nothing is lost silently; the rest is not even read."""
    async with open_server(always(answer(b"x" * 5000))) as server, calling() as caller:
        got = await caller.call(get(server.url(), max_response_bytes=1000))
        assert caller.statistics().idle == 0

    assert (len(got.body), got.truncated) == (1000, True)
    assert got.seen_bytes > 1000


async def test_a_body_exactly_at_the_limit_is_whole() -> None:
    """Off by one here would cut good answers."""
    async with open_server(always(answer(b"x" * 1000))) as server:
        got = await fetch(server.url(), max_response_bytes=1000)

    assert (len(got.body), got.truncated) == (1000, False)


async def test_an_endless_body_costs_no_memory() -> None:
    """A 10 GB answer must not be execd's end."""

    async def pour(request: Received, stream: trio.abc.Stream) -> None:
        await stream.send_all(answer(b"", framing="Content-Length: 10000000000"))
        while True:
            await stream.send_all(bytes(MIB))

    async with open_server(pour) as server:
        tracemalloc.start()
        got = await fetch(server.url(), max_response_bytes=MIB)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        with trio.fail_after(2):
            await server.hung_up.wait()

    assert got.truncated
    assert peak < 8 * MIB


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_a_decompression_bomb_is_counted_as_what_it_becomes(coding: str) -> None:
    """200 KB on the wire are 200 MB in memory."""
    zeros = bytes(200 * MIB)
    bomb = gzip.compress(zeros, 9) if coding == "gzip" else zlib.compress(zeros, 9)
    del zeros
    async with open_server(always(answer(bomb, headers=(f"Content-Encoding: {coding}",)))) as server:
        tracemalloc.start()
        got = await fetch(server.url(), max_response_bytes=MIB)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert got.truncated
    assert got.body == bytes(MIB)
    assert peak < 8 * MIB


@pytest.mark.parametrize("size", [0, 1, 256 * 1024, 256 * 1024 + 1, 3 * MIB])
@pytest.mark.parametrize("coding", ["gzip", "deflate", "raw deflate"])
async def test_compressed_answers_are_decompressed_whole(coding: str, size: int) -> None:
    """Sizes around that of a piece; raw deflate is what old servers call deflate."""
    body = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    raw = zlib.compressobj(wbits=-15)
    packed = {
        "gzip": gzip.compress(body),
        "deflate": zlib.compress(body),
        "raw deflate": raw.compress(body) + raw.flush(),
    }[coding]
    async with open_server(always(answer(packed, headers=(f"Content-Encoding: {coding.split()[-1]}",)))) as server:
        got = await fetch(server.url())

    assert got.body == body
    assert got.is_decoded


async def test_a_gzip_of_several_members_is_read_to_its_end() -> None:
    """Log files are made by appending; stopping at the first member loses the rest silently."""
    body = gzip.compress(b"one ") + gzip.compress(b"two")
    async with open_server(always(answer(body, headers=("Content-Encoding: gzip",)))) as server:
        got = await fetch(server.url())

    assert got.body == b"one two"


@pytest.mark.parametrize("body", [gzip.compress(b"hello" * 99)[:-9], b"not gzip at all"])
async def test_a_damaged_compression_is_an_error(body: bytes) -> None:
    """Half a document would look like a whole one."""
    async with open_server(always(answer(body, headers=("Content-Encoding: gzip",)))) as server:
        error = await fault(server.url())

    assert error.code == "protocol"


async def test_an_unknown_coding_is_handed_on_as_it_is() -> None:
    """It was not asked for, and guessing would be worse than saying so."""
    async with open_server(always(answer(b"\x0b\x02", headers=("Content-Encoding: br",)))) as server:
        got = await fetch(server.url())

    assert (got.body, got.is_decoded) == (b"\x0b\x02", False)


async def test_a_head_without_end_is_refused() -> None:
    """Headers are kept whole in memory, so their size is limited."""

    async def pour(request: Received, stream: trio.abc.Stream) -> None:
        await stream.send_all(b"HTTP/1.1 200 OK\r\n")
        while True:
            await stream.send_all(b"X-Filler: " + b"x" * 1000 + b"\r\n")

    async with open_server(pour) as server:
        error = await fault(server.url())

    assert (error.code, error.retryable) == ("too_large", False)


# --- time and cancellation


@pytest.mark.parametrize(
    ("handler", "limits"),
    [
        (then_silence(b""), {"read_s": 0.05}),
        (then_silence(b"HTTP/1.1 200 OK\r\nContent-"), {"read_s": 0.05}),
        (then_silence(answer(b"ab", framing="Content-Length: 9")), {"read_s": 0.05}),
        (drip(answer(b"", framing="Content-Length: 999999"), every_s=0.01), {"total_s": 0.3}),
        (drip(b"HTTP/1.1 200 OK\r\nX: ", every_s=0.01), {"total_s": 0.3}),
        (drip(answer(b"", framing="Transfer-Encoding: chunked") + b"1;", every_s=0.01), {"total_s": 0.3}),
    ],
    ids=["no answer", "half a head", "half a body", "dripping body", "dripping head", "dripping chunk size"],
)
async def test_a_slow_server_is_given_up(handler: object, limits: dict[str, float]) -> None:
    """Silence and trickling are both ended, each by its own limit, and the socket is closed at once."""
    async with open_server(handler) as server:  # type: ignore[arg-type]
        with trio.fail_after(2):
            error = await fault(server.url(), **limits)
            await server.hung_up.wait()

    assert (error.code, error.retryable, error.was_sent) == ("timeout", True, True)


@pytest.mark.parametrize(
    "data", [b"", b"HTTP/1.1 200 OK\r\n", answer(b"ab", framing="Content-Length: 9")], ids=["silent", "head", "body"]
)
async def test_cancelling_closes_the_connection_at_once(data: bytes) -> None:
    """Whoever cancels an execution expects its request to end, not to be finished behind their back."""
    async with open_server(then_silence(data)) as server, calling() as caller:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(caller.call, get(server.url()))
            await server.asked.wait()
            nursery.cancel_scope.cancel()
        assert caller.statistics().in_use == 0
        with trio.fail_after(1):
            await server.hung_up.wait()


async def test_a_call_cancelled_before_it_connects_leaves_no_socket() -> None:
    """The socket exists before the first wait; forgotten, it would be a warning at best and a leak at worst."""
    async with open_server(always(answer())) as server, calling() as caller:
        with trio.CancelScope() as scope:
            scope.cancel()
            await caller.call(get(server.url()))
        with warnings.catch_warnings(record=True) as leaks:
            warnings.simplefilter("always")
            gc.collect()

    assert [str(leak.message) for leak in leaks if leak.category is ResourceWarning] == []


async def test_cancelling_while_waiting_for_a_place_gives_it_back() -> None:
    """A leaked place is gone until the restart; other pools have leaked exactly here."""
    limits = PoolLimits(per_origin=1, in_use=1)
    async with open_server(then_silence(b"")) as server, calling(limits=limits) as caller:
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(caller.call, get(server.url()))
            await server.asked.wait()
            nursery.cancel_scope.cancel()

        assert caller.statistics().in_use == 0
        assert server.connections == 1


async def test_a_name_that_never_resolves_is_given_up() -> None:
    """A hanging name server is a timeout like any other, and nothing was sent."""

    async def hang(host: str, port: int) -> Sequence[str]:
        await trio.sleep_forever()
        raise AssertionError

    async with calling(resolver=hang) as caller:
        with pytest.raises(HttpCallError) as caught:
            await caller.call(get("http://slow.test/", connect_s=0.05))

    assert (caught.value.code, caught.value.was_sent) == ("timeout", False)


# --- broken servers


@pytest.mark.parametrize(
    ("data", "retryable"),
    [
        (b"", True),
        (b"HTTP/1.1 200 OK\r\nContent-Le", True),
        (answer(b"short", framing="Content-Length: 99"), True),
        (answer(b"5\r\nhel", framing="Transfer-Encoding: chunked"), True),
        (answer(b"zz\r\nhello\r\n", framing="Transfer-Encoding: chunked"), False),
        (b"SSH-2.0-OpenSSH_9.7\r\n\r\n", False),
        (answer(headers=("X-A: \x00\x01",)), False),
        (answer(headers=("X A: 1",)), False),
        (answer(headers=("Content-Length: 3",)), False),
        (answer(framing="Content-Length: -1"), False),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", False),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 40, False),
    ],
    ids=[
        *("nothing", "cut in head", "lies about length", "cut in chunk", "bad chunk", "not http", "control bytes"),
        *("bad name", "two lengths", "negative length", "101 unasked", "only 1xx"),
    ],
)
async def test_what_is_no_answer_is_an_error(data: bytes, retryable: bool) -> None:
    """A cut may be tried again; nonsense will be nonsense again. Neither is ever taken for success."""
    async with open_server(then_close(data)) as server:
        error = await fault(server.url())

    assert (error.code, error.retryable, error.was_sent) == ("protocol", retryable, True)


async def test_any_damage_gives_an_answer_or_an_error_of_ours() -> None:
    """Whatever bytes come, a node fails with a code and the engine goes on."""
    dice = random.Random(7)
    good = answer(gzip.compress(b"hello world" * 20), headers=("Content-Encoding: gzip", "Set-Cookie: a=b"))
    codes: set[str] = set()

    async def spoil(request: Received, stream: trio.abc.Stream) -> None:
        data = bytearray(good)
        for _ in range(dice.randint(1, 4)):
            at = dice.randrange(len(data))
            match dice.randrange(3):
                case 0:
                    data[at] = dice.randrange(256)
                case 1:
                    del data[at:]
                    data += b"\r\n"
                case _:
                    data[at:at] = dice.choice((b"\r\n", b"\0", b"Transfer-Encoding: chunked\r\n", b"9" * 30))
        await stream.send_all(data)
        await stream.aclose()

    async with open_server(spoil) as server, calling() as caller:
        for _ in range(300):
            try:
                got = await caller.call(get(server.url(), read_s=0.5))
                codes.add(str(got.status))
            except HttpCallError as error:
                codes.add(error.code)

    assert codes >= {"200", "protocol"}


async def test_interim_answers_are_passed_over() -> None:
    """103 Early Hints and an unasked 100 are legal before any answer."""
    data = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + answer(b"real")
    async with open_server(always(data)) as server:
        got = await fetch(server.url())

    assert (got.status, got.body) == (200, b"real")


async def test_a_body_that_ends_with_the_connection_is_whole() -> None:
    """HTTP/1.0 has no other end."""
    async with open_server(then_close(b"HTTP/1.0 200 OK\r\n\r\nold and good")) as server:
        got = await fetch(server.url())

    assert (got.body, got.http_version) == (b"old and good", "1.0")


async def test_chunks_with_extensions_and_trailers_are_read() -> None:
    """Rare, legal, and the next answer on the connection must not begin inside them."""
    chunked = answer(b"3;a=b\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 5\r\n\r\n", framing="Transfer-Encoding: chunked")
    async with open_server(always(chunked)) as server, calling() as caller:
        bodies = [(await caller.call(get(server.url()))).body for _ in range(2)]

    assert bodies == [b"abcde", b"abcde"]
    assert server.connections == 1


async def test_an_answer_split_at_every_byte_is_the_same() -> None:
    """TCP promises nothing about pieces."""
    data = answer(b"hello", headers=("X-A: b",))
    async with open_server(in_pieces([data[at : at + 1] for at in range(len(data))])) as server:
        got = await fetch(server.url())

    assert got.body == b"hello"


@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", "200 OK"), ("GET", "204 No Content"), ("GET", "304 Not Modified")]
)
async def test_answers_without_a_body_keep_the_connection(method: str, status: str) -> None:
    """Waiting for a body that never comes is the classic mistake."""
    framing = "Content-Length: 500" if method == "HEAD" else ""
    async with open_server(always(answer(b"", status=status, framing=framing))) as server, calling() as caller:
        for _ in range(2):
            got = await caller.call(get(server.url(), method=method))

    assert (got.body, server.connections) == (b"", 1)


# --- kept connections


async def test_a_connection_is_kept_for_the_next_call() -> None:
    """A hundred calls must not be a hundred handshakes; the timings say which it was."""
    async with open_server(always(answer())) as server, calling() as caller:
        answers = [await caller.call(get(server.url())) for _ in range(10)]
        counted = caller.statistics()

    assert server.connections == 1
    assert (counted.opened, counted.reused, counted.idle) == (1, 9, 1)
    assert answers[0].timings.connect_ms is not None
    assert answers[9].timings.connect_ms is None


async def test_bytes_nobody_asked_for_end_a_connection() -> None:
    """Kept, they would be taken for the answer to somebody else's next request."""
    async with open_server(always(answer() + answer(b"smuggled"))) as server, calling() as caller:
        bodies = [(await caller.call(get(server.url()))).body for _ in range(3)]

    assert bodies == [b"ok"] * 3
    assert server.connections == 3


def dying(server: list[WildServer]) -> object:
    """Answer the first request of a connection, and hang up on the second without a word."""

    async def handle(request: Received, stream: trio.abc.Stream) -> None:
        earlier = [each for each in server[0].requests[:-1] if each.connection == request.connection]
        if earlier:
            await stream.aclose()
        else:
            await stream.send_all(answer())

    return handle


async def test_a_dead_kept_connection_is_replaced_for_what_may_be_repeated() -> None:
    """The server closes when it likes; the user did nothing wrong."""
    cell: list[WildServer] = []
    async with open_server(dying(cell)) as server, calling() as caller:  # type: ignore[arg-type]
        cell.append(server)
        await caller.call(get(server.url()))
        got = await caller.call(get(server.url()))

    assert (got.status, server.connections) == (200, 2)


async def test_a_post_is_never_sent_twice() -> None:
    """It may have been carried out before the connection died: only its author can say whether again is harmless."""
    cell: list[WildServer] = []
    async with open_server(dying(cell)) as server, calling() as caller:  # type: ignore[arg-type]
        cell.append(server)
        await caller.call(get(server.url(), method="POST"))
        with pytest.raises(HttpCallError) as caught:
            await caller.call(get(server.url(), method="POST"))

    assert (caught.value.code, caught.value.was_sent) == ("protocol", True)
    assert len(server.requests) == 2


async def test_a_connection_the_server_closed_meanwhile_is_not_used() -> None:
    """Its end can be seen before anything is sent, so that even a POST loses nothing."""
    is_closed = trio.Event()

    async def close_quietly(request: Received, stream: trio.abc.Stream) -> None:
        await stream.send_all(answer())
        await stream.aclose()
        is_closed.set()

    async with open_server(close_quietly) as server, calling() as caller:
        await caller.call(get(server.url(), method="POST"))
        await is_closed.wait()
        got = await caller.call(get(server.url(), method="POST"))

    assert (got.status, server.connections) == (200, 2)


@pytest.mark.parametrize(("idle_s", "method", "connections"), [(2, "GET", 1), (2, "POST", 2), (31, "GET", 2)])
async def test_a_connection_grows_too_old(
    mock_clock: trio.testing.MockClock, idle_s: int, method: str, connections: int
) -> None:
    """The longer it was idle, the likelier it dies under the request; a POST may not be repeated, so it takes no chance."""
    async with open_server(always(answer())) as server, calling() as caller:
        await caller.call(get(server.url()))
        mock_clock.jump(idle_s)
        await caller.call(get(server.url(), method=method))

    assert server.connections == connections


async def test_connections_are_bounded_per_origin() -> None:
    """A wide workflow must not open a thousand sockets to one small server."""
    together = 0
    most = 0

    async def count(request: Received, stream: trio.abc.Stream) -> None:
        nonlocal together, most
        together += 1
        most = max(most, together)
        await trio.testing.wait_all_tasks_blocked(0.01)
        together -= 1
        await stream.send_all(answer())

    async with (
        open_server(count) as server,
        calling(limits=PoolLimits(per_origin=3)) as caller,
        trio.open_nursery() as nursery,
    ):
        for _ in range(20):
            nursery.start_soon(caller.call, get(server.url()))

    assert (most, server.connections, len(server.requests)) == (3, 3, 20)


async def test_idle_connections_are_bounded_in_all() -> None:
    """A flow over many hosts must not collect sockets."""
    async with (
        open_server(always(answer())) as one,
        open_server(always(answer())) as two,
        calling(limits=PoolLimits(idle=1)) as caller,
    ):
        for server in (one, two):
            await caller.call(get(server.url()))
        assert caller.statistics().idle == 1
        with trio.fail_after(1):
            await one.hung_up.wait()


async def test_closing_leaves_no_connection_behind() -> None:
    """Also not that of a call which ends after the closing, as at shutdown."""
    may_answer = trio.Event()

    async def wait(request: Received, stream: trio.abc.Stream) -> None:
        await may_answer.wait()
        await stream.send_all(answer())

    async with open_server(wait) as server, trio.open_nursery() as nursery:
        async with open_http_caller(OPEN) as caller:
            nursery.start_soon(caller.call, get(server.url()))
            await server.asked.wait()
        may_answer.set()
        with trio.fail_after(1):
            await server.hung_up.wait()

    assert (caller.statistics().idle, caller.statistics().in_use) == (0, 0)


# --- redirects


def moved(location: str, status: str = "302 Found", headers: tuple[str, ...] = ()) -> bytes:
    """Give a redirect."""
    return answer(b"moved", status=status, headers=(f"Location: {location}", *headers))


async def test_redirects_are_followed_and_told() -> None:
    """The chain is what one debugs with; cookies set on the way are in it for whoever keeps a jar."""
    routes = {"/a": moved("/b?x=1", headers=("Set-Cookie: s=1",)), "/b?x=1": moved("c"), "/c": answer(b"end")}
    async with open_server(by_path(routes)) as server:
        got = await fetch(server.url("/a"))

    assert (got.body, got.url) == (b"end", server.url("/c"))
    assert [(hop.status, hop.url) for hop in got.redirects] == [(302, server.url("/a")), (302, server.url("/b?x=1"))]
    assert ("set-cookie", "s=1") in got.redirects[0].headers
    assert server.connections == 1


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
async def test_a_redirect_may_be_in_either_encoding(encoding: str) -> None:
    """Most servers mean UTF-8; old ones do not."""
    head = b"HTTP/1.1 302 Found\r\nLocation: /caf\xc3\xa9\r\nContent-Length: 0\r\n\r\n"
    if encoding == "latin-1":
        head = head.replace(b"\xc3\xa9", b"\xe9")
    async with open_server(by_path({"/a": head, "/caf%C3%A9": answer(b"end")})) as server:
        got = await fetch(server.url("/a"))

    assert got.body == b"end"


@pytest.mark.parametrize(
    ("status", "method", "arrives_as"),
    [
        ("301 x", "POST", ("GET", b"")),
        ("302 x", "POST", ("GET", b"")),
        ("303 x", "PUT", ("GET", b"")),
        ("303 x", "HEAD", ("HEAD", b"")),
        ("302 x", "PUT", ("PUT", b"body")),
        ("307 x", "POST", ("POST", b"body")),
        ("308 x", "PATCH", ("PATCH", b"body")),
    ],
)
async def test_the_method_changes_as_the_standard_says(status: str, method: str, arrives_as: tuple[str, bytes]) -> None:
    """Logins post and are sent on to a GET; an API's 307 must not lose its body."""
    async with open_server(
        by_path({"/a": moved("/b", status), "/b": answer(b"", framing="Content-Length: 0")})
    ) as server:
        body = None if method == "HEAD" else b"body"
        await fetch(server.url("/a"), method=method, body=body, headers=(("Content-Type", "text/plain"),))

    last = server.requests[-1]
    assert (last.method, last.body) == arrives_as
    assert ("content-type" in last.headers) == (last.body != b"" or method == "HEAD")


@pytest.mark.parametrize("status", ["307 x", "302 x"])
async def test_credentials_do_not_cross_origins(status: str) -> None:
    """An open redirect at a trusted host would otherwise hand the token to anybody; a second one must not bring it back."""
    async with open_server(always(answer())) as other, open_server(always(moved(other.url("/x"), status))) as server:
        secret = (
            ("Authorization", "Bearer s1"),
            ("X-Api-Key", "s2"),
            ("Cookie", "c=s3"),
            ("Host", "h"),
            ("X-Keep", "1"),
        )
        await fetch(server.url(), headers=secret, cookies=(("d", "s4"),))
        await fetch(server.url().replace("//", "//u:s5@"))

    for request in other.requests:
        assert not {"authorization", "x-api-key", "cookie"} & set(request.headers)
        assert request.headers["host"] == f"127.0.0.1:{other.port}"
    assert other.requests[0].headers["x-keep"] == "1"
    assert server.requests[0].headers["authorization"] == "Bearer s1"


async def test_a_redirect_cannot_choose_the_credentials() -> None:
    """A server that could would send our requests as whom it likes."""
    async with open_server(always(answer())) as other:
        location = other.url().replace("//", "//eve:x@")
        async with open_server(always(moved(location))) as server:
            got = await fetch(server.url())

    assert "authorization" not in other.requests[0].headers
    assert "eve" not in got.url + got.redirects[0].location


async def test_credentials_stay_within_the_origin() -> None:
    """The same server asked for it."""
    async with open_server(by_path({"/a": moved("/b"), "/b": answer()})) as server:
        await fetch(server.url("/a"), auth=BasicAuth("u", "p"), cookies=(("a", "1"),))

    assert server.requests[1].headers["authorization"].startswith("Basic ")
    assert server.requests[1].headers["cookie"] == "a=1"


async def test_a_redirect_to_itself_ends() -> None:
    """Else it would go on until the total limit, at full speed."""
    async with open_server(always(moved("/"))) as server:
        error = await fault(server.url(), max_redirects=5)

    assert (error.code, error.retryable) == ("redirect_loop", False)
    assert len(server.requests) == 6


async def test_no_redirects_means_the_redirect_is_the_answer() -> None:
    """Flows check redirects themselves."""
    async with open_server(always(moved("/b"))) as server:
        got = await fetch(server.url(), max_redirects=0)

    assert (got.status, got.redirects) == (302, ())


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "gopher://127.0.0.1/x", "http://:80/", "javascript:1", "http://a@b@c/"]
)
async def test_a_redirect_leads_to_http_only(location: str) -> None:
    """`file:` is the oldest trick."""
    async with open_server(always(moved(location))) as server:
        error = await fault(server.url())

    assert (error.code, error.retryable) == ("invalid_url", False)


# --- addresses


LOOPBACK_ONE = AddressPolicy(allowed_networks=("127.0.0.1/32",))


async def test_a_redirect_to_a_private_address_is_refused() -> None:
    """Every hop is judged anew: the first host may be anybody's."""
    async with (
        open_server(always(answer()), host="127.0.0.2") as inner,
        open_server(always(moved(inner.url(host="127.0.0.2")))) as outer,
    ):
        error = await fault(outer.url(), LOOPBACK_ONE)

    assert (error.code, error.retryable) == ("private_address", False)
    assert inner.connections == 0


async def test_a_name_that_changes_its_mind_gains_nothing() -> None:
    """DNS rebinding: the address judged is the address connected to, and a new connection is judged anew."""
    names = Names(["127.0.0.1"], ["127.0.0.2"])
    async with (
        open_server(always(answer()), host="0.0.0.0") as server,
        calling(LOOPBACK_ONE, resolver=names, limits=PoolLimits(idle=0)) as caller,
    ):
        got = await caller.call(get(server.url(host="rebind.test")))
        assert names.asked == ["rebind.test"]
        with pytest.raises(HttpCallError) as caught:
            await caller.call(get(server.url(host="rebind.test")))

    assert got.status == 200
    assert server.requests[0].headers["host"] == f"rebind.test:{server.port}"
    assert caught.value.code == "private_address"
    assert "127.0.0.2" not in caught.value.message
    assert server.connections == 1


async def test_the_permitted_addresses_of_a_mixed_name_are_used() -> None:
    """Only those are connected to, in whatever order the name has them."""
    async with (
        open_server(always(answer()), host="0.0.0.0") as server,
        calling(LOOPBACK_ONE, resolver=Names(["127.0.0.2", "127.0.0.1", "10.0.0.1"])) as caller,
    ):
        got = await caller.call(get(server.url(host="mixed.test")))

    assert got.status == 200


async def test_a_dead_first_address_does_not_end_a_call() -> None:
    """Names with IPv6 that leads nowhere are everyday life."""
    async with (
        open_server(always(answer())) as server,
        calling(resolver=Names(["::1", "127.0.0.1"])) as caller,
    ):
        got = await caller.call(get(server.url(host="both.test")))

    assert got.status == 200


async def test_execd_itself_can_be_denied_at_any_of_its_addresses() -> None:
    """A node that calls the engine it runs in is a loop, and would use its rights."""
    async with open_server(always(answer()), host="0.0.0.0") as server:
        policy = AddressPolicy(allow_private=True, allowed_hosts=("127.0.0.1",), own_ports=(server.port,))
        for host in ("127.0.0.1", "127.9.9.9", "localhost", "[::ffff:127.0.0.1]", "0x7f.1"):
            assert (await fault(server.url(host=host), policy)).code == "private_address"

    assert server.connections == 0


async def test_a_refused_connection_says_what_the_system_said() -> None:
    """Users know ECONNREFUSED; flows must quote it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    error = await fault(f"http://127.0.0.1:{port}/")

    assert (error.code, error.errno_name, error.endpoint) == ("connect", "ECONNREFUSED", f"127.0.0.1:{port}")
    assert (error.retryable, error.was_sent) == (True, False)


async def test_an_unknown_name_is_no_reason_to_retry() -> None:
    """A typing error stays one."""

    async def unknown(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async with calling(resolver=unknown) as caller:
        with pytest.raises(HttpCallError) as caught:
            await caller.call(get("http://nowhere.test/"))

    assert (caught.value.code, caught.value.errno_name, caught.value.retryable) == ("dns", "ENOTFOUND", False)


# --- TLS


async def test_tls_is_checked_against_the_name_and_not_the_address(tmp_path: Path) -> None:
    """The address is pinned for the policy; the certificate must still be the name's."""
    theirs, ours = make_certificate(tmp_path, "good.test")
    async with (
        open_server(always(answer()), tls=theirs) as server,
        calling(resolver=Names(["127.0.0.1"]), tls=ours) as caller,
    ):
        got = await caller.call(get(server.url(host="good.test")))
        await caller.call(get(server.url(host="good.test")))
        with pytest.raises(HttpCallError) as caught:
            await caller.call(get(server.url(host="evil.test")))

    assert got.timings.tls_ms is not None
    assert len({request.connection for request in server.requests}) == 1
    assert (caught.value.code, caught.value.retryable, caught.value.was_sent) == ("tls", False, False)


async def test_an_unchecked_connection_is_not_used_for_a_checked_call(tmp_path: Path) -> None:
    """`verify_tls = false` in one node must not weaken another's."""
    theirs, _ = make_certificate(tmp_path, "self.test")
    async with open_server(always(answer()), tls=theirs) as server, calling(resolver=Names(["127.0.0.1"])) as caller:
        got = await caller.call(get(server.url(host="self.test"), verify_tls=False))
        with pytest.raises(HttpCallError) as caught:
            await caller.call(get(server.url(host="self.test")))

    assert (got.status, caught.value.code) == (200, "tls")


async def test_a_server_that_speaks_no_tls_is_named() -> None:
    """A wrong scheme is a common mistake, and no timeout."""

    async def greet(raw: trio.SocketStream) -> None:
        await raw.receive_some(1)
        await raw.send_all(answer(b"plain HTTP here", status="400 Bad Request"))

    async with open_raw_server(greet) as port:
        error = await fault(f"https://127.0.0.1:{port}/")

    assert error.code == "tls"


def test_nothing_secret_is_in_a_repr() -> None:
    """Requests end up in logs and tracebacks."""
    request = get(
        "http://u:s1@h/p?token=s2", headers=(("X-A", "s3"),), cookies=(("a", "s4"),), body=b"s5", auth=BearerAuth("s6")
    )

    assert not any(f"s{number}" in repr(request) for number in range(1, 7))
    assert not any(f"s{number}" in repr(msgspec.structs.replace(request, url="s7://x")) for number in range(1, 7))
