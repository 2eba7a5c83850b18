"""Why a request got no answer, in the words clients of flows know."""

from __future__ import annotations

import re

from execd.core.calls import CallFailure
from execd.core.flows.js_values import js_text

INVALID_URL = "Invalid URL"
TOO_MANY_REDIRECTS = "Maximum number of redirects exceeded"
NO_ANSWER = "socket hang up"
CUT_OFF = "stream has been aborted"
_SCHEME = re.compile(r"[ ]*([A-Za-z][A-Za-z0-9+.-]*:)")


def url_fault(url: str) -> str | None:
    """Say why nothing can be sent there; None if something may. Whether it is there is the caller's to see."""
    found = _SCHEME.match(url)
    if found is None:
        return INVALID_URL
    scheme = found[1].lower()
    return None if scheme in {"http:", "https:"} else f"Unsupported protocol {scheme}"


def error_text(failure: CallFailure, *, timeout_s: float) -> str:
    """Say what went wrong. What has no word there is said in execd's own."""
    errno, endpoint = failure.details.get("errno"), failure.details.get("endpoint", "")
    match failure.code:
        case "timeout":
            return CUT_OFF if failure.had_head else f"Request timeout after {js_text(timeout_s)}s"
        case "connect" if errno is not None:
            prefix = "Network error: " if errno == "ECONNREFUSED" else ""
            return f"{prefix}connect {errno} {endpoint.replace('[', '').replace(']', '')}"
        case "dns":
            errno = errno or "ENOTFOUND"
            prefix = "Network error: " if errno == "ENOTFOUND" else ""
            return f"{prefix}getaddrinfo {errno} {endpoint.rpartition(':')[0]}"
        case "redirect_loop":
            return TOO_MANY_REDIRECTS
        case "invalid_url":
            return INVALID_URL
        case "protocol" if failure.retryable:
            return CUT_OFF if failure.had_head else NO_ANSWER
    return failure.message
