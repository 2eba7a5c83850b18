"""Swagger 2.0 said in the words of OpenAPI 3, as far as reading requests takes; references stay where they point.

Source: the Swagger 2.0 specification.
"""

from __future__ import annotations

from typing import Any

from execd.core.formats.drafting import Json
from execd.core.formats.loose_json import entries, table

_SCHEMA_KEYS = frozenset(
    {"type", "format", "items", "default", "enum", "minimum", "maximum", "minLength", "maxLength", "pattern"}
    | {"multipleOf", "minItems", "maxItems", "exclusiveMinimum", "exclusiveMaximum"}
)
_FLOWS = {"accessCode": "authorizationCode", "application": "clientCredentials"}


def to_openapi3(document: Json) -> Json:
    """Give an OpenAPI 3.0 document that describes the same requests."""
    paths = {
        path: {key: _operation(value, document) if isinstance(value, dict) else value for key, value in item.items()}
        for path, item in table(document.get("paths")).items()
        if isinstance(item, dict)
    }
    for item in paths.values():
        shared = item.get("parameters")
        if isinstance(shared, list):
            item["parameters"] = [_parameter(parameter) for parameter in entries(shared)]
    security = table(document.get("securityDefinitions"))
    schemes = {name: _scheme(scheme) for name, scheme in security.items() if isinstance(scheme, dict)}
    return {
        **document,
        "openapi": "3.0.0",
        "servers": [{"url": url} for url in _servers(document)],
        "paths": paths,
        "components": {"securitySchemes": schemes},
    }


def _servers(document: Json) -> list[str]:
    base = str(document.get("basePath") or "").rstrip("/")
    if not isinstance(document.get("host"), str):
        return [base or "/"]
    schemes = document.get("schemes")
    names = [name for name in schemes if name in {"http", "https"}] if isinstance(schemes, list) else []
    return [f"{'https' if 'https' in names or not names else names[0]}://{document['host']}{base}"]


def _operation(operation: Json, document: Json) -> Json:
    parameters = [_follow(parameter, document) for parameter in entries(operation.get("parameters"))]
    consumes = operation.get("consumes") or document.get("consumes")
    kinds = [kind for kind in consumes if isinstance(kind, str)] if isinstance(consumes, list) else []
    changed: Json = {
        **operation,
        "parameters": [_parameter(p) for p in parameters if p.get("in") not in {"body", "formData"}],
    }
    body = next((p for p in parameters if p.get("in") == "body"), None)
    form = [p for p in parameters if p.get("in") == "formData"]
    if body is not None:
        changed["requestBody"] = {"content": {_body_kind(kinds): {"schema": body.get("schema", {})}}}
    elif form:
        changed["requestBody"] = {"content": {_form_kind(kinds, form): {"schema": _form_schema(form)}}}
    responses = table(operation.get("responses"))
    changed["responses"] = {code: _response(response, document) for code, response in responses.items()}
    return changed


def _follow(value: Json, document: Json) -> Json:
    """Follow one reference to the document's own parameters or responses."""
    parts = str(value.get("$ref", "")).split("/")
    if len(parts) == 3 and parts[0] == "#":
        return table(table(document.get(parts[1])).get(parts[2]))
    return value


def _parameter(parameter: Json) -> Json:
    if "$ref" in parameter or "schema" in parameter:
        return parameter
    schema = {key: value for key, value in parameter.items() if key in _SCHEMA_KEYS}
    joined = parameter.get("collectionFormat", "csv") != "multi"
    return {**parameter, "schema": schema, "explode": not joined}


def _body_kind(kinds: list[str]) -> str:
    return next((kind for kind in kinds if "json" in kind), kinds[0] if kinds else "application/json")


def _form_kind(kinds: list[str], form: list[Json]) -> str:
    has_file = any(parameter.get("type") == "file" for parameter in form)
    return "multipart/form-data" if has_file or "multipart/form-data" in kinds else "application/x-www-form-urlencoded"


def _form_schema(form: list[Json]) -> Json:
    properties = {
        str(p.get("name")): {"type": "string", "format": "binary"}
        if p.get("type") == "file"
        else {key: value for key, value in p.items() if key in _SCHEMA_KEYS or key == "example"}
        for p in form
    }
    required = [str(p.get("name")) for p in form if p.get("required") is True]
    return {"type": "object", "properties": properties, **({"required": required} if required else {})}


def _response(response: Any, document: Json) -> Any:
    if not isinstance(response, dict):
        return response
    response = _follow(response, document)
    if "schema" not in response:
        return response
    return {**response, "content": {"application/json": {"schema": response["schema"]}}}


def _scheme(scheme: Json) -> Json:
    match scheme.get("type"):
        case "basic":
            return {"type": "http", "scheme": "basic"}
        case "oauth2":
            return {"type": "oauth2", "flows": {_FLOWS.get(str(scheme.get("flow")), str(scheme.get("flow"))): {}}}
    return scheme
