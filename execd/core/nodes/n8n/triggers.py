"""`trigger-*`: where a flow begins. It gives what the flow was given."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from execd.core.codec import format_time
from execd.core.fields import is_nested_deeper
from execd.core.nodes.kinds import Done
from execd.core.nodes.n8n.kinds import ConfigError, FlowSpec, FlowType, Values
from execd.core.nodes.n8n.templates import MAX_DEPTH


class TriggerSpec(FlowSpec, frozen=True, kw_only=True, omit_defaults=True):
    """Nothing of its own: a `schedule` is kept and read by nobody here."""


class TriggerType(FlowType[TriggerSpec]):
    name = "trigger-*"
    spec_type = TriggerSpec

    def begin(self, spec: TriggerSpec, values: Values, at: datetime) -> Done:
        if is_nested_deeper(values.input, MAX_DEPTH):
            raise ConfigError(f"the input is nested more than {MAX_DEPTH} deep")
        return Done({"triggered": True, "timestamp": format_time(at), **_given(spec, values.input)})


def _given(spec: TriggerSpec, given: Any) -> Mapping[str, Any]:
    """Two forms of input: an object for this node under its id, or one for every trigger."""
    if not isinstance(given, Mapping):
        return {} if given is None else {"input": given}
    own = given.get(spec.node)
    return own if isinstance(own, Mapping) else given
