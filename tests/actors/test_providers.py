"""Models of configured providers: the key is added after the journal was written, and seen nowhere."""

from __future__ import annotations

from dataclasses import replace

import pytest
from trio.testing import MockClock

from execd.actors.providers import Provider, complete_call
from execd.core.calls import CallEnd, LlmCall
from execd.core.events import ResultStored, Status
from execd.core.requests import parse_request
from execd.ports import LlmAnswer, LlmRequest, OnDelta
from tests.actors.test_calls import KEY, TOOLS, no_script
from tests.support.engines import open_world
from tests.support.flows import drawn
from tests.support.scripted_callers import ScriptedCallers, said

OPENAI = Provider(base_url="https://api.openai.com/v1", model="big")
GEMINI = Provider(base_url="https://gemini.example/v1", model="quick", api_key=KEY)
PROVIDERS = {"openai": OPENAI, "gemini": GEMINI}


def call(provider: str | None, **changes: str) -> LlmCall:
    return LlmCall(base_url="", provider=provider, model="", messages=(), timeout_s=1.0, **changes)


def test_a_call_gets_the_address_the_key_and_the_model_of_its_provider() -> None:
    """What the call says itself wins; without a name the first with a key is asked."""
    for name in ("gemini", "any"):
        found = complete_call(call(name), PROVIDERS)
        assert isinstance(found, LlmCall)
        assert (found.base_url, found.api_key, found.model) == (GEMINI.base_url, KEY, "quick")
    own = complete_call(call("openai", api_key="mine"), PROVIDERS)
    assert isinstance(own, LlmCall)
    assert (own.base_url, own.api_key, own.model) == (OPENAI.base_url, "mine", "big")
    assert complete_call(call(None), {}) == call(None)


@pytest.mark.parametrize(
    ("name", "words"), [("openai", "providers.openai.api_key"), ("any", "providers.openai.api_key"), ("x", "'x'")]
)
def test_a_provider_without_a_key_is_a_failure_that_says_what_to_set(name: str, words: str) -> None:
    """Never an answer that was not given."""
    end = complete_call(call(name), {"openai": OPENAI})
    assert isinstance(end, CallEnd)
    assert end.outcome.failure is not None
    assert end.outcome.failure.code == "llm:not_configured"
    assert words in end.outcome.failure.message
    assert KEY not in repr(GEMINI)


async def test_a_flow_asks_the_configured_model_and_its_journal_never_has_the_key(autojump_clock: MockClock) -> None:
    """Not even where the model quotes it."""

    async def quote(request: LlmRequest, on_delta: OnDelta) -> LlmAnswer:
        assert request.api_key == KEY
        await on_delta(f"your key is {KEY}")
        return said(f"your key is {KEY}")

    scripted = ScriptedCallers(speak=quote)
    callers = replace(scripted.callers, providers=PROVIDERS)
    spec = parse_request({"kind": "reactflow", **drawn(("a", "ai-gemini", {"prompt": "hi"}))}, TOOLS).spec
    async with open_world(no_script, callers=callers) as world:
        events = await world.watch(await world.submit(spec=spec))
        record = await world.engine.find(events[0].execution_id)

    result = events[-1].data
    assert isinstance(result, ResultStored)
    assert result.status is Status.COMPLETED
    assert result.outputs["a"]["text"] == "your key is ***"
    assert KEY not in repr(events)
    assert record is not None
    assert KEY.encode() not in record.spec
