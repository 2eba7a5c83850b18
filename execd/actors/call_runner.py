"""A call runner: the hand of a saga that makes one call to the outside for one attempt of one node.

Turns the call into a request, and whatever came of it into one `CallReturned`. Nothing is sent before
everything that announces the call is stored; the saga goes on meanwhile, so calls that begin together share a commit.
What a model says is told at once, and while the saga is busy or a moment has not passed, gathered.

Sends (blocking, up the ranks): signals to the saga. Never: a credential in a signal or a log.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

import msgspec
import trio

from execd.actors.announcements import wait_announced
from execd.actors.providers import Provider, complete_call
from execd.actors.requesting import CONNECT_S, LARGE_BODY_BYTES, fetch, make_call
from execd.core.calls import (
    Call,
    CallEnd,
    CallFailure,
    HttpCall,
    HttpResult,
    LlmCall,
    LlmResult,
    ReadCall,
    cancelled,
)
from execd.core.events import NodeId
from execd.core.http_answers import conclude_http
from execd.core.llm_answers import conclude_llm
from execd.core.masking import Mask, StreamMask
from execd.core.signals import CallReturned, DeltaArrived, Signal
from execd.mailbox import Reply, hand_over
from execd.ports import (
    HttpCaller,
    LlmAnswer,
    LlmClient,
    LlmError,
    LlmRequest,
    WriteOutcome,
)

DELTA_EVERY_S = 0.05
"""Twenty times a second a text grows smoothly enough for people; each time is an event in the journal."""
MAX_DELTA_CHARS = 16 * 1024
"""Of one event, so that it has at most 64 KiB, as a program's output; and what may be gathered before the model is kept waiting."""

Now = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class Callers:
    """The ways out that every saga of an engine uses."""

    http: HttpCaller
    llm: LlmClient
    providers: Mapping[str, Provider] = field(default_factory=dict)
    """Whose models a call may name, the preferred one first."""


class CallRunner:
    """One attempt, from its call to its end."""

    def __init__(
        self,
        call: Call,
        *,
        node: NodeId,
        attempt: int,
        callers: Callers,
        to_saga: trio.MemorySendChannel[Signal],
        now: Now,
    ) -> None:
        self._call = call
        self._node = node
        self._attempt = attempt
        self._callers = callers
        self._to_saga = to_saga
        self._now = now
        self._scope = trio.CancelScope()

    def stop(self) -> None:
        """Break it off; its end is told like any other."""
        self._scope.cancel()

    async def run(self, announced: Reply[WriteOutcome] | None) -> None:
        """Make the call and report its end.

        Args:
            announced: the write before which nothing may be sent; None when it is stored already.

        Cancellation: the connection is closed; nothing more is reported.
        """
        end = cancelled()
        with self._scope:
            await trio.lowlevel.checkpoint_if_cancelled()
            await wait_announced(announced)
            end = await self._perform()
        returned = CallReturned(at=self._now(), node=self._node, attempt=self._attempt, result=end)
        await hand_over(returned, self._to_saga)

    async def _perform(self) -> CallEnd:
        if isinstance(self._call, HttpCall):
            return await self._conclude(self._call, await fetch(self._callers.http, self._call))
        if isinstance(self._call, ReadCall):
            return await make_call(self._callers.http, self._call, now=self._now)
        call = complete_call(self._call, self._callers.providers)
        return call if isinstance(call, CallEnd) else conclude_llm(call, await self._ask(call))

    async def _conclude(self, call: HttpCall, result: HttpResult | CallFailure) -> CallEnd:
        """Read what came; a large answer beside the others' work, because that takes up to 0.2 s."""
        conclude = partial(conclude_http, call, result, at=self._now())
        if isinstance(result, CallFailure) or len(result.body) <= LARGE_BODY_BYTES:
            return conclude()
        return await trio.to_thread.run_sync(conclude)

    async def _ask(self, call: LlmCall) -> LlmResult | CallFailure:
        pieces = _Gathered(StreamMask(Mask(call.secrets)))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._tell, pieces)
            result = await self._complete(call, pieces)
            pieces.finish()
        return result

    async def _complete(self, call: LlmCall, pieces: _Gathered) -> LlmResult | CallFailure:
        try:
            answer = await self._callers.llm.complete(_to_llm_request(call), pieces.add)
        except LlmError as error:
            return CallFailure(
                code=error.code, message=error.message, retryable=error.retryable, retry_after_s=error.retry_after_s
            )
        return _to_llm_result(answer)

    async def _tell(self, pieces: _Gathered) -> None:
        """Tell what is there, then let a moment pass: few events of many words, and the first one at once."""
        while not pieces.is_over:
            await pieces.wait()
            while delta := pieces.take():
                arrived = DeltaArrived(at=self._now(), node=self._node, attempt=self._attempt, delta=delta)
                await self._to_saga.send(arrived)
                if len(delta) < MAX_DELTA_CHARS:
                    break  # what came meanwhile waits its turn
            with trio.move_on_after(DELTA_EVERY_S):
                await pieces.finished.wait()


class _Gathered:
    """What came and is not told yet. One teller; whoever adds waits while there is much."""

    def __init__(self, mask: StreamMask) -> None:
        self.finished = trio.Event()
        self._mask = mask
        self._text = ""
        self._news = trio.Event()
        self._room = trio.Event()

    @property
    def is_over(self) -> bool:
        return self.finished.is_set() and not self._text

    async def add(self, text: str) -> None:
        """Take a piece, and wait until there is room for more."""
        self._append(self._mask.feed(text))
        while len(self._text) > MAX_DELTA_CHARS:
            self._room = trio.Event()
            await self._room.wait()

    def finish(self) -> None:
        """Nothing more comes."""
        self._append(self._mask.finish())
        self.finished.set()
        self._news.set()

    async def wait(self) -> None:
        """Wait until there is something to tell, or nothing more to wait for."""
        await self._news.wait()

    def take(self) -> str:
        """Give the next piece of what is there; empty when nothing is."""
        taken, self._text = self._text[:MAX_DELTA_CHARS], self._text[MAX_DELTA_CHARS:]
        self._room.set()
        if not self._text and not self.finished.is_set():
            self._news = trio.Event()
        return taken

    def _append(self, text: str) -> None:
        self._text += text
        if text:
            self._news.set()


def _to_llm_request(call: LlmCall) -> LlmRequest:
    return LlmRequest(
        base_url=call.base_url,
        api_key=call.api_key,
        model=call.model,
        messages=call.messages,
        temperature=call.temperature,
        max_tokens=call.max_tokens,
        response_format=call.response_format,
        connect_s=min(CONNECT_S, call.timeout_s),
        read_s=call.timeout_s,
        total_s=call.timeout_s,
    )


def _to_llm_result(answer: LlmAnswer) -> LlmResult:
    usage: Mapping[str, Any] | None = None if answer.usage is None else msgspec.structs.asdict(answer.usage)
    return LlmResult(
        text=answer.text,
        finish_reason=answer.finish_reason,
        model=answer.model,
        usage=None if usage is None else dict(usage),
        refusal=answer.refusal,
    )
