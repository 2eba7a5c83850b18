"""Run the scenarios, print the table, write docs/chaos.md; anything found ends it with a code that is not zero."""

from __future__ import annotations

import argparse
import random
import secrets
import shutil
import signal
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import trio

from chaos.checker import check_api, check_file
from chaos.leftovers import find_leftovers
from chaos.report import Line, document, remarks, table, violations
from chaos.scenarios import SCENARIOS, Scenario
from chaos.world import World, open_world

DOCUMENT = Path(__file__).parents[1] / "docs" / "chaos.md"
DOCUMENTED_KILLS = 100
"""A run of fewer kills is a trial, and leaves the document as it is."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="kill -9s of the scenario `kills`")
    parser.add_argument("--only", choices=sorted(SCENARIOS), action="append", help="only this scenario; repeatable")
    parser.add_argument("--seed", type=int, default=None, help="of the schedule; printed when it is not given")
    parser.add_argument("--directory", type=Path, help="where data directories are made")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a campaign that is ended ends its servers
    seed = secrets.randbelow(10**9) if asked.seed is None else asked.seed
    sys.stdout.write(f"seed {seed}\n")
    sys.stdout.flush()
    lines = []
    for name in asked.only or SCENARIOS:
        parent = Path(tempfile.mkdtemp(prefix=f"chaos-{name}-", dir=asked.directory))
        lines.append(_run(name, parent, kills=asked.kills, seed=seed))
    sys.stdout.write(f"\n{table(lines)}\n\n{remarks(lines)}\n")
    if not all(line.is_clean for line in lines):
        sys.stdout.write(f"\n{violations(lines)}\n")
        return 1
    if asked.only is None and asked.kills >= DOCUMENTED_KILLS:
        DOCUMENT.write_text(document(lines, kills=asked.kills, seed=seed))
    return 0


def _run(name: str, parent: Path, *, kills: int, seed: int) -> Line:
    scenario = SCENARIOS[name]
    began = time.monotonic()
    world, executions = trio.run(partial(_play, name, scenario, parent, kills, random.Random(f"{seed}/{name}")))
    line = Line(name, scenario.about, world.book, executions, time.monotonic() - began)
    verdict = "clean" if line.is_clean else f"{len(world.book.violations)} violations; data kept in {parent}"
    sys.stdout.write(f"{name}: {executions} executions, {world.book.kills} kills, {line.seconds:.0f} s, {verdict}\n")
    sys.stdout.flush()
    if line.is_clean:
        shutil.rmtree(parent)
    return line


async def _play(name: str, scenario: Scenario, parent: Path, kills: int, rng: random.Random) -> tuple[World, int]:
    log_path = parent / "server.log"
    async with (
        scenario.prepare(parent) as (data_dir, settings),
        open_world(data_dir, name, log_path=log_path, settings=settings) as world,
    ):
        await scenario.play(world, rng, kills=kills)
        told = await check_api(world)
        code = await world.server.stop()
        if code != 0:
            world.book.blame("other", "", f"after SIGTERM it ended with {code}")
        executions = await trio.to_thread.run_sync(check_file, world, told)
        for leftover in await find_leftovers(world.server.pids, data_dir=world.server.data_dir):
            world.book.blame("orphans", "", leftover)
    return world, executions


if __name__ == "__main__":
    sys.exit(main())
