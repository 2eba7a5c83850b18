"""What the coordinator keeps of each execution it has: means to reach its saga that cannot block."""

from __future__ import annotations

from dataclasses import dataclass, field

import trio

from execd.actors.messages import Instruction
from execd.core.errors import ExecdError, OverloadedError
from execd.core.state import State
from execd.mailbox import Reply
from execd.ports import ExecutionRecord

INSTRUCTION_CAPACITY = 16
"""Commands that may wait for a saga which is busy storing; stdin is bytes-bounded by the pod itself."""


@dataclass(slots=True)
class SagaHandle:
    """One execution that waits or runs here."""

    record: ExecutionRecord
    state: State | None
    """None: whoever runs it reads the journal first."""
    tx: trio.MemorySendChannel[Instruction]
    rx: trio.MemoryReceiveChannel[Instruction]
    crash_count: int = 0
    holds_slot: bool = False
    asked_for_slot: Reply[None] | None = None
    """Who waits for one, while it is in the line for the second time or later."""
    running: trio.CancelScope = field(default_factory=trio.CancelScope)
    """Around its saga, a new one for each."""
    successor: ExecutionRecord | None = None
    """Set when this instance lost the execution and has it again: what goes on as soon as the stale saga is out of the way."""

    def supersede(self, record: ExecutionRecord) -> None:
        """End the saga that runs under an older epoch: it can store nothing more, and its pods must go."""
        self.successor = record
        self.running.cancel()

    @property
    def newest(self) -> ExecutionRecord:
        """Give the record of the latest adoption."""
        known = [self.record, *([self.successor] if self.successor is not None else [])]
        return max(known, key=lambda record: record.epoch)

    def instruct_nowait(self, instruction: Instruction) -> None:
        """Put a command into the saga's channel, or refuse it there and then."""
        try:
            self.tx.send_nowait(instruction)
        except trio.WouldBlock:
            instruction.reply.fail(OverloadedError("the execution has as many commands waiting as it may"))

    def refuse_instructions(self, error: ExecdError) -> None:
        """Answer what no saga will hear any more."""
        while True:
            try:
                self.rx.receive_nowait().reply.fail(error)
            except (trio.WouldBlock, trio.EndOfChannel):
                return


def open_handle(record: ExecutionRecord, state: State | None) -> SagaHandle:
    """Make the handle of an execution that is not running yet."""
    tx, rx = trio.open_memory_channel[Instruction](INSTRUCTION_CAPACITY)
    return SagaHandle(record=record, state=state, tx=tx, rx=rx)
