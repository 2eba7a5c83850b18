"""The validator: every error, its words, its keys and their order."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execd.core.errors import InvalidRequestError
from execd.core.flows.compiling import flow_graph
from execd.core.flows.data_rows import DataError
from execd.core.flows.parsing import parse_flow
from execd.core.flows.specs import FlowSpec
from execd.core.flows.validator import validate
from execd.core.flows.warnings import warn

GOOD = {"id": "a", "method": "GET", "url": "http://h/"}
OPERATORS = "Valid operators: equals, notEquals, greaterThan, lessThan, greaterThanOrEqual, lessThanOrEqual, exists"
IDS = "Valid node IDs: a"
HERE = {"nodeIndex": 0, "nodeId": "a"}
FORMATS = (
    "Valid formats: {{ .responses.nodeId.field }}, {{ .vars.name }}, {{ .input.name }}, {{ $guid }}, {{ $timestamp }}"
)
SOURCES = (
    'Use {"node": "stepId", "field": ".path", "equals": "value"} or {"variable": "varName", "equals": "value"} or '
    '{"input": "inputName", "equals": "value"}'
)
NODE_SHAPE = 'Use {"node": "stepId", "field": ".path", "equals": "value"} or {"node": "stepId", "statusCode": 200}'


def node(**fields: Any) -> dict[str, Any]:
    """A config of one node with these fields."""
    return {"nodes": [{**GOOD, **fields}]}


def config(**fields: Any) -> dict[str, Any]:
    return {"nodes": [GOOD], **fields}


def error(field: str, message: str, kind: str, category: str | None = None, **more: Any) -> dict[str, Any]:
    """An error with its keys in their order."""
    head: dict[str, Any] = {"field": field, "message": message, "type": kind}
    return head | ({} if category is None else {"category": category}) | more


WHOLE = [
    (None, error("root", "Config must be a valid object", "structure", "structure")),
    ("text", error("root", "Config must be a valid object", "structure", "structure")),
    ({}, error("nodes", 'Config must have a "nodes" array', "structure", "structure")),
    ([], error("nodes", 'Config must have a "nodes" array', "structure", "structure")),
    ({"nodes": "x"}, error("nodes", 'Config must have a "nodes" array', "structure", "structure")),
    ({"nodes": []}, error("nodes", "Config must have at least one node", "structure", "structure")),
    (config(variables=5), error("variables", 'The "variables" field must be an object', "structure")),
    (config(variables=None), error("variables", 'The "variables" field must be an object', "structure")),
    (
        config(variables={"K": {}}),
        error(
            "variables.K",
            'Variable "K" must be a string, number, or boolean',
            "type",
            suggestion="Variables should be simple values, not objects or arrays",
        ),
    ),
    (config(variables=["x"]), error("variables", 'The "variables" field must be an object', "structure")),
    (config(defaults=["x"]), error("defaults", 'The "defaults" field must be an object', "structure")),
    (
        {"nodes": [{**GOOD, "body": "x"}], "defaults": {"headers": {"Content-type": "Application/JSON"}}},
        error(
            "nodes[0].body",
            'Body must be an object or array when Content-Type is "application/json" (got string)',
            "value",
            "value",
            **HERE,
            suggestion='Use an object like {"key": "value"} or an array [1, 2, 3] for JSON requests',
        ),
    ),
    (
        {"nodes": [{**GOOD, "id": ""}]},
        error(
            "nodes[0]",
            'Each node must have an "id" field',
            "structure",
            "structure",
            nodeIndex=0,
            nodeName="Node 0",
        ),
    ),
    (config(defaults="x"), error("defaults", 'The "defaults" field must be an object', "structure")),
    (config(defaults={"baseUrl": 5}), error("defaults.baseUrl", "baseUrl must be a string", "type")),
    (
        config(defaults={"baseUrl": "V"}),
        error(
            "defaults.baseUrl",
            'Invalid baseUrl: "V"',
            "format",
            suggestion="baseUrl must be a valid URL (e.g., https://api.example.com)",
        ),
    ),
    (config(defaults={"timeout": 0}), error("defaults.timeout", "timeout must be a positive number (seconds)", "type")),
    (config(defaults={"headers": "x"}), error("defaults.headers", "headers must be an object", "type")),
    (config(defaults={"validations": {}}), error("defaults.validations", "validations must be an array", "type")),
    (
        config(defaults={"validations": [5]}),
        error("defaults.validations[0]", "Each validation must be an object", "type"),
    ),
]
NODES = [
    ({"timeout": "5"}, error("nodes[0].timeout", "timeout must be a positive number (seconds)", "type", **HERE)),
    ({"headers": "x"}, error("nodes[0].headers", "headers must be an object", "type", **HERE)),
    ({"validations": "x"}, error("nodes[0].validations", "validations must be an array", "type", **HERE)),
    ({"userPrompts": "x"}, error("nodes[0].userPrompts", "userPrompts must be an object", "type", **HERE)),
    ({"userPrompts": {"K": 5}}, error("nodes[0].userPrompts.K", 'Prompt for "K" must be a string', "type", **HERE)),
    (
        {"launchBrowser": 5},
        error("nodes[0].launchBrowser", "launchBrowser must be a string (jsonpath)", "type", **HERE),
    ),
    (
        {"launchBrowser": "x"},
        error(
            "nodes[0].launchBrowser",
            'launchBrowser must be a valid jsonpath (e.g., ".url" or ".data.authUrl")',
            "format",
            **HERE,
            suggestion="Jsonpath must start with a dot (.)",
        ),
    ),
    ({"id": 5}, error("nodes[0].id", 'Node "id" must be a string', "structure", "structure", nodeIndex=0, nodeId=5)),
    ({"method": ""}, error("nodes[0].method", 'Node must have a "method" field', "structure", "structure", **HERE)),
    ({"url": ""}, error("nodes[0].url", 'Node must have a "url" field', "structure", "structure", **HERE)),
    (
        {"method": "FETCH"},
        error(
            "nodes[0].method",
            'Invalid HTTP method: "FETCH"',
            "value",
            "structure",
            **HERE,
            suggestion="Valid methods: GET, POST, PUT, DELETE, PATCH, HEAD, OPTIONS",
        ),
    ),
    (
        {"method": 5},
        error(
            "nodes[0].method",
            'Invalid HTTP method: "5"',
            "value",
            "structure",
            **HERE,
            suggestion="Valid methods: GET, POST, PUT, DELETE, PATCH, HEAD, OPTIONS",
        ),
    ),
    *(
        (
            {"body": body, "headers": {"Content-Type": "application/json"}},
            error(
                "nodes[0].body",
                f'Body must be an object or array when Content-Type is "application/json" (got {kind})',
                "value",
                "value",
                **HERE,
                suggestion='Use an object like {"key": "value"} or an array [1, 2, 3] for JSON requests',
            ),
        )
        for body, kind in (("x", "string"), (5, "number"), (True, "boolean"), (None, "null"))
    ),
    (
        {"conditions": {}},
        error(
            "nodes[0].conditions",
            "conditions must be an array",
            "type",
            **HERE,
            suggestion='Use an array for multiple conditions: [{"node": "...", ...}]',
        ),
    ),
    (
        {"body": "{{ .vars.x"},
        error(
            "nodes[0].body",
            'Malformed placeholder: Found 1 opening "{{" but 0 closing "}}"',
            "format",
            "value",
            **HERE,
            suggestion='Check: "{{ .vars.x" - all placeholders need both {{ and }}',
        ),
    ),
    (
        {"headers": {"X": ["y", "}}" + "z" * 70]}},
        error(
            "nodes[0].headers.X[1]",
            'Malformed placeholder: Found 0 opening "{{" but 1 closing "}}"',
            "format",
            "value",
            **HERE,
            suggestion=f'Check: "}}}}{"z" * 58}..." - all placeholders need both {{{{ and }}}}',
        ),
    ),
    (
        {"url": "/{{ .responses.b[0].id }}"},
        error(
            "nodes[0]",
            'Response placeholder references non-existent node: "b[0]"',
            "reference",
            "value",
            **HERE,
            suggestion=IDS,
        ),
    ),
    (
        {"url": "/{{ $x }}"},
        error(
            "nodes[0]",
            'Unknown dynamic placeholder: "{{ $x }}"',
            "format",
            "structure",
            **HERE,
            suggestion="Valid dynamic placeholders: {{ $guid }}, {{ $timestamp }}",
        ),
    ),
    (
        {"url": "/{{ x }}"},
        error("nodes[0]", 'Invalid placeholder syntax: "{{ x }}"', "format", "structure", **HERE, suggestion=FORMATS),
    ),
]


def condition(message: str, kind: str, suggestion: str | None = None) -> dict[str, Any]:
    return error(
        "nodes[0].conditions[0]", message, kind, **HERE, **({} if suggestion is None else {"suggestion": suggestion})
    )


CONDITIONS = [
    (None, condition("Each condition must be an object", "type")),
    ({"node": 5, "field": ".x", "exists": True}, condition('Condition "node" must be a string (node ID)', "type")),
    ({"node": "a", "field": 5, "exists": True}, condition('Condition "field" must be a string (jsonpath)', "type")),
    ({"node": "a", "statusCode": "2"}, condition('Condition "statusCode" must be a number', "type")),
    ({"variable": 5, "exists": True}, condition('Condition "variable" must be a string (variable name)', "type")),
    ({"input": 5, "exists": True}, condition('Condition "input" must be a string (input variable name)', "type")),
    (
        {"exists": True},
        condition('Condition must specify a source: "node", "variable", or "input"', "structure", SOURCES),
    ),
    (
        {"node": "a", "input": "i", "field": ".x", "exists": True},
        condition("Condition must have only one source (node, variable, or input)", "structure"),
    ),
    (
        {"node": "X", "field": ".x", "exists": True},
        condition('Condition references non-existent node: "X"', "reference", IDS),
    ),
    (
        {"node": "a", "exists": True},
        condition('Node condition must have "field" (jsonpath) or "statusCode"', "structure", NODE_SHAPE),
    ),
    (
        {"node": "a", "field": "x", "exists": True},
        condition(
            'Condition "field" must be a valid jsonpath starting with "."', "format", 'Example: ".id" or ".data.userId"'
        ),
    ),
    ({"node": "a", "field": ".x"}, condition("Condition must have a comparison operator", "structure", OPERATORS)),
    ({"variable": "v"}, condition("Variable condition must have a comparison operator", "structure", OPERATORS)),
    ({"input": "v"}, condition("Input condition must have a comparison operator", "structure", OPERATORS)),
    (
        {"response": "0", "statusCode": 200},
        condition(
            'Legacy condition "response" must be a number (step index)',
            "type",
            'Consider using the new "node" syntax: {"node": "stepId", ...}',
        ),
    ),
    ({"response": 0}, condition('Legacy condition must have "statusCode" or "field"', "structure")),
    (
        {"response": 0, "field": "x", "exists": True},
        condition('Condition "field" must be a valid jsonpath starting with "."', "format"),
    ),
    ({"response": 0, "field": ".x"}, condition("Condition must have a comparison operator", "structure", OPERATORS)),
    (
        {"node": "X", "variable": 5},
        condition("Condition must have only one source (node, variable, or input)", "structure"),
    ),
    (
        {"node": "a", "response": 0},
        condition("Condition must have only one source (node, variable, or input)", "structure"),
    ),
    (
        {"node": "a", "field": "", "equals": 1},
        condition('Node condition must have "field" (jsonpath) or "statusCode"', "structure", NODE_SHAPE),
    ),
    ({"node": "a", "statusCode": "200", "field": 5}, condition('Condition "statusCode" must be a number', "type")),
    (
        {"node": "a", "field": ".x", "matches": "("},
        condition(
            '"matches" must be a regular expression of RE2', "format", "Look-around and back-references are not taken"
        ),
    ),
]


def validation(message: str, kind: str, suggestion: str | None = None) -> dict[str, Any]:
    return error(
        "nodes[0].validations[0]", message, kind, **HERE, **({} if suggestion is None else {"suggestion": suggestion})
    )


VALIDATIONS = [
    (None, validation("Each validation must be an object", "type")),
    ({"httpStatusCode": "200"}, validation("httpStatusCode must be a number", "type")),
    ({"jsonpath": 5}, validation("jsonpath must be a string", "type")),
    (
        {},
        validation(
            'Validation must have "httpStatusCode" or "jsonpath"',
            "structure",
            'Use {"httpStatusCode": 200} or {"jsonpath": ".field", "exists": true}',
        ),
    ),
    ({"jsonpath": "id"}, validation('jsonpath must start with "." (e.g., ".id" or ".data.userId")', "format")),
    ({"header": 5}, validation("header must be a string (its name)", "type")),
    (
        {"responseTimeMs": "fast"},
        validation("responseTimeMs must be a number (milliseconds), or true with an operator", "type"),
    ),
]
CASES = [
    *WHOLE,
    *((node(**fields), expected) for fields, expected in NODES),
    *((node(conditions=[rule]), expected) for rule, expected in CONDITIONS),
    *((node(validations=[rule]), expected) for rule, expected in VALIDATIONS),
]


@pytest.mark.parametrize(("given_config", "expected"), CASES)
def test_one_fault_gives_one_error(given_config: Any, expected: dict[str, Any]) -> None:
    """Word by word, and the keys in their order: the page shows them, and tests of clients compare them."""
    found = validate(given_config)

    assert found == [expected]
    assert list(found[0]) == list(expected)


def test_ids_are_looked_at_before_anything_else_of_a_node() -> None:
    """A missing id tells the name; an id that is there twice is told at the second."""
    nodes = [{"name": "n", "method": "X"}, GOOD, {**GOOD, "url": ""}]

    assert [
        (e["field"], e["message"], e.get("nodeIndex"), e.get("nodeId"), e.get("nodeName"))
        for e in validate({"nodes": nodes})
    ] == [
        ("nodes[0]", 'Each node must have an "id" field', 0, None, "n"),
        ("nodes[2].id", 'Duplicate node ID: "a"', 2, "a", None),
        ("nodes[0].method", 'Invalid HTTP method: "X"', 0, "Node 0", None),
        ("nodes[0].url", 'Node must have a "url" field', 0, "Node 0", None),
        ("nodes[2].url", 'Node must have a "url" field', 2, "a", None),
    ]


def test_the_order_of_errors_is_that_of_the_original() -> None:
    """Root, variables, defaults, ids, then node by node and field by field."""
    broken = {
        "variables": {"K": []},
        "defaults": {"timeout": -1},
        "nodes": [
            {
                "id": "a",
                "launchBrowser": 1,
                "validations": 1,
                "condition": 1,
                "conditions": 1,
                "userPrompts": 1,
                "body": "x",
                "headers": {"content-type": "application/json", "x": "{{"},
                "timeout": 0,
                "url": "{{ y }}",
                "method": "",
            }
        ],
    }

    assert [e["field"] for e in validate(broken)] == [
        "variables.K",
        "defaults.timeout",
        "nodes[0].method",
        "nodes[0].timeout",
        "nodes[0].body",
        "nodes[0].userPrompts",
        "nodes[0].conditions",
        "nodes[0].condition",
        "nodes[0].validations",
        "nodes[0].launchBrowser",
        "nodes[0].headers.x",
        "nodes[0]",
    ]


@pytest.mark.parametrize(
    "rule",
    [
        {"node": "a", "httpStatusCode": 200},
        {"node": "a", "statusCode": 200},
        {"node": "a", "field": ".x", "exists": False},
        {"node": "a", "header": "x-a", "equals": 1},
        {"node": "a", "statusCode": True, "lessThan": 300},
        {"source": "variable", "variable": "v", "equals": 1},
        {"response": 0, "statusCode": 200},
    ],
)
def test_conditions_that_are_taken(rule: dict[str, Any]) -> None:
    """Those on the status alone too, which the original refuses or never runs."""
    assert validate({"nodes": [GOOD, {**GOOD, "id": "b", "conditions": [rule]}]}) == []


@pytest.mark.parametrize("base", ["http://h", "HTTPS://h:8/x/", "http://[::1]:9", "mailto:x", "http://u:p@h"])
def test_urls_that_are_taken_as_a_base(base: str) -> None:
    """As `new URL` does."""
    assert validate(config(defaults={"baseUrl": base})) == []


@pytest.mark.parametrize("base", ["{{ .vars.h }}", "/x", "http://", "http://a b", "http://h:99999", ""])
def test_urls_that_are_not(base: str) -> None:
    """Placeholders are no URL, although they would be replaced."""
    assert [e["field"] for e in validate(config(defaults={"baseUrl": base}))] == ["defaults.baseUrl"]


def test_what_the_original_does_not_notice_is_no_error() -> None:
    """Configs rely on it: references to later nodes, unknown names, a relative URL, a status beside a path."""
    nodes = [
        {**GOOD, "url": "/x/{{ .responses.b.id }}{{ .vars.no }}{{ .input.no }}"},
        {**GOOD, "id": "b", "validations": [{"httpStatusCode": 1, "jsonpath": ".x"}], "unknown": {"x": 1}},
    ]

    assert validate({"nodes": nodes, "other": 1, "responseSchemas": {"a": {"schema": {}}}, "enableDebug": True}) == []


OWN = [
    ({"typed": 1}, "typed"),
    ({"environments": []}, "environments"),
    ({"environments": {"dev": 1}}, "environments.dev"),
    ({"environment": "prod", "environments": {"dev": {}}}, "environment"),
    ({"environment": "dev", "environments": {"dev": {"x": []}}}, "environments.x"),
    ({"secrets": "x"}, "secrets"),
    ({"data": "x"}, "data"),
    ({"data": []}, "data"),
    ({"data": {"csv": 'a\n"x"y'}}, "data"),
    ({"nodes": [{**GOOD, "validations": [{"schema": {"type": "x"}}]}]}, "nodes[0].validations[0]"),
    ({"nodes": [{**GOOD, "validations": [{"jsonpath": ".x", "length": "2"}]}]}, "nodes[0].validations[0]"),
    ({"nodes": [{**GOOD, "condition": {"response": 0, "field": 5, "statusCode": "x"}}]}, "nodes[0].condition"),
    ({"data": {"csv": "a,a\n1,2"}}, "data"),
    ({"finally": {}}, "finally"),
    ({"finally": [{"id": "c", "method": "GET", "url": "/", "timeout": -1}]}, "finally[0].timeout"),
    ({"finally": [GOOD]}, "finally[0].id"),
    ({"auth": {"type": "digest"}}, "auth"),
    ({"auth": {"type": "bearer"}}, "auth.token"),
    ({"auth": {"type": "api_key", "value": "k", "in": "cookie"}}, "auth.in"),
    ({"nodes": [{**GOOD, "retry": 5}]}, "nodes[0].retry"),
    ({"nodes": [{**GOOD, "retry": {"attempts": 0}}]}, "nodes[0].retry.attempts"),
    ({"nodes": [{**GOOD, "retry": {"backoff": "wild"}}]}, "nodes[0].retry.backoff"),
    ({"nodes": [{**GOOD, "retry": {"on": ["moon"]}}]}, "nodes[0].retry.on"),
    ({"nodes": [{**GOOD, "continueOnError": 1}]}, "nodes[0].continueOnError"),
    ({"promptTimeout": 0}, "promptTimeout"),
]


@pytest.mark.parametrize(("fields", "field"), OWN)
def test_execds_own_keys_are_checked_too(fields: dict[str, Any], field: str) -> None:
    """Each with a path, after the errors of the original."""
    assert {e["field"] for e in validate(config(**fields))} == {field}


def test_a_rich_config_is_valid() -> None:
    """Every key of docs/flows.md at once."""
    rich = {
        "variables": {"a": 1},
        "environments": {"_common": {"X": "1"}, "dev": {"HOST": "h"}},
        "environment": "dev",
        "secrets": ["KEY"],
        "data": {"csv": "name,age\nAda,36"},
        "cookies": True,
        "typed": True,
        "strict": True,
        "auth": {"type": "bearer", "token": "{{ .secrets.KEY }}"},
        "nodes": [
            {
                **GOOD,
                "url": "http://{{ .env.HOST }}/{{ .vars.name }}",
                "retry": {
                    "attempts": 3,
                    "delay_s": 0.1,
                    "backoff": "exponential",
                    "max_delay_s": 2,
                    "on": [503, "5xx", "network"],
                },
                "continueOnError": True,
                "validations": [
                    {"header": "x", "matches": "^a"},
                    {"responseTimeMs": 500},
                    {"schema": {"type": "object"}},
                ],
            }
        ],
        "finally": [{"id": "z", "method": "DELETE", "url": "/{{ .responses.a.$status }}"}],
    }

    assert validate(rich) == []
    assert warn(rich) == []


def test_warnings_tell_what_a_run_will_not_do() -> None:
    """They never refuse: the original runs such configs."""
    nodes = [
        {**GOOD, "body": {"x": 1}, "condition": {"response": 0, "statusCode": 200}, "skipDefaultHeaders": True},
        {
            **GOOD,
            "id": "b",
            "url": "/{{ .responses.c.id }}{{ .vars.no }}{{ .input.p }}",
            "validations": [{"httpStatusCode": 201}, {"jsonpath": ".n", "lessThan": "high"}],
        },
        {**GOOD, "id": "c", "url": "/{{ .responses.b.id }}{{ .input.p }}", "userPrompts": {"p": "P"}},
    ]
    given_config = {"nodes": nodes, "defaults": {"validations": [{"httpStatusCode": 200}]}}

    assert validate(given_config) == []
    assert [(each["field"], each["type"]) for each in warn(given_config)] == [
        ("nodes[0].condition", "ignored"),
        ("nodes[0].skipDefaultHeaders", "ignored"),
        ("nodes[0].body", "ignored"),
        ("nodes[1].validations", "ignored"),
        ("nodes[1].validations", "conflict"),
        ("nodes[1]", "reference"),
        ("nodes[1]", "reference"),
        ("nodes[1]", "reference"),
    ]


@pytest.mark.parametrize("body", ["text", '{"a": 1}', 5, True, None])
def test_json_that_has_no_parts_can_be_sent(body: Any) -> None:
    """FlowSphere's door says what FlowSphere says; who asks execd gets a flow that works."""
    given_config = node(method="POST", headers={"content-type": "application/json"}, body=body)

    assert [each["field"] for each in validate(given_config)] == ["nodes[0].body"]
    assert parse_flow({"kind": "flow", **given_config}).spec.config == given_config


def test_a_request_that_is_refused_names_every_field() -> None:
    """Through the native door errors are faults with a path, as everywhere."""
    with pytest.raises(InvalidRequestError) as caught:
        parse_flow({"kind": "flow", "name": 5, "nodes": [{**GOOD, "method": "X"}], "startStep": 3, "input": {"a": []}})

    assert [fault.path for fault in caught.value.faults] == ["name", "startStep", "input.a", "nodes[0].method"]


def test_a_config_that_is_nested_too_deeply_is_refused() -> None:
    """Reading it recurses."""
    deep: dict[str, Any] = {}
    for _ in range(200):
        deep = {"a": deep}

    with pytest.raises(InvalidRequestError, match="nested too deeply"):
        parse_flow({"kind": "flow", "nodes": [GOOD], "x": deep})


def test_errors_are_told_up_to_a_number() -> None:
    """A config of many faults must not make an answer larger than itself."""
    assert len(validate({"nodes": [{}] * 2000})) == 1000


def test_a_request_is_the_config_beside_what_is_of_the_run() -> None:
    """Unknown keys stay in the config, so that a round trip loses nothing."""
    body = {"kind": "flow", "name": "n", "priority": 0, "startStep": 0, "input": {"v": 1}, "nodes": [GOOD], "x": 1}

    request = parse_flow(body)

    assert (request.name, request.priority, request.spec.input) == ("n", 0, {"v": 1})
    assert request.spec.config == {"nodes": [GOOD], "x": 1}


keys = st.sampled_from(
    [
        "nodes",
        "finally",
        "variables",
        "defaults",
        "id",
        "method",
        "url",
        "headers",
        "body",
        "conditions",
        "condition",
        "validations",
        "jsonpath",
        "node",
        "field",
        "equals",
        "response",
        "userPrompts",
        "retry",
        "auth",
        "data",
        "csv",
        "environments",
        "environment",
        "timeout",
        "schema",
        "baseUrl",
    ]
)
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["a", ".x", "{{ .vars.a }}", "{{", "GET", "/", "http://h"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=5),
    max_leaves=25,
)


@given(anything)
def test_any_json_has_an_answer(given_config: Any) -> None:
    """Where the original answers with an error of its own, there is a list of what is wrong."""
    for found in validate(given_config):
        assert {"field", "message", "type"} <= found.keys()


@given(st.dictionaries(keys, anything, max_size=5), st.lists(st.dictionaries(keys, anything, max_size=6), max_size=4))
def test_any_config_can_be_compiled(fields: dict[str, Any], nodes: list[dict[str, Any]]) -> None:
    """The doors that run what nobody validated depend on it."""
    given_config = {**fields, "nodes": nodes}
    try:
        graph = flow_graph(FlowSpec(config=given_config))
    except DataError:
        return
    assert len({node.id for node in graph.nodes}) == len(graph.nodes)
    warn(given_config)
