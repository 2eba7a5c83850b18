"""How a step ended: what is kept of it, whether it succeeded, and whether trying again may help."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import UNSET

from execd.core.calls import (
    MAX_OUTPUT_BYTES,
    REPEATABLE_METHODS,
    CallEnd,
    CallFailure,
    HttpResult,
    failed,
    succeeded,
)
from execd.core.flows.answers import read_body, read_headers
from execd.core.flows.checks import Checks
from execd.core.flows.configs import table_of
from execd.core.flows.cookies import MAX_TOLD_AT_ONCE
from execd.core.flows.error_texts import error_text
from execd.core.flows.hiding import hide_in_request, hide_named, hide_substitution
from execd.core.flows.js_values import js_text
from execd.core.flows.moments import Response
from execd.core.flows.placeholders import MAX_ORIGINAL_CHARS, Notes, Substitution
from execd.core.flows.references import values_at
from execd.core.flows.retries import RetryRule
from execd.core.http_answers import cut_text
from execd.core.masking import BLOT, Mask

MAX_SHOWN_BYTES = 64 * 1024
"""Of a value that stands in the journal already, or was made of such: what was inserted, what a check looked at."""
MAX_SHOWN_METHOD_CHARS = 100
MAX_SHOWN_BODY_BYTES = 256 * 1024
"""Of a request's body, as it is shown; it is sent whole."""
MAX_RECORDS = 1000
"""Of what was inserted; of the rest it is said how many there are."""
MAX_RECORDS_BYTES = 512 * 1024
"""Of the values in them together, and of those that a step's checks looked at."""
MAX_MESSAGE_CHARS = 64 * 1024
"""Of all that a step's checks have to say."""
_MAY_GROW = 6
"""A byte of a body is at most so many of JSON."""


class Keeping(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a step besides what it gave."""

    hides_named: bool = False
    """Whether what looks secret by its name is hidden."""
    keeps_cookies: bool = False


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """A request that was made, and how."""

    request: dict[str, Any]
    """`{method, url, headers, body}` with every placeholder replaced."""
    substitutions: Sequence[Substitution]
    unknown: Sequence[str]
    """Placeholders that named nothing and were sent as they are written."""
    method: str
    """In capitals."""
    timeout_s: float
    secrets: tuple[str, ...] = ()
    """Values of declared secrets in it: hidden in everything that is kept."""
    unseen: tuple[str, ...] = ()
    """Answers that nobody may see: hidden in what is shown of the request, and not in the response, which a client sends back
    for the steps after it."""


def conclude_step(
    result: HttpResult | CallFailure,
    sent: Sent,
    checks: Checks,
    retry: RetryRule,
    *,
    keeping: Keeping,
    at: datetime,
    wanted: Sequence[str] = (),
) -> CallEnd:
    """Say how a step ended.

    Args:
        at: when the cookies came.
        wanted: paths that later steps read of the body; their values are kept if it is not.
    """
    record = describe_sent(sent, keeping)
    mask = Mask(sent.secrets)
    if isinstance(result, CallFailure):
        return _without_answer(result, sent, record, mask, retry)
    response, shown = _read(result, wanted)
    verdicts, message = checks.judge(response)
    record["response"] = shown | ({"headers": hide_named(shown["headers"])} if keeping.hides_named else {})
    record["validations"] = _within_room(verdicts)
    record["duration"] = round(result.duration_ms / 1000, 3)
    if keeping.keeps_cookies and result.told_cookies:
        told = result.told_cookies[-MAX_TOLD_AT_ONCE:]
        record["cookies"] = [[url, line, at.timestamp()] for url, line in told]
    record = mask.value(record)
    if message is None:
        return succeeded(record)
    wants_more = retry.wants_status(result.status)
    text = mask.text(message)[:MAX_MESSAGE_CHARS]
    return failed("http", "validation", text, is_final=not wants_more, details={"step": record})


def _without_answer(failure: CallFailure, sent: Sent, record: dict[str, Any], mask: Mask, retry: RetryRule) -> CallEnd:
    text = error_text(failure, timeout_s=sent.timeout_s)
    is_unsure = failure.was_sent and sent.method not in REPEATABLE_METHODS
    return failed(
        "http",
        failure.code,
        mask.text(text),
        is_final=not retry.wants_failure(failure),
        was_cut_off=is_unsure and not retry.is_asked_for,
        retry_after_s=failure.retry_after_s,
        details={"step": mask.value(record)},
    )


def _read(result: HttpResult, wanted: Sequence[str]) -> tuple[Response, dict[str, Any]]:
    """Give what checks look at, and what is kept."""
    headers = read_headers(result.headers, was_decoded=result.is_decoded)
    body = read_body(result.body, is_whole=not result.truncated)
    response = Response(status=result.status, body=body, headers=headers, time_ms=result.duration_ms)
    shown = {"status": result.status, "statusText": result.reason, "headers": headers}
    kept = _kept_body(body, len(result.body), is_cut=result.truncated)
    if "truncated" in kept and not result.truncated and wanted:
        kept["values"] = values_at(body, wanted)
    return response, shown | kept


def _kept_body(body: Any, size: int, *, is_cut: bool) -> dict[str, Any]:
    """Keep a body, or the head of it as text where it is too large for a journal, and say so."""
    if size * _MAY_GROW <= MAX_OUTPUT_BYTES // 2 and not is_cut:
        return {"body": body}
    encoded = msgspec.json.encode(body)
    room = MAX_OUTPUT_BYTES // 4 * 3
    if len(encoded) > room:
        body, is_cut = cut_text(body if isinstance(body, str) else encoded.decode(), room)[0], True
    return {"body": body, "truncated": True} if is_cut else {"body": body}


def describe_sent(sent: Sent, keeping: Keeping) -> dict[str, Any]:
    """Give what is kept of a request."""
    request = hide_in_request(sent.request) if keeping.hides_named else dict(sent.request)
    request |= _cut_request_head(request) | _cut_request_body(request["body"])
    record: dict[str, Any] = {
        "request": request,
        "substitutions": _records(sent.substitutions, request["url"], keeping),
    }
    if len(sent.substitutions) > MAX_RECORDS:
        record["substitutions_left_out"] = len(sent.substitutions) - MAX_RECORDS
    if sent.unknown:
        record["unknown"] = sorted({text[:MAX_ORIGINAL_CHARS] for text in sent.unknown})[:100]
    shown: dict[str, Any] = Mask(sent.unseen).value(record) if sent.unseen else record
    return shown


def describe_failure(
    merged: Mapping[str, Any], notes: Notes, keeping: Keeping, *, unseen: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Give what is kept of a step that could not be made: the request as far as it is written, and what was replaced."""
    request = {
        "method": js_text(merged.get("method", UNSET)),
        "url": js_text(merged.get("url", UNSET)),
        "headers": merged.get("headers") or {},
        "body": merged.get("body") or {},
    }
    sent = Sent(request=request, substitutions=notes.made, unknown=notes.unknown, method="", timeout_s=0, unseen=unseen)
    secrets = [each.value for each in notes.made if each.type == "secret" and isinstance(each.value, str)]
    masked: dict[str, Any] = Mask(secrets).value(describe_sent(sent, keeping))
    return masked


def _records(made: Sequence[Substitution], url: str, keeping: Keeping) -> list[dict[str, Any]]:
    listed = [each.record | ({"value": BLOT} if each.type == "secret" else {}) for each in made[:MAX_RECORDS]]
    records = _within_room(listed)
    return [hide_substitution(record, url=url) for record in records] if keeping.hides_named else records


def _within_room(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out values that are large, or that come when there is no room for more."""
    room = MAX_RECORDS_BYTES
    kept = []
    for record in map(_small, records):
        value = record.get("value")
        size = len(msgspec.json.encode(value)) if isinstance(value, str | list | dict) else 0
        kept.append(record if size <= room else {**record, "value": None, "truncated": True})
        room -= size if size <= room else 0
    return kept


def _small(record: dict[str, Any]) -> dict[str, Any]:
    """Leave out a value that is large: it stands elsewhere in the journal."""
    value = record.get("value")
    if not isinstance(value, str | list | dict) or (
        isinstance(value, str) and len(value) * _MAY_GROW < MAX_SHOWN_BYTES
    ):
        return record
    if len(msgspec.json.encode(value)) <= MAX_SHOWN_BYTES:
        return record
    return {**record, "value": None, "truncated": True}


def _cut_request_head(request: Mapping[str, Any]) -> dict[str, Any]:
    """Cut what no server takes anyway."""
    cut: dict[str, Any] = {}
    for name, room in (("method", MAX_SHOWN_METHOD_CHARS), ("url", MAX_SHOWN_BYTES)):
        if len(request[name]) > room:
            cut |= {name: request[name][:room], "truncated": True}
    headers = request["headers"]
    if len(msgspec.json.encode(headers)) > MAX_SHOWN_BYTES:
        kept: dict[str, Any] = {}
        room = MAX_SHOWN_BYTES
        for name, value in table_of(headers).items():
            room -= len(msgspec.json.encode({name: value}))
            if room >= 0:
                kept[name] = value
        cut |= {"headers": kept, "truncated": True}
    return cut


def _cut_request_body(body: Any) -> dict[str, Any]:
    if not isinstance(body, str | list | Mapping):
        return {}
    encoded = msgspec.json.encode(body)
    if len(encoded) <= MAX_SHOWN_BODY_BYTES:
        return {}
    text = body if isinstance(body, str) else encoded.decode()
    return {"body": cut_text(text, MAX_SHOWN_BODY_BYTES)[0], "truncated": True}
