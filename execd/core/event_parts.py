"""Records that stand inside events: failures, costs, questions, and the parts of a result."""

from __future__ import annotations

from typing import Any

import msgspec


class Failure(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why something did not succeed, in words for people and a code for programs."""

    code: str
    """Stable: `exit`, `signal:SEGV`, `limit:memory`, `worker_lost` … (core/outcome.py has the table)."""
    message: str
    details: dict[str, Any] = {}
    """What was configured and observed, hints, and whose fault it is (`group`); of a flow's step all that is kept of it
    (`step`)."""


class Usage(msgspec.Struct, frozen=True):
    """What a run cost; None where this machine cannot measure it."""

    wall_ms: int | None = None
    cpu_ms: int | None = None
    peak_memory_bytes: int | None = None


class Prompt(msgspec.Struct, frozen=True, omit_defaults=True):
    """One question to a person."""

    key: str
    """The name of the answer."""
    label: str
    choices: tuple[str, ...] = ()
    """The only answers taken; empty: any text."""
    default: str | None = None
    """Taken where this key is not answered; None: an answer is needed."""
    secret: bool = False
    """Whether nobody may see the answer: it is typed unseen, and told as `***`."""


class StreamTotals(msgspec.Struct, frozen=True):
    """How much of a stream there was, and how much of it the result shows; the journal's `output` events have all that was kept."""

    total_bytes: int = 0
    """What the program wrote, kept or not."""
    shown_bytes: int = 0
    """How much of it stands in this result, from the start of the stream."""
    dropped_bytes: int = 0
    """What the output limit dropped for good."""


class NodeResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """How one node ended."""

    id: str
    status: str
    """`completed`, `failed`, `skipped` or `not_run`."""
    attempts: int
    duration_ms: int | None = None
    error: Failure | None = None
    reason: str | None = None
    """Why it was skipped."""
