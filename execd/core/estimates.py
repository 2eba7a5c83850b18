"""What past executions say of the next: how much each node weighs, and how long what is left of a graph may take.

Made once, when a saga begins, of the durations kept with the definition; immutable, and no part of the journal: side data of the
machine, as the clock is. Quantiles are nearest ranks: every number told was once measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec

from execd.core.events import NodeId
from execd.core.graph import Plan, PlannedNode
from execd.core.history import RunTimes
from execd.core.nodes.waiting import InputSpec

N = TypeVar("N", int, float)

MIN_RUNS = 3
"""With fewer a median is only somebody's first impression."""
MAX_CORRECTION = 4.0
"""How far the whole's own durations may correct what its nodes add up to, either way."""


class Expected(msgspec.Struct, frozen=True):
    """How long one node may take, in milliseconds."""

    pending_ms: int
    """While it is not known whether its branch is taken: where it was not, it took no time."""
    running_ms: int | None
    """Once it runs; None where it never has."""
    item_ms: float | None = None
    """Of a `map`: each of its items, with as many side by side as always."""


class Quantile(msgspec.Struct, frozen=True):
    """A graph at one quantile of its nodes' durations."""

    nodes: Mapping[NodeId, Expected]
    after_ms: Mapping[NodeId, int]
    """The longest path that begins after each node has ended."""
    work_ms: int
    """What takes a place among those that run at one time, added up."""
    correction: float = 1.0
    """What the whole took, over what follows from its nodes."""


class Estimates(msgspec.Struct, frozen=True):
    """What is known of a graph's durations."""

    weights: Mapping[NodeId, int]
    """Each node's share in the progress: its median, and at least 1."""
    total_weight: int
    works: Mapping[NodeId, int]
    """What each node adds to `median.work_ms`; only nodes that add something."""
    median: Quantile
    upper: Quantile
    """Three quarters took no longer."""
    unknown: tuple[NodeId, ...] = ()
    """Nodes with too little history: until they are over nothing can be said."""
    people: tuple[NodeId, ...] = ()
    """Nodes that wait for people: they count as no time."""

    def weight_of(self, node: NodeId) -> int:
        return self.weights.get(node, 1)


def estimates_of(plan: Plan, runs: Sequence[RunTimes]) -> Estimates | None:
    """Learn from past runs of a definition, oldest first; None with too few."""
    if len(runs) < MIN_RUNS:
        return None
    expected = {name: _expected(planned, name, runs) for name, planned in plan.nodes.items()}
    order = _last_first(plan)
    totals = sorted(run.total_ms for run in runs if run.total_ms is not None)
    median = _quantile(plan, {name: both[0] for name, both in expected.items()}, order, _rank_of(totals, 0.5))
    upper = _quantile(plan, {name: both[1] for name, both in expected.items()}, order, _rank_of(totals, 0.75))
    unknown = tuple(name for name, both in expected.items() if both is _UNKNOWN)
    weights = _weights(median, set(unknown))
    works = {name: median.nodes[name].pending_ms for name, planned in plan.nodes.items() if planned.type.takes_place}
    return Estimates(
        weights=weights,
        total_weight=sum(weights.values()),
        works={name: work for name, work in works.items() if work},
        median=median,
        upper=upper,
        unknown=unknown,
        people=tuple(name for name, both in expected.items() if both is _OF_PEOPLE),
    )


def asks_people(planned: PlannedNode) -> bool:
    """Whether a node, or one in its body, asks somebody: how long that takes no history can tell."""
    if planned.body is None:
        return isinstance(planned.node.spec, InputSpec)
    return any(asks_people(inner) for inner in planned.body.nodes.values())


_UNKNOWN = (Expected(pending_ms=0, running_ms=0),) * 2
_OF_PEOPLE = (Expected(pending_ms=0, running_ms=0),) * 2


def _expected(planned: PlannedNode, name: NodeId, runs: Sequence[RunTimes]) -> tuple[Expected, Expected]:
    """Give the median of a node, and what three quarters of its runs did not exceed."""
    if asks_people(planned):
        return _OF_PEOPLE
    times = [run.nodes[name] for run in runs if name in run.nodes]
    if len(times) < MIN_RUNS:
        return _UNKNOWN
    ran = sorted([time if isinstance(time, int) else time[0] for time in times if time is not None])
    items = sorted([time[0] / time[1] for time in times if isinstance(time, tuple) and time[1]])
    pending = [0] * (len(times) - len(ran)) + ran
    return _at(0.5, pending, ran, items), _at(0.75, pending, ran, items)


def _at(share: float, pending: Sequence[int], ran: Sequence[int], items: Sequence[float]) -> Expected:
    return Expected(
        pending_ms=rank(pending, share),
        running_ms=rank(ran, share) if ran else None,
        item_ms=rank(items, share) if items else None,
    )


def rank(ordered: Sequence[N], share: float) -> N:
    """Give the smallest value that so large a share of them does not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _rank_of(totals: Sequence[int], share: float) -> int | None:
    return rank(totals, share) if len(totals) >= MIN_RUNS else None


def _weights(median: Quantile, unknown: set[NodeId]) -> dict[NodeId, int]:
    """A node nothing is known of weighs as much as the others do on average."""
    known = {name: 1 + (node.running_ms or 0) for name, node in median.nodes.items() if name not in unknown}
    average = round(sum(known.values()) / len(known)) if known else 1
    return {name: known.get(name, average) for name in median.nodes}


def _quantile(plan: Plan, nodes: Mapping[NodeId, Expected], order: Sequence[NodeId], total_ms: int | None) -> Quantile:
    after_ms: dict[NodeId, int] = {}
    through_ms: dict[NodeId, int] = {}
    for name in order:
        following = plan.nodes[name].dependents
        after_ms[name] = max([through_ms[edge.node] for edge in following]) if following else 0
        through_ms[name] = after_ms[name] + nodes[name].pending_ms
    work_ms = sum(nodes[name].pending_ms for name, planned in plan.nodes.items() if planned.type.takes_place)
    correction = 1.0
    if total_ms is not None:
        predicted_ms = max(*(through_ms[name] for name in plan.roots), work_ms / plan.graph.parallelism, 1)
        correction = min(MAX_CORRECTION, max(1 / MAX_CORRECTION, total_ms / predicted_ms))
    return Quantile(nodes=nodes, after_ms=after_ms, work_ms=work_ms, correction=correction)


def _last_first(plan: Plan) -> list[NodeId]:
    """Give the nodes so that each comes after all that need it."""
    open_count = {name: len(planned.dependents) for name, planned in plan.nodes.items()}
    order = [name for name, count in open_count.items() if not count]
    for name in order:
        for need in plan.nodes[name].node.needs:
            open_count[need.node] -= 1
            if not open_count[need.node]:
                order.append(need.node)
    return order
