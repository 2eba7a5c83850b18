"""What a server answers, as records. Fields this client does not know are ignored: the server may be newer."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from execd.core.errors import FieldFault
from execd.core.event_parts import Failure
from execd.core.events import ExecutionId, Status


class Submitted(msgspec.Struct, frozen=True):
    """It was accepted and will end, whatever crashes."""

    id: ExecutionId
    status: Status


class ExecutionView(msgspec.Struct, frozen=True, kw_only=True):
    """One execution as it is listed."""

    id: ExecutionId
    status: Status
    kind: str = "script"
    name: str = ""
    workspace: str = ""
    user: str = ""
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    error: Failure | None = None
    attempt_of: str | None = None
    head_seq: int = 0
    """The last event stored so far; 0 where the server does not say."""


class ExecutionDetail(ExecutionView, frozen=True, kw_only=True):
    """One execution that was looked up."""

    spec: dict[str, Any] = {}
    """What was asked of it; empty where the server does not say."""


class ExecutionList(msgspec.Struct, frozen=True):
    """Some executions, newest first."""

    items: tuple[ExecutionView, ...]
    next_cursor: str | None = None


class RuntimeView(msgspec.Struct, frozen=True):
    """One language."""

    name: str
    aliases: tuple[str, ...] = ()
    file_name: str = ""


class RuntimesView(msgspec.Struct, frozen=True):
    """The languages of a server, and what a run may use."""

    runtimes: tuple[RuntimeView, ...]
    defaults: dict[str, Any] = {}
    caps: dict[str, Any] = {}


class SecretView(msgspec.Struct, frozen=True, kw_only=True):
    """A secret as it is listed: everything but its value."""

    name: str
    set_by: str = ""
    set_at: datetime


class SecretList(msgspec.Struct, frozen=True):
    """The secrets of a workspace."""

    items: tuple[SecretView, ...]


class TokenView(msgspec.Struct, frozen=True, kw_only=True):
    """A token as it is listed: everything but the token itself."""

    id: str
    workspace: str = ""
    role: str = ""
    user: str = ""
    created_at: datetime | None = None
    expires_at: datetime | None = None


class TokenCreated(TokenView, frozen=True, kw_only=True):
    """A token that was just made, with the secret nobody can show again."""

    token: str


class TokenList(msgspec.Struct, frozen=True):
    """The tokens of a workspace."""

    items: tuple[TokenView, ...]


class DefinitionView(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a saved definition as it is listed."""

    id: str
    name: str
    kind: str
    version: int
    workspace: str = ""
    saved_by: str = ""
    saved_at: datetime | None = None
    sha256: str = ""
    """Of its body as it is stored."""
    size_bytes: int = 0


class DefinitionDetail(DefinitionView, frozen=True, kw_only=True):
    """One version of a saved definition, with what was saved."""

    body: dict[str, Any]
    """The fields of a request of its kind, without `kind` and `name`; a viewer does not see values of `env`."""


class SavedDefinition(DefinitionDetail, frozen=True, kw_only=True):
    """The version that was just saved."""

    dropped_versions: int = 0
    """How many of its oldest versions went for it, by the server's limit."""


class DefinitionList(msgspec.Struct, frozen=True):
    """Some versions: the newest of each definition, those made last first, or those of one, newest first."""

    items: tuple[DefinitionView, ...]
    next_cursor: str | None = None


class Validity(msgspec.Struct, frozen=True):
    """Whether it could be saved and run, and everything that is wrong with it."""

    valid: bool
    errors: tuple[FieldFault, ...] = ()
    warnings: tuple[FieldFault, ...] = ()
    """What a newer server finds unwise."""
