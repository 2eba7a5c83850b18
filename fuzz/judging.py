"""What is wrong with an answer: the promises of the doors, looked at from outside."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

from fuzz.requests import Request
from fuzz.sending import Answer

FIELDS = frozenset({"path", "message", "accepted"})
UNKNOWN_CODING = ("Transfer-Encoding", "gzip")
FLOWSPHERE = "/api/"
NATIVE = "/api/v1/"


def judge(request: Request, answer: Answer) -> list[str]:
    """Give every promise that is broken; empty for a good answer."""
    if answer.was_given_up:
        return []
    if answer.is_late:
        return ["hang: nothing came within the deadline"]
    if not answer.status:
        return ["no answer: the connection was closed without one"]
    found = [] if answer.is_whole else ["cut: the answer has no end"]
    if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR and not _is_documented(request, answer):
        found.append(f"error of the server: {answer.status} {answer.body[:300]!r}")
    elif answer.status >= HTTPStatus.BAD_REQUEST and answer.body and request.method != "HEAD":
        found += _judge_refusal(request, answer)
    return found


def _is_documented(request: Request, answer: Answer) -> bool:
    """Overloaded is an answer where it says when to come back, and `/readyz` says so of itself."""
    if answer.status == HTTPStatus.NOT_IMPLEMENTED:
        return UNKNOWN_CODING in request.headers  # RFC 9112, section 6.1
    if answer.status != HTTPStatus.SERVICE_UNAVAILABLE:
        return False
    return request.door.path == "/readyz" or bool(answer.header(b"retry-after"))


def _judge_refusal(request: Request, answer: Answer) -> list[str]:
    """Five shapes: problems of execd's own, FlowSphere's, LinkFlow's, those of React Flow editors, and none below the framework."""
    try:
        told = json.loads(answer.body)
    except ValueError:
        return [f"refusal that is no JSON: {answer.status} {answer.body[:200]!r}"]
    if not isinstance(told, dict):
        return [f"refusal that is no object: {answer.body[:200]!r}"]
    if answer.header(b"content-type").startswith("application/problem+json"):
        return _judge_problem(told)
    words = told.get("error") or told.get("detail") or told.get("message")
    if not words:
        return [f"refusal without a word: {answer.body[:200]!r}"]
    path = request.door.path
    if path.startswith(FLOWSPHERE) and not path.startswith(NATIVE) and told.get("success") is not False:
        return [f"refusal in another shape than its door's: {answer.body[:200]!r}"]
    return []


def _judge_problem(told: dict[str, Any]) -> list[str]:
    found = []
    if not (told.get("code") and told.get("detail")):
        found.append(f"problem without code or detail: {told}"[:300])
    faults = told.get("errors", [])
    if any(not fault.keys() >= FIELDS or not fault["accepted"] for fault in faults):
        found.append(f"fault without a field or what is accepted: {faults}"[:400])
    if (
        told.get("code") == "invalid_request"
        and not faults
        and not any(word in str(told.get("detail")) for word in ("accepted", "use `"))
    ):
        found.append(f"refusal that says neither the field nor what is accepted: {told.get('detail')}"[:300])
    return found
