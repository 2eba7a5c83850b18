"""The behaviours of docs/behaviours.md and the tests that show them, read off the source: `make behaviours`.

A test says with `@pytest.mark.behaviour(n)` which numbered sentence it would fail for. The sentences stand in the document and
are written by hand; the column of tests is written from the markers.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent
DOCUMENT = TESTS.parent / "docs" / "behaviours.md"
NUMBERS = range(1, 59)

OPEN: dict[int, str] = {}
"""Numbers that no test shows yet, each with the reason."""

_ROW = re.compile(r"\| (\d+) \| (.*?) \| (.*?) \|")


def collect() -> dict[int, list[str]]:
    """Give the names of the tests that are marked with each number."""
    found: dict[int, list[str]] = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        for test in _tests_of(path):
            for number in _numbers_of(test):
                found.setdefault(number, []).append(test.name)
    return {number: sorted(names) for number, names in sorted(found.items())}


def _tests_of(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield node


def _numbers_of(test: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[int]:
    for mark in test.decorator_list:
        if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.behaviour":
            for argument in mark.args:
                number = ast.literal_eval(argument)
                assert number in NUMBERS, f"{test.name}: there is no behaviour {number!r}"
                yield number


def sentences() -> dict[int, str]:
    """Give the sentences of the document by their numbers."""
    return {int(row[1]): row[2] for row in _ROW.finditer(DOCUMENT.read_text())}


def rewrite(text: str) -> str:
    """Give the document with the column of tests as the markers have it."""
    shown = collect()

    def row(match: re.Match[str]) -> str:
        number = int(match[1])
        names = ", ".join(f"`{name}`" for name in shown.get(number, ())) or f"open: {OPEN.get(number, '?')}"
        return f"| {number} | {match[2]} | {names} |"

    return _ROW.sub(row, text)


if __name__ == "__main__":
    DOCUMENT.write_text(rewrite(DOCUMENT.read_text()))
