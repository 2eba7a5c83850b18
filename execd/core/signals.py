"""What a graph machine hears and what it asks for: signals in, commands out.

Signals carry time, because the machine has no clock. Commands are carried out by the saga, in order; those that begin a
side effect wait until every record before them is stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from execd.core.calls import Call, CallEnd
from execd.core.events import Fact, NodeId, Output, StopMode, Stream
from execd.core.job_reports import JobReport
from execd.core.outcome import Outcome
from execd.core.specs import ScriptSpec


class Signal(msgspec.Struct, frozen=True, kw_only=True):
    """The root of what a machine hears."""

    at: datetime


class Begin(Signal, frozen=True):
    """A slot was granted."""

    runner: str
    started_from: str


class PodPrepared(Signal, frozen=True):
    """A place was chosen for a node; nothing has run in it."""

    node: NodeId
    attempt: int
    pod: str
    runtime: str
    isolation: str
    image: str | None


class PodProgressed(Signal, frozen=True):
    """The pod reached its node (`scheduled`) or its program runs (`running`)."""

    node: NodeId
    attempt: int
    phase: str


class OutputArrived(Signal, frozen=True):
    node: NodeId
    attempt: int
    output: Output


class OutputDropped(Signal, frozen=True):
    node: NodeId
    attempt: int
    stream: Stream
    dropped_bytes: int


class NodeExited(Signal, frozen=True):
    """The attempt is over, its pod is gone, and this is the verdict."""

    node: NodeId
    attempt: int
    outcome: Outcome


class DeltaArrived(Signal, frozen=True):
    """A part of what a call gives came."""

    node: NodeId
    attempt: int
    delta: str


class CallReturned(Signal, frozen=True):
    """The attempt is over, and nothing of it is left."""

    node: NodeId
    attempt: int
    result: CallEnd


class TimerDue(Signal, frozen=True):
    """The moment of a `SetTimer` has come."""

    node: NodeId
    attempt: int


class InputProvided(Signal, frozen=True):
    """A person answered."""

    by: str
    prompt_id: str
    values: Mapping[str, Any]
    sealed: Mapping[str, str] = {}
    """Those that are secret, encrypted."""

    def __repr__(self) -> str:
        return f"InputProvided({self.prompt_id})"


class SlotGranted(Signal, frozen=True):
    """The answer to `AskSlot`."""


class Reported(Signal, frozen=True):
    """An engine elsewhere says how far it is."""

    report: JobReport


class GoOn(Signal, frozen=True):
    """The rest of a step that was too long for one."""


class StopAsked(Signal, frozen=True):
    by: str
    mode: StopMode


class PauseAsked(Signal, frozen=True):
    by: str


class ResumeAsked(Signal, frozen=True):
    by: str


class Lost(Signal, frozen=True):
    """Whoever ran this execution is gone, and with it every local sandbox: it starts over from its journal."""

    code: str
    """`worker_lost`: execd stopped or died; `internal_error`: the saga crashed."""


class Order(msgspec.Struct, frozen=True):
    """The root of what a machine asks for."""


class Record(Order, frozen=True):
    """Store these facts, then publish them."""

    facts: tuple[Fact, ...]


class LaunchNode(Order, frozen=True):
    """Choose a place for the program and answer with `PodPrepared`; no side effect."""

    node: NodeId
    attempt: int
    script: ScriptSpec


class LaunchCall(Order, frozen=True):
    """Make the call, and answer with `CallReturned`. Waits until everything recorded before is stored."""

    node: NodeId
    attempt: int
    call: Call


class Proceed(Order, frozen=True):
    """Answer with `GoOn`, after whatever else waits to be heard."""


class LeaveSlot(Order, frozen=True):
    """Nothing runs: let another execution have the slot."""


class AskSlot(Order, frozen=True):
    """Answer with `SlotGranted` when there is one."""


class StartPod(Order, frozen=True):
    """Let the program run. Waits until everything recorded before is stored."""

    node: NodeId
    attempt: int


class StopNode(Order, frozen=True):
    """Kill the node's program, with its grace, or break off its call; `NodeExited` or `CallReturned` follows."""

    node: NodeId
    attempt: int


class SetTimer(Order, frozen=True):
    """Answer with `TimerDue` at that time, at once if it has passed. A timer nobody waits for any more is ignored when it
    fires, so none is ever taken back."""

    node: NodeId
    attempt: int
    due_at: datetime
    is_moment: bool
    """Whether it means that moment of the wall clock, however the clock is set meanwhile; else it is a delay, which takes
    no longer because the clock was set back."""
