"""The shapes of flows as JSON Schema: open, because editors keep more in a drawing than execd reads."""

from __future__ import annotations

from typing import Any

from execd.core.dialects.n8n_flows import FLOW_KIND, MAX_EDGES, MAX_NODES
from execd.core.nodes.n8n import FLOW_TYPE_WORDS
from execd.core.script_fields import MAX_NAME_CHARS

_ID = {"type": ["string", "integer"]}
_NODE = {
    "type": "object",
    "required": ["id", "data"],
    "properties": {
        "id": _ID,
        "type": {"type": "string", "description": "How it is drawn; taken where `data` has no type."},
        "position": {"type": "object"},
        "data": {
            "type": "object",
            "properties": {
                "type": {"type": "string", "description": FLOW_TYPE_WORDS},
                "label": {"type": "string"},
                "config": {"type": "object", "description": "Texts in it may hold references: `{{trigger.message}}`."},
            },
        },
    },
}
_EDGE = {
    "type": "object",
    "required": ["source", "target"],
    "properties": {
        "source": _ID,
        "target": _ID,
        "sourceHandle": {"type": ["string", "null"], "description": "`true` or `false`, at a condition."},
    },
}
_GRAPH = {
    "type": "object",
    "description": "What React Flow draws.",
    "properties": {
        "nodes": {"type": "array", "maxItems": MAX_NODES, "items": _NODE},
        "edges": {"type": "array", "maxItems": MAX_EDGES, "items": _EDGE},
    },
}
_NAME = {"type": "string", "maxLength": MAX_NAME_CHARS}


def flow_schemas() -> dict[str, Any]:
    """Give the schemas of flows, by name."""
    body = {
        "type": "object",
        "title": "ReactflowBody",
        "description": "A flow as React Flow draws it; it runs as a workflow.",
        "required": ["kind"],
        "properties": {
            "kind": {"const": FLOW_KIND},
            "name": _NAME,
            "data": _GRAPH,
            "input": {"description": "For its triggers, or for nodes by id."},
            "priority": {"type": "integer", "minimum": 0, "maximum": 2},
        },
    }
    return {"ReactflowBody": body}
