"""One seed from plan to judgement."""

from __future__ import annotations

import multiprocessing
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from tests.simulation.drawing import draw_plan
from tests.simulation.oracle import judge
from tests.simulation.world import World, run_world


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of a seed."""

    seed: int
    violations: list[str]
    census: Counter[str]
    trace: str = ""


def try_seed(seed: int, *, keep_trace: bool = False) -> Trial:
    """Run a seed. A world that cannot even be run to its end has gone wrong too."""
    plan = draw_plan(seed)
    world = World(plan)
    try:
        evidence = run_world(plan, world)
        violations = judge(plan, evidence, world.contents)
    except Exception:
        evidence = world.evidence
        violations = [*evidence.violations, "the world itself failed: " + traceback.format_exc()]
    trace = evidence.render() if keep_trace else ""
    return Trial(seed=seed, violations=violations, census=evidence.census, trace=trace)


def try_all(seeds: range, *, jobs: int) -> Iterator[Trial]:
    """Play many worlds in several processes; what comes of them comes in their order."""
    if jobs == 1:
        yield from map(try_seed, seeds)
        return
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap(try_seed, seeds, chunksize=20)
