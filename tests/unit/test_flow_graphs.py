"""Flows in the machine: what comes after what, what is skipped, and what runs although all else has failed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from execd.core.again import nodes_of, spec_from
from execd.core.calls import CallFailure, HttpResult, ReadCall
from execd.core.errors import ConflictError
from execd.core.events import (
    Event,
    ExecutionId,
    ExecutionQueued,
    ExecutionRequested,
    Fact,
    InputRequired,
    NodeCompleted,
    NodeId,
    NodeSkipped,
    NodeStarted,
    ResultStored,
    Status,
    StopMode,
)
from execd.core.flows.compiling import step_ids
from execd.core.flows.specs import FlowSpec
from execd.core.machine import step
from execd.core.signals import (
    AskSlot,
    Begin,
    CallReturned,
    InputProvided,
    LaunchCall,
    Lost,
    PauseAsked,
    Proceed,
    Record,
    ResumeAsked,
    SetTimer,
    Signal,
    SlotGranted,
    StopAsked,
    TimerDue,
)
from execd.core.state import fold, new_state
from execd.core.workflows import decode_spec, encode_spec, graph_of

AT = datetime(2026, 1, 1, tzinfo=UTC)
ID = "exec-1795194755869-m4xo3agqc"


class Flow:
    """A machine that runs a flow; a test answers its calls."""

    def __init__(self, config: dict[str, Any], **fields: Any) -> None:
        self.spec = FlowSpec(config=config, **fields)
        self.now = AT
        self.facts: list[Fact] = [
            Fact(data=ExecutionRequested(kind="flow", name="n", user="u", workspace="w"), at=AT),
            Fact(data=ExecutionQueued(position=0, ahead=0), at=AT),
        ]
        self.start = new_state(graph_of(self.spec, name="n"), execution_id=ID)
        self.state = fold(self.start, self.facts)
        self.calls: list[LaunchCall] = []
        self.timers: list[SetTimer] = []
        self.hear(Begin(at=AT, runner="local", started_from="cold"))

    def hear(self, signal: Signal) -> None:
        self.now += timedelta(milliseconds=10)
        self.state, orders = step(self.state, signal)
        for order in orders:
            match order:
                case Record(facts=facts):
                    self.facts += facts
                case LaunchCall():
                    self.calls.append(order)
                case SetTimer():
                    self.timers.append(order)
                case Proceed():
                    raise AssertionError("no flow here is that long")
        if any(isinstance(order, AskSlot) for order in orders):
            self.hear(SlotGranted(at=self.now))
        refolded = fold(self.start, self.facts)
        assert refolded.runs == self.state.runs  # the state is what the journal says, always
        assert refolded.scopes == self.state.scopes or refolded.scopes.keys() == self.state.scopes.keys()

    def answer(self, body: Any = None, *, status: int = 200, **fields: Any) -> None:
        """Answer the newest call."""
        data = b"" if body is None else msgspec.json.encode(body)
        self.end(HttpResult(status=status, body=data, url="http://h/", duration_ms=5, **fields))

    def end(self, result: HttpResult | CallFailure) -> None:
        order = self.calls[-1]
        assert isinstance(order.call, ReadCall)
        end = order.call.conclude(result, self.now)
        self.hear(CallReturned(at=self.now, node=order.node, attempt=order.attempt, result=end))

    def give(self, prompt_id: str, **values: Any) -> None:
        self.hear(InputProvided(at=self.now, by="u", prompt_id=prompt_id, values=values))

    @property
    def urls(self) -> list[str]:
        return [order.call.http.url for order in self.calls if isinstance(order.call, ReadCall)]

    @property
    def result(self) -> ResultStored:
        data = self.facts[-1].data
        assert isinstance(data, ResultStored), data
        return data

    @property
    def ends(self) -> dict[str, str]:
        return {node.id: node.reason or node.status for node in self.result.nodes}

    def events(self) -> list[Event]:
        return [
            Event(seq=n, type="", execution_id=ExecutionId(ID), at=f.at, data=f.data, node=f.node, attempt=f.attempt)
            for n, f in enumerate(self.facts, start=1)
        ]


def get(name: str, **fields: Any) -> dict[str, Any]:
    return {"id": name, "method": "GET", "url": f"http://h/{name}", **fields}


def test_steps_run_one_after_another_in_their_order() -> None:
    """And each finds what those before it gave."""
    flow = Flow({"nodes": [get("a"), get("b", url="http://h/{{ .responses.a.id }}")]})

    assert flow.urls == ["http://h/a"]
    flow.answer({"id": 7})
    assert flow.urls == ["http://h/a", "http://h/7"]
    flow.answer()

    assert flow.result.status is Status.COMPLETED
    output = flow.result.outputs["b"]
    assert output["request"]["url"] == "http://h/7"
    assert output["response"] == {"status": 200, "statusText": "", "headers": {}, "body": ""}
    assert output["duration"] == 0.005


def test_a_skipped_step_was_never_begun_and_the_chain_goes_on() -> None:
    """It is remembered with status 0 and an empty body; later conditions see that."""
    seen = [{"node": "b", "httpStatusCode": 0}, {"node": "b", "field": ".x", "exists": False}]
    flow = Flow(
        {
            "nodes": [
                get("a"),
                get("b", conditions=[{"node": "a", "field": ".x", "equals": 1}]),
                get("c", conditions=seen),
            ]
        }
    )
    flow.answer({"x": 2})

    assert flow.urls == ["http://h/a", "http://h/c"]
    flow.answer()
    assert flow.result.status is Status.COMPLETED
    assert flow.ends == {"a": "completed", "b": "node 'a' field .x: expected '1', got '2'", "c": "completed"}
    assert NodeId("b") not in [fact.node for fact in flow.facts if isinstance(fact.data, NodeStarted)]


def test_a_reference_into_a_skipped_step_fails() -> None:
    """As observed."""
    flow = Flow(
        {"nodes": [get("a", conditions=[{"variable": "x", "exists": True}]), get("b", url="/{{ .responses.a.id }}")]}
    )

    assert flow.result.status is Status.FAILED
    assert flow.result.error is not None
    assert flow.result.error.message == "Could not extract value from .responses.a.id"


def test_a_failed_step_stops_the_rest() -> None:
    """What comes after is not run; all that is known of the step is in its own event, and its message everywhere."""
    flow = Flow({"nodes": [get("a"), get("b"), get("c")]})
    flow.answer()
    flow.answer(status=500)

    assert flow.urls == ["http://h/a", "http://h/b"]
    assert flow.ends == {"a": "completed", "b": "failed", "c": "not_run"}
    assert flow.result.error is not None
    assert flow.result.error.message == "HTTP status validation failed: expected 200, got 500"
    assert flow.result.error.code == "http:validation"
    assert "step" not in flow.result.error.details


@pytest.mark.parametrize("status", [200, 500])
def test_finally_steps_run_whatever_happened(status: int) -> None:
    """After the others and one after another; they see what ran, and not what did not."""
    last = get("z2", conditions=[{"node": "b", "httpStatusCode": 200}])
    flow = Flow({"nodes": [get("a"), get("b")], "finally": [get("z1"), last]})
    flow.answer(status=status)
    if status == 200:
        flow.answer()

    assert flow.urls[-1] == "http://h/z1"
    flow.answer()
    if status == 200:
        flow.answer()
    assert flow.result.status is (Status.COMPLETED if status == 200 else Status.FAILED)
    assert flow.ends["z2"] == ("completed" if status == 200 else "node 'b' not found or not executed yet")


def test_a_finally_step_that_fails_fails_the_flow_and_the_others_still_run() -> None:
    """Cleaning up goes as far as it can; the first failure is the one that is told."""
    flow = Flow({"nodes": [get("a")], "finally": [get("y"), get("z")]})
    flow.answer()
    flow.answer(status=404)
    flow.answer()

    assert flow.ends == {"a": "completed", "y": "failed", "z": "completed"}
    assert flow.result.status is Status.FAILED


def test_finally_steps_are_tried_again_and_ask_too() -> None:
    """A failure before them takes nothing away from them."""
    flow = Flow({"nodes": [get("a")], "finally": [get("z", retry={"attempts": 2}, userPrompts={"k": "K?"})]})
    flow.answer(status=500)

    flow.give("z.prompts.1", k="v")
    flow.answer(status=503)
    assert len(flow.timers) == 1
    flow.hear(TimerDue(at=flow.now, node=NodeId("z"), attempt=1))
    flow.answer()

    assert flow.ends == {"a": "failed", "z.prompts": "completed", "z": "completed"}


def test_a_stop_also_stops_what_runs_always() -> None:
    """Whoever stops a flow wants it stopped; the step in flight finishes."""
    flow = Flow({"nodes": [get("a"), get("b")], "finally": [get("z")]})
    flow.hear(StopAsked(at=AT, by="u", mode=StopMode.INTERRUPT))
    assert flow.urls == ["http://h/a"]
    flow.answer()

    assert flow.result.status is Status.INTERRUPTED
    assert flow.ends == {"a": "completed", "b": "not_run", "z": "not_run"}


def test_an_interrupt_during_the_last_step_interrupts_nothing() -> None:
    """All that was to run has run; what a condition skipped counts as done."""
    flow = Flow({"nodes": [get("s", conditions=[{"variable": "x", "exists": True}]), get("a")]})
    flow.hear(StopAsked(at=AT, by="u", mode=StopMode.INTERRUPT))
    flow.answer()

    assert flow.result.status is Status.COMPLETED


def test_a_paused_flow_starts_nothing_even_what_runs_always() -> None:
    """And goes on where it was."""
    flow = Flow({"nodes": [get("a"), get("b")], "finally": [get("z")]})
    flow.hear(PauseAsked(at=AT, by="u"))
    flow.answer(status=500)
    assert flow.urls == ["http://h/a"]
    flow.hear(ResumeAsked(at=AT, by="u"))
    assert flow.urls == ["http://h/a", "http://h/z"]
    flow.answer()

    assert flow.result.status is Status.FAILED


def test_a_step_may_fail_and_the_flow_goes_on() -> None:
    """`continueOnError`: its response is still there for those after it."""
    flow = Flow({"nodes": [get("a", continueOnError=True), get("b", url="http://h/{{ .responses.a.code }}")]})
    flow.answer({"code": 9}, status=500)
    flow.answer()

    assert flow.urls[-1] == "http://h/9"
    assert flow.result.status is Status.COMPLETED
    assert flow.ends["a"] == "failed"


def test_prompts_come_before_conditions_and_are_asked_in_every_step_that_has_them() -> None:
    """Answers are kept for all later steps; later ones of the same key win, and every kind of answer is taken."""
    flow = Flow(
        {
            "nodes": [
                get("a", userPrompts={"k": "{{ .vars.x }}?"}, conditions=[{"input": "k", "equals": "no"}]),
                get("b", userPrompts={"k": "K?"}, url="http://h/{{ .input.k }}/{{ .input.extra }}/{{ .input.gone }}"),
            ]
        }
    )
    asked = [fact.data for fact in flow.facts if isinstance(fact.data, InputRequired)]
    assert [(prompt.key, prompt.label) for prompt in asked[0].prompts] == [("k", "{{ .vars.x }}?")]

    flow.give("a.prompts.1", k="yes", extra=5)
    assert flow.urls == []
    flow.give("b.prompts.1", k="{{ .vars.x }}")

    assert flow.urls == ["http://h/{{ .vars.x }}/5/{{ .input.gone }}"]
    flow.answer()
    assert flow.ends["a"] == "user input 'k': expected 'no', got 'yes'"


def test_a_secret_answer_that_cannot_be_opened_fails_what_reads_it() -> None:
    """After a key was lost: to send the placeholder in its place would be no success. One that was not given stays as it is."""
    asks = {"userPrompts": {"user": "Who?", "word": "Word?"}, "secretPrompts": ["word"]}
    sends = {"url": "http://h/{{ .input.user }}/{{ .input.word }}"}
    for sealed, urls in (({"word": "what no key opens"}, []), ({}, ["http://h/ada/{{ .input.word }}"])):
        flow = Flow({"nodes": [get("a", **asks, **sends)]})
        given = {"user": "ada", **dict.fromkeys(sealed, "typed")}
        flow.hear(InputProvided(at=flow.now, by="u", prompt_id="a.prompts.1", values=given, sealed=sealed))

        assert flow.urls == urls
    checks = {"conditions": [{"input": "word", "exists": False}]}
    flow = Flow({"nodes": [get("a", **asks, **checks)]})
    answer = {"user": "ada", "word": "typed"}
    flow.hear(InputProvided(at=flow.now, by="u", prompt_id="a.prompts.1", values=answer, sealed={"word": "sealed"}))

    assert flow.result.error is not None
    assert flow.result.error.message == "The answer 'word' cannot be read any more"


def test_a_flow_may_begin_in_the_middle() -> None:
    """The steps before are skipped with their reason, and ask nothing."""
    flow = Flow({"nodes": [get("a", userPrompts={"k": "K?"}), get("b")]}, start_step=1)
    flow.answer()

    assert flow.urls == ["http://h/b"]
    assert flow.ends == {"a": "--start-step: execution begins at step 2", "b": "completed"}


def test_a_step_is_tried_again_as_its_author_says() -> None:
    """With the waits asked for, and with the same new values: a server may know a repetition by them."""
    retry = {"attempts": 3, "delay_s": 1, "backoff": 3, "max_delay_s": 2, "on": [503]}
    flow = Flow({"nodes": [get("a", url="http://h/{{ $guid }}", retry=retry)]})
    waits = []
    for attempt in (1, 2):
        flow.answer(status=503)
        waits.append((flow.timers[-1].due_at - flow.facts[-1].at).total_seconds())
        flow.hear(TimerDue(at=flow.now, node=NodeId("a"), attempt=attempt))
    flow.answer()

    assert 1 <= waits[0] <= 1.1
    assert 2 <= waits[1] <= 2.2
    assert len(set(flow.urls)) == 1
    assert flow.result.nodes[0].attempts == 3


def test_a_bad_reference_is_not_tried_again() -> None:
    """It can only fail in the same way."""
    flow = Flow({"nodes": [get("a", url="http://h/{{ .responses.b.x }}", retry={"attempts": 3})]})

    assert flow.result.nodes[0].attempts == 1
    assert flow.result.status is Status.FAILED


def test_a_lost_worker_fails_the_step_in_flight_unless_it_may_be_repeated() -> None:
    """Nobody knows whether the request was answered."""
    flow = Flow({"nodes": [get("a"), get("b")]})
    flow.hear(Lost(at=AT, code="worker_lost"))
    assert flow.result.error is not None
    assert flow.result.error.code == "worker_lost"

    flow = Flow({"nodes": [get("a", retry={"attempts": 2, "on": ["lost"]})]})
    flow.hear(Lost(at=AT, code="worker_lost"))
    flow.hear(TimerDue(at=flow.now, node=NodeId("a"), attempt=1))
    flow.answer()
    assert flow.result.status is Status.COMPLETED


def test_rows_of_data_run_the_flow_once_for_each() -> None:
    """One after another; a failed row fails the whole, after the others have run."""
    flow = Flow(
        {
            "variables": {"name": "nobody", "x": "X"},
            "data": {"csv": "name\nAda\n{{ .vars.x }}\nGrace"},
            "nodes": [get("a", url="http://h/{{ .vars.name }}{{ .vars.x }}"), get("b")],
            "finally": [get("z")],
        }
    )
    for statuses in ((200, 200, 200), (500, 200), (200, 200, 200)):
        for status in statuses:
            flow.answer(status=status)

    names = [url.rpartition("/")[2] for url in flow.urls]
    assert names == ["AdaX", "b", "z", "{{ .vars.x }}X", "z", "GraceX", "b", "z"]
    assert flow.result.status is Status.FAILED
    assert flow.result.error is not None
    assert flow.result.error.message == (
        "1 of 3 rows failed; row 2: HTTP status validation failed: expected 200, got 500"
    )


def test_rows_that_all_succeed_complete_the_flow() -> None:
    """What is kept of them is small."""
    flow = Flow({"data": [{"n": 1}, {"n": 2}], "nodes": [get("a", url="http://h/{{ .vars.n }}")]})
    flow.answer()
    flow.answer()

    assert flow.result.status is Status.COMPLETED
    assert flow.result.outputs["rows.verdict"] == {"rows": 2, "failed": 0}


def test_environments_and_run_inputs_give_values() -> None:
    """`_common` below the chosen one; what a run is given takes the place of variables, and is never read."""
    config = {
        "variables": {"v": "default"},
        "environments": {"_common": {"A": "1", "B": "1"}, "dev": {"B": "2"}},
        "environment": "dev",
        "nodes": [get("a", url="http://h/{{ .env.A }}{{ .env.B }}/{{ .vars.v }}")],
    }

    assert Flow(config, input={"v": "{{ .env.A }}"}).urls == ["http://h/12/{{ .env.A }}"]


def test_cookies_come_back_where_a_flow_keeps_them() -> None:
    """From earlier steps, redirects included; without `cookies` none is sent."""
    nodes = [get("a"), get("b"), get("c", url="http://other/")]
    for keeps, expected in ((True, (("sid", "1"),)), (False, ())):
        flow = Flow({"nodes": nodes, "cookies": keeps})
        flow.answer(told_cookies=(("http://h/", "sid=1; Path=/"),))
        assert isinstance(flow.calls[-1].call, ReadCall)
        assert flow.calls[-1].call.http.cookies == expected
        flow.answer()
        assert isinstance(flow.calls[-1].call, ReadCall)
        assert flow.calls[-1].call.http.cookies == ()


def test_legacy_keys_count_only_where_the_config_says_so() -> None:
    """FlowSphere's own samples have a `condition` that it ignores."""
    config = {
        "defaults": {"headers": {"X": "1"}},
        "nodes": [get("a"), get("b", condition={"response": 0, "statusCode": 404}), get("c", skipDefaultHeaders=True)],
    }
    for honors, urls in ((False, ["a", "b", "c"]), (True, ["a", "c"])):
        flow = Flow({**config, "honorLegacyKeys": honors})
        while len(flow.urls) < len(urls):
            flow.answer()
        assert [url[-1] for url in flow.urls] == urls
        assert isinstance(flow.calls[-1].call, ReadCall)
        assert (("X", "1") in flow.calls[-1].call.http.headers) is not honors


def test_new_values_differ_between_executions_and_places() -> None:
    """They are made of the execution's id, so that a recovered one makes the same again."""
    config = {"nodes": [get("a", url="http://h/{{ $guid }}/{{ $guid }}"), get("b", url="http://h/{{ $guid }}")]}
    flow = Flow(config)
    flow.answer()
    found = {part for url in flow.urls for part in url.removeprefix("http://h/").split("/")}

    assert len(found) == 3
    assert all(len(each) == 36 and each[14] == "4" for each in found)
    assert Flow(config).urls[0] == flow.urls[0]


def test_odd_ids_get_nodes_with_names() -> None:
    """An id that is there twice, none at all, or one that is no name; the first of two is the one referred to."""
    config = {"nodes": [get("a"), get("a"), get("b/c"), {"method": "GET", "url": "http://h/"}, get("step-2")]}

    assert step_ids(config) == ("a", "step-2-", "step-3", "step-4", "step-2")


def test_a_flow_without_steps_completes() -> None:
    """The doors that validate nothing let it in."""
    flow = Flow({})

    assert flow.result.status is Status.COMPLETED


def test_a_flow_is_stored_and_read_back() -> None:
    """Recovery compiles what was stored."""
    spec = FlowSpec(config={"nodes": [get("a")], "x": None}, start_step=1, input={"v": 1})

    assert decode_spec(encode_spec(spec), kind="flow") == spec


def test_running_again_from_what_failed_keeps_what_came_before() -> None:
    """A skipped step looks at its conditions again, and finds the same."""
    flow = Flow(
        {
            "nodes": [
                get("a"),
                get("s", conditions=[{"node": "a", "httpStatusCode": 1}]),
                get("b", url="http://h/{{ .responses.a.id }}"),
                get("c"),
            ]
        }
    )
    flow.answer({"id": 7})
    flow.answer(status=500)

    ends = [event for event in flow.events() if not isinstance(event.data, NodeSkipped)]
    again = spec_from(flow.spec, "failed", ends)
    assert isinstance(again, FlowSpec)
    assert list(again.pins) == ["a"]
    second = Flow(again.config, pins=again.pins)
    assert second.urls == ["http://h/7"]
    second.answer()
    second.answer()
    assert second.result.status is Status.COMPLETED
    assert nodes_of(flow.spec) == ("a", "s", "b", "c")
    with pytest.raises(ConflictError):
        spec_from(second.spec, "failed", second.events())
    changed = FlowSpec(config={"nodes": [get("a"), get("b")]})
    renewed = spec_from(changed, "failed", flow.events(), former=flow.spec)
    assert isinstance(renewed, FlowSpec)
    assert renewed.pins == {}


def test_rows_of_data_are_run_again_all_of_them() -> None:
    """A verdict on rows that are not run again would be the same."""
    flow = Flow({"data": [{"n": 1}], "nodes": [get("a")]})
    flow.answer(status=500)

    again = spec_from(flow.spec, "failed", flow.events())

    assert isinstance(again, FlowSpec)
    assert again.pins == {}


def test_what_is_skipped_says_so_in_the_journal() -> None:
    """A real event with the reason, and nothing else of the node."""
    flow = Flow({"nodes": [get("a", conditions=[{"variable": "x", "exists": True}])]})

    facts = [fact for fact in flow.facts if fact.node == "a"]
    assert [type(fact.data) for fact in facts] == [NodeSkipped]
    assert facts[0].data == NodeSkipped(reason="variable 'x': expected to exist, but it doesn't")
    assert not [fact for fact in flow.facts if isinstance(fact.data, NodeCompleted)]
