"""The stream router: carries stored events to whoever watches.

Owns: the broadcast log of every execution that runs or ended lately, and every viewer's cursor.
Receives: `PublishEvents` from the result writer, `Subscribe` from the edges. Closing a cursor and `drain` are plain calls:
they are atomic on trio's one thread and cannot wait, so a full mailbox never keeps a viewer's place occupied.

Never: waits for a viewer. One that lags too far is evicted with a reason and its last seq.
A crash loses only memory: viewers are evicted, resume, and read from the store what was in the logs. Whoever asked with the
message in hand is told at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

import structlog
import trio

from execd.actors.broadcast import BroadcastLog, Cursor
from execd.actors.messages import PublishEvents, RouterMessage, Subscribe
from execd.core.codec import StoredEvent
from execd.core.errors import OverloadedError, StoreUnavailableError, TooManyStreamsError
from execd.core.events import ExecutionId, WorkspaceId
from execd.mailbox import Mailbox
from execd.ports import Store
from execd.telemetry import Counters

log = structlog.get_logger()


LOOK_AGAIN_S = 5.0
"""Between two looks into the store for what was not published here: at a thousand quiet executions, 200 short reads a second."""


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """What the router may keep; the settings of the same names say why."""

    per_workspace: int
    hot_history_s: float
    hot_bytes_per_execution: int
    hot_bytes_total: int
    max_lag_bytes: int


class StreamRouter:
    """The router's state; `run` is its task."""

    def __init__(self, store: Store, *, limits: StreamLimits, counters: Counters) -> None:
        self._store = store
        self._limits = limits
        self._counters = counters
        self._logs: dict[ExecutionId, BroadcastLog] = {}
        self._cooling: dict[ExecutionId, float] = {}
        """Ended logs and the moment (trio's clock) they are forgotten, oldest first."""
        self._has_ended = trio.Event()
        self._viewers: Counter[WorkspaceId] = Counter()
        self._kept_bytes = 0
        self._is_draining = False

    async def run(
        self, inbox: Mailbox[RouterMessage], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Route for ever; on the way out every viewer is told to resume."""
        task_status.started()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._look_again)
                nursery.start_soon(self._cool_down)
                await self._route(inbox)
                nursery.cancel_scope.cancel()
        finally:
            self._evict_all("restarted")
            self._forget_everything()

    async def _route(self, inbox: Mailbox[RouterMessage]) -> None:
        async for message in inbox.rx:
            self._receive(message)

    async def _cool_down(self) -> None:
        """For ever: forget ended logs when their time is over, the oldest first."""
        while True:
            await self._has_ended.wait()
            self._has_ended = trio.Event()
            while self._cooling:
                await trio.sleep_until(next(iter(self._cooling.values())))
                self._forget_cold()

    async def _look_again(self) -> None:
        """For ever: what another instance stores is never published here, nor what was stored in the instant in which the
        writer died. So logs that are quiet are compared with the store: later, but complete. One look serves all who watch."""
        while True:
            await trio.sleep(LOOK_AGAIN_S)
            for channel in [channel for channel in self._logs.values() if not channel.is_ended]:
                if not channel.has_news_since_last_look() and await self._is_behind(channel):
                    self._drop(channel)

    def _drop(self, channel: BroadcastLog) -> None:
        """Empty a log, so that who watches it reads the store; one that nobody watches is gone. It may be gone already, and
        another in its place, because the store takes its time."""
        if self._logs.get(channel.execution_id) is not channel:
            return
        self._kept_bytes -= channel.clear()
        if not channel.cursors:
            del self._logs[channel.execution_id]

    async def _is_behind(self, channel: BroadcastLog) -> bool:
        known = channel.last_seq or min((cursor.last_seq for cursor in channel.cursors), default=0)
        try:
            return bool(await self._store.read_events(channel.execution_id, after_seq=known, limit_bytes=1))
        except StoreUnavailableError:
            return False

    def drain(self) -> None:
        """End every stream with `draining`, and every later one at once."""
        self._is_draining = True
        self._evict_all("draining")

    def statistics(self) -> dict[str, float]:
        return {
            "execd_viewers": self._viewers.total(),
            "execd_hot_executions": len(self._logs),
            "execd_hot_bytes": self._kept_bytes,
        }

    def _receive(self, message: RouterMessage) -> None:
        match message:
            case PublishEvents(events=events):
                self._publish(events)
            case Subscribe(reply=reply):
                try:
                    self._subscribe(message)
                except Exception:
                    reply.fail(OverloadedError("the stream router is restarting"))
                    raise
            case _:
                assert_never(message)

    def _publish(self, events: Sequence[StoredEvent]) -> None:
        touched: dict[ExecutionId, BroadcastLog] = {}
        for event in events:
            channel = touched.get(event.execution_id)
            if channel is None:
                channel = touched[event.execution_id] = self._log_of(event.execution_id)
                self._evict_slow(channel)
            self._kept_bytes += channel.append(event)
        self._counters.add("execd_events_published_total", len(events))
        for channel in touched.values():
            self._settle(channel)
        self._trim_total()

    def _evict_slow(self, channel: BroadcastLog) -> None:
        """Looked at before new events are added: a viewer that was level is not slow because many came at once."""
        slow = [cursor for cursor in channel.cursors if cursor.is_too_slow]
        if not slow:
            return
        channel.evict(slow, "slow")
        self._counters.add("execd_viewers_evicted_total", len(slow))
        last_seqs = [cursor.last_seq for cursor in slow]
        log.info("viewers_evicted", execution_id=channel.execution_id, last_seqs=last_seqs[:10], viewers=len(slow))

    def _settle(self, channel: BroadcastLog) -> None:
        channel.wake()
        if channel.is_ended:
            self._cooling[channel.execution_id] = trio.current_time() + self._limits.hot_history_s
            self._has_ended.set()

    def _log_of(self, execution_id: ExecutionId) -> BroadcastLog:
        channel = self._logs.get(execution_id)
        if channel is None:
            channel = BroadcastLog(execution_id, limit_bytes=self._limits.hot_bytes_per_execution)
            self._logs[execution_id] = channel
        return channel

    def _subscribe(self, message: Subscribe) -> None:
        if self._viewers[message.workspace] >= self._limits.per_workspace:
            text = f"this workspace watches {self._limits.per_workspace} streams, as many as it may"
            message.reply.fail(TooManyStreamsError(text, retry_after_s=5))
            return
        channel = self._log_of(message.execution_id)
        cursor = Cursor(
            channel,
            self._store,
            workspace=message.workspace,
            after_seq=message.after_seq,
            max_lag_bytes=self._limits.max_lag_bytes,
            on_close=self._release,
        )
        channel.cursors[cursor] = None
        self._viewers[message.workspace] += 1
        if self._is_draining:
            cursor.mark_evicted("draining")
        message.reply.answer(cursor)

    def _release(self, cursor: Cursor) -> None:
        channel = self._logs.get(cursor.execution_id)
        if channel is None or cursor not in channel.cursors:
            return
        del channel.cursors[cursor]
        self._viewers[cursor.workspace] -= 1
        if not self._viewers[cursor.workspace]:
            del self._viewers[cursor.workspace]
        if not channel.cursors and not channel.kept_bytes:
            del self._logs[cursor.execution_id]

    def _forget_cold(self) -> None:
        now = trio.current_time()
        for execution_id in [name for name, deadline in self._cooling.items() if deadline <= now]:
            self._forget(execution_id)

    def _trim_total(self) -> None:
        for execution_id in list(self._cooling):
            if self._kept_bytes <= self._limits.hot_bytes_total:
                return
            self._forget(execution_id)

    def _forget(self, execution_id: ExecutionId) -> None:
        """Drop an ended log; who still watches it goes on reading from the store."""
        del self._cooling[execution_id]
        channel = self._logs.get(execution_id)
        if channel is not None:
            self._kept_bytes -= channel.clear()
            if not channel.cursors:
                del self._logs[execution_id]

    def _forget_everything(self) -> None:
        self._logs.clear()
        self._cooling.clear()
        self._viewers.clear()
        self._kept_bytes = 0

    def _evict_all(self, reason: str) -> None:
        for channel in self._logs.values():
            channel.evict(list(channel.cursors), reason)
