"""Between records and rows of the SQLite store, and its cursors."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from typing import Any

import msgspec

from execd.core.errors import InvalidRequestError
from execd.core.event_parts import Failure
from execd.core.events import ExecutionId, Status, WorkspaceId
from execd.ports import ExecutionRecord, Token

_COLUMNS = (
    "id, kind, workspace, user, name, status, priority, created_ms, started_ms, finished_ms, error, attempt_of, "
    "definition, definition_version, owner, epoch, head_seq, idempotency_key, request_sha256"
)
INSERT_EXECUTION = f"INSERT INTO executions ({_COLUMNS}) VALUES ({', '.join('?' * len(_COLUMNS.split(',')))})"
INSERT_SPEC = "INSERT INTO specs (execution_key, spec) VALUES (?, ?)"
RECORD_COLUMNS = f"{_COLUMNS}, (SELECT spec FROM specs WHERE execution_key = key) AS spec"
"""What a record is read of; of the table `executions`."""

_PLACES = 1 << 32
"""More than an execution can have events; its key stands in the bits above."""
_KEY = "(SELECT key FROM executions WHERE id = ?)"
READ_JOURNAL = (
    f"SELECT place, type, body FROM events WHERE place > {_KEY} * {_PLACES} + ? AND place < ({_KEY} + 1) * {_PLACES}"
)
"""One statement, so that the key is still that execution's; with the values of `journal_after`."""


def place_of(execution_key: int, seq: int) -> int:
    """Give where an event stands among all: by execution, then in the order of its journal."""
    return execution_key * _PLACES + seq


def journal_after(execution_id: ExecutionId, seq: int) -> tuple[str, int, str]:
    """Give the values of `READ_JOURNAL`."""
    return (execution_id, min(max(seq, 0), _PLACES - 1), execution_id)


def seq_of(place: int) -> int:
    """Give the number an event has in its journal."""
    return place % _PLACES


def to_milliseconds(at: datetime | None) -> int | None:
    """Give unix milliseconds."""
    return None if at is None else round(at.timestamp() * 1000)


def from_milliseconds(value: int | None) -> datetime | None:
    """Give an aware UTC datetime, exact to the millisecond."""
    if value is None:
        return None
    seconds, milliseconds = divmod(value, 1000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=milliseconds * 1000)


def to_row(record: ExecutionRecord) -> tuple[Any, ...]:
    """Give the values of `INSERT_EXECUTION`."""
    return (
        record.id,
        record.kind,
        record.workspace,
        record.user,
        record.name,
        record.status,
        record.priority,
        to_milliseconds(record.created_at),
        to_milliseconds(record.started_at),
        to_milliseconds(record.finished_at),
        encode_error(record.error),
        record.attempt_of,
        record.definition,
        record.definition_version,
        record.owner,
        record.epoch,
        record.head_seq,
        record.idempotency_key,
        record.request_sha256,
    )


def to_record(row: sqlite3.Row) -> ExecutionRecord:
    """Read a row that has at least `RECORD_COLUMNS`."""
    created_at = from_milliseconds(row["created_ms"])
    assert created_at is not None
    return ExecutionRecord(
        id=ExecutionId(row["id"]),
        kind=row["kind"],
        workspace=WorkspaceId(row["workspace"]),
        user=row["user"],
        name=row["name"],
        spec=row["spec"],
        status=Status(row["status"]),
        priority=row["priority"],
        created_at=created_at,
        started_at=from_milliseconds(row["started_ms"]),
        finished_at=from_milliseconds(row["finished_ms"]),
        error=None if row["error"] is None else msgspec.json.decode(row["error"], type=Failure),
        attempt_of=None if row["attempt_of"] is None else ExecutionId(row["attempt_of"]),
        definition=row["definition"],
        definition_version=row["definition_version"],
        owner=row["owner"],
        epoch=row["epoch"],
        head_seq=row["head_seq"],
        idempotency_key=row["idempotency_key"],
        request_sha256=row["request_sha256"],
    )


def encode_error(error: Failure | None) -> bytes | None:
    return None if error is None else msgspec.json.encode(error)


def to_token(row: sqlite3.Row) -> Token:
    created_at = from_milliseconds(row["created_ms"])
    assert created_at is not None
    return Token(
        id=row["id"],
        sha256=row["sha256"],
        workspace=WorkspaceId(row["workspace"]),
        role=row["role"],
        user=row["user"],
        created_at=created_at,
        expires_at=from_milliseconds(row["expires_ms"]),
    )


def parse_cursor(cursor: str | None) -> int | None:
    """Read the key a page ended with; None for the first page. Raises InvalidRequestError."""
    if cursor is None:
        return None
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 19):
        raise InvalidRequestError("cursor: not one this server gave; use `next_cursor` of the page before")
    return int(cursor)
