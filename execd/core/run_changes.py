"""What each fact about a node changes in how that node stands; all else that follows from it is core/joining.py's. Pure."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from execd.core.events import (
    EventData,
    Fact,
    InputReceived,
    InputRequired,
    NodeCompleted,
    NodeExpanded,
    NodeFailed,
    NodeRetrying,
    NodeSkipped,
    NodeStarted,
    NodeTimedOut,
    NodeWaiting,
    PodCreated,
    PodTerminated,
)
from execd.core.runs import NodeRun


def _started(run: NodeRun, fact: Fact) -> NodeRun:
    return NodeRun(phase=run.phase, attempt=fact.attempt or 1, started_at=fact.at, ticket=run.ticket)


def _placed(run: NodeRun, fact: Fact) -> NodeRun:
    assert isinstance(fact.data, PodCreated)
    return msgspec.structs.replace(run, pod=fact.data)


def _terminated(run: NodeRun, fact: Fact) -> NodeRun:
    assert isinstance(fact.data, PodTerminated)
    return msgspec.structs.replace(run, verdict=fact.data)


def _completed(run: NodeRun, fact: Fact) -> NodeRun:
    data = fact.data
    assert isinstance(data, NodeCompleted)
    return msgspec.structs.replace(
        run, duration_ms=data.duration_ms, output=data.output, port=data.port, expansion=None
    )


def _failed(run: NodeRun, fact: Fact) -> NodeRun:
    data = fact.data
    assert isinstance(data, NodeFailed)
    output = {"error": msgspec.to_builtins(data.error)}
    return msgspec.structs.replace(
        run, duration_ms=data.duration_ms, error=data.error, output=output, expansion=None, asking=None
    )


def _retrying(run: NodeRun, fact: Fact) -> NodeRun:
    assert isinstance(fact.data, NodeRetrying)
    return msgspec.structs.replace(run, error=fact.data.error, due_at=fact.data.retry_at)


def _skipped(run: NodeRun, fact: Fact) -> NodeRun:
    assert isinstance(fact.data, NodeSkipped)
    return msgspec.structs.replace(run, reason=fact.data.reason)


def _waiting(run: NodeRun, fact: Fact) -> NodeRun:
    assert isinstance(fact.data, NodeWaiting)
    return msgspec.structs.replace(run, due_at=fact.data.until, is_moment=fact.data.is_moment)


def _asking(run: NodeRun, fact: Fact) -> NodeRun:
    assert isinstance(fact.data, InputRequired)
    return msgspec.structs.replace(run, asking=fact.data, due_at=fact.data.expires_at)


def _answered(run: NodeRun, fact: Fact) -> NodeRun:
    return msgspec.structs.replace(run, asking=None, due_at=None)


def _expanded(run: NodeRun, fact: Fact) -> NodeRun:
    assert isinstance(fact.data, NodeExpanded)
    return run.expanded(fact.data)


def _timed_out(run: NodeRun, fact: Fact) -> NodeRun:
    assert isinstance(fact.data, NodeTimedOut)
    return run.timed_out(fact.data)


RUN_CHANGES: dict[type[EventData], Callable[[NodeRun, Fact], NodeRun]] = {
    NodeStarted: _started,
    PodCreated: _placed,
    PodTerminated: _terminated,
    NodeCompleted: _completed,
    NodeFailed: _failed,
    NodeSkipped: _skipped,
    NodeRetrying: _retrying,
    NodeWaiting: _waiting,
    NodeExpanded: _expanded,
    NodeTimedOut: _timed_out,
    InputRequired: _asking,
    InputReceived: _answered,
}
