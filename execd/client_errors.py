"""What a client of a remote execd may be told, and how an answer becomes an error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from execd.core.errors import ExecdError, FieldFault

T = TypeVar("T")


class RemoteError(ExecdError):
    """The server refused: `code`, `status`, `retryable` and `faults` are its own words. Look at `retryable` before retrying."""

    def __init__(
        self,
        message: str,
        *,
        code: str,
        status: int,
        retryable: bool,
        faults: tuple[FieldFault, ...] = (),
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, faults=faults)
        self.code = code
        self.status = status
        self.retryable = retryable
        self.retry_after_s = retry_after_s
        """How long the server asks to wait; None when it says nothing."""


class UnreachableError(ExecdError):
    """The server did not answer: see that it runs and that the URL is right, then do it again."""

    code = "unreachable"
    status = 503
    retryable = True


class UncertainError(ExecdError):
    """The connection broke after the request was sent: it may or may not have been carried out. Look before repeating it."""

    code = "uncertain"
    status = 504


class GapError(ExecdError):
    """Events are missing from a stream. The journal has none missing, so a proxy or the server is at fault: report it,
    and read the journal again from the start."""

    code = "gap"
    status = 502

    def __init__(self, *, last_seq: int, next_seq: int) -> None:
        super().__init__(f"the stream went from event {last_seq} to event {next_seq}: events are missing")
        self.last_seq = last_seq
        self.next_seq = next_seq


class AnswerError(ExecdError):
    """What answered is not execd, or not a version this client understands: look at the URL."""

    code = "unexpected_answer"
    status = 502


class _Problem(msgspec.Struct):
    """RFC 9457, and execd's extensions to it."""

    title: str = ""
    detail: str = ""
    code: str = ""
    retryable: bool | None = None
    faults: tuple[FieldFault, ...] = ()
    errors: tuple[FieldFault, ...] = ()


RETRYABLE_STATUSES = frozenset({429, 502, 503, 504})
"""What a server or a proxy says when the same request may succeed later."""


def error_from_answer(status: int, headers: Mapping[str, str], body: bytes) -> RemoteError:
    """Read a refusal: problem+json where it is one, else whatever a proxy wrote, cut to one line."""
    problem = _read_problem(body)
    message = problem.detail or problem.title or _first_line(body) or f"the server answered {status}"
    return RemoteError(
        message,
        code=problem.code or f"http_{status}",
        status=status,
        retryable=status in RETRYABLE_STATUSES if problem.retryable is None else problem.retryable,
        faults=problem.faults or problem.errors,
        retry_after_s=_seconds(headers.get("retry-after")),
    )


def _read_problem(body: bytes) -> _Problem:
    try:
        return msgspec.json.decode(body, type=_Problem)
    except msgspec.DecodeError:
        return _Problem()


def _first_line(body: bytes) -> str:
    text = body[:200].decode(errors="replace").strip()
    return "" if text.startswith(("<", "{")) else text.partition("\n")[0]


def _seconds(value: str | None) -> float | None:
    return float(value) if value is not None and value.isdigit() else None


def decode_answer(body: bytes, wanted: type[T]) -> T:
    """Read an answer as the record it should be.

    Raises:
        AnswerError: it is something else.
    """
    try:
        return msgspec.json.decode(body, type=wanted)
    except msgspec.DecodeError as error:
        raise AnswerError(f"the answer is not what execd sends: {error}") from error
