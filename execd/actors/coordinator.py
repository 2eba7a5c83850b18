"""The coordinator: admits executions, gives them slots, starts their sagas and passes commands on.

Owns: the waiting line, and a handle on every live saga.
Receives: `SubmitExecution` and `SendCommand` from the edges, `SlotLeft`, `SlotAsked` and `SagaFinished` from sagas,
`ExecutionsAdopted` and `ExecutionsLost` from the lease keeper. Sends: writes to the result writer; to sagas only what cannot block.

Crash policy: a saga that crashes is that execution's failure and nobody else's: a fresh saga reads the journal and ends
it as `internal_error`. When this actor starts, it adopts every unfinished execution that no living instance has, its own
former ones included, and goes on from the journals; so it does later, when another's lease lapses. Whoever asked with the
message in hand is told at once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import assert_never

import msgspec
import structlog
import trio

from execd.actors.bookends import first_write, last_write
from execd.actors.handles import SagaHandle, open_handle
from execd.actors.journal import FencedError
from execd.actors.lease_keeper import LeaseKeeper
from execd.actors.messages import (
    CoordinatorMessage,
    ExecutionsAdopted,
    ExecutionsLost,
    FromGeneration,
    Instruction,
    SagaFinished,
    SendCommand,
    SlotAsked,
    SlotLeft,
    StoreWrite,
    SubmitExecution,
    WriterMessage,
)
from execd.actors.slot import Slot
from execd.actors.slot_line import SlotLine
from execd.core.admission import WaitingLine, takes_slot
from execd.core.errors import ConflictError, ExecdError, OverloadedError
from execd.core.events import ExecutionId, Status
from execd.core.signals import Lost
from execd.mailbox import Mailbox, Reply
from execd.ports import Cancel, ExecutionRecord, Interrupt, Stored, WriteOutcome
from execd.telemetry import Counters

log = structlog.get_logger()

RESTARTING = "execd is restarting"
MAX_SAGA_CRASHES = 3
"""After these nobody can go on with this execution (its journal cannot be read, say): it is ended from its record alone."""

RunSaga = Callable[[SagaHandle, Instruction | Lost | None, Slot], Awaitable[str]]
"""Runs one execution to its end and gives its final status; raises FencedError when another owner has it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may run and wait; the settings of the same names say why."""

    slots: int
    max_queued: int
    max_queued_per_workspace: int
    max_parked: int


class Coordinator:
    """The coordinator's state; `run` is its task."""

    def __init__(
        self,
        *,
        instance: str,
        limits: Limits,
        run_saga: RunSaga,
        lease: LeaseKeeper,
        to_writer: trio.MemorySendChannel[WriterMessage],
        now: Callable[[], datetime],
        counters: Counters,
    ) -> None:
        self._instance = instance
        self._generation = 0
        self._limits = limits
        self._run_saga = run_saga
        self._lease = lease
        self._to_writer = to_writer
        self._now = now
        self._counters = counters
        self._slots = self._new_line()
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
                self._take_over(await self._lease.begin(self._owner), inbox, nursery)
                self._start_next(inbox, nursery)
                task_status.started()
                nursery.start_soon(
                    partial(self._lease.run, inbox.tx, generation=self._generation, held=self._held_records)
                )
                while True:
                    await self._receive(await inbox.rx.receive(), inbox, nursery)
        finally:
            self._forget_everything()

    def drain(self) -> None:
        """Accept, adopt and start nothing more; what runs goes on."""
        self._is_draining = True
        self._lease.stop_adopting()
        self._note_idle()

    async def wait_idle(self) -> None:
        """After `drain`: wait until nothing runs any more; what only waits for a moment or a person may still."""
        await self._idle.wait()

    def statistics(self) -> dict[str, float]:
        return {
            "execd_executions_running": self._slots.line.running_count,
            "execd_executions_queued": self._slots.line.waiting_count,
            "execd_executions_parked": len(self._live) - self._busy_count,
        }

    @property
    def _owner(self) -> str:
        return f"{self._instance}.{self._generation}"

    def _take_over(
        self, adopted: Sequence[ExecutionRecord], inbox: Mailbox[CoordinatorMessage], nursery: trio.Nursery
    ) -> None:
        """Go on with what was adopted. What is here already was lost to another instance and is back: a saga that still
        runs here has been fenced without knowing it, and must be gone, with its pods, before another one starts."""
        for record in adopted:
            stale = self._handles.get(record.id)
            if self._is_draining or (stale is not None and stale.newest.epoch >= record.epoch):
                continue
            if stale is not None and record.id in self._live:
                stale.supersede(record)
            else:
                self._slots.line.leave(record.id)
                self._enter(record, inbox, nursery)

    def _let_go(self, lost: Sequence[ExecutionRecord]) -> None:
        """Others have these now. What runs here ends like a saga that the store has fenced; what waited is forgotten."""
        for record in lost:
            handle = self._handles.get(record.id)
            if handle is None or handle.newest.epoch >= record.epoch:
                continue
            if record.id in self._live:
                handle.running.cancel()
            else:
                self._slots.leave(handle)
                del self._handles[record.id]

    def _held_records(self) -> list[ExecutionRecord]:
        return [handle.newest for handle in self._handles.values()]

    def _enter(self, record: ExecutionRecord, inbox: Mailbox[CoordinatorMessage], nursery: trio.Nursery) -> None:
        """What waited waits again, what ran goes on from its journal."""
        handle = self._handles[record.id] = open_handle(record, None)
        log.info("execution_adopted", execution_id=record.id, status=record.status, epoch=record.epoch)
        if record.status is Status.QUEUED:
            self._admit(handle, inbox, nursery)
        else:
            self._slots.occupy(handle)
            self._start(handle, Lost(at=self._now(), code="worker_lost"), inbox, nursery)

    async def _receive(
        self, message: CoordinatorMessage, inbox: Mailbox[CoordinatorMessage], nursery: trio.Nursery
    ) -> None:
        """The barrier around the message in hand: who asked must not wait for an answer that nobody can give any more. A
        submission is handed to the writer by the last thing done with it, so one that fails here was not accepted."""
        try:
            await self._obey(message, inbox, nursery)
        except BaseException:
            if isinstance(message, SubmitExecution | SendCommand):
                message.reply.fail(OverloadedError(RESTARTING))
            raise
        self._start_next(inbox, nursery)

    async def _obey(
        self, message: CoordinatorMessage, inbox: Mailbox[CoordinatorMessage], nursery: trio.Nursery
    ) -> None:
        match message:
            case SubmitExecution():
                await self._submit(message, inbox, nursery)
            case SendCommand():
                self._command(message, inbox, nursery)
            case _ if message.generation == self._generation:
                self._hear(message, inbox, nursery)

    def _hear(self, fact: FromGeneration, inbox: Mailbox[CoordinatorMessage], nursery: trio.Nursery) -> None:
        """What sagas and the lease keeper of this run of the coordinator tell; those of an earlier one are void."""
        match fact:
            case SagaFinished(execution_id=execution_id, outcome=outcome):
                self._finish(execution_id, outcome, inbox, nursery)
            case SlotLeft(execution_id=execution_id):
                self._slots.release(self._handles[execution_id])
                self._note_idle()
            case SlotAsked(execution_id=execution_id, reply=reply):
                self._slots.join_again(self._handles[execution_id], reply)
            case ExecutionsAdopted(records=records):
                self._take_over(records, inbox, nursery)
            case ExecutionsLost(records=records):
                self._let_go(records)
            case _:
                assert_never(fact)

    async def _submit(
        self, message: SubmitExecution, inbox: Mailbox[CoordinatorMessage], nursery: trio.Nursery
    ) -> None:
        """Queue it and hand its first events to the writer, whose answer goes straight to the asker. Should the store
        refuse it, its saga will find itself fenced and nothing will have happened."""
        submission = message.submission
        try:
            self._check_open()
            self._slots.check_room(submission)
            self._check_parked()
            place = self._slots.place_of_next(submission)
            write, state = first_write(message, owner=self._owner, place=place, now=self._now())
        except ExecdError as error:
            message.reply.fail(error)
            return
        handle = open_handle(msgspec.structs.replace(write.record, head_seq=state.head_seq), state)
        self._handles[message.execution_id] = handle
        self._counters.add("execd_executions_submitted_total")
        await self._to_writer.send(StoreWrite(write=write, reply=message.reply))
        self._admit(handle, inbox, nursery)

    def _admit(self, handle: SagaHandle, inbox: Mailbox[CoordinatorMessage], nursery: trio.Nursery) -> None:
        """Let it wait for a slot. One that needs none begins at once: only now, because its saga's first write must not
        overtake the one that makes it."""
        if takes_slot(handle.record.kind):
            self._slots.join(handle)
        else:
            self._start(handle, None, inbox, nursery)

    def _check_open(self) -> None:
        if self._is_draining:
            raise OverloadedError("execd is shutting down", retry_after_s=5)

    def _check_parked(self) -> None:
        """Each takes some memory, and nobody knows for how long."""
        if len(self._live) - self._slots.line.running_count >= self._limits.max_parked:
            raise OverloadedError(f"{self._limits.max_parked} executions wait for people or moments, as many as may")

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
            self._slots.occupy(handle)
            self._start(handle, instruction, inbox, nursery)
        else:
            message.reply.fail(ConflictError("the execution is queued: it has not started yet"))

    def _start_next(self, inbox: Mailbox[CoordinatorMessage], nursery: trio.Nursery) -> None:
        while not self._is_draining:
            handle = self._slots.take_next()
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
                slot = Slot(execution_id, self._generation, to_coordinator)
                outcome = await self._attempt(handle, first, slot)
            except* FencedError as errors:
                outcome = "fenced"
                log.warning("execution_fenced", error=str(errors.exceptions[0]))
            except* Exception:
                log.exception("saga_crashed")
                self._counters.add("execd_saga_crashes_total")
        if isinstance(first, Instruction):
            first.reply.fail(ConflictError("the execution has just ended"))
        await to_coordinator.send(SagaFinished(execution_id=execution_id, generation=self._generation, outcome=outcome))

    async def _attempt(self, handle: SagaHandle, first: Instruction | Lost | None, slot: Slot) -> str:
        if handle.crash_count and not await self._reclaim(handle):
            return "fenced"
        if handle.crash_count > MAX_SAGA_CRASHES:
            return await self._end_unreadable(handle.record)
        if handle.successor is None:
            with trio.CancelScope() as handle.running:
                return await self._run_saga(handle, first, slot)
        return "fenced"

    async def _reclaim(self, handle: SagaHandle) -> bool:
        """Before a fresh saga reads the journal: whatever its predecessor still had under way is stored or refused.

        Returns:
            Whether there is anything to go on with; False when it was never stored or is final.
        """
        adopted = await self._lease.reclaim(handle.record)
        for record in adopted:
            handle.record = record
        return bool(adopted)

    async def _end_unreadable(self, record: ExecutionRecord) -> str:
        """End an execution whose saga cannot live, without its state: the end is told honestly, and nobody else suffers."""
        log.error("execution_given_up", crashes=MAX_SAGA_CRASHES)
        reply: Reply[WriteOutcome] = Reply()
        await self._to_writer.send(StoreWrite(write=last_write(record, now=self._now()), reply=reply))
        return str(Status.FAILED) if isinstance(await reply.wait(), Stored) else "fenced"

    def _finish(
        self,
        execution_id: ExecutionId,
        outcome: str,
        inbox: Mailbox[CoordinatorMessage],
        nursery: trio.Nursery,
    ) -> None:
        handle = self._handles[execution_id]
        if outcome == "crashed" and handle.successor is None:
            handle.crash_count += 1
            handle.state = None
            self._slots.occupy(handle)
            self._start(handle, Lost(at=self._now(), code="internal_error"), inbox, nursery)
            return
        self._live.discard(execution_id)
        del self._handles[execution_id]
        self._slots.leave(handle)
        self._slots.release(handle)
        if handle.successor is None:
            handle.refuse_instructions(ConflictError("the execution has just ended"))
        else:
            handle.refuse_instructions(OverloadedError("the execution is being taken over"))
        self._counters.add(f"execd_executions_ended_total{{outcome={outcome}}}")
        log.info("execution_ended", execution_id=execution_id, outcome=outcome)
        if handle.successor is not None:
            self._take_over([handle.newest], inbox, nursery)
        self._note_idle()

    def _note_idle(self) -> None:
        """What only waits, waits on after the next start: nobody waits for it here."""
        if self._is_draining and not self._busy_count:
            self._idle.set()

    @property
    def _busy_count(self) -> int:
        return sum(self._handles[execution_id].holds_slot for execution_id in self._live)

    def _forget_everything(self) -> None:
        """What ran is cancelled and what waited is in the store: the next run adopts both."""
        for handle in self._handles.values():
            handle.refuse_instructions(OverloadedError(RESTARTING))
        self._handles.clear()
        self._live.clear()
        self._slots = self._new_line()
        self._note_idle()

    def _new_line(self) -> SlotLine:
        return SlotLine(
            WaitingLine(
                slots=self._limits.slots,
                max_waiting=self._limits.max_queued,
                max_waiting_per_workspace=self._limits.max_queued_per_workspace,
            )
        )
