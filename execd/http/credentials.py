"""From a request's headers to who sends it: one place for the order of credentials and for the checks around them."""

from __future__ import annotations

from quart import Request, Websocket

from execd.core.errors import UnauthenticatedError
from execd.http.access import Identity, Role
from execd.http.front import Front
from execd.http.origins import SAFE_METHODS, check_host, check_origin


def authority_of(request: Request | Websocket) -> str:
    return request.headers.get("Host", "")


def cookie_name(request: Request | Websocket) -> str:
    """Give the cookie's name: cookies are shared by all ports of a host, so each server has its own."""
    port = authority_of(request).rpartition(":")[2]
    return f"execd_session_{port}" if port.isdigit() else "execd_session"


def check_request_host(front: Front, request: Request | Websocket) -> None:
    """Raise HostNotAllowedError for a foreign `Host`."""
    check_host(authority_of(request), front.config)


def check_request_origin(front: Front, request: Request | Websocket) -> None:
    """Raise OriginNotAllowedError when a page of another origin may be behind this."""
    check_origin(
        origin=request.headers.get("Origin"),
        fetch_site=request.headers.get("Sec-Fetch-Site"),
        authority=authority_of(request),
        config=front.config,
    )


async def identify(front: Front, request: Request | Websocket) -> Identity:
    """Find out who asks: a bearer token, else a ticket, else the cookie; one that is there and wrong is not passed over.

    Raises:
        UnauthenticatedError: no valid credential.
        OriginNotAllowedError: a cookie came with an unsafe request or an upgrade that another origin's page may have made.
    """
    authorization = request.headers.get("Authorization")
    if authorization is not None:
        scheme, _, secret = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise UnauthenticatedError("the Authorization header has another scheme; accepted: Bearer")
        return await front.access.identify_token(secret.strip())
    ticket = request.args.get("ticket")
    if ticket is not None:
        return front.access.redeem_ticket(ticket)
    cookie = request.cookies.get(cookie_name(request))
    if cookie is None:
        raise UnauthenticatedError(
            "no credential came; accepted: a bearer token, the session cookie or a one-use ticket"
        )
    identity = await front.access.identify_session(cookie)
    if request.method not in SAFE_METHODS or isinstance(request, Websocket):
        check_request_origin(front, request)
    return identity


async def require(front: Front, request: Request | Websocket, role: Role) -> Identity:
    """Identify, and raise ForbiddenError unless the role is at least this."""
    return (await identify(front, request)).require(role)


async def admit_socket(front: Front, websocket: Websocket, role: Role) -> Identity:
    """Check host, origin and credential of an upgrade, before anything is said.

    Raises:
        HostNotAllowedError: it names a host this server does not answer for.
        OriginNotAllowedError: a page of another origin may be behind it.
        UnauthenticatedError: no valid credential.
        ForbiddenError: the role is less than this.
    """
    check_request_host(front, websocket)
    if "Authorization" not in websocket.headers:
        check_request_origin(front, websocket)
    return await require(front, websocket, role)
