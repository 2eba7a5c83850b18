"""`map` and `workflow`: run a body, for each item of a list or once, inside the same execution and its stream."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec

from execd.core.fields import Fields, Range, describe
from execd.core.nodes.kinds import Beginning, Expands, NodeType, Reading, failure, kind_of_value

MAX_CONCURRENCY = 1000
_ITEM_ERRORS = ("stop", "continue")
MAX_ITEMS = 10_000
"""Each item is at least two events; more belongs into several executions."""


TIMEOUT = Range(0.001, 30 * 24 * 3600.0, unit="seconds")


def read_timeout(fields: Fields) -> float | None:
    """Read the time a body, or a whole workflow, may take; None: as long as it takes."""
    return fields.number("timeout_s", TIMEOUT, default=0.0) if fields.has("timeout_s") else None


class MapSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    items: Any
    """An expression that gives a list."""
    concurrency: int = 4
    """How many items may be under way at one time."""
    on_item_error: Literal["stop", "continue"] = "stop"
    """`continue`: a failed item gives `{"error": …}` in its place."""
    timeout_s: float | None = None
    """For all items together."""


class MapType(NodeType[MapSpec]):
    name = "map"
    spec_type = MapSpec
    fields = ("items", "concurrency", "on_item_error", "timeout_s")
    has_body = True

    def read(self, fields: Fields, reading: Reading) -> MapSpec:
        items = fields.raw("items")
        if not isinstance(items, str | list):
            fields.fault("items", describe(items), "a list, or an expression that gives one")
        return MapSpec(
            items=items,
            concurrency=fields.integer("concurrency", Range(1, MAX_CONCURRENCY, unit="items"), default=4),
            on_item_error="continue"
            if fields.choice("on_item_error", _ITEM_ERRORS, default="stop") == "continue"
            else "stop",
            timeout_s=read_timeout(fields),
        )

    def templated(self, spec: MapSpec) -> Any:
        return {"items": spec.items}

    def begin(self, spec: MapSpec, values: Any, at: datetime) -> Beginning:
        items = values["items"]
        if not isinstance(items, list | tuple):
            return failure("items", f"`items` gave {kind_of_value(items)}; it must give a list.")
        if len(items) > MAX_ITEMS:
            return failure("items", f"`items` gave {len(items)} items; it may give up to {MAX_ITEMS}.")
        keeps_going = spec.on_item_error == "continue"
        return Expands(
            items=tuple(items),
            concurrency=spec.concurrency,
            keeps_going=keeps_going,
            is_map=True,
            timeout_s=spec.timeout_s,
        )


class CallSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    input: Any = None
    """What the body finds as `input`."""
    timeout_s: float | None = None


class CallType(NodeType[CallSpec]):
    name = "workflow"
    spec_type = CallSpec
    fields = ("input", "timeout_s")
    has_body = True

    def read(self, fields: Fields, reading: Reading) -> CallSpec:
        return CallSpec(input=fields.raw("input"), timeout_s=read_timeout(fields))

    def templated(self, spec: CallSpec) -> Any:
        return {"input": spec.input}

    def begin(self, spec: CallSpec, values: Any, at: datetime) -> Beginning:
        return Expands(
            items=(values["input"],), concurrency=1, keeps_going=False, is_map=False, timeout_s=spec.timeout_s
        )
