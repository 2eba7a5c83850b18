"""The figures of a large run as docs/reliability.md has them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

DOCUMENT = Path(__file__).parents[2] / "docs" / "reliability.md"
MARKS = ("<!-- worlds: written by make simulate SEEDS=10000 -->", "<!-- end of worlds -->")
DOCUMENTED_WORLDS = 10_000
"""A run of fewer is a trial, and leaves the document as it is."""

KILLS = ("killed after a write", "killed in the middle of a batch", "killed at an instant")
ENDS = tuple(f"ended {how}" for how in ("completed", "failed", "timeout", "cancelled", "interrupted"))
ROWS: Sequence[tuple[str, Sequence[str]]] = (
    ("kills of the process", KILLS),
    ("… of these right after a write", ("killed after a write",)),
    ("… in the middle of a batch", ("killed in the middle of a batch",)),
    ("crashes of the coordinator", ("coordinator crashed",)),
    ("… of the router", ("router crashed",)),
    ("… of the result writer", ("result writer crashed before a commit", "result writer crashed after a commit")),
    ("… of these with a committed write in hand", ("result writer crashed after a commit",)),
    ("… of two actors at once", ("two actors crashed at once",)),
    ("answers of the store lost after the commit", ("answer lost after the commit",)),
    ("instances cut off for a while", ("cut off for a while",)),
    ("… past their lease", ("cut off for longer than its lease",)),
    ("adoptions", ("adopted",)),
    ("writes that were fenced", ("fenced",)),
    ("viewers cut off by a kill", ("viewer cut off by a kill",)),
    ("… evicted for slowness", ("evicted: slow",)),
    ("executions that ended", ENDS),
    ("… of these workflows", ("kind: workflow",)),
    ("… HTTP flows", ("kind: flow",)),
    ("… work of engines elsewhere", ("kind: external",)),
    ("maps in workflows", ("graph: map in depth 0", "graph: map in depth 1")),
    ("… bodies that ran once", ("graph: workflow in depth 0", "graph: workflow in depth 1")),
    ("… joins of which one side was not taken", ("graph: join with a branch not taken",)),
    ("… with several hundred nodes that went on in another life", ("graph: many nodes in two lives",)),
    ("flows with rows of data", ("flow: rows",)),
    ("… steps that sent what the one before gave", ("flow: value of the step before",)),
    ("… requests made again", ("flow: asked again",)),
    ("… that failed and ran what always runs", ("flow: always run after a failure",)),
    ("questions answered", ("answered openly", "answered in secret")),
    ("… in secret", ("answered in secret",)),
    (
        "programs and calls given a secret",
        ("graph: program with a secret", "graph: call with a secret", "flow: key sent"),
    ),
    (
        "runs of saved definitions",
        tuple(f"definition: {which} version of {count}" for which in ("named", "newest") for count in range(1, 5)),
    ),
    ("… times left that were told and worked out again", ("definition: time left told",)),
)
"""What each line counts, of the census."""


def render(census: Counter[str], *, worlds: int, seconds: float) -> str:
    """Give the figures in Markdown."""
    when = datetime.now(UTC).strftime("%Y-%m-%d")
    lines = [f"{what} | {sum(census[name] for name in names):,}" for what, names in ROWS]
    head = f"On {when}, {os.cpu_count()} processors: {worlds:,} worlds in {seconds:.0f} s, 0 went wrong."
    return "\n".join([head, "", "| in these worlds | |", "|---|--:|", *(f"| {line} |" for line in lines)])


def write(figures: str) -> None:
    """Put them in their place in the document."""
    head, rest = DOCUMENT.read_text().split(MARKS[0])
    tail = rest.split(MARKS[1])[1]
    DOCUMENT.write_text(f"{head}{MARKS[0]}\n\n{figures}\n\n{MARKS[1]}{tail}")
