"""What the documents name is there: commands with their options, settings, addresses, files and targets of make."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
import pytest

from execd.cli import execd
from execd.http.config import HttpConfig
from execd.http.openapi import make_document
from execd.settings import RESERVED_VARIABLES, Settings, load_runtimes, load_settings

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
ROOMS = (ROOT, ROOT / "execd", ROOT / "tests")
"""Where a path in a document may begin."""
EXAMPLE = ROOT / "config" / "execd.toml"


def commands_of(group: click.Group, *before: str) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield " ".join((*before, name)), command
        if isinstance(command, click.Group):
            yield from commands_of(command, *before, name)


COMMANDS = dict(commands_of(execd))
GROUPS = "|".join(name for name, command in COMMANDS.items() if isinstance(command, click.Group))
PATHS = [
    re.sub(r"\{[^}]*\}", "{}", path).rstrip("/")
    for path in make_document(HttpConfig(), load_runtimes(Settings()))["paths"]
]


def fields_of(kind: object, *before: str) -> Iterator[str]:
    for field in msgspec.structs.fields(kind):
        yield ".".join((*before, field.name))
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            yield from fields_of(field.type, *before, field.name)


SETTINGS = set(fields_of(Settings))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_commands_and_options_are_there(path: Path) -> None:
    """They are pasted."""
    wrong = []
    for said in re.finditer(
        rf"(?:^    |`|bin/|·) ?execd (?:({GROUPS}) )?([a-z]+)([^\n`·|;#]*)", path.read_text(), re.MULTILINE
    ):
        name = " ".join(filter(None, said.groups()[:2]))
        command = COMMANDS.get(name)
        known = (
            {} if command is None else {option for one in command.params for option in (*one.opts, *one.secondary_opts)}
        )
        wrong += [f"{name} {option}" for option in re.findall(r"(?<!\S)--[a-z-]+", said[3]) if option not in known]
        wrong += [name] if command is None else []

    assert wrong == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_settings_are_there(path: Path) -> None:
    """By their names in the file, and in the environment."""
    text = path.read_text()
    sections = "|".join(name for name in SETTINGS if "." not in name)
    named = set(re.findall(rf"`((?:{sections})\.[a-z_]+)`", text))
    variables = set(re.findall(r"EXECD_[A-Z_]+", text)) - RESERVED_VARIABLES
    named |= {name.removeprefix("EXECD_").lower().replace("__", ".") for name in variables if "SECRETS__" not in name}

    assert sorted(named - SETTINGS) == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_files_and_targets_are_there(path: Path) -> None:
    """A reader opens them."""
    text = path.read_text()
    folders = "|".join(sorted({entry.name for room in ROOMS for entry in room.iterdir() if entry.is_dir()}))
    named = [name.rstrip("/") for name in re.findall(rf"`((?:{folders})/[\w/.-]+)`", text)]
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    assert [name for name in named if not any(next(room.glob(f"{name}*"), None) for room in ROOMS)] == []
    assert set(re.findall(r"(?:`|^    )make ([a-z-]+)", text, re.MULTILINE)) <= targets


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_addresses_are_there(path: Path) -> None:
    """As the description has them, whatever the parts in braces are called."""
    named = {
        re.sub(r"\{[^}]*\}", "{}", found).rstrip("/.")
        for found in re.findall(r"/(?:api|ws)/[\w/{}.-]+", path.read_text())
    }
    known = [re.compile(re.escape(path).replace(re.escape("{}"), "[^/]+")) for path in PATHS]
    unknown = {one for one in named if not any(each.fullmatch(one) for each in known)}

    assert sorted(one for one in unknown if not any(path.startswith(f"{one}/") for path in PATHS)) == []


def test_the_example_of_settings_shows_the_defaults() -> None:
    """And what is commented out in it would be taken."""
    text = EXAMPLE.read_text()
    all_of_it = re.sub(r"^# (?=\[|\w+ = )", "", text, flags=re.MULTILINE)
    all_of_it = all_of_it.replace("open = true", "open = false")  # it is refused beside a public_url

    assert load_settings(config_file=EXAMPLE, environ={}) == Settings()
    assert load_settings(overrides=tomllib.loads(all_of_it), environ={}).jobs.secret
