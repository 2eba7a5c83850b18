"""Definitions in memory: for tests and simulations, held to the same contract suite as the real ones."""

from __future__ import annotations

import msgspec
import trio

from execd.core.errors import InvalidRequestError
from execd.core.events import DefinitionId, WorkspaceId
from execd.core.history import KEPT_RUNS, RunTimes
from execd.ports import (
    Definition,
    DefinitionFilter,
    DefinitionHead,
    DefinitionLimits,
    DefinitionPage,
    Full,
    Gone,
    Moved,
    NameTaken,
    Saved,
    SaveOutcome,
)


class MemoryDefinitions:
    """Implements `ports.DefinitionStore`."""

    def __init__(self) -> None:
        self._versions: dict[DefinitionId, list[Definition]] = {}
        """Oldest first, and the definitions in the order of their making."""
        self._made: dict[DefinitionId, int] = {}
        """The place of each in that order, for ever."""
        self._times: dict[DefinitionId, list[RunTimes]] = {}

    async def save_definition(self, definition: Definition, *, limits: DefinitionLimits) -> SaveOutcome:
        await trio.lowlevel.checkpoint()
        versions = self._find(definition.workspace, definition.id)
        newest = versions[-1] if versions else None
        if newest is not None and newest.version != definition.version - 1:
            return Saved(newest) if _is_same(newest, definition) else Moved(newest)
        if newest is None and definition.version != 1:
            return Gone()
        taken = self._find_by_name(definition.workspace, definition.name)
        if taken is not None and taken.id != definition.id:
            return NameTaken(taken.id)
        if newest is None and self._is_full(definition.workspace, limits):
            return Full()
        kept = self._versions.setdefault(definition.id, [])
        kept.append(definition)
        self._made.setdefault(definition.id, len(self._made) + 1)
        dropped = max(0, len(kept) - limits.versions) if limits.versions else 0
        del kept[:dropped]
        return Saved(definition, dropped)

    async def find_definition(
        self, workspace: WorkspaceId, id_or_name: str, *, version: int | None = None
    ) -> Definition | None:
        await trio.lowlevel.checkpoint()
        versions = self._find(workspace, DefinitionId(id_or_name))
        if not versions:
            named = self._find_by_name(workspace, id_or_name)
            versions = [] if named is None else self._versions[named.id]
        matching = [found for found in versions if version in {None, found.version}]
        return matching[-1] if matching else None

    async def list_definitions(self, which: DefinitionFilter, *, cursor: str | None, limit: int) -> DefinitionPage:
        await trio.lowlevel.checkpoint()
        before = None if cursor is None else parse_cursor(cursor)
        matching = [
            (self._made[versions[-1].id], versions[-1])
            for versions in reversed(self._versions.values())
            if _matches(which, versions[-1]) and (before is None or self._made[versions[-1].id] < before)
        ]
        return _page(matching, limit)

    async def list_versions(
        self, workspace: WorkspaceId, definition: DefinitionId, *, cursor: str | None, limit: int
    ) -> DefinitionPage:
        await trio.lowlevel.checkpoint()
        before = None if cursor is None else parse_cursor(cursor)
        versions = reversed(self._find(workspace, definition))
        return _page([(found.version, found) for found in versions if before is None or found.version < before], limit)

    async def delete_definition(self, workspace: WorkspaceId, definition: DefinitionId) -> bool:
        await trio.lowlevel.checkpoint()
        if not self._find(workspace, definition):
            return False
        del self._versions[definition]
        self._times.pop(definition, None)
        return True

    def keep_times(self, workspace: WorkspaceId, definition: DefinitionId, times: RunTimes) -> None:
        """Add to the history of a definition, if there still is one."""
        if self._find(workspace, definition):
            kept = self._times.setdefault(definition, [])
            kept.append(times)
            del kept[:-KEPT_RUNS]

    def history_of(self, workspace: WorkspaceId, definition: DefinitionId) -> list[RunTimes]:
        """Give what `keep_times` kept, oldest first."""
        return list(self._times.get(definition, [])) if self._find(workspace, definition) else []

    def _find(self, workspace: WorkspaceId, definition: DefinitionId) -> list[Definition]:
        versions = self._versions.get(definition, [])
        return versions if versions and versions[-1].workspace == workspace else []

    def _is_full(self, workspace: WorkspaceId, limits: DefinitionLimits) -> bool:
        count = sum(versions[-1].workspace == workspace for versions in self._versions.values())
        return bool(limits.per_workspace) and count >= limits.per_workspace

    def _find_by_name(self, workspace: WorkspaceId, name: str) -> Definition | None:
        newest = (versions[-1] for versions in self._versions.values())
        return next((found for found in newest if (found.workspace, found.name) == (workspace, name)), None)


def parse_cursor(cursor: str) -> int:
    """Read the place a page ended with. Raises InvalidRequestError."""
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 19):
        raise InvalidRequestError("cursor: not one this server gave; use `next_cursor` of the page before")
    return int(cursor)


def _page(numbered: list[tuple[int, Definition]], limit: int) -> DefinitionPage:
    page = numbered[:limit]
    items = tuple(_head_of(found) for _, found in page)
    return DefinitionPage(items=items, next_cursor=str(page[-1][0]) if len(numbered) > limit else None)


def _head_of(definition: Definition) -> DefinitionHead:
    return DefinitionHead(**{name: getattr(definition, name) for name in DefinitionHead.__struct_fields__})


def _is_same(newest: Definition, saved: Definition) -> bool:
    return msgspec.structs.replace(newest, saved_at=saved.saved_at) == saved


def _matches(which: DefinitionFilter, found: Definition) -> bool:
    return (
        found.workspace == which.workspace
        and which.kind in {None, found.kind}
        and (which.name is None or which.name in found.name)
    )
