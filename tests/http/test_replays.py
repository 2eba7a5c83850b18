"""Replays: what has ended, in its own rhythm; the same bytes, the same cursors, the same limits, exact to the second."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from execd.client_sse import EventStreamParser
from execd.core.events import ExecutionId
from execd.http.sse import HEARTBEAT
from tests.http.asgi import Answer
from tests.http.doors import Door, make_door, open_server
from tests.http.fake_engine import make_submission
from tests.http.test_streams import follow, ids_of
from tests.http.test_websocket import connect, hear, hear_close

URL = "/api/v1/executions"
AT_S = (0.0, 2.0, 2.0, 1.0, 11.0, 11.0)
"""When its events happened: one a moment, one with another, one after the clock was set back, and ten seconds of silence."""


async def played(door: Door, *, at_s: tuple[float, ...] = AT_S) -> ExecutionId:
    """Put an execution that has ended into the store, whose events happened then; the last moment is that of two."""
    execution_id = ExecutionId("exec-1700000000000-played000")
    await door.engine.begin(execution_id, make_submission())
    for number, moment in enumerate(at_s[1:-2]):
        await door.engine.write(execution_id, f"{number}\n", offset=2 * number, at_s=moment)
    await door.engine.finish(execution_id, at_s=at_s[-1])
    return execution_id


async def arrivals(answer: Answer) -> dict[str, float]:
    """Wait for the end and give when each event came, by its id, in seconds after the first."""
    await answer.is_over.wait()
    parser = EventStreamParser()
    first_s = answer.chunks[0][0]
    return {event.id: round(when_s - first_s, 3) for when_s, chunk in answer.chunks for event in parser.feed(chunk)}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("speed=1", [0, 2, 2, 2, 12, 12]),
        ("speed=2", [0, 1, 1, 1, 6, 6]),
        ("speed=0.1", [0, 20, 20, 20, 120, 120]),
        ("speed=1000", [0, 0.002, 0.002, 0.002, 0.012, 0.012]),
        ("speed=1&idle_limit_s=3", [0, 2, 2, 2, 5, 5]),
        ("speed=2&idle_limit_s=1.5", [0, 0.75, 0.75, 0.75, 1.5, 1.5]),
        ("speed=1&idle_limit_s=0", [0, 0, 0, 0, 0, 0]),
    ],
)
async def test_events_come_as_they_came_then(query: str, expected: list[float], autojump_clock: MockClock) -> None:
    """Each after the silence that was before it, by the speed; a clock that was set back is no silence."""
    door = await make_door()
    execution_id = await played(door)

    async with door.open(f"{URL}/{execution_id}/stream?{query}") as answer:
        came = await arrivals(answer)

    assert [came[str(seq)] for seq in range(1, 7)] == expected


async def test_a_replay_has_the_bytes_of_the_live_stream(autojump_clock: MockClock) -> None:
    """A client that can read one can read the other."""
    door = await make_door()
    execution_id = await played(door)

    live = await follow(door, f"{URL}/{execution_id}/stream")
    replay = await follow(door, f"{URL}/{execution_id}/stream?speed=1")

    assert replay.body == live.body
    assert replay.headers == live.headers
    assert not door.engine.open_cursors


async def test_silence_is_broken_by_heartbeats(autojump_clock: MockClock) -> None:
    """A proxy cuts what says nothing for a minute, replay or not; and a heartbeat does not shift the rhythm."""
    door = await make_door(heartbeat_s=15.0)
    execution_id = await played(door, at_s=(0.0, 100.0, 100.0))

    async with door.open(f"{URL}/{execution_id}/stream?speed=1") as answer:
        came = await arrivals(answer)

    assert came == {"1": 0, "2": 100, "3": 100}
    assert [chunk for _, chunk in answer.chunks].count(HEARTBEAT) == 6


async def test_a_reconnect_goes_on_in_the_rhythm(autojump_clock: MockClock) -> None:
    """After event 4 it waits the silence that followed event 4, and then sends the rest."""
    door = await make_door()
    execution_id = await played(door)

    began = trio.current_time()
    async with door.open(f"{URL}/{execution_id}/stream?speed=2", last_event_id="4") as answer:
        came = await arrivals(answer)

    assert came == {"5": 0, "6": 0}
    assert trio.current_time() - began == 5
    answer = await door.ask("GET", f"{URL}/{execution_id}/stream?speed=2", last_event_id="6")
    assert (answer.status, answer.body) == (204, b"")


async def test_the_lifetime_of_a_connection_holds_for_replays(autojump_clock: MockClock) -> None:
    """It ends with the cursor to come back with, and the second connection has the rest."""
    door = await make_door(lifetime_s=5.0)
    execution_id = await played(door)

    answer = await follow(door, f"{URL}/{execution_id}/stream?speed=1")
    assert ids_of(answer) == ["1", "2", "3", "4", "4"]
    assert b"event: evicted" in answer.body
    assert b'"reason":"lifetime"' in answer.body


async def test_a_viewer_who_leaves_is_gone_at_once(autojump_clock: MockClock) -> None:
    """Nothing goes on playing for nobody, in the middle of a long silence."""
    door = await make_door()
    execution_id = await played(door, at_s=(0.0, 3600.0, 3600.0))
    began = trio.current_time()

    async with door.open(f"{URL}/{execution_id}/stream?speed=1") as answer:
        await answer.wait_for(b"execution_requested")
    await trio.testing.wait_all_tasks_blocked()

    assert not door.engine.open_cursors
    assert trio.current_time() - began < 60


async def test_a_server_that_goes_down_ends_replays_at_once(autojump_clock: MockClock) -> None:
    """In the middle of an hour of silence; the viewer knows where to go on."""
    door = await make_door()
    execution_id = await played(door, at_s=(0.0, 3600.0, 3600.0))
    began = trio.current_time()

    async with door.open(f"{URL}/{execution_id}/stream?speed=1") as answer:
        await answer.wait_for(b"execution_requested")
        door.app.front.streams.draining.set()
        await answer.is_over.wait()

    assert b'"reason":"draining","last_seq":1' in answer.body
    assert trio.current_time() - began < 60


async def test_a_replay_counts_as_a_stream() -> None:
    """The limit of a workspace is for all of its streams."""
    door = await make_door()
    execution_id = await played(door)
    door.engine.max_streams = 0

    answer = await door.ask("GET", f"{URL}/{execution_id}/stream?speed=1000")

    assert (answer.status, answer.json()["code"]) == (429, "too_many_streams")


async def test_what_runs_cannot_be_replayed() -> None:
    """It says so, by GET and by HEAD, and nothing is started."""
    door = await make_door()
    execution_id = await door.begin()

    answer = await door.ask("GET", f"{URL}/{execution_id}/stream?speed=2")
    head = await door.ask("HEAD", f"{URL}/{execution_id}/stream?speed=2")

    assert (answer.status, answer.json()["code"], head.status) == (409, "conflict", 409)
    assert "leave `speed` out" in answer.json()["detail"]
    assert door.engine.subscribe_count == 0


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("speed=0", "speed"),
        ("speed=0.05", "speed"),
        ("speed=1001", "speed"),
        ("speed=-1", "speed"),
        ("speed=fast", "speed"),
        ("speed=1e3", "speed"),
        ("speed=inf", "speed"),
        ("speed=nan", "speed"),
        ("speed=%D9%A3", "speed"),
        ("speed=1&speed=2", "speed"),
        ("speed=1&idle_limit_s=-1", "idle_limit_s"),
        ("speed=1&idle_limit_s=90000", "idle_limit_s"),
        ("idle_limit_s=3", "idle_limit_s"),
    ],
)
async def test_a_rhythm_that_is_none_is_refused(query: str, path: str) -> None:
    """With the field, and what would be taken."""
    door = await make_door()
    execution_id = await played(door)

    answer = await door.ask("GET", f"{URL}/{execution_id}/stream?{query}")

    assert (answer.status, answer.json()["errors"][0]["path"]) == (400, path)
    assert answer.json()["errors"][0]["accepted"]


async def test_several_at_once_have_no_rhythm_in_common() -> None:
    """The stream of several executions takes no speed, and does not pretend to."""
    door = await make_door()
    execution_id = await played(door)

    answer = await door.ask("GET", f"/api/v1/stream?execution={execution_id}&speed=2")

    assert (answer.status, answer.json()["errors"][0]["path"]) == (400, "speed")


async def test_a_long_journal_is_read_page_by_page(autojump_clock: MockClock) -> None:
    """What is not due yet is mostly not in memory, and every event has its moment."""
    door = await make_door()
    execution_id = ExecutionId("exec-1700000000000-played000")
    await door.engine.begin(execution_id, make_submission())
    for number in range(100):
        await door.engine.write(execution_id, "x" * 60_000, offset=60_000 * number, at_s=float(number))
    await door.engine.finish(execution_id, at_s=100.0)

    async with door.open(f"{URL}/{execution_id}/stream?speed=10") as answer:
        came = await arrivals(answer)

    assert [came[str(seq)] for seq in range(2, 102)] == [pytest.approx(number / 10) for number in range(100)]


async def test_a_socket_replays_too() -> None:
    """The same rhythm over the other door, on the real clock: a thousand times as fast."""
    async with open_server() as served:
        execution_id = await played(served.door)

        async with connect(served, f"{URL}/{execution_id}/ws?speed=1000&after=2") as socket:
            code, reason, heard = await hear_close(socket)
        assert (code, reason, [event["seq"] for event in heard]) == (1000, "complete", [3, 4, 5, 6])

        running = await served.door.begin()
        async with connect(served, f"{URL}/{running}/ws?speed=2") as socket:
            assert (await hear(socket))["code"] == "conflict"
            assert (await hear_close(socket))[:2] == (4400, "conflict")
