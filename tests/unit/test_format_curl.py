"""curl commands become flows, flows become curl commands, and the real curl sends what was meant."""

from __future__ import annotations

import json
import shlex
import shutil
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qsl

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from execd.core.errors import InvalidRequestError, PayloadTooLargeError
from execd.core.formats.credentials import Credentials
from execd.core.formats.curl_export import export_curl, quote_for_bash
from execd.core.formats.curl_import import MAX_CURL_CHARS, import_curl
from execd.core.formats.drafting import MAX_STEPS
from tests.support.echo_server import ReceivedRequest, serve_echo
from tests.support.imports import remarks

URL = "https://api.example.com/x"


def first_step(text: str) -> dict[str, Any]:
    """Give the first step, credentials and all, without what names it."""
    node = import_curl(text, credentials=Credentials.AS_WRITTEN).config["nodes"][0]
    return {key: value for key, value in node.items() if key not in {"id", "name"}}


FORM = {"Content-Type": "multipart/form-data"}
COMMANDS: dict[str, tuple[str, dict[str, Any]]] = {
    "a URL": (f"curl {URL}", {"method": "GET", "url": URL}),
    "no scheme": ("curl example.com/a", {"method": "GET", "url": "http://example.com/a"}),
    "a path to curl": (f"/usr/bin/curl --url {URL}", {"method": "GET", "url": URL}),
    "an abbreviated option": (
        f"curl --max-t 2 --no-keepalive --sil {URL}",
        {"method": "GET", "url": URL, "timeout": 2.0},
    ),
    "a query and its names": (
        f"curl {URL} --url-query 'a=b c' --url-query '+d=%20' --no-compressed",
        {"method": "GET", "url": f"{URL}?a=b%20c&d=%20"},
    ),
    "a token by option": (
        f"curl --oauth2-bearer t {URL}",
        {"method": "GET", "url": URL, "auth": {"type": "bearer", "token": "t"}},
    ),
    "a range": (f"curl -r 600 {URL}", {"method": "GET", "url": URL, "headers": {"Range": "bytes=600-"}}),
    "a range with an end": (
        f"curl --range 0-9 {URL}",
        {"method": "GET", "url": URL, "headers": {"Range": "bytes=0-9"}},
    ),
    "a body from a file": (f"curl {URL} -d @body.json", {"method": "POST", "url": URL}),
    "a form of a file": (f"curl {URL} -F file=@a.png", {"method": "POST", "url": URL}),
    "a file in the query": (f"curl {URL} -G -d @body.txt", {"method": "GET", "url": URL}),
    "a password that must not go out unasked": (f"curl {URL} -u a:b --digest", {"method": "GET", "url": URL}),
    "JSON that is one text": (
        f"curl {URL} --json '\"x\"'",
        {
            "method": "POST",
            "url": URL,
            "body": '"x"',
            "headers": {"Content-Type": "application/json", "Accept": "application/json"},
        },
    ),
    "no number": (f"curl -m soon --retry -1 {URL}", {"method": "GET", "url": URL}),
    "a broken basic": (
        f"curl {URL} -H 'Authorization: Basic ???'",
        {"method": "GET", "url": URL, "headers": {"Authorization": "Basic ???"}},
    ),
    "translated quotes": (f'curl {URL} -d $"a b"', {"method": "POST", "url": URL, "body": "a b"}),
    "flags in one word": (f"curl -sSLXPUT {URL}", {"method": "PUT", "url": URL}),
    "after two dashes": (f"curl -s -- {URL}", {"method": "GET", "url": URL}),
    "data": (f"curl {URL} -d a=1 -d b=2", {"method": "POST", "url": URL, "body": "a=1&b=2"}),
    "data glued on": (f"curl {URL} -da=1", {"method": "POST", "url": URL, "body": "a=1"}),
    "JSON under a type": (
        f"""curl {URL} -H 'Content-Type: application/json' -d '{{"a": [1, null]}}'""",
        {"method": "POST", "url": URL, "headers": {"Content-Type": "application/json"}, "body": {"a": [1, None]}},
    ),
    "JSON without a type": (f"""curl {URL} -d '{{"a": 1}}'""", {"method": "POST", "url": URL, "body": '{"a": 1}'}),
    "--json": (
        f"""curl --json '{{"a":' --json '1}}' {URL}""",
        {
            "method": "POST",
            "url": URL,
            "headers": {"Content-Type": "application/json", "Accept": "application/json"},
            "body": {"a": 1},
        },
    ),
    "urlencoded": (
        f"curl {URL} --data-urlencode 'a b&c' --data-urlencode 'n=x y' --data-urlencode '=p=q'",
        {"method": "POST", "url": URL, "body": "a%20b%26c&n=x%20y&p%3Dq"},
    ),
    "-G": (f"curl -G '{URL}?z=0' -d a=1", {"method": "GET", "url": f"{URL}?z=0&a=1"}),
    "-I": (f"curl -I {URL}", {"method": "HEAD", "url": URL}),
    "a form": (
        f"curl -F a=1 -F 'b=x y;type=text/plain' {URL}",
        {"method": "POST", "url": URL, "headers": FORM, "body": {"a": "1", "b": "x y"}},
    ),
    "a literal part": (
        f"curl --form-string 'a=@b;type=c' {URL}",
        {"method": "POST", "url": URL, "headers": FORM, "body": {"a": "@b;type=c"}},
    ),
    "-u": (
        f"curl -u ada:p:w {URL}",
        {"method": "GET", "url": URL, "auth": {"type": "basic", "username": "ada", "password": "p:w"}},
    ),
    "a bearer": (
        f"curl {URL} -H 'authorization: Bearer t.o.k'",
        {"method": "GET", "url": URL, "auth": {"type": "bearer", "token": "t.o.k"}},
    ),
    "basic by hand": (
        f"curl {URL} -H 'Authorization: Basic YWRhOnB3'",
        {"method": "GET", "url": URL, "auth": {"type": "basic", "username": "ada", "password": "pw"}},
    ),
    "another scheme": (
        f"curl {URL} -H 'Authorization: Digest x'",
        {"method": "GET", "url": URL, "headers": {"Authorization": "Digest x"}},
    ),
    "headers": (
        f"curl {URL} -A me -e http://r -b 'a=1; b=2' -H 'X-Empty;' -H 'Accept:' -H 'X: a:b'",
        {
            "method": "GET",
            "url": URL,
            "headers": {"User-Agent": "me", "Referer": "http://r", "Cookie": "a=1; b=2", "X-Empty": "", "X": "a:b"},
        },
    ),
    "a header twice": (f"curl {URL} -H 'x: 1' -H 'X: 2'", {"method": "GET", "url": URL, "headers": {"x": "1, 2"}}),
    "time": (f"curl -m 2.5 --retry 3 {URL}", {"method": "GET", "url": URL, "timeout": 2.5, "retry": {"attempts": 4}}),
    "lines": (f"curl \\\n  -X POST \\\r\n  {URL} # done", {"method": "POST", "url": URL}),
    "quotes": (
        f"""curl {URL} -d 'it'\\''s' -d "a\\"b\\$c\\x" """,
        {"method": "POST", "url": URL, "body": "it's&a\"b$c\\x"},
    ),
    "ANSI-C": (
        f"curl {URL} --data-raw $'a\\'b\\n\\u00e9\\xc3\\xa9\\101\\t\\U0001F600\\cA\\q'",
        {"method": "POST", "url": URL, "body": "a'b\néé" + "A\t😀\x01\\q"},
    ),
    "redirections": (f"curl {URL} >out 2>&1 2>/dev/null &>x -d a", {"method": "POST", "url": URL, "body": "a"}),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_becomes_the_step_that_sends_the_same(name: str) -> None:
    """What documentation shows is pasted as it is."""
    text, step = COMMANDS[name]

    assert first_step(text) == step


def test_several_commands_are_steps_in_their_order() -> None:
    """Scripts of a team's wiki have a login first."""
    config = import_curl(f"curl {URL}/1 {URL}/2 --next -d a {URL}/3; curl {URL}/4 && curl {URL}/5\n# curl no").config

    assert [node["url"][-1] for node in config["nodes"]] == ["1", "2", "3", "4", "5"]
    assert [node["method"] for node in config["nodes"]] == ["GET", "GET", "POST", "GET", "GET"]


def test_variables_of_the_shell_become_variables_and_secrets() -> None:
    """`$TOKEN` is nobody's variable to show; a value set in the text is kept unless it is a credential."""
    imported = import_curl(
        'H=example.com\nexport BASE="https://$H/v1"\nAPI_KEY=abcdef\n'
        'curl "$BASE/u?api_key=${API_KEY}&p=$PAGE" -H "Authorization: Bearer $TOKEN" -d \'$H\''
    )

    assert imported.config["variables"] == {"H": "example.com", "BASE": "https://example.com/v1"}
    assert imported.config["secrets"] == ["API_KEY", "TOKEN"]
    node = imported.config["nodes"][0]
    assert node["url"] == "{{ .vars.BASE }}/u?api_key={{ .secrets.API_KEY }}&p={{ .vars.PAGE }}"
    assert node["auth"] == {"type": "bearer", "token": "{{ .secrets.TOKEN }}"}
    assert node["body"] == "$H"
    assert "$PAGE is set nowhere" in remarks(imported)
    assert "abcdef" not in str(imported)


def test_credentials_do_not_land_in_the_flow() -> None:
    """What a browser copies holds somebody's session."""
    imported = import_curl(
        "curl 'https://me:hunter2@h/x?access_token=hunter2&max_tokens=7' -b 'sid=hunter2; theme=dark' -u a:hunter2"
        ' -H \'X-Api-Key: hunter2\' --json \'{"password": "hunter2", "a": [{"refreshToken": "hunter2"}]}\''
    )

    assert "hunter2" not in str(imported)
    assert "max_tokens=7" in imported.config["nodes"][0]["url"]
    assert "theme=dark" not in str(imported), "names of cookies tell nothing, so all are hidden"
    assert "hunter2" in str(import_curl("curl h -u a:hunter2", credentials=Credentials.AS_WRITTEN))


def test_the_same_auth_of_all_steps_is_said_once() -> None:
    """At the root, where it can be changed once."""
    config = import_curl("curl -u a:b h/1; curl -u a:b h/2", credentials=Credentials.AS_WRITTEN).config

    assert config["auth"] == {"type": "basic", "username": "a", "password": "b"}
    assert [node.get("auth") for node in config["nodes"]] == [None, None]


def test_values_without_quotes_keep_their_type() -> None:
    """`{"n": $N}` is a number to the server."""
    config = import_curl('N=5\nM=five\ncurl --json "{\\"n\\": $N, \\"m\\": $M}" h').config

    assert config["nodes"][0]["body"] == {"n": "{{ .vars.N }}", "m": "{{ .vars.M }}"}
    assert (config["typed"], config["variables"]) == (True, {"N": 5, "M": "five"})


def test_what_cannot_be_carried_over_is_said() -> None:
    """A request that is silently another one is worse than none."""
    imported = import_curl(
        f"""curl --data-urlencode f@x -F a=1 -F a=2 --digest -k --proxy http://p --cert c --wat -F f=@a.png -d @body.json \\
        -b jar.txt -H @h {URL} | jq .
        curl -X DELETE -d a=1 "{URL}/[1-3]?d=$(date)" -u ada
        rm -rf /
        """
    )

    said = remarks(imported)
    for words in (
        "comes from the file x",
        "part a stands twice",
        "--digest was",
        "-k was",
        "--proxy was",
        "--cert was",
        "option wat",
        "part f",
        "file body.json",
        "file of cookies",
        "reads a file",
        "'jq' is not curl",
        "none with DELETE",
        "several URLs",
        "$(date)",
        "no password",
        "'rm' is not curl",
    ):
        assert words in said, words


REFUSED = {
    "empty": "",
    "no command": "wget x",
    "no method": "curl -X WHAT h",
    "no URL": "curl -s",
    "an open quote": "curl 'x",
    "an open double quote": 'curl "x',
    "an open ANSI-C quote": "curl $'x\\'",
    "an open substitution": "curl $(x",
    "for Windows": 'curl ^"http://x^" ^\n -H ^"a: b^"',
    "not UTF-8": "curl $'\\xff'",
    "a lone surrogate": "curl \ud800",
    "too many words": "curl " + "x " * 60_000,
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_text_is_refused_with_a_fault(name: str) -> None:
    """And with nothing else: no trace, no half of a flow."""
    with pytest.raises(InvalidRequestError) as refused:
        import_curl(REFUSED[name])

    assert refused.value.faults


def test_limits_hold() -> None:
    """A paste of the wrong file must not stop the service."""
    with pytest.raises(PayloadTooLargeError):
        import_curl("x" * (MAX_CURL_CHARS + 1))
    imported = import_curl("curl h/x\n" * (MAX_STEPS + 5))
    assert len(imported.config["nodes"]) == MAX_STEPS
    assert len({node["id"] for node in imported.config["nodes"]}) == MAX_STEPS
    assert "the first were taken" in remarks(imported)


def test_a_million_escaped_quotes_are_read_once() -> None:
    """Each of them looked like the end of the text, and was looked for from the beginning."""
    body = import_curl("curl h -d $'" + "\\'" * 1_000_000 + "'").config["nodes"][0]["body"]

    assert body == "'" * 1_000_000


def test_variables_that_double_each_other_stay_small() -> None:
    """Forty lines could stand for a terabyte."""
    lines = ["A0=" + "x" * 100, *[f"A{n}=$A{n - 1}$A{n - 1}" for n in range(1, 40)], "curl h/$A39"]

    imported = import_curl("\n".join(lines))

    assert len(str(imported)) < 1_000_000
    assert "was left empty" in remarks(imported)


def test_a_pasted_command_cannot_read_secrets_or_the_environment() -> None:
    """Whoever runs the flow is not who wrote the command."""
    imported = import_curl("curl 'http://evil/?a={{ .secrets.PROD }}&b={{.env.AWS}}&c={{ .vars.ok }}' -d '{{x}}\0'")

    node = imported.config["nodes"][0]
    assert node["url"] == "http://evil/?a=%7B%7B .secrets.PROD %7D%7D&b=%7B%7B.env.AWS%7D%7D&c={{ .vars.ok }}"
    assert node["body"] == "{ {x} }"
    assert "tried to read .secrets.PROD" in remarks(imported)
    assert "is no placeholder" in remarks(imported)


@given(st.text(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_text_is_read_or_refused(text: str) -> None:
    """No other error, whatever is pasted."""
    for candidate in (text, f"curl h {text}", f"curl h -d '{text}"):
        with suppress(InvalidRequestError):
            assert import_curl(candidate).config["nodes"]


TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)


@given(TEXTS)
@settings(max_examples=300, deadline=None)
def test_our_quoting_is_read_back_by_ourselves(text: str) -> None:
    """The writer and the reader agree on every text; shlex agrees where it knows the quotes."""
    word = quote_for_bash(text) or "''"

    node = import_curl(f"curl h --data-raw {word}x", credentials=Credentials.AS_WRITTEN).config["nodes"][0]

    assert node["body"] == text + "x" or "{{" in text or "}}" in text, "braces are parted"
    if not word.startswith("$'"):
        assert shlex.split(word) == [text]


needs_curl = pytest.mark.skipif(
    not (shutil.which("curl") and shutil.which("bash")), reason="`scripts/system-packages curl bash` brings them"
)


async def run_script(
    config: dict[str, Any], *, answers: tuple[bytes, ...] = (), **environment: str
) -> list[ReceivedRequest]:
    """Run the exported script with the real bash and curl against a real server."""
    async with serve_echo() as server:
        server.answers = list(answers)
        script = export_curl(config | {"variables": config.get("variables", {}) | {"base": server.url}}).text
        variables = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "LANG": "C.UTF-8", **environment}
        with trio.fail_after(60):
            await trio.run_process(["bash", "-c", script], env=variables, capture_stdout=True)
        return server.requests


NASTY = "'\"\\`$HOME $(id) !x\n\t\r\x01é😀%41 +&=?#@file;*~{a,b}[1-2]"
JSON_TYPE = {"Content-Type": "application/json"}
FORM_TYPE = {"Content-Type": "application/x-www-form-urlencoded"}


@needs_curl
@pytest.mark.slow
async def test_the_real_curl_sends_exactly_what_the_flow_would() -> None:
    """Bytes, not resemblance: bodies, headers and targets as the flow's own engine makes them."""
    base = "{{ .vars.base }}"
    requests = await run_script(
        {
            "variables": {"nasty": NASTY, "n": 3},
            "defaults": {"headers": {"X-Default": "d"}, "timeout": 20},
            "nodes": [
                {
                    "id": "a",
                    "method": "POST",
                    "url": f"{base}/a",
                    "body": {"t": NASTY, "v": "{{ .vars.nasty }}", "n": "{{ .vars.n }}"},
                },
                {
                    "id": "b",
                    "method": "PUT",
                    "url": f"{base}/b",
                    "headers": {"Content-Type": "text/plain"},
                    "body": NASTY,
                },
                {
                    "id": "c",
                    "method": "POST",
                    "url": f"{base}/c",
                    "headers": FORM_TYPE,
                    "body": {"a b": NASTY, "l": [1, 2], "o": {"x": None, "y": True}},
                },
                {
                    "id": "d",
                    "method": "PATCH",
                    "url": f"{base}/d",
                    "headers": JSON_TYPE,
                    "body": ' {"n": {{ .vars.n }}} ',
                },
                {
                    "id": "e",
                    "method": "POST",
                    "url": f"{base}/e",
                    "headers": {"Content-Type": "multipart/form-data"},
                    "body": {"f": "@/etc/passwd", "g": NASTY},
                },
                {"id": "f", "method": "DELETE", "url": f"{base}/f/ü x?q=a b&r={{}}[1-3]%20", "body": {"dropped": 1}},
                {
                    "id": "g",
                    "method": "HEAD",
                    "url": f"{base}/g",
                    "headers": {"X-Empty": "", "X-Nasty": 'a\'b "c" $HOME `id`', "@x": "y"},
                },
                {"id": "h", "method": "POST", "url": f"{base}/h"},
                {"id": "i", "method": "POST", "url": f"{base}/i", "headers": JSON_TYPE, "body": "no JSON"},
            ],
        }
    )

    a, b, c, d, e, f, g, h, i = requests
    assert [request.method for request in requests] == [
        "POST",
        "PUT",
        "POST",
        "PATCH",
        "POST",
        "DELETE",
        "HEAD",
        "POST",
        "POST",
    ]
    assert json.loads(a.body) == {"t": NASTY, "v": NASTY, "n": "3"}
    assert a.headers["content-type"] == "application/json"
    assert a.headers["x-default"] == "d"
    assert b.body == NASTY.encode()
    assert b.headers["content-type"] == "text/plain"
    assert parse_qsl(c.body.decode()) == [("a b", NASTY), ("l[]", "1"), ("l[]", "2"), ("o[y]", "true")]
    assert d.body == b'{"n": 3}'
    assert b"@/etc/passwd" in e.body
    assert NASTY.encode() in e.body
    assert (f.target, f.body) == ("/f/%C3%BC%20x?q=a%20b&r=%7B%7D[1-3]%20", b"")
    assert (g.headers["x-empty"], g.headers["x-nasty"]) == ("", 'a\'b "c" $HOME `id`')
    assert (h.body, h.headers["content-length"]) == (b"", "0")
    assert i.body == b'"no JSON"'


@needs_curl
@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("jq"), reason="`scripts/system-packages jq` brings it")
async def test_the_script_takes_tokens_out_of_answers_and_secrets_from_the_shell() -> None:
    """A script that stops after the login is no use; one that holds the password is worse."""
    base = "{{ .vars.base }}"
    config = {
        "secrets": ["PW"],
        "nodes": [
            {"id": "log-in", "method": "POST", "url": f"{base}/login", "body": {"p": "{{ .secrets.PW }}"}},
            {
                "id": "me",
                "method": "GET",
                "url": f"{base}/u/{{{{ .responses.log-in.users[1].the-id }}}}?g={{{{ $guid }}}}",
                "auth": {"type": "bearer", "token": "{{ .responses.log-in.token }}"},
            },
            {
                "id": "key",
                "method": "GET",
                "url": f"{base}/k?a=1",
                "auth": {"type": "api_key", "in": "query", "name": "k", "value": "{{ .secrets.K }}"},
            },
            {
                "id": "basic",
                "method": "GET",
                "url": f"{base}/b",
                "auth": {"type": "basic", "username": "u", "password": "{{ .input.pin }}"},
            },
        ],
    }
    answer = b'{"token": "t$1", "users": [{}, {"the-id": 42}]}'

    login, me, key, basic = await run_script(config, answers=(answer,), PW="s3cr et'$x", K="k%20", pin="1234")

    assert login.body == b'{"p":"s3cr et\'$x"}'
    assert me.target.startswith("/u/42?g=")
    assert len(me.target) == len("/u/42?g=") + 36
    assert me.headers["authorization"] == "Bearer t$1"
    assert basic.headers["authorization"] == "Basic dToxMjM0"
    assert key.target.startswith("/k?a=1&k=k%20")


@needs_curl
@pytest.mark.slow
async def test_types_keys_and_nested_forms_are_sent_as_flows_do() -> None:
    """Lists in forms have names of their own, `1.0` is `1`, and what is typed keeps its type."""
    config = {
        "typed": True,
        "environment": "e",
        "environments": {"_common": {"n": 7}, "e": {"m": True}},
        "variables": {},
        "nodes": [
            {
                "id": "form",
                "method": "POST",
                "url": "{{ .vars.base }}/f",
                "headers": FORM_TYPE,
                "body": {"l": [{"a": 1.0}, [2]], "n": None, "p": [1, None]},
                "auth": {"type": "api_key", "name": "X-K", "value": "v w"},
            },
            {
                "id": "json",
                "method": "POST",
                "url": "{{ .vars.base }}/j",
                "body": [1.0, 2.5, {"x": 3.0, "n": "{{ .env.n }}", "m": "{{ .env.m }}", "t": "a{{ .env.n }}"}],
            },
            {"id": "list", "method": "POST", "url": "{{ .vars.base }}/{{ .responses.json.[0].id }}", "body": True},
        ],
    }
    form, body, item = await run_script(config, answers=(b"{}", b'[{"id": 9}]'))

    assert form.body == b"l%5B0%5D%5Ba%5D=1&l%5B1%5D%5B0%5D=2&p%5B%5D=1"
    assert form.headers["x-k"] == "v w"
    assert body.body == b'[1,2.5,{"x":3,"n":7,"m":true,"t":"a7"}]'
    assert (item.target, item.body) == ("/9", b"true")


def test_a_script_sends_nothing_before_all_it_needs_is_set() -> None:
    """Half of a flow is the worst of all."""
    exported = export_curl({"nodes": [{"id": "a", "method": "GET", "url": "http://h/{{ .secrets.K }}"}]})

    assert exported.text.index(': "${K:?') < exported.text.index("curl")


def test_what_a_script_cannot_say_is_noted() -> None:
    """Validations and conditions are what makes it a flow."""
    exported = export_curl(
        {
            "cookies": True,
            "nodes": [
                {
                    "id": "a",
                    "method": "GET",
                    "url": "http://h",
                    "conditions": [{}],
                    "validations": [{"httpStatusCode": 1}],
                }
            ],
            "finally": [{"id": "z", "method": "DELETE", "url": "http://h/{{ .responses.a.$status }}"}],
        }
    )

    paths = {note.path for note in exported.notes}
    assert {"cookies", "nodes[0].conditions", "nodes[0].validations", "finally[0]", "responses.a.$status"} <= paths


BAD_FLOWS: list[Any] = [
    None,
    [],
    {},
    {"nodes": []},
    {"nodes": [1]},
    {"nodes": [{"id": "a"}]},
    {"nodes": "x"},
    {"nodes": [{"id": "a", "method": "GET", "url": "http://h/\0"}]},
    {"nodes": [{"id": "a", "method": "GET", "url": "\ud800"}]},
]


@pytest.mark.parametrize("config", BAD_FLOWS)
def test_what_is_no_flow_is_refused(config: Any) -> None:
    """With the path of each fault."""
    with pytest.raises(InvalidRequestError) as refused:
        export_curl(config)

    assert refused.value.faults


NAMES = st.text(st.sampled_from("abcXYZ-_09"), min_size=1, max_size=8)
VALUES = (
    st.text(st.characters(exclude_characters="\0\r\n{}", exclude_categories=["Cs"]), min_size=1, max_size=20)
    .map(str.strip)
    .filter(bool)
)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | VALUES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
STEPS = st.fixed_dictionaries(
    {
        "method": st.sampled_from(["POST", "PUT", "PATCH"]),
        "url": st.builds("https://h.example/{}?{}={}".format, NAMES, NAMES, NAMES),
        "headers": st.dictionaries(NAMES.map(lambda name: "x-" + name.lower()), VALUES, max_size=3),
        "body": st.dictionaries(NAMES, JSON_VALUES, max_size=4),
    }
)


@given(st.lists(STEPS, min_size=1, max_size=4))
@settings(max_examples=150, deadline=None)
def test_what_is_exported_is_imported_as_the_same_requests(steps: list[dict[str, Any]]) -> None:
    """Out and in again: nothing of a request is lost or bent on the way."""
    nodes = [{"id": f"s{index}", **step} for index, step in enumerate(steps)]

    script = export_curl({"nodes": nodes}).text
    back = import_curl(script, credentials=Credentials.AS_WRITTEN).config["nodes"]

    assert [(node["method"], node["url"], node["body"]) for node in back] == [
        (node["method"], node["url"], node["body"]) for node in nodes
    ]
    expected = [node["headers"] | {"Content-Type": "application/json"} for node in nodes]
    assert [node["headers"] for node in back] == expected
