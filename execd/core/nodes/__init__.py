"""The node types there are: a new one is a file beside this and a line in `TYPES`."""

from __future__ import annotations

from typing import Any

import msgspec

from execd.core.nodes.bodies import CallType, MapType
from execd.core.nodes.conditions import IfType, SwitchType
from execd.core.nodes.external import ExternalType
from execd.core.nodes.flow_steps import FLOW_TYPES
from execd.core.nodes.http_call import HttpType
from execd.core.nodes.kinds import NodeType
from execd.core.nodes.llm import LlmType
from execd.core.nodes.n8n import DRAWING_TYPES, find_flow_type
from execd.core.nodes.scripts import StepType, WholeScriptType
from execd.core.nodes.set_values import SetType
from execd.core.nodes.waiting import InputType, WaitType

TYPES: tuple[NodeType[Any], ...] = (
    StepType(),
    HttpType(),
    LlmType(),
    SetType(),
    IfType(),
    SwitchType(),
    WaitType(),
    InputType(),
    MapType(),
    CallType(),
)
"""The types a workflow may use."""

TYPES_BY_NAME: dict[str, NodeType[Any]] = {node_type.name: node_type for node_type in TYPES}

_TYPES_BY_SPEC: dict[type[msgspec.Struct], NodeType[Any]] = {
    node_type.spec_type: node_type
    for node_type in (*TYPES, WholeScriptType(), ExternalType(), *FLOW_TYPES, *DRAWING_TYPES)
}


def type_named(name: str) -> NodeType[Any]:
    """Find the type of a stored node, one of a workflow's or of a flow's."""
    found = TYPES_BY_NAME.get(name) or find_flow_type(name)
    assert found is not None, name
    return found


def type_of(spec: msgspec.Struct) -> NodeType[Any]:
    """Find the type whose spec this is."""
    return _TYPES_BY_SPEC[type(spec)]
