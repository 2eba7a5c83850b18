"""The postal vocabulary: every message that crosses from one actor to another.

Questions carry a `Reply`; everything else is a fact the receiver must live with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from execd.core.codec import StoredEvent
from execd.core.events import ExecutionId, WorkspaceId
from execd.core.state import State
from execd.mailbox import Reply
from execd.ports import (
    Append,
    Command,
    Create,
    ExecutionRecord,
    Submission,
    Subscription,
    Write,
    WriteOutcome,
)

# to the coordinator


@dataclass(frozen=True, slots=True)
class SubmitExecution:
    """A new execution. The result writer answers, once it is stored; the coordinator only if it refuses."""

    execution_id: ExecutionId
    submission: Submission
    state: State
    """Before its first event: the edge compiles the graph, so that one which cannot be never reaches the coordinator."""
    reply: Reply[WriteOutcome]


@dataclass(frozen=True, slots=True)
class SendCommand:
    execution_id: ExecutionId
    command: Command
    reply: Reply[bool]
    """True when a live saga obeys; False when this coordinator knows no such execution."""


@dataclass(frozen=True, slots=True)
class SagaFinished:
    execution_id: ExecutionId
    generation: int
    """Of the coordinator that started it; one that crashed and came back has adopted the execution anew since."""
    outcome: str
    """The final status; `fenced` when the store has it otherwise; `crashed` when the saga failed."""


@dataclass(frozen=True, slots=True)
class ExecutionsAdopted:
    """The lease keeper took these over from owners that are gone: they are this instance's now, and nobody runs them."""

    generation: int
    """Of the coordinator they were adopted for; a later one has adopted them anew."""
    records: Sequence[ExecutionRecord]


@dataclass(frozen=True, slots=True)
class ExecutionsLost:
    """Others took these over while this instance's lease had lapsed: what runs of them here can store nothing more."""

    generation: int
    records: Sequence[ExecutionRecord]
    """As the store has them now."""


@dataclass(frozen=True, slots=True)
class SlotLeft:
    """This execution only waits, for a moment or a person: another may have its slot."""

    execution_id: ExecutionId
    generation: int
    """As of `SagaFinished`."""


@dataclass(frozen=True, slots=True)
class SlotAsked:
    """This execution has something to do again; answered when it has a slot."""

    execution_id: ExecutionId
    generation: int
    reply: Reply[None]


FromGeneration = SagaFinished | SlotLeft | SlotAsked | ExecutionsAdopted | ExecutionsLost
"""What one run of the coordinator is told by those it started."""
CoordinatorMessage = SubmitExecution | SendCommand | FromGeneration

# to a saga


@dataclass(frozen=True, slots=True)
class Instruction:
    """A command on its way to the saga that obeys it."""

    command: Command
    reply: Reply[bool]


# to the result writer


@dataclass(frozen=True, slots=True)
class StoreWrite:
    """Store, then publish, then tell the asker. `reply` answers what became of it."""

    write: Write
    reply: Reply[WriteOutcome]


@dataclass(frozen=True, slots=True)
class AdoptExecutions:
    """Take over what nobody runs, or this one, whoever has it; answered after every write that came before it."""

    owner: str
    only: ExecutionId | None
    reply: Reply[Sequence[ExecutionRecord]]


@dataclass(frozen=True, slots=True)
class SweepEnded:
    """Delete what ended before then."""

    finished_before: datetime
    reply: Reply[int]
    """How many went; as many as one sweep may delete means that there may be more."""


@dataclass(frozen=True, slots=True)
class RenewLease:
    """Say that `owner` lives."""

    owner: str
    lease_s: float
    reply: Reply[None]


@dataclass(frozen=True, slots=True)
class ReleaseLease:
    """Say that `owner` is gone; done after every write that came before it."""

    owner: str
    reply: Reply[None]


WriterMessage = StoreWrite | AdoptExecutions | SweepEnded | RenewLease | ReleaseLease

# to the stream router


@dataclass(frozen=True, slots=True)
class PublishEvents:
    """Events that are stored. Several journals may be mixed; each one's are in order."""

    events: tuple[StoredEvent, ...]


@dataclass(frozen=True, slots=True)
class Subscribe:
    execution_id: ExecutionId
    workspace: WorkspaceId
    after_seq: int
    reply: Reply[Subscription]


RouterMessage = PublishEvents | Subscribe


def events_of(write: Write) -> tuple[StoredEvent, ...]:
    """Give the events a write adds to a journal."""
    match write:
        case Create(events=events) | Append(events=events):
            return events
