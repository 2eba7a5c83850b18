"""The saved definitions of the engine inside this process, with the client's calls and records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import trio

from execd.client_records import DefinitionDetail, DefinitionList, DefinitionView, SavedDefinition, Submitted
from execd.core.codec import encode_json
from execd.core.errors import FieldFault, InvalidRequestError
from execd.core.events import Status
from execd.core.yaml_text import write_yaml
from execd.embed import EmbeddedEngine
from execd.embed_definitions import DEFAULT_LIMIT
from execd.ports import Definition, DefinitionHead, DefinitionPage, Saved

V = TypeVar("V", bound=DefinitionView)


class DefinitionsHere:
    """Implements `backend.Definitions`."""

    def __init__(self, engine: EmbeddedEngine) -> None:
        self._kept = engine.definitions

    async def save(self, body: Mapping[str, Any]) -> SavedDefinition:
        return _saved(await self._kept.save(body))

    async def update(self, id_or_name: str, body: Mapping[str, Any], *, version: int) -> SavedDefinition:
        return _saved(await self._kept.update(id_or_name, body, version=version))

    async def find(self, id_or_name: str, *, version: int | None = None) -> DefinitionDetail:
        found = await self._kept.find(id_or_name, version=version)
        return _view(DefinitionDetail, found, body=found.fields)

    async def list(
        self,
        *,
        kind: str | None = None,
        name: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> DefinitionList:
        return _page(await self._kept.list(kind=kind, name=name, limit=limit or DEFAULT_LIMIT, cursor=cursor))

    async def versions(self, id_or_name: str, *, limit: int | None = None, cursor: str | None = None) -> DefinitionList:
        return _page(await self._kept.versions(id_or_name, limit=limit or DEFAULT_LIMIT, cursor=cursor))

    async def delete(self, id_or_name: str) -> None:
        await self._kept.delete(id_or_name)

    async def export_yaml(self, id_or_name: str, *, version: int | None = None) -> bytes:
        document = await self._kept.export(id_or_name, version=version)
        return (await trio.to_thread.run_sync(write_yaml, document)).encode()

    async def export_json(self, id_or_name: str, *, version: int | None = None) -> bytes:
        return encode_json(await self._kept.export(id_or_name, version=version))

    async def run(
        self,
        id_or_name: str,
        *,
        idempotency_key: str,
        input: Any = None,  # noqa: A002 - the wire's own name
        version: int | None = None,
        name: str | None = None,
        until: str | None = None,
    ) -> Submitted:
        check_runs_here((await self._kept.find(id_or_name, version=version)).kind)
        given = {"input": input, "version": version, "name": name, "until": until}
        run = await self._kept.run(id_or_name, idempotency_key=idempotency_key, **given)
        return Submitted(run.id, Status.QUEUED)


def check_runs_here(kind: object) -> None:
    """Refuse what only a server can run. Raises InvalidRequestError."""
    if kind == "external":
        accepted = "a server that runs, with --url"
        fault = FieldFault("kind", "is 'external', and its engine reports over HTTP", accepted)
        raise InvalidRequestError("an engine elsewhere needs a server to report to", faults=(fault,))


def _view(wanted: type[V], head: DefinitionHead | Definition, **more: Any) -> V:
    shared = {name: getattr(head, name) for name in DefinitionView.__struct_fields__}
    return wanted(**shared, **more)


def _saved(saved: Saved) -> SavedDefinition:
    kept = saved.definition
    return _view(SavedDefinition, kept, body=kept.fields, dropped_versions=saved.dropped_versions)


def _page(page: DefinitionPage) -> DefinitionList:
    return DefinitionList(tuple(_view(DefinitionView, head) for head in page.items), page.next_cursor)
