"""The result writer: the only task that writes executions and journals.

Owns: nothing but the batch in hand. The store is its state.
Receives: `StoreWrite`, `AdoptExecutions`, `SweepEnded`, `RenewLease`, `ReleaseLease`.
Sends: `PublishEvents` to the stream router, strictly after the store said yes.

Group commit without a timer: whatever waits when the store is free goes into one batch, so one write alone is never
delayed and a thousand at once cost few commits.

Never: publishes what is not stored; gives up on a write because the store is away. It retries, its mailbox fills, and
the back-pressure reaches the programs themselves.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import structlog
import trio

from execd.actors.messages import (
    AdoptExecutions,
    PublishEvents,
    ReleaseLease,
    RenewLease,
    StoreWrite,
    SweepEnded,
    WriterMessage,
    events_of,
)
from execd.core.codec import StoredEvent
from execd.core.errors import StoreUnavailableError
from execd.mailbox import Mailbox, hand_over
from execd.ports import Store, Stored
from execd.telemetry import Counters

T = TypeVar("T")

log = structlog.get_logger()

BATCH_LIMIT = 256
"""Writes in one commit; at 64 KiB of output each this is 16 MiB, what one transaction may hold in memory."""
FIRST_RETRY_S = 0.05
LAST_RETRY_S = 2.0
"""The store is asked again after 50 ms, doubling up to 2 s: a lock or a full disk is noticed soon after it is gone."""
SWEEP_LIMIT = 100
"""Executions deleted at once: a sweep must not hold up the writes of those that run."""


async def run_result_writer(
    inbox: Mailbox[WriterMessage],
    *,
    store: Store,
    to_router: trio.MemorySendChannel[PublishEvents],
    counters: Counters,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Store and publish for ever; ends when every sender has closed.

    Args:
        store: asked again and again while it raises StoreUnavailableError.
    """
    task_status.started()
    async for message in inbox.rx:
        batch = [message, *inbox.drain_nowait(BATCH_LIMIT - 1)]
        writes = [item for item in batch if isinstance(item, StoreWrite)]
        try:
            if writes:
                await _store_and_publish(writes, store=store, to_router=to_router, counters=counters)
            for item in batch:
                await _do_chore(item, store=store, counters=counters)
        finally:
            _fail_unanswered(batch)


async def _do_chore(message: WriterMessage, *, store: Store, counters: Counters) -> None:
    """What changes owners or deletes, but adds no events; done in order, after the writes that came with it."""
    match message:
        case AdoptExecutions(owner=owner, only=only, reply=reply):
            adopted = await _until_available(lambda: store.adopt(owner, only=only), counters=counters)
            reply.answer(adopted)
        case SweepEnded(finished_before=before, reply=answer):
            swept = await _until_available(
                lambda: store.sweep(finished_before=before, limit=SWEEP_LIMIT), counters=counters
            )
            counters.add("execd_executions_swept_total", swept)
            answer.answer(swept)
        case RenewLease(owner=owner, lease_s=lease_s, reply=done):
            await _until_available(lambda: store.renew_lease(owner, lease_s=lease_s), counters=counters)
            done.answer(None)
        case ReleaseLease(owner=owner, reply=done):
            await _until_available(lambda: store.release_lease(owner), counters=counters)
            done.answer(None)
        case StoreWrite():
            pass


async def _store_and_publish(
    batch: Sequence[StoreWrite],
    *,
    store: Store,
    to_router: trio.MemorySendChannel[PublishEvents],
    counters: Counters,
) -> None:
    writes = [message.write for message in batch]
    outcomes = await _until_available(lambda: store.write(writes), counters=counters)
    counters.add("execd_store_commits_total")
    stored: list[StoredEvent] = []
    for message, outcome in zip(batch, outcomes, strict=True):
        if isinstance(outcome, Stored):
            stored.extend(events_of(message.write))
        message.reply.answer(outcome)
    counters.add("execd_events_stored_total", len(stored))
    if stored:
        await hand_over(PublishEvents(events=tuple(stored)), to_router)


async def _until_available(ask: Callable[[], Awaitable[T]], *, counters: Counters) -> T:
    delay_s = FIRST_RETRY_S
    while True:
        try:
            answer = await ask()
        except StoreUnavailableError as error:
            log.warning("store_unavailable", error=error.message, retry_in_s=delay_s)
            counters.add("execd_store_retries_total")
            counters.troubles["store"] = error.message
        else:
            counters.troubles.pop("store", None)
            return answer
        await trio.sleep(delay_s)
        delay_s = min(delay_s * 2, LAST_RETRY_S)


def _fail_unanswered(batch: Sequence[WriterMessage]) -> None:
    """On a crash or a cancel, those who wait must learn that the fate of their write is unknown."""
    for message in batch:
        message.reply.fail(StoreUnavailableError("the result writer stopped before the store answered"))
