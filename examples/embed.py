"""execd as a library: the same engine inside your own trio program. Try: python examples/embed.py"""

import tempfile
from pathlib import Path

import trio

import execd
from execd.core.capture import output_bytes
from execd.core.events import Output

SCRIPT = """
import time
for word in ("live", "from", "a", "sandbox"):
    print(word, flush=True)
    time.sleep(0.3)
"""


async def main() -> None:
    """Run one script, show it as it happens, then its result."""
    with tempfile.TemporaryDirectory() as data_dir:
        async with execd.open_engine(execd.Settings(data_dir=Path(data_dir))) as engine:
            run = await engine.submit(SCRIPT, language="python", limits={"wall_s": 10})
            async for event in run.events():
                if isinstance(event.data, Output):
                    print(output_bytes(event.data).decode(), end="")
                else:
                    print(f"  {event.seq:>2} {event.type}")
            result = await run.result()
            print(f"{result.status}, exit {result.exit_code}, {result.usage.wall_ms} ms")


if __name__ == "__main__":
    trio.run(main)
