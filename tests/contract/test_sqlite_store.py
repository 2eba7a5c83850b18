"""What only a file can show: locks, durability, power of the disk, and several readers."""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

import pytest
import trio

from execd.adapters.sqlite_schema import MIGRATIONS
from execd.adapters.sqlite_store import open_sqlite_store
from execd.core.errors import StoreLockedError, StoreUnavailableError
from execd.core.events import Status
from execd.ports import Stored, Token
from tests.contract.test_store_contract import AT, E1, E2, W1, append, create, journal


async def test_a_second_process_is_refused_by_name(tmp_path: Path) -> None:
    """Two writers on one file would break every invariant; the message says who is there."""
    async with open_sqlite_store(tmp_path, is_power_safe=False):
        with pytest.raises(StoreLockedError, match=r"another execd \(process \d+\) uses"):
            async with open_sqlite_store(tmp_path, is_power_safe=False):
                pass


@pytest.mark.slow
async def test_what_was_stored_survives_a_kill(tmp_path: Path) -> None:
    """Invariant 2: `process` durability means that `kill -9` right after the answer loses nothing, and frees the lock."""
    program = f"""
import os, trio
from pathlib import Path
from execd.adapters.sqlite_store import open_sqlite_store
from tests.contract.test_store_contract import create, append

async def main():
    async with open_sqlite_store(Path({str(tmp_path)!r}), is_power_safe=False) as store:
        await store.write([create()])
        await store.write([append(3, 40)])
        os.kill(os.getpid(), 9)

trio.run(main)
"""
    killed = await trio.run_process([sys.executable, "-c", program], check=False)
    assert killed.returncode == -9

    async with open_sqlite_store(tmp_path, is_power_safe=False) as store:
        assert await journal(store) == list(range(1, 41))


async def test_a_damaged_row_does_not_keep_its_neighbours_from_being_adopted(tmp_path: Path) -> None:
    """A server must start with what can be read, whatever one row says."""
    async with open_sqlite_store(tmp_path, is_power_safe=False) as store:
        await store.write([create(E1), create(E2)])
    with sqlite3.connect(tmp_path / "execd.db") as file:
        assert file.execute("UPDATE executions SET status = 'rotten' WHERE id = ?", (E1,)).rowcount == 1
    file.close()

    async with open_sqlite_store(tmp_path, is_power_safe=False) as store:
        assert [record.id for record in await store.adopt("two")] == [E2]


async def test_terminal_records_are_synced_and_others_are_not(tmp_path: Path) -> None:
    """Terminal writes survive loss of power whatever the setting; paying for that on every line would be slow."""
    statements: list[str] = []
    async with open_sqlite_store(tmp_path, is_power_safe=False) as store:
        store._writer._connection.set_trace_callback(statements.append)
        await store.write([create()])
        await store.write([append(3, 3)])
        await store.write([append(4, 4, status=Status.COMPLETED)])

    levels = [sql.rpartition(" ")[2] for sql in statements if "synchronous" in sql or sql == "COMMIT"]
    assert levels == ["NORMAL", "COMMIT", "COMMIT", "FULL", "COMMIT"]


async def test_a_lease_and_an_adoption_that_finds_nothing_begin_no_transaction(tmp_path: Path) -> None:
    """Both happen every few seconds on an idle server: they must neither touch the disk nor meet another's lock."""
    async with open_sqlite_store(tmp_path, is_power_safe=True) as store:
        await store.write([create()])
        statements: list[str] = []
        store._writer._connection.set_trace_callback(statements.append)
        await store.renew_lease("one", lease_s=3600)
        assert await store.adopt("two") == []
        await store.release_lease("two")

    assert [sql.split()[0] for sql in statements] == ["SELECT"]


async def test_a_new_process_finds_no_lease(tmp_path: Path) -> None:
    """One process per file: who has its lock proves that every former owner is gone, however long it said it would live."""
    async with open_sqlite_store(tmp_path, is_power_safe=False) as store:
        await store.write([create()])
        await store.renew_lease("one", lease_s=3600)

    async with open_sqlite_store(tmp_path, is_power_safe=False) as store:
        assert [record.id for record in await store.adopt("two")] == [E1]


async def test_power_durability_syncs_everything(tmp_path: Path) -> None:
    """The stronger setting holds for every write."""
    async with open_sqlite_store(tmp_path, is_power_safe=True) as store:
        levels: list[str] = []
        store._writer._connection.set_trace_callback(lambda sql: levels.append(sql) if "synchronous" in sql else None)
        await store.write([create()])

    assert levels == ["PRAGMA synchronous = FULL"]


async def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    """A downgrade must not write into tables it does not know."""
    async with open_sqlite_store(tmp_path, is_power_safe=False):
        pass
    with sqlite3.connect(tmp_path / "execd.db") as db:
        db.execute("INSERT INTO migrations (version) VALUES (?)", (len(MIGRATIONS) + 1,))

    with pytest.raises(StoreUnavailableError, match="run the newer execd"):
        async with open_sqlite_store(tmp_path, is_power_safe=False):
            pass


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    """Garbage in the data directory is named, not traced."""
    (tmp_path / "execd.db").write_bytes(b"this is no database, but it is long enough to look at" * 100)

    with pytest.raises(StoreUnavailableError, match=r"cannot open .*execd\.db"):
        async with open_sqlite_store(tmp_path, is_power_safe=False):
            pass


async def test_a_failed_batch_is_written_whole_the_second_time(tmp_path: Path) -> None:
    """Somebody else holds the database (a backup): the batch fails as unavailable, half of nothing is left, and the
    same batch succeeds later."""
    async with open_sqlite_store(tmp_path, is_power_safe=False) as store:
        store._writer._connection.execute("PRAGMA busy_timeout = 0")
        other = sqlite3.connect(tmp_path / "execd.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailableError, match="locked"):
            await store.write([create(), append(3, 4)])
        other.execute("ROLLBACK")
        other.close()

        assert await store.write([create(), append(3, 4)]) == [Stored(), Stored()]
        assert await journal(store) == [1, 2, 3, 4]


async def test_the_database_is_private(tmp_path: Path) -> None:
    """Journals hold what people's programs printed."""
    async with open_sqlite_store(tmp_path / "deep" / "data", is_power_safe=False) as store:
        await store.write([create(E1)])
        assert (tmp_path / "deep" / "data" / "execd.db").stat().st_mode & 0o077 == 0


async def test_a_revoked_token_is_not_brought_back_by_a_look_up_under_way(tmp_path: Path) -> None:
    """Tokens are remembered in memory; one that is being looked up while it is revoked must not stay there."""
    token = Token(id="t1", sha256="hash", workspace=W1, role="runner", user="u", created_at=AT)
    async with open_sqlite_store(tmp_path, is_power_safe=False) as store:
        for _ in range(20):
            await store.put_token(token)
            async with trio.open_nursery() as nursery:
                for _ in range(8):
                    nursery.start_soon(store.find_token, "hash")
                nursery.start_soon(store.delete_token, W1, "t1")
            assert await store.find_token("hash") is None
