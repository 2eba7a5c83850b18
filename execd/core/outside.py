"""What expressions read that no journal holds: allowed variables of the server, secrets, and answers that are secret.

A machine is given it beside its signals. What comes of it is decided by it and told without it: every fact is masked
before it is told, so a state, which is the fold of its facts, never has a secret, and recovery only has to give the
machine the same values again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from execd.core.calls import HttpCall, LlmCall, ReadCall
from execd.core.errors import ExecdError
from execd.core.event_parts import Failure, Prompt
from execd.core.events import (
    OWN_REASONS,
    EventData,
    InputReceived,
    InputRequired,
    NodeCompleted,
    NodeExpanded,
    NodeFailed,
    NodeId,
    NodeOutput,
    NodeRetrying,
    NodeSkipped,
    NodeWarned,
)
from execd.core.masking import BLOT, Mask
from execd.core.nodes.kinds import Beginning, Calls, Runs
from execd.core.specs import ScriptSpec


class SecretMissingError(ExecdError):
    """A secret that a node is to be given is not there, or cannot be read: set it again, and run the node again."""

    code = "secret_missing"
    status = 409


class Outside:
    """What one execution reads from outside. Immutable; nothing in it is ever shown."""

    __slots__ = ("_hidden", "answers", "env", "mask", "secrets")

    def __init__(
        self,
        *,
        env: Mapping[str, str] | None = None,
        secrets: Mapping[str, str] | None = None,
        answers: Mapping[NodeId, Mapping[str, str]] | None = None,
        hidden: Iterable[str] = (),
    ) -> None:
        """Args:
        env: allowed variables, by name.
        secrets: those the execution names, by name; one that is missing fails the node that reads it.
        answers: what people typed that is secret, by node and key.
        hidden: further texts that must not be seen: what a secret was before it was changed.
        """
        self.env = dict(env or {})
        self.secrets = dict(secrets or {})
        self.answers = dict(answers or {})
        typed = (text for answer in self.answers.values() for text in answer.values())
        self._hidden = tuple(dict.fromkeys((*hidden, *self.secrets.values(), *typed)))
        self.mask = Mask(self._hidden) if self._hidden else None
        """None where there is nothing to hide."""

    def with_secrets(self, secrets: Mapping[str, str]) -> Outside:
        """Give it with other secrets; what the former ones were stays hidden."""
        return Outside(env=self.env, secrets=secrets, answers=self.answers, hidden=self._hidden)

    def with_answer(self, node: NodeId, values: Mapping[str, str]) -> Outside:
        """Give it with what a person typed."""
        answers = {**self.answers, node: dict(values)}
        return Outside(env=self.env, secrets=self.secrets, answers=answers, hidden=self._hidden)

    def hide(self, data: EventData) -> EventData:
        """Give a fact as it may be told."""
        if self.mask is None:
            return data
        change = _CHANGES.get(type(data))
        return data if change is None else msgspec.structs.replace(data, **change(self.mask, data))

    def equip(self, script: ScriptSpec) -> ScriptSpec:
        """Give a program the secrets it asks for, as variables.

        Raises:
            SecretMissingError: one of them is not there.
        """
        if not script.secrets:
            return script
        for variable, name in script.secrets.items():
            if name not in self.secrets:
                raise SecretMissingError(
                    f"the secret {name!r}, meant for the variable {variable}, is not there any more"
                )
        given = {variable: self.secrets[name] for variable, name in script.secrets.items()}
        return msgspec.structs.replace(script, env={**script.env, **given})

    def prepare(self, beginning: Beginning) -> Beginning:
        """Give a program its secrets, and a call what it must not tell. Raises: as `equip`."""
        match beginning:
            case Runs(script=script) if script.secrets:
                return Runs(self.equip(script))
            case Calls(call=ReadCall(http=http) as call) if self._hidden:
                return Calls(msgspec.structs.replace(call, http=msgspec.structs.replace(http, hidden=self._hidden)))
            case Calls(call=HttpCall() | LlmCall() as call) if self._hidden:
                return Calls(msgspec.structs.replace(call, hidden=self._hidden))
        return beginning


NOTHING = Outside()
"""For an execution that reads nothing from outside."""


def _hide_value(mask: Mask, value: Any) -> Any:
    try:
        return mask.value(value)
    except RecursionError:
        return BLOT  # nested deeper than anybody can look


def _hide_failure(mask: Mask, failure: Failure) -> Failure:
    details = {name: item if name == "group" else _hide_value(mask, item) for name, item in failure.details.items()}
    return msgspec.structs.replace(failure, message=mask.text(failure.message), details=details)


def _hide_prompt(mask: Mask, prompt: Prompt) -> Prompt:
    default = None if prompt.default is None else mask.text(prompt.default)
    return msgspec.structs.replace(prompt, label=mask.text(prompt.label), default=default)


_CHANGES: dict[type[EventData], Callable[[Mask, Any], dict[str, Any]]] = {
    NodeCompleted: lambda mask, data: {"output": _hide_value(mask, data.output)},
    NodeFailed: lambda mask, data: {"error": _hide_failure(mask, data.error)},
    NodeRetrying: lambda mask, data: {"error": _hide_failure(mask, data.error)},
    NodeSkipped: lambda mask, data: {"reason": data.reason if data.reason in OWN_REASONS else mask.text(data.reason)},
    NodeWarned: lambda mask, data: {"messages": tuple(map(mask.text, data.messages))},
    NodeOutput: lambda mask, data: {"delta": _hide_value(mask, data.delta)},
    NodeExpanded: lambda mask, data: {"items": tuple(_hide_value(mask, item) for item in data.items)},
    InputRequired: lambda mask, data: {"prompts": tuple(_hide_prompt(mask, prompt) for prompt in data.prompts)},
    InputReceived: lambda mask, data: {"values": _hide_value(mask, data.values)},
}
"""Every fact that says what came from outside. A program's output is masked where it is read, because a secret may come
in two pieces; results and terminal events are made of a state that has none."""
