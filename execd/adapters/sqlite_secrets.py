"""Encrypted secrets in the SQLite file, a row for each.

Owns nothing: it reads and writes over the connections of the store it stands beside.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from typing import Any

from execd.adapters.sqlite_definitions import WithConnection
from execd.adapters.sqlite_rows import from_milliseconds, to_milliseconds
from execd.core.events import WorkspaceId
from execd.ports import SecretHead, StoredSecret

_PUT = """
    INSERT INTO secrets (workspace, name, set_by, set_ms, sealed) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (workspace, name) DO UPDATE SET set_by = excluded.set_by, set_ms = excluded.set_ms, sealed = excluded.sealed
"""


class SqliteSecrets:
    """Implements `ports.SecretStore`.

    Args:
        read: calls with a connection that reads only.
        change: calls with the one that writes, within a transaction.
    """

    def __init__(self, *, read: WithConnection, change: WithConnection) -> None:
        self._read = read
        self._change = change

    async def put_secret(self, secret: StoredSecret) -> bool:
        key = (secret.workspace, secret.name)
        values = (*key, secret.set_by, to_milliseconds(secret.set_at), secret.sealed)

        def put(db: sqlite3.Connection) -> bool:
            query = "SELECT 1 FROM secrets WHERE workspace = ? AND name = ?"
            existed = db.execute(query, key).fetchone() is not None
            db.execute(_PUT, values)
            return existed

        return await self._change(put)

    async def find_secrets(self, workspace: WorkspaceId, names: Collection[str]) -> Sequence[StoredSecret]:
        query = "SELECT * FROM secrets WHERE workspace = ? AND name = ?"

        def find(db: sqlite3.Connection) -> list[sqlite3.Row | None]:
            return [db.execute(query, (workspace, name)).fetchone() for name in names]

        return [_to_secret(row) for row in await self._read(find) if row is not None]

    async def list_secrets(self, workspace: WorkspaceId) -> Sequence[SecretHead]:
        query = "SELECT workspace, name, set_by, set_ms FROM secrets WHERE workspace = ? ORDER BY name"
        rows = await self._read(lambda db: db.execute(query, (workspace,)).fetchall())
        return [SecretHead(**_head_fields(row)) for row in rows]

    async def delete_secret(self, workspace: WorkspaceId, name: str) -> bool:
        query = "DELETE FROM secrets WHERE workspace = ? AND name = ?"
        return await self._change(lambda db: db.execute(query, (workspace, name)).rowcount) > 0

    async def all_secrets(self) -> Sequence[StoredSecret]:
        rows = await self._read(lambda db: db.execute("SELECT * FROM secrets").fetchall())
        return [_to_secret(row) for row in rows]


def _to_secret(row: sqlite3.Row) -> StoredSecret:
    return StoredSecret(**_head_fields(row), sealed=row["sealed"])


def _head_fields(row: sqlite3.Row) -> dict[str, Any]:
    return {
        "workspace": WorkspaceId(row["workspace"]),
        "name": row["name"],
        "set_by": row["set_by"],
        "set_at": from_milliseconds(row["set_ms"]),
    }
