"""What a team has in Postman runs as a flow, and a flow can be opened in Postman."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from execd.core.errors import InvalidRequestError, PayloadTooLargeError
from execd.core.formats.drafting import MAX_INPUT_CHARS, MAX_STEPS, Imported
from execd.core.formats.postman_export import export_collection, export_environment
from execd.core.formats.postman_import import import_collection, import_environment
from execd.core.formats.postman_scripts import read_script
from tests.support.imports import remarks, step_of

FILES = Path(__file__).parent / "formats"
SHOP = (FILES / "shop.postman_collection.json").read_text()
STAGING = (FILES / "staging.postman_environment.json").read_text()


def collection(*items: Any, **root: Any) -> str:
    return json.dumps({"info": {"name": "x"}, "item": items, **root})


def request(url: Any = "https://h/x", **fields: Any) -> dict[str, Any]:
    return {"name": "R", "request": {"method": "POST", "url": url, **fields}}


def first_step(*items: Any, **root: Any) -> dict[str, Any]:
    step: dict[str, Any] = import_collection(collection(*items, **root)).config["nodes"][0]
    return step


@pytest.fixture(scope="module")
def shop() -> Imported:
    return import_collection(SHOP, environments=[STAGING])


def test_folders_become_one_line_of_steps(shop: Imported) -> None:
    """In the order in which Postman's runner would go."""
    assert [node["id"] for node in shop.config["nodes"]] == [
        "log_in",
        "refresh_oauth_form",
        "create_order",
        "get_order",
        "search_graphql",
        "attach_invoice",
    ]


def test_what_scripts_hand_over_becomes_references(shop: Imported) -> None:
    """The one thing that makes a collection a flow: a login's token in the next request."""
    assert step_of(shop, "create_order")["auth"]["token"] == "{{ .responses.log_in.data.token }}"
    assert step_of(shop, "create_order")["body"]["user"] == "{{ .responses.log_in.data.user.id }}"
    get = step_of(shop, "get_order")
    assert get["headers"] == {"If-None-Match": "{{ .responses.log_in.$headers.etag }}"}
    assert get["url"] == (
        "https://{{ .env.host }}/api/v2/orders/{{ .responses.create_order.id }}/lines/{{ .vars.line }}"
        "?limit={{ .vars.page_size }}&q=a b&flag"
    )


def test_auth_is_inherited_and_can_be_refused(shop: Imported) -> None:
    """A login that sends the token of the last run is a bug that is hard to see."""
    kinds = {node["id"]: node.get("auth", {}).get("type") for node in shop.config["nodes"]}

    assert kinds == {
        "log_in": None,
        "refresh_oauth_form": "basic",
        "create_order": "bearer",
        "get_order": "bearer",
        "search_graphql": "bearer",
        "attach_invoice": "api_key",
    }


def test_assertions_become_validations(shop: Imported) -> None:
    """Those of the collection hold for each request; those in an `if` are told and not taken."""
    assert step_of(shop, "create_order")["validations"] == [
        {"responseTimeMs": True, "lessThan": 2000},
        {"httpStatusCode": 201},
        {"jsonpath": ".total.amount", "greaterThan": 0},
    ]
    assert {"jsonpath": ".data.token.length", "greaterThan": 0} in step_of(shop, "log_in")["validations"]
    assert "was not understood: if ( body" in remarks(shop)
    assert "runs before the request" in remarks(shop)


def test_secrets_are_named_and_never_taken(shop: Imported) -> None:
    """A config is saved, shown and versioned."""
    text = json.dumps(shop.config) + remarks(shop)

    assert not [word for word in ("correct horse", "fk-live-1", "s3cr3t-client") if word in text]
    assert shop.config["secrets"] == ["filesKey", "password", "password_2"]
    assert shop.config["environments"]["Staging"] == {
        "host": "staging.shop.example.com",
        "email": "ada@example.com",
        "count": 2,
    }
    assert shop.config["environments"]["_common"] == {"host": "shop.example.com"}


def test_an_environment_alone_can_be_read() -> None:
    """It is a file of its own, and may come later."""
    imported = import_environment(STAGING)

    assert imported.config["environment"] == "Staging"
    assert imported.config["secrets"] == ["filesKey", "password"]


def test_every_mode_of_a_body_is_said_as_a_flow_does(shop: Imported) -> None:
    """Objects where they can be edited, texts where only a text is the same."""
    assert step_of(shop, "refresh_oauth_form")["body"] == {
        "grant_type": "client_credentials",
        "scope": "orders:read orders:write",
    }
    assert step_of(shop, "search_graphql")["body"]["variables"] == {"n": 5}
    assert step_of(shop, "attach_invoice")["headers"] == {"Content-Type": "multipart/form-data"}


def test_placeholders_without_quotes_keep_their_type(shop: Imported) -> None:
    """`"count": {{count}}` is a number in Postman, and a text would be another request."""
    assert step_of(shop, "create_order")["body"]["items"] == [{"sku": "A-1", "count": "{{ .env.count }}"}]
    assert shop.config["typed"] is True
    assert shop.config["environments"]["Staging"]["count"] == 2
    assert "`typed` was set" in remarks(shop)
    assert '\\"count\\":{{count}}' in export_collection(shop.config, name="x").text


ODD: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "a URL in a word": ({"url": "example.com/a"}, {"url": "http://example.com/a"}),
    "nothing but raw": ({"url": {"raw": "{{x}}/a"}}, {"url": "{{ .vars.x }}/a"}),
    "headers as text": ({"header": "A: b\nC: d:e"}, {"headers": {"A": "b", "C": "d:e"}}),
    "a header twice": (
        {"header": [{"key": "A", "value": "1"}, {"key": "A", "value": "2"}]},
        {"headers": {"A": "1, 2"}},
    ),
    "a form twice": (
        {"body": {"mode": "urlencoded", "urlencoded": [{"key": "a", "value": "1 2"}, {"key": "a", "value": "&"}]}},
        {"body": "a=1%202&a=%26"},
    ),
    "a form with a key from a variable": (
        {"body": {"mode": "urlencoded", "urlencoded": [{"key": "{{k}}", "value": "1 {{v}}"}]}},
        {"body": "{{ .vars.k }}=1%20{{ .vars.v }}"},
    ),
    "a JSON text": (
        {"body": {"mode": "raw", "raw": '"5"', "options": {"raw": {"language": "json"}}}},
        {"body": '"5"', "headers": {"Content-Type": "application/json"}},
    ),
    "a disabled body": ({"body": {"mode": "raw", "raw": "x", "disabled": True}}, {}),
    "plain text": ({"body": {"mode": "raw", "raw": "hi"}}, {"headers": {"Content-Type": "text/plain"}, "body": "hi"}),
    "an old auth": (
        {"auth": {"type": "basic", "basic": {"username": "{{u}}", "password": "{{p}}"}}},
        {"auth": {"type": "basic", "username": "{{ .vars.u }}", "password": "{{ .vars.p }}"}},
    ),
    "an auth by hand": (
        {"header": [{"key": "Authorization", "value": "Bearer {{t}}"}]},
        {"auth": {"type": "bearer", "token": "{{ .vars.t }}"}},
    ),
    "a key in the query": (
        {
            "auth": {
                "type": "apikey",
                "apikey": [
                    {"key": "key", "value": "k"},
                    {"key": "value", "value": "{{v}}"},
                    {"key": "in", "value": "query"},
                ],
            }
        },
        {"auth": {"type": "api_key", "name": "k", "value": "{{ .vars.v }}", "in": "query"}},
    ),
    "a path as text": ({"url": {"host": "h", "path": "/a/b"}}, {"url": "http://h/a/b"}),
    "a form as text": ({"body": {"mode": "urlencoded", "urlencoded": "a=1"}}, {"body": "a=1"}),
    "an empty raw": ({"body": {"mode": "raw", "raw": ""}}, {}),
    "GraphQL with a name": (
        {
            "body": {
                "mode": "graphql",
                "graphql": {"query": "{ a{b{c}} }", "operationName": "O", "variables": {"n": "{{n}}"}},
            }
        },
        {"body": {"query": "{ a{b{c} } }", "operationName": "O", "variables": {"n": "{{ .vars.n }}"}}},
    ),
    "nonsense everywhere": (
        {"header": 5, "body": [1], "auth": "x", "description": {}, "url": {"host": 3, "path": {"a": 1}, "query": "?"}},
        {"url": "http://3"},
    ),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_files_are_read_as_postman_reads_them(name: str) -> None:
    """Ten years of versions have written such files."""
    fields, expected = ODD[name]

    step = first_step(request(**fields))

    assert {key: step.get(key) for key in expected} == expected


def test_what_cannot_be_carried_over_is_said() -> None:
    """One remark for each, with the place and something to do."""
    imported = import_collection(
        collection(
            request(body={"mode": "file", "file": {"src": "x"}}),
            request(auth={"type": "awsv4", "awsv4": []}),
            request(auth={"type": "oauth2", "oauth2": [{"key": "grant", "value": "x"}]}),
            {"name": "G", "request": {"method": "GET", "url": "h", "body": {"mode": "raw", "raw": "x"}}},
            {"name": "no request"},
            request("http://h", method="PROPFIND"),
            request({"host": "h", "auth": {"user": "u"}}),
            request(body={"mode": "novel"}),
            request(body={"mode": "raw", "raw": "no", "options": {"raw": {"language": "json"}}}),
            request(body={"mode": "formdata", "formdata": [{"key": "{{k}}"}, {"key": "d"}, {"key": "d"}]}),
            {
                **request(),
                "event": [
                    {"listen": "test", "script": {"exec": "pm.expect(pm.response.json().a).to.eql('{{ .vars.x }}')"}}
                ],
            },
            {"name": "no url", "request": {}},
            {**request("h/{{$randomEmail}}/{{gone}}"), "protocolProfileBehavior": {"followRedirects": False}},
        )
    )

    said = remarks(imported)
    for words in (
        "comes from a file",
        "awsv4",
        "OAuth 2",
        "not sent with GET",
        "neither a folder",
        "has no URL",
        "$randomEmail",
        "{{gone}}",
        "settings of its own",
        "checked for status 200",
    ):
        assert words in said, words
    for words in (
        "PROPFIND",
        "user before its host",
        "mode novel",
        "not JSON though",
        "is not filled in",
        "part d stands twice",
        "compares with a variable",
    ):
        assert words in said, words
    assert all(note.advice for note in imported.notes)


def test_variables_in_variables_are_written_out() -> None:
    """A flow's variables do not read one another, and an environment's win over the collection's."""
    environment = json.dumps(
        {"name": "E", "values": [{"key": "host", "value": "e"}, {"key": "url", "value": "https://{{host}}/{{v}}"}]}
    )
    text = collection(
        request("{{base}}/{{url}}"),
        variable=[
            {"key": "host", "value": "c"},
            {"key": "v", "value": 2},
            {"key": "base", "value": "http://{{host}}/{{$guid}}"},
        ],
    )

    config = import_collection(text, environments=[environment]).config

    assert config["nodes"][0]["url"] == "http://{{ .env.host }}/{{ $guid }}/{{ .env.url }}"
    assert config["environments"] == {"_common": {"host": "c"}, "E": {"host": "e", "url": "https://e/2"}}


def test_variables_that_use_themselves_or_double_stay_small() -> None:
    """Sixty lines that each say the last one twice are 2^60 characters."""
    doubling = [{"key": f"v{n}", "value": f"{{{{v{n - 1}}}}}{{{{v{n - 1}}}}}" if n else "x" * 100} for n in range(60)]
    values = [{"key": "loop", "value": "{{loop}}"}, *doubling]

    imported = import_collection(
        collection(request("h/{{loop}}/{{v59}}"), variable=values),
        environments=[json.dumps({"name": "E", "values": values})],
    )

    assert len(json.dumps(imported.config)) < 10_000_000
    assert "uses itself" in remarks(import_collection(collection(request("{{loop}}"), variable=values)))


def test_a_collection_cannot_read_what_it_does_not_declare() -> None:
    """Whoever runs it is not who wrote it."""
    imported = import_collection(collection(request("http://evil/{{.secrets.PROD}}/{{ .env.AWS }}/{{{{.secrets.X}}}}")))

    assert ".secrets." not in imported.config["nodes"][0]["url"].replace(".vars.secrets_", "")
    assert "secrets" not in imported.config


REFUSED = {
    "empty": "",
    "no JSON": "{",
    "a list": "[]",
    "no collection": "{}",
    "the first format": '{"requests": [], "name": "x"}',
    "no requests": '{"item": []}',
    "deep": '{"item":' + "[" * 500_000,
    "folders in folders": '{"item":' + '[{"item":' * 200 + "[]" + "}]" * 200 + "}",
    "a lone surrogate": '{"item": [{"name": "\\ud800"}]}',
    "a surrogate outside": '{"item": "\ud800"}',
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_files_are_refused_with_a_fault(name: str) -> None:
    """And with nothing else."""
    with pytest.raises(InvalidRequestError) as refused:
        import_collection(REFUSED[name])

    assert refused.value.faults


def test_files_as_postmans_own_api_wraps_them_are_read() -> None:
    """And a saved example tells the status that is right."""
    item = {**request(), "response": [{"code": 201}]}
    wrapped = json.dumps({"collection": {"item": [item]}})
    environment = json.dumps(
        {"environment": {"name": "E", "values": [{"key": "a", "value": {"b": 1}}, {"key": "c", "value": None}]}}
    )

    config = import_collection(wrapped, environments=[environment]).config

    assert config["nodes"][0]["validations"] == [{"httpStatusCode": 201}]
    assert config["environments"]["E"] == {"a": '{"b":1}', "c": ""}


def test_environments_are_checked_too() -> None:
    """A collection given for an environment, and too many of them."""
    with pytest.raises(InvalidRequestError, match="environment"):
        import_environment(SHOP)
    with pytest.raises(InvalidRequestError, match="at most"):
        import_collection(SHOP, environments=[STAGING] * 100)


def test_tests_that_all_requests_inherit_cost_little() -> None:
    """Four thousand assertions of a folder under two thousand requests are millions."""
    script = ["pm.response.to.have.status(200);"] * 2500 + [
        f"pm.expect(pm.response.json().a{n}).to.eql(1);" for n in range(2000)
    ]
    event = [{"listen": "test", "script": {"exec": script}}]

    imported = import_collection(
        collection({"name": "F", "item": [request()] * MAX_STEPS, "event": event}, event=event)
    )

    assert len(imported.config["nodes"][0]["validations"]) == 200
    assert len(json.dumps(imported.config)) < 30_000_000
    assert "more than 200 tests" in remarks(imported)


def test_limits_hold() -> None:
    """A hundred thousand requests are a mistake, and take no minute to be told so."""
    with pytest.raises(PayloadTooLargeError):
        import_collection(" " * (MAX_INPUT_CHARS + 1))
    imported = import_collection(collection(*[request()] * 100_000))
    assert len(imported.config["nodes"]) == MAX_STEPS
    assert "the first were taken" in remarks(imported)


JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["{{a}}", "{{$guid}}", "raw"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "item",
                    "request",
                    "url",
                    "header",
                    "body",
                    "mode",
                    "raw",
                    "auth",
                    "type",
                    "event",
                    "script",
                    "exec",
                    "key",
                    "value",
                    "listen",
                    "host",
                    "path",
                    "query",
                    "variable",
                    "name",
                    "response",
                    "code",
                    "formdata",
                    "graphql",
                ]
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=40,
)


@given(st.lists(JSON_VALUES, max_size=3), JSON_VALUES)
@settings(max_examples=300, deadline=None)
def test_any_json_is_read_or_refused(items: list[Any], root: Any) -> None:
    """Files are written by hand, by scripts and by enemies."""
    text = collection(*items, variable=root, event=root, auth=root)

    try:
        imported = import_collection(text)
    except InvalidRequestError as refused:
        imported = None
        faults = refused.faults

    assert imported.config["nodes"] if imported else faults


SCRIPTS: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "status by word": (
        "pm.response.to.have.status('Created'); pm.response.to.be.notFound",
        [{"httpStatusCode": 201}, {"httpStatusCode": 404}],
    ),
    "headers": (
        "pm.response.to.have.header('ETag'); pm.expect(pm.response.headers.get('A')).to.eql('b')\npm.response.to.be.json",
        [
            {"header": "etag", "exists": True},
            {"header": "a", "equals": "b"},
            {"header": "content-type", "contains": "json"},
        ],
    ),
    "bodies": (
        "pm.response.to.have.jsonBody('a.b[0]', 3); pm.response.to.have.jsonBody('c')",
        [{"jsonpath": ".a.b[0]", "equals": 3}, {"jsonpath": ".c", "exists": True}],
    ),
    "negations": (
        "let j = pm.response.json(); pm.expect(j.a).to.not.eql(1); pm.expect(j[0].b).not.to.include('x')",
        [{"jsonpath": ".a", "notEquals": 1}, {"jsonpath": ".[0].b", "notContains": "x"}],
    ),
    "destructuring and brackets": (
        "const { a, b } = pm.response.json(); pm.expect(b).to.eql(1); tests['x'] = (responseCode.code === 200)",
        [{"jsonpath": ".b", "equals": 1}, {"httpStatusCode": 200}],
    ),
    "null": (
        "pm.expect(pm.response.json().a).to.be.null; pm.expect(pm.response.json().a).to.not.be.undefined",
        [{"jsonpath": ".a", "exists": False}, {"jsonpath": ".a", "exists": True}],
    ),
    "nested callbacks": (
        "pm.test('a', async function(done){ pm.test('b', () => { pm.response.to.have.status(200) }) })",
        [{"httpStatusCode": 200}],
    ),
    "numbers": (
        "const limit = 0x10; pm.expect(pm.response.json().a.length).to.be.below(limit);"
        "pm.expect(Number(pm.response.code)).to.eql(200)",
        [{"jsonpath": ".a.length", "lessThan": 16}, {"httpStatusCode": 200}],
    ),
    "a length in words": (
        "pm.expect(pm.response.json().a).to.have.length.above(2)",
        [{"jsonpath": ".a.length", "greaterThan": 2}],
    ),
    "an alias of a header": (
        "const h = pm.response.headers.get('X'); pm.expect(h).to.not.eql(null)",
        [{"header": "x", "exists": True}],
    ),
    "unknown words": (
        """
        const { a: b } = pm.response.json();
        let x;
        tests["a"] = pm.response.json().a.has("x");
        pm.expect(pm.response.json().a).to.sing(1);
        pm.response.to.not.have.status(200);
        pm.response.to.have.status("Splendid");
        JSON.parse(x);
        pm.test("y", named);
        y = JSON.parse(z);
        pm.expect(pm.response.json().a[-1]).to.eql(1);
        pm.expect(pm.response.json().a).to.have.property("b", {});
        pm.response.to.have.pi;
        pm.environment.set("x", pm.response.json());
        pm.environment.set("x", pm.response.responseTime);
        pm.expect(pm.response.code).to.be.above(1);
        pm.response.to.have.jsonBody(5);
        pm.expect(pm.response.json().a).to.match(/(?=x)/);
        pm.expect(pm.response.json()).to.exist.and;
        """,
        [{"jsonpath": ".", "exists": True}],
    ),
    "keys": (
        "pm.expect(pm.response.json()).to.have.all.keys('a', 'b')",
        [{"jsonpath": ".a", "exists": True}, {"jsonpath": ".b", "exists": True}],
    ),
    "a schema": (
        "const s = {type: 'object', 'required': ['a',], n: {x: -1.5, y: null}}; pm.response.to.have.jsonSchema(s)",
        [{"schema": {"type": "object", "required": ["a"], "n": {"x": -1.5, "y": None}}}],
    ),
    "a matching text": (
        r"pm.expect(pm.response.json().a).to.match(/^\d+\/[a/]$/)",
        [{"jsonpath": ".a", "matches": r"^\d+/[a/]$"}],
    ),
    "comments and templates": (
        "/* x */ // pm.response.to.have.status(1)\npm.expect(pm.response.json()['a']).to.eql(`x`)",
        [{"jsonpath": ".a", "equals": "x"}],
    ),
    "a chain over lines": (
        "pm\n  .expect(pm.response.json().a)\n  .to.be.a('string')\n  .and.lengthOf(3)",
        [{"jsonpath": ".a", "type": "string"}, {"jsonpath": ".a", "length": 3}],
    ),
    "conditional": (
        "if (x) { pm.response.to.have.status(200) } else { }\nfor (;;) { pm.response.to.have.status(1) }",
        [],
    ),
    "a loop's body": ("pm.response.json().forEach(x => { pm.expect(x.id).to.eql(1); })", []),
    "not this answer": ("pm.expect(pm.environment.get('a')).to.eql(1); pm.expect(1).to.eql(1)", []),
    "unsayable": (
        "pm.expect(pm.response.json().a).to.eql({b: 1}); pm.expect(pm.response.json().a).to.not.match(/x/)",
        [],
    ),
    "torn": ("pm.test('a', function () { pm.response.to.have.status(", []),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_assertions_are_read_as_they_are_meant(name: str) -> None:
    """What is taken holds whenever the script's holds; what is not taken is told."""
    script, rules = SCRIPTS[name]

    found = read_script(script)

    assert list(found.validations) == rules
    assert found.unknown or rules


@given(st.text("pm.test(){}[];=>'\"`/\\ab1 \n,:!+-", max_size=80))
@settings(max_examples=500, deadline=None)
def test_any_script_is_read(script: str) -> None:
    """It is read and never run, so nothing in it can go wrong."""
    read_script(script)
    read_script(f"pm.test('x', () => {{ pm.expect({script}).to.eql({script}) }})")


@pytest.mark.parametrize(
    "script", ["(" * 150_000, "pm.test('x', () => {" * 5000, "x" * 300_000, "a.b" + "[0]" * 50_000]
)
def test_hostile_scripts_cost_little(script: str) -> None:
    """Nesting is bounded before anything recurses."""
    assert read_script(script).unknown


def test_a_flow_opened_in_postman_and_read_back_is_the_same_flow(shop: Imported) -> None:
    """Requests, auth, validations and hand-overs survive both ways."""
    exported = export_collection(shop.config, name="Shop")
    environment = export_environment(shop.config, name="Staging")

    back = import_collection(exported.text, environments=[environment.text])

    assert back.config["nodes"] == shop.config["nodes"]
    assert back.config["environments"] == shop.config["environments"]


WORDS = st.text(st.sampled_from("abcXYZ019"), min_size=1, max_size=6)
PLAIN = st.text(st.characters(exclude_characters="\0{}", exclude_categories=["Cs"]), max_size=12)
BODIES = st.recursive(
    PLAIN
    | st.integers(-(2**53), 2**53)
    | st.booleans()
    | st.none()
    | st.sampled_from(["{{ .vars.v }}", "{{ $guid }}", "{{ .responses.s0.a-b.c[0].d }}"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(PLAIN, inner, max_size=3),
    max_leaves=6,
)
PATHS = st.lists(WORDS | st.just("a-b") | WORDS.map("{}[1]".format), min_size=1, max_size=3).map(
    lambda parts: "." + ".".join(parts)
)
SCALARS = PLAIN | st.integers(-(2**40), 2**40) | st.booleans()
RULES = st.one_of(
    st.builds(lambda n: {"httpStatusCode": n}, st.integers(100, 599)),
    st.builds(lambda p, v: {"jsonpath": p, "equals": v}, PATHS, SCALARS),
    st.builds(lambda p, v: {"jsonpath": p, "exists": v}, PATHS, st.booleans()),
    st.builds(
        lambda p, o, v: {"jsonpath": p, o: v},
        PATHS,
        st.sampled_from(["greaterThan", "lessThan", "greaterThanOrEqual", "lessThanOrEqual", "length"]),
        st.integers(0, 9),
    ),
    st.builds(lambda p, o, v: {"jsonpath": p, o: v}, PATHS, st.sampled_from(["contains", "notContains"]), PLAIN),
    st.builds(lambda p, v: {"jsonpath": p, "matches": v}, PATHS, WORDS.map("^{}+$".format)),
    st.builds(lambda h, v: {"header": h.lower(), "equals": v}, WORDS, PLAIN),
    st.builds(lambda p, v: {"jsonpath": p, "in": v}, PATHS, st.lists(SCALARS, min_size=1, max_size=3)),
)
FLOW_STEPS = st.fixed_dictionaries(
    {
        "method": st.sampled_from(["POST", "PUT", "PATCH"]),
        "url": st.builds(
            "https://{}.example:8443/{}/{}?{}={}&{}".format,
            WORDS,
            WORDS,
            st.sampled_from(["{{ .vars.v }}", "x"]),
            WORDS,
            WORDS,
            WORDS,
        ),
        "headers": st.dictionaries(WORDS.map("X-{}".format), PLAIN, max_size=2),
        "body": st.dictionaries(PLAIN, BODIES, min_size=1, max_size=3),
        "validations": st.lists(RULES, min_size=1, max_size=3, unique_by=repr),
    }
)


@given(st.lists(FLOW_STEPS, min_size=1, max_size=3))
@settings(max_examples=200, deadline=None)
def test_what_is_exported_is_imported_as_the_same_steps(steps: list[dict[str, Any]]) -> None:
    """For any flow of such steps, not for the ones somebody thought of."""
    first = {"method": "POST", "url": "http://h", "validations": [{"httpStatusCode": 200}], "body": [1], "headers": {}}
    nodes = [{"id": f"s{index}", "name": f"s{index}", **step} for index, step in enumerate([first, *steps])]

    exported = export_collection({"variables": {"v": "1"}, "nodes": nodes}, name="x")
    back = import_collection(exported.text).config["nodes"]

    kind = {"Content-Type": "application/json"}
    assert back == [node | {"headers": node["headers"] | kind} for node in nodes]


def test_what_postman_cannot_say_is_noted() -> None:
    """Silently dropping a condition makes another test of it."""
    config = {
        "cookies": True,
        "nodes": [
            {
                "id": "a",
                "method": "DELETE",
                "url": "http://h/{{ .input.x }}",
                "body": {"a": 1},
                "conditions": [{}],
                "retry": {"retries": 1},
                "timeout": 5,
                "continueOnError": True,
                "validations": [{"jsonpath": "x"}, {"jsonpath": ".a", "weird": 1}],
            },
        ],
        "finally": [
            {
                "id": "z",
                "method": "GET",
                "url": "http://u:p@h/{{ .responses.a.$status }}/{{ .responses.a.b[0][1] }}",
                "validations": [{"schema": {"type": "object"}}, {"jsonpath": ".[0].x", "exists": True}],
            }
        ],
    }

    exported = export_collection(config, name="x")

    assert "pm.response.code" in exported.text
    assert "to.have.jsonSchema" in exported.text
    assert "pm.response.json()[0].x" in exported.text

    paths = {note.path for note in exported.notes}
    assert {
        "cookies",
        "nodes[0]",
        "nodes[0].body",
        "nodes[0].conditions",
        "nodes[0].retry",
        "nodes[0].timeout",
        "nodes[0].continueOnError",
        "nodes[0].validations[0]",
        "nodes[0].validations[1]",
        "finally",
    } <= paths
    assert json.loads(exported.text)["item"][-1]["name"] == "finally"


def test_a_text_goes_out_under_the_type_a_flow_gives_it() -> None:
    """Postman alone would say `text/plain`, and a form would not be read as one."""
    exported = export_collection({"nodes": [{"id": "a", "method": "POST", "url": "http://h", "body": "x=1"}]}, name="x")

    header = {"key": "Content-Type", "value": "application/x-www-form-urlencoded"}
    assert json.loads(exported.text)["item"][0]["request"]["header"] == [header]


def test_a_step_takes_back_headers_of_the_defaults() -> None:
    """With null or false, as when it runs."""
    node = {"id": "a", "method": "GET", "url": "http://h", "headers": {"A": None, "B": False, "C": "own"}}
    exported = export_collection({"nodes": [node], "defaults": {"headers": {"A": 1, "B": 2, "C": 3, "D": 4}}}, name="x")

    found = json.loads(exported.text)["item"][0]["request"]["header"]
    assert {each["key"]: each["value"] for each in found} == {"C": "own", "D": "4"}


@pytest.mark.parametrize("config", [None, {}, {"nodes": [None]}, {"nodes": [{"id": 1}]}])
def test_what_is_no_flow_is_refused(config: Any) -> None:
    """With the path of each fault."""
    with pytest.raises(InvalidRequestError) as refused:
        export_collection(config, name="x")

    assert refused.value.faults
