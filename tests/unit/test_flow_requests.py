"""From a step to the bytes of its request, and from an answer to what is kept of it."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from execd.core.calls import CallFailure, HttpCall, HttpResult, ReadCall
from execd.core.events import Status
from execd.core.flows.answers import read_body, read_headers
from execd.core.flows.bodies import encode_body
from execd.core.flows.cookies import Told, cookies_for
from execd.core.flows.endings import Keeping
from execd.core.flows.error_texts import error_text, url_fault
from execd.core.flows.moments import Moment, Response
from execd.core.flows.placeholders import Reader
from execd.core.flows.references import paths_read
from execd.core.flows.steps import FailStep, SkipStep, Step, StepOptions
from execd.core.flows.wire_urls import wire_url

AT = datetime(2026, 1, 1, tzinfo=UTC)
LOGIN = Response(status=200, body={"id": 7, "token": "t-1"})


def begin(node: dict[str, Any], config: dict[str, Any] | None = None, **options: Any) -> Any:
    """Begin a step."""
    config = config or {}
    step = Step(
        {"id": "s", "method": "GET", "url": "http://h/", **node},
        config,
        Reader(config.get("variables", {})),
        index=0,
        options=StepOptions(**options),
    )
    moment = Moment(
        timestamp=5,
        make_guid=lambda: "g",
        response_of={"login": LOGIN}.get,
        input={"name": "Ada"},
        secrets={"KEY": "s3cret-value"},
    )
    return step.begin(moment, [], AT)


def call_of(node: dict[str, Any], config: dict[str, Any] | None = None, **options: Any) -> HttpCall:
    begun = begin(node, config, **options)
    assert isinstance(begun, ReadCall)
    return begun.http


def end_of(node: dict[str, Any], result: Any, config: dict[str, Any] | None = None, **options: Any) -> Any:
    begun = begin(node, config, **options)
    assert isinstance(begun, ReadCall)
    return begun.conclude(result, AT)


def answer(body: bytes = b"{}", *, status: int = 200, **fields: Any) -> HttpResult:
    given_fields: dict[str, Any] = {"url": "http://h/", "duration_ms": 12, "reason": "OK", **fields}
    return HttpResult(status=status, body=body, **given_fields)


def shown(node: dict[str, Any], config: dict[str, Any] | None = None, **options: Any) -> Any:
    return end_of(node, answer(), config, **options).output["request"]


JSON, FORM = "application/json", "application/x-www-form-urlencoded"
BODIES = [
    ("POST", {"a": 1}, None, b'{"a":1}', JSON),
    ("PUT", [1.0, 1.5], None, b"[1,1.5]", JSON),
    ("PATCH", 5, None, b"5", JSON),
    (
        "PUT",
        {"a": 1e21, "b": -0.0, "c": 1e-7, "d": 1e20},
        None,
        b'{"a":1e+21,"b":0,"c":1e-7,"d":100000000000000000000}',
        JSON,
    ),
    ("POST", "text", "", b"text", ""),
    ("POST", None, "", None, ""),
    ("POST", True, None, b"true", JSON),
    ("POST", {}, None, b"{}", JSON),
    ("POST", [], None, b"[]", JSON),
    ("post", {"a": 1}, None, b'{"a":1}', JSON),
    ("POST", "text", None, b"text", FORM),
    ("POST", None, None, None, FORM),
    ("POST", 0, None, None, FORM),
    ("POST", False, None, None, FORM),
    ("POST", "", None, None, FORM),
    ("GET", {"a": 1}, None, None, None),
    ("DELETE", {"a": 1}, JSON, None, JSON),
    ("POST", {"a": 1}, "text/plain", b'{"a":1}', "text/plain"),
    ("POST", ' {"a": 1} ', JSON, b'{"a": 1}', JSON),
    ("POST", "plain", JSON, b'"plain"', JSON),
    ("POST", 'say "ü"', JSON, '"say \\"ü\\""'.encode(), JSON),
    ("POST", "plain", "text/plain", b"plain", "text/plain"),
    (
        "POST",
        {"a": {"b": 1}, "c": [1, 2], "n": None, "s": "x y&z", "t": True},
        FORM,
        b"a%5Bb%5D=1&c%5B%5D=1&c%5B%5D=2&s=x+y%26z&t=true",
        FORM,
    ),
    (
        "POST",
        {"l": [{"x": 1}, {"x": 2}], "d": {"e": [3]}},
        FORM,
        b"l%5B0%5D%5Bx%5D=1&l%5B1%5D%5Bx%5D=2&d%5Be%5D%5B0%5D=3",
        FORM,
    ),
    ("POST", {"k[]": ["~*"]}, FORM, b"k%5B%5D=%7E*", FORM),
]


@pytest.mark.parametrize(("method", "body", "content_type", "data", "sent_type"), BODIES)
def test_bodies_are_written_by_their_type(
    method: str, body: Any, content_type: str | None, data: bytes | None, sent_type: str | None
) -> None:
    """As axios writes them: the same config has to reach the same API with the same bytes."""
    encoded = encode_body(method, body, content_type)

    assert (encoded.data, encoded.content_type) == (data, sent_type)


def test_multipart_is_real_parts() -> None:
    """Nested names in brackets; the boundary stands in no part."""
    encoded = encode_body("POST", {"a": "1", "b": {"c": "ü"}, 'q"': 1}, "multipart/form-data")

    assert encoded.data is not None
    assert encoded.content_type is not None
    boundary = encoded.content_type.partition("boundary=")[2].encode()
    parts = encoded.data.split(b"--" + boundary)
    assert parts[0] == b""
    assert parts[-1] == b"--\r\n"
    assert parts[1] == b'\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
    assert parts[2] == '\r\nContent-Disposition: form-data; name="b[c]"\r\n\r\nü\r\n'.encode()
    assert b'name="q%22"' in parts[3]


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(),
        lambda i: st.lists(i, max_size=3) | st.dictionaries(st.text(max_size=3), i, max_size=3),
        max_leaves=8,
    )
)
def test_any_body_can_be_written_in_any_type(body: Any) -> None:
    """Whatever placeholders made of it."""
    for content_type in (None, JSON, FORM, "multipart/form-data", "text/xml"):
        encode_body("POST", body, content_type)


def test_defaults_come_first_and_are_replaced_in_their_place() -> None:
    """Same name in the same letters: the step's value, where the default stood."""
    config = {
        "defaults": {
            "baseUrl": "http://h/v1/",
            "headers": {"X-A": "d", "X-B": "d"},
            "timeout": 7,
            "validations": [{"httpStatusCode": 204}],
        },
    }
    node = {"url": "/items", "headers": {"X-C": 1, "X-A": "n", "x-b": True, "X-N": None, "X-L": "a\r\nb"}}

    call = call_of(node, config)

    assert call.url == "http://h/v1//items"
    assert shown(node | {"skipDefaultValidations": True}, config)["headers"] == {
        "X-A": "n",
        "X-B": "d",
        "X-C": 1,
        "x-b": True,
        "X-N": None,
        "X-L": "a\r\nb",
    }
    assert dict(call.headers) == {
        "X-A": "n",
        "x-b": "true",
        "X-C": "1",
        "X-L": "ab",
        "Accept": "application/json, text/plain, */*",
    }
    assert call.timeout_s == 7
    assert end_of(node, answer(), config).outcome.failure.message.startswith(
        "HTTP status validation failed: expected 204"
    )


@pytest.mark.parametrize(
    ("own", "default", "seconds"),
    [
        (None, None, 30),
        (0, 5, 5),
        (2.5, 5, 2.5),
        (0, None, 30),
        ("{{ .vars.t }}", 5, 4),
        ("abc", None, 30),
        (99999, None, 3600),
    ],
)
def test_the_time_a_step_has(own: Any, default: Any, seconds: float) -> None:
    """0 counts as none; without any it is 30 s."""
    config = {"variables": {"t": 4}, "defaults": {} if default is None else {"timeout": default}}

    assert call_of({} if own is None else {"timeout": own}, config).timeout_s == seconds


def test_a_url_that_begins_with_a_placeholder_gets_no_base() -> None:
    """Only the text as it is written decides."""
    config = {"variables": {"p": "/x"}, "defaults": {"baseUrl": "http://h"}}

    begun = begin({"url": "{{ .vars.p }}"}, config)

    assert isinstance(begun, FailStep)
    assert begun.message == "Invalid URL"


def test_a_type_that_is_added_is_shown_only_beside_other_headers() -> None:
    """Without a headers object, its own or a default one, none is shown."""
    assert shown({"method": "POST", "body": {"a": 1}})["headers"] == {}
    assert shown({"method": "POST", "body": {"a": 1}, "headers": {}})["headers"] == {"Content-Type": JSON}
    assert shown({"method": "POST", "body": "a", "headers": {}})["headers"] == {}


def test_a_body_that_is_not_sent_is_still_shown() -> None:
    """As the original has it; a warning says so."""
    assert shown({"method": "GET", "body": {"a": 1}})["body"] == {"a": 1}
    assert call_of({"method": "GET", "body": {"a": 1}}).body is None


def test_a_bad_reference_anywhere_fails_the_step_and_shows_how_far_it_came() -> None:
    """Also in keys nothing reads; what could be replaced is there."""
    node = {"url": "http://h/{{ .responses.login.id }}", "note": "{{ .responses.nobody.x }}"}

    begun = begin(node)

    assert isinstance(begun, FailStep)
    assert begun.message == "Could not find response for node: nobody"
    assert begun.details["request"]["url"] == "http://h/7"
    assert [each["value"] for each in begun.details["substitutions"]] == [7]


def test_validations_are_not_replaced_but_noted() -> None:
    """They compare with what is written; the page shows the substitution all the same."""
    node = {"validations": [{"jsonpath": ".a", "equals": "{{ .vars.one }}"}]}

    end = end_of(node, answer(b'{"a":"1"}'), {"variables": {"one": "1"}})

    assert end.outcome.failure.message == 'Validation failed: field .a should equal "{{ .vars.one }}", got "1"'
    assert end.outcome.failure.details["step"]["substitutions"][0]["path"] == "validations[0].equals"


def test_substitutions_follow_the_order_of_keys() -> None:
    """The node's own keys first, then those that were merged in."""
    config = {"variables": {"a": 1}, "defaults": {"headers": {"X": "{{ .vars.a }}"}}}
    node = {"name": "{{ .vars.a }}", "method": "POST", "body": {"n": ["{{ .vars.a }}"]}}

    output = end_of(node, answer(), config).output

    assert [each["path"] for each in output["substitutions"]] == ["name", "body.n[0]", "headers.X"]


def test_a_condition_skips_before_anything_is_replaced() -> None:
    """A reference into a skipped step would fail it otherwise."""
    node = {"url": "{{ .responses.nobody.x }}", "conditions": [{"input": "name", "equals": "Bob"}]}

    assert begin(node) == SkipStep("user input 'name': expected 'Bob', got 'Ada'")


def test_types_are_kept_where_the_config_says_so() -> None:
    """In bodies only; elsewhere everything is text."""
    node = {"method": "POST", "body": {"n": "{{ .vars.n }}", "t": "n={{ .vars.n }}"}}
    config = {"variables": {"n": 3}}

    assert call_of(node, config).body == b'{"n":"3","t":"n=3"}'
    assert call_of(node, config, typed=True).body == b'{"n":3,"t":"n=3"}'


def test_strict_flows_fail_at_a_name_that_is_not_there() -> None:
    """Else it is sent as it is written, and noted."""
    node = {"url": "http://h/{{ .vars.no }}"}

    assert call_of(node).url == "http://h/{{ .vars.no }}"
    assert end_of(node, answer()).output["unknown"] == ["{{ .vars.no }}"]
    begun = begin(node, strict=True)
    assert isinstance(begun, FailStep)
    assert begun.message == "Unknown placeholder: {{ .vars.no }}"


@pytest.mark.parametrize(
    ("auth", "credentials", "header", "url"),
    [
        ({"type": "basic", "username": "u", "password": "p"}, ("u", "p", None), None, "http://h/?a=1"),
        ({"type": "bearer", "token": "{{ .responses.login.token }}"}, ("", "", "t-1"), None, "http://h/?a=1"),
        ({"type": "api_key", "name": "X-Key", "value": "k"}, None, "k", "http://h/?a=1"),
        ({"type": "api_key", "name": "key", "value": "k&", "in": "query"}, None, None, "http://h/?a=1&key=k%26"),
        ({"type": "none"}, None, None, "http://h/?a=1"),
    ],
)
def test_auth_proves_itself_and_is_hidden(auth: Any, credentials: Any, header: Any, url: str) -> None:
    """A step's own takes the place of the default, `none` takes it back."""
    config = {"auth": {"type": "bearer", "token": "default"}}

    call = call_of({"url": "http://h/?a=1", "auth": auth}, config)

    found = None if call.auth is None else (call.auth.username, call.auth.password, call.auth.token)
    assert (found, dict(call.headers).get("X-Key"), call.url) == (credentials, header, url)
    text = json.dumps(shown({"url": "http://h/?a=1", "auth": auth}, config)["headers"])
    assert "t-1" not in text
    assert '"k"' not in text


def test_declared_secrets_are_nowhere_in_what_is_kept() -> None:
    """Neither in the request, nor where the server quotes it, nor in what was replaced."""
    node = {"url": "http://h/?k={{ .secrets.KEY }}", "headers": {"X": "Bearer {{ .secrets.KEY }}"}}

    end = end_of(node, answer(b'{"echo": "s3cret-value"}', status=500, headers=(("x-echo", "s3cret-value"),)))

    assert "s3cret-value" in call_of(node).url
    assert "s3cret-value" not in msgspec.json.encode(end.outcome.failure).decode()
    assert end.outcome.failure.details["step"]["substitutions"][0]["value"] == "***"


def test_what_looks_secret_is_hidden_on_demand() -> None:
    """By its name; the body of the response stays, because steps read it."""
    node = {
        "method": "POST",
        "url": "http://h/?api_key=abc&x=1",
        "headers": {"Authorization": "abc"},
        "body": {"password": "abc", "user": "u"},
    }

    output = end_of(node, answer(b'{"token":"t"}'), keeping=Keeping(hides_named=True)).output

    assert output["request"]["url"] == "http://h/?api_key=***&x=1"
    assert output["request"]["headers"]["Authorization"] == "***"
    assert output["request"]["body"] == {"password": "***", "user": "u"}
    assert output["response"]["body"] == {"token": "t"}


ANSWERS = [
    (b'{"a":1}', {"a": 1}),
    (b"5", 5),
    (b'"\\"5\\""', "5"),
    (b'"5"', 5),
    (b'"{\\"a\\":1}"', {"a": 1}),
    (b"null", None),
    (b"", ""),
    (b"  ", "  "),
    (b"<html>", "<html>"),
    (b"\xef\xbb\xbf{}", {}),
    (b"\xff\xfe", "\ufffd\ufffd"),
    (b"NaN", "NaN"),
    (b'{"a":NaN}', '{"a":NaN}'),
    (b"9007199254740993", 9007199254740993),
    (b'{"a":1e400,"b":[-1e400,1e-400,"1e400"]}', {"a": None, "b": [None, 0, "1e400"]}),
    (b'"\\ud800x"', "?x"),
    (b"[" * 200 + b"]" * 200, "[" * 200 + "]" * 200),
]


@pytest.mark.parametrize(("data", "body"), ANSWERS)
def test_a_body_is_json_whatever_its_type(data: bytes, body: Any) -> None:
    """And text in a text that is JSON is read once more."""
    assert read_body(data, is_whole=True) == body


@given(st.binary(max_size=60))
def test_any_bytes_are_a_body(data: bytes) -> None:
    """And what is kept of it can be stored."""
    msgspec.json.encode(read_body(data, is_whole=True))


def test_headers_that_come_twice_are_joined() -> None:
    """`set-cookie` too; what was decompressed says so no more."""
    headers = (("set-cookie", "a=1"), ("set-cookie", "b=2"), ("content-encoding", "gzip"))

    assert read_headers(headers, was_decoded=True) == {"set-cookie": "a=1, b=2"}
    assert read_headers(headers, was_decoded=False)["content-encoding"] == "gzip"
    assert read_headers([("content-encoding", "identity")], was_decoded=True) == {"content-encoding": "identity"}


def test_of_headers_that_have_one_value_the_first_counts() -> None:
    """`5, 6` is no number of seconds, and two dates are none."""
    headers = (("age", "5"), ("vary", "a"), ("age", "6"), ("vary", "b"), ("retry-after", "1"), ("retry-after", "2"))

    assert read_headers(headers, was_decoded=True) == {"age": "5", "vary": "a, b", "retry-after": "1"}


HEADERS = [
    ({"X-A": False, "X-B": None, "X-C": 0, "X-D": True}, {"X-C": "0", "X-D": "true"}),
    ({"X-A": "1", "x-a": "2"}, {"x-a": "2"}),
    ({"X-A": "1", "x-a": False}, {}),
    ({"X-A": False, "x-a": "2"}, {"x-a": "2"}),
    ({"X-A": "a\r\nb\x00c\td"}, {"X-A": "abc\td"}),
    ({"": "x", " ": "y", "X-A": []}, {}),
]


@pytest.mark.parametrize(("headers", "sent"), HEADERS)
def test_headers_are_sent_as_texts(headers: dict[str, Any], sent: dict[str, str]) -> None:
    """And shown as they are written."""
    found = dict(call_of({"headers": headers}).headers)

    assert found == {**sent, "Accept": "application/json, text/plain, */*"}
    assert shown({"headers": headers})["headers"] == headers


def test_a_list_is_several_headers() -> None:
    """As axios sends it."""
    found = call_of({"headers": {"X-A": ["1", 2, True]}}).headers

    assert found[:3] == (("X-A", "1"), ("X-A", "2"), ("X-A", "true"))


TYPES = [
    ({"content-type": "text/plain", "Content-Type": "text/xml"}, "text/xml"),
    ({"Content-Type": "text/xml", "content-type": "text/plain"}, "text/plain"),
    ({"CONTENT-TYPE": "text/xml"}, JSON),
    ({"content-type": "text/xml", "CONTENT-TYPE": FORM}, FORM),
    ({"Content-Type": None}, JSON),
    ({"Content-Type": "", "content-type": False}, None),
]


@pytest.mark.parametrize(("headers", "sent"), TYPES)
def test_of_several_types_the_last_one_decides(headers: dict[str, Any], sent: str | None) -> None:
    """One that is added for a body that is no text counts as the last; it is added where neither usual spelling has one."""
    call = call_of({"method": "POST", "headers": headers, "body": {"a": 1}})

    assert {name.lower(): text for name, text in call.headers}.get("content-type") == sent
    assert call.body == (b"a=1" if sent == FORM else b'{"a":1}')


def test_a_type_that_is_taken_back_is_not_added() -> None:
    """Null is how an author takes back a header of the defaults."""
    call = call_of({"method": "POST", "headers": {"Content-Type": None}, "body": "text"})

    assert "content-type" not in {name.lower() for name, _ in call.headers}


WIRE_URLS = [
    ("http://h/a?b=c d", "http://h/a?b=c d"),
    (" http://h/a\t?b=\nc\r ", "http://h/a?b=c"),
    ("http://h/a/../b/./c/%2e%2E/d/.", "http://h/b/d/"),
    ("http://h/..", "http://h/"),
    ("http://h/a/..", "http://h/"),
    ("http://h/a..b/.c?x=/../y#/../z", "http://h/a..b/.c?x=/../y#/../z"),
    ("http:\\\\h\\a?b\\c", "http://h/a?b\\c"),
    ("http:h/a", "http://h/a"),
    ("https:///h", "https://h"),
    ("HTTP://h?x=1", "HTTP://h?x=1"),
    ("ftp://h/../a", "ftp://h/../a"),
    ("/../a", "/../a"),
]


@pytest.mark.parametrize(("text", "url"), WIRE_URLS)
def test_a_url_is_asked_as_browsers_would(text: str, url: str) -> None:
    """Variables are typed and pasted, with what stands around them."""
    assert wire_url(text) == url


def test_a_url_is_shown_as_it_is_written() -> None:
    """What is shown is what the author looks for."""
    node = {"url": " http://h/a/../b\n"}

    assert call_of(node).url == "http://h/b"
    assert shown(node)["url"] == node["url"]


FAILURES = [
    (CallFailure(code="timeout", message="m", retryable=True), "Request timeout after 2.5s"),
    (CallFailure(code="timeout", message="m", retryable=True, had_head=True), "stream has been aborted"),
    (
        CallFailure(
            code="connect", message="m", retryable=True, details={"errno": "ECONNREFUSED", "endpoint": "127.0.0.1:1"}
        ),
        "Network error: connect ECONNREFUSED 127.0.0.1:1",
    ),
    (
        CallFailure(
            code="connect", message="m", retryable=True, details={"errno": "EHOSTUNREACH", "endpoint": "10.0.0.1:1"}
        ),
        "connect EHOSTUNREACH 10.0.0.1:1",
    ),
    (
        CallFailure(code="dns", message="m", retryable=False, details={"errno": "ENOTFOUND", "endpoint": "host:80"}),
        "Network error: getaddrinfo ENOTFOUND host",
    ),
    (
        CallFailure(code="dns", message="m", retryable=True, details={"errno": "EAI_AGAIN", "endpoint": "host:80"}),
        "getaddrinfo EAI_AGAIN host",
    ),
    (CallFailure(code="protocol", message="m", retryable=True), "socket hang up"),
    (CallFailure(code="protocol", message="m", retryable=True, had_head=True), "stream has been aborted"),
    (CallFailure(code="protocol", message="not HTTP", retryable=False), "not HTTP"),
    (CallFailure(code="redirect_loop", message="m", retryable=False), "Maximum number of redirects exceeded"),
    (CallFailure(code="invalid_url", message="m", retryable=False), "Invalid URL"),
    (CallFailure(code="tls", message="no TLS", retryable=False), "no TLS"),
]


@pytest.mark.parametrize(("failure", "text"), FAILURES)
def test_failures_have_the_words_clients_know(failure: CallFailure, text: str) -> None:
    """Two of them only with a prefix, as observed."""
    assert error_text(failure, timeout_s=2.5) == text


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("ftp://h/", "Unsupported protocol ftp:"),
        ("/x", "Invalid URL"),
        ("", "Invalid URL"),
        ("HTTP://h", None),
        ("{{ .vars.x }}", "Invalid URL"),
    ],
)
def test_urls_that_lead_nowhere(url: str, fault: str | None) -> None:
    """Nothing is sent for these."""
    assert url_fault(url) == fault


def test_a_step_without_an_answer_keeps_what_was_sent() -> None:
    """The original shows the template and no substitutions; this is what really happened."""
    node = {"url": "http://h/{{ .responses.login.id }}"}
    failure = CallFailure(code="protocol", message="m", retryable=True, was_sent=True)

    end = end_of(node, failure)

    assert end.outcome.failure.message == "socket hang up"
    assert end.outcome.failure.details["step"]["request"]["url"] == "http://h/7"
    assert end.outcome.is_final


RETRIES = [
    ({"attempts": 2}, answer(status=503), False),
    ({"attempts": 2}, answer(status=500), True),
    ({"attempts": 2}, answer(status=404), True),
    ({"attempts": 2, "on": [404]}, answer(status=404), False),
    ({"attempts": 2, "on": ["5xx"]}, answer(status=500), False),
    ({"attempts": 2, "on": ["5xx"]}, CallFailure(code="connect", message="m", retryable=True), True),
    ({"attempts": 2}, CallFailure(code="connect", message="m", retryable=True), False),
    ({"attempts": 2}, CallFailure(code="tls", message="m", retryable=False), True),
    ({"attempts": 2, "on": ["network"]}, CallFailure(code="timeout", message="m", retryable=True), True),
    ({"attempts": 2, "on": ["timeout"]}, CallFailure(code="timeout", message="m", retryable=True), False),
]


@pytest.mark.parametrize(("retry", "result", "is_final"), RETRIES)
def test_what_is_worth_another_attempt(retry: dict[str, Any], result: Any, *, is_final: bool) -> None:
    """Statuses and reasons its author names, or what usually passes."""
    assert end_of({"retry": retry}, result).outcome.is_final == is_final


def test_a_request_that_may_have_been_done_is_not_done_again_unasked() -> None:
    """Unless its author names the reason."""
    failure = CallFailure(code="timeout", message="m", retryable=True, was_sent=True)

    assert end_of({"method": "POST", "retry": {"attempts": 2}}, failure).outcome.was_cut_off
    assert not end_of({"method": "POST", "retry": {"attempts": 2, "on": ["timeout"]}}, failure).outcome.was_cut_off
    assert not end_of({"method": "PUT", "retry": {"attempts": 2}}, failure).outcome.was_cut_off


def test_a_body_larger_than_a_journal_keeps_is_cut_and_said() -> None:
    """Checks see it whole as far as it was read."""
    end = end_of({"validations": [{"jsonpath": ".length", "equals": 900_000}]}, answer(b"x" * 900_000))

    assert end.outcome.status is Status.COMPLETED
    assert end.output["response"]["truncated"] is True
    assert len(end.output["response"]["body"]) < 800_000


def test_of_a_body_that_is_cut_what_later_steps_read_is_kept() -> None:
    """A list of two megabytes whose last entry names the next page is a usual answer."""
    body = json.dumps({"rows": ["x" * 1000] * 900, "next": "p2", "big": "y" * 100_000}).encode()
    node = {"id": "list", "method": "GET", "url": "http://h/"}
    wanted = (".next", ".rows | length", ".gone", ".big")
    step = Step(node, {}, Reader({}), index=0, options=StepOptions(), wanted=wanted)
    moment = Moment(timestamp=5, make_guid=lambda: "g", response_of=lambda _name: None)
    begun = step.begin(moment, [], AT)
    assert isinstance(begun, ReadCall)

    response = begun.conclude(answer(body), AT).output["response"]

    assert response["truncated"] is True
    assert response["values"] == {".next": "p2", ".rows | length": 900}
    assert "values" not in begun.conclude(answer(b'{"next":"p2"}'), AT).output["response"]


def test_what_is_kept_of_a_cut_body_is_read_in_its_place() -> None:
    """By placeholders and conditions alike; the head of the body is only text."""
    cut = Response(status=200, body='{"rows":["x', kept={".next": "p2", ".rows | length": 900})
    config = {"variables": {"page": "{{ .responses.list.next }}"}}
    conditions = [{"node": "list", "field": ".rows | length", "equals": 900}]
    node = {"id": "s", "method": "GET", "url": "http://h/{{ .vars.page }}", "conditions": conditions}
    moment = Moment(timestamp=5, make_guid=lambda: "g", response_of={"list": cut}.get)

    begun = Step(node, config, Reader(config["variables"]), index=0, options=StepOptions()).begin(moment, [], AT)

    assert isinstance(begun, ReadCall)
    assert begun.http is not None
    assert begun.http.url == "http://h/p2"


def test_what_is_read_of_an_answer_is_known_beforehand() -> None:
    """In every text of every step, in variables and in conditions."""
    config = {
        "variables": {"v": "{{ .responses.a.x }}", "n": 1},
        "nodes": [
            {
                "id": "a",
                "url": "/{{ .responses.b-1.l[0].id }}{{.responses.a.x}}",
                "body": [{"k": "{{ .responses.a }}"}],
            },
            {"id": "c", "conditions": [{"node": "a", "field": ".y | length"}, {"node": 5, "field": ".z"}, None]},
            None,
        ],
        "finally": [{"url": "{{ .responses.a.$status }}", "condition": {"node": "b-1", "field": ".q"}}],
    }

    assert paths_read(config) == {"a": (".x", "", ".y | length"), "b-1": (".l[0].id", ".q"), "5": (".z",)}
    assert paths_read({}) == {}


def test_a_large_value_is_not_kept_twice() -> None:
    """What a check looked at stands in the body already."""
    body = json.dumps({"a": "x" * 100_000}).encode()

    record = end_of({"validations": [{"jsonpath": ".a"}]}, answer(body)).output["validations"][0]

    assert record == {
        "type": "jsonpath",
        "path": ".a",
        "value": None,
        "checks": ["exists"],
        "passed": True,
        "truncated": True,
    }


COOKIES = [
    ("http://h/a", "sid=1", "http://h/b", True),
    ("http://h/a", "sid=1", "http://other/b", False),
    ("http://h/a/b", "sid=1", "http://h/c", False),
    ("http://h/a/b", "sid=1; Path=/", "http://h/c", True),
    ("http://h/", "sid=1; Path=/app", "http://h/application", False),
    ("http://h/", "sid=1; Secure", "http://h/", False),
    ("http://api.example.com/", "sid=1; Domain=example.com", "http://www.example.com/", True),
    ("http://api.example.com/", "sid=1; Domain=.example.com", "http://example.com/", True),
    ("http://api.example.com/", "sid=1; Domain=com", "http://api.example.com/", False),
    ("http://evil.com/", "sid=1; Domain=example.com", "http://example.com/", False),
    ("http://h/", "sid=1; Max-Age=0", "http://h/", False),
    ("http://h/", "sid=1; Max-Age=60", "http://h/", True),
    ("http://h/", "sid=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT", "http://h/", False),
    ("http://h/", "nonsense", "http://h/", False),
    ("http://h/", f"sid=1; Max-Age={'9' * 400}", "http://h/", True),
    ("http://h/", f"sid=1; Max-Age={'9' * 4000}", "http://h/", True),
    ("http://h/", "sid=1; Expires=Thu, 01 Jan 99999 00:00:00 GMT", "http://h/", True),
    ("http://h/", "sid=1; Expires=, , ,", "http://h/", True),
]


@pytest.mark.parametrize(("told_by", "line", "url", "is_sent"), COOKIES)
def test_a_cookie_goes_where_it_belongs(told_by: str, line: str, url: str, *, is_sent: bool) -> None:
    """By RFC 6265; a cookie that goes astray is a session given away."""
    assert cookies_for(url, [Told(told_by, line, 0.0)], now=1.0) == ((("sid", "1"),) if is_sent else ())


def test_a_later_cookie_takes_the_place_of_an_earlier_one() -> None:
    """And one that has expired takes it away."""
    told = [Told("http://h/", line, 0.0) for line in ("a=1", "b=1", "a=2", "b=; Max-Age=0")]

    assert cookies_for("http://h/", told, now=1.0) == (("a", "2"),)


def test_a_server_that_sets_cookies_without_end_is_read_to_the_last_ones() -> None:
    """Each step reads all lines again: a thousand of each answer made a flow of sixty steps take minutes."""
    told = [Told("http://h/", f"a{i}=1", 0.0) for i in range(10_000)]
    lines = tuple(("http://h/", f"a{i}=1") for i in range(2000))
    end = end_of({}, answer(b"{}", told_cookies=lines), keeping=Keeping(keeps_cookies=True))

    assert [name for name, _ in cookies_for("http://h/", told, now=1.0)] == [f"a{i}" for i in range(9700, 10_000)]
    assert [line for _, line, _ in end.output["cookies"]] == [f"a{i}=1" for i in range(1900, 2000)]


def test_a_compressed_body_that_could_not_be_read_keeps_its_header() -> None:
    """So that whoever reads it knows why it is no text."""
    end = end_of({}, answer(gzip.compress(b"x"), headers=(("content-encoding", "br"),), is_decoded=False))

    assert end.output["response"]["headers"] == {"content-encoding": "br"}


def test_half_characters_can_be_sent_and_kept() -> None:
    """JavaScript has them in texts; no UTF-8 does."""
    assert encode_body("POST", {"a\ud800": ["\ud800", 1]}, None).data == b'{"a?":["?",1]}'
    assert read_body(b'{"a":"\\ud800"}', is_whole=True) == {"a": "?"}
    assert read_body(b'"\\ud800', is_whole=True) == '"\\ud800'
    assert read_body(b'["\\ud800",NaN]', is_whole=True) == '["\\ud800",NaN]'
    deep = b"[" * 150 + b'"\\ud800"' + b"]" * 150
    assert read_body(deep, is_whole=True) == deep.decode()


def test_the_head_of_a_body_is_only_text() -> None:
    """Half of a document must not be taken for another one."""
    assert read_body(b'{"a":1}', is_whole=False) == '{"a":1}'


def test_a_key_that_ends_in_braces_is_json_in_a_form() -> None:
    """As axios has it."""
    assert encode_body("POST", {"a{}": {"b": 1}}, FORM).data == b"a%7B%7D=%7B%22b%22%3A1%7D"


@pytest.mark.parametrize(
    ("told_by", "line", "url"),
    [
        ("http://[", "sid=1", "http://h/"),
        ("http://h/", "sid=1", "http://["),
        ("http://h/", f"sid={'x' * 5000}", "http://h/"),
        ("http://10.0.0.1/", "sid=1; Domain=0.0.1", "http://10.0.0.1/"),
        ("http://h/", "sid=1\x01", "http://h/"),
    ],
)
def test_cookies_that_are_not_taken(told_by: str, line: str, url: str) -> None:
    """Nothing a server or an author writes is an error of execd."""
    assert cookies_for(url, [Told(told_by, line, 0.0)], now=1.0) == ()


def test_a_cookie_without_a_path_belongs_to_where_it_was_set() -> None:
    """And an unreadable date is none."""
    told = [Told("http://h/a/b", "sid=1; Path=x; Expires=soon; Max-Age=long", 0.0)]

    assert cookies_for("http://h/a/c", told, now=1.0) == (("sid", "1"),)
    assert cookies_for("http://h/ab", told, now=1.0) == ()


def test_a_large_request_is_shown_in_part() -> None:
    """It is sent whole; the journal keeps the head."""
    node = {"method": "POST", "body": {"a": "x" * 300_000}}

    request = shown(node)

    assert request["truncated"] is True
    assert len(request["body"]) < 300_000
    assert len(call_of(node).body or b"") > 300_000


def test_names_that_look_secret_hide_what_is_inserted_there() -> None:
    """In lists and in the records of substitutions too."""
    config = {"variables": {"token": "abc", "b": "def"}}
    node = {
        "method": "POST",
        "body": {"rows": [{"password": "{{ .vars.b }}"}], "x": "{{ .vars.token }}", "y": "{{ .vars.b }}"},
    }

    output = end_of(node, answer(), config, keeping=Keeping(hides_named=True)).output

    assert output["request"]["body"]["rows"] == [{"password": "***"}]
    assert [each["value"] for each in output["substitutions"]] == ["***", "***", "def"]


def test_what_is_hidden_in_a_url_is_hidden_where_it_came_from() -> None:
    """The record would tell what the url does not."""
    config = {"variables": {"a": "s3cr3t", "b": "shown", "c": "hunter2"}}
    node = {"url": "http://ada:{{ .vars.c }}@h/{{ .vars.b }}?access_token={{ .vars.a }}&x={{ .vars.b }}"}

    output = end_of(node, answer(), config, keeping=Keeping(hides_named=True)).output

    assert output["request"]["url"] == "http://ada:***@h/shown?access_token=***&x=shown"
    assert [each["value"] for each in output["substitutions"]] == ["***", "shown", "***", "shown"]
