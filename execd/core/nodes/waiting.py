"""`wait` and `input`: let time pass, or ask a person; neither takes a place while it does."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from execd.core.event_parts import Prompt
from execd.core.fields import Fields, Range
from execd.core.moments import later
from execd.core.nodes.kinds import Asks, Beginning, NodeType, Reading, Waits, as_text, failure, kind_of_value

MAX_PROMPTS = 50
MAX_TEXT_CHARS = 10_000
_PROMPTS = "a list of {key, label, choices, default, secret}"
_PROMPT_FIELDS = ("key", "label", "choices", "default", "secret")
_MOMENT = "a moment such as 2026-01-31T09:00:00Z, or an expression that gives one"
MAX_WAIT_S = 366 * 24 * 3600.0
"""A year: whoever waits longer wants a schedule."""


class WaitSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Exactly one of the two is set."""

    seconds: float | str | None = None
    """From its start, or an expression that gives them."""
    until: str | None = None
    """A moment in RFC 3339, or an expression that gives one; a moment that has passed is no wait at all."""


class WaitType(NodeType[WaitSpec]):
    name = "wait"
    spec_type = WaitSpec
    fields = ("seconds", "until")

    def read(self, fields: Fields, reading: Reading) -> WaitSpec:
        seconds = fields.raw("seconds")
        if fields.has("seconds") == fields.has("until"):
            fields.fault(
                "",
                "has both seconds and until" if fields.has("until") else "says not how long",
                "one of seconds, until",
            )
        if seconds is not None and not isinstance(seconds, str):
            seconds = fields.number("seconds", Range(0.0, MAX_WAIT_S, unit="seconds"), default=0.0)
        return WaitSpec(seconds=seconds, until=fields.text("until", max_chars=10_000, accepted=_MOMENT))

    def templated(self, spec: WaitSpec) -> Any:
        return {"seconds": spec.seconds, "until": spec.until}

    def begin(self, spec: WaitSpec, values: Any, at: datetime) -> Beginning:
        if values["until"] is not None:
            return _until(values["until"])
        seconds = values["seconds"]
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= MAX_WAIT_S:
            return failure(
                "wait", f"`seconds` gave {kind_of_value(seconds)}; it must be a number from 0 to {MAX_WAIT_S:.0f}."
            )
        return Waits(until=later(at, seconds), is_moment=False)


def _until(text: Any) -> Beginning:
    try:
        moment = datetime.fromisoformat(text)
        until = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (TypeError, ValueError, OverflowError):
        until = None
    if until is None or not datetime.min.year < until.year < datetime.max.year:  # in another zone there may be no such
        return failure(
            "wait", f"`until` gave {kind_of_value(text)} that is no moment; it must be like 2026-01-31T09:00:00Z."
        )
    return Waits(until=until, is_moment=True)


class InputSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    prompts: tuple[Prompt, ...]
    expires_s: float | None = None
    """How long it asks before it fails; None: for ever."""


class InputType(NodeType[InputSpec]):
    name = "input"
    spec_type = InputSpec
    fields = ("prompts", "expires_s")

    def read(self, fields: Fields, reading: Reading) -> InputSpec:
        prompts = fields.items("prompts", max_count=MAX_PROMPTS, accepted=_PROMPTS)
        if not prompts:
            fields.fault("prompts", "is missing or empty", _PROMPTS)
        read = tuple(
            _read_prompt(
                Fields(prompt, reading.faults, known=_PROMPT_FIELDS, path=f"{fields.path_of('prompts')}[{index}]")
            )
            for index, prompt in enumerate(prompts)
        )
        keys = [prompt.key for prompt in read]
        for key in sorted({key for key in keys if key and keys.count(key) > 1}):
            fields.fault("prompts", f"has the key {key!r} more than once", "a key for each prompt")
        expires_s = fields.number("expires_s", Range(1.0, MAX_WAIT_S, unit="seconds"), default=0.0)
        return InputSpec(prompts=read, expires_s=expires_s or None)

    def templated(self, spec: InputSpec) -> Any:
        return {"prompts": [{"label": prompt.label, "default": prompt.default} for prompt in spec.prompts]}

    def begin(self, spec: InputSpec, values: Any, at: datetime) -> Beginning:
        prompts = tuple(
            msgspec.structs.replace(prompt, label=as_text(value["label"]), default=_optional_text(value["default"]))
            for prompt, value in zip(spec.prompts, values["prompts"], strict=True)
        )
        return Asks(prompts=prompts, expires_at=None if spec.expires_s is None else later(at, spec.expires_s))


def _read_prompt(fields: Fields) -> Prompt:
    choices = tuple(
        choice if isinstance(choice, str) else ""
        for choice in fields.items("choices", max_count=100, accepted="a list of texts")
    )
    if "" in choices:
        fields.fault("choices", "has an empty text or no text", "a list of texts")
    default = fields.text("default", max_chars=MAX_TEXT_CHARS, accepted="text")
    if choices and default is not None and "{{" not in default and default not in choices:
        fields.fault("default", "is none of the choices", ", ".join(choices))
    is_secret = fields.flag("secret", default=False)
    for name in ("choices", "default"):
        if is_secret and fields.has(name):
            fields.fault(name, "stands beside secret, where everybody can read it", f"no {name}, or no secret")
    key = fields.required_text("key", max_chars=64, accepted="the name of the answer")
    label = fields.text("label", max_chars=MAX_TEXT_CHARS, accepted="the question") or key
    return Prompt(key=key, label=label, choices=choices, default=default, secret=is_secret)


def _optional_text(value: Any) -> str | None:
    return None if value is None else as_text(value)
