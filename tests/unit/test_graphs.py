"""Graphs: branches and joins, failures that are allowed for, bodies that run for each item, values that flow."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from execd.core.calls import cancelled, failed, succeeded
from execd.core.codec import decode_event, number_fact, to_fact
from execd.core.events import (
    EventData,
    ExecutionEnded,
    ExecutionId,
    Fact,
    NodeCompleted,
    NodeExpanded,
    NodeFailed,
    NodeId,
    NodeRetrying,
    NodeSkipped,
    NodeStarted,
    NodeTimedOut,
    Output,
    Progress,
    ResultStored,
    Status,
    StopMode,
    Stream,
)
from execd.core.graph import Graph, Need, Node, OnError, Pin
from execd.core.nodes import type_of
from execd.core.nodes.bodies import CallSpec, MapSpec
from execd.core.nodes.conditions import IfSpec, SwitchSpec
from execd.core.nodes.http_call import HttpSpec
from execd.core.nodes.llm import LlmSpec
from execd.core.nodes.scripts import StepSpec
from execd.core.nodes.set_values import SetSpec
from execd.core.nodes.waiting import WaitSpec
from execd.core.outcome import ExitRecord, Limiter, classify
from execd.core.signals import (
    CallReturned,
    DeltaArrived,
    InputProvided,
    Lost,
    OutputArrived,
    PauseAsked,
    ResumeAsked,
    StopAsked,
    TimerDue,
)
from execd.core.specs import RetryPolicy
from execd.core.state import fold
from execd.core.transitions import Phase
from tests.unit.test_machine import AT, FAILURE, LOST, SUCCESS, YES_OR_NO, World, needs_of, queued, script

WORK = StepSpec(script=script())
FETCH = HttpSpec(url="https://example.com")
ASK_MODEL = LlmSpec(base_url="https://example.com/v1", model="m", prompt="hi")
KILLED = classify(ExitRecord(signal=9, cancelled=True))
CALL_ENDS = (
    succeeded({"status": 200}),
    failed("http", "status", "busy", is_final=False, retry_after_s=3.0),
    failed("http", "status", "not there", is_final=True),
    failed("http", "timeout", "late", is_final=False, was_cut_off=True),
    cancelled(),
)


def node(name: str, spec: Any, needs: str = "", *, body: Graph | None = None, **more: Any) -> Node:
    return Node(
        id=NodeId(name), type=type_of(spec).name, label=name, spec=spec, needs=needs_of(needs), body=body, **more
    )


def graph(*nodes: Node, **more: Any) -> Graph:
    return Graph(nodes=nodes, **more)


def run(whole: Graph) -> World:
    """Run a graph of nodes that have no effects to its end."""
    world = World(whole)
    world.begin()
    return world


def told(world: World, kind: type[EventData]) -> list[NodeId | None]:
    return [fact.node for fact in world.facts if isinstance(fact.data, kind)]


@pytest.mark.parametrize(("condition", "taken", "other"), [("{{ 1 < 2 }}", "yes", "no"), (False, "no", "yes")])
@pytest.mark.behaviour(50)
def test_an_if_takes_one_side_and_the_other_is_skipped(condition: Any, taken: str, other: str) -> None:
    """What is passed by is skipped, to the end of its path, and the join runs with the side that was taken."""
    world = run(
        graph(
            node("check", IfSpec(condition=condition)),
            node("yes", SetSpec(values="yes"), "check.true"),
            node("no", SetSpec(values="no"), "check.false"),
            node("after_yes", SetSpec(values=1), "yes"),
            node("after_no", SetSpec(values=1), "no"),
            node("join", SetSpec(values="joined"), "after_yes after_no"),
        )
    )

    assert world.result.status is Status.COMPLETED
    assert told(world, NodeSkipped) == [other, f"after_{other}"]
    assert set(world.result.outputs) == {"check", taken, f"after_{taken}", "join"}
    skipped = {found.id: found.reason for found in world.result.nodes if found.status == "skipped"}
    assert skipped == dict.fromkeys((other, f"after_{other}"), "branch_not_taken")


def test_a_condition_that_is_neither_true_nor_false_fails() -> None:
    """`"false"` is a text, and no text is true: guessing would run the wrong side."""
    world = run(graph(node("check", IfSpec(condition="{{ 'false' }}")), node("yes", SetSpec(values=1), "check.true")))

    assert world.result.status is Status.FAILED
    assert world.result.error is not None
    assert "gave text" in world.result.error.message


@pytest.mark.parametrize(("value", "port"), [("a", "first"), (2, "second"), (True, "default")])
@pytest.mark.behaviour(50)
def test_a_switch_takes_the_port_of_the_first_equal_case(value: Any, port: str) -> None:
    """And the default when none is; `true` is not 1."""
    world = run(
        graph(
            node("route", SwitchSpec(value=value, cases={"first": "a", "second": 2, "third": 1})),
            *(node(name, SetSpec(values=name), f"route.{name}") for name in ("first", "second", "third", "default")),
        )
    )

    assert [name for name in world.result.outputs if name != "route"] == [port]


def test_values_flow_along_the_graph() -> None:
    """A node sees what those before it gave, the input and the constants, with their types."""
    world = run(
        graph(
            node("one", SetSpec(values={"n": 20, "list": [1, 2]})),
            node("two", SetSpec(values={"sum": "{{ nodes.one.output.n + input.k + vars.c }}"}), "one"),
            input={"k": 1},
            vars={"c": 0.5},
        )
    )

    assert world.result.outputs["two"] == {"sum": 21.5}


@pytest.mark.behaviour(52)
def test_a_value_that_cannot_be_made_fails_its_node() -> None:
    """A typo is a failure with its reason, never an empty text."""
    world = run(graph(node("a", SetSpec(values="{{ input.nope }}")), node("b", SetSpec(values=1), "a"), input={}))

    assert world.result.status is Status.FAILED
    assert world.result.nodes[1].status == "not_run"


def test_a_failure_that_may_continue_gives_its_error() -> None:
    """`continue`: what follows runs, and finds the error as the output; the failed node stays failed."""
    world = World(
        graph(
            node("work", WORK, on_error=OnError.CONTINUE),
            node("after", SetSpec(values="{{ nodes.work.output.error.code }}"), "work"),
        )
    )
    world.begin()
    world.exit(FAILURE, NodeId("work"))

    assert world.result.status is Status.COMPLETED
    assert world.result.outputs == {"after": "exit"}
    assert world.result.nodes[0].status == "failed"


@pytest.mark.parametrize(("outcome", "ran"), [(FAILURE, "mend"), (SUCCESS, "go_on")])
def test_a_failure_may_take_a_branch_of_its_own(outcome: Any, ran: str) -> None:
    """`branch`: exactly one of the two sides runs."""
    world = World(
        graph(
            node("work", WORK, on_error=OnError.BRANCH),
            node("go_on", SetSpec(values=1), "work"),
            node("mend", SetSpec(values=1), "work.error"),
        )
    )
    world.begin()
    world.exit(outcome, NodeId("work"))

    assert world.result.status is Status.COMPLETED
    assert set(world.result.outputs) - {"work"} == {ran}


@pytest.mark.parametrize("choice", list(OnError))
def test_a_defect_of_execd_fails_the_whole_whatever_its_node_says(choice: OnError) -> None:
    """What a node does about failures of its own is no answer to a crash of what runs it."""
    body = graph(node("w", WORK, on_error=choice))
    world = World(graph(mapped(body, [1, 2], on_item_error="continue"), node("after", WORK, "each")))
    world.begin()
    world.hear(Lost(at=AT, code="internal_error"))

    assert world.result.status is Status.FAILED
    assert world.result.error is not None
    assert world.result.error.code == "internal_error"
    assert "after" not in told(world, NodeStarted)


def test_a_defect_while_nothing_of_a_body_has_begun_ends_it_too() -> None:
    """A map that is expanded while nobody may start has no node that could fail; the next one does in its place."""
    world = World(graph(mapped(graph(node("a", WaitSpec(seconds=1)), node("w", WORK, "a")), [1])))
    world.begin()
    world.hear(PauseAsked(at=AT, by="u"))
    world.fire(NodeId("each[0]/a"), 1)
    world.hear(Lost(at=AT, code="internal_error"))

    assert world.result.status is Status.FAILED


def test_a_defect_before_the_beginning_starts_no_pinned_node() -> None:
    """What is known already never runs, also where a node is needed that can fail."""
    world = World(graph(node("a", WORK), node("b", WORK, "a"), pins={NodeId("a"): Pin(output=1)}))
    world.hear(Lost(at=AT, code="internal_error"))

    assert world.result.status is Status.FAILED
    assert told(world, NodeStarted) == ["b"]


def test_a_failure_stops_the_rest_and_lets_what_runs_finish() -> None:
    """`stop`, the default: nothing more starts, and the execution fails with that node's failure."""
    world = World(graph(node("a", WORK), node("b", WORK), node("c", WORK, "a"), node("pause", WaitSpec(seconds=1e6))))
    world.begin()
    world.exit(FAILURE, NodeId("b"))
    assert world.state.phase is Phase.RUNNING
    world.exit(SUCCESS, NodeId("a"))

    assert world.result.status is Status.FAILED
    assert {n.id: n.status for n in world.result.nodes} == {
        "a": "completed",
        "b": "failed",
        "c": "not_run",
        "pause": "failed",
    }
    assert world.result.error is not None
    assert world.result.error.code == "exit"


@pytest.mark.behaviour(39)
def test_a_failure_is_retried_only_if_its_policy_says_so() -> None:
    """`on_failure`: a script that exits with 3 may be tried again; the last failure counts."""
    world = World(graph(node("w", WORK, retry=RetryPolicy(retries=2, delay_s=1.0, on_failure=True))))
    world.begin()
    for attempt in (1, 2):
        world.exit(FAILURE, NodeId("w"), attempt)
        world.fire(NodeId("w"), attempt)
    world.exit(FAILURE, NodeId("w"), 3)

    assert world.result.status is Status.FAILED
    assert world.result.nodes[0].attempts == 3
    delays = [f.data.retry_at - f.at for f in world.facts if isinstance(f.data, NodeRetrying)]
    assert delays == [timedelta(seconds=1), timedelta(seconds=2)]


def test_the_output_of_a_step_is_its_last_line_as_json() -> None:
    """What a script prints last is what the next node reads; other text stays text."""
    world = World(graph(node("w", WORK), node("after", SetSpec(values="{{ nodes.w.output.result.n + 1 }}"), "w")))
    world.begin()
    world.hear(
        OutputArrived(
            at=AT, node=NodeId("w"), attempt=1, output=Output(stream=Stream.STDOUT, offset=0, text='hi\n{"n": 41}\n')
        )
    )
    world.exit(SUCCESS, NodeId("w"))

    assert world.result.outputs["after"] == 42
    assert world.result.outputs["w"] == {"result": {"n": 41}, "stdout": 'hi\n{"n": 41}\n', "exit_code": 0}


@pytest.mark.behaviour(27)
@pytest.mark.parametrize(("depth", "is_kept"), [(100, True), (101, False), (100_000, False)])
def test_a_last_line_nested_deeper_than_can_be_kept_is_only_text(depth: int, is_kept: bool) -> None:
    """A program may print what it likes: it is no defect of execd, and the next node reads it as it was written."""
    text = "[" * depth + "]" * depth
    world = World(graph(node("w", WORK), node("after", SetSpec(values="{{ nodes.w.output.stdout }}"), "w")))
    world.begin()
    output = Output(stream=Stream.STDOUT, offset=0, text=text)
    world.hear(OutputArrived(at=AT, node=NodeId("w"), attempt=1, output=output))
    world.exit(SUCCESS, NodeId("w"))

    assert world.result.outputs["after"] == text
    assert (world.result.outputs["w"]["result"] is not None) is is_kept


def mapped(body: Graph, items: Any, needs: str = "", **more: Any) -> Node:
    return node("each", MapSpec(items=items, **more), needs, body=body)


def test_a_map_gives_a_list_in_the_order_of_its_items() -> None:
    """Each item has a run of the body of its own, named by its index."""
    body = graph(
        node("double", SetSpec(values="{{ item * 2 }}")),
        node("last", SetSpec(values="{{ nodes.double.output + index }}"), "double"),
    )
    world = run(graph(mapped(body, [1, 2, 3]), node("sum", SetSpec(values="{{ nodes.each.output }}"), "each")))

    assert world.result.outputs["each"] == [2, 5, 8]
    assert world.result.outputs["sum"] == [2, 5, 8]
    assert "each[2]/double" in told(world, NodeStarted)


def test_a_map_of_nothing_gives_nothing() -> None:
    """An empty list is a list."""
    assert run(graph(mapped(graph(node("x", SetSpec(values=1))), []))).result.outputs == {"each": []}


def test_a_map_has_no_more_items_under_way_than_it_may() -> None:
    """Concurrency is per map, within the parallelism of the whole."""
    world = World(graph(mapped(graph(node("w", WORK)), list(range(7)), concurrency=3)))
    world.begin()
    assert [name for name, _ in world.started] == ["each[0]/w", "each[1]/w", "each[2]/w"]

    world.exit(SUCCESS, NodeId("each[1]/w"))
    world.prepare_launched()

    assert world.started[-1] == ("each[3]/w", 1)
    assert len(world.state.running) == 3


@pytest.mark.parametrize("policy", ["stop", "continue"])
def test_a_failed_item_stops_a_map_or_is_one_more_value(policy: str) -> None:
    """`stop`: the map fails with that item's failure and index, and no further item begins; `continue`: a list with the
    error in its place."""
    world = World(graph(mapped(graph(node("w", WORK)), [10, 11, 12], concurrency=2, on_item_error=policy)))
    world.begin()
    world.exit(FAILURE, NodeId("each[0]/w"))
    world.prepare_launched()
    world.exit(SUCCESS, NodeId("each[1]/w"))
    world.prepare_launched()
    if policy == "continue":
        world.exit(SUCCESS, NodeId("each[2]/w"))
        assert world.result.status is Status.COMPLETED
        assert world.result.outputs["each"][0]["error"]["code"] == "exit"
        assert world.result.outputs["each"][2]["exit_code"] == 0
    else:
        assert world.result.status is Status.FAILED
        assert world.result.error is not None
        assert world.result.error.details["item"] == 0
        assert "each[2]/w" not in told(world, NodeStarted)


def test_a_workflow_in_a_workflow_has_its_own_input_and_nodes() -> None:
    """What happens inside is told in the same stream, under the node's name; its output is that of its last node."""
    inner = graph(
        node("a", SetSpec(values="{{ input.x }}")), node("b", SetSpec(values="{{ nodes.a.output + 1 }}"), "a")
    )
    world = run(
        graph(
            node("a", SetSpec(values=100)),
            node("sub", CallSpec(input={"x": "{{ nodes.a.output }}"}), "a", body=inner),
            node("after", SetSpec(values="{{ nodes.sub.output }}"), "sub"),
        )
    )

    assert world.result.outputs["after"] == 101
    assert "sub/b" in told(world, NodeCompleted)


def test_bodies_may_be_nested_in_bodies() -> None:
    """A map in a workflow in a map: indices say where."""
    innermost = graph(node("x", SetSpec(values="{{ item }}")))
    middle = graph(node("inner", MapSpec(items="{{ input }}"), body=innermost))
    world = run(graph(mapped(graph(node("call", CallSpec(input="{{ item }}"), body=middle)), [[1, 2], [3]])))

    assert world.result.outputs["each"] == [[1, 2], [3]]
    assert "each[0]/call/inner[1]/x" in told(world, NodeCompleted)


@pytest.mark.parametrize("mode", [StopMode.CANCEL, StopMode.INTERRUPT])
@pytest.mark.behaviour(33)
def test_a_stop_reaches_into_bodies(mode: StopMode) -> None:
    """Cancel kills what runs in a body; interrupt lets it finish; either way every started node has an end."""
    world = World(graph(mapped(graph(node("w", WORK), node("after", WORK, "w")), [1, 2, 3], concurrency=2)))
    world.begin()
    world.hear(StopAsked(at=AT, by="u", mode=mode))
    assert world.stopped == ({("each[0]/w", 1), ("each[1]/w", 1)} if mode is StopMode.CANCEL else set())
    world.exit(SUCCESS, NodeId("each[0]/w"))
    world.exit(SUCCESS, NodeId("each[1]/w"))

    assert world.result.status is (Status.CANCELLED if mode is StopMode.CANCEL else Status.INTERRUPTED)
    ended = {*told(world, NodeCompleted), *told(world, NodeFailed)}
    assert set(told(world, NodeStarted)) == ended


@pytest.mark.parametrize("first", [WORK, SetSpec(values=1)])
def test_an_item_that_never_ran_is_no_result(first: Any) -> None:
    """Interrupted while all its items stand in line for a place, or one of their nodes does: nothing is said to have succeeded."""
    body = graph(node("first", first), node("w", WORK, "first"))
    world = World(graph(node("long", WORK), mapped(body, [1, 2], concurrency=2), parallelism=1))
    world.begin()
    world.hear(StopAsked(at=AT, by="u", mode=StopMode.INTERRUPT))
    world.exit(SUCCESS, NodeId("long"))

    assert told(world, NodeCompleted) == (["long"] if first is WORK else ["each[0]/first", "each[1]/first", "long"])
    assert world.result.status is Status.INTERRUPTED


def test_a_body_that_never_ran_did_not_succeed_beside_a_failure() -> None:
    """Run again from what failed, it must run: nothing came of it."""
    call = node("part", CallSpec(), body=graph(node("w", WORK)))
    world = World(graph(node("long", WORK), call, parallelism=1))
    world.begin()
    world.exit(FAILURE, NodeId("long"))

    assert told(world, NodeCompleted) == []
    assert {each.id: each.status for each in world.result.nodes} == {"long": "failed", "part": "failed"}


def test_a_body_whose_time_is_over_is_stopped_and_fails() -> None:
    """What runs in it is killed, what waits is cut short, and the end is a timeout; the rest of the graph was told how to go on."""
    body = graph(node("w", WORK), node("ask", YES_OR_NO), node("after", WORK, "w"))
    each = mapped(body, [1, 2], concurrency=2, timeout_s=5.0)
    world = World(graph(each, node("late", SetSpec(values=1), "each")))
    world.begin()
    world.now = AT + timedelta(seconds=5)
    world.fire(NodeId("each"))
    assert world.stopped == {("each[0]/w", 1), ("each[1]/w", 1)}
    world.exit(KILLED, NodeId("each[0]/w"))
    world.exit(KILLED, NodeId("each[1]/w"))

    assert world.result.status is Status.TIMEOUT
    assert world.result.error is not None
    assert (world.result.error.code, world.result.error.message) == (
        "limit:wall",
        "It ran longer than its timeout of 5 s.",
    )
    assert set(told(world, NodeSkipped)) == {"each[0]/after", "each[1]/after", "late"}


def test_a_pod_that_comes_when_the_time_is_over_is_stopped_at_once() -> None:
    """It was being prepared while the body's time ended."""
    world = World(graph(mapped(graph(node("w", WORK)), [1], timeout_s=5.0)))
    world.hear_begin_only()
    world.hear(TimerDue(at=AT + timedelta(seconds=5), node=NodeId("each"), attempt=1))
    world.stopped.clear()
    world.prepare_launched()

    assert world.stopped == {("each[0]/w", 1)}


def test_an_item_that_took_too_long_itself_stops_no_other() -> None:
    """Its own limit is no timeout of the body: what is under way beside it finishes."""
    world = World(graph(mapped(graph(node("w", WORK)), [1, 2], concurrency=2)))
    world.hear_begin_only()
    late = world.launched.pop()
    world.prepare_launched()
    world.exit(classify(ExitRecord(signal=9, limiter=Limiter.WALL, configured=1, observed=1)), NodeId("each[0]/w"))
    world.launched.append(late)
    world.prepare_launched()

    assert world.stopped == set()


def test_the_end_of_a_bodys_time_is_told_once() -> None:
    """Also where the timer was set anew, after a loss, and what it stopped is not over."""
    each = mapped(graph(node("w", WORK)), [1], timeout_s=5.0)
    world = World(graph(each))
    world.begin()
    for _ in range(2):
        world.fire(NodeId("each"))

    assert told(world, NodeTimedOut) == ["each"]


def test_the_time_of_a_body_goes_on_after_a_loss() -> None:
    """The timer was in memory; the journal says when it is due."""
    world = World(graph(mapped(graph(node("ask", YES_OR_NO)), [1], timeout_s=5.0)))
    world.begin()
    world.timers.clear()
    world.hear(Lost(at=AT, code="worker_lost"))
    assert ("each", 1) in world.timers
    world.fire(NodeId("each"))

    assert world.result.status is Status.TIMEOUT


def test_a_body_that_is_over_in_time_is_not_stopped() -> None:
    """Its timer fires for nobody."""
    world = World(graph(mapped(graph(node("w", WORK)), [1], timeout_s=5.0), node("next", WORK, "each")))
    world.begin()
    world.exit(SUCCESS, NodeId("each[0]/w"))
    world.fire(NodeId("each"))
    world.exit(SUCCESS, NodeId("next"))

    assert world.result.status is Status.COMPLETED


def test_a_workflow_has_a_timeout_of_its_own() -> None:
    """Waits and questions count; a cancel that came first stays a cancel."""
    whole = graph(node("ask", YES_OR_NO), node("w", WORK), timeout_s=9.0)
    world = World(whole)
    world.begin()
    world.fire(NodeId(""), attempt=0)
    assert world.stopped == {("w", 1)}
    world.hear(StopAsked(at=AT, by="u", mode=StopMode.CANCEL))
    world.exit(KILLED, NodeId("w"))
    assert world.result.status is Status.TIMEOUT

    world = World(whole)
    world.begin()
    world.hear(StopAsked(at=AT, by="u", mode=StopMode.CANCEL))
    world.fire(NodeId(""), attempt=0)
    world.exit(KILLED, NodeId("w"))
    assert world.result.status is Status.CANCELLED


def test_an_item_that_fails_a_map_leaves_no_question_open() -> None:
    """Nobody needs the answer any more; what runs of other items finishes, and nothing more of them starts."""
    body = graph(
        node("check", IfSpec(condition="{{ item == 0 }}")),
        node("w", WORK, "check.true"),
        node("ask", YES_OR_NO, "check.false"),
        node("after", WORK, "ask"),
    )
    world = World(graph(mapped(body, [0, 1], concurrency=2)))
    world.begin()
    world.exit(FAILURE, NodeId("each[0]/w"))

    assert world.result.status is Status.FAILED
    assert world.result.error is not None
    assert world.result.error.code == "exit"
    assert "each[1]/after" in told(world, NodeSkipped)


def test_the_outputs_of_a_result_have_a_limit_together() -> None:
    """The last node's is what people look for; who finds no room is named, and the journal has it."""
    large = "x" * 1_000_000
    chain = [node(f"n{i}", SetSpec(values=large), f"n{i - 1}" if i else "") for i in range(12)]
    world = run(graph(*chain))

    assert "n11" in world.result.outputs
    assert set(world.result.outputs) | set(world.result.omitted_outputs) == {f"n{i}" for i in range(12)}
    assert len(world.result.omitted_outputs) == 4
    assert len(number_fact(ExecutionId("e"), 1, world.facts[-1]).body) < 9_000_000


@pytest.mark.behaviour(47)
def test_pinned_nodes_do_not_run() -> None:
    """A retry from a node takes what those before it gave, and says so."""
    world = run(
        graph(
            node("a", WORK),
            node("check", IfSpec(condition=True), "a"),
            node("b", SetSpec(values="{{ nodes.a.output.n }}"), "check.false"),
            pins={NodeId("a"): Pin(output={"n": 7}), NodeId("check"): Pin(output={"result": False}, port="false")},
        )
    )

    assert world.result.outputs["b"] == 7
    assert told(world, NodeStarted) == ["b"]
    pinned = [fact.node for fact in world.facts if isinstance(fact.data, NodeCompleted) and fact.data.pinned]
    assert pinned == ["a", "check"]


def test_progress_is_told_and_never_falls() -> None:
    """Done over total of the graph's own nodes, skipped ones included."""
    world = run(graph(*(node(f"n{i}", SetSpec(values=i), f"n{i - 1}" if i else "") for i in range(8))))

    told_percents = [fact.data.percent for fact in world.facts if isinstance(fact.data, Progress)]
    assert told_percents == sorted(told_percents)
    assert told_percents[-1] == 100


def test_a_large_graph_is_done_in_steps() -> None:
    """Thousands of nodes without effects neither fill one write nor keep a cancel from being heard."""
    world = World(
        graph(node("root", SetSpec(values=0)), *(node(f"n{i}", SetSpec(values=i), "root") for i in range(2000)))
    )
    world.hear_begin_only()
    assert world.proceeds == 1
    assert world.state.head_seq < 1000
    world.hear(StopAsked(at=AT, by="u", mode=StopMode.CANCEL))

    assert world.result.status is Status.CANCELLED


def test_progress_is_told_between_the_steps_of_a_large_graph() -> None:
    """Whoever watches thousands of nodes sees how far they are."""
    world = run(
        graph(node("n0", SetSpec(values=0)), *(node(f"n{i}", SetSpec(values=i), f"n{i - 1}") for i in range(1, 1000)))
    )
    told = [fact.data.percent for fact in world.facts if isinstance(fact.data, Progress)]

    assert len(told) >= 10
    assert told == sorted(set(told))
    assert told[-1] == 100


@st.composite
def any_graph(draw: st.DrawFn, depth: int = 2) -> Graph:
    """Any DAG of a few nodes of any type, with bodies."""
    nodes: list[Node] = []
    for index in range(draw(st.integers(1, 5 if depth == 2 else 3))):
        earlier = sorted(draw(st.sets(st.integers(0, index - 1), max_size=3))) if nodes else []
        needs = tuple(Need(nodes[i].id, draw(st.sampled_from(_ports(nodes[i])))) for i in earlier)
        kinds = [
            WORK,
            WORK,
            SetSpec(values=1),
            IfSpec(condition=True),
            WaitSpec(seconds=1.0),
            YES_OR_NO,
            FETCH,
            ASK_MODEL,
        ]
        spec = draw(st.sampled_from([*kinds, "map", "call"] if depth else kinds))
        body = None
        if spec == "map":
            policy = draw(st.sampled_from(["stop", "continue"]))
            items = list(range(draw(st.integers(0, 3))))
            timeout_s = draw(st.sampled_from([None, 2.0]))
            concurrency = draw(st.integers(1, 3))
            spec = MapSpec(items=items, concurrency=concurrency, on_item_error=policy, timeout_s=timeout_s)
        elif spec == "call":
            spec = CallSpec(input=1, timeout_s=draw(st.sampled_from([None, 2.0])))
        if isinstance(spec, MapSpec | CallSpec):
            body = draw(any_graph(depth=depth - 1))
        retries = draw(st.integers(0, 1)) if body is None else 0
        retry = RetryPolicy(retries=retries, on_failure=draw(st.booleans()), on_lost=draw(st.booleans()))
        on_error = draw(st.sampled_from(list(OnError)))
        nodes.append(
            Node(
                id=NodeId(f"n{index}"),
                type=type_of(spec).name,
                label="l",
                spec=spec,
                needs=needs,
                retry=retry,
                on_error=on_error,
                body=body,
            )
        )
    timeout_s = draw(st.sampled_from([None, None, 20.0])) if depth == 2 else None
    return Graph(nodes=tuple(nodes), parallelism=draw(st.integers(1, 3)), timeout_s=timeout_s)


def _ports(earlier: Node) -> list[str]:
    return ["out", "error", *type_of(earlier.spec).ports(earlier.spec)]


def live_through(world: World, seed: int) -> None:
    """Have anything happen that the world could make, in any order, until the execution is over."""
    rng = random.Random(seed)
    world.begin()
    world.has_slots = False
    for _ in range(3000):
        if world.state.phase is Phase.STORED:
            return
        world.now += timedelta(milliseconds=rng.randrange(1000))
        if rng.random() < 0.3:
            world.grant()
        _anything(world, rng)
        world.prepare_launched()
        world.go_on()
    pytest.fail("the execution did not end")


@settings(max_examples=400, deadline=None)
@given(whole=any_graph(), seed=st.integers(0, 2**32))
@pytest.mark.behaviour(4, 6)
def test_any_graph_in_any_world_comes_to_one_end(whole: Graph, seed: int) -> None:
    """Signals in any order the world could make: no missing row, every started node has an end, one end of the whole, and
    the journal folds to the same state."""
    world = World(whole)
    live_through(world, seed)

    assert len([f for f in world.facts if isinstance(f.data, ExecutionEnded)]) == 1
    assert isinstance(world.facts[-1].data, ResultStored)
    assert len(world.started) == len(set(world.started))
    calls = [(order.node, order.attempt) for order in world.calls]
    assert len(calls) == len(set(calls)), "no call is made twice in one attempt"
    begun = set(told(world, NodeStarted)) | set(told(world, NodeExpanded))
    assert begun <= set(told(world, NodeCompleted)) | set(told(world, NodeFailed))
    assert not set(told(world, NodeSkipped)) & begun
    assert set(world.state.scopes) == {""}
    head = world.state.head_seq - len(world.facts)
    stored = [number_fact(ExecutionId("e"), head + place, fact).body for place, fact in enumerate(world.facts, 1)]
    facts: list[Fact] = [to_fact(decode_event(body)) for body in stored]
    refolded = fold(queued(whole), facts)
    assert refolded.runs == world.state.runs
    assert refolded.ending == world.state.ending


def _anything(world: World, rng: random.Random) -> None:
    choice = rng.random()
    running = sorted((n, world.state.runs[n].attempt) for n in world.state.running)
    asking = [world.state.runs[n].asking for n in sorted(world.state.waiting)]
    if choice < 0.02:
        world.hear(StopAsked(at=world.now, by="u", mode=rng.choice([StopMode.CANCEL, StopMode.INTERRUPT])))
    elif choice < 0.08 and world.state.phase in {Phase.RUNNING, Phase.PAUSED}:
        world.hear(rng.choice([PauseAsked, ResumeAsked])(at=world.now, by="u"))
    elif choice < 0.1:
        world.lose_slot()
        world.hear(Lost(at=world.now, code="internal_error" if choice < 0.085 else "worker_lost"))
    elif choice < 0.3 and any(asking):
        asked = rng.choice([a for a in asking if a is not None])
        world.hear(InputProvided(at=world.now, by="u", prompt_id=asked.prompt_id, values={"go": "no"}))
    elif choice < 0.5 and world.timers:
        name, attempt = world.timers.pop(rng.randrange(len(world.timers)))
        world.fire(name, attempt)
    elif running:
        name, attempt = rng.choice(running)
        if isinstance(world.state.planned(name).node.spec, HttpSpec | LlmSpec):
            delta = DeltaArrived(at=world.now, node=name, attempt=attempt, delta="x")
            end = CallReturned(at=world.now, node=name, attempt=attempt, result=rng.choice(CALL_ENDS))
            world.hear(rng.choice([delta, end]))
            return
        world.exit(rng.choice([SUCCESS, SUCCESS, SUCCESS, FAILURE, LOST]), name, attempt)
    elif world.state.phase is Phase.PAUSED:
        world.hear(ResumeAsked(at=world.now, by="u"))
