"""From plain JSON to a checked flow; the only way to a `FlowSpec` from outside but the doors that run what is not checked.

A request is the config itself, with `kind` and what says how to run it beside its keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from execd.core.errors import FieldFault, InvalidRequestError
from execd.core.fields import MAX_FAULTS, Faults, Fields, Range, is_nested_deeper, summarise
from execd.core.flows.specs import FlowSpec
from execd.core.flows.trees import MAX_DEPTH
from execd.core.flows.validator import validate
from execd.core.flows.warnings import warn
from execd.core.parsing import read_name, read_priority
from execd.core.specs import Priority

RUN_FIELDS = ("kind", "name", "priority", "startStep", "input")
"""What is of a run and not of the config."""
_MAX_NAMES = 1000


class FlowRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A flow and how to queue it, checked."""

    name: str
    spec: FlowSpec
    priority: int = Priority.NORMAL


def parse_flow(body: Mapping[str, Any]) -> FlowRequest:
    """Read a request to run a flow.

    Raises:
        InvalidRequestError: `faults` has an entry for everything that is wrong.
    """
    faults = Faults()
    fields = Fields(body, faults, known=tuple(body))
    config = {key: value for key, value in body.items() if key not in RUN_FIELDS}
    if is_nested_deeper(config, MAX_DEPTH):
        faults.add("", "is nested too deeply", f"at most {MAX_DEPTH} levels")
        faults.raise_if_any()
    name = read_name(fields)
    priority = read_priority(fields)
    count = len(config["nodes"]) if isinstance(config.get("nodes"), list) else 1
    spec = FlowSpec(
        config=config,
        start_step=fields.integer("startStep", Range(0, max(count - 1, 0)), default=0),
        input=_read_input(fields, faults),
    )
    faults.found += [_to_fault(error) for error in validate(config, takes_json_text=True)][:MAX_FAULTS]
    if faults.found:
        raise InvalidRequestError(summarise(faults.found), faults=tuple(faults.found))
    return FlowRequest(name=name or "flow", spec=spec, priority=priority)


def flow_warnings(body: Mapping[str, Any]) -> tuple[FieldFault, ...]:
    """Say what a flow that may run will not do, or not as its author may think."""
    return tuple(
        FieldFault(
            path=str(each["field"]), message=each["message"], accepted=each.get("suggestion", "see docs/flows.md")
        )
        for each in warn(body)[:MAX_FAULTS]
    )


def _read_input(fields: Fields, faults: Faults) -> dict[str, Any]:
    accepted = "an object of texts, numbers and booleans that take the place of variables"
    given = dict(fields.mapping("input", max_count=_MAX_NAMES, accepted=accepted))
    for name, value in given.items():
        if not isinstance(value, str | int | float):
            faults.add(f"input.{name[:64]}", "is no simple value", "a text, a number or a boolean")
    return given


def _to_fault(error: Mapping[str, Any]) -> FieldFault:
    """The validator's sentences are whole ones; those of faults follow the name of a field."""
    path = "" if error["field"] == "root" else str(error["field"])
    return FieldFault(
        path=path, message=f"is refused: {error['message']}", accepted=error.get("suggestion", "see docs/flows.md")
    )
