"""Executions as the n8n-pattern dialect shows them: the same paths as execd's own, with a slash at the end.

`GET /executions/{id}` is execd's own answer, `GET /executions/{id}/` this one; an execution cannot be deleted by a
request, so there is no DELETE.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import trio
from quart import Quart, Response, request

from execd.core.codec import decode_event, format_time
from execd.core.dialects.n8n_documents import definition_of, flow_id_of
from execd.core.errors import ConflictError, ExecdError, NotFoundError
from execd.core.event_types import RESULT_STORED, TYPE_NAMES
from execd.core.events import (
    DefinitionId,
    Event,
    NodeCompleted,
    NodeFailed,
    NodeId,
    NodeSkipped,
    NodeStarted,
    ResultStored,
    Status,
)
from execd.core.fields import Range
from execd.core.nodes.n8n.responses import RESPONSE
from execd.core.workflows import WorkflowSpec, decode_spec
from execd.http.access import Identity, Role
from execd.http.answers import json_response
from execd.http.credentials import require
from execd.http.dialects.fastapi_shape import in_fastapi_shape
from execd.http.dialects.n8n_previews import preview_of
from execd.http.dialects.n8n_runs import start_asked
from execd.http.executions import find_visible
from execd.http.front import Front
from execd.http.queries import QueryReader
from execd.http.schemas import API
from execd.ports import Cancel, ExecutionFilter, ExecutionRecord

MAX_SKIP = 10_000
MAX_LIMIT = 200
DEFAULT_LIMIT = 50
PAGE_BYTES = 1024 * 1024
_TOLD = frozenset(TYPE_NAMES[record] for record in (NodeStarted, NodeCompleted, NodeFailed, NodeSkipped, ResultStored))
STATUSES = {
    Status.COMPLETED: "completed",
    Status.FAILED: "failed",
    Status.TIMEOUT: "failed",
    Status.CANCELLED: "cancelled",
    Status.INTERRUPTED: "cancelled",
}
"""Any other is `running`."""


class NotRunningError(ConflictError):
    """It has ended: there is nothing to cancel."""

    code = "not_running"
    status = 400


def status_of(record: ExecutionRecord) -> str:
    """Name where an execution stands as this dialect does."""
    return STATUSES.get(record.status, "running")


class HistoryRoutes:
    """Routes under `/api/v1/executions/`, each with its slash at the end."""

    def __init__(self, front: Front) -> None:
        self._front = front

    def register(self, app: Quart) -> None:
        base = f"{API}/executions/"
        one = f"{base}<execution_id>/"
        app.add_url_rule(base, "list_runs", in_fastapi_shape(self.list_all), methods=["GET"], strict_slashes=True)
        app.add_url_rule(base, "run_and_wait", in_fastapi_shape(self.run), methods=["POST"], strict_slashes=True)
        app.add_url_rule(one, "show_run", in_fastapi_shape(self.show), methods=["GET"], strict_slashes=True)
        app.add_url_rule(
            f"{one}cancel/", "cancel_run", in_fastapi_shape(self.cancel), methods=["POST"], strict_slashes=True
        )

    async def list_all(self) -> Response:
        identity = await require(self._front, request, Role.VIEWER)
        query = QueryReader(request, known=("flow_id", "status", "skip", "limit"))
        flow_id, status = query.text("flow_id"), query.text("status")
        skip = query.integer("skip", Range(0, MAX_SKIP), default=0)
        limit = query.integer("limit", Range(1, MAX_LIMIT), default=DEFAULT_LIMIT)
        query.finish()
        definition = None if flow_id is None else DefinitionId(definition_of(flow_id))
        which = ExecutionFilter(workspace=identity.workspace, definition=definition)
        return json_response(await self._newest(which, status, skip=skip, limit=limit))

    async def run(self) -> Response:
        """Run a flow and answer when it is over. Who goes away stops nothing."""
        identity = await require(self._front, request, Role.RUNNER)
        record = await start_asked(self._front, identity)
        await self._wait(record)
        return json_response(await self._detail(await self._front.engine.find(record.id) or record))

    async def show(self, execution_id: str) -> Response:
        identity = await require(self._front, request, Role.VIEWER)
        return json_response(await self._detail(await self._find(identity, execution_id)))

    async def cancel(self, execution_id: str) -> Response:
        identity = await require(self._front, request, Role.RUNNER)
        record = await self._find(identity, execution_id)
        if record.status.is_final:
            raise NotRunningError("Execution is not running")
        try:
            await self._front.engine.command(record.id, Cancel(by=identity.user))
        except ConflictError:
            raise NotRunningError("Execution is not running") from None
        return json_response({"status": "cancelled", "message": "Execution cancelled successfully"})

    async def _find(self, identity: Identity, execution_id: str) -> ExecutionRecord:
        try:
            return await find_visible(self._front, identity, execution_id)
        except NotFoundError:
            raise NotFoundError("Execution not found") from None

    async def _wait(self, record: ExecutionRecord) -> None:
        """Wait for the end; a wait that is broken off ends here, and the answer says `running`."""
        try:
            following = self._front.engine.subscribe(record.id, workspace=record.workspace, after_seq=0)
            async with following as subscription:
                while True:
                    await subscription.receive()
        except (trio.EndOfChannel, ExecdError):
            return

    async def _newest(
        self, which: ExecutionFilter, status: str | None, *, skip: int, limit: int
    ) -> list[dict[str, Any]]:
        """Show what is on each page before the next is read, so that one at a time is in memory."""
        views: list[dict[str, Any]] = []
        cursor = None
        while True:
            page = await self._front.engine.store.list_executions(which, cursor=cursor, limit=MAX_LIMIT)
            chosen = [record for record in page.items if status in {None, status_of(record)}]
            views += [_short_view(record) for record in chosen[skip:][: limit - len(views)]]
            skip = max(0, skip - len(chosen))
            cursor = page.next_cursor
            if cursor is None or len(views) == limit:
                return views

    async def _detail(self, record: ExecutionRecord) -> dict[str, Any]:
        spec = decode_spec(record.spec, kind=record.kind)
        own = {node.id for node in spec.nodes} if isinstance(spec, WorkflowSpec) else set()
        events = await self._read(record, own)
        nodes = _node_views(spec, events) if isinstance(spec, WorkflowSpec) else []
        return _view(record, nodes=nodes, result=next((e.data for e in events if e.type == RESULT_STORED), None))

    async def _read(self, record: ExecutionRecord, own: set[NodeId]) -> list[Event]:
        """Read what these nodes told, and the result; what nodes in bodies gave can be a thousand times as much."""
        events: list[Event] = []
        after = 0
        while page := await self._front.engine.store.read_events(
            record.id, after_seq=after, limit_bytes=PAGE_BYTES, types=_TOLD
        ):
            told = (decode_event(stored.body) for stored in page)
            events.extend(event for event in told if event.node is None or event.node in own)
            after = page[-1].seq
        return events


def _view(record: ExecutionRecord, *, nodes: Sequence[dict[str, Any]] = (), result: object = None) -> dict[str, Any]:
    spec = decode_spec(record.spec, kind=record.kind)
    total = len(spec.nodes) if isinstance(spec, WorkflowSpec) else 1
    completed = sum(node["status"] == "completed" for node in nodes)
    began = record.started_at or record.created_at
    return {
        "id": record.id,
        "flow_id": None if record.definition is None else flow_id_of(record.definition),
        "conversation_id": None,
        "status": status_of(record),
        "started_at": format_time(began),
        "completed_at": None if record.finished_at is None else format_time(record.finished_at),
        "input_data": spec.input if isinstance(spec, WorkflowSpec) and isinstance(spec.input, dict) else {},
        "output_data": _output(spec, result) if isinstance(result, ResultStored) else None,
        "error_message": None if record.error is None else record.error.message,
        "total_nodes": total,
        "completed_nodes": completed,
        "node_executions": nodes,
        "duration_ms": None if record.finished_at is None else int((record.finished_at - began).total_seconds() * 1000),
        "success_rate": 100 * completed / total if nodes else None,
    }


def _short_view(record: ExecutionRecord) -> dict[str, Any]:
    """As one of many: of a large input a preview."""
    view = _view(record)
    return view | {"input_data": preview_of(view["input_data"]).value}


def _output(spec: object, result: ResultStored) -> Any:
    """Give what the last response node gave, else what every node gave."""
    responses = [n.id for n in spec.nodes if n.type.startswith(RESPONSE)] if isinstance(spec, WorkflowSpec) else []
    last = next((node for node in reversed(responses) if node in result.outputs), None)
    return result.outputs if last is None else result.outputs[last]


def _node_views(spec: WorkflowSpec, events: Sequence[Event]) -> list[dict[str, Any]]:
    views: dict[str, dict[str, Any]] = {
        node.id: {
            "id": place,
            "node_id": node.id,
            "node_type": node.type,
            "node_label": node.label,
            "status": "pending",
            "started_at": None,
            "completed_at": None,
            "execution_time_ms": None,
            "input_data": node.config.get("config", {}),
            "output_data": None,
            "error_message": None,
        }
        for place, node in enumerate(spec.nodes, start=1)
    }
    for event in events:
        if event.node in views:
            views[event.node] |= _change(event)
    return sorted(views.values(), key=lambda view: (view["started_at"] is None, view["started_at"] or "", view["id"]))


def _change(event: Event) -> dict[str, Any]:
    at = format_time(event.at)
    match event.data:
        case NodeStarted():
            return {"status": "running", "started_at": at}
        case NodeCompleted(output=output, duration_ms=duration_ms):
            return {"status": "completed", "completed_at": at, "execution_time_ms": duration_ms, "output_data": output}
        case NodeFailed(error=error, duration_ms=duration_ms):
            ended = {"status": "failed", "completed_at": at, "execution_time_ms": duration_ms}
            return ended | {"error_message": error.message}
        case NodeSkipped():
            return {"status": "skipped"}
    return {}
