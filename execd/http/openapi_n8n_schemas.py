"""The shapes of flows as JSON Schema: open, because editors keep more in a drawing than execd reads."""

from __future__ import annotations

from typing import Any

from execd.core.dialects.n8n_flows import DRAWING_KIND, MAX_EDGES, MAX_NODES
from execd.core.nodes.n8n import DRAWING_TYPE_WORDS
from execd.core.script_fields import MAX_NAME_CHARS
from execd.http.openapi_refs import ref

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
                "type": {"type": "string", "description": DRAWING_TYPE_WORDS},
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


def drawing_schemas() -> dict[str, Any]:
    """Give the schemas of flows, by name."""
    body = {
        "type": "object",
        "title": "ReactflowBody",
        "description": "A flow as React Flow draws it; it runs as a workflow.",
        "required": ["kind"],
        "properties": {
            "kind": {"const": DRAWING_KIND},
            "name": _NAME,
            "data": _GRAPH,
            "input": {"description": "For its triggers, or for nodes by id."},
            "priority": {"type": "integer", "minimum": 0, "maximum": 2},
        },
    }
    return {"ReactflowBody": body, **_DIALECT}


_DIALECT: dict[str, Any] = {
    "N8nFlowBody": {
        "type": "object",
        "title": "N8nFlowBody",
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
    "N8nFlowView": {
        "type": "object",
        "title": "N8nFlowView",
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
    "N8nFlowList": {"type": "array", "items": ref("N8nFlowView")},
    "N8nFlowStart": {
        "type": "object",
        "title": "N8nFlowStart",
        "required": ["flow_id"],
        "properties": {"flow_id": _ID, "input_data": {"type": ["object", "null"]}},
    },
    "N8nFlowFrame": {
        "type": "object",
        "title": "N8nFlowFrame",
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
    "N8nFlowRun": {
        "type": "object",
        "title": "N8nFlowRun",
        "properties": {
            "id": {"type": "string"},
            "flow_id": _ID,
            "status": {"enum": ["running", "completed", "failed", "cancelled"]},
            "node_executions": {"type": "array", "items": {"type": "object"}},
        },
    },
    "N8nFlowRuns": {"type": "array", "items": ref("N8nFlowRun")},
    "N8nFlowRefusal": {
        "type": "object",
        "title": "N8nFlowRefusal",
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
