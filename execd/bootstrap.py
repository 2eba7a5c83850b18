"""The wiring: the only place that knows every concrete class, and the order in which they start and stop.

Start: store, runner, then the actors from the highest rank down. Stop (style: refuse, release, finish, drain, flush):
no new work and every stream ended; what runs has the grace; sagas are cancelled and their pods removed; the writer
stores what it was handed and lets go of the lease, so that another instance goes on at once; then the router ends. All of
it is bounded; the server process has a watchdog on top.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

import structlog
import trio

from execd.actors.call_runner import Callers
from execd.actors.coordinator import Coordinator, Limits
from execd.actors.engine import Levers, LocalEngine
from execd.actors.lease_keeper import LeaseKeeper
from execd.actors.messages import CoordinatorMessage, RouterMessage, SweepEnded, WriterMessage
from execd.actors.pod_registry import PodRegistry
from execd.actors.pod_watcher import run_pod_watcher
from execd.actors.providers import Provider
from execd.actors.result_writer import SWEEP_LIMIT, run_result_writer
from execd.actors.saga import INBOX_CAPACITY, SagaTools, run_saga
from execd.actors.stream_router import StreamLimits, StreamRouter
from execd.actors.supervisor import supervise
from execd.adapters.address_policy import AddressPolicy
from execd.adapters.aes_cipher import AesCipher, parse_key, read_key_file
from execd.adapters.connection_pool import PoolLimits
from execd.adapters.http_caller import PooledHttpCaller, open_http_caller
from execd.adapters.llm_client import HttpLlmClient
from execd.adapters.local_sandbox import open_local_runner
from execd.adapters.memory_secrets import MemorySecrets
from execd.adapters.no_way_out import NoWayOut
from execd.adapters.secret_vault import SecretVault
from execd.adapters.sqlite_store import open_sqlite_store
from execd.core.errors import StoreUnavailableError
from execd.mailbox import Mailbox, Reply, open_mailbox
from execd.ports import DefinitionStore, Runner, SecretStore, Store, TokenStore, Vault
from execd.settings import Settings, load_runtimes, read_allowed_env
from execd.telemetry import Counters

log = structlog.get_logger()

FLUSH_DEADLINE_S = 5.0
"""How long the writer may take at the end to store what it was handed."""


@dataclass(frozen=True, slots=True)
class Capacities:
    """How many messages may wait in each mailbox. Tests set them all to 0, where any backward send would deadlock."""

    coordinator: int = 256
    """Submissions of a burst; each is small."""
    writer: int = 64
    """Up to 64 KiB of output each: 4 MiB between programs and the store."""
    router: int = 16
    """Committed batches on their way to viewers."""
    saga: int = INBOX_CAPACITY


@dataclass(frozen=True, slots=True)
class Parts:
    """What an engine is made of."""

    store: Store
    tokens: TokenStore
    definitions: DefinitionStore
    runner: Runner
    now: Callable[[], datetime]
    capacities: Capacities = Capacities()
    callers: Callers = field(default_factory=lambda: Callers(http=NoWayOut(), llm=NoWayOut()))
    vault: Vault = field(default_factory=lambda: forgetful_vault())
    statistics: tuple[Callable[[], Mapping[str, float]], ...] = ()
    """What these parts count themselves, for `/metrics`."""


@asynccontextmanager
async def open_local_engine(settings: Settings, *, own_ports: Collection[int] = ()) -> AsyncIterator[LocalEngine]:
    """Run execd on its embedded default: SQLite and the local sandbox.

    Args:
        own_ports: where this execd listens, so that no node calls it; may grow while the engine runs.

    Raises:
        StoreLockedError: another process uses the data directory.
        StoreUnavailableError: the data directory cannot be used.
        ConfigurationError: a runtime definition or a key is wrong.
    """
    runtimes = load_runtimes(settings)
    is_power_safe = settings.store.durability == "power"
    async with (
        open_sqlite_store(settings.data_dir, is_power_safe=is_power_safe) as store,
        open_local_runner(settings.sandbox, runtimes, data_dir=settings.data_dir) as runner,
        open_http_caller(_address_policy(settings), limits=_pool_limits(settings), own_ports=own_ports) as caller,
    ):
        vault = _make_vault(settings, store.secrets)
        await vault.renew()
        parts = Parts(
            store=store,
            tokens=store,
            definitions=store.definitions,
            runner=runner,
            now=now_utc,
            callers=Callers(http=caller, llm=HttpLlmClient(caller), providers=_providers(settings)),
            vault=vault,
            statistics=(partial(_count_connections, caller),),
        )
        async with run_actors(parts, settings) as engine:
            yield engine


@asynccontextmanager
async def run_actors(parts: Parts, settings: Settings) -> AsyncIterator[LocalEngine]:
    """Start every actor on the given parts; leaving the block stops them in order."""
    counters = Counters()
    wiring = _Wiring(parts, settings, counters)
    async with trio.open_nursery() as nursery:
        for name, actor in wiring.actors().items():
            await nursery.start(partial(_run_actor, wiring.ends[name], name, actor, counters))
        nursery.start_soon(wiring.sweep_periodically)
        try:
            yield wiring.engine
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + wiring.stop_deadline_s):
                await wiring.stop()
            nursery.cancel_scope.cancel()


class _End:
    """How one actor is ended, and how its end is noticed."""

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.is_over = trio.Event()


async def _run_actor(  # noqa: ASYNC128 - `supervise` calls started()
    end: _End,
    name: str,
    actor: Callable[[], Awaitable[None]],
    counters: Counters,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    try:
        with end.scope:
            await supervise(name, actor, counters=counters, task_status=task_status)
    finally:
        end.is_over.set()


class _Wiring:
    """Mailboxes, actors and the engine in front of them. Owns the mailboxes: they outlive a crash of their reader."""

    def __init__(self, parts: Parts, settings: Settings, counters: Counters) -> None:
        self._parts = parts
        self._settings = settings
        self._counters = counters
        sizes = parts.capacities
        self._coordinator_box: Mailbox[CoordinatorMessage] = open_mailbox("coordinator", sizes.coordinator)
        self._writer_box: Mailbox[WriterMessage] = open_mailbox("result writer", sizes.writer)
        self._router_box: Mailbox[RouterMessage] = open_mailbox("stream router", sizes.router)
        self._registry = PodRegistry()
        self._sweeping = trio.CancelScope()
        self._router = StreamRouter(parts.store, limits=_stream_limits(settings), counters=counters)
        self._lease = LeaseKeeper(
            lease_s=settings.store.lease_s, find=parts.store.find_execution, to_writer=self._writer_box.tx
        )
        self._coordinator = self._make_coordinator()
        self.ends = {name: _End() for name in ("router", "writer", "watcher", "coordinator")}
        self.engine = LocalEngine(
            store=parts.store,
            tokens=parts.tokens,
            definitions=parts.definitions,
            vault=parts.vault,
            runner=parts.runner,
            http=parts.callers.http,
            to_coordinator=self._coordinator_box,
            to_router=self._router_box,
            levers=Levers(
                drain=(self._coordinator.drain, self._router.drain),
                troubles=counters.troubles,
                statistics=(counters.read, self._coordinator.statistics, self._router.statistics, *parts.statistics),
            ),
            now=parts.now,
        )

    @property
    def stop_deadline_s(self) -> float:
        return self._settings.shutdown.grace_s + self._settings.shutdown.watchdog_s

    def actors(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """Give every actor, highest rank first: who receives must be there before who sends."""
        return {
            "router": partial(self._router.run, self._router_box),
            "writer": partial(
                run_result_writer,
                self._writer_box,
                store=self._parts.store,
                to_router=self._router_box.tx,
                counters=self._counters,
            ),
            "watcher": partial(run_pod_watcher, self._parts.runner, registry=self._registry, counters=self._counters),
            "coordinator": partial(self._coordinator.run, self._coordinator_box),
        }

    async def stop(self) -> None:
        """Stop in the order of the module docstring."""
        self._sweeping.cancel()
        self.engine.drain()
        with trio.move_on_after(self._settings.shutdown.grace_s):
            await self._coordinator.wait_idle()
        self.ends["coordinator"].scope.cancel()
        self.ends["watcher"].scope.cancel()
        await self.ends["coordinator"].is_over.wait()
        with trio.move_on_after(FLUSH_DEADLINE_S):
            if not self.ends["writer"].is_over.is_set():
                await self._lease.release()
            self._writer_box.tx.close()
            await self.ends["writer"].is_over.wait()
        self._writer_box.tx.close()
        self._router_box.tx.close()

    async def sweep_periodically(self) -> None:
        """Ask the writer now and then to delete what is older than the retention."""
        retention_s = self._settings.store.retention_s
        with self._sweeping:
            while retention_s > 0:
                before = self._parts.now() - timedelta(seconds=retention_s)
                while await self._sweep(before) >= SWEEP_LIMIT:
                    log.debug("sweeping_on", finished_before=before)
                await trio.sleep(self._settings.store.sweep_every_s)

    async def _sweep(self, before: datetime) -> int:
        reply: Reply[int] = Reply()
        await self._writer_box.tx.send(SweepEnded(finished_before=before, reply=reply))
        try:
            return await reply.wait()
        except StoreUnavailableError:
            return 0

    def _make_coordinator(self) -> Coordinator:
        parts = self._parts
        tools = SagaTools(
            runner=parts.runner,
            callers=parts.callers,
            registry=self._registry,
            vault=parts.vault,
            now=parts.now,
            inbox_capacity=parts.capacities.saga,
        )
        return Coordinator(
            instance=f"{os.uname().nodename}-{os.getpid()}-{secrets.token_hex(4)}",
            limits=Limits(
                slots=self._settings.slots,
                max_queued=self._settings.queue.max_queued,
                max_queued_per_workspace=self._settings.queue.max_queued_per_workspace,
                max_parked=self._settings.queue.max_parked,
            ),
            lease=self._lease,
            run_saga=partial(run_saga, tools=tools, store=parts.store, to_writer=self._writer_box.tx),
            to_writer=self._writer_box.tx,
            now=parts.now,
            counters=self._counters,
        )


def _stream_limits(settings: Settings) -> StreamLimits:
    stream = settings.stream
    return StreamLimits(
        per_workspace=stream.per_workspace,
        hot_history_s=stream.hot_history_s,
        hot_bytes_per_execution=stream.hot_bytes_per_execution,
        hot_bytes_total=stream.hot_bytes_total,
        max_lag_bytes=stream.max_lag_bytes,
    )


def _address_policy(settings: Settings) -> AddressPolicy:
    """Who can reach only this machine's execd is on this machine, and could call its addresses without it."""
    outbound = settings.outbound
    return AddressPolicy(
        allow_private=settings.is_loopback if outbound.allow_private is None else outbound.allow_private,
        only_hosts=outbound.only_hosts,
        allowed_hosts=outbound.allowed_hosts,
        allowed_networks=outbound.allowed_networks,
        denied_networks=outbound.denied_networks,
    )


def _providers(settings: Settings) -> dict[str, Provider]:
    chosen = {"openai": settings.providers.openai, "gemini": settings.providers.gemini}
    return {name: Provider(base_url=p.base_url, model=p.model, api_key=p.api_key) for name, p in chosen.items()}


def _pool_limits(settings: Settings) -> PoolLimits:
    outbound = settings.outbound
    return PoolLimits(per_origin=outbound.per_host, in_use=outbound.in_use, idle=outbound.idle, idle_s=outbound.idle_s)


def _make_vault(settings: Settings, store: SecretStore) -> SecretVault:
    """Raises ConfigurationError."""
    chosen = settings.secrets
    path = chosen.key_file or settings.data_dir / "secrets.key"
    keys = read_key_file(path) if chosen.key is None else [parse_key(chosen.key, where="secrets.key")]
    former = [parse_key(key, where=f"secrets.old_keys[{index}]") for index, key in enumerate(chosen.old_keys)]
    env = read_allowed_env(settings)
    return SecretVault(store, AesCipher([*keys, *former]), fixed=chosen.values, env=env, since=now_utc())


def forgetful_vault() -> SecretVault:
    """Give a vault in memory with a key of its own: what it seals, no other opens."""
    return SecretVault(MemorySecrets(), AesCipher([os.urandom(32)]))


def _count_connections(caller: PooledHttpCaller) -> dict[str, float]:
    counted = caller.statistics()
    return {
        "execd_outbound_connections_in_use": counted.in_use,
        "execd_outbound_connections_idle": counted.idle,
        "execd_outbound_connections_opened_total": counted.opened,
        "execd_outbound_connections_reused_total": counted.reused,
    }


def now_utc() -> datetime:
    """Give the time as journals keep it: UTC, to the millisecond, so that a folded journal equals the live state."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)
