"""One thread for one vendor client that blocks, alive as long as whoever owns it.

A hop costs two wake-ups and no thread start. Work is done strictly in order, so the client needs no lock.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import trio

T = TypeVar("T")

_Job = tuple[Callable[[], Any], "_Outcome", trio.lowlevel.TrioToken]


class _Outcome:
    """What became of a job, and the task that waits for it."""

    __slots__ = ("error", "is_done", "value")

    def __init__(self) -> None:
        self.is_done = trio.Event()
        self.value: Any = None
        self.error: BaseException | None = None


class DedicatedThread:
    """Runs functions one after another on a thread of its own."""

    def __init__(self, name: str) -> None:
        self._waiting = 0
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    @property
    def is_idle(self) -> bool:
        """Whether it has nothing to do. For the task's own thread to ask, which also gives the work."""
        return not self._waiting

    async def run(self, work: Callable[[], T]) -> T:
        """Run `work` there and give what it returns or raises.

        Cancellation: stops waiting; the work itself goes on to its end, unseen. Callers that write must therefore be
        able to live with not knowing.
        """
        outcome = _Outcome()
        self._waiting += 1
        self._jobs.put((work, outcome, trio.lowlevel.current_trio_token()))
        await outcome.is_done.wait()
        if outcome.error is not None:
            raise outcome.error
        return outcome.value  # type: ignore[no-any-return] # what `work` returned

    def close(self, *, wait_s: float) -> bool:
        """Let the queued work end; give False when it did not within `wait_s` seconds. Blocks."""
        self._jobs.put(None)
        self._thread.join(wait_s)
        return not self._thread.is_alive()

    def _finish(self, outcome: _Outcome) -> None:
        self._waiting -= 1
        outcome.is_done.set()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            work, outcome, token = job
            try:
                outcome.value = work()
            except BaseException as error:  # noqa: ASYNC103 - raised again, in the task that asked
                outcome.error = error
            try:
                token.run_sync_soon(self._finish, outcome)
            except trio.RunFinishedError:
                return
