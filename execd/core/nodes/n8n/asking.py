"""`ai-*`: ask a language model of a configured provider, streaming what it says."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from execd.core.calls import LlmCall
from execd.core.errors import ExecdError
from execd.core.fields import Fields, text_fault
from execd.core.nodes.http_call import MAX_URL_CHARS, make_url
from execd.core.nodes.kinds import Beginning, Calls, Done, Fails, Reading, as_text, failure
from execd.core.nodes.n8n.kinds import ConfigError, FlowSpec, FlowType, Values, number_in, required_in, text_in

TIMEOUT_S = 60.0
OPENAI_TOKENS = 150
"""What `ai-openai` asks for where nothing is said, as the flows it comes from expect."""
MAX_TOKENS = 10_000_000
ANY_PROVIDER = "any"
"""Whichever is configured; see `Providers`."""
_LENGTHS = {"short": "50 to 100 words", "medium": "100 to 300 words", "long": "more than 300 words"}
_KINDS = {
    "caption": "a caption for social media",
    "ad_copy": "an advertisement",
    "blog_post": "a blog post",
    "seo_content": "a text for search engines",
}


class AskSpec(FlowSpec, frozen=True, kw_only=True, omit_defaults=True):
    provider: str = ANY_PROVIDER


class AskType(FlowType[AskSpec]):
    """`ai-openai` and `ai-gemini`: one prompt, one answer."""

    name = "ai-openai, ai-gemini"
    spec_type = AskSpec
    takes_place = True

    def read(self, fields: Fields, reading: Reading) -> AskSpec:
        provider = str(fields.raw("type")).removeprefix("ai-")
        return msgspec.structs.replace(super().read(fields, reading), provider=provider)

    def begin(self, spec: AskSpec, values: Values, at: datetime) -> Beginning:
        config = values.config
        limit = OPENAI_TOKENS if spec.provider == "openai" else None
        messages = [{"role": "user", "content": required_in(config, "prompt")}]
        if system := text_in(config, "system"):
            messages.insert(0, {"role": "system", "content": system})
        return ask(config, messages, provider=spec.provider, max_tokens=limit)

    def finish(self, spec: AskSpec, gave: Any, values: Callable[[], Any]) -> Done:
        return Done(answer_of(gave))


class ClassifySpec(FlowSpec, frozen=True, kw_only=True, omit_defaults=True):
    pass


class ClassifyType(FlowType[ClassifySpec]):
    """`ai-classify`: which of these categories a text belongs to; any other answer is a failure."""

    name = "ai-classify"
    spec_type = ClassifySpec
    takes_place = True

    def begin(self, spec: ClassifySpec, values: Values, at: datetime) -> Beginning:
        categories = _categories(values.config)
        told = "\n".join(f"- {category}" for category in categories)
        question = f"Which category does the text belong to? Answer with one of these and nothing else:\n{told}"
        messages = [
            {"role": "system", "content": question},
            {"role": "user", "content": required_in(values.config, "text")},
        ]
        return ask(values.config, messages, provider=_provider(values.config), temperature=0.0)

    def finish(self, spec: ClassifySpec, gave: Any, values: Callable[[], Any]) -> Done | Fails:
        categories = _categories(values().config)
        said = _plain(gave["text"])
        found = next((category for category in categories if _plain(category) == said), None)
        if found is None:
            message = f"The model's answer is none of the categories. It begins: {gave['text'][:200]}"
            return failure("llm:not_a_category", message, categories=categories)
        return Done({"category": found, "text": gave["text"], "model": gave["model"]})


class WriteSpec(FlowSpec, frozen=True, kw_only=True, omit_defaults=True):
    pass


class WriteType(FlowType[WriteSpec]):
    """`ai-content-writer`: a text about a topic."""

    name = "ai-content-writer"
    spec_type = WriteSpec
    takes_place = True

    def begin(self, spec: WriteSpec, values: Values, at: datetime) -> Beginning:
        config = values.config
        kind = text_in(config, "content_type", default="caption")
        length = text_in(config, "length", default="medium")
        prompt = (
            f"Write {_KINDS.get(kind, kind)} about: {required_in(config, 'topic')}\n"
            f"Tone: {text_in(config, 'tone', default='professional')}. Length: {_LENGTHS.get(length, length)}. "
            "Give the text alone."
        )
        return ask(config, [{"role": "user", "content": prompt}], provider=_provider(config))

    def finish(self, spec: WriteSpec, gave: Any, values: Callable[[], Any]) -> Done:
        return Done(answer_of(gave))


def ask(
    config: Mapping[str, Any],
    messages: list[dict[str, str]],
    *,
    provider: str,
    max_tokens: int | None = None,
    temperature: float | None = None,
) -> Beginning:
    """Ask what a config says; with a `base_url` of its own, it is asked there and nowhere else.

    Raises:
        ConfigError: a value is nothing to ask with.
    """
    base_url = text_in(config, "base_url")
    try:
        base_url = base_url and make_url("config.base_url", base_url)
    except ExecdError as error:
        return failure("llm:request", error.message)
    call = LlmCall(
        base_url=base_url,
        provider=None if base_url else provider,
        api_key=_line(config, "api_key") or None,
        model=_line(config, "model"),
        messages=tuple(messages),
        temperature=_temperature(config, default=temperature),
        max_tokens=_whole(config, "max_tokens") or max_tokens,
        timeout_s=TIMEOUT_S,
    )
    if base_url and not call.model:
        raise ConfigError("`config.model` is missing; with a base_url of its own, a node names its model")
    return Calls(call)


def answer_of(gave: Mapping[str, Any]) -> dict[str, Any]:
    """Give a model's answer under the names that templates of flows read."""
    usage = gave.get("usage") or {}
    answer = {"response": gave["text"], "text": gave["text"], "model": gave["model"]}
    answer |= {"tokens_used": usage.get("total_tokens"), "finish_reason": gave.get("finish_reason")}
    kept = {name: gave[name] for name in ("refusal", "truncated") if name in gave}
    return {name: value for name, value in answer.items() if value is not None} | kept


def _line(config: Mapping[str, Any], name: str) -> str:
    text = text_in(config, name)
    if text_fault(text, max_chars=MAX_URL_CHARS) is not None or "\n" in text:
        raise ConfigError(f"`config.{name}` must give text of one line")
    return text


def _temperature(config: Mapping[str, Any], *, default: float | None) -> float | None:
    value = number_in(config, "temperature")
    if value is not None and not 0 <= value <= 2:
        raise ConfigError("`config.temperature` must be a number from 0 to 2")
    return default if value is None else value


def _whole(config: Mapping[str, Any], name: str) -> int | None:
    value = number_in(config, name)
    if value is not None and not (value.is_integer() and 1 <= value <= MAX_TOKENS):
        raise ConfigError(f"`config.{name}` must be a whole number from 1 to {MAX_TOKENS}")
    return None if value is None else int(value)


def _provider(config: Mapping[str, Any]) -> str:
    return text_in(config, "provider", default=ANY_PROVIDER)


def _categories(config: Mapping[str, Any]) -> list[str]:
    """Read a list, or a text with commas. Raises ConfigError."""
    value = config.get("categories")
    named = value if isinstance(value, list) else text_in(config, "categories").split(",")
    found = [text for item in named if (text := as_text(item).strip())]
    if not found:
        raise ConfigError("`config.categories` is missing or empty")
    return found


def _plain(text: str) -> str:
    """Take off what models put around a word."""
    return re.sub(r"\s+", " ", text).strip(" \t\"'`*.-").casefold()
