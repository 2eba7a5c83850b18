"""Expressions in fields: what they give, what they refuse, and that nobody gets out or hangs the process with one."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execd.core.errors import FieldFault
from execd.core.expressions import ExpressionError, Limits, compile_value, references, render
from execd.core.fields import Faults

SCOPE: Mapping[str, object] = {
    "nodes": {
        "fetch": {
            "output": {
                "id": 7,
                "name": "Ada",
                "tags": ["b", "a", "c", "a"],
                "items": [
                    {"id": 1, "kind": "x", "price": 2.5},
                    {"id": 2, "kind": "y", "price": 1},
                    {"id": 3, "kind": "x", "price": 4, "note": None},
                ],
                "nothing": None,
                "true": True,
            }
        }
    },
    "input": {"x": "hi", "n": 3, "key": "fetch"},
    "vars": {"list": [3, 1, 2], "when": "2026-01-31T08:00:00.250+02:00"},
    "env": {},
    "secrets": {"token": "hunter2", "login": {"user": "root-of-all", "pin": 1234}},
}


def faults_of(value: object, *, limits: Limits | None = None) -> list[FieldFault]:
    faults = Faults()
    compile_value(value, path="body", faults=faults, limits=limits or Limits())
    return faults.found


def value_of(value: object, scope: Mapping[str, object] = SCOPE, *, limits: Limits | None = None) -> object:
    faults = Faults()
    compiled = compile_value(value, path="body", faults=faults, limits=limits or Limits())
    assert faults.found == []
    return render(compiled, scope)


def evaluated(expression: str, scope: Mapping[str, object] = SCOPE) -> object:
    return value_of("{{ " + expression + " }}", scope)


def reason(expression: str, scope: Mapping[str, object] = SCOPE, *, limits: Limits | None = None) -> str:
    with pytest.raises(ExpressionError) as caught:
        value_of("{{ " + expression + " }}", scope, limits=limits)
    return caught.value.reason


# what a field gives


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("nodes.fetch.output.id", 7),
        ("nodes['fetch'].output.name", "Ada"),
        ("nodes.fetch.output.tags", ["b", "a", "c", "a"]),
        ("nodes.fetch.output.nothing", None),
        ("nodes.fetch.output.true", True),
        ("nodes.fetch.output.items[0]", {"id": 1, "kind": "x", "price": 2.5}),
        ("nodes.fetch.output.items[-1].id", 3),
        ("nodes.fetch.output.items.0.id", 1),
        ("nodes[input.key].output.id", 7),
        ("2.0", 2.0),
        ("{'a': {'b': [1, (2, 3)]}}", {"a": {"b": [1, [2, 3]]}}),
    ],
)
def test_a_string_that_is_one_expression_keeps_the_type(expression: str, expected: object) -> None:
    """A number stays a number on its way from one node to the next."""
    found = evaluated(expression)

    assert found == expected
    assert type(found) is type(expected)


def test_in_other_strings_values_become_text() -> None:
    """A reader of the text sees JSON, never Python's spelling of it."""
    text = "{{ input.x }} {{ input.n }} {{ 1.5 }} {{ true }} {{ none }} {{ [1, 'é', none] }} {{ {'a': false} }}"

    assert value_of(text) == 'hi 3 1.5 true null [1,"é",null] {"a":false}'


def test_one_expression_with_space_around_it_is_text() -> None:
    """Only the string that is exactly one expression keeps the type; the space was written for a reason."""
    assert value_of(" {{ input.n }}") == " 3"


def test_strings_anywhere_in_a_value_are_rendered_and_keys_are_not() -> None:
    """A body is written as it will be sent, expressions in the middle of it."""
    value = {"{{ a }}": [1, "{{ input.n }}", {"deep": "n={{ input.n }}"}], "plain": None}

    assert value_of(value) == {"{{ a }}": [1, 3, {"deep": "n=3"}], "plain": None}


@pytest.mark.behaviour(52)
def test_what_data_brought_in_is_not_expanded_again() -> None:
    """Otherwise whoever answers a request could read our secrets."""
    scope = {"input": {"evil": "{{ secrets.token }}", "list": ["{{ secrets.token }}"]}, "secrets": {"token": "s"}}

    assert evaluated("input.evil", scope) == "{{ secrets.token }}"
    assert value_of("-{{ input.evil }}-{{ input.list }}", scope) == '-{{ secrets.token }}-["{{ secrets.token }}"]'


def test_a_value_without_expressions_is_itself() -> None:
    """It costs nothing to render: not even a copy is made."""
    value = {"code": "if (a) { b({c: 1}) }", "css": "a{b:c}}", "n": [1, None, True]}

    assert value_of(value) is value


def test_literal_braces_can_be_written() -> None:
    """Templates of other tools go through unharmed."""
    assert value_of("{{ '{{' }} x {{ '}}' }}") == "{{ x }}"
    assert value_of("a{% raw %}{{ b }}{% c %}{# d #}{% endraw %}e{{ input.n }}") == "a{{ b }}{% c %}{# d #}e3"


def test_braces_within_an_expression_do_not_end_it() -> None:
    """Objects and texts may hold the very braces that close an expression."""
    assert evaluated("{'a': {'b': {}}}") == {"a": {"b": {}}}
    assert value_of("{{ '}}' ~ \"{%\" }}|{{{'a':1}}}") == '}}{%|{"a":1}'


@given(st.text().filter(lambda text: not any(mark in text for mark in ("{{", "{%", "{#"))))
def test_any_text_without_the_marks_is_a_constant(text: str) -> None:
    """Nobody has to think about expressions who does not use them; line ends and lone braces stay."""
    assert value_of(text) == text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)


@given(JSON)
def test_any_value_of_the_scope_comes_through_unchanged(value: object) -> None:
    """What a node gave is what the next node gets."""
    found = evaluated("input.v", {"input": {"v": value}})

    assert found == value
    assert type(found) is type(value)


@given(JSON)
@pytest.mark.behaviour(52)
def test_any_value_inserted_into_text_is_its_json(value: object) -> None:
    """Text goes in as it is, everything else so that a JSON reader gets it back."""
    found = value_of("<{{ v }}>", {"v": value})

    assert isinstance(found, str)
    assert found[1:-1] == value if isinstance(value, str) else json.loads(found[1:-1]) == value


@pytest.mark.parametrize("text", ["nul \0 in it", "lone \ud800 surrogate", "😀", "\u2028"])
def test_odd_characters_in_data_pass_through(text: str) -> None:
    """Expressions are not the place where data is judged."""
    assert evaluated("v", {"v": text}) == text
    assert value_of("<{{ v }}{{ [v] }}>", {"v": text}) == "<" + text + json.dumps([text], ensure_ascii=False) + ">"


@pytest.mark.parametrize("name", ["base64_encode", "urlencode", "from_json"])
def test_an_encoding_of_a_lone_surrogate_is_refused(name: str) -> None:
    """There are no bytes for half a character."""
    assert name in reason(f"v | {name}", {"v": "\ud800"})
    assert "lone surrogate" in reason("0 | strftime(v)", {"v": "\ud800"})


# faults of the text


def test_all_faults_are_told_at_once_with_their_paths() -> None:
    """Whoever mends a workflow sees everything that is wrong with it, and where."""
    found = faults_of({"a": "{{ 1 + }}", "b": ["ok {{ x }}", "{{ y | nope }} and {{ z() }}"], "c": {"d": "{% if x %}"}})

    assert [fault.path for fault in found] == ["body.a", "body.b[1]", "body.b[1]", "body.c.d"]
    assert "at character 1: `{{ 1 + }}`" in found[0].message
    assert "'nope'" in found[1].message
    assert "base64_decode" in found[1].accepted
    assert "at character 20" in found[2].message
    assert "statement" in found[3].message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{ a b }}", "got 'b'"),
        ("{{ }}", "expression"),
        ("{{}}", "expression"),
        ("x {{ a", "at character 3: `{{` is never closed"),
        ("{{ 'a }}", "quotes"),
        ("{{ (a }}", "closes nothing"),
        ("{{ a] }}", "closes nothing"),
        ("{{ a ! }}", "'!'"),
        ("{% if a %}", "statement"),
        ("{% raw %} never ended", "statement"),
        ("{# note #}", "comment"),
        ("{{- a }}", "sign"),
        ("{{ a -}}", "sign"),
        ("{{ 1 if a }}", "else"),
        ("{{ f(*a) }}", "function"),
        ("{{ range(*a) }}", "unpacks"),
        ("{{ a | join(**b) }}", "unpacks"),
        ("{{ a | upper(1) }}", "upper wrong arguments"),
        ("{{ a | join(work=1) }}", "join wrong arguments"),
        ("{{ range() }}", "range wrong arguments"),
        ("{{ a is nope }}", "'nope'"),
        ("{{ a | map('nope') }}", "'nope'"),
        ("{{ a | map('map', 'nope') }}", "'nope'"),
        ("{{ a | map('selectattr') }}", "selectattr wrong arguments"),
        ("{{ a | map('upper', 1) }}", "upper wrong arguments"),
        ("{{ a | selectattr('k', 'nope') }}", "'nope'"),
        ("{{ a | map(b) }}", "computed name"),
        (r"{{ '\d' }}", "escape"),
        ("{{ a[1:2, 3] }}", "Slice"),
        ("{{ 1e999 }}", "too large"),
        ("{{ 0x" + "f" * 17 + " }}", "64 bits"),
        ("{{ " + "1" * 5000 + " }}", "too long"),
        ("{{ " + "(" * 26 + "1" + ")" * 26 + " }}", "brackets"),
        ("{{ " + "not " * 150 + "a }}", "nested"),
        ("{{ " + "-" + " -" * 4000 + "1 }}", "nested"),
        ("{{ 1" + "+1" * 200 + " }}", "nested"),
        ("{{ a" + "[b]" * 3000 + " }}", "nested"),
        ("{{ '" + "a" * 10_001 + "' }}", "more than 10000 characters"),
        ("{{ \ud800 }}", "ud800"),
        (r"{{ '\ud800' }}", "surrogate"),
    ],
)
def test_a_bad_expression_is_refused_with_the_reason(text: str, said: str) -> None:
    """A fault names what was found and what would be accepted, at submit and not in the night."""
    found = faults_of(text)

    assert len(found) == 1
    assert said in found[0].message
    assert found[0].accepted
    found[0].message.encode()


def test_the_expressions_of_one_value_are_bounded_together() -> None:
    """Reading a megabyte of `{{a}}` would hold up everyone else."""
    found = faults_of("{{a}}" * 20, limits=Limits(total_expression_chars=100))

    assert "beyond 100 characters" in found[0].message


def test_a_value_nested_too_deep_is_refused() -> None:
    """A body of ten thousand brackets must not exhaust the stack."""
    value: object = "{{ a }}"
    for _ in range(200):
        value = [value]

    assert "too deep" in faults_of(value)[0].message


# what is not there


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("nodes.fetch.output.idd", "nodes.fetch.output has no 'idd'; it has: id, name, tags, items, nothing, true"),
        ("nodes.ftech.output", "nodes has no 'ftech'; it has: fetch"),
        ("node.fetch", "there is no 'node'; there is: env, input, nodes, secrets, vars"),
        ("env.HOME", "env has no 'HOME'; it is empty"),
        ("input.x.y", "input.x has no 'y': it is text of 2 characters"),
        ("nodes.fetch.output.nothing.more", "nodes.fetch.output.nothing has no 'more': it is null"),
        ("vars.list[9]", "vars.list has no '9': it is a list of 3"),
        ("nodes[input.x].output", "nodes has no such key; it has: fetch"),
        ("(vars.list | first).a", "the value before it has no 'a': it is a number"),
        ("[] | first", "the first of an empty list or text does not exist"),
    ],
)
@pytest.mark.behaviour(52)
def test_what_is_not_there_is_named_with_what_is(expression: str, expected: str) -> None:
    """A typing error is seen at once."""
    assert reason(expression) == expected


def test_an_error_names_the_field_and_the_expression() -> None:
    """Of fifty fields, the one to mend."""
    with pytest.raises(ExpressionError) as caught:
        value_of({"headers": [{"id": "x {{ nodes.fetch.output.idd }}"}]})

    assert caught.value.code == "expression"
    assert caught.value.path == "body.headers[0].id"
    assert caught.value.message.startswith(
        "body.headers[0].id: {{ nodes.fetch.output.idd }}: nodes.fetch.output has no"
    )


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("input.no | default('d')", "d"),
        ("input.a.b.c | default(input.no) | default(5)", 5),
        ("input.x | default(input.no)", "hi"),
        ("'' | default('d', true)", "d"),
        ("nodes.fetch.output.nothing | default('d')", None),
        ("input.no is defined", False),
        ("input.no.deeper is undefined", True),
        ("vars.list[7] | default(0)", 0),
        ("[] | first | default('none')", "none"),
        ("(input.no if true else 1) | default(2)", 2),
        ("nodes.fetch.output.items | map(attribute='note', default='-') | list", ["-", "-", None]),
        ("nodes.fetch.output.items | selectattr('note', 'defined') | map(attribute='id')", [3]),
        ("[1, 2] | map('default', 3)", [1, 2]),
    ],
)
def test_default_and_defined_may_look_at_what_is_missing(expression: str, expected: object) -> None:
    """Optional data is ordinary."""
    assert evaluated(expression) == expected


@pytest.mark.parametrize(
    "expression",
    [
        "secrets.token.x",
        "secrets.token | int",
        "secrets.token + 1",
        "secrets.token | from_json",
        "secrets.token | base64_decode",
        "secrets.token | timestamp",
        "secrets.login.x",
        "secrets['login'].x",
        "nodes[secrets.token]",
        "nodes.fetch.output[secrets.login.user]",
        "(secrets.login | merge({})).x",
        "[secrets.login] | map(attribute='x')",
        "{'a': 1}[secrets.token]",
        "[1, secrets.token] | sort",
        "secrets.token in 5",
        "secrets.token | replace(1, 2)",
        "-secrets.token",
        "range(secrets.token)",
        "secrets.token * secrets.token",
        "'' | strftime(secrets.token)",
        "secrets.token | bool",
    ],
)
def test_an_error_never_tells_a_secret(expression: str) -> None:
    """Errors go to events, logs and everybody who watches."""
    with pytest.raises(ExpressionError) as caught:
        evaluated(expression)

    for word in ("hunter2", "root-of-all", "1234", "user", "pin"):
        assert word not in caught.value.message.replace(expression, "")
    assert caught.value.__cause__ is None


# references


def test_references_are_known_before_anything_runs() -> None:
    """An unknown node, a forbidden variable, a secret that does not exist: refused at submit, with the path."""
    faults = Faults()
    compiled = compile_value(
        {
            "a": "{{ nodes.fetch.output.id + vars['y'][0] }}",
            "b": "{{ env.HOME ~ secrets.s }} {{ nodes[input.k].z | default(q) }}",
        },
        path="body",
        faults=faults,
    )

    assert sorted((str(found), found.field) for found in references(compiled)) == [
        ("env.HOME", "body.b"),
        ("input.k", "body.b"),
        ("nodes", "body.b"),
        ("nodes.fetch.output.id", "body.a"),
        ("q", "body.b"),
        ("secrets.s", "body.b"),
        ("vars.y[0]", "body.a"),
    ]
    assert all(found.root in str(found) for found in references(compiled))


# operators, filters, tests


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("1 + 2 * 3 - 4 / 2", 5.0),
        ("7 // 2 + 7 % 4 + 2 ** 10", 1030),
        ("1 ** 100000000000 + (-1) ** 3", 0),
        ("2 ** -1", 0.5),
        ("-input.n + +1", -2),
        ("'a' + 'b' ~ 1", "ab1"),
        ("[1] + [2] * 2 + 2 * [3]", [1, 2, 2, 3, 3]),
        ("'-' * 3 ~ 'x' * -1", "---"),
        ("1 < 2 <= 2 and 3 > 2 >= 2 and 'a' < 'b'", True),
        ("1 < 3 < 2", False),
        ("1 == 1.0 and 1 != 'a' and [1, {'a': 2}] == [1, {'a': 2.0}]", True),
        ("'i' in input.x and 3 in vars.list and 'x' in input and 9 not in vars.list", True),
        ("none or 'b'", "b"),
        ("0 and 1", 0),
        ("not input.x", False),
        ("'y' if input.n == 3 else 'n'", "y"),
        ("input.x[0] ~ input.x[::-1] ~ vars.list[1:]", "hih[1,2]"),
        ("input.x | upper | lower | title | capitalize", "Hi"),
        ("'  a ' | trim ~ ('xax' | trim('x'))", "aa"),
        ("'a-b-c' | replace('-', '+', 1)", "a+b-c"),
        ("'a-b-c' | split('-') | join(', ')", "a, b, c"),
        ("'a b  c' | split", ["a", "b", "c"]),
        ("[1, none, 'a', [2]] | join('|')", "1|null|a|[2]"),
        ("nodes.fetch.output.items | join('-', attribute='id')", "1-2-3"),
        ("vars.list | first ~ (vars.list | last) ~ ('xyz' | last)", "32z"),
        ("vars.list | sort ~ (vars.list | sort(reverse=true))", "[1,2,3][3,2,1]"),
        ("nodes.fetch.output.items | sort(attribute='price') | map(attribute='id')", [2, 1, 3]),
        ("nodes.fetch.output.tags | unique", ["b", "a", "c"]),
        ("[1, 1.0, true, 'a', [1], [1], {'a': none}, none] | unique | length", 6),
        ("vars.list | reverse ~ ('abc' | reverse)", "[2,1,3]cba"),
        ("nodes.fetch.output.items | map(attribute='kind') | map('upper') | join", "XYX"),
        ("[[1, 2], [3]] | map('map', 'string') | list", [["1", "2"], ["3"]]),
        ("vars.list | select('odd') | list", [3, 1]),
        ("vars.list | reject('gt', 1)", [1]),
        ("[0, 1, ''] | select | list", [1]),
        ("nodes.fetch.output.items | selectattr('kind', 'equalto', 'x') | map(attribute='id')", [1, 3]),
        ("nodes.fetch.output.items | rejectattr('kind', 'in', ['x']) | length", 1),
        ("(nodes.fetch.output.items | groupby('kind'))[0].list | map(attribute='id')", [1, 3]),
        ("nodes.fetch.output.items | groupby('kind') | map(attribute='grouper')", ["x", "y"]),
        ("nodes.fetch.output.items | sum(attribute='price') + (vars.list | sum(start=10))", 23.5),
        ("vars.list | min ~ (vars.list | max)", "13"),
        ("(nodes.fetch.output.items | max(attribute='price')).id", 3),
        ("1.256 | round(2) ~ ' ' ~ (1.21 | round(1, 'ceil')) ~ ' ' ~ (1.9 | round(method='floor'))", "1.26 1.3 1"),
        ("-2 | abs", 2),
        ("(-2) | abs", 2),
        ("'12' | int + ('1.5' | float) + ('3.9' | int) + ('q' | int(0)) + (true | int)", 17.5),
        ("5 | string ~ ('yes' | bool) ~ (0 | bool)", "5truefalse"),
        ("'ab' | list + ({'k': 1} | list)", ["a", "b", "k"]),
        ("{'a': 1} | items", [["a", 1]]),
        ("{'a': 1} | keys ~ ({'a': 1} | values)", '["a"][1]'),
        ("{'a': 1} | items | from_items | merge({'b': 2})", {"a": 1, "b": 2}),
        ("[1, [2, [3]]] | flatten", [1, 2, [3]]),
        ("{'a': 'é'} | json", '{"a":"é"}'),
        ("'a\"b' | tojson", '"a\\"b"'),
        ("'{\"a\": [1]}' | from_json", {"a": [1]}),
        ("'hé' | base64_encode | base64_decode", "hé"),
        ("'a b/é' | urlencode ~ ('/' | urlencode(safe='/'))", "a%20b%2F%C3%A9/"),
        ("'abc' | count ~ ([] | length)", "30"),
        ("range(3) + range(1, 7, 3)", [0, 1, 2, 1, 4]),
        ("zip([1, 2], 'ab' | list)", [[1, "a"], [2, "b"]]),
        ("vars.when | timestamp", 1769839200.25),
        ("'1970-01-01T00:00:10Z' | timestamp", 10),
        ("((vars.when | timestamp) + 60) | rfc3339", "2026-01-31T06:01:00.250Z"),
        ("vars.when | strftime('%d.%m.%Y %H:%M %z') ~ (0 | strftime('%Y'))", "31.01.2026 08:00 +02001970"),
        ("1 is number and 'a' is string and {} is mapping and [] is sequence and none is none", True),
        ("true is boolean and 1 is not boolean and 1 is integer and 1.5 is float and true is not number", True),
        ("true is true and false is false and 2 is even and 3 is odd and 9 is divisibleby(3)", True),
        ("1 is in([1]) and [1] is contains(1) and 'abc' is startswith('a') and 'abc' is endswith 'c'", True),
        ("1 is eq(1) and 1 is ne(2) and 1 is lt(2) and 1 is le(1) and 2 is gt(1) and 2 is ge(2)", True),
        ("'' is empty and none is empty and [1] is not empty", True),
    ],
)
def test_the_language(expression: str, expected: object) -> None:
    """What an author may count on."""
    assert evaluated(expression) == expected


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("1 + 'a'", "a number and text of 1 characters"),
        ("1 + true", "a boolean"),
        ("'%s' % 1", "two numbers"),
        ("1 / 0", "divides by zero"),
        ("(-8) ** 0.5", "not real"),
        ("9 ** 99", "64 bits"),
        ("9.0 ** 999", "not finite"),
        ("1e308 * 10", "not finite"),
        ("[] < []", "two numbers or two texts"),
        ("1 < 'a'", "two numbers or two texts"),
        ("1 in 'a'", "needed is text"),
        ("1 in 1", "a list or an object"),
        ("5[1:2]", "slice"),
        ("[1][::0]", "step 0"),
        ("'a'[1.5:]", "whole number"),
        ("{1: 2}", "key that is no text"),
        ("{[1]: 2}", "key that is no text"),
        ("{'a': 1}[true]", "keys are text"),
        ("'a' * 1.5", "whole number"),
        ("'x' | int", "no such number"),
        ("'inf' | float", "no such number"),
        ("'maybe' | bool", "a boolean"),
        ("5 | length", "needed is text"),
        ("5 | list", "needed is text"),
        ("5 | upper", "upper has a number; needed is text"),
        ("5 | first", "needed is a list"),
        ("5 | items", "needed is an object"),
        ("[1] | from_items", "pairs"),
        ("[1, 'a'] | sort", "not both"),
        ("[none] | sort", "needed is a number"),
        ("['a'] | sum", "needed is a number"),
        ("[1] | map('upper')", "needed is text"),
        ("[{}] | map(attribute='a')", "no such key"),
        ("'a' | split('')", "empty text"),
        ("'a' | trim('a' * 101)", "100 different"),
        ("'a' | urlencode('é')", "ASCII"),
        ("1.5 | round(400)", "20 digits"),
        ("1.5 | round(1, 'up')", "ceil"),
        ("'!' | base64_decode", "no base64"),
        ("'{' | from_json", "no JSON"),
        ("'NaN' | from_json", "no JSON"),
        ("'2026-01-31' | timestamp", "RFC 3339"),
        ("'2026-02-31T00:00:00Z' | timestamp", "RFC 3339"),
        ("1e12 | rfc3339", "years 1 to 9999"),
        ("0 | strftime('%A')", "takes a form"),
        ("0 | strftime('%')", "takes a form"),
        ("1 is divisibleby 0", "divides by zero"),
        ("5 is empty", "needed is null"),
        ("range(1, 2, 0)", "step 0"),
        ("zip([1], [])", "one length"),
    ],
)
@pytest.mark.behaviour(52)
def test_what_does_not_fit_is_an_error_and_never_a_silent_empty(expression: str, said: str) -> None:
    """A failed evaluation is never reported as a value."""
    assert said in reason(expression)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), (1,), {"a": [float("nan")]}])
def test_what_is_not_json_does_not_come_out(value: object) -> None:
    """What leaves an expression can be stored and sent."""
    assert "JSON" in reason("v", {"v": value})


class Lazy(Mapping[str, object]):
    """A scope that looks its values up when they are asked for."""

    def __getitem__(self, key: str) -> object:
        return {"a": 1}[key]

    def __iter__(self) -> Iterator[str]:
        return iter(["a"])

    def __len__(self) -> int:
        return 1


def test_a_scope_may_be_any_mapping() -> None:
    """Large outputs can stay where they are until an expression asks."""
    assert evaluated("input.a", {"input": Lazy()}) == 1
    assert evaluated("input", {"input": Lazy()}) == {"a": 1}
    assert evaluated("a", Lazy()) == 1


def test_a_mapping_within_a_value_that_json_cannot_write_is_an_error() -> None:
    """A gap in what the scope promises ends the node, not the process."""
    assert reason("[v] | json", {"v": Lazy()}) == "cannot be evaluated (TypeError)"


# nobody gets out


@pytest.mark.parametrize(
    "expression",
    [
        "''.__class__",
        "''.__class__.__mro__[1].__subclasses__()",
        "''['__class__']",
        "input['__class__']",
        "input.__init__.__globals__",
        "input.get",
        "input.items()",
        "input.x.format",
        "'{0.__class__}'.format(input)",
        "'{a.__class__}'.format_map(input)",
        "'%c' % 65",
        "input.x.upper",
        "[].append(1)",
        "input.update({'x': 1})",
        "input | attr('__class__')",
        "'{}' | attr('format')",
        "input | map(attribute='__class__')",
        "[input] | map(attribute='__class__')",
        "['a'] | map(attribute='__class__.__mro__')",
        "['a'] | map('attr', '__class__')",
        "['a'] | groupby('__class__')",
        "['a'] | sort(attribute='__class__')",
        "['a'] | selectattr('__class__')",
        "['a'] | sum(attribute='__class__')",
        "'{0}' | format(input)",
        "self",
        "self.__init__",
        "self._TemplateReference__context",
        "cycler.__init__.__globals__.os",
        "cycler('a').next()",
        "joiner()",
        "namespace(a=1)",
        "lipsum.__globals__['os'].popen('id')",
        "dict(a=1)",
        "range.__class__",
        "range(1).__class__",
        "url_for.__globals__",
        "request.application",
        "config.items()",
        "get_flashed_messages()",
        "g.pop.__globals__",
        "(input.x | map('upper')).gi_frame",
        "([1] | map('string')).gi_frame.f_back",
        "([1] | select).gi_code",
        "x.__class__",
        "none.__class__",
        "true.__class__",
        "(1).__class__",
        "1.5.real",
        "caller()",
        "super()",
        "_('x')",
        "loop.index",
        "varargs",
        "context.parent",
        "environment.globals",
        "__import__('os')",
        "open('/etc/passwd')",
        "eval('1')",
        "input | pprint",
        "input | xmlattr",
        "vars.list | random",
        "'x' | center(1000000000)",
        "'x' | wordwrap(1)",
        "'x' | indent(1000000000)",
        "'x' | safe",
        "'x' | escape",
        "now()",
        "'x' | regex_search('(a+)+$')",
        "input is callable",
        "input is sameas input",
        "'x' is filter",
        "'x'.__add__('y')",
        "''.join(['a'])",
        "(''|string).__class__",
        "({}|items).__class__",
        "[1][0].__class__",
        "input[['x']]",
        "input[{}]",
        "input[none]",
        "input['x', 'y']",
    ],
)
def test_no_known_way_out_of_jinjas_sandbox_is_one_out_of_this(expression: str) -> None:
    """Attributes, methods, frames and globals of Python do not exist here, so there is nothing to forbid."""
    faults = Faults()
    compiled = compile_value("{{ " + expression + " }}", path="body", faults=faults)

    if not faults.found:
        with pytest.raises(ExpressionError) as caught:
            render(compiled, SCOPE)
        assert "cannot be evaluated" not in caught.value.message


def test_keys_named_like_attributes_are_only_keys() -> None:
    """Data may have a field called `items` or `__class__`."""
    scope = {"input": {"items": 1, "__class__": 2, "get": {"format": 3}}}

    assert evaluated("[input.items, input.__class__, input.get.format]", scope) == [1, 2, 3]


def test_a_scope_is_never_changed() -> None:
    """Nodes run side by side and read the same outputs."""
    before = json.dumps(SCOPE)

    evaluated("[vars.list | sort, vars.list + [1], input | merge({'x': 2}), vars.list | reverse, vars.list * 2]")

    assert json.dumps(SCOPE) == before


WORDS = [
    "a",
    "input.x",
    "nodes.fetch.output",
    "vars.list",
    "secrets",
    "1",
    "0",
    "2.5",
    "'x'",
    '""',
    "none",
    "true",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    ".",
    ".x",
    "['y']",
    "[0]",
    "[1:]",
    "+",
    "-",
    "*",
    "/",
    "//",
    "%",
    "**",
    "~",
    "==",
    "!=",
    "<",
    "<=",
    "in",
    "not",
    "and",
    "or",
    "if",
    "else",
    "is",
    "defined",
    "number",
    "in(1)",
    "|",
    "|map('upper')",
    "|map(attribute='id')",
    "|first",
    "|sort",
    "|join",
    "|json",
    "|from_json",
    "|length",
    "|default(1)",
    "|groupby('k')",
    "|sum",
    "|items",
    "|unique",
    "range(",
    "zip(",
    "'2026-01-01T00:00:00Z'",
    "|timestamp",
    "|rfc3339",
    "}}",
    "{{",
    "{%",
    "raw",
]


@given(st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join))
def test_whatever_is_written_ends_in_a_value_a_fault_or_an_error(text: str) -> None:
    """Bad input never becomes a crash, and never a gap in our own checks."""
    faults = Faults()
    compiled = compile_value("{{ " + text + " }}", path="body", faults=faults)

    if not faults.found:
        try:
            json.dumps(render(compiled, SCOPE))
        except ExpressionError as error:
            assert "cannot be evaluated" not in error.message  # noqa: PT017 - it need not raise


# nobody hangs it

MEGABYTE = "a" * 1_000_000
HEAVY: Mapping[str, object] = {
    "mb": MEGABYTE,
    "accents": "é" * 500_000,
    "numbers": list(range(100_000)),
    "some": list(range(25_000)),
    "objects": [{"k": i % 7, "s": f"x{i}", "t": "2026-01-01T00:00:00Z"} for i in range(9_000)],
    "texts": [f"{i:06}" for i in range(60_000)],
    "commas": "a," * 500_000,
    "json": "[" + "[]," * 300_000 + "[]]",
}
BOMB = "0"
for _ in range(12):
    BOMB = f"[{BOMB}]*9"
    BOMB = f"({BOMB})"


@pytest.mark.parametrize(
    "expression",
    [
        "9 ** 9 ** 9 ** 9",
        "'a' * 10 ** 12",
        "[0] * 10 ** 12",
        "range(10 ** 15)",
        BOMB,
        f"{BOMB} == {BOMB}",
        f"({BOMB}) | json",
        f"[{BOMB}, {BOMB}] | unique",
        f"{BOMB} in [{BOMB}]",
        "[[numbers] * 1000] * 1000",
        "([mb] * 1000) | sort",
        "([mb ~ 'x'] * 1000) == ([mb ~ 'x'] * 1000)",
        "(mb ~ 'x') in ([mb ~ 'y'] * 1000)",
        "mb | replace('', mb)",
        "mb | replace('a', 'b' * 100000)",
        "mb | trim(mb)",
        "mb ~ mb ~ mb",
        "+".join(["mb"] * 90),
        "mb | urlencode",
        "accents | urlencode",
        "mb | upper | lower" + " | upper" * 40,
        "('a' * 99 ~ 'b') in mb",
        "commas | split(',') | map('upper') | join(',')",
        "commas | split(',') | split(',')",
        "json | from_json",
        "json | from_json | json | from_json | json",
        "mb | list | sort | unique",
        "numbers | select('in', numbers) | list",
        "texts | select('in', texts) | list",
        "some | map('string') | map('length') | sum",
        "([some] * 1000) | map('sum')",
        "([texts] * 1000) | map('join')",
        "([texts] * 1000) | map('map', 'upper')",
        "([[]] * 100000) | map('sort')",
        "objects | groupby('s') | map(attribute='list') | map('groupby', 'k')",
        "objects | map('json') | map('from_json') | unique",
        "objects | map(attribute='t') | map('timestamp') | map('rfc3339')",
        "objects | sort(attribute='s') | sort(attribute='t')",
        "[" + ",".join(["numbers == numbers"] * 300) + "]",
        "('[' * 100000) | from_json",
        "numbers | map('round', 20)",
        "1.5 | round(-1000000000)",
        "('1' * 100000) | int",
        "deep",
        "deep == deep",
        "deep | json",
    ],
)
def test_nothing_hangs(expression: str) -> None:
    """One evaluation of the worst kind is over in no time, and then says why it stopped."""
    deep: list[object] = []
    for _ in range(10_000):
        deep = [deep]
    faults = Faults()
    compiled = compile_value("{{ " + expression + " }}", path="body", faults=faults)
    started = time.process_time()

    with contextlib.suppress(ExpressionError):
        render(compiled, {**HEAVY, "deep": deep})

    assert time.process_time() - started < 5  # a hundred times what it takes, and far below a hang


def test_the_result_of_all_expressions_together_is_bounded() -> None:
    """Ten thousand mentions of a megabyte are not ten gigabytes."""
    compiled = compile_value(["<{{ mb }}>"] * 1000, path="body", faults=Faults())

    with pytest.raises(ExpressionError, match="bytes of JSON"):
        render(compiled, HEAVY)


@pytest.mark.parametrize(
    "value", ["a" * 2**21, ["a" * 2**21, 1], ["é" * 2**20, None], [[1]] * 2**20, {"a": list(range(2**20))}]
)
def test_a_value_too_large_does_not_come_through(value: object) -> None:
    """A field that swallows a whole output is refused, and no walk through it is finished first."""
    assert reason("v", {"v": value}).startswith(("has a value of more than", "takes more than"))


@pytest.mark.parametrize(
    "expression",
    [
        "[" + "1," * 4900 + "1]",
        "{" + "'a':1," * 1600 + "}",
        "a" + ".b" * 4900,
        "a" + "[b]" * 3000,
        "[" + "1," * 4000 + "1]" + "[b]" * 90,
        "a" + "|upper" * 1400,
        "not " * 2400 + "a",
        "a if b else " * 800 + "c",
        "a~" * 4900 + "a",
        "a==" * 3000 + "a",
        "'" + "\\\\" * 2400 + "'",
        '"' * 9999,
        "(" * 9999,
    ],
)
def test_reading_an_expression_is_quick_too(expression: str) -> None:
    """A definition is checked while others are served."""
    started = time.process_time()

    faults_of("{{ " + expression + " }}")

    assert time.process_time() - started < (0.5 if sys.gettrace() is None else 10)  # a tracer slows it tenfold


def test_limits_are_those_that_were_given() -> None:
    """An installation may be stricter, or more generous."""
    assert "at most 10" in reason("'a' * 9 ~ [1, 2]", limits=Limits(result_bytes=10))
    assert "more than 3 bytes" in reason("[1, 2, 3]", limits=Limits(result_bytes=3))
    assert "5 steps" in reason("range(6)", limits=Limits(steps=5))
    assert "more than 2 deep" in reason("v", {"v": [[[1]]]}, limits=Limits(depth=2))
