"""What a program wrote, byte for byte, read page by page from the journal."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace

from quart import Quart, Response, request

from execd.core.capture import output_bytes
from execd.core.codec import decode_event
from execd.core.errors import ExecdError
from execd.core.events import ExecutionId, Output, ResultStored, Stream
from execd.core.fields import Range
from execd.core.workflows import SCRIPT_NODE
from execd.http.access import Role
from execd.http.credentials import require
from execd.http.executions import find_visible
from execd.http.front import Front
from execd.http.queries import QueryReader
from execd.http.schemas import API
from execd.ports import ExecutionRecord, Store

PAGE_BYTES = 256 * 1024
_RANGE = re.compile(r"bytes=([0-9]{1,15})-([0-9]{0,15})", re.ASCII)


class RangeNotSatisfiableError(ExecdError):
    """The range lies outside of what there is: ask for less."""

    code = "range_not_satisfiable"
    status = 416


@dataclass(frozen=True, slots=True)
class _Wanted:
    """One stream of one attempt, and which of its bytes."""

    execution_id: ExecutionId
    stream: Stream
    attempt: int
    node: str | None
    """None: the one of a script."""
    begin: int = 0
    end: int | None = None
    """Exclusive; None for all there is."""


class OutputRoutes:
    """`/api/v1/executions/{id}/output`."""

    def __init__(self, front: Front) -> None:
        self._front = front

    def register(self, app: Quart) -> None:
        app.add_url_rule(f"{API}/executions/<execution_id>/output", "output", self.output, methods=["GET"])

    async def output(self, execution_id: str) -> Response:
        identity = await require(self._front, request, Role.VIEWER)
        record = await find_visible(self._front, identity, execution_id)
        query = QueryReader(request, known=("stream", "attempt", "node"))
        stream = Stream(query.choice("stream", tuple(Stream), default=Stream.STDOUT))
        asked_attempt = query.integer("attempt", Range(1, 10**6), default=0)
        node = query.text("node")
        if node is None and record.kind == "workflow":
            query.fault("node", "is missing: each node has streams of its own", "a script node of the workflow")
        query.finish()
        store = self._front.engine.store
        last_attempt = await _last_attempt(store, record.id, node)
        wanted = _Wanted(record.id, stream, asked_attempt or last_attempt, node)
        is_told = node is None and wanted.attempt == last_attempt
        total = await _total_bytes(store, record, stream) if is_told else None
        return _respond(store, wanted, total)


def _respond(store: Store, wanted: _Wanted, total: int | None) -> Response:
    """Two cases: the result tells the length, then ranges are served; else there is what there is."""
    headers = {"Content-Disposition": f'inline; filename="{wanted.stream}.txt"', "Content-Security-Policy": "sandbox"}
    status = 200
    if total is not None:
        headers["Accept-Ranges"] = "bytes"
        begin, end = _parse_range(request.headers.get("Range"), total)
        if (begin, end) != (0, total):
            status = 206
            headers["Content-Range"] = f"bytes {begin}-{end - 1}/{total}"
        headers["Content-Length"] = str(end - begin)
        wanted = replace(wanted, begin=begin, end=end)
    body = b"" if request.method == "HEAD" else _read_output(store, wanted)
    response = Response(body, status=status, headers=headers, content_type="text/plain; charset=utf-8")
    if total is not None:
        response.headers["Content-Length"] = headers["Content-Length"]
    response.timeout = None
    return response


def _parse_range(header: str | None, total: int) -> tuple[int, int]:
    """Give begin and exclusive end; a range of another form is ignored, as RFC 9110 section 14.2 allows."""
    matched = None if header is None else _RANGE.fullmatch(header.strip())
    if matched is None:
        return 0, total
    begin = int(matched.group(1))
    end = min(total, int(matched.group(2)) + 1) if matched.group(2) else total
    if begin >= end:
        raise RangeNotSatisfiableError(f"the range begins at {begin}; there are {total} bytes")
    return begin, end


async def _read_output(store: Store, wanted: _Wanted) -> AsyncGenerator[bytes, None]:
    after = 0
    types = frozenset({"output"})
    while True:
        page = await store.read_events(wanted.execution_id, after_seq=after, limit_bytes=PAGE_BYTES, types=types)
        if not page:
            return
        after = page[-1].seq
        piece = b"".join(_bytes_of(stored.body, wanted) for stored in page)
        if piece:
            yield piece


def _bytes_of(body: bytes, wanted: _Wanted) -> bytes:
    """Give what one event has of the wanted bytes."""
    event = decode_event(body)
    data = event.data
    if not isinstance(data, Output) or data.stream is not wanted.stream:
        return b""
    if event.node not in _nodes(wanted.node) or (event.attempt or 1) != wanted.attempt:
        return b""
    written = output_bytes(data)
    begin = max(0, wanted.begin - data.offset)
    end = len(written) if wanted.end is None else max(0, wanted.end - data.offset)
    return written[begin:end]


def _nodes(node: str | None) -> frozenset[str | None]:
    return frozenset({None, SCRIPT_NODE}) if node is None else frozenset({node})


async def _last_attempt(store: Store, execution_id: ExecutionId, node: str | None) -> int:
    last = 1
    after = 0
    types = frozenset({"pod_created"})
    while page := await store.read_events(execution_id, after_seq=after, limit_bytes=PAGE_BYTES, types=types):
        after = page[-1].seq
        events = (decode_event(stored.body) for stored in page)
        last = max([last, *(event.attempt or 1 for event in events if event.node in _nodes(node))])
    return last


async def _total_bytes(store: Store, record: ExecutionRecord, stream: Stream) -> int | None:
    """How many bytes of the last attempt's stream are kept; None while it may still grow."""
    if not record.status.is_final:
        return None
    types = frozenset({"result_stored"})
    stored = await store.read_events(record.id, after_seq=record.head_seq - 1, limit_bytes=1, types=types)
    if not stored:
        return None
    data = decode_event(stored[0].body).data
    if not isinstance(data, ResultStored) or stream not in data.streams:
        return None
    totals = data.streams[stream]
    return totals.total_bytes - totals.dropped_bytes
