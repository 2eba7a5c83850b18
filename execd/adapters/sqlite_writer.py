"""The writing side of the SQLite store: one connection, used here or on a thread of its own, never by two at once.

A small commit that no disk has to be waited for takes about 30 µs, and a hop to a thread and back some 100, which
every step of a chain would pay. So a small one is made in place, on the event loop, while that has been quick; everything
that may wait (a sync, a lock somebody else holds, a checkpoint of the log, a disk that was slow a moment ago) goes to the
thread, in order. docs/decisions.md has the measurements.

Owns: the connection, its thread, and how far the log has grown since the last checkpoint.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from resource import RUSAGE_THREAD, getrusage, struct_rusage
from typing import TypeVar

import structlog

from execd.adapters.threads import DedicatedThread
from execd.core.errors import StoreUnavailableError

T = TypeVar("T")

log = structlog.get_logger()

BUSY_TIMEOUT_S = 1.0
"""How long the thread waits for a lock somebody else holds (a backup) before the result writer retries by itself."""
BUSY_CHECK_S = 0.02
SMALL_BYTES = 64 * 1024
"""Of a commit made in place: one piece of a program's output, some 80 µs."""
SLOW_S = 0.005
"""A commit in place that took longer has held up everybody: the disk, or what writes to it besides, is busy."""
SLOW_PAUSE = 200
"""So many times as long all commits go to the thread after that: the loop stands still half a percent of the time, at most."""
LOG_BYTES = 4 * 1024 * 1024
"""How far the log grows before it is moved into the database, SQLite's own default of a thousand pages."""
PAGES_BYTES = 3 * 4096
"""The least a commit adds to the log: a page of events, one of executions, one of an index."""


class SqliteWriter:
    """Transactions, one after another."""

    def __init__(self, connection: sqlite3.Connection, *, is_power_safe: bool) -> None:
        self._connection = connection
        self._is_power_safe = is_power_safe
        self._thread = DedicatedThread("execd-store")
        self._level = ""
        """Of the syncs, as it was set last."""
        self._log_bytes = 0
        self._slow_until = 0.0
        self.count_in_place = 0
        connection.execute("PRAGMA busy_timeout = 0")
        connection.execute("PRAGMA wal_autocheckpoint = 0")

    async def run(self, deed: Callable[[sqlite3.Connection], T], *, is_power_safe: bool, size_bytes: int) -> T:
        """Call `deed` in a transaction.

        Args:
            is_power_safe: whether it must survive loss of power, whatever the setting.
            size_bytes: about how much it writes.

        Raises:
            StoreUnavailableError: what may pass: a lock, a full disk.
        Cancellation: on the thread the deed goes on to its end, unseen.
        """
        is_synced = is_power_safe or self._is_power_safe
        if not is_synced and self._may_be_in_place(size_bytes):
            began, before = time.monotonic(), getrusage(RUSAGE_THREAD)
            try:
                return self._commit(deed, is_synced=False, size_bytes=size_bytes, wait_s=0.0)
            except _LockedError:
                log.debug("store_locked")
            finally:
                self._note_time(began, before)
        return await self._thread.run(
            lambda: self._commit(deed, is_synced=is_synced, size_bytes=size_bytes, wait_s=BUSY_TIMEOUT_S)
        )

    async def look(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Read over the writing connection, after everything written before."""
        return await self._thread.run(lambda: _guarded(lambda: query(self._connection)))

    def close(self, *, wait_s: float) -> None:
        """Let the commit in hand end, then let go of the file. Blocks."""
        if self._thread.close(wait_s=wait_s):
            self._connection.close()

    def _may_be_in_place(self, size_bytes: int) -> bool:
        is_quick = size_bytes <= SMALL_BYTES and time.monotonic() >= self._slow_until
        return is_quick and self._log_bytes < LOG_BYTES and self._thread.is_idle

    def _note_time(self, began: float, before: struct_rusage) -> None:
        """Other processes that take the processor away in the middle say nothing about the disk: then it did not wait, and was
        not busy itself."""
        self.count_in_place += 1
        took_s = time.monotonic() - began
        if took_s <= SLOW_S:
            return
        after = getrusage(RUSAGE_THREAD)
        busy_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        if after.ru_nvcsw != before.ru_nvcsw or busy_s > SLOW_S:
            self._slow_until = time.monotonic() + SLOW_PAUSE * took_s
            log.info("store_slow", took_ms=round(took_s * 1000))

    def _commit(self, deed: Callable[[sqlite3.Connection], T], *, is_synced: bool, size_bytes: int, wait_s: float) -> T:
        """On the thread, a log that has grown long is moved into the database afterwards, which syncs both."""
        result = _guarded(lambda: self._transact(deed, is_synced=is_synced, wait_s=wait_s))
        self._log_bytes += size_bytes + PAGES_BYTES
        if wait_s and self._log_bytes >= LOG_BYTES:
            self._log_bytes = 0
            self._move_log()
        return result

    def _move_log(self) -> None:
        """It may fail, as on a full disk, and that is no failure of the commit before it, which somebody would repeat."""
        try:
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.Error as error:
            log.warning("store_log_not_moved", error=str(error))

    def _transact(self, deed: Callable[[sqlite3.Connection], T], *, is_synced: bool, wait_s: float) -> T:
        connection = self._connection
        self._set_level("FULL" if is_synced else "NORMAL")
        self._begin(wait_s)
        try:
            result = deed(connection)
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        return result

    def _set_level(self, level: str) -> None:
        if level != self._level:
            self._connection.execute(f"PRAGMA synchronous = {level}")
            self._level = level

    def _begin(self, wait_s: float) -> None:
        deadline = time.monotonic() + wait_s
        while True:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or not wait_s:
                    raise
                if time.monotonic() >= deadline:
                    raise
                time.sleep(BUSY_CHECK_S)
            else:
                return


class _LockedError(StoreUnavailableError):
    """Somebody else holds the lock."""


def _guarded(deed: Callable[[], T]) -> T:
    """What may pass (a lock, a full disk) becomes StoreUnavailableError."""
    try:
        return deed()
    except sqlite3.OperationalError as error:
        kind = _LockedError if error.sqlite_errorcode == sqlite3.SQLITE_BUSY else StoreUnavailableError
        raise kind(f"SQLite: {error}") from error
