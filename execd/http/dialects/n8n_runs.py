"""Starting a flow and watching it at once, in the n8n-pattern dialect: `POST /executions/stream`, and its WebSocket.

The run belongs to the server: who goes away stops nothing, and a second request is a second run unless both carry the same
`Idempotency-Key`. What can be refused is refused before the run begins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec
import trio
from quart import Quart, Response, request, websocket

from execd.core.codec import decode_event
from execd.core.definitions import RunRequest, digest_of_run
from execd.core.dialects.n8n_documents import parse_flow_id
from execd.core.errors import ExecdError, NotFoundError
from execd.core.fields import Faults, describe
from execd.core.workflows import decode_spec
from execd.http.access import Identity, Role
from execd.http.boundary import resources_of
from execd.http.credentials import admit_socket, require
from execd.http.dialects.fastapi_shape import in_fastapi_shape, read_body
from execd.http.dialects.n8n import (
    Drawing,
    Frame,
    broken_off,
    dialect_of,
    drawing_of,
    encode_frame,
    encode_message,
    frame_of,
)
from execd.http.dialects.n8n_feed import PacedFeed
from execd.http.front import Front
from execd.http.schemas import API, decode_json, parse_idempotency_key
from execd.http.socket_line import SocketLine
from execd.http.socket_session import CLOSE_CODES
from execd.http.sse import CONTENT_TYPE, EventStreamBody, Pace
from execd.http.streams import check_place, pace_of, stream_response
from execd.http.websocket import OTHER_CODE
from execd.ports import EvictedError, ExecutionRecord, Submission, Subscription

HEADERS = {"Cache-Control": "no-cache", "Connection": "keep-alive", "X-Accel-Buffering": "no"}
START = "Expected 'start' action"
START_DEADLINE_S = 60.0
"""For the first message of a socket to arrive."""


class RunAsked(msgspec.Struct, frozen=True):
    """Which flow is to run, and with what."""

    flow_id: str
    """As it was asked for."""
    definition: str
    """Its id or name."""
    input: Any


def parse_start(body: object) -> RunAsked:
    """Read `{flow_id, input_data}`; anything else in it is ignored. Raises InvalidRequestError."""
    faults = Faults()
    if not isinstance(body, Mapping):
        faults.refuse("", describe(body), "an object: {flow_id, input_data}")
    definition = parse_flow_id(body.get("flow_id"), faults)
    given = _parse_input(body, faults)
    faults.raise_if_any()
    return RunAsked(str(body["flow_id"]), definition, given)


def _parse_input(body: Mapping[str, Any], faults: Faults) -> Any:
    given = body.get("input_data")
    if given is not None and not isinstance(given, Mapping):
        faults.add("input_data", describe(given), "an object, or null")
    return {} if given is None else given


async def start_flow(front: Front, identity: Identity, asked: RunAsked, *, key: str | None) -> ExecutionRecord:
    """Submit a run of a saved flow; one that was asked for with this key already is found again.

    Raises:
        NotFoundError: the workspace has no such flow.
        NotRunnableError: it could not run; `faults` say why.
        ExecdError: as `Engine.submit`.
    """
    run = RunRequest(definition=asked.definition, input=asked.input)
    digest = None if key is None else digest_of_run(run)
    if key is not None:
        earlier = await front.engine.store.find_by_idempotency_key(identity.workspace, key)
        if earlier is not None and earlier.request_sha256 == digest:
            return earlier
    try:
        found, execution = await front.library.read_run(identity.workspace, run)
    except NotFoundError:
        shown = asked.flow_id[:64].encode(errors="replace").decode()
        raise NotFoundError(f"Flow {shown} not found") from None
    submission = Submission(
        workspace=identity.workspace,
        user=identity.user,
        name=execution.name,
        spec=execution.spec,
        idempotency_key=key,
        request_sha256=digest,
        definition=found.id,
        definition_version=found.version,
    )
    accepted = await front.engine.submit(submission)
    record = await front.engine.find(accepted.id)
    assert record is not None, "it was just stored"
    return record


async def start_asked(front: Front, identity: Identity) -> ExecutionRecord:
    """Submit the run that the request at hand asks for."""
    key = parse_idempotency_key(request.headers.get("Idempotency-Key"))
    asked = parse_start(await read_body(request, front.config))
    await check_place(front, identity)
    return await start_flow(front, identity, asked, key=key)


class RunRoutes:
    """`POST /api/v1/executions/stream`, and `/ws/execute/{flow_id}` with and without the API's path before it."""

    def __init__(self, front: Front) -> None:
        self._front = front

    def register(self, app: Quart) -> None:
        app.add_url_rule(f"{API}/executions/stream", "run_flow", in_fastapi_shape(self.stream), methods=["POST"])
        app.add_websocket(f"{API}/ws/execute/<flow_id>", "flow_socket", self.socket)
        app.add_websocket("/ws/execute/<flow_id>", "flow_socket_at_root", self.socket)

    async def stream(self) -> Response:
        identity = await require(self._front, request, Role.RUNNER)
        return await self._answer(await start_asked(self._front, identity), identity)

    async def _answer(self, record: ExecutionRecord, identity: Identity) -> Response:
        """Stream an execution from its beginning. It has begun: what goes wrong now is told in the stream."""
        headers = HEADERS | {"X-Execution-Id": record.id}
        stack, engine = resources_of(request.scope), self._front.engine

        async def subscribe(after_seq: int) -> Subscription:
            following = engine.subscribe(record.id, workspace=record.workspace, after_seq=after_seq)
            return await stack.enter_async_context(following)

        try:
            subscription = await subscribe(0)
        except ExecdError as error:
            last = encode_frame(broken_off(record.id, error.code, 0))
            return Response(last, headers=headers, content_type=CONTENT_TYPE)
        feed = PacedFeed(
            subscription,
            dialect_of(record.id, drawing_of_record(record)),
            store=engine.store,
            subscribe=subscribe,
            draining=self._front.streams.draining,
        )
        body = EventStreamBody(feed, replace(pace_of(self._front, identity), retry_ms=None))
        return stream_response(self._front, body, headers=headers, content_type=CONTENT_TYPE)

    async def socket(self, flow_id: str) -> None:
        """Run a flow when the client says `start`, and send its frames as messages; closes with 1000 after the last."""
        with self._front.streams.count():
            await websocket.accept()
            try:
                identity = await admit_socket(self._front, websocket, Role.RUNNER)
                asked = await _hear_start(flow_id)
                if asked is None:
                    await websocket.send(encode_message({"type": "error", "data": {"message": START}}))
                    await websocket.close(OTHER_CODE, "invalid_request")
                    return
                await check_place(self._front, identity)
                record = await start_flow(self._front, identity, asked, key=None)
            except ExecdError as error:
                await websocket.send(encode_message({"type": "error", "data": {"message": error.message}}))
                await websocket.close(CLOSE_CODES.get(error.code, OTHER_CODE), error.code)
            else:
                reason = await FlowSocket(self._front, record, flow_id, pace_of(self._front, identity)).run()
                await websocket.close(CLOSE_CODES.get(reason, OTHER_CODE), reason)


def drawing_of_record(record: ExecutionRecord) -> Drawing:
    """Name the nodes of an execution that is stored."""
    return drawing_of(decode_spec(record.spec, kind=record.kind), name=record.name)


async def _hear_start(flow_id: str) -> RunAsked | None:
    """Wait for the first message; None when it is another one than `{"action": "start", "input_data": {}}`.

    Raises:
        InvalidRequestError: it has no input that a flow could take.
    """
    with trio.move_on_after(START_DEADLINE_S):
        said = decode_json(await websocket.receive())
        if not isinstance(said, Mapping) or said.get("action") != "start":
            return None
        return parse_start({"flow_id": flow_id, "input_data": said.get("input_data")})
    return None


class FlowSocket:
    """One run on one accepted socket. Owns: how far it was told."""

    def __init__(self, front: Front, record: ExecutionRecord, flow_id: str, pace: Pace) -> None:
        self._front = front
        self._record = record
        self._flow_id = flow_id
        self._last_seq = 0
        self._line = SocketLine(pace, websocket.send, ping=self._encode({"type": "ping", "data": {}}))

    async def run(self) -> str:
        """Send every frame, and give the reason of the end (a key of `CLOSE_CODES`). Who leaves stops nothing."""
        with self._line.scope:
            async with trio.open_nursery() as nursery:
                for task in (*self._line.watches, _read_on):
                    nursery.start_soon(task)
                self._line.end(await self._follow())
        if self._line.reason != "complete":
            await self._send(broken_off(self._record.id, self._line.reason, self._last_seq))
        return self._line.reason

    async def _follow(self) -> str:
        drawing, record = drawing_of_record(self._record), self._record
        try:
            async with self._front.engine.subscribe(record.id, workspace=record.workspace, after_seq=0) as subscription:
                while True:
                    for event in await subscription.receive():
                        self._last_seq = event.seq
                        frame = frame_of(decode_event(event.body), drawing)
                        if frame is not None:
                            await self._send(frame)
        except trio.EndOfChannel:
            return "complete"
        except EvictedError as error:
            return error.reason
        except ExecdError as error:
            return error.code

    async def _send(self, frame: Frame) -> None:
        await self._line.send(self._encode(frame))

    def _encode(self, frame: Frame) -> str:
        data = frame["data"] if frame["type"].startswith("nodeE") else {**frame["data"], "flowId": self._flow_id}
        return encode_message({**frame, "data": data})


async def _read_on() -> None:
    """Read what the client says for ever: unread messages would hide its leaving."""
    while True:
        await websocket.receive()
