"""The machine of one life: pods whose programs do what the plan says, and leave evidence of what they really did."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import trio

from execd.core.errors import RunnerUnavailableError
from execd.core.event_parts import Usage
from execd.core.events import Stream
from execd.core.outcome import ExitRecord, Limiter, PodState
from execd.ports import Dropped, Exited, PodObservation, PodRequest
from tests.simulation.evidence import Attempt, Evidence
from tests.simulation.plan import Drop, Ending, Listen, ProgramPlan, Say, Wait
from tests.support.scripted_runner import ScriptedPod, ScriptedRunner

CheckStart = Callable[[Attempt], None]
"""Judges, at the instant, whether a pod may start."""
FindProgram = Callable[[str, str, int], ProgramPlan]
"""Gives what an attempt does: by what its source says, its node, and its number."""


class SimulatedPod(ScriptedPod):
    """A pod that notes what went through it."""

    def __init__(self, runner: SimulatedRunner, request: PodRequest, attempt: Attempt) -> None:
        super().__init__(runner, request, attempt.pod, "warm")
        self.attempt = attempt
        self.stdin_arrived = trio.Event()
        self.is_silent = False
        self._machine = runner

    async def start(self) -> None:
        """The side effect: from here on the program runs."""
        await self._machine.thawed.wait()
        if self._machine.is_dead:
            await trio.sleep_forever()
        self._machine.check_start(self.attempt)
        self.attempt.is_started = True
        self._machine.check_slots()
        self._machine.note(self.attempt, "starts")
        await super().start()

    async def write(self, data: bytes, stream: Stream = Stream.STDOUT) -> None:
        self.attempt.said[stream] += data
        await super().write(data, stream)
        self.attempt.heard[stream] += data

    async def drop(self, stream: Stream, dropped_bytes: int) -> None:
        """As the runner: say how much went beyond the limit."""
        await self._tx.send(Dropped(stream=stream, dropped_bytes=dropped_bytes))
        self.attempt.dropped[stream] = dropped_bytes

    async def exit(self, code: int | None = 0, *, signal: int | None = None, cancelled: bool = False) -> None:
        record = ExitRecord(
            exit_code=None if signal is not None else code, signal=signal, cancelled=cancelled, usage=Usage(wall_ms=1)
        )
        await self.leave(record)

    async def vanish(self) -> None:
        await self.leave(None)

    async def leave(self, record: ExitRecord | None) -> None:
        """Send the last frame."""
        await self._tx.send(Exited(record=record, pod=PodState()))
        self.attempt.has_exited, self.attempt.record = True, record
        self._machine.note(self.attempt, f"exited {record.exit_code if record is not None else 'without a record'}")

    def send_stdin_nowait(self, data: bytes) -> None:
        super().send_stdin_nowait(data)
        self.attempt.stdin += data
        self.stdin_arrived.set()

    async def poison(self) -> None:
        """A frame that is none: whoever reads it crashes."""
        await self._tx.send("not a frame")  # type: ignore[arg-type] # the defect

    async def close(self) -> None:
        await super().close()
        self.attempt.is_closed = True


class SimulatedRunner(ScriptedRunner):
    """The machine of one life. When its process is killed, every pod goes with it."""

    def __init__(
        self,
        nursery: trio.Nursery,
        *,
        life: int,
        find_program: FindProgram,
        check_start: CheckStart,
        check_slots: Callable[[], None],
        evidence: Evidence,
    ) -> None:
        super().__init__(self._perform, nursery)  # type: ignore[arg-type] # every pod here is a SimulatedPod
        self.is_dead = False
        self.thawed = trio.Event()
        self.thawed.set()
        self.check_start = check_start
        self.check_slots = check_slots
        self._life = life
        self._find_program = find_program
        self._evidence = evidence
        self._watch_fails = False
        self.attempts: list[Attempt] = []

    def prepare(self, request: PodRequest) -> SimulatedPod:
        label = request.spec.source
        if self._find_program(label, request.node, request.attempt).is_refused:
            self._evidence.count("no sandbox to be had")
            raise RunnerUnavailableError("there is no sandbox here")
        attempt = Attempt(
            execution_id=request.execution_id,
            label=label,
            node=request.node,
            number=request.attempt,
            pod=f"pod-{self._life}-{len(self.pods) + 1}",
            life=self._life,
            env=dict(request.spec.env),
        )
        pod = SimulatedPod(self, request, attempt)
        self.pods.append(pod)
        self.attempts.append(attempt)
        self._evidence.attempts.append(attempt)
        return pod

    @property
    def busy(self) -> set[str]:
        """Name the executions whose programs run at this instant."""
        pods = [pod for pod in self.pods if isinstance(pod, SimulatedPod) and not pod.is_silent]
        return {
            a.execution_id for a in (pod.attempt for pod in pods) if a.is_started and not (a.has_exited or a.is_closed)
        }

    def kill(self) -> None:
        """The process is gone: so are its sandboxes."""
        self.is_dead = True
        for attempt in self.attempts:
            attempt.is_dead = True

    def fail_watching(self) -> None:
        """The watch meets a defect, once; what it had to tell it will tell again."""
        self._watch_fails = True
        self._observed.set()

    async def observe(self) -> Sequence[PodObservation]:
        await self._observed.wait()
        if self._watch_fails:
            self._watch_fails = False
            raise RuntimeError("a defect in the watch")
        return await super().observe()

    def note(self, attempt: Attempt, what: str) -> None:
        self._evidence.note(attempt.pod, f"{attempt.label} attempt {attempt.number} {what}")

    async def _perform(self, pod: SimulatedPod) -> None:
        """Do what is planned, and heed a stop after as long as the plan ignores it."""
        program = self._find_program(pod.attempt.label, pod.attempt.node, pod.attempt.number)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_wait_for_stop, pod, program.ignores_stop_s, nursery.cancel_scope)
            for act in program.acts:
                await _act(pod, act)
            if program.is_seen_gone_first and program.ending in {Ending.EXIT, Ending.SIGNAL}:
                self.tell(PodObservation(pod=pod.name, phase="gone"))
                await pod.write(b"last words")
            await self._end(pod, program)
            nursery.cancel_scope.cancel()
        if not pod.attempt.has_exited and not pod.is_silent:
            await pod.exit(signal=15, cancelled=True)

    async def _end(self, pod: SimulatedPod, program: ProgramPlan) -> None:
        self._evidence.count(f"program: {program.ending.value}")
        match program.ending:
            case Ending.EXIT:
                await pod.exit(program.code)
            case Ending.SIGNAL:
                await pod.exit(signal=program.code)
            case Ending.LIMIT:
                await pod.leave(ExitRecord(signal=9, limiter=Limiter.WALL, configured=1, observed=1))
            case Ending.VANISH:
                await pod.vanish()
            case Ending.SILENCE:
                pod.is_silent = True
                self.tell(PodObservation(pod=pod.name, phase="gone"))
                await trio.sleep_forever()
            case Ending.HANG:
                await trio.sleep_forever()
            case Ending.POISON:
                await pod.poison()
                await trio.sleep_forever()


async def _act(pod: SimulatedPod, act: object) -> None:
    match act:
        case Say(stream=stream, data=data):
            await pod.write(data, stream)
        case Wait(seconds=seconds):
            await trio.sleep(seconds)
        case Drop(stream=stream, dropped_bytes=dropped_bytes):
            await pod.drop(stream, dropped_bytes)
        case Listen(seconds=seconds):
            with trio.move_on_after(seconds):
                await pod.stdin_arrived.wait()
            await pod.write(bytes(pod.stdin))


async def _wait_for_stop(pod: SimulatedPod, ignores_s: float, program: trio.CancelScope) -> None:
    await pod.stop_asked.wait()
    await trio.sleep(ignores_s)
    program.cancel()
