"""Slow and hostile viewers: what they cost the good ones, the server's memory, and its shutdown; writes docs/stalled.md."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bench.stalled_report import report
from bench.stalled_rounds import HOSTILE, STALLED, Round, play

DOCUMENT = Path(__file__).parents[1] / "docs" / "stalled.md"
LINES = 300
"""Fifteen seconds: less than the 20 s after which the kernel itself gives up a peer that takes nothing."""

REPETITIONS = 3


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.stalled")
    parser.add_argument("--quick", action="store_true", help="short rounds, nothing written")
    quick = parser.parse_args().quick
    lines = 160 if quick else LINES
    text = report([_repetition(lines) for _ in range(1 if quick else REPETITIONS)], lines)
    sys.stdout.write(text)
    if not quick:
        DOCUMENT.write_text(text)


def _repetition(lines: int) -> list[Round]:
    return [
        play("alone", {}, lines=lines, held=False),
        play("1,000 stalled, held", STALLED, lines=lines, held=True),
        play("1,000 stalled", STALLED, lines=lines, held=False),
        play("1,000 stalled and the hostile", STALLED | HOSTILE, lines=lines, held=False),
    ]


if __name__ == "__main__":
    main()
