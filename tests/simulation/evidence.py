"""What was seen of a world while it ran: by its store, its programs, its viewers and its people. Only collected here;
`oracle.py` judges most of it afterwards, and what can be judged at the instant is noted as a violation there and then."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import trio

from execd.core.codec import StoredEvent, decode_event
from execd.core.event_types import RESULT_STORED
from execd.core.events import ExecutionId, Stream
from execd.core.job_reports import JobReport
from execd.core.outcome import ExitRecord
from execd.ports import Append, Create, Write
from tests.simulation.plan import Ask


@dataclass(slots=True)
class Attempt:
    """What the world did with one pod."""

    execution_id: ExecutionId
    label: str
    node: str
    number: int
    pod: str
    life: int
    is_started: bool = False
    is_closed: bool = False
    is_dead: bool = False
    """Its process was killed, and it went along."""
    said: dict[Stream, bytearray] = field(default_factory=lambda: {stream: bytearray() for stream in Stream})
    """What the program wrote, or tried to."""
    heard: dict[Stream, bytearray] = field(default_factory=lambda: {stream: bytearray() for stream in Stream})
    """How much of it execd took."""
    dropped: dict[Stream, int] = field(default_factory=lambda: dict.fromkeys(Stream, 0))
    has_exited: bool = False
    """Whether execd took the last frame."""
    record: ExitRecord | None = None
    stdin: bytearray = field(default_factory=bytearray)
    env: Mapping[str, str] = field(default_factory=dict)
    """The variables it was given."""


@dataclass(slots=True)
class Call:
    """Something that was asked of the outside."""

    path: str
    number: int
    words: str
    """The answer, no other like it."""
    serial: int
    """Its number among all calls."""
    method: str = "GET"
    query: Mapping[str, str] = field(default_factory=dict)
    """What its address said behind the path."""
    key: str | None = None
    """The secret it was sent, which the answer repeats."""
    body: bytes | None = None
    status: int = 0
    """0: no answer was given."""
    is_broken: bool = False
    """Whether its connection broke, while who asked was there to see it."""
    is_open: bool = False


@dataclass(slots=True)
class Pass:
    """One reading of a journal: from a cursor on, over any number of reconnections."""

    viewer: str
    execution_id: ExecutionId
    after_seq: int
    events: list[tuple[int, bytes]] = field(default_factory=list)
    has_ended: bool = False
    """Whether the stream itself said that there is no more."""

    @property
    def last_seq(self) -> int:
        return self.events[-1][0] if self.events else self.after_seq


@dataclass(frozen=True, slots=True)
class Obeyed:
    """A command that was answered with yes."""

    execution_id: ExecutionId
    ask: Ask
    by: str
    at: float
    is_prompt: bool
    """Whether nothing delayed what followed but the execution itself."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to a prompt that was taken."""

    execution_id: ExecutionId
    prompt_id: str
    by: str
    secret_keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Promise:
    """A submission that was answered with yes."""

    execution_id: ExecutionId
    label: str


@dataclass(slots=True)
class Evidence:
    """Everything that was seen."""

    trace: list[tuple[float, str, str | Sequence[StoredEvent]]] = field(default_factory=list)
    """(time, who, what), without anything random once it is rendered."""
    census: Counter[str] = field(default_factory=Counter)
    """What happened in this world, to show over many that they are not empty."""
    violations: list[str] = field(default_factory=list)
    labels: dict[ExecutionId, str] = field(default_factory=dict)
    """Every execution that was ever stored."""
    written: dict[ExecutionId, list[StoredEvent]] = field(default_factory=dict)
    """Every event at the instant it was stored."""
    epochs: dict[tuple[ExecutionId, int], int] = field(default_factory=dict)
    """Under which epoch each event was stored."""
    attempts: list[Attempt] = field(default_factory=list)
    reports: list[tuple[ExecutionId, JobReport]] = field(default_factory=list)
    """What engines elsewhere said, heard or not."""
    calls: list[Call] = field(default_factory=list)
    passes: list[Pass] = field(default_factory=list)
    promises: list[Promise] = field(default_factory=list)
    obeyed: list[Obeyed] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    biggest_event_bytes: int = 0
    created_at: dict[ExecutionId, float] = field(default_factory=dict)
    ended_at: dict[ExecutionId, float] = field(default_factory=dict)
    """When each result was stored, in that order."""
    saved_at: dict[int, float] = field(default_factory=dict)
    """When each version of the definition was saved."""
    grown: trio.lowlevel.ParkingLot = field(default_factory=trio.lowlevel.ParkingLot)
    """Where those wait who look at journals."""
    created: trio.lowlevel.ParkingLot = field(default_factory=trio.lowlevel.ParkingLot)
    """Where those wait who want to know of the next execution."""

    def note(self, who: str, what: str) -> None:
        self.trace.append((trio.current_time(), who, what))

    def count(self, what: str) -> None:
        self.census[what] += 1

    def violate(self, what: str) -> None:
        self.violations.append(what)
        self.note("oracle", what)

    def note_write(self, write: Write, *, life: int) -> None:
        """A write was stored, now."""
        match write:
            case Create(record=record, events=events):
                execution_id, epoch = record.id, record.epoch
                if execution_id in self.labels:
                    return
                self.labels[execution_id] = record.name
                self.created_at[execution_id] = trio.current_time()
                self.created.unpark_all()
            case Append(execution_id=execution_id, epoch=epoch, events=events):
                if self._was_written(execution_id, events):
                    return
        journal = self.written.setdefault(execution_id, [])
        label = self.labels[execution_id]
        for event in events:
            if event.seq != len(journal) + 1:
                self.violate(f"{label}: event {event.seq} was stored after {len(journal)}")
            journal.append(event)
            self.epochs[execution_id, event.seq] = epoch
            self.biggest_event_bytes = max(self.biggest_event_bytes, len(event.body))
        if journal[-1].type == RESULT_STORED:
            self.ended_at[execution_id] = trio.current_time()
        self.grown.unpark_all()
        self.trace.append((trio.current_time(), f"store/{life} {label}", events))

    def _was_written(self, execution_id: ExecutionId, events: tuple[StoredEvent, ...]) -> bool:
        """A write that is repeated because its answer was lost is no second write."""
        journal = self.written[execution_id]
        start = events[0].seq - 1
        return journal[start : start + len(events)] == list(events)

    def render(self) -> str:
        """Give the trace as text."""
        return "\n".join(f"{time:12.6f} {who:14} {_render(what)}" for time, who, what in self.trace)


def _render(what: str | Sequence[StoredEvent]) -> str:
    """Name what was stored by number, type, node and attempt: ids are random."""
    if isinstance(what, str):
        return what
    events = [decode_event(event.body) for event in what]
    places = [f"({event.node}.{event.attempt})" if event.node is not None else "" for event in events]
    return " ".join(f"{event.seq}:{event.type}{place}" for event, place in zip(events, places, strict=True))
