"""Watching on the real actors: whoever comes, whenever and through whichever door, sees one journal and harms nobody."""

from __future__ import annotations

import gc
import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import msgspec
import pytest
import trio
import trio.testing

from execd.actors.broadcast import Cursor
from execd.adapters.memory_store import MemoryStore
from execd.core.codec import StoredEvent
from execd.core.events import ExecutionId, Status, WorkspaceId
from execd.http.access import Role
from execd.http.sse import EventStreamBody, JournalFeed
from execd.ports import Cancel
from tests.http.asgi import Answer, call, events_of, open_call
from tests.http.real_doors import RUNS, Doors, open_doors
from tests.support.engines import TEST_SETTINGS, World, open_world, with_stream
from tests.support.scripted_runner import ScriptedPod
from tests.support.stores import TroubledStore

SCRIPT = {"kind": "script", "language": "python", "source": "x"}
STEP = {"type": "script", "language": "python"}
HOUR_S = 3600.0
YEAR_S = 365 * 24 * HOUR_S


async def talk(pod: ScriptedPod) -> None:
    """Write ten lines, one a second; fail where the source is `bad`."""
    for number in range(10):
        await pod.write(f"{pod.request.node} {number}\n".encode())
        await trio.sleep(1)
    await pod.exit(3 if pod.request.spec.source == "bad" else 0)


async def be_silent(pod: ScriptedPod) -> None:
    """Say nothing for an hour."""
    with trio.move_on_after(HOUR_S):
        await pod.stop_asked.wait()
        await pod.exit(signal=15, cancelled=True)
        return
    await pod.exit(0)


def seqs_of(answer: Answer) -> list[int]:
    return [int(event.id) for event in events_of(answer) if event.name != "evicted"]


def journal_of(world: World, execution_id: str) -> list[bytes]:
    return [stored.body for stored in world.store.journals[ExecutionId(execution_id)]]


async def poll(doors: Doors, execution_id: str, *, limit: int = 7) -> list[bytes]:
    """Follow by plain JSON, asking again every two seconds until the end."""
    seen: list[bytes] = []
    after = 0
    while not (seen and b'"type":"result_stored"' in seen[-1]):
        page = await doors.ask("GET", f"{RUNS}/{execution_id}/events?after={after}&limit={limit}")
        items = msgspec.json.decode(page.body, type=dict[str, msgspec.Raw])["items"]
        seen.extend(bytes(item) for item in msgspec.json.decode(items, type=list[msgspec.Raw]))
        after = page.json()["next_after"]
        await trio.sleep(0 if msgspec.json.decode(items) else 2)
    return seen


@pytest.mark.behaviour(3, 9)
async def test_what_ended_is_told_to_its_end_at_any_age_and_after_a_restart(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A year later, by a process that never ran it, through every door: the same events, and then it is over."""
    contents = MemoryStore()
    settings = with_stream(TEST_SETTINGS, hot_history_s=300)
    async with open_world(talk, store=TroubledStore(contents), settings=settings) as world:
        doors = await open_doors(world)
        execution_id = await doors.run(**SCRIPT)
        fresh = await doors.follow(execution_id)
        await trio.sleep(301)
        assert world.engine.statistics()["execd_hot_executions"] == 0
        old = await doors.follow(execution_id)
    await trio.sleep(YEAR_S)

    async with open_world(talk, store=TroubledStore(contents), settings=settings) as world:
        doors = await open_doors(world)
        ancient = await doors.follow(execution_id)
        async with doors.socket(f"{RUNS}/{execution_id}/ws") as socket:
            await socket.is_over.wait()
        polled = await poll(doors, execution_id)
        again = await doors.ask("GET", f"{RUNS}/{execution_id}/stream", **{"last-event-id": str(seqs_of(old)[-1])})

    journal = [stored.body for stored in contents.journals[execution_id]]
    assert fresh.body == old.body == ancient.body
    assert [event.data for event in events_of(ancient)] == [text.encode() for _, text in socket.frames] == polled
    assert polled == journal
    assert events_of(ancient)[-1].name == "result_stored"
    assert socket.close == (1000, "complete")
    assert (again.status, again.body) == (204, b"")


@pytest.mark.behaviour(5)
@pytest.mark.parametrize("place", ["node", "body"])
async def test_a_failure_is_a_failure_everywhere(place: str, autojump_clock: trio.testing.MockClock) -> None:
    """Journal, stream, result, record and list agree; nowhere is it called completed."""
    bad = {"id": "bad", **STEP, "source": "bad"}
    nodes = [bad] if place == "node" else [{"id": "sub", "type": "workflow", "nodes": [bad]}]
    async with open_world(talk) as world:
        doors = await open_doors(world)
        last = {"id": "last", "type": "set", "values": 1, "needs": [nodes[0]["id"]]}
        execution_id = await doors.run(kind="workflow", nodes=[*nodes, last])
        streamed = await doors.follow(execution_id)
        result = (await doors.ask("GET", f"{RUNS}/{execution_id}/result")).json()
        shown = (await doors.ask("GET", f"{RUNS}/{execution_id}")).json()
        failed = (await doors.ask("GET", f"{RUNS}?status=failed")).json()["items"]
        completed = (await doors.ask("GET", f"{RUNS}?status=completed")).json()["items"]

    name = "bad" if place == "node" else "sub/bad"
    events = [json.loads(event.data) for event in events_of(streamed)]
    assert [event.data for event in events_of(streamed)] == journal_of(world, execution_id)
    assert [e["type"] for e in events if e.get("node") == name][-1] == "node_failed"
    assert [e["type"] for e in events if e["type"].startswith("execution_")][-1] == "execution_failed"
    assert [(node["id"], node["status"]) for node in result["nodes"]] == [
        (nodes[0]["id"], "failed"),
        ("last", "not_run"),
    ]
    assert (result["status"], shown["status"], shown["error"]["code"]) == ("failed", "failed", "exit")
    assert [item["id"] for item in failed] == [execution_id]
    assert completed == []


@pytest.mark.behaviour(8)
@pytest.mark.parametrize("stay_s", [0.0, 0.3, 1.7, 4.0])
async def test_who_comes_and_goes_while_events_are_written_misses_none(
    stay_s: float, autojump_clock: trio.testing.MockClock
) -> None:
    """The seam between what is stored and what is live is crossed at every moment of a run with nodes side by side."""
    async with open_world(talk) as world:
        doors = await open_doors(world)
        nodes = [{"id": f"n{number}", **STEP, "source": "x"} for number in range(4)]
        execution_id = await doors.run(kind="workflow", nodes=nodes)
        seen: list[int] = []
        is_complete = False
        while not is_complete:
            cursor = {"last-event-id": str(seen[-1])} if seen else {}
            async with doors.stream(execution_id, **cursor) as answer:
                await answer.has_started.wait()
                await trio.testing.wait_all_tasks_blocked()
                with trio.move_on_after(stay_s):
                    await answer.is_over.wait()
                seen += seqs_of(answer)
                is_complete = b"event: result_stored" in answer.body or answer.status == 204
            await trio.sleep(0.2)

    assert seen == list(range(1, len(world.store.journals[execution_id]) + 1))


@pytest.mark.behaviour(10)
async def test_a_cursor_that_cannot_be_right_is_refused_at_every_door(autojump_clock: trio.testing.MockClock) -> None:
    """Not waited for, not answered with an empty stream: what would be accepted is said, once, and nothing is held."""
    async with open_world(be_silent) as world:
        doors = await open_doors(world)
        execution_id = await doors.run(**SCRIPT)
        await trio.sleep(1)
        head = len(world.store.journals[execution_id])
        beyond = head + 100
        streamed = await call(doors.app, "GET", f"{RUNS}/{execution_id}/stream?after={beyond}", headers=doors.headers)
        shared = f"/api/v1/stream?execution={execution_id}&after={beyond}"
        together = await call(doors.app, "GET", shared, headers=doors.headers)
        async with doors.socket(f"{RUNS}/{execution_id}/ws?after={beyond}") as socket:
            await socket.is_over.wait()
        async with doors.socket("/api/v1/ws") as many:
            await many.say(type="subscribe", execution_id=execution_id, after=beyond, id=1)
            await trio.testing.wait_all_tasks_blocked()
        polled = (await doors.ask("GET", f"{RUNS}/{execution_id}/events?after={beyond}")).json()

        for answer in (streamed, together):
            assert answer.status == 400
            assert answer.json()["errors"][0]["accepted"] == f"at most {head}, the last event there is"
        assert socket.close == (4400, "invalid_request")
        assert [(m["type"], m["id"]) for m in many.messages if m["type"] != "ping"] == [("error", 1)]
        assert (polled["items"], polled["head_seq"]) == ([], head)
        assert world.engine.statistics()["execd_viewers"] == 0


@pytest.mark.behaviour(10)
async def test_a_journal_is_whole_as_long_as_its_execution_is_there(autojump_clock: trio.testing.MockClock) -> None:
    """Retention takes both at once, so no cursor falls into a hole: it reads on, or the execution is unknown."""
    async with open_world(talk) as world:
        doors = await open_doors(world)
        execution_id = await doors.run(**SCRIPT)
        await doors.follow(execution_id)
        head = len(world.store.journals[execution_id])
        assert seqs_of(await doors.follow(execution_id, "?after=1")) == list(range(2, head + 1))
        finished_at = world.store.records[execution_id].finished_at
        assert finished_at is not None
        await trio.sleep(1000)
        await world.store.sweep(finished_before=finished_at.replace(year=2100), limit=10)

        for path in ("/stream?after=1", "/events?after=1", "/result", "/output"):
            gone = await call(doors.app, "GET", f"{RUNS}/{execution_id}{path}", headers=doors.headers)
            assert (gone.status, gone.json()["code"]) == (404, "not_found")


@pytest.mark.behaviour(11)
async def test_who_comes_late_sees_what_every_node_did(autojump_clock: trio.testing.MockClock) -> None:
    """In the middle of a run, without a cursor: what is over, what runs and what comes, in order from the first event."""
    async with open_world(talk) as world:
        doors = await open_doors(world)
        chain = [
            {"id": "a", **STEP, "source": "x"},
            {"id": "b", **STEP, "source": "x", "needs": ["a"]},
            {"id": "c", "type": "set", "values": 1, "needs": ["b"]},
        ]
        execution_id = await doors.run(kind="workflow", nodes=chain)
        await trio.sleep(15)
        async with doors.stream(execution_id) as late:
            await trio.sleep(0.1)
            known = [(json.loads(event.data).get("node"), event.name) for event in events_of(late)]
            await late.is_over.wait()

    assert ("a", "node_completed") in known
    assert ("b", "node_started") in known
    assert ("b", "node_completed") not in known
    assert seqs_of(late) == list(range(1, len(world.store.journals[execution_id]) + 1))


@pytest.mark.behaviour(13)
async def test_polling_gives_the_same_bytes_as_the_stream(autojump_clock: trio.testing.MockClock) -> None:
    """For networks whose proxies hold a stream back: asked every two seconds while it runs, and every page is full or the last."""
    polled: list[bytes] = []
    async with open_world(talk) as world:
        doors = await open_doors(world)
        execution_id = await doors.run(kind="workflow", nodes=[{"id": n, **STEP, "source": "x"} for n in "abc"])

        async def follow_by_polling() -> None:
            polled.extend(await poll(doors, execution_id))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow_by_polling)
            streamed = await doors.follow(execution_id)

    assert polled == [event.data for event in events_of(streamed)]
    assert len(polled) > 30


@pytest.mark.behaviour(14)
@pytest.mark.parametrize("is_paused", [False, True])
async def test_silence_is_broken_every_fifteen_seconds_at_every_door(
    is_paused: bool, autojump_clock: trio.testing.MockClock
) -> None:
    """A node that says nothing for an hour, and a pause of an hour: proxies cut what is silent for 30 s."""
    async with open_world(be_silent) as world:
        doors = await open_doors(world, lifetime_s=10 * HOUR_S)
        execution_id = await doors.run(kind="workflow", nodes=[{"id": "n", **STEP, "source": "x"}])
        other = await doors.run(kind="workflow", nodes=[{"id": "n", "type": "wait", "seconds": HOUR_S}])
        await trio.sleep(1)
        if is_paused:
            await doors.ask("POST", f"{RUNS}/{execution_id}/pause")
        shared = f"/api/v1/stream?execution={execution_id}&execution={other}"
        async with (
            doors.stream(execution_id) as alone,
            call_stream(doors, shared) as together,
            doors.socket(f"{RUNS}/{execution_id}/ws") as socket,
            doors.socket("/api/v1/ws") as many,
        ):
            await many.say(type="subscribe", execution_id=execution_id)
            await trio.sleep(HOUR_S - 5)

            beats = [at for at, chunk in alone.chunks if chunk == b":\n"]
            assert len(beats) == len([1 for _, chunk in together.chunks if chunk == b":\n"]) == 239
            assert {round(later - at, 6) for at, later in pairwise(beats)} == {15.0}
            for door in (socket, many):
                pings = [at for at, text in door.frames if text == '{"type":"ping"}']
                assert len(pings) == 239
                assert {round(later - at, 6) for at, later in pairwise(pings)} == {15.0}
        await world.engine.command(execution_id, Cancel(by="u"))
        await world.engine.command(other, Cancel(by="u"))


def call_stream(doors: Doors, target: str) -> Any:
    return open_call(doors.app, "GET", target, headers=doors.headers)


class CountingStore(TroubledStore):
    """Counts how often a journal is read."""

    read_count = 0

    async def read_events(self, *args: Any, **kwargs: Any) -> Sequence[StoredEvent]:
        self.read_count += 1
        return await super().read_events(*args, **kwargs)


@pytest.mark.behaviour(15)
async def test_a_hundred_viewers_get_the_same_bytes_from_one_reading(autojump_clock: trio.testing.MockClock) -> None:
    """Once they are level the store is not read for them: what is published is one log, and each is a place in it."""
    store = CountingStore()
    async with open_world(talk, store=store) as world, trio.open_nursery() as nursery:
        doors = await open_doors(world)
        execution_id = await doors.run(**SCRIPT)
        await trio.sleep(0.5)
        answers: list[Answer] = []

        async def view() -> None:
            answers.append(await doors.follow(execution_id))

        for _ in range(100):
            nursery.start_soon(view)
        await trio.sleep(1)
        level = store.read_count
        await trio.sleep(7)
        assert store.read_count == level
    assert len({answer.body for answer in answers}) == 1
    assert len(answers) == 100
    assert seqs_of(answers[0]) == list(range(1, len(store.journals[execution_id]) + 1))


@pytest.mark.behaviour(16)
async def test_a_second_tab_neither_closes_nor_starves_the_first(autojump_clock: trio.testing.MockClock) -> None:
    """The same user, the same credential, on every kind of stream: those who come, stay or go are nothing to the others."""
    async with open_world(talk) as world:
        doors = await open_doors(world)
        execution_id = await doors.run(**SCRIPT)
        async with doors.stream(execution_id) as first, doors.socket(f"{RUNS}/{execution_id}/ws") as device:
            for _ in range(5):
                async with doors.stream(execution_id) as tab, doors.socket(f"{RUNS}/{execution_id}/ws"):
                    await tab.wait_for(b"node_started")
                    await trio.sleep(1)
                    assert not first.is_over.is_set()
            second = await doors.follow(execution_id)
            await first.is_over.wait()
            await device.is_over.wait()
        came_at = [at for at, chunk in first.chunks for _ in range(chunk.count(b"event: output\n"))]

    assert first.body == second.body
    assert [text.encode() for _, text in device.frames] == [event.data for event in events_of(first)]
    assert [round(at - came_at[0]) for at in came_at] == list(range(10)), "each line came in its second"


def living_tasks() -> int:
    return trio.lowlevel.current_statistics().tasks_living


def kept_objects() -> list[object]:
    gc.collect()
    return [one for one in gc.get_objects() if isinstance(one, Cursor | JournalFeed | EventStreamBody)]


@pytest.mark.slow
@pytest.mark.behaviour(18)
async def test_who_leaves_leaves_nothing_behind(autojump_clock: trio.testing.MockClock) -> None:
    """Tasks and memory of fifty viewers are gone at once, and the run is what it is without them."""
    async with open_world(talk) as world:
        doors = await open_doors(world)
        watched, alone = await doors.run(**SCRIPT), await doors.run(**SCRIPT)
        await trio.sleep(0.5)
        tasks_before = living_tasks()
        async with trio.open_nursery() as nursery:

            async def view() -> None:
                async with doors.stream(watched) as answer:
                    await answer.wait_for(b"node_started")
                    await trio.sleep(2)

            async def view_by_socket() -> None:
                async with doors.socket(f"{RUNS}/{watched}/ws") as socket:
                    await trio.sleep(2)
                    assert socket.frames

            for _ in range(25):
                nursery.start_soon(view)
                nursery.start_soon(view_by_socket)
            await trio.sleep(1)
            assert living_tasks() > tasks_before + 50
            assert world.engine.statistics()["execd_viewers"] == 50
        assert trio.current_time() % 10 < 4
        await trio.testing.wait_all_tasks_blocked()
        assert living_tasks() == tasks_before
        assert world.engine.statistics()["execd_viewers"] == 0
        assert doors.app.front.streams.open_count == 0
        assert kept_objects() == []
        for execution_id in (watched, alone):
            await world.watch(execution_id)
    records = [world.store.records[one] for one in (watched, alone)]
    assert [record.status for record in records] == [Status.COMPLETED] * 2
    assert len({record.head_seq for record in records}) == 1


@pytest.mark.behaviour(19)
async def test_places_are_limited_and_given_back_and_age_is_no_loss(autojump_clock: trio.testing.MockClock) -> None:
    """The third of two is told when to come back; a connection that is old enough says where to go on, and nothing is lost."""
    async with open_world(talk, settings=with_stream(TEST_SETTINGS, per_workspace=2)) as world:
        doors = await open_doors(world, lifetime_s=4.0)
        execution_id = await doors.run(**SCRIPT)
        target = f"{RUNS}/{execution_id}/stream"
        async with doors.stream(execution_id) as first, doors.socket(f"{RUNS}/{execution_id}/ws") as second:
            await first.wait_for(b"node_started")
            refused = await call(doors.app, "GET", target, headers=doors.headers)
            async with doors.socket(f"{RUNS}/{execution_id}/ws") as third:
                await third.is_over.wait()
            await first.is_over.wait()
            await second.is_over.wait()
        last = events_of(first)[-1]
        rest = await doors.follow(execution_id, **{"last-event-id": last.id or ""})
        while events_of(rest)[-1].name == "evicted":
            more = await doors.follow(execution_id, **{"last-event-id": events_of(rest)[-1].id or ""})
            rest.chunks += more.chunks

    assert (refused.status, refused.headers["retry-after"]) == (429, "5")
    assert third.close == (4429, "too_many_streams")
    assert second.close == (4200, "lifetime")
    assert (last.name, json.loads(last.data)["reason"]) == ("evicted", "lifetime")
    assert seqs_of(first) + seqs_of(rest) == list(range(1, len(world.store.journals[execution_id]) + 1))


@pytest.mark.behaviour(20)
async def test_every_run_is_watched_live_by_everyone_of_its_workspace(autojump_clock: trio.testing.MockClock) -> None:
    """By request, of a definition, of a retry, of a program that embeds the engine: the same events at the same seconds."""
    async with open_world(talk) as world:
        doors = await open_doors(world)
        watcher = await doors.another(user="somebody else", role=Role.VIEWER)
        stranger = await doors.another(user="stranger", role=Role.ADMIN, workspace="other")
        await doors.save({**SCRIPT, "name": "saved"})
        first = await doors.run(**SCRIPT)
        lines = [await seconds_of_lines(watcher, first)]
        retried = (await doors.ask("POST", f"{RUNS}/{first}/retry", {})).json()["id"]
        lines.append(await seconds_of_lines(watcher, retried))
        saved = await doors.run(definition="saved")
        lines.append(await seconds_of_lines(watcher, saved))
        embedded = await world.submit("embedded")
        lines.append(await seconds_of_lines(watcher, embedded))
        types = [
            [event.name for event in events_of(await watcher.follow(one))] for one in (first, retried, saved, embedded)
        ]
        hidden = await call(doors.app, "GET", f"{RUNS}/{first}/stream", headers=stranger.headers)

    assert lines == [list(range(10))] * 4
    assert types == [types[0]] * 4
    assert hidden.status == 404
    assert world.store.records[embedded].workspace == WorkspaceId("w")


async def seconds_of_lines(doors: Doors, execution_id: str) -> list[int]:
    """Watch from the start, and give the second of the run in which each line came."""
    began_at = trio.current_time()
    answer = await doors.follow(execution_id)
    return [round(at - began_at) for at, chunk in answer.chunks for _ in range(chunk.count(b"event: output\n"))]


async def chatter(pod: ScriptedPod) -> None:
    """Write a line a second for an hour: such a stream is never silent, so nothing may wait for silence."""
    for number in range(3600):
        await pod.write(b"%d\n" % number)
        await trio.sleep(1)
    await pod.exit(0)


@pytest.mark.behaviour(21)
@pytest.mark.parametrize("script", [be_silent, chatter])
@pytest.mark.parametrize("how", ["token", "token of a ticket", "token of a cookie", "sign out"])
async def test_who_is_no_longer_allowed_sees_no_more_by_the_next_heartbeat(
    how: str, script: Any, autojump_clock: trio.testing.MockClock
) -> None:
    """Revoking a token ends every stream that rests on it within 15 s, says so, and coming back is refused; others watch on."""
    async with open_world(script) as world:
        doors = await open_doors(world)
        execution_id = await doors.run(**SCRIPT)
        owner = await doors.another(user="admin", role=Role.ADMIN)
        leaver = await doors.another(user="leaver", role=Role.RUNNER)
        headers, query = leaver.headers, ""
        if how == "token of a ticket":
            query = "?ticket=" + (await leaver.ask("POST", "/api/v1/tickets")).json()["ticket"]
            headers = {}
        elif how in {"token of a cookie", "sign out"}:
            body = {"token": leaver.headers["authorization"].removeprefix("Bearer ")}
            login = await owner.ask("POST", "/api/v1/session", body)
            headers = {"cookie": login.headers["set-cookie"].partition(";")[0], "origin": "http://localhost"}
        leaver.headers = headers
        async with doors.stream(execution_id) as stays, leaver.stream(execution_id, query) as ends:
            await ends.has_started.wait()
            again = leaver if query else None
            sockets = leaver if again is None else await doors.another(user="x")
            async with sockets.socket(f"{RUNS}/{execution_id}/ws") as socket, sockets.socket("/api/v1/ws") as many:
                await trio.sleep(7.5)
                if how == "sign out":
                    await leaver.ask("DELETE", "/api/v1/session")
                else:
                    await owner.ask("DELETE", f"/api/v1/tokens/{leaver.token_id}")
                if again is not None:
                    await owner.ask("DELETE", f"/api/v1/tokens/{sockets.token_id}")
                revoked_at = trio.current_time()
                await many.say(type="cancel", execution_id=execution_id)
                with trio.fail_after(15.001):
                    await ends.is_over.wait()
                    await socket.is_over.wait()
                    await many.is_over.wait()
            last = events_of(ends)[-1]
            back = await call(doors.app, "GET", f"{RUNS}/{execution_id}/stream", headers=headers)
            await trio.sleep(60)
            assert not stays.is_over.is_set()
            assert not world.runner.pods[0].stop_asked.is_set()

    assert (last.name, json.loads(last.data)["reason"]) == ("evicted", "credential_revoked")
    assert socket.close == many.close == (4401, "credential_revoked")
    assert ends.chunks[-1][0] - revoked_at <= 15
    assert [m["code"] for m in many.messages if m["type"] == "error"] == ["unauthenticated"]
    assert back.status == 401


@pytest.mark.slow
@pytest.mark.behaviour(26)
async def test_no_frame_is_larger_than_twelve_mebibytes(autojump_clock: trio.testing.MockClock) -> None:
    """Twenty outputs of nearly a mebibyte, and a program that writes one piece of 20 MiB: the stream stays in frames that clients
    can hold, and what a result leaves out is named and can still be read, after the run and after a restart."""
    contents = MemoryStore()

    async def flood(pod: ScriptedPod) -> None:
        for _ in range(320):
            await pod.write(b"\0" * 65536)
        await pod.exit(0)

    big = [{"id": f"big{i}", "type": "set", "values": f"{{{{ vars.text }}}}{i}", "needs": []} for i in range(20)]
    async with open_world(flood, store=TroubledStore(contents)) as world:
        doors = await open_doors(world, body_limit_bytes=2 * 2**20)
        text = "x" * 1_000_000
        execution_id = await doors.run(
            kind="workflow", nodes=[*big, {"id": "n", **STEP, "source": "x"}], vars={"text": text}
        )
        streamed = await doors.follow(execution_id)
    async with open_world(flood, store=TroubledStore(contents)) as world:
        doors = await open_doors(world)
        result = (await doors.ask("GET", f"{RUNS}/{execution_id}/result")).json()
        found: dict[str, str] = {}
        after = 0
        while page := (
            await doors.ask("GET", f"{RUNS}/{execution_id}/events?types=node_completed&after={after}")
        ).json():
            if not page["items"]:
                break
            found |= {event["node"]: event["data"].get("output") for event in page["items"]}
            after = page["next_after"]
        output = await doors.ask("GET", f"{RUNS}/{execution_id}/output?node=n")

    assert max(len(event.data) for event in events_of(streamed)) <= 12 * 2**20
    assert result["omitted_outputs"] == [*(f"big{i}" for i in range(8, 20)), "n"]
    assert set(result["outputs"]) == {f"big{i}" for i in range(8)}
    assert all(found[f"big{i}"] == f"{text}{i}" for i in range(20))
    assert output.body == b"\0" * (20 * 2**20)


ODD = {
    "every length of UTF-8": "é€😀\u2028\u0085\r\n".encode() * 3,
    "NUL": b"a\0b\0\0\n",
    "lone surrogates": b"\xed\xa0\x80 \xed\xb0\x80",
    "never UTF-8": b"\xff\xfe\xc0\x80 cut \xe2\x82",
    "what looks like frames": b"data: x\n\nid: 99\nevent: result_stored\n\n",
    "surrogates in JSON": b'{"a": "\\ud800", "b": "\\u0000"}',
    "JSON that nests": b"[" * 5000 + b"]" * 5000,
}


@pytest.mark.behaviour(27)
@pytest.mark.parametrize("name", ODD)
async def test_odd_bytes_pass_and_end_no_stream(name: str, autojump_clock: trio.testing.MockClock) -> None:
    """As output, cut at every byte, and as the value of a node that the next one reads: the same at every door, to the end."""
    written = ODD[name]

    async def write(pod: ScriptedPod) -> None:
        for place in range(min(len(written), 100)):
            await pod.write(written[place : place + 1])
        await pod.write(written[100:])
        await pod.exit(0)

    after = {"id": "after", "type": "set", "values": ["{{ nodes.n.output.stdout }}"], "needs": ["n"]}
    async with open_world(write) as world:
        doors = await open_doors(world)
        execution_id = await doors.run(kind="workflow", nodes=[{"id": "n", **STEP, "source": "x"}, after])
        async with doors.socket(f"{RUNS}/{execution_id}/ws") as socket:
            streamed = await doors.follow(execution_id)
            await socket.is_over.wait()
        polled = await poll(doors, execution_id)
        output = await doors.ask("GET", f"{RUNS}/{execution_id}/output?node=n")
        unnamed = await call(doors.app, "GET", f"{RUNS}/{execution_id}/output", headers=doors.headers)

    blocks = [event.data for event in events_of(streamed)]
    assert blocks == polled == [text.encode() for _, text in socket.frames] == journal_of(world, execution_id)
    assert output.body == written
    assert (unnamed.status, unnamed.json()["errors"][0]["path"]) == (400, "node"), "never 200 with nothing in it"
    assert json.loads(blocks[-1])["data"]["status"] == "completed"
