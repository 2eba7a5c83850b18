"""The OpenAPI document and what is made of it: complete, consistent, and held to the routes and parsers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from execd.core.definitions import RUN_FIELDS
from execd.core.event_types import EVENT_TYPES
from execd.core.external import EXTERNAL_FIELDS, EXTERNAL_NODE_FIELDS
from execd.core.nodes import TYPES
from execd.core.parsing import SCRIPT_FIELDS
from execd.core.workflow_parsing import NODE_FIELDS, WORKFLOW_FIELDS
from execd.http.socket_session import CLOSE_CODES, KNOWN_FIELDS, MESSAGE_TYPES
from tests.http.doors import make_door

METHODS = {"get", "post", "put", "patch", "delete"}
HIDDEN = {"/", "/docs", "/{file_name}", "/flowsphere/", "/flowsphere/{file_name}"}
"""Pages for people."""


async def document() -> dict[str, Any]:
    door = await make_door()
    answer = await door.ask("GET", "/openapi.json")
    assert answer.status == 200
    return answer.json()


def walk(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from walk(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from walk(inner)


async def test_every_reference_leads_somewhere() -> None:
    """A dangling $ref breaks every generator of clients."""
    found = await document()

    refs = [part["$ref"] for part in walk(found) if isinstance(part.get("$ref"), str)]
    mapped = [ref for part in walk(found) for ref in part.get("mapping", {}).values()]
    names = {ref.removeprefix("#/components/schemas/") for ref in refs + mapped}

    assert names <= found["components"]["schemas"].keys()
    assert names >= {"ScriptBody", "Problem", "Event", "ResultStored"}


async def test_every_route_is_documented_and_every_operation_exists() -> None:
    """The table of operations is held to the routes, both ways."""
    door = await make_door()
    found = await document()
    rules = {
        (re.sub(r"<(?:path:)?(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in door.app.url_map.iter_rules()
        for method in (rule.methods or {"GET"}) - {"HEAD", "OPTIONS"}
    }

    documented = {(path, method) for path, methods in found["paths"].items() for method in methods}

    assert {rule for rule in rules if rule[0] not in HIDDEN} == documented


async def test_the_document_is_openapi_in_shape() -> None:
    """What the specification insists on: unique ids, path parameters, responses with descriptions, known methods."""
    found = await document()

    operations = [(path, op) for path, methods in found["paths"].items() for op in methods.values()]
    ids = [operation["operationId"] for _, operation in operations]
    assert found["openapi"] == "3.1.0"
    assert len(ids) == len(set(ids))
    assert {method for methods in found["paths"].values() for method in methods} <= METHODS
    for path, operation in operations:
        in_path = {found["name"] for found in operation["parameters"] if found["in"] == "path"}
        assert in_path == set(re.findall(r"{(\w+)}", path))
        assert operation["responses"]
        assert all(response["description"] for response in operation["responses"].values())
        assert set(operation["tags"]) <= {tag["name"] for tag in found["tags"]}
    schemes = {name for _, operation in operations for scheme in operation["security"] for name in scheme}
    assert schemes == found["components"]["securitySchemes"].keys()


async def test_every_event_type_is_described() -> None:
    """A client written from the document knows every event there is."""
    found = await document()

    assert found["components"]["schemas"]["Event"]["discriminator"]["mapping"].keys() == EVENT_TYPES.keys()


async def test_documented_bodies_are_what_the_parsers_take() -> None:
    """The shapes of requests are declared twice; this holds them together."""
    schemas = (await document())["components"]["schemas"]

    assert set(schemas["ScriptBody"]["properties"]) == set(SCRIPT_FIELDS)
    assert set(schemas["WorkflowBody"]["properties"]) == set(WORKFLOW_FIELDS)
    assert set(schemas["ScriptChange"]["properties"]) == {*SCRIPT_FIELDS, "version"}
    assert set(schemas["ExternalBody"]["properties"]) == set(EXTERNAL_FIELDS)
    assert set(schemas["ExternalNodeBody"]["properties"]) == set(EXTERNAL_NODE_FIELDS)
    assert set(schemas["RunBody"]["properties"]) == set(RUN_FIELDS)
    for node_type in TYPES:
        fields = {*NODE_FIELDS, *node_type.fields, *(("nodes",) if node_type.has_body else ())}
        assert set(schemas[f"{node_type.name.title()}Node"]["properties"]) | {"retry"} == fields
    assert set(schemas["ClientMessage"]["properties"]) == set(KNOWN_FIELDS)
    assert set(schemas["ClientMessage"]["properties"]["type"]["enum"]) == set(MESSAGE_TYPES)
    assert set(schemas["StdinBody"]["properties"]) == {"text", "base64", "close"}


async def test_every_close_code_is_explained() -> None:
    """A client decides by it whether to come back."""
    found = await document()

    words = found["paths"]["/api/v1/ws"]["get"]["description"]
    assert all(str(code) in words for code in CLOSE_CODES.values())


async def test_the_reference_needs_nothing_from_elsewhere() -> None:
    """It opens without a network, and lists every operation."""
    door = await make_door()
    found = await document()

    answer = await door.ask("GET", "/docs")

    page = answer.body.decode()
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert not re.search(r"(src|href)=['\"]?(https?:)?//", page)
    assert "<script" not in page
    assert all(f"id='{op['operationId']}'" in page for methods in found["paths"].values() for op in methods.values())


async def test_the_page_and_its_files_are_served(tmp_path: Path) -> None:
    """From one directory, of known kinds, and nothing beside it."""
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "index.html").write_text("<p>hello")
    (tmp_path / "page" / "page.js").write_text("1")
    (tmp_path / "page" / "secret.toml").write_text("x")
    (tmp_path / "page" / ".hidden.js").write_text("x")
    (tmp_path / "outside.js").write_text("x")
    door = await make_door(page_dir=tmp_path / "page")

    page = await door.ask("GET", "/")
    script = await door.ask("GET", "/page.js")
    missing = ["/secret.toml", "/.hidden.js", "/../outside.js", "/%2e%2e/outside.js", "/nope.js", "/..%2foutside.js"]

    assert (page.status, page.body, page.headers["x-frame-options"]) == (200, b"<p>hello", "DENY")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert (script.status, script.headers["content-type"]) == (200, "text/javascript; charset=utf-8")
    assert {(await door.ask("GET", path)).status for path in missing} == {404}


async def test_without_a_page_there_is_a_placeholder() -> None:
    """The API works without its page, and says where it is described."""
    door = await make_door()

    assert b"/docs" in (await door.ask("GET", "/")).body


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nope", 404, "not_found"),
        ("GET", "/api/v1/executions/a/b/c", 404, "not_found"),
        ("PUT", "/api/v1/executions", 405, "method_not_allowed"),
        ("TRACE", "/healthz", 405, "method_not_allowed"),
        ("BREW", "/healthz", 405, "method_not_allowed"),
        ("GET", "/api/v1/executions/exec-none", 404, "not_found"),
        ("GET", "/api/v1/executions/%00", 404, "not_found"),
        ("GET", "/api/v1/executions/" + "x" * 5000, 404, "not_found"),
    ],
)
async def test_everything_unknown_is_a_problem(method: str, path: str, status: int, code: str) -> None:
    """Programs match on the code, wherever it comes from; nothing is answered in HTML."""
    door = await make_door()

    answer = await door.ask(method, path)

    assert (answer.status, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == f"urn:execd:problem:{code}"
    assert status != 405 or "allow" in answer.headers


async def test_health_and_readiness() -> None:
    """Ready means that every part is well; live asks nothing of the parts."""
    door = await make_door()

    ready = await door.ask("GET", "/readyz")
    door.engine.ready = {"store": "the disk is full"}
    broken = await door.ask("GET", "/readyz")

    assert (ready.status, ready.json()["status"]) == (200, "ready")
    assert (broken.status, broken.json()["parts"]["store"]) == (503, "the disk is full")
    assert (await door.ask("GET", "/healthz")).status == 200


async def test_a_defect_is_a_problem_without_a_trace(captured_logs: list[dict[str, object]]) -> None:
    """The log has it; the caller is not shown our insides."""
    door = await make_door()

    def explode() -> object:
        raise RuntimeError("a secret inside")

    door.engine.readiness = explode  # type: ignore[method-assign,assignment] # a defect on purpose
    answer = await door.ask("GET", "/readyz")

    assert (answer.status, answer.json()["code"]) == (500, "internal_error")
    assert b"secret inside" not in answer.body
    assert any(line["event"] == "request_crashed" for line in captured_logs)
