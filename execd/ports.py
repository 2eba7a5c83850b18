"""The doors between what decides and what does: one Protocol for each kind of thing outside.

An adapter implements a port and passes its contract suite (tests/contract). Above a port nobody sees vendor errors,
vendor types or blocking calls: adapters map errors to `core.errors`, and every method here may be awaited on trio.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol

import msgspec

from execd.core.codec import StoredEvent
from execd.core.errors import ExecdError
from execd.core.events import ExecutionId, Failure, Status, Stream, WorkspaceId
from execd.core.outcome import ExitRecord, PodState
from execd.core.specs import ScriptSpec

# --- Runner: sandboxes and pods -------------------------------------------------------------------------------------


class PodRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a pod is made for; everything a runner needs to know, and nothing about journals."""

    execution_id: ExecutionId
    workspace: WorkspaceId
    user: str
    node: str
    attempt: int
    spec: ScriptSpec


class Started(msgspec.Struct, frozen=True):
    """The program runs: its own process exists and has been handed the script."""


class Chunk(msgspec.Struct, frozen=True):
    """Bytes the program wrote, in order within their stream; at most 64 KiB."""

    stream: Stream
    data: bytes


class Dropped(msgspec.Struct, frozen=True):
    """The output limit was reached in this stream: so many bytes were read and thrown away in all."""

    stream: Stream
    dropped_bytes: int


class Exited(msgspec.Struct, frozen=True):
    """The last frame: the pod is gone, nothing of it is left, and this is what is known about its end.

    `record` is None when the shim never wrote one; `pod` says what the machinery around it saw.
    """

    record: ExitRecord | None
    pod: PodState


Frame = Started | Chunk | Dropped | Exited


class Pod(Protocol):
    """One prepared place for one attempt of one node. It is used once."""

    @property
    def name(self) -> str:
        """Unique on this runner, as it stands in events."""

    @property
    def runtime(self) -> str: ...

    @property
    def image(self) -> str | None: ...

    @property
    def isolation(self) -> str: ...

    @property
    def started_from(self) -> str:
        """`warm` or `cold`."""

    async def start(self) -> None:
        """Begin the side effect: hand over the script and let it run. Called once, after its announcement is stored.

        Never raises for what is wrong with the sandbox or the program: that arrives as `Exited`.
        """

    async def receive(self) -> Frame:
        """Wait for the next frame; `Exited` is the last, and calling again after it is an error.

        Back-pressure: while nobody receives, the program's pipes fill and it waits.
        Cancellation: safe; no frame is lost.
        """

    def send_stdin_nowait(self, data: bytes) -> None:
        """Queue bytes for the program's stdin.

        Raises:
            OverloadedError: the program does not read and the buffer (1 MiB) is full; nothing was taken.
            ConflictError: stdin is closed.
        """

    def close_stdin_nowait(self) -> None:
        """Let the program see end-of-file after what is queued. Idempotent."""

    def stop(self) -> None:
        """Cancel, also before `start`, which then ends as cancelled: the program gets SIGTERM, then after its grace SIGKILL. Idempotent; `Exited` follows within the grace + 1 s."""

    async def close(self) -> None:
        """Remove every trace: processes, cgroup, directory. Idempotent; kills at once what still runs.

        Cancellation: finishes its work under a bounded shield (5 s).
        """


class PodObservation(msgspec.Struct, frozen=True):
    """A second opinion on a pod, from outside it: the process table, or the Kubernetes API."""

    pod: str
    phase: str
    """`pending`, `running`, `gone`."""
    state: PodState = PodState()


class RunnerReport(msgspec.Struct, frozen=True):
    """What a runner can do on this machine."""

    name: str
    isolation: str
    ready: bool
    checks: tuple[Check, ...]


class Check(msgspec.Struct, frozen=True):
    """One line of `execd doctor`."""

    name: str
    level: str
    """`ok`, `degraded` or `fatal`."""
    found: str
    """What was found, in words."""
    mend: str = ""
    """What to do about it; empty when all is well."""


class Runner(Protocol):
    """Where scripts run. `open` starts what it keeps (warm sandboxes, watches) and closing it leaves nothing behind."""

    @property
    def name(self) -> str:
        """`local` or `kubernetes`, as it stands in `execution_started`."""

    def prepare(self, request: PodRequest) -> Pod:
        """Choose a place (a warm one if there is one) without any effect of the user's code. Never blocks.

        Raises:
            RunnerUnavailableError: this machine cannot give a sandbox.
            ConfigurationError: the runtime of the request is not known here.
        """

    async def observe(self) -> Sequence[PodObservation]:
        """Wait until something changed for some pod since the last call, then say how those pods stand.

        One caller only: the pod watcher. Level-triggered: a change missed by a crash of the caller is told again.
        """

    async def report(self) -> RunnerReport:
        """Probe the machine with the complete command, as `execd doctor` and `/readyz` show it."""


# --- Store: executions and their journals ---------------------------------------------------------------------------


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
    owner: str
    """The instance that runs it."""
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
            only: this one, whoever has it; None for every one whose owner is another.
        """

    async def find_execution(self, execution_id: ExecutionId) -> ExecutionRecord | None: ...

    async def find_by_idempotency_key(self, workspace: WorkspaceId, key: str) -> ExecutionRecord | None: ...

    async def list_executions(self, which: ExecutionFilter, *, cursor: str | None, limit: int) -> ExecutionPage:
        """Raises InvalidRequestError when the cursor is not one of ours."""

    async def read_events(
        self, execution_id: ExecutionId, *, after_seq: int, limit_bytes: int, types: frozenset[str] | None = None
    ) -> Sequence[StoredEvent]:
        """Read on in a journal: at least one event if there is one, then as many as fit in `limit_bytes`; empty at the end."""

    async def sweep(self, *, finished_before: datetime, limit: int) -> int:
        """Delete at most `limit` executions that ended before then, journals and all; give how many went."""

    async def check(self) -> None:
        """Write and read something small. Raises StoreUnavailableError."""


# --- Tokens: who may ------------------------------------------------------------------------------------------------


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


# --- Engine: what the front ends talk to ----------------------------------------------------------------------------


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """A checked request to run something."""

    workspace: WorkspaceId
    user: str
    name: str
    spec: ScriptSpec
    priority: int = 1
    idempotency_key: str | None = None
    request_sha256: str | None = None
    attempt_of: ExecutionId | None = None


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
            OverloadedError: the queue is full.
            IdempotencyConflictError: the key was used for another request.
            StoreUnavailableError: it may or may not have been accepted.
        """

    async def command(self, execution_id: ExecutionId, command: Command) -> None:
        """Hand a command to whoever runs the execution; returning means it will be obeyed, not that it was.

        Raises:
            NotFoundError: no such execution.
            ConflictError: it is final, or its state does not allow the command; the message names the state.
            OverloadedError: its mailbox is full (stdin that nobody reads).
        """

    async def find(self, execution_id: ExecutionId) -> ExecutionRecord | None: ...

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

    async def readiness(self) -> Mapping[str, str]:
        """Say of each part `ok` or what is wrong with it; ready means all are `ok`."""

    def statistics(self) -> Mapping[str, float]:
        """Give every counter and gauge of every actor, by Prometheus-style name, for `/metrics`."""

    def drain(self) -> None:
        """Refuse new work and end every stream with `draining`; what runs goes on until the grace is over."""
