"""The embedded store: one SQLite file in WAL mode, one writer, one process.

Owns: the file, its lock, the writing side (adapters/sqlite_writer.py) and a few reading connections. Readers never wait for
the writer, nor it for them.

Durability: a commit with `synchronous = NORMAL` survives `kill -9`, because the operating system has it; one with `FULL`
also survives loss of power. Batches with a terminal record are always written with `FULL`, which syncs everything before
them in the log too. Source: SQLite, "Write-Ahead Logging", section on durability.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import msgspec
import structlog
import trio

from execd.adapters.sqlite_definitions import SqliteDefinitions
from execd.adapters.sqlite_history import read_times
from execd.adapters.sqlite_rows import (
    READ_JOURNAL,
    RECORD_COLUMNS,
    journal_after,
    parse_cursor,
    place_of,
    seq_of,
    to_milliseconds,
    to_record,
    to_token,
)
from execd.adapters.sqlite_schema import migrate
from execd.adapters.sqlite_secrets import SqliteSecrets
from execd.adapters.sqlite_writer import BUSY_TIMEOUT_S, SMALL_BYTES, SqliteWriter
from execd.adapters.sqlite_writes import apply_write
from execd.core.codec import StoredEvent
from execd.core.errors import StoreLockedError, StoreUnavailableError
from execd.core.events import DefinitionId, ExecutionId, WorkspaceId
from execd.core.history import RunTimes
from execd.ports import (
    LISTED_BYTES,
    Append,
    Create,
    ExecutionFilter,
    ExecutionPage,
    ExecutionRecord,
    Fenced,
    Token,
    Write,
    WriteOutcome,
)

T = TypeVar("T")

log = structlog.get_logger()

READERS = 4
"""Reading connections: more than the cores of a small machine do not read faster."""
MAX_KNOWN_TOKENS = 1000
"""Kept in memory, some 300 bytes each."""
CLOSE_DEADLINE_S = 5.0
"""How long closing waits for the commit in hand."""
ADOPTION_BYTES = SWEEP_BYTES = 1024 * 1024
"""Of what nobody can tell in advance: too much to be written in place."""


class SqliteStore:
    """Implements `ports.Store` and `ports.TokenStore`; `definitions` is a `ports.DefinitionStore`, and `secrets` a
    `ports.SecretStore`. Made by `open_sqlite_store`."""

    def __init__(self, path: Path, *, is_power_safe: bool) -> None:
        self._path = path
        self._writer = SqliteWriter(_connect(path), is_power_safe=is_power_safe)
        self._readers: list[sqlite3.Connection] = []
        self._reader_limit = trio.CapacityLimiter(READERS)
        self._known_tokens: dict[str, Token] = {}
        """Looked up on every request. No other process writes this file; each change empties it, and `_token_changes` keeps
        a look-up that began before the change from bringing back what it revoked."""
        self._token_changes = 0
        self._leases: dict[str, float] = {}
        """Until when each owner's lease runs (monotonic). In memory only: whoever has this file's lock proves by that that
        every owner of an earlier process is gone."""
        self.definitions = SqliteDefinitions(read=self._read, change=self._change)
        self.secrets = SqliteSecrets(read=self._read, change=self._change)

    async def write(self, batch: Sequence[Write]) -> list[WriteOutcome]:
        """Where something in a batch can never be stored, each write goes alone, so that only that one is refused."""
        try:
            return await self._write_together(batch)
        except (sqlite3.Error, ValueError, OverflowError, TypeError) as error:
            if len(batch) == 1:
                log.error("write_refused", error=repr(error))
                return [Fenced(why=f"it cannot be stored: {type(error).__name__}")]
        return [outcome for write in batch for outcome in await self.write([write])]

    async def _write_together(self, batch: Sequence[Write]) -> list[WriteOutcome]:
        return await self._writer.run(
            lambda connection: [apply_write(connection, write) for write in batch],
            is_power_safe=any(isinstance(write, Append) and write.is_terminal for write in batch),
            size_bytes=sum(map(_size_of, batch)),
        )

    async def adopt(self, owner: str, *, only: ExecutionId | None = None) -> Sequence[ExecutionRecord]:
        living = {name for name, deadline in self._leases.items() if deadline > time.monotonic()}
        living = living | {owner} if only is None else living - {owner}
        which, values = f"is_final = 0 AND owner NOT IN ({_marks(living)})", tuple(living)
        if only is not None:
            which, values = f"{which} AND id = ?", (*values, only)
        # Look first: asked every few seconds, it mostly finds nothing, and that should take no lock and no commit.
        if not await self._writer.look(
            lambda db: db.execute(f"SELECT 1 FROM executions WHERE {which} LIMIT 1", values).fetchall()
        ):
            return []
        return await self._writer.run(
            lambda db: _adopt(db, owner, which, values), is_power_safe=False, size_bytes=ADOPTION_BYTES
        )

    async def renew_lease(self, owner: str, *, lease_s: float) -> None:
        await trio.lowlevel.checkpoint()
        self._leases[owner] = max(self._leases.get(owner, 0.0), time.monotonic() + lease_s)

    async def release_lease(self, owner: str) -> None:
        await trio.lowlevel.checkpoint()
        self._leases.pop(owner, None)

    async def find_execution(self, execution_id: ExecutionId) -> ExecutionRecord | None:
        query = f"SELECT {RECORD_COLUMNS} FROM executions WHERE id = ?"
        return await self._read(lambda db: _first_record(db.execute(query, (execution_id,))))

    async def find_by_idempotency_key(self, workspace: WorkspaceId, key: str) -> ExecutionRecord | None:
        query = f"SELECT {RECORD_COLUMNS} FROM executions WHERE workspace = ? AND idempotency_key = ?"
        return await self._read(lambda db: _first_record(db.execute(query, (workspace, key))))

    async def list_executions(self, which: ExecutionFilter, *, cursor: str | None, limit: int) -> ExecutionPage:
        where, values = _where(which, before_key=parse_cursor(cursor))
        query = f"SELECT {RECORD_COLUMNS}, key FROM executions WHERE {where} ORDER BY key DESC LIMIT ?"
        return await self._read(lambda db: _read_listed(db.execute(query, (*values, limit + 1)), limit))

    async def read_events(
        self, execution_id: ExecutionId, *, after_seq: int, limit_bytes: int, types: frozenset[str] | None = None
    ) -> Sequence[StoredEvent]:
        return await self._read(lambda db: _read_page(db, execution_id, after_seq, limit_bytes, types))

    async def read_history(self, workspace: WorkspaceId, definition: DefinitionId) -> Sequence[RunTimes]:
        return await self._read(lambda db: read_times(db, workspace, definition))

    async def sweep(self, *, finished_before: datetime, limit: int) -> int:
        def delete(db: sqlite3.Connection) -> int:
            rows = db.execute(
                "SELECT key FROM executions WHERE is_final = 1 AND finished_ms < ? ORDER BY finished_ms LIMIT ?",
                (to_milliseconds(finished_before), limit),
            ).fetchall()
            keys = [row["key"] for row in rows]
            journals = [(place_of(key, 0), place_of(key + 1, 0)) for key in keys]
            db.executemany("DELETE FROM events WHERE place > ? AND place < ?", journals)
            db.executemany("DELETE FROM specs WHERE execution_key = ?", [(key,) for key in keys])
            db.executemany("DELETE FROM executions WHERE key = ?", [(key,) for key in keys])
            return len(keys)

        return await self._writer.run(delete, is_power_safe=False, size_bytes=SWEEP_BYTES)

    async def check(self) -> None:
        await self._writer.run(
            lambda db: db.execute("PRAGMA user_version = 1"), is_power_safe=False, size_bytes=SMALL_BYTES + 1
        )
        await self._read(lambda db: db.execute("SELECT count(*) FROM migrations").fetchone())

    async def put_token(self, token: Token) -> None:
        values = (token.id, token.sha256, token.workspace, token.role, token.user)
        times = (to_milliseconds(token.created_at), to_milliseconds(token.expires_at))

        query = "INSERT INTO tokens VALUES (?, ?, ?, ?, ?, ?, ?)"
        await self._change(lambda db: db.execute(query, (*values, *times)))
        self._forget_tokens()

    async def find_token(self, sha256: str) -> Token | None:
        known = self._known_tokens.get(sha256)
        if known is not None:
            await trio.lowlevel.checkpoint()
            return known
        query = "SELECT * FROM tokens WHERE sha256 = ?"
        changes = self._token_changes
        row = await self._read(lambda db: db.execute(query, (sha256,)).fetchone())
        if row is None:
            return None
        token = to_token(row)
        if changes == self._token_changes and len(self._known_tokens) < MAX_KNOWN_TOKENS:
            self._known_tokens[sha256] = token
        return token

    def _forget_tokens(self) -> None:
        self._token_changes += 1
        self._known_tokens.clear()

    async def list_tokens(self, workspace: WorkspaceId) -> Sequence[Token]:
        query = "SELECT * FROM tokens WHERE workspace = ? ORDER BY created_ms"
        return [to_token(row) for row in await self._read(lambda db: db.execute(query, (workspace,)).fetchall())]

    async def delete_token(self, workspace: WorkspaceId, token_id: str) -> bool:
        query = "DELETE FROM tokens WHERE workspace = ? AND id = ?"
        try:
            return await self._change(lambda db: db.execute(query, (workspace, token_id)).rowcount) > 0
        finally:
            self._forget_tokens()

    def close(self) -> None:
        """Let the commit in hand end, then let go of the file. Blocks up to `CLOSE_DEADLINE_S`."""
        self._writer.close(wait_s=CLOSE_DEADLINE_S)
        for connection in self._readers:
            connection.close()

    async def _change(self, deed: Callable[[sqlite3.Connection], T]) -> T:
        """Change something small that somebody waits for, in a transaction of its own that survives loss of power."""
        return await self._writer.run(deed, is_power_safe=True, size_bytes=0)

    async def _read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        def read() -> T:
            connection = self._readers.pop() if self._readers else _connect(self._path, is_reader=True)
            try:
                return query(connection)
            except sqlite3.Error as error:
                raise StoreUnavailableError(f"SQLite: {error}") from error
            finally:
                self._readers.append(connection)

        return await trio.to_thread.run_sync(read, limiter=self._reader_limit)


@asynccontextmanager
async def open_sqlite_store(directory: Path, *, is_power_safe: bool) -> AsyncIterator[SqliteStore]:
    """Open, or make, the database in `directory` and hold its lock until the block is left.

    Raises:
        StoreLockedError: another process holds it; the message names the process.
        StoreUnavailableError: the directory cannot be written, or the file is no database of ours.
    """
    _make_directory(directory)
    with _lock(directory):
        path = directory / "execd.db"
        await trio.to_thread.run_sync(_prepare_file, path)
        store = SqliteStore(path, is_power_safe=is_power_safe)
        try:
            yield store
        finally:
            store.close()


def _make_directory(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StoreUnavailableError(f"cannot make {directory}: {error.strerror}") from error


def _prepare_file(path: Path) -> None:
    try:
        connection = _connect(path)
        try:
            migrate(connection)
        finally:
            connection.close()
        path.chmod(0o600)
    except (sqlite3.Error, OSError) as error:
        raise StoreUnavailableError(f"cannot open {path}: {error}") from error


@contextmanager
def _lock(directory: Path) -> Iterator[None]:
    """Hold an exclusive lock that the kernel takes away the moment this process dies."""
    path = directory / "execd.lock"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(fd, 32).decode(errors="replace").strip() or "unknown"
            raise StoreLockedError(
                f"another execd (process {holder}) uses {directory}: stop it, or choose another data directory"
            ) from None
        os.ftruncate(fd, 0)
        os.write(fd, str(os.getpid()).encode())
        yield
    finally:
        os.close(fd)


def _connect(path: Path, *, is_reader: bool = False) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=BUSY_TIMEOUT_S)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA foreign_keys = OFF")
    if is_reader:
        connection.execute("PRAGMA query_only = ON")
    return connection


def _size_of(write: Write) -> int:
    spec = write.record.spec if isinstance(write, Create) else b""
    return len(spec) + sum(len(event.body) for event in write.events)


def _adopt(connection: sqlite3.Connection, owner: str, which: str, values: tuple[str, ...]) -> list[ExecutionRecord]:
    rows = connection.execute(
        f"UPDATE executions SET owner = ?, epoch = epoch + 1 WHERE {which} RETURNING {RECORD_COLUMNS}, key",
        (owner, *values),
    ).fetchall()
    return [record for row in sorted(rows, key=lambda row: int(row["key"])) for record in _readable(row)]


def _marks(values: Collection[str]) -> str:
    return ", ".join("?" * len(values))


def _readable(row: sqlite3.Row) -> Sequence[ExecutionRecord]:
    """One damaged row must not keep a server from starting; it stays as it is, for somebody to look at."""
    try:
        return (to_record(row),)
    except (ValueError, TypeError, msgspec.MsgspecError) as error:
        log.error("execution_unreadable", key=row["key"], error=repr(error))
        return ()


def _first_record(rows: sqlite3.Cursor) -> ExecutionRecord | None:
    row = rows.fetchone()
    return None if row is None else to_record(row)


def _read_listed(rows: sqlite3.Cursor, limit: int) -> ExecutionPage:
    """Rows are read one by one, so that what does not fit is never in memory."""
    items: list[ExecutionRecord] = []
    size = 0
    next_cursor = None
    for row in rows:
        size += len(row["spec"])
        if len(items) == limit or (items and size > LISTED_BYTES):
            return ExecutionPage(tuple(items), next_cursor)
        items.append(to_record(row))
        next_cursor = str(row["key"])
    return ExecutionPage(tuple(items), None)


def _where(which: ExecutionFilter, *, before_key: int | None) -> tuple[str, list[object]]:
    terms: list[tuple[str, object]] = [
        ("workspace = ?", which.workspace),
        ("status = ?", which.status),
        ("kind = ?", which.kind),
        ("instr(name, ?) > 0", which.name),
        ("attempt_of = ?", which.attempt_of),
        ("definition = ?", which.definition),
        ("key < ?", before_key),
    ]
    used = [(term, value) for term, value in terms if value is not None]
    return " AND ".join(term for term, _ in used), [value for _, value in used]


def _read_page(
    db: sqlite3.Connection,
    execution_id: ExecutionId,
    after_seq: int,
    limit_bytes: int,
    types: frozenset[str] | None,
) -> list[StoredEvent]:
    chosen = f"AND type IN ({_marks(types)})" if types else ""
    rows = db.execute(
        f"{READ_JOURNAL} {chosen} ORDER BY place", (*journal_after(execution_id, after_seq), *(types or ()))
    )
    page: list[StoredEvent] = []
    size = 0
    for row in rows:
        size += len(row["body"])
        if page and size > limit_bytes:
            break
        event = StoredEvent(execution_id=execution_id, seq=seq_of(row["place"]), type=row["type"], body=row["body"])
        page.append(event)
    rows.close()
    return page
