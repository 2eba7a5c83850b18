"""The routes of a workspace's secrets: set, list, look, delete. No answer ever holds a value."""

from __future__ import annotations

import msgspec
from quart import Quart, Response, request

from execd.core.codec import format_time
from execd.core.errors import NotFoundError
from execd.core.fields import Faults, Fields
from execd.core.secret_names import NAME, check_secret
from execd.http.access import Role
from execd.http.answers import empty_response, json_response
from execd.http.credentials import require
from execd.http.front import Front
from execd.http.schemas import API, read_json
from execd.ports import SecretHead


class SecretView(msgspec.Struct, frozen=True, kw_only=True):
    """A secret as it is listed: everything but its value, which no answer shows."""

    name: str
    workspace: str
    set_by: str
    """Who set it last; `settings` for one of the server's settings, which cannot be changed here."""
    set_at: str


class SecretListView(msgspec.Struct, frozen=True):
    """The secrets of a workspace, by name."""

    items: tuple[SecretView, ...]


class SecretRoutes:
    """Routes under `/api/v1/secrets`."""

    def __init__(self, front: Front) -> None:
        self._front = front

    def register(self, app: Quart) -> None:
        base = f"{API}/secrets"
        one = f"{base}/<secret_name>"
        app.add_url_rule(base, "list_secrets", self.list_all, methods=["GET"])
        app.add_url_rule(one, "set_secret", self.put, methods=["PUT"])
        app.add_url_rule(one, "show_secret", self.show, methods=["GET"])
        app.add_url_rule(one, "delete_secret", self.delete, methods=["DELETE"])

    async def list_all(self) -> Response:
        identity = await require(self._front, request, Role.VIEWER)
        heads = await self._front.engine.vault.list(identity.workspace)
        return json_response(SecretListView(tuple(map(_view, heads))))

    async def put(self, secret_name: str) -> Response:
        identity = await require(self._front, request, Role.ADMIN)
        value = _parse_value(secret_name, await read_json(request, self._front.config))
        head, is_new = await self._front.engine.vault.put(
            identity.workspace, secret_name, value, by=identity.user, at=self._front.now()
        )
        return json_response(_view(head), status=201 if is_new else 200)

    async def show(self, secret_name: str) -> Response:
        identity = await require(self._front, request, Role.VIEWER)
        for head in await self._front.engine.vault.list(identity.workspace):
            if head.name == secret_name:
                return json_response(_view(head))
        raise _unknown()

    async def delete(self, secret_name: str) -> Response:
        identity = await require(self._front, request, Role.ADMIN)
        is_name = NAME.fullmatch(secret_name) is not None
        if not is_name or not await self._front.engine.vault.delete(identity.workspace, secret_name):
            raise _unknown()
        return empty_response(204)


def _parse_value(name: str, body: object) -> str:
    """Read `{"value": …}`. Raises InvalidRequestError, which never holds what was sent."""
    faults = Faults()
    return check_secret(name, Fields(body, faults, known=("value",)).raw("value"), faults)


def _unknown() -> NotFoundError:
    return NotFoundError("there is no such secret in this workspace")


def _view(head: SecretHead) -> SecretView:
    return SecretView(name=head.name, workspace=head.workspace, set_by=head.set_by, set_at=format_time(head.set_at))
