"""The shortest run: `print(1)` from submit to the stored result in the client's hands, over bare `python3 -I`.

Interleaved, so that whatever else the machine does hits both. The client keeps one connection and follows the SSE stream;
everything is included: HTTP, parsing, four writes to the journal, one of them synced, the sandbox, the stream.
"""

from __future__ import annotations

import http.client
import json
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bench.processes import Server, execd

BARE_PYTHON = "/usr/bin/python3"


@dataclass(frozen=True)
class Start:
    """Milliseconds, one per run."""

    name: str
    times_ms: tuple[float, ...]

    @property
    def p50_ms(self) -> float:
        return statistics.median(self.times_ms)

    @property
    def p90_ms(self) -> float:
        return statistics.quantiles(self.times_ms, n=10)[-1]


def measure(runs: int) -> list[Start]:
    """Measure bare Python and execd with warm interpreters, then execd without any."""
    bare: list[float] = []
    warm: list[float] = []
    cold: list[float] = []
    with tempfile.TemporaryDirectory() as folder, execd() as server:
        script = Path(folder) / "one.py"
        script.write_text("print(1)\n")
        for _ in range(runs):
            time.sleep(0.15)
            bare.append(_time_bare(script))
            time.sleep(0.15)
            warm.append(_time_execd(server, expect="warm"))
    with execd(EXECD_SANDBOX__WARM_SLOTS="0") as server:
        for _ in range(runs // 2):
            time.sleep(0.05)
            cold.append(_time_execd(server, expect="cold"))
    return [
        Start("bare `python3 -I`", tuple(bare)),
        Start("execd, warm", tuple(warm)),
        Start("execd, cold", tuple(cold)),
    ]


def _time_bare(script: Path) -> float:
    began = time.perf_counter()
    subprocess.run([BARE_PYTHON, "-I", str(script)], check=True, capture_output=True)
    return (time.perf_counter() - began) * 1000


def _time_execd(server: Server, *, expect: str) -> float:
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    headers = {"Authorization": f"Bearer {server.token}", "Content-Type": "application/json"}
    connection.connect()
    began = time.perf_counter()
    body = json.dumps({"kind": "script", "language": "python", "source": "print(1)"})
    connection.request("POST", "/api/v1/executions", body, headers)
    execution_id = json.loads(connection.getresponse().read())["id"]
    connection.request("GET", f"/api/v1/executions/{execution_id}/stream", headers=headers)
    stream = connection.getresponse().read()
    elapsed = (time.perf_counter() - began) * 1000
    connection.close()
    assert b"event: result_stored" in stream
    assert b'"status":"completed"' in stream
    if f'"started_from":"{expect}"'.encode() not in stream:
        raise RuntimeError(f"the run was not {expect}")
    return elapsed
