"""The tables of the SQLite store, as migrations: numbered, applied in order, never edited once released."""

from __future__ import annotations

import sqlite3

from execd.core.errors import StoreUnavailableError

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE executions (
        key INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        kind TEXT NOT NULL,
        workspace TEXT NOT NULL,
        user TEXT NOT NULL,
        name TEXT NOT NULL,
        spec BLOB NOT NULL,
        status TEXT NOT NULL,
        is_final INTEGER NOT NULL DEFAULT 0,
        priority INTEGER NOT NULL,
        created_ms INTEGER NOT NULL,
        started_ms INTEGER,
        finished_ms INTEGER,
        error BLOB,
        attempt_of TEXT,
        owner TEXT NOT NULL,
        epoch INTEGER NOT NULL,
        head_seq INTEGER NOT NULL,
        idempotency_key TEXT,
        request_sha256 TEXT
    );
    CREATE INDEX executions_by_workspace ON executions (workspace, key);
    CREATE INDEX executions_unfinished ON executions (key) WHERE is_final = 0;
    CREATE INDEX executions_finished ON executions (finished_ms) WHERE is_final = 1;
    CREATE UNIQUE INDEX executions_by_idempotency_key ON executions (workspace, idempotency_key)
        WHERE idempotency_key IS NOT NULL;
    CREATE TABLE events (
        execution_key INTEGER NOT NULL REFERENCES executions (key),
        seq INTEGER NOT NULL,
        type TEXT NOT NULL,
        body BLOB NOT NULL,
        PRIMARY KEY (execution_key, seq)
    ) WITHOUT ROWID;
    CREATE TABLE tokens (
        id TEXT PRIMARY KEY,
        sha256 TEXT NOT NULL UNIQUE,
        workspace TEXT NOT NULL,
        role TEXT NOT NULL,
        user TEXT NOT NULL,
        created_ms INTEGER NOT NULL,
        expires_ms INTEGER
    );
    """,
    """
    CREATE TABLE definitions (
        key INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        workspace TEXT NOT NULL,
        name TEXT NOT NULL,
        kind TEXT NOT NULL,
        version INTEGER NOT NULL,
        UNIQUE (workspace, name)
    );
    CREATE TABLE definition_versions (
        definition_key INTEGER NOT NULL REFERENCES definitions (key),
        version INTEGER NOT NULL,
        name TEXT NOT NULL,
        kind TEXT NOT NULL,
        saved_by TEXT NOT NULL,
        saved_ms INTEGER NOT NULL,
        sha256 TEXT NOT NULL,
        size_bytes INTEGER NOT NULL,
        body BLOB NOT NULL,
        UNIQUE (definition_key, version)
    );
    ALTER TABLE executions ADD COLUMN definition TEXT;
    ALTER TABLE executions ADD COLUMN definition_version INTEGER;
    CREATE INDEX executions_by_definition ON executions (definition, key) WHERE definition IS NOT NULL;
    """,
    """
    CREATE TABLE definition_times (
        key INTEGER PRIMARY KEY,
        definition_key INTEGER NOT NULL,
        times BLOB NOT NULL
    );
    CREATE INDEX definition_times_by_definition ON definition_times (definition_key, key);
    """,
    """
    CREATE TABLE secrets (
        workspace TEXT NOT NULL,
        name TEXT NOT NULL,
        set_by TEXT NOT NULL,
        set_ms INTEGER NOT NULL,
        sealed TEXT NOT NULL,
        PRIMARY KEY (workspace, name)
    ) WITHOUT ROWID;
    """,
    # Every step of a flow is a commit, and what it costs is pages. `place` is `execution_key << 32 | seq`: one tree, in the order
    # of the journals, whose rows need no overflow pages. A spec stays as it was accepted, and is written once.
    """
    CREATE TABLE specs (
        execution_key INTEGER PRIMARY KEY,
        spec BLOB NOT NULL
    );
    INSERT INTO specs SELECT key, spec FROM executions;
    ALTER TABLE executions DROP COLUMN spec;
    ALTER TABLE events RENAME TO old_events;
    CREATE TABLE events (
        place INTEGER PRIMARY KEY,
        type TEXT NOT NULL,
        body BLOB NOT NULL
    );
    INSERT INTO events SELECT (execution_key << 32) | seq, type, body FROM old_events ORDER BY execution_key, seq;
    DROP TABLE old_events;
    """,
)


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a database to the newest schema.

    Raises:
        StoreUnavailableError: a newer execd wrote this file; use that one.
    """
    connection.execute(
        "CREATE TABLE IF NOT EXISTS migrations (version INTEGER PRIMARY KEY, applied_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP)"
    )
    (current,) = connection.execute("SELECT coalesce(max(version), 0) FROM migrations").fetchone()
    if current > len(MIGRATIONS):
        raise StoreUnavailableError(
            f"the database has schema version {current}, this execd knows {len(MIGRATIONS)}: run the newer execd"
        )
    for version, script in enumerate(MIGRATIONS[current:], start=current + 1):
        connection.executescript(f"BEGIN; {script}; INSERT INTO migrations (version) VALUES ({version}); COMMIT;")
