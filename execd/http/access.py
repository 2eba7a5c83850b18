"""Who may: bearer tokens, the browser's cookie and single-use tickets; all of them lead to a stored token.

Tokens are 256 random bits and kept as SHA-256. A cookie is a token of its own that is bound to the one it was traded
for: it survives a restart, as the journals it watches do, and dies with its parent. A ticket lives in memory for 30 s.

Never: a token in a log, an error or a URL (but the start-up address, which trades it for a cookie at once).
"""

from __future__ import annotations

import enum
import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from execd.core.errors import ForbiddenError, OverloadedError, UnauthenticatedError
from execd.core.events import WorkspaceId
from execd.ports import Token, TokenStore

TICKET_LIFE_S = 30.0
"""Long enough to open a connection, too short to be worth finding in a log."""
MAX_TICKETS = 10_000
"""Unused ones at one time; each is some 200 bytes."""
SESSION_LIFE = timedelta(days=7)
MAX_SESSIONS = 1000
"""Of one workspace; the oldest go first."""
SESSION_PREFIX = "session-"
OWNER_PREFIX = "owner-"
"""Of the token that a server makes for whoever started it; nobody else can make one with such an id."""
REVOKED = "the credential was revoked or has expired: sign in again"
MAX_CREDENTIAL_CHARS = 512
"""Longer ones are none of ours and are not worth hashing."""


class Role(enum.IntEnum):
    """What a credential allows; each role includes the ones before it."""

    VIEWER = 1
    RUNNER = 2
    ADMIN = 3

    @property
    def word(self) -> str:
        return self.name.lower()


ROLES = tuple(role.word for role in Role)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who asks."""

    workspace: WorkspaceId
    user: str
    role: Role
    token_sha256: str
    """Of the token this rests on, for cookies made from it."""
    expires_at: datetime | None
    is_owner: bool = False
    """Whether this is whoever owns the data directory: the one who may make tokens of any workspace."""
    is_ambient: bool = False
    """Whether the browser sent the credential by itself (a cookie), which pages of other origins can make it do."""

    def require(self, role: Role) -> Identity:
        """Raise ForbiddenError unless the role is at least this."""
        if self.role < role:
            raise ForbiddenError(f"this needs the role {role.word}; the credential has {self.role.word}")
        return self


class IssuedToken(msgspec.Struct, frozen=True):
    """A new token: the secret that is told once, and the record that is kept."""

    secret: str
    token: Token


async def issue_token(
    tokens: TokenStore,
    *,
    workspace: WorkspaceId,
    user: str,
    role: Role,
    now: datetime,
    expires_at: datetime | None = None,
    id_prefix: str = "token-",
) -> IssuedToken:
    """Make a token and store its hash."""
    secret = f"execd_{secrets.token_urlsafe(32)}"
    token = Token(
        id=f"{id_prefix}{secrets.token_hex(6)}",
        sha256=hash_secret(secret),
        workspace=workspace,
        role=role.word,
        user=user,
        created_at=now,
        expires_at=expires_at,
    )
    await tokens.put_token(token)
    return IssuedToken(secret=secret, token=token)


def hash_secret(secret: str) -> str:
    """Give what is kept of a secret."""
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()


@dataclass(frozen=True, slots=True)
class _Ticket:
    identity: Identity
    expires_at: datetime


class Access:
    """Turns credentials into identities. Owns the unused tickets."""

    def __init__(self, tokens: TokenStore, *, now: Callable[[], datetime]) -> None:
        self._tokens = tokens
        self._now = now
        self._tickets: dict[str, _Ticket] = {}
        """By hash, oldest first."""

    async def identify_token(self, secret: str) -> Identity:
        """Look a bearer token up. Raises UnauthenticatedError."""
        token = await self._find_live(secret)
        if token is None or token.id.startswith(SESSION_PREFIX):
            raise UnauthenticatedError("the token is not known, was revoked or has expired")
        return _identity_of(token)

    async def identify_session(self, secret: str) -> Identity:
        """Look a cookie up, and the token it was traded for. Raises UnauthenticatedError."""
        session = await self._find_live(secret)
        if session is None or not session.id.startswith(SESSION_PREFIX):
            raise UnauthenticatedError("the session has ended: sign in again")
        await self._find_parent(session)
        return _identity_of(session, is_ambient=True)

    async def check(self, identity: Identity) -> None:
        """Look again whether what an identity rests on is still good: for connections that stay open.

        Raises:
            UnauthenticatedError: it was revoked, its session was ended, or it has expired.
        """
        token = await self._tokens.find_token(identity.token_sha256)
        if token is None or self._has_expired(token):
            raise UnauthenticatedError(REVOKED)
        if token.id.startswith(SESSION_PREFIX):
            await self._find_parent(token)

    async def open_session(self, identity: Identity) -> IssuedToken:
        """Trade an identity for a cookie that lives no longer than the token."""
        now = self._now()
        await self._forget_old_sessions(identity.workspace, now)
        expires_at = now + SESSION_LIFE
        if identity.expires_at is not None:
            expires_at = min(expires_at, identity.expires_at)
        return await issue_token(
            self._tokens,
            workspace=identity.workspace,
            user=identity.user,
            role=identity.role,
            now=now,
            expires_at=expires_at,
            id_prefix=f"{SESSION_PREFIX}{identity.token_sha256}-",
        )

    async def close_session(self, secret: str) -> None:
        """Make a cookie worthless. Idempotent."""
        session = await self._tokens.find_token(hash_secret(secret))
        if session is not None and session.id.startswith(SESSION_PREFIX):
            await self._tokens.delete_token(session.workspace, session.id)

    def make_ticket(self, identity: Identity) -> str:
        """Give a secret that opens one connection within `TICKET_LIFE_S`.

        Raises:
            OverloadedError: too many wait to be used.
        """
        now = self._now()
        for key in [key for key, ticket in self._tickets.items() if ticket.expires_at <= now]:
            del self._tickets[key]
        if len(self._tickets) >= MAX_TICKETS:
            raise OverloadedError("too many unused tickets", retry_after_s=int(TICKET_LIFE_S))
        secret = secrets.token_urlsafe(32)
        self._tickets[hash_secret(secret)] = _Ticket(identity, now + timedelta(seconds=TICKET_LIFE_S))
        return secret

    def redeem_ticket(self, secret: str) -> Identity:
        """Use a ticket up. Raises UnauthenticatedError."""
        ticket = self._tickets.pop(hash_secret(secret[:MAX_CREDENTIAL_CHARS]), None)
        if ticket is None or ticket.expires_at <= self._now():
            raise UnauthenticatedError("the ticket is not known, was used or is older than 30 s")
        return ticket.identity

    async def _find_parent(self, session: Token) -> Token:
        """Look up the token a cookie was traded for. Raises UnauthenticatedError."""
        parent_sha256 = session.id.removeprefix(SESSION_PREFIX).partition("-")[0]
        parent = await self._tokens.find_token(parent_sha256)
        if parent is None or self._has_expired(parent):
            raise UnauthenticatedError("the session's token was revoked: sign in again")
        return parent

    async def _find_live(self, secret: str) -> Token | None:
        if not 0 < len(secret) <= MAX_CREDENTIAL_CHARS:
            return None
        digest = hash_secret(secret)
        token = await self._tokens.find_token(digest)
        # The store found it by its hash, so there is nothing to time; compared again against stores that match loosely.
        if token is None or not hmac.compare_digest(token.sha256, digest) or self._has_expired(token):
            return None
        return token

    def _has_expired(self, token: Token) -> bool:
        return token.expires_at is not None and token.expires_at <= self._now()

    async def _forget_old_sessions(self, workspace: WorkspaceId, now: datetime) -> None:
        sessions = [token for token in await self._tokens.list_tokens(workspace) if token.id.startswith(SESSION_PREFIX)]
        sessions.sort(key=lambda token: token.created_at, reverse=True)
        for place, token in enumerate(sessions):
            if place >= MAX_SESSIONS or (token.expires_at is not None and token.expires_at <= now):
                await self._tokens.delete_token(workspace, token.id)


def _identity_of(token: Token, *, is_ambient: bool = False) -> Identity:
    return Identity(
        workspace=token.workspace,
        user=token.user,
        role=Role[token.role.upper()],
        token_sha256=token.sha256,
        expires_at=token.expires_at,
        is_owner=token.id.startswith(OWNER_PREFIX),
        is_ambient=is_ambient,
    )
