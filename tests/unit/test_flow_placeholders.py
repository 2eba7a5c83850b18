"""Placeholders: which texts they are, what takes their place, and what is never read again."""

from __future__ import annotations

import string
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from execd.core.flows.moments import Moment, Response, StepError
from execd.core.flows.placeholders import Notes, Reader
from execd.core.flows.trees import compile_tree

RESPONSES = {
    "login": Response(
        status=201,
        body={"token": "t-1", "n": 0, "e": "", "f": False, "list": [1, [2, None]], "o": {}},
        headers={"x-rate": "9"},
        time_ms=12,
    ),
    "a-b_1": Response(status=200, body=[{"id": 4}]),
    "empty": Response(status=204, body=""),
    "skipped": Response.SKIPPED,
}


def moment(**fields: Any) -> Moment:
    guids = iter(f"guid-{n}" for n in range(100))
    given: dict[str, Any] = {"input": {}, **fields}
    return Moment(timestamp=1795194704, make_guid=lambda: next(guids), response_of=RESPONSES.get, **given)


def replace(text: str, variables: dict[str, Any] | None = None, **fields: Any) -> tuple[str, Notes]:
    """Replace a text's placeholders."""
    notes = Notes()
    template = Reader(variables or {}).template(text, "url")
    return (text if template is None else template.text(moment(**fields), notes)), notes


GRAMMAR = [
    ("{{ .vars.a }}", "1"),
    ("{{.vars.a}}", "1"),
    ("{{\n.vars.a\t}}", "1"),
    ("{{{ .vars.a }}}", "{1}"),
    ("x{{ .vars.a }}y{{ .vars.b }}z", "x1ytruez"),
    ("{{ .vars.my-key }}", "{{ .vars.my-key }}"),
    ("{{ .vars.a.b }}", "{{ .vars.a.b }}"),
    ("{{ .vars.ü }}", "{{ .vars.ü }}"),
    ("{{ vars.a }}", "{{ vars.a }}"),
    ("{{ .vars.missing }}", "{{ .vars.missing }}"),
    ("{{ .input.missing }}", "{{ .input.missing }}"),
    ("{{ .input.name }}", "Ada"),
    ("{{ $timestamp }}", "1795194704"),
    ("{{ $guid }}/{{ $guid }}", "guid-0/guid-1"),
    ("{{ $other }}", "{{ $other }}"),
    ("{{ .responses.login.token }}", "t-1"),
    ("{{ .responses.login.n }}{{ .responses.login.e }}{{ .responses.login.f }}", "0false"),
    ("{{ .responses.login.list }}", "1,2,"),
    ("{{ .responses.login.list.length }}", "2"),
    ("{{ .responses.login.list[1][0] }}", None),
    ("{{ .responses.login.o }}", "[object Object]"),
    ("{{ .responses.a-b_1.[0].id }}", "4"),
    ("{{ .responses.a-b_1[0].id }}", "{{ .responses.a-b_1[0].id }}"),
    ("{{ .responses.login.list | length }}", "{{ .responses.login.list | length }}"),
    ("{{ .responses.login.$status }}", "201"),
    ("{{ .responses.login.$headers.X-Rate }}", "9"),
    ("{{ .responses.login.$time }}", "12"),
    ("{{ .env.HOST }}", "h"),
    ("{{ .secrets.KEY }}", "s3cret"),
    ("{{ .secrets.OTHER }}", "{{ .secrets.OTHER }}"),
]


@pytest.mark.parametrize(("text", "expected"), GRAMMAR)
def test_the_grammar(text: str, expected: str | None) -> None:
    """What is no placeholder stays as it is written, braces and all."""
    world: dict[str, Any] = {"input": {"name": "Ada"}, "env": {"HOST": "h"}, "secrets": {"KEY": "s3cret"}}
    if expected is None:
        with pytest.raises(StepError):
            replace(text, {"a": 1, "b": True}, **world)
        return
    assert replace(text, {"a": 1, "b": True}, **world)[0] == expected


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("nobody.x", "Could not find response for node: nobody"),
        ("empty.x", "Node empty has no response body"),
        ("login", "Could not extract value from .responses.login"),
        ("login.none", "Could not extract value from .responses.login.none"),
        ("login.list[7]", "Could not extract value from .responses.login.list[7]"),
        ("skipped.id", "Could not extract value from .responses.skipped.id"),
        ("login.$headers.x-none", "Could not extract value from .responses.login.$headers.x-none"),
        ("nobody.$status", "Could not find response for node: nobody"),
    ],
)
def test_a_bad_reference_fails_with_its_message(reference: str, message: str) -> None:
    """Clients show these texts, and people search for them."""
    with pytest.raises(StepError) as caught:
        replace(f"{{{{ .responses.{reference} }}}}")

    assert caught.value.message == message


def test_a_variable_is_read_once_more_for_answers_and_responses() -> None:
    """As observed: authors keep references in variables, and even parts of them."""
    variables = {
        "ref": "{{ .responses.login.token }}",
        "node": "login",
        "self": "{{ .vars.x }}",
        "x": "1",
        "g": "{{ $guid }}",
    }

    assert replace("{{ .vars.ref }}", variables)[0] == "t-1"
    assert replace("{{ .responses.{{ .vars.node }}.token }}", variables)[0] == "t-1"
    assert replace("{{ .vars.self }}", variables)[0] == "{{ .vars.x }}"
    assert replace("{{ .vars.g }}", variables)[0] == "{{ $guid }}"


@pytest.mark.parametrize("text", ["{{ .responses.login.token }}", "{{ .input.b }}", "{{ .vars.a }}", "{{ $guid }}"])
def test_what_people_and_servers_give_is_never_read(text: str) -> None:
    """An answer that holds a placeholder is an answer; else anybody could read any response."""
    body = {"inner": text}
    world = moment(input={"a": text, "b": "B"}, row={"r": text}, env={"E": text}, secrets={"S": text})
    world = Moment(
        timestamp=1,
        make_guid=lambda: "g",
        response_of=lambda _: Response(status=200, body=body),
        input=world.input,
        row=world.row,
        env=world.env,
        secrets=world.secrets,
    )
    for source in (".input.a", ".responses.x.inner", ".vars.r", ".env.E", ".secrets.S"):
        template = Reader({"a": 1}, replaced=frozenset({"r"})).template(f"[{{{{ {source} }}}}]", "body")
        assert template is not None
        assert template.text(world, Notes()) == f"[{text}]"


def test_what_was_replaced_is_noted_in_the_order_of_the_passes() -> None:
    """New values, variables, answers, responses; each with its type and place, the value as it was."""
    text = "{{ .responses.login.n }}{{ .input.name }}{{ .vars.a }}{{ $timestamp }}{{ $guid }}"

    notes = replace(text, {"a": 3}, input={"name": "Ada"})[1]

    assert [each.record for each in notes.made] == [
        {"original": "{{ $guid }}", "value": "guid-0", "type": "dynamic-guid", "path": "url"},
        {"original": "{{ $timestamp }}", "value": 1795194704, "type": "dynamic-timestamp", "path": "url"},
        {"original": "{{ .vars.a }}", "value": 3, "type": "variable", "path": "url"},
        {"original": "{{ .input.name }}", "value": "Ada", "type": "input", "path": "url"},
        {"original": "{{ .responses.login.n }}", "value": 0, "type": "response", "path": "url"},
    ]


def test_what_names_nothing_is_noted_too() -> None:
    """It is sent as it is written, and whoever wonders finds it."""
    assert set(replace("{{ .vars.no }}{{ .input.no }}")[1].unknown) == {"{{ .vars.no }}", "{{ .input.no }}"}


def test_a_tree_keeps_its_shape_and_its_keys() -> None:
    """Keys are never replaced; paths name every place."""
    render = compile_tree(
        {"{{ .vars.a }}": ["{{ .vars.a }}", {"b": "{{ .vars.a }}"}], "n": 1}, "body", Reader({"a": 3})
    )
    notes = Notes()

    assert render is not None
    assert render(moment(), notes) == {"{{ .vars.a }}": ["3", {"b": "3"}], "n": 1}
    assert [each.path for each in notes.made] == ["body.{{ .vars.a }}[0]", "body.{{ .vars.a }}[1].b"]


@pytest.mark.parametrize(
    ("text", "value"), [("{{ .vars.a }}", 3), ("{{ .responses.login.list }}", [1, [2, None]]), ("x{{ .vars.a }}", "x3")]
)
def test_a_single_placeholder_may_keep_its_type(text: str, value: Any) -> None:
    """Only where the config asks for it."""
    render = compile_tree(text, "body", Reader({"a": 3}), keeps_types=True)

    assert render is not None
    assert render(moment(), Notes()) == value


def test_a_text_cannot_grow_without_end() -> None:
    """A large value inserted a thousand times is a mistake or an attack."""
    template = Reader({}).template("{{ .input.a }}" * 40, "body")
    assert template is not None

    with pytest.raises(StepError, match="grew over"):
        template.text(moment(input={"a": "x" * 1_000_000}), Notes())


pieces = st.sampled_from(
    [
        "{{",
        "}}",
        "{",
        "}",
        " ",
        ".vars.",
        ".input.",
        ".responses.",
        "$guid",
        "$timestamp",
        "a",
        "login",
        ".token",
        "[0]",
        "\n",
        "$status",
    ]
)


@given(st.lists(pieces, max_size=14).map("".join))
@example("{{ .vars.{{ .vars.a }} }}")
@example("{{{{ .vars.a }}}}")
def test_any_text_is_taken(text: str) -> None:
    """Nothing an author types is an error of execd; the worst is a step that fails with its message."""
    with suppress(StepError):
        replaced, notes = replace(text, {"a": "1"}, input={"a": "2"})
        assert notes.made or replaced == text


@given(
    st.text(alphabet=string.printable + "üß😀{}", max_size=40), st.text(alphabet=string.printable + "{}$&", max_size=20)
)
def test_an_answer_is_inserted_letter_by_letter(around: str, answer: str) -> None:
    """`$&`, backslashes and braces mean nothing in what is inserted."""
    around = around.replace("{{", "{ {").replace("}}", "} }").rstrip("{")

    assert replace(f"{around}{{{{ .input.a }}}}", input={"a": answer})[0] == around + answer
