"""`http`: sends one request and gives its answer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

import msgspec

from execd.core.calls import MAX_OUTPUT_BYTES, Credentials, Headers, HttpCall
from execd.core.errors import ExecdError
from execd.core.fields import Fields, Range, describe, text_fault
from execd.core.nodes.kinds import Beginning, Calls, NodeType, Reading, as_text, failure, kind_of_value

MAX_TIMEOUT_S = 3600.0
MAX_REDIRECTS = 50
MAX_URL_CHARS = 64 * 1024
"""Longer than any server takes."""
MAX_PAIRS = 1000
"""Of headers, parameters or fields of a form."""
METHOD = re.compile(r"[A-Z][A-Z-]{0,31}", re.ASCII)
NEVER = frozenset({"CONNECT", "TRACE"})
"""Not requests for something, but ways to speak to what is in between."""
_CLASS = re.compile(r"[1-5]xx", re.ASCII)
_URL = "an absolute http or https URL, or an expression that gives one"
_PAIRS = "an object of texts or lists of texts, or an expression that gives one"
_QUERY = "an object, a list of {name, value}, or an expression that gives one of them"
_AUTH = "{basic: {username, password}} or {bearer: token}"
_STATUSES = 'statuses such as 200, or classes such as "2xx"'
_BODIES = ("json", "body", "form")


class HttpSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """At most one of `json`, `body` and `form` is set."""

    method: str = "GET"
    url: str
    headers: Any = None
    query: Any = None
    """Added to what the URL has; null leaves a parameter out."""
    json: Any = None
    body: Any = None
    form: Any = None
    auth: dict[str, Any] | None = None
    timeout_s: float = 60.0
    max_redirects: int = 10
    """0: a redirect is an answer like any other."""
    max_response_bytes: int = MAX_OUTPUT_BYTES
    """Of the body, decompressed; more is cut off and said."""
    verify_tls: bool = True
    expect_status: tuple[str, ...] = ()


class HttpType(NodeType[HttpSpec]):
    name = "http"
    spec_type = HttpSpec
    fields = HttpSpec.__struct_fields__
    takes_place = True

    def read(self, fields: Fields, reading: Reading) -> HttpSpec:
        given = [name for name in _BODIES if fields.has(name)]
        if len(given) > 1:
            fields.fault(given[1], f"stands beside {given[0]}", f"one of {', '.join(_BODIES)}")
        return HttpSpec(
            method=_read_method(fields),
            url=read_url(fields, "url"),
            headers=_read_pairs(fields, "headers"),
            query=_read_query(fields),
            json=fields.raw("json"),
            body=fields.raw("body"),
            form=_read_pairs(fields, "form"),
            auth=_read_auth(fields, reading),
            timeout_s=fields.number("timeout_s", Range(0.1, MAX_TIMEOUT_S, unit="seconds"), default=60.0),
            max_redirects=fields.integer("max_redirects", Range(0, MAX_REDIRECTS), default=10),
            max_response_bytes=fields.integer(
                "max_response_bytes", Range(0, MAX_OUTPUT_BYTES, unit="bytes"), default=MAX_OUTPUT_BYTES
            ),
            verify_tls=fields.flag("verify_tls", default=True),
            expect_status=_read_statuses(fields),
        )

    def templated(self, spec: HttpSpec) -> Any:
        return {name: getattr(spec, name) for name in ("url", "headers", "query", "json", "body", "form", "auth")}

    def begin(self, spec: HttpSpec, values: Any, at: datetime) -> Beginning:
        try:
            return Calls(_make_call(spec, values))
        except _UnusableError as error:
            return failure("http:request", error.message)


class _UnusableError(ExecdError):
    """A field's value is nothing a request can be made of; the message never holds it."""


def _make_call(spec: HttpSpec, values: Mapping[str, Any]) -> HttpCall:
    headers = tuple(make_pairs("headers", values["headers"]))
    body, media_type = _make_body(values)
    if media_type is not None and not any(name.lower() == "content-type" for name, _ in headers):
        headers = (*headers, ("Content-Type", media_type))
    return HttpCall(
        method=spec.method,
        url=_with_query(make_url("url", values["url"]), make_pairs("query", values["query"])),
        headers=headers,
        body=body,
        auth=_make_auth(values["auth"]),
        timeout_s=spec.timeout_s,
        max_redirects=spec.max_redirects,
        max_response_bytes=spec.max_response_bytes,
        verify_tls=spec.verify_tls,
        expect=spec.expect_status,
    )


def _make_body(values: Mapping[str, Any]) -> tuple[bytes | None, str | None]:
    """Give the body and its media type; None where there is none."""
    if values["json"] is not None:
        return msgspec.json.encode(values["json"]), "application/json"
    if values["form"] is not None:
        return urlencode(list(make_pairs("form", values["form"]))).encode(), "application/x-www-form-urlencoded"
    if values["body"] is not None:
        return as_text(values["body"]).encode(errors="replace"), "text/plain; charset=utf-8"
    return None, None


def _make_auth(value: Any) -> Credentials | None:
    if value is None:
        return None
    if "bearer" in value:
        return Credentials(token=_key("auth.bearer", value["bearer"]))
    basic = value["basic"]
    return Credentials(
        username=_key("auth.basic.username", basic["username"]), password=_key("auth.basic.password", basic["password"])
    )


def _key(field: str, value: Any) -> str:
    if not isinstance(value, str) or text_fault(value, max_chars=MAX_URL_CHARS) is not None:
        raise _UnusableError(f"`{field}` gave {kind_of_value(value)}; it must give text of one line.")
    return value


def make_url(field: str, value: Any) -> str:
    """Check what an expression gave for a URL; whether it leads anywhere is the caller's to see.

    Raises:
        ExecdError: it is no text that a URL could be.
    """
    if not isinstance(value, str) or not value.lower().startswith(("http://", "https://")):
        raise _UnusableError(f"`{field}` gave {kind_of_value(value)} that is no absolute http or https URL.")
    if (wrong := text_fault(value, max_chars=MAX_URL_CHARS)) is not None:
        raise _UnusableError(f"`{field}` {wrong}; at most {MAX_URL_CHARS} characters are taken.")
    return value


def _with_query(url: str, pairs: Iterable[tuple[str, str]]) -> str:
    added = urlencode(list(pairs), errors="replace")
    if not added:
        return url
    bare, mark, fragment = url.partition("#")
    joint = "" if bare.endswith(("?", "&")) else "&" if "?" in bare else "?"
    return f"{bare}{joint}{added}{mark}{fragment}"


def make_pairs(field: str, value: Any) -> Headers:
    """Give names and texts of an object, or of a list of `{name, value}`; null leaves one out, a list gives several.

    Raises:
        ExecdError: it is none of these, or has a text that no request can carry.
    """
    if value is None:
        return ()
    if isinstance(value, list) and all(isinstance(row, Mapping) and isinstance(row.get("name"), str) for row in value):
        rows = [(row["name"], row.get("value")) for row in value]
    elif isinstance(value, Mapping):
        rows = list(value.items())
    else:
        raise _UnusableError(f"`{field}` gave {kind_of_value(value)}; it must give an object.")
    pairs: list[tuple[str, str]] = []
    for name, given in rows:
        for item in given if isinstance(given, list) else [given]:
            if item is not None:
                pairs.append((name, as_text(item)))
    if any(text_fault(text, max_chars=MAX_OUTPUT_BYTES) for pair in pairs for text in pair):
        raise _UnusableError(f"`{field}` has a text that no request can carry: a NUL character, or more than 1 MiB.")
    return tuple(pairs)


def _read_method(fields: Fields) -> str:
    accepted = "GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS or another method but CONNECT and TRACE"
    method = (fields.text("method", max_chars=32, accepted=accepted) or "GET").upper()
    if not METHOD.fullmatch(method) or method in NEVER:
        fields.fault("method", "is no method for a request", accepted)
    return method


def read_url(fields: Fields, name: str) -> str:
    """Read a URL that may hold expressions; one without any is checked at once."""
    url = fields.required_text(name, max_chars=MAX_URL_CHARS, accepted=_URL)
    if url and "{{" not in url.partition("://")[0] and not url.lower().startswith(("http://", "https://")):
        fields.fault(name, "is no absolute http or https URL", _URL)
    return url


def _read_pairs(fields: Fields, name: str) -> Any:
    value = fields.raw(name)
    if isinstance(value, str) and "{{" in value:
        return value
    return dict(fields.mapping(name, max_count=MAX_PAIRS, accepted=_PAIRS)) if fields.has(name) else None


def _read_query(fields: Fields) -> Any:
    value = fields.raw("query")
    if not isinstance(value, list):
        return _read_pairs(fields, "query")
    for index, row in enumerate(value):
        if not isinstance(row, Mapping) or not isinstance(row.get("name"), str) or set(row) - {"name", "value"}:
            fields.fault(f"query[{index}]", describe(row), "{name, value}")
    return value


def _read_auth(fields: Fields, reading: Reading) -> dict[str, Any] | None:
    if not fields.has("auth"):
        return None
    inner = Fields(fields.raw("auth"), reading.faults, known=("basic", "bearer"), path=fields.path_of("auth"))
    if inner.has("basic") == inner.has("bearer"):
        inner.fault("", "has both basic and bearer" if inner.has("basic") else "has neither", _AUTH)
        return None
    if inner.has("bearer"):
        return {"bearer": inner.required_text("bearer", max_chars=MAX_URL_CHARS, accepted="a token")}
    known = ("username", "password")
    pair = Fields(inner.raw("basic"), reading.faults, known=known, path=inner.path_of("basic"))
    username = pair.required_text("username", max_chars=10_000, accepted="a user name")
    return {"basic": {"username": username, "password": pair.text("password", max_chars=10_000, accepted="text") or ""}}


def _read_statuses(fields: Fields) -> tuple[str, ...]:
    raw = fields.raw("expect_status")
    rows = [raw] if isinstance(raw, str | int) else fields.items("expect_status", max_count=100, accepted=_STATUSES)
    found = []
    for index, value in enumerate(rows):
        is_number = isinstance(value, int) and not isinstance(value, bool) and 100 <= value <= 599
        is_class = isinstance(value, str) and _CLASS.fullmatch(value.lower()) is not None
        if not is_number and not is_class:
            fields.fault(f"expect_status[{index}]", describe(value), _STATUSES)
        found.append(str(value).lower())
    return tuple(found)
