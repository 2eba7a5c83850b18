"""A description of an API becomes a flow that tries all of it, in an order that can work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from execd.core.errors import InvalidRequestError, PayloadTooLargeError
from execd.core.formats.drafting import MAX_INPUT_CHARS, MAX_STEPS, Imported
from execd.core.formats.openapi_import import import_openapi
from tests.support.imports import remarks, step_of

FILES = Path(__file__).parent / "formats"


@pytest.fixture(scope="module")
def library() -> Imported:
    return import_openapi((FILES / "library.openapi.yaml").read_text())


def document(paths: Any = None, **root: Any) -> str:
    answer = {"responses": {"200": {"description": "ok"}}}
    return json.dumps(
        {"openapi": "3.0.3", "info": {}, "paths": {"/a": {"get": answer}} if paths is None else paths, **root}
    )


def body_sample(schema: Any, **components: Any) -> Any:
    operation = {"requestBody": {"content": {"application/json": {"schema": schema}}}, "responses": {"200": {}}}
    text = document(
        {"/a": {"post": operation}},
        components={"schemas": components},
        servers=[{"url": "http://h", "x": {"const": "found"}}],
    )
    return import_openapi(text).config["nodes"][0].get("body")


def test_the_order_can_work(library: Imported) -> None:
    """What creates comes before what reads, and what deletes comes last, from the inside out."""
    assert [node["id"] for node in library.config["nodes"]] == [
        "logIn",
        "createBook",
        "listBooks",
        "getBook",
        "replaceBook",
        "addCopy",
        "putCover",
        "removeCopy",
        "deleteBook",
        "getMember",
    ]


def test_what_was_created_is_what_is_read(library: Imported) -> None:
    """An id that somebody made up gives a 404 and proves nothing."""
    assert step_of(library, "getBook")["url"] == "{{ .env.baseUrl }}/books/{{ .responses.createBook.id }}"
    assert step_of(library, "removeCopy")["url"].endswith(
        "/books/{{ .responses.createBook.id }}/copies/{{ .responses.addCopy.data.id }}"
    )
    assert library.config["variables"] == {"cardNumber": "0815"}
    assert "cardNumber became a variable" in remarks(library)


def test_servers_become_environments(library: Imported) -> None:
    """The same flow runs against staging by one word."""
    assert library.config["environment"] == "production"
    assert library.config["environments"] == {
        "production": {"baseUrl": "https://eu.library.example/v2"},
        "staging": {"baseUrl": "https://staging.library.example/v2"},
    }
    assert step_of(library, "getMember")["url"].startswith("https://members.library.example/members/")


def test_parameters_are_written_in_their_style(library: Imported) -> None:
    """Required ones and those with an example are sent; what is left out is told."""
    step = step_of(library, "listBooks")

    assert step["url"] == "{{ .env.baseUrl }}/books?limit=5&genre=crime&genre=poetry&ids=1,1&filter[year]=1999"
    assert step["headers"] == {"X-Trace": "11111111-1111-4111-8111-111111111111", "Cookie": "theme=dark"}
    assert "optional query parameter page was left out" in remarks(library)


def test_credentials_are_secrets_by_name(library: Imported) -> None:
    """A description holds none, and the flow must not either."""
    assert library.config["secrets"] == ["adminKey", "bearerAuth_token", "cookieAuth"]
    assert "auth" not in step_of(library, "logIn")
    assert step_of(library, "createBook")["auth"] == {"type": "bearer", "token": "{{ .secrets.bearerAuth_token }}"}
    assert step_of(library, "deleteBook")["auth"]["name"] == "X-Admin-Key"
    assert step_of(library, "getMember")["headers"] == {"Cookie": "session={{ .secrets.cookieAuth }}"}


def test_bodies_are_examples_or_samples_of_their_schema(library: Imported) -> None:
    """What is read-only is not sent, limits hold, and files are told."""
    assert step_of(library, "createBook")["body"] == {
        "title": "string",
        "author": {"name": "Ada Lovelace"},
        "pages": 11,
        "language": "en",
    }
    assert step_of(library, "addCopy")["body"] == {"shelf": "C3", "worn": True}
    assert step_of(library, "logIn")["body"] == {"card": "4711", "pin": "example-password"}
    assert step_of(library, "putCover")["body"] == {"alt": "string"}
    assert "has files (image)" in remarks(library)


def test_answers_are_checked_by_status_and_schema(library: Imported) -> None:
    """The schema stands by itself: its references are written out, and a cycle ends where it closes."""
    status, schema = step_of(library, "getBook")["validations"]

    assert status == {"httpStatusCode": 200}
    assert "$ref" not in json.dumps(schema)
    own = schema["schema"]["allOf"][1]
    assert own["properties"]["sequels"] == {"type": "array", "items": {}}
    assert step_of(library, "removeCopy")["validations"] == [{"httpStatusCode": 204}]
    assert "name the status 2XX only" in remarks(library)


def test_swagger_2_is_read_too() -> None:
    """Half of the world's documents are still in it."""
    imported = import_openapi((FILES / "pets.swagger.json").read_text())

    assert imported.config["defaults"] == {"baseUrl": "https://pets.example.com/api"}
    create, listing, get, photo = imported.config["nodes"]
    assert (create["url"], create["body"], create["auth"]["in"]) == ("/pets", {"name": "Rex"}, "query")
    assert listing["url"] == "/pets?tags=string"
    assert get["url"] == "/pets/{{ .responses.post_pets.id }}"
    assert get["auth"]["type"] == "basic"
    assert photo["headers"] == {"Content-Type": "multipart/form-data"}
    assert photo["body"] == {"title": "string"}
    assert create["validations"][1]["schema"]["required"] == ["name"]


SAMPLES: dict[str, tuple[Any, Any]] = {
    "an example": ({"type": "object", "example": {"a": 1}}, {"a": 1}),
    "a constant": ({"const": 5}, 5),
    "a choice": ({"enum": ["x", "y"]}, "x"),
    "numbers": (
        {
            "properties": {
                "a": {"type": "number", "minimum": 3.5},
                "b": {"type": "integer", "maximum": -4},
                "c": {"type": "integer", "multipleOf": 7, "minimum": 8},
                "d": {"type": "integer", "minimum": 2, "exclusiveMinimum": True},
            }
        },
        {"a": 3.5, "b": -4, "c": 14, "d": 3},
    ),
    "texts": (
        {
            "properties": {
                "a": {"type": "string", "format": "email"},
                "b": {"type": "string", "minLength": 8},
                "c": {"type": "string", "maxLength": 2},
            }
        },
        {"a": "user@example.com", "b": "stringxx", "c": "st"},
    ),
    "one of": (
        {"oneOf": [{"type": "object", "properties": {"a": {"type": "boolean"}}}, {"type": "string"}]},
        {"a": True},
    ),
    "lists": ({"type": "array", "items": {"type": "integer"}, "minItems": 3}, [1, 1, 1]),
    "a map": ({"type": "object", "additionalProperties": {"type": "string"}}, {}),
    "a tree": ({"$ref": "#/components/schemas/Tree"}, {"name": "string", "children": []}),
    "a circle": ({"$ref": "#/components/schemas/Circle"}, None),
    "nowhere": ({"$ref": "#/components/schemas/Nope"}, None),
    "another file": ({"$ref": "other.yaml#/X"}, None),
    "no schema": ("x", None),
    "all of": (
        {"allOf": [{"type": "object", "properties": {"a": {"type": "integer"}}}, {"example": {"b": 2}}]},
        {"a": 1, "b": 2},
    ),
    "all of a text": ({"allOf": [{"type": "string"}]}, "string"),
    "a text or nothing": ({"type": ["null", "string"]}, "string"),
    "by its place in a list": ({"$ref": "#/servers/0/x"}, "found"),
    "by no place": ({"$ref": "#/servers/7/x"}, None),
    "through a text": ({"$ref": "#/openapi/x"}, None),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_fit_their_schema(name: str) -> None:
    """A sample that the server refuses tests nothing but its refusal."""
    schema, sample = SAMPLES[name]

    found = body_sample(
        schema,
        Tree={
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "children": {"type": "array", "items": {"$ref": "#/components/schemas/Tree"}},
            },
        },
        Circle={"$ref": "#/components/schemas/Circle"},
    )

    assert found == sample


def test_the_words_of_3_0_become_json_schema() -> None:
    """A checker of JSON Schema does not know `nullable` and takes `exclusiveMinimum: true` for nonsense."""
    schema = {
        "type": "object",
        "nullable": True,
        "properties": {
            "a": {"type": "number", "minimum": 1, "exclusiveMinimum": True},
            "b": {"type": "string", "nullable": True, "enum": ["x"]},
            "example": {"type": "string"},
            "c": {"$ref": "#/components/schemas/C", "description": "x"},
        },
        "example": {},
        "x-y": 1,
    }
    answer = {"responses": {"200": {"content": {"application/json": {"schema": schema}}}}}
    text = document({"/a": {"get": answer}}, components={"schemas": {"C": {"type": "integer"}}})

    rules = import_openapi(text).config["nodes"][0]["validations"]

    assert rules[1]["schema"] == {
        "type": ["object", "null"],
        "properties": {
            "a": {"type": "number", "exclusiveMinimum": 1},
            "b": {"type": ["string", "null"], "enum": ["x", None]},
            "example": {"type": "string"},
            "c": {"type": "integer"},
        },
    }


def test_patterns_with_look_around_are_not_checked() -> None:
    """A flow matches in linear time, and would refuse the whole schema for one of them."""
    properties = {
        "a": {"pattern": "^a+$"},
        "b": {"pattern": "^(?=x)"},
        "c": {"pattern": "("},
        "d": {"pattern": "x" * 3000},
        "e": True,
    }
    schema = {"type": "object", "properties": properties, "patternProperties": {"^x": {}}}
    answer = {"responses": {"200": {"content": {"application/json": {"schema": schema}}}}}

    imported = import_openapi(document({"/a": {"get": answer}}))

    assert imported.config["nodes"][0]["validations"][1]["schema"] == {
        "type": "object",
        "properties": {
            "a": {"pattern": "^a+$"},
            "b": {"pattern": ""},
            "c": {"pattern": ""},
            "d": {"pattern": ""},
            "e": True,
        },
    }
    assert "pattern that is not checked" in remarks(imported)


def test_a_schema_that_is_none_is_left_out() -> None:
    """Real documents have `type: file` and minimums that are texts; a flow with such a schema would be refused."""
    schema = {"type": "object", "properties": {"a": {"type": "file"}}}
    answer = {"responses": {"200": {"content": {"application/json": {"schema": schema}}}}}

    imported = import_openapi(document({"/a": {"get": answer}}))

    assert imported.config["nodes"][0]["validations"] == [{"httpStatusCode": 200}]
    assert "has a schema that is none and is not checked (.properties.a.type: 'file'" in remarks(imported)


def test_a_server_that_is_no_url_is_told() -> None:
    """Documents that were made anonymous have such."""
    imported = import_openapi(document({"/a": {"get": {}}}, servers=[{"url": "https://<hidden>"}]))

    assert imported.config["defaults"]["baseUrl"] == "http://localhost"
    assert "https://<hidden>" in remarks(imported)


def test_odd_operations_are_told() -> None:
    """Each is taken as far as it goes."""
    answer = {"responses": {"200": {}}}
    both = [{"a": [], "b": []}]
    schemes = {
        "a": {"type": "http", "scheme": "basic"},
        "b": {"type": "apiKey", "in": "header", "name": "k"},
        "c": {"type": "mutualTLS"},
    }
    xml = {"requestBody": {"content": {"application/xml": {"schema": {"type": "string"}}}}, **answer}
    query = [
        {
            "name": "p",
            "in": "query",
            "required": True,
            "style": "pipeDelimited",
            "schema": {"type": "array", "items": {"type": "integer"}, "minItems": 2},
        },
        {
            "name": "o",
            "in": "query",
            "required": True,
            "content": {"application/json": {"schema": {"example": {"x": "y z"}}}},
        },
        {"name": "q", "in": "query", "required": True, "explode": False, "schema": {"example": {"x": 1}}},
        {"name": "h", "in": "header", "schema": {"type": "string"}},
        {"name": "e", "in": "query", "examples": {"one": {"value": "E"}}},
    ]
    paths = {
        "/a": {"trace": answer, "post": {**xml, "security": both}, "get": {**answer, "parameters": query}},
        "no slash": {"get": answer},
        "/b": {"$ref": "#/paths/~1b"},
        "/c": {"get": {**answer, "security": [{"c": []}, {"nope": []}]}},
    }

    imported = import_openapi(document(paths, components={"securitySchemes": schemes}))

    post, get, _ = imported.config["nodes"]
    assert (post["body"], post["auth"]["type"]) == ("string", "basic")
    assert get["url"] == "/a?p=1%7C1&x=y%20z&q=x,1&e=E"
    said = remarks(imported)
    for words in (
        "several credentials",
        "sample is a guess",
        "trace: was left out",
        "refers to itself",
        "header parameter h",
        "cannot be said here",
    ):
        assert words in said, words


REFUSED = {
    "empty": "",
    "a text": "hello",
    "a list": "[]",
    "no version": "{}",
    "the next version": '{"openapi": "4.0.0", "paths": {}}',
    "no paths": '{"openapi": "3.0.0"}',
    "no operation": '{"openapi": "3.0.0", "paths": {}}',
    "torn YAML": "openapi: [",
    "aliases": "a: &a [x]\nb: [*a]",
    "deep": "{" + '"a":[' * 200_000,
    "a lone surrogate": "openapi: \ud800",
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_documents_are_refused_with_a_fault(name: str) -> None:
    """And with nothing else."""
    with pytest.raises(InvalidRequestError) as refused:
        import_openapi(REFUSED[name])

    assert refused.value.faults


def test_references_that_double_each_other_stay_small() -> None:
    """Forty definitions of two fields each describe a million million fields."""
    schemas = {
        f"S{n}": {"type": "object", "properties": {x: {"$ref": f"#/components/schemas/S{n + 1}"} for x in "ab"}}
        for n in range(40)
    }
    content = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/S0"}}}}
    paths = {f"/p{n}": {"post": {"requestBody": content, "responses": {"200": content}}} for n in range(300)}

    imported = import_openapi(document(paths, components={"schemas": schemas}))

    assert len(json.dumps(imported.config)) < 3_000_000
    assert "too large" in remarks(imported)


def test_a_chain_of_references_is_no_stack() -> None:
    """A thousand definitions in a row must not be a thousand calls in one another."""
    schemas = {f"S{n}": {"properties": {"a": {"$ref": f"#/components/schemas/S{n + 1}"}}} for n in range(3000)}
    chain = {f"T{n}": {"$ref": f"#/components/schemas/T{n + 1}"} for n in range(3000)}
    operation = {
        "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/T0"}}}},
        "responses": {"200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/S0"}}}}},
    }

    imported = import_openapi(document({"/a": {"post": operation}}, components={"schemas": schemas | chain}))

    assert "not checked" in remarks(imported)


def test_a_large_example_is_not_copied_a_thousand_times() -> None:
    """One example of a megabyte under every operation would be a gigabyte of flow."""
    example = ["x" * 1000] * 1000
    bodies = {
        "A": {"content": {"application/json": {"schema": {"example": example}}}},
        "B": {"content": {"application/json": {"example": example}}},
    }
    paths = {
        f"/{name}{n}": {
            "post": {"requestBody": {"$ref": f"#/components/requestBodies/{name}"}, "responses": {"200": {}}}
        }
        for n in range(500)
        for name in "AB"
    }

    imported = import_openapi(document(paths, components={"requestBodies": bodies}))

    assert len(json.dumps(imported.config)) < 60_000_000
    assert "too many bytes" in remarks(imported)


def test_limits_hold() -> None:
    """Size and number are bounded."""
    with pytest.raises(PayloadTooLargeError):
        import_openapi("{" + " " * MAX_INPUT_CHARS)
    with pytest.raises(PayloadTooLargeError):
        import_openapi("a: " + "x" * 2_000_000)
    answer = {"get": {"responses": {"200": {}}}}
    imported = import_openapi(document({f"/p{n}": answer for n in range(20_000)}))
    assert len(imported.config["nodes"]) == MAX_STEPS


def test_a_document_cannot_read_secrets() -> None:
    """An example is sent to the server it names, so it must not name a secret of whoever runs the flow."""
    operation = {
        "summary": "{{ .secrets.A }}",
        "responses": {"200": {}},
        "requestBody": {"content": {"application/json": {"example": {"a": "{{ .secrets.PROD }}"}}}},
    }
    imported = import_openapi(
        document({"/{{ .env.X }}/a": {"post": operation}}, servers=[{"url": "http://{{ .secrets.B }}"}])
    )

    assert "{{ .secrets" not in json.dumps(imported.config)
    assert "{{ .env" not in json.dumps(imported.config)


KEYS = st.sampled_from(
    [
        "get",
        "post",
        "parameters",
        "name",
        "in",
        "schema",
        "type",
        "properties",
        "items",
        "allOf",
        "oneOf",
        "$ref",
        "required",
        "requestBody",
        "content",
        "application/json",
        "responses",
        "200",
        "example",
        "examples",
        "enum",
        "security",
        "servers",
        "url",
        "components",
        "schemas",
        "a",
        "securitySchemes",
        "operationId",
        "default",
        "explode",
        "style",
        "minimum",
    ]
)
VALUES = st.sampled_from(
    ["#/components/schemas/a", "object", "array", "string", "query", "path", "a", "{a}", "integer", "/a/{b}"]
)
NUMBERS = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
ANY_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | NUMBERS | VALUES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=40,
)


@given(ANY_JSON, ANY_JSON, st.sampled_from(["openapi", "swagger"]))
@settings(max_examples=400, deadline=None)
def test_any_document_is_read_or_refused(item: Any, root: Any, kind: str) -> None:
    """Generators, half-written drafts and enemies."""
    fields = root if isinstance(root, dict) else {}
    operation = {"post": item, "get": root, "parameters": item}
    text = json.dumps(
        {**fields, kind: "3.0.0" if kind == "openapi" else "2.0", "paths": {"/a/{b}": operation, "/a": operation}}
    )

    try:
        nodes = import_openapi(text).config["nodes"]
    except InvalidRequestError as refused:
        nodes = refused.faults

    assert nodes
