"""Engines for tests: the real actors and wiring, on a store in memory and scripted programs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import trio

from execd.actors.call_runner import Callers
from execd.actors.engine import LocalEngine
from execd.adapters.aes_cipher import AesCipher
from execd.adapters.memory_store import MemoryStore
from execd.adapters.secret_vault import SecretVault
from execd.bootstrap import Capacities, Parts, run_actors
from execd.core.codec import decode_event
from execd.core.errors import OverloadedError
from execd.core.events import Event, ExecutionId, Status, WorkspaceId
from execd.core.specs import Limits, ScriptSpec
from execd.core.workflows import ExecutionSpec
from execd.ports import Command, EvictedError, Store, Submission
from execd.settings import QueueSettings, Settings, ShutdownSettings, StreamSettings
from tests.support.scripted_runner import Script, ScriptedRunner

W = WorkspaceId("w")
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def virtual_now() -> datetime:
    """Give wall-clock time that moves with trio's clock."""
    elapsed_ms = round(trio.current_time() * 1000) % 10**10
    return EPOCH + timedelta(milliseconds=elapsed_ms)


TEST_SETTINGS = Settings(
    data_dir=Path("/nonexistent"),
    queue=QueueSettings(slots=4),
    stream=StreamSettings(per_workspace=1000),
    shutdown=ShutdownSettings(grace_s=1.0, watchdog_s=5.0),
)


@dataclass
class World:
    """A running engine and what it runs on."""

    engine: LocalEngine
    store: MemoryStore
    runner: ScriptedRunner

    async def submit(
        self, name: str = "test", *, workspace: str = "w", retries: int = 0, spec: ExecutionSpec | None = None
    ) -> ExecutionId:
        """Submit as a patient client does: a full mailbox (capacity 0 is always nearly full) is asked again."""
        asked = submission(name, workspace=workspace, retries=retries, spec=spec)
        while True:
            try:
                return (await self.engine.submit(asked)).id
            except OverloadedError:
                await trio.sleep(0.01)

    async def command(self, execution_id: ExecutionId, what: Command) -> None:
        """Give a command as a patient client does."""
        while True:
            try:
                await self.engine.command(execution_id, what)
            except OverloadedError:
                await trio.sleep(0.01)
            else:
                return

    async def wait_status(self, execution_id: ExecutionId, wanted: Status) -> None:
        """Wait until the store says that it stands so."""
        while (record := await self.store.find_execution(execution_id)) is None or record.status is not wanted:  # noqa: ASYNC110 - a store tells nobody
            await trio.sleep(0.01)

    async def watch(self, execution_id: ExecutionId, *, after_seq: int = 0) -> list[Event]:
        """Follow a journal to its end."""
        return await watch(self.engine, execution_id, after_seq=after_seq)


def submission(
    name: str = "test", *, workspace: str = "w", retries: int = 0, spec: ExecutionSpec | None = None
) -> Submission:
    script = ScriptSpec(language="python", source="pass", limits=Limits(), retries=retries)
    return Submission(workspace=WorkspaceId(workspace), user="tester", name=name, spec=spec or script)


async def watch(engine: LocalEngine, execution_id: ExecutionId, *, after_seq: int = 0) -> list[Event]:
    """Follow a journal to its end as a patient client does: evicted or refused, it resumes after its last event."""
    seen: list[Event] = []
    while True:
        last_seq = seen[-1].seq if seen else after_seq
        try:
            async with engine.subscribe(execution_id, workspace=W, after_seq=last_seq) as subscription:
                while True:
                    seen.extend(decode_event(event.body) for event in await subscription.receive())
        except trio.EndOfChannel:
            return seen
        except (OverloadedError, EvictedError):
            await trio.sleep(0.01)


@asynccontextmanager
async def open_world(
    script: Script,
    *,
    store: Store | None = None,
    settings: Settings = TEST_SETTINGS,
    capacity: int | None = None,
    callers: Callers | None = None,
    vault: SecretVault | None = None,
) -> AsyncIterator[World]:
    """Run the real actors; `capacity` sets every mailbox, 0 hands each message over directly."""
    chosen = store or MemoryStore()
    sizes = Capacities() if capacity is None else Capacities(capacity, capacity, capacity, capacity)
    async with trio.open_nursery() as nursery:
        runner = ScriptedRunner(script, nursery)
        parts = Parts(
            store=chosen,
            tokens=chosen,
            definitions=chosen.definitions,
            vault=vault or SecretVault(chosen.secrets, AesCipher([b"k" * 32])),
            runner=runner,
            now=virtual_now,
            capacities=sizes,
        )
        if callers is not None:
            parts = replace(parts, callers=callers)
        async with run_actors(parts, settings) as engine:
            yield World(engine, chosen, runner)
        nursery.cancel_scope.cancel()


def with_stream(settings: Settings, **changes: object) -> Settings:
    return msgspec.structs.replace(settings, stream=msgspec.structs.replace(settings.stream, **changes))
