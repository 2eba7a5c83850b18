"""What happened: the facts a journal is made of, one frozen record each, named in the past tense.

An `Event` is the envelope a viewer sees; its `data` is one of the records below and `type` is that record's tag. They are
msgspec structs: the one declaration encodes them for the store and every viewer, decodes them, and describes them.

Never: a clock, an id generator or a default that depends on either. Time comes in from outside.
"""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Any, NewType

import msgspec

from execd.core.event_parts import Failure, NodeResult, Prompt, StreamTotals, Usage

ExecutionId = NewType("ExecutionId", str)
NodeId = NewType("NodeId", str)
WorkspaceId = NewType("WorkspaceId", str)
DefinitionId = NewType("DefinitionId", str)


class Status(enum.StrEnum):
    """Where an execution stands; the last five are final."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    WAITING_INPUT = "waiting_input"
    COMPLETED = "completed"
    FAILED = "failed"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    """Killed now, because somebody asked."""
    INTERRUPTED = "interrupted"
    """The step in flight finished, the rest is `not_run`."""

    @property
    def is_final(self) -> bool:
        return self in FINAL_STATUSES


FINAL_STATUSES = frozenset({Status.COMPLETED, Status.FAILED, Status.TIMEOUT, Status.CANCELLED, Status.INTERRUPTED})


class Stream(enum.StrEnum):
    """Which of a program's two outputs; each has offsets of its own."""

    STDOUT = "stdout"
    STDERR = "stderr"


class EventData(msgspec.Struct, frozen=True, omit_defaults=True):
    """The root of every record a journal may hold; its wire name is the class name in snake case."""


class ExecutionRequested(EventData, frozen=True):
    kind: str
    name: str
    user: str
    workspace: str
    attempt_of: str | None = None
    """The execution this one retries."""
    definition: str | None = None
    """The saved definition it was made of."""
    version: int | None = None
    """Of that definition."""


class ExecutionQueued(EventData, frozen=True):
    position: int
    """1 is next; 0 found a free slot at once."""
    ahead: int
    """How many wait before it, over all workspaces."""


class ExecutionStarted(EventData, frozen=True):
    runner: str
    """`local` or `kubernetes`."""
    started_from: str
    """`warm`: an interpreter was waiting; `cold`: one has to be started."""


class PodCreated(EventData, frozen=True):
    """Announces a pod; a local sandbox is a pod too. Stored before the pod exists."""

    pod: str
    runtime: str
    isolation: str
    """The level this run gets: `bubblewrap`, `none` or `pod`."""
    image: str | None = None
    """The Kubernetes image; None for a local sandbox."""


class PodScheduled(EventData, frozen=True):
    pod: str
    runtime: str


class PodRunning(EventData, frozen=True):
    pod: str
    runtime: str


class PodTerminated(EventData, frozen=True):
    pod: str
    runtime: str
    reason: str
    """A reason of core/outcome.py: `succeeded`, `exit`, `signal:SEGV`, `limit:wall`, `platform:sandbox_lost` …"""
    exit_code: int | None = None
    signal: str | None = None
    """`SEGV`, `KILL` …; set instead of `exit_code` where a signal ended the program."""
    usage: Usage = Usage()


class Output(EventData, frozen=True):
    """A piece of what the program wrote: exactly one of `text` and `base64` is set."""

    stream: Stream
    offset: int
    """Where its first byte stands in that stream of that attempt, in raw bytes."""
    text: str | None = None
    base64: str | None = None
    """Used where the bytes are not UTF-8."""


class OutputTruncated(EventData, frozen=True):
    stream: Stream
    dropped_bytes: int
    """How many bytes the program wrote beyond the limit, none of them kept."""


class NodeStarted(EventData, frozen=True):
    label: str
    type: str


class NodeCompleted(EventData, frozen=True):
    duration_ms: int
    output: Any = None
    port: str | None = None
    """The further port it took, besides `out`."""
    pinned: bool = False
    """Whether it did not run: its output was given with the request."""


class NodeFailed(EventData, frozen=True):
    duration_ms: int
    error: Failure


NOT_RUN = "not_run"
"""Why a node was skipped that would have run, had the execution not ended before."""
OWN_REASONS = frozenset({NOT_RUN, "branch_not_taken", "skipped_by_engine"})
"""Why a node was skipped, where execd itself says so and no condition of a flow."""


class NodeSkipped(EventData, frozen=True):
    reason: str
    """`not_run`: the execution ended first; `branch_not_taken`: none of the branches that lead to it was;
    `skipped_by_engine`: an engine elsewhere says so; of a flow's step a sentence that says which condition did not hold."""


class NodeRetrying(EventData, frozen=True):
    error: Failure
    retry_at: datetime


class NodeWaiting(EventData, frozen=True):
    """The node lets time pass and takes no place while it does."""

    reason: str
    """`timer`; `external`: an engine elsewhere waits, at the latest until its time is up."""
    until: datetime
    is_moment: bool = False
    """Whether a moment of the wall clock was asked for; else a delay, which ends then."""


class NodeWarned(EventData, frozen=True):
    """Something looks wrong with a node and does not stop it, such as a reference to what is not there."""

    messages: tuple[str, ...]


class NodeExpanded(EventData, frozen=True):
    """The node runs its body for these items; nodes in it are named `node[index]/inner`, or `node/inner` of one run."""

    items: tuple[Any, ...]
    concurrency: int
    keeps_going: bool
    is_map: bool
    expires_at: datetime | None = None
    """When what runs of it is stopped; None: never."""


class NodeTimedOut(EventData, frozen=True):
    """An expanded node's time is over: what runs in it is stopped, and then it fails."""

    timeout_s: float


class DeclaredNode(msgspec.Struct, frozen=True, omit_defaults=True):
    """A node of an engine elsewhere, by its own account."""

    id: NodeId
    label: str
    type: str


class NodesDeclared(EventData, frozen=True):
    """An engine elsewhere spoke of nodes that nobody had named: they belong to the execution from here on."""

    nodes: tuple[DeclaredNode, ...]


class OutputsReported(EventData, frozen=True):
    """What nodes of an engine elsewhere gave, said after their ends."""

    outputs: dict[NodeId, Any]


class NodeOutput(EventData, frozen=True):
    """A part of what a running node gives: the words of a model, as they come."""

    delta: Any


class Progress(EventData, frozen=True):
    """How much is done and, from `at` on, how long the rest may take. docs/workflows.md says what each figure counts."""

    done: int
    total: int
    percent: int
    eta_ms: int | None = None
    eta_p75_ms: int | None = None
    overrun: bool = False
    excludes_people: bool = False


class InputRequired(EventData, frozen=True):
    prompt_id: str
    """Names this asking, so that an answer meant for an earlier one is not taken for it."""
    prompts: tuple[Prompt, ...]
    expires_at: datetime | None = None
    is_open: bool = False
    """Whether every answer is taken: keys may be missing or others, and values of any kind."""


class InputReceived(EventData, frozen=True):
    prompt_id: str
    by: str
    values: dict[str, Any]
    """Every key of the prompts, with the answer or its default, `***` for what is secret; what was given, where all answers were
    taken."""
    sealed: dict[str, str] = {}
    """Answers that are secret, each encrypted with the server's key."""


class ExecutionPaused(EventData, frozen=True):
    by: str


class ExecutionResumed(EventData, frozen=True):
    by: str


class StopMode(enum.StrEnum):
    """How hard to stop."""

    CANCEL = "cancel"
    """Kill what runs, now."""
    INTERRUPT = "interrupt"
    """Let the node in flight finish; start nothing after it."""
    TIMEOUT = "timeout"
    """As `cancel`, because its time is over."""

    @property
    def kills(self) -> bool:
        """Whether it waits for nothing that runs."""
        return self is not StopMode.INTERRUPT


class StopRequested(EventData, frozen=True):
    by: str
    mode: StopMode


class ExecutionEnded(EventData, frozen=True):
    """What the five terminal events share; exactly one of them stands in every finished journal."""

    status: Status
    duration_ms: int
    error: Failure | None = None


class ExecutionCompleted(ExecutionEnded, frozen=True):
    pass


class ExecutionFailed(ExecutionEnded, frozen=True):
    pass


class ExecutionTimeout(ExecutionEnded, frozen=True):
    pass


class ExecutionCancelled(ExecutionEnded, frozen=True):
    pass


class ExecutionInterrupted(ExecutionEnded, frozen=True):
    pass


class ResultStored(EventData, frozen=True, omit_defaults=False):
    """The last event of every journal: the full final result, committed together with the final status."""

    status: Status
    exit_code: int | None
    signal: str | None
    error: Failure | None
    stdout: str | None
    """The head of what was written, as text; None where the bytes are not UTF-8, then `stdout_base64` has them."""
    stderr: str | None
    stdout_base64: str | None
    stderr_base64: str | None
    streams: dict[Stream, StreamTotals]
    outputs: dict[str, Any]
    """What the nodes gave, by node id; a script gives nothing but its streams. Those of the last nodes come first where they
    are too large together; the journal has them all."""
    nodes: tuple[NodeResult, ...]
    usage: Usage
    omitted_outputs: tuple[str, ...] = ()
    """Nodes whose outputs are not among `outputs`, because all together would be too large."""


class Fact(msgspec.Struct, frozen=True):
    """Something that happened and has no number yet: it becomes an `Event` when it is stored."""

    data: EventData
    at: datetime
    node: NodeId | None = None
    attempt: int | None = None


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """One numbered entry of a journal."""

    seq: int
    """1, 2, 3 … without gaps; the same event has the same number for everyone, for ever."""
    type: str
    execution_id: ExecutionId
    at: datetime
    """When it happened, UTC."""
    data: EventData
    node: NodeId | None = None
    attempt: int | None = None
    """Which run of the node, from 1."""
