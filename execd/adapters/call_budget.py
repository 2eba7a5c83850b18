"""One deadline for a whole call that moves as the call goes on: a limit per wait, and one over everything.

A cancel scope per wait would cost as much as the parsing of the answer; here a wait costs one assignment.
"""

from __future__ import annotations

from types import TracebackType

import trio

from execd.ports.http_caller import HttpCallError, HttpRequest


class CallBudget:
    """Owns the cancel scope of one call. `with budget:` raises `HttpCallError` with `timeout` when a limit ends it."""

    def __init__(self, *, connect_s: float, read_s: float, total_s: float) -> None:
        self.started = trio.current_time()
        self._end = self.started + total_s
        self._connect_s = connect_s
        self._read_s = read_s
        self._total_s = total_s
        self._doing = "sending the request"
        self._limit_s = read_s
        self._deadline = min(self._end, self.started + read_s)
        """On a kept connection the first thing to wait for is the sending; all else is announced."""
        self.was_sent = False
        """Whether a server may have got the request."""
        self.has_head = False
        """Whether the head of the answer came."""
        self._scope = trio.CancelScope(deadline=self._deadline)

    @classmethod
    def of(cls, request: HttpRequest) -> CallBudget:
        return cls(connect_s=request.connect_s, read_s=request.read_s, total_s=request.total_s)

    def __enter__(self) -> None:
        self._scope.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        is_handled = self._scope.__exit__(kind, error, trace)
        if self._scope.cancelled_caught:
            raise self._error()
        return is_handled

    def begin_connecting(self) -> None:
        """From here on, the connect limit counts."""
        self._begin("connecting", self._connect_s)

    def begin_sending(self) -> None:
        """From here on, a silence is the server's not reading."""
        self._begin("sending the request", self._read_s)

    def begin_reading(self) -> None:
        """From here on, a silence is the server's not answering."""
        self._begin("waiting for the answer", self._read_s)

    def begin_own_work(self) -> None:
        """From here on, only the limit over everything counts."""
        self._begin("", self._total_s)

    def elapsed_ms(self) -> float:
        return (trio.current_time() - self.started) * 1000

    def _error(self) -> HttpCallError:
        """Say which limit ended the call."""
        if trio.current_time() >= self._end or not self._doing:
            message = f"not finished within {self._total_s:g} s"
        else:
            message = f"nothing came for {self._limit_s:g} s while {self._doing}"
            return HttpCallError(message, code="timeout", was_sent=self.was_sent, had_head=self.has_head)
        return HttpCallError(message, code="timeout", was_sent=self.was_sent)

    def _begin(self, doing: str, limit_s: float) -> None:
        self._doing, self._limit_s = doing, limit_s
        deadline = min(self._end, trio.current_time() + limit_s)
        # Moving a scope's deadline costs as much as a header; a limit may be a hundredth too short instead.
        if not 0 <= deadline - self._deadline < limit_s / 100:
            self._deadline = self._scope.deadline = deadline
