"""The tables of the machine: which fact may follow in which phase, for an execution and for a node.

A row to itself means "seen, and the phase stays". A missing row is an error in execd, never in a script.
Anyone who edits them: the diagrams in docs/architecture.md are drawn from here (`make diagram`).
"""

from __future__ import annotations

import enum

from execd.core.event_types import TERMINAL_TYPES
from execd.core.events import (
    EventData,
    ExecutionPaused,
    ExecutionQueued,
    ExecutionRequested,
    ExecutionResumed,
    ExecutionStarted,
    InputReceived,
    InputRequired,
    NodeCompleted,
    NodeExpanded,
    NodeFailed,
    NodeOutput,
    NodeRetrying,
    NodesDeclared,
    NodeSkipped,
    NodeStarted,
    NodeTimedOut,
    NodeWaiting,
    NodeWarned,
    Output,
    OutputsReported,
    OutputTruncated,
    PodCreated,
    PodRunning,
    PodScheduled,
    PodTerminated,
    Progress,
    ResultStored,
    StopRequested,
)


class Phase(enum.Enum):
    """The execution as a whole."""

    __hash__ = object.__hash__
    """Looked up in the tables with every fact; `Enum` has a slow one."""

    NEW = "new"
    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    """What runs finishes, nothing starts."""
    STOPPING = "stopping"
    """A stop was asked for and what runs is not over yet."""
    ENDED = "ended"
    """The terminal event is there, `result_stored` comes in the same write."""
    STORED = "stored"


IS_UNDER_WAY = frozenset({Phase.RUNNING, Phase.PAUSED, Phase.STOPPING})
IS_OVER = frozenset({Phase.ENDED, Phase.STORED})


class NodePhase(enum.StrEnum):
    """One node."""

    PENDING = "pending"
    RUNNING = "running"
    RETRYING = "retrying"
    """An attempt failed and another will follow; it keeps its place among those that may run at one time."""
    WAITING = "waiting"
    """For a moment or a person; nothing runs and nothing is lost when execd stops."""
    EXPANDED = "expanded"
    """Its body runs."""
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"

    @property
    def is_over(self) -> bool:
        return self in {NodePhase.COMPLETED, NodePhase.FAILED, NodePhase.SKIPPED}


_NODE_LIFE: tuple[type[EventData], ...] = (
    NodeStarted,
    PodCreated,
    PodScheduled,
    PodRunning,
    Output,
    OutputTruncated,
    PodTerminated,
    NodeCompleted,
    NodeFailed,
    NodeSkipped,
    NodeRetrying,
    NodeWaiting,
    NodeWarned,
    NodeExpanded,
    NodeTimedOut,
    NodeOutput,
    NodesDeclared,
    OutputsReported,
    InputRequired,
    InputReceived,
    Progress,
)
_ENDINGS: tuple[type[EventData], ...] = tuple(TERMINAL_TYPES.values())

TRANSITIONS: dict[tuple[Phase, type[EventData]], Phase] = {
    (Phase.NEW, ExecutionRequested): Phase.QUEUED,
    (Phase.QUEUED, ExecutionQueued): Phase.QUEUED,
    (Phase.QUEUED, ExecutionStarted): Phase.RUNNING,
    (Phase.QUEUED, StopRequested): Phase.STOPPING,
    (Phase.RUNNING, ExecutionPaused): Phase.PAUSED,
    (Phase.RUNNING, StopRequested): Phase.STOPPING,
    (Phase.PAUSED, ExecutionResumed): Phase.RUNNING,
    (Phase.PAUSED, StopRequested): Phase.STOPPING,
    (Phase.STOPPING, StopRequested): Phase.STOPPING,
    (Phase.ENDED, ResultStored): Phase.STORED,
    **{(phase, fact): phase for phase in (Phase.RUNNING, Phase.PAUSED, Phase.STOPPING) for fact in _NODE_LIFE},
    **{(phase, fact): Phase.ENDED for phase in (Phase.RUNNING, Phase.PAUSED, Phase.STOPPING) for fact in _ENDINGS},
}

NODE_TRANSITIONS: dict[tuple[NodePhase, type[EventData]], NodePhase] = {
    (NodePhase.PENDING, NodeStarted): NodePhase.RUNNING,
    (NodePhase.PENDING, NodeSkipped): NodePhase.SKIPPED,
    (NodePhase.PENDING, NodeCompleted): NodePhase.COMPLETED,
    (NodePhase.RUNNING, PodCreated): NodePhase.RUNNING,
    (NodePhase.RUNNING, PodScheduled): NodePhase.RUNNING,
    (NodePhase.RUNNING, PodRunning): NodePhase.RUNNING,
    (NodePhase.RUNNING, Output): NodePhase.RUNNING,
    (NodePhase.RUNNING, OutputTruncated): NodePhase.RUNNING,
    (NodePhase.RUNNING, PodTerminated): NodePhase.RUNNING,
    (NodePhase.RUNNING, NodeCompleted): NodePhase.COMPLETED,
    (NodePhase.RUNNING, NodeFailed): NodePhase.FAILED,
    (NodePhase.RUNNING, NodeRetrying): NodePhase.RETRYING,
    (NodePhase.RUNNING, NodeOutput): NodePhase.RUNNING,
    (NodePhase.RUNNING, NodeWarned): NodePhase.RUNNING,
    (NodePhase.RUNNING, NodeExpanded): NodePhase.EXPANDED,
    (NodePhase.EXPANDED, NodeOutput): NodePhase.EXPANDED,
    (NodePhase.EXPANDED, NodeTimedOut): NodePhase.EXPANDED,
    (NodePhase.EXPANDED, NodeCompleted): NodePhase.COMPLETED,
    (NodePhase.EXPANDED, NodeFailed): NodePhase.FAILED,
    (NodePhase.RUNNING, NodeWaiting): NodePhase.WAITING,
    (NodePhase.RUNNING, InputRequired): NodePhase.WAITING,
    (NodePhase.RETRYING, NodeStarted): NodePhase.RUNNING,
    (NodePhase.RETRYING, NodeFailed): NodePhase.FAILED,
    (NodePhase.WAITING, InputReceived): NodePhase.WAITING,
    (NodePhase.WAITING, NodeCompleted): NodePhase.COMPLETED,
    (NodePhase.WAITING, NodeFailed): NodePhase.FAILED,
}


class IllegalTransitionError(Exception):
    """A fact came in a phase that has no row for it: a defect of execd, which the saga's crash barrier turns into
    `internal_error`. The state is unchanged."""
