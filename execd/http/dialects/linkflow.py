"""The LinkFlow dialect: named events with flat payloads, made of the journal's. Pure.

A block's `id:` is the seq of the event it is made of. `connected`, `heartbeat` and `timeout` are of no event and have none,
so they leave a client's cursor where it was. The end of a run is made of `result_stored`, not of the terminal event before
it: with that id in its hands a client has everything, and a reconnect is told 204.

LinkFlow knows two ends. Whatever is no success is `execution.failed`, and `status` says what it was. Names its clients do
not know (`node.skipped`, `node.retrying`, `node.waiting`, `node.outputs`, `log`, `progress`) are dropped by EventSource.

Never: a value that a node gave. What a program wrote is in `log`, as people expect of a log.

Source: LinkFlow's docs/ideas/03-live-execution-streaming.md; what that leaves open is as in its code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from execd.core.codec import decode_event, encode_json, format_time
from execd.core.event_parts import Failure, Usage
from execd.core.event_types import RESULT_STORED, TYPE_NAMES
from execd.core.events import (
    Event,
    ExecutionId,
    InputRequired,
    NodeCompleted,
    NodeFailed,
    NodeRetrying,
    NodeSkipped,
    NodeStarted,
    NodeWaiting,
    Output,
    OutputsReported,
    OutputTruncated,
    Progress,
    Status,
)
from execd.ports import StreamedEvent

NAME = "linkflow"
"""The key of its blocks in `StreamedEvent.frames`."""
CONTENT_TYPE = "text/event-stream"
HEADERS = {
    "Cache-Control": "no-cache, no-store, must-revalidate",
    "Connection": "keep-alive",
    "X-Accel-Buffering": "no",
}
MAX_KEYS = 100
"""Of an output are named; more are counted in `output_keys_total`."""
MAX_KEY_CHARS = 200
MAX_TEXT_CHARS = 4096
"""Of an error are shown."""
_STATUS_WORDS = {Status.QUEUED: "pending", Status.WAITING_INPUT: "waiting"}
"""Where LinkFlow has another word than we; the words it has none for are ours."""

Payload = tuple[str, dict[str, Any]]
"""A block's name and data."""


def frame_block(name: str, data: Mapping[str, Any], *, seq: int | None = None) -> bytes:
    """Give a whole block; without an `id:` where it is of no event."""
    identity = b"" if seq is None else b"id: %d\n" % seq
    return b"%bevent: %b\ndata: %b\n\n" % (identity, name.encode(), encode_json(data))


def frame_connected(execution_id: ExecutionId, status: Status, at: datetime) -> bytes:
    """Give the block a stream begins with."""
    word = _STATUS_WORDS.get(status, str(status))
    return frame_block("connected", {"execution_id": execution_id, "status": word, "connected_at": format_time(at)})


def frame_heartbeat(at: datetime) -> bytes:
    """Give what breaks a silence."""
    return frame_block("heartbeat", {"timestamp": format_time(at)})


def frame_timeout(reason: str, last_seq: int) -> bytes:
    """Give the block that ends a stream early: of age, or because the viewer or the server cannot go on."""
    message = _ENDINGS.get(reason, "The stream ends here; reconnect to go on.")
    return frame_block("timeout", {"message": message, "reason": reason, "last_seq": last_seq})


_ENDINGS = {
    "lifetime": "The connection has reached its age limit; reconnect to go on.",
    "credential_expired": "The credential has expired; reconnect with a new one.",
    "credential_revoked": "The credential was revoked; reconnect with a new one.",
    "slow": "The connection fell too far behind; reconnect to go on.",
    "draining": "The server is going down; reconnect to go on.",
    "restarted": "The server has restarted; reconnect to go on.",
}


def project(streamed: StreamedEvent) -> bytes:
    """Give an event's block; `b""` for one that LinkFlow has no word for."""
    if streamed.type == RESULT_STORED:
        return _frame_end(streamed)
    if streamed.type not in _TOLD:
        return b""
    event = decode_event(streamed.body)
    name, data = _PAYLOADS[type(event.data)](event, event.data)
    return frame_block(name, {**data, "seq": event.seq}, seq=event.seq)


def _started(event: Event, data: NodeStarted) -> Payload:
    return "node.started", {
        "node_key": event.node,
        "started_at": format_time(event.at),
        "label": data.label,
        "type": data.type,
        "attempt": event.attempt,
    }


def _completed(event: Event, data: NodeCompleted) -> Payload:
    found = {
        "node_key": event.node,
        "duration_ms": data.duration_ms,
        "output_summary": summarise(data.output),
        "completed_at": format_time(event.at),
        "status": "completed",
        "attempt": event.attempt,
    }
    return "node.completed", found | ({"pinned": True} if data.pinned else {})


def _failed(event: Event, data: NodeFailed) -> Payload:
    return "node.failed", {
        "node_key": event.node,
        "error": _cut(data.error.message),
        "failed_at": format_time(event.at),
        "error_code": data.error.code,
        "duration_ms": data.duration_ms,
        "status": "failed",
        "attempt": event.attempt,
    }


def _skipped(event: Event, data: NodeSkipped) -> Payload:
    found = {"node_key": event.node, "reason": data.reason, "skipped_at": format_time(event.at), "status": "skipped"}
    return "node.skipped", found


def _retrying(event: Event, data: NodeRetrying) -> Payload:
    return "node.retrying", {
        "node_key": event.node,
        "error": _cut(data.error.message),
        "error_code": data.error.code,
        "retry_at": format_time(data.retry_at),
        "attempt": event.attempt,
    }


def _waiting(event: Event, data: NodeWaiting) -> Payload:
    found = {"node_key": event.node, "reason": data.reason, "until": format_time(data.until), "status": "waiting"}
    return "node.waiting", found


def _asking(event: Event, data: InputRequired) -> Payload:
    return "node.waiting", {
        "node_key": event.node,
        "reason": "input",
        "until": None if data.expires_at is None else format_time(data.expires_at),
        "prompt_id": data.prompt_id,
        "prompts": data.prompts,
        "status": "waiting",
    }


def _outputs(event: Event, data: OutputsReported) -> Payload:
    nodes = [{"node_key": node, "output_summary": summarise(output)} for node, output in data.outputs.items()]
    return "node.outputs", {"nodes": nodes}


def _log(event: Event, data: Output) -> Payload:
    text = {"text": data.text} if data.text is not None else {"base64": data.base64}
    return "log", {"node_key": event.node, "stream": data.stream, "offset": data.offset, **text, **_logged(event)}


def _log_cut(event: Event, data: OutputTruncated) -> Payload:
    cut = {"truncated": True, "dropped_bytes": data.dropped_bytes}
    return "log", {"node_key": event.node, "stream": data.stream, **cut, **_logged(event)}


def _logged(event: Event) -> dict[str, Any]:
    return {"attempt": event.attempt, "timestamp": format_time(event.at)}


def _progress(event: Event, data: Progress) -> Payload:
    return "progress", {"progress": data.percent, "done": data.done, "total": data.total}


class _End(msgspec.Struct):
    """What of a stored result is told. The rest, which may be megabytes, is passed over unread."""

    status: Status
    usage: Usage
    nodes: tuple[msgspec.Raw, ...]
    error: Failure | None = None


class _EndEvent(msgspec.Struct):
    execution_id: str
    at: datetime
    data: _End


_end_decoder = msgspec.json.Decoder(_EndEvent)


def _frame_end(streamed: StreamedEvent) -> bytes:
    event = _end_decoder.decode(streamed.body)
    end, at = event.data, format_time(event.at)
    data: dict[str, Any] = {
        "execution_id": event.execution_id,
        "total_duration_ms": end.usage.wall_ms or 0,
        "node_count": len(end.nodes),
        "status": end.status,
        "seq": streamed.seq,
    }
    if end.status is Status.COMPLETED:
        return frame_block("execution.completed", data | {"completed_at": at}, seq=streamed.seq)
    message = f"It ended {end.status}." if end.error is None else end.error.message
    code = None if end.error is None else end.error.code
    failed = {"error": _cut(message), "error_code": code, "failed_at": at}
    return frame_block("execution.failed", data | failed, seq=streamed.seq)


def summarise(output: Any) -> dict[str, Any]:
    """Say what an output has and how large it is as JSON, and nothing of what is in it."""
    keys = list(output) if isinstance(output, Mapping) else []
    size = 0 if output is None else len(encode_json(output))
    summary: dict[str, Any] = {"output_keys": [key[:MAX_KEY_CHARS] for key in keys[:MAX_KEYS]]}
    summary["output_size_bytes"] = size
    return summary | ({"output_keys_total": len(keys)} if len(keys) > MAX_KEYS else {})


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT_CHARS else text[:MAX_TEXT_CHARS] + "…"


_PAYLOADS: dict[type, Callable[[Event, Any], Payload]] = {
    NodeStarted: _started,
    NodeCompleted: _completed,
    NodeFailed: _failed,
    NodeSkipped: _skipped,
    NodeRetrying: _retrying,
    NodeWaiting: _waiting,
    InputRequired: _asking,
    OutputsReported: _outputs,
    Output: _log,
    OutputTruncated: _log_cut,
    Progress: _progress,
}
_TOLD = frozenset(TYPE_NAMES[record] for record in _PAYLOADS)
