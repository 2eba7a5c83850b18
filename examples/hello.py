"""A friendly demo: three seconds of progress on stdout, an aside on stderr. Try: execd run examples/hello.py"""

import os
import platform
import sys
import time

STEPS = ("waking up", "stretching", "counting my fingers", "looking out of the sandbox", "all set")

print(f"Hello from Python {platform.python_version()}, process {os.getpid()} of its own little world.")
for number, step in enumerate(STEPS, start=1):
    time.sleep(0.55)
    bar = "#" * (number * 4)
    print(f"[{bar:<20}] {number}/{len(STEPS)} {step}", flush=True)
    if step.startswith("looking"):
        print("nothing to see out there, as it should be", file=sys.stderr, flush=True)

print("Bye. This whole run is stored: execd ls, execd show <id>, execd watch <id>.")
