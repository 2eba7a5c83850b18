"""The parameters of a URL, read like the fields of a body: unknown, repeated and wrong ones are all told at once."""

from __future__ import annotations

import re

import msgspec
from quart import Request, Websocket

from execd.core.definitions import MAX_VERSION
from execd.core.event_types import EVENT_TYPES
from execd.core.events import DefinitionId, ExecutionId, Status, WorkspaceId
from execd.core.fields import Faults, Fields, Range
from execd.core.requests import KINDS
from execd.http.schemas import MAX_QUERY_CHARS
from execd.ports import DefinitionFilter, ExecutionFilter

MAX_PAGE = 200
DEFAULT_PAGE = 50
MAX_EVENTS_PAGE = 1000
DEFAULT_EVENTS_PAGE = 200
_NUMBER = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6})?")


class QueryReader:
    """The parameters of a URL, read like fields: unknown and repeated ones are faults."""

    def __init__(self, request: Request | Websocket, *, known: tuple[str, ...], repeated: tuple[str, ...] = ()) -> None:
        self._faults = Faults()
        self._args = request.args
        for name in request.args:
            if name != "ticket" and name not in known and name not in repeated:
                self._faults.add(
                    name[:64].encode(errors="replace").decode(), "is not a known parameter", ", ".join(known)
                )
        for name in known:
            if len(request.args.getlist(name)) > 1:
                self._faults.add(name, "is given more than once", "one value")
        self._fields = Fields({name: request.args.get(name) for name in known}, self._faults, known=known)

    def text(self, name: str) -> str | None:
        return self._fields.text(name, max_chars=MAX_QUERY_CHARS, accepted="text") or None

    def choice(self, name: str, choices: tuple[str, ...], *, default: str = "") -> str:
        return self._fields.choice(name, choices, default=default)

    def integer(self, name: str, allowed: Range[int], *, default: int) -> int:
        text = self.text(name)
        if text is None:
            return default
        if not (text.isascii() and text.isdigit() and len(text) <= len(str(allowed.high))):
            self._faults.add(name, "is no such number", f"a whole number {allowed}")
            return default
        if not allowed.low <= int(text) <= allowed.high:
            self._faults.add(name, f"is {text}", f"a whole number {allowed}")
            return default
        return int(text)

    def number(self, name: str, allowed: Range[float]) -> float | None:
        """Read a decimal number; None where it is not given."""
        text = self.text(name)
        if text is None:
            return None
        if _NUMBER.fullmatch(text) is None or not allowed.low <= float(text) <= allowed.high:
            self._faults.add(name, "is no such number", f"a number {allowed}")
            return None
        return float(text)

    def fault(self, name: str, message: str, accepted: str) -> None:
        self._faults.add(name, message, accepted)

    def finish(self) -> None:
        """Raise InvalidRequestError for everything found."""
        self._faults.raise_if_any()


class ListQuery(msgspec.Struct, frozen=True):
    """What `GET /executions` asks for."""

    which: ExecutionFilter
    cursor: str | None
    limit: int


LIST_PARAMETERS = ("status", "kind", "name", "attempt_of", "definition", "cursor", "limit")


def parse_list_query(request: Request, workspace: WorkspaceId) -> ListQuery:
    """Read the filters of a list. Raises InvalidRequestError."""
    query = QueryReader(request, known=LIST_PARAMETERS)
    status = query.choice("status", tuple(Status))
    attempt_of = query.text("attempt_of")
    definition = query.text("definition")
    which = ExecutionFilter(
        workspace=workspace,
        status=Status(status) if status else None,
        kind=query.choice("kind", KINDS) or None,
        name=query.text("name"),
        attempt_of=None if attempt_of is None else ExecutionId(attempt_of),
        definition=None if definition is None else DefinitionId(definition),
    )
    limit = query.integer("limit", Range(1, MAX_PAGE), default=DEFAULT_PAGE)
    cursor = query.text("cursor")
    query.finish()
    return ListQuery(which, cursor, limit)


class EventsQuery(msgspec.Struct, frozen=True):
    """What `GET /executions/{id}/events` asks for."""

    after: int
    limit: int
    types: frozenset[str] | None


def parse_events_query(request: Request) -> EventsQuery:
    """Read where to begin, how many and which. Raises InvalidRequestError."""
    query = QueryReader(request, known=("after", "limit", "types"))
    after = query.integer("after", Range(0, 10**15 - 1), default=0)
    limit = query.integer("limit", Range(1, MAX_EVENTS_PAGE), default=DEFAULT_EVENTS_PAGE)
    listed = query.text("types")
    types = None if listed is None else frozenset(listed.split(","))
    if types is not None and not types <= EVENT_TYPES.keys():
        query.fault("types", "names a type there is not", ", ".join(EVENT_TYPES))
    query.finish()
    return EventsQuery(after, limit, types)


class DefinitionsQuery(msgspec.Struct, frozen=True):
    """What `GET /definitions` asks for."""

    which: DefinitionFilter
    cursor: str | None
    limit: int


def parse_definitions_query(request: Request, workspace: WorkspaceId) -> DefinitionsQuery:
    """Read the filters of a list of definitions. Raises InvalidRequestError."""
    query = QueryReader(request, known=("kind", "name", "cursor", "limit"))
    kind = query.choice("kind", KINDS) or None
    which = DefinitionFilter(workspace=workspace, kind=kind, name=query.text("name"))
    limit = query.integer("limit", Range(1, MAX_PAGE), default=DEFAULT_PAGE)
    cursor = query.text("cursor")
    query.finish()
    return DefinitionsQuery(which, cursor, limit)


class PageQuery(msgspec.Struct, frozen=True):
    """Which page of a plain list."""

    cursor: str | None
    limit: int


def parse_page_query(request: Request) -> PageQuery:
    """Read a cursor and a limit. Raises InvalidRequestError."""
    query = QueryReader(request, known=("cursor", "limit"))
    limit = query.integer("limit", Range(1, MAX_PAGE), default=DEFAULT_PAGE)
    cursor = query.text("cursor")
    query.finish()
    return PageQuery(cursor, limit)


class VersionQuery(msgspec.Struct, frozen=True):
    """Which version of a definition, and how to write it."""

    version: int | None
    """None: the newest."""
    format: str = ""


def parse_version_query(request: Request) -> VersionQuery:
    """Read `?version=`. Raises InvalidRequestError."""
    query = QueryReader(request, known=("version",))
    version = query.integer("version", Range(1, MAX_VERSION), default=0)
    query.finish()
    return VersionQuery(version or None)


def parse_export_query(request: Request) -> VersionQuery:
    """Read `?version=&format=`. Raises InvalidRequestError."""
    query = QueryReader(request, known=("version", "format"))
    version = query.integer("version", Range(1, MAX_VERSION), default=0)
    chosen = query.choice("format", ("yaml", "json"), default="yaml")
    query.finish()
    return VersionQuery(version or None, chosen)


def parse_validate_query(request: Request) -> bool:
    """Read `?document=`: whether what was read is wanted back. Raises InvalidRequestError."""
    query = QueryReader(request, known=("document",))
    is_wanted = query.choice("document", ("true", "false"), default="false") == "true"
    query.finish()
    return is_wanted
