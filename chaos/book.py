"""What happened, as the campaign saw it: wishes, viewings and what was wrong. Only the checker draws conclusions."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import trio

from chaos.recipes import Ending, Recipe

FAULTS = ("lost", "doubles", "gaps", "differs", "reruns", "wrong ends", "orphans", "other")
"""The columns of the table. lost: accepted and gone, or never ended. differs: two of stream, API and database disagree."""


@dataclass(frozen=True)
class Violation:
    """Something that must not be."""

    fault: str
    execution_id: str
    text: str


@dataclass
class Wish:
    """Somebody wants something run, and sends it until it is accepted or patience ends."""

    token: str
    """Names it everywhere: in the execution's name, in its output, to the witness."""
    recipe: Recipe
    workspace: str
    body: dict[str, Any]
    is_impatient: bool = False
    """Sends once and does not look back."""
    excused: frozenset[Ending] = frozenset()
    """Endings that are honest beside the recipe's own, because of what the server suffers."""
    execution_id: str = ""
    """Set by the first 2xx."""
    sends: int = 0
    commands_taken: list[str] = field(default_factory=list)
    """Commands that got a 2xx."""
    answered: list[str] = field(default_factory=list)
    """Steps of a flow whose questions were answered, with a 2xx."""
    frames: list[Frame] = field(default_factory=list)
    """What FlowSphere's door told, over all connections."""
    last_frame: int = 0
    """The `id` of the last of them that had one."""


@dataclass(frozen=True)
class Frame:
    """One frame of FlowSphere's door."""

    name: str
    data: dict[str, Any]


@dataclass(frozen=True)
class Seen:
    """One event as it came to a viewer."""

    seq: int
    type: str
    digest: bytes


@dataclass
class Viewing:
    """One viewer of one execution, over all its connections."""

    execution_id: str
    workspace: str
    door: str
    """`sse` or `ws`."""
    seen: list[Seen] = field(default_factory=list)
    connections: int = 0
    is_complete: bool = False
    """Whether `result_stored` came."""
    first_output: trio.Event = field(default_factory=trio.Event)
    ended: trio.Event = field(default_factory=trio.Event)

    @property
    def last_seq(self) -> int:
        return self.seen[-1].seq if self.seen else 0


class Book:
    """All of one scenario."""

    def __init__(self) -> None:
        self.wishes: list[Wish] = []
        self.viewings: list[Viewing] = []
        self.violations: list[Violation] = []
        self.kills = 0
        self.refusals: Counter[str] = Counter()
        """503s by their code: honest, and counted."""
        self.excused: Counter[str] = Counter()
        """Ends that the platform's trouble made, by their code."""
        self.notes: list[str] = []
        """Figures worth a line in the document."""

    def blame(self, fault: str, execution_id: str, text: str) -> None:
        self.violations.append(Violation(fault, execution_id, text))

    def accepted(self) -> list[Wish]:
        return [wish for wish in self.wishes if wish.execution_id]

    def count(self, fault: str) -> int:
        return sum(1 for violation in self.violations if violation.fault == fault)


def digest(body: bytes) -> bytes:
    """Stand in for an event's bytes: megabytes of floods are not kept for every viewer."""
    return hashlib.blake2b(body, digest_size=12).digest()
