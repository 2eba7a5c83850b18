"""Replies that cannot block, slots that keep the latest, mailboxes that refuse rather than grow."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from execd.actors.announcements import wait_announced
from execd.core.errors import ConflictError, OverloadedError, StoreUnavailableError
from execd.mailbox import Mailbox, Reply, Slot, hand_over, open_mailbox
from execd.ports import Fenced, Stored, WriteOutcome


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


async def test_a_message_is_handed_over_without_a_turn_and_waits_where_there_is_no_room() -> None:
    """An actor's step costs no turn of the scheduler, and a full mailbox still holds its sender up."""
    tx, rx = trio.open_memory_channel[int](1)
    with trio.testing.assert_no_checkpoints():
        await hand_over(1, tx)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hand_over, 2, tx)
        await trio.testing.wait_all_tasks_blocked()
        assert tx.statistics().tasks_waiting_send == 1
        assert [await rx.receive(), await rx.receive()] == [1, 2]


@pytest.mark.parametrize("is_answered", [True, False])
def test_who_does_not_wait_is_called_once(is_answered: bool) -> None:
    """Answered or failed, and only by the first of both."""
    reply: Reply[int] = Reply()
    calls: list[bool] = []
    reply.when_answered(lambda: calls.append(reply.is_answered))

    if is_answered:
        reply.answer(1)
    reply.fail(StoreUnavailableError("away"))
    reply.answer(2)

    assert calls == [True]
    assert reply.has_failed is not is_answered


@pytest.mark.parametrize("outcome", [Fenced(why="it has another owner"), None])
async def test_a_refused_announcement_lets_nothing_go(
    outcome: Fenced | None, autojump_clock: trio.testing.MockClock
) -> None:
    """Also where it was refused before anybody waited: what was not stored must not be done."""
    reply: Reply[WriteOutcome] = Reply()
    if outcome is None:
        reply.fail(StoreUnavailableError("away"))
    else:
        reply.answer(outcome)

    with trio.move_on_after(3600) as patience:
        await wait_announced(reply)

    assert patience.cancelled_caught


async def test_a_stored_announcement_lets_go_at_once() -> None:
    """A turn more for each request of a chain would be paid by every step."""
    reply: Reply[WriteOutcome] = Reply()
    reply.answer(Stored())

    with trio.testing.assert_no_checkpoints():
        await wait_announced(reply)
