"""The parts of a state: how one node stands, one run of a graph, and the line of nodes that may start."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec
from immutables import Map

from execd.core.event_parts import Failure
from execd.core.events import InputRequired, NodeExpanded, NodeId, NodeTimedOut, PodCreated, PodTerminated, Status
from execd.core.graph import Plan
from execd.core.transitions import NodePhase

WALL = "limit:wall"
"""The code of what ran out of time; an execution that fails with it ends as `timeout`."""


class Expansion(msgspec.Struct, frozen=True):
    """The items of a node whose body runs."""

    items: tuple[Any, ...]
    concurrency: int
    keeps_going: bool
    is_map: bool
    next_index: int = 0
    """The first item that is not under way yet."""
    open_count: int = 0
    results: Map[int, Any] = Map()
    """What each item that is over gave."""
    failure: Failure | None = None
    """Of the first item that failed, unless it keeps going; or that its time is over. Nothing more of it starts."""
    is_timed_out: bool = False
    """Whether its time is over, so that what still runs of it is stopped."""

    @property
    def is_over(self) -> bool:
        """Whether nothing is under way and nothing more will be."""
        return not self.open_count and (self.failure is not None or self.next_index == len(self.items))


class NodeRun(msgspec.Struct, frozen=True):
    """How one node stands."""

    phase: NodePhase = NodePhase.PENDING
    attempt: int = 0
    undecided: int = 0
    """How many of its needs are neither taken nor passed by yet."""
    taken: int = 0
    """How many of its needs were taken."""
    ticket: int | None = None
    """Its place in the line, while it is in it."""
    started_at: datetime | None = None
    duration_ms: int | None = None
    error: Failure | None = None
    reason: str | None = None
    """Why it was skipped."""
    due_at: datetime | None = None
    """When its timer fires: the next attempt, the end of its wait, or the end of a person's time to answer."""
    is_moment: bool = False
    """Whether that is a moment of the wall clock, not a delay."""
    asking: InputRequired | None = None
    """What a person is asked."""
    output: Any = None
    """What it gave, once it is over."""
    port: str | None = None
    """The further port it took."""
    pod: PodCreated | None = None
    """The pod of this attempt, from its announcement to its end."""
    verdict: PodTerminated | None = None
    expansion: Expansion | None = None

    def expanded(self, data: NodeExpanded) -> NodeRun:
        """Begin to run the body."""
        expansion = Expansion(
            items=data.items, concurrency=data.concurrency, keeps_going=data.keeps_going, is_map=data.is_map
        )
        return msgspec.structs.replace(self, expansion=expansion, due_at=data.expires_at)

    def timed_out(self, data: NodeTimedOut) -> NodeRun:
        """Fail what the body's items have not failed already."""
        assert self.expansion is not None
        text = f"It ran longer than its timeout of {data.timeout_s:g} s."
        failure = self.expansion.failure or Failure(code=WALL, message=text, details={"group": "limit"})
        expansion = msgspec.structs.replace(self.expansion, failure=failure, is_timed_out=True)
        return msgspec.structs.replace(self, expansion=expansion)


class ScopeRun(msgspec.Struct, frozen=True):
    """One run of a graph: the execution's own, or one of a body."""

    plan: Plan
    unfinished: int
    """How many of its nodes are not over."""
    node: NodeId | None = None
    """The node whose body this is."""
    index: int | None = None
    """Which item of a `map`."""
    input: Any = None
    """The item, or what the body was given."""
    active: int = 0
    """How many of its nodes run, wait or are expanded."""
    failure: tuple[Status, Failure] | None = None
    """What the first node to fail failed with."""
    is_cut: bool = False
    """Whether something in it was not run or not finished, because all around it ended."""


class Tally(msgspec.Struct, frozen=True):
    """How much of the execution's own graph is over; kept as it changes, because no step may look at every node."""

    finished: int = 0
    """Nodes, those skipped too."""
    skipped: int = 0
    weight: int = 0
    """Of what is finished and not skipped; every node weighs 1 where nothing is known of it."""
    skipped_weight: int = 0
    work_ms: int = 0
    """What those that are over were expected to add to the work."""
    item_shares: int = 0
    """Of the items that are over of each `map` that still runs; `SHARES` are one unit of weight."""


SHARES = 10**6


class ReadyLine(msgspec.Struct, frozen=True):
    """Nodes that may start, first come first; whoever leaves leaves no gap that has to be walked twice."""

    places: Map[int, NodeId] = Map()
    first: int = 0
    end: int = 0

    def __bool__(self) -> bool:
        return bool(self.places)

    def __iter__(self) -> Iterator[NodeId]:
        return (self.places[ticket] for ticket in range(self.first, self.end) if ticket in self.places)

    def join(self, node: NodeId) -> tuple[ReadyLine, int]:
        """Give the line with one more at its end, and its ticket."""
        return msgspec.structs.replace(self, places=self.places.set(self.end, node), end=self.end + 1), self.end

    def leave(self, ticket: int) -> ReadyLine:
        """Give the line without that ticket."""
        places, first = self.places.delete(ticket), self.first
        while first < self.end and first not in places:
            first += 1
        return msgspec.structs.replace(self, places=places, first=first)


def brief(failure: Failure) -> Failure:
    """Leave out what stands in its node's own event already, and may be large."""
    if "step" not in failure.details:
        return failure
    details = {name: value for name, value in failure.details.items() if name != "step"}
    return msgspec.structs.replace(failure, details=details)
