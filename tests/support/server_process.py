"""A real `execd serve`: a process of its own, on a free port, with a data directory of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import deque
from pathlib import Path

STOP_S = 30
LOG_LINES = 10_000
"""Of its log, the last ones are kept."""


class ServerProcess:
    """Runs from its construction to `stop`. Without a sandbox unless asked for, so that tests of the doors are quick.

    Args:
        data_dir: where it keeps everything; a second one on the same directory finds what the first has stored.
        port: 0 takes a free one.
        sandbox: `bubblewrap` or `none`.
        settings: as `EXECD_*` variables.
    """

    def __init__(self, data_dir: Path, *, port: int = 0, sandbox: str = "none", **settings: str) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("EXECD_")} | settings
        self.data_dir = data_dir
        self._process = subprocess.Popen(
            [*COMMAND, "serve", "--port", str(port), "--data-dir", str(data_dir), "--sandbox", sandbox],
            stderr=subprocess.PIPE,
            env=environment,
        )
        found = self._wait_ready()
        self.url: str = found["url"]
        self.token: str = found["token"]
        # A pipe that nobody reads would stop the server at its 64 KiB of log.
        self.log: deque[bytes] = deque(maxlen=LOG_LINES)
        self._reader = threading.Thread(target=self.log.extend, args=(self._process.stderr,), daemon=True)
        self._reader.start()

    def _wait_ready(self) -> dict[str, str]:
        """Read the banner up to its address; the file that names the server is there by then."""
        assert self._process.stderr is not None
        lines = []
        for line in self._process.stderr:
            lines.append(line.decode())
            if "execd serves at" in lines[-1]:
                return dict(json.loads((self.data_dir / "server.json").read_bytes()))
        raise AssertionError(f"execd serve ended with {self._process.wait(STOP_S)}: {''.join(lines)}")

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    def peak_memory_bytes(self) -> int:
        """Give the most resident memory it ever had (VmHWM)."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("the server is gone")

    def terminate(self) -> None:
        """Ask it to stop, and do not wait."""
        self._process.terminate()

    def wait_end(self, *, within_s: float) -> int:
        """Wait until it ends by itself and give its exit code."""
        return self._process.wait(within_s)

    def stop(self) -> int:
        """Stop it as a supervisor would and give its exit code. Idempotent."""
        self._process.terminate()
        try:
            return self._process.wait(STOP_S)
        finally:
            self.kill()

    def kill(self) -> None:
        """End it as a crash would. Idempotent."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        assert self._process.stderr is not None
        self._process.stderr.close()


COMMAND = (sys.executable, "-m", "execd")
