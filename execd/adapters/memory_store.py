"""A store in memory: for tests and simulations, held to the same contract suite as the real ones.

It encodes and decodes nothing, but keeps the rules: one atomic write at a time, fencing, terminal is absorbing.
Never: used by `execd serve`; nothing survives the process.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import accumulate

import msgspec
import trio

from execd.adapters.memory_definitions import MemoryDefinitions, parse_cursor
from execd.adapters.memory_secrets import MemorySecrets
from execd.core.codec import StoredEvent
from execd.core.events import DefinitionId, ExecutionId, WorkspaceId
from execd.core.history import RunTimes
from execd.ports import (
    LISTED_BYTES,
    Append,
    Create,
    Duplicate,
    ExecutionFilter,
    ExecutionPage,
    ExecutionRecord,
    Fenced,
    Stored,
    Token,
    Write,
    WriteOutcome,
)


class MemoryStore:
    """Implements `ports.Store` and `ports.TokenStore`; `definitions` is a `ports.DefinitionStore`, and `secrets` a
    `ports.SecretStore`."""

    def __init__(self) -> None:
        self.records: dict[ExecutionId, ExecutionRecord] = {}
        """In the order of their creation."""
        self.journals: dict[ExecutionId, list[StoredEvent]] = {}
        self.leases: dict[str, float] = {}
        """Until when each owner's lease runs, on trio's clock."""
        self._tokens: dict[str, Token] = {}
        self.definitions = MemoryDefinitions()
        self.secrets = MemorySecrets()

    async def write(self, batch: Sequence[Write]) -> list[WriteOutcome]:
        await trio.lowlevel.checkpoint()
        return [self._create(write) if isinstance(write, Create) else self._append(write) for write in batch]

    async def adopt(self, owner: str, *, only: ExecutionId | None = None) -> Sequence[ExecutionRecord]:
        await trio.lowlevel.checkpoint()
        adopted = []
        for record in list(self.records.values()):
            is_own_again = record.id == only and record.owner == owner
            is_wanted = is_own_again or (only in {None, record.id} and self._is_orphan(record, owner))
            if is_wanted and not record.status.is_final:
                taken = msgspec.structs.replace(record, owner=owner, epoch=record.epoch + 1)
                self.records[record.id] = taken
                adopted.append(taken)
        return adopted

    async def renew_lease(self, owner: str, *, lease_s: float) -> None:
        await trio.lowlevel.checkpoint()
        self.leases[owner] = max(self.leases.get(owner, 0.0), trio.current_time() + lease_s)

    async def release_lease(self, owner: str) -> None:
        await trio.lowlevel.checkpoint()
        self.leases.pop(owner, None)

    async def find_execution(self, execution_id: ExecutionId) -> ExecutionRecord | None:
        await trio.lowlevel.checkpoint()
        return self.records.get(execution_id)

    async def find_by_idempotency_key(self, workspace: WorkspaceId, key: str) -> ExecutionRecord | None:
        await trio.lowlevel.checkpoint()
        return self._find_by_key(workspace, key)

    async def list_executions(self, which: ExecutionFilter, *, cursor: str | None, limit: int) -> ExecutionPage:
        await trio.lowlevel.checkpoint()
        ordered = list(self.records)
        end = len(ordered) if cursor is None else parse_cursor(cursor)
        numbered = list(enumerate(self.records.values()))[:end]
        matching = [(place, record) for place, record in reversed(numbered) if _matches(which, record)]
        sizes = accumulate(len(record.spec) for _, record in matching)
        fitting = sum(size <= LISTED_BYTES for size in sizes)
        page = matching[: min(limit, max(1, fitting))]
        next_cursor = str(page[-1][0]) if len(matching) > len(page) else None
        return ExecutionPage(items=tuple(record for _, record in page), next_cursor=next_cursor)

    async def read_events(
        self, execution_id: ExecutionId, *, after_seq: int, limit_bytes: int, types: frozenset[str] | None = None
    ) -> Sequence[StoredEvent]:
        await trio.lowlevel.checkpoint()
        page: list[StoredEvent] = []
        size = 0
        for event in self.journals.get(execution_id, [])[max(0, after_seq) :]:
            if types is not None and event.type not in types:
                continue
            size += len(event.body)
            if page and size > limit_bytes:
                break
            page.append(event)
        return page

    async def read_history(self, workspace: WorkspaceId, definition: DefinitionId) -> Sequence[RunTimes]:
        await trio.lowlevel.checkpoint()
        return self.definitions.history_of(workspace, definition)

    async def sweep(self, *, finished_before: datetime, limit: int) -> int:
        await trio.lowlevel.checkpoint()
        ended = [record for record in self.records.values() if _ended_before(record, finished_before)]
        for record in ended[:limit]:
            del self.records[record.id]
            del self.journals[record.id]
        return len(ended[:limit])

    async def check(self) -> None:
        await trio.lowlevel.checkpoint()

    async def put_token(self, token: Token) -> None:
        await trio.lowlevel.checkpoint()
        self._tokens[token.sha256] = token

    async def find_token(self, sha256: str) -> Token | None:
        await trio.lowlevel.checkpoint()
        return self._tokens.get(sha256)

    async def list_tokens(self, workspace: WorkspaceId) -> Sequence[Token]:
        await trio.lowlevel.checkpoint()
        return [token for token in self._tokens.values() if token.workspace == workspace]

    async def delete_token(self, workspace: WorkspaceId, token_id: str) -> bool:
        await trio.lowlevel.checkpoint()
        for sha256, token in list(self._tokens.items()):
            if token.workspace == workspace and token.id == token_id:
                del self._tokens[sha256]
                return True
        return False

    def _create(self, write: Create) -> WriteOutcome:
        record = write.record
        if record.id in self.records:
            return Stored() if self._has(record.id, write.events) else Fenced(why="there is such an execution already")
        if record.idempotency_key is not None:
            earlier = self._find_by_key(record.workspace, record.idempotency_key)
            if earlier is not None:
                return Duplicate(existing=earlier.id, same_request=earlier.request_sha256 == record.request_sha256)
        self.records[record.id] = record
        self.journals[record.id] = list(write.events)
        return Stored()

    def _append(self, write: Append) -> WriteOutcome:
        record = self.records.get(write.execution_id)
        if record is None:
            return Fenced(why="there is no such execution")
        if record.status.is_final or record.epoch != write.epoch or record.head_seq != write.after_seq:
            if self._has(write.execution_id, write.events):
                return Stored()
            return Fenced(why=f"it is {record.status}, epoch {record.epoch}, head {record.head_seq}")
        self.journals[record.id].extend(write.events)
        self.records[record.id] = msgspec.structs.replace(
            record,
            status=write.status,
            head_seq=write.after_seq + len(write.events),
            started_at=record.started_at or write.started_at,
            finished_at=record.finished_at or write.finished_at,
            error=write.error or record.error,
        )
        if write.times is not None and record.definition is not None:
            self.definitions.keep_times(record.workspace, record.definition, write.times)
        return Stored()

    def _is_orphan(self, record: ExecutionRecord, adopter: str) -> bool:
        return record.owner != adopter and self.leases.get(record.owner, 0.0) <= trio.current_time()

    def _has(self, execution_id: ExecutionId, events: Sequence[StoredEvent]) -> bool:
        if not events:
            return False
        start = events[0].seq - 1
        return self.journals[execution_id][start : start + len(events)] == list(events)

    def _find_by_key(self, workspace: WorkspaceId, key: str) -> ExecutionRecord | None:
        matching = (r for r in self.records.values() if r.workspace == workspace and r.idempotency_key == key)
        return next(matching, None)


def _matches(which: ExecutionFilter, record: ExecutionRecord) -> bool:
    return (
        record.workspace == which.workspace
        and which.status in {None, record.status}
        and which.kind in {None, record.kind}
        and (which.name is None or which.name in record.name)
        and which.attempt_of in {None, record.attempt_of}
        and which.definition in {None, record.definition}
    )


def _ended_before(record: ExecutionRecord, moment: datetime) -> bool:
    return record.status.is_final and record.finished_at is not None and record.finished_at < moment
