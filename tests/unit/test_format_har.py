"""A browser's recording becomes a flow without anybody's session in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from execd.core.errors import InvalidRequestError, PayloadTooLargeError
from execd.core.formats.credentials import Credentials
from execd.core.formats.drafting import MAX_STEPS, Imported
from execd.core.formats.har_import import MAX_HAR_CHARS, Keep, import_har
from tests.support.imports import remarks, step_of

CHECKOUT = (Path(__file__).parent / "formats" / "checkout.har").read_text()


@pytest.fixture(scope="module")
def checkout() -> Imported:
    return import_har(CHECKOUT)


def entry(url: str = "http://h/a", **changes: Any) -> dict[str, Any]:
    request = {"method": "GET", "url": url, "headers": [], **changes.pop("request", {})}
    return {"request": request, "response": {"status": 200, "content": {}, **changes.pop("response", {})}, **changes}


def har(*found: Any) -> str:
    return json.dumps({"log": {"version": "1.2", "entries": found}})


def test_what_belongs_to_a_page_is_left_out_and_counted(checkout: Imported) -> None:
    """Five calls out of ten requests; nobody wants to check a logo."""
    assert [node["id"] for node in checkout.config["nodes"]] == [
        "get",
        "post_v1_login",
        "get_v1_users_4711001_cart",
        "post_v1_orders",
        "post_v1_photos",
    ]
    said = remarks(checkout)
    for words in (
        "2 requests were left out: part of a page",
        "1 requests were left out: a preflight",
        "left out: not HTTP",
        "follows redirects by itself",
        "had no answer",
        "parts that were left out: file",
    ):
        assert words in said, words


def test_everything_can_be_kept() -> None:
    """Some do check their pictures."""
    imported = import_har(CHECKOUT, keep=Keep.EVERYTHING)

    assert [node["method"] for node in imported.config["nodes"]].count("OPTIONS") == 1
    assert any(node["url"].endswith("logo.svg") for node in imported.config["nodes"])


def test_no_credential_lands_in_the_flow(checkout: Imported) -> None:
    """Recordings are sent around in chats; what is made of them must be fit for it."""
    text = json.dumps(checkout.config) + remarks(checkout)

    words = ("hunter2", "S3SS10N", "topsecret99", "live-key-1", "eyJhbGciOi", "tok_visa_1", "T12345")
    assert [word for word in words if word in text] == []
    assert checkout.config["secrets"] == ["card_token", "client_secret", "cookie_tracker", "password", "x_api_key"]


def test_credentials_can_be_kept_by_whoever_asks() -> None:
    """For a test system whose passwords are no secret."""
    text = json.dumps(import_har(CHECKOUT, credentials=Credentials.AS_WRITTEN).config)

    assert "hunter2!" in text
    assert "live-key-1" in text


def test_cookies_that_answers_set_are_left_to_the_jar(checkout: Imported) -> None:
    """A session that was recorded is over; the one that the first answer sets is not."""
    assert checkout.config["cookies"] is True
    assert "headers" in step_of(checkout, "post_v1_login")
    assert step_of(checkout, "post_v1_login")["headers"]["cookie"] == "tracker={{ .secrets.cookie_tracker }}"


def test_what_an_answer_gave_becomes_a_reference(checkout: Imported) -> None:
    """Only if one place alone has it: `twice-here` stays what it is."""
    cart = step_of(checkout, "get_v1_users_4711001_cart")

    assert cart["auth"] == {"type": "bearer", "token": "{{ .responses.post_v1_login.token }}"}
    assert cart["url"] == (
        "https://api.example.com/v1/users/{{ .responses.post_v1_login.user.id }}/cart"
        "?cart={{ .responses.post_v1_login.cart-id }}&x=twice-here"
    )
    assert step_of(checkout, "post_v1_orders")["body"] == (
        "sku={{ .responses.get_v1_users_4711001_cart.items[0].sku }}&count=2&card_token={{ .secrets.card_token }}"
    )
    assert "5 values were recognised" in remarks(checkout)


def test_the_recorded_status_is_what_is_checked(checkout: Imported) -> None:
    """A redirect has the status of where it leads, since a flow follows it."""
    rules = [node.get("validations") for node in checkout.config["nodes"]]

    assert rules == [
        [{"httpStatusCode": 200}],
        [{"httpStatusCode": 200}],
        [{"httpStatusCode": 200}],
        [{"httpStatusCode": 201}],
        None,
    ]


def test_headers_of_the_browser_are_left_out(checkout: Imported) -> None:
    """They say what browser it was, not what was asked."""
    assert step_of(checkout, "get")["headers"] == {"accept": "text/html"}
    assert step_of(checkout, "post_v1_login")["headers"]["origin"] == "https://shop.example.com"


def test_bodies_of_every_kind() -> None:
    """Parameters without a text, bytes, and texts without a type."""
    imported = import_har(
        har(
            entry(
                request={
                    "method": "POST",
                    "postData": {
                        "mimeType": "application/x-www-form-urlencoded",
                        "params": [{"name": "a b", "value": "ü&"}],
                    },
                }
            ),
            entry(request={"method": "POST", "postData": {"text": "AAEC/w==", "encoding": "base64"}}),
            entry(request={"method": "PUT", "postData": {"mimeType": "text/plain", "text": "hi"}}),
            entry(request={"method": "DELETE", "postData": {"mimeType": "application/json", "text": '{"a":1}'}}),
        )
    )

    form, binary, text, deletion = imported.config["nodes"]
    assert form["body"] == "a%20b=%C3%BC%26"
    assert "body" not in binary
    assert (text["headers"], text["body"]) == ({"Content-Type": "text/plain"}, "hi")
    assert deletion["body"] == {"a": 1}
    assert "none with DELETE" in remarks(imported)
    assert "no text" in remarks(imported)


def test_chains_of_redirects_and_odd_answers() -> None:
    """Two hops are one step; a method that flows do not have, and a socket that says it is HTTP, are none."""

    def hop(url: str, status: int, target: str = "") -> dict[str, Any]:
        return entry(url, response={"status": status, "redirectURL": target})

    imported = import_har(
        har(
            hop("http://h/a", 302, "/b"),
            hop("http://h/b", 301, "http://h/c"),
            hop("http://h/c", 204),
            hop("http://h/d", 304),
            entry("http://h/ws", response={"status": 101}),
            entry("http://h/[", request={"method": "PROPFIND"}),
            entry("http://[/x.png"),
            entry("http://h/x", request={"headers": [{"name": "Cookie", "value": ""}]}),
        )
    )

    assert [(node["url"], node.get("validations")) for node in imported.config["nodes"]] == [
        ("http://h/a", [{"httpStatusCode": 204}]),
        ("http://h/d", [{"httpStatusCode": 200}]),
        ("http://[/x.png", [{"httpStatusCode": 200}]),
        ("http://h/x", [{"httpStatusCode": 200}]),
    ]
    assert "a WebSocket" in remarks(imported)
    assert "flows do not have" in remarks(imported)


REFUSED = {
    "empty": "",
    "a list": "[]",
    "no log": "{}",
    "no entries": '{"log": {"entries": []}}',
    "nothing of HTTP": har(entry("data:text/plain,x"), entry("chrome-extension://a/b"), 5, None),
    "deep": '{"log": {"entries": ' + "[" * 100_000,
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_files_are_refused_with_a_fault(name: str) -> None:
    """And with nothing else."""
    with pytest.raises(InvalidRequestError) as refused:
        import_har(REFUSED[name])

    assert refused.value.faults


def test_limits_hold() -> None:
    """A recording of a whole day."""
    with pytest.raises(PayloadTooLargeError):
        import_har(" " * (MAX_HAR_CHARS + 1))
    imported = import_har(har(*[entry()] * 20_000))
    assert len(imported.config["nodes"]) == MAX_STEPS
    assert "the first were taken" in remarks(imported)


def test_a_recorded_page_cannot_read_secrets() -> None:
    """A server chooses its own URLs and tokens."""
    evil = "{{ .secrets.PROD }}"
    imported = import_har(
        har(
            entry(
                response={
                    "content": {"mimeType": "application/json", "text": json.dumps({"token": evil, evil: "abcdefgh"})}
                }
            ),
            entry(f"http://evil/{evil}?a={evil}&b=abcdefgh", request={"headers": [{"name": "X", "value": evil}]}),
        )
    )

    assert evil not in json.dumps(imported.config)
    assert imported.config["nodes"][1]["url"].endswith("b=abcdefgh"), "a key that no placeholder can name is not linked"


KEYS = st.sampled_from(
    [
        "request",
        "response",
        "url",
        "method",
        "headers",
        "name",
        "value",
        "postData",
        "text",
        "mimeType",
        "params",
        "content",
        "status",
        "encoding",
        "redirectURL",
        "_resourceType",
    ]
)
VALUES = st.sampled_from(
    [
        "http://h/a",
        "http://[",
        "https://h/b?a=1#x",
        "POST",
        "GET",
        "set-cookie",
        "base64",
        "a=b",
        "{}",
        "application/json",
    ]
)
ANY_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 600) | VALUES | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=40,
)


@given(st.lists(ANY_JSON, max_size=4))
@settings(max_examples=400, deadline=None)
def test_any_recording_is_read_or_refused(found: list[Any]) -> None:
    """Every proxy writes its own dialect."""
    try:
        nodes = import_har(har(*found, entry("http://h/x", request={"headers": found}))).config["nodes"]
    except InvalidRequestError as refused:
        nodes = refused.faults

    assert nodes
