"""`if` and `switch`: take one of several ports, by what is there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from execd.core.fields import Fields, describe
from execd.core.nodes.kinds import ERROR, OUT, Beginning, Done, NodeType, Reading, failure, kind_of_value

DEFAULT = "default"
MAX_CASES = 100
PORT_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_CONDITION = "an expression such as `{{ nodes.fetch.output.count > 0 }}`, true or false"
_CASES = "an object that gives, for each port, the value that takes it"


class IfSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    condition: str | bool
    """An expression that gives true or false, and nothing that only resembles them."""


class IfType(NodeType[IfSpec]):
    name = "if"
    spec_type = IfSpec
    fields = ("condition",)

    def read(self, fields: Fields, reading: Reading) -> IfSpec:
        condition = fields.raw("condition")
        if not isinstance(condition, str | bool):
            fields.fault("condition", describe(condition), _CONDITION)
        return IfSpec(condition=condition if isinstance(condition, str | bool) else False)

    def ports(self, spec: IfSpec) -> Sequence[str]:
        return ("true", "false")

    def templated(self, spec: IfSpec) -> Any:
        return {"condition": spec.condition}

    def begin(self, spec: IfSpec, values: Any, at: datetime) -> Beginning:
        result = values["condition"]
        if not isinstance(result, bool):
            return failure("condition", f"The condition gave {kind_of_value(result)}; it must give true or false.")
        return Done({"result": result}, port="true" if result else "false")


class SwitchSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    value: Any
    """An expression; its value is compared with each case."""
    cases: dict[str, Any]
    """The value that takes each port, by the port's name; the first that is equal wins, else `default`."""


class SwitchType(NodeType[SwitchSpec]):
    name = "switch"
    spec_type = SwitchSpec
    fields = ("value", "cases")

    def read(self, fields: Fields, reading: Reading) -> SwitchSpec:
        fields.required("value", "an expression")
        cases = dict(fields.mapping("cases", max_count=MAX_CASES, accepted=_CASES))
        if not cases:
            fields.fault("cases", "is missing or empty", _CASES)
        for name in cases:
            if not PORT_NAME.fullmatch(name) or name in {OUT, ERROR, DEFAULT}:
                fields.fault(
                    "cases", f"has the name {name[:64]!r}", "letters, digits, _ and -; not out, error or default"
                )
        return SwitchSpec(value=fields.raw("value"), cases=cases)

    def ports(self, spec: SwitchSpec) -> Sequence[str]:
        return (*spec.cases, DEFAULT)

    def templated(self, spec: SwitchSpec) -> Any:
        return {"value": spec.value, "cases": spec.cases}

    def begin(self, spec: SwitchSpec, values: Any, at: datetime) -> Done:
        value = values["value"]
        port = next((name for name, case in values["cases"].items() if _equal(case, value)), DEFAULT)
        return Done({"case": port, "value": value}, port=port)


def _equal(one: Any, other: Any) -> bool:
    """As JSON has it: `true` is not 1."""
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)
