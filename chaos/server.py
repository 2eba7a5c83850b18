"""The server under test: started, killed, stopped and started again on one data directory and one port."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import trio

READY_S = 30.0
LOOK_S = 0.01
STOP_S = 45.0

SETTINGS: Mapping[str, str] = {
    "EXECD_QUEUE__SLOTS": "6",
    "EXECD_STREAM__PER_WORKSPACE": "500",
    "EXECD_SANDBOX__CAPS__NETWORK": "true",
    "EXECD_SHUTDOWN__GRACE_S": "2",
    "EXECD_LOG_FORMAT": "json",
}
"""Six at one time, so that some wait; the network, so that scripts can tell the witness that they began."""


class Server:
    """`execd serve`, as often as needed.

    Args:
        data_dir: where it keeps everything.
        log_path: where its log goes, all processes into one.
        settings: `EXECD_*` variables beside `SETTINGS`, and whatever else its environment needs.
    """

    def __init__(self, data_dir: Path, *, log_path: Path, settings: Mapping[str, str]) -> None:
        self.data_dir = data_dir
        self.log_path = log_path
        self.port = _free_port()
        self.settings = settings
        self.pids: list[int] = []
        """Every process it ever was."""
        self.ends: list[float] = []
        """When (`time.time`) each of them was killed or asked to stop."""
        self.is_troubled = False
        """Whether a scenario holds it up on purpose, so that slow answers are no finding."""
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        return self.pids[-1]

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def is_healthy(self) -> bool:
        """Whether it should answer at once."""
        return self.is_running and not self.is_troubled

    def spawn(self) -> None:
        """Begin a process, and do not wait."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("EXECD_")}
        command = [sys.executable, "-m", "execd", "serve", "--port", str(self.port), "--data-dir", str(self.data_dir)]
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**kept, **SETTINGS, **self.settings}
            )
        self.pids.append(self._process.pid)

    async def start(self) -> str:
        """Start it, wait until it serves, and give the owner's token."""
        self.spawn()
        return await self.wait_ready()

    async def wait_ready(self) -> str:
        """Wait until this process has written where it is.

        Raises:
            RuntimeError: it ended, or was not ready in time.
        """
        path = self.data_dir / "server.json"
        assert self._process is not None
        with trio.move_on_after(READY_S):
            while self._process.poll() is None:
                found = _read(path)
                if found.get("pid") == self._process.pid:
                    return str(found["token"])
                await trio.sleep(LOOK_S)
        raise RuntimeError(f"execd did not start (code {self._process.poll()}); see {self.log_path}")

    def kill(self) -> None:
        """`kill -9`, now."""
        self.signal(signal.SIGKILL)

    def signal(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            if number in {signal.SIGKILL, signal.SIGTERM}:
                self.ends.append(time.time())
            self._process.send_signal(number)

    async def wait_gone(self) -> int:
        """Wait for its end and give the exit code (negative: the signal)."""
        assert self._process is not None
        with trio.fail_after(STOP_S):
            while self._process.poll() is None:  # noqa: ASYNC110 - nothing announces the end of a Popen
                await trio.sleep(LOOK_S)
        return self._process.returncode

    async def stop(self) -> int:
        """Stop it as a supervisor would; kill it when it does not go."""
        self.signal(signal.SIGTERM)
        try:
            return await self.wait_gone()
        except trio.TooSlowError:
            self.kill()
            return await self.wait_gone()

    def limit(self, which: int, soft: int) -> None:
        """Change a resource limit of the running process; the hard one stays."""
        _, hard = resource.prlimit(self.pid, which)
        resource.prlimit(self.pid, which, (soft, hard))

    def cpu_s(self) -> float:
        """Give the processor time it has used, without its children."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def open_files(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))


def _free_port() -> int:
    """Take a free port and give it back: the server must be found at the same place after each restart."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _read(path: Path) -> dict[str, object]:
    try:
        return dict(json.loads(path.read_bytes()))
    except (OSError, ValueError):
        return {}
