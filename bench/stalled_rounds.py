"""The rounds of the campaign against slow and hostile viewers.

Each round is a server of its own, a script that prints a stamped line at a steady pace, and 50 good viewers in this process
that measure each line's delay. A crowd (bench/crowd.py) is a third process. Rounds with and without it alternate, so that
the ratio is of one machine at one time.

*Held* rounds give the stalled ones a long send deadline, so that all of them stay attached while the good ones are measured;
*default* rounds leave every setting but the streams per workspace as it is, and show who is dropped, and when.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.fanout import fetch, post, submit
from bench.processes import Server, execd
from bench.watchers import Delivery, Watcher, open_watcher, read_all

STALLED = {"sse": 500, "websocket": 500}
HOSTILE = {"trickle": 20, "reset": 20, "half": 50, "chatter": 10, "flood": 5, "endless": 5, "malformed": 10}
GOOD_EACH = 25
LINE_BYTES = 2048
"""Large enough to fill a stalled viewer's buffers within seconds, small enough to be one event."""
PACE_S = 0.05
HELD_S = 120.0
GRACE_S = 10.0
"""`shutdown.grace_s`, its default."""
SAMPLE_S = 0.25


@dataclass(frozen=True, slots=True)
class Sample:
    """The server at one moment."""

    at: float
    rss_bytes: int
    kernel_bytes: int
    """TCP memory of the whole machine."""
    metrics: Mapping[str, float]


NOBODY = Sample(0.0, 0, 0, {})


@dataclass
class Round:
    """What one round showed."""

    name: str
    crowd: Mapping[str, int]
    watchers: list[Watcher] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    idle: Sample = NOBODY
    went_at: float = 0.0
    cpu_s: float = 0.0
    exit_s: float = 0.0
    exit_code: int = 0
    tally: Mapping[str, int] = field(default_factory=dict)
    attached_at_exit: int = 0

    def delays_ms(self, *, kind: str | None = None, since_s: float = 0.0, until_s: float = 1e9) -> list[float]:
        """Give the sorted delays of the lines that were printed in this span of the round."""
        return sorted(
            1000 * delivery.delay_s
            for watcher in self.watchers
            for delivery in watcher.deliveries
            if kind in {None, watcher.kind} and self._is_within(delivery, since_s, until_s)
        )

    def _is_within(self, delivery: Delivery, since_s: float, until_s: float) -> bool:
        return since_s <= delivery.sent_at - self.went_at < until_s

    @property
    def whole_count(self) -> int:
        return sum(watcher.is_whole for watcher in self.watchers)

    @property
    def peak_rss_bytes(self) -> int:
        return max(sample.rss_bytes for sample in self.samples)

    @property
    def peak_kernel_bytes(self) -> int:
        return max(sample.kernel_bytes for sample in self.samples)

    def reached_s(self, metric: str, value: float) -> float | None:
        """Give the second after the first line in which a metric had grown to a value; None for never."""
        found = (sample.at - self.went_at for sample in self.samples if sample.metrics.get(metric, 0) >= value)
        return next(found, None)


def percentile(delays: list[float], share: float) -> float:
    return delays[min(len(delays) - 1, int(len(delays) * share))] if delays else float("nan")


def play(name: str, crowd: Mapping[str, int], *, lines: int, held: bool) -> Round:
    """Run one round, to the server's exit."""
    settings = {"EXECD_STREAM__PER_WORKSPACE": "5000", "EXECD_LOG_LEVEL": "error"}
    if held:
        settings["EXECD_HTTP__SEND_DEADLINE_S"] = str(HELD_S)
    played = Round(name, crowd)
    with execd(**settings) as server:
        _watch(server, played, lines)
    return played


def _watch(server: Server, played: Round, lines: int) -> None:
    body = {"kind": "script", "language": "python", "source": _script(lines), "stdin_open": True}
    execution_id = submit(server, body)
    kinds = ["sse", "websocket"] * GOOD_EACH
    played.watchers = [open_watcher(server.port, server.token, execution_id, kind) for kind in kinds]
    with _crowd(server, execution_id, played):
        stalled = played.crowd.get("sse", 0) + played.crowd.get("websocket", 0)
        _wait_for_viewers(server, len(kinds) + stalled)
        played.samples.append(_sample(server))
        before = server.cpu_s()
        stopped = threading.Event()
        sampler = threading.Thread(target=_keep_sampling, args=(server, played, stopped))
        sampler.start()
        played.went_at = time.time()
        post(server, f"/api/v1/executions/{execution_id}/stdin", {"text": "go\n", "close": True})
        read_all(played.watchers, deadline_s=lines * PACE_S * 4 + 30)
        played.cpu_s = server.cpu_s() - before
        stopped.set()
        sampler.join()
        _stop(server, played)


def _script(lines: int) -> str:
    padding = LINE_BYTES - 22
    return (
        f"import sys, time\nsys.stdin.readline()\nat = time.monotonic()\nfor _ in range({lines}):\n"
        f"    at += {PACE_S}\n    time.sleep(max(0, at - time.monotonic()))\n"
        f"    sys.stdout.write(f'T{{time.time_ns():019d}}E' + 'x' * {padding} + '\\n')\n    sys.stdout.flush()\n"
    )


@contextmanager
def _crowd(server: Server, execution_id: str, played: Round) -> Iterator[None]:
    """Let the crowd in, and send it home in the end. What was there before it came is the round's `idle`."""
    time.sleep(0.5)
    played.idle = _sample(server)
    if not played.crowd:
        yield
        return
    command = [sys.executable, "-m", "bench.crowd"]
    order = {"port": server.port, "token": server.token, "execution_id": execution_id, "counts": dict(played.crowd)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()
        if process.stdout.readline() != "ready\n":
            raise RuntimeError("the crowd did not come")
        yield
        process.stdin.close()
        played.tally = json.loads(process.stdout.read())


def _keep_sampling(server: Server, played: Round, stopped: threading.Event) -> None:
    while not stopped.wait(SAMPLE_S):
        played.samples.append(_sample(server))


def _sample(server: Server) -> Sample:
    metrics = {}
    for line in fetch(server, "/metrics").decode().splitlines():
        if not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            metrics[name] = float(value)
    return Sample(time.time(), server.rss_bytes(), _kernel_bytes(), metrics)


def _kernel_bytes() -> int:
    for line in Path("/proc/net/sockstat").read_text().splitlines():
        if line.startswith("TCP:"):
            words = line.split()
            return int(words[words.index("mem") + 1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def _wait_for_viewers(server: Server, viewers: int) -> None:
    ends_at = time.monotonic() + 60
    while time.monotonic() < ends_at:
        if _sample(server).metrics.get("execd_viewers", 0) >= viewers:
            return
    raise RuntimeError("the viewers did not all arrive")


def _stop(server: Server, played: Round) -> None:
    """Measure from SIGTERM to the exit, with the crowd attached."""
    played.attached_at_exit = int(_sample(server).metrics.get("execd_viewers", 0))
    began = time.monotonic()
    os.kill(server.pid, signal.SIGTERM)
    played.exit_code = server.wait(60)
    played.exit_s = time.monotonic() - began
