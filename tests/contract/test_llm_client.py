"""The model client against a real server on loopback that speaks the protocol, or nearly."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import msgspec
import pytest
import trio
import trio.testing

from execd.adapters.address_policy import AddressPolicy
from execd.adapters.http_caller import open_http_caller
from execd.adapters.llm_client import HttpLlmClient
from execd.ports.llm import LlmAnswer, LlmError, LlmRequest, LlmUsage
from tests.support.wild_server import (
    Handler,
    Received,
    WildServer,
    always,
    answer,
    in_pieces,
    open_server,
    then_close,
    then_silence,
)

pytestmark = pytest.mark.slow

KEY = "sk-very-secret-key"
SSE_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def event(delta: dict[str, Any] | None = None, finish: str | None = None, **fields: Any) -> bytes:
    """Give one event of a stream."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return b"data: " + msgspec.json.encode({"model": "m-1", "choices": choices} | fields) + b"\n\n"


def say(text: str) -> bytes:
    """Give an event with this text."""
    return event({"content": text})


FINISH = event({}, "stop")
DONE = b"data: [DONE]\n\n"


def chunked(*pieces: bytes, is_whole: bool = True) -> bytes:
    """Frame pieces as HTTP chunks."""
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces if piece)
    return SSE_HEAD + chunks + (b"0\r\n\r\n" if is_whole else b"")


def streamed(*pieces: bytes) -> Handler:
    """Answer with this event stream."""
    return always(chunked(*pieces))


def ask(server: WildServer, **fields: Any) -> LlmRequest:
    """Make a request with short limits."""
    defaults: dict[str, Any] = {
        "base_url": server.url("/v1/"),
        "api_key": KEY,
        "model": "m",
        "messages": ({"role": "user", "content": "hi"},),
        "read_s": 2.0,
        "total_s": 5.0,
    }
    return LlmRequest(**(defaults | fields))


@asynccontextmanager
async def client(policy: AddressPolicy | None = None) -> AsyncIterator[HttpLlmClient]:
    """Open a client and see that it leaves no connection in use."""
    async with open_http_caller(policy or AddressPolicy(allow_private=True)) as caller:
        yield HttpLlmClient(caller)
        assert caller.statistics().in_use == 0


async def complete(handler: Handler, **fields: Any) -> tuple[LlmAnswer, list[str], WildServer]:
    """Ask once; give the answer, the deltas, and the server."""
    deltas: list[str] = []

    async def note(text: str) -> None:
        await trio.lowlevel.checkpoint()
        deltas.append(text)

    async with open_server(handler) as server, client() as llm:
        got = await llm.complete(ask(server, **fields), note)
    return got, deltas, server


async def fault(handler: Handler, **fields: Any) -> LlmError:
    """Give the error of a request that must fail, and see that the key is not in it."""
    async with open_server(handler) as server, client() as llm:
        with pytest.raises(LlmError) as caught:
            await llm.complete(ask(server, **fields), ignore)
    seen: BaseException | None = caught.value
    while seen is not None:
        assert KEY not in f"{seen!r}{seen}"
        seen = seen.__cause__
    return caught.value


async def ignore(text: str) -> None:
    """Take a delta and do nothing with it."""
    await trio.lowlevel.checkpoint()


# --- what is asked and answered


async def test_text_arrives_piece_by_piece_and_then_whole() -> None:
    """People watch it being written; the next node wants all of it."""
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "details": {"x": 1}}
    parts = (event({"role": "assistant", "content": ""}), say("Hel"), say("lo"), FINISH, event(usage=usage), DONE)
    got, deltas, _ = await complete(streamed(*parts))

    assert deltas == ["Hel", "lo"]
    assert got == LlmAnswer(text="Hello", finish_reason="stop", model="m-1", usage=LlmUsage(3, 2, 5))


async def test_the_request_is_what_the_protocol_wants() -> None:
    """Unset options are not sent: models differ in what they take."""
    fields = {"temperature": 0.0, "response_format": {"type": "json_object"}, "extra": {"seed": 7, "stream": False}}
    _, _, server = await complete(streamed(say("x"), FINISH, DONE), **fields)

    (seen,) = server.requests
    assert (seen.method, seen.target) == ("POST", "/v1/chat/completions")
    assert seen.headers["authorization"] == f"Bearer {KEY}"
    assert msgspec.json.decode(seen.body) == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "temperature": 0.0,
        "response_format": {"type": "json_object"},
        "seed": 7,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


async def test_usage_is_never_invented() -> None:
    """Bills are made of it."""
    got, _, _ = await complete(streamed(say("x"), FINISH, DONE))

    assert got.usage is None


async def test_tool_calls_are_put_together() -> None:
    """Their arguments come in pieces that are no JSON each."""
    first = {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a"'}}
    second = {"index": 1, "id": "c2", "type": "function", "function": {"name": "g", "arguments": "{}"}}
    rest = {"index": 0, "function": {"arguments": ":1}"}}
    parts = [event({"content": None, "tool_calls": [call]}) for call in (first, second, rest)]
    got, deltas, _ = await complete(streamed(*parts, event({}, "tool_calls"), DONE))

    assert deltas == []
    assert got.finish_reason == "tool_calls"
    assert got.tool_calls == (
        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
        {"id": "c2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
    )


async def test_a_server_that_does_not_stream_is_understood() -> None:
    """Proxies and small servers ignore `stream`."""
    whole = {
        "model": "m-2",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "all"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }
    data = answer(msgspec.json.encode(whole), headers=("Content-Type: application/json; charset=utf-8",))
    got, deltas, _ = await complete(always(data))

    assert deltas == ["all"]
    assert got == LlmAnswer(text="all", finish_reason="stop", model="m-2", usage=LlmUsage(1, 1, 2))


async def test_a_server_that_knows_no_stream_options_is_asked_without() -> None:
    """Older ones answer 400 to a field they do not know."""

    async def handle(request: Received, stream: trio.abc.Stream) -> None:
        if b"stream_options" in request.body:
            refusal = b'{"error": {"message": "Unrecognized field: stream_options"}}'
            await stream.send_all(answer(refusal, status="400 Bad Request"))
        else:
            await stream.send_all(chunked(say("x"), FINISH, DONE))

    got, _, server = await complete(handle)

    assert got.text == "x"
    assert len(server.requests) == 2


# --- the stream as it comes


@pytest.mark.parametrize(
    "stream",
    [
        (say("grüße ✓") + FINISH + DONE).replace(b"\n", b"\r\n"),
        b": ping\n\n" + b"event: x\nid: 3\nretry: 9\n" + say("grüße ✓") + b":\n\n" + FINISH + DONE,
        b"\xef\xbb\xbf" + say("grüße ✓") + FINISH + DONE,
        say("grüße ✓").replace(b"data: {", b"data: {\ndata: ") + FINISH + DONE,
        say("grüße ✓").replace(b"data: ", b"data:") + FINISH + DONE,
        say("grüße ✓") + FINISH,
        say("grüße ✓") + FINISH.rstrip(),
        say("grüße ✓") + DONE.rstrip(),
    ],
    ids=["crlf", "comments", "bom", "multi-line data", "no space", "no DONE", "no last blank line", "only DONE"],
)
@pytest.mark.parametrize("size", [1, 7, 4096])
async def test_a_stream_is_read_however_it_is_cut(stream: bytes, size: int) -> None:
    """Every byte may be the last of a piece, also inside a character or between CR and LF."""
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    got, deltas, _ = await complete(always(chunked(*pieces)))

    assert got.text == "grüße ✓"
    assert deltas == ["grüße ✓"]


async def test_deltas_are_handed_on_as_they_come() -> None:
    """Not at the end: somebody is watching."""
    got_first = trio.Event()

    async def handle(request: Received, stream: trio.abc.Stream) -> None:
        await stream.send_all(chunked(say("first"), is_whole=False))
        await got_first.wait()
        await stream.send_all(chunked(say("second"), FINISH, DONE).removeprefix(SSE_HEAD))

    async def note(text: str) -> None:
        await trio.lowlevel.checkpoint()
        got_first.set()

    async with open_server(handle) as server, client() as llm:
        with trio.fail_after(2):
            got = await llm.complete(ask(server), note)

    assert got.text == "firstsecond"


async def test_a_slow_receiver_is_not_the_servers_silence() -> None:
    """A full store makes the receiver wait; the model has done nothing wrong."""

    async def slowly(text: str) -> None:
        await trio.sleep(0.15)

    async with open_server(streamed(say("a"), FINISH, DONE)) as server, client() as llm:
        got = await llm.complete(ask(server, read_s=0.1), slowly)

    assert got.text == "a"


async def test_a_server_that_holds_the_end_back_costs_no_time() -> None:
    """After `[DONE]` nothing can come; waiting for the end of the body would hang the node."""
    async with open_server(then_silence(chunked(say("a"), FINISH, DONE, is_whole=False))) as server, client() as llm:
        with trio.fail_after(1):
            got = await llm.complete(ask(server), ignore)

    assert got.text == "a"


async def test_the_connection_is_kept_for_the_next_question() -> None:
    """A handshake per question is a good part of its time."""
    async with open_server(streamed(say("a"), FINISH, DONE)) as server, client() as llm:
        for _ in range(3):
            await llm.complete(ask(server), ignore)

    assert server.connections == 1


# --- errors


@pytest.mark.parametrize(
    ("status", "body", "code", "retryable"),
    [
        ("401 x", b'{"error": {"message": "bad key %s"}}' % KEY.encode(), "auth", False),
        ("403 x", b'{"error": "no"}', "auth", False),
        ("429 x", b'{"error": {"message": "slow down", "type": "requests"}}', "rate_limited", True),
        ("429 x", b'{"error": {"message": "pay", "code": "insufficient_quota"}}', "rate_limited", False),
        ("400 x", b'[{"error": {"message": "no such thing"}}]', "bad_request", False),
        ("404 x", b'{"detail": "no such model"}', "bad_request", False),
        ("500 x", b"<html>oops</html>", "overloaded", True),
        ("503 x", b"", "overloaded", True),
        ("529 x", b'{"error": {"message": "busy"}}', "overloaded", True),
        ("302 x", b"", "protocol", False),
        ("204 x", b"", "protocol", False),
    ],
)
async def test_a_refusal_is_named(status: str, body: bytes, code: str, retryable: bool) -> None:
    """Retry policies go by the code; people read the provider's words."""
    framing = "" if status.startswith("204") else None
    error = await fault(always(answer(body, status=status, framing=framing)))

    assert (error.code, error.retryable) == (code, retryable)
    assert "oops" not in error.message


async def test_the_providers_message_is_passed_on() -> None:
    """`bad_request` alone sends people to the logs of somebody else."""
    body = b'{"error": {"message": "max_tokens is too large: 9", "type": "invalid_request_error"}}'
    error = await fault(always(answer(body, status="400 Bad Request")))

    assert "max_tokens is too large: 9" in error.message


@pytest.mark.parametrize(
    ("header", "low", "high"),
    [
        ("Retry-After: 7", 7, 7),
        ("retry-after-ms: 250", 0.25, 0.25),
        (f"Retry-After: {format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)}", 3000, 3600),
        (f"Retry-After: {format_datetime(datetime.now(UTC) - timedelta(hours=1), usegmt=True)}", 0, 0),
    ],
)
async def test_the_wait_a_provider_asks_for_is_told(header: str, low: float, high: float) -> None:
    """Asking again earlier makes it longer."""
    error = await fault(always(answer(b"{}", status="429 Too Many", headers=(header,))))

    assert error.retry_after_s is not None
    assert low <= error.retry_after_s <= high


async def test_a_wait_that_is_no_time_is_left_out() -> None:
    """A guess would be worse."""
    error = await fault(always(answer(b"{}", status="429 Too Many", headers=("Retry-After: soon",))))

    assert error.retry_after_s is None


@pytest.mark.parametrize(
    ("words", "code", "retryable"),
    [
        ({"message": "x", "type": "overloaded_error"}, "overloaded", True),
        ({"message": "x", "code": "rate_limit_exceeded"}, "rate_limited", True),
        ({"message": "x", "code": 502}, "overloaded", True),
        ({"message": "x", "code": 400}, "bad_request", False),
        ("just words", "bad_request", False),
    ],
)
async def test_an_error_inside_the_stream_is_an_error(words: object, code: str, retryable: bool) -> None:
    """The 200 has long been sent when a model fails."""
    error = await fault(streamed(say("half"), b"data: " + msgspec.json.encode({"error": words}) + b"\n\n"))

    assert (error.code, error.retryable) == (code, retryable)


@pytest.mark.parametrize(
    "handler",
    [streamed(say("half")), then_close(chunked(say("half"), is_whole=False)), streamed()],
    ids=["clean end", "connection cut", "nothing at all"],
)
async def test_a_stream_without_a_finish_is_cut_off(handler: Handler) -> None:
    """Half an answer looks like a whole one; it must not pass for it."""
    error = await fault(handler)

    assert (error.code, error.retryable) == ("cut_off", True)


@pytest.mark.parametrize(
    "data",
    [
        chunked(b"data: {nonsense\n\n"),
        chunked(b"data: \xff\xfe\n\n"),
        chunked(b'data: {"choices": 7}\n\n'),
        chunked(event({"tool_calls": [{"index": 10**9}]})),
        answer(b"<html>login</html>", headers=("Content-Type: text/html",)),
        answer(b"{}", headers=("Content-Type: application/json",)),
        answer(b"not json", headers=("Content-Type: application/json",)),
    ],
    ids=["no json", "no utf-8", "wrong shape", "huge index", "html", "no choice", "json that is none"],
)
async def test_what_is_no_completion_is_a_protocol_error(data: bytes) -> None:
    """A wrong base URL answers too."""
    error = await fault(always(data))

    assert (error.code, error.retryable) == ("protocol", False)


async def test_a_huge_line_is_refused() -> None:
    """It would have to be kept whole before it can be read."""

    async def pour(request: Received, stream: trio.abc.Stream) -> None:
        await stream.send_all(SSE_HEAD.replace(b"Transfer-Encoding: chunked", b"Connection: close") + b"data: ")
        while True:
            await stream.send_all(b"x" * 65536)

    error = await fault(pour, max_response_bytes=64 * 1024 * 1024)

    assert (error.code, error.retryable) == ("too_large", False)
    assert "line" in error.message


async def test_an_endless_answer_is_refused() -> None:
    """A model in a loop must not fill the memory."""

    async def pour(request: Received, stream: trio.abc.Stream) -> None:
        await stream.send_all(SSE_HEAD.replace(b"Transfer-Encoding: chunked", b"Connection: close"))
        while True:
            await stream.send_all(say("x" * 1000))

    error = await fault(pour, max_response_bytes=100_000)

    assert error.code == "too_large"


@pytest.mark.parametrize("data", [b"", chunked(say("half"), is_whole=False)], ids=["no answer", "in the middle"])
async def test_a_silent_server_is_a_timeout(data: bytes) -> None:
    """Models hang too."""
    error = await fault(then_silence(data), read_s=0.05)

    assert (error.code, error.retryable) == ("timeout", True)


async def test_a_private_address_is_refused_here_too() -> None:
    """`base_url` is user input like any other URL."""
    async with open_server(streamed()) as server, client(AddressPolicy()) as llm:
        with pytest.raises(LlmError) as caught:
            await llm.complete(ask(server), ignore)

    assert (caught.value.code, caught.value.retryable) == ("private_address", False)
    assert server.connections == 0


@pytest.mark.parametrize("data", [b"", chunked(say("half"), is_whole=False)], ids=["no answer", "in the middle"])
async def test_cancelling_hangs_up_at_once(data: bytes) -> None:
    """Tokens nobody reads are paid for."""
    async with open_server(then_silence(data)) as server, client() as llm:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(llm.complete, ask(server), ignore)
            await server.asked.wait()
            await trio.testing.wait_all_tasks_blocked(0.01)
            nursery.cancel_scope.cancel()
        with trio.fail_after(1):
            await server.hung_up.wait()


async def test_a_receiver_that_fails_hangs_up_too() -> None:
    """Its own error comes out, and no connection stays behind."""

    async def fail(text: str) -> None:
        await trio.lowlevel.checkpoint()
        raise ZeroDivisionError

    async with open_server(in_pieces([chunked(say("a"), is_whole=False)])) as server, client() as llm:
        with pytest.raises(ZeroDivisionError):
            await llm.complete(ask(server), fail)
        with trio.fail_after(1):
            await server.hung_up.wait()


async def test_the_key_is_in_no_repr() -> None:
    """Requests end up in logs and tracebacks."""
    async with open_server(streamed()) as server:
        assert KEY not in repr(ask(server))
