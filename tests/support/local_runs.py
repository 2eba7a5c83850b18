"""Runs on the real local runner, as tests want them: open it in one line, run a script in another, look at all it gave."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import trio

from execd.adapters.cgroups import ROOT as CGROUP_ROOT
from execd.adapters.local_pod import LocalPod
from execd.adapters.local_sandbox import LocalRunner, open_local_runner
from execd.core.events import ExecutionId, Stream, WorkspaceId
from execd.core.outcome import Outcome, classify
from execd.core.specs import Limits, ScriptSpec
from execd.ports import Chunk, Dropped, Exited, Frame, PodRequest
from execd.settings import SandboxSettings, Settings, load_runtimes

PATIENCE_S = 20.0
"""Above every wait of a test; reaching it is a failure."""


@dataclass
class Seen:
    """All a run gave, in the order it came."""

    pod: LocalPod
    frames: list[Frame] = field(default_factory=list)

    @property
    def stdout(self) -> bytes:
        return b"".join(f.data for f in self.frames if isinstance(f, Chunk) and f.stream is Stream.STDOUT)

    @property
    def stderr(self) -> bytes:
        return b"".join(f.data for f in self.frames if isinstance(f, Chunk) and f.stream is Stream.STDERR)

    @property
    def dropped(self) -> dict[Stream, int]:
        return {f.stream: f.dropped_bytes for f in self.frames if isinstance(f, Dropped)}

    @property
    def exited(self) -> Exited:
        last = self.frames[-1]
        assert isinstance(last, Exited)
        return last

    @property
    def outcome(self) -> Outcome:
        return classify(self.exited.record, self.exited.pod)

    @property
    def reason(self) -> str:
        return self.outcome.reason


@asynccontextmanager
async def open_runner(data_dir: Path, kind: str = "cold", **settings: Any) -> AsyncIterator[LocalRunner]:
    """Open a runner whose runs all start `cold`, `warm`, `ungrouped` (cold, no cgroups), or without a sandbox (`none`)."""
    cgroup_root = data_dir if kind in {"ungrouped", "none-ungrouped"} else CGROUP_ROOT
    chosen = SandboxSettings(
        **{
            "sandbox": "none" if kind.startswith("none") else "bubblewrap",
            "warm_slots": 1 if kind == "warm" else 0,
            "stop_grace_s": 0.3,
            **settings,
        }
    )
    async with open_local_runner(
        chosen, load_runtimes(Settings()), data_dir=data_dir, cgroup_root=cgroup_root
    ) as runner:
        yield runner


async def prepare(runner: LocalRunner, source: str, language: str = "python", **spec: Any) -> LocalPod:
    """Prepare a pod, warm if the runner keeps warm ones."""
    if runner.pool.size:
        with trio.fail_after(PATIENCE_S):
            await runner.pool.wait_filled()
    return runner.prepare(request_for(source, language, **spec))


def request_for(source: str, language: str = "python", **spec: Any) -> PodRequest:
    """Make a request; `limits` is a dict of what differs from the defaults."""
    limits = msgspec.structs.replace(Limits(wall_s=15.0), **spec.pop("limits", {}))
    return PodRequest(
        execution_id=ExecutionId("exec-1"),
        workspace=WorkspaceId("w"),
        user="u",
        node="main",
        attempt=1,
        spec=ScriptSpec(language=language, source=source, limits=limits, **spec),
    )


async def run(runner: LocalRunner, source: str, language: str = "python", **spec: Any) -> Seen:
    """Run a script to its end and put it away."""
    return await _run_and_close(await prepare(runner, source, language, **spec))


async def run_request(runner: LocalRunner, request: PodRequest) -> Seen:
    """Run a request at once, without waiting for a warm slot."""
    return await _run_and_close(runner.prepare(request))


async def _run_and_close(pod: LocalPod) -> Seen:
    try:
        return await follow(pod)
    finally:
        await pod.close()


async def follow(pod: LocalPod) -> Seen:
    """Start a pod and receive to the end."""
    with trio.fail_after(PATIENCE_S):
        await pod.start()
        return await finish(Seen(pod))


async def finish(seen: Seen) -> Seen:
    """Receive what is left."""
    with trio.fail_after(PATIENCE_S):
        while not seen.frames or not isinstance(seen.frames[-1], Exited):
            seen.frames.append(await seen.pod.receive())
    return seen


async def receive_until(pod: LocalPod, text: bytes) -> Seen:
    """Start a pod and receive until its stdout holds `text`; a condition, where others would sleep."""
    seen = Seen(pod)
    with trio.fail_after(PATIENCE_S):
        await pod.start()
        while text not in seen.stdout:
            frame = await pod.receive()
            seen.frames.append(frame)
            assert not isinstance(frame, Exited), f"ended before it said {text!r}: {frame} {seen.stderr!r}"
    return seen


async def wait_until(holds: Callable[[], bool]) -> None:
    """Wait for a condition of the process table, which nothing announces."""
    with trio.fail_after(PATIENCE_S):
        while not holds():  # noqa: ASYNC110 - the kernel offers no event for it
            await trio.sleep(0.002)


def processes_with(marker: str) -> list[int]:
    """Find processes whose command line holds `marker`, this one and the test runner aside."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if marker.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def children_of(pid: int) -> list[int]:
    """List a process's direct children: of bubblewrap, the shim."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_running(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def open_descriptors() -> dict[str, str]:
    """List this process's open descriptors and what they are."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[name] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
    return found
