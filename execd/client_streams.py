"""One connection of an event stream: what answers is looked at, its events are given once each, and its end leaves nothing open.

Never: a second connection; `Client.journal` makes those.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress

import httpx2
import msgspec
import trio

from execd.client_cursor import Arrival, Cursor
from execd.client_errors import AnswerError, error_from_answer
from execd.client_sse import EventStreamParser, ServerSentEvent
from execd.core.codec import StoredEvent
from execd.core.events import ExecutionId

CLOSE_S = 2.0
"""How long closing a stream may take; it waits for nothing but the socket's own close."""


async def check_stream(response: httpx2.Response) -> None:
    """See that an answer is an event stream, or says that nothing newer will ever come (204).

    Raises:
        RemoteError: the server refuses.
        AnswerError: what answered sends something else.
    """
    if response.status_code == httpx2.codes.NO_CONTENT:
        return
    if response.status_code != httpx2.codes.OK:
        raise error_from_answer(response.status_code, response.headers, await response.aread())
    media_type = response.headers.get("content-type", "")
    if not media_type.startswith("text/event-stream"):
        raise AnswerError(f"the stream is {media_type or 'of no media type'} instead of text/event-stream")


@asynccontextmanager
async def _open_chunks(response: httpx2.Response) -> AsyncIterator[AsyncIterator[bytes]]:
    """Give the raw bytes of a response; leaving ends every generator httpx2 has put around them.

    httpx2 nests generators and closes none of the inner ones, so stopping early leaves them to the garbage collector.
    Read on after the close, they end by themselves: what is buffered comes, then an error passes through them all.
    """
    chunks = response.aiter_raw()
    try:
        yield chunks
    finally:
        with trio.move_on_after(CLOSE_S, shield=True), suppress(httpx2.TransportError, httpx2.StreamError):
            await response.aclose()
            async for _ in chunks:
                pass


async def read_stream(
    response: httpx2.Response, parser: EventStreamParser, cursor: Cursor
) -> AsyncGenerator[StoredEvent, None]:
    """Give the new events of one connection, until it ends, the server evicts this viewer, or the journal ends."""
    async with _open_chunks(response) as chunks:
        async for chunk in chunks:
            for event in parser.feed(chunk):
                if event.name == "evicted":
                    return
                stored = _as_stored(event)
                if stored is not None and cursor.accept(stored.seq, stored.type) is Arrival.NEW:
                    yield stored  # its one caller closes it with aclosing
                if cursor.is_at_end:
                    return


class _Head(msgspec.Struct):
    seq: int
    type: str
    execution_id: str


def _as_stored(event: ServerSentEvent) -> StoredEvent | None:
    """Take a journal's event out of its frame; None for frames that belong to the connection only."""
    try:
        head = msgspec.json.decode(event.data, type=_Head)
    except msgspec.DecodeError:
        return None
    return StoredEvent(execution_id=ExecutionId(head.execution_id), seq=head.seq, type=head.type, body=event.data)
