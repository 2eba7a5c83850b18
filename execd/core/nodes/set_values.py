"""`set`: gives values, made from what is there; it does nothing else."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from execd.core.fields import Fields
from execd.core.nodes.kinds import Done, NodeType, Reading


class SetSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    values: Any
    """Any JSON value with expressions in it: the output."""


class SetType(NodeType[SetSpec]):
    name = "set"
    spec_type = SetSpec
    fields = ("values",)

    def read(self, fields: Fields, reading: Reading) -> SetSpec:
        fields.required("values", "any JSON value; texts in it may hold expressions")
        return SetSpec(values=fields.raw("values"))

    def templated(self, spec: SetSpec) -> Any:
        return {"values": spec.values}

    def begin(self, spec: SetSpec, values: Any, at: datetime) -> Done:
        return Done(values["values"])
