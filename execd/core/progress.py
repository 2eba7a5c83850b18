"""When to tell how much is done, and how long the rest may take.

A hundred percents are told at most. Between them the time left is told again, at most once a second, when it has moved by more
than a tenth against what was told, or when the execution begins to take longer than usual. That last thing happens while
nothing else does, so one timer at a time looks for it; what it finds is told once.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import chain, islice

import msgspec

from execd.core.draft import Draft
from execd.core.estimates import Estimates, Quantile
from execd.core.events import NodeId, Progress
from execd.core.moments import later, milliseconds_between
from execd.core.paths import ROOT, scope_of
from execd.core.runs import SHARES, NodeRun
from execd.core.signals import SetTimer
from execd.core.state import State
from execd.core.transitions import NodePhase

PACE = NodeId("%")
"""What the timer is for that looks whether it is late; no node has such an id."""
MIN_PAUSE_S = 1.0
"""Between two that tell no further percent."""
NEWS_SHARE = 0.1
"""The time left is told again when it is so much other than what was told."""
SMALL_RISE = 5
"""Points of a hundred, told at most every `SMALL_RISE_S` seconds; what follows tells them too."""
SMALL_RISE_S = 0.1
READY_LOOKED_AT = 200
"""Of the nodes that wait for a place; of what stands behind them the sum of all work tells enough."""
LATE_AFTER_S = 1.0
"""More than three quarters of its runs took, before it is said to be late: nobody misses less."""
IDLE_LOOK_S = 60.0
"""How soon the timer looks again where nothing runs that could be late."""


class Forecast(msgspec.Struct, frozen=True):
    """How long it takes from now on."""

    eta_ms: int
    eta_p75_ms: int
    is_late: bool
    """Whether what the rest waits for has run longer than three quarters of its runs did."""
    late_at: datetime
    """When to look whether it is, while nothing else happens."""


def tell_progress(draft: Draft) -> None:
    """Tell what is news; a graph of one node has only its time left to tell."""
    state = draft.state
    if state.started_at is None or (state.estimates is None and len(state.root.plan.nodes) < 2):
        return
    percent = max(percent_of(state), state.percent)
    has_risen = percent > state.percent and not _is_hardly_seen(state, percent, draft.at)
    if not has_risen and (state.estimates is None or _is_soon(state, draft.at)):
        return
    found = forecast(state, draft.at)
    if has_risen or _is_news(state, found, draft.at):
        _tell(draft, percent, found)


def _is_hardly_seen(state: State, percent: int, at: datetime) -> bool:
    """Whether it rises by little, a moment after it was told: of a hundred quick nodes nobody sees each, and each is an event."""
    is_little = percent < min(100, state.percent + SMALL_RISE)
    return is_little and state.progress_at is not None and at - state.progress_at < timedelta(seconds=SMALL_RISE_S)


def look_at_time(draft: Draft, alarm: int) -> None:
    """The timer rang: tell once if it takes longer than usual by now, else look again later."""
    state = draft.state
    if alarm != state.alarm or state.progress is None or state.progress.overrun:
        return
    found = forecast(state, draft.at)
    if found is not None and found.is_late and not _is_soon(state, draft.at):
        _tell(draft, state.percent, found)
    else:
        set_alarm(draft)


def set_alarm(draft: Draft) -> None:
    """Have the time looked at when it may be late, if its time left is known and it is not late already."""
    state, told = draft.state, draft.state.progress
    if told is None or told.eta_ms is None or told.overrun:
        return
    found = forecast(state, draft.at)
    if found is not None:
        due_at = max(found.late_at, later(draft.at, MIN_PAUSE_S))
        draft.order(SetTimer(node=PACE, attempt=state.alarm, due_at=due_at, is_moment=False))


def percent_of(state: State) -> int:
    """Give finished weight over total weight, without what was skipped; 100 only when every node is over."""
    tally = state.tally
    total = len(state.root.plan.nodes) if state.estimates is None else state.estimates.total_weight
    return 100 * (tally.weight * SHARES + tally.item_shares) // max(1, (total - tally.skipped_weight) * SHARES)


def _tell(draft: Draft, percent: int, found: Forecast | None) -> None:
    state = draft.state
    tally, alarm = state.tally, state.alarm
    told = Progress(
        done=tally.finished - tally.skipped, total=len(state.root.plan.nodes) - tally.skipped, percent=percent
    )
    if found is not None:
        told = msgspec.structs.replace(
            told,
            eta_ms=found.eta_ms,
            eta_p75_ms=found.eta_p75_ms,
            overrun=found.is_late,
            excludes_people=_has_people_ahead(state),
        )
    draft.tell(told)
    if draft.state.alarm != alarm:
        set_alarm(draft)


def _is_soon(state: State, at: datetime) -> bool:
    return state.progress_at is not None and at - state.progress_at < timedelta(seconds=MIN_PAUSE_S)


def _is_news(state: State, found: Forecast | None, at: datetime) -> bool:
    """Whether the time left is known, unknown, late or other than told; that time has passed is no news."""
    told = state.progress
    if told is None or told.eta_ms is None or found is None:
        return found is not None or (told is not None and told.eta_ms is not None)
    assert state.progress_at is not None
    left_ms = told.eta_ms - milliseconds_between(state.progress_at, at)
    return told.overrun is not found.is_late or abs(found.eta_ms - max(0, left_ms)) > NEWS_SHARE * told.eta_ms


def forecast(state: State, at: datetime) -> Forecast | None:
    """Say how long the rest takes: the longest path over what is not over, or all that has to share the places, whichever
    takes longer. None where something ahead is not known well enough, or where the rest will not be run."""
    known = state.estimates
    if known is None or state.is_winding_down or any(_is_ahead(state, node) for node in known.unknown):
        return None
    frontier = _frontier(state)
    median = _look_ahead(state, known, known.median, frontier, at)
    upper = _look_ahead(state, known, known.upper, frontier, at)
    if median is None or upper is None:
        return None
    late_at = upper.late_at or later(at, max(IDLE_LOOK_S, upper.left_ms / 1000))
    left_ms = round(median.left_ms)
    return Forecast(
        eta_ms=left_ms,
        eta_p75_ms=max(left_ms, round(upper.left_ms)),
        is_late=upper.late_at is not None and upper.late_at <= at,
        late_at=late_at,
    )


class _Ahead(msgspec.Struct, frozen=True):
    left_ms: float
    late_at: datetime | None
    """When what begins the longest path will have run longer than expected; None where it does not run."""


def _look_ahead(
    state: State, known: Estimates, quantile: Quantile, frontier: list[NodeId], at: datetime
) -> _Ahead | None:
    path_ms, head = 0.0, None
    work_ms = (known.median.work_ms - state.tally.work_ms) * _ratio(quantile.work_ms, known.median.work_ms)
    for node in frontier:
        left_ms = _left_ms(state, quantile, node, at)
        if left_ms is None:
            return None
        if node in known.works:
            work_ms += left_ms - quantile.nodes[node].pending_ms
        if head is None or left_ms + quantile.after_ms[node] > path_ms:
            path_ms, head = left_ms + quantile.after_ms[node], node
    left_ms = max(path_ms, work_ms / state.graph.parallelism) * quantile.correction
    return _Ahead(left_ms=left_ms, late_at=None if head is None else _late_at(state, known, quantile, head))


def _frontier(state: State) -> list[NodeId]:
    """Give the nodes of the execution's own graph that are under way or next: everything else comes after one of them."""
    active = (n for n in chain(state.running, state.retrying, state.waiting) if scope_of(n) == ROOT)
    expanded = {run.node: None for run in state.scopes.values() if run.node is not None and scope_of(run.node) == ROOT}
    ready = (node for node in islice(state.ready, READY_LOOKED_AT) if scope_of(node) == ROOT)
    return [*sorted(active), *sorted(expanded), *ready]


def _left_ms(state: State, quantile: Quantile, node: NodeId, at: datetime) -> float | None:
    """Give how long one node takes from now on; a person takes no time."""
    run, expected = state.run_of(node), quantile.nodes[node]
    if run.phase is NodePhase.WAITING:
        return 0 if run.asking is not None or run.due_at is None else milliseconds_between(at, run.due_at)
    if expected.running_ms is None:
        return None
    if run.phase is NodePhase.RETRYING:
        return expected.running_ms + (0 if run.due_at is None else milliseconds_between(at, run.due_at))
    if run.phase is NodePhase.PENDING or run.started_at is None:
        return expected.running_ms
    passed_ms = milliseconds_between(run.started_at, at)
    expansion = run.expansion
    if expansion is None or not expansion.is_map or expected.item_ms is None:
        return max(0, expected.running_ms - passed_ms)
    # Before its first item is over by the clock, then by its items; of those under way a half is over.
    if not expansion.results:
        return max(0.0, expected.item_ms * len(expansion.items) - passed_ms)
    return expected.item_ms * (len(expansion.items) - len(expansion.results) - expansion.open_count / 2)


def _late_at(state: State, known: Estimates, quantile: Quantile, node: NodeId) -> datetime | None:
    run, expected = state.run_of(node), quantile.nodes[node]
    is_running = run.phase in {NodePhase.RUNNING, NodePhase.EXPANDED} and node not in known.people
    if not is_running or run.started_at is None or expected.running_ms is None:
        return None
    usual_ms: float = expected.running_ms
    if run.expansion is not None and run.expansion.is_map and expected.item_ms is not None:
        usual_ms = expected.item_ms * len(run.expansion.items)
    return later(run.started_at, usual_ms / 1000 + LATE_AFTER_S)


def _has_people_ahead(state: State) -> bool:
    return state.estimates is not None and any(_is_ahead(state, node) for node in state.estimates.people)


def _is_ahead(state: State, node: NodeId) -> bool:
    run: NodeRun | None = state.runs.get(node)
    return run is None or not run.phase.is_over


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
