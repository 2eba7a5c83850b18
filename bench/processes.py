"""Servers under measurement: started, asked for their address, and their processor time read from the kernel."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
STOP_S = 60


@dataclass(frozen=True)
class Server:
    """A running server."""

    pid: int
    port: int
    token: str = ""
    wait: Callable[[float], int] = lambda _timeout_s: 0
    """Waits for its exit, at most so many seconds, and gives the exit code."""

    def cpu_s(self) -> float:
        """Give the processor time this process used so far, user and system, without its children."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_S

    def rss_bytes(self) -> int:
        """Give the resident memory of this process."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError("the process has no memory")


@contextmanager
def execd(**settings: str) -> Iterator[Server]:
    """Run `execd serve` on a data directory of its own; settings as `EXECD_*` variables."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        environment = {**os.environ, "EXECD_DATA_DIR": str(data), "EXECD_LOG_LEVEL": "warning", **settings}
        command = [sys.executable, "-m", "execd", "serve", "--port", "0"]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=sys.stderr)
        try:
            info = _wait_for_info(data / "server.json", process)
            port = int(info["url"].rsplit(":", 1)[1].strip("/"))
            yield Server(pid=process.pid, port=port, token=info["token"], wait=process.wait)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_S)
            finally:
                process.kill()


@contextmanager
def sse_starlette(*, viewers: int, events: int, payload_bytes: int, pace_s: float) -> Iterator[Server]:
    """Run the peer: one publisher, one queue per viewer, as its documentation shows."""
    command = [
        sys.executable,
        "-m",
        "bench.peer_sse_starlette",
        str(viewers),
        str(events),
        str(payload_bytes),
        str(pace_s),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield Server(pid=process.pid, port=int(process.stdout.readline()))
    finally:
        process.kill()
        process.wait(10)


def _wait_for_info(path: Path, process: subprocess.Popen[bytes]) -> dict[str, str]:
    for _ in range(300):
        if path.exists() and path.read_text().strip():
            return json.loads(path.read_text())  # type: ignore[no-any-return] # a flat object of texts
        if process.poll() is not None:
            raise RuntimeError(f"execd ended with {process.returncode}")
        time.sleep(0.05)
    raise RuntimeError("execd did not start")
