"""A step runner: the hand of a saga that runs one attempt of one node in one pod.

Turns frames into signals, bytes into text, and whatever happened at the end into one `NodeExited`. It waits for both
pipes, the exit record and the pod's end; when the pod watcher says the pod is gone and no `Exited` frame follows, the
attempt is lost, never a success.

Sends (blocking, up the ranks): signals to the saga. While the saga is busy storing, the program's pipes fill: right.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import assert_never

import structlog
import trio

from execd.actors.announcements import wait_announced
from execd.actors.pod_registry import PodRegistry
from execd.core.events import NodeId, Output, Stream
from execd.core.masking import Mask
from execd.core.outcome import PodState, classify
from execd.core.signals import NodeExited, OutputArrived, OutputDropped, PodProgressed, Signal
from execd.core.text import OutputDecoder
from execd.mailbox import Reply, Slot
from execd.ports import Chunk, Dropped, Exited, Frame, Pod, PodObservation, Started, WriteOutcome

log = structlog.get_logger()

LAST_WORDS_S = 5.0
"""How long after a pod was seen gone its last frames may take: longer than its pipes need to drain, short for a person."""
CLOSE_DEADLINE_S = 6.0
"""A pod removes itself within 5 s; this is for the day it does not."""

Now = Callable[[], datetime]


class StepRunner:
    """One attempt, from a prepared pod to its verdict."""

    def __init__(
        self,
        pod: Pod,
        *,
        node: NodeId,
        attempt: int,
        to_saga: trio.MemorySendChannel[Signal],
        registry: PodRegistry,
        now: Now,
        mask: Mask | None = None,
    ) -> None:
        self.pod = pod
        self._may_go = trio.Event()
        self._announced: Reply[WriteOutcome] | None = None
        self._node = node
        self._attempt = attempt
        self._to_saga = to_saga
        self._registry = registry
        self._now = now
        self._decoders = {stream: OutputDecoder(stream, mask) for stream in Stream}
        self._receiving = trio.CancelScope()
        self._gone: PodState | None = None

    def let_go(self, announced: Reply[WriteOutcome] | None) -> None:
        """Let the program run, once what announces it is stored. The saga goes on meanwhile, so programs that begin together
        share a commit.

        Args:
            announced: that write; None when it is stored already.
        """
        self._announced = announced
        self._may_go.set()

    async def run(self) -> None:
        """Run the pod to its end and report it.

        Cancellation: the pod is killed and removed; nothing more is reported.
        """
        with self._registry.watch(self.pod.name) as observed:
            try:
                await self._may_go.wait()
                await wait_announced(self._announced)
                await self.pod.start()
                await self._report_end(await self._follow(observed))
            finally:
                with trio.move_on_after(CLOSE_DEADLINE_S, shield=True):
                    await self.pod.close()

    async def _follow(self, observed: Slot[PodObservation]) -> Exited:
        """Pass frames on until the last; a pod that was seen gone and says nothing for `LAST_WORDS_S` has none."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, observed)
            exited = await self._receive_all()
            nursery.cancel_scope.cancel()
        return exited

    async def _watch(self, observed: Slot[PodObservation]) -> None:
        while (observation := await observed.take()).phase != "gone":
            log.debug("pod_observed", pod=observation.pod, phase=observation.phase)
        self._gone = observation.state
        self._receiving.deadline = trio.current_time() + LAST_WORDS_S

    async def _receive_all(self) -> Exited:
        while True:
            match await self._receive():
                case Exited() as exited:
                    return exited
                case Started():
                    await self._send(self._progress())
                case Chunk(stream=stream, data=data):
                    await self._send_outputs(self._decoders[stream].feed(data))
                case Dropped(stream=stream, dropped_bytes=dropped_bytes):
                    await self._send_dropped(stream, dropped_bytes)
                case frame:
                    assert_never(frame)

    async def _receive(self) -> Frame:
        """Wait for a frame. Only this waits for the pod: a saga that is slow because the store is must not cost a word."""
        with trio.CancelScope() as self._receiving:
            if self._gone is not None:
                self._receiving.deadline = trio.current_time() + LAST_WORDS_S
            return await self.pod.receive()
        return Exited(record=None, pod=self._gone or PodState())

    async def _report_end(self, exited: Exited) -> None:
        for decoder in self._decoders.values():
            await self._send_outputs(decoder.finish())
        outcome = classify(exited.record, exited.pod)
        await self._send(NodeExited(at=self._now(), node=self._node, attempt=self._attempt, outcome=outcome))

    def _progress(self) -> PodProgressed:
        return PodProgressed(at=self._now(), node=self._node, attempt=self._attempt, phase="running")

    async def _send_outputs(self, outputs: list[Output]) -> None:
        for output in outputs:
            await self._send(OutputArrived(at=self._now(), node=self._node, attempt=self._attempt, output=output))

    async def _send_dropped(self, stream: Stream, dropped_bytes: int) -> None:
        """The last of what was kept may be half a secret, and then goes with what was dropped."""
        held_bytes = self._decoders[stream].cut()
        await self._send_outputs(self._decoders[stream].finish())
        await self._send(
            OutputDropped(
                at=self._now(),
                node=self._node,
                attempt=self._attempt,
                stream=stream,
                dropped_bytes=dropped_bytes + held_bytes,
            )
        )

    async def _send(self, signal: Signal) -> None:
        await self._to_saga.send(signal)
