"""Every type of event there is, by its name on the wire."""

from __future__ import annotations

from execd.core.events import (
    EventData,
    ExecutionCancelled,
    ExecutionCompleted,
    ExecutionEnded,
    ExecutionFailed,
    ExecutionInterrupted,
    ExecutionPaused,
    ExecutionQueued,
    ExecutionRequested,
    ExecutionResumed,
    ExecutionStarted,
    ExecutionTimeout,
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
    Status,
    StopRequested,
)


def _snake_case(name: str) -> str:
    return "".join("_" + c.lower() if c.isupper() else c for c in name).lstrip("_")


EVENT_TYPES: dict[str, type[EventData]] = {
    _snake_case(record.__name__): record
    for record in (
        ExecutionRequested,
        ExecutionQueued,
        ExecutionStarted,
        PodCreated,
        PodScheduled,
        PodRunning,
        PodTerminated,
        Output,
        OutputTruncated,
        NodeStarted,
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
        Progress,
        InputRequired,
        InputReceived,
        ExecutionPaused,
        ExecutionResumed,
        StopRequested,
        ExecutionCompleted,
        ExecutionFailed,
        ExecutionTimeout,
        ExecutionCancelled,
        ExecutionInterrupted,
        ResultStored,
    )
}
"""Every event type there is, by wire name."""

TYPE_NAMES: dict[type[EventData], str] = {record: name for name, record in EVENT_TYPES.items()}

TERMINAL_TYPES: dict[Status, type[ExecutionEnded]] = {
    Status.COMPLETED: ExecutionCompleted,
    Status.FAILED: ExecutionFailed,
    Status.TIMEOUT: ExecutionTimeout,
    Status.CANCELLED: ExecutionCancelled,
    Status.INTERRUPTED: ExecutionInterrupted,
}
"""The terminal event that announces each final status."""

RESULT_STORED = TYPE_NAMES[ResultStored]
"""The type of the one event after which a journal never grows."""
