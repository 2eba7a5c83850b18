"""A flow written as a Postman collection v2.1, and its variables as an environment.

Validations become tests. What a step takes from an earlier answer becomes a collection variable that the earlier one's
test sets. What Postman cannot say (conditions, prompts, retries) is told in notes.
"""

from __future__ import annotations

from typing import Any

import msgspec

from execd.core.flows.bodies import FORM
from execd.core.formats.drafting import Exported, Json, Names, NoteBook
from execd.core.formats.flow_reading import FlowStep, form_pairs, read_steps
from execd.core.formats.loose_json import table, write_json, write_scalar
from execd.core.formats.placeholders import Reference, split_text
from execd.core.formats.postman_tests import write_tests
from execd.core.formats.urls import split_query

SCHEMA = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"
_LEFT_OUT = ("conditions", "userPrompts", "retry", "timeout", "continueOnError", "launchBrowser")


def export_collection(config: Json, *, name: str) -> Exported:
    """Write a flow as a collection of that name. Values of secrets are not in it, since a flow has none.

    Raises:
        InvalidRequestError: it is no flow.
    """
    steps = read_steps(config)
    writer = _Writer(config, steps)
    items = [writer.item_of(step) for step in steps if not step.is_finally]
    last = [writer.item_of(step) for step in steps if step.is_finally]
    if last:
        writer.notes.add("finally", "became the folder `finally`, which a failed run may not reach", "run it by hand")
        items.append({"name": "finally", "item": last})
    collection: Json = {"info": {"name": name, "schema": SCHEMA}, "item": items, "variable": writer.variables()}
    writer.tell_left_out(steps)
    return Exported(text=_indented(collection), notes=writer.notes.finish())


def export_environment(config: Json, *, name: str) -> Exported:
    """Write one environment of a flow, with its secrets as names to be filled in.

    Raises:
        InvalidRequestError: it is no flow.
    """
    writer = _Writer(config, read_steps(config))
    values = table(table(config.get("environments")).get(name))
    entries = [_variable(writer.name_of("env", key), value) for key, value in values.items()]
    declared = config.get("secrets")
    for secret in declared if isinstance(declared, list) else []:
        if isinstance(secret, str):
            entries.append({"key": writer.name_of("secrets", secret), "value": "", "type": "secret", "enabled": True})
    found: Json = {"name": name, "values": [{"enabled": True, **entry} for entry in entries]}
    return Exported(text=_indented(found | {"_postman_variable_scope": "environment"}), notes=writer.notes.finish())


def _indented(value: Json) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def _variable(key: str, value: Any) -> Json:
    kinds = {bool: "boolean", int: "number", float: "number"}
    return {"key": key, "value": value if isinstance(value, str) else write_scalar(value)} | (
        {"type": kinds[type(value)]} if type(value) in kinds else {}
    )


class _Writer:
    """Writes one flow. Owned by one export."""

    def __init__(self, config: Json, steps: list[FlowStep]) -> None:
        self.notes = NoteBook()
        self._config = config
        self._names: dict[tuple[str, str], str] = {}
        self._taken = Names("A-Za-z0-9_")
        self._captures: dict[str, dict[str, str]] = {step.id: {} for step in steps}
        for key in table(config.get("variables")):
            self.name_of("vars", key)
        for key in {name: 0 for values in table(config.get("environments")).values() for name in table(values)}:
            self.name_of("env", key)
        self._in_environments = {name for kind, name in self._names if kind == "env"}
        # Strictly before any item is written: an earlier step's test sets what a later one needs.
        self._texts = {step.path: self._translate(_parts_of(step), step.path) for step in steps}

    def name_of(self, kind: str, name: str) -> str:
        """Give the name of a variable in Postman, where secrets, inputs and variables are all of one kind."""
        key = (kind, name)
        if key not in self._names:
            self._names[key] = self._taken.take(name.replace("-", "_"), default="variable")
        return self._names[key]

    def variables(self) -> list[Json]:
        """Give the flow's variables, and what holds in all environments."""
        values, common = (
            table(self._config.get("variables")),
            table(table(self._config.get("environments")).get("_common")),
        )
        own = [_variable(self.name_of("vars", key), value) for key, value in values.items()]
        return own + [_variable(self.name_of("env", key), value) for key, value in common.items()]

    def tell_left_out(self, steps: list[FlowStep]) -> None:
        for key in ("data", "cookies"):
            if self._config.get(key):
                self.notes.add(
                    key, "is not in the collection", "Postman's runner takes rows, and keeps cookies by itself"
                )
        for step in steps:
            for key in _LEFT_OUT:
                if step.raw.get(key):
                    self.notes.add(f"{step.path}.{key}", "cannot be said in Postman", "write a script there by hand")

    def item_of(self, step: FlowStep) -> Json:
        parts = self._texts[step.path]
        request: Json = {
            "method": step.method,
            "header": self._headers(step, parts["headers"]),
            "url": _url_of(parts["url"]),
        }
        if parts["body"] not in (None, ""):
            request["body"] = self._body(step, parts["body"])
        request["auth"] = _auth_of(parts["auth"])
        tests = write_tests(step, self._captures[step.id], self.notes)
        event = {"listen": "test", "script": {"type": "text/javascript", "exec": tests}}
        return {"id": step.id, "name": step.name, "event": [event], "request": request}

    def _translate(self, value: Any, path: str) -> Any:
        match value:
            case str() if "{{" in value:
                return "".join(self._part(part, path) for part in split_text(value))
            case list():
                return [self._translate(item, path) for item in value]
            case dict():
                return {key: self._translate(item, path) for key, item in value.items()}
        return value

    def _part(self, part: str | Reference, path: str) -> str:
        if isinstance(part, str):
            return part
        match part.kind:
            case "dynamic":
                return f"{{{{${part.name}}}}}"
            case "responses":
                name = self.name_of("responses", f"{part.name}{part.path}")
                self._captures.setdefault(part.name, {})[name] = part.path
                return f"{{{{{name}}}}}"
            case "input" | "env":
                name = self.name_of(part.kind, part.name)
                if part.kind == "env" and part.name in self._in_environments:
                    return f"{{{{{name}}}}}"
                self.notes.add(path, f"reads .{part.kind}.{part.name}", f"set {name} in an environment")
                return f"{{{{{name}}}}}"
        return f"{{{{{self.name_of(part.kind, part.name)}}}}}"

    def _headers(self, step: FlowStep, headers: dict[str, str]) -> list[Json]:
        is_multipart = isinstance(step.body, dict) and "multipart/form-data" in step.header("content-type")
        items = [
            {"key": key, "value": value}
            for key, value in headers.items()
            if not (is_multipart and key.lower() == "content-type")
        ]
        if step.body not in (None, "") and not step.header("content-type"):
            kind = FORM if isinstance(step.body, str) else "application/json"  # where Postman would say text/plain
            items.append({"key": "Content-Type", "value": kind})
        return items

    def _body(self, step: FlowStep, body: Any) -> Json:
        if not step.sends_body:
            self.notes.add(
                f"{step.path}.body", f"is not sent by the flow with {step.method}, but by Postman", "delete it"
            )
        kind = step.header("content-type")
        if isinstance(body, dict) and "multipart/form-data" in kind:
            pairs = [{"key": key, "value": value, "type": "text"} for key, value in form_pairs(body)]
            return {"mode": "formdata", "formdata": pairs}
        if isinstance(body, dict) and FORM in kind:
            pairs = [{"key": key, "value": value} for key, value in form_pairs(body)]
            return {"mode": "urlencoded", "urlencoded": pairs}
        raw = body if isinstance(body, str) else self._without_quotes(write_json(body), step)
        language = "json" if "json" in kind or not isinstance(body, str) else "text"
        return {"mode": "raw", "raw": raw, "options": {"raw": {"language": language}}}

    def _without_quotes(self, raw: str, step: FlowStep) -> str:
        """Take the quotes off placeholders that stand for numbers and the like, if the flow keeps their types."""
        if self._config.get("typed") is not True:
            return raw
        if '"{{' in raw and self._captures_are_read(step):
            message = "has values of answers that keep their type in the flow and are texts in Postman"
            self.notes.add(f"{step.path}.body", message, "take the quotes off numbers")
        environments = table(self._config.get("environments")).values()
        values = [("vars", table(self._config.get("variables"))), *(("env", table(found)) for found in environments)]
        for kind, found in values:
            for name, value in found.items():
                if isinstance(value, bool | int | float):
                    shown = f"{{{{{self.name_of(kind, name)}}}}}"
                    raw = raw.replace(f'"{shown}"', shown)
        return raw

    def _captures_are_read(self, step: FlowStep) -> bool:
        return "{{ .responses." in write_json(step.body)


def _parts_of(step: FlowStep) -> Json:
    return {"url": step.url, "headers": step.headers, "body": step.body, "auth": step.auth}


def _auth_of(auth: Json | None) -> Json:
    """Say a request's auth; a flow's steps inherit none from folders, so none is said too."""
    found = auth or {}
    kind = found.get("type")
    pairs: Json = {}
    match kind:
        case "basic":
            pairs = {"username": found.get("username", ""), "password": found.get("password", "")}
        case "bearer":
            pairs = {"token": found.get("token", "")}
        case "api_key":
            kind = "apikey"
            pairs = {"key": found.get("name", ""), "value": found.get("value", ""), "in": found.get("in") or "header"}
        case _:
            return {"type": "noauth"}
    items = [{"key": key, "value": write_scalar(value), "type": "string"} for key, value in pairs.items()]
    return {"type": kind, str(kind): items}


def _url_of(url: str) -> Json:
    """Take a URL apart as Postman's editor shows it; what it cannot show is in `raw` alone."""
    head, pairs, fragment = split_query(url)
    found: Json = {"raw": url}
    scheme, mark, rest = head.partition("://") if "://" in head else ("", "", head)
    host, _, path = rest.partition("/")
    if not host or fragment or "@" in host or "[" in host or any(part.startswith(":") for part in path.split("/")):
        return found
    name, colon, port = host.rpartition(":")
    if colon and "{{" not in host:
        host, found["port"] = name, port
    found |= {"protocol": scheme} if mark else {}
    found["host"] = [host] if "{{" in host else host.split(".")
    if "/" in rest:
        found["path"] = path.split("/")
    query = [pair.partition("=") for pair in pairs]
    if query:
        found["query"] = [{"key": key, "value": value if equals else None} for key, equals, value in query]
    return found
