"""Plant bugs one by one and show that the suites catch each: `make planted-bugs`.

Each bug breaks an invariant of the design in one line. A copy of the tree gets the bug, the named tests run on it, and a
bug that no test notices fails the command. The tree itself is never touched.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from planted import BUGS, Bug

ROOT = Path(__file__).parents[1]
SEEDS = 600
"""Worlds in which the simulation looks for each bug."""


def main() -> int:
    """Print the table and give the number of bugs nobody noticed."""
    if any(_failures(ROOT, tests) for tests in {bug.tests for bug in BUGS}):
        raise SystemExit("the suites must pass before a bug is planted")
    unnoticed = 0
    sys.stdout.write("| invariant | planted bug | caught by | in the simulation, by seed |\n|---|---|---|---|\n")
    for bug in BUGS:
        with tempfile.TemporaryDirectory() as folder:
            tree = _plant(bug, Path(folder) / "tree")
            failed = _failures(tree, bug.tests)
            seed = _first_seed(tree) if bug.is_simulated else "-"
        unnoticed += not failed
        sys.stdout.write(f"| {bug.invariant} | {bug.what} | {', '.join(failed) or '**nothing**'} | {seed} |\n")
        sys.stdout.flush()
    return unnoticed


def _plant(bug: Bug, tree: Path) -> Path:
    """Copy the tree and put the bug in."""
    ignored = shutil.ignore_patterns(".venv", ".git", "__pycache__", ".*_cache", ".hypothesis", "node_modules")
    shutil.copytree(ROOT, tree, ignore=ignored)
    path = tree / bug.path
    source = path.read_text()
    if source.count(bug.line) != 1:
        raise SystemExit(f"{bug.path}: the line of '{bug.what}' stands there {source.count(bug.line)} times, not once")
    path.write_text(source.replace(bug.line, bug.wrong))
    return tree


def _failures(tree: Path, tests: str) -> list[str]:
    """Give the first tests that fail on a tree; none when all pass."""
    options = ["--maxfail", "2", "--timeout", "20", "-p", "no:cacheprovider", "-p", "no:randomly"]
    command = [sys.executable, "-m", "pytest", *options, *tests.split()]
    run = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
    failed = [line for line in run.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    names = [line.split("::")[-1].split(" ")[0] for line in failed]
    return names or ([f"pytest exit {run.returncode}"] if run.returncode else [])


def _first_seed(tree: Path) -> str:
    """Give the first seed whose world goes wrong with the bug in it."""
    command = [sys.executable, "-m", "tests.simulation", "--seeds", str(SEEDS), "--most-failures", "1"]
    run = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
    found = [line.split()[1].rstrip(":") for line in run.stdout.splitlines() if line.startswith("seed ")]
    return found[0] if found else f"not in {SEEDS}"


if __name__ == "__main__":
    sys.exit(main())
