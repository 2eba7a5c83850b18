"""Port `HttpCaller`: one HTTP request to the outside, with limits on everything, and its answer.

An answer is what the server said, 4xx and 5xx too. An error means that there is no answer. Neither names a header, a
cookie, a body or a credential of the request in its `repr`, so that they may be logged.
"""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec

from execd.core.errors import ExecdError

MIB = 1024 * 1024

Headers = tuple[tuple[str, str], ...]
"""Names and values in order; a name may come more than once."""

HttpFault = Literal[
    "dns",
    "connect",
    "tls",
    "timeout",
    "too_large",
    "redirect_loop",
    "private_address",
    "protocol",
    "invalid_url",
    "invalid_request",
]
"""Why there is no answer. `invalid_request` is a method or header that HTTP does not allow; `too_large` is the head of an
answer, a body that is too long is cut instead."""


class BasicAuth(msgspec.Struct, frozen=True):
    """A user name and a password, sent to the origin of the request only."""

    username: str
    password: str

    def __repr__(self) -> str:
        return "BasicAuth(***)"


class BearerAuth(msgspec.Struct, frozen=True):
    """A token, sent to the origin of the request only."""

    token: str

    def __repr__(self) -> str:
        return "BearerAuth(***)"


class HttpRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to send, and how much of everything the answer may cost."""

    method: str
    url: str
    """Absolute, `http` or `https`. `user:password@` in it is basic authentication, unless `auth` is set."""
    headers: Headers = ()
    """Those that frame a message (Content-Length, Transfer-Encoding, Connection ...) are execd's own and left out."""
    body: bytes | None = None
    auth: BasicAuth | BearerAuth | None = None
    """Wins over an `Authorization` header."""
    cookies: Headers = ()
    """Sent as one `Cookie` header. Keeping a jar between requests is the caller's business."""
    keeps_cookies: bool = False
    """Whether what a redirect sets is sent on to where it leads, if that is the same origin."""
    connect_s: float = 10.0
    """Name look-up, TCP and TLS together."""
    read_s: float = 30.0
    """The longest silence: before the answer and inside its body; sending 64 KiB may take as long."""
    total_s: float = 60.0
    """Everything, redirects and the wait for a free connection included."""
    max_response_bytes: int = 10 * MIB
    """Of the body, after decompression; what is over it is not read."""
    max_redirects: int = 20
    """0: a redirect is an answer like any other."""
    verify_tls: bool = True

    def __repr__(self) -> str:
        return f"HttpRequest({self.method} {_without_secrets(self.url)})"


class Redirect(msgspec.Struct, frozen=True, kw_only=True):
    """One hop on the way to the answer."""

    status: int
    url: str
    """What was asked, without user and password."""
    location: str
    headers: Headers
    """Names in lower case. A caller with a cookie jar finds `set-cookie` here."""


class Timings(msgspec.Struct, frozen=True, kw_only=True):
    """How long things took, in milliseconds, for the last hop; None where it did not happen, as on a kept connection."""

    dns_ms: float | None = None
    connect_ms: float | None = None
    tls_ms: float | None = None
    first_byte_ms: float
    """From the first byte sent to the first byte of the final answer's head."""
    total_ms: float
    """All hops, from the call to the last byte of the body."""


class HttpAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What the server said."""

    status: int
    reason: str
    headers: Headers
    """Names in lower case, as received: `content-encoding` and `content-length` are the server's words."""
    body: bytes
    """Decompressed where `is_decoded`, and at most `max_response_bytes` of it."""
    truncated: bool = False
    """Whether the body went on. The rest was not read: the connection was closed instead."""
    seen_bytes: int
    """How much of the body came before reading stopped; more than `body` has if `truncated`."""
    is_decoded: bool = True
    """False: it came in a coding execd did not ask for, and `body` is still in it."""
    url: str
    """Where the answer came from in the end, without user and password."""
    redirects: tuple[Redirect, ...] = ()
    timings: Timings
    http_version: str
    """`1.1` or `1.0`."""

    def __repr__(self) -> str:
        return f"HttpAnswer({self.status} {self.seen_bytes} bytes from {_without_secrets(self.url)})"


_NEVER_RETRYABLE = frozenset({"too_large", "redirect_loop", "private_address", "invalid_url", "invalid_request", "tls"})


class HttpCallError(ExecdError):
    """There is no answer. Look at `code`; repeat it if `retryable`, and if it is no harm when `was_sent` and it was done."""

    status = 502
    code: HttpFault

    def __init__(
        self,
        message: str,
        *,
        code: HttpFault,
        retryable: bool | None = None,
        was_sent: bool = False,
        had_head: bool = False,
        errno_name: str | None = None,
        endpoint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.retryable = code not in _NEVER_RETRYABLE if retryable is None else retryable
        self.was_sent = was_sent
        """Whether the server may have got the request, and so may have carried it out."""
        self.had_head = had_head
        """Whether the answer had begun: its head came, and its body broke off or fell silent."""
        self.errno_name = errno_name
        """What the system called it, like `ECONNREFUSED`; None where it had no say."""
        self.endpoint = endpoint
        """`host:port` for a name, `address:port` for a connection; None where none was tried."""


class HttpCaller(Protocol):
    """Sends requests. Connections are kept and shared by all calls, within limits per host and in all."""

    async def call(self, request: HttpRequest) -> HttpAnswer:
        """Send a request, follow its redirects, read the answer.

        A kept connection that turns out to be dead before a byte of the answer is replaced by a fresh one and the request
        sent again, for methods that may be repeated by definition (GET, HEAD, PUT, DELETE, OPTIONS).

        Raises:
            HttpCallError: there is no answer; see its `code`.

        Cancellation: closes the connection at once and waits for nothing.
        """


def _without_secrets(url: str) -> str:
    """Leave out user, password and query, which hold tokens often enough."""
    scheme, mark, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    bare = path.partition("?")[0].partition("#")[0]
    host = authority.rpartition("@")[2].partition("?")[0].partition("#")[0]
    return f"{scheme}{mark}{host}{slash}{bare}"
