"""`python -m tests.simulation --seeds 10000`: live through many worlds and print the seeds that went wrong.

A seed reruns identically: `--seed 1234` runs one and prints everything that happened in it. Ten thousand worlds or more, of
which none went wrong, write their figures into docs/reliability.md.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter

from tests.simulation import figures
from tests.simulation.trial import try_all, try_seed


def main() -> int:
    """Give 0 when every world kept its promises."""
    options = _parse()
    if options.seed is not None:
        return _show(options.seed)
    began = time.monotonic()
    census: Counter[str] = Counter()
    failed = 0
    for trial in try_all(range(options.first, options.first + options.seeds), jobs=options.jobs):
        census.update(trial.census)
        if trial.violations:
            failed += 1
            print(f"seed {trial.seed}: " + "; ".join(trial.violations[:5]), flush=True)
        if failed >= options.most_failures:
            break
    for what, count in sorted(census.items()):
        print(f"{count:9}  {what}")
    took_s = time.monotonic() - began
    print(f"{options.seeds} worlds from seed {options.first} in {took_s:.0f} s, {failed} went wrong")
    if not failed and options.seeds >= figures.DOCUMENTED_WORLDS:
        figures.write(figures.render(census, worlds=options.seeds, seconds=took_s))
    return 1 if failed else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many worlds")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--seed", type=int, help="run this one and print its trace")
    parser.add_argument("--most-failures", type=int, default=20, help="stop after so many seeds that failed")
    return parser.parse_args()


def _show(seed: int) -> int:
    trial = try_seed(seed, keep_trace=True)
    print(trial.trace)
    for violation in trial.violations:
        print(f"WRONG: {violation}")
    return 1 if trial.violations else 0


if __name__ == "__main__":
    sys.exit(main())
