"""Port `Engine`: what the front ends talk to, and what they say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import msgspec

from execd.core.calls import CallEnd, ReadCall
from execd.core.errors import ExecdError
from execd.core.events import DefinitionId, ExecutionId, Status, WorkspaceId
from execd.core.job_reports import JobReport
from execd.core.workflows import ExecutionSpec
from execd.ports.secrets import Vault
from execd.ports.store import DefinitionStore, ExecutionRecord, Store, TokenStore


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """A checked request to run something."""

    workspace: WorkspaceId
    user: str
    name: str
    spec: ExecutionSpec
    priority: int = 1
    idempotency_key: str | None = None
    request_sha256: str | None = None
    attempt_of: ExecutionId | None = None
    definition: DefinitionId | None = None
    """What the spec was made of."""
    definition_version: int | None = None


class Accepted(msgspec.Struct, frozen=True):
    """It is stored and will end in a terminal state, whatever crashes."""

    id: ExecutionId
    status: Status
    is_repeat: bool = False
    """Whether an earlier request with the same key made it."""


class Command(msgspec.Struct, frozen=True):
    """The root of what one can ask of an execution that exists."""


class Cancel(Command, frozen=True):
    by: str


class Interrupt(Command, frozen=True):
    by: str


class Pause(Command, frozen=True):
    by: str


class Resume(Command, frozen=True):
    by: str


class ProvideInput(Command, frozen=True):
    """Answer what an input node asks."""

    by: str
    prompt_id: str
    values: Mapping[str, Any]
    """Texts, unless every answer is taken."""

    def __repr__(self) -> str:
        return f"ProvideInput({self.prompt_id})"  # an answer may be secret


class Report(Command, frozen=True):
    """Take what the engine reports that does the work of this execution; returning means that it is stored."""

    report: JobReport


class SendStdin(Command, frozen=True):
    data: bytes
    close: bool = False
    """Whether end-of-file follows the data."""


class StreamedEvent(msgspec.Struct):
    """An event on its way to viewers: its bytes, and the frames made of them so far.

    Mutable only in `frames`, a cache that every viewer shares: the first to need a framing makes it for all.
    """

    seq: int
    type: str
    body: bytes
    frames: dict[str, bytes] = msgspec.field(default_factory=dict)


Take = Callable[[Sequence[StreamedEvent]], bool]
"""Takes events without waiting; False: not one more for now."""


class Subscription(Protocol):
    """One viewer's cursor in one journal. Used by one task."""

    @property
    def execution_id(self) -> ExecutionId: ...

    @property
    def last_seq(self) -> int:
        """The last event handed out, 0 before the first."""

    async def receive(self) -> Sequence[StreamedEvent]:
        """Wait for the next events: from the store until level with the live ones, then as they are published.

        Raises:
            trio.EndOfChannel: `result_stored` has been handed out; there will never be more.
            EvictedError: this viewer lags too far behind, or execd is going down; `error.last_seq` says where to resume.
        Cancellation: safe; nothing is skipped.
        """

    async def relay(self, take: Take) -> None:
        """Let `take` have each new event the moment it is published, without waking this task; return when it cannot go on.

        A short cut past a task switch per viewer and event. It returns at once when the viewer is not level with the live
        end, and later when `take` can take no more, the viewer is evicted, or all was taken: `receive` then says which.

        Args:
            take: called with events in order. It takes them all, must not wait, and says whether it can take more.

        Raises: as `receive`.
        Cancellation: safe; what was taken is counted in `last_seq`.
        """

    def close(self) -> None:
        """Give the cursor back. Idempotent; also done by leaving the context of `Engine.subscribe`."""


class EvictedError(ExecdError):
    """The stream ended early and nothing is lost: subscribe again after `last_seq`."""

    code = "evicted"
    status = 503
    retryable = True

    def __init__(self, reason: str, *, last_seq: int) -> None:
        super().__init__(f"stream ended early ({reason}) after event {last_seq}")
        self.reason = reason
        """`slow` or `draining`."""
        self.last_seq = last_seq


class Engine(Protocol):
    """execd without its doors: what HTTP, the CLI and an embedding program all use.

    Nothing here checks who asks; a front end does, by comparing `ExecutionRecord.workspace`.
    """

    async def submit(self, submission: Submission) -> Accepted:
        """Store a request and queue it.

        Raises:
            InvalidRequestError: it names a secret the workspace has not.
            OverloadedError: the queue is full.
            IdempotencyConflictError: the key was used for another request.
            StoreUnavailableError: it may or may not have been accepted.
        """

    async def command(self, execution_id: ExecutionId, command: Command) -> None:
        """Hand a command to whoever runs the execution; returning means it will be obeyed, not that it was.

        Raises:
            NotFoundError: no such execution.
            ConflictError: it is final, or its state does not allow the command; the message names the state.
            OverloadedError: its mailbox is full (stdin that nobody reads), or it changes hands just now.
        """

    async def find(self, execution_id: ExecutionId) -> ExecutionRecord | None: ...

    async def make_call(self, call: ReadCall) -> CallEnd:
        """Make one request that is of no execution and stands in no journal, by the same rules of where it may go. Waits while
        as many as may be are under way.

        Cancellation: the connection is closed.
        """

    def subscribe(
        self, execution_id: ExecutionId, *, workspace: WorkspaceId, after_seq: int
    ) -> AbstractAsyncContextManager[Subscription]:
        """Follow a journal from after `after_seq`, whatever instant it is: running, ended, before or after a restart.

        Raises (on entering):
            TooManyStreamsError: the workspace has as many as it may.
        """

    @property
    def store(self) -> Store:
        """For reading only: the result writer is the one that writes."""

    @property
    def tokens(self) -> TokenStore: ...

    @property
    def definitions(self) -> DefinitionStore: ...

    @property
    def vault(self) -> Vault: ...

    async def readiness(self) -> Mapping[str, str]:
        """Say of each part `ok` or what is wrong with it; ready means all are `ok`."""

    def statistics(self) -> Mapping[str, float]:
        """Give every counter and gauge of every actor, by Prometheus-style name, for `/metrics`."""

    def drain(self) -> None:
        """Refuse new work and end every stream with `draining`; what runs goes on until the grace is over."""
