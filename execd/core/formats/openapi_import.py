"""OpenAPI 3.0 to 3.2, and Swagger 2, as JSON or YAML, read into a flow of one step per operation.

The order is one that can work: all of a resource together, what creates before what reads, what deletes last and from the
inside out. What a POST answers gives the id that the steps after it need. The rest of the values are examples or made up,
so the flow is a beginning: notes say what has to be filled in.
Source: OpenAPI 3.1.1 and 3.0.4.
"""

from __future__ import annotations

import re

import msgspec

from execd.core.flows.validator import is_url
from execd.core.formats.drafting import (
    MAX_INPUT_CHARS,
    MAX_STEPS,
    Draft,
    Imported,
    Json,
    check_object,
    check_size,
    read_json,
    refuse,
)
from execd.core.formats.loose_json import entries, table
from execd.core.formats.openapi_requests import (
    Operation,
    RequestMaker,
    answer_schema,
    good_code,
    id_path,
    operation_parameters,
)
from execd.core.formats.openapi_schemas import Schemas
from execd.core.formats.openapi_security import Security
from execd.core.formats.placeholders import write_response
from execd.core.formats.swagger2 import to_openapi3
from execd.core.yaml_text import parse_yaml

_WHAT = "an OpenAPI 3.0, 3.1 or 3.2 or Swagger 2.0 document (JSON or YAML)"
_METHODS = ("post", "get", "head", "options", "put", "patch", "delete")
"""In the order in which they make sense on one resource."""
MAX_SERVERS = 20


def import_openapi(text: str) -> Imported:
    """Read a document.

    Raises:
        PayloadTooLargeError: it is too long; YAML may have 1 MiB, JSON 16.
        InvalidRequestError: it is no such document, or describes no operation.
    """
    document = _read_document(text)
    if str(document.get("swagger", "")).startswith("2"):
        document = to_openapi3(document)
    version = str(document.get("openapi", ""))
    if not re.fullmatch(r"3\.[0-2](\..{0,40})?", version):
        raise refuse("openapi", f"is {version[:20]!r}" if version else "is missing", _WHAT)
    if not isinstance(document.get("paths"), dict):
        raise refuse("paths", "is no object", _WHAT)
    return _DocumentReader(document).read()


def _read_document(text: str) -> Json:
    check_size(text, max_chars=MAX_INPUT_CHARS)
    if text.lstrip("\ufeff \t\r\n").startswith("{"):
        return read_json(text, what=_WHAT)
    try:
        body = text.encode()
    except UnicodeEncodeError:
        raise refuse("", "has a lone surrogate", _WHAT) from None
    return check_object(parse_yaml(body), what=_WHAT)


class _Servers(msgspec.Struct, frozen=True):
    """Where the requests go."""

    base: str
    """What stands before each path: `` where `defaults.baseUrl` does."""
    root: Json
    """Keys of the config: `defaults`, or `environment`."""


class _DocumentReader:
    """Walks one document. Owned by one import."""

    def __init__(self, document: Json) -> None:
        self._document = document
        self._draft = Draft()
        self._schemas = Schemas(document, self._draft.notes)
        self._security = Security(document, self._draft, self._schemas)
        self._known: dict[str, str] = {}
        self._requests = RequestMaker(self._draft, self._schemas, self._known)

    def read(self) -> Imported:
        servers = self._servers()
        for operation in sorted(self._operations(), key=_Order(self._document["paths"]).place_of):
            if len(self._draft.nodes) >= MAX_STEPS:
                self._draft.add_step({}, path=operation.place)
                break
            self._take(operation, servers)
        if self._document.get("webhooks"):
            self._draft.notes.add("webhooks", "are calls to you and were left out", "a flow only sends")
        return self._draft.finish(**servers.root)

    def _operations(self) -> list[Operation]:
        found: list[Operation] = []
        for path, raw in self._document["paths"].items():
            item = self._schemas.resolve(raw, path=f"paths.{path}")
            if not isinstance(path, str) or not path.startswith("/"):
                continue
            for method in _METHODS:
                fields = item.get(method)
                place = f"paths.{path}.{method}"
                if not isinstance(fields, dict):
                    continue
                parameters = operation_parameters(item, fields, self._schemas, place=place)
                fields = fields if "servers" in fields else {**fields, "servers": item.get("servers")}
                found.append(
                    Operation(method=method.upper(), path=path, fields=fields, parameters=parameters, place=place)
                )
            if "trace" in item:
                self._draft.notes.add(f"paths.{path}.trace", "was left out", "flows do not send TRACE")
        return found

    def _take(self, operation: Operation, servers: _Servers) -> None:
        fields = operation.fields
        name = fields.get("summary") or fields.get("operationId") or f"{operation.method} {operation.path}"
        wanted = fields.get("operationId") or f"{operation.method} {operation.path}".lower()
        headers = self._requests.headers_of(operation)
        body = self._requests.body_of(operation, headers)
        credential = self._security.credential_of(fields, path=operation.place)
        if credential.cookie:
            headers["Cookie"] = "; ".join(filter(None, (headers.get("Cookie"), credential.cookie)))
        step: Json = {
            "id": self._draft.new_id(str(wanted)),
            "name": str(name).replace("{{", "{"),
            "method": operation.method,
            "url": self._base_of(fields, servers) + self._requests.url_of(operation),
        }
        parts = {"headers": headers, "body": body, "auth": credential.auth}
        step |= {key: value for key, value in parts.items() if value or (key == "body" and value is not None)}
        rules = self._requests.validations_of(operation)
        self._draft.add_step(step | ({"validations": rules} if rules else {}), path=operation.place)
        self._tell_extras(operation)
        if operation.method == "POST":
            self._keep_created(operation, step["id"])

    def _tell_extras(self, operation: Operation) -> None:
        if operation.fields.get("callbacks"):
            self._draft.notes.add(f"{operation.place}.callbacks", "were left out", "a flow only sends")
        if "requestBody" in operation.fields and operation.method not in {"POST", "PUT", "PATCH"}:
            self._draft.notes.add(operation.place, f"has a body, and flows send none with {operation.method}", "")

    def _keep_created(self, operation: Operation, step_id: str) -> None:
        """Remember that `/pets/{petId}` is what this POST of `/pets` created."""
        before = operation.path.rstrip("/") + "/"
        responses = table(operation.fields.get("responses"))
        code = good_code(responses)
        below = next((path for path in self._document["paths"] if path.startswith(before + "{")), None)
        if below is None or code is None or before in self._known or "}" not in below:
            return
        parameter = below[len(before) + 1 :].partition("}")[0]
        schema = answer_schema(self._schemas, responses[code], place=operation.place)
        tail = id_path(self._schemas, schema, parameter, place=operation.place)
        if tail is not None:
            self._known[before] = write_response(step_id, tail)

    def _servers(self) -> _Servers:
        urls: dict[str, str] = {}
        for server in entries(self._document.get("servers"))[:MAX_SERVERS]:
            url = self._server_url(server)
            title = re.sub(r"[^A-Za-z0-9]+", "_", str(server.get("description") or "")).strip("_").lower()[:40]
            name = title or f"server_{len(urls) + 1}"
            urls[name if name not in urls else f"{name}_{len(urls) + 1}"] = url
        if not urls:
            urls["server"] = self._server_url({"url": "/"})
        if len(urls) == 1:
            return _Servers("", {"defaults": {"baseUrl": next(iter(urls.values()))}})
        self._draft.environments = {name: {"baseUrl": url} for name, url in urls.items()}
        return _Servers("{{ .env.baseUrl }}", {"environment": next(iter(urls))})

    def _server_url(self, server: Json) -> str:
        values = table(server.get("variables"))
        url = re.sub(
            r"\{([^{}]+)\}",
            lambda found: str(table(values.get(found[1])).get("default", found[1])),
            str(server.get("url") or "/"),
        )
        url = url.replace("{{", "{").rstrip("/")
        if "://" in url and is_url(url):
            return url
        if "://" in url:
            self._draft.notes.add(
                "servers", f"have {url!r}, which is no URL; http://localhost was taken", "set the base URL"
            )
            return "http://localhost"
        self._draft.notes.add("servers", "name no host; http://localhost was taken", "set the base URL")
        return "http://localhost" + ("/" + url.lstrip("/") if url else "")

    def _base_of(self, fields: Json, servers: _Servers) -> str:
        own = entries(fields.get("servers"))
        return self._server_url(own[0]) if own else servers.base


class _Order:
    """The order in which operations can work."""

    def __init__(self, paths: Json) -> None:
        self._groups: dict[str, int] = {}
        for path in paths:
            self._groups.setdefault(_resource_of(str(path)), len(self._groups))

    def place_of(self, operation: Operation) -> tuple[int, bool, int, int]:
        """Give the key to sort by: resource, deletions last, from outside in (deletions from inside out), method."""
        depth = operation.path.count("/")
        is_deletion = operation.method == "DELETE"
        rank = _METHODS.index(operation.method.lower())
        return (self._groups[_resource_of(operation.path)], is_deletion, -depth if is_deletion else depth, rank)


def _resource_of(path: str) -> str:
    """Give the part of a path that is the same for all of a resource: what is before its first parameter."""
    return path.partition("{")[0].rstrip("/")
