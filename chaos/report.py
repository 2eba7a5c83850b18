"""The table, on the console and in the document."""

from __future__ import annotations

import os
import platform
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from chaos.book import FAULTS, Book


@dataclass(frozen=True)
class Line:
    """One scenario's line."""

    name: str
    about: str
    """What is done to the server, in a sentence."""
    book: Book
    executions: int
    seconds: float

    @property
    def is_clean(self) -> bool:
        return not self.book.violations


def table(lines: Sequence[Line]) -> str:
    """Give the table in Markdown."""
    head = ("scenario", "kills", "executions", "viewers", "connections", *FAULTS, "seconds")
    rows = [head, tuple("---" for _ in head), *(_cells(line) for line in lines)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cells(line: Line) -> tuple[str, ...]:
    book = line.book
    connections = sum(viewing.connections for viewing in book.viewings)
    counts = (book.kills, line.executions, len(book.viewings), connections, *map(book.count, FAULTS))
    return (line.name, *map(str, counts), f"{line.seconds:.0f}")


def violations(lines: Sequence[Line], *, at_most: int = 40) -> str:
    """Tell what was wrong, with the execution."""
    found = [
        f"{line.name}: {each.fault}: {each.execution_id or '-'}: {each.text}"
        for line in lines
        for each in line.book.violations
    ]
    more = [f"… and {len(found) - at_most} more"] if len(found) > at_most else []
    return "\n".join([*found[:at_most], *more])


def document(lines: Sequence[Line], *, kills: int, seed: int) -> str:
    """Give docs/chaos.md."""
    when = datetime.now(UTC).strftime("%Y-%m-%d")
    command = shlex.join(["make", "chaos", f"N={kills}"])
    machine = f"Linux {platform.release()}, {os.cpu_count()} processors, Python {platform.python_version()}"
    return (
        "\n\n".join(
            [
                "# Chaos",
                f"Written by `{command}` on {when}: {machine}; seed {seed}.",
                ABOUT,
                table(lines),
                "## What was done, and what else was seen",
                remarks(lines),
                COLUMNS,
                REPEAT.format(command=command, kills=kills, seed=seed),
            ]
        )
        + "\n"
    )


def remarks(lines: Sequence[Line]) -> str:
    """Say what was done in each scenario, and what else was seen."""
    return "\n".join(_paragraph(line) for line in lines)


def _paragraph(line: Line) -> str:
    refused = ", ".join(f"{code} {count}" for code, count in sorted(line.book.refusals.items()))
    excused = ", ".join(f"{code} {count}" for code, count in sorted(line.book.excused.items()))
    notes = [
        line.about,
        *line.book.notes,
        *([f"Honest refusals: {refused}."] if refused else []),
        *([f"Honest failures of the platform: {excused}."] if excused else []),
    ]
    return f"- **{line.name}**: {' '.join(notes)}"


ABOUT = """The real `execd serve` on a real SQLite file with real bubblewrap sandboxes, under a load of short, slow, flooding,
failing, limited, cancelled, interrupted and retried scripts in Python and Bash, of workflows of 200 nodes, and of HTTP flows, from
three workspaces. Clients send each submission with an `Idempotency-Key` and send it again when the answer is lost; viewers
resume over SSE (`Last-Event-ID`) and WebSocket (`?after=`); scripts tell a witness outside that they began. Flows ask a server of
the campaign, which counts every request, looks into the file while it is under way, answers, refuses, cuts its answers or says
nothing: with `finally`, retries, rows of data, questions that are answered over HTTP (one of them in secret), POSTs among the
steps, and some of them over FlowSphere's door, where clients stay, go away, or detach. Afterwards a checker compares what each
viewer saw over all its connections with `GET /events`, `GET /result`, the list, the rows of the file, read directly, and what
the witnesses saw."""

COLUMNS = """## The columns

- *lost*: accepted with a 2xx and gone, or never ended. *doubles*: an event twice in a viewer's stream, two ends, or two executions
  under one key. *gaps*: a number missing in a stream or journal, or a byte of output. *differs*: stream, API and file disagree.
- *reruns*: a witness saw a start or a request that no stored event announced, a script without `retries` more than once, one
  never accepted, a step out of its order, or a request again that its step did not allow.
- *wrong ends*: an outcome or output that is not the script's, `worker_lost` without a death, a cancel that was taken and did not
  hold, `finally` that was not run, an answer that nobody gave. *orphans*: a process, cgroup or directory of a dead server.
- *other*: anything else, such as a 500, a damaged file, or a secret that can be read in it."""

REPEAT = """## To repeat it

`{command}`, or one scenario with `python -m chaos --only NAME --kills {kills} --seed {seed}`. The seed fixes what is submitted and
how kills are aimed, not the timing of the machine. A violation ends it with a code that is not zero, names the execution and keeps
the data directory."""
