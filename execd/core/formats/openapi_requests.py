"""One operation of an OpenAPI document: its URL, headers and body filled with examples, and what a good answer is."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

import msgspec

from execd.core.flows.bodies import FORM
from execd.core.flows.schemas import compile_schema
from execd.core.formats.drafting import Draft, Json
from execd.core.formats.loose_json import entries, table, write_scalar
from execd.core.formats.openapi_schemas import Schemas
from execd.core.formats.urls import UNRESERVED, encode_text, join_query

_PATH_PARAMETER = re.compile(r"\{([^{}]+)\}")
_KINDS = ("application/json", FORM, "multipart/form-data", "text/plain")
_MAX_ALL_OF = 4
_MAX_PARTS = 8
"""Of `allOf`, in which an id is looked for: 8^4 look-ups at the most."""
_OWN_HEADERS = frozenset({"accept", "content-type", "authorization"})
"""Parameters of these names are ignored, says the specification."""


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One operation with where it stands."""

    method: str
    """Upper case."""
    path: str
    """With its parameters in braces: `/pets/{petId}`."""
    fields: Json
    parameters: list[Json]
    """Its own and the path's, references followed, each once."""
    place: str
    """For notes: `paths./pets.get`."""


class RequestMaker:
    """Makes requests of operations. Owned by one import.

    Args:
        known: name of a path parameter, with the path before it -> the reference to what an earlier step created.
    """

    def __init__(self, draft: Draft, schemas: Schemas, known: dict[str, str]) -> None:
        self._draft = draft
        self._schemas = schemas
        self._known = known

    def url_of(self, operation: Operation) -> str:
        """Give the path with its parameters filled in, and the query."""
        by_name = {str(item.get("name")): item for item in operation.parameters if item.get("in") == "path"}

        def fill(found: re.Match[str]) -> str:
            return self._path_value(
                found[1], by_name.get(found[1], {}), operation, before=operation.path[: found.start()]
            )

        path = _PATH_PARAMETER.sub(fill, operation.path)
        pairs = [
            pair
            for item in operation.parameters
            if item.get("in") == "query" and self._is_sent(item, operation)
            for pair in self._query_pairs(item, operation)
        ]
        return join_query(path, pairs)

    def _path_value(self, name: str, parameter: Json, operation: Operation, *, before: str) -> str:
        reference = self._known.get(before)
        if reference is not None:
            return reference
        word = re.sub(r"[^A-Za-z0-9_]", "_", name)
        if word not in self._draft.variables:
            value = self._value_of(parameter, operation)
            self._draft.variables[word] = value if isinstance(value, str | int | float | bool) else "1"
            message = f"the parameter {name} became a variable with a made-up value"
            self._draft.notes.add(operation.place, message, f"set variables.{word} to one that exists")
        return f"{{{{ .vars.{word} }}}}"

    def _is_sent(self, parameter: Json, operation: Operation) -> bool:
        """Whether a parameter must be there, or its author says what it could be."""
        schema = self._schemas.resolve(parameter.get("schema"), path=operation.place)
        has_example = any(parameter.get(key) is not None for key in ("example", "examples")) or "example" in schema
        if parameter.get("required") is True or has_example:
            return True
        message = f"the optional {parameter.get('in')} parameter {str(parameter.get('name'))[:60]} was left out"
        self._draft.notes.add(operation.place, message, "add it if it matters")
        return False

    def _value_of(self, parameter: Json, operation: Operation) -> Any:
        given = _example_of(parameter, self._schemas, operation.place)
        if given is not None:
            return given
        media = table(next(iter(table(parameter.get("content")).values()), None))
        schema = parameter.get("schema", media.get("schema", {}))
        value = self._schemas.sample(schema, path=operation.place)
        return "value" if value is None else value

    def _query_pairs(self, parameter: Json, operation: Operation) -> list[str]:
        name, value = encode_text(str(parameter.get("name"))), self._value_of(parameter, operation)
        style = parameter.get("style") or "form"
        explodes = parameter.get("explode") is True or ("explode" not in parameter and style == "form")
        if isinstance(value, list):
            texts = [encode_text(write_scalar(item)) for item in value]
            joint = {"spaceDelimited": "%20", "pipeDelimited": "%7C"}.get(str(style), ",")
            return [f"{name}={text}" for text in texts] if explodes else [f"{name}={joint.join(texts)}"]
        if isinstance(value, dict):
            pairs = [(encode_text(str(key)), encode_text(write_scalar(inner))) for key, inner in value.items()]
            if style == "deepObject":
                return [f"{name}[{key}]={text}" for key, text in pairs]
            return (
                [f"{key}={text}" for key, text in pairs] if explodes else [f"{name}={','.join(map(','.join, pairs))}"]
            )
        return [f"{name}={encode_text(write_scalar(value))}"]

    def headers_of(self, operation: Operation) -> dict[str, str]:
        """Give the headers that must be sent; cookies are one of them."""
        headers: dict[str, str] = {}
        cookies: list[str] = []
        for item in operation.parameters:
            place, name = item.get("in"), str(item.get("name"))
            if place not in {"header", "cookie"} or (place == "header" and name.lower() in _OWN_HEADERS):
                continue
            if not self._is_sent(item, operation):
                continue
            value = self._value_of(item, operation)
            text = ",".join(map(write_scalar, value)) if isinstance(value, list) else write_scalar(value)
            if place == "header":
                headers[name] = text
            else:
                cookies.append(f"{name}={quote(text, safe=UNRESERVED)}")
        return headers | ({"Cookie": "; ".join(cookies)} if cookies else {})

    def body_of(self, operation: Operation, headers: dict[str, str]) -> Any:
        """Give the body of an example or of the schema, and set the type that it has."""
        place = f"{operation.place}.requestBody"
        request = self._schemas.resolve(operation.fields.get("requestBody"), path=place)
        content = table(request.get("content"))
        kind = _preferred_kind(content)
        if kind is None:
            return None
        if kind not in _KINDS and "json" not in kind:
            self._draft.notes.add(place, f"is {kind[:60]}; its sample is a guess", "write the body into the step")
        media = self._schemas.resolve(content[kind], path=place)
        value = _example_of(media, self._schemas, place)
        if value is None:
            value = self._schemas.sample(media.get("schema", {}), path=place)
        headers["Content-Type"] = "application/json" if kind == "*/*" else kind
        return self._without_files(value, media, place) if kind == "multipart/form-data" else value

    def _without_files(self, value: Any, media: Json, place: str) -> Any:
        properties = table(self._schemas.resolve(media.get("schema"), path=place).get("properties"))
        files = {
            name
            for name, schema in properties.items()
            if self._schemas.resolve(schema, path=place).get("format") == "binary"
        }
        if files:
            self._draft.notes.add(place, f"has files ({', '.join(sorted(files))[:100]}), left out", "use a script step")
        return {key: inner for key, inner in value.items() if key not in files} if isinstance(value, dict) else value

    def validations_of(self, operation: Operation) -> list[Json]:
        """Give the status and the schema of the first good answer."""
        responses = table(operation.fields.get("responses"))
        code = good_code(responses)
        place = f"{operation.place}.responses"
        if code is None:
            self._draft.notes.add(place, "name no status of success; 200 is checked", "say which it is")
            return []
        rules: list[Json] = [{"httpStatusCode": int(code)}] if code.isdigit() else []
        if not rules:
            self._draft.notes.add(place, f"name the status {code} only, which is not checked", "say which it is")
        schema = answer_schema(self._schemas, responses[code], place=f"{place}.{code}")
        if schema is not None and operation.method != "HEAD":
            written = self._schemas.self_contained(schema, path=f"{place}.{code}")
            fault = None if written is None else compile_schema(written).fault
            if fault is not None:
                self._draft.notes.add(
                    f"{place}.{code}", f"has a schema that is none and is not checked ({fault})", "mend it"
                )
            elif written is not None:
                rules.append({"schema": written})
        return rules


def operation_parameters(item: Json, fields: Json, schemas: Schemas, *, place: str) -> list[Json]:
    """Give an operation's parameters with the path's below them, references followed."""
    found: dict[tuple[str, str], Json] = {}
    for source in (item, fields):
        for parameter in entries(source.get("parameters")):
            resolved = schemas.resolve(parameter, path=f"{place}.parameters")
            if isinstance(resolved.get("name"), str):
                found[str(resolved.get("in")), resolved["name"]] = resolved
    return list(found.values())


def good_code(responses: Json) -> str | None:
    """Give the first status of success: `200` before `2XX`."""
    codes = sorted(str(code) for code in responses if re.fullmatch(r"2(\d\d|XX)", str(code), re.ASCII))
    return codes[0] if codes else None


def answer_schema(schemas: Schemas, response: Any, *, place: str) -> Any:
    """Give the schema of a JSON answer, if there is one."""
    content = table(schemas.resolve(response, path=place).get("content"))
    kind = next((kind for kind in content if "json" in kind), None)
    return None if kind is None else schemas.resolve(content[kind], path=place).get("schema")


def id_path(schemas: Schemas, schema: Any, parameter: str, *, place: str) -> str | None:
    """Give where in what was created its id is, for later steps to name it by: `.id`, `.petId`, `.data.id`."""
    names = _properties_of(schemas, schema, place, 0)
    for prefix in ("", ".data"):
        for name in (parameter, "id", "uuid", "_id"):
            if name in names and re.fullmatch(r"[A-Za-z0-9_-]+", name, re.ASCII):
                return f"{prefix}.{name}"
        names = _properties_of(schemas, names.get("data"), place, 0)
    return None


def _properties_of(schemas: Schemas, schema: Any, place: str, depth: int) -> Json:
    """Give the properties of an object, those of its `allOf` too."""
    found = schemas.resolve(schema, path=place)
    parts = found.get("allOf")
    inherited: Json = {}
    if isinstance(parts, list) and depth < _MAX_ALL_OF:
        for part in parts[:_MAX_PARTS]:
            inherited |= _properties_of(schemas, part, place, depth + 1)
    return inherited | table(found.get("properties"))


def _preferred_kind(content: Json) -> str | None:
    kinds = [kind for kind in content if isinstance(kind, str)]
    best = next((kind for kind in kinds if "json" in kind), None)
    return best or next((kind for kind in _KINDS if kind in kinds), kinds[0] if kinds else None)


def _example_of(media: Json, schemas: Schemas, place: str) -> Any:
    if media.get("example") is not None:
        return schemas.afford(media["example"], path=place)
    first = next(iter(table(media.get("examples")).values()), None)
    if not isinstance(first, dict):
        return None
    return schemas.afford(schemas.resolve(first, path=place).get("value"), path=place)
