"""The WebSocket doors: the same events as text frames, and commands with acknowledgements.

Each client message may carry an `id`; it is answered with `{"type": "ack", "id"}` or `{"type": "error", "id", ...problem}`.
The server sends `{"type": "ping"}` into silence, so that the transport notices a vanished peer; no answer is needed.
A handler always reads what the client sends: unread messages would hide the close behind them.
"""

from __future__ import annotations

import structlog
from quart import Quart, websocket

from execd.core.codec import encode_json
from execd.core.errors import ExecdError
from execd.http.access import Identity, Role
from execd.http.credentials import admit_socket
from execd.http.cursors import QUERY_NAMES, find_cursor, parse_cursor
from execd.http.executions import find_visible
from execd.http.front import Front
from execd.http.queries import QueryReader
from execd.http.rhythms import read_rhythm
from execd.http.schemas import API
from execd.http.socket_session import CLOSE_CODES, Place, SocketSession, error_message
from execd.http.streams import pace_of
from execd.ports import ExecutionRecord

log = structlog.get_logger()

OTHER_CODE = 4400
"""For refusals without a code of their own: the request has to change."""


class SocketRoutes:
    """`/api/v1/executions/{id}/ws` and `/api/v1/ws`."""

    def __init__(self, front: Front) -> None:
        self._front = front

    def register(self, app: Quart) -> None:
        app.add_websocket(f"{API}/executions/<execution_id>/ws", "socket", self.one)
        app.add_websocket(f"{API}/ws", "multi_socket", self.many)

    async def one(self, execution_id: str) -> None:
        """Follow one execution and steer it; closes with 1000 after `result_stored`."""
        with self._front.streams.count():
            try:
                identity = await admit_socket(self._front, websocket, Role.VIEWER)
                record = await find_visible(self._front, identity, execution_id)
                place = _read_place(record)
            except ExecdError as error:
                await refuse(error)
            else:
                await self._run(identity, only=record, place=place)

    async def many(self) -> None:
        """Follow and steer whatever the client names in its messages."""
        with self._front.streams.count():
            try:
                identity = await admit_socket(self._front, websocket, Role.VIEWER)
                QueryReader(websocket, known=()).finish()
            except ExecdError as error:
                await refuse(error)
            else:
                await self._run(identity, only=None, place=Place())

    async def _run(self, identity: Identity, *, only: ExecutionRecord | None, place: Place) -> None:
        await websocket.accept()
        session = SocketSession(self._front, identity, websocket.send, pace=pace_of(self._front, identity), only=only)
        reason = "internal_error"
        try:
            reason = await session.run(websocket.receive, place=place)
        except* Exception:
            log.exception("socket_crashed")
        await websocket.close(CLOSE_CODES.get(reason, OTHER_CODE), reason)


async def refuse(error: ExecdError) -> None:
    """Accept, then close with the reason: a browser is not told the status of a refused upgrade."""
    await websocket.accept()
    await websocket.send(encode_json(error_message(error)).decode())
    await websocket.close(CLOSE_CODES.get(error.code, OTHER_CODE), error.code)


def _read_place(record: ExecutionRecord) -> Place:
    rhythm = read_rhythm(websocket, record)
    found = find_cursor(None, [(name, websocket.args.get(name)) for name in QUERY_NAMES])
    return Place(parse_cursor(found, [record.head_seq])[0], rhythm)
