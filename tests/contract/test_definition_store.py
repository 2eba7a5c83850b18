"""What every store of definitions must do: the fake in memory and the real file are held to the same promises."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial
from pathlib import Path

import msgspec
import pytest
import trio

from execd.adapters.memory_store import MemoryStore
from execd.adapters.sqlite_schema import MIGRATIONS
from execd.adapters.sqlite_store import SqliteStore, open_sqlite_store
from execd.core.errors import InvalidRequestError
from execd.core.events import DefinitionId, ExecutionId, NodeId, Status
from execd.core.history import KEPT_RUNS, RunTimes
from execd.ports import (
    Definition,
    DefinitionFilter,
    DefinitionHead,
    DefinitionLimits,
    ExecutionFilter,
    Full,
    Gone,
    Moved,
    NameTaken,
    Saved,
    SaveOutcome,
    Stored,
)
from tests.contract.test_store_contract import AT, E1, E2, W1, W2, append, create, journal

AnyStore = MemoryStore | SqliteStore
UNLIMITED = DefinitionLimits()
D1, D2 = DefinitionId("def-000000001"), DefinitionId("def-000000002")


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[AnyStore]:
    async with AsyncExitStack() as stack:
        if request.param == "memory":
            yield MemoryStore()
        else:
            yield await stack.enter_async_context(open_sqlite_store(tmp_path, is_power_safe=False))


def definition(version: int = 1, *, body: bytes = b'{"a":1}', **changes: object) -> Definition:
    made = Definition(
        id=D1,
        workspace=W1,
        name="näme",
        version=version,
        kind="script",
        saved_by="u",
        saved_at=AT,
        sha256=hashlib.sha256(body).hexdigest(),
        size_bytes=len(body),
        body=body,
    )
    return msgspec.structs.replace(made, **changes)


async def save_version(store: AnyStore, version: Definition, *, limits: DefinitionLimits = UNLIMITED) -> SaveOutcome:
    """Save without limits, unless a test is about them."""
    return await store.definitions.save_definition(version, limits=limits)


def head_of(found: Definition) -> DefinitionHead:
    return DefinitionHead(**{name: getattr(found, name) for name in DefinitionHead.__struct_fields__})


async def test_versions_are_read_back_equal(store: AnyStore) -> None:
    """Each version is what its author saved, for as long as the definition is there; bytes are exact."""
    first, second = definition(), definition(2, body=b'{"b": 2}', name="new", kind="workflow", saved_by="v")

    assert await save_version(store, first) == Saved(first)
    assert await save_version(store, second) == Saved(second)

    assert await store.definitions.find_definition(W1, D1) == second
    assert await store.definitions.find_definition(W1, "new") == second
    assert await store.definitions.find_definition(W1, D1, version=1) == first
    assert await store.definitions.find_definition(W1, "new", version=1) == first
    assert await store.definitions.find_definition(W1, "näme") is None
    assert await store.definitions.find_definition(W1, D1, version=3) is None


async def test_only_the_newest_version_can_be_followed(store: AnyStore) -> None:
    """Two people change the same version: the second is told, and shown what the first saved."""
    await save_version(store, definition())
    first = definition(2, saved_by="a", body=b'{"from":"a"}')

    assert await save_version(store, first) == Saved(first)
    assert await save_version(store, definition(2, saved_by="b")) == Moved(first)
    assert await save_version(store, definition(4)) == Moved(first)
    assert await save_version(store, definition(1)) == Moved(first)


async def test_one_of_many_at_the_same_time_wins(store: AnyStore) -> None:
    """The comparison and the writing are one deed, however many try."""
    await save_version(store, definition())
    outcomes: list[SaveOutcome] = []

    async def save(name: str) -> None:
        outcomes.append(await save_version(store, definition(2, saved_by=name)))

    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(save, f"user {number}")

    assert len([outcome for outcome in outcomes if isinstance(outcome, Saved)]) == 1
    assert len([outcome for outcome in outcomes if isinstance(outcome, Moved)]) == 9


async def test_saving_the_same_again_is_no_conflict(store: AnyStore) -> None:
    """The answer was lost and the client asks again: it is told what happened, and no third version is made."""
    second = definition(2)
    for saved in (definition(), definition(), second):
        assert await save_version(store, saved) == Saved(saved)

    assert await save_version(store, second) == Saved(second)
    page = await store.definitions.list_versions(W1, D1, cursor=None, limit=10)
    assert [head.version for head in page.items] == [2, 1]


async def test_a_name_is_used_once_in_a_workspace(store: AnyStore) -> None:
    """A run by name must mean one thing. Names that were given up are free, and other workspaces have their own."""
    save = partial(save_version, store)
    await save(definition())
    other = definition(id=D2, name="other")
    await save(other)

    assert await save(definition(id=DefinitionId("def-3"))) == NameTaken(D1)
    assert await save(definition(2, id=D2)) == NameTaken(D1)
    assert isinstance(await save(definition(id=DefinitionId("def-4"), workspace=W2)), Saved)
    assert isinstance(await save(definition(2, name="renamed")), Saved)
    assert isinstance(await save(definition(2, id=D2)), Saved)


async def test_a_list_shows_the_newest_versions_page_by_page(store: AnyStore) -> None:
    """Those made last first, each once, whatever is saved between two pages; of this workspace only."""
    made = [definition(id=DefinitionId(f"def-{n}"), name=f"n{n}", kind="ab"[n % 2]) for n in range(5)]
    for one in (*made, definition(id=D2, workspace=W2)):
        await save_version(store, one)
    which = DefinitionFilter(workspace=W1)

    first = await store.definitions.list_definitions(which, cursor=None, limit=2)
    newer = msgspec.structs.replace(made[1], version=2)
    await save_version(store, newer)
    await store.definitions.delete_definition(W1, made[3].id)
    rest = await store.definitions.list_definitions(which, cursor=first.next_cursor, limit=10)

    assert first.items == (head_of(made[4]), head_of(made[3]))
    assert rest.items == (head_of(made[2]), head_of(newer), head_of(made[0]))
    assert rest.next_cursor is None
    by_kind = await store.definitions.list_definitions(
        msgspec.structs.replace(which, kind="a", name="n"), cursor=None, limit=10
    )
    assert [head.name for head in by_kind.items] == ["n4", "n2", "n0"]
    by_name = await store.definitions.list_definitions(msgspec.structs.replace(which, name="1"), cursor=None, limit=9)
    assert [head.name for head in by_name.items] == ["n1"]


async def test_versions_are_listed_page_by_page(store: AnyStore) -> None:
    """A definition that is saved every day has more of them than one answer takes."""
    for version in range(1, 6):
        await save_version(store, definition(version))

    first = await store.definitions.list_versions(W1, D1, cursor=None, limit=3)
    rest = await store.definitions.list_versions(W1, D1, cursor=first.next_cursor, limit=3)

    assert [[head.version for head in page.items] for page in (first, rest)] == [[5, 4, 3], [2, 1]]
    assert rest.next_cursor is None
    assert (await store.definitions.list_versions(W2, D1, cursor=None, limit=3)).items == ()


@pytest.mark.parametrize("cursor", ["x", "-1", "١", "1" * 30])
async def test_a_foreign_cursor_is_refused(store: AnyStore, cursor: str) -> None:
    """A cursor that is ignored would show the wrong page."""
    with pytest.raises(InvalidRequestError, match="cursor"):
        await store.definitions.list_definitions(DefinitionFilter(workspace=W1), cursor=cursor, limit=1)
    with pytest.raises(InvalidRequestError, match="cursor"):
        await store.definitions.list_versions(W1, D1, cursor=cursor, limit=1)


async def test_another_workspace_neither_sees_nor_changes_it(store: AnyStore) -> None:
    """Invariant 9, for definitions."""
    await save_version(store, definition())

    assert await store.definitions.find_definition(W2, D1) is None
    assert await store.definitions.find_definition(W2, "näme") is None
    assert await save_version(store, definition(2, workspace=W2)) == Gone()
    assert not await store.definitions.delete_definition(W2, D1)
    assert await store.definitions.find_definition(W1, D1) == definition()


async def test_what_was_deleted_is_gone_with_its_versions(store: AnyStore) -> None:
    """Its name is free, a change that was under way is refused, and a new one of that name begins at version 1."""
    for version in (1, 2):
        await save_version(store, definition(version))

    assert await store.definitions.delete_definition(W1, D1)
    assert not await store.definitions.delete_definition(W1, D1)

    assert await save_version(store, definition(3)) == Gone()
    fresh = definition(id=D2, body=b"{}")
    assert await save_version(store, fresh) == Saved(fresh)
    assert (await store.definitions.list_versions(W1, D2, cursor=None, limit=9)).items == (head_of(fresh),)
    assert await store.definitions.find_definition(W1, D2, version=2) is None


async def test_beyond_the_limit_the_oldest_versions_are_dropped(store: AnyStore) -> None:
    """Saving never stops working, and says what went for it; the numbers go on."""
    limits = DefinitionLimits(versions=3)
    outcomes = [await save_version(store, definition(version), limits=limits) for version in range(1, 6)]

    assert [outcome.dropped_versions for outcome in outcomes if isinstance(outcome, Saved)] == [0, 0, 0, 1, 1]
    page = await store.definitions.list_versions(W1, D1, cursor=None, limit=10)
    assert [head.version for head in page.items] == [5, 4, 3]
    assert await store.definitions.find_definition(W1, D1, version=2) is None
    assert await store.definitions.find_definition(W1, "näme") == definition(5)


async def test_a_lowered_limit_waits_for_the_next_version(store: AnyStore) -> None:
    """A wrong setting takes nothing by itself: only somebody who saves pays for it, and is told how much."""
    for version in range(1, 6):
        await save_version(store, definition(version))
    other = definition(id=D2, name="other")
    await save_version(store, other)
    limits = DefinitionLimits(versions=2)

    assert await save_version(store, definition(5), limits=limits) == Saved(definition(5))
    assert await store.definitions.find_definition(W1, D1, version=1) == definition(1)
    assert await save_version(store, definition(6), limits=limits) == Saved(definition(6), 4)
    assert await save_version(store, definition(6), limits=limits) == Saved(definition(6))
    assert await store.definitions.find_definition(W1, D2, version=1) == other


async def test_a_full_workspace_takes_no_other_definition(store: AnyStore) -> None:
    """What is there can still be changed, another workspace is not concerned, and deleting one makes room."""
    limits = DefinitionLimits(per_workspace=2)
    save = partial(save_version, store, limits=limits)
    third = definition(id=DefinitionId("def-3"), name="third")
    for made in (definition(), definition(id=D2, name="other")):
        assert isinstance(await save(made), Saved)

    assert await save(third) == Full()
    assert await store.definitions.find_definition(W1, "third") is None
    assert await save(definition()) == Saved(definition())
    assert isinstance(await save(definition(2)), Saved)
    assert isinstance(await save(msgspec.structs.replace(third, workspace=W2)), Saved)
    await store.definitions.delete_definition(W1, D2)
    assert isinstance(await save(msgspec.structs.replace(third, id=DefinitionId("def-4"))), Saved)


async def test_many_at_the_same_time_do_not_pass_the_limit(store: AnyStore) -> None:
    """Counting and saving are one deed."""
    outcomes: list[SaveOutcome] = []

    async def save(number: int) -> None:
        made = definition(id=DefinitionId(f"def-{number}"), name=f"n{number}")
        outcomes.append(await save_version(store, made, limits=DefinitionLimits(per_workspace=3)))

    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(save, number)

    assert outcomes.count(Full()) == 7


async def test_executions_keep_what_they_were_made_of(store: AnyStore) -> None:
    """They can be found by it, and stay when it goes."""
    await save_version(store, definition())
    made = create(definition=D1, definition_version=1)
    assert await store.write([made, create(E2)]) == [Stored(), Stored()]

    await store.definitions.delete_definition(W1, D1)

    page = await store.list_executions(ExecutionFilter(workspace=W1, definition=D1), cursor=None, limit=9)
    assert page.items == (made.record,)
    assert (await store.list_executions(ExecutionFilter(workspace=W2, definition=D1), cursor=None, limit=9)).items == ()


async def test_definitions_survive_and_are_synced(tmp_path: Path) -> None:
    """Somebody was told that it is saved: loss of power must not take it back, whatever the setting for journals is."""
    levels: list[str] = []
    async with open_sqlite_store(tmp_path, is_power_safe=False) as store:
        store._writer._connection.set_trace_callback(lambda sql: levels.append(sql) if "synchronous" in sql else None)
        await save_version(store, definition())

    async with open_sqlite_store(tmp_path, is_power_safe=False) as store:
        assert await store.definitions.find_definition(W1, "näme") == definition()
    assert levels == ["PRAGMA synchronous = FULL"]


async def test_a_file_of_the_first_schema_is_migrated(tmp_path: Path) -> None:
    """An execution that an older execd left is found, and goes on."""
    with sqlite3.connect(tmp_path / "execd.db", isolation_level=None) as file:
        file.execute("CREATE TABLE migrations (version INTEGER PRIMARY KEY, applied_at TEXT DEFAULT CURRENT_TIMESTAMP)")
        file.executescript(MIGRATIONS[0])
        file.execute("INSERT INTO migrations (version) VALUES (1)")
        file.execute(
            "INSERT INTO executions (id, kind, workspace, user, name, spec, status, priority, created_ms, owner, epoch, "
            "head_seq) VALUES (?, 'script', 'w1', 'u', 'n', x'7b7d', 'running', 1, 0, 'one', 1, 2)",
            (E1,),
        )
        file.executemany("INSERT INTO events VALUES (1, ?, 'output', x'7b7d')", [(1,), (2,)])
    file.close()

    async with open_sqlite_store(tmp_path, is_power_safe=False) as store:
        record = await store.find_execution(E1)
        assert record is not None
        assert (record.definition, record.definition_version, record.status) == (None, None, Status.RUNNING)
        assert record.spec == b"{}"
        assert await store.write([append(3, 4)]) == [Stored()]
        assert await journal(store) == [1, 2, 3, 4]
        assert isinstance(await save_version(store, definition()), Saved)


def times(number: int) -> RunTimes:
    return RunTimes(nodes={NodeId("a"): number, NodeId("each"): (20, 3), NodeId("no"): None}, total_ms=number)


async def run_of(store: AnyStore, number: int, *, kept: RunTimes | None, **changes: object) -> None:
    """Store an execution made of `D1` from its first event to its last."""
    made = ExecutionId(f"exec-{number}")
    first = create(made, definition=D1, definition_version=1, **changes)
    last = append(3, 4, execution_id=made, status=Status.COMPLETED)
    await store.write([first, msgspec.structs.replace(last, times=kept)])


async def test_a_history_is_kept_with_the_last_write(store: AnyStore) -> None:
    """How long it took is there when the result is, once, whatever is written again because an answer was lost."""
    await save_version(store, definition())
    assert list(await store.read_history(W1, D1)) == []

    await run_of(store, 1, kept=times(7))
    last = append(3, 4, execution_id=ExecutionId("exec-1"), status=Status.COMPLETED)
    assert await store.write([msgspec.structs.replace(last, times=times(7))]) == [Stored()]

    assert list(await store.read_history(W1, D1)) == [times(7)]
    assert list(await store.read_history(W2, D1)) == []


async def test_a_history_has_the_last_runs_only(store: AnyStore) -> None:
    """A definition that runs every minute for a year does not fill the disk; and the newest tell most."""
    await save_version(store, definition())

    for number in range(KEPT_RUNS + 5):
        await run_of(store, number, kept=times(number))

    kept = [run.total_ms for run in await store.read_history(W1, D1)]
    assert kept == list(range(5, KEPT_RUNS + 5))


async def test_a_write_that_is_refused_leaves_no_history(store: AnyStore) -> None:
    """A stale owner teaches nothing."""
    await save_version(store, definition())
    await store.write([create(definition=D1)])

    refused = append(3, 4, epoch=9, status=Status.COMPLETED)
    await store.write([msgspec.structs.replace(refused, times=times(1))])

    assert list(await store.read_history(W1, D1)) == []


async def test_a_history_outlives_its_executions_and_goes_with_its_definition(store: AnyStore) -> None:
    """Retention sweeps journals, not what was learned; who deletes a definition deletes that too, for good."""
    await save_version(store, definition())
    await run_of(store, 1, kept=times(1))
    assert await store.sweep(finished_before=AT + timedelta(days=1), limit=10) == 1
    assert len(await store.read_history(W1, D1)) == 1

    await store.definitions.delete_definition(W1, D1)
    await run_of(store, 2, kept=times(2))
    assert list(await store.read_history(W1, D1)) == []


async def test_an_execution_of_no_definition_leaves_no_history(store: AnyStore) -> None:
    """Nor does one of another workspace whose definition happens to be named alike."""
    await save_version(store, definition())
    await run_of(store, 1, kept=times(1), workspace=W2)
    await run_of(store, 2, kept=None)

    assert list(await store.read_history(W1, D1)) == []
