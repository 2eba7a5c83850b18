"""Port `Runner`: where scripts run, sandboxes and pods alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from execd.core.events import ExecutionId, Stream, WorkspaceId
from execd.core.outcome import ExitRecord, PodState
from execd.core.specs import ScriptSpec


class PodRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a pod is made for; everything a runner needs to know, and nothing about journals."""

    execution_id: ExecutionId
    workspace: WorkspaceId
    user: str
    node: str
    attempt: int
    spec: ScriptSpec


class Started(msgspec.Struct, frozen=True):
    """The program runs: its own process exists and has been handed the script."""


class Chunk(msgspec.Struct, frozen=True):
    """Bytes the program wrote, in order within their stream; at most 64 KiB."""

    stream: Stream
    data: bytes


class Dropped(msgspec.Struct, frozen=True):
    """The output limit was reached in this stream: so many bytes were read and thrown away in all."""

    stream: Stream
    dropped_bytes: int


class Exited(msgspec.Struct, frozen=True):
    """The last frame: every process of the pod is gone, and this is what is known about its end. `close` tidies the rest.

    `record` is None when the shim never wrote one; `pod` says what the machinery around it saw.
    """

    record: ExitRecord | None
    pod: PodState


Frame = Started | Chunk | Dropped | Exited


class Pod(Protocol):
    """One prepared place for one attempt of one node. It is used once."""

    @property
    def name(self) -> str:
        """Unique on this runner, as it stands in events."""

    @property
    def runtime(self) -> str: ...

    @property
    def image(self) -> str | None: ...

    @property
    def isolation(self) -> str: ...

    @property
    def started_from(self) -> str:
        """`warm` or `cold`."""

    async def start(self) -> None:
        """Begin the side effect: hand over the script and let it run. Called once, after its announcement is stored.

        Never raises for what is wrong with the sandbox or the program: that arrives as `Exited`.
        """

    async def receive(self) -> Frame:
        """Wait for the next frame; `Exited` is the last, and calling again after it is an error.

        Back-pressure: while nobody receives, the program's pipes fill and it waits.
        Cancellation: safe; no frame is lost.
        """

    def send_stdin_nowait(self, data: bytes) -> None:
        """Queue bytes for the program's stdin.

        Raises:
            OverloadedError: the program does not read and the buffer (1 MiB) is full; nothing was taken.
            ConflictError: stdin is closed.
        """

    def close_stdin_nowait(self) -> None:
        """Let the program see end-of-file after what is queued. Idempotent."""

    def stop(self) -> None:
        """Cancel, also before `start`, which then ends as cancelled.

        The program gets SIGTERM, then after its grace SIGKILL. Idempotent; `Exited` follows within the grace + 1 s.
        """

    async def close(self) -> None:
        """Remove every trace: processes, cgroup, directory. Idempotent; kills at once what still runs.

        Cancellation: finishes its work under a bounded shield (5 s).
        """


class PodObservation(msgspec.Struct, frozen=True):
    """A second opinion on a pod, from outside it: the process table, or the Kubernetes API."""

    pod: str
    phase: str
    """`pending`, `running`, `gone`."""
    state: PodState = PodState()


class RunnerReport(msgspec.Struct, frozen=True):
    """What a runner can do on this machine."""

    name: str
    isolation: str
    ready: bool
    checks: tuple[Check, ...]


class Check(msgspec.Struct, frozen=True):
    """One line of `execd doctor`."""

    name: str
    level: str
    """`ok`, `degraded` or `fatal`."""
    found: str
    """What was found, in words."""
    mend: str = ""
    """What to do about it; empty when all is well."""


class Runner(Protocol):
    """Where scripts run. `open` starts what it keeps (warm sandboxes, watches) and closing it leaves nothing behind."""

    @property
    def name(self) -> str:
        """`local` or `kubernetes`, as it stands in `execution_started`."""

    def prepare(self, request: PodRequest) -> Pod:
        """Choose a place (a warm one if there is one) without any effect of the user's code. Never blocks.

        Raises:
            RunnerUnavailableError: this machine cannot give a sandbox.
            ConfigurationError: the runtime of the request is not known here.
        """

    async def observe(self) -> Sequence[PodObservation]:
        """Wait until something changed for some pod since the last call, then say how those pods stand.

        One caller only: the pod watcher. Level-triggered: a change missed by a crash of the caller is told again.
        """

    async def report(self) -> RunnerReport:
        """Probe the machine with the complete command, as `execd doctor` and `/readyz` show it."""
