"""The adapter behind `LlmClient`: one streamed POST over the shared HTTP caller, so its policy and limits hold here too.

Never: a retry of its own, but for servers that refuse to hear of `stream_options`; a key in an error.
"""

from __future__ import annotations

from contextlib import suppress

import trio

from execd.adapters.answer_stream import AnswerStream
from execd.adapters.call_budget import CallBudget
from execd.adapters.http_caller import PooledHttpCaller
from execd.adapters.llm_wire import (
    AnswerBuilder,
    Chunk,
    decode_chunk,
    encode_body,
    error_from_event,
    error_from_status,
)
from execd.client_sse import EventStreamParser
from execd.ports.http_caller import BearerAuth, HttpCallError, HttpRequest
from execd.ports.llm import LlmAnswer, LlmError, LlmFault, LlmRequest, OnDelta

MAX_LINE_BYTES = 1024 * 1024
"""Of one line of the stream; a delta has a few hundred."""
MAX_REFUSAL_BYTES = 64 * 1024
"""Of the body of a refusal that is read for its reason."""
DRAIN_S = 0.1
"""How long the end of the body may take after `[DONE]`; a server that holds it back loses its connection, not our time."""
_DONE = b"[DONE]"
_ASKED_BEFORE_USAGE = frozenset({400, 422})
"""What servers answer that know no `stream_options`."""


class HttpLlmClient:
    """Implements `LlmClient`."""

    def __init__(self, caller: PooledHttpCaller) -> None:
        self._caller = caller

    async def complete(self, request: LlmRequest, on_delta: OnDelta) -> LlmAnswer:
        """See `LlmClient.complete`."""
        try:
            budget = CallBudget(connect_s=request.connect_s, read_s=request.read_s, total_s=request.total_s)
            with budget:
                answer = await self._ask(request, on_delta, budget, with_usage=True)
                if answer is None:
                    answer = await self._ask(request, on_delta, budget, with_usage=False)
                assert answer is not None, "only a request with `stream_options` is given up quietly"
                return answer
        except HttpCallError as error:
            raise _without_key(_from_transport(error), request) from error
        except LlmError as error:
            raise _without_key(error, request) from None

    async def _ask(
        self, request: LlmRequest, on_delta: OnDelta, budget: CallBudget, *, with_usage: bool
    ) -> LlmAnswer | None:
        """Ask once; None when the server refused `stream_options`."""
        async with self._caller.open_stream(_as_http(request, with_usage=with_usage), budget) as stream:
            if stream.status == 200:
                return await _Reading(stream, request, on_delta, budget).run()
            body = (await stream.read_up_to(MAX_REFUSAL_BYTES)).data
            if with_usage and stream.status in _ASKED_BEFORE_USAGE and b"stream_options" in body:
                return None
            raise error_from_status(stream.status, stream.headers, body)


class _Reading:
    """One answer, being read: a stream of events, or all at once."""

    def __init__(self, stream: AnswerStream, request: LlmRequest, on_delta: OnDelta, budget: CallBudget) -> None:
        self._stream = stream
        self._limit_bytes = request.max_response_bytes
        self._on_delta = on_delta
        self._budget = budget
        self._builder = AnswerBuilder()
        self._parser = EventStreamParser()
        self._seen_bytes = 0
        self._line_bytes = 0
        self._media_type = dict(stream.headers).get("content-type", "").lower()
        self._is_whole = "json" in self._media_type

    async def run(self) -> LlmAnswer:
        if self._is_whole:
            await self._read_whole()
        elif any(known in self._media_type for known in ("event-stream", "text/plain")) or not self._media_type:
            await self._read_events()
        else:
            raise LlmError(f"the server answered with {self._media_type!r} instead of a completion", code="protocol")
        return self._builder.answer()

    async def _read_whole(self) -> None:
        """Take the answer of a server that does not stream."""
        body = bytearray()
        while (piece := await self._read()) is not None:
            body += piece
        await self._take(decode_chunk(bytes(body)))
        if not self._builder.has_choice:
            raise LlmError("the server's answer has no choice in it", code="protocol")

    async def _read_events(self) -> None:
        """Take events until `[DONE]`, or until the end of a stream that told how it finished."""
        while True:
            try:
                piece = await self._read()
            except HttpCallError as error:
                if error.code == "protocol" and self._builder.has_choice and self._builder.finish_reason is None:
                    raise _cut_off() from error
                raise
            # At the end, a last event without its blank line is taken: what matters is whether it told the finish.
            for event in self._parser.feed(b"\n\n" if piece is None else piece):
                if event.data.strip() == _DONE:
                    await self._drain()
                    return
                await self._take(decode_chunk(event.data))
            if piece is None:
                break
        if self._builder.finish_reason is None:
            raise _cut_off()

    async def _drain(self) -> None:
        """Read the little that follows the end, so that the connection can be kept."""
        with trio.move_on_after(DRAIN_S), suppress(HttpCallError, LlmError):
            while await self._read() is not None:
                pass

    async def _read(self) -> bytes | None:
        piece = await self._stream.read()
        if piece is not None:
            self._seen_bytes += len(piece)
            line_end = max(piece.rfind(b"\n"), piece.rfind(b"\r"))
            self._line_bytes = len(piece) - line_end - 1 + (self._line_bytes if line_end < 0 else 0)
            if self._seen_bytes > self._limit_bytes:
                raise LlmError(f"the answer is over {self._limit_bytes} bytes", code="too_large")
            if self._line_bytes > MAX_LINE_BYTES and not self._is_whole:
                raise LlmError(f"a line of the answer is over {MAX_LINE_BYTES} bytes", code="too_large")
        return piece

    async def _take(self, chunk: Chunk) -> None:
        if chunk.error:
            raise error_from_event(chunk.error)
        text = self._builder.add(chunk)
        if text:
            self._budget.begin_own_work()  # however long the receiver takes, the server is not the one who is silent
            await self._on_delta(text)


def _as_http(request: LlmRequest, *, with_usage: bool) -> HttpRequest:
    return HttpRequest(
        method="POST",
        url=f"{request.base_url.rstrip('/')}/chat/completions",
        headers=(
            ("Content-Type", "application/json"),
            ("Accept", "text/event-stream, application/json"),
            ("Accept-Encoding", "identity"),  # compression would hold deltas back
        ),
        body=encode_body(request, with_usage=with_usage),
        auth=BearerAuth(request.api_key) if request.api_key else None,
        max_redirects=0,
        verify_tls=request.verify_tls,
    )


def _cut_off() -> LlmError:
    return LlmError("the answer ended in the middle", code="cut_off", retryable=True)


def _from_transport(error: HttpCallError) -> LlmError:
    code: LlmFault = error.code
    return LlmError(error.message, code=code, retryable=error.retryable)


def _without_key(error: LlmError, request: LlmRequest) -> LlmError:
    """Give the same error, with the key blotted out where a provider quoted it."""
    if not request.api_key or request.api_key not in error.message:
        return error
    message = error.message.replace(request.api_key, "***")
    return LlmError(message, code=error.code, retryable=error.retryable, retry_after_s=error.retry_after_s)
