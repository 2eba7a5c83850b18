"""The shape of a flow as JSON Schema: FlowSphere's config with execd's further keys. Unknown keys are kept, so none is closed."""

from __future__ import annotations

from typing import Any

from execd.core.flows.credentials import PLACES, TYPES
from execd.core.flows.operators import ALL
from execd.core.flows.retries import BACKOFFS, DEFAULT_ON, MAX_ATTEMPTS, MAX_DELAY_S
from execd.core.flows.sizes import MAX_NODES
from execd.core.flows.validator import METHODS
from execd.core.script_fields import MAX_NAME_CHARS
from execd.http.openapi_refs import ref

_SIMPLE = {"type": ["string", "number", "boolean"]}
_VALUES = {"type": "object", "additionalProperties": _SIMPLE}
_OBJECT = {"type": "object"}


def flow_schemas(script: dict[str, Any]) -> dict[str, Any]:
    """Give the schemas of a flow and its parts, by name.

    Args:
        script: the schema of a script's body; a flow has the same `priority`.
    """
    steps = {"type": "array", "maxItems": MAX_NODES, "items": ref("FlowStep")}
    body = {
        "type": "object",
        "title": "FlowBody",
        "description": "A list of HTTP requests to run one after another: a FlowSphere config, with execd's further keys.",
        "required": ["kind", "nodes"],
        "properties": {
            "kind": {"const": "flow"},
            "name": {"type": "string", "maxLength": MAX_NAME_CHARS},
            "priority": script["properties"]["priority"],
            "startStep": {"type": "integer", "minimum": 0, "default": 0, "description": "Steps before it are skipped."},
            "input": {**_VALUES, "description": "Of this run: takes the place of `variables` of the same names."},
            "nodes": {**steps, "minItems": 1},
            "finally": {**steps, "description": "Run after the others, also when one has failed."},
            "variables": _VALUES,
            "defaults": {
                "type": "object",
                "properties": {
                    "baseUrl": {"type": "string"},
                    "timeout": {"type": "number", "exclusiveMinimum": 0, "description": "In seconds."},
                    "headers": _OBJECT,
                    "validations": {"type": "array", "items": ref("FlowValidation")},
                    "auth": ref("FlowAuth"),
                },
            },
            "environments": {"type": "object", "additionalProperties": _VALUES},
            "environment": {"type": "string", "description": "One of `environments`."},
            "secrets": {"type": "array", "items": {"type": "string"}, "description": "Names; values are kept apart."},
            "data": {
                "description": "Rows; the flow runs once for each.",
                "oneOf": [
                    {"type": "array", "minItems": 1, "items": _OBJECT},
                    {"type": "object", "required": ["csv"], "properties": {"csv": {"type": "string"}}},
                ],
            },
            "auth": ref("FlowAuth"),
            "promptTimeout": {"type": "number", "exclusiveMinimum": 0, "description": "In seconds."},
            **{name: {"type": "boolean", "default": False, "description": text} for name, text in _SWITCHES.items()},
        },
    }
    return {
        "FlowBody": body,
        "FlowStep": _step(),
        "FlowCondition": _condition(),
        "FlowValidation": _validation(),
        "FlowAuth": _auth(),
    }


_SWITCHES = {
    "typed": "A field of a body that is one placeholder keeps its type.",
    "strict": "A placeholder that names nothing fails its step.",
    "cookies": "Cookies are kept and sent back.",
    "maskSecrets": "What looks secret by its name is hidden in what is shown of requests.",
    "honorLegacyKeys": "`condition` and `skipDefaultHeaders` count.",
}


def _step() -> dict[str, Any]:
    return {
        "type": "object",
        "title": "FlowStep",
        "required": ["id", "method", "url"],
        "properties": {
            "id": {"type": "string"},
            "name": {"type": "string"},
            "method": {"type": "string", "description": f"{', '.join(METHODS)}, in any case."},
            "url": {"type": "string"},
            "headers": _OBJECT,
            "body": {"description": "Sent with POST, PUT and PATCH."},
            "timeout": {"type": "number", "exclusiveMinimum": 0, "description": "In seconds; 30 where none is set."},
            "userPrompts": {"type": "object", "additionalProperties": {"type": "string"}},
            "secretPrompts": {
                "type": "array",
                "items": {"type": "string"},
                "description": "Of them nobody sees the answer.",
            },
            "conditions": {"type": "array", "items": ref("FlowCondition")},
            "validations": {"type": "array", "items": ref("FlowValidation")},
            "skipDefaultValidations": {"type": "boolean", "default": False},
            "launchBrowser": {"type": "string", "pattern": "^\\."},
            "auth": ref("FlowAuth"),
            "continueOnError": {"type": "boolean", "default": False},
            "retry": {
                "type": "object",
                "properties": {
                    "attempts": {"type": "integer", "minimum": 1, "maximum": MAX_ATTEMPTS, "default": 2},
                    "delay_s": {"type": "number", "minimum": 0, "maximum": MAX_DELAY_S, "default": 1},
                    "backoff": {"anyOf": [{"type": "number", "minimum": 1, "maximum": 10}, {"enum": [*BACKOFFS]}]},
                    "max_delay_s": {"type": "number", "minimum": 0, "maximum": MAX_DELAY_S, "default": MAX_DELAY_S},
                    "on": {"type": "array", "items": {"type": ["integer", "string"]}, "default": [*DEFAULT_ON]},
                },
            },
        },
    }


def _condition() -> dict[str, Any]:
    return {
        "type": "object",
        "title": "FlowCondition",
        "description": "One source (`node` with `field`, `header` or a status; `variable`; `input`) and one operator.",
        "properties": {
            "node": {"type": "string"},
            "field": {"type": "string", "pattern": "^\\."},
            "header": {"type": "string"},
            "httpStatusCode": {"type": "integer"},
            "statusCode": {"type": ["integer", "boolean"]},
            "variable": {"type": "string"},
            "input": {"type": "string"},
            **{name: {} for name in ALL},
        },
    }


def _validation() -> dict[str, Any]:
    return {
        "type": "object",
        "title": "FlowValidation",
        "description": "A status, or a value (`jsonpath`, `header`, `responseTimeMs`) and operators, or a JSON Schema.",
        "properties": {
            "httpStatusCode": {"type": "number"},
            "jsonpath": {"type": "string", "pattern": "^\\."},
            "header": {"type": "string"},
            "responseTimeMs": {"type": ["number", "boolean"]},
            "schema": {"type": ["object", "boolean"]},
            **{name: {} for name in ALL},
        },
    }


def _auth() -> dict[str, Any]:
    texts = {name: {"type": "string"} for name in ("username", "password", "token", "name", "value")}
    return {
        "type": ["object", "null"],
        "title": "FlowAuth",
        "required": ["type"],
        "properties": {"type": {"enum": [*TYPES]}, **texts, "in": {"enum": [*PLACES], "default": PLACES[0]}},
    }
