"""Stores that misbehave on purpose, around the one in memory."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from execd.adapters.memory_store import MemoryStore
from execd.core.errors import StoreUnavailableError
from execd.ports import ExecutionRecord, Write, WriteOutcome


class TroubledStore(MemoryStore):
    """A store that can be away, slow, broken or dead.

    `is_away`: writes raise StoreUnavailableError. `s_per_event`: how long a write takes for each of its events. `gate`: writes
    wait for it. `defects`: so many writes raise an error no store should. `dies_at`: from that write on nothing is written and
    nothing returns, like a process that was killed. Leases suffer with the rest, but are not counted as writes and meet no defect.
    """

    def __init__(self, contents: MemoryStore | None = None) -> None:
        super().__init__()
        if contents is not None:
            self.records, self.journals, self.leases = contents.records, contents.journals, contents.leases
            self.definitions = contents.definitions
            self.secrets = contents.secrets
        self.is_away = False
        self.gate: trio.Event | None = None
        self.s_per_event = 0.0
        self.defects = 0
        self.dies_at: int | None = None
        self.write_count = 0
        self.has_died = trio.Event()

    @property
    def is_dead(self) -> bool:
        return self.dies_at is not None and self.write_count >= self.dies_at

    async def write(self, batch: Sequence[Write]) -> list[WriteOutcome]:
        await self._suffer()
        await trio.sleep(self.s_per_event * sum(len(write.events) for write in batch))
        return await super().write(batch)

    async def adopt(self, owner: str, *, only: object = None) -> Sequence[ExecutionRecord]:
        await self._suffer()
        return await super().adopt(owner, only=only)  # type: ignore[arg-type] # passed through as it came

    async def renew_lease(self, owner: str, *, lease_s: float) -> None:
        await self._be_reached()
        await super().renew_lease(owner, lease_s=lease_s)

    async def release_lease(self, owner: str) -> None:
        await self._be_reached()
        await super().release_lease(owner)

    async def _suffer(self) -> None:
        self.write_count += 1
        if self.is_dead:
            self.has_died.set()
        await self._be_reached()
        if self.defects:
            self.defects -= 1
            raise RuntimeError("a defect in the store")

    async def _be_reached(self) -> None:
        if self.is_dead:
            await trio.sleep_forever()
        if self.gate is not None:
            await self.gate.wait()
        if self.is_away:
            raise StoreUnavailableError("the disk is full")
