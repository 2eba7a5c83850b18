"""Workflows of `set` nodes, each journaled on disk and streamed, against the least a durable node can cost: a loop that
commits one SQLite row for each.

A chain has each node need the one before it; a fan-out has them all need the first. Measured from the submit to the stored
result in the hands of a viewer that follows all along.
"""

from __future__ import annotations

import sqlite3
import statistics
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import trio

from execd.core.codec import decode_event
from execd.core.events import ResultStored, Status, WorkspaceId
from execd.embed import EmbeddedEngine, open_engine
from execd.settings import SandboxSettings, Settings

W = WorkspaceId("default")
ROUNDS = 3


@dataclass(frozen=True)
class Nodes:
    """One shape and size."""

    shape: str
    count: int
    ms_per_node: float
    row_ms: float
    """What one committed row cost in the same run."""

    @property
    def ratio(self) -> float:
        return self.ms_per_node / self.row_ms


def measure(counts: tuple[int, ...]) -> list[Nodes]:
    """Measure both shapes at every size."""
    with tempfile.TemporaryDirectory() as folder:
        return trio.run(partial(_measure, Path(folder), counts))


async def _measure(folder: Path, counts: tuple[int, ...]) -> list[Nodes]:
    settings = Settings(data_dir=folder / "data", sandbox=SandboxSettings(sandbox="none", warm_slots=0))
    found: list[Nodes] = []
    async with open_engine(settings) as engine:
        await _run(engine, _chain(10))
        for count in counts:
            for shape, nodes in (("chain", _chain(count)), ("fan-out", _fan_out(count))):
                row_ms = statistics.median(_time_rows(folder / "rows.db", 300) for _ in range(ROUNDS))
                took_s = statistics.median([await _run(engine, nodes) for _ in range(ROUNDS)])
                found.append(Nodes(shape=shape, count=count, ms_per_node=took_s * 1000 / count, row_ms=row_ms))
    return found


def _chain(count: int) -> list[dict[str, Any]]:
    return [
        {"id": f"n{i}", "type": "set", "values": {"number": i}, **({"needs": [f"n{i - 1}"]} if i else {})}
        for i in range(count)
    ]


def _fan_out(count: int) -> list[dict[str, Any]]:
    rest = [{"id": f"n{i}", "type": "set", "values": {"number": i}, "needs": ["n0"]} for i in range(1, count)]
    return [{"id": "n0", "type": "set", "values": 0}, *rest]


async def _run(engine: EmbeddedEngine, nodes: list[dict[str, Any]]) -> float:
    began = time.perf_counter()
    run = await engine.submit_workflow({"nodes": nodes})
    async with engine.port.subscribe(run.id, workspace=W, after_seq=0) as subscription:
        last = None
        while last is None or last.type != "result_stored":
            last = (await subscription.receive())[-1]
    took_s = time.perf_counter() - began
    result = decode_event(last.body).data
    assert isinstance(result, ResultStored)
    assert result.status is Status.COMPLETED
    return took_s


def _time_rows(path: Path, count: int) -> float:
    """The peer: one row, one commit, as durable as the journal's default (survives a kill)."""
    with sqlite3.connect(path, isolation_level=None) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("CREATE TABLE IF NOT EXISTS rows (node TEXT, body TEXT)")
        began = time.perf_counter()
        for number in range(count):
            db.execute("BEGIN")
            db.execute("INSERT INTO rows VALUES (?, ?)", (f"n{number}", f'{{"number": {number}}}'))
            db.execute("COMMIT")
        took_s = time.perf_counter() - began
    db.close()
    return took_s * 1000 / count
