"""People who watch: each joins at its time, reads at its pace, leaves and comes back, through every life of the process."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from execd.core.errors import OverloadedError, StoreUnavailableError, TooManyStreamsError
from execd.core.event_types import RESULT_STORED
from execd.core.events import ExecutionId, WorkspaceId
from execd.ports import EvictedError, StreamedEvent, Subscription
from tests.simulation.evidence import Evidence, Pass
from tests.simulation.lives import ConnectionLostError, Life, Lives
from tests.simulation.plan import ViewerPlan

BACK_SOON_S = 0.05
"""What a client waits before it connects again."""


class Viewer:
    """One viewer. `watch` is its task."""

    def __init__(self, plan: ViewerPlan, workspace: str, lives: Lives, evidence: Evidence) -> None:
        self._plan = plan
        self._workspace = WorkspaceId(workspace)
        self._lives = lives
        self._evidence = evidence
        self._breaks = list(plan.breaks)
        self._taken = 0
        self._pass: Pass | None = None

    async def watch(self) -> None:
        """See the journal to its end, or leave early when that is the plan."""
        await trio.sleep(self._plan.at)
        execution_id = await self._lives.wait_stored(self._plan.label)
        head_seq = len(self._lives.contents.journals[execution_id])
        self._begin_pass(execution_id, min(self._plan.after_seq, head_seq))
        while not await self._watch_once(execution_id):  # noqa: ASYNC110 - a client comes back after a while
            await trio.sleep(BACK_SOON_S)

    async def _watch_once(self, execution_id: ExecutionId) -> bool:
        """Connect once; give whether the viewer is done."""
        try:
            async with self._lives.connect(execution_id) as life:
                return await self._follow(life, execution_id)
        except ConnectionLostError:
            self._evidence.count("viewer cut off by a kill")
        except trio.EndOfChannel:
            self._end()
            return True
        except EvictedError as error:
            self._evidence.count(f"evicted: {error.reason}")
            self._note(f"evicted {error.reason} after {error.last_seq}")
            if error.last_seq != self._current.last_seq:
                self._violate(f"told to resume after {error.last_seq}, has seen {self._current.last_seq}")
        except TooManyStreamsError:
            self._evidence.count("too many streams")
        except OverloadedError:
            self._evidence.count("router did not answer in time")
        except StoreUnavailableError:
            self._evidence.count("stream broken by the store")
        return False

    async def _follow(self, life: Life, execution_id: ExecutionId) -> bool:
        after_seq = self._current.last_seq
        async with life.engine.subscribe(execution_id, workspace=self._workspace, after_seq=after_seq) as subscription:
            while True:
                await self._read(life, subscription)
                if self._plan.leaves_after is not None and self._taken >= self._plan.leaves_after:
                    self._note("leaves")
                    return True
                if self._breaks and self._taken >= self._breaks[0][0]:
                    break
        await self._take_a_break(execution_id)
        return False

    async def _read(self, life: Life, subscription: Subscription) -> None:
        head_before = len(self._evidence.written[subscription.execution_id])
        is_level = subscription.last_seq == head_before
        began_at = trio.current_time()
        await trio.sleep(self._plan.pause_s)
        is_owed_eviction = is_level and self._is_owed_eviction(life, subscription, began_at)
        events = await subscription.receive()
        if is_owed_eviction:
            self._violate(f"was not evicted, and is told {events[0].seq}")
        self._take(events)
        self._check_memory(life)
        if self._plan.uses_relay:
            await subscription.relay(self._relay)

    def _is_owed_eviction(self, life: Life, subscription: Subscription, since: float) -> bool:
        """Whether a viewer that was level has let more go by than it may, before the last batch. Only asked where every
        batch was published: in the last life, and once what was stored in this instant had time to be."""
        batches = life.published_since(subscription.execution_id, since)
        if not life.is_calm or len(batches) < 2 or batches[-1][0] > trio.current_time() - 0.001:
            return False
        return sum(size for _, size in batches[:-1]) > self._lives.plan.max_lag_bytes

    def _check_memory(self, life: Life) -> None:
        """Each log keeps as much as it may, or one event that is larger."""
        most_each = max(self._lives.plan.hot_bytes_per_execution, self._evidence.biggest_event_bytes)
        kept = life.engine.statistics()["execd_hot_bytes"]
        if kept > most_each * len(self._evidence.labels):
            self._violate(f"found {kept:.0f} hot bytes")

    def _relay(self, events: Sequence[StreamedEvent]) -> bool:
        self._evidence.count("relayed")
        self._take(events)
        return self._plan.pause_s == 0 and not self._breaks and self._plan.leaves_after is None

    def _take(self, events: Sequence[StreamedEvent]) -> None:
        """Judge at the instant: what a viewer is handed, the store has, byte for byte, and it comes next."""
        self._taken += len(events)
        seen = self._current
        journal = self._lives.contents.journals[seen.execution_id]
        for event in events:
            if event.seq != seen.last_seq + 1:
                self._violate(f"was handed {event.seq} after {seen.last_seq}")
            if len(journal) < event.seq:
                self._violate(f"was handed {event.seq} before it was stored")
            elif journal[event.seq - 1].body != event.body:
                self._violate(f"was handed another {event.seq} than is stored")
            seen.events.append((event.seq, event.body))
        self._note(f"sees {events[0].seq}-{events[-1].seq}")

    def _end(self) -> None:
        seen = self._current
        seen.has_ended = True
        last = self._lives.contents.journals[seen.execution_id][-1]
        if last.type != RESULT_STORED or seen.last_seq < last.seq:
            self._violate(f"was told that all is over after {seen.last_seq} of {last.seq}")
        self._note("at the end")

    async def _take_a_break(self, execution_id: ExecutionId) -> None:
        _, away_s, begins_again = self._breaks.pop(0)
        self._note("takes a break")
        self._evidence.count("viewer begins again from 0" if begins_again else "viewer resumes after its last event")
        if begins_again:
            self._begin_pass(execution_id, 0)
        await trio.sleep(away_s)

    def _begin_pass(self, execution_id: ExecutionId, after_seq: int) -> None:
        self._pass = Pass(viewer=self._plan.name, execution_id=execution_id, after_seq=after_seq)
        self._evidence.passes.append(self._pass)

    @property
    def _current(self) -> Pass:
        assert self._pass is not None
        return self._pass

    def _note(self, what: str) -> None:
        self._evidence.note(self._plan.name, f"{self._plan.label} {what}")

    def _violate(self, what: str) -> None:
        self._evidence.violate(f"viewer {self._plan.name} of {self._plan.label} {what}")
