"""The routes of saved flows as the n8n-pattern dialect has them; each is a definition, with versions, like any other."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from quart import Quart, Response, request

from execd.core.codec import format_time
from execd.core.dialects.n8n_documents import (
    ARCHIVED,
    DRAFT,
    Checked,
    FlowDraft,
    check,
    definition_of,
    document_of_flow,
    flow_id_of,
    parse_change,
    parse_new_flow,
)
from execd.core.dialects.n8n_flows import DRAWING_KIND
from execd.core.errors import NotFoundError
from execd.core.fields import Range
from execd.http.access import Identity, Role
from execd.http.answers import json_response
from execd.http.beside import read_beside
from execd.http.credentials import require
from execd.http.dialects.fastapi_shape import in_fastapi_shape, read_body
from execd.http.front import Front
from execd.http.queries import QueryReader
from execd.http.schemas import API
from execd.library import NameTakenError, VersionConflictError
from execd.ports import Definition, DefinitionFilter

MAX_SKIP = 100_000
MAX_LIMIT = 200
DEFAULT_LIMIT = 100
PAGE = 200
MAX_TRIES = 5
"""To save a change while others save theirs: each change is of the newest version."""
MAX_COPIES = 100


async def find_flow(front: Front, identity: Identity, flow_id: str) -> Definition:
    """Find a flow by its number, as text too, or by its definition's id or name. Raises NotFoundError."""
    try:
        found = await front.library.find(identity.workspace, definition_of(flow_id))
    except NotFoundError:
        shown = flow_id[:64].encode(errors="replace").decode()
        raise NotFoundError(f"Flow {shown} not found") from None
    if found.kind != DRAWING_KIND:
        raise NotFoundError(f"Flow {flow_id[:64]} not found")
    return found


class FlowRoutes:
    """Routes under `/api/v1/flows`; a slash at the end changes nothing."""

    def __init__(self, front: Front) -> None:
        self._front = front

    def register(self, app: Quart) -> None:
        base = f"{API}/flows"
        one = f"{base}/<flow_id>"
        app.add_url_rule(base, "create_flow", in_fastapi_shape(self.create), methods=["POST"])
        app.add_url_rule(base, "list_flows", in_fastapi_shape(self.list_all), methods=["GET"])
        app.add_url_rule(one, "show_flow", in_fastapi_shape(self.show), methods=["GET"])
        app.add_url_rule(one, "replace_flow", in_fastapi_shape(self.change), methods=["PUT"])
        app.add_url_rule(one, "change_flow", in_fastapi_shape(self.change), methods=["PATCH"])
        app.add_url_rule(one, "delete_flow", in_fastapi_shape(self.delete), methods=["DELETE"])
        app.add_url_rule(f"{one}/archive", "archive_flow", in_fastapi_shape(self.archive), methods=["POST"])
        app.add_url_rule(f"{one}/duplicate", "duplicate_flow", in_fastapi_shape(self.duplicate), methods=["POST"])

    async def create(self) -> Response:
        identity = await require(self._front, request, Role.RUNNER)
        body = await read_body(request, self._front.config)
        made = await read_beside(lambda: parse_new_flow(body, self._front.script_tools))
        saved = await self._create(made, identity)
        return json_response(await self._checked(saved, identity, made.checked))

    async def list_all(self) -> Response:
        identity = await require(self._front, request, Role.VIEWER)
        query = QueryReader(request, known=("skip", "limit", "status"))
        skip = query.integer("skip", Range(0, MAX_SKIP), default=0)
        limit = query.integer("limit", Range(1, MAX_LIMIT), default=DEFAULT_LIMIT)
        status = query.text("status")
        query.finish()
        flows = await self._newest(identity, status, count=skip + limit)
        return json_response([await self._view(flow, identity) for flow in flows[skip:]])

    async def show(self, flow_id: str) -> Response:
        identity = await require(self._front, request, Role.VIEWER)
        found = await find_flow(self._front, identity, flow_id)
        checked = check(document_of_flow(name=found.name, body=found.body), self._front.script_tools)
        return json_response(await self._checked(found, identity, checked))

    async def change(self, flow_id: str) -> Response:
        identity = await require(self._front, request, Role.RUNNER)
        body = await read_body(request, self._front.config)
        return await self._save_change(
            identity, flow_id, lambda saved: parse_change(body, saved, self._front.script_tools)
        )

    async def archive(self, flow_id: str) -> Response:
        identity = await require(self._front, request, Role.RUNNER)
        change = {"status": ARCHIVED}
        return await self._save_change(
            identity, flow_id, lambda saved: parse_change(change, saved, self._front.script_tools)
        )

    async def duplicate(self, flow_id: str) -> Response:
        """Save a copy under the first free name."""
        identity = await require(self._front, request, Role.RUNNER)
        found = await find_flow(self._front, identity, flow_id)
        document = document_of_flow(name=found.name, body=found.body) | {"status": DRAFT}
        for number in range(1, MAX_COPIES):
            ending = " (Copy)" if number == 1 else f" (Copy {number})"
            copy = document | {"name": f"{found.name[:180]}{ending}"}
            made = parse_new_flow(copy, self._front.script_tools)
            try:
                saved = await self._create(made, identity)
            except NameTakenError:
                continue
            return json_response(await self._checked(saved, identity, made.checked))
        raise NameTakenError(f"there are {MAX_COPIES} copies of {found.name} already")

    async def delete(self, flow_id: str) -> Response:
        identity = await require(self._front, request, Role.RUNNER)
        found = await find_flow(self._front, identity, flow_id)
        await self._front.library.delete(identity.workspace, found.id)
        return json_response({"status": "success", "message": "Flow deleted"})

    async def _create(self, made: FlowDraft, identity: Identity) -> Definition:
        """Save a new flow. Raises NameTakenError, TooManyDefinitionsError."""
        saved = await self._front.library.create(made.draft, workspace=identity.workspace, user=identity.user)
        return saved.definition

    async def _save_change(
        self, identity: Identity, flow_id: str, change: Callable[[dict[str, Any]], FlowDraft]
    ) -> Response:
        """Make the change to the newest version, whichever that is by then: fields that nobody named stay as they are."""
        library = self._front.library
        for tried in range(1, MAX_TRIES + 1):
            found = await find_flow(self._front, identity, flow_id)
            saved_flow = document_of_flow(name=found.name, body=found.body)
            made = await read_beside(partial(change, saved_flow))
            try:
                saved = await library.change(found, made.draft, version=found.version, user=identity.user)
            except VersionConflictError:
                if tried == MAX_TRIES:
                    raise
            else:
                return json_response(await self._checked(saved.definition, identity, made.checked))
        raise AssertionError("the last try answers or raises")

    async def _newest(self, identity: Identity, status: str | None, *, count: int) -> list[Definition]:
        """Find so many flows, those made last first."""
        definitions = self._front.engine.definitions
        which = DefinitionFilter(workspace=identity.workspace, kind=DRAWING_KIND)
        flows: list[Definition] = []
        cursor = None
        while True:
            page = await definitions.list_definitions(which, cursor=cursor, limit=PAGE)
            for head in page.items:
                found = await definitions.find_definition(identity.workspace, head.id)
                if found is not None and status in {None, _status_of(found)}:
                    flows.append(found)
                if len(flows) == count:
                    return flows
            cursor = page.next_cursor
            if cursor is None:
                return flows

    async def _checked(self, found: Definition, identity: Identity, checked: Checked) -> dict[str, Any]:
        """Show a flow with what is wrong or odd about it."""
        view = await self._view(found, identity)
        return view | {"problems": checked.problems, "warnings": checked.warnings}

    async def _view(self, found: Definition, identity: Identity) -> dict[str, Any]:
        """Show a flow: the fields of the origin, and where it stands here."""
        first = found
        if found.version > 1:
            definitions = self._front.engine.definitions
            first = await definitions.find_definition(identity.workspace, found.id, version=1) or found
        return {
            "id": flow_id_of(found.id),
            **document_of_flow(name=found.name, body=found.body),
            "version": found.version,
            "user_id": first.saved_by,
            "created_at": format_time(first.saved_at),
            "updated_at": format_time(found.saved_at),
            "definition": found.id,
        }


def _status_of(found: Definition) -> str:
    return str(document_of_flow(name=found.name, body=found.body)["status"])
