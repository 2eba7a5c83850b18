"""Who may: tokens, cookies, tickets, roles, workspaces, hosts and origins."""

from __future__ import annotations

from datetime import timedelta

import pytest
import trio
from trio.testing import MockClock

from execd.core.events import WorkspaceId
from execd.http.access import Role, hash_secret, issue_token
from tests.http.asgi import Answer, call
from tests.http.doors import Door, make_door
from tests.http.fake_engine import EPOCH

URL = "/api/v1/executions"
OWN = "http://localhost"


def cookie_of(answer: Answer) -> str:
    return answer.headers["set-cookie"].partition(";")[0]


async def sign_in(door: Door, role: str = "runner") -> str:
    """Trade a token for a cookie."""
    body = f'{{"token":"{door.secrets[role]}"}}'.encode()
    answer = await call(door.app, "POST", "/api/v1/session", body=body, headers={"origin": OWN})
    assert answer.status == 200
    return cookie_of(answer)


@pytest.mark.parametrize(
    "authorization", [None, "Bearer ", "Bearer nope", "Basic abc", "Bearer " + "x" * 5000, "Bearer ÿ", "bearer"]
)
@pytest.mark.behaviour(21)
async def test_without_a_valid_credential_nothing_is_told(authorization: str | None) -> None:
    """A 401 names the scheme, and unknown ids look like known ones."""
    door = await make_door()
    execution_id = await door.begin()
    headers = {} if authorization is None else {"authorization": authorization}

    answers = [await call(door.app, "GET", f"{URL}/{name}", headers=headers) for name in (execution_id, "exec-none")]

    assert {answer.status for answer in answers} == {401}
    assert answers[0].headers["www-authenticate"].startswith("Bearer")
    assert answers[0].json()["detail"] == answers[1].json()["detail"]


PATHS = ["", "/result", "/events", "/output", "/stream"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.behaviour(21)
async def test_a_foreign_execution_is_as_unknown_as_none(path: str) -> None:
    """Byte for byte but for the id, so that nobody can probe for what others run."""
    door = await make_door()
    execution_id = await door.begin()
    unknown = execution_id[:-1] + "z"

    foreign = await door.ask("GET", f"{URL}/{execution_id}{path}", role="foreign")
    nothing = await door.ask("GET", f"{URL}/{unknown}{path}", role="foreign")

    assert foreign.status == nothing.status == 404
    assert foreign.body.replace(execution_id.encode(), unknown.encode()) == nothing.body
    assert foreign.headers == nothing.headers


async def test_a_foreign_execution_cannot_be_steered_or_listed() -> None:
    """Commands look the same too, and lists leave it out."""
    door = await make_door()
    execution_id = await door.begin()

    for command in ("cancel", "interrupt", "pause", "resume", "retry", "stdin"):
        assert (await door.ask("POST", f"{URL}/{execution_id}/{command}", role="foreign", body=b"{}")).status == 404
    shared = await door.ask("GET", f"/api/v1/stream?execution={execution_id}", role="foreign")
    listed = await door.ask("GET", URL, role="foreign")

    assert door.engine.commands == []
    assert shared.status == 404
    assert listed.json()["items"] == []


@pytest.mark.parametrize(
    ("method", "path", "least"),
    [
        ("GET", URL, "viewer"),
        ("POST", URL, "runner"),
        ("POST", f"{URL}/x/cancel", "runner"),
        ("POST", f"{URL}/x/stdin", "runner"),
        ("POST", f"{URL}/x/retry", "runner"),
        ("GET", "/api/v1/tokens", "admin"),
        ("POST", "/api/v1/tokens", "admin"),
        ("DELETE", "/api/v1/tokens/x", "admin"),
        ("GET", "/api/v1/runtimes", "viewer"),
        ("POST", "/api/v1/tickets", "viewer"),
    ],
)
async def test_each_role_does_what_it_may(method: str, path: str, least: str) -> None:
    """403 names the role that is needed; everything above passes the check."""
    door = await make_door()
    roles = ["viewer", "runner", "admin"]

    statuses = [
        (await door.ask(method, path, role=role, body=b"{}" if method == "POST" else b"")).status for role in roles
    ]

    assert [status == 403 for status in statuses] == [place < roles.index(least) for place in range(3)]


async def test_a_cookie_is_hidden_from_scripts_and_other_sites() -> None:
    """And is no bearer token: a leaked header of one is useless as the other."""
    door = await make_door()
    body = f'{{"token":"{door.secrets["runner"]}"}}'.encode()

    answer = await call(door.app, "POST", "/api/v1/session", body=body, headers={"origin": OWN})
    secret = cookie_of(answer).partition("=")[2]

    attributes = answer.headers["set-cookie"].lower()
    assert all(part in attributes for part in ("httponly", "samesite=strict", "path=/"))
    assert (await call(door.app, "GET", URL, headers={"cookie": cookie_of(answer)})).status == 200
    assert (await call(door.app, "GET", URL, headers={"authorization": f"Bearer {secret}"})).status == 401
    assert (
        await call(door.app, "GET", URL, headers={"cookie": "execd_session=" + door.secrets["runner"]})
    ).status == 401


async def test_a_cookie_is_secure_behind_https() -> None:
    """The public address decides, because the proxy in front speaks plain HTTP to us."""
    door = await make_door(public_url="https://execd.example")
    body = f'{{"token":"{door.secrets["runner"]}"}}'.encode()

    answer = await call(
        door.app,
        "POST",
        "/api/v1/session",
        body=body,
        headers={"host": "execd.example", "origin": "https://execd.example"},
    )

    assert answer.status == 200
    assert "secure" in answer.headers["set-cookie"].lower()


async def test_a_cookie_dies_with_its_token() -> None:
    """Revoking a token ends every session made from it, at once."""
    door = await make_door()
    cookie = await sign_in(door)

    (token,) = [
        item
        for item in (await door.ask("GET", "/api/v1/tokens", role="admin")).json()["items"]
        if item["role"] == "runner"
    ]
    revoked = await door.ask("DELETE", f"/api/v1/tokens/{token['id']}", role="admin")

    assert revoked.status == 204
    assert (await call(door.app, "GET", URL, headers={"cookie": cookie})).status == 401


async def test_signing_out_ends_the_session() -> None:
    """On the server, not only in the browser."""
    door = await make_door()
    cookie = await sign_in(door)

    ended = await call(door.app, "DELETE", "/api/v1/session", headers={"cookie": cookie, "origin": OWN})

    assert ended.status == 204
    assert (await call(door.app, "GET", URL, headers={"cookie": cookie})).status == 401


@pytest.mark.parametrize(
    ("headers", "is_allowed"),
    [
        ({"origin": OWN}, True),
        ({"sec-fetch-site": "same-origin"}, True),
        ({}, True),
        ({"origin": "https://evil.example"}, False),
        ({"origin": "null"}, False),
        ({"origin": "http://localhost:81"}, False),
        ({"origin": "http://localhost.evil.example"}, False),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "same-site"}, False),
    ],
)
async def test_another_origins_page_cannot_use_the_cookie(headers: dict[str, str], is_allowed: bool) -> None:
    """Cross-site request forgery: the browser sends the cookie, the Origin gives it away."""
    door = await make_door()
    execution_id = await door.begin()
    cookie = await sign_in(door)

    answer = await call(door.app, "POST", f"{URL}/{execution_id}/cancel", headers=headers | {"cookie": cookie})

    assert answer.status == (202 if is_allowed else 403)
    assert bool(door.engine.commands) is is_allowed


async def test_a_bearer_token_needs_no_origin() -> None:
    """A page of another origin cannot have one."""
    door = await make_door()
    execution_id = await door.begin()

    answer = await door.ask("POST", f"{URL}/{execution_id}/cancel", origin="https://elsewhere.example")

    assert answer.status == 202
    assert "access-control-allow-origin" not in answer.headers


async def test_a_configured_origin_may_read_answers() -> None:
    """CORS: exactly this origin, with credentials, and preflights are answered."""
    door = await make_door(allowed_origins=("https://app.example",))
    headers = {"origin": "https://app.example", "access-control-request-method": "POST"}

    preflight = await call(door.app, "OPTIONS", URL, headers=headers)
    answer = await door.ask("GET", URL, origin="https://app.example")

    assert preflight.status == 204
    assert preflight.headers["access-control-allow-origin"] == "https://app.example"
    assert "Last-Event-ID" in preflight.headers["access-control-allow-headers"]
    assert (answer.headers["access-control-allow-credentials"], answer.headers["vary"]) == ("true", "Origin")


@pytest.mark.parametrize(
    ("host", "is_allowed"),
    [
        ("localhost", True),
        ("LOCALHOST:7070", True),
        ("127.0.0.1:1", True),
        ("[::1]:7070", True),
        ("192.168.1.5", True),
        ("execd.example", True),
        ("proxy.example:8443", True),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("", False),
        ("a@localhost", False),
        ("localhost:x", False),
        ("[::1", False),
        ("localhost/evil", False),
        ("ÿ", False),
    ],
)
async def test_only_known_hosts_are_answered(host: str, is_allowed: bool) -> None:
    """DNS rebinding needs a name of the attacker's; addresses and configured names are safe."""
    door = await make_door(allowed_hosts=("execd.example",), public_url="https://proxy.example:8443/")

    answer = await call(door.app, "GET", "/healthz", headers={"host": host})

    assert answer.status == (200 if is_allowed else 421)
    assert is_allowed or answer.json()["code"] == "host_not_allowed"


async def test_a_ticket_opens_one_connection() -> None:
    """Where only a URL can be given: once, and not a second time."""
    door = await make_door()
    execution_id = await door.finished()
    made = await door.ask("POST", "/api/v1/tickets", role="viewer")
    target = f"{URL}/{execution_id}/stream?ticket={made.json()['ticket']}"

    first = await call(door.app, "GET", target)
    second = await call(door.app, "GET", target)

    assert (made.status, first.status, second.status) == (201, 200, 401)


async def test_a_ticket_is_too_old_after_30_seconds(autojump_clock: MockClock) -> None:
    """A URL found in a log is worth nothing."""
    door = await make_door()
    made = await door.ask("POST", "/api/v1/tickets", role="viewer")

    await trio.sleep(30)

    assert (await call(door.app, "GET", f"{URL}?ticket={made.json()['ticket']}")).status == 401


async def test_an_expired_token_is_no_token(autojump_clock: MockClock) -> None:
    """Expiry needs nobody to clean up."""
    door = await make_door(expires_at=EPOCH + timedelta(seconds=trio.current_time() % 10**6 + 5))
    assert (await door.ask("GET", URL)).status == 200

    await trio.sleep(5)

    assert (await door.ask("GET", URL)).status == 401


async def test_the_start_up_address_trades_its_token_at_once() -> None:
    """It redirects to an address without the token, with the cookie; a wrong token gets no cookie."""
    door = await make_door()

    right = await call(door.app, "GET", f"/?token={door.secrets['runner']}")
    wrong = await call(door.app, "GET", "/?token=nope")

    assert (right.status, right.headers["location"]) == (303, "/")
    assert (await call(door.app, "GET", URL, headers={"cookie": cookie_of(right)})).status == 200
    assert (wrong.status, wrong.headers["location"]) == (303, "/")
    assert "set-cookie" not in wrong.headers


async def test_a_token_in_any_other_url_is_nothing() -> None:
    """Long-lived secrets in URLs reach logs and histories."""
    door = await make_door()

    for query in (f"token={door.secrets['runner']}", f"access_token={door.secrets['runner']}"):
        assert (await call(door.app, "GET", f"{URL}?{query}")).status == 401


async def test_tokens_are_made_listed_and_kept_as_hashes() -> None:
    """The secret stands in one answer and nowhere else."""
    door = await make_door()

    made = await door.ask(
        "POST", "/api/v1/tokens", role="admin", body=b'{"user":"ann","role":"viewer","expires_in_s":60}'
    )
    listed = await door.ask("GET", "/api/v1/tokens", role="admin")

    secret = made.json()["token"]
    assert (made.status, made.json()["user"], made.json()["role"]) == (201, "ann", "viewer")
    assert made.json()["id"] in [item["id"] for item in listed.json()["items"]]
    assert secret.encode() not in listed.body
    assert (await door.engine.tokens.find_token(hash_secret(secret))) is not None
    assert (await call(door.app, "GET", URL, headers={"authorization": f"Bearer {secret}"})).status == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"role":"root"}', 400),
        (b'{"expires_in_s":0}', 400),
        (b'{"user":1}', 400),
        (b'{"x":1}', 400),
        (b'{"workspace":"other"}', 403),
    ],
)
async def test_a_bad_token_request_makes_none(body: bytes, status: int) -> None:
    """And an admin of one workspace makes no tokens of another."""
    door = await make_door()

    answer = await door.ask("POST", "/api/v1/tokens", role="admin", body=body)

    assert answer.status == status
    assert len((await door.ask("GET", "/api/v1/tokens", role="admin")).json()["items"]) == 3


async def test_logs_have_one_line_per_request_and_no_secret(captured_logs: list[dict[str, object]]) -> None:
    """The path without its query, and nothing of who asked with what."""
    door = await make_door()

    await door.ask("GET", f"{URL}?limit=1")
    await call(door.app, "GET", f"/?token={door.secrets['runner']}")

    lines = [line for line in captured_logs if line["event"] == "request"]
    assert [(line["method"], line["path"], line["status"]) for line in lines] == [("GET", URL, 200), ("GET", "/", 303)]
    assert not any(secret in str(captured_logs) for secret in door.secrets.values())


@pytest.mark.parametrize(
    ("peer", "headers", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("203.0.113.9", {}, 401),
        ("127.0.0.1", {"x-forwarded-for": "203.0.113.9"}, 401),
        ("127.0.0.1", {"host": "192.168.1.5"}, 401),
    ],
)
async def test_metrics_are_open_on_this_machine_only(peer: str, headers: dict[str, str], status: int) -> None:
    """A proxy on this machine does not make the whole world local."""
    door = await make_door()

    answer = await call(door.app, "GET", "/metrics", headers=headers, peer=peer)

    assert answer.status == status
    assert status != 200 or b"execd_events_published_total 7.0" in answer.body


async def test_the_owner_makes_tokens_of_any_workspace_and_nobody_else_does(autojump_clock: MockClock) -> None:
    """Whoever holds the data directory starts every workspace; an admin of one reaches no other."""
    door = await make_door()
    owner = await issue_token(
        door.engine.tokens, workspace=WorkspaceId("w"), user="owner", role=Role.ADMIN, now=EPOCH, id_prefix="owner-"
    )
    body = b'{"workspace": "elsewhere", "role": "viewer"}'

    made = await door.ask("POST", "/api/v1/tokens", body=body, authorization=f"Bearer {owner.secret}")
    refused = await door.ask("POST", "/api/v1/tokens", role="admin", body=body)

    assert (made.status, made.json()["workspace"]) == (201, "elsewhere")
    assert refused.status == 403
