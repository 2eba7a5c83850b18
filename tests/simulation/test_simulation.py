"""The simulation as part of the suite: some hundred worlds, and that a seed is the whole story."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.simulation.trial import try_all, try_seed

SEEDS = range(300)

EVERY_WORLD_NEEDS = (
    "killed after a write",
    "killed in the middle of a batch",
    "killed at an instant",
    "stopped in order",
    "budget of crashes spent",
    "coordinator crashed",
    "router crashed",
    "watcher crashed",
    "two actors crashed at once",
    "result writer crashed before a commit",
    "result writer crashed after a commit",
    "program: poison",
    "program: silence",
    "program: vanish",
    "program: hang",
    "store away before the commit",
    "store away for a reader",
    "answer lost after the commit",
    "batch torn by an error",
    "duplicate key met in the store",
    "repeated request met its execution",
    "submission without an answer",
    "fenced",
    "adopted",
    "ran again",
    "relayed",
    "evicted: slow",
    "evicted: draining",
    "evicted: restarted",
    "viewer begins again from 0",
    "viewer resumes after its last event",
    "viewer cut off by a kill",
    "output dropped and said",
    "no sandbox to be had",
    "obeyed: cancel",
    "obeyed: interrupt",
    "obeyed: pause",
    "obeyed: resume",
    "obeyed: stdin",
    "ended completed",
    "ended failed",
    "ended timeout",
    "ended cancelled",
    "ended interrupted",
    "kind: workflow",
    "kind: external",
    "kind: flow",
    "report heard",
    "report not heard",
    "report after the end",
    "event: node_waiting",
    "event: input_required",
    "event: input_received",
    "event: node_skipped",
    "answer taken",
    "cut off for longer than its lease",
    "cancelled in time",
    "slots all in use",
    "call answered",
    "call without an answer",
    "graph: map in depth 0",
    "graph: map in depth 1",
    "graph: workflow in depth 0",
    "graph: workflow in depth 1",
    "graph: items side by side",
    "graph: join with a branch not taken",
    "graph: skipped branch_not_taken",
    "graph: skipped not_run",
    "graph: failed and stop",
    "graph: failed and continue",
    "graph: failed and branch",
    "graph: again after a failure of its own",
    "graph: pinned",
    "graph: waiting cut short",
    "graph: expanded cut short",
    "graph: many nodes in two lives",
    "graph: stopped among many nodes by cancel",
    "answered in secret",
    "answered openly",
    "graph: program with a secret",
    "graph: call with a secret",
    "flow: rows",
    "flow: a row after one that failed",
    "flow: question answered",
    "flow: value of the step before",
    "flow: key sent",
    "flow: reference that leads nowhere",
    "flow: always run after a failure",
    "flow: asked again",
    "definition: newest version of 2",
    "definition: named version of 2",
    "definition: time left told",
    "failure: flow:rows",
    "failure: expression",
    "failure: condition",
    "failure: worker_lost",
    "failure: sandbox_lost",
    "failure: internal_error",
)
"""What must happen in some world, else the simulation tests less than it says."""


@pytest.mark.slow
@pytest.mark.behaviour(1, 2, 4, 7, 8, 29, 41)
def test_three_hundred_worlds_keep_every_promise() -> None:
    """Crashes, kills, a store in trouble and slow viewers, all at once: what design.md promises holds, and each kind of
    trouble was really there. A seed that is named here reruns with `python -m tests.simulation --seed N`."""
    census: Counter[str] = Counter()
    wrong = {}
    for trial in try_all(SEEDS, jobs=os.cpu_count() or 1):
        census.update(trial.census)
        if trial.violations:
            wrong[trial.seed] = trial.violations

    assert wrong == {}
    assert [what for what in EVERY_WORLD_NEEDS if not census[what]] == []


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [range(12)], ids=["twelve"])
def test_a_seed_is_the_whole_story(seeds: range) -> None:
    """Two processes whose strings hash differently live through the same worlds, to the byte: a failure can be rerun."""
    one, other = (_trace_in_a_fresh_process(seeds, hash_seed=hash_seed) for hash_seed in ("1", "2"))

    assert one == other
    assert one == "".join(_digest(seed) for seed in seeds)


def _digest(seed: int) -> str:
    return f"{seed} {hashlib.sha256(try_seed(seed, keep_trace=True).trace.encode()).hexdigest()}\n"


def _trace_in_a_fresh_process(seeds: range, *, hash_seed: str) -> str:
    program = (
        "import hashlib\n"
        "from tests.simulation.trial import try_seed\n"
        f"for seed in range({seeds.start}, {seeds.stop}):\n"
        "    trace = try_seed(seed, keep_trace=True).trace\n"
        "    print(seed, hashlib.sha256(trace.encode()).hexdigest())\n"
    )
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout
