"""Saved scripts and workflows as the doors and embedding programs use them: found, saved, deleted and made into runs.

What the store answers becomes what was asked for, or an error the caller can act on. Owns nothing. Never: a look at who may.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import datetime

import structlog

from execd.core.again import spec_until
from execd.core.definitions import Draft, RunRequest, parse_definition, request_of, with_input
from execd.core.errors import ConflictError, FieldFault, NotFoundError
from execd.core.events import DefinitionId, WorkspaceId
from execd.core.fields import text_fault
from execd.core.ids import TAILS, spell_tail
from execd.core.requests import ExecutionRequest
from execd.core.script_fields import ScriptTools
from execd.ports import Definition, DefinitionLimits, DefinitionStore, Full, Gone, Moved, NameTaken, Saved

log = structlog.get_logger()

MAX_ID_CHARS = 200
"""Of what names a definition: its id or name."""


class VersionConflictError(ConflictError):
    """Somebody else saved a version meanwhile: look at `newest`, merge, and send yours with its version."""

    code = "version_conflict"

    def __init__(self, *, changed: int, newest: Definition) -> None:
        fault = FieldFault(path="version", message=f"is {changed}", accepted=str(newest.version))
        words = f"the newest version is {newest.version}, saved by {newest.saved_by}; yours changes {changed}"
        super().__init__(words, faults=(fault,))
        self.newest = newest


class NameTakenError(ConflictError):
    """The workspace has another definition of this name: choose another name, or save a version of that one."""

    code = "name_taken"


class TooManyDefinitionsError(ConflictError):
    """The workspace has as many definitions as it may: delete one, or have `definitions.per_workspace` raised."""

    code = "too_many_definitions"


class Library:
    """The definitions of a store. Every method raises StoreUnavailableError where the store does not answer.

    Args:
        tools: what is saved and run is read against.
        limits: how much is kept.
        now: the wall clock, aware and in UTC.
    """

    def __init__(
        self, store: DefinitionStore, *, tools: ScriptTools, limits: DefinitionLimits, now: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._tools = tools
        self._limits = limits
        self._now = now

    async def find(self, workspace: WorkspaceId, id_or_name: str, *, version: int | None = None) -> Definition:
        """Find a version, the newest if None.

        Raises:
            NotFoundError: the workspace has no such definition or version; one that was dropped is said to be.
        """
        if text_fault(id_or_name, max_chars=MAX_ID_CHARS) is not None:
            raise _not_found(id_or_name)
        found = await self._store.find_definition(workspace, id_or_name, version=version)
        if found is not None:
            return found
        newest = None if version is None else await self._store.find_definition(workspace, id_or_name)
        raise _not_found(id_or_name) if newest is None else _no_such_version(newest, version)

    def draft(self, body: object, *, name: str | None = None) -> Draft:
        """Read what is to be saved.

        Args:
            name: taken where the body has none.

        Raises:
            InvalidRequestError: it could not run; `faults` name everything that is wrong.
        """
        return parse_definition(body, self._tools, name=name)

    async def create(self, draft: Draft, *, workspace: WorkspaceId, user: str) -> Saved:
        """Save a new definition, as version 1. Raises NameTakenError, TooManyDefinitionsError."""
        new_id = DefinitionId(f"def-{spell_tail(secrets.randbelow(TAILS))}")
        return await self._save(new_id, 1, draft, workspace=workspace, user=user)

    async def change(self, current: Definition, draft: Draft, *, version: int, user: str) -> Saved:
        """Save the next version of a definition.

        Args:
            current: any version of it.
            version: the one that is changed.

        Raises:
            VersionConflictError, NameTakenError: see there.
            NotFoundError: it was deleted meanwhile.
        """
        return await self._save(current.id, version + 1, draft, workspace=current.workspace, user=user)

    async def delete(self, workspace: WorkspaceId, id_or_name: str) -> None:
        """Delete a definition with all its versions. Raises NotFoundError."""
        found = await self.find(workspace, id_or_name)
        await self._store.delete_definition(workspace, found.id)

    async def read_run(self, workspace: WorkspaceId, asked: RunRequest) -> tuple[Definition, ExecutionRequest]:
        """Find what is to be run and give it its input.

        Raises:
            NotFoundError: the workspace has no such definition or version.
            NotRunnableError: it cannot run here any more.
            InvalidRequestError: it takes no input, or has no such node.
        """
        found = await self.find(workspace, asked.definition, version=asked.version)
        spec = spec_until(with_input(self.read(found).spec, asked.input), asked.until)
        return found, ExecutionRequest(name=asked.name or found.name, spec=spec, priority=asked.priority)

    def read(self, found: Definition) -> ExecutionRequest:
        """Read a version for a run. Raises NotRunnableError."""
        return request_of(kind=found.kind, name=found.name, body=found.body, tools=self._tools)

    async def _save(
        self, definition_id: DefinitionId, version: int, draft: Draft, *, workspace: WorkspaceId, user: str
    ) -> Saved:
        definition = Definition(
            id=definition_id,
            workspace=workspace,
            name=draft.name,
            version=version,
            kind=draft.kind,
            saved_by=user,
            saved_at=self._now(),
            sha256=draft.sha256,
            size_bytes=len(draft.body),
            body=draft.body,
        )
        match await self._store.save_definition(definition, limits=self._limits):
            case Saved(dropped_versions=dropped) as saved:
                if dropped:
                    log.info("definition_versions_dropped", definition=definition_id, count=dropped)
                return saved
            case NameTaken(by=other):
                fault = FieldFault(path="name", message=f"is the name of {other}", accepted="a name of its own")
                raise NameTakenError(f"name is the name of {other}; accepted: a name of its own", faults=(fault,))
            case Full():
                raise TooManyDefinitionsError(
                    f"the workspace has {self._limits.per_workspace} definitions, as many as it may (the setting "
                    "definitions.per_workspace): delete one, or save a version of one"
                )
            case Moved(newest=newest):
                raise VersionConflictError(changed=version - 1, newest=newest)
            case Gone():
                raise _not_found(definition_id)


def _not_found(id_or_name: str) -> NotFoundError:
    shown = id_or_name[:64].encode(errors="replace").decode()
    return NotFoundError(f"there is no definition {shown}")


def _no_such_version(newest: Definition, version: int | None) -> NotFoundError:
    if version is not None and version < newest.version:
        return NotFoundError(
            f"version {version} of {newest.name} was dropped as newer ones were saved (the setting definitions.versions); "
            f"its newest is {newest.version}"
        )
    return NotFoundError(f"there is no version {version} of {newest.name}; its newest is {newest.version}")
