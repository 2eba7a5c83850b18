"""What a seed means: everything a world will suffer, as `drawing.py` draws it up front from `random.Random(seed)`.

What cannot be drawn ahead, because it depends on how often something is called (the store's faults), comes from streams
derived from the seed: `Plan.stream("store", life)`.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from execd.core.events import Stream
from execd.core.external import ExternalSpec
from execd.core.flows.specs import FlowSpec
from execd.core.graph import Graph
from execd.core.job_reports import JobReport


@dataclass(frozen=True, slots=True)
class Say:
    """The program writes."""

    stream: Stream
    data: bytes


@dataclass(frozen=True, slots=True)
class Wait:
    """The program does nothing for a while."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Drop:
    """The output limit throws bytes away."""

    stream: Stream
    dropped_bytes: int


@dataclass(frozen=True, slots=True)
class Listen:
    """The program reads its stdin, for at most so long, and repeats it."""

    seconds: float


Act = Say | Wait | Drop | Listen


class Ending(enum.Enum):
    """How a program leaves."""

    EXIT = "exit"
    SIGNAL = "signal"
    LIMIT = "limit"
    """Its wall time was up."""
    VANISH = "vanish"
    """The pod ends without an exit record."""
    SILENCE = "silence"
    """The pod is seen gone from outside, and its last frame never comes."""
    HANG = "hang"
    """It runs until it is stopped."""
    POISON = "poison"
    """It drives a defect of execd, which crashes its saga."""


@dataclass(frozen=True, slots=True)
class ProgramPlan:
    """What one attempt does."""

    acts: tuple[Act, ...]
    ending: Ending
    code: int = 0
    ignores_stop_s: float = 0.0
    is_seen_gone_first: bool = False
    """Whether the pod's end is observed before its last words are read."""
    is_refused: bool = False
    """Whether the machine has no sandbox for it."""


@dataclass(frozen=True, slots=True)
class CallPlan:
    """What one call to the outside meets."""

    after_s: float
    status: int = 200
    is_broken: bool = False
    """Whether the connection breaks and no answer comes."""
    pieces: int = 1
    """More words of a model."""
    is_json: bool = False
    """Whether the answer is an object: its number among all answers, its words, and the key that was sent."""


@dataclass(frozen=True, slots=True)
class ReportPlan:
    """What an engine elsewhere says, so long after what it said before."""

    after_s: float
    report: JobReport


@dataclass(frozen=True, slots=True)
class ExternalPlan:
    """Work that an engine elsewhere does."""

    spec: ExternalSpec
    reports: tuple[ReportPlan, ...]


@dataclass(frozen=True, slots=True)
class DefinitionPlan:
    """A saved definition: when each version is saved, and what it is. All runs of it are chains of nodes."""

    versions: tuple[tuple[float, Mapping[str, Any]], ...]


@dataclass(frozen=True, slots=True)
class RunPlan:
    """A run of it."""

    version: int | None
    """None: the newest."""
    is_by_id: bool
    given: int | None
    """What it is given; None: as saved."""


@dataclass(frozen=True, slots=True)
class SubmissionPlan:
    """One request, perhaps sent several times."""

    label: str
    """Its name; executions are told apart by it, because ids are random."""
    workspace: str
    at: float
    retries: int
    key: str | None
    again_after: tuple[float, ...]
    """When it is sent once more, with the same key; 0 is the same instant."""
    programs: tuple[ProgramPlan, ...]
    """By attempt; the last stands for every later one."""
    graph: Graph | None = None
    """None: it is a script, or an engine elsewhere does the work."""
    external: ExternalPlan | None = None
    flow: FlowSpec | None = None
    run: RunPlan | None = None
    """Of the saved definition."""
    node_programs: tuple[tuple[str, tuple[ProgramPlan, ...]], ...] = ()
    """What each script of the graph does, by its source; in a body each item begins at another place of it."""
    node_calls: tuple[tuple[str, tuple[CallPlan, ...]], ...] = ()
    """What each node of the graph meets that asks something of the outside, by its address: call by call, then from the start."""
    answers_after: tuple[float, ...] = ()
    """How long each person who answers its questions takes."""


@dataclass(frozen=True, slots=True)
class ViewerPlan:
    """Somebody who watches one execution."""

    name: str
    label: str
    at: float
    after_seq: int
    uses_relay: bool
    pause_s: float
    """Between two reads."""
    breaks: tuple[tuple[int, float, bool], ...]
    """(after so many events, away for so long, begins again from 0)."""
    leaves_after: int | None


class Ask(enum.Enum):
    """A command."""

    CANCEL = "cancel"
    INTERRUPT = "interrupt"
    PAUSE = "pause"
    RESUME = "resume"
    STDIN = "stdin"


@dataclass(frozen=True, slots=True)
class CommandPlan:
    by: str
    label: str
    at: float
    ask: Ask
    after_events: int | None = None
    """It is asked in the instant in which so many events of the execution are stored."""
    is_within_map: bool = False
    """Whether a program in a `map`'s body must be under way as well."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """What the store does to one life. Chances are per call."""

    slowest_s: float = 0.0
    refuse: float = 0.0
    """Away before anything was written."""
    tear: float = 0.0
    """Away in the middle of a batch."""
    lose: float = 0.0
    """Away after the commit: the answer is lost."""
    defect: float = 0.0
    """An error no store should raise, before or after the commit."""
    most_defects: int = 0
    read_refuse: float = 0.0
    lasts_s: float = float("inf")
    """From the beginning of the life; after it the store is well."""


class LifeEnd(enum.Enum):
    """How a life of the process ends."""

    KILL_AT_WRITE = "killed at a write"
    KILL = "killed"
    STOP = "stopped"
    BUDGET = "budget spent"
    LAST = "last"


@dataclass(frozen=True, slots=True)
class LifePlan:
    """One life of the process."""

    end: LifeEnd
    lasts_s: float
    dies_at_write: int = 0
    """Counted in single writes, so it may be in the middle of a batch."""
    trouble: Trouble = Trouble()
    crashes: tuple[tuple[float, tuple[str, ...]], ...] = ()
    """(when, which actors at that instant)."""
    downtime_s: float = 0.0


@dataclass(frozen=True, slots=True)
class RivalPlan:
    """A second instance on the same store, beside the last life."""

    begins_after: float
    freezes: tuple[tuple[int, float, float], ...]
    """(0: the last life, 1: the rival; when, for how long it is cut off from the store and from its clients)."""
    stops_after: float


@dataclass(frozen=True, slots=True)
class Plan:
    """A world."""

    seed: int
    capacity: int | None
    slots: int
    max_queued: int
    hot_bytes_per_execution: int
    hot_bytes_total: int
    max_lag_bytes: int
    hot_history_s: float
    per_workspace: int
    lease_s: float
    submissions: tuple[SubmissionPlan, ...]
    viewers: tuple[ViewerPlan, ...]
    commands: tuple[CommandPlan, ...]
    lives: tuple[LifePlan, ...]
    rival: RivalPlan | None
    definition: DefinitionPlan | None = None

    def stream(self, *names: object) -> random.Random:
        """Give a source of randomness of its own; seeding with text does not depend on PYTHONHASHSEED."""
        return random.Random("/".join(map(str, (self.seed, *names))))
