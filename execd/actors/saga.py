"""The saga: runs one execution from its slot to its stored result.

Owns: one graph machine and the step and call runners it started.
Receives: signals from these and from timers, instructions from the coordinator. Sends: `StoreWrite` to the result writer
and, to the coordinator, that it needs its slot no more or again (actors/slot.py) and, through the crash barrier, its end.

It feeds every signal to the pure machine and carries out what comes back, in order. The runners of programs and calls
wait, beside the saga, until every record before is stored: no side effect begins before the event that announces it. On
every way out its pods are removed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import structlog
import trio

from execd.actors.alarm import wait_due
from execd.actors.call_runner import Callers, CallRunner
from execd.actors.handles import SagaHandle
from execd.actors.instructions import to_signal
from execd.actors.journal import Journal
from execd.actors.messages import Instruction, WriterMessage
from execd.actors.pod_registry import PodRegistry
from execd.actors.secret_keeper import SecretKeeper
from execd.actors.slot import Slot
from execd.actors.state_reader import read_state
from execd.actors.step_runner import CLOSE_DEADLINE_S, StepRunner
from execd.core.errors import ConflictError, ExecdError, InvalidRequestError, OverloadedError
from execd.core.events import ExecutionId, NodeId, WorkspaceId
from execd.core.machine import step
from execd.core.outcome import PodState, classify
from execd.core.signals import (
    AskSlot,
    Begin,
    GoOn,
    LaunchCall,
    LaunchNode,
    LeaveSlot,
    Lost,
    NodeExited,
    Order,
    PodPrepared,
    Proceed,
    Record,
    SetTimer,
    Signal,
    SlotGranted,
    StartPod,
    StopNode,
    TimerDue,
)
from execd.core.specs import ScriptSpec
from execd.core.state import State
from execd.core.transitions import Phase
from execd.mailbox import Reply
from execd.ports import Command, Pod, PodRequest, Runner, SendStdin, Store, Vault, WriteOutcome

log = structlog.get_logger()

INBOX_CAPACITY = 8
"""Signals that may wait: at 64 KiB of output each, half a mebibyte per execution."""

JUST_ENDED = "the execution has just ended"

Now = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class SagaTools:
    """What every saga of an engine uses."""

    runner: Runner
    callers: Callers
    registry: PodRegistry
    vault: Vault
    now: Now
    inbox_capacity: int = INBOX_CAPACITY


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose execution this is, as pods are labelled."""

    execution_id: ExecutionId
    workspace: WorkspaceId
    user: str


class Saga:
    """One live execution; `run` is its task."""

    def __init__(
        self,
        state: State,
        *,
        identity: Identity,
        journal: Journal,
        slot: Slot,
        keeper: SecretKeeper,
        tools: SagaTools,
        instructions: trio.MemoryReceiveChannel[Instruction],
    ) -> None:
        self._state = state
        self._identity = identity
        self._journal = journal
        self._slot = slot
        self._keeper = keeper
        self._tools = tools
        self._instructions = instructions
        self._tx, self._rx = trio.open_memory_channel[Signal | Instruction](tools.inbox_capacity)
        self._steps: dict[NodeId, StepRunner] = {}
        self._calls: dict[NodeId, CallRunner] = {}
        self._prepared: dict[NodeId, Pod] = {}

    async def run(self, first: Instruction | Lost | None) -> str:
        """Carry the execution to its end and give its final status.

        Args:
            first: None begins it; an instruction is obeyed in its place; `Lost` goes on from the journal.

        Raises:
            FencedError: another owner has it; nothing was written.
        """
        async with trio.open_nursery() as nursery:
            try:
                nursery.start_soon(self._journal.watch)
                await self._hear_first(first, nursery)
                nursery.start_soon(self._relay_instructions)
                while self._state.phase is not Phase.STORED:
                    await self._receive(await self._rx.receive(), nursery)
                await self._journal.wait_stored()
            finally:
                nursery.cancel_scope.cancel()
                self._refuse_late_instructions()
                with trio.move_on_after(CLOSE_DEADLINE_S, shield=True):
                    await self._close_prepared()
        return str(self._state.status)

    async def _hear_first(self, first: Instruction | Lost | None, nursery: trio.Nursery) -> None:
        if first is not None:
            await self._receive(first, nursery)
        if self._state.phase is Phase.QUEUED:
            await self._begin(nursery)

    async def _begin(self, nursery: trio.Nursery) -> None:
        """Choose the first node's place before telling that it starts, so that the event can say warm or cold."""
        started_from = "cold"
        first = next(iter(self._state.graph.nodes), None)
        if first is not None and isinstance(first.spec, ScriptSpec):
            pod = self._prepare(first.id, first.spec, attempt=1)
            if not isinstance(pod, Exception):
                self._prepared[first.id] = pod
                started_from = pod.started_from
        now = self._tools.now()
        await self._hear(Begin(at=now, runner=self._tools.runner.name, started_from=started_from), nursery)

    async def _relay_instructions(self) -> None:
        """Commands wait their turn among the signals; the coordinator, which may not wait, only fills a channel."""
        async for instruction in self._instructions:
            try:
                await self._tx.send(instruction)
            except trio.Cancelled:
                instruction.reply.fail(ConflictError(JUST_ENDED))
                raise

    async def _receive(self, message: Signal | Instruction, nursery: trio.Nursery) -> None:
        if isinstance(message, Signal):
            await self._hear(message, nursery)
            return
        try:
            await self._obey(message.command, nursery)
        except (ConflictError, InvalidRequestError, OverloadedError) as error:
            message.reply.fail(error)
        except ExecdError as error:
            # Not an answer but the saga's own end: its state is ahead of the store by what was refused.
            message.reply.fail(error)
            raise
        else:
            message.reply.answer(value=True)

    async def _obey(self, command: Command, nursery: trio.Nursery) -> None:
        if isinstance(command, SendStdin):
            self._send_stdin(command)
            return
        await self._hear(self._keeper.take(to_signal(command, self._tools.now()), self._state), nursery)
        await self._journal.wait_stored()

    def _send_stdin(self, command: SendStdin) -> None:
        """Every node that reads gets it; a script has one."""
        if not self._steps:
            raise ConflictError("nothing runs that could read stdin")
        for runner in self._steps.values():
            if command.data:
                runner.pod.send_stdin_nowait(command.data)
            if command.close:
                runner.pod.close_stdin_nowait()

    async def _hear(self, signal: Signal, nursery: trio.Nursery) -> None:
        """Feed the machine, and what it asks for may give it more to hear at once."""
        heard: deque[Signal] = deque([signal])
        await self._keeper.refresh()
        while heard:
            self._state, orders = step(self._state, heard.popleft(), outside=self._keeper.outside)
            for order in orders:
                answer = await self._carry_out(order, nursery)
                if answer is not None:
                    heard.append(answer)

    async def _carry_out(self, order: Order, nursery: trio.Nursery) -> Signal | None:
        match order:
            case Record(facts=facts):
                await self._journal.record(facts, self._state)
            case LaunchNode():
                return self._launch(order, nursery)
            case LaunchCall():
                self._call(order, nursery)
            case LeaveSlot():
                await self._slot.leave()
            case AskSlot():
                nursery.start_soon(self._ask_slot)
            case Proceed():
                nursery.start_soon(self._go_on)
            case StartPod(node=node):
                self._steps[node].let_go(self._journal.last_write())
            case StopNode(node=node):
                self._stop(node)
            case SetTimer():
                nursery.start_soon(self._ring, order)
        return None

    async def _go_on(self) -> None:
        """The rest of a long step waits its turn: in the store behind what others write, and among the signals, so that a
        cancel is heard before it."""
        await self._journal.wait_nearly_stored()
        await self._tx.send(GoOn(at=self._tools.now()))

    async def _ask_slot(self) -> None:
        await self._slot.ask()
        await self._tx.send(SlotGranted(at=self._tools.now()))

    def _prepare(self, node: NodeId, spec: ScriptSpec, *, attempt: int) -> Pod | ExecdError:
        try:
            request = PodRequest(
                execution_id=self._identity.execution_id,
                workspace=self._identity.workspace,
                user=self._identity.user,
                node=node,
                attempt=attempt,
                spec=self._keeper.outside.equip(spec),
            )
            return self._tools.runner.prepare(request)
        except ExecdError as error:
            return error

    def _launch(self, order: LaunchNode, nursery: trio.Nursery) -> Signal:
        node, attempt = order.node, order.attempt
        pod = self._prepared.pop(node, None) or self._prepare(node, order.script, attempt=attempt)
        now = self._tools.now()
        if isinstance(pod, Exception):
            log.warning("sandbox_unavailable", node=node, error=pod.message)
            outcome = classify(None, PodState(reason="sandbox_unavailable", message=pod.message, started=False))
            return NodeExited(at=now, node=node, attempt=attempt, outcome=outcome)
        runner = StepRunner(
            pod,
            node=node,
            attempt=attempt,
            to_saga=self._tx,
            registry=self._tools.registry,
            now=self._tools.now,
            mask=self._keeper.outside.mask,
        )
        self._steps[node] = runner
        nursery.start_soon(self._run_step, node, runner)
        return PodPrepared(
            at=now,
            node=node,
            attempt=attempt,
            pod=pod.name,
            runtime=pod.runtime,
            isolation=pod.isolation,
            image=pod.image,
        )

    async def _run_step(self, node: NodeId, runner: StepRunner) -> None:
        try:
            await runner.run()
        finally:
            if self._steps.get(node) is runner:
                del self._steps[node]

    def _call(self, order: LaunchCall, nursery: trio.Nursery) -> None:
        runner = CallRunner(
            order.call,
            node=order.node,
            attempt=order.attempt,
            callers=self._tools.callers,
            to_saga=self._tx,
            now=self._tools.now,
        )
        self._calls[order.node] = runner
        nursery.start_soon(self._run_call, order.node, runner, self._journal.last_write())

    async def _run_call(self, node: NodeId, runner: CallRunner, announced: Reply[WriteOutcome] | None) -> None:
        try:
            await runner.run(announced)
        finally:
            if self._calls.get(node) is runner:
                del self._calls[node]

    def _stop(self, node: NodeId) -> None:
        """A pod that was stopped before it was let go starts stopped, and tells its end like any other."""
        if node in self._calls:
            self._calls[node].stop()
        runner = self._steps.get(node)
        if runner is None:
            return
        runner.pod.stop()
        runner.let_go(self._journal.last_write())

    async def _ring(self, timer: SetTimer) -> None:
        await wait_due(timer, self._tools.now)
        await self._tx.send(TimerDue(at=self._tools.now(), node=timer.node, attempt=timer.attempt))

    async def _close_prepared(self) -> None:
        """A place that was chosen and never used, because the way out came first, is given back too."""
        while self._prepared:
            _, pod = self._prepared.popitem()
            await pod.close()

    def _refuse_late_instructions(self) -> None:
        """Whoever asked in the last instant learns that it is over; the coordinator sees to its own channel."""
        while True:
            try:
                message = self._rx.receive_nowait()
            except (trio.WouldBlock, trio.EndOfChannel):
                return
            if isinstance(message, Instruction):
                message.reply.fail(ConflictError(JUST_ENDED))


async def run_saga(
    handle: SagaHandle,
    first: Instruction | Lost | None,
    slot: Slot,
    *,
    tools: SagaTools,
    store: Store,
    to_writer: trio.MemorySendChannel[WriterMessage],
) -> str:
    """Run one execution to its end, from its handle or, where that has no state, from its journal.

    Returns:
        Its final status.

    Raises:
        FencedError: another owner has it.
    """
    record = handle.record
    state = await read_state(record, store, begun=handle.state)
    if state.phase is Phase.STORED:
        return str(state.status)
    keeper = SecretKeeper(tools.vault, record.workspace)
    await keeper.load(state)
    saga = Saga(
        state,
        identity=Identity(execution_id=record.id, workspace=record.workspace, user=record.user),
        journal=Journal(record.id, epoch=record.epoch, to_writer=to_writer, keeps_times=record.definition is not None),
        slot=slot,
        keeper=keeper,
        tools=tools,
        instructions=handle.rx,
    )
    return await saga.run(first)
