"""Where the store's commits are made: in place while that is quick, on the thread whenever something may have to be waited for."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import trio

from execd.adapters.sqlite_writer import LOG_BYTES, SMALL_BYTES, SqliteWriter
from execd.core.errors import StoreUnavailableError

A_WHILE = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 500000) SELECT count(*) FROM c"
"""Some 50 ms of work for SQLite."""


def connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE IF NOT EXISTS notes (text TEXT)")
    return connection


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[SqliteWriter]:
    made = SqliteWriter(connect(tmp_path / "x.db"), is_power_safe=False)
    yield made
    made.close(wait_s=5)


def note(connection: sqlite3.Connection) -> bool:
    """Write a row, and tell whether that was done in place."""
    connection.execute("INSERT INTO notes VALUES ('x')")
    return threading.current_thread() is threading.main_thread()


async def write(writer: SqliteWriter, *, size_bytes: int = 100, is_power_safe: bool = False) -> bool:
    return await writer.run(note, is_power_safe=is_power_safe, size_bytes=size_bytes)


async def test_only_a_small_commit_without_a_sync_is_made_in_place(writer: SqliteWriter) -> None:
    """A sync waits for the disk, and a large commit takes its time."""
    assert await write(writer)
    assert not await write(writer, size_bytes=SMALL_BYTES + 1)
    assert not await write(writer, is_power_safe=True)
    assert await write(writer)


async def test_commits_keep_their_order(writer: SqliteWriter) -> None:
    """A small one does not overtake a large one that is on the thread."""
    order: list[str] = []

    async def put(name: str, size_bytes: int) -> None:
        await writer.run(lambda _: order.append(name), is_power_safe=False, size_bytes=size_bytes)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(put, "large", SMALL_BYTES + 1)
        await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()
        nursery.start_soon(put, "small", 1)

    assert order == ["large", "small"]


async def test_no_two_transactions_meet_on_the_connection(tmp_path: Path) -> None:
    """Whoever asks in the instant in which another has just looked whether the thread is idle."""
    for turn in range(50):
        writer = SqliteWriter(connect(tmp_path / f"{turn}.db"), is_power_safe=False)
        async with trio.open_nursery() as nursery:
            for number in range(4):
                is_large = number % 2 == 0
                size_bytes = SMALL_BYTES + 1 if is_large else 1
                query = A_WHILE.replace("500000", "20000") if is_large else "INSERT INTO notes VALUES ('x')"
                nursery.start_soon(partial(_execute, writer, query, size_bytes=size_bytes))
        writer.close(wait_s=5)


async def _execute(writer: SqliteWriter, query: str, *, size_bytes: int) -> None:
    await writer.run(lambda db: db.execute(query).fetchall(), is_power_safe=False, size_bytes=size_bytes)


async def test_a_log_that_cannot_be_moved_fails_no_commit(writer: SqliteWriter) -> None:
    """What was committed was committed: whoever asked for it must not ask again."""

    def authorize(action: int, name: str | None, *_: str | None) -> int:
        is_move = action == sqlite3.SQLITE_PRAGMA and name == "wal_checkpoint"
        return sqlite3.SQLITE_DENY if is_move else sqlite3.SQLITE_OK

    await writer.look(lambda db: db.set_authorizer(authorize))

    assert not await write(writer, size_bytes=LOG_BYTES)
    assert await writer.look(lambda db: db.execute("SELECT count(*) FROM notes").fetchone()) == (1,)


async def test_a_slow_commit_sends_the_next_ones_to_the_thread(writer: SqliteWriter) -> None:
    """A disk that held up everybody once is not given the chance again for a while."""
    await writer.run(lambda db: db.execute(A_WHILE).fetchall(), is_power_safe=False, size_bytes=1)

    assert not await write(writer)


async def test_a_lock_is_waited_for_on_the_thread(writer: SqliteWriter, tmp_path: Path) -> None:
    """A backup holds the lock for a moment: the loop goes on, and the write happens; held for longer, it is said."""
    other = connect(tmp_path / "x.db")
    other.execute("BEGIN IMMEDIATE")
    done = trio.Event()
    turns = 0

    async def write_late() -> None:
        assert not await write(writer)
        done.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write_late)
        for _ in range(100):
            await trio.lowlevel.checkpoint()
            turns += 1
        assert not done.is_set()
        other.execute("COMMIT")
        await done.wait()
    assert turns == 100

    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailableError, match="locked"):
        await write(writer)
    other.close()


async def test_the_log_is_moved_into_the_database_before_it_grows_long(writer: SqliteWriter, tmp_path: Path) -> None:
    """However many small commits: a long log slows down whoever reads, and fills the disk."""
    text = "x" * 30_000

    for _ in range(600):
        await writer.run(
            lambda db: db.execute("INSERT INTO notes VALUES (?)", (text,)), is_power_safe=False, size_bytes=30_000
        )

    assert (tmp_path / "x.db-wal").stat().st_size < 3 * LOG_BYTES


async def test_what_fails_is_rolled_back(writer: SqliteWriter) -> None:
    """In place as on the thread: nothing of it stays, and the next one works."""

    def fail(connection: sqlite3.Connection) -> None:
        note(connection)
        raise ValueError("no")

    for size_bytes in (1, SMALL_BYTES + 1):
        with pytest.raises(ValueError, match="no"):
            await writer.run(fail, is_power_safe=False, size_bytes=size_bytes)
    await write(writer)

    assert await writer.look(lambda db: db.execute("SELECT count(*) FROM notes").fetchone()) == (1,)
