"""The coordinator: admits executions, gives them slots, starts their sagas and passes commands on.

Owns: the waiting line, and a handle on every live saga.
Receives: `SubmitExecution` and `SendCommand` from the edges, `SagaFinished` from sagas. Sends: writes to the result
writer; to sagas only what cannot block.

Crash policy: a saga that crashes is that execution's failure and nobody else's: a fresh saga reads the journal and ends
it as `internal_error`. When this actor starts, it adopts every unfinished execution and goes on from the journals.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

import msgspec
import structlog
import trio

from execd.actors.handles import SagaHandle, open_handle
from execd.actors.journal import FencedError
from execd.actors.messages import (
    AdoptExecutions,
    CoordinatorMessage,
    Instruction,
    SagaFinished,
    SendCommand,
    StoreWrite,
    SubmitExecution,
    WriterMessage,
)
from execd.core.admission import WaitingLine
from execd.core.codec import number_fact
from execd.core.errors import ConflictError, ExecdError, OverloadedError
from execd.core.events import ExecutionId, ExecutionQueued, ExecutionRequested, Fact, Failure, Status
from execd.core.machine import LOST_TEXTS
from execd.core.result import bare_ending
from execd.core.signals import Lost
from execd.core.specs import encode_spec, graph_of
from execd.core.state import State, fold, new_state
from execd.mailbox import Mailbox, Reply
from execd.ports import Append, Cancel, Create, ExecutionRecord, Interrupt, Stored, WriteOutcome
from execd.telemetry import Counters

log = structlog.get_logger()

MAX_SAGA_CRASHES = 3
"""After these nobody can go on with this execution (its journal cannot be read, say): it is ended from its record alone."""

RunSaga = Callable[[SagaHandle, Instruction | Lost | None], Awaitable[str]]
"""Runs one execution to its end and gives its final status; raises FencedError when another owner has it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may run and wait; the settings of the same names say why."""

    slots: int
    max_queued: int
    max_queued_per_workspace: int


class Coordinator:
    """The coordinator's state; `run` is its task."""

    def __init__(
        self,
        *,
        instance: str,
        limits: Limits,
        run_saga: RunSaga,
        to_writer: trio.MemorySendChannel[WriterMessage],
        now: Callable[[], datetime],
        counters: Counters,
    ) -> None:
        self._instance = instance
        self._generation = 0
        self._limits = limits
        self._run_saga = run_saga
        self._to_writer = to_writer
        self._now = now
        self._counters = counters
        self._line = self._new_line()
        self._handles: dict[ExecutionId, SagaHandle] = {}
        self._live: set[ExecutionId] = set()
        self._is_draining = False
        self._idle = trio.Event()

    async def run(
        self,
        inbox: Mailbox[CoordinatorMessage],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Coordinate for ever. Cancellation: sagas are cancelled with it, their pods removed; the journals stay as they are."""
        self._generation += 1
        try:
            async with trio.open_nursery() as nursery:
                await self._adopt(inbox, nursery)
                task_status.started()
                while True:
                    await self._receive(await inbox.rx.receive(), inbox, nursery)
        finally:
            self._forget_everything()

    def drain(self) -> None:
        """Accept and start nothing more; what runs goes on."""
        self._is_draining = True
        self._note_idle()

    async def wait_idle(self) -> None:
        """After `drain`: wait until nothing runs any more."""
        await self._idle.wait()

    def statistics(self) -> dict[str, float]:
        return {
            "execd_executions_running": self._line.running_count,
            "execd_executions_queued": self._line.waiting_count,
        }

    @property
    def _owner(self) -> str:
        return f"{self._instance}.{self._generation}"

    async def _adopt(self, inbox: Mailbox[CoordinatorMessage], nursery: trio.Nursery) -> None:
        """Take over what nobody runs: what waited waits again, what ran goes on from its journal."""
        for record in await self._ask_adoption(only=None):
            handle = open_handle(record, None)
            self._handles[record.id] = handle
            log.info("execution_adopted", execution_id=record.id, status=record.status, epoch=record.epoch)
            if record.status is Status.QUEUED:
                self._line.join(record.id, handle, workspace=record.workspace, priority=record.priority)
            else:
                self._line.occupy(record.workspace)
                self._start(handle, Lost(at=self._now(), code="worker_lost"), inbox, nursery)
        self._start_next(inbox, nursery)

    async def _ask_adoption(self, *, only: ExecutionId | None) -> Sequence[ExecutionRecord]:
        reply: Reply[Sequence[ExecutionRecord]] = Reply()
        await self._to_writer.send(AdoptExecutions(owner=self._owner, only=only, reply=reply))
        return await reply.wait()

    async def _receive(
        self, message: CoordinatorMessage, inbox: Mailbox[CoordinatorMessage], nursery: trio.Nursery
    ) -> None:
        match message:
            case SubmitExecution():
                await self._submit(message)
            case SendCommand():
                self._command(message, inbox, nursery)
            case SagaFinished(execution_id=execution_id, generation=generation, outcome=outcome):
                if generation == self._generation:
                    self._finish(execution_id, outcome, inbox, nursery)
            case _:
                assert_never(message)
        self._start_next(inbox, nursery)

    async def _submit(self, message: SubmitExecution) -> None:
        """Queue it and hand its first events to the writer, whose answer goes straight to the asker. Should the store
        refuse it, its saga will find itself fenced and nothing will have happened."""
        submission = message.submission
        try:
            self._check_open()
            self._line.check_room(submission.workspace)
        except ExecdError as error:
            message.reply.fail(error)
            return
        write, state = self._first_write(message)
        handle = open_handle(msgspec.structs.replace(write.record, head_seq=state.head_seq), state)
        self._handles[message.execution_id] = handle
        self._line.join(message.execution_id, handle, workspace=submission.workspace, priority=submission.priority)
        self._counters.add("execd_executions_submitted_total")
        await self._to_writer.send(StoreWrite(write=write, reply=message.reply))

    def _check_open(self) -> None:
        if self._is_draining:
            raise OverloadedError("execd is shutting down", retry_after_s=5)

    def _first_write(self, message: SubmitExecution) -> tuple[Create, State]:
        asked, now = message.submission, self._now()
        position, ahead = self._line.place_of_next(asked.workspace)
        requested = ExecutionRequested(
            kind=asked.spec.kind,
            name=asked.name,
            user=asked.user,
            workspace=asked.workspace,
            attempt_of=asked.attempt_of,
        )
        facts = [Fact(data=requested, at=now), Fact(data=ExecutionQueued(position=position, ahead=ahead), at=now)]
        events = tuple(number_fact(message.execution_id, seq, fact) for seq, fact in enumerate(facts, start=1))
        record = ExecutionRecord(
            id=message.execution_id,
            kind=asked.spec.kind,
            workspace=asked.workspace,
            user=asked.user,
            name=asked.name,
            spec=encode_spec(asked.spec),
            status=Status.QUEUED,
            priority=asked.priority,
            created_at=now,
            attempt_of=asked.attempt_of,
            owner=self._owner,
            head_seq=len(events),
            idempotency_key=asked.idempotency_key,
            request_sha256=asked.request_sha256,
        )
        return Create(record=record, events=events), fold(new_state(graph_of(asked.spec, name=asked.name)), facts)

    def _command(self, message: SendCommand, inbox: Mailbox[CoordinatorMessage], nursery: trio.Nursery) -> None:
        """Three cases: it runs, so its saga obeys; it waits, so only a stop makes sense, and a saga is started to record
        it; or it is not here, and the asker looks into the store."""
        handle = self._handles.get(message.execution_id)
        instruction = Instruction(command=message.command, reply=message.reply)
        if handle is None:
            message.reply.answer(value=False)
        elif message.execution_id in self._live:
            handle.instruct_nowait(instruction)
        elif isinstance(message.command, Cancel | Interrupt):
            self._line.leave(message.execution_id)
            self._line.occupy(handle.record.workspace)
            self._start(handle, instruction, inbox, nursery)
        else:
            message.reply.fail(ConflictError("the execution is queued: it has not started yet"))

    def _start_next(self, inbox: Mailbox[CoordinatorMessage], nursery: trio.Nursery) -> None:
        while not self._is_draining:
            handle = self._line.take_next()
            if handle is None:
                return
            self._start(handle, None, inbox, nursery)

    def _start(
        self,
        handle: SagaHandle,
        first: Instruction | Lost | None,
        inbox: Mailbox[CoordinatorMessage],
        nursery: trio.Nursery,
    ) -> None:
        self._live.add(handle.record.id)
        nursery.start_soon(self._guard_saga, handle, first, inbox.tx)

    async def _guard_saga(
        self,
        handle: SagaHandle,
        first: Instruction | Lost | None,
        to_coordinator: trio.MemorySendChannel[CoordinatorMessage],
    ) -> None:
        """The crash barrier: whatever happens in there becomes one `SagaFinished`."""
        execution_id = handle.record.id
        outcome = "crashed"
        with structlog.contextvars.bound_contextvars(execution_id=execution_id):
            try:
                if handle.crash_count and not await self._reclaim(handle):
                    outcome = "fenced"
                elif handle.crash_count > MAX_SAGA_CRASHES:
                    outcome = await self._end_unreadable(handle.record)
                else:
                    outcome = await self._run_saga(handle, first)
            except* FencedError as errors:
                outcome = "fenced"
                log.warning("execution_fenced", error=str(errors.exceptions[0]))
            except* Exception:
                log.exception("saga_crashed")
                self._counters.add("execd_saga_crashes_total")
        if isinstance(first, Instruction):
            first.reply.fail(ConflictError("the execution has just ended"))
        await to_coordinator.send(SagaFinished(execution_id=execution_id, generation=self._generation, outcome=outcome))

    async def _reclaim(self, handle: SagaHandle) -> bool:
        """Before a fresh saga reads the journal: whatever its predecessor still had under way is stored or refused.

        Returns:
            Whether there is anything to go on with; False when it was never stored or is final.
        """
        adopted = await self._ask_adoption(only=handle.record.id)
        for record in adopted:
            handle.record = record
        return bool(adopted)

    async def _end_unreadable(self, record: ExecutionRecord) -> str:
        """End an execution whose saga cannot live, without its state: the end is told honestly, and nobody else suffers."""
        log.error("execution_given_up", crashes=MAX_SAGA_CRASHES)
        now = self._now()
        facts = [Fact(data=data, at=now) for data in bare_ending(LOST_TEXTS["internal_error"])]
        events = tuple(number_fact(record.id, seq, fact) for seq, fact in enumerate(facts, start=record.head_seq + 1))
        write = Append(
            execution_id=record.id,
            epoch=record.epoch,
            after_seq=record.head_seq,
            events=events,
            status=Status.FAILED,
            finished_at=now,
            error=Failure(code="internal_error", message=LOST_TEXTS["internal_error"]),
        )
        reply: Reply[WriteOutcome] = Reply()
        await self._to_writer.send(StoreWrite(write=write, reply=reply))
        return str(Status.FAILED) if isinstance(await reply.wait(), Stored) else "fenced"

    def _finish(
        self,
        execution_id: ExecutionId,
        outcome: str,
        inbox: Mailbox[CoordinatorMessage],
        nursery: trio.Nursery,
    ) -> None:
        handle = self._handles[execution_id]
        if outcome == "crashed":
            handle.crash_count += 1
            handle.state = None
            self._start(handle, Lost(at=self._now(), code="internal_error"), inbox, nursery)
            return
        self._live.discard(execution_id)
        del self._handles[execution_id]
        self._line.release(handle.record.workspace)
        handle.refuse_instructions(ConflictError("the execution has just ended"))
        self._counters.add(f"execd_executions_ended_total{{outcome={outcome}}}")
        log.info("execution_ended", execution_id=execution_id, outcome=outcome)
        self._note_idle()

    def _note_idle(self) -> None:
        if self._is_draining and not self._live:
            self._idle.set()

    def _forget_everything(self) -> None:
        """What ran is cancelled and what waited is in the store: the next run adopts both."""
        for handle in self._handles.values():
            handle.refuse_instructions(OverloadedError("execd is restarting"))
        self._handles.clear()
        self._live.clear()
        self._line = self._new_line()
        self._note_idle()

    def _new_line(self) -> WaitingLine[SagaHandle]:
        return WaitingLine(
            slots=self._limits.slots,
            max_waiting=self._limits.max_queued,
            max_waiting_per_workspace=self._limits.max_queued_per_workspace,
        )
