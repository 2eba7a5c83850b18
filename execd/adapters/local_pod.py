"""One run in one local sandbox, as a `ports.Pod`: start, frames, stdin, stop, close.

Owns the sandbox from the moment it is launched or claimed. Never keeps a background task: whoever receives does the work,
and the shim inside enforces time even when nobody receives. The timer here is only for a shim that does not answer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path

import structlog
import trio

from execd.adapters.exit_verdict import Remains, exit_frame
from execd.adapters.frame_pump import FramePump
from execd.adapters.pod_roster import PodRoster
from execd.adapters.run_plan import RunPlan
from execd.adapters.sandbox_process import Sandbox, SandboxLauncher
from execd.adapters.shim_protocol import encode_message, run_message, stop_message
from execd.adapters.stdin_feed import StdinFeed
from execd.ports import Exited, Frame

log = structlog.get_logger()

READY_DEADLINE_S = 10.0
"""How long a sandbox may take to start: a hundred times the usual, for machines under load."""
WALL_MARGIN_S = 2.0
"""What the shim may take beyond wall time and grace before we no longer believe in it."""
STOP_MARGIN_S = 0.75
"""The same for a cancel; `Exited` is promised within grace + 1 s."""
STRAGGLERS_S = 1.0
"""How long pipes may stay open after the last process: only possible without bubblewrap."""
LATE_LOOKS = 4
"""How often a receiver that comes behind a deadline looks first: a full pipe is one chunk, its end another."""
CLOSE_DEADLINE_S = 5.0


class LocalPod:
    """A `ports.Pod`."""

    image: str | None = None

    def __init__(
        self,
        name: str,
        plan: RunPlan,
        *,
        launcher: SandboxLauncher,
        roster: PodRoster,
        claimed: Sandbox | None,
        grace_s: float,
        on_closed: Callable[[str], None],
    ) -> None:
        self.name = name
        self.runtime = plan.runtime
        self.isolation = launcher.settings.isolation
        self.started_from = "cold" if claimed is None else "warm"
        self._plan = plan
        self._launcher = launcher
        self._roster = roster
        self._sandbox = claimed
        self._may_retry = claimed is not None
        self._grace_s = grace_s
        self._on_closed = on_closed
        self._feed = StdinFeed(plan.stdin, is_live=plan.stdin_open)
        self._pump: FramePump | None = None
        self._frames: deque[Frame] = deque()
        self._deadline = float("inf")
        self._late_looks = 0
        self._was_stopped = False
        self._forced: str | None = None
        self._fault = ""
        self._is_over = False
        self._is_closed = False
        self._oom_kills_before = 0

    # --- start ------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """As in the port."""
        if not self._launcher.cgroups.bounds_memory:
            self._oom_kills_before = host_oom_kills()
        if not self._was_stopped:
            await self._start()

    async def _start(self) -> None:
        if self._sandbox is None and not self._launch():
            return
        sandbox = self._sandbox
        assert sandbox is not None
        if sandbox.child_pid is None and not await self._make_ready(sandbox):
            sandbox.kill()
        elif sandbox.cgroup is not None:
            sandbox.cgroup.limit(self._plan.limits)
        if not self._connect(sandbox):
            return
        assert self._pump is not None
        await self._hand_over(sandbox)
        self._feed.connect(sandbox.fds)
        self._pump.watch_stdin()

    def _launch(self) -> bool:
        try:
            self._sandbox = self._launcher.launch(self.name, self._plan.blueprint)
        except OSError as error:
            self._fault = _words(error)
            return False
        return True

    def _connect(self, sandbox: Sandbox) -> bool:
        """Watch the sandbox and read it; False for want of descriptors, then there is none."""
        try:
            self._roster.enter(self.name, sandbox.pidfd)
            self._pump = FramePump(sandbox, self._feed, output_limit_bytes=self._plan.limits.output_bytes)
        except OSError as error:
            self._fault = _words(error)
            sandbox.kill()
            return False
        return True

    async def _make_ready(self, sandbox: Sandbox) -> bool:
        with trio.move_on_after(READY_DEADLINE_S) as scope:
            return await self._launcher.make_ready(sandbox, self._plan.limits)
        assert scope.cancelled_caught
        self._forced = "sandbox_unavailable"
        return False

    async def _hand_over(self, sandbox: Sandbox) -> None:
        """Send the limits to the shim and the script to its child; a sandbox that dies meanwhile is seen by `receive`."""
        limits = self._plan.limits
        self._deadline = trio.current_time() + limits.wall_s + self._grace_s + WALL_MARGIN_S
        message = encode_message({**self._plan.message, "directory": self._launcher.directory_of(sandbox)})
        try:
            sandbox.fds.control.send(run_message(limits, grace_s=self._grace_s))
            if self._was_stopped:
                self._send_stop(sandbox)
            await _send_all(sandbox, message)
        except OSError as error:
            log.debug("sandbox_refused_script", pod=self.name, error=str(error))

    # --- frames -----------------------------------------------------------------------------------------------------

    async def receive(self) -> Frame:
        """As in the port."""
        await trio.lowlevel.checkpoint()
        while not self._frames:
            if self._is_over:
                raise RuntimeError(f"{self.name} has ended and said so")
            if self._pump is None or self._pump.is_complete:
                await self._finish()
                continue
            if not self._is_late(self._pump):
                await self._wait_for_something(self._pump)
            self._frames.extend(self._pump.pump())
            self._watch_for_stragglers(self._pump)
        return self._frames.popleft()

    def _is_late(self, pump: FramePump) -> bool:
        """Whether the deadline passed while nobody received, because the saga was slow, and something lies there: that comes
        first, for it may be the last word. Bounded, so that whoever writes without end gains nothing."""
        if trio.current_time() < self._deadline or self._late_looks == LATE_LOOKS or not pump.has_something:
            return False
        self._late_looks += 1
        return True

    async def _wait_for_something(self, pump: FramePump) -> None:
        with trio.move_on_at(self._deadline) as waiting:
            await trio.lowlevel.wait_readable(pump.fileno())
        if waiting.cancelled_caught:
            self._enforce_deadline(pump)

    def _enforce_deadline(self, pump: FramePump) -> None:
        """The shim did not answer in time: kill from outside. Pipes that survivors hold are given up after that."""
        self._deadline = float("inf")
        if pump.is_gone:
            pump.give_up()
            return
        if pump.end is None and not self._was_stopped:
            self._forced = "DeadlineExceeded"
        log.warning("sandbox_killed_from_outside", pod=self.name, stopped=self._was_stopped)
        pump.sandbox.kill()

    def _watch_for_stragglers(self, pump: FramePump) -> None:
        if pump.is_gone and not pump.is_complete and self._deadline > trio.current_time() + STRAGGLERS_S:
            pump.sandbox.kill()
            self._deadline = trio.current_time() + STRAGGLERS_S

    async def _finish(self) -> None:
        """Turn the end into the last frames, or begin again if a warm sandbox died before it began."""
        pump = self._pump
        if pump is not None and self._should_retry(pump):
            await self._retry_cold()
            return
        exited = self._exited()
        if pump is not None:
            self._frames.extend(pump.final_frames())
        self._frames.append(exited)
        self._is_over = True

    def _should_retry(self, pump: FramePump) -> bool:
        return self._may_retry and not pump.is_started and pump.end is None and not self._was_stopped

    async def _retry_cold(self) -> None:
        log.warning("warm_sandbox_died", pod=self.name)
        self._may_retry = False
        with trio.move_on_after(READY_DEADLINE_S, shield=True):
            if self._pump is not None:
                self._pump.close()
            if self._sandbox is not None:
                await self._sandbox.put_away()
            self._sandbox = self._pump = None
            self._feed.rewind()
            await self._start()

    def _exited(self) -> Exited:
        pump, sandbox = self._pump, self._sandbox
        if pump is None or sandbox is None:
            return exit_frame(Remains(diagnostics=self._fault, was_stopped=self._was_stopped))
        diagnostics = sandbox.diagnostics()
        pump.close()
        group = sandbox.bury()
        out, err = pump.received_bytes.values()
        return exit_frame(
            Remains(
                end=pump.end,
                exec_error=pump.exec_error,
                is_started=pump.is_started,
                is_broken=pump.is_broken,
                stdout_bytes=out,
                stderr_bytes=err,
                stderr_tail=pump.stderr_tail,
                group=group,
                diagnostics=diagnostics,
                host_oom_kills=self._host_oom_kills_since(),
                memory_limit_bytes=self._plan.limits.memory_bytes,
                network_is_off=not self._plan.limits.network,
                was_stopped=self._was_stopped,
                forced=self._forced,
            )
        )

    def _host_oom_kills_since(self) -> int:
        return 0 if self._launcher.cgroups.bounds_memory else host_oom_kills() - self._oom_kills_before

    # --- influence --------------------------------------------------------------------------------------------------

    def send_stdin_nowait(self, data: bytes) -> None:
        """As in the port."""
        self._feed.send_nowait(data)
        if self._pump is not None and not self._is_over:
            self._pump.watch_stdin()

    def close_stdin_nowait(self) -> None:
        """As in the port."""
        self._feed.close_nowait()

    def stop(self) -> None:
        """As in the port."""
        if self._was_stopped or self._is_over:
            return
        self._was_stopped = True
        if self._pump is not None:
            self._send_stop(self._pump.sandbox)

    def _send_stop(self, sandbox: Sandbox) -> None:
        self._deadline = trio.current_time() + self._grace_s + STOP_MARGIN_S
        try:
            sandbox.fds.control.send(stop_message(grace_s=self._grace_s))
        except OSError as error:
            log.debug("sandbox_refused_stop", pod=self.name, error=str(error))

    @property
    def process_id(self) -> int | None:
        """The sandbox's outermost process; None before it is launched."""
        return None if self._sandbox is None else self._sandbox.pid

    async def close(self) -> None:
        """As in the port."""
        if self._is_closed:
            return
        self._is_closed = self._is_over = True
        self._roster.leave(self.name)
        self._on_closed(self.name)
        if self._pump is not None:
            self._pump.close()
        if self._sandbox is None:
            return
        with trio.move_on_after(CLOSE_DEADLINE_S, shield=True) as scope:
            await self._sandbox.put_away()
        if scope.cancelled_caught:
            log.error("sandbox_would_not_go", pod=self.name, pid=self._sandbox.pid)


async def _send_all(sandbox: Sandbox, message: bytes) -> None:
    """Send a whole message over a socket that does not block. Cancellation: the message is cut, the sandbox useless."""
    view = memoryview(message)
    while view:
        try:
            view = view[sandbox.fds.script.send(view) :]
        except BlockingIOError:
            await trio.lowlevel.wait_writable(sandbox.fds.script)


def _words(error: OSError) -> str:
    return f"{error.strerror}: {error.filename}" if error.filename else str(error.strerror)


def host_oom_kills() -> int:
    """Count the processes this machine has lost to a lack of memory since it started."""
    lines = Path("/proc/vmstat").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
