"""What all routes of the FlowSphere dialect share: who may, bodies as its clients send them, and refusals in its shape.

Its page and clients send no credential. A page on the own origin has the cookie; a client may be given a token; and where
the setting `flowsphere.open` says so, callers on this machine need nothing. Never: an error of the server for odd input.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Mapping
from functools import wraps
from http import HTTPStatus
from typing import Any, ParamSpec

from quart import Request, Response
from quart_trio.wrappers import TrioRequest
from werkzeug.exceptions import HTTPException

from execd.core.errors import ExecdError, InvalidRequestError, UnauthenticatedError
from execd.core.events import WorkspaceId
from execd.core.fields import is_nested_deeper
from execd.core.flows.js_values import is_truthy
from execd.core.flows.sizes import size_fault
from execd.core.flows.trees import MAX_DEPTH
from execd.http.access import Identity, Role
from execd.http.answers import JSON_TYPE
from execd.http.beside import read_beside
from execd.http.config import HttpConfig
from execd.http.credentials import authority_of, check_request_origin, identify
from execd.http.dialects.flowsphere_steps import write_json
from execd.http.front import Front
from execd.http.origins import host_name, is_loopback
from execd.http.problems import is_defect, refusal_headers
from execd.http.schemas import decode_json

P = ParamSpec("P")
Handler = Callable[P, Awaitable[Response]]

PREFIX = "/api/"
NATIVE_PREFIX = "/api/v1/"
USER = "flowsphere"
"""Who runs what comes without a credential."""
MISSING_CONFIG = "Missing config in request body"
_PROXIED = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP", "Via")


def in_flowsphere_shape(handler: Handler[P]) -> Handler[P]:
    """Answer what the handler refuses as `{"success": false, "error": text}`; a defect is the application's own."""

    @wraps(handler)
    async def answer(*args: P.args, **kwargs: P.kwargs) -> Response:
        try:
            return await handler(*args, **kwargs)
        except ExecdError as error:
            if is_defect(error):
                raise
            return refusal(error)
        except HTTPException as error:
            code = error.code or HTTPStatus.BAD_REQUEST
            return refuse(
                f"{error.name}: see flowsphere.body_limit_bytes", status=code, headers={"Connection": "close"}
            )

    return answer


def refusal(error: ExecdError) -> Response:
    """Give the answer to a refused request."""
    return refuse(error.message, status=error.status, headers=refusal_headers(error))


def refuse(text: str, *, status: int = 400, headers: Mapping[str, str] | None = None) -> Response:
    """Give a refusal."""
    return answer_json({"success": False, "error": text}, status=status, headers=headers)


def answer_json(value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Answer with JSON as JavaScript writes it."""
    return Response(write_json(value), status=status, headers=dict(headers or {}), content_type=JSON_TYPE)


async def admit(front: Front, request: Request, role: Role) -> Identity:
    """Find out who asks; without a credential it is whoever `flowsphere.open` lets in.

    Raises:
        UnauthenticatedError: no valid credential, and none may be missing.
        OriginNotAllowedError: a page of another origin may be behind this.
        ForbiddenError: the role is less than this.
    """
    try:
        identity = await identify(front, request)
    except UnauthenticatedError:
        if not _is_open_to(front.config, request):
            raise
        check_request_origin(front, request)
        identity = Identity(
            workspace=WorkspaceId(front.config.flowsphere.workspace),
            user=USER,
            role=Role.RUNNER,
            token_sha256="",
            expires_at=None,
            is_ambient=True,
        )
    return identity.require(role)


def is_without_credential(identity: Identity) -> bool:
    """Whether nothing can be revoked."""
    return not identity.token_sha256


def _is_open_to(config: HttpConfig, request: Request) -> bool:
    """Only to this machine, by a name of loopback, straight: what a proxy brings may come from anywhere. A credential that is
    wrong is not passed over, but for a cookie, which the browser sends unasked."""
    if not config.flowsphere.is_open or "Authorization" in request.headers or "ticket" in request.args:
        return False
    if any(name in request.headers for name in _PROXIED):
        return False
    name = host_name(authority_of(request))
    return name is not None and is_loopback(name) and _is_of_this_machine(request)


def _is_of_this_machine(request: Request) -> bool:
    peer = (request.scope.get("client") or ("",))[0]
    try:
        return ipaddress.ip_address(peer).is_loopback
    except ValueError:
        return False


async def read_table(request: Request) -> Mapping[str, Any]:
    """Read a body. What does not call itself JSON counts as an empty one, which also keeps simple forms of other sites out.

    Raises:
        InvalidRequestError: it is no JSON, or no object.
    """
    body: bytes = await request.get_data(cache=False, as_text=False, parse_form_data=False)
    media_type = (request.mimetype or "").lower()
    if not (media_type == "application/json" or media_type.endswith("+json")) or not body.strip():
        return {}
    decoded = await read_beside(lambda: decode_json(body))
    if isinstance(decoded, list):
        return {}
    if not isinstance(decoded, Mapping):
        raise InvalidRequestError("the body must be a JSON object")
    return decoded


def config_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """Give the config of a body, which need not be valid.

    Raises:
        InvalidRequestError: there is none, or none that could be run.
    """
    config = body.get("config")
    if not is_truthy(config):
        raise InvalidRequestError(MISSING_CONFIG)
    if not isinstance(config, dict):
        raise InvalidRequestError("Config must be a valid object")
    if is_nested_deeper(config, MAX_DEPTH):
        raise InvalidRequestError(f"Config is nested deeper than {MAX_DEPTH} levels")
    too_large = size_fault(config)
    if too_large is not None:
        raise InvalidRequestError(too_large[1])
    return config


class SizedRequest(TrioRequest):
    """A request whose body may be as large as its path allows. Source: quart's `Request`, which asks the app once for all."""

    flowsphere_limit_bytes = HttpConfig().flowsphere.body_limit_bytes

    def __init__(self, method: str, scheme: str, path: str, *args: Any, **kwargs: Any) -> None:
        limit = kwargs.get("max_content_length")
        if limit is not None and path.startswith(PREFIX) and not path.startswith(NATIVE_PREFIX):
            kwargs["max_content_length"] = max(limit, self.flowsphere_limit_bytes)
        super().__init__(method, scheme, path, *args, **kwargs)


def request_class(config: HttpConfig) -> type[SizedRequest]:
    """Give the class of requests of an application."""
    return type("SizedRequest", (SizedRequest,), {"flowsphere_limit_bytes": config.flowsphere.body_limit_bytes})
