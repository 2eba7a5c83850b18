"""Values as JavaScript sees them, and paths into them: what flows compare and insert."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import UNSET

from execd.core.flows.field_paths import compile_path, reader_of
from execd.core.flows.js_values import is_truthy, js_text, json_text, leading_number, number_text
from execd.core.flows.patterns import compile_pattern, is_found

TEXTS = [
    (3, "3"),
    (1.0, "1"),
    (-0.0, "0"),
    (1e20, "100000000000000000000"),
    (1e21, "1e+21"),
    (10**21, "1e+21"),
    (2**60, "1152921504606846976"),
    (1e-6, "0.000001"),
    (1e-7, "1e-7"),
    (1.23e-5, "0.0000123"),
    (123.456, "123.456"),
    (1.5e300, "1.5e+300"),
    (math.inf, "Infinity"),
    (math.nan, "NaN"),
    (True, "true"),
    (False, "false"),
    (None, "null"),
    (UNSET, "undefined"),
    ("", ""),
    ([1, [2, None]], "1,2,"),
    ([], ""),
    ([None, True, {}], ",true,[object Object]"),
    ({"a": 1}, "[object Object]"),
]


@pytest.mark.parametrize(("value", "text"), TEXTS)
def test_a_value_becomes_text_as_in_javascript(value: Any, text: str) -> None:
    """Target APIs get these bytes; one digit more is another request."""
    assert js_text(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
@example(5e-324)
@example(1.7976931348623157e308)
@example(123456789012345680000.0)
def test_a_number_reads_back_as_itself(value: float) -> None:
    """The shortest digits that tell a number apart are JavaScript's and Python's alike; only the form differs."""
    text = js_text(value)

    assert float(text) == value
    assert not text.endswith(".0")
    assert "e0" not in text


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("12abc", 12),
        ("2.50", 2.5),
        (" -3e2x", -300),
        (".5", 0.5),
        (True, None),
        (None, None),
        ("", None),
        ([7], 7),
        ({}, None),
    ],
)
def test_numbers_are_what_a_text_begins_with(value: Any, number: float | None) -> None:
    """`parseFloat`: booleans are no numbers, a list of one is what it holds."""
    assert leading_number(value) == number


def test_numbers_are_shown_as_javascript_shows_them() -> None:
    """A threshold of `2.50` is told as 2.5, one that is none as NaN."""
    assert [number_text(leading_number(text)) for text in ("2.50", "x")] == ["2.5", "NaN"]


@pytest.mark.parametrize("value", [None, UNSET, False, 0, 0.0, "", math.nan])
def test_six_values_are_false(value: Any) -> None:
    """A body of these is not sent."""
    assert not is_truthy(value)


@pytest.mark.parametrize("value", [[], {}, "0", "false", 1, -1, True])
def test_all_else_is_true(value: Any) -> None:
    """Empty lists and objects are sent."""
    assert is_truthy(value)


BODY = {
    "arr": [{"x": 1}, {"x": None}],
    "obj": {"a b": 1, "k-v": 2},
    "str": "abc",
    "wide": "a😀",
    "n": 5,
    "null": None,
    "rows": [[1, 2]],
}
PATHS = [
    (".", BODY),
    (".arr[0].x", 1),
    (".arr.0.x", 1),
    (".arr.length", 2),
    (".arr[1].x", None),
    (".arr[5]", UNSET),
    (".arr[5].x", None),
    (".arr.00.x", None),
    (".str.length", 3),
    (".str.0", "a"),
    (".str.9", UNSET),
    (".wide.length", 3),
    (".obj.a b", 1),
    (".obj.k-v", 2),
    (".obj.missing", UNSET),
    (".obj.missing.deeper", None),
    (".obj[0]", None),
    (".n.x", UNSET),
    (".null.x", None),
    (".rows[0][1]", None),
    (".arr | length", 2),
    (".str | length", 3),
    (".obj | length", 2),
    (".n | length", None),
    (".null | length", None),
    (".n | upper", 5),
    (".str | length | upper", 3),
    (".str  |  length", 3),
    (" .str | length", None),
    (".n|length", UNSET),
    ("arr", None),
    ("", None),
    ("..", None),
    (".obj.", UNSET),
]


@pytest.mark.parametrize(("path", "value"), PATHS)
def test_a_path_reads_as_javascript_would(path: str, value: Any) -> None:
    """Undefined and null differ: both are told in messages."""
    found = compile_path(path)(BODY)

    assert found == value
    assert (found is UNSET) == (value is UNSET)


def test_a_root_that_is_a_list_has_indexes_too() -> None:
    """`.[0].x`, as references write it."""
    assert compile_path(".[0].x")([{"x": 2}]) == 2
    assert compile_path(".[0]")({"0": 1}) is None


def test_what_is_no_text_is_no_path() -> None:
    """A config that nobody validated may hold anything."""
    assert reader_of(5)({"a": 1}) is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(st.text(alphabet="abc.[]0129|length -_ü", max_size=30), json_values)
def test_any_text_is_a_path_and_any_value_can_be_read(path: str, value: Any) -> None:
    """Configs and bodies come from strangers: nothing in them is an error of execd."""
    js_text(compile_path(path)(value))


@given(st.dictionaries(st.text(alphabet="abcdef", min_size=1), json_values, min_size=1, max_size=4), st.data())
def test_a_property_is_found_by_its_name(table: dict[str, Any], data: st.DataObject) -> None:
    """The plain case, for every name and value."""
    name = data.draw(st.sampled_from(sorted(table)))

    assert compile_path(f".{name}")(table) == table[name]


def test_json_in_messages_is_compact() -> None:
    """As `JSON.stringify` has it."""
    assert json_text({"a": [1, "ü"]}) == json.dumps({"a": [1, "ü"]}, separators=(",", ":"), ensure_ascii=False)


def test_no_pattern_can_hold_up_the_process() -> None:
    """Authors are strangers: what Python's own engine would need years for is done at once."""
    assert not is_found("(a+)+$", "a" * 5000 + "b")
    assert compile_pattern("(?=a)") is None
    assert not is_found("(?=a)", "a")
    assert compile_pattern("a" * 5000) is None
