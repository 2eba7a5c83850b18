"""The routes of saved scripts, workflows and flows: save, list, look, change, delete, export, validate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from quart import Quart, Request, Response, request

from execd.core.codec import encode_json, format_time
from execd.core.definitions import MAX_VERSION, document_of, hide_env, parse_definition
from execd.core.errors import FieldFault, InvalidRequestError
from execd.core.fields import Faults, Fields, Range
from execd.core.plain_credentials import warn_of_credentials
from execd.core.requests import parse_request, warnings_of
from execd.core.secret_names import faults_of_missing
from execd.core.text_lines import lines_of
from execd.core.workflows import ExecutionSpec
from execd.http.access import Identity, Role
from execd.http.answers import empty_response, json_response
from execd.http.beside import read_beside
from execd.http.credentials import require
from execd.http.documents import read_document, read_document_text, write_document
from execd.http.front import Front
from execd.http.problems import MEDIA_TYPE, problem_of
from execd.http.queries import (
    parse_definitions_query,
    parse_export_query,
    parse_page_query,
    parse_validate_query,
    parse_version_query,
)
from execd.http.schemas import API
from execd.library import VersionConflictError
from execd.ports import Definition, DefinitionHead, DefinitionPage, Saved


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


class SavedDefinition(DefinitionDetail, frozen=True, kw_only=True):
    """The version that was just saved."""

    dropped_versions: int
    """How many of its oldest versions went for it: no more are kept than the server's setting `definitions.versions` says."""


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
    lines: dict[str, int] = {}
    """Where the paths of errors and warnings stand in the text that was sent, from 1."""
    document: Any = None
    """With `?document=true` what was read of the text, as JSON; null where it could not be."""


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
        library = self._front.library
        draft = await read_beside(lambda: library.draft(body))
        saved = await library.create(draft, workspace=identity.workspace, user=identity.user)
        return _answer_saved(saved, status=201, headers={"Location": _links_of(saved.definition.id)["self"]})

    async def validate(self) -> Response:
        identity = await require(self._front, request, Role.VIEWER)
        shows_document = parse_validate_query(request)
        warnings: list[FieldFault] = []
        errors: tuple[FieldFault, ...] = ()
        body, text = None, b""
        try:
            body, text = await read_document_text(request, self._front.config)
            warnings += warn_of_credentials(body)
            spec = await read_beside(lambda: self._read_spec(body))
            warnings += await read_beside(lambda: warnings_of(body))
            known = {head.name for head in await self._front.engine.vault.list(identity.workspace)}
            warnings += faults_of_missing(spec, known=known)
        except InvalidRequestError as error:
            errors = error.faults
        paths = [fault.path for fault in (*errors, *warnings)]
        lines = await read_beside(lambda: lines_of(text.decode(errors="replace"), paths)) if paths else {}
        view = ValidityView(
            valid=not errors,
            errors=errors,
            warnings=tuple(warnings),
            lines={path: lines[path] for path in paths if path and path in lines},
            document=body if shows_document else None,
        )
        return json_response(view)

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
        newest = await self._front.library.find(identity.workspace, definition_id)
        store = self._front.engine.definitions
        return _answer_page(
            await store.list_versions(identity.workspace, newest.id, cursor=query.cursor, limit=query.limit)
        )

    async def show(self, definition_id: str) -> Response:
        identity = await require(self._front, request, Role.VIEWER)
        version = parse_version_query(request).version
        return _answer(await self._front.library.find(identity.workspace, definition_id, version=version), identity)

    async def export(self, definition_id: str) -> Response:
        identity = await require(self._front, request, Role.VIEWER)
        query = parse_export_query(request)
        found = await self._front.library.find(identity.workspace, definition_id, version=query.version)
        document = _for(identity, document_of(kind=found.kind, name=found.name, body=found.body))
        return await write_document(document, file_name=found.name, is_yaml=query.format == "yaml")

    async def change(self, definition_id: str) -> Response:
        identity = await require(self._front, request, Role.RUNNER)
        newest = await self._front.library.find(identity.workspace, definition_id)
        body = await read_document(request, self._front.config)
        known, fields = _split_version(request, body)
        library = self._front.library
        draft = await read_beside(lambda: library.draft(fields, name=newest.name))
        try:
            return _answer_saved(await library.change(newest, draft, version=known, user=identity.user), status=200)
        except VersionConflictError as error:
            problem = problem_of(error, instance=request.path) | {"newest": _detail_of(error.newest, identity)}
            return Response(encode_json(problem), status=error.status, content_type=MEDIA_TYPE)

    async def delete(self, definition_id: str) -> Response:
        identity = await require(self._front, request, Role.RUNNER)
        await self._front.library.delete(identity.workspace, definition_id)
        return empty_response(204)


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


def _answer_saved(saved: Saved, *, status: int, headers: Mapping[str, str] | None = None) -> Response:
    """Give it to whoever saved it, and so may see all of it."""
    found = saved.definition
    body = msgspec.json.decode(found.body)
    view = SavedDefinition(**_shown_fields(found), body=body, dropped_versions=saved.dropped_versions)
    return json_response(view, status=status, headers={"ETag": f'"{found.version}"', **(headers or {})})


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
