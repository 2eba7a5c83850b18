"""How long the executions of a definition took, in the SQLite store: one row each, compressed, only the last of them.

The names of ten thousand nodes repeat in every row, and begin alike: they shrink to a tenth.
"""

from __future__ import annotations

import sqlite3
import zlib

import msgspec
import structlog

from execd.core.events import DefinitionId, WorkspaceId
from execd.core.history import KEPT_RUNS, RunTimes

log = structlog.get_logger()

_LEVEL = 1
"""The quickest: this runs within the transaction that ends an execution."""
_KEEP = """
    INSERT INTO definition_times (definition_key, times)
    SELECT d.key, ? FROM executions e JOIN definitions d ON d.id = e.definition AND d.workspace = e.workspace
     WHERE e.key = ?
 RETURNING definition_key
"""
_TRIM = """
    DELETE FROM definition_times WHERE definition_key = ?1 AND key NOT IN
        (SELECT key FROM definition_times WHERE definition_key = ?1 ORDER BY key DESC LIMIT ?2)
"""
_READ = """
    SELECT t.times FROM definition_times t JOIN definitions d ON d.key = t.definition_key
     WHERE d.workspace = ? AND d.id = ? ORDER BY t.key
"""
_decoder = msgspec.json.Decoder(RunTimes)


def keep_times(connection: sqlite3.Connection, execution_key: int, times: RunTimes) -> None:
    """Add to the history of the definition an execution was made of, if there still is one."""
    body = zlib.compress(msgspec.json.encode(times), _LEVEL)
    row = connection.execute(_KEEP, (body, execution_key)).fetchone()
    if row is not None:
        connection.execute(_TRIM, (row["definition_key"], KEPT_RUNS))


def read_times(db: sqlite3.Connection, workspace: WorkspaceId, definition: DefinitionId) -> list[RunTimes]:
    """Read a history, oldest first; a row that cannot be read counts as none."""
    found: list[RunTimes] = []
    for row in db.execute(_READ, (workspace, definition)).fetchall():
        try:
            found.append(_decoder.decode(zlib.decompress(row["times"])))
        except (zlib.error, msgspec.MsgspecError) as error:
            log.error("history_unreadable", definition=definition, error=repr(error))
    return found
