"""The writes of the SQLite store: what each does inside the batch's transaction, and what it answers.

A write that does not apply changes nothing and says why; it never fails the batch. A write that happened already, because
its answer was lost, answers `Stored` again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from execd.adapters.sqlite_history import keep_times
from execd.adapters.sqlite_rows import (
    INSERT_EXECUTION,
    INSERT_SPEC,
    READ_JOURNAL,
    encode_error,
    journal_after,
    place_of,
    seq_of,
    to_milliseconds,
    to_row,
)
from execd.core.codec import StoredEvent
from execd.core.events import FINAL_STATUSES, ExecutionId, Status
from execd.ports import Append, Create, Duplicate, Fenced, Stored, Write, WriteOutcome

_INSERT_EVENT = "INSERT INTO events (place, type, body) VALUES (?, ?, ?)"
_UNLESS_FENCED = "WHERE id = ? AND epoch = ? AND head_seq = ? AND is_final = 0 RETURNING key"
_ADVANCE = f"""
    UPDATE executions
       SET head_seq = ?, status = ?, started_ms = coalesce(started_ms, ?)
    {_UNLESS_FENCED}
"""
"""For all but the last write: a statement that names a column of an index writes that index's page too, changed or not, and
every step of a flow is such a write."""
_END = f"""
    UPDATE executions
       SET head_seq = ?, status = ?, is_final = ?, started_ms = coalesce(started_ms, ?),
           finished_ms = coalesce(finished_ms, ?), error = coalesce(?, error)
    {_UNLESS_FENCED}
"""


def apply_write(connection: sqlite3.Connection, write: Write) -> WriteOutcome:
    """Carry out one write within the open transaction."""
    match write:
        case Create():
            return _create(connection, write)
        case Append():
            return _append(connection, write)


def _create(connection: sqlite3.Connection, write: Create) -> WriteOutcome:
    record = write.record
    if _has_events(connection, record.id, write.events):
        return Stored()
    if record.idempotency_key is not None:
        found = connection.execute(
            "SELECT id, request_sha256 FROM executions WHERE workspace = ? AND idempotency_key = ?",
            (record.workspace, record.idempotency_key),
        ).fetchone()
        if found is not None:
            is_same = found["request_sha256"] == record.request_sha256
            return Duplicate(existing=ExecutionId(found["id"]), same_request=is_same)
    key = connection.execute(INSERT_EXECUTION, to_row(record)).lastrowid
    assert key is not None
    connection.execute(INSERT_SPEC, (key, record.spec))
    _insert_events(connection, key, write.events)
    return Stored()


def _append(connection: sqlite3.Connection, write: Append) -> WriteOutcome:
    row = _advance(connection, write)
    if row is not None:
        _insert_events(connection, row["key"], write.events)
        if write.times is not None:
            keep_times(connection, row["key"], write.times)
        return Stored()
    if _has_events(connection, write.execution_id, write.events):
        return Stored()
    return Fenced(why=_why_fenced(connection, write))


def _advance(connection: sqlite3.Connection, write: Append) -> Any:
    """Move an execution's head on; None where it is not what the write follows."""
    last_seq = write.after_seq + len(write.events)
    started_ms = to_milliseconds(write.started_at)
    place = (write.execution_id, write.epoch, write.after_seq)
    is_final = Status(write.status) in FINAL_STATUSES
    if not is_final and write.finished_at is None and write.error is None:
        return connection.execute(_ADVANCE, (last_seq, write.status, started_ms, *place)).fetchone()
    end = (int(is_final), started_ms, to_milliseconds(write.finished_at), encode_error(write.error))
    return connection.execute(_END, (last_seq, write.status, *end, *place)).fetchone()


def _insert_events(connection: sqlite3.Connection, key: int, events: Sequence[StoredEvent]) -> None:
    connection.executemany(_INSERT_EVENT, [(place_of(key, event.seq), event.type, event.body) for event in events])


def _has_events(connection: sqlite3.Connection, execution_id: ExecutionId, events: Sequence[StoredEvent]) -> bool:
    """Whether exactly these events stand in the journal: then this write is a repetition of itself."""
    if not events:
        return False
    which = journal_after(execution_id, events[0].seq - 1)
    rows = connection.execute(f"{READ_JOURNAL} ORDER BY place LIMIT ?", (*which, len(events))).fetchall()
    return [(seq_of(row["place"]), row["body"]) for row in rows] == [(event.seq, event.body) for event in events]


def _why_fenced(connection: sqlite3.Connection, write: Append) -> str:
    row = connection.execute(
        "SELECT epoch, head_seq, status FROM executions WHERE id = ?", (write.execution_id,)
    ).fetchone()
    if row is None:
        return "there is no such execution"
    if row["epoch"] != write.epoch:
        return f"it has epoch {row['epoch']}, the write has {write.epoch}"
    if Status(row["status"]) in FINAL_STATUSES:
        return f"it is {row['status']}"
    return f"its head is {row['head_seq']}, the write follows {write.after_seq}"
