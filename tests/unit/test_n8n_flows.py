"""Flows of React Flow: what is refused, what is only warned of, and what each node type really does."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from execd.core.calls import HttpCall, LlmCall, succeeded
from execd.core.dialects.n8n_flows import parse_drawing
from execd.core.errors import InvalidRequestError
from execd.core.event_parts import Failure
from execd.core.events import NodeCompleted, NodeFailed, NodeId, NodeSkipped, NodeWarned, Output, Status, Stream
from execd.core.nodes.n8n.code import CodeSpec
from execd.core.nodes.n8n.templates import NOTHING, Ambiguous, Filling, Names, Ref, choose, follow
from execd.core.outcome import Outcome
from execd.core.requests import parse_request
from execd.core.signals import CallReturned, NodeExited, OutputArrived
from execd.core.workflows import WorkflowSpec, decode_spec, encode_spec, graph_of
from tests.support.flows import TRIGGER, drawn
from tests.unit.test_call_nodes import TOOLS
from tests.unit.test_machine import FAILURE, SUCCESS, World


def faults_of(body: Any) -> dict[str, str]:
    with pytest.raises(InvalidRequestError) as caught:
        parse_drawing(body, TOOLS)
    return {fault.path: fault.message for fault in caught.value.faults}


def begun(body: dict[str, Any], given: Any = None) -> World:
    """Begin a flow; its spec goes through the store first."""
    spec = parse_request({"kind": "reactflow", **body}, TOOLS).spec
    assert isinstance(spec, WorkflowSpec)
    stored = decode_spec(encode_spec(msgspec.structs.replace(spec, input=given)), kind="workflow")
    world = World(graph_of(stored, name="n"))
    world.begin()
    return world


def outputs(world: World) -> dict[str, Any]:
    return {fact.node: fact.data.output for fact in world.facts if isinstance(fact.data, NodeCompleted) and fact.node}


def failures(world: World) -> dict[str, Failure]:
    return {fact.node: fact.data.error for fact in world.facts if isinstance(fact.data, NodeFailed) and fact.node}


def warned(world: World) -> list[str]:
    return [text for fact in world.facts if isinstance(fact.data, NodeWarned) for text in fact.data.messages]


def run_one(kind: str, config: dict[str, Any], given: Any = None) -> World:
    """Run a trigger and one node after it."""
    return begun(drawn(TRIGGER, ("a", kind, config)), given)


def call_of(world: World) -> Any:
    return world.calls[0].call


def answer(world: World, output: Any) -> None:
    world.hear(CallReturned(at=world.now, node=world.calls[0].node, attempt=1, result=succeeded(output)))


def said(text: str) -> dict[str, Any]:
    return {"text": text, "finish_reason": "stop", "model": "m", "usage": {"total_tokens": 9}}


# --- what is refused, and what is warned of


@pytest.mark.behaviour(51)
def test_everything_wrong_with_a_drawing_is_told_at_once_with_its_path() -> None:
    """A person mends a drawing once, not fault by fault."""
    body = drawn(
        ("a", "trigger-manual", {}),
        ("a", "action-teleport", {}),
        ("x/y", "logic-condition", {}),
        ("c", "action-code", {"code": "1", "language": "cobol"}),
        ("d", "logic-condition", {}),
        edges="a>zzz d:maybe>c c>d",
    )
    body["data"]["nodes"].append("no node")

    found = faults_of(body)

    assert found.keys() == {
        "data.nodes[1].id",
        "data.nodes[1].data.type",
        "data.nodes[2].id",
        "data.nodes[3].data.config.language",
        "data.nodes[5]",
        "data.edges[0].target",
        "data.edges[1].sourceHandle",
        "data.nodes[3]",
    }
    assert "c -> d -> c" in found["data.nodes[3]"] or "d -> c -> d" in found["data.nodes[3]"]


@pytest.mark.parametrize(
    "body", [None, [], {}, {"data": 1}, {"nodes": []}, {"nodes": 1}, {"nodes": [{"id": "a", "data": {}}]}]
)
def test_what_is_no_flow_is_refused(body: object) -> None:
    """Bad input is a list of faults, never a crash and never an empty run."""
    assert faults_of(body)


@pytest.mark.behaviour(51, 52)
def test_an_ambiguous_reference_is_a_fault_and_a_missing_one_a_warning() -> None:
    """What may mean two nodes would be a guess; braces that mean no node may be meant as they stand."""
    two = drawn(
        ("ai_1", "logic-transform", {}), ("ai_2", "logic-transform", {}), ("r", "response-data", {"body": "{{ai.x}}"})
    )
    assert faults_of(two).keys() == {"data.nodes[2].data.config.body"}

    missing = drawn(TRIGGER, ("r", "response-data", {"body": {"deep": ["{{nobody.x}}"]}}))
    request = parse_drawing(missing, TOOLS)
    assert [warning.path for warning in request.warnings] == ["data.nodes[1].data.config.body.deep[0]"]

    later = drawn(("r", "response-data", {"body": "{{z.x}}"}), ("z", "logic-transform", {}))
    assert "does not come before it" in parse_drawing(later, TOOLS).warnings[0].message


def test_a_drawing_of_any_size_is_read_in_bounded_time() -> None:
    """Who saves a thousand nodes that read one another, or a text full of braces, holds nobody else up for long."""
    chain = drawn(TRIGGER, *((f"n{i}", "logic-transform", {"mappings": "{{trigger.x}} {{n0.y}}"}) for i in range(999)))
    assert len(parse_drawing(chain, TOOLS).spec.nodes) == 1000

    braces = "".join(f"{{{{z{n}.y}}}}" for n in range(20_000))
    assert faults_of(drawn(TRIGGER, ("a", "logic-transform", {"mappings": braces}))).keys() == {
        "data.nodes[1].data.config.mappings"
    }
    many = drawn(TRIGGER, ("a", "logic-transform", {"mappings": braces[:9000]}))
    assert len(parse_drawing(many, TOOLS).warnings) == 50


def test_an_id_may_be_a_number_and_a_node_may_say_its_type_outside() -> None:
    """Editors number their nodes, and some draw a node under its own type only."""
    body = {
        "nodes": [{"id": 1, "type": "trigger-manual"}, {"id": 2, "type": "response-data", "data": {"config": {}}}],
        "edges": [{"source": 1, "target": "2"}],
    }

    assert [node.id for node in parse_drawing(body, TOOLS).spec.nodes] == ["1", "2"]


@given(st.recursive(st.none() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3)))
def test_any_garbage_in_a_drawing_gives_faults_or_a_flow(garbage: Any) -> None:
    """Whatever an editor saves, the answer is never a crash."""
    for body in ({"nodes": garbage}, {"nodes": [{"id": garbage, "data": garbage}], "edges": garbage}, garbage):
        with suppress(InvalidRequestError):
            assert parse_drawing(body, TOOLS).spec.nodes


# --- templates


def resolve(inner: str, nodes: list[str]) -> Ref | Ambiguous | None:
    return choose(Names(nodes).candidates(inner))


def test_a_reference_means_its_exact_id_then_the_numbered_one_then_the_only_one_like_it() -> None:
    """The order of precedence, as published flows need it: `trigger` finds `trigger_1`."""
    assert resolve("a.b.c", ["a", "a.b"]) == Ref("a.b", ("c",))
    assert resolve("trigger.x", ["trigger_1", "trigger_settings"]) == Ref("trigger_1", ("x",))
    assert resolve("http", ["http-request"]) == Ref("http-request")
    assert resolve("ai.x", ["ai_1", "ai-2"]) == Ambiguous(("ai-2", "ai_1"))
    assert resolve("x", ["a"]) is None
    assert resolve("", ["a"]) is None


@pytest.mark.behaviour(52)
def test_references_are_filled_in_once_and_keep_their_type_when_alone() -> None:
    """Texts and numbers as they are, everything else as JSON; what was inserted is never read again."""
    known = {"n": 5, "t": "{{n}}", "o": {"k": [True, None]}, "z": None}
    filling = Filling(lambda inner: known.get(inner, NOTHING))

    filled = filling.fill(
        {"a": "{{n}}", "b": "x {{ n }} {{t}} {{o}} {{z}} {{gone}}", "c": ["{{o}}", {"d": "{{gone}}"}], "n": 1}
    )

    assert filled == {
        "a": 5,
        "b": 'x 5 {{n}} {"k":[true,null]} null {{gone}}',
        "c": [{"k": [True, None]}, {"d": "{{gone}}"}],
        "n": 1,
    }
    assert list(filling.unresolved) == ["gone"]


def test_a_path_leads_through_objects_and_lists_and_into_the_data_of_an_answer() -> None:
    """`{{http.link}}` is what people write, and the field is really under `data`."""
    answered = {"executed": True, "status": 200, "data": {"link": "l", "status": "inner", "rows": [{"id": 7}]}}
    assert follow(answered, ("link",)) == "l"
    assert follow(answered, ("status",)) == 200
    assert follow(answered, ("rows", "0", "id")) == 7
    assert follow(answered, ("rows", "9")) is NOTHING
    assert follow({"a": None}, ("a",)) is None


@given(st.text(alphabet="{}a. \n", max_size=60))
def test_any_text_is_filled_in_without_a_crash_and_without_references_is_itself(text: str) -> None:
    """Braces are common in prompts and code."""
    assert Filling(lambda _inner: NOTHING).fill(text) == text


def test_inserting_more_than_a_node_may_give_fails_the_node() -> None:
    """A megabyte named a thousand times is a gigabyte."""
    body = {str(n): "{{trigger.big}}" for n in range(30)}
    world = run_one("response-data", {"body": body}, {"big": "x" * 100_000})
    assert failures(world)["a"].code == "template"


def test_values_grow_no_deeper_than_can_be_kept() -> None:
    """Each node may wrap what the one before gave; a journal that cannot be read again would be lost."""
    layers: dict[str, Any] = {"in": "{{%s}}"}
    for _ in range(60):
        layers = {"in": layers}

    def wrapping(before: str) -> dict[str, Any]:
        return msgspec.json.decode(msgspec.json.encode(layers).replace(b"%s", before.encode()))

    world = begun(
        drawn(
            TRIGGER,
            ("a", "logic-transform", {"mappings": wrapping("trigger")}),
            ("b", "logic-transform", {"mappings": wrapping("a")}),
        )
    )
    assert failures(world)["b"].code == "template"

    deep = "[" * 300 + "]" * 300
    assert outputs(run_one("response-data", {"body": "{{trigger.x}}"}, {"x": deep}))["a"]["body"] == deep
    assert failures(run_one("response-data", {}, {"x": msgspec.json.decode(deep)}))["trigger_1"].code == "config"


# --- input


def test_flat_input_reaches_every_trigger_and_an_object_under_a_node_id_its_config() -> None:
    """The two forms of `input_data`."""
    flow = drawn(TRIGGER, ("r", "response-data", {"status": 200, "body": "{{trigger.name}}"}))

    flat = begun(flow, {"name": "Ada"})
    assert outputs(flat)["trigger_1"] == {"triggered": True, "timestamp": "2026-01-01T00:00:00.000Z", "name": "Ada"}
    assert outputs(flat)["r"] == {"responded": True, "status": 200, "body": "Ada"}

    by_node = begun(flow, {"trigger_1": {"name": "Bob"}, "r": {"status": "201", "body": "hi {{trigger.name}}"}})
    assert outputs(by_node)["r"] == {"responded": True, "status": 201, "body": "hi Bob"}

    bare = begun(flow)
    assert outputs(bare)["r"]["body"] == "{{trigger.name}}"
    assert warned(bare) == ["{{trigger.name}} leads to nothing and stays as it is"]


def test_input_is_data_and_not_read_as_references() -> None:
    """Whoever fills in a form must not read other nodes by it."""
    flow = drawn(TRIGGER, ("r", "response-data", {"body": "{{trigger.text}}"}))
    assert outputs(begun(flow, {"text": "{{trigger.timestamp}}"}))["r"]["body"] == "{{trigger.timestamp}}"


# --- logic


@pytest.mark.parametrize(
    ("operator", "one", "other", "result"),
    [
        ("equals", "5", "5", True),
        ("equals", 5, "5.0", True),
        ("equals", True, "true", True),
        ("equals", 1, True, False),
        ("equals", None, "", False),
        ("not_equals", "a", "b", True),
        ("contains", "hello", "ell", True),
        ("contains", [1, "2"], 2, True),
        ("contains", {"key": 1}, "key", True),
        ("contains", None, "x", False),
        ("greater_than", "10", "9", True),
        ("greater_than", "2026-02-01", "2026-01-31", True),
        ("less_than", 1, "1.5", True),
        ("is_empty", "", None, True),
        ("is_empty", "{{trigger.missing}}", None, True),
        ("is_empty", 0, None, False),
        ("is_not_empty", [1], None, True),
        ("is_not_empty", {}, None, False),
    ],
)
def test_a_condition_really_compares(operator: str, one: Any, other: Any, result: bool) -> None:
    """Constants come as text from an editor, values with their type from nodes."""
    world = run_one("logic-condition", {"condition_type": operator, "value1": one, "value2": other})
    assert outputs(world)["a"] == {"evaluated": True, "operator": operator, "result": result}


@pytest.mark.behaviour(50)
@pytest.mark.parametrize(("value", "ran"), [("yes", "true"), ("no", "false")])
def test_a_condition_takes_one_side_and_skips_the_other_to_the_join(value: str, ran: str) -> None:
    """Only edges of the side that holds are followed; an edge without a handle is the true side; a join runs."""
    config = {"value1": "{{trigger.v}}", "value2": "yes"}
    world = begun(
        drawn(
            TRIGGER,
            ("if_1", "logic-condition", config),
            ("t", "logic-transform", {"mappings": {"side": "true"}}),
            ("f", "logic-transform", {"mappings": {"side": "false"}}),
            ("after_f", "logic-transform", {}),
            ("join", "logic-transform", {"mappings": '{"t": "{{t.side}}", "f": "{{f}}"}'}),
            edges="trigger_1>if_1 if_1>t if_1:false>f f>after_f t>join after_f>join",
        ),
        {"v": value},
    )

    skipped = {fact.node for fact in world.facts if isinstance(fact.data, NodeSkipped)}
    assert skipped == ({"f", "after_f"} if ran == "true" else {"t"})
    joined = {"t": "true", "f": "{{f}}"} if ran == "true" else {"t": "{{t.side}}", "f": {"side": "false"}}
    assert outputs(world)["join"] == joined


@pytest.mark.parametrize("config", [{"condition_type": "resembles"}, {"condition_type": "less_than", "value1": {}}])
def test_a_comparison_that_makes_no_sense_fails_the_node(config: dict[str, Any]) -> None:
    """True or false, never a guess."""
    assert "a" in failures(run_one("logic-condition", config))


# --- calls


def test_an_http_node_sends_what_its_config_says_and_gives_any_status() -> None:
    """Bodies as objects or JSON text, headers too; a status of 500 is an answer unless the config says otherwise."""
    config = {
        "url": "https://example.com/{{trigger.id}}",
        "method": "post",
        "headers": '{"X-Id": "{{trigger.id}}"}',
        "body": '{"quote": "{{trigger.q}}", "n": "{{trigger.id}}"}',
    }
    world = run_one("action-http", config, {"id": 7, "q": 'say "hi"\n'})
    call = call_of(world)
    assert isinstance(call, HttpCall)
    assert (call.method, call.url, call.timeout_s) == ("POST", "https://example.com/7", 30.0)
    assert call.headers == (("X-Id", "7"), ("Content-Type", "application/json"))
    assert msgspec.json.decode(call.body or b"") == {"quote": 'say "hi"\n', "n": 7}
    assert "5xx" in call.expect
    answer(world, {"status": 500, "headers": {}, "url": "u", "duration_ms": 1, "truncated": False, "body": {"k": 1}})
    assert outputs(world)["a"] == {"executed": True, "status": 500, "data": {"k": 1}}


def test_an_http_node_has_bodies_only_where_they_belong_and_can_fail_on_a_status() -> None:
    """GET is the default and sends no body; `fail_on_error_status` is the option."""
    plain = call_of(run_one("action-http", {"url": "http://h/", "body": "{}", "fail_on_error_status": True}))
    assert (plain.method, plain.body, plain.expect) == ("GET", None, ())
    text = call_of(run_one("action-http", {"url": "http://h/", "method": "PUT", "body": "no json"}))
    assert (text.body, text.headers) == (b"no json", (("Content-Type", "text/plain; charset=utf-8"),))
    for wrong in ({}, {"url": "ftp://h"}, {"url": "http://h", "method": "TRACE"}, {"url": "http://h", "headers": 5}):
        assert "a" in failures(run_one("action-http", wrong))


def test_a_model_is_asked_of_its_provider_and_answers_under_the_names_templates_read() -> None:
    """No key stands in the flow: the call names a provider, and execd adds the rest."""
    world = run_one("ai-openai", {"prompt": "Sum up {{trigger.x}}", "temperature": "0.5"}, {"x": [1]})
    call = call_of(world)
    assert isinstance(call, LlmCall)
    assert (call.provider, call.base_url, call.api_key, call.model) == ("openai", "", None, "")
    assert (call.temperature, call.max_tokens, call.timeout_s) == (0.5, 150, 60.0)
    assert call.messages == ({"role": "user", "content": "Sum up [1]"},)
    answer(world, said("short"))
    expected = {"response": "short", "text": "short", "model": "m", "tokens_used": 9, "finish_reason": "stop"}
    assert outputs(world)["a"] == expected


def test_a_model_may_be_asked_at_an_address_of_its_own() -> None:
    """A self-hosted model needs no setting of the server."""
    config = {"prompt": "hi", "base_url": "http://127.0.0.1:1/v1", "model": "llama", "api_key": "k"}
    call = call_of(run_one("ai-gemini", config))
    assert (call.provider, call.base_url, call.api_key, call.model) == (None, "http://127.0.0.1:1/v1", "k", "llama")
    for wrong in ({}, {"prompt": "x", "temperature": 9}, {"prompt": "x", "max_tokens": 0.5}, config | {"model": ""}):
        assert "a" in failures(run_one("ai-gemini", wrong))


def test_a_classification_is_one_of_the_categories_or_a_failure() -> None:
    """No invented category, no invented confidence."""
    config = {"text": "{{trigger.t}}", "categories": "Sales, support"}
    world = run_one("ai-classify", config, {"t": "help"})
    assert call_of(world).provider == "any"
    answer(world, said(' "Support." '))
    assert outputs(world)["a"] == {"category": "support", "text": ' "Support." ', "model": "m"}

    other = run_one("ai-classify", config, {"t": "help"})
    answer(other, said("complaint"))
    assert failures(other)["a"].code == "llm:not_a_category"


def test_a_content_writer_asks_for_a_text() -> None:
    """Topic, tone and length are in the question; the answer is `text`."""
    world = run_one("ai-content-writer", {"content_type": "ad_copy", "topic": "shoes", "length": "short"})
    assert "shoes" in call_of(world).messages[0]["content"]
    answer(world, said("Buy."))
    assert outputs(world)["a"]["text"] == "Buy."


@pytest.mark.parametrize("kind", ["action-send-message", "action-post-social", "send-telegram"])
def test_a_message_goes_to_its_webhook_or_fails_and_says_what_to_set(kind: str) -> None:
    """Never a simulated success."""
    bare = run_one(kind, {"message": "hi"})
    assert failures(bare)["a"].code == "channel:not_configured"
    assert "config.webhook_url" in failures(bare)["a"].message

    world = run_one(kind, {"message": "hi {{trigger.n}}", "recipient": "r", "webhook_url": "https://h/x"}, {"n": 1})
    told = msgspec.json.decode(call_of(world).body)
    assert told == {"type": kind, "node": "a", "message": "hi 1", "recipient": "r"}
    answer(world, {"status": 204, "body": "", "truncated": False})
    assert outputs(world)["a"]["successful"] == 1


@pytest.mark.parametrize("kind", ["action-upload-image", "action-upload-video", "media-image"])
def test_an_upload_fails_because_there_is_no_store_for_files(kind: str) -> None:
    """An honest failure until there is one."""
    assert failures(run_one(kind, {"images": ["x"]}))["a"].code == "storage:not_configured"


# --- code


def test_a_program_is_given_what_came_before_and_its_text_is_never_filled_in() -> None:
    """Values reach it as data; a value can never become code."""
    world = begun(
        drawn(TRIGGER, ("t", "logic-transform", {"mappings": {"n": 2}}), ("c", "action-code", {"code": "x='{{t.n}}'"})),
        {"a": 1},
    )
    told = msgspec.json.decode(world.scripts[0].stdin or "")
    assert told["code"] == "x='{{t.n}}'"
    assert told["input"]["t"] == {"n": 2}
    assert told["input"]["trigger_1"]["a"] == 1
    assert world.scripts[0].language == "python"


def finish_code(stdout: str, outcome: Outcome) -> World:
    world = run_one("action-code", {"code": "x"})
    written = Output(stream=Stream.STDOUT, offset=0, text=stdout)
    world.hear(OutputArrived(at=world.now, node=NodeId("a"), attempt=1, output=written))
    world.hear(NodeExited(at=world.now, node=NodeId("a"), attempt=1, outcome=outcome))
    return world


def test_a_program_gives_its_result_or_its_own_error() -> None:
    """The keys of the origin on success; the exception's words, not only an exit code, on failure."""
    assert outputs(finish_code('{"result": [1], "scope": "{}"}\n', SUCCESS))["a"] == {
        "executed": True,
        "result": [1],
        "scope": "{}",
    }
    assert failures(finish_code('{"error": "ValueError: no"}\n', FAILURE))["a"].message == "ValueError: no"
    assert failures(finish_code("", SUCCESS))["a"].code == "code:no_result"
    assert failures(finish_code('{"result": "' + "x" * 300_000, SUCCESS))["a"].code == "code:too_large"
    assert failures(finish_code("", FAILURE))["a"].message == (FAILURE.failure and FAILURE.failure.message)


def test_javascript_is_chosen_by_a_config_key() -> None:
    """The catalogue says JavaScript, the origin runs Python; the flow says which."""
    request = parse_drawing(drawn(("c", "action-code", {"code": "1", "language": "javascript"})), TOOLS)
    spec = msgspec.convert(request.spec.nodes[0].config, CodeSpec)
    assert spec.script.language == "node"


def test_a_flow_ends_failed_when_a_node_does() -> None:
    """A failed node is never a completed run."""
    world = begun(drawn(TRIGGER, ("a", "action-upload-image", {}), ("b", "response-data", {})))
    assert world.state.status is Status.FAILED
    assert "b" not in outputs(world)


def test_a_run_up_to_a_node_leaves_out_the_rest() -> None:
    """In a request as of what is saved; another sort of flow has no such part, and refuses it rather than run it all."""
    flow = {"kind": "reactflow", **drawn(TRIGGER, ("a", "logic-transform", {}), ("b", "logic-transform", {}))}
    step = {"kind": "flow", "nodes": [{"id": "a", "method": "GET", "url": "https://x.example/"}]}

    spec = parse_request({**flow, "until": "a"}, TOOLS).spec

    assert isinstance(spec, WorkflowSpec)
    assert [node.id for node in spec.nodes] == ["trigger_1", "a"]
    for body in ({**flow, "until": "c"}, {**flow, "until": 1}, {**step, "until": "a"}):
        with pytest.raises(InvalidRequestError) as caught:
            parse_request(body, TOOLS)
        assert [fault.path for fault in caught.value.faults] == ["until"]
