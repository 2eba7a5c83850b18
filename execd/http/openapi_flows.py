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
    return {"ReactflowBody": body, **_DIALECT}


_DIALECT: dict[str, Any] = {
    "FlowBody": {
        "type": "object",
        "title": "FlowBody",
        "description": "A flow to be saved. A draft may be unfinished; one of any other status must be able to run.",
        "properties": {
            "name": _NAME,
            "description": {"type": ["string", "null"]},
            "status": {"type": "string", "default": "draft", "examples": ["draft", "published", "archived"]},
            "template_id": {},
            "channel_id": {},
            "data": _GRAPH,
        },
    },
    "FlowView": {
        "type": "object",
        "title": "FlowView",
        "description": "A saved flow. `definition` is what `POST /api/v1/executions` runs it by.",
        "required": ["id", "name", "status", "version", "data", "definition"],
        "properties": {
            "id": _ID,
            "name": _NAME,
            "status": {"type": "string"},
            "version": {"type": "integer"},
            "data": _GRAPH,
            "definition": {"type": "string"},
            "problems": {"type": "array", "description": "Why it could not run now.", "items": {"type": "object"}},
            "warnings": {"type": "array", "items": {"type": "object"}},
        },
    },
    "FlowList": {"type": "array", "items": {"$ref": "#/components/schemas/FlowView"}},
    "FlowStart": {
        "type": "object",
        "title": "FlowStart",
        "required": ["flow_id"],
        "properties": {"flow_id": _ID, "input_data": {"type": ["object", "null"]}},
    },
    "FlowFrame": {
        "type": "object",
        "title": "FlowFrame",
        "description": "One frame: `data: ` and this on one line. The last is `executionFinished` or `executionError`.",
        "required": ["type", "data"],
        "properties": {
            "type": {
                "enum": [
                    "executionStarted", "nodeExecutionBefore", "nodeExecutionWarning", "nodeExecutionAfter",
                    "executionFinished", "executionError",
                ]
            },
            "data": {"type": "object"},
        },
    },
    "FlowRun": {
        "type": "object",
        "title": "FlowRun",
        "properties": {
            "id": {"type": "string"},
            "flow_id": _ID,
            "status": {"enum": ["running", "completed", "failed", "cancelled"]},
            "node_executions": {"type": "array", "items": {"type": "object"}},
        },
    },
    "FlowRuns": {"type": "array", "items": {"$ref": "#/components/schemas/FlowRun"}},
    "FlowRefusal": {
        "type": "object",
        "title": "FlowRefusal",
        "required": ["detail"],
        "properties": {
            "detail": {
                "oneOf": [
                    {"type": "string"},
                    {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["loc", "msg", "type"],
                            "properties": {
                                "loc": {"type": "array", "items": _ID},
                                "msg": {"type": "string"},
                                "type": {"type": "string"},
                            },
                        },
                    },
                ]
            }
        },
    },
    "NodeCatalogue": {"type": "array", "items": {"type": "object"}},
    "Done": {"type": "object", "properties": {"status": {"type": "string"}, "message": {"type": "string"}}},
}  # fmt: skip
