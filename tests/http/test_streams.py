"""Server-Sent Events: every byte has its place, and every way to end leads back to where it was."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from tests.http.asgi import Answer, events_of, open_call
from tests.http.doors import follow, make_door
from tests.http.fake_engine import EPOCH

URL = "/api/v1/executions"


def ids_of(answer: Answer) -> list[str]:
    return [event.id for event in events_of(answer)]


async def test_a_stream_has_every_event_and_ends() -> None:
    """Replay and live are one; ids are seqs, names are types, data is the journal's own bytes."""
    door = await make_door()
    execution_id = await door.begin()

    async with door.open(f"{URL}/{execution_id}/stream") as answer:
        await answer.wait_for(b"execution_requested")
        await door.engine.write(execution_id, "hello")
        await door.engine.finish(execution_id)
        await answer.is_over.wait()

    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert (answer.headers["cache-control"], answer.headers["x-accel-buffering"]) == ("no-store", "no")
    assert [(event.id, event.name) for event in events_of(answer)] == [
        ("1", "execution_requested"),
        ("2", "output"),
        ("3", "execution_completed"),
        ("4", "result_stored"),
    ]
    journal = door.engine.memory.journals[execution_id]
    assert [event.data for event in events_of(answer)] == [stored.body for stored in journal]
    assert not door.engine.open_cursors


@pytest.mark.behaviour(9)
async def test_the_first_block_carries_retry_id_and_data() -> None:
    """A block without data would be an empty message to fetch-event-source, and one without an id no place to resume."""
    door = await make_door()
    execution_id = await door.finished()

    answer = await follow(door, f"{URL}/{execution_id}/stream")

    blocks = answer.body.split(b"\n\n")
    assert blocks[0].startswith(b"retry: 3000\nid: 1\nevent: execution_requested\ndata: {")
    assert blocks[-1] == b""
    assert all(b"\ndata: " in block for block in blocks[:-1])
    assert answer.body.count(b"retry:") == 1


@pytest.mark.parametrize(
    ("query", "header"),
    [
        ("?after=2", ""),
        ("?last_event_id=2", ""),
        ("?lastEventId=2", ""),
        ("", "2"),
        ("?after=0", "2"),
        ("?after=9", "2"),
    ],
)
@pytest.mark.behaviour(8)
async def test_every_form_of_cursor_resumes_and_the_header_wins(query: str, header: str) -> None:
    """A browser repeats the URL of its first connection; only the header moves on."""
    door = await make_door()
    execution_id = await door.finished()

    answer = await follow(door, f"{URL}/{execution_id}/stream{query}", **({"last_event_id": header} if header else {}))

    assert ids_of(answer) == ["3", "4"]


@pytest.mark.parametrize("cursor", ["x", "-1", "5", "1.5", "99999999999999999999", "1-2", "%00", "%F0%9F%8E%89", "٣"])
@pytest.mark.behaviour(10)
async def test_a_cursor_that_is_none_is_refused(cursor: str) -> None:
    """Garbage, negative and beyond the end: each says what would be accepted, and nothing is started."""
    door = await make_door()
    execution_id = await door.finished()

    answer = await door.ask("GET", f"{URL}/{execution_id}/stream?after={cursor}")

    assert (answer.status, answer.json()["errors"][0]["path"]) == (400, "after")
    assert answer.json()["errors"][0]["accepted"]
    assert door.engine.subscribe_count == 0


@pytest.mark.behaviour(10)
async def test_a_cursor_beyond_the_end_is_told_the_end() -> None:
    """A client that mixed two executions up learns it at once."""
    door = await make_door()
    execution_id = await door.finished()

    answer = await door.ask("GET", f"{URL}/{execution_id}/stream?after=5")

    assert answer.json()["errors"][0]["accepted"] == "at most 4, the last event there is"


@pytest.mark.behaviour(9)
async def test_a_reconnect_that_has_everything_is_told_to_stop() -> None:
    """204 is the one status after which EventSource does not come back."""
    door = await make_door()
    execution_id = await door.finished()

    answer = await door.ask("GET", f"{URL}/{execution_id}/stream", last_event_id="4")

    assert (answer.status, answer.body) == (204, b"")


async def test_head_starts_nothing() -> None:
    """Quart maps HEAD onto GET, and the generator would run for ever without a reader."""
    door = await make_door()
    execution_id = await door.begin()

    answer = await door.ask("HEAD", f"{URL}/{execution_id}/stream")

    assert (answer.status, answer.body, door.engine.subscribe_count) == (200, b"", 0)
    assert answer.headers["content-type"].startswith("text/event-stream")


@pytest.mark.behaviour(19)
async def test_too_many_streams_are_refused_before_the_headers() -> None:
    """A status can only be given before the first byte; Retry-After says when to come back."""
    door = await make_door()
    execution_id = await door.begin()
    door.engine.max_streams = 0

    answer = await door.ask("GET", f"{URL}/{execution_id}/stream")

    assert (answer.status, answer.json()["code"], answer.headers["retry-after"]) == (429, "too_many_streams", "5")


@pytest.mark.behaviour(14)
async def test_silence_is_broken_by_two_bytes_on_time(autojump_clock: MockClock) -> None:
    """`:` and a newline every 15 s and nothing else: a blank line would make an empty message."""
    door = await make_door()
    execution_id = await door.begin()

    async with door.open(f"{URL}/{execution_id}/stream") as answer:
        await answer.wait_for(b"execution_requested")
        began_at = trio.current_time()
        await trio.sleep(61)
        await door.engine.write(execution_id, "late")
        await answer.wait_for(b"late")

    silent = [(round(at - began_at, 6), chunk) for at, chunk in answer.chunks[1:]]
    assert silent[:4] == [(15.0, b":\n"), (30.0, b":\n"), (45.0, b":\n"), (60.0, b":\n")]
    assert silent[4][0] == 61.0


async def test_a_stream_outlives_the_frameworks_timeout(autojump_clock: MockClock) -> None:
    """Quart-trio cuts responses after 60 s unless it is told not to; an hour of silence is an ordinary stream."""
    door = await make_door(lifetime_s=7200.0)
    execution_id = await door.begin()

    async with door.open(f"{URL}/{execution_id}/stream") as answer:
        await trio.sleep(3599)
        assert not answer.is_over.is_set()
        await door.engine.finish(execution_id)
        await answer.is_over.wait()

    assert ids_of(answer) == ["1", "2", "3"]
    assert sum(chunk == b":\n" for _, chunk in answer.chunks) == 239


@pytest.mark.behaviour(19)
async def test_a_connection_has_a_lifetime(autojump_clock: MockClock) -> None:
    """It ends with a reason and the id to resume from, so that load spreads and credentials are checked again."""
    door = await make_door(lifetime_s=100.0)
    execution_id = await door.begin()

    answer = await follow(door, f"{URL}/{execution_id}/stream")

    last = events_of(answer)[-1]
    assert (last.name, last.id, answer.chunks[-1][0] - answer.chunks[0][0]) == ("evicted", "1", 100.0)
    assert msgspec.json.decode(last.data) == {"type": "evicted", "reason": "lifetime", "last_seq": 1}


async def test_a_stream_ends_no_later_than_its_credential(autojump_clock: MockClock) -> None:
    """A token that has expired shows nothing any more, not even on a line that is open."""
    door = await make_door(expires_at=EPOCH + timedelta(seconds=trio.current_time() % 10**6 + 40))
    execution_id = await door.begin()

    answer = await follow(door, f"{URL}/{execution_id}/stream")

    assert b"credential_expired" in answer.body
    assert answer.chunks[-1][0] - answer.chunks[0][0] == pytest.approx(40, abs=0.1)


@pytest.mark.parametrize("reason", ["slow", "draining", "restarted"])
@pytest.mark.behaviour(17)
async def test_an_evicted_viewer_is_told_where_to_resume(reason: str) -> None:
    """The block's id repeats the cursor, so that every client comes back to where it was."""
    door = await make_door()
    execution_id = await door.begin()

    async with door.open(f"{URL}/{execution_id}/stream") as answer:
        await answer.wait_for(b"execution_requested")
        door.engine.evict_all(reason)
        await answer.is_over.wait()

    last = events_of(answer)[-1]
    assert (last.name, last.id, msgspec.json.decode(last.data)["reason"]) == ("evicted", "1", reason)


async def test_a_draining_server_answers_200_and_ends() -> None:
    """Any other status would stop an EventSource for good."""
    door = await make_door()
    execution_id = await door.begin()
    door.engine.drain()

    answer = await follow(door, f"{URL}/{execution_id}/stream?after=1")

    assert answer.status == 200
    assert answer.body.startswith(b'retry: 3000\nid: 1\nevent: evicted\ndata: {"type":"evicted","reason":"draining"')


@pytest.mark.behaviour(18)
async def test_a_viewer_that_leaves_gives_its_place_back() -> None:
    """Both while it waits and while the server is in the middle of sending to it."""
    door = await make_door()
    execution_id = await door.begin()

    async with door.open(f"{URL}/{execution_id}/stream") as answer:
        await answer.wait_for(b"execution_requested")
        assert len(door.engine.open_cursors) == door.app.front.streams.open_count == 1

    assert not door.engine.open_cursors
    assert door.app.front.streams.open_count == 0


async def test_a_viewer_cancelled_before_its_headers_gives_its_place_back() -> None:
    """The place is taken before the first byte, so it must come back even if there never is one."""
    door = await make_door()
    execution_id = await door.begin()
    blocked = trio.Event()

    with trio.CancelScope() as scope:
        async with open_call(door.app, "GET", f"{URL}/{execution_id}/stream", headers=door.headers()) as answer:

            async def never(_message: object) -> None:
                blocked.set()
                await trio.sleep_forever()

            answer.send = never  # type: ignore[method-assign] # a client that takes nothing
            await blocked.wait()
            assert len(door.engine.open_cursors) == 1
            scope.cancel()

    assert not door.engine.open_cursors
    assert door.app.front.streams.open_count == 0


@pytest.mark.behaviour(15)
async def test_frames_are_made_once_for_all_viewers() -> None:
    """Two viewers of one event are sent the same bytes object."""
    door = await make_door()
    execution_id = await door.begin()

    target = f"{URL}/{execution_id}/stream?after=1"
    async with door.open(target) as one, door.open(target) as two:
        await one.has_started.wait()
        await two.has_started.wait()
        await trio.testing.wait_all_tasks_blocked()
        await door.engine.finish(execution_id)
        await one.is_over.wait()
        await two.is_over.wait()

    assert one.body == two.body
    assert len(one.chunks) == len(two.chunks) == 1, "what is received at once is sent at once"


async def test_several_executions_share_a_connection_and_resume_exactly() -> None:
    """One id resumes all of them: each event arrives once, wherever the connection broke."""
    door = await make_door()
    first, second = await door.begin(), await door.begin()
    target = f"/api/v1/stream?execution={first}&execution={second}"
    async with door.open(target) as before:
        await door.engine.write(first, "a")
        await door.engine.write(second, "b")
        await before.wait_for(b'"text":"b"')
        await before.wait_for(b'"text":"a"')
    assert set(ids_of(before)) <= {"1-0", "0-1", "2-0", "0-2", "1-1", "2-1", "1-2", "2-2"}

    await door.engine.finish(first)
    await door.engine.finish(second)
    after = await follow(door, target, last_event_id=ids_of(before)[-1])

    seen = [msgspec.json.decode(event.data) for event in events_of(before) + events_of(after)]
    assert [event["seq"] for event in seen if event["execution_id"] == first] == [1, 2, 3, 4]
    assert [event["seq"] for event in seen if event["execution_id"] == second] == [1, 2, 3, 4]
    assert ids_of(after)[-1] == "4-4"
    assert (await door.ask("GET", target, last_event_id="4-4")).status == 204
    assert not door.engine.open_cursors


async def test_an_evicted_member_ends_the_shared_connection_with_its_cursor() -> None:
    """The composite cursor stays exact, so nothing is lost or seen twice."""
    door = await make_door()
    first, second = await door.begin(), await door.begin()

    async with door.open(f"/api/v1/stream?execution={first}&execution={second}&after=1-0") as answer:
        await answer.wait_for(b"execution_requested")
        door.engine.evict_all("slow")
        await answer.is_over.wait()

    last = events_of(answer)[-1]
    assert (last.name, last.id) == ("evicted", "1-1")
    assert answer.body.count(b"\n\n") == 2


@pytest.mark.parametrize("query", ["", "execution=a&execution=a", "&".join(f"execution=e{i}" for i in range(21))])
async def test_a_shared_stream_of_nothing_or_too_much_is_refused(query: str) -> None:
    """The number of executions is bounded, because each holds a place and a page."""
    door = await make_door()

    answer = await door.ask("GET", f"/api/v1/stream?{query}")

    assert (answer.status, answer.json()["errors"][0]["path"]) == (400, "execution")


async def test_output_is_exact() -> None:
    """Byte for byte, of one stream, from the journal; after the end in ranges too."""
    door = await make_door()
    execution_id = await door.begin()
    await door.engine.write(execution_id, "hé")
    await door.engine.write(execution_id, "llo\n", offset=3)
    target = f"{URL}/{execution_id}/output?stream=stdout"

    running = await door.ask("GET", target, range="bytes=1-2")
    await door.engine.finish(execution_id, total_bytes=7)
    whole = await door.ask("GET", target)
    part = await door.ask("GET", target, range="bytes=1-4")
    beyond = await door.ask("GET", target, range="bytes=7-")

    assert (running.status, running.body) == (200, "héllo\n".encode())
    assert (whole.status, whole.body, whole.headers["content-length"]) == (200, "héllo\n".encode(), "7")
    assert (part.status, part.body, part.headers["content-range"]) == (206, "héllo".encode()[1:5], "bytes 1-4/7")
    assert (beyond.status, beyond.json()["code"]) == (416, "range_not_satisfiable")
    assert (await door.ask("GET", f"{URL}/{execution_id}/output?stream=stderr")).body == b""
    assert (await door.ask("GET", f"{URL}/{execution_id}/output?stream=x")).status == 400
