"""Recordings of browsers and proxies (HAR 1.2), read into a flow that makes the calls again.

By default pictures, scripts and the like are left out, credentials become secrets, and what an answer gave and a later
request sent becomes a reference. Cookies that answers set are left to `cookies: true`.
Source: HTTP Archive 1.2 (W3C draft of 2012-08-14), and what Chromium, Firefox and mitmproxy write.
"""

from __future__ import annotations

import re
from base64 import b64decode
from enum import Enum
from typing import Any
from urllib.parse import urljoin, urlsplit

from execd.core.fields import is_nested_deeper
from execd.core.flows.bodies import BODY_METHODS, FORM
from execd.core.formats.credentials import (
    Credentials,
    hide_auth,
    hide_body,
    hide_form,
    hide_headers,
    hide_query,
    read_authorization,
)
from execd.core.formats.drafting import MAX_DEPTH, MAX_STEPS, Draft, Imported, Json, read_json, refuse
from execd.core.formats.flow_reading import METHODS
from execd.core.formats.har_links import Links
from execd.core.formats.loose_json import entries, read_json_body, table, text_of
from execd.core.formats.urls import encode_text, name_of_request

MAX_HAR_CHARS = 64 * 1024 * 1024
"""Recordings hold every answer; ten minutes of a browser are some 30 MiB."""
_WHAT = "a HAR 1.2 file (JSON)"
_STATIC_TYPES = re.compile(
    r"image/|font/|audio/|video/|text/css|(text|application)/(x-)?javascript|application/(x-)?font|application/wasm"
)
_STATIC_ENDINGS = re.compile(
    r"\.(png|jpe?g|gif|svg|webp|avif|ico|css|m?js|map|woff2?|ttf|otf|eot|mp4|webm|mp3|wasm)\Z", re.IGNORECASE
)
_STATIC_KINDS = frozenset(
    {"image", "font", "stylesheet", "script", "media", "manifest", "texttrack", "ping", "preflight"}
)
_BROWSER_HEADERS = re.compile(
    r":.*|sec-.*|host|connection|content-length|accept-encoding|accept-language|user-agent|referer|dnt|priority|pragma"
    r"|cache-control|upgrade-insecure-requests|if-none-match|if-modified-since|te|transfer-encoding|keep-alive"
    r"|proxy-connection|proxy-authorization|expect|x-client-data"
)


class Keep(Enum):
    """Which of the recorded requests become steps."""

    API_CALLS = "api_calls"
    """All but pictures, fonts, styles, scripts and other things that belong to a page; the default."""
    EVERYTHING = "everything"
    """All that HTTP can repeat."""


def import_har(
    text: str, *, keep: Keep = Keep.API_CALLS, credentials: Credentials = Credentials.AS_SECRETS
) -> Imported:
    """Read a recording.

    Raises:
        PayloadTooLargeError: it is longer than `MAX_HAR_CHARS`.
        InvalidRequestError: it is no HAR, or nothing is left to be done again.
    """
    har = read_json(text, what=_WHAT, max_chars=MAX_HAR_CHARS)
    log = table(har.get("log"))
    if not isinstance(log.get("entries"), list):
        raise refuse("log.entries", "is no list", _WHAT)
    return _RecordingReader(keep, credentials).read(log["entries"])


class _RecordingReader:
    """Reads one recording, entry by entry. Owned by one import."""

    def __init__(self, keep: Keep, credentials: Credentials) -> None:
        self._draft = Draft()
        self._links = Links()
        self._keeps_all = keep is Keep.EVERYTHING
        self._hides = credentials is Credentials.AS_SECRETS
        self._cookies: set[str] = set()
        """Names that answers have set so far."""
        self._left_out: dict[str, int] = {}
        self._redirected: dict[str, Json] = {}
        """URL -> the step whose redirect leads there; the flow follows it by itself."""

    def read(self, found: list[Any]) -> Imported:
        for index, entry in enumerate(found):
            if isinstance(entry, dict) and len(self._draft.nodes) <= MAX_STEPS:
                self._take(entry, path=f"log.entries[{index}]")
        for reason, count in self._left_out.items():
            self._draft.notes.add("", f"{count} requests were left out: {reason}", "keep everything if they matter")
        if self._links.count:
            message = f"{self._links.count} values were recognised as parts of earlier answers"
            self._draft.notes.add("", message, "look whether each reference is meant")
        return self._draft.finish(cookies=bool(self._cookies))

    def _leave_out(self, reason: str) -> None:
        self._left_out[reason] = self._left_out.get(reason, 0) + 1

    def _take(self, entry: Json, *, path: str) -> None:
        request, response = table(entry.get("request")), table(entry.get("response"))
        url = text_of(request.get("url")).partition("#")[0]
        status = response.get("status") if isinstance(response.get("status"), int) else 0
        reason = self._reason_to_leave_out(entry, request, response, url)
        if reason is None and url in self._redirected and request.get("method") == "GET":
            self._finish_redirect(self._redirected.pop(url), response, url, int(status or 0))
            reason = "the flow follows redirects by itself"
        self._keep_cookies(response)
        if reason is not None:
            self._leave_out(reason)
            return
        node = self._step(request, url, path=path)
        self._add_status(node, response, url, int(status or 0), path=path)
        self._draft.add_step(node, path=path)
        self._keep_answer(node["id"], response)

    def _reason_to_leave_out(self, entry: Json, request: Json, response: Json, url: str) -> str | None:
        if not url.startswith(("http://", "https://")):
            return "not HTTP"
        if text_of(request.get("method") or "GET").upper() not in METHODS:
            return "a method that flows do not have"
        if entry.get("_resourceType") == "websocket" or response.get("status") == 101:
            return "a WebSocket"
        if text_of(request.get("method")).upper() == "OPTIONS" and not self._keeps_all:
            return "a preflight of the browser"
        if not self._keeps_all and _is_static(entry, response, url):
            return "part of a page (pictures, styles, scripts)"
        return None

    def _keep_cookies(self, response: Json) -> None:
        for header in entries(response.get("headers")):
            if text_of(header.get("name")).lower() == "set-cookie":
                lines = text_of(header.get("value")).splitlines()
                self._cookies |= {line.partition("=")[0].strip() for line in lines if "=" in line}

    def _step(self, request: Json, url: str, *, path: str) -> Json:
        method = text_of(request.get("method") or "GET").upper()
        name = name_of_request(method, url)
        headers = self._headers(request)
        body = self._body(table(request.get("postData")), headers, path=path)
        auth = self._auth(headers)
        node: Json = {
            "id": self._draft.new_id(name.lower()),
            "name": name.replace("{{", "{"),
            "method": method,
            "url": self._links.link_url(url),
            "headers": {key: self._links.link_header(value) for key, value in headers.items()},
            "body": self._links.link_body(body),
            "auth": {key: self._links.link(value) for key, value in auth.items()} if auth else None,
        }
        if body is not None and method not in BODY_METHODS:
            self._draft.notes.add(path, f"has a body, and flows send none with {method}", "do it in a script step")
        if self._hides:
            self._hide(node, path=path)
        return {key: value for key, value in node.items() if value or (key == "body" and value is not None)}

    def _hide(self, node: Json, *, path: str) -> None:
        """Put placeholders in place of credentials; strictly after linking, which may have explained them."""
        node["url"] = hide_query(self._draft, node["url"], path=path)
        kind = _content_type(node["headers"])
        node["headers"] = hide_headers(self._draft, node["headers"], path=path)
        if node["auth"]:
            node["auth"] = hide_auth(self._draft, node["auth"], path=path)
        if isinstance(node["body"], str) and FORM in kind:
            node["body"] = hide_form(self._draft, node["body"], path=f"{path}.body")
        node["body"] = hide_body(self._draft, node["body"], path=f"{path}.body")

    def _headers(self, request: Json) -> dict[str, str]:
        headers: dict[str, str] = {}
        for item in entries(request.get("headers")):
            name, value = text_of(item.get("name")), text_of(item.get("value"))
            if not name or _BROWSER_HEADERS.fullmatch(name.lower()):
                continue
            if name.lower() == "cookie":
                value = self._unknown_cookies(value)
                if not value:
                    continue
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        return headers

    def _unknown_cookies(self, value: str) -> str:
        """Give the cookies that no recorded answer has set, so that no jar will have them."""
        pairs = [pair.strip() for pair in value.split(";") if pair.strip()]
        return "; ".join(pair for pair in pairs if pair.partition("=")[0] not in self._cookies)

    def _auth(self, headers: dict[str, str]) -> Json | None:
        name = next((name for name in headers if name.lower() == "authorization"), None)
        auth = read_authorization(headers[name]) if name else None
        if name and auth:
            del headers[name]
        return auth

    def _body(self, data: Json, headers: dict[str, str], *, path: str) -> Any:
        kind = text_of(data.get("mimeType")) or _content_type(headers)
        parameters = entries(data.get("params"))
        if "multipart/form-data" in kind:
            return self._multipart(parameters, headers, path=path)
        text = _decoded(data.get("text"), data.get("encoding"))
        if text is None:
            self._draft.notes.add(path, "has a body that is no text, and was left out", "send it with a script step")
            return None
        if not text and parameters:
            pairs = ((text_of(item.get("name")), text_of(item.get("value"))) for item in parameters)
            text = "&".join(f"{encode_text(name)}={encode_text(value)}" for name, value in pairs)
        if not text:
            return None
        if kind and not _content_type(headers):
            headers["Content-Type"] = kind
        body = read_json_body(text) if "json" in kind else text
        return text if is_nested_deeper(body, MAX_DEPTH) else body

    def _multipart(self, parameters: list[Json], headers: dict[str, str], *, path: str) -> Json:
        for name in [name for name in headers if name.lower() == "content-type"]:
            del headers[name]
        headers["Content-Type"] = "multipart/form-data"
        files = [text_of(item.get("name")) for item in parameters if item.get("fileName")]
        if files or not parameters:
            self._draft.notes.add(
                path, f"has parts that were left out: {', '.join(files)[:100] or 'all'}", "use a script step"
            )
        return {
            text_of(item.get("name")): text_of(item.get("value")) for item in parameters if not item.get("fileName")
        }

    def _add_status(self, node: Json, response: Json, url: str, status: int, *, path: str) -> None:
        target = text_of(response.get("redirectURL"))
        if status == 0:
            self._draft.notes.add(path, "had no answer when it was recorded; 200 is checked", "say what is right")
        elif 300 <= status < 400 and status != 304 and target:
            self._redirected[urljoin(url, target).partition("#")[0]] = node
        elif status == 304:
            node["validations"] = [{"httpStatusCode": 200}]  # the flow sends no `If-None-Match`
        elif 100 <= status < 600:
            node["validations"] = [{"httpStatusCode": status}]

    def _finish_redirect(self, node: Json, response: Json, url: str, status: int) -> None:
        """Give the first step of a chain of redirects what the last one answered."""
        stored = next((kept for kept in self._draft.nodes if kept["id"] == node["id"]), None)
        target = text_of(response.get("redirectURL"))
        if stored is None:
            return
        if 300 <= status < 400 and target:
            self._redirected[urljoin(url, target).partition("#")[0]] = node
        elif status:
            stored["validations"] = [{"httpStatusCode": status}]
            self._keep_answer(node["id"], response)

    def _keep_answer(self, step_id: str, response: Json) -> None:
        content = table(response.get("content"))
        if "json" not in text_of(content.get("mimeType")):
            return
        text = _decoded(content.get("text"), content.get("encoding"))
        body = read_json_body(text) if text else None
        if isinstance(body, dict | list) and not is_nested_deeper(body, MAX_DEPTH):
            self._links.keep(step_id, body)


def _is_static(entry: Json, response: Json, url: str) -> bool:
    if text_of(entry.get("_resourceType")) in _STATIC_KINDS:
        return True
    kind = text_of(table(response.get("content")).get("mimeType"))
    return bool(_STATIC_TYPES.match(kind)) or bool(_STATIC_ENDINGS.search(_path_of(url)))


def _path_of(url: str) -> str:
    try:
        return urlsplit(url).path
    except ValueError:
        return ""


def _content_type(headers: dict[str, str]) -> str:
    return next((value for name, value in headers.items() if name.lower() == "content-type"), "")


def _decoded(text: Any, encoding: Any) -> str | None:
    """Give the text of a body; None where it is bytes."""
    if encoding != "base64":
        return text_of(text)
    try:
        return b64decode(text_of(text), validate=True).decode()
    except ValueError:
        return None
