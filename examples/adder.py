"""Adds the numbers it reads, one per line, as they come. Try: seq 5 | execd run examples/adder.py

At a terminal: execd run -i examples/adder.py, type numbers, end with Ctrl-D.
"""

import sys

total = 0.0
for line in sys.stdin:
    try:
        total += float(line)
    except ValueError:
        print(f"not a number: {line.strip()!r}", file=sys.stderr, flush=True)
        continue
    print(f"sum so far: {total:g}", flush=True)
print(f"total: {total:g}")
