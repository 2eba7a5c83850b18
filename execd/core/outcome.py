"""How a run ended: one pure table from what was observed to one verdict, for local sandboxes and Kubernetes pods alike.

Three groups are visible to users: the *program* did it (exit, signal), a *limit* did it (which, configured, observed),
or the *platform* did (ours; perhaps retryable); beside them stand *config* (the definition can never work) and
*cancelled*. Whoever fired a limit names it in the exit record; it is never guessed from a signal number.

Precedence: cancelled or a limit named in the record, then the kernel's or kubelet's verdict on memory and disk, then a
complete exit record, then the pod's own reason, then nothing at all, which is lost and never success.

Source: isolate's status file; Tekton `pkg/pod/status.go`; kubelet eviction texts; Kubernetes issues 131530, 65493, 105467.
"""

from __future__ import annotations

import enum
import signal as signals
from typing import Any

import msgspec

from execd.core.event_parts import Failure, Usage
from execd.core.events import Status


class Limiter(enum.StrEnum):
    """A limit that was reached, named by whoever enforced it."""

    WALL = "wall"
    CPU = "cpu"
    MEMORY = "memory"
    OUTPUT = "output"
    FILE_SIZE = "file_size"
    DISK = "disk"
    PROCESSES = "processes"
    OPEN_FILES = "open_files"


class ExitRecord(msgspec.Struct, frozen=True):
    """What the shim inside the sandbox saw with its own `wait`; the last frame it writes."""

    exit_code: int | None = None
    signal: int | None = None
    """Exactly one of `exit_code` and `signal` is set, unless the program never started."""
    limiter: Limiter | None = None
    """The limit whose enforcer ended the program."""
    configured: float | None = None
    """The limit's value, in its own unit."""
    observed: float | None = None
    """What was measured when it fired, in the same unit."""
    cancelled: bool = False
    """Whether the shim was told to stop the program before it ended by itself."""
    exec_error: str | None = None
    """`ENOENT`, `EACCES`, `ENOEXEC`: the program could not be started."""
    hints: tuple[str, ...] = ()
    """Limits that were touched without ending the program: `memory`, `processes`, `open_files`, `file_size`, `network`."""
    usage: Usage = Usage()
    stdout_bytes: int = 0
    """What the program wrote to stdout, kept or not; the runner compares it with what arrived."""
    stderr_bytes: int = 0


class PodState(msgspec.Struct, frozen=True):
    """What the machinery around the program says: the kernel, bubblewrap or the kubelet."""

    reason: str | None = None
    """The Kubernetes pod or container reason, or one of ours: `sandbox_unavailable`, `service_restart`, `output_incomplete`."""
    message: str = ""
    exit_code: int | None = None
    """The container's code where there is no exit record."""
    oom_killed: bool = False
    """The cgroup's or kubelet's word that memory ran out."""
    memory_limit_bytes: int | None = None
    """What the limit was, where memory ran out."""
    started: bool = True
    """Whether the program was ever seen running."""


class Outcome(msgspec.Struct, frozen=True):
    """The verdict on one attempt of one node."""

    status: Status
    reason: str
    """Stable: `succeeded`, `exit`, `signal:SEGV`, `limit:wall`, `config:command`, `platform:sandbox_lost`, `cancelled` …"""
    retryable: bool = False
    """Whether the platform was at fault, so that running again may help."""
    exit_code: int | None = None
    signal: str | None = None
    failure: Failure | None = None
    """None only for success."""
    usage: Usage = Usage()
    is_final: bool = False
    """Whether running it again can only give the same."""
    retry_after_s: float | None = None
    """How long somebody asked to wait before the next attempt; None where nobody did."""

    @property
    def was_cut_off(self) -> bool:
        """Whether it may have done something and nobody knows how far it came."""
        return self.reason in {"platform:worker_lost", "platform:sandbox_lost", "http:cut_off"}

    @property
    def group(self) -> str:
        """`program`, `limit`, `platform`, `config`, `capacity` or `cancelled`: whose doing it was."""
        head = self.reason.partition(":")[0]
        return "program" if head in {"succeeded", "exit", "signal", "http", "llm"} else head


LIMIT_TEXTS: dict[Limiter, str] = {
    Limiter.WALL: "ran longer than its wall time limit of {configured:g} s",
    Limiter.CPU: "used more processor time than its limit of {configured:g} s",
    Limiter.MEMORY: "used more memory than its limit of {configured:.0f} bytes",
    Limiter.OUTPUT: "wrote more output than its limit of {configured:.0f} bytes",
    Limiter.FILE_SIZE: "wrote a file larger than its limit of {configured:.0f} bytes",
    Limiter.DISK: "filled its scratch space of {configured:.0f} bytes",
    Limiter.PROCESSES: "started more processes than its limit of {configured:.0f}",
    Limiter.OPEN_FILES: "opened more files than its limit of {configured:.0f}",
}

HINT_TEXTS: dict[str, str] = {
    "memory": "probably out of memory",
    "processes": "the limit on processes was reached",
    "open_files": "the limit on open files was reached",
    "file_size": "the limit on file size was reached",
    "disk": "the scratch space was full",
    "network": "the network is off",
}

POD_REASONS: dict[str, tuple[str, bool]] = {
    "DeadlineExceeded": ("limit:wall", False),
    "OOMKilled": ("limit:memory", False),
    "NodeShutdown": ("platform:not_admitted", True),
    "NodeAffinity": ("platform:not_admitted", True),
    "UnexpectedAdmissionError": ("platform:not_admitted", True),
    "OutOfcpu": ("platform:not_admitted", True),
    "OutOfmemory": ("platform:not_admitted", True),
    "OutOfpods": ("platform:not_admitted", True),
    "Terminated": ("platform:node_shutdown", True),
    "Preempting": ("platform:preempted", True),
    "PreemptionByScheduler": ("platform:evicted", True),
    "DeletionByTaintManager": ("platform:evicted", True),
    "EvictionByEvictionAPI": ("platform:evicted", True),
    "DeletionByPodGC": ("platform:evicted", True),
    "TerminationByKubelet": ("platform:evicted", True),
    "NodeLost": ("platform:node_lost", True),
    "InvalidImageName": ("config:image", False),
    "ErrImagePull": ("config:image", False),
    "ImagePullBackOff": ("config:image", False),
    "ErrImageNeverPull": ("config:image", False),
    "ImageInspectError": ("config:image", False),
    "RegistryUnavailable": ("config:image", False),
    "CreateContainerConfigError": ("config:container", False),
    "CreateContainerError": ("config:container", False),
    "RunContainerError": ("config:container", False),
    "StartError": ("config:container", False),
    "ContainerCannotRun": ("config:container", False),
    "Unschedulable": ("capacity", True),
    "QuotaExceeded": ("capacity", True),
    "ContainerStatusUnknown": ("platform:status_lost", True),
    "PodDeleted": ("platform:pod_deleted", True),
    "sandbox_unavailable": ("platform:sandbox_unavailable", True),
    "output_incomplete": ("platform:output_incomplete", False),
    "service_restart": ("platform:worker_lost", True),
}
"""Reason a pod, container, condition or runner gave -> (our reason, is it retryable). `Evicted` is decided by its message."""

_DISK_EVICTIONS = (
    "exceeded its local ephemeral storage limit",
    "Pod ephemeral local storage usage exceeds the total limit",
    "Usage of EmptyDir volume",
)

_STATUS_OF_REASON = {"limit:wall": Status.TIMEOUT, "cancelled": Status.CANCELLED}


def classify(record: ExitRecord | None, pod: PodState | None = None) -> Outcome:
    """Give the verdict on one attempt.

    Args:
        record: what the shim wrote last; None when it never came.
        pod: what the machinery around it says; None when it says nothing.

    Returns:
        An outcome that is a success only if a complete record says exit code 0 and nothing stronger contradicts it.
    """
    pod = pod or PodState()
    if record is not None and record.cancelled:
        return _outcome(record, "cancelled", "was cancelled")
    if record is not None and record.limiter is not None:
        return _limited(record, record.limiter)
    if pod.oom_killed or pod.reason == "OOMKilled":
        return _out_of_memory(record, pod)
    if pod.reason == "output_incomplete":
        return _from_pod_reason(record, pod)
    if record is not None:
        return _from_record(record)
    return _from_pod_reason(None, pod)


def _limited(record: ExitRecord, limiter: Limiter) -> Outcome:
    text = LIMIT_TEXTS[limiter].format(configured=record.configured or 0)
    details: dict[str, Any] = {"limit": str(limiter), "configured": record.configured, "observed": record.observed}
    return _outcome(record, f"limit:{limiter}", text, details=details)


def _out_of_memory(record: ExitRecord | None, pod: PodState) -> Outcome:
    observed = record.usage.peak_memory_bytes if record is not None else None
    details = {"limit": str(Limiter.MEMORY), "configured": pod.memory_limit_bytes, "observed": observed}
    text = "was killed because its memory limit was reached"
    if pod.memory_limit_bytes is not None:
        text = LIMIT_TEXTS[Limiter.MEMORY].format(configured=pod.memory_limit_bytes)
    return _outcome(record, "limit:memory", text, details=details, pod=pod)


def _from_record(record: ExitRecord) -> Outcome:
    details: dict[str, Any] = {"hints": list(record.hints)} if record.hints else {}
    hint = "".join(f" ({HINT_TEXTS.get(name, name)})" for name in record.hints[:1])
    if record.exec_error is not None:
        return _outcome(record, "config:command", f"could not be started: {record.exec_error}", details=details)
    if record.signal is not None:
        name = signal_name(record.signal)
        return _outcome(record, f"signal:{name}", f"was ended by signal {name}{hint}", details=details)
    if record.exit_code == 0:
        return Outcome(status=Status.COMPLETED, reason="succeeded", exit_code=0, usage=record.usage)
    if record.exit_code is not None:
        return _outcome(record, "exit", f"exited with code {record.exit_code}{hint}", details=details)
    return _outcome(record, "platform:sandbox_lost", "gave an exit record without an exit", retryable=True)


def _from_pod_reason(record: ExitRecord | None, pod: PodState) -> Outcome:
    if pod.reason == "Evicted":
        reason, retryable = _eviction(pod.message)
    elif pod.reason in POD_REASONS:
        reason, retryable = POD_REASONS[pod.reason]
    else:
        reason, retryable = "platform:sandbox_lost", True
    text = pod.message or "Its sandbox is gone and left no exit record."
    return _outcome(record, reason, text, retryable=retryable, pod=pod)


def _eviction(message: str) -> tuple[str, bool]:
    if any(text in message for text in _DISK_EVICTIONS):
        return "limit:disk", False
    return "platform:evicted", True


def _outcome(
    record: ExitRecord | None,
    reason: str,
    text: str,
    *,
    details: dict[str, Any] | None = None,
    retryable: bool = False,
    pod: PodState | None = None,
) -> Outcome:
    status = _STATUS_OF_REASON.get(reason, Status.FAILED)
    code = record.exit_code if record is not None else (pod.exit_code if pod is not None else None)
    verdict = Outcome(
        status=status,
        reason=reason,
        retryable=retryable,
        exit_code=code,
        signal=signal_name(record.signal) if record is not None and record.signal is not None else None,
        usage=record.usage if record is not None else Usage(),
    )
    failure = Failure(
        code=reason.removeprefix("platform:"),
        message=text if text[:1].isupper() else f"The program {text}.",
        details={"group": verdict.group, **(details or {})},
    )
    return msgspec.structs.replace(verdict, failure=failure)


def signal_name(number: int) -> str:
    """Give `SEGV` for 11; a number without a name stays a number."""
    try:
        return signals.Signals(number).name.removeprefix("SIG")
    except ValueError:
        return str(number)


LOST_TEXTS = {
    "worker_lost": "execd stopped while this ran, and how far it came is not known.",
    "internal_error": "execd failed while it ran this; the log of the server names the defect.",
}


def outcome_of_loss(code: str) -> Outcome:
    """Give the verdict on an attempt whose saga is gone.

    Args:
        code: a key of `LOST_TEXTS`. A defect of execd is not retried: it would only meet itself again.
    """
    failure = Failure(code=code, message=LOST_TEXTS[code], details={"group": "platform"})
    is_defect = code == "internal_error"
    return Outcome(status=Status.FAILED, reason=f"platform:{code}", retryable=not is_defect, failure=failure)
