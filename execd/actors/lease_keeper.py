"""The lease keeper: says again and again that this instance lives, and takes over from those that say so no more.

Owns: the names this instance owned executions under and has not let go of yet; the last is the present one.
Sends (blocking, up the ranks): `RenewLease`, `ReleaseLease` and `AdoptExecutions` to the result writer;
`ExecutionsAdopted` to the coordinator, which starts them, and `ExecutionsLost`, which it lets go of. Reads the store.

Never: stops anything here only because its lease has lapsed. Whoever was frozen goes on; the store refuses the writes to
what others have adopted meanwhile, and what has nothing to write is looked up.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence

import structlog
import trio

from execd.actors.messages import (
    AdoptExecutions,
    CoordinatorMessage,
    ExecutionsAdopted,
    ExecutionsLost,
    ReleaseLease,
    RenewLease,
    WriterMessage,
)
from execd.core.errors import StoreUnavailableError
from execd.core.events import ExecutionId
from execd.mailbox import Reply
from execd.ports import ExecutionRecord

log = structlog.get_logger()

RENEWALS_PER_LEASE = 3
"""Two renewals may come late or get lost before others think that this instance is dead."""

FindExecution = Callable[[ExecutionId], Awaitable[ExecutionRecord | None]]


class LeaseKeeper:
    """The lease of one coordinator, through all its generations; `run` is the task of one of them."""

    def __init__(
        self, *, lease_s: float, find: FindExecution, to_writer: trio.MemorySendChannel[WriterMessage]
    ) -> None:
        self._lease_s = lease_s
        self._find = find
        self._to_writer = to_writer
        self._owners: list[str] = []
        self._is_adopting = True
        self._runs_until = math.inf
        """When the lease lapses at the earliest, on this instance's clock."""
        self._may_have_lapsed = False

    async def begin(self, owner: str) -> Sequence[ExecutionRecord]:
        """Let go of what this instance owned under earlier names, and give everything there is to take over as `owner`.

        Raises:
            StoreUnavailableError: the result writer crashed; begin again under another name.
        """
        self._owners.append(owner)
        while self._owners[0] != owner:
            await self._ask(ReleaseLease(owner=self._owners[0], reply=Reply()))
            del self._owners[0]
        await self._renew()
        self._may_have_lapsed = False
        return await self._adopt_orphans()

    async def run(
        self,
        to_coordinator: trio.MemorySendChannel[CoordinatorMessage],
        *,
        generation: int,
        held: Callable[[], Sequence[ExecutionRecord]],
    ) -> None:
        """Renew and adopt for ever. A store that is away, or a result writer that crashed, is asked again next time.

        Args:
            held: gives what waits and runs here.
        """
        while True:
            await trio.sleep(self._lease_s / RENEWALS_PER_LEASE)
            try:
                await self._renew()
                if self._may_have_lapsed:
                    lost = await self._find_lost(held())
                    self._may_have_lapsed = False
                    await to_coordinator.send(ExecutionsLost(generation=generation, records=lost))
                adopted = await self._adopt_orphans()
            except StoreUnavailableError as error:
                log.warning("lease_not_renewed", error=error.message)
                continue
            if adopted:
                await to_coordinator.send(ExecutionsAdopted(generation=generation, records=adopted))

    def stop_adopting(self) -> None:
        """From now on only renew: what still runs here must not be taken away."""
        self._is_adopting = False

    async def reclaim(self, record: ExecutionRecord) -> Sequence[ExecutionRecord]:
        """Take this one again, unless another has it: whatever was under way for it is stored by then, or will be refused."""
        if await self._is_anothers(record):
            return ()
        return await self._ask(AdoptExecutions(owner=self._owners[-1], only=record.id, reply=Reply()))

    async def release(self) -> None:
        """After the last write: whoever comes next need not wait for the lease to lapse. Does not wait for an answer."""
        for owner in self._owners:
            await self._to_writer.send(ReleaseLease(owner=owner, reply=Reply()))

    async def _renew(self) -> None:
        asked_at = trio.current_time()
        await self._ask(RenewLease(owner=self._owners[-1], lease_s=self._lease_s, reply=Reply()))
        self._may_have_lapsed |= trio.current_time() >= self._runs_until
        self._runs_until = asked_at + self._lease_s

    async def _is_anothers(self, record: ExecutionRecord) -> bool:
        """A saga that crashes here while somebody else runs its execution must not take it back. One that is not there may be
        on its way into the store."""
        try:
            current = await self._find(record.id)
        except StoreUnavailableError:
            return False
        return current is not None and current.epoch > record.epoch and current.owner != self._owners[-1]

    async def _find_lost(self, held: Sequence[ExecutionRecord]) -> Sequence[ExecutionRecord]:
        """A saga that writes is told by the store that it is fenced; one that waits (a silent program, an open question)
        would keep its slot and its pod for as long as it waits."""
        found = [(record, await self._find(record.id)) for record in held]
        return [current for record, current in found if current is not None and current.epoch > record.epoch]

    async def _adopt_orphans(self) -> Sequence[ExecutionRecord]:
        if not self._is_adopting:
            return ()
        return await self._ask(AdoptExecutions(owner=self._owners[-1], only=None, reply=Reply()))

    async def _ask(self, question: RenewLease | ReleaseLease | AdoptExecutions) -> Sequence[ExecutionRecord]:
        await self._to_writer.send(question)
        return await question.reply.wait() or ()
