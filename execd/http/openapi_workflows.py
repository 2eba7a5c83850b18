"""The shape of a workflow as JSON Schema, made from the node types there are."""

from __future__ import annotations

from typing import Any

import msgspec

from execd.core.graph import OnError
from execd.core.ids import NODE_ID
from execd.core.nodes import TYPES
from execd.core.nodes.bodies import TIMEOUT
from execd.core.nodes.kinds import NodeType
from execd.core.parsing import MAX_RETRIES
from execd.core.script_fields import MAX_NAME_CHARS
from execd.core.workflow_parsing import MAX_NODES, MAX_PARALLELISM
from execd.http.openapi_refs import REF, ref

UNTIL = "A node: only it and what it needs is run. Of a run, so a definition has none."
_ANY = {"description": "Any JSON value; texts in it may hold expressions."}


def workflow_schemas(script: dict[str, Any]) -> dict[str, Any]:
    """Give the schemas of a workflow and its nodes, by name.

    Args:
        script: the schema of a script's body; a `script` node has the same fields.
    """
    nodes = {f"{node_type.name.title()}Node": _node_schema(node_type, script) for node_type in TYPES}
    retry = {
        "type": "object",
        "title": "Retry",
        "description": "When a node is tried again. Waits grow by `factor`; `jitter` lengthens each by up to that part.",
        "additionalProperties": False,
        "properties": {
            "retries": {"type": "integer", "minimum": 0, "maximum": MAX_RETRIES, "default": 1},
            "delay_s": {"type": "number", "minimum": 0, "maximum": 300, "default": 1},
            "factor": {"type": "number", "minimum": 1, "maximum": 10, "default": 2},
            "jitter": {"type": "number", "minimum": 0, "maximum": 1, "default": 0.1},
            "on_failure": {"type": "boolean", "default": True, "description": "Also after a failure of its own."},
            "on_lost": {
                "type": "boolean",
                "default": False,
                "description": "Also when it was cut off in the middle, and what it did outside may be done twice.",
            },
        },
    }
    body = {
        "type": "object",
        "title": "WorkflowBody",
        "description": "A graph of nodes to run. Nodes run in parallel as soon as what they need is over.",
        "required": ["kind", "nodes"],
        "additionalProperties": False,
        "properties": {
            "kind": {"const": "workflow"},
            "name": {"type": "string", "maxLength": MAX_NAME_CHARS},
            "nodes": _list_of_nodes(),
            "input": {"description": "What expressions find as `input`."},
            "vars": {"type": "object", "description": "What expressions find as `vars`."},
            "parallelism": {"type": "integer", "minimum": 1, "maximum": MAX_PARALLELISM, "default": 16},
            "timeout_s": {
                "type": "number",
                "minimum": TIMEOUT.low,
                "maximum": TIMEOUT.high,
                "description": "From its start to its end, waits and all; then it is stopped and ends as `timeout`.",
            },
            "priority": script["properties"]["priority"],
            "until": {"type": "string", "description": UNTIL},
        },
    }
    any_node = {
        "oneOf": [ref(name) for name in nodes],
        "discriminator": {
            "propertyName": "type",
            "mapping": {node_type.name: REF.format(name=f"{node_type.name.title()}Node") for node_type in TYPES},
        },
    }
    return {"WorkflowBody": body, "WorkflowNode": any_node, "Retry": retry, **nodes}


def _node_schema(node_type: NodeType[Any], script: dict[str, Any]) -> dict[str, Any]:
    own = _spec_properties(node_type)
    properties: dict[str, Any] = {
        "id": {"type": "string", "pattern": f"^{NODE_ID.pattern}$"},
        "type": {"const": node_type.name},
        "label": {"type": "string", "maxLength": 200},
        "needs": {
            "type": "array",
            "items": {"type": "string"},
            "description": "Nodes that must be over before it, each `id` or `id.port`. Without any it starts at once.",
        },
        "retry": ref("Retry"),
        "on_error": {"enum": [str(choice) for choice in OnError], "default": "stop"},
        **{name: own.get(name) or script["properties"].get(name) or _ANY for name in node_type.fields},
    }
    if node_type.has_body:
        properties["nodes"] = _list_of_nodes()
        del properties["retry"]
    return {
        "type": "object",
        "title": f"{node_type.name} node",
        "description": (type(node_type).__doc__ or node_type.name).partition("\n")[0],
        "required": ["id", "type", *(["nodes"] if node_type.has_body else [])],
        "additionalProperties": False,
        "properties": properties,
    }


def _spec_properties(node_type: NodeType[Any]) -> dict[str, Any]:
    """Give the fields of its spec that stand in a request under the same name, with simple shapes."""
    schema = msgspec.json.schema(node_type.spec_type)
    properties: dict[str, Any] = schema["$defs"][node_type.spec_type.__name__]["properties"]
    return {name: shape for name, shape in properties.items() if "$ref" not in str(shape)}


def _list_of_nodes() -> dict[str, Any]:
    return {
        "type": "array",
        "minItems": 1,
        "maxItems": MAX_NODES,
        "items": ref("WorkflowNode"),
    }
