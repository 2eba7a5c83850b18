"""Port `Store`: executions and their journals, and the tokens and definitions kept beside them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol

import msgspec

from execd.core.codec import StoredEvent
from execd.core.event_parts import Failure
from execd.core.events import DefinitionId, ExecutionId, Status, WorkspaceId
from execd.core.history import RunTimes


class ExecutionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One execution as it is listed: what was asked, where it stands, who owns it."""

    id: ExecutionId
    kind: str
    workspace: WorkspaceId
    user: str
    name: str
    spec: bytes
    """The checked spec as JSON."""
    status: Status
    priority: int
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    error: Failure | None = None
    attempt_of: ExecutionId | None = None
    definition: DefinitionId | None = None
    """What it was made of, which may have changed or gone since: `spec` is what runs."""
    definition_version: int | None = None
    owner: str
    """The instance that runs it; whether that lives is said by its lease, not here."""
    epoch: int = 1
    """Rises by one with each adoption; a write with an older one is refused."""
    head_seq: int = 0
    """The number of its last stored event."""
    idempotency_key: str | None = None
    request_sha256: str | None = None
    """Of the request's body, to tell a repeated request from a key used twice."""


class Create(msgspec.Struct, frozen=True, kw_only=True):
    """Write a new execution and the first events of its journal, together."""

    record: ExecutionRecord
    events: tuple[StoredEvent, ...]


class Append(msgspec.Struct, frozen=True, kw_only=True):
    """Write the next events of one journal and what they mean for its execution, together.

    The store takes it only if the execution has this `epoch`, its head is `after_seq` and it is not final yet.
    """

    execution_id: ExecutionId
    epoch: int
    after_seq: int
    events: tuple[StoredEvent, ...]
    status: Status
    started_at: datetime | None = None
    finished_at: datetime | None = None
    error: Failure | None = None
    times: RunTimes | None = None
    """For the history of the definition it was made of; dropped where that is gone."""

    @property
    def is_terminal(self) -> bool:
        """Whether this ends the journal; such a write survives loss of power whatever the durability setting."""
        return self.status.is_final


Write = Create | Append


class Stored(msgspec.Struct, frozen=True):
    """The write is durable."""


class Fenced(msgspec.Struct, frozen=True):
    """Refused: another owner has the execution, it is final, or its head is elsewhere. Never retry."""

    why: str


class Duplicate(msgspec.Struct, frozen=True):
    """Refused: this workspace used this `Idempotency-Key` before, for the execution named here."""

    existing: ExecutionId
    same_request: bool


WriteOutcome = Stored | Fenced | Duplicate


class ExecutionFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which executions to list; None means any."""

    workspace: WorkspaceId
    status: Status | None = None
    kind: str | None = None
    name: str | None = None
    """A part of the name."""
    attempt_of: ExecutionId | None = None
    definition: DefinitionId | None = None


LISTED_BYTES = 4 * 1024 * 1024
"""Of the specs in one page: each may be as long as a request, and whoever may look can ask for many pages at one time."""


class ExecutionPage(msgspec.Struct, frozen=True):
    """Some executions, newest first, and where the next page begins (None: this is the last)."""

    items: tuple[ExecutionRecord, ...]
    next_cursor: str | None


class Store(Protocol):
    """Executions and journals that survive everything. Each single write is atomic; a batch need not be."""

    async def write(self, batch: Sequence[Write]) -> list[WriteOutcome]:
        """Make a batch durable and give one outcome per write, in order. One caller only: the result writer.

        Raises:
            StoreUnavailableError: nothing is known about the batch. Writing it again is safe: a write that did
                happen answers `Stored` again.
        Cancellation: waits for the store; the batch is written or not, never half of one write.
        """

    async def adopt(self, owner: str, *, only: ExecutionId | None = None) -> Sequence[ExecutionRecord]:
        """Make `owner` the owner of unfinished executions, with a higher epoch, and give them, oldest first.

        Args:
            only: this one, unless another who has it holds a lease that still runs; None for every one whose owner is
                another and holds no such lease. An owner never heard of holds none.

        Raises:
            StoreUnavailableError: some may have been taken. Asking again as the same owner gives those too: an
                execution that has an owner and that nobody runs would never end.
        """

    async def renew_lease(self, owner: str, *, lease_s: float) -> None:
        """Note that `owner` lives for at least so long from now, on the store's own clock: instances' clocks differ.

        Raises:
            StoreUnavailableError: it may or may not be noted; ask again.
        """

    async def release_lease(self, owner: str) -> None:
        """Note that `owner` is gone: what it has may be adopted at once. Idempotent.

        Raises:
            StoreUnavailableError: it may or may not be noted; ask again.
        """

    async def find_execution(self, execution_id: ExecutionId) -> ExecutionRecord | None: ...

    async def find_by_idempotency_key(self, workspace: WorkspaceId, key: str) -> ExecutionRecord | None: ...

    async def list_executions(self, which: ExecutionFilter, *, cursor: str | None, limit: int) -> ExecutionPage:
        """Give at most `limit`, and no more than have their specs in `LISTED_BYTES`, but at least one if there is one.

        Raises InvalidRequestError when the cursor is not one of ours.
        """

    async def read_events(
        self, execution_id: ExecutionId, *, after_seq: int, limit_bytes: int, types: frozenset[str] | None = None
    ) -> Sequence[StoredEvent]:
        """Read on in a journal: at least one event if there is one, then as many as fit in `limit_bytes`; empty at the end."""

    async def read_history(self, workspace: WorkspaceId, definition: DefinitionId) -> Sequence[RunTimes]:
        """Give how long the last successful executions of a definition took, oldest first, at most `KEPT_RUNS`; it outlives
        the executions themselves and goes with the definition."""

    async def sweep(self, *, finished_before: datetime, limit: int) -> int:
        """Delete at most `limit` executions that ended before then, journals and all; give how many went."""

    async def check(self) -> None:
        """Write and read something small. Raises StoreUnavailableError."""


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A bearer token as it is kept: everything but the token itself."""

    id: str
    sha256: str
    """Of the token; 256 random bits need no slow hash."""
    workspace: WorkspaceId
    role: str
    """`viewer` sees, `runner` also runs and stops, `admin` also makes tokens."""
    user: str
    created_at: datetime
    expires_at: datetime | None = None


class TokenStore(Protocol):
    """Tokens, kept beside the executions."""

    async def put_token(self, token: Token) -> None: ...

    async def find_token(self, sha256: str) -> Token | None: ...

    async def list_tokens(self, workspace: WorkspaceId) -> Sequence[Token]: ...

    async def delete_token(self, workspace: WorkspaceId, token_id: str) -> bool:
        """Revoke it; False when the workspace has no such token."""


class DefinitionHead(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a saved script or workflow, as it is listed."""

    id: DefinitionId
    workspace: WorkspaceId
    name: str
    """Of this version; within the workspace no two definitions have the same in their newest ones."""
    version: int
    """1, 2, 3 … without gaps; the first ones may have been dropped by a limit."""
    kind: str
    saved_by: str
    saved_at: datetime
    sha256: str
    """Of `Definition.body`."""
    size_bytes: int
    """Of `Definition.body`."""


class Definition(DefinitionHead, frozen=True, kw_only=True):
    """One version of a saved script or workflow, with what was saved."""

    body: bytes
    """The fields of a request of this kind as JSON, as their author wrote them."""

    @property
    def fields(self) -> dict[str, Any]:
        """The body as an object."""
        fields: dict[str, Any] = msgspec.json.decode(self.body)
        return fields


class DefinitionFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which definitions to list; None means any."""

    workspace: WorkspaceId
    kind: str | None = None
    name: str | None = None
    """A part of the name."""


class DefinitionPage(msgspec.Struct, frozen=True):
    """Some versions, newest first, and where the next page begins (None: this is the last)."""

    items: tuple[DefinitionHead, ...]
    next_cursor: str | None


class DefinitionLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How much is kept; 0 means no limit."""

    per_workspace: int = 0
    """Definitions of one workspace: with more, another one is refused."""
    versions: int = 0
    """Of one definition: with more, its oldest are dropped as the next is saved."""


class Saved(msgspec.Struct, frozen=True):
    """The version is durable."""

    definition: Definition
    dropped_versions: int = 0
    """How many of its oldest versions went for it, by the limit."""


class Moved(msgspec.Struct, frozen=True):
    """Refused: the newest version is another one than the writer knew."""

    newest: Definition


class NameTaken(msgspec.Struct, frozen=True):
    """Refused: another definition of the workspace has this name."""

    by: DefinitionId


class Full(msgspec.Struct, frozen=True):
    """Refused: the workspace has as many definitions as it may."""


class Gone(msgspec.Struct, frozen=True):
    """Refused: there is no such definition in this workspace, or no more."""


SaveOutcome = Saved | Moved | NameTaken | Full | Gone


class DefinitionStore(Protocol):
    """Saved scripts and workflows with all their versions, kept beside the executions.

    The doors write here directly, as they write tokens, and not through the result writer: invariant 5 is about executions
    and journals, whose order and owner only one task can keep. A definition has no owner and no order but its versions,
    which the store compares and raises in one transaction; and no execution depends on one, because it keeps its own spec.
    Every change survives loss of power. All methods raise StoreUnavailableError.
    """

    async def save_definition(self, definition: Definition, *, limits: DefinitionLimits) -> SaveOutcome:
        """Store a version, if the newest one is the one before it; version 1 makes a definition.

        Saving again what is the newest version already, because its answer was lost, answers `Saved` again. What the limits
        drop goes in the same transaction; a limit that was lowered touches nothing until the next version is saved.
        """

    async def find_definition(
        self, workspace: WorkspaceId, id_or_name: str, *, version: int | None = None
    ) -> Definition | None:
        """Find a version, the newest if None, by the definition's id or else by the newest version's name."""

    async def list_definitions(self, which: DefinitionFilter, *, cursor: str | None, limit: int) -> DefinitionPage:
        """List the newest version of each, the definitions made last first.

        Raises InvalidRequestError when the cursor is not one of ours.
        """

    async def list_versions(
        self, workspace: WorkspaceId, definition: DefinitionId, *, cursor: str | None, limit: int
    ) -> DefinitionPage:
        """List the versions of one, newest first; empty when there is no such definition. Raises as `list_definitions`."""

    async def delete_definition(self, workspace: WorkspaceId, definition: DefinitionId) -> bool:
        """Delete all its versions; False when the workspace has none of it. Executions made of it stay and go on."""
