"""The n8n-pattern dialect: a journal as data-only frames that the hooks of its editors read byte by byte.

Those hooks keep nothing between two reads, so a frame that is cut is lost. Hence every frame is small, on one line, in
ASCII, and is written by itself (execd/http/dialects/n8n_feed.py). Outputs are previews with the address of the whole.

| event | frame |
|---|---|
| execution_requested | executionStarted |
| node_started | nodeExecutionBefore |
| node_warned | nodeExecutionWarning |
| node_completed, node_failed | nodeExecutionAfter |
| result_stored | executionFinished, or executionError for any other end than success |

What runs inside a node has no place in the drawing and no frame; nor have pauses, waits and skipped nodes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from execd.core.codec import decode_event, format_time
from execd.core.event_types import TYPE_NAMES
from execd.core.events import (
    Event,
    EventData,
    ExecutionId,
    ExecutionRequested,
    NodeCompleted,
    NodeFailed,
    NodeStarted,
    NodeWarned,
    ResultStored,
    Status,
)
from execd.core.nodes.n8n.responses import RESPONSE
from execd.core.workflows import SCRIPT_NODE, ExecutionSpec, WorkflowSpec
from execd.http.dialects.n8n_previews import preview_of
from execd.http.framing import Dialect
from execd.http.schemas import API
from execd.ports import StreamedEvent

HEARTBEAT = b": hb\n\n"
MAX_TEXT_CHARS = 2000
"""Of an error's message."""
NODE_ENDS = frozenset({TYPE_NAMES[NodeCompleted], TYPE_NAMES[NodeFailed]})

Frame = dict[str, Any]


class Drawing(msgspec.Struct, frozen=True):
    """What the frames of an execution say of its nodes; the same for everybody who watches it."""

    names: Mapping[str, str]
    """What a node is called, by its id: its label, or its id where the label may mean another node."""
    responses: Sequence[str] = ()
    """The nodes whose output is the result, in the order of the drawing."""


def drawing_of(spec: ExecutionSpec, *, name: str) -> Drawing:
    """Name the nodes of an execution."""
    if not isinstance(spec, WorkflowSpec):
        return Drawing({str(SCRIPT_NODE): name})
    ids = {node.id for node in spec.nodes}
    count = Counter(node.label for node in spec.nodes)
    names: dict[str, str] = {
        node.id: node.label if count[node.label] == 1 and (node.label not in ids or node.label == node.id) else node.id
        for node in spec.nodes
    }
    return Drawing(names, [node.id for node in spec.nodes if node.type.startswith(RESPONSE)])


def dialect_of(execution_id: ExecutionId, drawing: Drawing) -> Dialect:
    """Make the dialect of one execution's stream."""

    def project(event: StreamedEvent) -> bytes:
        if event.type not in _FRAMED_TYPES:
            return b""
        frame = frame_of(decode_event(event.body), drawing)
        return b"" if frame is None else encode_frame(frame)

    return Dialect(
        name="n8n",
        project=project,
        make_heartbeat=lambda: HEARTBEAT,
        make_eviction=lambda reason, last_seq: encode_frame(broken_off(execution_id, reason, last_seq)),
    )


def encode_frame(frame: Frame) -> bytes:
    """Give a frame as it is written: one line of ASCII, so that no character can be cut."""
    return b"data: %b\n\n" % encode_message(frame).encode()


def encode_message(frame: Frame) -> str:
    """Give a frame as a WebSocket carries it."""
    return json.dumps(frame, ensure_ascii=True, separators=(",", ":"))


def frame_of(event: Event, drawing: Drawing) -> Frame | None:
    """Give an event's frame; None where the dialect has no word for it."""
    if event.node is not None and event.node not in drawing.names:
        return None
    make = _FRAMES.get(type(event.data))
    return None if make is None else make(event, drawing)


def broken_off(execution_id: ExecutionId, reason: str, last_seq: int) -> Frame:
    """Give the frame that ends a stream before its execution is over."""
    words = _REASONS.get(reason, f"the stream ended early ({reason})")
    text = f"{words}; the execution goes on as {execution_id}"
    data = {"executionId": execution_id, "error": text, "reason": reason, "status": "running", "seq": last_seq}
    return {"type": "executionError", "data": data}


_REASONS = {
    "draining": "the server is going down",
    "restarted": "the server is starting anew",
    "lifetime": "this stream has reached its age limit",
    "credential_expired": "the credential of this stream has expired",
    "credential_revoked": "the credential of this stream was revoked",
    "slow": "this stream was read too slowly",
    "too_many_streams": "the workspace watches as many streams as it may",
}


def _started(event: Event, drawing: Drawing) -> Frame:
    at = format_time(event.at)
    data = {"executionId": event.execution_id, "mode": "manual", "startedAt": at, "seq": event.seq}
    return {"type": "executionStarted", "data": data}


def _before(event: Event, drawing: Drawing) -> Frame:
    assert isinstance(event.data, NodeStarted)
    return {"type": "nodeExecutionBefore", "data": _about(event, drawing) | {"nodeType": event.data.type}}


def _warning(event: Event, drawing: Drawing) -> Frame:
    assert isinstance(event.data, NodeWarned)
    messages = [text[:MAX_TEXT_CHARS] for text in event.data.messages[:10]]
    shown = preview_of(messages).value
    return {"type": "nodeExecutionWarning", "data": _about(event, drawing) | {"messages": shown}}


def _after(event: Event, drawing: Drawing) -> Frame:
    data = event.data
    about = _about(event, drawing)
    if isinstance(data, NodeFailed):
        error = {"message": data.error.message[:MAX_TEXT_CHARS], "code": data.error.code}
        return {"type": "nodeExecutionAfter", "data": about | {"durationMs": data.duration_ms, "error": error}}
    assert isinstance(data, NodeCompleted)
    shown = preview_of(data.output)
    about |= {"durationMs": data.duration_ms, "data": shown.value}
    if shown.is_cut:
        where = f"{API}/executions/{event.execution_id}/events?after={event.seq - 1}&limit=1"
        about |= {"truncated": True, "outputSizeBytes": shown.size_bytes, "outputUrl": where}
    return {"type": "nodeExecutionAfter", "data": about}


def _ended(event: Event, drawing: Drawing) -> Frame:
    data = event.data
    assert isinstance(data, ResultStored)
    about = {"executionId": event.execution_id, "status": str(data.status), "seq": event.seq}
    if data.status is Status.COMPLETED:
        about |= {"finishedAt": format_time(event.at)} | _result(data, drawing)
        return {"type": "executionFinished", "data": about}
    words = _ENDS.get(data.status) or (data.error.message if data.error is not None else "The execution failed")
    return {"type": "executionError", "data": about | {"error": words[:MAX_TEXT_CHARS]}}


_ENDS = {
    Status.CANCELLED: "Execution was cancelled",
    Status.INTERRUPTED: "Execution was interrupted; what was left was not run",
}


def _result(data: ResultStored, drawing: Drawing) -> Frame:
    last = next((node for node in reversed(drawing.responses) if node in data.outputs), None)
    return {} if last is None else {"result": preview_of(data.outputs[last]).value}


def _about(event: Event, drawing: Drawing) -> Frame:
    assert event.node is not None
    return {
        "executionId": event.execution_id,
        "nodeName": drawing.names[event.node],
        "nodeId": event.node,
        "attempt": event.attempt or 1,
        "seq": event.seq,
    }


_FRAMES: Mapping[type[EventData], Callable[[Event, Drawing], Frame]] = {
    ExecutionRequested: _started,
    NodeStarted: _before,
    NodeWarned: _warning,
    NodeCompleted: _after,
    NodeFailed: _after,
    ResultStored: _ended,
}
_FRAMED_TYPES = frozenset(TYPE_NAMES[record] for record in _FRAMES)


def frames_of(events: Iterable[Event], drawing: Drawing) -> list[Frame]:
    """Give the frames of a journal, or of a piece of one."""
    return [frame for event in events if (frame := frame_of(event, drawing)) is not None]
