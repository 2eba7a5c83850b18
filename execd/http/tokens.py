"""The routes around who may: tokens, tickets and the browser's session; and which languages there are."""

from __future__ import annotations

from datetime import timedelta

import msgspec
from quart import Quart, Response, request

from execd.core.codec import format_time
from execd.core.errors import ForbiddenError, NotFoundError
from execd.core.events import WorkspaceId
from execd.core.fields import Faults, Fields, Range
from execd.core.runtimes import effective_limits
from execd.core.specs import Limits
from execd.http.access import ROLES, SESSION_PREFIX, TICKET_LIFE_S, Identity, Role, issue_token
from execd.http.answers import empty_response, json_response
from execd.http.credentials import check_request_origin, cookie_name, identify, require
from execd.http.front import Front
from execd.http.schemas import API, read_json
from execd.ports import Token

MAX_USER_CHARS = 100
MAX_LIFE_S = 10 * 365 * 24 * 3600.0


class TokenView(msgspec.Struct, frozen=True, kw_only=True):
    """A token as it is listed: everything but the token itself."""

    id: str
    workspace: str
    role: str
    user: str
    created_at: str
    expires_at: str | None


class TokenCreated(TokenView, frozen=True, kw_only=True):
    """A new token with its secret, which no later answer shows."""

    token: str


class TokenListView(msgspec.Struct, frozen=True):
    """The tokens of a workspace."""

    items: tuple[TokenView, ...]


class TicketView(msgspec.Struct, frozen=True):
    """A one-use credential for a URL: `?ticket=`."""

    ticket: str
    expires_in_s: float


class SessionView(msgspec.Struct, frozen=True):
    """Who the credential stands for."""

    workspace: str
    user: str
    role: str
    expires_at: str | None


class RuntimeView(msgspec.Struct, frozen=True):
    """One language and the limits of a run in it that asks for none."""

    name: str
    aliases: tuple[str, ...]
    file_name: str
    limits: Limits


class RuntimesView(msgspec.Struct, frozen=True):
    """The languages, what a run gets that asks for no limits, and the most it may ask for."""

    runtimes: tuple[RuntimeView, ...]
    defaults: Limits
    caps: Limits


class _TokenRequest(msgspec.Struct, frozen=True):
    user: str
    role: Role
    workspace: WorkspaceId
    expires_in_s: float | None


class TokenRoutes:
    """`/api/v1/tokens`, `/tickets`, `/session` and `/runtimes`."""

    def __init__(self, front: Front) -> None:
        self._front = front

    def register(self, app: Quart) -> None:
        app.add_url_rule(f"{API}/tokens", "create_token", self.create_token, methods=["POST"])
        app.add_url_rule(f"{API}/tokens", "list_tokens", self.list_tokens, methods=["GET"])
        app.add_url_rule(f"{API}/tokens/<token_id>", "revoke_token", self.revoke_token, methods=["DELETE"])
        app.add_url_rule(f"{API}/tickets", "make_ticket", self.make_ticket, methods=["POST"])
        app.add_url_rule(f"{API}/session", "open_session", self.open_session, methods=["POST"])
        app.add_url_rule(f"{API}/session", "show_session", self.show_session, methods=["GET"])
        app.add_url_rule(f"{API}/session", "close_session", self.close_session, methods=["DELETE"])
        app.add_url_rule(f"{API}/runtimes", "runtimes", self.runtimes, methods=["GET"])

    async def create_token(self) -> Response:
        identity = await require(self._front, request, Role.ADMIN)
        asked = _parse_token(await read_json(request, self._front.config), identity)
        now = self._front.now()
        issued = await issue_token(
            self._front.engine.tokens,
            workspace=asked.workspace,
            user=asked.user,
            role=asked.role,
            now=now,
            expires_at=None if asked.expires_in_s is None else now + timedelta(seconds=asked.expires_in_s),
        )
        shown = msgspec.structs.asdict(_view(issued.token))
        return json_response(TokenCreated(token=issued.secret, **shown), status=201)

    async def list_tokens(self) -> Response:
        identity = await require(self._front, request, Role.ADMIN)
        tokens = await self._front.engine.tokens.list_tokens(identity.workspace)
        return json_response(TokenListView(tuple(map(_view, filter(_is_listed, tokens)))))

    async def revoke_token(self, token_id: str) -> Response:
        identity = await require(self._front, request, Role.ADMIN)
        is_session = token_id.startswith(SESSION_PREFIX) or "\0" in token_id
        if is_session or not await self._front.engine.tokens.delete_token(identity.workspace, token_id):
            raise NotFoundError("there is no such token in this workspace")
        return empty_response(204)

    async def make_ticket(self) -> Response:
        identity = await require(self._front, request, Role.VIEWER)
        return json_response(TicketView(self._front.access.make_ticket(identity), TICKET_LIFE_S), status=201)

    async def open_session(self) -> Response:
        if "Authorization" not in request.headers:
            check_request_origin(self._front, request)
        identity = await self._front.access.identify_token(_parse_login(await read_json(request, self._front.config)))
        return await start_session(self._front, identity, json_response(_session_view(identity)))

    async def show_session(self) -> Response:
        return json_response(_session_view(await identify(self._front, request)))

    async def close_session(self) -> Response:
        name = cookie_name(request)
        secret = request.cookies.get(name)
        if secret is not None:
            check_request_origin(self._front, request)
            await self._front.access.close_session(secret)
        response = empty_response(204)
        response.delete_cookie(name, path="/", httponly=True, samesite="Strict")
        return response

    async def runtimes(self) -> Response:
        await require(self._front, request, Role.VIEWER)
        config = self._front.config
        views = tuple(
            RuntimeView(name, runtime.aliases, runtime.file_name, effective_limits(config.defaults, runtime.limits))
            for name, runtime in self._front.runtimes.by_name.items()
        )
        return json_response(RuntimesView(views, defaults=config.defaults, caps=config.caps))


async def start_session(front: Front, identity: Identity, response: Response) -> Response:
    """Add the session's cookie to a response: not for scripts, not for other sites, and gone with its token."""
    issued = await front.access.open_session(identity)
    public_url = front.config.public_url or ""
    response.set_cookie(
        cookie_name(request),
        issued.secret,
        expires=issued.token.expires_at,
        path="/",
        httponly=True,
        samesite="Strict",
        secure=request.scheme == "https" or public_url.startswith("https:"),
    )
    return response


def _parse_login(body: object) -> str:
    faults = Faults()
    token = Fields(body, faults, known=("token",)).required_text("token", max_chars=512, accepted="a bearer token")
    faults.raise_if_any()
    return token


def _parse_token(body: object, identity: Identity) -> _TokenRequest:
    faults = Faults()
    fields = Fields(body, faults, known=("user", "role", "workspace", "expires_in_s"))
    user = fields.text("user", max_chars=MAX_USER_CHARS, accepted="a name")
    role = fields.choice("role", ROLES, default=Role.RUNNER.word)
    workspace = fields.text("workspace", max_chars=MAX_USER_CHARS, accepted=identity.workspace)
    has_end = fields.has("expires_in_s")
    life_s = fields.number("expires_in_s", Range(1.0, MAX_LIFE_S, unit="seconds"), default=MAX_LIFE_S)
    faults.raise_if_any()
    if workspace not in {None, identity.workspace} and not identity.is_owner:
        raise ForbiddenError(
            "tokens of other workspaces are made by the owner of the server, with the token of its data directory"
        )
    made_for = WorkspaceId(workspace or identity.workspace)
    return _TokenRequest(user or identity.user, Role[role.upper()], made_for, life_s if has_end else None)


def _is_listed(token: Token) -> bool:
    return not token.id.startswith(SESSION_PREFIX)


def _view(token: Token) -> TokenView:
    return TokenView(
        id=token.id,
        workspace=token.workspace,
        role=token.role,
        user=token.user,
        created_at=format_time(token.created_at),
        expires_at=None if token.expires_at is None else format_time(token.expires_at),
    )


def _session_view(identity: Identity) -> SessionView:
    expires_at = None if identity.expires_at is None else format_time(identity.expires_at)
    return SessionView(identity.workspace, identity.user, identity.role.word, expires_at)
