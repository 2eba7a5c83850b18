"""Replies that cannot block, slots that keep the latest, mailboxes that refuse rather than grow."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from execd.core.errors import ConflictError, OverloadedError
from execd.mailbox import Mailbox, Reply, Slot, open_mailbox


async def test_only_the_first_answer_counts() -> None:
    """An actor answers, then its crash barrier fails what it held: the asker keeps the answer."""
    reply: Reply[int] = Reply()
    reply.answer(1)
    reply.fail(ConflictError("late"))
    reply.answer(2)

    assert await reply.wait() == 1


async def test_a_failed_reply_raises_in_the_asker() -> None:
    """The error crosses from the actor to whoever asked."""
    reply: Reply[int] = Reply()
    reply.fail(ConflictError("no"))

    with pytest.raises(ConflictError, match="no"):
        await reply.wait()


async def test_an_answer_that_comes_too_late_is_disposed_of(autojump_clock: trio.testing.MockClock) -> None:
    """An asker who gave up must not leave what the answer holds occupied, whichever comes first."""
    disposed: list[str] = []
    for answers_first in (True, False):
        reply: Reply[str] = Reply()
        if answers_first:
            reply.answer("place")
        reply.on_late_answer(disposed.append)
        reply.answer("place")

    assert disposed == ["place", "place"]


async def test_a_slot_keeps_the_latest(autojump_clock: trio.testing.MockClock) -> None:
    """Only the newest phase of a pod matters; a reader that was busy sees it, once."""
    slot: Slot[int] = Slot()
    slot.put(1)
    slot.put(2)

    assert await slot.take() == 2
    with trio.move_on_after(1) as scope:
        await slot.take()
    assert scope.cancelled_caught


async def test_a_full_mailbox_refuses() -> None:
    """Nothing is half handed over, and the sender learns it at once."""
    box: Mailbox[int] = open_mailbox("coordinator", 2)
    box.post_nowait(1)
    box.post_nowait(2)

    with pytest.raises(OverloadedError, match="the coordinator has as much to do"):
        box.post_nowait(3)

    assert box.waiting_count == 2
    assert box.drain_nowait(10) == [1, 2]
