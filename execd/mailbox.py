"""How actors reach one another: bounded mailboxes, replies that cannot block, and slots that only keep the latest.

The supervisor owns mailboxes, actors borrow them: an inbox outlives a crash of its actor, so only the message in hand is
lost with it, and whoever waits for a reply to that one is told.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import trio

from execd.core.errors import ExecdError, OverloadedError

T = TypeVar("T")


class Reply(Generic[T]):
    """One answer to one question. The asker waits under a deadline of its own; answering never blocks.

    Only the first answer counts, so an actor may answer and its crash barrier may still fail what it held in hand.
    """

    __slots__ = ("_answered", "_dispose", "_error", "_on_end", "_value")

    def __init__(self) -> None:
        self._answered = trio.Event()
        self._dispose: Callable[[T], None] | None = None
        self._value: T | None = None
        self._error: ExecdError | None = None
        self._on_end: Callable[[], None] | None = None

    @property
    def is_answered(self) -> bool:
        return self._answered.is_set()

    @property
    def has_failed(self) -> bool:
        return self._error is not None

    def answer(self, value: T) -> None:
        if not self.is_answered:
            self._value = value
            self._end()
            if self._dispose is not None:
                self._dispose(value)

    def on_late_answer(self, dispose: Callable[[T], None]) -> None:
        """For an asker that gives up: what to do with an answer that holds something, now or when it comes."""
        self._dispose = dispose
        if self.is_answered and self._error is None:
            dispose(self.value)

    def fail(self, error: ExecdError) -> None:
        if not self.is_answered:
            self._error = error
            self._end()

    @property
    def value(self) -> T:
        """The answer, once `is_answered`. Raises what it was failed with."""
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value] # set by `answer`; None is a value of T then

    def when_answered(self, act: Callable[[], None]) -> None:
        """For an asker that does not wait: what to do, at once, when it is answered or failed."""
        self._on_end = act

    async def wait(self) -> T:
        """Wait for the answer.

        Raises:
            ExecdError: whatever the answerer failed it with.
        """
        await self._answered.wait()
        return self.value

    def _end(self) -> None:
        self._answered.set()
        if self._on_end is not None:
            self._on_end()


class Slot(Generic[T]):
    """A place for one value that a newer one overwrites: for what only matters in its latest form."""

    __slots__ = ("_filled", "_value")

    def __init__(self) -> None:
        self._filled = trio.Event()
        self._value: T | None = None

    def put(self, value: T) -> None:
        self._value = value
        self._filled.set()

    async def take(self) -> T:
        """Wait for a value and empty the slot. One taker."""
        await self._filled.wait()
        self._filled = trio.Event()
        return self._value  # type: ignore[return-value] # set by `put`


async def hand_over(message: T, to: trio.MemorySendChannel[T]) -> None:
    """Send a message, and wait only if there is no room: a turn of the scheduler per message is what actors that receive for ever
    need not give, because receiving is one."""
    try:
        to.send_nowait(message)
    except trio.WouldBlock:
        await to.send(message)


@dataclass(frozen=True, slots=True)
class Mailbox(Generic[T]):
    """A bounded inbox and the end that writes into it."""

    name: str
    tx: trio.MemorySendChannel[T]
    rx: trio.MemoryReceiveChannel[T]

    def post_nowait(self, message: T) -> None:
        """Hand over a message without waiting.

        Raises:
            OverloadedError: the mailbox is full; nothing was handed over.
        """
        try:
            self.tx.send_nowait(message)
        except trio.WouldBlock:
            raise OverloadedError(f"the {self.name} has as much to do as it may hold") from None

    def drain_nowait(self, limit: int) -> list[T]:
        """Take what waits already, at most `limit` messages."""
        taken: list[T] = []
        while len(taken) < limit:
            try:
                taken.append(self.rx.receive_nowait())
            except (trio.WouldBlock, trio.EndOfChannel):
                break
        return taken

    @property
    def waiting_count(self) -> int:
        stats = self.tx.statistics()
        return stats.current_buffer_used + stats.tasks_waiting_send


def open_mailbox(name: str, capacity: int) -> Mailbox[T]:
    """Make a mailbox.

    Args:
        capacity: messages that may wait unread. 0 hands each over directly and is what the deadlock tests use.
    """
    tx, rx = trio.open_memory_channel[T](capacity)
    return Mailbox(name=name, tx=tx, rx=rx)
