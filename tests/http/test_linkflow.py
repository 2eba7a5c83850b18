"""The LinkFlow door: refusals before the stream in its own shape, then every event once, whatever breaks."""

from __future__ import annotations

import msgspec
import pytest
import trio
from trio.testing import MockClock

from execd.core.events import ExecutionId, NodeCompleted, NodeOutput, NodeStarted, Status
from tests.http.asgi import call, events_of
from tests.http.doors import Door, follow, make_door, open_server

NODE_END = NodeCompleted(duration_ms=1, output={"body": "x"})


def path_of(execution_id: str, workspace: str = "w") -> str:
    return f"/api/v1/workspaces/{workspace}/executions/{execution_id}/stream"


async def begun() -> tuple[Door, ExecutionId]:
    """Give a run of one node that has begun (2), said something we have no word for (3), and ended (4)."""
    door = await make_door()
    execution_id = await door.begin()
    await door.engine.add(execution_id, NodeStarted(label="A", type="http"), NodeOutput(delta="x"), NODE_END)
    return door, execution_id


async def test_a_stream_begins_with_connected_and_ends_with_the_stored_result() -> None:
    """The terminal block carries the journal's last seq, never that of the event before the result."""
    door, execution_id = await begun()

    async with door.open(path_of(execution_id)) as answer:
        await answer.wait_for(b"node.completed")
        await door.engine.finish(execution_id)
        await answer.is_over.wait()

    assert [(block.id, block.name) for block in events_of(answer)] == [
        ("", "connected"),
        ("2", "node.started"),
        ("4", "node.completed"),
        ("6", "execution.completed"),
    ]
    assert not door.engine.open_cursors
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.headers["cache-control"] == "no-cache, no-store, must-revalidate"
    assert (answer.headers["connection"], answer.headers["x-accel-buffering"]) == ("keep-alive", "no")


async def test_connected_comes_at_once() -> None:
    """A viewer of a quiet run must know that it is watching."""
    door, execution_id = await begun()

    async with door.open(path_of(execution_id), last_event_id="4") as answer:
        await answer.wait_for(b"event: connected")

    assert events_of(answer)[0].name == "connected"
    assert msgspec.json.decode(events_of(answer)[0].data)["status"] == "running"


@pytest.mark.parametrize(
    ("query", "header", "ids"),
    [
        ("?from=2", "", ["", "4", "6"]),
        ("", "2", ["", "4", "6"]),
        ("", "3", ["", "4", "6"]),
        ("?from=0", "4", ["", "6"]),
        ("?from=4", "", ["", "6"]),
        ("?from=5", "", ["", "6"]),
        ("", "1739872200000-0", ["", "2", "4", "6"]),
        ("?from=x&surprise=1", "", ["", "2", "4", "6"]),
        ("", "99", ["", "2", "4", "6"]),
        ("", "-1", ["", "2", "4", "6"]),
        ("", "9" * 30, ["", "2", "4", "6"]),
    ],
)
@pytest.mark.behaviour(8, 10, 55)
async def test_a_cursor_is_exclusive_and_a_foreign_one_is_none(query: str, header: str, ids: list[str]) -> None:
    """Every place one can resume from leads to the rest, each block once; nobody is sent into an error loop."""
    door, execution_id = await begun()
    await door.engine.finish(execution_id)

    answer = await follow(door, path_of(execution_id) + query, **({"last_event_id": header} if header else {}))

    assert [block.id for block in events_of(answer)][1:] == ids[1:]


@pytest.mark.behaviour(9)
async def test_a_reconnect_with_the_terminal_id_is_told_to_stop() -> None:
    """204 is the one status after which EventSource does not come back."""
    door, execution_id = await begun()
    await door.engine.finish(execution_id)
    answer = await follow(door, path_of(execution_id))

    again = await door.ask("GET", path_of(execution_id), last_event_id=events_of(answer)[-1].id)

    assert (again.status, again.body) == (204, b"")


@pytest.mark.parametrize("broken_after", range(1, 7))
async def test_a_break_anywhere_loses_and_repeats_nothing(broken_after: int) -> None:
    """Whatever block was the last to arrive, and whatever was passed over in silence after it."""
    door, execution_id = await begun()
    await door.engine.finish(execution_id)
    whole = events_of(await follow(door, path_of(execution_id)))
    seen = [block for block in whole[1:] if int(block.id) <= broken_after]
    cursor = {"last_event_id": seen[-1].id} if seen else {}

    answer = await door.ask("GET", path_of(execution_id), role="viewer", **cursor)

    rest = events_of(answer)[1:] if answer.status == 200 else []
    assert [block.id for block in (*seen, *rest)] == ["2", "4", "6"]


@pytest.mark.behaviour(21, 55)
async def test_refusals_come_before_the_stream_in_linkflows_shape() -> None:
    """401, 403, 404 and 429 are answers in JSON, never a stream that ends."""
    door, execution_id = await begun()
    foreign = await door.begin("other")

    nobody = await call(door.app, "GET", path_of(execution_id))
    wrong = await call(door.app, "GET", path_of(execution_id), headers={"authorization": "Bearer x"})
    stranger = await door.ask("GET", path_of(execution_id), role="foreign")
    elsewhere = await door.ask("GET", path_of(foreign), role="viewer")
    unknown = await door.ask("GET", path_of("exec-1-nothing00"), role="viewer")
    prying = await door.ask("GET", path_of("exec-1-nothing00", "other"), role="viewer")
    door.engine.max_streams = 0
    crowded = await door.ask("GET", path_of(execution_id), role="viewer")

    assert [answer.status for answer in (nobody, wrong)] == [401, 401]
    assert all(list(answer.json()) == ["message"] for answer in (nobody, wrong, crowded))
    assert nobody.headers["www-authenticate"].startswith("Bearer")
    assert (stranger.status, stranger.json()) == (403, {"message": "You are not a member of this workspace."})
    assert (prying.status, prying.json()) == (stranger.status, stranger.json())
    assert (elsewhere.status, elsewhere.json()) == (404, {"message": "Execution not found."})
    assert (unknown.status, unknown.json()) == (elsewhere.status, elsewhere.json())
    assert (crowded.status, crowded.headers["retry-after"]) == (429, "5")
    assert {answer.headers["content-type"] for answer in (nobody, stranger, unknown, crowded)} == {"application/json"}


async def test_a_ticket_opens_it() -> None:
    """EventSource cannot send a header."""
    door, execution_id = await begun()
    await door.engine.finish(execution_id)
    ticket = (await door.ask("POST", "/api/v1/tickets", role="viewer")).json()["ticket"]

    answer = await call(door.app, "GET", f"{path_of(execution_id)}?ticket={ticket}")
    again = await call(door.app, "GET", f"{path_of(execution_id)}?ticket={ticket}")

    assert events_of(answer)[-1].name == "execution.completed"
    assert again.status == 401


@pytest.mark.behaviour(14, 55)
async def test_silence_is_broken_by_a_named_event_on_time(autojump_clock: MockClock) -> None:
    """Every 15 s since the last block, also while events pass for which there is no word."""
    door, execution_id = await begun()

    async with door.open(path_of(execution_id)) as answer:
        await answer.wait_for(b"node.completed")
        began_at = trio.current_time()
        for _ in range(7):
            await trio.sleep(9)
            await door.engine.add(execution_id, NodeOutput(delta="x"))

    beats = [round(at - began_at, 6) for at, chunk in answer.chunks if chunk.startswith(b"event: heartbeat\ndata: {")]
    assert beats == [15.0, 30.0, 45.0, 60.0]


@pytest.mark.behaviour(19, 55)
async def test_a_connection_ends_of_age_and_says_so(autojump_clock: MockClock) -> None:
    """`timeout` has no id, so the client comes back with that of the last event."""
    door, execution_id = await begun()

    answer = await follow(door, path_of(execution_id))

    last = events_of(answer)[-1]
    assert (last.name, msgspec.json.decode(last.data)["reason"]) == ("timeout", "lifetime")
    assert b"id: 4\n" in answer.body.split(b"event: timeout")[0]
    assert b"id:" not in answer.body.split(b"event: timeout")[1]
    assert answer.chunks[-1][0] - answer.chunks[0][0] == 1800.0


@pytest.mark.parametrize("reason", ["slow", "draining", "restarted"])
async def test_an_early_end_is_announced(reason: str) -> None:
    """A clean end alone would look like the end of the run."""
    door, execution_id = await begun()

    async with door.open(path_of(execution_id)) as answer:
        await answer.wait_for(b"node.completed")
        door.engine.evict_all(reason)
        await answer.is_over.wait()

    data = msgspec.json.decode(events_of(answer)[-1].data)
    assert (data["reason"], data["last_seq"]) == (reason, 4)


async def test_head_starts_nothing() -> None:
    """Quart maps HEAD onto GET."""
    door, execution_id = await begun()

    answer = await door.ask("HEAD", path_of(execution_id))

    assert (answer.status, answer.body, door.engine.subscribe_count) == (200, b"", 0)


async def test_two_dialects_show_the_same_run_over_the_real_server() -> None:
    """One log, two projections, and the short cut to the socket speaks the right one to each."""
    async with open_server() as served:
        door = served.door
        execution_id = await door.begin()
        streams = [await served.connect(), await served.connect()]
        for stream, target in zip(
            streams, (path_of(execution_id), f"/api/v1/executions/{execution_id}/stream"), strict=True
        ):
            await stream.send_all(served.request_bytes(target))
        heads = [await read_until(stream, b"\n\n") for stream in streams]
        for number in range(20):
            await door.engine.add(execution_id, NodeStarted(label=str(number), type="http"), NodeOutput(delta="x"))
            await trio.testing.wait_all_tasks_blocked()
        await door.engine.finish(execution_id)
        linkflow, native = [
            head + await read_until(stream, b"0\r\n\r\n") for head, stream in zip(heads, streams, strict=True)
        ]

    assert linkflow.count(b"event: node.started") == native.count(b"event: node_started") == 20
    assert (linkflow.count(b"node_output"), native.count(b"event: node_output")) == (0, 20)
    assert b"event: execution.completed" in linkflow
    assert b"connection: keep-alive" in linkflow.lower()
    assert door.engine.memory.records[execution_id].status is Status.COMPLETED


async def read_until(stream: trio.SocketStream, mark: bytes) -> bytes:
    """Read up to and with a mark."""
    found = b""
    with trio.fail_after(10):
        while mark not in found:
            data = await stream.receive_some()
            assert data, found
            found += bytes(data)
    return found
