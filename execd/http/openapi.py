"""The OpenAPI 3.1 document, put together from the table of operations and the schemas of the records."""

from __future__ import annotations

from typing import Any

from execd.core.runtimes import Runtimes
from execd.http.config import HttpConfig
from execd.http.openapi_flowsphere import FLOWSPHERE_OPERATIONS
from execd.http.openapi_linkflow import LINKN8N_OPERATIONS
from execd.http.openapi_n8n_operations import N8N_OPERATIONS
from execd.http.openapi_operations import OPERATIONS, Operation, Parameter
from execd.http.openapi_refs import ref
from execd.http.openapi_schemas import make_components

REASONS = {
    200: "Done.",
    201: "Made.",
    202: "Accepted.",
    204: "Done; there is nothing to say.",
    206: "A part, as asked for by Range.",
    400: "The request can never succeed as it is: `errors` names every fault.",
    401: "No valid credential.",
    403: "The role, or the page's origin, does not allow this.",
    404: "There is no such thing in this workspace.",
    409: "Its state does not allow this, or the Idempotency-Key or the name was used for something else.",
    413: "The body is over the limit.",
    415: "The body is, by its Content-Type, nothing that is taken here.",
    416: "The range lies outside of what there is.",
    422: "The body is invalid: `errors`, or `detail`, names every fault.",
    421: "This server does not answer for this Host.",
    429: "The workspace watches as many streams as it may; see Retry-After.",
    500: "A defect in execd.",
    503: "Overloaded, or the store is away; see Retry-After.",
}


def make_document(config: HttpConfig, runtimes: Runtimes) -> dict[str, Any]:
    """Give the document of this installation: its languages and caps stand in it."""
    paths: dict[str, Any] = {}
    for operation in (*OPERATIONS, *LINKN8N_OPERATIONS, *N8N_OPERATIONS, *FLOWSPHERE_OPERATIONS):
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
    components = make_components()
    components["ScriptBody"]["properties"]["language"]["examples"] = list(runtimes.by_name)
    components["RequestedLimits"]["description"] = _limits_words(config)
    return {
        "openapi": "3.1.0",
        "info": {"title": "execd", "version": config.version, "description": ABOUT},
        "servers": [{"url": config.public_url or "/"}],
        "tags": [{"name": name, "description": about} for name, about in TAGS.items()],
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": SECURITY_SCHEMES},
    }


ABOUT = (
    "Runs code in a sandbox and streams it live. Every execution has a journal of numbered events without gaps; an event "
    "is sent only after it is stored, so any stream can be resumed from any point. Errors are problem+json with a stable "
    "`code`."
)
TAGS = {
    "executions": "Run something and look at it.",
    "commands": "Steer what runs.",
    "definitions": "Save what is run again, with every version.",
    "streams": "Follow it live.",
    "jobs": "Where an engine elsewhere reports (kind `external`).",
    "flows": "The n8n-pattern dialect: flows as React Flow draws them, and data-only frames.",
    "flowsphere": "The FlowSphere dialect: HTTP flows as its page and clients run them.",
    "access": "Who may.",
    "operation": "Run the server.",
}
SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "cookie": {
        "type": "apiKey",
        "in": "cookie",
        "name": "execd_session",
        "description": "With the port: execd_session_7070.",
    },
    "ticket": {"type": "apiKey", "in": "query", "name": "ticket", "description": "Once, within 30 s."},
}


def _limits_words(config: HttpConfig) -> str:
    caps = ", ".join(f"{name} {getattr(config.caps, name)}" for name in config.caps.__struct_fields__)
    return f"What is left out takes the runtime's default. The caps of this installation: {caps}."


def _operation(operation: Operation) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": operation.id,
        "summary": operation.about,
        "tags": [operation.tag],
        "parameters": [*_path_parameters(operation), *map(_parameter, operation.parameters)],
        "responses": _responses(operation),
        "security": [] if operation.role is None else [{"bearer": []}, {"cookie": []}, {"ticket": []}],
    }
    needed = f"Needs the role {operation.role}." if operation.role is not None else "Needs no credential."
    found["description"] = f"{operation.details} {needed}".strip()
    if operation.body is not None:
        media_types = ("application/json", "application/yaml") if operation.takes_yaml else ("application/json",)
        content = {media_type: {"schema": ref(operation.body)} for media_type in media_types}
        found["requestBody"] = {"required": operation.is_body_required, "content": content}
    if operation.is_socket and operation.refusal == "Problem":
        found["x-websocket"] = {
            "send": ref("ClientMessage"),
            "receive": {"anyOf": [ref("Event"), ref("ServerMessage"), ref("Evicted")]},
        }
    return found


def _path_parameters(operation: Operation) -> list[dict[str, Any]]:
    names = [part[1:-1] for part in operation.path.split("/") if part.startswith("{")]
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]


def _parameter(parameter: Parameter) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": parameter.type}
    if parameter.choices:
        schema["enum"] = [str(choice) for choice in parameter.choices]
    if parameter.name == "execution":
        schema = {"type": "array", "items": {"type": "string"}, "maxItems": 20}
    return {
        "name": parameter.name,
        "in": parameter.where,
        "required": parameter.is_required,
        "description": parameter.about,
        "schema": schema,
    }


def _responses(operation: Operation) -> dict[str, Any]:
    if operation.is_socket:
        return {"101": {"description": "Upgraded; a refusal is an error message and a close code."}}
    found: dict[str, Any] = {str(operation.status): _success(operation)}
    if operation.media_type == "text/event-stream" and operation.method == "get":
        found["204"] = {"description": "Nothing follows the cursor and nothing ever will: do not come back."}
    if 416 in operation.problems:
        found["206"] = _success(operation) | {"description": REASONS[206]}
    if operation.id == "readyz":
        found["503"] = _success(operation) | {"description": "A part is not well, or the server is going down."}
    usual = {400, 401, 403, 421, 500, 503} if operation.role is not None else {400, 421, 500}
    for status in sorted(usual | set(operation.problems)):
        found.setdefault(str(status), _problem(status, operation.refusal))
    return found


def _success(operation: Operation) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": REASONS[operation.status]}
    if operation.status == 204:
        return answer
    if operation.answer is not None:
        answer["content"] = {operation.media_type: {"schema": ref(operation.answer)}}
    elif operation.media_type == "text/event-stream":
        answer["content"] = {operation.media_type: {"schema": SSE_SCHEMA, "itemSchema": SSE_SCHEMA}}
    else:
        kind = "object" if operation.media_type == "application/json" else "string"
        answer["content"] = {operation.media_type: {"schema": {"type": kind}}}
    return answer


SSE_SCHEMA = {
    "type": "object",
    "description": "One block; `itemSchema` is how OpenAPI 3.2 says it.",
    "required": ["id", "event", "data"],
    "properties": {
        "id": {"type": "string", "description": "The cursor: where to resume after this block."},
        "event": {"type": "string", "description": "The event's type, or `evicted`."},
        "retry": {"type": "integer", "description": "Milliseconds; in the first block only."},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"anyOf": [ref("Event"), ref("Evicted")]},
        },
    },
}


def _problem(status: int, schema: str) -> dict[str, Any]:
    media_type = "application/problem+json" if schema == "Problem" else "application/json"
    content = {media_type: {"schema": ref(schema)}}
    return {"description": REASONS[status], "content": content}
