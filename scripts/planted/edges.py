"""Bugs in the stores and at the doors, which the simulated worlds do not have."""

from __future__ import annotations

from planted.bug import Bug

EDGES = (
    Bug(
        "2",
        "terminal records are not synced",
        "execd/adapters/sqlite_store.py",
        "isinstance(write, Append) and write.is_terminal",
        "isinstance(write, Append) and False",
        "tests/contract/test_sqlite_store.py",
    ),
    Bug(
        "3",
        "a terminal status can be overwritten",
        "execd/adapters/sqlite_writes.py",
        "AND head_seq = ? AND is_final = 0",
        "AND head_seq = ?",
    ),
    Bug("6", "a stale owner may write", "execd/adapters/memory_store.py", "record.epoch != write.epoch or ", ""),
    Bug(
        "6",
        "a lease that runs protects nothing",
        "execd/adapters/sqlite_store.py",
        "if deadline > time.monotonic()}",
        "if deadline < 0}",
        "tests/contract/test_store_contract.py",
    ),
    Bug(
        "6",
        "a stale owner may write (SQLite)",
        "execd/adapters/sqlite_writes.py",
        "AND epoch = ? AND head_seq",
        "AND ? > 0 AND head_seq",
    ),
    Bug(
        "9",
        "a foreign execution can be seen",
        "execd/http/executions.py",
        "record is None or record.workspace != identity.workspace",
        "record is None",
        "tests/http",
    ),
)
