"""The way out of an engine that has none: every call is refused, and nothing is sent."""

from __future__ import annotations

import trio

from execd.ports.http_caller import HttpAnswer, HttpCallError, HttpRequest
from execd.ports.llm import LlmAnswer, LlmError, LlmRequest, OnDelta

_MESSAGE = "this engine makes no calls to the outside"


class NoWayOut:
    """Implements `HttpCaller` and `LlmClient`."""

    async def call(self, request: HttpRequest) -> HttpAnswer:
        """See `HttpCaller.call`."""
        await trio.lowlevel.checkpoint()
        raise HttpCallError(_MESSAGE, code="private_address")

    async def complete(self, request: LlmRequest, on_delta: OnDelta) -> LlmAnswer:
        """See `LlmClient.complete`."""
        await trio.lowlevel.checkpoint()
        raise LlmError(_MESSAGE, code="private_address")
