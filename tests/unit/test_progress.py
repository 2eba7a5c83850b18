"""How much is done, and how long the rest may take: weights, paths, people, what is unknown and what is late."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from execd.core.codec import decode_event, number_fact, to_fact
from execd.core.estimates import estimates_of
from execd.core.events import ExecutionId, NodeId, Progress, Status, StopMode
from execd.core.graph import Graph, Pin
from execd.core.history import NodeTime, RunTimes
from execd.core.nodes.conditions import IfSpec
from execd.core.nodes.set_values import SetSpec
from execd.core.progress import PACE
from execd.core.result import times_of
from execd.core.signals import InputProvided, Lost, NodeExited, PauseAsked, StopAsked
from execd.core.specs import RetryPolicy
from execd.core.state import fold, with_history
from tests.unit.test_graphs import WORK, any_graph, graph, live_through, mapped, node
from tests.unit.test_machine import AT, FAILURE, MAIN, SUCCESS, YES_OR_NO, World, script, script_graph


class Told(World):
    """A world whose definition has a history, on a clock of seconds."""

    def __init__(self, whole: Graph, *runs: RunTimes) -> None:
        super().__init__(whole)
        self.start = with_history(self.start, runs)
        self.state = with_history(self.state, runs)

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def end(self, name: str, outcome: Any = SUCCESS) -> None:
        self.hear(NodeExited(at=self.now, node=NodeId(name), attempt=1, outcome=outcome))
        self.prepare_launched()

    @property
    def progress(self) -> list[Progress]:
        return [fact.data for fact in self.facts if isinstance(fact.data, Progress)]

    @property
    def last(self) -> tuple[int, int | None, int | None]:
        told = self.progress[-1]
        return told.percent, told.eta_ms, told.eta_p75_ms


def times(total_ms: int | None = None, **nodes: NodeTime) -> RunTimes:
    return RunTimes(nodes={NodeId(name): time for name, time in nodes.items()}, total_ms=total_ms)


def seconds(*values: float, **more: float) -> tuple[RunTimes, ...]:
    """Four runs of nodes that took so long; in the last two (of quartiles, the upper one) a half longer."""
    return tuple(
        times(**{name: round(value * 1000 * share) for name, value in more.items()}) for share in (1, 1, 1.5, 1.5)
    )


CHAIN = graph(node("a", WORK), node("b", WORK, "a"), node("c", WORK, "b"))


@pytest.mark.behaviour(45)
def test_each_node_weighs_what_it_usually_takes() -> None:
    """A build of a minute and two echoes are not a third each."""
    world = Told(CHAIN, *seconds(a=1, b=8, c=1))
    world.begin()
    world.wait(1)
    world.end("a")
    world.wait(8)
    world.end("b")
    world.wait(1)
    world.end("c")

    assert [told.percent for told in world.progress] == [0, 10, 89, 100]
    assert [(told.done, told.total) for told in world.progress] == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_the_time_left_is_told_from_the_start_and_shrinks() -> None:
    """Median and upper quartile of the path that is left; what runs has its time behind it subtracted."""
    world = Told(CHAIN, *seconds(a=1, b=8, c=1))
    world.begin()
    assert world.last == (0, 10_000, 15_000)

    world.wait(1)
    world.end("a")
    assert world.last == (10, 9000, 13_500)


@pytest.mark.behaviour(46)
def test_side_by_side_the_longest_path_counts_and_not_the_sum() -> None:
    """Two branches of five seconds are over in five seconds."""
    both = graph(node("a", WORK), node("b", WORK), node("join", WORK, "a b"))
    world = Told(both, *seconds(a=5, b=3, join=1))
    world.begin()
    assert world.last[1] == 6000

    world.wait(3)
    world.end("b")
    assert world.last[1] == 3000


def test_what_has_to_share_the_places_takes_its_time() -> None:
    """A hundred nodes of a second, ten at a time, are not over in a second."""
    crowd = graph(*(node(f"n{i}", WORK) for i in range(100)), parallelism=10)
    world = Told(crowd, *(times(**{f"n{i}": 1000 for i in range(100)}) for _ in range(3)))
    world.begin()
    assert world.last[1] == 10_000

    world.wait(1)
    for i in range(10):
        world.end(f"n{i}")
    assert world.last[1] == 9000


def test_the_whole_corrects_what_its_nodes_add_up_to() -> None:
    """Sandboxes have to start, too: nodes of a second whose whole took two each time."""
    runs = [msgspec.structs.replace(run, total_ms=2000) for run in seconds(a=0.5, b=0.3, c=0.2)]
    world = Told(CHAIN, *runs)
    world.begin()

    assert world.last == (0, 2000, 2000)


@pytest.mark.behaviour(46)
@pytest.mark.parametrize("count", [0, 1, 2])
def test_with_too_little_history_nothing_is_invented(count: int) -> None:
    """No figure at all, instead of 0 or a guess."""
    world = Told(CHAIN, *seconds(a=1, b=1, c=1)[:count])
    world.begin()
    world.end("a")

    assert [(told.percent, told.eta_ms, told.eta_p75_ms) for told in world.progress] == [(33, None, None)]
    assert b"eta" not in number_fact(ExecutionId("e"), 1, world.facts[-1]).body


def test_a_node_that_is_new_leaves_the_time_open_until_it_is_over() -> None:
    """The definition was changed: what the rest takes is known, the whole is not."""
    world = Told(CHAIN, *seconds(a=2, c=1))
    world.begin()
    world.wait(2)
    world.end("a")
    assert world.last[1] is None

    world.wait(30)
    world.end("b")
    assert world.last[1] == 1000


def test_a_branch_that_is_rarely_taken_counts_once_it_is_taken() -> None:
    """Until then the median of its time is none; and what is skipped leaves the total."""
    either = graph(node("a", WORK), node("often", WORK, "a"), node("mend", WORK, "a.error", on_error="continue"))
    runs = [times(a=1000, often=2000, mend=None if i else 60_000) for i in range(5)]
    world = Told(either, *runs)
    world.begin()
    assert world.last == (0, 3000, 3000)

    world.wait(1)
    world.end("a")
    assert (world.progress[-1].done, world.progress[-1].total) == (1, 2)
    assert world.last == (33, 2000, 2000)


def test_people_are_not_counted_and_that_is_said() -> None:
    """What is left is told without them, and does not move while they think."""
    asking = graph(node("ask", YES_OR_NO), node("work", WORK, "ask"))
    world = Told(asking, *seconds(work=4))
    world.begin()
    assert world.last[1] == 4000
    assert world.progress[-1].excludes_people

    world.wait(3600)
    world.hear(InputProvided(at=world.now, by="u", prompt_id="ask.1", values={"go": "yes"}))
    assert world.last[1] == 4000
    assert not world.progress[-1].excludes_people
    assert times_of(world.state) is None
    world.prepare_launched()
    world.wait(4)
    world.end("work")
    assert times_of(world.state) == times(work=4000)


@pytest.mark.behaviour(46)
def test_longer_than_usual_is_said_once_while_nothing_happens() -> None:
    """One timer finds it out; it tells no more until something happens, and an idle execution writes nothing."""
    world = Told(CHAIN, *seconds(a=1, b=8, c=1))
    world.begin()
    assert world.timers == [(PACE, 5)]

    world.wait(2.5)
    world.fire(PACE, 5)
    assert world.progress[-1] == Progress(done=0, total=3, percent=0, eta_ms=9000, eta_p75_ms=13_500, overrun=True)
    assert world.timers == [(PACE, 5)]
    world.wait(60)
    world.fire(PACE, 5)
    assert len([told for told in world.progress if told.overrun]) == 1

    world.end("a")
    assert not world.progress[-1].overrun
    assert len(world.timers) == 2


def test_a_timer_that_rings_early_looks_again_and_tells_nothing() -> None:
    """A node that ended in time has moved the moment; a timer of before is over."""
    world = Told(CHAIN, *seconds(a=1, b=8, c=1))
    world.begin()
    world.wait(1)
    world.end("a")
    before = len(world.facts)

    world.wait(1.5)
    world.fire(PACE, 5)
    assert (len(world.facts), world.timers) == (before, [(PACE, 5), (PACE, 5)])
    world.fire(PACE, 4)
    assert len(world.timers) == 2


@pytest.mark.behaviour(45)
def test_a_map_counts_its_items_and_times_them() -> None:
    """Ten items of a second where there were always two: ten seconds, and each is a part of the progress."""
    whole = graph(mapped(graph(node("w", WORK)), list(range(10))), node("after", WORK, "each"))
    world = Told(whole, *(times(each=(2000, 2), after=1000) for _ in range(3)))
    world.begin()
    percents = []
    for item in range(10):
        world.wait(1)
        world.end(f"each[{item}]/w")
        percents.append(world.progress[-1].percent)

    assert percents == sorted(percents)
    assert len(set(percents)) >= 9
    assert percents[-1] == 66


def test_a_map_without_history_counts_its_items_too() -> None:
    """A map over four is not 0 % until it is 100 %."""
    world = World(graph(mapped(graph(node("w", WORK)), [1, 2, 3, 4], concurrency=1), node("after", SetSpec(values=1))))
    world.begin()
    for item in range(4):
        world.exit(SUCCESS, NodeId(f"each[{item}]/w"))
        world.prepare_launched()

    told = [fact.data.percent for fact in world.facts if isinstance(fact.data, Progress)]
    assert told == [50, 62, 75, 87, 100]


def test_a_crowd_of_nodes_tells_a_hundred_percents() -> None:
    """Ten thousand nodes do not become ten thousand events more."""
    crowd = graph(*(node(f"n{i}", WORK) for i in range(3000)), parallelism=50)
    world = Told(crowd, *(times(**{f"n{i}": 100 for i in range(3000)}) for _ in range(3)))
    world.begin()
    for i in range(3000):
        world.wait(0.002)
        world.end(f"n{i}")

    took_s = (world.now - AT).total_seconds()
    assert len(world.progress) <= 101 + took_s


def test_of_quick_nodes_only_what_is_seen_is_told() -> None:
    """A hundred nodes in a twentieth of a second are twenty events and not a hundred; the last one says that all are over."""
    names = [f"n{number}" for number in range(100)]
    world = Told(graph(*(node(name, WORK) for name in names)))
    world.begin()
    for name in names:
        world.wait(0.0005)
        world.end(name)

    assert [told.percent for told in world.progress] == [1, *range(6, 100, 5), 100]


def test_a_small_rise_is_told_when_the_last_one_is_a_moment_ago() -> None:
    """Whoever looks at a slow run sees each percent."""
    names = [f"n{number}" for number in range(100)]
    world = Told(graph(*(node(name, WORK) for name in names)))
    world.begin()
    for name in names:
        world.wait(0.2)
        world.end(name)

    assert [told.percent for told in world.progress] == list(range(1, 101))


def test_a_script_of_its_own_has_a_time_left_too() -> None:
    """It has no parts, but a history."""
    world = Told(script_graph(script(), name="n"), *(times(main=3000, total_ms=3100) for _ in range(3)))
    world.begin()

    assert world.last == (0, 3100, 3100)
    assert (Told(script_graph(script(), name="n"))).progress == []


def test_what_will_not_be_run_has_no_time_left() -> None:
    """After a stop or a failure nothing of the rest is run: its time is not told any more."""
    both = graph(node("a", WORK), node("b", WORK), node("c", WORK, "a b"))
    world = Told(both, *seconds(a=5, b=5, c=5))
    world.begin()
    world.wait(2)
    world.hear(StopAsked(at=world.now, by="u", mode=StopMode.INTERRUPT))
    world.wait(2)
    world.end("a")

    assert world.progress[-1].eta_ms is None


def test_recovery_folds_to_the_same_and_looks_at_the_time_again() -> None:
    """The journal alone, and the history read again, make the state that was; its timer is set anew."""
    again = RetryPolicy(retries=1, on_lost=True)
    world = Told(graph(node("a", WORK), node("b", WORK, "a", retry=again)), *seconds(a=1, b=8))
    before = world.state
    world.begin()
    world.wait(1)
    world.end("a")
    stored = [number_fact(ExecutionId("e"), seq, fact) for seq, fact in enumerate(world.facts, start=3)]

    assert fold(before, (to_fact(decode_event(event.body)) for event in stored)) == world.state
    world.timers.clear()
    world.hear(Lost(at=world.now, code="worker_lost"))
    assert world.timers == [(NodeId("b"), 1), (PACE, 5)]


def test_what_was_told_stands_where_the_history_has_changed_since() -> None:
    """Taken over after the definition's next runs took their time otherwise: what is left weighs more than it did."""
    again = RetryPolicy(retries=1, on_lost=True)
    chain = graph(node("a", WORK), node("b", WORK, "a", retry=again))
    before = Told(chain, *seconds(a=9, b=1))
    before.begin()
    before.wait(9)
    before.end("a")
    assert before.progress[-1].percent >= 89

    world = Told(chain, *seconds(a=1, b=99))
    world.state = fold(world.state, before.facts)
    world.hear(Lost(at=before.now + timedelta(seconds=2), code="worker_lost"))  # what rises little is told by then

    assert world.state.percent == before.progress[-1].percent


def test_only_a_whole_success_is_kept() -> None:
    """A failure, a pause and pinned nodes would each teach the next one something wrong."""
    good = Told(CHAIN)
    good.begin()
    for name in "abc":
        good.wait(2)
        good.end(name)
    assert times_of(good.state) == times(a=2000, b=2000, c=2000, total_ms=6000)

    failed = Told(CHAIN)
    failed.begin()
    failed.end("a", FAILURE)
    assert times_of(failed.state) is None

    paused = Told(graph(node("a", WORK), node("b", SetSpec(values=1))))
    paused.begin()
    paused.hear(PauseAsked(at=paused.now, by="u"))
    paused.end("a")
    assert times_of(paused.state) == times(a=0, b=0)

    pinned = Told(graph(node("a", WORK), node("b", SetSpec(values=1)), pins={NodeId("a"): Pin()}))
    pinned.begin()
    assert pinned.result.status is Status.COMPLETED
    assert times_of(pinned.state) is None


def test_skipped_nodes_and_items_are_kept_as_such() -> None:
    """A branch not taken took no time, and of a map it matters how many items it had."""
    world = Told(
        graph(
            mapped(graph(node("w", SetSpec(values=1))), [1, 2, 3]),
            node("check", IfSpec(condition=True), "each"),
            node("no", SetSpec(values=1), "check.false"),
        )
    )
    world.begin()

    assert times_of(world.state) == times(each=(0, 3), check=0, no=None, total_ms=0)


def test_nodes_that_take_no_time_are_no_division_by_zero() -> None:
    """All medians are 0 where every node is quicker than a millisecond."""
    found = estimates_of(Told(CHAIN).state.root.plan, [times(a=0, b=0, c=0, total_ms=0)] * 3)

    assert found is not None
    assert found.weights == {NodeId("a"): 1, NodeId("b"): 1, NodeId("c"): 1}
    assert MAIN not in found.weights


@st.composite
def any_history(draw: st.DrawFn, whole: Graph) -> list[RunTimes]:
    """Durations of some of its nodes in a few runs, as any former version of the definition could have left them."""
    time = st.one_of(st.none(), st.integers(0, 3000), st.tuples(st.integers(0, 3000), st.integers(1, 5)))
    names = [*(known.id for known in whole.nodes), NodeId("gone")]
    some, every = st.dictionaries(st.sampled_from(names), time), st.fixed_dictionaries(dict.fromkeys(names, time))
    nodes = draw(st.sampled_from([some, every, every]))
    run = st.builds(RunTimes, nodes=nodes, total_ms=st.none() | st.integers(0, 9000))
    return draw(st.lists(run, min_size=3, max_size=6))


@pytest.mark.behaviour(45, 46)
@settings(max_examples=300, deadline=None)
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_whatever_happens_progress_never_falls_nor_invents(data: st.DataObject, seed: int) -> None:
    """Any graph, any history, any order of events: percents rise, 100 means over, figures are no less than nothing, the
    journal folds to the same, and what is told between two percents is a second apart."""
    whole = data.draw(any_graph())
    history = data.draw(any_history(whole))
    world = Told(whole, *history)
    before = world.state
    live_through(world, seed)

    events = [(fact.at, fact.data) for fact in world.facts if isinstance(fact.data, Progress)]
    for at, told in events:
        assert told.done <= told.total <= len(whole.nodes)
        assert (told.percent == 100) == (told.done == told.total)
        assert (told.eta_ms is None) == (told.eta_p75_ms is None)
        assert told.eta_ms is None or told.eta_p75_ms is None or 0 <= told.eta_ms <= told.eta_p75_ms
        assert told.eta_ms is not None or not (told.overrun or told.excludes_people)
        assert at >= AT
    for (earlier, one), (later, other) in itertools.pairwise(events):
        assert one.percent <= other.percent
        assert one.percent < other.percent or later - earlier >= timedelta(seconds=1)
    facts = [to_fact(decode_event(number_fact(ExecutionId("e"), 1, fact).body)) for fact in world.facts]
    assert fold(before, facts).tally == world.state.tally
    assert fold(before, facts).progress == world.state.progress
