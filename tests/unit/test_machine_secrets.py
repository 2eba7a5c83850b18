"""Secrets in the machine: rendered into what runs, masked in what is told, and never in a state or a request's fault."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from execd.core.again import spec_from
from execd.core.calls import CallFailure, HttpResult, LlmResult
from execd.core.codec import decode_event, encode_json, number_fact, to_fact
from execd.core.errors import InvalidRequestError
from execd.core.events import (
    ExecutionId,
    InputReceived,
    NodeCompleted,
    NodeId,
    NodeOutput,
    Output,
    Status,
    StopMode,
    Stream,
)
from execd.core.http_answers import conclude_http
from execd.core.llm_answers import conclude_llm
from execd.core.outside import Outside, SecretMissingError
from execd.core.plain_credentials import warn_of_credentials
from execd.core.requests import parse_request
from execd.core.script_fields import ScriptTools
from execd.core.secret_names import check_known, places_of
from execd.core.signals import CallReturned, DeltaArrived, InputProvided, NodeExited, OutputArrived, StopAsked
from execd.core.specs import Limits, ScriptSpec
from execd.core.state import fold, new_state
from execd.core.workflow_parsing import parse_workflow
from execd.core.workflows import WorkflowSpec, decode_spec, encode_spec, graph_of
from execd.settings import Settings, load_runtimes
from tests.unit.test_machine import AT, SUCCESS, World, queued

KEY = "sk-live/very+secret"
PIN = "274951"
TOOLS = ScriptTools(
    runtimes=load_runtimes(Settings()), defaults=Limits(), caps=Limits(), env_names=frozenset({"REGION", "UNSET"})
)
OUTSIDE = Outside(env={"REGION": "eu-1"}, secrets={"KEY": KEY, "PIN": PIN})
BASH = {"type": "script", "language": "bash", "source": "true"}


def parse(*nodes: dict[str, Any], **more: Any) -> WorkflowSpec:
    numbered = [{"id": f"n{number}", **node} for number, node in enumerate(nodes)]
    return parse_workflow({"kind": "workflow", "nodes": numbered, **more}, TOOLS).spec


class SecretWorld(World):
    """A world with something outside; its spec goes through the store first."""

    def __init__(self, *nodes: dict[str, Any], outside: Outside = OUTSIDE) -> None:
        self.spec = decode_spec(encode_spec(parse(*nodes)), kind="workflow")
        self.graph = graph_of(self.spec, name="n")
        super().__init__(self.graph)
        self.outside = outside
        self.begin()

    @property
    def told(self) -> str:
        return encode_json(self.facts).decode()

    def check_silent(self, *more: str) -> None:
        """Nothing that was told has a secret, and what was told is all there is to the state."""
        forms = (KEY, json.dumps(KEY)[1:-1], base64.b64encode(KEY.encode()).decode(), PIN, *more)
        assert not [form for form in forms if form in self.told]
        events = [decode_event(number_fact(ExecutionId("e"), 1, fact).body) for fact in self.facts]
        again = fold(queued(self.graph), map(to_fact, events))
        assert encode_json(dict(again.runs)) == encode_json(dict(self.state.runs))

    def answer(self, node: str = "n0", **values: str) -> None:
        """Answer as a saga does: what is secret is sealed and known outside before the machine hears of it."""
        self.outside = self.outside.with_answer(NodeId(node), values)
        sealed = {key: f"sealed {key}" for key in values}
        self.hear(InputProvided(at=self.now, by="u", prompt_id=f"{node}.1", values=values, sealed=sealed))


def faults_of(*nodes: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(InvalidRequestError) as caught:
        parse(*nodes)
    return {fault.path: f"{fault.message}; {fault.accepted}" for fault in caught.value.faults}


# --- what expressions read


def test_a_call_gets_a_secret_and_its_answer_is_masked() -> None:
    """The request has it, in any field; what comes back, in whatever form, has not."""
    world = SecretWorld(
        {
            "type": "http",
            "url": "https://example.com/{{ env.REGION }}",
            "query": {"k": "{{ secrets.KEY }}"},
            "headers": {"X-Any": "v {{ secrets.KEY }}"},
            "json": {"pin": "{{ secrets.PIN | int }}"},
        }
    )
    call = world.calls[0].call

    assert call.url.startswith("https://example.com/eu-1?k=sk-live%2F")
    assert (call.headers[0], call.body) == (("X-Any", f"v {KEY}"), b'{"pin":274951}')
    assert KEY not in repr(world.calls)
    body = json.dumps({"echo": KEY, KEY: [274951, base64.b64encode(f"u:{KEY}".encode()).decode()]}).encode()
    echo = HttpResult(
        status=200, headers=(("content-type", "application/json"),), body=body, url=call.url, duration_ms=1
    )
    world.hear(CallReturned(at=AT, node=NodeId("n0"), attempt=1, result=conclude_http(call, echo, at=AT)))
    assert world.result.outputs["n0"]["body"] == {
        "echo": "***",
        "***": ["***", world.result.outputs["n0"]["body"]["***"][1]],
    }
    assert "***" in world.result.outputs["n0"]["body"]["***"][1]
    world.check_silent()


def test_a_refusal_that_quotes_a_secret_is_masked() -> None:
    """Error pages are the likeliest place of all."""
    world = SecretWorld({"type": "http", "url": "https://example.com/", "body": "{{ secrets.KEY }}"})
    refusal = HttpResult(status=403, reason=KEY, body=f"no: {KEY}".encode(), url="https://example.com/", duration_ms=1)

    end = conclude_http(world.calls[0].call, refusal, at=AT)
    world.hear(CallReturned(at=AT, node=NodeId("n0"), attempt=1, result=end))

    assert world.result.status is Status.FAILED
    world.check_silent()


def test_a_url_that_is_a_secret_is_not_told_in_parts() -> None:
    """Addresses of webhooks are keys; an error names the address up to its query, and a message may be cut anywhere."""
    hook = "https://hooks.example.com/T0/very?key=1#top"
    world = SecretWorld({"type": "http", "url": "{{ secrets.HOOK }}"}, outside=Outside(secrets={"HOOK": hook}))
    call = world.calls[0].call
    refusal = HttpResult(status=500, url=hook, duration_ms=1)
    cut = CallFailure(code="protocol", message=f"could not read {hook[:-5]}", retryable=False)

    ends = [conclude_http(call, refusal, at=AT), conclude_http(call, cut, at=AT)]

    assert not [end for end in ends if "very" in encode_json(end).decode()]
    assert "very" not in repr(call)


def test_a_model_that_quotes_a_secret_of_its_prompt_is_masked() -> None:
    """Its key is not the only one it may know; words that come in pieces are masked where they come, and again here."""
    world = SecretWorld(
        {"type": "llm", "base_url": "https://example.com", "model": "m", "prompt": "say {{ secrets.KEY }}"}
    )
    call = world.calls[0].call

    world.hear(DeltaArrived(at=AT, node=NodeId("n0"), attempt=1, delta=f"it is {KEY}"))
    end = conclude_llm(call, LlmResult(text=f"it is {KEY}"))
    world.hear(CallReturned(at=AT, node=NodeId("n0"), attempt=1, result=end))

    assert KEY in call.secrets
    assert [fact.data.delta for fact in world.facts if isinstance(fact.data, NodeOutput)] == ["it is ***"]
    world.check_silent()


def test_a_program_gets_a_secret_and_what_it_gives_is_masked() -> None:
    """As a variable, or in what it reads; a result that was escaped is read as what it means, and masked then."""
    world = SecretWorld(
        BASH | {"secrets": {"TOKEN": "KEY"}, "env": {"A": "{{ secrets.PIN }}"}, "input": {"k": "{{ secrets.KEY }}"}}
    )
    (script,) = world.scripts

    assert (script.env, script.stdin) == ({"A": PIN, "TOKEN": KEY}, json.dumps({"k": KEY}, separators=(",", ":")))
    assert KEY not in repr(script)
    escaped = "".join(f"\\u{ord(char):04x}" for char in KEY)
    output = Output(stream=Stream.STDOUT, offset=0, text=f'"{escaped}"\n')
    world.hear(OutputArrived(at=AT, node=NodeId("n0"), attempt=1, output=output))
    world.hear(NodeExited(at=AT, node=NodeId("n0"), attempt=1, outcome=SUCCESS))
    assert world.result.outputs["n0"]["result"] == "***"
    world.check_silent()


def test_what_a_node_gives_is_masked_for_those_after_it_too() -> None:
    """A `set` carries no secret on, because a recovered state would have none; a condition may look at one."""
    world = SecretWorld(
        {"type": "set", "values": {"k": "{{ secrets.KEY }}", "{{ not }}": "{{ secrets.KEY | base64_encode }}"}},
        {"type": "set", "needs": ["n0"], "values": "{{ nodes.n0.output.k }}"},
        {"type": "if", "condition": "{{ secrets.KEY is defined and secrets.PIN == '274951' }}"},
        {"type": "switch", "value": "{{ secrets.PIN }}", "cases": {"a": "{{ secrets.PIN }}"}},
        {"type": "map", "items": ["{{ secrets.KEY }}", 274951], "nodes": [{"id": "i", "type": "set", "values": "{{ item }}"}]},
        {"type": "workflow", "input": "{{ secrets.KEY }}", "nodes": [
            {"id": "i", "type": "set", "values": ["{{ input }}", "{{ secrets.KEY | length }}", "{{ env.REGION }}"]}
        ]},
        {"type": "input", "prompts": [{"key": "a", "label": "is it {{ secrets.KEY }}?"}]},
    )  # fmt: skip

    outputs = {node: run.output for node, run in world.state.runs.items()}
    assert outputs["n0"] == {"k": "***", "{{ not }}": "***"}
    assert (outputs["n1"], outputs["n2"], outputs["n3"]) == ("***", {"result": True}, {"case": "a", "value": "***"})
    assert (outputs["n4"], outputs["n5"]) == (["***", "***"], ["***", len(KEY), "eu-1"])
    world.check_silent()


def test_a_secret_that_is_gone_fails_its_node_and_says_which() -> None:
    """It was there when the workflow was submitted; only what needs it fails."""
    without = Outside(secrets={"PIN": PIN})
    world = SecretWorld(
        BASH | {"secrets": {"TOKEN": "KEY"}, "on_error": "continue"},
        {"type": "set", "values": "{{ secrets.KEY }}", "on_error": "continue"},
        {"type": "set", "values": "{{ secrets.PIN | length }}"},
        {"type": "set", "values": "{{ env.REGION | default('none') }}"},
        outside=without,
    )

    errors = {node.id: node.error for node in world.result.nodes if node.error is not None}
    assert errors["n0"].code == "secret_missing"
    assert "'KEY'" in errors["n0"].message
    assert errors["n1"].code == "expression"
    assert "secrets has no 'KEY'" in errors["n1"].message
    assert (world.result.outputs["n2"], world.result.outputs["n3"]) == (len(PIN), "none")
    with pytest.raises(SecretMissingError):
        without.equip(ScriptSpec(language="bash", source="", limits=Limits(), secrets={"TOKEN": "KEY"}))


def test_a_secret_that_looks_like_a_word_of_ours_changes_no_end() -> None:
    """What is read back out of the journal is never blotted out."""
    first, second = {**BASH, "env": {"A": "{{ secrets.KEY }}"}}, {**BASH, "needs": ["n0"]}
    world = SecretWorld(first, second, outside=Outside(secrets={"KEY": "not_run"}))
    world.hear(StopAsked(at=AT, by="u", mode=StopMode.INTERRUPT))
    world.exit(SUCCESS, NodeId("n0"))

    assert world.result.status is Status.INTERRUPTED


def test_a_value_nested_too_deep_to_be_searched_is_not_told() -> None:
    """What nobody can look through may hold anything."""
    world = SecretWorld(BASH | {"secrets": {"TOKEN": "KEY"}})
    text = "[" * 900 + json.dumps(KEY) + "]" * 900

    output = Output(stream=Stream.STDOUT, offset=0, text=text.replace(KEY, "".join(f"\\u{ord(c):04x}" for c in KEY)))
    world.hear(OutputArrived(at=AT, node=NodeId("n0"), attempt=1, output=output))
    world.hear(NodeExited(at=AT, node=NodeId("n0"), attempt=1, outcome=SUCCESS))

    world.check_silent()


def test_a_changed_secret_stays_hidden_as_it_was() -> None:
    """A program that was started before still has the former one."""
    changed = OUTSIDE.with_secrets({"KEY": "another-key"})

    assert changed.secrets == {"KEY": "another-key"}
    assert changed.mask is not None
    assert changed.mask.text(f"{KEY} another-key {PIN}") == "*** *** ***"


# --- answers


ASK = {
    "type": "input",
    "prompts": [{"key": "user", "label": "User"}, {"key": "password", "label": "Password", "secret": True}],
}


def test_a_secret_answer_is_read_by_those_after_it_and_told_to_nobody() -> None:
    """It is in the record as its seal; everything else of the answer is as it was given."""
    world = SecretWorld(
        ASK, {"type": "http", "needs": ["n0"], "url": "https://example.com/", "auth": {"basic": {
            "username": "{{ nodes.n0.output.user }}", "password": "{{ nodes.n0.output.password }}"}}}
    )  # fmt: skip

    world.outside = world.outside.with_answer(NodeId("n0"), {"password": "typed-in-secret"})
    values = {"user": "ada", "password": "typed-in-secret"}
    heard = InputProvided(at=AT, by="u", prompt_id="n0.1", values=values, sealed={"password": "sealed"})
    world.hear(heard)

    call = world.calls[0].call
    assert (call.auth.username, call.auth.password) == ("ada", "typed-in-secret")
    (received,) = [fact.data for fact in world.facts if isinstance(fact.data, InputReceived)]
    assert (received.values, received.sealed) == ({"user": "ada", "password": "***"}, {"password": "sealed"})
    assert world.state.sealed[NodeId("n0")] == {"password": "sealed"}
    assert "typed-in" not in repr(heard)
    world.check_silent("typed-in-secret")


def test_an_answer_that_cannot_be_opened_is_missing_and_not_its_mask() -> None:
    """Three asterisks sent as a password would lock somebody out."""
    world = SecretWorld(
        {"type": "input", "prompts": [{"key": "password", "secret": True}]},
        {"type": "set", "needs": ["n0"], "values": "{{ nodes.n0.output.password }}"},
    )

    world.outside = OUTSIDE
    heard = InputProvided(at=AT, by="u", prompt_id="n0.1", values={"password": "typed-in"}, sealed={"password": "s"})
    world.hear(heard)

    assert world.result.status is Status.FAILED
    assert "has no 'password'" in str(world.result.error)


def test_a_secret_answer_that_is_too_short_is_refused() -> None:
    """It could not be hidden."""
    world = SecretWorld({"type": "input", "prompts": [{"key": "password", "secret": True}]})

    with pytest.raises(InvalidRequestError) as caught:
        world.answer(password="abc")

    assert [fault.path for fault in caught.value.faults] == ["values.password"]


def test_a_retry_from_a_later_node_keeps_the_secret_answer() -> None:
    """Nobody is asked again, however often it is retried: the seal goes along."""
    nodes: list[dict[str, Any]] = [
        {"type": "input", "prompts": [{"key": "password", "secret": True}]},
        {"type": "if", "needs": ["n0"], "condition": "{{ nodes.n0.output.password }}"},
    ]
    world = SecretWorld(*nodes)
    world.answer(password="typed-in")
    events = [decode_event(number_fact(ExecutionId("e"), 1, fact).body) for fact in world.facts]

    again = spec_from(world.spec, "failed", events)
    completed = [event for event in events if isinstance(event.data, NodeCompleted)]
    once_more = spec_from(again, "n1", completed)

    for spec in (again, once_more):
        assert isinstance(spec, WorkflowSpec)
        assert spec.pins[NodeId("n0")].sealed == {"password": "sealed password"}
        state = new_state(graph_of(decode_spec(encode_spec(spec), kind="workflow"), name="n"))
        assert dict(state.sealed) == {NodeId("n0"): {"password": "sealed password"}}


# --- what is refused


def test_names_must_stand_there_and_be_allowed() -> None:
    """So that it is known beforehand what is needed, and nothing else is given away."""
    faults = faults_of(
        {"type": "set", "values": {"a": "{{ secrets[vars.x] }}", "b": "{{ secrets }}", "c": "{{ secrets.A.b }}"}},
        {"type": "set", "values": {"a": "{{ env.HOME }}", "b": "{{ env }}", "c": "{{ env[vars.x] }}"}},
        {"type": "set", "values": ["{{ env.REGION }}", "{{ secrets['KEY'] }}", "{{ env.UNSET | default(1) }}"]},
    )

    assert sorted(faults) == [f"nodes[{node}].values.{name}" for node in (0, 1) for name in "abc"]
    assert faults["nodes[1].values.a"] == (
        "reads the variable 'HOME', which is not given to workflows here; REGION, UNSET"
    )
    assert all("secrets.NAME" in faults[f"nodes[0].values.{name}"] for name in "abc")


def test_variables_that_are_secrets_are_checked() -> None:
    """Each with its path, as everything else."""
    faults = faults_of(BASH | {"env": {"A": "1"}, "secrets": {"A": "KEY", "1x": "KEY", "B": "no-name", "C": 1}})

    assert sorted(faults) == [f"nodes[0].secrets.{name}" for name in ("1x", "A", "B", "C")]


def test_a_secret_prompt_has_neither_default_nor_choices() -> None:
    """Both stand in the workflow, where everybody reads them."""
    faults = faults_of({"type": "input", "prompts": [{"key": "k", "secret": True, "default": "d", "choices": ["d"]}]})

    assert sorted(faults) == ["nodes[0].prompts[0].choices", "nodes[0].prompts[0].default"]


def test_a_secret_the_workspace_has_not_is_refused_with_every_place() -> None:
    """In bodies too; and the answer says which there are."""
    spec = parse(
        {"type": "http", "url": "https://x.example/{{ secrets.A }}", "headers": {"K": "{{ secrets.B }}"}},
        {
            "type": "map",
            "items": [],
            "nodes": [{"id": "i", **BASH, "secrets": {"V": "A"}, "args": ["{{ secrets.C }}"]}],
        },
    )

    with pytest.raises(InvalidRequestError) as caught:
        check_known(spec, known={"B"})

    assert [fault.path for fault in caught.value.faults] == [
        "nodes[0].url",
        "nodes[1].nodes[0].secrets.V",
        "nodes[1].nodes[0].args[0]",
    ]
    assert {fault.accepted for fault in caught.value.faults} == {"B"}
    assert graph_of(spec, name="n") is not None
    assert new_state(graph_of(spec, name="n")).root.plan.secrets == {"A", "B", "C"}
    script = parse_request({"language": "bash", "source": "true", "secrets": {"V": "A"}}, TOOLS).spec
    assert list(places_of(script)) == [("secrets.V", "A")]


def test_credentials_in_clear_are_warned_of() -> None:
    """They are allowed, and everybody who sees the workflow has them."""
    nodes = [
        {"type": "http", "auth": {"bearer": KEY}, "headers": {"X-Api-Key": KEY, "Accept": "text/plain"}},
        {"type": "http", "auth": {"basic": {"username": "u", "password": KEY}}},
        {"type": "http", "auth": {"bearer": "{{ secrets.KEY }}"}, "headers": [1]},
        {"type": "map", "nodes": [{"type": "llm", "api_key": KEY}, {"type": "llm", "api_key": "{{ vars.k }}"}, 1]},
        "no node",
    ]

    found = warn_of_credentials({"nodes": nodes})

    assert [warning.path for warning in found] == [
        "nodes[0].auth.bearer",
        "nodes[0].headers.X-Api-Key",
        "nodes[1].auth.basic.password",
        "nodes[3].nodes[0].api_key",
    ]
    assert KEY not in str(found)
    assert warn_of_credentials("no workflow") == warn_of_credentials({"nodes": 1}) == []
