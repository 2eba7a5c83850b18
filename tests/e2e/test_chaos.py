"""A small storm in every test run; `make chaos` is the large one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
DEADLINE_S = 90.0


def test_a_few_kills_under_load_lose_double_and_rerun_nothing(tmp_path: Path) -> None:
    """The campaign itself is code: what nobody runs rots. A new seed each time, printed, so that a failure can be repeated."""
    command = [sys.executable, "-m", "chaos", "--only", "kills", "--kills", "3", "--directory", str(tmp_path)]

    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_S, check=False)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "clean" in ended.stdout
