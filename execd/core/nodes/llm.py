"""`llm`: asks a language model behind an OpenAI-compatible API and streams what it says."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from execd.core.calls import LlmCall
from execd.core.errors import ExecdError
from execd.core.fields import Fields, Range, describe, text_fault
from execd.core.nodes.http_call import MAX_URL_CHARS, make_url, read_url
from execd.core.nodes.kinds import Beginning, Calls, NodeType, Reading, as_text, failure, kind_of_value

MAX_TIMEOUT_S = 3600.0
MAX_PROMPT_CHARS = 8 * 1024 * 1024
"""Longer than any model reads."""
MAX_MESSAGES = 10_000
MAX_TOKENS = 10_000_000
_MESSAGES = "a list of {role, content}, or an expression that gives one"
_FORMATS = '"text", "json", or an object as the API has it'
_KEY = "the key, or an expression that gives it"


class LlmSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Exactly one of `prompt` and `messages` is set."""

    base_url: str
    """Like `https://api.openai.com/v1`."""
    api_key: str | None = None
    model: str
    prompt: str | None = None
    messages: Any = None
    system: str | None = None
    """Goes before the prompt or the messages."""
    temperature: float | None = None
    max_tokens: int | None = None
    response_format: Any = None
    """`text`, `json`, or what the API takes; with JSON of any kind, the answer is read as such."""
    timeout_s: float = 300.0
    """For the whole answer."""


class LlmType(NodeType[LlmSpec]):
    name = "llm"
    spec_type = LlmSpec
    fields = LlmSpec.__struct_fields__
    takes_place = True

    def read(self, fields: Fields, reading: Reading) -> LlmSpec:
        if fields.has("prompt") == fields.has("messages"):
            found = "has both prompt and messages" if fields.has("prompt") else "asks nothing"
            fields.fault("", found, "one of prompt, messages")
        return LlmSpec(
            base_url=read_url(fields, "base_url"),
            api_key=fields.text("api_key", max_chars=MAX_URL_CHARS, accepted=_KEY),
            model=fields.required_text("model", max_chars=1000, accepted="the name of a model"),
            prompt=fields.text("prompt", max_chars=MAX_PROMPT_CHARS, accepted="the question"),
            messages=_read_messages(fields),
            system=fields.text("system", max_chars=MAX_PROMPT_CHARS, accepted="instructions for the model"),
            temperature=_read_temperature(fields),
            max_tokens=fields.integer("max_tokens", Range(1, MAX_TOKENS, unit="tokens"), default=0) or None,
            response_format=_read_format(fields),
            timeout_s=fields.number("timeout_s", Range(0.1, MAX_TIMEOUT_S, unit="seconds"), default=300.0),
        )

    def templated(self, spec: LlmSpec) -> Any:
        return {name: getattr(spec, name) for name in ("base_url", "api_key", "model", "prompt", "messages", "system")}

    def begin(self, spec: LlmSpec, values: Any, at: datetime) -> Beginning:
        try:
            url = make_url("base_url", values["base_url"])
        except ExecdError as error:
            return failure("llm:request", error.message)
        for name in ("api_key", "model"):
            value = values[name]
            if value is not None and (not isinstance(value, str) or text_fault(value, max_chars=MAX_URL_CHARS)):
                return failure("llm:request", f"`{name}` gave {kind_of_value(value)}; it must give text of one line.")
        messages = _messages(values)
        if messages is None:
            given = kind_of_value(values["messages"])
            return failure("llm:request", f"`messages` gave {given}; it must give a list of {{role, content}}.")
        call = LlmCall(
            base_url=url,
            api_key=values["api_key"] or None,
            model=values["model"] or "",
            messages=messages,
            temperature=spec.temperature,
            max_tokens=spec.max_tokens,
            response_format=_format(spec.response_format),
            timeout_s=spec.timeout_s,
        )
        return Calls(call)


def _messages(values: Mapping[str, Any]) -> tuple[dict[str, Any], ...] | None:
    """Give what is said to the model; None where an expression gave something else."""
    if values["prompt"] is not None:
        given: Any = [{"role": "user", "content": as_text(values["prompt"])}]
    else:
        given = values["messages"]
    if not isinstance(given, list) or not all(isinstance(message, Mapping) for message in given):
        return None
    system = [] if values["system"] is None else [{"role": "system", "content": as_text(values["system"])}]
    return (*system, *map(dict, given))


def _format(value: Any) -> dict[str, Any] | None:
    if isinstance(value, dict):
        return value
    return {"type": "json_object"} if value == "json" else None


def _read_messages(fields: Fields) -> Any:
    value = fields.raw("messages")
    if isinstance(value, str) and "{{" in value:
        return value
    items = fields.items("messages", max_count=MAX_MESSAGES, accepted=_MESSAGES)
    if isinstance(value, list) and not value:
        fields.fault("messages", "is empty", _MESSAGES)
    for index, item in enumerate(items):
        if not isinstance(item, Mapping) or not isinstance(item.get("role"), str):
            fields.fault(f"messages[{index}]", describe(item), "{role, content}")
    return list(items) if items else None


def _read_temperature(fields: Fields) -> float | None:
    """0 is a temperature, and no temperature is another thing."""
    return fields.number("temperature", Range(0.0, 2.0), default=0.0) if fields.has("temperature") else None


def _read_format(fields: Fields) -> Any:
    value = fields.raw("response_format")
    if value not in (None, "text", "json") and not (isinstance(value, dict) and isinstance(value.get("type"), str)):
        fields.fault("response_format", describe(value), _FORMATS)
    return value
