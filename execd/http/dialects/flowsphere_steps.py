"""Steps of a flow as FlowSphere's clients read them: objects with their keys in its order, safe for its page. Pure.

The page puts some texts into its markup as they are, and hangs on some records; what would do that is left out here: of a
substitution only the highlighting is lost. Numbers are written as JavaScript writes them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import msgspec
from msgspec import UNSET

from execd.core.flows.configs import merge_node, prompts_of, title_of
from execd.core.flows.js_values import is_truthy, js_text
from execd.core.flows.validator import METHODS

MAX_LEAN_CHARS = 2000
"""Of each text in a step of a log that has no room: a reason to skip quotes what it looked at."""
_EMPTY = msgspec.Raw(b"{}")
_FLOAT = re.compile(rb"\d\.0[,}\]]|\d[eE][+-]?\d")
"""May be in what is written a number that JavaScript writes in another way; also in texts, where looking does no harm."""
_MARKUP = re.compile(r"[<>&\"'`]")
_NO_METHOD = re.compile(r"[^A-Za-z-]")
_PHRASES = {413: "Payload Too Large", 414: "URI Too Long", 416: "Range Not Satisfiable", 422: "Unprocessable Entity"}
"""As Node has them; Python's differ from version to version."""


class ShownRequest(msgspec.Struct, frozen=True):
    """A request as the journal has it; what is only handed on is not read."""

    method: Any = UNSET
    url: Any = UNSET
    headers: msgspec.Raw = _EMPTY
    body: msgspec.Raw = _EMPTY
    truncated: bool = False


class ShownResponse(msgspec.Struct, frozen=True):
    """A response as the journal has it."""

    status: int
    headers: msgspec.Raw = _EMPTY
    body: msgspec.Raw = msgspec.Raw(b"null")
    truncated: bool = False


class StepRecord(msgspec.Struct, frozen=True):
    """What is kept of a step (execd/core/flows/endings.py)."""

    request: ShownRequest
    substitutions: tuple[dict[str, Any], ...] = ()
    response: ShownResponse | None = None
    validations: tuple[dict[str, Any], ...] = ()
    duration: float = 0.0
    unknown: tuple[str, ...] = ()
    substitutions_left_out: int = 0
    cookies: tuple[Any, ...] = ()
    """What the step was told to keep, where its config asks for that."""


class StepHead:
    """What a config says of one step, before anything in it is replaced. Immutable.

    Args:
        number: from 1.
    """

    def __init__(self, number: int, node: Mapping[str, Any], config: Mapping[str, Any]) -> None:
        merged = merge_node(node, config)
        self.number = number
        self.title = title_of(merged)
        self.url = shown_text(merged.get("url", UNSET))
        self.method = shown_method(merged.get("method", UNSET))
        self.launch = node.get("launchBrowser")
        self.prompts = prompts_of(node)
        self._merged = merged

    def names(self) -> dict[str, Any]:
        """Give what every object of the step begins with; `name` only where it has one."""
        found = {name: self._merged[name] for name in ("id", "name") if self._merged.get(name) is not None}
        return {"step": self.number, **{name: shown_text(value) for name, value in found.items()}}

    def line(self, request: ShownRequest | None = None) -> dict[str, Any]:
        """Give its names, method and url: as they were sent, where a request was made."""
        if request is None:
            return {**self.names(), **_without_missing({"method": self.method, "url": self.url})}
        url = shown_text(request.url)
        sent = {"method": shown_method(request.method), "url": url if url is UNSET else url.replace('"', "%22")}
        return {**self.names(), **_without_missing(sent)}

    def raw_request(self) -> dict[str, Any]:
        """Give the request as it is written, of a step that never came to make one."""
        return {"headers": self._merged.get("headers") or {}, "body": self._merged.get("body") or {}}


def completed_step(head: StepHead, record: StepRecord) -> dict[str, Any]:
    """Give a step that succeeded."""
    found = {
        **head.line(record.request),
        "request": _request(record.request),
        "response": response_of(record),
        "substitutions": shown_substitutions(record),
        "validations": shown_validations(record.validations),
        "duration": record.duration,
        "status": "completed",
    }
    return found | ({"launchBrowser": head.launch} if is_truthy(head.launch) else {}) | _own_keys(record)


def skipped_step(head: StepHead, reason: str) -> dict[str, Any]:
    """Give a step that did not run."""
    return {**head.line(), "status": "skipped", "skipReason": reason}


def failed_step(head: StepHead, record: StepRecord | None, message: str, *, duration_s: float) -> dict[str, Any]:
    """Give a step that failed, with what was sent, as far as it came."""
    found = {
        **head.line(None if record is None else record.request),
        "request": head.raw_request() if record is None else _request(record.request),
        "substitutions": [] if record is None else shown_substitutions(record),
        "status": "failed",
        "error": message,
        "duration": round(duration_s, 3),
    }
    if record is not None and record.response is not None:
        found |= {"response": response_of(record), "validations": shown_validations(record.validations)}
    return found | ({} if record is None else _own_keys(record))


def lean_step(step: Mapping[str, Any]) -> dict[str, Any]:
    """Give a step without what may be large in it, for a log that has no room for more."""
    found = {**step, "request": {"headers": {}, "body": {}, "truncated": True}, "substitutions": []}
    if "response" in step:
        found["response"] = {**step["response"], "headers": {}, "body": None, "truncated": True}
        found["validations"] = []
    return {key: _head_of(found[key]) for key in step}


def _head_of(value: Any) -> Any:
    return value[:MAX_LEAN_CHARS] if isinstance(value, str) else value


def cli_step(step: Mapping[str, Any]) -> dict[str, Any]:
    """Give a step as logs of the command line have it."""
    if step["status"] == "skipped":
        return {**{key: value for key, value in step.items() if key != "skipReason"}, "skip_reason": step["skipReason"]}
    if step["status"] == "failed":
        kept = {key: step[key] for key in step if key not in {"status", "error", "duration", "response", "validations"}}
        return {**kept, "error": step["error"], "status": "failed"}
    return {key: value for key, value in step.items() if key not in {"validations", "launchBrowser"}}


def _own_keys(record: StepRecord) -> dict[str, Any]:
    """What FlowSphere does not have: placeholders that named nothing and were sent as they are written, and how many records of
    substitutions there was no room for."""
    left_out = record.substitutions_left_out
    found: dict[str, Any] = {"unknown": record.unknown} if record.unknown else {}
    return found | ({"substitutionsLeftOut": left_out} if left_out else {})


def _request(request: ShownRequest) -> dict[str, Any]:
    found: dict[str, Any] = {"headers": request.headers, "body": request.body}
    return found | ({"truncated": True} if request.truncated else {})


def response_of(record: StepRecord) -> dict[str, Any] | None:
    """Give a response with the phrase its status stands for, not the one the server sent."""
    response = record.response
    if response is None:
        return None
    found: dict[str, Any] = {"status": response.status, "statusText": phrase_of(response.status)}
    found |= {"headers": response.headers, "body": response.body}
    return found | ({"truncated": True} if response.truncated else {})


def phrase_of(status: int) -> str:
    """Give the standard reason phrase; empty for a status nobody defined."""
    try:
        return _PHRASES.get(status) or HTTPStatus(status).phrase
    except ValueError:
        return ""


def shown_method(method: Any) -> Any:
    """Give a method as it is written; of one that is none, what could not be markup."""
    if method is UNSET or (isinstance(method, str) and method.upper() in METHODS):
        return method
    return _NO_METHOD.sub("", js_text(method))[:20]


def shown_text(value: Any) -> Any:
    """Give a text: the page escapes texts and nothing else."""
    return value if value is UNSET else js_text(value)


def shown_substitutions(record: StepRecord) -> list[dict[str, Any]]:
    """Leave out what the page would hang on (a value that is an empty text) or run (`<` in a value; with any record at all, a
    request that has a `<span` in it already)."""
    request = record.request
    if b"<span" in bytes(request.headers) or b"<span" in bytes(request.body):
        return []
    return [dict(each) for each in record.substitutions if _is_harmless(js_text(each.get("value", UNSET)))]


def _is_harmless(text: str) -> bool:
    return text != "" and "<" not in text


def shown_validations(found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Give what checks found; the page shows `expected` and `actual` as they are."""
    shown = []
    for each in found:
        harmless = {name: _harmless(each[name]) for name in ("expected", "actual") if name in each}
        shown.append({**each, **harmless})
    return shown


def _harmless(value: Any) -> Any:
    text = js_text(value)
    return value if isinstance(value, bool | int | float) or not _MARKUP.search(text) else None


def _without_missing(table: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if value is not UNSET}


def write_json(value: Any) -> bytes:
    """Write JSON as `JSON.stringify` does: `1.0` is `1`, and `1e21` is `1e+21`."""
    data = msgspec.json.encode(value)
    if _FLOAT.search(data) is None:
        return data
    return msgspec.json.encode(_with_js_numbers(msgspec.json.decode(data)))


def _with_js_numbers(value: Any) -> Any:
    match value:
        case float():
            return msgspec.Raw(js_text(value).encode())
        case dict():
            return {key: _with_js_numbers(item) for key, item in value.items()}
        case list():
            return [_with_js_numbers(item) for item in value]
    return value
