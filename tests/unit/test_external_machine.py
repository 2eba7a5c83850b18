"""An engine elsewhere, followed: what it reports becomes facts that are never taken back, and no spinner is left."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from execd.core.codec import decode_event, number_fact, to_fact
from execd.core.errors import ConflictError, InvalidRequestError
from execd.core.event_types import TYPE_NAMES
from execd.core.events import (
    DeclaredNode,
    ExecutionEnded,
    ExecutionId,
    ExecutionQueued,
    ExecutionRequested,
    Fact,
    NodeCompleted,
    NodeFailed,
    NodeId,
    NodeSkipped,
    NodeStarted,
    Progress,
    ResultStored,
    Status,
    StopMode,
)
from execd.core.external import MAX_EXTERNAL_NODES, ExternalSpec, external_graph, parse_external
from execd.core.job_reports import (
    EndReport,
    JobReport,
    NodeReport,
    ProgressReport,
    ReportedEnd,
    ReportedNode,
    parse_callback,
    parse_progress,
)
from execd.core.machine import step
from execd.core.signals import (
    Begin,
    InputProvided,
    Lost,
    PauseAsked,
    Record,
    Reported,
    ResumeAsked,
    SetTimer,
    Signal,
    StopAsked,
    TimerDue,
)
from execd.core.state import State, fold, new_state
from execd.core.workflows import decode_spec, encode_spec, graph_of
from tests.unit.test_machine import AT

KEYS = {"job_id": "3f1c7c4e-3c3e-4a52-9b1b-0a3d1f0f0a11", "callback_token": "a" * 64}


class Followed:
    """A machine that follows an engine, and every fact it told."""

    def __init__(self, *nodes: str, **fields: Any) -> None:
        declared = tuple(DeclaredNode(id=NodeId(name), label=name.title(), type="http") for name in nodes)
        self.spec = ExternalSpec(nodes=declared, **fields)
        requested = ExecutionRequested(kind="external", name="n", user="u", workspace="w")
        self.facts = [Fact(data=requested, at=AT), Fact(data=ExecutionQueued(position=0, ahead=0), at=AT)]
        self.state = fold(self.fresh(), self.facts)
        self.timers: list[SetTimer] = []
        self.at = AT
        self.hear(Begin(at=AT, runner="local", started_from="cold"))

    def fresh(self) -> State:
        return new_state(external_graph(self.spec))

    def hear(self, signal: Signal) -> list[str]:
        self.state, orders = step(self.state, signal)
        told: list[Fact] = []
        for order in orders:
            match order:
                case Record(facts=facts):
                    told.extend(facts)
                case SetTimer():
                    self.timers.append(order)
                case other:
                    raise AssertionError(f"nothing is done here: {other}")
        self.facts += told
        return [TYPE_NAMES[type(fact.data)] + (f" {fact.node}" if fact.node else "") for fact in told]

    def report(self, report: JobReport, *, after_s: float = 0) -> list[str]:
        self.at += timedelta(seconds=after_s)
        return self.hear(Reported(at=self.at, report=report))

    def progress(self, progress: int, node: str | None = None, **fields: Any) -> list[str]:
        return self.report(ProgressReport(progress=progress, node=None if node is None else NodeId(node), **fields))

    def end(self, status: str, *nodes: NodeReport) -> list[str]:
        return self.report(EndReport(status=ReportedEnd(status), nodes=nodes))

    @property
    def result(self) -> ResultStored:
        data = self.facts[-1].data
        assert isinstance(data, ResultStored)
        return data


def node(name: str, status: str, **fields: Any) -> NodeReport:
    return NodeReport(id=NodeId(name), status=ReportedNode(status), label=name, type="http", **fields)


def test_what_linkflows_engine_sends_after_a_node_ends_the_node() -> None:
    """80 went well, 50 failed: a viewer sees it at once and not in one burst at the end."""
    engine = Followed("a", "b")

    assert engine.progress(80, "a") == ["node_started a", "node_completed a", "progress"]
    assert engine.progress(50, "b") == ["node_started b", "node_failed b", "progress"]
    assert engine.end("failed") == ["execution_failed", "result_stored"]
    assert [(found.id, found.status) for found in engine.result.nodes] == [("a", "completed"), ("b", "failed")]


def test_any_other_number_begins_a_node_and_says_how_far_the_whole_is() -> None:
    """Engines that report before a node are understood too."""
    engine = Followed()

    assert engine.progress(10, "a") == ["nodes_declared", "node_started a", "progress"]
    assert engine.progress(10, "a") == []
    assert engine.progress(80, "a") == ["node_completed a"]


def test_where_numbers_are_percentages_none_ends_a_node() -> None:
    """A run that is half done has not failed."""
    engine = Followed("a", progress="percent")

    assert engine.progress(50, "a") == ["node_started a", "progress"]
    assert engine.progress(80, "a") == ["progress"]
    assert engine.end("completed", node("a", "completed"))[0] == "node_completed a"


@pytest.mark.parametrize("progress", [0, 10, 49, 50, 79, 80, 100])
@pytest.mark.behaviour(57)
def test_a_stale_report_changes_nothing_after_a_nodes_end(progress: int) -> None:
    """A late start must not bring a spinner back, nor a late failure turn a success."""
    engine = Followed("a")
    engine.progress(60)
    engine.progress(80, "a")

    told = engine.progress(progress, "a")

    assert told == []


def test_where_nodes_are_counted_a_low_number_still_begins_one() -> None:
    """Two of three are over, and an engine that says 10 at each start is not late."""
    engine = Followed("a", "b", "c")
    engine.progress(80, "a")
    engine.progress(80, "b")

    assert engine.progress(10, "c") == ["node_started c"]
    assert engine.progress(50, "c") == ["node_failed c", "progress"]
    assert [fact.data.percent for fact in engine.facts if isinstance(fact.data, Progress)] == [33, 66, 100]


@pytest.mark.behaviour(57)
def test_progress_never_falls() -> None:
    """Messages overtake one another on the way."""
    engine = Followed()
    for progress in (10, 40, 20, 40, 39, 41):
        engine.progress(progress)

    assert [fact.data.percent for fact in engine.facts if isinstance(fact.data, Progress)] == [10, 40, 41]
    assert engine.progress(5, "late") == []


def test_a_callback_tells_each_node_and_the_end_in_one_step() -> None:
    """What one report says is stored as one, or not at all."""
    engine = Followed("a", "b", "c")
    engine.progress(10, "a")

    told = engine.end(
        "completed",
        node("a", "completed", output={"k": 1}, duration_ms=1500),
        node("b", "skipped"),
        node("x", "completed", output=[1]),
        node("c", "pending"),
    )

    assert told == [
        "nodes_declared",
        "node_completed a",
        "node_skipped b",
        "node_started x",
        "node_completed x",
        "progress",
        "node_skipped c",
        "execution_completed",
        "result_stored",
    ]
    assert engine.result.outputs == {"a": {"k": 1}, "x": [1]}
    assert [(found.id, found.status, found.duration_ms) for found in engine.result.nodes][:1] == [
        ("a", "completed", 1500)
    ]


def test_an_output_that_comes_after_its_nodes_end_is_kept() -> None:
    """A progress report has no room for it; the callback brings it."""
    engine = Followed("a")
    engine.progress(80, "a")

    told = engine.end("completed", node("a", "completed", output={"k": 1}))

    assert told == ["outputs_reported", "execution_completed", "result_stored"]
    assert engine.result.outputs == {"a": {"k": 1}}


@pytest.mark.parametrize(("status", "code"), [("completed", "unreported"), ("failed", "cut_short")])
def test_a_node_whose_end_was_never_told_does_not_spin_on(status: str, code: str) -> None:
    """An unknown outcome is a failure of the node, never a success."""
    engine = Followed()
    engine.progress(10, "a")

    told = engine.end(status)

    assert told == ["node_failed a", f"execution_{status}", "result_stored"]
    assert engine.result.nodes[0].error is not None
    assert engine.result.nodes[0].error.code == code


def test_a_node_that_was_skipped_after_it_began_ends() -> None:
    """There is no way from running to skipped, and it must not run on."""
    engine = Followed("a")
    engine.progress(10, "a")

    assert engine.end("completed", node("a", "skipped"))[0] == "node_failed a"


def test_waiting_is_no_end() -> None:
    """An approval may take days; then the same execution goes on, and its journal with it."""
    engine = Followed("a", "b")

    assert engine.end("waiting", node("a", "running")) == ["node_started a", "node_waiting a"]
    assert engine.state.status is Status.WAITING_INPUT
    assert engine.end("waiting", node("a", "running")) == []
    assert engine.end("completed", node("a", "completed"), node("b", "completed"))[-2:] == [
        "execution_completed",
        "result_stored",
    ]


def test_an_engine_that_never_ends_is_timed_out() -> None:
    """Each accepted execution ends, whatever became of its engine; the time counts from the start."""
    engine = Followed("a", timeout_s=60.0)
    engine.progress(10, "a")
    (timer,) = engine.timers
    assert timer.due_at == AT + timedelta(seconds=60)

    told = engine.hear(TimerDue(at=timer.due_at, node=timer.node, attempt=timer.attempt))

    assert told == ["stop_requested", "node_failed a", "execution_timeout", "result_stored"]
    assert engine.result.status is Status.TIMEOUT


def test_a_cancel_ends_it_at_once_and_is_never_overwritten() -> None:
    """In LinkFlow a late callback overwrites a cancel."""
    engine = Followed("a", "b")
    engine.progress(10, "a")

    told = engine.hear(StopAsked(at=AT, by="u", mode=StopMode.CANCEL))

    assert told == ["stop_requested", "node_failed a", "node_skipped b", "execution_cancelled", "result_stored"]
    assert engine.end("completed", node("a", "completed")) == []
    assert engine.state.status is Status.CANCELLED


@pytest.mark.parametrize(
    "signal",
    [
        PauseAsked(at=AT, by="u"),
        ResumeAsked(at=AT, by="u"),
        StopAsked(at=AT, by="u", mode=StopMode.INTERRUPT),
        InputProvided(at=AT, by="u", prompt_id="p", values={}),
    ],
    ids=lambda signal: type(signal).__name__,
)
def test_what_nobody_here_can_do_is_refused(signal: Signal) -> None:
    """A pause that pauses nothing would be a lie."""
    engine = Followed("a")
    before = engine.state

    with pytest.raises(ConflictError, match="engine elsewhere"):
        engine.hear(signal)

    assert engine.state == before


def test_a_restart_of_execd_is_nothing_to_it() -> None:
    """Its engine is none of ours; only the timer is set again."""
    engine = Followed("a", timeout_s=60.0)
    engine.progress(10, "a")

    assert engine.hear(Lost(at=AT + timedelta(seconds=30), code="worker_lost")) == []
    assert engine.timers[0] == engine.timers[1]
    assert engine.hear(Lost(at=AT, code="internal_error"))[-2:] == ["execution_failed", "result_stored"]


def test_too_many_nodes_are_refused_whole() -> None:
    """One report is one step, so there is a most it may say."""
    engine = Followed(*(f"n{i}" for i in range(MAX_EXTERNAL_NODES)))
    before = engine.state

    with pytest.raises(InvalidRequestError):
        engine.end("completed", node("one_more", "completed"))
    assert engine.state == before
    assert engine.end("completed", node("n0", "completed"))[-1] == "result_stored"


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32))
def test_promises_hold_whatever_an_engine_says(seed: int) -> None:
    """Any reports in any order: every start has one end before the one terminal event, and recovery folds the same state."""
    rng = random.Random(seed)
    names = ["a", "b", "c", "d"]
    engine = Followed(*rng.sample(names, rng.randint(0, 4)), progress=rng.choice(["linkflow", "percent"]))
    for _ in range(rng.randint(0, 12)):
        if rng.random() < 0.7:
            engine.progress(rng.choice([0, 10, 50, 80, 100]), rng.choice([None, *names]))
        else:
            reports = [
                node(rng.choice(names), rng.choice(list(ReportedNode)), output=rng.choice([None, 1])) for _ in names
            ]
            engine.end(rng.choice(["waiting", "waiting", "waiting", "completed", "failed"]), *reports)
    if rng.random() < 0.5:
        engine.hear(StopAsked(at=AT, by="u", mode=StopMode.CANCEL))
    engine.end("completed")

    kinds = [type(fact.data) for fact in engine.facts]
    assert kinds[-1] is ResultStored
    assert sum(issubclass(kind, ExecutionEnded) for kind in kinds) == 1
    started = [fact.node for fact in engine.facts if isinstance(fact.data, NodeStarted)]
    ended = [fact.node for fact in engine.facts if isinstance(fact.data, NodeCompleted | NodeFailed)]
    skipped = [fact.node for fact in engine.facts if isinstance(fact.data, NodeSkipped)]
    assert len(started) == len(set(started))
    assert sorted(filter(None, started)) == sorted(filter(None, ended))
    assert len({*started, *skipped}) == len(started) + len(skipped) == len(engine.result.nodes)
    bodies = [number_fact(ExecutionId("e"), seq, fact).body for seq, fact in enumerate(engine.facts, start=1)]
    again = fold(
        new_state(graph_of(decode_spec(encode_spec(engine.spec), kind="external"), name="n")),
        (to_fact(decode_event(body)) for body in bodies),
    )
    assert (again.runs, again.phase, again.percent, again.head_seq) == (
        engine.state.runs,
        engine.state.phase,
        engine.state.percent,
        engine.state.head_seq,
    )


# --- bodies


def test_a_progress_report_is_read() -> None:
    """Unknown keys are an engine's own business."""
    attempt = {
        "connector_key": "http",
        "connector_operation": "get",
        "status": "server_error",
        "node_id": "a",
        "status_code": 503,
        "duration_ms": 12,
        "error_message": "down",
        "surprise": 1,
    }
    body = {
        **KEYS,
        "progress": 50,
        "current_node": "a",
        "connector_attempts": [attempt],
        "deterministic_fixtures": [{}],
    }

    message = parse_progress({**body, "surprise": {}})

    assert isinstance(message.report, ProgressReport)
    assert message.report.failure is not None
    assert (message.report.failure.code, message.report.failure.message) == ("engine:server_error", "down")
    assert message.report.duration_ms == 12


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"job_id": None}, "job_id"),
        ({"job_id": "7"}, "job_id"),
        ({"callback_token": "a" * 63}, "callback_token"),
        ({"callback_token": 7}, "callback_token"),
        ({"progress": 101}, "progress"),
        ({"progress": -1}, "progress"),
        ({"progress": "80"}, "progress"),
        ({"progress": True}, "progress"),
        ({"current_node": 7}, "current_node"),
        ({"current_node": "a/b"}, "current_node"),
        ({"current_node": "a" * 101}, "current_node"),
        ({"connector_attempts": {}}, "connector_attempts"),
        ({"connector_attempts": [{}]}, "connector_attempts[0].connector_key"),
        (
            {"connector_attempts": [{"connector_key": "k", "connector_operation": "o", "status": "odd"}]},
            "connector_attempts[0].status",
        ),
        (
            {
                "connector_attempts": [
                    {"connector_key": "k", "connector_operation": "o", "status": "success", "status_code": 99}
                ]
            },
            "connector_attempts[0].status_code",
        ),
        ({"deterministic_fixtures": "x"}, "deterministic_fixtures"),
    ],
)
def test_a_wrong_progress_report_is_told_by_field(changes: dict[str, Any], path: str) -> None:
    """An engine's author finds the field without guessing."""
    with pytest.raises(InvalidRequestError) as caught:
        parse_progress({**KEYS, "progress": 1, **changes})

    assert caught.value.faults[0].path == path


def test_a_progress_report_without_its_number_is_none() -> None:
    """It is the one thing it is for."""
    with pytest.raises(InvalidRequestError, match="progress is missing"):
        parse_progress(KEYS)


@pytest.mark.parametrize("body", [None, [], "x", 7])
def test_a_body_that_is_no_object_is_none(body: object) -> None:
    """JSON has other things."""
    with pytest.raises(InvalidRequestError):
        parse_progress(body)
    with pytest.raises(InvalidRequestError):
        parse_callback(body)


def test_a_callback_is_read_in_the_engines_order() -> None:
    """`sequence` is the order things happened in; the list need not be."""
    nodes = [
        {"node_id": "b", "node_type": "x", "status": "failed", "error": {"message": "no", "code": "E1"}, "sequence": 2},
        {
            "node_id": "a",
            "node_type": "x",
            "status": "completed",
            "node_name": "First",
            "started_at": "2026-02-18T10:30:00Z",
            "completed_at": "2026-02-18T10:30:01.250+00:00",
            "sequence": 1,
        },
        {"node_id": "c", "node_type": "x", "status": "failed", "error": "text", "sequence": 3},
    ]
    body = {
        **KEYS,
        "execution_id": 12,
        "status": "failed",
        "nodes": nodes,
        "error": {"message": "bad"},
        "duration_ms": 5,
    }

    message = parse_callback(body)

    assert message.execution_id == "12"
    assert isinstance(message.report, EndReport)
    assert [(found.id, found.label, found.duration_ms) for found in message.report.nodes] == [
        ("a", "First", 1250),
        ("b", "b", None),
        ("c", "c", None),
    ]
    failures = [found.failure for found in message.report.nodes]
    assert failures[1] is not None
    assert (failures[1].code, failures[1].message) == ("engine:E1", "no")
    assert message.report.failure is not None
    assert message.report.failure.message == "bad"


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"execution_id": None}, "execution_id"),
        ({"execution_id": True}, "execution_id"),
        ({"status": "done"}, "status"),
        ({"nodes": [{}]}, "nodes[0].node_id"),
        ({"nodes": [{"node_id": "a", "node_type": "x", "status": "odd"}]}, "nodes[0].status"),
        ({"nodes": [{"node_id": "a", "node_type": "x"}]}, "nodes[0].status"),
        ({"nodes": ["a"]}, "nodes[0]"),
    ],
)
def test_a_wrong_callback_is_told_by_field(changes: dict[str, Any], path: str) -> None:
    """As a progress report."""
    with pytest.raises(InvalidRequestError) as caught:
        parse_callback({**KEYS, "execution_id": "e", "status": "completed", **changes})

    assert path in [fault.path for fault in caught.value.faults]


@pytest.mark.parametrize("error", ["x" * 10_000, {"message": 7}, {"code": "a b"}, [1], 7, True, {"message": "\ud800"}])
def test_no_shape_of_error_is_refused(error: object) -> None:
    """What went wrong is told as well as it can be; a refusal would lose the end of a run."""
    message = parse_callback({**KEYS, "execution_id": "e", "status": "failed", "error": error})

    assert isinstance(message.report, EndReport)
    assert message.report.failure is not None
    assert 0 < len(message.report.failure.message) <= 4096


def test_an_output_too_large_for_a_journal_is_counted_and_said() -> None:
    """The run ends all the same, and nobody takes the mark for the value."""
    nodes = [{"node_id": "a", "node_type": "x", "status": "completed", "output": {"k": "x" * 1024 * 1024}}]

    message = parse_callback({**KEYS, "execution_id": "e", "status": "completed", "nodes": nodes})

    assert isinstance(message.report, EndReport)
    assert message.report.nodes[0].output == {"omitted_bytes": 1024 * 1024 + 8}


# --- requests


def test_a_request_is_read_with_its_defaults() -> None:
    """A name is all one needs to say."""
    request = parse_external({"kind": "external", "name": "n", "nodes": [{"id": "a"}]})

    assert request.name == "n"
    assert request.spec == ExternalSpec(nodes=(DeclaredNode(id=NodeId("a"), label="a", type="unknown"),))


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"nodes": [{"id": "a"}, {"id": "a"}]}, "nodes[1].id"),
        ({"nodes": [{"id": "a/b"}]}, "nodes[0].id"),
        ({"nodes": [{"id": ""}]}, "nodes[0].id"),
        ({"nodes": [{"id": "a\n"}]}, "nodes[0].id"),
        ({"nodes": [{"id": "a", "odd": 1}]}, "nodes[0].odd"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"timeout_s": 1e9}, "timeout_s"),
        ({"progress": "odd"}, "progress"),
        ({"source": "x"}, "source"),
    ],
)
def test_a_wrong_request_is_told_by_field(changes: dict[str, Any], path: str) -> None:
    """All at once, before anything exists."""
    with pytest.raises(InvalidRequestError) as caught:
        parse_external({"kind": "external", **changes})

    assert path in [fault.path for fault in caught.value.faults]


def test_moments_before_the_start_do_not_count_backwards() -> None:
    """A clock that was set back gives no negative time."""
    engine = Followed("a")
    engine.progress(10, "a")
    earlier: datetime = AT - timedelta(hours=1)

    engine.hear(Reported(at=earlier, report=EndReport(status=ReportedEnd.COMPLETED)))

    assert engine.result.usage.wall_ms == 0
