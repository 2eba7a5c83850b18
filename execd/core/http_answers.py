"""What an HTTP answer means for the node that asked: its output, or its failure and whether asking again may help. Pure."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from execd.core.calls import (
    MAX_OUTPUT_BYTES,
    REPEATABLE_METHODS,
    CallEnd,
    CallFailure,
    Headers,
    HttpCall,
    HttpResult,
    bare_url,
    failed,
    succeeded,
)
from execd.core.masking import Mask

MAX_JSON_DEPTH = 100
"""Of what is read as JSON, as deep as expressions go; deeper is given as text."""
SHOWN_BODY_CHARS = 2000
"""Of a refusal's body, in the failure's details: APIs say there what was wrong."""
MAX_SHOWN_HEADERS_BYTES = 64 * 1024
"""Of an answer's headers in the output."""
_TOO_MANY = 429


def conclude_http(call: HttpCall, result: HttpResult | CallFailure, *, at: datetime) -> CallEnd:
    """Say how a request ended; what the server quoted of its secrets is blotted out.

    Args:
        at: now; a `Retry-After` may be a moment.
    """
    mask = Mask(call.secrets)
    if isinstance(result, CallFailure):
        return _without_answer(call, result, mask)
    if _is_expected(result.status, call.expect):
        return succeeded(_output(result, mask))
    return _refused(call, result, mask, at)


def _is_expected(status: int, expect: tuple[str, ...]) -> bool:
    if not expect:
        return status < 400
    return str(status) in expect or f"{status // 100}xx" in expect


def _without_answer(call: HttpCall, failure: CallFailure, mask: Mask) -> CallEnd:
    """What may have been done is not done again unasked, unless doing it twice is doing it once."""
    message = f"{call.method} {bare_url(mask.text(call.url))}: {failure.message}"
    return failed(
        "http",
        failure.code,
        mask.message(message),
        is_final=not failure.retryable,
        was_cut_off=failure.was_sent and call.method not in REPEATABLE_METHODS,
        retry_after_s=failure.retry_after_s,
        details=mask.value({"was_sent": failure.was_sent, **failure.details}),
    )


def _refused(call: HttpCall, result: HttpResult, mask: Mask, at: datetime) -> CallEnd:
    wanted = f"wanted: {', '.join(call.expect)}" if call.expect else "wanted: a status below 400"
    reason = f" {result.reason}" if result.reason else ""
    url = bare_url(mask.text(result.url))
    message = f"{call.method} {url} was answered with {result.status}{reason} ({wanted})."
    body = _text_of(result)
    shown = None if body is None else mask.head(body)[:SHOWN_BODY_CHARS]
    details = {"status": result.status, "url": url, "body": shown}
    may_change = result.status == _TOO_MANY or result.status >= 500
    return failed(
        "http",
        "status",
        mask.text(message),
        is_final=not may_change,
        retry_after_s=_retry_after_s(result.headers, at) if may_change else None,
        details=mask.value(details),
    )


def _retry_after_s(headers: Headers, at: datetime) -> float | None:
    """Read `Retry-After`, in seconds or as a date. Source: RFC 9110, section 10.2.3."""
    text = next((value.strip() for name, value in headers if name == "retry-after"), "")
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - at).total_seconds()


def _output(result: HttpResult, mask: Mask) -> dict[str, Any]:
    """Give what expressions read. The body gets the room that the rest leaves, and is cut where that is too little."""
    output: dict[str, Any] = {
        "status": result.status,
        "headers": mask.value(_table_of(result.headers)),
        "url": mask.text(result.url),
        "duration_ms": result.duration_ms,
        "truncated": result.truncated,
        "body": None,
    }
    room = MAX_OUTPUT_BYTES - len(msgspec.json.encode(output)) - len('"body_encoding":"base64",')
    text = _text_of(result)
    if text is None:
        return output | _as_base64(mask.data(result.body), room, is_cut=result.truncated)
    if not result.truncated and _is_json(result.headers):
        parsed = _parse(text)
        if parsed is not _NOT_JSON:
            parsed = mask.value(parsed) if mask.may_be_in(text) else parsed
            if len(msgspec.json.encode(parsed)) <= room:
                return output | {"body": parsed}
    shown, is_cut = cut_text(mask.head(text) if result.truncated else mask.text(text), room)
    return output | {"body": shown, "truncated": result.truncated or is_cut}


def _as_base64(data: bytes, room: int, *, is_cut: bool) -> dict[str, Any]:
    kept = data[: max(0, (room - 2) // 4 * 3)]
    encoded = base64.b64encode(kept).decode()
    return {"body": encoded, "body_encoding": "base64", "truncated": is_cut or len(kept) < len(data)}


def _table_of(headers: Headers) -> dict[str, Any]:
    """Give the headers by name: of several the last, but all of `set-cookie`, which cannot be joined."""
    table: dict[str, Any] = {}
    left_bytes = MAX_SHOWN_HEADERS_BYTES
    for name, value in headers:
        left_bytes -= len(name) + len(value)
        if left_bytes < 0:
            break
        if name == "set-cookie":
            table.setdefault(name, []).append(value)
        else:
            table[name] = value
    return table


def _text_of(result: HttpResult) -> str | None:
    """Give the body as text; None where it is none. What is cut off in the middle of a character loses that character."""
    if not result.is_decoded or b"\0" in result.body:
        return None
    for encoding in (_charset(result.headers), "utf-8"):
        try:
            return result.body.decode(encoding)
        except LookupError:
            continue
        except UnicodeDecodeError as error:
            if result.truncated and error.start >= len(result.body) - 4:
                return result.body[: error.start].decode(encoding)
        except ValueError:
            continue
    return None


def _charset(headers: Headers) -> str:
    """Give what `Content-Type` says the text is encoded in."""
    for parameter in _content_type(headers).split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip() == "charset" and value.strip().strip('"').isascii():
            return value.strip().strip('"') or "utf-8"
    return "utf-8"


def _content_type(headers: Headers) -> str:
    return next((value for name, value in headers if name == "content-type"), "").lower()


def _is_json(headers: Headers) -> bool:
    media_type = _content_type(headers).partition(";")[0].strip()
    return media_type.endswith(("/json", "+json"))


_NOT_JSON = object()


def _parse(text: str) -> Any:
    """Read JSON; what is none, or is too deep to be kept, is only text."""
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError, ValueError):
        return _NOT_JSON
    return value if depth_fits(value, MAX_JSON_DEPTH) else _NOT_JSON


def depth_fits(value: Any, depth: int) -> bool:
    """Whether a JSON value is nested at most so deep. Level by level: a megabyte of small values takes some 20 ms."""
    level = [value] if isinstance(value, list | dict) else []
    for _ in range(depth):
        if not level:
            return True
        level = [
            item
            for container in level
            for item in (container.values() if type(container) is dict else container)
            if type(item) is list or type(item) is dict
        ]
    return not level


def cut_text(text: str, room_bytes: int) -> tuple[str, bool]:
    """Give as much of a text as fits into so many bytes of JSON, and whether that is less than all."""
    encoded = msgspec.json.encode(text)
    if len(encoded) <= room_bytes:
        return text, False
    for end in range(room_bytes - 1, 0, -1):
        try:
            return msgspec.json.decode(encoded[:end] + b'"', type=str), True
        except (msgspec.DecodeError, UnicodeError):
            continue  # inside an escape or a character
    return "", True
