"""What the documents show is true: every workflow in them is right, and the lists are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from execd.cli.workflow_files import read_request
from execd.core.expressions.selection import FILTERS, FUNCTIONS, TESTS
from execd.core.flows.operators import ALL
from execd.core.nodes import TYPES
from execd.core.requests import parse_request, warnings_of
from execd.core.script_fields import ScriptTools
from execd.core.yaml_text import parse_yaml
from execd.http.openapi_flows import flow_schemas
from execd.settings import Settings, load_runtimes

ROOT = Path(__file__).parents[2]
FLOWS = ROOT / "docs" / "flows.md"
FLOW_EXAMPLES = sorted((ROOT / "examples" / "flows").glob("*.*"))
REFERENCE = ROOT / "docs" / "workflows.md"
_BLOCK = re.compile(r"^```yaml\n(.*?)^```", re.DOTALL | re.MULTILINE)
BLOCKS = [
    pytest.param(block, id=f"{path.name}-{number}")
    for path in (REFERENCE, ROOT / "README.md")
    for number, block in enumerate(_BLOCK.findall(path.read_text()), start=1)
]
EXAMPLES = sorted((ROOT / "examples" / "workflows").glob("*.yaml"))


def check(text: str, name: str) -> None:
    """Read a workflow as the command line does; a fault is an error that names it."""
    settings = Settings()
    sandbox = settings.sandbox
    tools = ScriptTools(runtimes=load_runtimes(settings), defaults=sandbox.defaults, caps=sandbox.caps)
    parse_request(read_request(text, file=name), tools)


def test_there_are_blocks_to_check() -> None:
    """A pattern that finds nothing would pass everything."""
    assert len(BLOCKS) >= 6


@pytest.mark.parametrize("block", BLOCKS)
def test_every_workflow_in_the_documents_is_right(block: str) -> None:
    """People paste them."""
    check(block, "block.yaml")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_is_right(path: Path) -> None:
    """`execd validate` would say so too."""
    check(path.read_text(), path.name)


@pytest.mark.parametrize("text", [*_BLOCK.findall(FLOWS.read_text()), *(p.read_text() for p in FLOW_EXAMPLES)])
def test_every_flow_in_the_documents_and_examples_is_right(text: str) -> None:
    """JSON is YAML too."""
    settings = Settings()
    sandbox = settings.sandbox
    tools = ScriptTools(runtimes=load_runtimes(settings), defaults=sandbox.defaults, caps=sandbox.caps)
    body = parse_yaml(text.encode())

    parse_request(body, tools)
    assert warnings_of(body) == ()


def test_the_reference_of_flows_names_every_key() -> None:
    """Those of the description, and every operator."""
    schemas = flow_schemas({"properties": {"priority": {}}})
    keys = {key for name in ("FlowBody", "FlowStep", "FlowAuth") for key in schemas[name]["properties"]} | set(ALL)

    assert [key for key in sorted(keys - {"enableDebug"}) if key not in FLOWS.read_text()] == ["launchBrowser"]


def test_the_reference_names_every_type() -> None:
    """A type that is not there does not exist for its readers."""
    text = REFERENCE.read_text()

    assert [node_type.name for node_type in TYPES if f"**`{node_type.name}`**" not in text] == []


def test_the_reference_names_every_field_of_every_type() -> None:
    """So is a field."""
    text = REFERENCE.read_text()
    types = text[text.index("## Types") : text.index("## Needs")]

    assert {
        field for node_type in TYPES for field in node_type.fields if not re.search(f"`{field}[`:]", types)
    } == set()


def test_the_reference_names_every_filter_test_and_function() -> None:
    """Nobody should have to read the source to learn that there is a `groupby`."""
    text = REFERENCE.read_text()
    named = set(re.findall(r"\w+", text[text.index("There are arithmetic") : text.index("Literal braces")]))

    assert (FILTERS.keys() | FUNCTIONS.keys() | TESTS.keys()) - named <= {"d"}
