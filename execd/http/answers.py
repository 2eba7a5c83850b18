"""How an answer becomes a response."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quart import Response

from execd.core.codec import encode_json

JSON_TYPE = "application/json"


def empty_response(status: int, *, headers: Mapping[str, str] | None = None) -> Response:
    """Answer without a body; quart's own default body asks asyncio for a thread, and there is no asyncio here."""
    return Response(b"", status=status, headers=dict(headers or {}), content_type=None)


def json_response(value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Answer with a record or plain value."""
    return Response(encode_json(value), status=status, headers=dict(headers or {}), content_type=JSON_TYPE)
