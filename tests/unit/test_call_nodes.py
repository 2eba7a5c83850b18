"""`http` and `llm` nodes: what is read, what is asked, what an answer means, and what nobody gets to see."""

from __future__ import annotations

import base64
from datetime import timedelta
from email.utils import format_datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from execd.core.calls import (
    MAX_OUTPUT_BYTES,
    CallEnd,
    CallFailure,
    Credentials,
    HttpCall,
    HttpResult,
    LlmCall,
    LlmResult,
    cancelled,
)
from execd.core.codec import encode_json
from execd.core.errors import InvalidRequestError
from execd.core.events import NodeFailed, NodeOutput, NodeRetrying, Status, StopMode
from execd.core.http_answers import conclude_http
from execd.core.llm_answers import conclude_llm
from execd.core.masking import Mask, StreamMask
from execd.core.requests import parse_request
from execd.core.script_fields import ScriptTools
from execd.core.signals import CallReturned, DeltaArrived, Lost, StopAsked
from execd.core.specs import Limits
from execd.core.workflows import WorkflowSpec, decode_spec, encode_spec, graph_of
from execd.settings import Settings, load_runtimes
from tests.unit.test_machine import AT, World

TOOLS = ScriptTools(runtimes=load_runtimes(Settings()), defaults=Limits(), caps=Limits())
KEY = "sk-very/secret"
MIB = 1024 * 1024


def parse(*nodes: Any, **more: Any) -> WorkflowSpec:
    spec = parse_request({"kind": "workflow", "nodes": list(nodes), **more}, TOOLS).spec
    assert isinstance(spec, WorkflowSpec)
    return spec


def faults_of(node: Any) -> dict[str, str]:
    with pytest.raises(InvalidRequestError) as caught:
        parse(node)
    return {fault.path: fault.message for fault in caught.value.faults}


def started(node: Any, **more: Any) -> World:
    """Run a workflow of one node until it has asked; its spec goes through the store first."""
    spec = decode_spec(encode_spec(parse({"id": "a", **node}, **more)), kind="workflow")
    world = World(graph_of(spec, name="n"))
    world.begin()
    return world


def asked(node: Any, **more: Any) -> Any:
    return started(node, **more).calls[0].call


def http(**fields: Any) -> Any:
    return asked({"type": "http", "url": "https://example.com/a", **fields})


def answer_call(world: World, end: CallEnd, attempt: int = 1) -> None:
    world.hear(CallReturned(at=world.now, node=world.calls[0].node, attempt=attempt, result=end))


def call(**changes: Any) -> HttpCall:
    fields: dict[str, Any] = {"method": "GET", "url": "https://example.com/a?key=1", "timeout_s": 1.0}
    return HttpCall(**(fields | {"max_redirects": 0, "max_response_bytes": MIB} | changes))


def answered(body: bytes = b"", media_type: str = "", **changes: Any) -> HttpResult:
    headers = (("content-type", media_type),) if media_type else ()
    fields: dict[str, Any] = {"status": 200, "headers": headers, "url": "https://example.com/a", "duration_ms": 7}
    return HttpResult(**(fields | {"body": body} | changes))


def output_of(result: HttpResult, asking: HttpCall | None = None) -> Any:
    end = conclude_http(asking or call(), result, at=AT)
    assert end.outcome.status is Status.COMPLETED
    assert len(encode_json(end.output)) <= MAX_OUTPUT_BYTES
    return end.output


def question(**changes: Any) -> LlmCall:
    fields: dict[str, Any] = {"base_url": "https://example.com/v1", "model": "m", "messages": (), "timeout_s": 1.0}
    return LlmCall(**(fields | changes))


# --- what is read


def test_an_http_node_asks_what_its_fields_say() -> None:
    """Every field of the node reaches the request, with its expressions replaced."""
    node = {
        "type": "http",
        "method": "post",
        "url": "{{ vars.base }}/items?a=1#top",
        "headers": {"X-One": "{{ vars.n }}", "X-Many": ["a", "b"], "X-None": None},
        "query": {"q": "x y", "n": "{{ vars.n }}", "many": [1, True], "none": None},
        "json": {"n": "{{ vars.n }}"},
        "auth": {"basic": {"username": "u", "password": "{{ vars.key }}"}},
        "timeout_s": 5,
        "max_redirects": 0,
        "max_response_bytes": 100,
        "verify_tls": False,
        "expect_status": [200, "3XX"],
    }

    assert asked(node, vars={"base": "https://example.com", "n": 3, "key": KEY}) == HttpCall(
        method="POST",
        url="https://example.com/items?a=1&q=x+y&n=3&many=1&many=true#top",
        headers=(("X-One", "3"), ("X-Many", "a"), ("X-Many", "b"), ("Content-Type", "application/json")),
        body=b'{"n":3}',
        auth=Credentials(username="u", password=KEY),
        timeout_s=5.0,
        max_redirects=0,
        max_response_bytes=100,
        verify_tls=False,
        expect=("200", "3xx"),
    )


@pytest.mark.parametrize(
    ("fields", "body", "media_type"),
    [
        ({"json": [1]}, b"[1]", "application/json"),
        ({"form": {"a": "x y", "b": [1, 2]}}, b"a=x+y&b=1&b=2", "application/x-www-form-urlencoded"),
        ({"body": "grüße"}, "grüße".encode(), "text/plain; charset=utf-8"),
        ({"body": "<a/>", "headers": {"content-type": "text/xml"}}, b"<a/>", "text/xml"),
        ({}, None, None),
    ],
)
def test_a_body_says_what_it_is(fields: Any, body: bytes | None, media_type: str | None) -> None:
    """Whoever sends JSON need not say so twice; whoever says something else is believed."""
    got = http(**fields)

    assert got.body == body
    assert [value for name, value in got.headers if name.lower() == "content-type"] == [media_type] * (body is not None)


def test_a_query_may_be_a_list() -> None:
    """Where the order counts, or a parameter has no value of its own."""
    assert http(query=[{"name": "b", "value": 1}, {"name": "a", "value": "{{ 1 + 1 }}"}]).url.endswith("?b=1&a=2")


def test_everything_wrong_with_an_http_node_is_told_at_once() -> None:
    """One request, one answer, each fault with its path."""
    found = faults_of(
        {
            "id": "a",
            "type": "http",
            "method": "TRACE",
            "url": "ftp://example.com",
            "headers": ["a"],
            "query": [{"key": "a"}],
            "json": 1,
            "form": {"a": "{{ oops( }}"},
            "auth": {"basic": {"username": "u"}, "bearer": "t"},
            "timeout_s": 0,
            "max_redirects": -1,
            "max_response_bytes": 2 * MIB,
            "verify_tls": "no",
            "expect_status": [200, 99, "6xx", True],
            "colour": "red",
        }
    )

    names = {path.removeprefix("nodes[0].") for path in found}
    assert names >= {"method", "url", "headers", "query[0]", "form", "auth", "timeout_s", "max_redirects", "colour"}
    assert names >= {"max_response_bytes", "verify_tls", "expect_status[1]", "expect_status[2]", "expect_status[3]"}
    assert "form.a" in names


@pytest.mark.parametrize(
    "fields",
    [
        {"url": "{{ vars.number }}"},
        {"url": "{{ vars.text }}"},
        {"headers": "{{ vars.number }}"},
        {"query": "{{ vars.text }}"},
        {"auth": {"bearer": "{{ vars.number }}"}},
        {"headers": {"a": "{{ vars.nul }}"}},
    ],
)
def test_values_that_make_no_request_fail_the_node(fields: Any) -> None:
    """An expression that gives the wrong kind is told with its field, and nothing is sent."""
    node = {"type": "http", "url": "https://example.com", **fields}

    world = started(node, vars={"number": 3, "text": KEY, "nul": "a\0b"})

    assert world.calls == []
    assert world.result.error is not None
    assert world.result.error.code == "http:request"
    assert f"`{next(iter(fields))}" in world.result.error.message
    assert KEY not in world.result.error.message


def test_an_llm_node_asks_what_its_fields_say() -> None:
    """A prompt becomes messages; JSON is asked for as the API has it."""
    node = {
        "type": "llm",
        "base_url": "https://example.com/v1",
        "api_key": "{{ vars.key }}",
        "model": "m",
        "prompt": "Count to {{ vars.n }}",
        "system": "Be brief",
        "temperature": 0,
        "max_tokens": 10,
        "response_format": "json",
        "timeout_s": 9,
    }

    assert asked(node, vars={"key": KEY, "n": 3}) == LlmCall(
        base_url="https://example.com/v1",
        api_key=KEY,
        model="m",
        messages=({"role": "system", "content": "Be brief"}, {"role": "user", "content": "Count to 3"}),
        temperature=0.0,
        max_tokens=10,
        response_format={"type": "json_object"},
        timeout_s=9.0,
    )


def test_messages_may_come_from_an_expression() -> None:
    """A conversation that an earlier node kept."""
    node = {"type": "llm", "base_url": "https://x/v1", "model": "m", "messages": "{{ vars.talk }}"}

    assert asked(node, vars={"talk": [{"role": "user", "content": "hi"}]}).messages[0]["content"] == "hi"
    assert started(node, vars={"talk": "hi"}).result.error.code == "llm:request"  # type: ignore[union-attr]


def test_everything_wrong_with_an_llm_node_is_told_at_once() -> None:
    """As for every type."""
    found = faults_of(
        {
            "id": "a",
            "type": "llm",
            "base_url": "example.com",
            "messages": [{"content": "x"}, 1],
            "prompt": "x",
            "temperature": 3,
            "max_tokens": 0,
            "response_format": "xml",
        }
    )

    names = {path.removeprefix("nodes[0].") for path in found} | {"" for path in found if path == "nodes[0]"}
    assert {"base_url", "model", "messages[0]", "messages[1]", "temperature", "max_tokens", "response_format"} <= names


# --- what an answer means


@pytest.mark.parametrize(
    ("result", "body"),
    [
        (answered(b'{"a":[1]}', "application/json"), {"a": [1]}),
        (answered(b'{"a":1}', "application/problem+json; charset=utf-8"), {"a": 1}),
        (answered(b'{"a":1}', "text/plain"), '{"a":1}'),
        (answered(b'{"a":', "application/json"), '{"a":'),
        (answered(b'{"a":1}', "application/json", truncated=True), '{"a":1}'),
        (answered(b"[" * 200 + b"]" * 200, "application/json"), "[" * 200 + "]" * 200),
        (answered(b"[" * 50_000, "application/json"), "[" * 50_000),
        (answered(b'"\\ud800"', "application/json"), '"\\ud800"'),
        (answered(b"12345678901234567890123", "application/json"), 12345678901234567890123),
        (answered("é".encode("latin-1"), 'text/html; charset="ISO-8859-1"'), "é"),
        (answered("é".encode(), "text/html; charset=nonsense"), "é"),
        (answered("aé".encode()[:-1], "text/plain", truncated=True), "a"),
        (answered(b"", "application/json"), ""),
    ],
)
def test_a_body_is_json_or_text_where_it_is_any(result: HttpResult, body: Any) -> None:
    """What expressions read is what the server meant, and what is broken is shown as it came."""
    output = output_of(result)

    assert output["body"] == body
    assert "body_encoding" not in output


@pytest.mark.parametrize(
    "result", [answered(b"\xff\xfe\x00"), answered(b"a\0b"), answered(b"abc", "text/plain", is_decoded=False)]
)
def test_a_body_that_is_no_text_is_base64(result: HttpResult) -> None:
    """Nothing is lost, and the output says how to read it."""
    output = output_of(result)

    assert base64.b64decode(output["body"]) == result.body
    assert output["body_encoding"] == "base64"


@pytest.mark.parametrize(
    "result",
    [
        answered(b"x" * MIB),
        answered(b'"\\\n' * (MIB // 3)),
        answered("é".encode() * (MIB // 2)),
        answered(b"\xff" * MIB),
        answered(b"[" + b'"\\u00e9",' * (MIB // 9) + b"1]", "text/plain"),
        answered(b"[" + b"1e9," * (MIB // 4) + b"1]", "application/json"),
        answered(b"x" * MIB, headers=tuple((f"h{n}", "v" * 1000) for n in range(500))),
    ],
)
def test_what_a_journal_cannot_keep_is_cut_and_said(result: HttpResult) -> None:
    """Whatever the text costs as JSON, the output fits, and most of it is there."""
    output = output_of(result)

    assert output["truncated"] is True
    assert len(encode_json(output)) > MAX_OUTPUT_BYTES * 0.9


def test_headers_are_a_table() -> None:
    """The last of several counts, but cookies are all kept."""
    headers = (("x-a", "1"), ("x-a", "2"), ("set-cookie", "a=1"), ("set-cookie", "b=2"))

    output = output_of(answered(b"ok", headers=headers))

    assert output["headers"] == {"x-a": "2", "set-cookie": ["a=1", "b=2"]}
    assert (output["status"], output["url"], output["duration_ms"]) == (200, "https://example.com/a", 7)


@pytest.mark.parametrize(
    ("expect", "status", "is_success"),
    [
        ((), 204, True),
        ((), 302, True),
        ((), 400, False),
        ((), 503, False),
        (("404",), 404, True),
        (("404",), 200, False),
        (("2xx", "404"), 201, True),
        (("2xx",), 301, False),
    ],
)
def test_the_author_says_which_status_is_a_success(expect: tuple[str, ...], status: int, is_success: bool) -> None:
    """Below 400 unless something else is said; a refusal is never reported as success."""
    end = conclude_http(call(expect=expect), answered(b"no such item", status=status), at=AT)

    assert (end.outcome.failure is None) is is_success
    if end.outcome.failure is not None:
        assert end.outcome.failure.code == "http:status"
        assert str(status) in end.outcome.failure.message
        assert end.outcome.failure.details["body"] == "no such item"
        assert "key=1" not in end.outcome.failure.message


@pytest.mark.parametrize(("status", "is_final"), [(404, True), (400, True), (429, False), (500, False), (503, False)])
def test_only_some_refusals_are_worth_another_try(status: int, is_final: bool) -> None:
    """What is not there will not be there in a second; what is overloaded may not be."""
    assert conclude_http(call(), answered(status=status), at=AT).outcome.is_final is is_final


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("100000", 300.0),
        (format_datetime(AT + timedelta(seconds=20), usegmt=True), 20.0),
        (format_datetime(AT - timedelta(seconds=20), usegmt=True), 0.0),
        ("soon", None),
        ("-5", None),
        ("", None),
    ],
)
def test_retry_after_is_heard_within_reason(value: str, seconds: float | None) -> None:
    """Seconds or a date, up to five minutes; nonsense is as good as nothing."""
    result = answered(status=429, headers=(("retry-after", value),))

    assert conclude_http(call(), result, at=AT).outcome.retry_after_s == seconds


@pytest.mark.parametrize(
    ("method", "was_sent", "was_cut_off"),
    [("GET", True, False), ("PUT", True, False), ("POST", True, True), ("PATCH", True, True), ("POST", False, False)],
)
def test_what_may_have_been_done_counts_as_cut_off(method: str, was_sent: bool, was_cut_off: bool) -> None:
    """A payment must not be made twice because its answer was lost."""
    failure = CallFailure(code="timeout", message="late", retryable=True, was_sent=was_sent)

    end = conclude_http(call(method=method), failure, at=AT)

    assert end.outcome.was_cut_off is was_cut_off
    assert end.outcome.failure is not None
    assert end.outcome.failure.code == "http:timeout"


def test_a_model_answers_with_text() -> None:
    """What the next node reads."""
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    said = LlmResult(text="hello", finish_reason="stop", model="m-1", usage=dict(usage))

    assert conclude_llm(question(), said).output == {
        "text": "hello",
        "finish_reason": "stop",
        "model": "m-1",
        "usage": usage,
    }


@pytest.mark.parametrize("text", ['{"a": 1}', ' {"a": 1}\n', '```json\n{"a": 1}\n```'])
def test_json_that_was_asked_for_is_read(text: str) -> None:
    """Models like to wrap it."""
    end = conclude_llm(question(response_format={"type": "json_object"}), LlmResult(text=text))

    assert end.output["json"] == {"a": 1}
    assert end.output["text"] == text


@pytest.mark.parametrize("text", ["Sure! Here you are", '{"a": 1', "[" * 5000, "[" * 200 + "]" * 200, ""])
def test_an_answer_that_is_not_json_fails_with_its_text(text: str) -> None:
    """Nobody can mend a prompt whose answer is hidden; models vary, so it may be asked again."""
    end = conclude_llm(question(response_format={"type": "json_object"}), LlmResult(text=text, finish_reason="length"))

    assert end.outcome.failure is not None
    assert end.outcome.failure.code == "llm:not_json"
    assert end.outcome.failure.details["text"] == text[:2000]
    assert "'length'" in end.outcome.failure.message
    assert not end.outcome.is_final


def test_an_answer_longer_than_a_journal_takes_is_cut_and_said() -> None:
    """The rest was streamed; the output says that it is not all."""
    end = conclude_llm(question(), LlmResult(text='"' * 2 * MIB))

    assert end.output["truncated"] is True
    assert MAX_OUTPUT_BYTES - 10 < len(encode_json(end.output)) <= MAX_OUTPUT_BYTES


JSONISH = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=50).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(), st.lists).map(encode_json),
    st.sampled_from(
        [b"9" * 5000, b"-" + b"9" * 400, b"1e400", b"-0", b'{"a":1,"a":2}', b'"\\ud800\\udc00"', b"\xef\xbb\xbf{}"]
    ),
)
MEDIA = st.sampled_from(
    ["application/json", "text/plain; charset=utf-16", "text/x; charset=hex", "", "x/y; charset=rot13"]
)


@settings(max_examples=300, deadline=None)
@given(body=JSONISH, media_type=MEDIA | st.text(), truncated=st.booleans(), status=st.integers(100, 599))
def test_whatever_a_server_says_can_be_kept(body: bytes, media_type: str, truncated: bool, status: int) -> None:
    """No answer is a defect of execd: each has an output or a failure that a journal gives back as it was."""
    result = answered(body, media_type, truncated=truncated, status=status)

    end = conclude_http(call(auth=Credentials(token=KEY)), result, at=AT)

    kept = msgspec.json.decode(encode_json(end.output))
    assert kept == end.output
    if end.outcome.failure is None:
        assert (kept["status"], "body" in kept) == (status, True)
    else:
        assert msgspec.json.decode(encode_json(end.outcome.failure))["details"]["status"] == status


@settings(max_examples=200, deadline=None)
@given(text=JSONISH.map(lambda data: data.decode(errors="replace")), wants_json=st.booleans())
def test_whatever_a_model_says_can_be_kept(text: str, wants_json: bool) -> None:
    """As for servers."""
    asking = question(api_key=KEY, response_format={"type": "json_object"} if wants_json else None)

    end = conclude_llm(asking, LlmResult(text=text, model=text, refusal=text, finish_reason=text))

    assert msgspec.json.decode(encode_json(end.output)) == end.output


# --- attempts


def retrying(method: str = "GET", **retry: Any) -> World:
    return started({"type": "http", "method": method, "url": "https://example.com", "retry": {"jitter": 0, **retry}})


def test_a_retry_waits_as_long_as_the_server_asks() -> None:
    """The longer of the two waits counts, and the journal says until when."""
    world = retrying(retries=2, delay_s=2)

    answer_call(world, conclude_http(call(), answered(status=503, headers=(("retry-after", "30"),)), at=AT))
    at = [fact.data.retry_at for fact in world.facts if isinstance(fact.data, NodeRetrying)]
    world.fire(world.calls[0].node)
    answer_call(world, conclude_http(call(), answered(status=503, headers=(("retry-after", "1"),)), at=AT), attempt=2)
    at = [fact.data.retry_at for fact in world.facts if isinstance(fact.data, NodeRetrying)]

    assert at == [AT + timedelta(seconds=30), AT + timedelta(seconds=4)]
    assert [order.attempt for order in world.calls] == [1, 2]


def test_a_refusal_that_cannot_change_is_not_asked_again() -> None:
    """A 404 does not become a page by asking twice."""
    world = retrying(retries=5)

    answer_call(world, conclude_http(call(), answered(status=404), at=AT))

    assert world.result.status is Status.FAILED


@pytest.mark.parametrize(("on_lost", "is_repeated"), [(False, False), (True, True)])
def test_only_its_author_lets_a_request_be_made_twice(on_lost: bool, is_repeated: bool) -> None:
    """An order whose answer was lost may be placed already."""
    world = retrying("POST", retries=5, on_lost=on_lost)
    lost = CallFailure(code="timeout", message="late", retryable=True, was_sent=True)

    answer_call(world, conclude_http(call(method="POST"), lost, at=AT))

    assert any(isinstance(fact.data, NodeRetrying) for fact in world.facts) is is_repeated
    assert any(isinstance(fact.data, NodeFailed) for fact in world.facts) is not is_repeated


def test_without_on_failure_no_failure_is_repeated() -> None:
    """The platform was not at fault."""
    world = retrying(retries=5, on_failure=False)

    answer_call(world, conclude_http(call(), answered(status=503), at=AT))

    assert world.result.status is Status.FAILED


@pytest.mark.parametrize(("on_lost", "is_repeated"), [(False, False), (True, True)])
def test_a_call_in_flight_is_lost_with_its_worker(on_lost: bool, is_repeated: bool) -> None:
    """Nobody knows how far it came, whatever its method."""
    world = retrying(retries=1, on_lost=on_lost)

    world.hear(Lost(at=AT, code="worker_lost"))

    assert any(isinstance(fact.data, NodeRetrying) for fact in world.facts) is is_repeated
    assert not is_repeated or world.timers


def test_a_cancel_stops_the_call_and_waits_for_its_end() -> None:
    """The execution ends when nothing of it is left."""
    world = started({"type": "http", "url": "https://example.com"})

    world.hear(StopAsked(at=AT, by="u", mode=StopMode.CANCEL))
    assert world.stopped == {(world.calls[0].node, 1)}
    assert "result_stored" not in world.types()
    answer_call(world, cancelled())

    assert world.result.status is Status.CANCELLED


def test_what_a_model_says_is_told_while_it_speaks_and_not_after() -> None:
    """A late piece of an attempt that is over is nobody's."""
    world = started({"type": "llm", "base_url": "https://x/v1", "model": "m", "prompt": "hi"})
    node = world.calls[0].node

    world.hear(DeltaArrived(at=AT, node=node, attempt=1, delta="hel"))
    world.hear(DeltaArrived(at=AT, node=node, attempt=2, delta="other"))
    answer_call(world, conclude_llm(question(), LlmResult(text="hello")))
    world.hear(DeltaArrived(at=AT, node=node, attempt=1, delta="lo"))

    assert [fact.data.delta for fact in world.facts if isinstance(fact.data, NodeOutput)] == ["hel"]
    assert world.result.outputs["a"]["text"] == "hello"


# --- what nobody gets to see


@pytest.mark.parametrize(
    "asking",
    [
        call(auth=Credentials(token=KEY)),
        call(auth=Credentials(username="user", password=KEY)),
        call(auth=Credentials(username=KEY)),
        call(headers=(("X-Api-Key", KEY),)),
        call(headers=(("Authorization", f"Bearer {KEY}"),)),
        call(url="https://user:sk-very%2Fsecret@example.com/"),
    ],
)
def test_a_server_that_quotes_a_secret_does_not_tell_it(asking: HttpCall) -> None:
    """Echo services and error pages quote headers; journals are read by more people than keys are given to."""
    pair = base64.b64encode(f"user:{KEY}".encode()).decode()
    quoted = f'{{"{KEY}": ["Bearer {KEY}", "Basic {pair}", "sk-very\\/secret", "sk-very%2Fsecret"]}}'.encode()
    ends = [
        conclude_http(asking, answered(quoted, kind, status=status, headers=headers, reason=KEY), at=AT)
        for kind in ("application/json", "text/plain")
        for status in (200, 403)
        for headers in ((("content-type", kind),), (("x-echo", KEY), ("content-type", kind)))
    ]
    ends.append(conclude_http(asking, answered(url=f"https://example.com/{KEY}"), at=AT))
    binary = conclude_http(asking, answered(b"\xff" + KEY.encode()), at=AT)
    assert base64.b64decode(binary.output["body"]) == b"\xff***"
    ends.append(conclude_http(asking, CallFailure(code="tls", message=f"bad {KEY}", retryable=False), at=AT))

    for end in ends:
        told = encode_json(end).decode()
        assert not any(form in told for form in (KEY, "sk-very\\/secret", "sk-very%2Fsecret"))
        assert asking.auth is None or asking.auth.password == "" or pair not in told


def test_nothing_shows_a_secret_in_its_repr() -> None:
    """Orders and signals end up in logs and traces."""
    asking = call(url=f"https://u:{KEY}@example.com/?k={KEY}", auth=Credentials(token=KEY), body=KEY.encode())
    world = started(
        {"type": "http", "url": "https://example.com", "headers": {"a": KEY}, "auth": {"bearer": KEY}, "body": KEY}
    )
    ask = question(api_key=KEY, messages=({"role": "user", "content": KEY},))

    for thing in (asking, world.calls, ask, answered(KEY.encode()), LlmResult(text=KEY)):
        assert KEY not in repr(thing)
    assert KEY not in encode_json(world.facts).decode()


def test_a_model_that_quotes_its_key_does_not_tell_it() -> None:
    """As for servers."""
    asking = question(api_key=KEY, response_format={"type": "json_object"})
    ends = [
        conclude_llm(asking, LlmResult(text=msgspec.json.encode({"k": KEY}).decode(), model=KEY, refusal=KEY)),
        conclude_llm(asking, LlmResult(text=f"my key is {KEY}")),
        conclude_llm(asking, CallFailure(code="auth", message=f"{KEY} is wrong", retryable=False)),
    ]

    assert KEY not in encode_json(ends).decode()


@settings(deadline=None)
@given(st.lists(st.text(alphabet="abc", max_size=6)), st.text(alphabet="abc", min_size=4, max_size=6))
def test_a_stream_is_masked_however_it_is_cut(pieces: list[str], secret: str) -> None:
    """A key that arrives in two pieces is still a key; everything else arrives unchanged, and all of it."""
    stream = StreamMask(Mask([secret]))

    told = "".join([*(stream.feed(piece) for piece in pieces), stream.finish()])

    assert secret not in told
    assert told == Mask([secret]).text("".join(pieces))


def test_half_a_secret_at_a_cut_is_not_told_either() -> None:
    """Half a key is a good part of the work of guessing it."""
    asking = call(auth=Credentials(token=KEY))
    cut = answered(b"key: " + KEY.encode()[:-1], truncated=True)
    refusal = answered(b"x" * 1995 + KEY.encode(), status=403)
    end = conclude_http(asking, refusal, at=AT)

    assert output_of(cut, asking)["body"] == "key: "
    assert end.outcome.failure is not None
    assert end.outcome.failure.details["body"] == "x" * 1995 + "***"


def test_a_text_too_short_to_be_a_key_is_left_alone() -> None:
    """A password `a` would blot out every word."""
    assert Mask(["abc", ""]).text("abc") == "abc"
