"""Ways out that do what the test says, on any clock: fakes of `ports.HttpCaller` and `ports.LlmClient` for actors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio

from execd.actors.call_runner import Callers
from execd.ports import HttpAnswer, HttpRequest, LlmAnswer, LlmRequest, OnDelta, Timings

Serve = Callable[[HttpRequest], Awaitable[HttpAnswer]]
Speak = Callable[[LlmRequest, OnDelta], Awaitable[LlmAnswer]]


@dataclass(frozen=True)
class Made:
    """A call that was made."""

    request: HttpRequest | LlmRequest
    at: float
    """On trio's clock."""


def ok(body: bytes = b"ok", *, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> HttpAnswer:
    """Give an answer."""
    return HttpAnswer(
        status=status,
        reason="",
        headers=headers,
        body=body,
        seen_bytes=len(body),
        url="http://example.com/",
        timings=Timings(first_byte_ms=1.0, total_ms=2.0),
        http_version="1.1",
    )


def said(text: str) -> LlmAnswer:
    """Give the whole of what a model said."""
    return LlmAnswer(text=text, finish_reason="stop", model="m", usage=None)


async def _nothing(request: HttpRequest) -> HttpAnswer:
    await trio.lowlevel.checkpoint()
    return ok()


async def _silence(request: LlmRequest, on_delta: OnDelta) -> LlmAnswer:
    await trio.lowlevel.checkpoint()
    return said("")


class ScriptedCallers:
    """Both ports at once; `made` lists every call in order: the world's side effects."""

    def __init__(self, *, serve: Serve = _nothing, speak: Speak = _silence) -> None:
        self._serve = serve
        self._speak = speak
        self.made: list[Made] = []
        self.open_count = 0
        """Calls under way."""

    @property
    def callers(self) -> Callers:
        return Callers(http=self, llm=self)

    async def call(self, request: HttpRequest) -> HttpAnswer:
        self.made.append(Made(request, trio.current_time()))
        self.open_count += 1
        try:
            return await self._serve(request)
        finally:
            self.open_count -= 1

    async def complete(self, request: LlmRequest, on_delta: OnDelta) -> LlmAnswer:
        self.made.append(Made(request, trio.current_time()))
        self.open_count += 1
        try:
            return await self._speak(request, on_delta)
        finally:
            self.open_count -= 1
