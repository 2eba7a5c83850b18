"""The client against a server whose connections break in every way the design allows."""

from __future__ import annotations

import httpx2
import msgspec
import pytest
from trio.testing import MockClock

from execd.client import Client, Reconnecting
from execd.client_errors import AnswerError, GapError, RemoteError, UncertainError, UnreachableError
from execd.core.events import Output
from tests.support.scripted_server import (
    ID,
    Connection,
    ScriptedServer,
    json_answer,
    make_journal,
    open_scripted,
    output,
)

JOURNAL = make_journal(*(output(f"line {number}\n") for number in range(10)))


async def read_seqs(client: Client, after_seq: int = 0) -> list[int]:
    """Follow the journal to its end and give the numbers that came."""
    async with client.events(ID, after_seq=after_seq) as events:
        return [event.seq async for event in events]


WHOLE = list(range(1, len(JOURNAL) + 1))


async def test_whole_journal_arrives_decoded() -> None:
    """An undisturbed stream gives each event once, as records."""
    async with open_scripted(ScriptedServer(JOURNAL)) as client, client.events(ID) as events:
        found = [event async for event in events]

    assert [event.seq for event in found] == WHOLE
    assert next(event.data.text for event in found if isinstance(event.data, Output)) == "line 0\n"


@pytest.mark.parametrize(
    "connection",
    [
        pytest.param(Connection(events=5, breaks=True), id="reset"),
        pytest.param(Connection(events=5), id="clean end, as when the lifetime is over"),
        pytest.param(Connection(events=5, after=b'event: evicted\ndata: {"reason":"slow"}\n\n'), id="evicted"),
        pytest.param(Connection(events=5, after=b'id: 6\nevent: output\ndata: {"seq"'), id="torn event"),
    ],
)
async def test_stream_resumes_where_it_broke(connection: Connection, autojump_clock: MockClock) -> None:
    """Whatever ends a connection, the next one begins after the last event, and nothing is lost or doubled."""
    server = ScriptedServer(JOURNAL, [connection])
    async with open_scripted(server) as client:
        seqs = await read_seqs(client)

    assert seqs == WHOLE
    assert server.resumed_after == [0, 5]


async def test_repeated_events_are_dropped(autojump_clock: MockClock) -> None:
    """A server that goes back a little after a break does not make the viewer see double."""
    server = ScriptedServer(JOURNAL, [Connection(events=6, breaks=True), Connection(goes_back=3)])
    async with open_scripted(server) as client:
        assert await read_seqs(client) == WHOLE


async def test_gap_is_an_error() -> None:
    """A missing event is never passed over in silence."""
    server = ScriptedServer(JOURNAL, [Connection(skips=2)])
    async with open_scripted(server) as client:
        with pytest.raises(GapError) as caught:
            await read_seqs(client)

    assert (caught.value.last_seq, caught.value.next_seq) == (0, 3)


async def test_server_restart_is_survived(autojump_clock: MockClock) -> None:
    """While a server restarts, connections are refused, then it is not ready; both are only waiting."""
    plan = [Connection(events=4, breaks=True), Connection(status=0), Connection(status=0), Connection(status=503)]
    waits: list[Reconnecting] = []
    async with open_scripted(ScriptedServer(JOURNAL, plan), waits) as client:
        assert await read_seqs(client) == WHOLE

    assert len(waits) == 4
    assert waits[0].why == "connection reset by peer"


async def test_server_that_stays_away_is_given_up(autojump_clock: MockClock) -> None:
    """Without any contact for the patience of a minute the stream ends with an error, not never."""
    server = ScriptedServer(JOURNAL, [Connection(events=4, breaks=True), *[Connection(status=0)] * 1000])
    async with open_scripted(server) as client:
        with pytest.raises(UnreachableError):
            await read_seqs(client)

    assert 60 <= autojump_clock.current_time() <= 70


async def test_retry_after_is_obeyed(autojump_clock: MockClock) -> None:
    """A server that asks for time gets it."""
    waits: list[Reconnecting] = []
    busy = Connection(status=429, headers={"retry-after": "7"})
    async with open_scripted(ScriptedServer(JOURNAL, [busy]), waits) as client:
        assert await read_seqs(client) == WHOLE

    assert waits[0].wait_s >= 7


async def test_full_workspace_is_waited_for_without_end(autojump_clock: MockClock) -> None:
    """Too many streams is an answer, not silence: the patience for a server that is away does not run out on it."""
    waits: list[Reconnecting] = []
    full = Connection(status=429, headers={"retry-after": "5"})
    async with open_scripted(ScriptedServer(JOURNAL, [full] * 100), waits) as client:
        assert await read_seqs(client) == WHOLE

    assert len(waits) == 100
    assert autojump_clock.current_time() >= 500


async def test_retry_field_is_obeyed(autojump_clock: MockClock) -> None:
    """The `retry` of the stream spreads viewers out after a restart."""
    waits: list[Reconnecting] = []
    draining = Connection(events=0, before=b"retry: 2500\n\n")
    async with open_scripted(ScriptedServer(JOURNAL, [draining]), waits) as client:
        assert await read_seqs(client) == WHOLE

    assert waits[0].wait_s >= 2.5


@pytest.mark.parametrize("status", [401, 403, 404])
@pytest.mark.behaviour(10)
async def test_refusal_ends_the_stream(status: int) -> None:
    """What will not change by waiting is told at once."""
    async with open_scripted(ScriptedServer(JOURNAL, [Connection(status=status)])) as client:
        with pytest.raises(RemoteError) as caught:
            await read_seqs(client)

    assert caught.value.status == status


async def test_no_content_means_nothing_newer() -> None:
    """204 answers a viewer that has it all already."""
    async with open_scripted(ScriptedServer(JOURNAL, [Connection(status=204)])) as client:
        assert await read_seqs(client, after_seq=len(JOURNAL)) == []


async def test_something_else_than_a_stream_is_named() -> None:
    """A login page of some proxy is no stream and is not read as one."""
    html = Connection(headers={"content-type": "text/html"})
    async with open_scripted(ScriptedServer(JOURNAL, [html])) as client:
        with pytest.raises(AnswerError, match="text/html"):
            await read_seqs(client)


async def test_frames_that_are_not_events_are_ignored() -> None:
    """Prime markers, heartbeats and frames of newer servers pass by."""
    noise = b':\nid: 0\nevent: ready\nretry: 100\ndata: {"execution_id":"x"}\n\n: ping\n\n'
    async with open_scripted(ScriptedServer(JOURNAL, [Connection(before=noise)])) as client:
        assert await read_seqs(client) == WHOLE


async def test_events_of_a_newer_server_do_not_break_an_older_client() -> None:
    """An unknown type is left out of `events` and passed on by `journal`."""
    journal = list(JOURNAL)
    journal[4] = msgspec.structs.replace(
        journal[4], type="brand_new", body=journal[4].body.replace(b'"type":"output"', b'"type":"brand_new"')
    )
    async with open_scripted(ScriptedServer(journal)) as client:
        assert await read_seqs(client) == [seq for seq in WHOLE if seq != 5]
        async with client.journal(ID) as stored:
            assert [event.type async for event in stored][4] == "brand_new"


async def test_stopping_early_closes_the_connection() -> None:
    """Leaving the context is enough; nothing goes on reading behind it."""
    server = ScriptedServer(JOURNAL)
    async with open_scripted(server) as client, client.events(ID) as events:
        async for _ in events:
            break

    assert server.resumed_after == [0]


@pytest.mark.behaviour(40)
async def test_submit_is_repeated_with_the_same_key(autojump_clock: MockClock) -> None:
    """A submission whose answer was lost is sent again and cannot run twice."""
    server = ScriptedServer([])
    server.answers = [httpx2.ReadError("reset"), json_answer(202, {"id": ID, "status": "queued"})]
    async with open_scripted(server) as client:
        accepted = await client.submit({"kind": "script"}, idempotency_key="k")

    assert accepted.id == ID
    assert [request.headers["idempotency-key"] for request in server.requests] == ["k", "k"]


async def test_stdin_is_never_sent_twice() -> None:
    """Bytes that may have arrived are not repeated; the caller is told that nobody knows."""
    server = ScriptedServer([])
    server.answers = [httpx2.ReadError("reset")]
    async with open_scripted(server) as client:
        with pytest.raises(UncertainError):
            await client.send_stdin(ID, b"rm -rf\n")

    assert len(server.requests) == 1


async def test_refusal_carries_every_field() -> None:
    """What the server says of each field reaches the caller."""
    problem = {
        "title": "Bad Request",
        "detail": "2 fields are wrong",
        "code": "invalid_request",
        "retryable": False,
        "errors": [{"path": "limits.wall_s", "message": "9 is too much", "accepted": "at most 5"}],
    }
    server = ScriptedServer([])
    server.answers = [json_answer(400, problem)]
    async with open_scripted(server) as client:
        with pytest.raises(RemoteError) as caught:
            await client.submit({}, idempotency_key="k")

    assert caught.value.code == "invalid_request"
    assert caught.value.faults[0].accepted == "at most 5"


async def test_page_of_a_proxy_is_not_shown_as_message() -> None:
    """HTML in an error becomes a sentence with the status."""
    server = ScriptedServer([])
    server.answers = [httpx2.Response(403, content=b"<html>no</html>")]
    async with open_scripted(server) as client:
        with pytest.raises(RemoteError, match="the server answered 403"):
            await client.cancel(ID)


SAVED = {"id": "def-1", "name": "n", "kind": "script", "version": 2, "body": {"source": "x"}}


async def test_a_change_is_sent_again_and_a_new_definition_is_not(autojump_clock: MockClock) -> None:
    """The same change of the same version is made once; a definition saved twice would be refused as its own rival."""
    server = ScriptedServer([])
    server.answers = [httpx2.ReadError("reset"), json_answer(200, SAVED), httpx2.ReadError("reset")]
    async with open_scripted(server) as client:
        changed = await client.definitions.update("n", {"kind": "script"}, version=1)
        with pytest.raises(UncertainError):
            await client.definitions.save({"kind": "script", "name": "n"})

    assert (changed.version, changed.body, changed.dropped_versions) == (2, {"source": "x"}, 0)
    assert [request.headers.get("if-match") for request in server.requests] == ['"1"', '"1"', None]


@pytest.mark.parametrize("name", ["a/b", "..", "."])
async def test_a_name_that_no_path_can_hold_is_looked_for(name: str) -> None:
    """It would lead elsewhere; the page that has a longer name with it in the middle is passed over."""
    longer = SAVED | {"id": "def-2", "name": f"x{name}x"}
    server = ScriptedServer([])
    server.answers = [
        json_answer(200, {"items": [longer], "next_cursor": "7"}),
        json_answer(200, {"items": [SAVED | {"name": name}], "next_cursor": None}),
        json_answer(200, SAVED | {"name": name}),
    ]
    async with open_scripted(server) as client:
        found = await client.definitions.find(name, version=2)

    assert found.name == name
    assert [request.url.path for request in server.requests] == ["/api/v1/definitions"] * 2 + [
        "/api/v1/definitions/def-1"
    ]
    assert [request.url.params.get("cursor") for request in server.requests] == [None, "7", None]


async def test_what_is_wrong_with_a_definition_is_told_as_a_record() -> None:
    """Checking saves nothing and raises nothing."""
    server = ScriptedServer([])
    wrong = {"valid": False, "errors": [{"path": "name", "message": "is missing", "accepted": "a name"}], "new": 1}
    server.answers = [json_answer(200, wrong)]
    async with open_scripted(server) as client:
        validity = await client.definitions.validate({"kind": "script"})

    assert (validity.valid, [fault.path for fault in validity.errors]) == (False, ["name"])
