"""The graph machine: promises on every path, and a model of the world that feeds it signals in any order it could make."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from execd.core.codec import decode_event, number_fact, to_fact
from execd.core.errors import ConflictError, InvalidRequestError
from execd.core.event_parts import Prompt
from execd.core.event_types import TYPE_NAMES
from execd.core.events import (
    ExecutionEnded,
    ExecutionId,
    ExecutionQueued,
    ExecutionRequested,
    Fact,
    NodeId,
    Output,
    ResultStored,
    Status,
    StopMode,
    Stream,
)
from execd.core.graph import Graph, Need, Node
from execd.core.machine import step
from execd.core.nodes import type_of
from execd.core.nodes.scripts import StepSpec
from execd.core.nodes.waiting import InputSpec, WaitSpec
from execd.core.outcome import ExitRecord, Outcome, PodState, classify
from execd.core.outside import NOTHING
from execd.core.signals import (
    AskSlot,
    Begin,
    GoOn,
    InputProvided,
    LaunchCall,
    LaunchNode,
    LeaveSlot,
    Lost,
    NodeExited,
    Order,
    OutputArrived,
    OutputDropped,
    PauseAsked,
    PodPrepared,
    PodProgressed,
    Proceed,
    Record,
    ResumeAsked,
    SetTimer,
    Signal,
    SlotGranted,
    StartPod,
    StopAsked,
    StopNode,
    TimerDue,
)
from execd.core.specs import Limits, RetryPolicy, ScriptSpec
from execd.core.state import SlotPlace, State, evolve, fold, new_state
from execd.core.transitions import NODE_TRANSITIONS, TRANSITIONS, IllegalTransitionError, NodePhase, Phase
from execd.core.workflows import WorkflowSpec, decode_spec, encode_spec, graph_of, kind_of, script_graph, store_node

AT = datetime(2026, 1, 1, tzinfo=UTC)
MAIN = NodeId("main")
SUCCESS = classify(ExitRecord(exit_code=0))
FAILURE = classify(ExitRecord(exit_code=3))
LOST = classify(None, PodState())


def script(retries: int = 0) -> ScriptSpec:
    return ScriptSpec(language="python", source="pass", limits=Limits(), retries=retries)


def queued(graph: Graph | None = None) -> State:
    requested = ExecutionRequested(kind="script", name="n", user="u", workspace="w")
    facts = [Fact(data=requested, at=AT), Fact(data=ExecutionQueued(position=0, ahead=0), at=AT)]
    return fold(new_state(graph or script_graph(script(), name="n")), facts)


class World:
    """Carries out a machine's orders the way a saga does, and keeps every fact it told."""

    def __init__(self, graph: Graph | None = None) -> None:
        self.start = new_state(graph or script_graph(script(), name="n"))
        self.state = queued(graph)
        self.now = AT
        self.facts: list[Fact] = []
        self.launched: list[tuple[NodeId, int]] = []
        self.started: list[tuple[NodeId, int]] = []
        self.stopped: set[tuple[NodeId, int]] = set()
        self.proceeds = 0
        self.has_slots = True
        """Whether a slot is there whenever one is asked for; else the test gives it."""
        self.slot_asks = 0
        self.slots_left = 0
        self.scripts: list[ScriptSpec] = []
        self.timers: list[tuple[NodeId, int]] = []
        self.calls: list[LaunchCall] = []
        self.outside = NOTHING

    def hear(self, signal: Signal) -> None:
        before = self.state.head_seq
        self.state, orders = step(self.state, signal, outside=self.outside)
        told = 0
        for order in orders:
            match order:
                case Record(facts=facts):
                    assert not told, "one record comes first"
                    told = len(facts)
                    self.facts.extend(facts)
                case _:
                    self._carry_out(order)
        assert self.state.head_seq == before + told, "every change is a fact"
        if self.has_slots:
            self.grant()

    def _carry_out(self, order: Order) -> None:
        match order:
            case LaunchNode(node=node, attempt=attempt, script=script):
                self.launched.append((node, attempt))
                self.scripts.append(script)
            case StartPod(node=node, attempt=attempt):
                self.started.append((node, attempt))
            case StopNode(node=node, attempt=attempt):
                self.stopped.add((node, attempt))
            case LaunchCall():
                self.calls.append(order)
            case Proceed():
                self.proceeds += 1
            case SetTimer(node=node, attempt=attempt):
                self.timers.append((node, attempt))
            case LeaveSlot():
                self.slots_left += 1
            case AskSlot():
                self.slot_asks += 1

    def grant(self) -> None:
        """Give the slot that was asked for, if one was."""
        while self.slot_asks:
            self.slot_asks -= 1
            self.hear(SlotGranted(at=self.now))
            self.prepare_launched()

    def lose_slot(self) -> None:
        """As a saga that starts over from the journal: it holds a slot, and nobody hears what the former one asked for."""
        self.state = msgspec.structs.replace(self.state, slot=SlotPlace.HELD)
        self.slot_asks = 0

    def begin(self) -> None:
        self.hear_begin_only()
        self.prepare_launched()
        self.go_on()

    def hear_begin_only(self) -> None:
        self.hear(Begin(at=self.now, runner="local", started_from="cold"))

    def go_on(self) -> None:
        while self.proceeds:
            self.proceeds -= 1
            self.hear(GoOn(at=self.now))
            self.prepare_launched()

    def prepare_launched(self) -> None:
        for node, attempt in self.launched:
            self.hear(prepared(node, attempt, self.now))
        self.launched.clear()

    def fire(self, node: NodeId = MAIN, attempt: int = 1) -> None:
        self.hear(TimerDue(at=self.now, node=node, attempt=attempt))
        self.prepare_launched()

    def exit(self, outcome: Outcome, node: NodeId = MAIN, attempt: int = 1) -> None:
        self.hear(NodeExited(at=self.now, node=node, attempt=attempt, outcome=outcome))

    def types(self) -> list[str]:
        return [TYPE_NAMES[type(fact.data)] for fact in self.facts]

    @property
    def result(self) -> ResultStored:
        data = self.facts[-1].data
        assert isinstance(data, ResultStored)
        return data


def prepared(node: NodeId, attempt: int, at: datetime = AT) -> PodPrepared:
    return PodPrepared(
        at=at, node=node, attempt=attempt, pod=f"pod-{node}-{attempt}", runtime="python", isolation="none", image=None
    )


def test_a_script_runs_from_its_slot_to_its_result() -> None:
    """The main path: what every viewer of a script sees, in this order."""
    world = World()

    world.begin()
    world.hear(PodProgressed(at=AT, node=MAIN, attempt=1, phase="running"))
    world.hear(OutputArrived(at=AT, node=MAIN, attempt=1, output=Output(stream=Stream.STDOUT, offset=0, text="hi\n")))
    world.exit(SUCCESS)

    assert world.types() == [
        "execution_started",
        "node_started",
        "pod_created",
        "pod_running",
        "output",
        "pod_terminated",
        "node_completed",
        "execution_completed",
        "result_stored",
    ]
    assert (world.result.status, world.result.exit_code, world.result.stdout) == (Status.COMPLETED, 0, "hi\n")


def test_no_program_starts_before_its_pod_is_announced() -> None:
    """Invariant 2: the order that lets a program run comes with, and after, the record that announces it."""
    world = World()
    world.hear(Begin(at=AT, runner="local", started_from="cold"))

    _, orders = step(world.state, prepared(MAIN, 1))

    assert [type(order) for order in orders] == [Record, StartPod]


@pytest.mark.parametrize(
    ("record", "pod", "status"),
    [
        (ExitRecord(exit_code=1), PodState(), Status.FAILED),
        (ExitRecord(signal=11), PodState(), Status.FAILED),
        (None, PodState(), Status.FAILED),
        (None, PodState(reason="DeadlineExceeded"), Status.TIMEOUT),
        (ExitRecord(exit_code=0), PodState(oom_killed=True), Status.FAILED),
        (ExitRecord(exit_code=0), PodState(reason="output_incomplete"), Status.FAILED),
        (ExitRecord(), PodState(), Status.FAILED),
    ],
)
@pytest.mark.behaviour(5)
def test_what_did_not_succeed_is_never_completed(record: ExitRecord | None, pod: PodState, status: Status) -> None:
    """Invariant 10: a failed or unknown outcome never reads as success."""
    world = World()
    world.begin()

    world.exit(classify(record, pod))

    assert world.result.status is status
    assert world.result.error is not None


def test_a_cancel_wins_over_a_success_that_comes_after_it() -> None:
    """Somebody was told that it would be cancelled; the race is decided by what was stored first."""
    world = World()
    world.begin()

    world.hear(StopAsked(at=AT, by="u", mode=StopMode.CANCEL))
    assert world.stopped == {(MAIN, 1)}
    world.exit(SUCCESS)

    assert world.result.status is Status.CANCELLED


@pytest.mark.behaviour(32)
def test_a_second_cancel_changes_nothing() -> None:
    """Two people press the button; the journal holds one stop and one end."""
    world = World()
    world.begin()
    world.hear(StopAsked(at=AT, by="u", mode=StopMode.CANCEL))
    head = world.state.head_seq

    world.hear(StopAsked(at=AT, by="v", mode=StopMode.CANCEL))
    world.hear(StopAsked(at=AT, by="v", mode=StopMode.INTERRUPT))

    assert world.state.head_seq == head


def test_a_cancel_in_the_queue_ends_it_without_running() -> None:
    """What never got a slot still ends with a terminal event, a skipped node and a result."""
    world = World()

    world.hear(StopAsked(at=AT, by="u", mode=StopMode.CANCEL))

    assert world.types() == ["stop_requested", "node_skipped", "execution_cancelled", "result_stored"]
    assert world.started == []


def test_an_interrupt_lets_the_step_in_flight_finish() -> None:
    """Interrupted means: what runs finishes, the rest is not run."""
    first, second = (Node(id=NodeId(n), type="script", label=n, spec=script()) for n in ("a", "b"))
    chain = Graph(nodes=(first, Node(id=second.id, type="script", label="b", spec=script(), needs=(Need(first.id),))))
    world = World(chain)
    world.begin()

    world.hear(StopAsked(at=AT, by="u", mode=StopMode.INTERRUPT))
    world.exit(SUCCESS, first.id)

    assert world.stopped == set()
    assert world.result.status is Status.INTERRUPTED
    assert [node.status for node in world.result.nodes] == ["completed", "not_run"]


def test_an_interrupt_that_cut_nothing_off_is_a_completion() -> None:
    """A script's one step ran to its end, so the whole did."""
    world = World()
    world.begin()

    world.hear(StopAsked(at=AT, by="u", mode=StopMode.INTERRUPT))
    world.exit(SUCCESS)

    assert world.result.status is Status.COMPLETED


def test_a_lost_sandbox_runs_again_only_if_the_spec_says_so() -> None:
    """A rerun repeats side effects, so it takes the author's word; a failure of the program itself is never rerun."""
    world = World(script_graph(script(retries=1), name="n"))
    world.begin()

    world.exit(LOST)
    assert world.timers == [(MAIN, 1)]
    world.fire()
    world.exit(LOST, attempt=2)

    assert world.started == [(MAIN, 1), (MAIN, 2)]
    assert world.result.status is Status.FAILED
    assert world.result.nodes[0].attempts == 2


def test_a_further_attempt_starts_with_empty_streams() -> None:
    """The result shows the last attempt's output, not a mixture."""
    world = World(script_graph(script(retries=1), name="n"))
    world.begin()
    world.hear(OutputArrived(at=AT, node=MAIN, attempt=1, output=Output(stream=Stream.STDOUT, offset=0, text="one")))
    world.exit(LOST)
    world.fire()

    world.hear(OutputArrived(at=AT, node=MAIN, attempt=2, output=Output(stream=Stream.STDOUT, offset=0, text="two")))
    world.exit(SUCCESS, attempt=2)

    assert world.result.stdout == "two"


def test_a_cancel_while_waiting_to_retry_ends_at_once() -> None:
    """Nothing runs, so there is nothing to wait for."""
    world = World(script_graph(script(retries=5), name="n"))
    world.begin()
    world.exit(LOST)

    world.hear(StopAsked(at=AT, by="u", mode=StopMode.CANCEL))

    assert world.result.status is Status.CANCELLED


@pytest.mark.behaviour(2)
def test_late_signals_of_an_attempt_that_is_over_change_nothing() -> None:
    """A frame can arrive after the verdict; it is seen and rightly ignored."""
    world = World()
    world.begin()
    world.exit(FAILURE)
    head = world.state.head_seq

    world.exit(SUCCESS)
    world.hear(PodProgressed(at=AT, node=MAIN, attempt=1, phase="running"))
    world.hear(OutputDropped(at=AT, node=MAIN, attempt=1, stream=Stream.STDOUT, dropped_bytes=1))
    world.hear(StopAsked(at=AT, by="u", mode=StopMode.CANCEL))

    assert world.state.head_seq == head


def test_pause_starts_nothing_and_resume_goes_on() -> None:
    """A pause lets what runs finish; the next node waits for the resume."""
    a, b = NodeId("a"), NodeId("b")
    chain = Graph(
        nodes=(
            Node(id=a, type="script", label="a", spec=script()),
            Node(id=b, type="script", label="b", spec=script(), needs=(Need(a),)),
        )
    )
    world = World(chain)
    world.begin()
    world.hear(PauseAsked(at=AT, by="u"))
    world.exit(SUCCESS, a)
    assert world.state.status is Status.PAUSED
    assert world.launched == []

    world.hear(ResumeAsked(at=AT, by="u"))
    world.prepare_launched()
    world.exit(SUCCESS, b)

    assert world.result.status is Status.COMPLETED


def test_a_pause_in_the_queue_is_a_conflict_and_changes_nothing() -> None:
    """A person who asks for the impossible is told so; the state is as before."""
    state = queued()

    with pytest.raises(ConflictError):
        step(state, PauseAsked(at=AT, by="u"))


def test_losing_the_worker_fails_what_ran_and_says_so() -> None:
    """Recovery of a local script: its sandbox died with execd."""
    world = World()
    world.begin()

    world.hear(Lost(at=AT, code="worker_lost"))

    assert world.result.status is Status.FAILED
    assert world.result.error is not None
    assert world.result.error.code == "worker_lost"


def test_a_missing_row_is_an_error_and_changes_nothing() -> None:
    """A defect of execd must crash the saga loudly, not bend the journal."""
    state = queued()
    output = Fact(data=Output(stream=Stream.STDOUT, offset=0, text="x"), at=AT, node=MAIN, attempt=1)

    with pytest.raises(IllegalTransitionError):
        evolve(state, output)


@pytest.mark.behaviour(1, 2)
def test_terminal_phases_have_no_way_out() -> None:
    """Invariant 3, in the table itself: after the terminal event only the result, after the result nothing."""
    assert [fact for phase, fact in TRANSITIONS if phase is Phase.ENDED] == [ResultStored]
    assert not [fact for phase, fact in TRANSITIONS if phase is Phase.STORED]
    assert not [fact for phase, fact in NODE_TRANSITIONS if phase.is_over]


def needs_of(text: str) -> tuple[Need, ...]:
    parts = (need.partition(".") for need in text.split())
    return tuple(Need(NodeId(name), port or "out") for name, _, port in parts)


YES_OR_NO = InputSpec(prompts=(Prompt(key="go", label="Go on?", choices=("yes", "no")),))


def graph(*nodes: tuple[str, Any, str], parallelism: int = 16, **policy: object) -> Graph:
    """Make a graph of (id, spec, needs as one text) triples; a need is `node` or `node.port`."""
    return Graph(
        nodes=tuple(
            Node(
                id=NodeId(name),
                type=type_of(spec).name,
                label=name,
                spec=spec,
                needs=needs_of(needs),
                retry=RetryPolicy(**policy),  # type: ignore[arg-type] # fields by name
            )
            for name, spec, needs in nodes
        ),
        parallelism=parallelism,
    )


def test_a_wait_is_over_when_its_timer_fires() -> None:
    """It takes no place while it waits, and what needs it starts after it."""
    world = World(graph(("pause", WaitSpec(seconds=5.0), ""), ("work", script(), "pause")))
    world.begin()
    assert world.timers == [("pause", 1)]
    assert not world.state.running

    world.fire(NodeId("pause"))
    world.exit(SUCCESS, NodeId("work"))

    assert world.result.status is Status.COMPLETED
    assert [t for t in world.types() if t.startswith("node")] == [
        "node_started",
        "node_waiting",
        "node_completed",
        "node_started",
        "node_completed",
    ]


def test_waiting_outlives_the_worker() -> None:
    """What waits for a moment or a person loses nothing with execd: its timer is set again, for the same moment."""
    world = World(graph(("pause", WaitSpec(seconds=5.0), ""), ("ask", YES_OR_NO, "")))
    world.begin()
    assert world.state.status is Status.WAITING_INPUT
    before = world.state.runs
    world.timers.clear()

    world.hear(Lost(at=AT + timedelta(seconds=3), code="worker_lost"))

    assert world.state.runs == before
    assert world.timers == [("pause", 1)]


def test_an_answer_is_checked_and_becomes_the_output() -> None:
    """A wrong answer is refused with the choices and asked again; a right one goes into the result."""
    world = World(graph(("ask", YES_OR_NO, "")))
    world.begin()

    with pytest.raises(InvalidRequestError) as caught:
        world.hear(InputProvided(at=AT, by="u", prompt_id="ask.1", values={"go": "maybe", "other": "x"}))
    assert [(fault.path, fault.accepted) for fault in caught.value.faults] == [
        ("values.go", "yes, no"),
        ("values.other", "go"),
    ]
    world.hear(InputProvided(at=AT, by="u", prompt_id="ask.1", values={"go": "yes"}))

    assert world.result.status is Status.COMPLETED
    assert world.result.outputs == {"ask": {"go": "yes"}}


def test_a_second_answer_is_a_conflict() -> None:
    """Two people answer at once: the journal holds the first, the second is told."""
    world = World(graph(("ask", YES_OR_NO, ""), ("more", YES_OR_NO, "")))
    world.begin()
    answer = InputProvided(at=AT, by="u", prompt_id="ask.1", values={"go": "yes"})
    world.hear(answer)

    with pytest.raises(ConflictError, match="nothing asks"):
        world.hear(answer)


def test_a_question_nobody_answers_expires() -> None:
    """An expired question is a failure, never a success with no answer."""
    asking = InputSpec(prompts=YES_OR_NO.prompts, expires_s=60.0)
    world = World(graph(("ask", asking, "")))
    world.begin()

    world.fire(NodeId("ask"))

    assert world.result.status is Status.FAILED
    assert world.result.error is not None
    assert world.result.error.code == "input_expired"


@pytest.mark.parametrize("mode", [StopMode.CANCEL, StopMode.INTERRUPT])
def test_a_stop_ends_waiting_at_once(mode: StopMode) -> None:
    """Nobody who interrupts wants to wait three days for a timer."""
    world = World(graph(("pause", WaitSpec(seconds=3e5), ""), ("ask", YES_OR_NO, "")))
    world.begin()

    world.hear(StopAsked(at=AT, by="u", mode=mode))

    assert world.result.status is (Status.CANCELLED if mode is StopMode.CANCEL else Status.INTERRUPTED)
    assert [node.status for node in world.result.nodes] == ["failed", "failed"]


def test_a_node_in_flight_is_repeated_only_with_its_authors_word() -> None:
    """Retries are for platform failures; one that was cut off may have done its work already."""
    for on_lost, attempts in ((False, 1), (True, 2)):
        world = World(graph(("n", script(), ""), retries=2, on_lost=on_lost))
        world.begin()
        world.hear(Lost(at=AT, code="worker_lost"))
        if on_lost:
            world.fire(NodeId("n"))
            world.exit(SUCCESS, NodeId("n"), 2)

        assert world.result.nodes[0].attempts == attempts
        assert world.result.status is (Status.COMPLETED if on_lost else Status.FAILED)


def test_what_is_finished_never_runs_again() -> None:
    """After a crash in the middle of a graph only what was in flight is repeated."""
    chain = graph(("a", script(), ""), ("b", script(), "a"), ("c", script(), "b"), retries=1, on_lost=True)
    world = World(chain)
    world.begin()
    world.exit(SUCCESS, NodeId("a"))
    world.prepare_launched()

    world.hear(Lost(at=AT, code="worker_lost"))
    world.fire(NodeId("b"))
    world.exit(SUCCESS, NodeId("b"), 2)
    world.prepare_launched()
    world.exit(SUCCESS, NodeId("c"))

    assert world.started == [("a", 1), ("b", 1), ("b", 2), ("c", 1)]
    assert world.result.status is Status.COMPLETED


def test_a_retry_keeps_its_place() -> None:
    """The limit on parallel nodes holds also when one that failed comes back."""
    world = World(graph(("a", script(), ""), ("b", script(), ""), parallelism=1, retries=1, on_lost=True))
    world.begin()

    world.exit(LOST, NodeId("a"))

    assert world.started == [("a", 1)]
    assert not world.state.running


def test_a_paused_graph_is_paused_after_a_crash() -> None:
    """A pause is a person's word and outlives a restart; a retry that comes due meanwhile waits for the resume."""
    world = World(graph(("a", script(), ""), ("b", script(), "a"), retries=1, on_lost=True))
    world.begin()
    world.hear(PauseAsked(at=AT, by="u"))
    world.hear(Lost(at=AT, code="worker_lost"))
    world.fire(NodeId("a"))
    assert world.state.status is Status.PAUSED
    assert world.started == [("a", 1)]

    world.hear(ResumeAsked(at=AT, by="u"))
    world.fire(NodeId("a"))

    assert world.started == [("a", 1), ("a", 2)]


@pytest.mark.parametrize("is_paused", [False, True])
def test_a_defect_fails_the_whole_whatever_it_waited_for(*, is_paused: bool) -> None:
    """A saga's crash ends its execution, also one in which nothing ran: nothing may be left waiting for nobody."""
    world = World(graph(("a", script(), ""), ("ask", YES_OR_NO, "a"), ("last", script(), "ask")))
    world.begin()
    if is_paused:
        world.hear(PauseAsked(at=AT, by="u"))
    world.exit(SUCCESS, NodeId("a"))

    world.hear(Lost(at=AT, code="internal_error"))

    assert world.result.status is Status.FAILED
    assert world.result.error is not None
    assert world.result.error.code == "internal_error"


def test_a_workflow_is_stored_and_read_back() -> None:
    """Recovery begins with the spec; one written before specs named their kind is read too."""
    nodes = graph(
        ("pause", WaitSpec(until=AT.isoformat()), ""),
        ("ask", YES_OR_NO, "pause"),
        ("work", StepSpec(script=script(2)), "ask"),
    ).nodes
    workflow = WorkflowSpec(nodes=tuple(map(store_node, nodes)), parallelism=3)

    read = decode_spec(encode_spec(workflow), kind=kind_of(workflow))
    assert graph_of(read, name="n") == graph_of(workflow, name="n")
    assert graph_of(workflow, name="n") == Graph(nodes=nodes, parallelism=3)
    assert decode_spec(b'{"language":"python","source":"pass","limits":{},"retries":1}', kind="script") == script(1)


@st.composite
def specs(draw: st.DrawFn) -> Any:
    return draw(
        st.sampled_from(
            [script(), script(), script(), WaitSpec(seconds=2.0), WaitSpec(until=AT.isoformat()), YES_OR_NO]
        )
    )


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Any DAG of up to six nodes: each may need any of those before it."""
    count = draw(st.integers(1, 6))
    nodes: list[Node] = []
    for index in range(count):
        needs = draw(st.sets(st.sampled_from([n.id for n in nodes]))) if nodes else set()
        nodes.append(
            Node(
                id=NodeId(f"n{index}"),
                type="script",
                label=f"n{index}",
                spec=draw(specs()),
                needs=tuple(Need(need) for need in sorted(needs)),
                retry=RetryPolicy(retries=draw(st.integers(0, 2)), on_lost=draw(st.booleans())),
            )
        )
    timeout_s = draw(st.sampled_from([None, None, 20.0]))
    return Graph(nodes=tuple(nodes), parallelism=draw(st.integers(1, 3)), timeout_s=timeout_s)


@settings(max_examples=300, deadline=None)
@given(graph=graphs(), seed=st.integers(0, 2**32))
@pytest.mark.behaviour(1)
def test_any_world_leads_to_one_end(graph: Graph, seed: int) -> None:
    """A model of the world feeds signals in any order it could produce: no missing row, one end, everything accounted
    for, and the fold of what was told, through its bytes, is the state."""
    rng = random.Random(seed)
    world = World(graph)
    world.begin()
    world.has_slots = False
    live: dict[NodeId, int] = dict(world.started)
    for _ in range(600):
        if world.state.phase is Phase.STORED:
            break
        world.now += timedelta(milliseconds=rng.randrange(1000))
        done = len(world.started)
        if rng.random() < 0.3:
            world.grant()
        _anything(world, rng, live)
        world.prepare_launched()
        live.update(dict(world.started[done:]))
    else:
        pytest.fail("the execution did not end")

    _check_promises(world, graph)


def _anything(world: World, rng: random.Random, live: dict[NodeId, int]) -> None:
    choice = rng.random()
    node = rng.choice(sorted(live)) if live else None
    if choice < 0.03:
        world.hear(StopAsked(at=world.now, by="u", mode=rng.choice([StopMode.CANCEL, StopMode.INTERRUPT])))
    elif choice < 0.1 and world.state.phase in {Phase.RUNNING, Phase.PAUSED}:
        world.hear(rng.choice([PauseAsked, ResumeAsked])(at=world.now, by="u"))
    elif choice < 0.13:
        world.lose_slot()
        world.hear(Lost(at=world.now, code="internal_error" if choice < 0.105 else "worker_lost"))
        live.clear()
    elif choice < 0.2 and world.state.waiting:
        asked = [asking for n in sorted(world.state.waiting) if (asking := world.state.runs[n].asking) is not None]
        for asking in asked[:1]:
            world.hear(InputProvided(at=world.now, by="u", prompt_id=asking.prompt_id, values={"go": "no"}))
    elif choice < 0.35 and world.timers:
        node, attempt = world.timers.pop(rng.randrange(len(world.timers)))
        world.hear(TimerDue(at=world.now, node=node, attempt=attempt))
    elif node is not None and choice < 0.7:
        output = Output(stream=Stream.STDOUT, offset=0, text="x")
        world.hear(OutputArrived(at=world.now, node=node, attempt=live[node], output=output))
    elif node is not None:
        outcome = rng.choice([SUCCESS, SUCCESS, SUCCESS, FAILURE, LOST])
        world.exit(outcome, node, live.pop(node))
    elif world.state.phase is Phase.PAUSED:
        world.hear(ResumeAsked(at=world.now, by="u"))


def test_only_waiting_gives_the_slot_back() -> None:
    """While a person thinks, another execution runs; what follows the answer needs a slot again, and starts with it."""
    world = World(graph(("ask", YES_OR_NO, ""), ("work", script(), "ask")))
    world.has_slots = False
    world.begin()
    assert (world.slots_left, world.slot_asks) == (1, 0)

    world.hear(InputProvided(at=AT, by="u", prompt_id="ask.1", values={"go": "yes"}))
    assert (world.started, world.slot_asks) == ([], 1)
    world.grant()

    assert world.started == [("work", 1)]
    assert world.slots_left == 1


def test_what_needs_no_place_goes_on_without_a_slot() -> None:
    """A wait that leads to another wait asks nobody for anything."""
    world = World(graph(("a", WaitSpec(seconds=1.0), ""), ("b", WaitSpec(seconds=1.0), "a")))
    world.has_slots = False
    world.begin()
    world.fire(NodeId("a"))
    world.fire(NodeId("b"))

    assert world.result.status is Status.COMPLETED
    assert (world.slots_left, world.slot_asks) == (1, 0)


def test_paused_with_nothing_running_holds_no_slot() -> None:
    """A pause may last for days."""
    world = World(graph(("a", script(), ""), ("b", script(), "a")))
    world.has_slots = False
    world.begin()
    world.hear(PauseAsked(at=AT, by="u"))
    assert world.slots_left == 0
    world.exit(SUCCESS, NodeId("a"))
    assert world.slots_left == 1
    world.hear(ResumeAsked(at=AT, by="u"))
    world.grant()

    assert world.started == [("a", 1), ("b", 1)]


def test_what_a_pause_keeps_from_running_again_holds_no_slot() -> None:
    """It runs again when its time has come after the resume and a slot is there, whichever is later."""
    again = RetryPolicy(retries=2, on_failure=True)
    for slot_comes_first in (True, False):
        world = World(Graph(nodes=(Node(id=MAIN, type="script", label="n", spec=script(), retry=again),)))
        world.has_slots = False
        world.begin()
        world.exit(FAILURE)
        assert world.slots_left == 0
        world.hear(PauseAsked(at=AT, by="u"))
        assert world.slots_left == 1
        world.hear(ResumeAsked(at=AT, by="u"))
        assert (world.timers, world.slot_asks) == ([(MAIN, 1)] * 2, 1)
        if slot_comes_first:
            world.grant()
        world.fire()
        assert world.started == [(MAIN, 1), (MAIN, 2)] if slot_comes_first else [(MAIN, 1)]
        if not slot_comes_first:
            world.grant()
            assert world.timers == [(MAIN, 1)] * 3
            world.fire()

        assert world.started == [(MAIN, 1), (MAIN, 2)]


def test_a_slot_that_came_too_late_is_given_back() -> None:
    """Paused again while it stood in line."""
    world = World(graph(("a", script(), ""), ("b", script(), "a")))
    world.has_slots = False
    world.begin()
    world.hear(PauseAsked(at=AT, by="u"))
    world.exit(SUCCESS, NodeId("a"))
    world.hear(ResumeAsked(at=AT, by="u"))
    world.hear(PauseAsked(at=AT, by="u"))
    world.grant()

    assert world.slots_left == 2
    assert world.started == [("a", 1)]


def graph_policy(graph: Graph, node: NodeId) -> RetryPolicy:
    return next(n.retry for n in graph.nodes if n.id == node)


def _check_promises(world: World, graph: Graph) -> None:
    ends = [fact for fact in world.facts if isinstance(fact.data, ExecutionEnded)]
    results = [fact for fact in world.facts if isinstance(fact.data, ResultStored)]
    assert (len(ends), len(results)) == (1, 1)
    assert world.facts[-1] is results[0]
    assert all(world.state.run_of(node.id).phase.is_over for node in graph.nodes)
    assert len(world.started) == len(set(world.started)), "no attempt starts twice"
    completed = {node for node, run in world.state.runs.items() if run.phase is NodePhase.COMPLETED}
    for node in graph.nodes:
        if node.id in completed:
            assert {need.node for need in node.needs} <= completed
    if world.result.status is Status.COMPLETED:
        assert completed == {node.id for node in graph.nodes}
    for node, attempt in world.started:
        assert attempt == 1 or graph_policy(graph, node).retries >= attempt - 1
    head = world.state.head_seq - len(world.facts)
    stored = [number_fact(ExecutionId("e"), head + place, fact).body for place, fact in enumerate(world.facts, 1)]
    refolded = fold(queued(graph), [to_fact(decode_event(body)) for body in stored])
    assert refolded.runs == world.state.runs
    assert refolded.ending == world.state.ending
    assert refolded.head_seq == world.state.head_seq
