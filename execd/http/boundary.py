"""The outermost layer of the application: what must hold for every request, whatever quart makes of it.

Normalises the path, so that no odd request target crashes the framework; owns what a request holds (subscriptions), so
that it is given back on every way out; counts open streams; and writes the one canonical line per request.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import structlog
import trio

from execd.core.codec import encode_json
from execd.http.direct import SCOPE_KEY, DirectWriter
from execd.http.front import Front
from execd.http.problems import MEDIA_TYPE

log = structlog.get_logger()

RESOURCES = "execd.resources"
"""Where the request's exit stack stands in the ASGI scope."""
RELEASE_DEADLINE_S = 5.0
"""Giving back is plain calls; the deadline is for the day it is not."""
MAX_LOGGED_PATH_CHARS = 200
_ABSOLUTE_FORM = re.compile(r"[Hh][Tt][Tt][Pp][Ss]?://[^/?#]+(/.*)?", re.DOTALL)
_SILENT_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked every few seconds by machines: logged at debug."""

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
AsgiApp = Callable[[Any, Any, Any], Awaitable[None]]


def resources_of(scope: Any) -> AsyncExitStack:
    """Give the stack whose contents are released when the request is over."""
    stack = scope[RESOURCES]
    assert isinstance(stack, AsyncExitStack)
    return stack


class Boundary:
    """An ASGI application around another."""

    def __init__(self, app: AsgiApp, front: Front) -> None:
        self._app = app
        self._front = front

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        path = _plain_path(scope["path"])
        if path is None:
            await _refuse_target(scope, send)
            return
        await self._serve(scope | {"path": path}, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        seen = _Seen(send)
        began_at = trio.current_time()
        resources = scope[RESOURCES] = AsyncExitStack()
        try:
            await self._app(scope, receive, seen.send)
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + RELEASE_DEADLINE_S):
                await resources.aclose()
            self._note(scope, seen, duration_s=trio.current_time() - began_at)

    def _note(self, scope: Scope, seen: _Seen, *, duration_s: float) -> None:
        self._front.counters.add(_counter_of(scope, seen.status))
        write = log.debug if scope["path"] in _SILENT_PATHS else log.info
        write(
            "request",
            method=scope.get("method", "WEBSOCKET"),
            path=scope["path"][:MAX_LOGGED_PATH_CHARS],
            status=seen.status,
            duration_ms=round(duration_s * 1000, 1),
            sent_bytes=seen.sent_bytes + _bytes_past_us(scope),
        )


def _counter_of(scope: Scope, status: int) -> str:
    if scope["type"] == "websocket":
        return "execd_http_sockets_total"
    return f"execd_http_responses_{status // 100}xx_total" if status else "execd_http_requests_abandoned_total"


def _bytes_past_us(scope: Any) -> int:
    """Give what a live stream wrote to its socket without ASGI (execd/http/direct.py)."""
    writer = scope.get("state", {}).get(SCOPE_KEY)
    return writer.taken_bytes if isinstance(writer, DirectWriter) else 0


class _Seen:
    """What of a response went by."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0
        """0: none was sent, the client had gone."""
        self.sent_bytes = 0

    async def send(self, message: Any) -> None:
        match message["type"]:
            case "http.response.body":
                self.sent_bytes += len(message.get("body", b""))
            case "http.response.start" | "websocket.http.response.start":
                self.status = message["status"]
            case "websocket.accept":
                self.status = 101
            case "websocket.close":
                self.status = message["code"]
        await self._send(message)


def _plain_path(path: str) -> str | None:
    """Give the path of an origin-form or absolute-form target (RFC 9112, section 3.2); None for the other forms."""
    if path.startswith("/"):
        return path
    absolute = _ABSOLUTE_FORM.fullmatch(path)
    return None if absolute is None else absolute.group(1) or "/"


async def _refuse_target(scope: Scope, send: Send) -> None:
    """Answer below the framework, which cannot hold such a path."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    body = encode_json(
        {
            "type": "urn:execd:problem:invalid_request",
            "title": "Invalid request",
            "status": 400,
            "code": "invalid_request",
            "detail": "the request target is no path; accepted: a path that begins with /",
            "retryable": False,
        }
    )
    headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 400, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
