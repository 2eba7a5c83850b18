"""What every store must do: the fake in memory and the real file are held to the same promises."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from execd.adapters.memory_store import MemoryStore
from execd.adapters.sqlite_store import SqliteStore, open_sqlite_store
from execd.core.codec import StoredEvent
from execd.core.errors import InvalidRequestError
from execd.core.event_parts import Failure
from execd.core.events import ExecutionId, Status, WorkspaceId
from execd.ports import LISTED_BYTES, Append, Create, Duplicate, ExecutionFilter, ExecutionRecord, Fenced, Stored, Token

AT = datetime(2026, 1, 1, 12, 0, 0, 123000, tzinfo=UTC)
E1, E2 = ExecutionId("exec-1"), ExecutionId("exec-2")
W1, W2 = WorkspaceId("w1"), WorkspaceId("w2")
AnyStore = MemoryStore | SqliteStore


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[AnyStore]:
    async with AsyncExitStack() as stack:
        if request.param == "memory":
            yield MemoryStore()
        else:
            yield await stack.enter_async_context(open_sqlite_store(tmp_path, is_power_safe=False))


def event(execution_id: ExecutionId, seq: int, body: bytes | None = None) -> StoredEvent:
    return StoredEvent(execution_id=execution_id, seq=seq, type="output", body=body or b'{"seq":%d}' % seq)


def events(execution_id: ExecutionId, first: int, last: int) -> tuple[StoredEvent, ...]:
    return tuple(event(execution_id, seq) for seq in range(first, last + 1))


def create(execution_id: ExecutionId = E1, *, workspace: WorkspaceId = W1, **changes: object) -> Create:
    record = ExecutionRecord(
        id=execution_id,
        kind="script",
        workspace=workspace,
        user="u",
        name="näme",
        spec=b"{}",
        status=Status.QUEUED,
        priority=1,
        created_at=AT,
        owner="one",
        head_seq=2,
    )
    return Create(record=msgspec.structs.replace(record, **changes), events=events(execution_id, 1, 2))


def append(
    first: int, last: int, *, execution_id: ExecutionId = E1, epoch: int = 1, status: Status = Status.RUNNING
) -> Append:
    return Append(
        execution_id=execution_id,
        epoch=epoch,
        after_seq=first - 1,
        events=events(execution_id, first, last),
        status=status,
        started_at=AT,
        finished_at=AT if status.is_final else None,
        error=Failure(code="exit", message="it did") if status is Status.FAILED else None,
    )


async def journal(store: AnyStore, execution_id: ExecutionId = E1) -> list[int]:
    page = await store.read_events(execution_id, after_seq=0, limit_bytes=10**9)
    return [stored.seq for stored in page]


async def test_what_was_written_is_read_back_equal(store: AnyStore) -> None:
    """A record crosses the border and comes back the same, times to the millisecond, bytes exact."""
    written = create(priority=2, attempt_of=E2, idempotency_key="k", request_sha256="abc")

    assert await store.write([written]) == [Stored()]

    assert await store.find_execution(E1) == written.record
    assert list(await store.read_events(E1, after_seq=0, limit_bytes=10**6)) == list(written.events)


@pytest.mark.behaviour(1)
async def test_the_final_status_and_the_last_events_are_one_write(store: AnyStore) -> None:
    """Invariant 3: the status never says `failed` while the journal has no result, nor the other way round."""
    await store.write([create()])

    assert await store.write([append(3, 5, status=Status.FAILED)]) == [Stored()]

    record = await store.find_execution(E1)
    assert record is not None
    assert (record.status, record.head_seq, record.finished_at) == (Status.FAILED, 5, AT)
    assert record.error == Failure(code="exit", message="it did")
    assert await journal(store) == [1, 2, 3, 4, 5]


@pytest.mark.behaviour(7)
async def test_a_journal_has_no_gap_and_no_second_head(store: AnyStore) -> None:
    """Invariant 1: a write that does not follow the head is refused and leaves nothing behind."""
    await store.write([create()])

    outcomes = await store.write([append(4, 4), append(3, 3), append(3, 4)])

    assert [type(outcome) for outcome in outcomes] == [Fenced, Stored, Fenced]
    assert await journal(store) == [1, 2, 3]


@pytest.mark.behaviour(2)
async def test_terminal_is_absorbing(store: AnyStore) -> None:
    """Invariant 3: after the end nothing is written, by whomever."""
    await store.write([create(), append(3, 4, status=Status.COMPLETED)])

    outcomes = await store.write([append(5, 5, status=Status.FAILED)])

    assert isinstance(outcomes[0], Fenced)
    record = await store.find_execution(E1)
    assert record is not None
    assert record.status is Status.COMPLETED


@pytest.mark.behaviour(42)
async def test_a_stale_owner_is_refused(store: AnyStore) -> None:
    """Invariant 6: fencing is the store's, not good luck."""
    await store.write([create()])

    adopted = await store.adopt("two")

    assert [(record.owner, record.epoch) for record in adopted] == [("two", 2)]
    assert isinstance((await store.write([append(3, 3, epoch=1)]))[0], Fenced)
    assert await store.write([append(3, 3, epoch=2)]) == [Stored()]


async def test_adoption_takes_what_is_unfinished_and_anothers(store: AnyStore) -> None:
    """What ended stays ended, and nobody adopts from himself unless he names the one."""
    await store.write([create(E1), create(E2), append(3, 3, execution_id=E2, status=Status.COMPLETED)])

    assert [record.id for record in await store.adopt("two")] == [E1]
    assert await store.adopt("two") == []
    assert [(record.id, record.epoch) for record in await store.adopt("two", only=E1)] == [(E1, 3)]


async def test_a_lease_that_runs_protects_what_its_owner_has(store: AnyStore) -> None:
    """Several instances share a store: nobody takes from one that lives."""
    await store.write([create(E1), create(E2, owner="dead")])
    await store.renew_lease("one", lease_s=3600)

    assert [record.id for record in await store.adopt("two")] == [E2]
    assert await store.write([append(3, 3, epoch=1)]) == [Stored()]


async def test_a_lapsed_lease_protects_nothing(store: AnyStore) -> None:
    """Invariant 4: what a dead instance had accepted is taken over by whoever lives."""
    await store.write([create()])
    await store.renew_lease("one", lease_s=0)

    assert [(record.owner, record.epoch) for record in await store.adopt("two")] == [("two", 2)]


async def test_whose_lease_lapsed_and_nobody_noticed_goes_on(store: AnyStore) -> None:
    """A pause is no crime: only an adoption takes an execution away, and the next renewal protects it again."""
    await store.write([create()])
    await store.renew_lease("one", lease_s=0)

    assert await store.write([append(3, 3)]) == [Stored()]
    await store.renew_lease("one", lease_s=3600)
    assert await store.adopt("two") == []


async def test_a_released_lease_lets_go_at_once(store: AnyStore) -> None:
    """After a clean stop nobody waits for a lease to lapse; letting go twice, or of nothing, is no fault."""
    await store.write([create()])
    await store.renew_lease("one", lease_s=3600)

    await store.release_lease("one")
    await store.release_lease("one")
    await store.release_lease("nobody")

    assert [record.id for record in await store.adopt("two")] == [E1]


async def test_renewing_extends_and_never_shortens(store: AnyStore) -> None:
    """`At least so long` was promised, and the longest promise holds."""
    await store.write([create()])
    await store.renew_lease("one", lease_s=0)
    await store.renew_lease("one", lease_s=3600)
    await store.renew_lease("one", lease_s=0)

    assert await store.adopt("two") == []


async def test_a_lease_is_its_owners_only(store: AnyStore) -> None:
    """That the adopter lives, or a third, protects nobody else."""
    await store.write([create(E1), create(E2, owner="three")])
    for living in ("two", "three"):
        await store.renew_lease(living, lease_s=3600)

    assert [record.id for record in await store.adopt("two")] == [E1]


async def test_naming_the_one_takes_from_oneself_and_from_nobody_who_lives(store: AnyStore) -> None:
    """An owner whose own saga crashed takes its execution again, under a higher epoch, while its lease runs; another does
    not."""
    await store.write([create()])
    await store.renew_lease("one", lease_s=3600)

    assert [(record.owner, record.epoch) for record in await store.adopt("one", only=E1)] == [("one", 2)]
    assert await store.adopt("two", only=E1) == []

    await store.release_lease("one")
    assert [(record.owner, record.epoch) for record in await store.adopt("two", only=E1)] == [("two", 3)]


@pytest.mark.behaviour(42)
async def test_a_former_owner_that_comes_back_is_fenced(store: AnyStore) -> None:
    """Invariant 6: it was frozen past its lease; renewing that does not give back what was taken."""
    await store.write([create()])
    await store.renew_lease("one", lease_s=0)
    await store.adopt("two")
    await store.renew_lease("two", lease_s=3600)

    await store.renew_lease("one", lease_s=3600)

    assert isinstance((await store.write([append(3, 3, epoch=1)]))[0], Fenced)
    assert await store.adopt("one") == []


async def test_writing_again_what_is_there_is_stored(store: AnyStore) -> None:
    """The answer to a write may be lost; asking again must neither fail nor double anything."""
    batch = [create(), append(3, 4)]
    await store.write(batch)

    assert await store.write(batch) == [Stored(), Stored()]
    assert await journal(store) == [1, 2, 3, 4]


@pytest.mark.behaviour(40)
async def test_a_key_names_one_execution_per_workspace(store: AnyStore) -> None:
    """Idempotency: the same key in the same workspace finds the first; in another it is a stranger."""
    first = create(E1, idempotency_key="k", request_sha256="same")
    await store.write([first])

    again = await store.write(
        [
            create(E2, idempotency_key="k", request_sha256="same"),
            create(E2, idempotency_key="k", request_sha256="other"),
            create(E2, workspace=W2, idempotency_key="k", request_sha256="same"),
        ]
    )

    assert again == [
        Duplicate(existing=E1, same_request=True),
        Duplicate(existing=E1, same_request=False),
        Stored(),
    ]
    assert await store.find_by_idempotency_key(W1, "k") == first.record
    assert await store.find_by_idempotency_key(W1, "unknown") is None


async def test_a_refused_write_does_not_hold_up_its_batch(store: AnyStore) -> None:
    """Group commit puts strangers into one batch; they must not suffer for one another."""
    outcomes = await store.write([create(E1), append(9, 9), create(E2), append(3, 3, execution_id=E2)])

    assert [type(outcome) for outcome in outcomes] == [Stored, Fenced, Stored, Stored]


async def test_pages_follow_one_another_without_gap_or_double(store: AnyStore) -> None:
    """A viewer reads page by page; the pages laid together are the journal, whatever their size."""
    await store.write([create(), append(3, 50)])

    for limit_bytes in (1, 30, 10**6):
        seen: list[int] = []
        while page := await store.read_events(E1, after_seq=seen[-1] if seen else 0, limit_bytes=limit_bytes):
            seen.extend(stored.seq for stored in page)
        assert seen == list(range(1, 51))


async def test_reading_beyond_the_end_is_empty(store: AnyStore) -> None:
    """An unknown journal and a cursor past the head are no error here; the edge decides what they mean."""
    await store.write([create()])

    assert list(await store.read_events(E1, after_seq=99, limit_bytes=10)) == []
    assert list(await store.read_events(E2, after_seq=0, limit_bytes=10)) == []


@pytest.mark.parametrize("after_seq", [-1, -(2**40), 2**31, 2**32 - 1, 2**32, 2**32 + 2, 2**62])
async def test_a_place_out_of_range_never_reads_a_neighbour(store: AnyStore, after_seq: int) -> None:
    """Journals stand side by side in one tree: whose cursor is wrong must not see what others' executions say."""
    await store.write([create(E1), create(E2), create(ExecutionId("exec-3"))])
    read = await store.read_events(E2, after_seq=after_seq, limit_bytes=10**6)
    assert {event.execution_id for event in read} <= {E2}
    assert [event.seq for event in read] == ([1, 2] if after_seq < 0 else [])


async def test_events_can_be_chosen_by_type(store: AnyStore) -> None:
    """`/output` reads only output events, without looking at the rest."""
    other = StoredEvent(execution_id=E1, seq=3, type="node_started", body=b"{}")
    write = msgspec.structs.replace(append(3, 3), events=(other,))
    await store.write([create(), write, append(4, 4)])

    page = await store.read_events(E1, after_seq=0, limit_bytes=10**6, types=frozenset({"node_started"}))

    assert list(page) == [other]


async def test_listing_is_newest_first_complete_and_only_the_workspaces_own(store: AnyStore) -> None:
    """Pages by cursor: nothing twice, nothing left out, nothing of a neighbour (invariant 9)."""
    ids = [ExecutionId(f"exec-{number:03}") for number in range(25)]
    await store.write([create(execution_id) for execution_id in ids])
    await store.write([create(ExecutionId("foreign"), workspace=W2)])

    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = await store.list_executions(ExecutionFilter(workspace=W1), cursor=cursor, limit=10)
        seen.extend(record.id for record in page.items)
        cursor = page.next_cursor
        if cursor is None:
            break

    assert seen == list(reversed(ids))


async def test_a_page_of_large_executions_is_a_short_one(store: AnyStore) -> None:
    """A list of many costs no more memory than its bound, and each of them is in one page; even one larger than the bound."""
    sizes = [LISTED_BYTES // 2 + 1, 10, LISTED_BYTES // 2 - 10, LISTED_BYTES + 1]
    ids = [ExecutionId(f"exec-{number}") for number in range(len(sizes))]
    await store.write([create(name, spec=b"x" * size) for name, size in zip(ids, sizes, strict=True)])

    pages: list[list[str]] = []
    cursor: str | None = None
    while cursor is not None or not pages:
        page = await store.list_executions(ExecutionFilter(workspace=W1), cursor=cursor, limit=10)
        pages.append([record.id for record in page.items])
        cursor = page.next_cursor

    assert pages == [[ids[3]], [ids[2], ids[1]], [ids[0]]]


async def test_listing_filters(store: AnyStore) -> None:
    """Each filter narrows; together they are an `and`."""
    await store.write([create(E1, name="alpha"), create(E2, name="beta", attempt_of=E1)])
    await store.write([append(3, 3, status=Status.COMPLETED)])

    async def found(**which: object) -> list[str]:
        chosen = msgspec.structs.replace(ExecutionFilter(workspace=W1), **which)
        return [record.id for record in (await store.list_executions(chosen, cursor=None, limit=10)).items]

    assert await found(status=Status.COMPLETED) == [E1]
    assert await found(name="et") == [E2]
    assert await found(attempt_of=E1) == [E2]
    assert await found(kind="workflow") == []
    assert await found(name="et", status=Status.COMPLETED) == []


@pytest.mark.parametrize("cursor", ["", "x", "-1", "1e3", "\u0663", "9" * 40, "'; DROP TABLE events; --"])
async def test_a_made_up_cursor_is_refused(store: AnyStore, cursor: str) -> None:
    """Bad input never becomes a server error."""
    with pytest.raises(InvalidRequestError):
        await store.list_executions(ExecutionFilter(workspace=W1), cursor=cursor, limit=10)


async def test_the_sweep_deletes_what_ended_long_ago_and_nothing_else(store: AnyStore) -> None:
    """Retention never touches what still runs."""
    await store.write([create(E1), create(E2), append(3, 3, status=Status.COMPLETED)])

    assert await store.sweep(finished_before=AT, limit=10) == 0
    assert await store.sweep(finished_before=AT + timedelta(seconds=1), limit=10) == 1

    assert await store.find_execution(E1) is None
    assert await journal(store, E1) == []
    assert await journal(store, E2) == [1, 2]


async def test_tokens_are_found_by_hash_and_revoked_by_their_workspace_only(store: AnyStore) -> None:
    """A token of one workspace cannot be revoked from another."""
    token = Token(id="t1", sha256="hash", workspace=W1, role="runner", user="u", created_at=AT, expires_at=AT)
    await store.put_token(token)

    assert await store.find_token("hash") == token
    assert await store.find_token("other") is None
    assert not await store.delete_token(W2, "t1")
    assert list(await store.list_tokens(W1)) == [token]
    assert await store.delete_token(W1, "t1")
    assert await store.find_token("hash") is None


@given(body=st.binary(min_size=1, max_size=200))
async def test_any_bytes_survive(body: bytes) -> None:
    """A body is bytes to the store: it neither reads nor bends them."""
    store = MemoryStore()
    write = create()
    await store.write([msgspec.structs.replace(write, events=(event(E1, 1, body), event(E1, 2)))])

    assert (await store.read_events(E1, after_seq=0, limit_bytes=1))[0].body == body
