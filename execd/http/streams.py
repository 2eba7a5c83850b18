"""The routes that answer with Server-Sent Events: one execution, or several over one connection."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial

from quart import Quart, Response, request

from execd.core.events import ExecutionId
from execd.core.fields import Faults
from execd.core.replay import Rhythm
from execd.http.access import Identity, Role
from execd.http.answers import empty_response
from execd.http.boundary import resources_of
from execd.http.credentials import require
from execd.http.cursors import QUERY_NAMES, find_cursor, parse_cursor
from execd.http.direct import SCOPE_KEY, DirectWriter
from execd.http.executions import find_visible
from execd.http.framing import Dialect
from execd.http.front import Front
from execd.http.multi_feed import MultiFeed
from execd.http.queries import QueryReader
from execd.http.replaying import open_replay
from execd.http.rhythms import read_rhythm
from execd.http.schemas import API
from execd.http.sse import CONTENT_TYPE, HEADERS, NATIVE, EventStreamBody, Feed, JournalFeed, Pace
from execd.ports import ExecutionRecord, Subscription

RETRY_MS = (500, 3000)
"""When to come back, at random between these: a restart takes about a second."""
LIFETIME_SHARE = (0.8, 1.0)
"""Of the configured lifetime, at random (Mercure's jitter): connections made together do not end together."""
MAX_EXECUTIONS = 20
"""On one connection; each takes one place of the workspace's limit."""
PLACE = ExecutionId("place")
"""No execution has this id. A subscription to it takes a place among the workspace's streams, and gives it back."""


def pace_of(front: Front, identity: Identity) -> Pace:
    """Decide how one connection is served: never longer than its credential lives."""
    lifetime_s = front.config.lifetime_s * front.uniform(*LIFETIME_SHARE)
    credential_s = math.inf
    if identity.expires_at is not None:
        credential_s = max(0.0, (identity.expires_at - front.now()).total_seconds())
    return Pace(
        heartbeat_s=front.config.heartbeat_s,
        lifetime_s=min(lifetime_s, credential_s),
        lifetime_reason="lifetime" if lifetime_s <= credential_s else "credential_expired",
        retry_ms=round(front.uniform(*RETRY_MS)),
        may_stay=partial(front.may_stay, identity),
    )


async def subscribe(front: Front, record: ExecutionRecord, *, after_seq: int) -> Subscription:
    """Subscribe before the headers go, so that a refusal is an answer; the request's end gives it back."""
    subscribing = front.engine.subscribe(record.id, workspace=record.workspace, after_seq=after_seq)
    return await resources_of(request.scope).enter_async_context(subscribing)


async def check_place(front: Front, identity: Identity) -> None:
    """Raise TooManyStreamsError before anything has begun, rather than after."""
    async with front.engine.subscribe(PLACE, workspace=identity.workspace, after_seq=0):
        pass


def stream_response(front: Front, body: EventStreamBody, *, headers: Mapping[str, str], content_type: str) -> Response:
    """Answer the request at hand with a stream, and count it as open until the request is over."""
    resources_of(request.scope).enter_context(front.streams.count())
    response = Response(body, headers=dict(headers), content_type=content_type)
    # Else quart-trio cuts it after RESPONSE_TIMEOUT, silently.
    response.timeout = None
    return response


def shortcut(dialect: Dialect) -> DirectWriter | None:
    """Give the connection's own way to its socket, where it has one and the response will be chunked."""
    writer = request.scope.get("state", {}).get(SCOPE_KEY)
    if not isinstance(writer, DirectWriter) or request.http_version != "1.1":
        return None
    writer.begin(dialect)
    return writer


class StreamRoutes:
    """`/api/v1/executions/{id}/stream` and `/api/v1/stream`."""

    def __init__(self, front: Front) -> None:
        self._front = front

    def register(self, app: Quart) -> None:
        app.add_url_rule(f"{API}/executions/<execution_id>/stream", "stream", self.stream, methods=["GET"])
        app.add_url_rule(f"{API}/stream", "multi_stream", self.multi_stream, methods=["GET"])

    async def stream(self, execution_id: str) -> Response:
        identity = await require(self._front, request, Role.VIEWER)
        record = await find_visible(self._front, identity, execution_id)
        return await self._answer([record], identity, rhythm=read_rhythm(request, record))

    async def multi_stream(self) -> Response:
        identity = await require(self._front, request, Role.VIEWER)
        QueryReader(request, known=QUERY_NAMES, repeated=("execution",)).finish()
        names = _parse_names(request.args.getlist("execution"))
        records = [await find_visible(self._front, identity, name) for name in names]
        return await self._answer(records, identity, is_multi=True)

    async def _answer(
        self,
        records: Sequence[ExecutionRecord],
        identity: Identity,
        *,
        is_multi: bool = False,
        rhythm: Rhythm | None = None,
    ) -> Response:
        """Four cases: garbage for a cursor; nothing will ever follow it; only the headers are asked for; a stream."""
        found = find_cursor(
            request.headers.get("Last-Event-ID"), [(name, request.args.get(name)) for name in QUERY_NAMES]
        )
        after = parse_cursor(found, [record.head_seq for record in records])
        if all(record.status.is_final and seq == record.head_seq for record, seq in zip(records, after, strict=True)):
            return empty_response(204)
        if request.method == "HEAD":
            return Response(b"", headers=HEADERS, content_type=CONTENT_TYPE)
        subscriptions = [
            await subscribe(self._front, record, after_seq=seq) for record, seq in zip(records, after, strict=True)
        ]
        if rhythm is not None:
            subscriptions = [await self._replay(subscriptions[0], rhythm)]
        feed: Feed = MultiFeed(subscriptions, after) if is_multi else JournalFeed(subscriptions[0])
        body = EventStreamBody(feed, pace_of(self._front, identity), None if is_multi else shortcut(NATIVE))
        return stream_response(self._front, body, headers=HEADERS, content_type=CONTENT_TYPE)

    async def _replay(self, subscription: Subscription, rhythm: Rhythm) -> Subscription:
        engine, streams = self._front.engine, self._front.streams
        return await open_replay(subscription, rhythm, store=engine.store, draining=streams.draining)


def _parse_names(names: Sequence[str]) -> list[str]:
    faults = Faults()
    if not 0 < len(names) <= MAX_EXECUTIONS:
        faults.add("execution", f"is given {len(names)} times", f"1 to {MAX_EXECUTIONS} executions")
    if len(set(names)) != len(names):
        faults.add("execution", "names one execution twice", "different executions")
    faults.raise_if_any()
    return list(names)
