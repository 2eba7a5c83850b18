"""What a person may answer to prompts: checked whole, all faults at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from execd.core.errors import FieldFault, InvalidRequestError
from execd.core.event_parts import Prompt
from execd.core.events import InputRequired
from execd.core.fields import describe
from execd.core.masking import MIN_SECRET_CHARS
from execd.core.nodes.kinds import as_text

_LONGER = f"a secret of at least {MIN_SECRET_CHARS} characters, because a shorter one cannot be hidden"


def check_answers(asking: InputRequired, values: Mapping[str, Any]) -> dict[str, Any]:
    """Give a value for every prompt, in their order; what was given, where every answer is taken.

    Raises:
        InvalidRequestError: an answer is missing, is not one of the choices, or answers nothing that was asked; or it is
            a secret that is too short to be hidden.
    """
    return _check_open(asking.prompts, values) if asking.is_open else _check_each(asking.prompts, values)


def _check_open(prompts: Sequence[Prompt], values: Mapping[str, Any]) -> dict[str, Any]:
    """An empty secret tells nothing and is taken."""
    short = [
        prompt.key
        for prompt in prompts
        if prompt.secret and 0 < len(as_text(values.get(prompt.key, ""))) < MIN_SECRET_CHARS
    ]
    if short:
        faults = tuple(FieldFault(f"values.{key}", "is too short", _LONGER) for key in short)
        raise InvalidRequestError(
            f"the answer cannot be taken: {short[0][:64]} is too short for a secret", faults=faults
        )
    return dict(values)


def _check_each(prompts: Sequence[Prompt], values: Mapping[str, Any]) -> dict[str, Any]:
    faults: list[FieldFault] = []
    answers: dict[str, Any] = {}
    for prompt in prompts:
        value = values.get(prompt.key, prompt.default)
        if value is None:
            faults.append(FieldFault(f"values.{prompt.key}", "is missing", f"an answer to {prompt.label!r}"))
        elif not isinstance(value, str):
            faults.append(FieldFault(f"values.{prompt.key}", describe(value), "text"))
        elif prompt.secret and len(value) < MIN_SECRET_CHARS:
            faults.append(FieldFault(f"values.{prompt.key}", "is too short", _LONGER))
        elif prompt.choices and value not in prompt.choices:
            faults.append(FieldFault(f"values.{prompt.key}", "is none of the choices", ", ".join(prompt.choices)))
        else:
            answers[prompt.key] = value
    known = {prompt.key for prompt in prompts}
    asked = ", ".join(sorted(known)) or "nothing"
    faults += [FieldFault(f"values.{key}", "was not asked for", asked) for key in sorted(set(values) - known)]
    if faults:
        raise InvalidRequestError("the answer cannot be taken", faults=tuple(faults))
    return answers
