"""The list of planted bugs: it is run by hand, so only this keeps it in step with the code."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("planted", ROOT / "scripts/planted/__init__.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_bug_can_be_planted() -> None:
    """Each line stands where the list says, once, and the tests that should notice are there."""
    bugs = load().BUGS

    assert [bug.what for bug in bugs if (ROOT / bug.path).read_text().count(bug.line) != 1] == []
    assert [path for bug in bugs for path in bug.tests.split() if not (ROOT / path).exists()] == []
    assert len({bug.what for bug in bugs}) == len(bugs)
