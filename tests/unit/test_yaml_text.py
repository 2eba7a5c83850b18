"""YAML as people write it, read by the rules of 1.2, and nothing that is dangerous or that JSON does not have."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execd.core.errors import ConflictError, InvalidRequestError, PayloadTooLargeError
from execd.core.yaml_text import MAX_DEPTH, MAX_VALUES, MAX_YAML_BYTES, parse_yaml, write_yaml

READ = {
    "booleans": ("[true, True, FALSE]", [True, True, False]),
    "no booleans": ("[yes, no, on, off, y, n, Yes, NO]", ["yes", "no", "on", "off", "y", "n", "Yes", "NO"]),
    "keys are what is written": (
        "on: a\nyes: b\n1: c\ntrue: d\n~: e\n2026-01-01: f\n010: g\n<<: h",
        {"on": "a", "yes": "b", "1": "c", "true": "d", "~": "e", "2026-01-01": "f", "010": "g", "<<": "h"},
    ),
    "no sexagesimals": ("[1:30, 190:20:30, 12:30:45.5]", ["1:30", "190:20:30", "12:30:45.5"]),
    "no dates": ("[2026-01-01, 2026-01-01T10:00:00Z]", ["2026-01-01", "2026-01-01T10:00:00Z"]),
    "whole numbers": ("[010, 0o10, 0x1F, -5, +5, 0b1, 1_000]", [10, 8, 31, -5, 5, "0b1", "1_000"]),
    "numbers": ("[1.5, 1., .5, 1e3, -1E-2, 1.2.3, 0x, e3]", [1.5, 1.0, 0.5, 1000.0, -0.01, "1.2.3", "0x", "e3"]),
    "nothing": ("[~, null, Null, NULL, nil]\n", [None, None, None, None, "nil"]),
    "left out": ("a:\nb: ''", {"a": None, "b": ""}),
    "quotes keep texts": ("['true', \"1\", !!str 1, ! 1]", ["true", "1", "1", "1"]),
    "blocks": ("a: |\n  x\n    y\nb: >-\n  x\n  y", {"a": "x\n  y\n", "b": "x y"}),
    "an anchor without an alias": ("a: &x 1", {"a": 1}),
    "a version it does not obey": ("%YAML 1.1\n---\na: yes", {"a": "yes"}),
    "a byte order mark": ("\ufeffa: 1", {"a": 1}),
    "tags of what it is": ("!!map {a: !!seq [1]}", {"a": [1]}),
}


@pytest.mark.parametrize("name", READ)
def test_scalars_are_those_of_the_core_schema(name: str) -> None:
    """A country `NO`, a key `on` or a time `1:30` must not become something else behind its author's back."""
    text, value = READ[name]

    assert parse_yaml(text.encode()) == value


BILLION_LAUGHS = "a: &a [x,x,x]\n" + "".join(
    f"{b}: &{b} [*{a},*{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)

REFUSED = {
    "empty": ("", ["", "is empty"]),
    "a comment": ("# nothing", ["", "is empty"]),
    "two documents": ("a\n---\nb", ["", "second document at line 2"]),
    "torn": ("a: [1", ["", "cannot be read at line 2"]),
    "a tab": ("\ta: 1", ["", "line 1, column 1"]),
    "an alias": ("a: &x 1\nnodes:\n  - b: *x", ["nodes[0].b", "is an alias at line 3, column 8"]),
    "an alias as a key": ("a: &x 1\n*x : 2", ["", "is an alias"]),
    "a key twice": ("n:\n  a: 1\n  b: 2\n  a: 3", ["n.a", "is given twice at line 4"]),
    "a key twice in other words": ("'1': 1\n1: 2", ["1", "is given twice"]),
    "a list as a key": ("? [a]\n: b", ["", "a list or an object as a key"]),
    "an object of Python": ("a: !!python/object/apply:os.system [ls]", ["a", "has the tag"]),
    "bytes": ("!!binary aGk=", ["", "has the tag"]),
    "a tag of its own": ("a: !secret x", ["a", "has the tag !secret"]),
    "infinity": ("a: -.inf", ["a", "no number that JSON has"]),
    "not a number": ("a: .NaN", ["a", "no number that JSON has"]),
    "a huge exponent": ("a: 1e999", ["a", "no number that JSON has"]),
    "a long number": ("a: " + "1" * 5000, ["a", "a number of 5000 characters"]),
    "65 bits": ("a: 18446744073709551616", ["a", "a number of 20 characters"]),
    "a lone surrogate": ('a: "\\ud800"', ["", "line 1"]),
    "NUL": ("a: \0", ["", "cannot be read"]),
    "too deep": ("[" * (MAX_DEPTH + 1), ["", "nested too deeply"]),
    "far too deep": ("- " * 200_000, ["", "nested too deeply"]),
    "too many": ("[" + "a," * MAX_VALUES + "]", ["", "more than 100000 values"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_place_is_refused_where_it_stands(name: str) -> None:
    """The path and the line lead to it; nothing is guessed, dropped or run."""
    text, (path, words) = REFUSED[name]

    with pytest.raises(InvalidRequestError) as refused:
        parse_yaml(text.encode())

    (fault,) = refused.value.faults
    assert fault.path == path
    assert words in fault.message
    assert fault.accepted


def test_a_billion_laughs_are_not_laughed() -> None:
    """Nine lines that stand for gigabytes: every alias is named, and none is followed."""
    with pytest.raises(InvalidRequestError) as refused:
        parse_yaml(BILLION_LAUGHS.encode())

    assert len(refused.value.faults) == 16
    assert {"is an alias" in fault.message for fault in refused.value.faults} == {True}


def test_all_faults_are_told_at_once() -> None:
    """Whoever mends one should not meet the next."""
    with pytest.raises(InvalidRequestError) as refused:
        parse_yaml(b"a: .inf\nb: !x 1\na: 2\nc: *d")

    assert [fault.path for fault in refused.value.faults] == ["a", "b", "a", "c"]


def test_other_bytes_and_too_many_of_them_are_refused() -> None:
    """Before any of it is read."""
    with pytest.raises(InvalidRequestError, match="UTF-8 at byte 3"):
        parse_yaml(b"a: \xff")
    with pytest.raises(PayloadTooLargeError, match="or JSON"):
        parse_yaml(b"#" * (MAX_YAML_BYTES + 1))


ODD_TEXTS = (
    *("yes", "on", "1:30", "0o17", "1e3", "~", "", "null", "0x", ".5", "=", "<<", "!x", "#", "a: b", "- x"),
    *("a\n", "\n", " a\n b", "a\n\n", "\u2028\n", "\x85\n", "\ufeff", "a\r\nb", "\tx\ny", "x \ny", "\x7f\n"),
)
TEXTS = st.text(st.characters(codec="utf-8")) | st.sampled_from(ODD_TEXTS)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(VALUES)
def test_what_is_written_is_read_back_the_same(value: Any) -> None:
    """An export that changes a definition on its way through a file would be no export."""
    back = parse_yaml(write_yaml(value).encode())

    assert back == value
    assert repr(back) == repr(value)


def test_source_stays_readable() -> None:
    """An exported script is a block of lines, as somebody would write it."""
    assert write_yaml({"source": "a = 1\nprint(a)\n", "on": "x"}) == "source: |\n  a = 1\n  print(a)\n'on': x\n"


def test_what_could_not_be_read_back_is_not_written() -> None:
    """JSON may be nested more deeply than YAML is read here."""
    value: Any = 1
    for _ in range(MAX_DEPTH):
        value = [value]

    assert parse_yaml(write_yaml(value).encode()) == value
    with pytest.raises(ConflictError, match="export it as json"):
        write_yaml([value])
