"""One connection: h11 on a trio stream, one exchange after another.

Owns: a socket, and what h11 knows of it. Never: decides whether to send again, to whom, or what a body means.
"""

from __future__ import annotations

from dataclasses import dataclass

import h11
import trio

from execd.adapters.call_budget import CallBudget
from execd.ports.http_caller import HttpCallError

MAX_HEAD_BYTES = 64 * 1024
"""Of an answer's head, each trailer block and chunk line. Node takes 16 KiB, curl 300 KiB."""
MAX_INTERIM_ANSWERS = 32
"""1xx answers before the real one; a server that sends more only wants to keep us busy."""
MAX_QUOTED_CHARS = 200
"""Of what h11 says about nonsense, which may quote a whole line."""
READ_BYTES = 64 * 1024
SEND_BYTES = 64 * 1024
"""Sent under one limit, so that a large body on a thin line is no silence."""


@dataclass(slots=True)
class ConnectTimes:
    """How long its making took."""

    dns_ms: float | None
    connect_ms: float
    tls_ms: float | None = None


class ConnectionDiedError(Exception):
    """A kept connection ended before it gave a byte of an answer: the server had closed it, most likely long ago."""


class HttpConnection:
    """Carries one request at a time. Any end but a clean one closes it, at once and without waiting."""

    def __init__(self, stream: trio.abc.Stream, socket: trio.socket.SocketType, times: ConnectTimes) -> None:
        self.times = times
        self.exchanges = 0
        """How many requests it has carried before this one."""
        self.idle_since = 0.0
        self.sent_at = 0.0
        self.first_byte_at = 0.0
        self._stream = stream
        self._socket = socket
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._has_heard = False
        self._has_head = False

    @property
    def is_reusable(self) -> bool:
        """Whether the exchange ended cleanly, both sides want to go on, and nothing came that nobody asked for."""
        http = self._http
        return http.our_state is h11.DONE and http.their_state is h11.DONE and not http.trailing_data[0]

    def has_gone_stale(self) -> bool:
        """Whether an idle connection has something to read: its end, or bytes nobody asked for."""
        return self._socket.is_readable()

    def begin_next(self) -> None:
        """Make a reusable connection ready for the next request."""
        self._http.start_next_cycle()
        self.exchanges += 1
        self._has_heard = False
        self._has_head = False

    def close(self) -> None:
        """Close the socket now. Idempotent."""
        self._socket.close()

    async def send(self, request: h11.Request, body: bytes | None, budget: CallBudget) -> None:
        """Send a whole request. A server that hangs up meanwhile may have answered: that shows in `receive_head`.

        Raises:
            HttpCallError: `invalid_request`, and nothing was sent.
        """
        parts = [self._http.send(request) or b""]
        if body:
            parts.append(self._http.send(h11.Data(data=body)) or b"")
        parts.append(self._http.send(h11.EndOfMessage()) or b"")
        budget.begin_sending()
        budget.was_sent = True
        self.sent_at = trio.current_time()
        try:
            if not body or len(body) < SEND_BYTES:
                await self._stream.send_all(b"".join(parts))
                return
            for part in parts:
                await self._send_slowly(part, budget)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    async def _send_slowly(self, data: bytes, budget: CallBudget) -> None:
        view = memoryview(data)
        for start in range(0, len(view), SEND_BYTES):
            budget.begin_sending()
            await self._stream.send_all(view[start : start + SEND_BYTES])

    async def receive_head(self, budget: CallBudget) -> h11.Response:
        """Wait for the answer's head, past 1xx ones.

        Raises:
            ConnectionDiedError: this was a kept connection and it was dead; nobody has answered.
            HttpCallError: `protocol` or `too_large`.
        """
        for _ in range(MAX_INTERIM_ANSWERS):
            event = await self._next_event(budget)
            if isinstance(event, h11.Response):
                self._has_head = True
                return event
            if not isinstance(event, h11.InformationalResponse) or event.status_code == 101:
                raise _broken("the server changed to another protocol unasked", retryable=False)
        raise _broken("the server sent nothing but interim answers", retryable=False)

    async def receive_data(self, budget: CallBudget) -> bytes | None:
        """Wait for the next piece of the body, as it came; None after the last.

        Raises:
            HttpCallError: `protocol`: the body was cut or is not HTTP.
        """
        event = await self._next_event(budget)
        return bytes(event.data) if isinstance(event, h11.Data) else None

    async def _next_event(self, budget: CallBudget) -> h11.Event | type[h11.PAUSED]:
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as error:
                raise self._explain(error) from error
            if event is not h11.NEED_DATA:
                return event  # type: ignore[return-value]  # h11's sentinels are their own types
            budget.begin_reading()
            data = await self._receive()
            if not self._has_heard:
                self.first_byte_at = trio.current_time()
                if not data and self.exchanges:
                    raise ConnectionDiedError
                self._has_heard = True
            self._http.receive_data(data)

    async def _receive(self) -> bytes:
        try:
            return bytes(await self._stream.receive_some(READ_BYTES))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            if self.exchanges and not self._has_heard:
                raise ConnectionDiedError from error
            raise self._cut() from error

    def _explain(self, error: h11.RemoteProtocolError) -> HttpCallError:
        """Tell a cut from nonsense."""
        if error.error_status_hint == 431:
            text = f"the head of the answer is over {MAX_HEAD_BYTES} bytes"
            return HttpCallError(text, code="too_large", was_sent=True)
        if self._http.trailing_data[1]:
            return self._cut()
        return _broken(f"the answer is not HTTP: {str(error)[:MAX_QUOTED_CHARS]}", retryable=False)

    def _cut(self) -> HttpCallError:
        where = "inside the body" if self._has_head else "before it answered"
        return _broken(f"the server hung up {where}", had_head=self._has_head)


def _broken(message: str, *, retryable: bool = True, had_head: bool = False) -> HttpCallError:
    return HttpCallError(message, code="protocol", retryable=retryable, was_sent=True, had_head=had_head)
