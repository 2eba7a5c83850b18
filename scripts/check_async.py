"""Run flake8-async over the package; it has no configuration file of its own, so what is off stands here with its reason."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
OFF = {
    "ASYNC114": "start() is called on functions of our own, by name",
    "ASYNC119": "the generators of embed and client hold no nursery; their callers close them with aclosing",
    "ASYNC124": "routes and ports are async by contract",
    "ASYNC900": "generators without a nursery inside are allowed",
    "ASYNC910": "a checkpoint on every path is trio's own rule for primitives",
    "ASYNC911": "as ASYNC910",
    "ASYNC912": "as ASYNC910",
    "ASYNC913": "as ASYNC910",
}


def main() -> int:
    files = sorted(str(path) for path in (ROOT / "execd").rglob("*.py"))
    return subprocess.run(
        [sys.executable, "-m", "flake8_async", "--disable", ",".join(OFF), *files], check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
