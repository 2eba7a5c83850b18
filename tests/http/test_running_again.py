"""Running a part of a workflow, or a whole one again: what is kept is kept in that run only, and what is left out is never run."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import trio
import trio.testing

from execd.core.events import Event, ExecutionId, ExecutionRequested, NodeCompleted, NodeStarted, Status
from tests.http.asgi import call
from tests.http.real_doors import RUNS, URL, Doors, open_doors
from tests.support.engines import open_world
from tests.support.performers import constant, perform, script

CHAIN = [
    script("one", "1"),
    script("two", "1", "one"),
    script("three", "hang", "two"),
    script("aside", "1"),
    {"id": "last", "type": "set", "values": ["{{ nodes.two.output.stdout }}"], "needs": ["three"]},
]
FLOW: dict[str, Any] = {"kind": "workflow", "name": "flow", "nodes": CHAIN}


def flow(third: str) -> dict[str, Any]:
    nodes = [node | {"source": third} if node["id"] == "three" else node for node in CHAIN]
    return FLOW | {"nodes": nodes}


def started(events: list[Event]) -> list[str]:
    return [str(event.node) for event in events if isinstance(event.data, NodeStarted)]


def pinned(events: list[Event]) -> list[str]:
    return [str(event.node) for event in events if isinstance(event.data, NodeCompleted) and event.data.pinned]


async def ended(doors: Doors, how: str) -> ExecutionId:
    """Run the chain to an end of this kind."""
    execution_id = await doors.run(**flow({"completed": "1", "failed": "1 bad", "cancelled": "hang"}[how]))
    if how == "cancelled":
        await trio.sleep(5)
        await doors.ask("POST", f"{RUNS}/{execution_id}/cancel")
    _, result = await doors.finish(execution_id)
    assert str(result.status) == how
    return execution_id


async def retry(doors: Doors, execution_id: str, **body: Any) -> ExecutionId:
    return ExecutionId((await doors.ask("POST", f"{RUNS}/{execution_id}/retry", body)).json()["id"])


@pytest.mark.behaviour(35, 37)
@pytest.mark.parametrize("how", ["completed", "failed", "cancelled"])
@pytest.mark.parametrize(
    ("begin", "ran"),
    [
        ("start", ["aside", "last", "one", "three", "two"]),
        ("one", ["last", "one", "three", "two"]),
        ("two", ["last", "three", "two"]),
        ("three", ["last", "three"]),
        ("aside", ["aside"]),
    ],
)
async def test_whatever_ended_runs_again_from_any_node(
    how: str, begin: str, ran: list[str], autojump_clock: trio.testing.MockClock
) -> None:
    """A success, a failure or what was cancelled: a new execution that names the old one, in which that node and what follows it
    run and the rest keeps what it gave. What the old one never finished is missing and runs too."""
    async with open_world(perform) as world:
        doors = await open_doors(world)
        first = await ended(doors, how)
        before = list(world.store.journals[first])
        again = await retry(doors, first, **{"from": begin})
        await trio.sleep(20)
        if not world.store.records[again].status.is_final:
            await doors.ask("POST", f"{RUNS}/{again}/cancel")
        events, _ = await doors.finish(again)

    if begin == "aside" and how != "completed":
        ran = ["aside", "three"]
    if how != "completed":
        ran = [name for name in ran if name != "last"]
    assert sorted(started(events)) == ran
    assert sorted(pinned(events)) == sorted({"one", "two", "aside", "three", "last"} - set(ran) - left_out(how))
    assert isinstance(events[0].data, ExecutionRequested)
    assert events[0].data.attempt_of == first != again
    assert world.store.journals[first] == before


def left_out(how: str) -> set[str]:
    """What neither ran in the first execution nor in the second, whose third node ends as before."""
    return set() if how == "completed" else {"three", "last"}


@pytest.mark.behaviour(47)
async def test_what_is_pinned_is_pinned_in_that_retry_only(autojump_clock: trio.testing.MockClock) -> None:
    """Its event says so. A request or a definition cannot pin; the definition's next run, a retry from the start, and another
    workflow with nodes of the same names do all the work."""
    async with open_world(perform) as world:
        doors = await open_doors(world)
        saved = await doors.save(flow("1"))
        first = await doors.run(definition=saved)
        await doors.finish(first)
        again = await retry(doors, first, **{"from": "three"})
        events, _ = await doors.finish(again)
        later = [await doors.run(definition=saved), await retry(doors, again), await doors.run(**flow("1"))]
        others = [(await doors.finish(one))[0] for one in later]
        shown = (await doors.ask("GET", f"{URL}/{saved}")).body
        for target, body in ((RUNS, flow("1")), (RUNS, {"definition": saved}), (URL, flow("1") | {"name": "other"})):
            sent = msgspec.json.encode(body | {"pins": {"one": {"output": 1}}})
            refused = await call(doors.app, "POST", target, headers=doors.headers, body=sent)
            assert (refused.status, [fault["path"] for fault in refused.json()["errors"]]) == (400, ["pins"])

    assert sorted(pinned(events)) == ["aside", "one", "two"]
    assert all(
        event.data.pinned is (event.node in {"one", "two", "aside"})
        for event in events
        if isinstance(event.data, NodeCompleted)
    )
    assert [(pinned(one), len(started(one))) for one in others] == [([], 5)] * 3
    assert b"pin" not in shown


@pytest.mark.behaviour(48)
@pytest.mark.parametrize("door", ["request", "definition"])
async def test_until_a_node_runs_it_and_what_it_needs(door: str, autojump_clock: trio.testing.MockClock) -> None:
    """Nothing aside, nothing after: such nodes are no part of the execution, so nothing is said of them either."""
    async with open_world(perform) as world:
        doors = await open_doors(world)
        saved = await doors.save(flow("bad"))
        asked = flow("bad") if door == "request" else {"definition": saved}
        execution_id = await doors.run(**asked, until="two")
        events, result = await doors.finish(execution_id)
        key = {"idempotency-key": "k"}
        first = (await doors.ask("POST", RUNS, asked | {"until": "two"}, **key)).json()["id"]
        same = (await doors.ask("POST", RUNS, asked | {"until": "two"}, **key)).json()["id"]
        other = await call(
            doors.app, "POST", RUNS, headers=doors.headers | key, body=msgspec.json.encode(asked | {"until": "one"})
        )

    assert (started(events), result.status) == (["one", "two"], Status.COMPLETED)
    assert [node.id for node in result.nodes] == ["one", "two"]
    assert {str(event.node) for event in events if event.node} == {"one", "two"}
    assert first == same
    assert (other.status, other.json()["code"]) == (409, "idempotency_conflict")


@pytest.mark.behaviour(48)
@pytest.mark.parametrize(
    ("begin", "until", "ran"),
    [
        ("failed", "aside", []),
        ("failed", "two", []),
        ("failed", "three", ["three"]),
        ("two", "two", ["two"]),
        ("two", "three", ["two", "three"]),
        ("one", "two", ["one", "two"]),
        ("start", "aside", ["aside"]),
    ],
)
async def test_until_in_a_retry_runs_only_what_is_missing(
    begin: str, until: str, ran: list[str], autojump_clock: trio.testing.MockClock
) -> None:
    """The chosen node and what it needs, less what an earlier run has given: one node can be tried again and again."""
    async with open_world(perform) as world:
        doors = await open_doors(world)
        first = await ended(doors, "failed")
        again = await retry(doors, first, **{"from": begin, "until": until})
        events, result = await doors.finish(again)

    needed = {"aside": ["aside"], "two": ["one", "two"], "three": ["one", "two", "three"]}[until]
    assert started(events) == ran
    assert sorted(pinned(events)) == sorted(set(needed) - set(ran))
    assert [node.id for node in result.nodes] == needed


@pytest.mark.behaviour(48)
@pytest.mark.parametrize(
    ("body", "accepted"),
    [
        ({"until": "gone"}, "one, two, three, aside, last"),
        ({"from": "two", "until": "one"}, "two, or a node that comes after it"),
        ({"from": "aside", "until": "three"}, "aside, or a node that comes after it"),
    ],
)
async def test_until_is_a_node_that_has_something_to_run(
    body: dict[str, str], accepted: str, autojump_clock: trio.testing.MockClock
) -> None:
    """A slip is told with what would be accepted, at every door, and nothing is made."""
    async with open_world(perform) as world:
        doors = await open_doors(world)
        first = await ended(doors, "completed")
        await doors.save(flow("1"))
        refused = [await post(doors, f"{RUNS}/{first}/retry", body)]
        if "from" not in body:
            refused += [
                await post(doors, RUNS, flow("1") | body),
                await post(doors, RUNS, {"definition": "flow"} | body),
            ]
            refused.append(await post(doors, URL, flow("1") | {"name": "x", "until": "one"}))
        assert len(world.store.records) == 1

    for answer in refused[:3]:
        assert answer.json()["errors"] == [
            {"path": "until", "message": answer.json()["errors"][0]["message"], "accepted": accepted}
        ]
    assert {answer.status for answer in refused} == {400}
    assert [answer.json()["errors"][0]["path"] for answer in refused[3:]] in ([], ["until"])


async def post(doors: Doors, target: str, body: dict[str, Any]) -> Any:
    return await call(doors.app, "POST", target, headers=doors.headers, body=msgspec.json.encode(body))


@pytest.mark.behaviour(40)
async def test_one_key_is_one_execution_however_often_it_is_sent(autojump_clock: trio.testing.MockClock) -> None:
    """Twenty at one instant, and again after it has ended: one program runs; without a key each is a run of its own."""
    asked = {"kind": "script", "language": "python", "source": "1"}
    ids: list[str] = []
    async with open_world(perform) as world:
        doors = await open_doors(world)

        async def send() -> None:
            answer = await doors.ask("POST", RUNS, asked, **{"idempotency-key": "k"})
            ids.append(answer.json()["id"])

        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(send)
        await doors.finish(ExecutionId(ids[0]))
        await send()
        retried = [
            (await doors.ask("POST", f"{RUNS}/{ids[0]}/retry", {}, **{"idempotency-key": "r"})).json()["id"]
            for _ in range(3)
        ]
        for _ in range(5):
            async with doors.stream(ids[0]):
                await trio.sleep(1)
        assert len(world.runner.started) == len(world.store.records) == 2

    assert set(ids) == {ids[0]}
    assert len(ids) == 21
    assert len(set(retried)) == 1


@pytest.mark.behaviour(51)
@pytest.mark.parametrize(
    ("nodes", "path", "named"),
    [
        ([constant("a", "b"), constant("b", "a")], "nodes[0].needs", "a -> b -> a"),
        ([constant("a", "a")], "nodes[0].needs", "a -> a"),
        ([{"id": "a", "type": "httpp"}], "nodes[0].type", "httpp"),
        ([constant("a"), constant("b", "gone")], "nodes[1].needs[0]", "gone"),
        ([constant("a"), constant("b", "a.left")], "nodes[1].needs[0]", "'left', which 'a' has not"),
        ([{"id": "a", "type": "set", "values": "{{ nodes.gone.output }}"}], "nodes[0].values", "gone"),
        ([{"id": "m", "type": "map", "items": [], "nodes": [constant("a", "b")]}], "nodes[0].nodes[0].needs[0]", "b"),
    ],
)
async def test_what_cannot_be_run_is_refused_before_anything_exists(
    nodes: list[dict[str, Any]], path: str, named: str, autojump_clock: trio.testing.MockClock
) -> None:
    """At every door that takes a workflow: the place of the fault and the name of the node, and nothing is made of it."""
    body = {"kind": "workflow", "name": "w", "nodes": nodes}
    async with open_world(perform) as world:
        doors = await open_doors(world)
        answers = [await post(doors, target, body) for target in (RUNS, URL)]
        checked = await doors.ask("POST", f"{URL}/validate", body)

        assert world.store.records == {}
        assert (await doors.ask("GET", URL)).json()["items"] == []
    for errors in (*(answer.json()["errors"] for answer in answers), checked.json()["errors"]):
        assert [fault["path"] for fault in errors] == [path]
        assert named in errors[0]["message"]
    assert {answer.status for answer in answers} == {400}
