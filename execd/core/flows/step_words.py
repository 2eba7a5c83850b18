"""What is kept of a flow's step, in words for logs and reports: what was requested, what came, which checks held. Pure.

No value of a check that held is given: it may be a token.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from execd.core.event_parts import Failure
from execd.core.flows.compiling import ROW_END, ROWS, VERDICT
from execd.core.node_book import NodeEntry
from execd.core.printing import printable, shorten, shown_value

SHOWN_BODY_CHARS = 500
"""Of one reason, and of the answer to a step that failed; `execd show ID --json` has the whole."""
SHOWN_URL_CHARS = 200
_MESSAGES = re.compile(r"; (?=HTTP status validation failed: |Validation failed: )")


def is_step(entry: NodeEntry) -> bool:
    """Whether a node is one of the config's steps; those that never began have no type."""
    if entry.type:
        return entry.type == "flow_step"
    inner = entry.id.rpartition("/")[2]
    return not inner.endswith(".prompts") and entry.id not in {ROWS, VERDICT} and inner != ROW_END


def was_cut_short(error: Failure) -> bool:
    """Whether it did not fail by itself: somebody, or the end of the whole, stopped it."""
    return error.details.get("group") == "cancelled"


def record_of(error: Failure) -> Mapping[str, Any]:
    """Give what is kept of a failed step: the request, and as far as it came the response."""
    return table(error.details.get("step"))


def request_line(record: Mapping[str, Any]) -> str:
    """Give the method and the url that were requested."""
    request = table(record.get("request"))
    return printable(shorten(f"{plain(request.get('method', ''))} {plain(request.get('url', ''))}", SHOWN_URL_CHARS))


def response_line(record: Mapping[str, Any]) -> str:
    """Give the status of the answer; empty where there was none."""
    response = table(record.get("response"))
    return printable(f"{response.get('status', '')} {response.get('statusText', '')}".strip())


def checks_of(record: Mapping[str, Any], *, passed: bool) -> list[str]:
    """Name the checks that held, or did not."""
    validations = record.get("validations")
    rows = [table(each) for each in validations] if isinstance(validations, list) else []
    return [_check(row) for row in rows if bool(row.get("passed")) is passed]


def messages_of(error: Failure) -> list[str]:
    """Give each reason of a failure by itself."""
    return [printable(shorten(message, SHOWN_BODY_CHARS)) for message in _MESSAGES.split(error.message)]


def table(value: Any) -> Mapping[str, Any]:
    """Give an object; of anything else an empty one: another execd may have written it."""
    return value if isinstance(value, Mapping) else {}


def plain(value: Any) -> str:
    """Give a text as it is, anything else as JSON."""
    return value if isinstance(value, str) else shown_value(value)


def has_failed(entry: NodeEntry) -> bool:
    """Whether a step failed by itself."""
    return entry.status == "failed" and not (entry.error is not None and was_cut_short(entry.error))


def _check(row: Mapping[str, Any]) -> str:
    match row.get("type"):
        case "httpStatusCode":
            return f"status {row.get('expected')}"
        case "jsonpath":
            return str(row.get("path", ""))
        case "header":
            return f"header {row.get('name', '')}"
        case "responseTimeMs":
            return "response time"
    return str(row.get("type", "check"))
