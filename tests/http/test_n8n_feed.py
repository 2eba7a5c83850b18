"""The feed of the n8n-pattern dialect on an engine that does what the test says: evictions, troubles of the store, pace."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from execd.core.errors import StoreUnavailableError
from execd.core.event_parts import Failure
from execd.core.events import (
    ExecutionCompleted,
    ExecutionId,
    NodeCompleted,
    NodeFailed,
    NodeStarted,
    Output,
    Status,
    Stream,
)
from execd.http.dialects.n8n import Drawing, dialect_of
from execd.http.dialects.n8n_feed import END_PAUSE_S, PacedFeed
from execd.ports import Subscription
from tests.http.fake_engine import FakeEngine, make_result, make_submission

DRAWING = Drawing({"main": "Main"})


class Watching:
    """A feed on a fake engine."""

    def __init__(self, engine: FakeEngine, execution_id: ExecutionId, stack: AsyncExitStack) -> None:
        self.engine = engine
        self.id = execution_id
        self.stack = stack
        self.draining = trio.Event()
        self.feed: PacedFeed

    async def subscribe(self, after_seq: int) -> Subscription:
        following = self.engine.subscribe(self.id, workspace=make_submission().workspace, after_seq=after_seq)
        return await self.stack.enter_async_context(following)

    async def begin(self) -> None:
        self.feed = PacedFeed(
            await self.subscribe(0),
            dialect_of(self.id, DRAWING),
            store=self.engine.store,
            subscribe=self.subscribe,
            draining=self.draining,
        )

    async def next(self) -> Any:
        frame = await self.feed.next_blocks()
        assert frame.startswith(b"data: ")
        return json.loads(frame[6:])

    async def rest(self) -> list[str]:
        found = []
        while not self.feed.is_complete:
            found.append((await self.next())["type"])
        return found


async def watching(stack: AsyncExitStack, *, max_streams: int = 100) -> Watching:
    engine = FakeEngine()
    engine.max_streams = max_streams
    accepted = await engine.submit(make_submission())
    opened = Watching(engine, accepted.id, stack)
    await opened.begin()
    return opened


def started() -> NodeStarted:
    return NodeStarted(label="Main", type="script")


async def finish(watched: Watching) -> None:
    ended = ExecutionCompleted(status=Status.COMPLETED, duration_ms=1)
    await watched.engine.add(watched.id, ended, make_result(), status=Status.COMPLETED)


async def test_a_reader_that_falls_behind_goes_on_from_the_store(autojump_clock: MockClock) -> None:
    """Paced, it is slower than a burst by design; that is no reason to lose a frame."""
    async with AsyncExitStack() as stack:
        watched = await watching(stack)
        await watched.next()
        watched.engine.evict_all("slow")
        await watched.engine.add(watched.id, started(), NodeCompleted(duration_ms=1, output=1))
        await finish(watched)
        assert await watched.rest() == [
            "nodeExecutionBefore",
            "nodeExecutionAfter",
            "nodeExecutionAfter",
            "executionFinished",
        ]


async def test_a_reader_that_cannot_go_on_is_told_so(autojump_clock: MockClock) -> None:
    """No place for it any more: an end with the id, not silence."""
    async with AsyncExitStack() as stack:
        watched = await watching(stack)
        await watched.next()
        watched.engine.max_streams = 0
        watched.engine.evict_all("restarted")
        last = await watched.next()
        assert (last["type"], last["data"]["reason"]) == ("executionError", "too_many_streams")
        assert watched.id in last["data"]["error"]
        assert watched.feed.is_complete


async def test_a_store_that_is_away_in_the_second_telling_is_an_end_too(autojump_clock: MockClock) -> None:
    """Whatever breaks it off, the last frame comes."""
    async with AsyncExitStack() as stack:
        watched = await watching(stack)
        await finish(watched)
        await watched.next()

        async def fail(*args: object, **kwargs: object) -> Any:
            await trio.lowlevel.checkpoint()
            raise StoreUnavailableError("the store is away")

        watched.feed._store.read_events = fail  # type: ignore[method-assign] # trouble on purpose
        assert await watched.rest() == ["executionError"]


async def test_going_down_leaves_the_second_telling_out(autojump_clock: MockClock) -> None:
    """There is little time, and the last frame matters most."""
    async with AsyncExitStack() as stack:
        watched = await watching(stack)
        await watched.engine.add(watched.id, started(), NodeCompleted(duration_ms=1))
        await finish(watched)
        watched.draining.set()
        assert await watched.rest() == [
            "executionStarted",
            "nodeExecutionBefore",
            "nodeExecutionAfter",
            "executionFinished",
        ]


async def test_waiting_for_a_frame_can_be_broken_off_at_any_instant(autojump_clock: MockClock) -> None:
    """A heartbeat cancels the wait; no frame is skipped or told twice for it, and the pause before the end is not longer."""
    async with AsyncExitStack() as stack:
        watched = await watching(stack)
        failed = NodeFailed(duration_ms=1, error=Failure(code="exit", message="no"))
        await watched.engine.add(watched.id, started(), Output(stream=Stream.STDOUT, offset=0, text="x"), failed)
        await finish(watched)
        found: list[str] = []
        began = trio.current_time()
        while not watched.feed.is_complete:
            with trio.move_on_after(0.0007):
                found.append((await watched.next())["type"])
        assert found == [
            "executionStarted",
            "nodeExecutionBefore",
            "nodeExecutionAfter",
            "nodeExecutionAfter",
            "executionFinished",
        ]
        assert trio.current_time() - began == pytest.approx(END_PAUSE_S, abs=0.02)
