"""Rules of the house that no linter knows, read off the source itself."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "execd"
TESTS = Path(__file__).parents[1]
MODULES = sorted(PACKAGE.rglob("*.py"))
BESIDE_MODULES = [
    path
    for folder in ("bench", "chaos", "examples", "fuzz", "scripts", "tests")
    for path in sorted((PACKAGE.parent / folder).rglob("*.py"))
    if path.read_text() and not path.name.startswith("test_") and path.parent.name != "simulation"
]
"""What is read like the package. A file of tests is a list and may be longer."""
VAGUE_NAMES = {"utils", "helpers", "common", "base", "manager", "service", "misc"}


def nodes(path: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(path.read_text()))


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE.parent).as_posix()


@pytest.mark.parametrize("path", [*MODULES, *BESIDE_MODULES], ids=name_of)
def test_a_module_is_one_idea_of_at_most_four_hundred_lines(path: Path) -> None:
    """Somebody decides in five minutes whether to stay; a long module is two."""
    assert len(path.read_text().splitlines()) <= 400
    assert not VAGUE_NAMES & set(path.stem.split("_"))


@pytest.mark.parametrize("path", [*MODULES, *BESIDE_MODULES], ids=name_of)
def test_a_module_says_what_it_is_for(path: Path) -> None:
    """The first lines answer what it is for, who owns its state and what it may not do."""
    assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize("path", [*MODULES, *BESIDE_MODULES], ids=name_of)
def test_no_function_is_longer_than_sixty_lines(path: Path) -> None:
    """About ten, rarely thirty, never sixty."""
    functions = [node for node in nodes(path) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    lengths = {f.name: (f.end_lineno or f.lineno) - f.lineno + 1 for f in functions}
    assert {name: length for name, length in lengths.items() if length > 60} == {}


@pytest.mark.parametrize("path", sorted((PACKAGE.parent / "web").iterdir()), ids=name_of)
def test_a_file_of_the_page_is_one_idea_too(path: Path) -> None:
    """What is true of modules is true of what browsers load."""
    assert len(path.read_text().splitlines()) <= 400


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_channels_are_bounded_and_closed_without_await(path: Path) -> None:
    """An unbounded mailbox grows until the machine stops; `async with channel` turns errors into Cancelled."""
    for node in nodes(path):
        if isinstance(node, ast.Call) and "open_memory_channel" in ast.unparse(node.func):
            assert "inf" not in ast.unparse(node), f"line {node.lineno}: an unbounded channel"
        if isinstance(node, ast.AsyncWith):
            for item in node.items:
                text = ast.unparse(item.context_expr)
                assert not text.endswith(("_tx", "_rx", ".tx", ".rx", "channel")), f"line {node.lineno}: {text}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_shield_has_a_deadline(path: Path) -> None:
    """A shield without one can hold up shutdown for ever."""
    for node in nodes(path):
        if not isinstance(node, ast.Call):
            continue
        if any(keyword.arg == "shield" and ast.unparse(keyword.value) == "True" for keyword in node.keywords):
            text = ast.unparse(node)
            is_bounded = "deadline" in text or "move_on_after" in text or "fail_after" in text
            assert is_bounded, f"line {node.lineno}: {text}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_silenced_rule_has_a_reason(path: Path) -> None:
    """`noqa` and `type: ignore` name the rule and say why on the same line."""
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        for mark in ("# noqa", "# type: ignore", "# pragma: no cover"):
            if mark in line:
                tail = line.split(mark, 1)[1]
                assert "[" in tail or ": " in tail or mark == "# pragma: no cover", f"line {number}: which rule?"
                assert re.search(r"\s[#-] ?\S", tail), f"line {number}: no reason"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_environment_variables_are_read_in_settings_only(path: Path) -> None:
    """One place knows what can be set from outside. The command line's own three names are listed there too."""
    if path.name == "settings.py" or path.name.startswith("shim") or "cli" in path.parts:
        return
    assert "os.environ" not in path.read_text()


def test_tests_never_sleep_for_real_nor_patch_our_code() -> None:
    """A sleep stands for not knowing what to wait for; a patch for not having a port."""
    for path in TESTS.rglob("*.py"):
        if path == Path(__file__):
            continue
        calls = {ast.unparse(node.func) for node in nodes(path) if isinstance(node, ast.Call)}
        assert not calls & {"time.sleep", "sleep", "mock.patch", "patch", "monkeypatch.setattr"}, path


def test_every_test_has_a_sentence() -> None:
    """The name says what holds, the sentence why it matters."""
    silent = [
        f"{path.name}: {node.name}"
        for path in TESTS.rglob("test_*.py")
        for node in nodes(path)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]
    assert silent == []


def test_every_skip_names_the_command_that_would_run_it() -> None:
    """What is skipped is not shown to hold; whoever reads the report must be able to have it shown."""
    silent = []
    for path in TESTS.rglob("*.py"):
        for node in nodes(path):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith((".skip", ".skipif", ".importorskip")):
                words = [ast.unparse(word) for word in (*node.args, *(keyword.value for keyword in node.keywords))]
                if not any(re.search(r"`[^`]+`", word) for word in words):
                    silent.append(f"{path.name} line {node.lineno}")
    assert silent == []


RANKS = {
    "step_runner": 0,
    "call_runner": 0,
    "pod_watcher": 0,
    "engine": 0,
    "lease_keeper": 0,
    "saga": 1,
    "journal": 1,
    "coordinator": 2,
    "result_writer": 3,
}
RANK_OF_RECEIVER = {"to_saga": 1, "to_coordinator": 2, "to_writer": 3, "to_router": 4}


def receiver_of(node: ast.AST) -> str | None:
    """Give the name of what a blocking send goes to; None for anything else."""
    if not (isinstance(node, ast.Await) and isinstance(node.value, ast.Call)):
        return None
    call = node.value
    if isinstance(call.func, ast.Name) and call.func.id == "hand_over":
        target = call.args[-1]
    elif isinstance(call.func, ast.Attribute) and call.func.attr == "send":
        target = call.func.value
    else:
        return None
    return ast.unparse(target).removeprefix("self.").lstrip("_")


def test_blocking_sends_go_only_up_the_ranks() -> None:
    """The postal map, drawn from the source: every `await x.send(...)` and `await hand_over(..., x)` of an actor goes to a
    higher rank, and the graph of who may wait for whom has no cycle."""
    waits: dict[int, set[int]] = {}
    for path in (PACKAGE / "actors").glob("*.py"):
        for node in nodes(path):
            target = receiver_of(node)
            if target is None:
                continue
            if target == "tx":  # a saga's own hands, timers and relay: rank 0
                sender, receiver = 0, 1
            else:
                # the coordinator's crash barrier runs as the saga it guards
                sender = 1 if target == "to_coordinator" else RANKS[path.stem]
                receiver = RANK_OF_RECEIVER[target.removesuffix(".tx")]
            assert sender < receiver, f"{path.name} line {node.lineno}: {ast.unparse(node)}"
            waits.setdefault(sender, set()).add(receiver)

    TopologicalSorter(waits).prepare()
    assert set(waits) == {0, 1, 2, 3}
