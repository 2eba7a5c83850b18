"""From what a sandbox left behind to the last frame: pure, so that each way to end is a line in a test.

The limiter is named by whoever enforced it; hints are what the program's own last words suggest, and only that.
"""

from __future__ import annotations

import re

import msgspec

from execd.adapters.cgroups import CgroupUsage
from execd.adapters.shim_protocol import EndRecord, ExecErrorRecord
from execd.core.event_parts import Usage
from execd.core.outcome import ExitRecord, Limiter, PodState
from execd.ports import Exited

SIGKILL = 9

HINT_PATTERNS: dict[str, re.Pattern[bytes]] = {
    "memory": re.compile(rb"MemoryError|[Oo]ut of memory|Cannot allocate memory|bad_alloc|ENOMEM"),
    "processes": re.compile(
        rb"can't start new thread|[Rr]esource temporarily unavailable|fork: retry|Cannot fork|EAGAIN"
    ),
    "open_files": re.compile(rb"Too many open files|EMFILE"),
    "file_size": re.compile(rb"File too large|EFBIG"),
    "disk": re.compile(rb"No space left on device|ENOSPC"),
    "network": re.compile(rb"Network is unreachable|Temporary failure in name resolution|ENETUNREACH|EAI_AGAIN"),
}
"""What interpreters print when a limit stops them -> the hint."""


class Remains(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is known when a sandbox is gone."""

    end: EndRecord | None = None
    exec_error: ExecErrorRecord | None = None
    is_started: bool = False
    is_broken: bool = False
    """Whether some output may be missing."""
    stdout_bytes: int = 0
    stderr_bytes: int = 0
    stderr_tail: bytes = b""
    group: CgroupUsage = CgroupUsage()
    diagnostics: str = ""
    """What bubblewrap or the shim printed."""
    host_oom_kills: int = 0
    """How many processes the whole machine lost to a lack of memory meanwhile; a hint where there is no cgroup."""
    memory_limit_bytes: int | None = None
    network_is_off: bool = True
    was_stopped: bool = False
    """Whether we had asked for the end."""
    forced: str | None = None
    """The reason for which we killed it from outside because the shim did not."""


def exit_frame(remains: Remains) -> Exited:
    """Compose the last frame. A success needs a complete record and complete output."""
    record = _record(remains)
    return Exited(record=record, pod=_pod_state(remains, record))


def _record(remains: Remains) -> ExitRecord | None:
    end = remains.end
    if end is None:
        if remains.was_stopped:
            # The shim died or hung under a cancel; we killed everything ourselves and waited for the end of it.
            return ExitRecord(signal=SIGKILL, cancelled=True)
        return None
    return ExitRecord(
        exit_code=end.exit_code,
        signal=end.signal,
        limiter=_limiter(end.limiter),
        configured=end.configured,
        observed=end.observed,
        cancelled=end.cancelled,
        exec_error=remains.exec_error.name if remains.exec_error is not None else None,
        hints=_hints(remains, end),
        usage=_usage(remains, end),
        stdout_bytes=remains.stdout_bytes,
        stderr_bytes=remains.stderr_bytes,
    )


def _limiter(name: str | None) -> Limiter | None:
    return Limiter(name) if name in set(Limiter) else None


def _usage(remains: Remains, end: EndRecord) -> Usage:
    group = remains.group
    return Usage(
        wall_ms=end.wall_ms,
        cpu_ms=max(end.cpu_ms, group.cpu_ms or 0),
        # The cgroup adds up all processes but does not know what the interpreter had before it was moved in; the shim
        # knows the largest process whole. The truth is at least either.
        peak_memory_bytes=max(group.peak_memory_bytes or 0, end.peak_memory_bytes or 0) or None,
    )


def _hints(remains: Remains, end: EndRecord) -> tuple[str, ...]:
    if end.exit_code == 0:
        return ()
    found = [name for name, pattern in HINT_PATTERNS.items() if pattern.search(remains.stderr_tail)]
    if not remains.network_is_off and "network" in found:
        found.remove("network")
    if remains.group.refused_forks and "processes" not in found:
        found.append("processes")
    if end.signal == SIGKILL and remains.host_oom_kills and "memory" not in found:
        found.insert(0, "memory")
    return tuple(found)


def _pod_state(remains: Remains, record: ExitRecord | None) -> PodState:
    if record is not None and not remains.is_broken:
        return _memory_verdict(remains)
    if remains.is_broken and record is not None:
        return PodState(reason="output_incomplete", message="lost some of its output", started=remains.is_started)
    if remains.forced is not None:
        return PodState(reason=remains.forced, message=_FORCED_TEXTS[remains.forced], started=remains.is_started)
    if not remains.is_started:
        cause = remains.diagnostics or "the sandbox ended before the program began"
        return PodState(reason="sandbox_unavailable", message=f"could not be started: {cause}", started=False)
    return _memory_verdict(remains)


def _memory_verdict(remains: Remains) -> PodState:
    if remains.group.oom_kills > 0:
        return PodState(oom_killed=True, memory_limit_bytes=remains.memory_limit_bytes, started=remains.is_started)
    return PodState(started=remains.is_started)


_FORCED_TEXTS = {
    "DeadlineExceeded": "did not end within its wall time limit and its supervisor did not answer",
    "sandbox_unavailable": "could not be started: its sandbox was not ready in time",
}
