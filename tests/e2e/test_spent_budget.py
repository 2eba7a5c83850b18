"""The last line of the crash table on a real process: when starting an actor again does not help, the process ends."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tests.support.server_process import ServerProcess

pytestmark = pytest.mark.slow

PAGE_BYTES = 4096


def damage(database: Path) -> None:
    """Overwrite every table under the running server, as a failing disk might; only the header stays whole. The write through
    SQLite afterwards makes the server read the file again instead of its own memory."""
    with sqlite3.connect(database, isolation_level=None) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        size = database.stat().st_size
        with database.open("r+b") as file:
            file.seek(PAGE_BYTES)
            file.write(b"\xa5" * (size - PAGE_BYTES))
        connection.execute("PRAGMA user_version = 7")
    connection.close()


def test_a_store_damaged_for_good_ends_the_process(tmp_path: Path) -> None:
    """The result writer crashes at each look for orphans, six times within a minute; then whoever runs execd must notice by
    the exit code. It is neither 0 nor the watchdog's: it was not asked to stop, and it did not hang."""
    server = ServerProcess(tmp_path / "data", EXECD_STORE__LEASE_S="0.3", EXECD_SANDBOX__WARM_SLOTS="0")
    try:
        damage(server.data_dir / "execd.db")

        assert server.wait_end(within_s=8) == 1
    finally:
        server.kill()
