"""The world outside one life: servers and models that answer what the plan says, and leave evidence of what was asked."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

import trio

from execd.actors.call_runner import Callers
from execd.core.events import Event, NodeCompleted, NodeOutput, NodeStarted
from execd.ports import HttpAnswer, HttpCallError, HttpRequest, LlmAnswer, LlmError, LlmRequest, OnDelta
from tests.simulation.evidence import Call, Evidence
from tests.simulation.hidden import hide
from tests.simulation.plan import CallPlan
from tests.simulation.programs import SimulatedRunner
from tests.support.scripted_callers import ok, said

KEY_HEADER, KEY_MARK = "X-Key", "key: "
"""How a request names the key it has: in a header, or at the end of a question to a model."""
_INDEX = re.compile(r"\[\d+\]")


@dataclass(frozen=True)
class SimulatedCallers:
    """Both ways out of one life. When its process is killed or frozen, nothing of it goes out any more."""

    life: int
    machine: SimulatedRunner
    plans: Mapping[str, Sequence[CallPlan]]
    """By what the address says."""
    check: Callable[[str], None]
    """Judges, at the instant, whether a call may be made."""
    evidence: Evidence

    @property
    def callers(self) -> Callers:
        return Callers(http=self, llm=self)

    async def call(self, request: HttpRequest) -> HttpAnswer:
        parts = urlsplit(request.url)
        key = next((value for name, value in request.headers if name == KEY_HEADER), None)
        with await self._ask(parts.path[1:], key=key) as (call, plan):
            call.method, call.query, call.body = request.method, dict(parse_qsl(parts.query)), request.body
            await trio.sleep(plan.after_s)
            if plan.is_broken:
                call.is_broken = True
                raise HttpCallError("the connection broke", code="protocol", was_sent=True)
            call.status = plan.status
            return ok(_answer(call, plan), status=plan.status)

    async def complete(self, request: LlmRequest, on_delta: OnDelta) -> LlmAnswer:
        key = request.messages[-1]["content"].partition(KEY_MARK)[2] or None
        with await self._ask(urlsplit(request.base_url).path[1:], key=key) as (call, plan):
            words = call.words.split(" ")
            for number, word in enumerate(words):
                await trio.sleep(plan.after_s / len(words))
                if plan.is_broken and number == len(words) // 2:
                    raise LlmError("the connection broke", code="cut_off", retryable=True)
                await on_delta(word if number == 0 else f" {word}")
            call.status = 200
            return said(call.words)

    async def _ask(self, path: str, *, key: str | None) -> AbstractContextManager[tuple[Call, CallPlan]]:
        """The side effect: from here on somebody else knows of it."""
        await self.machine.thawed.wait()
        if self.machine.is_dead:
            await trio.sleep_forever()
        self.check(path)
        number = sum(call.path == path for call in self.evidence.calls)
        plan = self.plans[path][number % len(self.plans[path])]
        words = f"{path} answers {number} times {'x ' * plan.pieces}{'' if key is None else f'to {key} '}end"
        call = Call(path=path, number=number, words=words, key=key, serial=len(self.evidence.calls) + 1)
        self.evidence.calls.append(call)
        self.evidence.note(f"outside/{self.life}", f"is asked {path} for time {number}")
        return self._while_open(call, plan)

    @contextmanager
    def _while_open(self, call: Call, plan: CallPlan) -> Iterator[tuple[Call, CallPlan]]:
        call.is_open = True
        self.machine.check_slots()
        try:
            yield call, plan
        finally:
            call.is_open = False
            self.evidence.count("call answered" if call.status else "call without an answer")


def path_of(label: str, node: str) -> str:
    """Give the address that a node of an execution asks: the same for every item of a `map`."""
    return f"{label}/{_INDEX.sub('', node)}"


def _answer(call: Call, plan: CallPlan) -> bytes:
    if not plan.is_json:
        return call.words.encode()
    return json.dumps({"serial": call.serial, "words": call.words, "key": call.key}).encode()


def check_calls(label: str, events: Sequence[Event], calls: Sequence[Call], secrets: Sequence[str]) -> Iterator[str]:
    """What a node gives was answered, once, to a call of its own; and what a model was heard to say, it said."""
    kinds = {event.node: event.data.type for event in events if isinstance(event.data, NodeStarted)}
    left = {hide(call.words, secrets): call for call in calls}
    heard: dict[tuple[str | None, int | None], str] = {}
    for event in events:
        key, path = (event.node, event.attempt), path_of(label, event.node or "")
        if isinstance(event.data, NodeOutput) and kinds.get(event.node) == "llm":
            heard[key] = heard.get(key, "") + event.data.delta
            if not any(call.path == path and hide(call.words, secrets).startswith(heard[key]) for call in calls):
                yield f"{event.node} was heard to say {heard[key]!r}, and nobody said it"
        if isinstance(event.data, NodeCompleted) and not event.data.pinned and kinds.get(event.node) in {"http", "llm"}:
            text = event.data.output["body" if kinds[event.node] == "http" else "text"]
            answer = left.pop(text, None)
            if answer is None or answer.path != path or not 200 <= answer.status < 400:
                yield f"{event.node} gave {text!r}, and was not answered that: {answer}"
            if kinds[event.node] == "llm" and heard.get(key) != text:
                yield f"{event.node} said {text!r}, and {heard.get(key)!r} was told"
