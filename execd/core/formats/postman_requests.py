"""One request of a Postman collection: its URL, headers, body and auth, said as a step says them.

Source: the Postman Collection Format v2.1.0. Files that older versions wrote (headers as text, auth as an object) are read too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from execd.core.flows.bodies import BODY_METHODS, FORM
from execd.core.formats.credentials import hide_auth, hide_headers, read_authorization
from execd.core.formats.drafting import Draft, Json
from execd.core.formats.loose_json import entries, quote_placeholders, read_json_body, table, text_of
from execd.core.formats.postman_variables import Scope
from execd.core.formats.urls import encode_text

_LANGUAGES = {
    "json": "application/json", "xml": "application/xml", "html": "text/html", "javascript": "application/javascript",
}  # fmt: skip


def attributes(auth: Json) -> Json:
    """Give what an auth says of its type: a list of pairs since v2.1, an object before."""
    found = auth.get(text_of(auth.get("type")))
    if isinstance(found, dict):
        return found
    return {text_of(item.get("key")): item.get("value") for item in entries(found)}


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text.encode(errors="replace"))
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


class RequestReader:
    """Makes steps of requests. Owned by one import."""

    def __init__(self, draft: Draft, scope: Scope) -> None:
        self._draft = draft
        self._scope = scope

    def read(self, request: Json, auth: Json, *, path: str) -> Json:
        """Give the part of a step that says what is sent.

        Args:
            auth: the request's own or the nearest it inherits; empty for none.
        """
        method = text_of(request.get("method") or "GET").upper()
        headers = self._headers(request.get("header"), path=f"{path}.header")
        node: Json = {"method": method, "url": self._url(request.get("url"), path=f"{path}.url")}
        body = self._body(table(request.get("body")), headers, path=f"{path}.body")
        found = self._auth(auth, headers, path=f"{path}.auth")
        headers = hide_headers(self._draft, headers, path=path)
        if body is not None and method not in BODY_METHODS:
            self._draft.notes.add(f"{path}.body", f"is not sent with {method}", "do it in a script step")
        parts = {"headers": headers, "body": body, "auth": found}
        return node | {key: value for key, value in parts.items() if value or (key == "body" and value is not None)}

    def _text(self, value: Any, path: str) -> str:
        return self._scope.text(text_of(value), path=path)

    def _enabled(self, items: Any) -> Iterator[Json]:
        return (item for item in entries(items) if item.get("disabled") is not True)

    def _url(self, url: Any, *, path: str) -> str:
        if not isinstance(url, dict):
            return self._with_scheme(self._text(url, path))
        host = url.get("host")
        if not host:
            return self._with_scheme(self._text(url.get("raw"), path))
        parts = [self._authority(url, host, path), self._path(url, path)]
        pairs = [self._pair(item, path) for item in self._enabled(url.get("query"))]
        if pairs:
            parts.append("?" + "&".join(pairs))
        return self._with_scheme("".join(parts))

    def _authority(self, url: Json, host: Any, path: str) -> str:
        name = ".".join(text_of(label) for label in host) if isinstance(host, list) else text_of(host)
        scheme = f"{text_of(url['protocol'])}://" if url.get("protocol") else ""
        port = f":{text_of(url['port'])}" if url.get("port") else ""
        auth = table(url.get("auth"))
        if auth.get("user"):
            self._draft.notes.add(path, "has a user before its host, which was left out", "use auth: basic")
        return self._text(f"{scheme}{name}{port}", path)

    def _path(self, url: Json, path: str) -> str:
        values = {
            text_of(item.get("key") or item.get("id")): item.get("value") for item in entries(url.get("variable"))
        }
        segments = url.get("path")
        if isinstance(segments, str):
            segments = segments.removeprefix("/").split("/")
        if not isinstance(segments, list):
            return ""
        names = [text_of(segment.get("value") if isinstance(segment, dict) else segment) for segment in segments]
        return "".join("/" + self._segment(name, values, path) for name in names)

    def _segment(self, name: str, values: Json, path: str) -> str:
        if not name.startswith(":") or name[1:] not in values:
            return self._text(name, path)
        value = text_of(values[name[1:]])
        if value:
            return encode_text(self._text(value, path), safe="-._~!$&'()*+,;=:@%")
        word = self._scope.word_of(name[1:])
        self._draft.variables.setdefault(word, "")
        self._draft.notes.add(path, f"the value of {name} is empty", f"set variables.{word}")
        return f"{{{{ .vars.{word} }}}}"

    def _pair(self, item: Json, path: str) -> str:
        key = self._text(item.get("key"), path)
        return key if item.get("value") is None else f"{key}={self._text(item['value'], path).replace('#', '%23')}"

    def _with_scheme(self, url: str) -> str:
        url = url.strip()
        return url if "://" in url or url.startswith("{{") or not url else f"http://{url}"

    def _headers(self, found: Any, *, path: str) -> dict[str, str]:
        if isinstance(found, str):
            lines = (line.partition(":") for line in found.splitlines())
            found = [{"key": key.strip(), "value": value.strip()} for key, _, value in lines]
        headers: dict[str, str] = {}
        for item in self._enabled(found):
            name, value = self._text(item.get("key"), path), self._text(item.get("value"), path)
            if name in headers:
                self._draft.notes.add(path, f"{name} stands twice; its values were joined", "see whether that is right")
                value = f"{headers[name]}, {value}"
            if name:
                headers[name] = value
        return headers

    def _set_type(self, headers: dict[str, str], kind: str) -> None:
        if not any(name.lower() == "content-type" for name in headers):
            headers["Content-Type"] = kind

    def _body(self, body: Json, headers: dict[str, str], *, path: str) -> Any:
        if body.get("disabled") is True:
            return None
        match body.get("mode"):
            case "raw":
                return self._raw(body, headers, path=path)
            case "graphql":
                return self._graphql(table(body.get("graphql")), headers, path=path)
            case "urlencoded":
                return self._urlencoded(body.get("urlencoded"), headers, path=path)
            case "formdata":
                return self._formdata(body.get("formdata"), headers, path=path)
            case "file":
                self._draft.notes.add(path, "comes from a file and was left out", "write it into the step")
            case None:
                return None
            case mode:
                self._draft.notes.add(
                    path, f"has the mode {text_of(mode)[:40]} and was left out", "write it into the step"
                )
        return None

    def _raw(self, body: Json, headers: dict[str, str], *, path: str) -> Any:
        raw = text_of(body.get("raw"))
        language = text_of(table(table(body.get("options")).get("raw")).get("language"))
        if not raw:
            return None
        self._set_type(headers, _LANGUAGES.get(language, "text/plain"))
        kind = next(value for name, value in headers.items() if name.lower() == "content-type")
        if "json" not in kind.lower():
            return self._text(raw, path)
        return self._json(raw, path=path)

    def _json(self, raw: str, *, path: str) -> Any:
        """Give the object or list that a JSON text says; the text where variables stand outside its quotes."""
        value, bare = (read_json_body(raw), []) if "{{" not in raw else quote_placeholders(raw)
        self._draft.typed_words |= {self._scope.word_of(name.strip("{} ")) for name in bare}
        if isinstance(value, str) and "{{" not in raw and not _is_json(raw):
            self._draft.notes.add(path, "is not JSON though its type says so", "it is sent as a text; mend it")
        return self._scope.value(value, path=path)

    def _graphql(self, graphql: Json, headers: dict[str, str], *, path: str) -> Any:
        self._set_type(headers, "application/json")
        body: Json = {"query": self._text(graphql.get("query"), path)}
        if graphql.get("operationName"):
            body["operationName"] = self._text(graphql["operationName"], path)
        variables = graphql.get("variables")
        if isinstance(variables, str) and variables.strip():
            variables = self._json(variables, path=f"{path}.variables")
        elif isinstance(variables, dict):
            variables = self._scope.value(variables, path=path)
        return body | ({"variables": variables} if variables else {})

    def _urlencoded(self, items: Any, headers: dict[str, str], *, path: str) -> Any:
        self._set_type(headers, FORM)
        if isinstance(items, str):
            return self._text(items, path)
        pairs = [
            (self._text(item.get("key"), path), self._text(item.get("value"), path)) for item in self._enabled(items)
        ]
        if len(dict(pairs)) == len(pairs) and not any("{{" in name for name, _ in pairs):
            return dict(pairs)  # where keys are texts that nothing is put into
        return "&".join(f"{encode_text(name)}={encode_text(value)}" for name, value in pairs)

    def _formdata(self, items: Any, headers: dict[str, str], *, path: str) -> Any:
        for name in [name for name in headers if name.lower() == "content-type"]:
            del headers[name]
        headers["Content-Type"] = "multipart/form-data"
        body: Json = {}
        for item in self._enabled(items):
            name = self._text(item.get("key"), path)
            if "{{" in name:
                self._draft.notes.add(path, f"the name of the part {name[:60]} is not filled in", "write it out")
            if item.get("type") == "file":
                self._draft.notes.add(
                    path, f"the part {name[:60]} is a file and was left out", "send files with a script"
                )
                continue
            if name in body:
                self._draft.notes.add(
                    path, f"the part {name[:60]} stands twice; the last was taken", "use a script step"
                )
            body[name] = self._text(item.get("value"), path)
        return body

    def _auth(self, auth: Json, headers: dict[str, str], *, path: str) -> Json | None:
        made = self._auth_of_type(auth, path=path)
        own = next((name for name in headers if name.lower() == "authorization"), None)
        if made is None and own is not None:
            made = read_authorization(headers[own])
            if made is not None:
                del headers[own]
        return hide_auth(self._draft, made, path=path) if made else None

    def _auth_of_type(self, auth: Json, *, path: str) -> Json | None:
        found = {key: self._text(value, path) for key, value in attributes(auth).items() if not isinstance(value, bool)}
        kind = text_of(auth.get("type"))
        match kind:
            case "" | "noauth":
                return None
            case "basic":
                return {"type": "basic", "username": found.get("username", ""), "password": found.get("password", "")}
            case "bearer":
                return {"type": "bearer", "token": found.get("token", "")}
            case "apikey":
                place = "query" if found.get("in") == "query" else "header"
                return {"type": "api_key", "name": found.get("key", ""), "value": found.get("value", ""), "in": place}
            case "oauth2":
                token = found.get("accessToken") or self._draft.declare_secret("access_token")
                self._draft.notes.add(
                    path, "is OAuth 2; the flow only sends the token", "get the token in a step before"
                )
                return {"type": "bearer", "token": token}
        self._draft.notes.add(path, f"has the type {kind[:40]} and was left out", "sign the request in a script step")
        return None
