"""An engine in memory that obeys `ports.Engine`: its journals are real, and a test writes them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import msgspec
import trio

from execd.actors.broadcast import BroadcastLog, Cursor
from execd.adapters.aes_cipher import AesCipher
from execd.adapters.memory_definitions import MemoryDefinitions
from execd.adapters.memory_store import MemoryStore
from execd.adapters.secret_vault import SecretVault
from execd.core.calls import CallEnd, ReadCall
from execd.core.codec import StoredEvent, number_fact
from execd.core.errors import (
    ConflictError,
    IdempotencyConflictError,
    NotFoundError,
    OverloadedError,
    TooManyStreamsError,
)
from execd.core.event_parts import StreamTotals, Usage
from execd.core.events import (
    EventData,
    ExecutionCompleted,
    ExecutionId,
    ExecutionRequested,
    Fact,
    NodeId,
    Output,
    ResultStored,
    Status,
    Stream,
    WorkspaceId,
)
from execd.core.specs import Limits, ScriptSpec
from execd.core.workflows import encode_spec, kind_of
from execd.ports import Accepted, Append, Command, Create, ExecutionRecord, Submission, Subscription

EPOCH = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def virtual_now() -> datetime:
    """Give wall-clock time that moves with trio's clock."""
    return EPOCH + timedelta(seconds=trio.current_time() % 10**6)


class FakeEngine:
    """Implements `ports.Engine` on the memory store and the real broadcast logs, without actors."""

    def __init__(self) -> None:
        self.memory = MemoryStore()
        self.submissions: list[Submission] = []
        self.commands: list[tuple[ExecutionId, Command]] = []
        self.subscribe_count = 0
        self.open_cursors: set[Cursor] = set()
        self.max_streams = 100
        self.ready = {"engine": "ok", "store": "ok"}
        self.command_error: Exception | None = None
        self.is_draining = False
        self._logs: dict[ExecutionId, BroadcastLog] = {}
        self._vault = SecretVault(self.memory.secrets, AesCipher([b"k" * 32]), fixed={"FIXED": "fixed-value"})

    @property
    def store(self) -> MemoryStore:
        return self.memory

    @property
    def tokens(self) -> MemoryStore:
        return self.memory

    @property
    def vault(self) -> SecretVault:
        return self._vault

    @property
    def definitions(self) -> MemoryDefinitions:
        return self.memory.definitions

    async def submit(self, submission: Submission) -> Accepted:
        if submission.idempotency_key is not None:
            earlier = await self.memory.find_by_idempotency_key(submission.workspace, submission.idempotency_key)
            if earlier is not None and earlier.request_sha256 != submission.request_sha256:
                raise IdempotencyConflictError("this Idempotency-Key was used for another request")
            if earlier is not None:
                return Accepted(id=earlier.id, status=earlier.status, is_repeat=True)
        self.submissions.append(submission)
        execution_id = ExecutionId(f"exec-1700000000000-{len(self.memory.records) + 1:09d}")
        await self.begin(execution_id, submission)
        return Accepted(id=execution_id, status=Status.QUEUED)

    async def command(self, execution_id: ExecutionId, command: Command) -> None:
        await trio.lowlevel.checkpoint()
        record = self.memory.records.get(execution_id)
        if record is None:
            raise NotFoundError(f"there is no execution {execution_id}")
        if record.status.is_final:
            raise ConflictError(f"the execution is {record.status}: it takes no commands any more")
        if self.command_error is not None:
            raise self.command_error
        self.commands.append((execution_id, command))

    async def find(self, execution_id: ExecutionId) -> ExecutionRecord | None:
        return await self.memory.find_execution(execution_id)

    async def make_call(self, call: ReadCall) -> CallEnd:
        raise OverloadedError("this engine makes no calls")

    @asynccontextmanager
    async def subscribe(
        self, execution_id: ExecutionId, *, workspace: WorkspaceId, after_seq: int
    ) -> AsyncIterator[Subscription]:
        await trio.lowlevel.checkpoint()
        if len(self.open_cursors) >= self.max_streams:
            raise TooManyStreamsError("this workspace watches as many streams as it may", retry_after_s=5)
        self.subscribe_count += 1
        log = self._log(execution_id)
        cursor = Cursor(
            log,
            self.memory,
            workspace=workspace,
            after_seq=after_seq,
            max_lag_bytes=64 * 1024 * 1024,
            on_close=self.open_cursors.discard,
        )
        self.open_cursors.add(cursor)
        log.cursors[cursor] = None
        if self.is_draining:
            cursor.mark_evicted("draining")
        try:
            yield cursor
        finally:
            cursor.close()

    async def readiness(self) -> Mapping[str, str]:
        await trio.lowlevel.checkpoint()
        return self.ready

    def statistics(self) -> Mapping[str, float]:
        return {"execd_viewers": len(self.open_cursors), "execd_events_published_total": 7}

    def drain(self) -> None:
        self.is_draining = True
        self.evict_all("draining")

    def evict_all(self, reason: str) -> None:
        """End every stream early."""
        for log in self._logs.values():
            log.evict([cursor for cursor in self.open_cursors if cursor.execution_id == log.execution_id], reason)

    # --- what a test writes

    async def begin(self, execution_id: ExecutionId, submission: Submission) -> None:
        """Store a new execution with its first event."""
        fact = ExecutionRequested(
            kind=kind_of(submission.spec), name=submission.name, user=submission.user, workspace=submission.workspace
        )
        first = number_fact(execution_id, 1, Fact(data=fact, at=EPOCH))
        record = ExecutionRecord(
            id=execution_id,
            kind=kind_of(submission.spec),
            workspace=submission.workspace,
            user=submission.user,
            name=submission.name,
            spec=encode_spec(submission.spec),
            status=Status.RUNNING,
            priority=submission.priority,
            created_at=EPOCH,
            attempt_of=submission.attempt_of,
            definition=submission.definition,
            definition_version=submission.definition_version,
            owner="test",
            head_seq=1,
            idempotency_key=submission.idempotency_key,
            request_sha256=submission.request_sha256,
        )
        await self.memory.write([Create(record=record, events=(first,))])
        self._log(execution_id).append(first)

    async def add(
        self, execution_id: ExecutionId, *data: EventData, status: Status = Status.RUNNING, at_s: float = 0.0
    ) -> list[StoredEvent]:
        """Store further events, then publish them; they happened so many seconds after the first."""
        record = self.memory.records[execution_id]
        at = EPOCH + timedelta(seconds=at_s)
        facts = [Fact(data=one, at=at, node=NodeId("main"), attempt=1) for one in data]
        numbered = enumerate(facts, start=record.head_seq + 1)
        events = [number_fact(execution_id, seq, fact) for seq, fact in numbered]
        write = Append(
            execution_id=execution_id, epoch=1, after_seq=record.head_seq, events=tuple(events), status=status
        )
        await self.memory.write([write])
        log = self._log(execution_id)
        for event in events:
            log.append(event)
        log.wake()
        return events

    async def write(self, execution_id: ExecutionId, text: str, *, offset: int = 0, at_s: float = 0.0) -> None:
        """Store one piece of stdout."""
        await self.add(execution_id, Output(stream=Stream.STDOUT, offset=offset, text=text), at_s=at_s)

    async def finish(self, execution_id: ExecutionId, *, total_bytes: int = 0, at_s: float = 0.0) -> None:
        """Store the terminal event and the result."""
        await self.add(
            execution_id,
            ExecutionCompleted(status=Status.COMPLETED, duration_ms=1),
            make_result(total_bytes),
            status=Status.COMPLETED,
            at_s=at_s,
        )

    def _log(self, execution_id: ExecutionId) -> BroadcastLog:
        return self._logs.setdefault(execution_id, BroadcastLog(execution_id, limit_bytes=4 * 1024 * 1024))


def make_result(total_bytes: int = 0) -> ResultStored:
    """Give the result of a success."""
    return ResultStored(
        status=Status.COMPLETED,
        exit_code=0,
        signal=None,
        error=None,
        stdout="",
        stderr="",
        stdout_base64=None,
        stderr_base64=None,
        streams={Stream.STDOUT: StreamTotals(total_bytes=total_bytes), Stream.STDERR: StreamTotals()},
        outputs={},
        nodes=(),
        usage=Usage(),
    )


def make_submission(workspace: str = "w") -> Submission:
    """Give a small script's submission."""
    spec = ScriptSpec(language="python", source="pass", limits=Limits(), env={"KEY": "secret"})
    return Submission(workspace=WorkspaceId(workspace), user="tester", name="test", spec=spec)


def head_seq(engine: FakeEngine, execution_id: ExecutionId) -> int:
    """Give the number of the last stored event."""
    return msgspec.structs.asdict(engine.memory.records[execution_id])["head_seq"]
