"""What may go wrong, named for what the caller must do about it.

Every error a caller can act on descends from `ExecdError`. It carries a stable `code` (what programs match on), a
`retryable` flag (may the same request succeed later, unchanged?) and the HTTP status an edge should answer with.
Vendor errors never cross an adapter: each adapter maps them to these.
"""

from __future__ import annotations

import msgspec


class FieldFault(msgspec.Struct, frozen=True):
    """One thing wrong with one field of a request."""

    path: str
    """Where it is, as a JSON path without the dollar: `limits.wall_s`, `nodes[2].id`, or `` for the whole body."""
    message: str
    """What was found, by kind or size, never the value of a secret."""
    accepted: str
    """What would have been accepted."""


class ExecdError(Exception):
    """The root of every error a caller of execd can act on."""

    code = "internal_error"
    status = 500
    retryable = False

    def __init__(self, message: str, *, faults: tuple[FieldFault, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.faults = faults


class InvalidRequestError(ExecdError):
    """The request can never succeed as it is: mend the named fields and send it again."""

    code = "invalid_request"
    status = 400


class UnauthenticatedError(ExecdError):
    """No valid credential came with the request: get a token, cookie or ticket."""

    code = "unauthenticated"
    status = 401


class ForbiddenError(ExecdError):
    """The credential is valid and its role does not allow this: ask an admin of the workspace."""

    code = "forbidden"
    status = 403


class NotFoundError(ExecdError):
    """There is no such thing, or it belongs to a workspace the caller is not a member of: the two look alike on purpose."""

    code = "not_found"
    status = 404


class ConflictError(ExecdError):
    """The thing exists in a state that does not allow the request: look at it, then decide."""

    code = "conflict"
    status = 409


class IdempotencyConflictError(ConflictError):
    """The same `Idempotency-Key` came with another body: use a new key."""

    code = "idempotency_conflict"


class PayloadTooLargeError(ExecdError):
    """The body is over the limit: send less, or raise the limit in the settings."""

    code = "payload_too_large"
    status = 413


class OverloadedError(ExecdError):
    """A queue is full. Nothing was accepted: wait `retry_after_s` and send the same request again."""

    code = "overloaded"
    status = 503
    retryable = True

    def __init__(self, message: str, *, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class TooManyStreamsError(OverloadedError):
    """The workspace watches as many streams as it may: close one, or wait."""

    code = "too_many_streams"
    status = 429


class StoreUnavailableError(ExecdError):
    """The store did not answer or is full. Whether the write happened is unknown until the store is back: retry with the
    same `Idempotency-Key`."""

    code = "store_unavailable"
    status = 503
    retryable = True


class StoreLockedError(ExecdError):
    """Another execd holds this store: stop it, or use another data directory."""

    code = "store_locked"
    status = 503


class ConfigurationError(ExecdError):
    """A setting or a runtime definition is wrong: mend the named field and start again."""

    code = "configuration"


class RunnerUnavailableError(ExecdError):
    """This machine cannot give a sandbox: `execd doctor` names what is missing and how to mend it."""

    code = "runner_unavailable"
    status = 503
    retryable = True
