"""Which local pods live, watched through their process descriptors: a second opinion, independent of any pipe."""

from __future__ import annotations

import os
import select
from collections.abc import Sequence

import trio

from execd.core.outcome import PodState
from execd.ports import PodObservation

RETELL_S = 5.0
"""How often a pod that is gone, and that nobody has put away, is told again: a watcher may have crashed."""


class PodRoster:
    """Every started pod until it is closed. Owns a duplicate of each process descriptor."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._news = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._news, select.EPOLLIN)
        self._pods_by_fd: dict[int, str] = {}
        self._phases: dict[str, str] = {}
        self._changed: dict[str, None] = {}

    def enter(self, pod: str, pidfd: int) -> None:
        """Begin to watch a process as this pod; a second process of one pod takes the first one's place."""
        self._unwatch(pod)
        copy = os.dup(pidfd)
        self._pods_by_fd[copy] = pod
        self._epoll.register(copy, select.EPOLLIN)
        self._tell(pod, "running")

    def leave(self, pod: str) -> None:
        """Forget a pod that its owner has put away. Idempotent."""
        self._unwatch(pod)
        self._phases.pop(pod, None)
        self._changed.pop(pod, None)

    async def observe(self) -> Sequence[PodObservation]:
        """Wait for changes, as `Runner.observe` says."""
        while True:
            self._look()
            if self._changed:
                return self._take_changes()
            with trio.move_on_after(RETELL_S) as waiting:
                await trio.lowlevel.wait_readable(self._epoll.fileno())
            if waiting.cancelled_caught:
                self._changed = dict.fromkeys(pod for pod, phase in self._phases.items() if phase == "gone")

    def close(self) -> None:
        for fd in (*self._pods_by_fd, self._news):
            os.close(fd)
        self._pods_by_fd.clear()
        self._epoll.close()

    def _look(self) -> None:
        for fd, _ in self._epoll.poll(0):
            if fd == self._news:
                os.eventfd_read(fd)
            elif fd in self._pods_by_fd:
                pod = self._pods_by_fd[fd]
                self._unwatch(pod)
                self._tell(pod, "gone")

    def _tell(self, pod: str, phase: str) -> None:
        self._phases[pod] = phase
        self._changed[pod] = None
        os.eventfd_write(self._news, 1)

    def _unwatch(self, pod: str) -> None:
        for fd in [fd for fd, name in self._pods_by_fd.items() if name == pod]:
            del self._pods_by_fd[fd]
            self._epoll.unregister(fd)
            os.close(fd)

    def _take_changes(self) -> list[PodObservation]:
        changed, self._changed = self._changed, {}
        return [PodObservation(pod, self._phases[pod], PodState(started=True)) for pod in changed]
