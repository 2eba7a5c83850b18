"""The door of the LinkFlow dialect: one execution of a workspace as its clients follow it.

What is refused is refused before the stream, in the shape its clients read: `{"message": …}`.
"""

from __future__ import annotations

from http import HTTPStatus

from quart import Quart, Response, request

from execd.core.errors import ExecdError, ForbiddenError, NotFoundError
from execd.core.events import WorkspaceId
from execd.http.access import Identity, Role
from execd.http.answers import empty_response, json_response
from execd.http.credentials import require
from execd.http.cursors import MAX_SEQ_DIGITS
from execd.http.dialects import linkflow
from execd.http.executions import find_visible
from execd.http.framing import Dialect
from execd.http.front import Front
from execd.http.problems import refusal_headers
from execd.http.schemas import API
from execd.http.sse import EventStreamBody, JournalFeed
from execd.http.streams import pace_of, shortcut, stream_response, subscribe
from execd.ports import ExecutionRecord

NOT_A_MEMBER = "You are not a member of this workspace."
NOT_FOUND = "Execution not found."


class LinkflowRoutes:
    """`/api/v1/workspaces/{workspace}/executions/{id}/stream`."""

    def __init__(self, front: Front) -> None:
        self._front = front

    def register(self, app: Quart) -> None:
        path = f"{API}/workspaces/<workspace>/executions/<execution_id>/stream"
        app.add_url_rule(path, "linkflow_stream", self.stream, methods=["GET"])

    async def stream(self, workspace: str, execution_id: str) -> Response:
        try:
            identity = await require(self._front, request, Role.VIEWER)
            return await self._answer(await self._find(identity, workspace, execution_id), identity)
        except ExecdError as error:
            return _refusal(error)

    async def _find(self, identity: Identity, workspace: str, execution_id: str) -> ExecutionRecord:
        """The workspace is looked at first, so that a stranger learns nothing of what is in it."""
        if identity.workspace != WorkspaceId(workspace):
            raise ForbiddenError(NOT_A_MEMBER)
        try:
            return await find_visible(self._front, identity, execution_id)
        except NotFoundError:
            raise NotFoundError(NOT_FOUND) from None

    async def _answer(self, record: ExecutionRecord, identity: Identity) -> Response:
        """Three cases: nothing will ever follow the cursor; only the headers are asked for; a stream."""
        after_seq = read_cursor(record.head_seq)
        if record.status.is_final and after_seq == record.head_seq:
            return empty_response(HTTPStatus.NO_CONTENT)
        if request.method == "HEAD":
            return Response(b"", headers=linkflow.HEADERS, content_type=linkflow.CONTENT_TYPE)
        subscription = await subscribe(self._front, record, after_seq=after_seq)
        dialect = _dialect_of(self._front, record)
        body = EventStreamBody(JournalFeed(subscription, dialect), pace_of(self._front, identity), shortcut(dialect))
        return stream_response(self._front, body, headers=linkflow.HEADERS, content_type=linkflow.CONTENT_TYPE)


def read_cursor(head_seq: int) -> int:
    """Give the seq the request resumes after. An id of somebody else's numbering, or beyond the end, is no cursor: the
    whole journal follows, which every client can take, where a refusal would stop an EventSource for good."""
    text = request.headers.get("Last-Event-ID") or request.args.get("from") or ""
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_SEQ_DIGITS):
        return 0
    return int(text) if int(text) <= head_seq else 0


def _dialect_of(front: Front, record: ExecutionRecord) -> Dialect:
    return Dialect(
        name=linkflow.NAME,
        project=linkflow.project,
        make_opening=lambda: linkflow.frame_connected(record.id, record.status, front.now()),
        make_heartbeat=lambda: linkflow.frame_heartbeat(front.now()),
        make_eviction=linkflow.frame_timeout,
    )


def _refusal(error: ExecdError) -> Response:
    return json_response({"message": error.message}, status=error.status, headers=refusal_headers(error))
