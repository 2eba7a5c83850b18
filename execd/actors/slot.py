"""One execution's slot, as its saga leaves it and asks for it again."""

from __future__ import annotations

from dataclasses import dataclass

import trio

from execd.actors.messages import CoordinatorMessage, SlotAsked, SlotLeft
from execd.core.events import ExecutionId
from execd.mailbox import Reply


@dataclass(frozen=True, slots=True)
class Slot:
    """The way from a saga to the coordinator that started it."""

    execution_id: ExecutionId
    generation: int
    """Of that coordinator; a later one pays no heed."""
    to_coordinator: trio.MemorySendChannel[CoordinatorMessage]

    async def leave(self) -> None:
        """Let another execution have it."""
        await self.to_coordinator.send(SlotLeft(execution_id=self.execution_id, generation=self.generation))

    async def ask(self) -> None:
        """Wait until there is one. Cancellation: the coordinator forgets the asker when its saga ends."""
        reply: Reply[None] = Reply()
        await self.to_coordinator.send(
            SlotAsked(execution_id=self.execution_id, generation=self.generation, reply=reply)
        )
        await reply.wait()
