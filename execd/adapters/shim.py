"""The first process inside a sandbox: it holds the program, its limits on time, and the only honest view of its end.

It runs under the *sandbox's* interpreter (Python 3.9 or later, standard library only) and never imports execd. As PID 1 of
the sandbox it cannot be killed by the program and its end kills whatever is left. It forks one child at once; the child
waits for the script, then becomes the program: in place (Python, perhaps with modules already imported) or by exec.

Receives: `run` and `stop` on the control socket (shim), one script message on the script socket (child).
Sends: one byte on each socket when ready, then records, one JSON object a line, on the record pipe.
Never: lets the program see the control socket or the record pipe. The child closes both before the program begins, and
the shim is not dumpable, so `/proc/1/fd` cannot be opened and it cannot be traced.

Messages are marshal format 2 behind a four-byte length, not JSON: importing json costs more than starting Python, and the
sender is execd itself. What travels outward, from where programs live, is JSON and is parsed strictly.

Command line: shim.py CONTROL SCRIPT RECORD STDIN STDOUT STDERR init|plain [MODULE ...]
"""

from __future__ import annotations

# Every import here is paid at each cold start and stands in `sys.modules` of every script; `signal` would bring `enum`.
import _signal  # type: ignore[import-not-found,unused-ignore]  # the C half of `signal`, unknown to typeshed
import os
import resource
import select
import sys
import time

PR_SET_CHILD_SUBREAPER = 36
SIGXCPU, SIGXFSZ = 24, 25
MIN_CPU_CHECK_S = 0.05
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
MS = 1000


TYPE_CHECKING = False  # mypy knows this name; `typing` itself would be a costly import
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from execd.adapters.shim_program import PR_SET_DUMPABLE, be_child, prctl, receive, rehearse, write_record

    Message = dict[str, Any]
else:
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # under -I Python leaves it out
    from shim_program import PR_SET_DUMPABLE, be_child, prctl, receive, rehearse, write_record

    del sys.path[0]


class Supervisor:
    """Watches one child: its time, its end, and execd's wishes. Owns the exit record."""

    def __init__(self, child: int, control: int, record: int, wakeup: int, *, is_init: bool) -> None:
        self.child, self.control, self.record, self.wakeup, self.is_init = child, control, record, wakeup, is_init
        self.status: int | None = None
        self.limits: Message = {}
        self.limiter: str | None = None
        self.configured: float | None = None
        self.observed: float | None = None
        self.is_cancelled = False
        self.started_at = time.monotonic()
        self.kill_at = self.cpu_check_at = self.wall_at = float("inf")

    def watch(self) -> None:
        """Wait for the child's end, then for everybody's, and write the exit record."""
        poll = select.poll()
        poll.register(self.control, select.POLLIN)
        poll.register(self.wakeup, select.POLLIN)
        while self.status is None:
            deadline = min(self.kill_at, self.wall_at, self.cpu_check_at)
            wait_ms = None if deadline == float("inf") else max(0.0, deadline - time.monotonic()) * MS + 1
            for fd, _ in poll.poll(wait_ms):
                if fd == self.control:
                    self.obey()
                else:
                    drain(fd)
            self.reap()
            if self.status is None:
                self.enforce()
        wall_s = time.monotonic() - self.started_at
        self.kill_rest()
        if self.limits or self.is_cancelled:
            self.report(self.status, wall_s)

    def obey(self) -> None:
        """Take one message of execd; when execd is gone, so is the run."""
        message = receive(self.control)
        if message is None:
            self.kill_rest()
            os._exit(1)
        if message["op"] == "run":
            self.begin(message)
        elif self.limiter is None and not self.is_cancelled:
            self.is_cancelled = True
            self.terminate(message["grace_s"])

    def begin(self, limits: Message) -> None:
        self.limits = limits
        self.started_at = time.monotonic()
        if not self.is_cancelled:
            self.wall_at = self.started_at + limits["wall_s"]
            self.cpu_check_at = self.started_at + limits["cpu_s"] / (os.cpu_count() or 1)

    def enforce(self) -> None:
        """Act on the clock: kill after the grace, end what ran too long or computed too much."""
        now = time.monotonic()
        if now >= self.kill_at:
            self.kill_at = float("inf")
            self.kill_everyone()
        if now >= self.wall_at:
            self.end_for("wall", self.limits["wall_s"], now - self.started_at)
        elif now >= self.cpu_check_at:
            self.check_cpu(now)

    def check_cpu(self, now: float) -> None:
        used, limit = self.cpu_used_s(), self.limits["cpu_s"]
        if used >= limit:
            self.end_for("cpu", limit, used)
        else:
            # The earliest moment the rest can be used up is when every processor works for it.
            self.cpu_check_at = now + max(MIN_CPU_CHECK_S, (limit - used) / (os.cpu_count() or 1))

    def end_for(self, limiter: str, configured: float, observed: float) -> None:
        self.limiter, self.configured, self.observed = limiter, configured, round(observed, 3)
        self.terminate(self.limits["grace_s"])

    def terminate(self, grace_s: float) -> None:
        """Ask the program's process group to end, and remember when to stop asking."""
        self.wall_at = self.cpu_check_at = float("inf")
        self.kill_at = time.monotonic() + grace_s
        self.signal_group(_signal.SIGTERM)

    def signal_group(self, number: int) -> None:
        try:
            os.killpg(self.child, number)
        except OSError:
            ignore_missing(self.child, number)  # it has not made its group yet

    def kill_everyone(self) -> None:
        """Kill all processes but this one; without a namespace: all that descend from it."""
        if self.is_init:
            ignore_missing(-1, _signal.SIGKILL)
            return
        if self.status is None:
            self.signal_group(_signal.SIGKILL)
        for pid in children():
            ignore_missing(pid, _signal.SIGKILL)

    def kill_rest(self) -> None:
        """Kill and reap until nobody is left; without a namespace each round brings up the next generation."""
        while True:
            self.kill_everyone()
            try:
                pid, status = os.waitpid(-1, 0)
            except ChildProcessError:
                return
            if pid == self.child and self.status is None:
                self.status = status

    def reap(self) -> None:
        """Take the status of every process that ended, orphans included: zombies count against the limit."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.child:
                self.status = status

    def cpu_used_s(self) -> float:
        return reaped_usage()[0] + sum(live_cpu_s(self.child, is_init=self.is_init))

    def report(self, status: int, wall_s: float) -> None:
        """Write the exit record: the last thing this process does."""
        signal = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
        code = os.WEXITSTATUS(status) if signal is None else None
        cpu_s, peak_bytes = reaped_usage()
        self.name_kernel_limit(signal or (code or 0) - 128, cpu_s)
        write_record(
            self.record,
            type="exit",
            exit_code=code,
            signal=signal,
            limiter=self.limiter,
            configured=self.configured,
            observed=self.observed,
            cancelled=self.is_cancelled,
            wall_ms=int(wall_s * MS),
            cpu_ms=int(cpu_s * MS),
            peak_memory_bytes=peak_bytes,
        )

    def name_kernel_limit(self, signal: int, cpu_s: float) -> None:
        """Name the limits the kernel enforces by a signal, on evidence: the signal is its own, or the time is used up."""
        if self.limiter is not None or self.is_cancelled or not self.limits:
            return
        limit_s = self.limits["cpu_s"]
        if signal == SIGXCPU or (signal == _signal.SIGKILL and cpu_s >= limit_s):
            self.limiter, self.configured, self.observed = "cpu", limit_s, round(cpu_s, 3)
        elif signal == SIGXFSZ:
            self.limiter, self.configured = "file_size", self.limits["file_bytes"]


def reaped_usage() -> tuple[float, int]:
    """Give processor seconds and peak bytes of all children that ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


def live_cpu_s(session: int, *, is_init: bool) -> Iterator[float]:
    """Give processor seconds of each living process: of the namespace, or without one of the program's session."""
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            with open(f"/proc/{name}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
        except OSError:
            continue
        if is_init or int(fields[3]) == session:
            yield (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


def children() -> list[int]:
    """List the direct children of this process."""
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return [int(pid) for pid in file.read().split()]


def ignore_missing(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except OSError:
        return


def drain(fd: int) -> None:
    try:
        os.read(fd, 4096)
    except BlockingIOError:
        return


def wakeup_pipe() -> tuple[int, int]:
    """Turn SIGCHLD into a readable pipe, and be deaf to the signals a program may send to its PID 1."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    _signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    _signal.signal(_signal.SIGCHLD, lambda number, frame: None)
    for number in (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP):
        _signal.signal(number, _signal.SIG_IGN)
    return reader, writer


def restore_signals(pipe: tuple[int, int]) -> None:
    """Give the child the dispositions of a fresh interpreter."""
    _signal.set_wakeup_fd(-1)
    for number in (_signal.SIGCHLD, _signal.SIGTERM, _signal.SIGHUP):
        _signal.signal(number, _signal.SIG_DFL)
    _signal.signal(_signal.SIGINT, _signal.default_int_handler)
    for fd in pipe:
        os.close(fd)


def preload(names: list[str]) -> None:
    """Import what scripts are likely to use; a module this interpreter lacks is the script's to complain about."""
    for name in names:
        try:
            __import__(name)
        except ImportError:
            continue
    if names:
        import gc

        gc.collect()
        gc.freeze()


def main(argv: list[str]) -> None:
    """Fork the child that will be the program; in the parent, watch it and never return."""
    control, script, record, *streams = (int(number) for number in argv[1:7])
    is_init = argv[7] == "init"
    for fd in (control, script, record, *streams):
        os.set_inheritable(fd, False)  # noqa: FBT003 - its only signature
    prctl(PR_SET_DUMPABLE, 0)
    if not is_init:
        prctl(PR_SET_CHILD_SUBREAPER, 1)
    preload(argv[8:])
    pipe = wakeup_pipe()
    os.write(control, b"S")
    child = os.fork()
    if child == 0:
        restore_signals(pipe)
        if argv[8:]:
            rehearse()
        os.close(control)
        be_child(script, record, streams)
        return
    for fd in (script, *streams):
        os.close(fd)
    if argv[8:]:
        rehearse_end(child, pipe[0])
    Supervisor(child, control, record, pipe[0], is_init=is_init).watch()
    os._exit(0)


def rehearse_end(child: int, wakeup: int) -> None:
    """Walk once through everything an end needs, into nowhere: see `shim_program.rehearse`."""
    reader, writer = os.pipe()
    nowhere = Supervisor(child, reader, writer, wakeup, is_init=True)
    nowhere.limits = {"wall_s": 1.0, "cpu_s": 1.0, "file_bytes": 1, "grace_s": 1.0}
    os.kill(os.getpid(), _signal.SIGCHLD)
    poll = select.poll()
    poll.register(wakeup, select.POLLIN)
    for fd, _ in poll.poll(0):
        drain(fd)
    nowhere.reap()
    nowhere.report(0, 0.5)
    os.close(reader)
    os.close(writer)


if __name__ == "__main__":
    main(sys.argv)
