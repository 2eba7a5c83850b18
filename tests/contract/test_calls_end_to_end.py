"""`http` and `llm` nodes end to end: a real engine, the real adapters, and real servers on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import msgspec
import pytest
import trio

from execd.client import open_client
from execd.core.events import Event, NodeOutput, ResultStored, Status
from execd.embed import EmbeddedEngine, open_engine
from execd.settings import OutboundSettings, SandboxSettings, Settings
from tests.support.server_process import ServerProcess
from tests.support.wild_server import Handler, Received, answer, by_path, open_server, then_silence

pytestmark = pytest.mark.slow

KEY = "sk-very-secret-key"
SSE_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


@asynccontextmanager
async def engine(data_dir: Path, **outbound: Any) -> AsyncIterator[EmbeddedEngine]:
    sandbox = SandboxSettings(sandbox="none", warm_slots=0)
    async with open_engine(
        Settings(data_dir=data_dir, sandbox=sandbox, outbound=OutboundSettings(**outbound), log_level="error")
    ) as opened:
        yield opened


async def run(opened: EmbeddedEngine, *nodes: dict[str, Any]) -> tuple[list[Event], ResultStored]:
    """Run a workflow and give its journal."""
    started = await opened.submit_workflow({"nodes": list(nodes)})
    with trio.fail_after(20):
        events = [event async for event in started.events()]
    end = events[-1].data
    assert isinstance(end, ResultStored)
    return events, end


def http(name: str, url: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "type": "http", "url": url, **more}


async def test_three_requests_side_by_side_and_a_join(tmp_path: Path) -> None:
    """The servers see all three before any is answered, and what they gave flows on."""
    waiting = 0
    all_there = trio.Event()

    async def together(request: Received, stream: trio.abc.Stream) -> None:
        nonlocal waiting
        waiting += 1
        if waiting == 3:
            all_there.set()
        await all_there.wait()
        body = msgspec.json.encode({"path": request.target, "n": int(request.target[-1])})
        await stream.send_all(answer(body, headers=("Content-Type: application/json",)))

    async with open_server(together) as server, engine(tmp_path) as opened:
        total = "{{ nodes.a.output.body.n + nodes.b.output.body.n + nodes.c.output.body.n }}"
        events, end = await run(
            opened,
            *(http(name, server.url(f"/{n}")) for n, name in enumerate("abc", start=1)),
            {"id": "join", "type": "set", "values": {"total": total}, "needs": ["a", "b", "c"]},
        )

    assert end.status is Status.COMPLETED
    assert end.outputs["join"] == {"total": 6}
    assert end.outputs["b"]["headers"]["content-type"] == "application/json"
    assert end.outputs["c"]["url"] == server.url("/3")
    assert [event.seq for event in events] == list(range(1, len(events) + 1))


async def test_a_request_says_what_the_node_says(tmp_path: Path) -> None:
    """Method, query, headers, credentials and body arrive; what an echo gives back has no key in it."""

    async def echo(request: Received, stream: trio.abc.Stream) -> None:
        body = msgspec.json.encode({"headers": request.headers, "body": request.body.decode()})
        await stream.send_all(answer(body, headers=("Content-Type: application/json",)))

    async with open_server(echo) as server, engine(tmp_path) as opened:
        node = http("a", server.url("/p?x=1"), method="PUT", query={"y": "ä"}, json={"n": 1}, auth={"bearer": KEY})
        events, end = await run(opened, node)

    (received,) = server.requests
    assert (received.method, received.target) == ("PUT", "/p?x=1&y=%C3%A4")
    assert received.headers["authorization"] == f"Bearer {KEY}"
    assert (received.headers["content-type"], received.body) == ("application/json", b'{"n":1}')
    assert end.outputs["a"]["body"]["headers"]["authorization"] == "Bearer ***"
    assert KEY not in msgspec.json.encode(events).decode()


async def test_a_refused_request_is_retried_and_then_succeeds(tmp_path: Path) -> None:
    """A 503 is asked again because its author said so."""

    async def busy_once(request: Received, stream: trio.abc.Stream) -> None:
        is_first = len(server.requests) == 1
        await stream.send_all(answer(b"busy", status="503 Service Unavailable") if is_first else answer(b"ok"))

    async with open_server(busy_once) as server, engine(tmp_path) as opened:
        events, end = await run(opened, http("a", server.url(), retry={"retries": 1, "delay_s": 0.01}))

    assert (end.status, end.nodes[0].attempts) == (Status.COMPLETED, 2)
    assert "node_retrying" in {event.type for event in events}


async def test_a_body_larger_than_a_journal_keeps_is_cut_and_said(tmp_path: Path) -> None:
    """The rest is not even read, and the output says so."""
    async with open_server(by_path({"/": answer(b"x" * 3_000_000)})) as server, engine(tmp_path) as opened:
        _, end = await run(opened, http("a", server.url()))

    assert end.outputs["a"]["truncated"] is True
    assert 1_000_000 < len(end.outputs["a"]["body"]) < 1_048_576


async def test_a_cancel_closes_the_connection(tmp_path: Path) -> None:
    """The server learns that nobody waits any more."""
    async with open_server(then_silence(b"")) as server, engine(tmp_path) as opened:
        started = await opened.submit_workflow({"nodes": [http("a", server.url())]})
        with trio.fail_after(10):
            await server.asked.wait()
            await started.cancel()
            end = await started.result()
            await server.hung_up.wait()

    assert end.status is Status.CANCELLED


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433"])
async def test_private_addresses_are_refused_where_policy_says_so(host: str, tmp_path: Path) -> None:
    """A node must not reach what only execd can reach; the error says what was refused, and nothing was sent."""
    async with open_server(by_path({"/": answer()})) as server, engine(tmp_path, allow_private=False) as opened:
        url = server.url(host=host)
        _, end = await run(
            opened,
            http("a", url, on_error="continue"),
            {"id": "b", "type": "llm", "base_url": url, "model": "m", "prompt": "hi", "on_error": "continue"},
        )

    assert server.connections == 0
    assert [node.error.code for node in end.nodes if node.error is not None] == [
        "http:private_address",
        "llm:private_address",
    ]
    assert end.nodes[0].error is not None
    assert "not allowed" in end.nodes[0].error.message or "may not go" in end.nodes[0].error.message


@pytest.mark.parametrize(("bind", "is_allowed"), [("127.0.0.1", True), ("0.0.0.0", False)])
async def test_who_may_be_reached_by_others_does_not_reach_private_addresses(
    bind: str, is_allowed: bool, tmp_path: Path
) -> None:
    """On loopback whoever asks could call them anyway; a server for a team must be told."""
    settings = Settings(data_dir=tmp_path, sandbox=SandboxSettings(sandbox="none", warm_slots=0))
    settings = msgspec.structs.replace(settings, http=msgspec.structs.replace(settings.http, host=bind))
    async with open_server(by_path({"/": answer()})) as server, open_engine(settings) as opened:
        _, end = await run(opened, http("a", server.url()))

    assert (end.status is Status.COMPLETED) is is_allowed


async def test_no_node_calls_execd_itself(tmp_path: Path) -> None:
    """With a port the system chose, too: on loopback a node would otherwise reach what trusts loopback, `/metrics` say."""
    server = await trio.to_thread.run_sync(lambda: ServerProcess(tmp_path / "data"))
    try:
        async with open_server(by_path({"/": answer()})) as other, open_client(server.url, server.token) as client:
            nodes = [
                http("own", server.url + "/healthz", on_error="continue"),
                http("disguised", f"http://2130706433:{server.port}/metrics", on_error="continue"),
                http("other", other.url()),
            ]
            accepted = await client.submit({"kind": "workflow", "nodes": nodes}, idempotency_key="one")
            with trio.fail_after(20):
                async with client.events(accepted.id) as events:
                    end = [event async for event in events][-1].data
            metrics = await trio.to_thread.run_sync(lambda: urlopen(server.url + "/metrics").read().decode())
    finally:
        await trio.to_thread.run_sync(server.kill)

    assert isinstance(end, ResultStored)
    assert end.outputs["other"]["status"] == 200
    refused = [node.error for node in end.nodes if node.error is not None]
    assert [error.code for error in refused] == ["http:private_address"] * 2
    assert all("execd itself" in error.message for error in refused)
    assert "execd_outbound_connections_opened_total 1.0" in metrics


# --- models


def say(text: str) -> bytes:
    data = {"model": "m-1", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}
    return b"data: " + msgspec.json.encode(data) + b"\n\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


FINISH = (
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}\n\n'
    b"data: [DONE]\n\n"
)


def model(*words: str) -> Handler:
    """Speak the streaming API, a word at a time."""

    async def handle(request: Received, stream: trio.abc.Stream) -> None:
        await stream.send_all(SSE_HEAD)
        for word in words:
            await stream.send_all(chunk(say(word)))
        await stream.send_all(chunk(FINISH) + b"0\r\n\r\n")

    return handle


async def test_a_model_is_heard_while_it_speaks(tmp_path: Path) -> None:
    """Its words are events before it is done, and its output is the whole of them."""
    heard_first = trio.Event()

    async def slowly(request: Received, stream: trio.abc.Stream) -> None:
        await stream.send_all(SSE_HEAD + chunk(say("Hel")))
        await heard_first.wait()
        await stream.send_all(chunk(say("lo")) + chunk(FINISH) + b"0\r\n\r\n")

    node = {"id": "a", "type": "llm", "model": "m", "api_key": KEY, "prompt": "hi", "system": "be brief"}
    deltas: list[Any] = []
    async with open_server(slowly) as server, engine(tmp_path) as opened:
        started = await opened.submit_workflow({"nodes": [node | {"base_url": server.url("/v1")}]})
        with trio.fail_after(20):
            async for event in started.events():
                assert KEY not in msgspec.json.encode(event).decode()
                if isinstance(event.data, NodeOutput):
                    deltas.append(event.data.delta)
                    heard_first.set()
            end = await started.result()

    (received,) = server.requests
    body = msgspec.json.decode(received.body)
    assert (received.target, received.headers["authorization"]) == ("/v1/chat/completions", f"Bearer {KEY}")
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert deltas == ["Hel", "lo"]
    assert end.outputs["a"] == {
        "text": "Hello",
        "finish_reason": "stop",
        "model": "m-1",
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    }


async def test_a_fast_model_makes_few_events(tmp_path: Path) -> None:
    """Five thousand words at once are a handful of events, not five thousand commits."""
    words = [f"w{number} " for number in range(5000)]
    node = {"id": "a", "type": "llm", "model": "m", "prompt": "hi"}
    async with open_server(model(*words)) as server, engine(tmp_path) as opened:
        began = trio.current_time()
        events, end = await run(opened, node | {"base_url": server.url("/v1")})
        took_s = trio.current_time() - began

    deltas = [event.data.delta for event in events if isinstance(event.data, NodeOutput)]
    assert "".join(deltas) == end.outputs["a"]["text"] == "".join(words)
    assert len(deltas) <= 20 * took_s + 2


async def test_json_from_a_model_flows_on(tmp_path: Path) -> None:
    """What was asked for as JSON is read by the next node as JSON."""
    node = {"id": "a", "type": "llm", "model": "m", "prompt": "hi", "response_format": "json"}
    async with open_server(model('{"n"', ": 41}")) as server, engine(tmp_path) as opened:
        after = {"id": "b", "type": "set", "values": "{{ nodes.a.output.json.n + 1 }}", "needs": ["a"]}
        _, end = await run(opened, node | {"base_url": server.url("/v1")}, after)

    assert msgspec.json.decode(server.requests[0].body)["response_format"] == {"type": "json_object"}
    assert end.outputs["b"] == 42


async def test_a_wrong_key_is_told_without_it(tmp_path: Path) -> None:
    """Providers quote the key they refuse."""
    refusal = answer(
        msgspec.json.encode({"error": {"message": f"Incorrect API key provided: {KEY}", "type": "auth"}}),
        status="401 Unauthorized",
        headers=("Content-Type: application/json",),
    )
    node = {"id": "a", "type": "llm", "model": "m", "prompt": "hi", "api_key": KEY, "retry": {"retries": 3}}
    async with open_server(by_path({"/v1/chat/completions": refusal})) as server, engine(tmp_path) as opened:
        events, end = await run(opened, node | {"base_url": server.url("/v1")})

    assert end.error is not None
    assert end.error.code == "llm:auth"
    assert end.nodes[0].attempts == 1
    assert KEY not in msgspec.json.encode(events).decode()
