"""The SQLite file, read directly after the server has gone: no code of execd between the checker and what is stored."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class StoredRow:
    """One event as it is stored."""

    seq: int
    type: str
    body: bytes


@dataclass(frozen=True)
class Stored:
    """One execution as it is stored."""

    id: str
    name: str
    workspace: str
    status: str
    is_final: bool
    head_seq: int
    events: tuple[StoredRow, ...]


def read_executions(path: Path) -> Iterator[Stored]:
    """Give every execution with its journal, oldest first."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        keys = db.execute("SELECT key, id, name, workspace, status, is_final, head_seq FROM executions ORDER BY key")
        for key, execution_id, name, workspace, status, is_final, head_seq in keys.fetchall():
            rows = db.execute(
                "SELECT place & 0xffffffff, type, body FROM events WHERE place >> 32 = ? ORDER BY place", (key,)
            )
            events = tuple(StoredRow(seq, type_name, bytes(body)) for seq, type_name, body in rows)
            yield Stored(execution_id, name, workspace, status, bool(is_final), head_seq, events)


def count_starts(path: Path, name: str, node: str) -> int | None:
    """Count the starts of a node that are stored now, under the nose of the running server; None where it cannot be read
    because the server was killed meanwhile, or the file is held."""
    query = (
        "SELECT count(*) FROM executions JOIN events ON place BETWEEN key << 32 AND (key + 1) << 32 "
        "WHERE name = ? AND type = 'node_started' AND json_extract(CAST(body AS TEXT), '$.node') = ?"
    )
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=0.5)) as db:
            return int(db.execute(query, (name, node)).fetchone()[0])
    except sqlite3.Error:
        return None


def check_integrity(path: Path) -> list[str]:
    """Give what SQLite finds wrong with the file, and events of executions that are not there; empty when it is sound."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        found = [row[0] for row in db.execute("PRAGMA integrity_check") if row[0] != "ok"]
        query = "SELECT count(*) FROM events WHERE place >> 32 NOT IN (SELECT key FROM executions)"
        (strays,) = db.execute(query).fetchone()
    return [*found, *([f"{strays} events of no execution"] if strays else [])]
