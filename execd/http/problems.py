"""Errors as problem+json (RFC 9457) with a stable code, the field's path, what was wrong and what would be accepted."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import structlog
from quart import Request, Response, Websocket, has_request_context, request, websocket
from werkzeug.exceptions import HTTPException

from execd.core.codec import encode_json
from execd.core.errors import ExecdError, FieldFault, OverloadedError

log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"
MAX_INSTANCE_CHARS = 200
"""Of the path that is echoed."""


class NotFinishedError(ExecdError):
    """The execution has no result yet: follow its stream to the end, or ask again later."""

    code = "not_finished"
    status = 409


class HostNotAllowedError(ExecdError):
    """The request names a host this server does not answer for (DNS rebinding): use an allowed name."""

    code = "host_not_allowed"
    status = 421


class OriginNotAllowedError(ExecdError):
    """A page of another origin sent this with the browser's credentials: use a token, or have the origin allowed."""

    code = "origin_not_allowed"
    status = 403


class UnsupportedKindError(ExecdError):
    """This kind of execution is not known here: use one that is named in `errors`."""

    code = "unsupported_kind"
    status = 400


class MediaTypeError(ExecdError):
    """The body is not JSON by its own account: send `Content-Type: application/json`."""

    code = "unsupported_media_type"
    status = 415


def problem_of(error: ExecdError, *, instance: str | None = None) -> dict[str, Any]:
    """Give the fields of a problem; one that is no fault of the caller tells nothing of its cause."""
    problem: dict[str, Any] = {
        "type": f"urn:execd:problem:{error.code}",
        "title": error.code.replace("_", " ").capitalize(),
        "status": error.status,
        "code": error.code,
        "detail": error.message,
        "retryable": error.retryable,
    }
    if instance is not None:
        problem["instance"] = instance[:MAX_INSTANCE_CHARS].encode(errors="replace").decode()
    if error.faults:
        problem["errors"] = error.faults
    return problem


def asked() -> Request | Websocket:
    """Give the request at hand, which may be an upgrade that was refused before its handler."""
    return request if has_request_context() else websocket


def is_defect(error: ExecdError) -> bool:
    """Whether it is execd's own fault, to be logged as one, and no refusal to be answered."""
    return error.status >= HTTPStatus.INTERNAL_SERVER_ERROR and not error.retryable


def refusal_headers(error: ExecdError) -> dict[str, str]:
    """Give what a refusal says beside its body, in every dialect: when to come back, or how to say who one is."""
    if isinstance(error, OverloadedError):
        return {"Retry-After": str(error.retry_after_s)}
    if error.status == HTTPStatus.SERVICE_UNAVAILABLE:
        return {"Retry-After": "1"}
    if error.status == HTTPStatus.UNAUTHORIZED:
        return {"WWW-Authenticate": 'Bearer realm="execd"'}
    return {}


def problem_response(error: ExecdError, *, headers: Mapping[str, str] | None = None) -> Response:
    """Answer the request at hand with a problem."""
    body = encode_json(problem_of(error, instance=asked().path))
    extra = {**(headers or {}), **refusal_headers(error)}
    return Response(body, status=error.status, headers=extra, content_type=MEDIA_TYPE)


async def answer_execd_error(error: ExecdError) -> Response:
    """The handler of every error a caller can act on."""
    if is_defect(error):
        log.error("request_failed", path=asked().path, code=error.code, exc_info=error)
    return _close_if_unread(problem_response(error))


async def answer_framework_error(error: HTTPException) -> Response:
    """The handler of what quart refuses by itself: unknown paths, methods, bodies that are too large or too slow."""
    status = error.code or HTTPStatus.INTERNAL_SERVER_ERROR
    if status < HTTPStatus.BAD_REQUEST:
        status = HTTPStatus.NOT_FOUND
    code, words = _FRAMEWORK_PROBLEMS.get(status, (HTTPStatus(status).phrase.lower().replace(" ", "_"), error.name))
    refused = ExecdError(words)
    refused.code, refused.status = code, int(status)
    headers = {name: value for name, value in error.get_headers() if name in {"Allow", "Content-Range"}}
    allowed = headers.get("Allow")
    if allowed:
        refused.faults = (
            FieldFault(path="", message=f"the method {asked().method} is not known here", accepted=allowed),
        )
    return _close_if_unread(problem_response(refused, headers=headers))


def _close_if_unread(response: Response) -> Response:
    """Say that the connection ends with an answer to a body that was not read to its end: a client must not reuse it."""
    if response.status_code in {HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.REQUEST_TIMEOUT}:
        response.headers["Connection"] = "close"
    return response


_FRAMEWORK_PROBLEMS: Mapping[int, tuple[str, str]] = {
    404: ("not_found", "there is nothing at this path; /openapi.json has every path"),
    405: ("method_not_allowed", "this path does not take this method"),
    408: ("request_timeout", "the body did not arrive in time"),
    413: ("payload_too_large", "the body is over the limit of this server"),
    416: ("range_not_satisfiable", "the range lies outside of what there is"),
}


async def answer_defect(error: Exception) -> Response:
    """The crash barrier of a request: logged with its trace, told without."""
    log.error("request_crashed", path=asked().path, exc_info=error)
    return problem_response(ExecdError("a defect in execd; it was logged"))
