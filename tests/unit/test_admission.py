"""The waiting line: slots, fair share, priority, and the promises that keep one workspace from starving another."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execd.core.admission import WaitingLine
from execd.core.errors import OverloadedError
from execd.core.events import ExecutionId, WorkspaceId

A, B = WorkspaceId("a"), WorkspaceId("b")


def line(slots: int = 2, most: int = 100, most_each: int = 100) -> WaitingLine[str]:
    return WaitingLine(slots=slots, max_waiting=most, max_waiting_per_workspace=most_each)


def join(queue: WaitingLine[str], name: str, workspace: WorkspaceId = A, priority: int = 1) -> None:
    queue.join(ExecutionId(name), name, workspace=workspace, priority=priority)


def test_first_come_first_served_within_a_workspace() -> None:
    """Without priorities or neighbours it is a plain queue."""
    queue = line(slots=3)
    for name in ("1", "2", "3", "4"):
        join(queue, name)

    assert [queue.take_next() for _ in range(4)] == ["1", "2", "3", None]


def test_priority_goes_first_within_its_workspace_only() -> None:
    """No priority of one workspace can starve its neighbour."""
    queue = line(slots=3)
    join(queue, "low", priority=2)
    join(queue, "high", priority=0)
    join(queue, "neighbour", B, priority=2)

    assert {queue.take_next(), queue.take_next()} == {"high", "neighbour"}
    assert queue.take_next() == "low"


def test_the_workspace_with_fewer_running_goes_first() -> None:
    """A thousand of one delay another's first by at most one run."""
    queue = line(slots=1)
    for number in range(1000):
        join(queue, f"a{number}")
    assert queue.take_next() == "a0"
    join(queue, "b0", B)

    queue.release(A)

    assert queue.take_next() == "b0"


def test_two_workspaces_take_turns() -> None:
    """With one slot and equal demand, neither goes twice in a row."""
    queue = line(slots=1)
    for number in range(5):
        join(queue, f"a{number}", A)
        join(queue, f"b{number}", B)
    order = []
    while (taken := queue.take_next()) is not None:
        order.append(taken[0])
        queue.release(A if taken[0] == "a" else B)

    assert "".join(order) in {"ab" * 5, "ba" * 5}


def test_who_leaves_is_not_called() -> None:
    """A cancelled one gives its place up, wherever it stands."""
    queue = line(slots=5)
    for name in ("1", "2", "3"):
        join(queue, name)

    assert queue.leave(ExecutionId("2")) == "2"
    assert queue.leave(ExecutionId("2")) is None
    assert [queue.take_next() for _ in range(3)] == ["1", "3", None]


def test_a_full_line_refuses() -> None:
    """The limit in all, and the limit of one workspace, each with its own words."""
    queue = line(slots=1, most=3, most_each=2)
    queue.check_room(A)
    join(queue, "1")
    join(queue, "2")

    with pytest.raises(OverloadedError, match="of this workspace"):
        queue.check_room(A)
    join(queue, "3", B)
    with pytest.raises(OverloadedError, match="3 executions are waiting"):
        queue.check_room(B)


def test_a_place_is_told_before_joining() -> None:
    """`execution_queued` says 0 for a free slot, else the place in one's own line and how many wait in all."""
    queue = line(slots=1)
    assert queue.place_of_next(A) == (0, 0)
    join(queue, "1")
    join(queue, "2", B)
    assert queue.place_of_next(A) == (2, 2)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2)), max_size=60), st.integers(1, 4))
def test_everybody_is_served_once_and_slots_are_never_exceeded(crowd: list[tuple[str, int]], slots: int) -> None:
    """Whatever the crowd: nobody is lost, nobody is served twice, no slot is used twice."""
    queue = line(slots=slots)
    for number, (workspace, priority) in enumerate(crowd):
        join(queue, f"{workspace}{number}", WorkspaceId(workspace), priority)
    served: list[str] = []
    running: list[str] = []
    while queue.waiting_count or running:
        taken = queue.take_next()
        if taken is None:
            queue.release(WorkspaceId(running.pop(0)[0]))
            continue
        served.append(taken)
        running.append(taken)
        assert len(running) == queue.running_count <= slots

    assert sorted(served) == sorted(f"{workspace}{number}" for number, (workspace, _) in enumerate(crowd))
    assert queue.running_count == 0
