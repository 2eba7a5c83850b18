"""Definitions in the SQLite file: a row for each with its newest version, and a row for each version.

Owns nothing: it reads and writes over the connections of the store it stands beside. Every change is one transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from execd.adapters.sqlite_rows import from_milliseconds, parse_cursor, to_milliseconds
from execd.core.events import DefinitionId, WorkspaceId
from execd.ports import (
    Definition,
    DefinitionFilter,
    DefinitionHead,
    DefinitionLimits,
    DefinitionPage,
    Full,
    Gone,
    Moved,
    NameTaken,
    Saved,
    SaveOutcome,
)

T = TypeVar("T")

_HEAD = "d.key, d.id, d.workspace, v.version, v.name, v.kind, v.saved_by, v.saved_ms, v.sha256, v.size_bytes"
_VERSIONS = "definitions AS d JOIN definition_versions AS v ON v.definition_key = d.key"
_NEWEST = f"{_VERSIONS} AND v.version = d.version"
_INSERT_VERSION = "INSERT INTO definition_versions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"


class WithConnection(Protocol):
    """Calls a function with a connection and gives what it returns. Raises StoreUnavailableError."""

    async def __call__(self, query: Callable[[sqlite3.Connection], T], /) -> T: ...


class SqliteDefinitions:
    """Implements `ports.DefinitionStore`.

    Args:
        read: calls with a connection that reads only.
        change: calls with the one that writes, within a transaction.
    """

    def __init__(self, *, read: WithConnection, change: WithConnection) -> None:
        self._read = read
        self._change = change

    async def save_definition(self, definition: Definition, *, limits: DefinitionLimits) -> SaveOutcome:
        return await self._change(lambda db: _save(db, definition, limits))

    async def find_definition(
        self, workspace: WorkspaceId, id_or_name: str, *, version: int | None = None
    ) -> Definition | None:
        def find(db: sqlite3.Connection) -> Definition | None:
            found = _find(db, workspace, "id", id_or_name, version=version)
            if found is None and not _exists(db, workspace, id_or_name):
                found = _find(db, workspace, "name", id_or_name, version=version)
            return found

        return await self._read(find)

    async def list_definitions(self, which: DefinitionFilter, *, cursor: str | None, limit: int) -> DefinitionPage:
        where, values = _where(which, before_key=parse_cursor(cursor))
        query = f"SELECT {_HEAD} FROM {_NEWEST} WHERE {where} ORDER BY d.key DESC LIMIT ?"
        rows = await self._read(lambda db: db.execute(query, (*values, limit + 1)).fetchall())
        return _page(rows, limit, cursor="key")

    async def list_versions(
        self, workspace: WorkspaceId, definition: DefinitionId, *, cursor: str | None, limit: int
    ) -> DefinitionPage:
        before = parse_cursor(cursor)
        query = (
            f"SELECT {_HEAD} FROM {_VERSIONS} WHERE d.workspace = ? AND d.id = ? AND (? IS NULL OR v.version < ?) "
            "ORDER BY v.version DESC LIMIT ?"
        )
        values = (workspace, definition, before, before, limit + 1)
        rows = await self._read(lambda db: db.execute(query, values).fetchall())
        return _page(rows, limit, cursor="version")

    async def delete_definition(self, workspace: WorkspaceId, definition: DefinitionId) -> bool:
        def delete(db: sqlite3.Connection) -> bool:
            query = "DELETE FROM definitions WHERE workspace = ? AND id = ? RETURNING key"
            row = db.execute(query, (workspace, definition)).fetchone()
            if row is not None:
                for table in ("definition_versions", "definition_times"):
                    db.execute(f"DELETE FROM {table} WHERE definition_key = ?", (row["key"],))
            return row is not None

        return await self._change(delete)


def _save(db: sqlite3.Connection, definition: Definition, limits: DefinitionLimits) -> SaveOutcome:
    newest = _find(db, definition.workspace, "id", definition.id)
    if newest is not None and newest.version != definition.version - 1:
        return Saved(newest) if _is_same(newest, definition) else Moved(newest)
    if newest is None and definition.version != 1:
        return Gone()
    taken = _find(db, definition.workspace, "name", definition.name)
    if taken is not None and taken.id != definition.id:
        return NameTaken(taken.id)
    if newest is None and _is_full(db, definition.workspace, limits):
        return Full()
    shared = (definition.name, definition.kind, definition.version)
    if newest is None:
        query = "INSERT INTO definitions (name, kind, version, id, workspace) VALUES (?, ?, ?, ?, ?) RETURNING key"
        row = db.execute(query, (*shared, definition.id, definition.workspace)).fetchone()
    else:
        query = "UPDATE definitions SET name = ?, kind = ?, version = ? WHERE id = ? RETURNING key"
        row = db.execute(query, (*shared, definition.id)).fetchone()
    db.execute(_INSERT_VERSION, (row["key"], *_to_values(definition)))
    dropped = _drop_versions(db, row["key"], until=definition.version - limits.versions) if limits.versions else 0
    return Saved(definition, dropped)


def _is_full(db: sqlite3.Connection, workspace: WorkspaceId, limits: DefinitionLimits) -> bool:
    (count,) = db.execute("SELECT count(*) FROM definitions WHERE workspace = ?", (workspace,)).fetchone()
    return bool(limits.per_workspace) and count >= limits.per_workspace


def _drop_versions(db: sqlite3.Connection, key: int, *, until: int) -> int:
    query = "DELETE FROM definition_versions WHERE definition_key = ? AND version <= ?"
    return db.execute(query, (key, until)).rowcount


def _find(
    db: sqlite3.Connection, workspace: WorkspaceId, column: str, value: str, *, version: int | None = None
) -> Definition | None:
    source, values = (_NEWEST, ()) if version is None else (f"{_VERSIONS} AND v.version = ?", (version,))
    query = f"SELECT {_HEAD}, v.body FROM {source} WHERE d.workspace = ? AND d.{column} = ?"
    row = db.execute(query, (*values, workspace, value)).fetchone()
    return None if row is None else Definition(**_head_fields(row), body=row["body"])


def _exists(db: sqlite3.Connection, workspace: WorkspaceId, definition: str) -> bool:
    query = "SELECT 1 FROM definitions WHERE workspace = ? AND id = ?"
    return db.execute(query, (workspace, definition)).fetchone() is not None


def _to_values(definition: Definition) -> tuple[Any, ...]:
    return (
        definition.version,
        definition.name,
        definition.kind,
        definition.saved_by,
        to_milliseconds(definition.saved_at),
        definition.sha256,
        definition.size_bytes,
        definition.body,
    )


def _head_fields(row: sqlite3.Row) -> dict[str, Any]:
    return {
        "id": DefinitionId(row["id"]),
        "workspace": WorkspaceId(row["workspace"]),
        "name": row["name"],
        "version": row["version"],
        "kind": row["kind"],
        "saved_by": row["saved_by"],
        "saved_at": from_milliseconds(row["saved_ms"]),
        "sha256": row["sha256"],
        "size_bytes": row["size_bytes"],
    }


def _page(rows: list[sqlite3.Row], limit: int, *, cursor: str) -> DefinitionPage:
    items = tuple(DefinitionHead(**_head_fields(row)) for row in rows[:limit])
    return DefinitionPage(items=items, next_cursor=str(rows[limit - 1][cursor]) if len(rows) > limit else None)


def _is_same(newest: Definition, saved: Definition) -> bool:
    """Whether this is the same saving again; only its moment may differ."""
    shared = ("version", "name", "kind", "saved_by", "sha256")
    return all(getattr(newest, name) == getattr(saved, name) for name in shared)


def _where(which: DefinitionFilter, *, before_key: int | None) -> tuple[str, list[object]]:
    terms: list[tuple[str, object]] = [
        ("d.workspace = ?", which.workspace),
        ("d.kind = ?", which.kind),
        ("instr(d.name, ?) > 0", which.name),
        ("d.key < ?", before_key),
    ]
    used = [(term, value) for term, value in terms if value is not None]
    return " AND ".join(term for term, _ in used), [value for _, value in used]
