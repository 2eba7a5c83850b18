"""Who has a slot and who waits for one: the coordinator's waiting line, and what each execution holds of it."""

from __future__ import annotations

from execd.actors.handles import SagaHandle
from execd.core.admission import WaitingLine, takes_slot
from execd.core.workflows import kind_of
from execd.mailbox import Reply
from execd.ports import Submission


class SlotLine:
    """The waiting line of executions, by their handles. Owned by the coordinator."""

    def __init__(self, line: WaitingLine[SagaHandle]) -> None:
        self.line = line

    def check_room(self, submission: Submission) -> None:
        """Raise OverloadedError if it would have to wait and may not."""
        if takes_slot(kind_of(submission.spec)):
            self.line.check_room(submission.workspace)

    def place_of_next(self, submission: Submission) -> tuple[int, int]:
        """Give its place, as `WaitingLine.place_of_next`; at the front where it needs no slot."""
        return self.line.place_of_next(submission.workspace) if takes_slot(kind_of(submission.spec)) else (0, 0)

    def join(self, handle: SagaHandle) -> None:
        """Wait for the first slot."""
        record = handle.record
        self.line.join(record.id, handle, workspace=record.workspace, priority=record.priority)

    def join_again(self, handle: SagaHandle, reply: Reply[None]) -> None:
        """Wait for another, having left one; `reply` is answered when it is there."""
        record = handle.record
        handle.asked_for_slot = reply
        self.line.join(record.id, handle, workspace=record.workspace, priority=record.priority, has_begun=True)

    def take_next(self) -> SagaHandle | None:
        """Give slots to whoever is next, and the first of them that has not begun; None when there is none, or no slot."""
        while (handle := self.line.take_next()) is not None:
            handle.holds_slot = True
            if handle.asked_for_slot is None:
                return handle
            handle.asked_for_slot.answer(None)
            handle.asked_for_slot = None
        return None

    def occupy(self, handle: SagaHandle) -> None:
        """Give it a slot at once, beyond their number if need be: it goes on after a loss, or only records its stop."""
        self.leave(handle)
        if not handle.holds_slot and takes_slot(handle.record.kind):
            handle.holds_slot = True
            self.line.occupy(handle.record.workspace)

    def release(self, handle: SagaHandle) -> None:
        """Take its slot, if it holds one."""
        if handle.holds_slot:
            handle.holds_slot = False
            self.line.release(handle.record.workspace)

    def leave(self, handle: SagaHandle) -> None:
        """Let it wait no more, if it does."""
        self.line.leave(handle.record.id)
        handle.asked_for_slot = None
