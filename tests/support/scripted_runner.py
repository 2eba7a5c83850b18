"""A runner whose programs do what the test says, on any clock: a fake of `ports.Runner` for actors and simulations.

The real runner's contract suite runs on it too, as far as a program can be told in frames.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence

import trio

from execd.core.errors import ConflictError, OverloadedError, RunnerUnavailableError
from execd.core.event_parts import Usage
from execd.core.events import Stream
from execd.core.outcome import ExitRecord, PodState
from execd.ports import Chunk, Dropped, Exited, Frame, PodObservation, PodRequest, RunnerReport, Started

Script = Callable[["ScriptedPod"], Awaitable[None]]


class ScriptedPod:
    """A pod whose program is a coroutine of the test."""

    runtime = "python"
    image = None
    isolation = "none"

    def __init__(self, runner: ScriptedRunner, request: PodRequest, name: str, started_from: str) -> None:
        self.request = request
        self.name = name
        self.started_from = started_from
        self.stdin = bytearray()
        self.is_stdin_closed = False
        self.is_started = False
        self.is_closed = False
        self.closing_s = 0.0
        """How long its removal takes."""
        self.stop_asked = trio.Event()
        self._runner = runner
        self._tx, self._rx = trio.open_memory_channel[Frame](0)
        self._scope = trio.CancelScope()

    async def start(self) -> None:
        await trio.lowlevel.checkpoint()
        self.is_started = True
        self._runner.started.append(self.request)
        self._runner.nursery.start_soon(self._run)

    async def _run(self) -> None:
        with self._scope:
            if self.stop_asked.is_set():
                await self.exit(signal=15, cancelled=True)
                return
            await self._tx.send(Started())
            await self._runner.script(self)

    async def receive(self) -> Frame:
        return await self._rx.receive()

    async def write(self, data: bytes, stream: Stream = Stream.STDOUT) -> None:
        """As the program: write to a stream; waits while nobody reads."""
        await self._tx.send(Chunk(stream=stream, data=data))

    async def drop(self, count: int, stream: Stream = Stream.STDOUT) -> None:
        """As the output limit: say how much was written beyond it, just before the end."""
        await self._tx.send(Dropped(stream=stream, dropped_bytes=count))

    async def exit(self, code: int | None = 0, *, signal: int | None = None, cancelled: bool = False) -> None:
        """As the program: end."""
        record = ExitRecord(
            exit_code=None if signal is not None else code, signal=signal, cancelled=cancelled, usage=Usage(wall_ms=1)
        )
        await self._tx.send(Exited(record=record, pod=PodState()))

    async def vanish(self) -> None:
        """As the machine: the pod is gone and left no record."""
        await self._tx.send(Exited(record=None, pod=PodState()))

    def send_stdin_nowait(self, data: bytes) -> None:
        if self.is_stdin_closed:
            raise ConflictError("stdin is closed")
        if len(self.stdin) + len(data) > 1024 * 1024:
            raise OverloadedError("the program does not read its stdin")
        self.stdin += data

    def close_stdin_nowait(self) -> None:
        self.is_stdin_closed = True

    def stop(self) -> None:
        self.stop_asked.set()

    async def close(self) -> None:
        self._scope.cancel()
        await trio.sleep(self.closing_s)
        self.is_closed = True


class ScriptedRunner:
    """Pods that run `script`. `started` lists every pod whose program began, in order: the world's side effects."""

    name = "local"

    def __init__(self, script: Script, nursery: trio.Nursery) -> None:
        self.script = script
        self.nursery = nursery
        self.pods: list[ScriptedPod] = []
        self.started: list[PodRequest] = []
        self.is_broken = False
        self.observations: deque[PodObservation] = deque()
        self._observed = trio.Event()

    def prepare(self, request: PodRequest) -> ScriptedPod:
        if self.is_broken:
            raise RunnerUnavailableError("there is no sandbox here")
        pod = ScriptedPod(self, request, f"pod-{len(self.pods) + 1}", "warm")
        self.pods.append(pod)
        return pod

    def tell(self, observation: PodObservation) -> None:
        """As the process table: say how a pod stands."""
        self.observations.append(observation)
        self._observed.set()

    async def observe(self) -> Sequence[PodObservation]:
        await self._observed.wait()
        self._observed = trio.Event()
        seen = list(self.observations)
        self.observations.clear()
        return seen

    async def report(self) -> RunnerReport:
        await trio.lowlevel.checkpoint()
        return RunnerReport(name="scripted", isolation="none", ready=not self.is_broken, checks=())
