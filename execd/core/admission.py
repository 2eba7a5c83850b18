"""Who runs next: slots, fair share between workspaces, priority within one.

`WaitingLine` is the coordinator's queue and nobody else's. Between workspaces the one with the fewest running goes
first, and of those the one served longest ago; within a workspace the higher priority, then the earlier request. So a
workspace that submits a thousand delays another's first by at most one run, and no priority can starve a neighbour.
"""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from execd.core.errors import OverloadedError
from execd.core.events import ExecutionId, WorkspaceId

T = TypeVar("T")


def takes_slot(kind: str) -> bool:
    """Whether executions of this kind do anything here; an engine elsewhere needs nothing but its reports written down."""
    return kind != "external"


@dataclass(frozen=True, slots=True, order=True)
class _Place(Generic[T]):
    has_not_begun: bool
    priority: int
    ticket: int
    id: ExecutionId = field(compare=False)
    item: T = field(compare=False)


class WaitingLine(Generic[T]):
    """Executions that wait for a slot, and how many run of each workspace."""

    def __init__(self, *, slots: int, max_waiting: int, max_waiting_per_workspace: int) -> None:
        self._slots = slots
        self._max_waiting = max_waiting
        self._max_waiting_per_workspace = max_waiting_per_workspace
        self._lines: dict[WorkspaceId, list[_Place[T]]] = {}
        self._waiting: dict[ExecutionId, WorkspaceId] = {}
        self._running: Counter[WorkspaceId] = Counter()
        self._served: dict[WorkspaceId, int] = {}
        self._tickets = 0

    @property
    def waiting_count(self) -> int:
        return len(self._waiting)

    @property
    def running_count(self) -> int:
        return self._running.total()

    @property
    def has_free_slot(self) -> bool:
        return self.running_count < self._slots

    def check_room(self, workspace: WorkspaceId) -> None:
        """Refuse what would not fit.

        Raises:
            OverloadedError: the line, or this workspace's part of it, is full.
        """
        if self.has_free_slot and not self._waiting:
            return
        if self.waiting_count >= self._max_waiting:
            raise OverloadedError(f"{self.waiting_count} executions are waiting, as many as may", retry_after_s=5)
        mine = len(self._lines.get(workspace, ()))
        if mine >= self._max_waiting_per_workspace:
            raise OverloadedError(f"{mine} executions of this workspace are waiting, as many as may", retry_after_s=5)

    def place_of_next(self, workspace: WorkspaceId) -> tuple[int, int]:
        """Give (position in its workspace's line, how many wait in all) for a request that would come now."""
        if self.has_free_slot and not self._waiting:
            return 0, 0
        return len(self._lines.get(workspace, ())) + 1, self.waiting_count

    def join(
        self,
        execution_id: ExecutionId,
        item: T,
        *,
        workspace: WorkspaceId,
        priority: int,
        has_begun: bool = False,
    ) -> None:
        """Wait for a slot.

        Args:
            has_begun: whether it had one before: it goes before those of its workspace that have not, whatever their priority.
        """
        self._tickets += 1
        place = _Place(has_not_begun=not has_begun, priority=priority, ticket=self._tickets, id=execution_id, item=item)
        heapq.heappush(self._lines.setdefault(workspace, []), place)
        self._waiting[execution_id] = workspace

    def leave(self, execution_id: ExecutionId) -> T | None:
        """Take one out of the line; None when it does not wait."""
        workspace = self._waiting.pop(execution_id, None)
        if workspace is None:
            return None
        line = self._lines[workspace]
        place = next(place for place in line if place.id == execution_id)
        line.remove(place)
        heapq.heapify(line)
        self._drop_empty(workspace)
        return place.item

    def take_next(self) -> T | None:
        """Give a slot to whoever is next; None when no slot is free or nobody waits."""
        if not self.has_free_slot or not self._lines:
            return None
        workspace = min(self._lines, key=lambda name: (self._running[name], self._served.get(name, 0), name))
        place = heapq.heappop(self._lines[workspace])
        del self._waiting[place.id]
        self._drop_empty(workspace)
        self.occupy(workspace)
        return place.item

    def occupy(self, workspace: WorkspaceId) -> None:
        """Count one more running, beyond the slots if need be: what was adopted runs already."""
        self._tickets += 1
        self._running[workspace] += 1
        self._served[workspace] = self._tickets

    def release(self, workspace: WorkspaceId) -> None:
        """Give a slot back."""
        self._running[workspace] -= 1
        if self._running[workspace] <= 0:
            del self._running[workspace]
            if workspace not in self._lines:
                self._served.pop(workspace, None)

    def _drop_empty(self, workspace: WorkspaceId) -> None:
        if not self._lines[workspace]:
            del self._lines[workspace]
