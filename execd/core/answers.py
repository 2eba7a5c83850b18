"""What a person may answer to prompts: checked whole, all faults at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from execd.core.errors import FieldFault, InvalidRequestError
from execd.core.event_parts import Prompt
from execd.core.events import InputRequired
from execd.core.fields import describe
from execd.core.masking import MIN_SECRET_CHARS


def check_answers(asking: InputRequired, values: Mapping[str, Any]) -> dict[str, Any]:
    """Give a value for every prompt, in their order; what was given, where every answer is taken.

    Raises:
        InvalidRequestError: an answer is missing, is not one of the choices, or answers nothing that was asked.
    """
    return dict(values) if asking.is_open else _check_each(asking.prompts, values)


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
            words = f"a secret of at least {MIN_SECRET_CHARS} characters, because a shorter one cannot be hidden"
            faults.append(FieldFault(f"values.{prompt.key}", "is too short", words))
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
