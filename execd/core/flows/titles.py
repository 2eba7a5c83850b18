"""How the steps of a flow are called before anybody knows what they request. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from execd.core.events import NodeId
from execd.core.flows.compiling import step_ids
from execd.core.flows.configs import merge_node, rows_of, table_of
from execd.core.flows.data_rows import DataError, read_rows
from execd.core.flows.js_values import is_truthy, js_text


class StepTitle(msgspec.Struct, frozen=True, kw_only=True):
    """How one step is called."""

    name: str
    """`name`, else the id."""
    request: str
    """The method and the url as they are written, with `baseUrl`."""


def titles_of(config: Mapping[str, Any]) -> dict[NodeId, StepTitle]:
    """Name every step, `finally` included, by its node in the journal."""
    return {
        node: StepTitle(name=_name_of(step, node), request=_request_of(step, config))
        for node, step in zip(step_ids(config), steps_of(config), strict=True)
    }


def has_rows(config: Mapping[str, Any]) -> bool:
    """Whether the flow runs once for each row of data."""
    try:
        return read_rows(config.get("data")) is not None
    except DataError:
        return False


def steps_of(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Give the steps, those of `finally` last; what is no object counts as one without fields."""
    return [table_of(node) for key in ("nodes", "finally") for node in rows_of(config.get(key))]


def _name_of(step: Mapping[str, Any], node: NodeId) -> str:
    return js_text(step["name"]) if is_truthy(step.get("name")) else str(node)


def _request_of(step: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    return f"{js_text(step.get('method', ''))} {js_text(merge_node(step, config).get('url', ''))}".strip()
