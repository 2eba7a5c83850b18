"""Refusals as FastAPI words them, for clients that were written against it: `{"detail": …}`, and a list of faults with 422."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from functools import wraps
from http import HTTPStatus
from typing import Any, ParamSpec

from quart import Request, Response

from execd.core.errors import ExecdError, FieldFault, InvalidRequestError
from execd.http.answers import json_response
from execd.http.config import HttpConfig
from execd.http.problems import is_defect, refusal_headers
from execd.http.schemas import check_length, decode_json

P = ParamSpec("P")

_STEP = re.compile(r"[^.\[\]]+")
Handler = Callable[P, Awaitable[Response]]


def in_fastapi_shape(handler: Handler[P]) -> Handler[P]:
    """Answer what the handler refuses in this shape; a defect is the application's own to answer and to log."""

    @wraps(handler)
    async def answer(*args: P.args, **kwargs: P.kwargs) -> Response:
        try:
            return await handler(*args, **kwargs)
        except ExecdError as error:
            if is_defect(error):
                raise
            return refusal(error)

    return answer


def refusal(error: ExecdError) -> Response:
    """Give the answer to a refused request."""
    if error.faults and (isinstance(error, InvalidRequestError) or error.code == "definition_not_runnable"):
        return json_response({"detail": details_of(error.faults)}, status=HTTPStatus.UNPROCESSABLE_ENTITY)
    return json_response({"detail": error.message}, status=error.status, headers=refusal_headers(error))


def details_of(faults: Sequence[FieldFault]) -> list[dict[str, Any]]:
    """Give faults as `{loc, msg, type}`."""
    return [
        {
            "loc": ["body", *_steps(fault.path)],
            "msg": f"{fault.message}; accepted: {fault.accepted}",
            "type": "value_error",
        }
        for fault in faults
    ]


def _steps(path: str) -> list[str | int]:
    return [int(step) if step.isascii() and step.isdigit() else step for step in _STEP.findall(path)]


async def read_body(request: Request, config: HttpConfig) -> object:
    """Read a body as JSON, whatever its `Content-Type` says. Raises InvalidRequestError, PayloadTooLargeError."""
    check_length(request, config)
    body: bytes = await request.get_data(cache=False, as_text=False, parse_form_data=False)
    return decode_json(body)
