"""What one node did and gave, whole: the place that previews in streams refer to."""

from __future__ import annotations

from typing import Any

import msgspec
from quart import Quart, Response, request

from execd.core.codec import decode_event, format_time
from execd.core.errors import NotFoundError
from execd.core.event_parts import Failure
from execd.core.event_types import TYPE_NAMES
from execd.core.events import (
    NOT_RUN,
    Event,
    NodeCompleted,
    NodeFailed,
    NodeId,
    NodeSkipped,
    NodeStarted,
    OutputsReported,
)
from execd.http.access import Role
from execd.http.answers import json_response
from execd.http.credentials import require
from execd.http.executions import find_visible
from execd.http.front import Front
from execd.http.schemas import API
from execd.ports import ExecutionRecord

PAGE_BYTES = 256 * 1024
_TYPES = frozenset(TYPE_NAMES[kind] for kind in (NodeStarted, NodeCompleted, NodeFailed, NodeSkipped, OutputsReported))


class NodeView(msgspec.Struct, kw_only=True):
    """How one node stands, as far as its journal tells."""

    id: str
    status: str
    """`running`, `completed`, `failed`, `skipped` or `not_run`."""
    attempt: int | None = None
    """The last one, from 1."""
    label: str | None = None
    type: str | None = None
    started_at: str | None = None
    ended_at: str | None = None
    duration_ms: int | None = None
    output: Any = None
    port: str | None = None
    pinned: bool = False
    error: Failure | None = None
    reason: str | None = None
    """Why it was skipped."""

    def read(self, event: Event) -> None:
        """Take over what an event of this node tells."""
        match event.data:
            case NodeStarted(label=label, type=kind):
                self.status, self.attempt, self.label, self.type = "running", event.attempt, label, kind
                self.started_at, self.ended_at, self.error = format_time(event.at), None, None
            case NodeCompleted() as data:
                self.status, self.output, self.port, self.pinned = "completed", data.output, data.port, data.pinned
                self.duration_ms, self.ended_at = data.duration_ms, format_time(event.at)
            case NodeFailed(error=error, duration_ms=duration_ms):
                self.status, self.error = "failed", error
                self.duration_ms, self.ended_at = duration_ms, format_time(event.at)
            case NodeSkipped(reason=reason):
                self.status, self.reason = NOT_RUN if reason == NOT_RUN else "skipped", reason
                self.ended_at = format_time(event.at)
            case OutputsReported(outputs=outputs):
                self.output = outputs[NodeId(self.id)]


def _concerns(event: Event, node: str) -> bool:
    return event.node == node or (isinstance(event.data, OutputsReported) and node in event.data.outputs)


class NodeRoutes:
    """`/api/v1/executions/{id}/nodes/{node}`."""

    def __init__(self, front: Front) -> None:
        self._front = front

    def register(self, app: Quart) -> None:
        app.add_url_rule(f"{API}/executions/<execution_id>/nodes/<path:node>", "node", self.node, methods=["GET"])

    async def node(self, execution_id: str, node: str) -> Response:
        identity = await require(self._front, request, Role.VIEWER)
        record = await find_visible(self._front, identity, execution_id)
        view = await self._find(record, node)
        if view is None:
            raise NotFoundError(f"nothing has happened yet with a node {node[:200]!r} of this execution")
        return json_response(view)

    async def _find(self, record: ExecutionRecord, node: str) -> NodeView | None:
        view = None
        after = 0
        while page := await self._front.engine.store.read_events(
            record.id, after_seq=after, limit_bytes=PAGE_BYTES, types=_TYPES
        ):
            after = page[-1].seq
            for stored in page:
                # Most events are of other nodes, and decoding one costs 4.5 times as much as looking for a name in it.
                if node.encode() in stored.body and _concerns(event := decode_event(stored.body), node):
                    view = view or NodeView(id=node, status="running")
                    view.read(event)
        return view
