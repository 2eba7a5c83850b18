"""One execution's pen: numbers facts, hands them to the result writer, and knows what is stored.

Owned by one saga. Records are sent on without waiting for the store, so a flood of output is committed in groups; before
a side effect the saga waits until nothing is outstanding.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice

import trio

from execd.actors.announcements import is_stored
from execd.actors.messages import StoreWrite, WriterMessage
from execd.core.codec import number_fact
from execd.core.errors import ExecdError
from execd.core.events import ExecutionId, Fact
from execd.core.result import times_of
from execd.core.state import State
from execd.mailbox import Reply, Slot, hand_over
from execd.ports import Append, Stored, WriteOutcome


class FencedError(ExecdError):
    """Another owner has this execution, or it is final: stop, and write nothing more."""

    code = "fenced"
    status = 409


class Journal:
    """The writing end of one journal."""

    def __init__(
        self,
        execution_id: ExecutionId,
        *,
        epoch: int,
        to_writer: trio.MemorySendChannel[WriterMessage],
        keeps_times: bool = False,
    ) -> None:
        self._execution_id = execution_id
        self._epoch = epoch
        self._keeps_times = keeps_times
        self._to_writer = to_writer
        self._outstanding: deque[Reply[WriteOutcome]] = deque()
        self._refused: Slot[Reply[WriteOutcome]] = Slot()

    async def watch(self) -> None:
        """For ever: notice at once that a record is refused, also while there is nothing more to write, as when a person
        is waited for.

        Raises:
            FencedError, StoreUnavailableError: as `wait_stored`.
        """
        while True:
            self._check((await self._refused.take()).value)

    async def record(self, facts: Sequence[Fact], state: State) -> None:
        """Hand over the next facts.

        Args:
            state: what it is after them; its `head_seq` gives the numbers.

        Raises:
            FencedError: an earlier record was refused.
        """
        self._take_answers()
        after_seq = state.head_seq - len(facts)
        numbered = enumerate(facts, start=after_seq + 1)
        events = tuple([number_fact(self._execution_id, seq, fact) for seq, fact in numbered])
        write = Append(
            execution_id=self._execution_id,
            epoch=self._epoch,
            after_seq=after_seq,
            events=events,
            status=state.status,
            started_at=state.started_at,
            finished_at=state.ended_at,
            error=state.ending.error if state.ending is not None else None,
            times=times_of(state) if self._keeps_times else None,
        )
        reply: Reply[WriteOutcome] = Reply()
        self._outstanding.append(reply)
        reply.when_answered(partial(self._note, reply))
        await hand_over(StoreWrite(write=write, reply=reply), self._to_writer)

    def last_write(self) -> Reply[WriteOutcome] | None:
        """Give what tells when all that was handed over so far is stored; None when it is. For a task beside the saga, which
        goes on meanwhile; of a refusal the saga hears by itself."""
        newest = self._outstanding[-1] if self._outstanding else None
        return None if newest is None or is_stored(newest) else newest

    async def wait_nearly_stored(self) -> None:
        """Wait until at most one record is outstanding: whoever has much to tell lets others' writes come between its own.
        For a task beside the saga; of a refusal the saga hears by itself."""
        while len(self._outstanding) > 1 and (oldest := next(self._unanswered(), None)) is not None:
            await oldest.wait()

    def _unanswered(self) -> Iterator[Reply[WriteOutcome]]:
        """Those before the newest."""
        return (reply for reply in islice(self._outstanding, len(self._outstanding) - 1) if not reply.is_answered)

    async def wait_stored(self) -> None:
        """Wait until everything handed over is durable.

        Raises:
            FencedError: something was refused.
            StoreUnavailableError: the result writer crashed with it in hand; only the store knows.
        """
        while self._outstanding:
            self._check(await self._outstanding[0].wait())
            self._outstanding.popleft()

    def _note(self, reply: Reply[WriteOutcome]) -> None:
        if not is_stored(reply):
            self._refused.put(reply)

    def _take_answers(self) -> None:
        while self._outstanding and self._outstanding[0].is_answered:
            self._check(self._outstanding.popleft().value)

    def _check(self, outcome: WriteOutcome) -> None:
        if not isinstance(outcome, Stored):
            raise FencedError(f"a write to {self._execution_id} was refused: {outcome}")
