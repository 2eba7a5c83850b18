"""The client's part for saved definitions: save, list, look, change, delete, export, check and run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from execd.client_errors import RemoteError, decode_answer
from execd.client_records import DefinitionDetail, DefinitionList, SavedDefinition, Submitted, Validity
from execd.client_sending import ATTEMPTS, Send

ROOT = "/definitions"
NOT_IN_A_PATH = frozenset({"", ".", ".."})
"""Names that would lead elsewhere, as would one with a slash in it."""
PAGE = 200
"""Definitions asked for at one time where a name has to be looked for; the most a server gives."""


class RemoteDefinitions:
    """The definitions of the credential's workspace. Every method raises as those of `Client`; one is named by id or name."""

    def __init__(self, send: Send) -> None:
        self._send = send

    async def save(self, body: Mapping[str, Any]) -> SavedDefinition:
        """Save a new one; `RemoteError` of code `name_taken` where there is one of that name.

        Args:
            body: as `POST /api/v1/executions` takes it, with a `name`.
        """
        return decode_answer((await self._send("POST", ROOT, json=dict(body))).content, SavedDefinition)

    async def update(self, id_or_name: str, body: Mapping[str, Any], *, version: int) -> SavedDefinition:
        """Save the next version; `RemoteError` of code `version_conflict` where `version` is not the newest any more.

        It is sent again when no answer comes: the same change of the same version is made once.

        Args:
            version: the one that is changed.
        """
        path = await self._path(id_or_name)
        headers = {"If-Match": f'"{version}"'}
        answer = await self._send("PUT", path, json=dict(body), headers=headers, attempts=ATTEMPTS)
        return decode_answer(answer.content, SavedDefinition)

    async def find(self, id_or_name: str, *, version: int | None = None) -> DefinitionDetail:
        """Look one up, in its newest version if None."""
        return decode_answer(await self._get(await self._path(id_or_name), version=version), DefinitionDetail)

    async def list(
        self,
        *,
        kind: str | None = None,
        name: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> DefinitionList:
        """List them, those made last first; `name` is a part of the name, and `next_cursor` leads to the next page."""
        return decode_answer(await self._get(ROOT, kind=kind, name=name, limit=limit, cursor=cursor), DefinitionList)

    async def versions(self, id_or_name: str, *, limit: int | None = None, cursor: str | None = None) -> DefinitionList:
        """List the versions of one, newest first."""
        path = f"{await self._path(id_or_name)}/versions"
        return decode_answer(await self._get(path, limit=limit, cursor=cursor), DefinitionList)

    async def delete(self, id_or_name: str) -> None:
        """Delete one with all its versions; what was made of it stays and goes on."""
        await self._send("DELETE", await self._path(id_or_name))

    async def export_yaml(self, id_or_name: str, *, version: int | None = None) -> bytes:
        """Give one as a file that can be saved again."""
        return await self._get(f"{await self._path(id_or_name)}/export", version=version, format="yaml")

    async def export_json(self, id_or_name: str, *, version: int | None = None) -> bytes:
        """Give one as a file that can be saved again, in JSON."""
        return await self._get(f"{await self._path(id_or_name)}/export", version=version, format="json")

    async def validate(self, body: Mapping[str, Any]) -> Validity:
        """Say everything that is wrong with one, without saving it."""
        answer = await self._send("POST", f"{ROOT}/validate", json=dict(body), attempts=ATTEMPTS)
        return decode_answer(answer.content, Validity)

    async def run(
        self,
        id_or_name: str,
        *,
        idempotency_key: str,
        input: Any = None,  # noqa: A002 - the wire's own name
        version: int | None = None,
        name: str | None = None,
        until: str | None = None,
        priority: int | None = None,
    ) -> Submitted:
        """Run one. The key makes it safe to send again, so it is, when no answer comes.

        Args:
            input: what a workflow finds as `input`, and a script as JSON on stdin; None: as saved.
            version: None: the newest.
            name: what the execution is called; None: the definition's name.
            until: the node of a workflow that is wanted: it runs with what it needs; None: all of it.
            priority: its place in the queue, 0 (first) to 2; None: 1.
        """
        asked = {"version": version, "input": input, "name": name, "until": until, "priority": priority}
        body = {"definition": id_or_name} | {field: value for field, value in asked.items() if value is not None}
        headers = {"Idempotency-Key": idempotency_key}
        answer = await self._send("POST", "/executions", json=body, headers=headers, attempts=ATTEMPTS)
        return decode_answer(answer.content, Submitted)

    async def _get(self, path: str, **query: object) -> bytes:
        asked = {name: str(value) for name, value in query.items() if value is not None}
        return (await self._send("GET", path, params=asked, attempts=ATTEMPTS)).content

    async def _path(self, id_or_name: str) -> str:
        """Give the path of one; a name that no path can hold is looked for first."""
        if "/" in id_or_name or id_or_name in NOT_IN_A_PATH:
            id_or_name = await self._id_of(id_or_name)
        return f"{ROOT}/{quote(id_or_name, safe='')}"

    async def _id_of(self, name: str) -> str:
        cursor: str | None = None
        while True:
            page = await self.list(name=name, limit=PAGE, cursor=cursor)
            for found in page.items:
                if found.name == name:
                    return found.id
            cursor = page.next_cursor
            if cursor is None:
                words = f"there is no definition {name[:64]}"
                raise RemoteError(words, code="not_found", status=404, retryable=False)
