"""The routes of saved scripts, workflows and flows: save, list, look, change, delete, export, validate."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

import msgspec
from quart import Quart, Request, Response, request

from execd.core.codec import encode_json, format_time
from execd.core.definitions import MAX_VERSION, Draft, document_of, hide_env, parse_definition
from execd.core.errors import ConflictError, FieldFault, InvalidRequestError, NotFoundError
from execd.core.events import DefinitionId
from execd.core.fields import Faults, Fields, Range, text_fault
from execd.core.plain_credentials import warn_of_credentials
from execd.core.requests import parse_request, warnings_of
from execd.core.secret_names import faults_of_missing
from execd.core.workflows import ExecutionSpec
from execd.http.access import Identity, Role
from execd.http.answers import empty_response, json_response
from execd.http.beside import read_beside
from execd.http.credentials import require
from execd.http.documents import read_document, write_document
from execd.http.front import Front
from execd.http.problems import MEDIA_TYPE, problem_of
from execd.http.queries import (
    parse_definitions_query,
    parse_export_query,
    parse_page_query,
    parse_version_query,
)
from execd.http.schemas import API
from execd.ports import Definition, DefinitionHead, DefinitionPage, Gone, Moved, NameTaken, Saved

MAX_ID_CHARS = 200
"""Of what a path or body names a definition by: its id or name."""
_BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"


class DefinitionView(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a saved script, workflow or flow, as it is listed."""

    id: str
    name: str
    kind: str
    version: int
    workspace: str
    saved_by: str
    saved_at: str
    sha256: str
    """Of the body as it is stored."""
    size_bytes: int
    links: dict[str, str]


class DefinitionDetail(DefinitionView, frozen=True, kw_only=True):
    """One version with what was saved."""

    body: dict[str, Any]
    """The fields of a request of this kind, as their author wrote them; a viewer does not see values of `env`."""


class DefinitionListView(msgspec.Struct, frozen=True):
    """Some versions, newest first."""

    items: tuple[DefinitionView, ...]
    next_cursor: str | None


class ValidityView(msgspec.Struct, frozen=True):
    """Whether it could be saved, and everything that is wrong with it."""

    valid: bool
    errors: tuple[FieldFault, ...]
    warnings: tuple[FieldFault, ...] = ()
    """What is allowed and may be unwise, or is not what its author may think: a credential that stands there in clear, a secret
    the workspace has not yet, what a flow will not do. Never a reason to refuse."""


class VersionConflictError(ConflictError):
    """Somebody else saved a version meanwhile: look at `newest`, merge, and send yours with its version."""

    code = "version_conflict"


class NameTakenError(ConflictError):
    """The workspace has another definition of this name: choose another name, or save a version of that one."""

    code = "name_taken"


async def find_saved(front: Front, identity: Identity, id_or_name: str, *, version: int | None = None) -> Definition:
    """Find a version, the newest if None, of a definition of the caller's workspace.

    Raises:
        NotFoundError: it is not there for this caller.
    """
    found = None
    if text_fault(id_or_name, max_chars=MAX_ID_CHARS) is None:
        found = await front.engine.definitions.find_definition(identity.workspace, id_or_name, version=version)
    if found is None:
        shown = id_or_name[:64].encode(errors="replace").decode()
        raise NotFoundError(f"there is no definition {shown}" + ("" if version is None else f" of version {version}"))
    return found


async def save_definition(
    front: Front, definition_id: DefinitionId, version: int, draft: Draft, identity: Identity
) -> Definition:
    """Store a version; 1 makes a definition. Raises VersionConflictError, NameTakenError, NotFoundError."""
    definition = Definition(
        id=definition_id,
        workspace=identity.workspace,
        name=draft.name,
        version=version,
        kind=draft.kind,
        saved_by=identity.user,
        saved_at=front.now(),
        sha256=draft.sha256,
        size_bytes=len(draft.body),
        body=draft.body,
    )
    match await front.engine.definitions.save_definition(definition):
        case Saved(definition=saved):
            return saved
        case NameTaken(by=other):
            fault = FieldFault(path="name", message=f"is the name of {other}", accepted="a name of its own")
            raise NameTakenError(f"name is the name of {other}; accepted: a name of its own", faults=(fault,))
        case Moved(newest=newest):
            fault = FieldFault(path="version", message=f"is {version - 1}", accepted=str(newest.version))
            raise VersionConflictError(
                f"the newest version is {newest.version}, saved by {newest.saved_by}; yours changes {version - 1}",
                faults=(fault,),
            )
        case Gone():
            raise NotFoundError(f"there is no definition {definition_id}")


class DefinitionRoutes:
    """Routes under `/api/v1/definitions`."""

    def __init__(self, front: Front) -> None:
        self._front = front

    def register(self, app: Quart) -> None:
        base = f"{API}/definitions"
        one = f"{base}/<definition_id>"
        app.add_url_rule(base, "save_definition", self.create, methods=["POST"])
        app.add_url_rule(base, "list_definitions", self.list_all, methods=["GET"])
        app.add_url_rule(f"{base}/validate", "validate_definition", self.validate, methods=["POST"])
        app.add_url_rule(one, "show_definition", self.show, methods=["GET"])
        app.add_url_rule(one, "change_definition", self.change, methods=["PUT"])
        app.add_url_rule(one, "delete_definition", self.delete, methods=["DELETE"])
        app.add_url_rule(f"{one}/versions", "list_versions", self.list_versions, methods=["GET"])
        app.add_url_rule(f"{one}/export", "export_definition", self.export, methods=["GET"])

    async def create(self) -> Response:
        identity = await require(self._front, request, Role.RUNNER)
        body = await read_document(request, self._front.config)
        draft = await read_beside(lambda: parse_definition(body, self._front.script_tools))
        saved = await save_definition(self._front, new_definition_id(), 1, draft, identity)
        headers = {"Location": _links_of(saved.id)["self"], "ETag": f'"{saved.version}"'}
        return json_response(_detail_of(saved, identity), status=201, headers=headers)

    async def validate(self) -> Response:
        identity = await require(self._front, request, Role.VIEWER)
        warnings: list[FieldFault] = []
        try:
            body = await read_document(request, self._front.config)
            warnings += warn_of_credentials(body)
            spec = await read_beside(lambda: self._read_spec(body))
        except InvalidRequestError as error:
            return json_response(ValidityView(valid=False, errors=error.faults, warnings=tuple(warnings)))
        warnings += await read_beside(lambda: warnings_of(body))
        known = {head.name for head in await self._front.engine.vault.list(identity.workspace)}
        warnings += faults_of_missing(spec, known=known)
        return json_response(ValidityView(valid=True, errors=(), warnings=tuple(warnings)))

    def _read_spec(self, body: object) -> ExecutionSpec:
        parse_definition(body, self._front.script_tools)
        return parse_request(body, self._front.script_tools).spec

    async def list_all(self) -> Response:
        identity = await require(self._front, request, Role.VIEWER)
        query = parse_definitions_query(request, identity.workspace)
        store = self._front.engine.definitions
        return _answer_page(await store.list_definitions(query.which, cursor=query.cursor, limit=query.limit))

    async def list_versions(self, definition_id: str) -> Response:
        identity = await require(self._front, request, Role.VIEWER)
        query = parse_page_query(request)
        newest = await find_saved(self._front, identity, definition_id)
        store = self._front.engine.definitions
        return _answer_page(
            await store.list_versions(identity.workspace, newest.id, cursor=query.cursor, limit=query.limit)
        )

    async def show(self, definition_id: str) -> Response:
        identity = await require(self._front, request, Role.VIEWER)
        version = parse_version_query(request).version
        return _answer(await find_saved(self._front, identity, definition_id, version=version), identity)

    async def export(self, definition_id: str) -> Response:
        identity = await require(self._front, request, Role.VIEWER)
        query = parse_export_query(request)
        found = await find_saved(self._front, identity, definition_id, version=query.version)
        document = _for(identity, document_of(kind=found.kind, name=found.name, body=found.body))
        return await write_document(document, file_name=found.name, is_yaml=query.format == "yaml")

    async def change(self, definition_id: str) -> Response:
        identity = await require(self._front, request, Role.RUNNER)
        newest = await find_saved(self._front, identity, definition_id)
        body = await read_document(request, self._front.config)
        known, fields = _split_version(request, body)
        draft = await read_beside(lambda: parse_definition(fields, self._front.script_tools, name=newest.name))
        try:
            return _answer(await save_definition(self._front, newest.id, known + 1, draft, identity), identity)
        except VersionConflictError as error:
            latest = await find_saved(self._front, identity, newest.id)
            problem = problem_of(error, instance=request.path) | {"newest": _detail_of(latest, identity)}
            return Response(encode_json(problem), status=error.status, content_type=MEDIA_TYPE)

    async def delete(self, definition_id: str) -> Response:
        identity = await require(self._front, request, Role.RUNNER)
        found = await find_saved(self._front, identity, definition_id)
        await self._front.engine.definitions.delete_definition(identity.workspace, found.id)
        return empty_response(204)


def new_definition_id() -> DefinitionId:
    """Give `def-<9 base36>`."""
    return DefinitionId("def-" + "".join(secrets.choice(_BASE36) for _ in range(9)))


def _split_version(asked: Request, body: object) -> tuple[int, object]:
    """Give the version that is changed, by `If-Match` or the body's `version`, and the body without it.

    Raises:
        InvalidRequestError: neither is there, one is none, or they differ.
    """
    faults = Faults()
    fields = dict(body) if isinstance(body, Mapping) else {}
    by_header = asked.headers.get("If-Match")
    allowed = Range(1, MAX_VERSION)
    by_body = Fields(fields, faults, known=fields).integer("version", allowed, default=0)
    version = by_body
    if by_header is not None:
        digits = by_header.strip().strip('"')
        is_number = digits.isascii() and digits.isdigit() and len(digits) <= len(str(MAX_VERSION))
        version = int(digits) if is_number else 0
        if not version:
            faults.add("If-Match", "is no version", f'a whole number {allowed}, like "3"')
        elif by_body not in {0, version}:
            faults.add("version", f"is {by_body}, and If-Match is {version}", "one of them, or the same")
    elif not by_body and not faults.found:
        faults.add("version", "is missing", "the version that is changed, here or in If-Match")
    faults.raise_if_any()
    if not isinstance(body, Mapping):
        return version, body
    return version, {name: value for name, value in fields.items() if name != "version"}


def _answer(found: Definition, identity: Identity) -> Response:
    return json_response(_detail_of(found, identity), headers={"ETag": f'"{found.version}"'})


def _answer_page(page: DefinitionPage) -> Response:
    items = tuple(DefinitionView(**_shown_fields(head)) for head in page.items)
    return json_response(DefinitionListView(items, page.next_cursor))


def _detail_of(found: Definition, identity: Identity) -> DefinitionDetail:
    return DefinitionDetail(**_shown_fields(found), body=_for(identity, msgspec.json.decode(found.body)))


def _for(identity: Identity, fields: dict[str, Any]) -> dict[str, Any]:
    """Whoever may run it could have its secrets printed; whoever may only look may not see them."""
    return fields if identity.role >= Role.RUNNER else hide_env(fields)


def _shown_fields(head: DefinitionHead) -> dict[str, Any]:
    return {
        "id": head.id,
        "name": head.name,
        "kind": head.kind,
        "version": head.version,
        "workspace": head.workspace,
        "saved_by": head.saved_by,
        "saved_at": format_time(head.saved_at),
        "sha256": head.sha256,
        "size_bytes": head.size_bytes,
        "links": _links_of(head.id),
    }


def _links_of(definition_id: str) -> dict[str, str]:
    base = f"{API}/definitions/{definition_id}"
    return {
        "self": base,
        "versions": f"{base}/versions",
        "export": f"{base}/export",
        "executions": f"{API}/executions?definition={definition_id}",
    }
