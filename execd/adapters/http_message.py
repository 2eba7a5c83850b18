"""What a request looks like on the wire, and what becomes of it when it is redirected. Pure."""

from __future__ import annotations

import base64
import re

import h11
import msgspec

from execd.adapters.content_decoding import ACCEPTED_CODINGS
from execd.adapters.http_target import DEFAULT_PORTS, Target, resolve_location
from execd.ports.http_caller import BasicAuth, BearerAuth, Headers, HttpCallError, HttpRequest
from execd.version import VERSION

USER_AGENT = f"execd/{VERSION}".encode()
_DEFAULTS = (
    ("accept", (b"accept", b"*/*")),
    ("accept-encoding", (b"accept-encoding", ACCEPTED_CODINGS.encode())),
    ("user-agent", (b"user-agent", USER_AGENT)),
)
REPEATABLE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
"""Doing it twice is doing it once. Source: RFC 9110, section 9.2.2."""
_BODY_METHODS = frozenset({"POST", "PUT", "PATCH"})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_KEEP_METHOD = frozenset({307, 308})
_BODY_HEADERS = frozenset(
    {"content-type", "content-encoding", "content-language", "content-location", "content-length"}
)
_FRAMING = frozenset(
    {
        *("connection", "content-length", "expect", "keep-alive", "proxy-connection", "te", "trailer"),
        *("transfer-encoding", "upgrade"),
    }
)
"""Headers that frame the message; from a caller they could only contradict it."""
_CREDENTIALS = re.compile(r"authorization|cookie|token|secret|password|api-?key|^x-auth|^host$|^x-amz-")
"""Headers that another origin must not get: those of the standard, and what APIs call theirs. `Host` would lie there."""


def encode_request(request: HttpRequest, target: Target) -> h11.Request:
    """Make the head of a request.

    Raises:
        HttpCallError: `invalid_request`; the message names the field and never its value.
    """
    method = request.method.upper()
    if method in {"CONNECT", "TRACE"}:
        raise HttpCallError(f"{method} requests are not sent", code="invalid_request")
    names = {name.lower() for name, _ in request.headers}
    headers: list[tuple[bytes, bytes]] = []
    if "host" not in names:
        headers.append((b"Host", target.authority.encode()))
    headers += [_encode_header(name, value) for name, value in _chosen_headers(request)]
    headers += [header for name, header in _DEFAULTS if name not in names]
    if request.body is not None or method in _BODY_METHODS:
        headers.append((b"Content-Length", str(len(request.body or b"")).encode()))
    try:
        return h11.Request(method=method, target=target.path, headers=headers)
    except (h11.LocalProtocolError, UnicodeEncodeError):
        raise HttpCallError("the method or a header is not one HTTP allows", code="invalid_request") from None


def _chosen_headers(request: HttpRequest) -> list[tuple[str, str]]:
    """Give the caller's headers, and the credentials as headers."""
    if not request.headers and request.auth is None and not request.cookies:
        return []
    replaced = set(_FRAMING)
    added: list[tuple[str, str]] = []
    if request.auth is not None:
        replaced.add("authorization")
        added.append(("Authorization", _authorization(request.auth)))
    if request.cookies:
        own = [value for name, value in request.headers if name.lower() == "cookie"]
        replaced.add("cookie")
        added.append(("Cookie", "; ".join([*own, *(f"{name}={value}" for name, value in request.cookies)])))
    return [header for header in request.headers if header[0].lower() not in replaced] + added


def _authorization(auth: BasicAuth | BearerAuth) -> str:
    if isinstance(auth, BearerAuth):
        return f"Bearer {auth.token}"
    return "Basic " + base64.b64encode(f"{auth.username}:{auth.password}".encode()).decode()


def _encode_header(name: str, value: str) -> tuple[bytes, bytes]:
    try:
        return name.encode("ascii"), _encode_value(value.strip(" \t"))
    except UnicodeEncodeError:
        raise HttpCallError(f"the header {name!a} is not text HTTP can carry", code="invalid_request") from None


def _encode_value(value: str) -> bytes:
    """In Latin-1, as headers are read and as other clients write them; what has further characters in UTF-8."""
    try:
        return value.encode("latin-1")
    except UnicodeEncodeError:
        return value.encode()


def decode_headers(response: h11.Response) -> Headers:
    """Give the headers of an answer as text, names in lower case; bytes outside ASCII become Latin-1 (RFC 9110, 5.5)."""
    return tuple([(name.decode("latin-1"), value.decode("latin-1")) for name, value in response.headers])


def first_header(headers: Headers, wanted: str) -> str | None:
    """Find a header by its name in lower case."""
    for name, value in headers:
        if name == wanted:
            return value
    return None


class NextHop(msgspec.Struct, frozen=True):
    """A redirect, followed."""

    request: HttpRequest
    target: Target


def follow_redirect(request: HttpRequest, target: Target, status: int, headers: Headers) -> NextHop | None:
    """Make the request that a redirect asks for; None when the answer is none.

    What may be a credential goes to the same origin only, or to the same host when it moves from http to https. Once left
    out it does not come back.

    Raises:
        HttpCallError: `invalid_url`: it leads to something that is not http or https.
    """
    location = first_header(headers, "location") if status in _REDIRECTS else None
    if not location:
        return None
    there = resolve_location(target, _percent_encode(location))
    followed = request
    if _becomes_get(request.method.upper(), status):
        kept = tuple(header for header in request.headers if header[0].lower() not in _BODY_HEADERS)
        followed = msgspec.structs.replace(followed, method="GET", body=None, headers=kept)
    if there.origin != target.origin and not _is_upgrade(target, there):
        kept = tuple(header for header in followed.headers if not _CREDENTIALS.search(header[0].lower()))
        followed = msgspec.structs.replace(followed, auth=None, cookies=(), headers=kept)
    elif request.keeps_cookies and there.origin == target.origin:
        followed = msgspec.structs.replace(followed, cookies=_with_cookies(request.cookies, headers))
    return NextHop(msgspec.structs.replace(followed, url=there.url), there)


def _with_cookies(cookies: Headers, headers: Headers) -> Headers:
    """Add what an answer sets to what is sent; an empty value takes a cookie back."""
    jar = dict(cookies)
    for line in (value for name, value in headers if name == "set-cookie"):
        name, mark, value = line.partition(";")[0].partition("=")
        if mark and name.strip():
            jar[name.strip()] = value.strip()
    return tuple((name, value) for name, value in jar.items() if value)


def _percent_encode(location: str) -> str:
    """Read a `Location` in UTF-8, as most servers mean it, though headers are Latin-1."""
    try:
        return location.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return location


def _becomes_get(method: str, status: int) -> bool:
    """Source: RFC 9110, section 15.4: 303 for all but HEAD, 301 and 302 for POST."""
    if status in _KEEP_METHOD or method in {"GET", "HEAD"}:
        return False
    return status == 303 or method == "POST"


def _is_upgrade(old: Target, new: Target) -> bool:
    is_default = old.port == DEFAULT_PORTS["http"] and new.port == DEFAULT_PORTS["https"]
    return old.host == new.host and (old.scheme, new.scheme) == ("http", "https") and is_default
