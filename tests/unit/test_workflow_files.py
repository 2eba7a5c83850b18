"""Workflows from files: what counts as one, what is typed beside it, and the lines of faults."""

from __future__ import annotations

import pytest

from execd.cli.workflow_files import is_request_file, read_request, with_values
from execd.core.errors import InvalidRequestError
from execd.core.text_lines import lines_of

TEXT = """\
# a comment
kind: workflow
vars: {a: one, b: 2}
nodes:
  - id: x
    needs:
      - y
"""


@pytest.mark.parametrize(
    ("file", "language", "expected"),
    [("w.yaml", None, True), ("w.YML", None, True), ("w.json", None, True), ("w.py", None, False),
     ("-", "workflow", True), ("-", None, False), ("w.yaml", "bash", False)],
)  # fmt: skip
def test_the_name_says_what_is_a_workflow(file: str, language: str | None, expected: bool) -> None:
    """A script keeps being a script, and `--lang` has the last word."""
    assert is_request_file(file, language) is expected


def test_a_file_is_named_after_itself() -> None:
    """A list of executions that are all called `workflow` helps nobody; a name in the file counts more."""
    assert read_request("nodes: []", file="dir/nightly.yaml") == {"name": "nightly", "kind": "workflow", "nodes": []}
    assert read_request('{"name": "x", "nodes": []}', file="w.json")["name"] == "x"


@pytest.mark.parametrize("text", ["a: 1", "[]", "x", "", "nodes: [", "nodes: *alias"])
@pytest.mark.parametrize("file", ["w.yaml", "w.json"])
def test_what_is_no_workflow_is_refused(text: str, file: str) -> None:
    """With a fault, never a trace."""
    with pytest.raises(InvalidRequestError) as refused:
        read_request(text, file=file)

    assert refused.value.faults


def test_a_variable_keeps_the_kind_its_file_gives_it() -> None:
    """`--var version=1.0` stays a text where the file has one; a number stays a number."""
    body = read_request(TEXT, file="w.yaml")

    assert with_values(body, input_text='{"n": 1}', variables=["a=1.0", "b=3"])["vars"] == {"a": "1.0", "b": 3}
    assert with_values(body, input_text='{"n": 1}', variables=[])["input"] == {"n": 1}
    assert with_values(body, input_text=None, variables=["b=later"])["vars"]["b"] == "later"


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("", 1),
        ("kind", 2),
        ("vars.b", 3),
        ("nodes[0]", 5),
        ("nodes[0].needs[0]", 7),
        ("nodes[0].type", 5),
        ("odd.x", 1),
    ],
)
def test_a_fault_has_the_line_of_the_nearest_thing_there_is(path: str, line: int) -> None:
    """A field that is missing has no line of its own; what it is missing from has."""
    assert lines_of(TEXT, [path])[path] == line


def test_what_cannot_be_read_has_no_lines() -> None:
    """The fault itself says where reading stopped."""
    assert lines_of("a: [", ["a"]) == {}


def test_json_has_lines_too() -> None:
    """Tabs, texts with brackets and keys with signs in them do not lead astray."""
    text = '{\n\t"a\\"b": "]},",\n\t"nodes": [\n\t\t{"id": "x:{"},\n\t\t[1,\n2], {"url":\n"y"}\n\t]}'

    found = lines_of(text, ['a"b', "nodes[0].id", "nodes[1][1]", "nodes[2].url", "nodes[3].gone"])

    assert found == {
        "": 1,
        'a"b': 2,
        "nodes": 3,
        "nodes[0]": 4,
        "nodes[0].id": 4,
        "nodes[1]": 5,
        "nodes[1][1]": 6,
        "nodes[2]": 6,
        "nodes[2].url": 6,
        "nodes[3]": 3,
        "nodes[3].gone": 3,
    }


def test_a_text_of_any_depth_costs_its_length() -> None:
    """Somebody else wrote it."""
    assert lines_of("[" * 200_000, ["x"]) == {"": 1, "x": 1}
    assert lines_of("- " * 2000, ["x"]) in ({"": 1, "x": 1}, {})
