"""Calls to the outside that a node asks for, what came of them, and how such an attempt ends.

No `repr` here names a header, a body or a credential, so that orders may be logged.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

import msgspec

from execd.core.event_parts import Failure
from execd.core.events import Status
from execd.core.masking import Mask
from execd.core.outcome import Outcome

Headers = tuple[tuple[str, str], ...]
"""Names and values in order; a name may come more than once."""

MAX_OUTPUT_BYTES = 1024 * 1024
"""Of what a node gives, as JSON; more belongs into a file."""
MAX_RETRY_AFTER_S = 300.0
"""What another server may make a node wait: longer waits look like a hang."""
REPEATABLE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
"""Doing it twice is doing it once. Source: RFC 9110, section 9.2.2."""
_CREDENTIALS = re.compile(
    r"(proxy-)?authorization|.*api-?key|x-auth-token|x-access-token|private-token|.*secret.*|.*password.*",
    re.IGNORECASE,
)
"""Headers whose value is somebody's key. Not cookies and other tokens: what a server sends back of these is often needed."""
_HOST = re.compile(r"(\[[^]]*\]|[^:\[]*)(:\d*)?")


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """What a request proves itself with: a user name and a password, or a token."""

    username: str = ""
    password: str = ""
    token: str | None = None
    """When set, it is sent as a bearer token, and the others are not."""

    def __repr__(self) -> str:
        return "Credentials(***)"

    @property
    def secrets(self) -> tuple[str, ...]:
        """Give every text that must not be seen. A user name without a password is the key, as some APIs have it."""
        if self.token is not None:
            return (self.token,)
        pair = base64.b64encode(f"{self.username}:{self.password}".encode(errors="replace")).decode()
        return (self.password or self.username, pair)


class HttpCall(msgspec.Struct, frozen=True, kw_only=True):
    """One request, complete: nothing in it is an expression any more."""

    method: str
    url: str
    headers: Headers = ()
    body: bytes | None = None
    auth: Credentials | None = None
    timeout_s: float
    """From the wait for a connection to the last byte of the answer, redirects included."""
    max_redirects: int
    max_response_bytes: int
    verify_tls: bool = True
    cookies: Headers = ()
    keeps_cookies: bool = False
    """Whether what a redirect sets goes along with it."""
    total_s: float | None = None
    """The limit over everything, where `timeout_s` is only that of a silence; None: `timeout_s` is both."""
    expect: tuple[str, ...] = ()
    """Which answers are a success: `200`, `2xx`; empty: all below 400."""
    hidden: tuple[str, ...] = ()
    """Further texts that must not be seen: the secrets of its execution."""

    def __repr__(self) -> str:
        return f"HttpCall({self.method} {bare_url(Mask(self.hidden).text(self.url))})"

    @property
    def secrets(self) -> tuple[str, ...]:
        """Give every text in it that must not be seen in what comes of it."""
        found = list(self.auth.secrets) if self.auth is not None else []
        for name, value in self.headers:
            if is_credential(name):
                found += [value, value.partition(" ")[2]]  # the second, without its scheme
        return (*found, *_userinfo(self.url), *self.hidden)


class LlmCall(msgspec.Struct, frozen=True, kw_only=True):
    """One question to a model."""

    base_url: str
    provider: str | None = None
    """Whose address, key and model are taken where the call has none: the name of a configured one, or `any`."""
    api_key: str | None = None
    model: str
    messages: tuple[dict[str, Any], ...]
    temperature: float | None = None
    max_tokens: int | None = None
    response_format: dict[str, Any] | None = None
    timeout_s: float
    hidden: tuple[str, ...] = ()
    """As in an `HttpCall`."""

    def __repr__(self) -> str:
        return f"LlmCall({self.model!r}, {len(self.messages)} messages)"

    @property
    def secrets(self) -> tuple[str, ...]:
        """Give every text in it that must not be seen in what comes of it."""
        return ((self.api_key,) if self.api_key else ()) + _userinfo(self.base_url) + self.hidden

    @property
    def wants_json(self) -> bool:
        return self.response_format is not None and self.response_format.get("type") in {"json_object", "json_schema"}


class HttpResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a server said, whatever it was."""

    status: int
    reason: str = ""
    headers: Headers = ()
    """Names in lower case."""
    body: bytes = b""
    truncated: bool = False
    """Whether the body went on."""
    is_decoded: bool = True
    """False: the body is still compressed, in a way nobody asked for."""
    url: str
    """Where the answer came from in the end."""
    duration_ms: int
    told_cookies: tuple[tuple[str, str], ...] = ()
    """Every `Set-Cookie` on the way, redirects included: the URL that sent it, and its value."""

    def __repr__(self) -> str:
        return f"HttpResult({self.status}, {len(self.body)} bytes)"


class LlmResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a model said."""

    text: str
    finish_reason: str | None = None
    model: str | None = None
    usage: dict[str, int | None] | None = None
    """Tokens as the provider counted them; None when it did not."""
    refusal: str | None = None

    def __repr__(self) -> str:
        return f"LlmResult({len(self.text)} characters)"


class CallFailure(msgspec.Struct, frozen=True, kw_only=True):
    """There is no answer, or none that is complete."""

    code: str
    """`timeout`, `dns`, `private_address`, `rate_limited` …, as the ports name them."""
    message: str
    retryable: bool
    """Whether the same may succeed later."""
    was_sent: bool = False
    """Whether the other side may have got it, and so may have done it."""
    had_head: bool = False
    """Whether the answer had begun."""
    retry_after_s: float | None = None
    details: dict[str, Any] = {}


class CallEnd(msgspec.Struct, frozen=True):
    """How an attempt that was a call ended."""

    outcome: Outcome
    output: Any = None

    def __repr__(self) -> str:
        return f"CallEnd({self.outcome.reason})"


class ReadCall(msgspec.Struct, frozen=True, kw_only=True):
    """One request whose answer its node reads in a way of its own."""

    http: HttpCall
    conclude: Callable[[HttpResult | CallFailure, datetime], CallEnd]
    """Says how it ended, from what came and the time now; pure, and may take long where `is_costly`."""
    is_costly: bool = False

    def __repr__(self) -> str:
        return f"ReadCall({self.http!r})"


Call = HttpCall | LlmCall | ReadCall


def succeeded(output: Any) -> CallEnd:
    """Give the end of a call whose answer is what was wanted."""
    return CallEnd(Outcome(status=Status.COMPLETED, reason="succeeded"), output)


def failed(
    kind: Literal["http", "llm"],
    code: str,
    message: str,
    *,
    is_final: bool,
    was_cut_off: bool = False,
    retry_after_s: float | None = None,
    details: dict[str, Any] | None = None,
) -> CallEnd:
    """Give the end of a call that did not give what was wanted.

    Args:
        kind: begins the code.
        is_final: whether it can only fail in the same way again.
        was_cut_off: whether it may have been done, and must not be done twice.
    """
    failure = Failure(code=f"{kind}:{code}", message=message, details={"group": "program", **(details or {})})
    outcome = Outcome(
        status=Status.FAILED,
        reason=f"{kind}:cut_off" if was_cut_off else failure.code,
        failure=failure,
        is_final=is_final,
        retry_after_s=None if retry_after_s is None else min(max(retry_after_s, 0.0), MAX_RETRY_AFTER_S),
    )
    return CallEnd(outcome)


def cancelled() -> CallEnd:
    """Give the end of a call that somebody stopped."""
    failure = Failure(code="cancelled", message="The call was cancelled.", details={"group": "cancelled"})
    return CallEnd(Outcome(status=Status.CANCELLED, reason="cancelled", failure=failure))


def is_credential(header: str) -> bool:
    """Whether a header of this name holds somebody's key."""
    return _CREDENTIALS.fullmatch(header) is not None


def bare_url(url: str) -> str:
    """Leave out user, password, query and fragment, which hold keys often enough."""
    scheme, mark, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    host = authority.rpartition("@")[2].partition("?")[0].partition("#")[0]
    if not _HOST.fullmatch(host):
        return f"{scheme}{mark}…"  # what is left of a password with a slash in it is no host
    return f"{scheme}{mark}{host}{slash}{path.partition('?')[0].partition('#')[0]}"


def _userinfo(url: str) -> tuple[str, ...]:
    try:
        parts = urlsplit(url)
        username, password = parts.username, parts.password
    except ValueError:
        return ()
    if username is None:
        return ()
    return Credentials(username=unquote(username), password=unquote(password or "")).secrets
