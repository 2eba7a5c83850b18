"""Saved definitions for an embedding program: saved, found, changed, deleted and run, by id or name.

Example:
    await engine.definitions.save({"kind": "script", "name": "answer", "language": "python", "source": "print(6 * 7)"})
    run = await engine.definitions.run("answer")
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from execd.core.definitions import digest_of_run, document_of, parse_run
from execd.core.events import ExecutionId, WorkspaceId
from execd.library import Library
from execd.ports import Definition, DefinitionFilter, DefinitionPage, Engine, Saved, Submission

if TYPE_CHECKING:
    from execd.embed import Run

DEFAULT_LIMIT = 50
"""Of a list: what one answer over HTTP has where nothing is asked."""


class MakeRun(Protocol):
    """Gives the handle of an execution."""

    def __call__(self, execution_id: ExecutionId, *, workspace: str, user: str) -> Run: ...


class EmbeddedDefinitions:
    """What `engine.definitions` is. Where there is no definition of an id or name, its methods raise NotFoundError."""

    def __init__(self, engine: Engine, library: Library, make_run: MakeRun) -> None:
        self._engine = engine
        self._library = library
        self._make_run = make_run

    async def save(self, body: Mapping[str, Any], *, workspace: str = "default", user: str = "local") -> Saved:
        """Save a new one, as version 1.

        Args:
            body: as `engine.submit_request` takes it, with a `name`.

        Raises:
            InvalidRequestError: it could not run; `faults` name everything that is wrong.
            NameTakenError: there is one of that name; `update` saves its next version.
            TooManyDefinitionsError: the workspace has as many as the setting `definitions.per_workspace` allows.
        """
        return await self._library.create(self._library.draft(body), workspace=WorkspaceId(workspace), user=user)

    async def update(
        self,
        id_or_name: str,
        body: Mapping[str, Any],
        *,
        version: int,
        workspace: str = "default",
        user: str = "local",
    ) -> Saved:
        """Save the next version; its `dropped_versions` counts the oldest that went for it.

        Args:
            version: the one that is changed.

        Raises:
            InvalidRequestError: it could not run.
            VersionConflictError: there is a newer version than the one that is changed; `error.newest` is it.
            NameTakenError: another one has the name that is given.
        """
        current = await self.find(id_or_name, workspace=workspace)
        draft = self._library.draft(body, name=current.name)
        return await self._library.change(current, draft, version=version, user=user)

    async def find(self, id_or_name: str, *, version: int | None = None, workspace: str = "default") -> Definition:
        """Give one version, the newest if None; its `fields` are what was saved."""
        return await self._library.find(WorkspaceId(workspace), id_or_name, version=version)

    async def list(
        self,
        *,
        kind: str | None = None,
        name: str | None = None,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
        workspace: str = "default",
    ) -> DefinitionPage:
        """List them, those made last first; `name` is a part of the name, and `next_cursor` leads to the next page."""
        which = DefinitionFilter(workspace=WorkspaceId(workspace), kind=kind, name=name)
        return await self._engine.definitions.list_definitions(which, cursor=cursor, limit=limit)

    async def versions(
        self, id_or_name: str, *, limit: int = DEFAULT_LIMIT, cursor: str | None = None, workspace: str = "default"
    ) -> DefinitionPage:
        """List the versions of one, newest first."""
        newest = await self.find(id_or_name, workspace=workspace)
        store = self._engine.definitions
        return await store.list_versions(newest.workspace, newest.id, cursor=cursor, limit=limit)

    async def delete(self, id_or_name: str, *, workspace: str = "default") -> None:
        """Delete one with all its versions; what was made of it stays and goes on."""
        await self._library.delete(WorkspaceId(workspace), id_or_name)

    async def export(
        self, id_or_name: str, *, version: int | None = None, workspace: str = "default"
    ) -> dict[str, Any]:
        """Give one as what `save` and `engine.submit_request` take."""
        found = await self.find(id_or_name, version=version, workspace=workspace)
        return document_of(kind=found.kind, name=found.name, body=found.body)

    async def run(
        self,
        id_or_name: str,
        *,
        workspace: str = "default",
        user: str = "local",
        idempotency_key: str | None = None,
        **options: Any,
    ) -> Run:
        """Run one.

        Args:
            options: the other fields of such a request: `input`, what a workflow finds as `input` and a script as JSON on
                stdin; `version`, else the newest; `name`, else the definition's; `until`, the one node that is wanted;
                `priority`.

        Raises:
            InvalidRequestError: an option is wrong, or it takes no input.
            NotRunnableError: it was good when it was saved and cannot run here any more.
            OverloadedError: the queue is full.
        """
        given = {name: value for name, value in options.items() if value is not None}
        asked = parse_run({"definition": id_or_name, **given})
        digest = None if idempotency_key is None else digest_of_run(asked)
        if idempotency_key is not None:
            store = self._engine.store
            earlier = await store.find_by_idempotency_key(WorkspaceId(workspace), idempotency_key)
            if earlier is not None and earlier.request_sha256 == digest:
                return self._make_run(earlier.id, workspace=workspace, user=user)
        found, request = await self._library.read_run(WorkspaceId(workspace), asked)
        accepted = await self._engine.submit(
            Submission(
                workspace=found.workspace,
                user=user,
                name=request.name,
                spec=request.spec,
                priority=request.priority,
                idempotency_key=idempotency_key,
                request_sha256=digest,
                definition=found.id,
                definition_version=found.version,
            )
        )
        return self._make_run(accepted.id, workspace=workspace, user=user)
