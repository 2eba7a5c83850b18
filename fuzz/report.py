"""What was found, on the console, and the document of a clean campaign."""

from __future__ import annotations

import os
import platform
from collections import Counter
from datetime import UTC, datetime

from fuzz.campaign import Book

MEBIBYTE = 1024 * 1024


def findings(book: Book, *, at_most: int = 60) -> str:
    """Tell what was wrong, with the number of the request; each sentence once."""
    seen: dict[str, int] = {}
    for each in book.findings:
        seen.setdefault(each.text, each.number)
    lines = [f"{number}: {text}" for text, number in seen.items()]
    more = [f"… and {len(lines) - at_most} more"] if len(lines) > at_most else []
    return "\n".join([*lines[:at_most], *more])


def table(book: Book) -> str:
    """Give what every door was asked and answered, in Markdown."""
    doors = sorted({door for door, _ in book.statuses}, key=lambda door: (door.split(" ")[1], door))
    head = ("door", "requests", "1xx, 2xx", "4xx", "5xx", "given up")
    rows = [head, tuple("---" for _ in head), *(_cells(door, book.statuses) for door in doors)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cells(door: str, statuses: Counter[tuple[str, int]]) -> tuple[str, ...]:
    found = {status: count for (name, status), count in statuses.items() if name == door}
    sorts = ((100, 399), (400, 499), (500, 599), (0, 0))
    counts = [sum(count for status, count in found.items() if low <= status <= high) for low, high in sorts]
    return (f"`{door}`", f"{sum(found.values()):,}", *(f"{count:,}" for count in counts))


def summary(book: Book) -> str:
    """Say what it came to."""
    ends = ", ".join(f"{status} {count:,}" for status, count in sorted(book.ends.items()))
    memory = " to ".join(f"{size / MEBIBYTE:.0f}" for size in book.memory)
    files = " to ".join(map(str, book.files))
    return (
        f"{book.requests:,} requests at {len({door for door, _ in book.statuses})} doors. {book.executions:,} executions were "
        f"accepted and ended ({ends}). The slowest answer took {book.slowest_s:.1f} s (`{book.slowest}`). Resident memory went "
        f"from {memory} MiB, open descriptors from {files}. Promises broken: {len(book.findings)}."
    )


def document(book: Book, *, minutes: float, seed: int) -> str:
    """Give docs/fuzz.md."""
    when = datetime.now(UTC).strftime("%Y-%m-%d")
    command = f"make fuzz MINUTES={minutes:g}"
    machine = f"Linux {platform.release()}, {os.cpu_count()} processors, Python {platform.python_version()}"
    written = f"Written by `{command}` on {when}: {machine}; seed {seed}."
    return "\n\n".join(["# Fuzz", written, ABOUT, summary(book), table(book), REPEAT.format(seed=seed)]) + "\n"


ABOUT = """The real `execd serve` with its sandbox, and requests at every door that its own description (`/openapi.json`)
names: scripts, workflows, flows, drawn flows and external jobs, the bodies of every dialect, parameters, cursors, headers and
WebSocket frames. Each is a right one that was spoilt in a few places: another type, a missing or doubled key, texts that
templates, paths, headers and parsers stumble over, nesting, sizes, bytes that are no UTF-8; sent whole, in chunks, dripping, cut
off, or shorter than announced.

Looked at: no 5xx but 503 with `Retry-After` and of `/readyz`, and 501 for an unknown `Transfer-Encoding`; an answer within 15 s
(40 s where the server waits for a flow or its API); refusals in the shape of their door, which name the field and what is accepted;
everything accepted ends with exactly one `result_stored`; memory and descriptors are in the end about what they were after the
first six rounds; no traceback or error in the log."""

REPEAT = """## To repeat it

A finding has the number of its request: `python -m fuzz --seed {seed} --only NUMBER` sends that one again and shows the answer. The
seed fixes everything but the ids of what the server made meanwhile, and the order in which four clients get their turns. "Given
up" are requests that were broken off on purpose."""
