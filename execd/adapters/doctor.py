"""Looks at this machine with the complete command, from inside a real sandbox, and says what it found and how to mend it.

Each line is `ok`, `degraded` (runs, with a weaker bound that is named) or `fatal` (no script may run).
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Protocol

import msgspec
import trio

from execd.adapters.run_plan import Machine, RunPlan, plan_command, plan_run
from execd.adapters.sandbox_faults import explain
from execd.adapters.sandbox_process import SandboxLauncher
from execd.adapters.seccomp import compiled_filter
from execd.core.events import Stream
from execd.core.outcome import Outcome, PodState, classify
from execd.core.runtimes import Runtime, Runtimes
from execd.core.specs import Limits, ScriptSpec
from execd.ports import Check, Chunk, Exited, Pod, RunnerReport

PROBE_DEADLINE_S = 15.0
PROBE_LIMITS = Limits(wall_s=10.0, cpu_s=10.0, file_bytes=1024 * 1024)
MIN_FREE_BYTES = 64 * 1024 * 1024
PROBE_RUNTIME = Runtime(argv=("python3", "-I", "-S", "{file}"), file_name="probe.py", image="")
PROBE_SCRIPT = """
import os, socket
status = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
def tries(path):
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT)); return True
    except OSError:
        return False
def connects():
    try:
        socket.create_connection(("192.0.2.1", 9), 0.2); return True
    except TimeoutError:
        return True
    except OSError:
        return False
places = ("/x", "/usr/x", "/dev/x", "/etc/x", "/proc/sys/kernel/core_pattern", "/proc/sys/vm/swappiness")
writable = [place for place in places if tries(place)]
privileges = (int(status["CapEff"], 16), status["NoNewPrivs"].strip(), status["Seccomp"].strip())
print(os.getpid(), *privileges, int(connects()), len(writable), os.getppid())
"""

_TOO_SLOW = PodState(reason="sandbox_unavailable", message=f"gave no answer within {PROBE_DEADLINE_S:g} s")


class MakePod(Protocol):
    """How the doctor gets a pod: as everybody does."""

    def __call__(self, plan: RunPlan, *, stem: str) -> Pod: ...


class _Examination(msgspec.Struct, frozen=True):
    """What came of one short run."""

    outcome: Outcome
    stdout: str
    stderr: str


class Doctor:
    """One examination of this machine."""

    def __init__(self, launcher: SandboxLauncher, runtimes: Runtimes, machine: Machine, *, make_pod: MakePod) -> None:
        self._launcher = launcher
        self._runtimes = runtimes
        self._machine = machine
        self._make_pod = make_pod

    async def examine(self) -> RunnerReport:
        """Check everything, languages included."""
        checks = await self._basics()
        if all(check.level != "fatal" for check in checks):
            checks += await self._languages()
        return self._report(checks)

    async def examine_isolation(self) -> RunnerReport:
        """Check only what decides whether anything may run."""
        return self._report(await self._basics())

    def _report(self, checks: list[Check]) -> RunnerReport:
        ready = all(check.level != "fatal" for check in checks)
        return RunnerReport("local", self._launcher.settings.isolation, ready, tuple(checks))

    async def _basics(self) -> list[Check]:
        checks = [
            self._user(),
            self._filter(),
            self._cgroups(),
            check_swap(),
            check_space(self._launcher.settings.box_parent),
        ]
        if all(check.level != "fatal" for check in checks):
            checks.insert(0, await self._isolation())
        return checks

    def _user(self) -> Check:
        lower = self._launcher.settings.lower_user
        if os.geteuid() != 0:
            return Check("user", "ok", f"execd runs as uid {os.geteuid()}")
        if not self._launcher.is_enclosed:
            return Check(
                "user", "degraded", "execd runs as root, and so will scripts", "start execd as an ordinary user"
            )
        if lower is None or 0 in lower:
            return Check(
                "user",
                "fatal",
                "started by root, bubblewrap does not protect the machine",
                "set sandbox.uid and sandbox.gid to other than 0",
            )
        return Check("user", "ok", f"execd runs as root, sandboxes as uid {lower[0]}")

    def _filter(self) -> Check:
        if not self._launcher.is_enclosed:
            return Check("seccomp", "degraded", "no filter without bubblewrap")
        try:
            size = len(compiled_filter())
        except (OSError, RuntimeError) as error:
            return Check("seccomp", "fatal", f"libseccomp does not work: {error}", "install libseccomp2")
        return Check("seccomp", "ok", f"a filter of {size} bytes")

    def _cgroups(self) -> Check:
        tree = self._launcher.cgroups
        if tree.bounds_memory and tree.bounds_processes:
            return Check(
                "cgroup", "ok", f"version {tree.version}: {', '.join(tree.controllers)}; scratch files count as memory"
            )
        if not self._launcher.is_enclosed and not tree.bounds_processes:
            found = "none, and no bubblewrap: processes are not bounded, memory is per process"
            return Check("cgroup", "degraded", found, "run execd as a systemd service with Delegate=yes")
        return Check(
            "cgroup",
            "degraded",
            f"controllers: {', '.join(tree.controllers) or 'none'}: memory is bounded per process, not per run",
            "run execd as a systemd service with Delegate=yes, or as root",
        )

    async def _isolation(self) -> Check:
        if not self._launcher.is_enclosed:
            return Check(
                "sandbox",
                "degraded",
                "none: scripts run with the rights of execd itself",
                'set sandbox = "bubblewrap" for code you did not write',
            )
        spec = ScriptSpec(language="probe", source=PROBE_SCRIPT, limits=PROBE_LIMITS)
        seen = await self._run(plan_run(spec, "probe", PROBE_RUNTIME, self._machine), stem="doctor")
        if seen.outcome.reason != "succeeded":
            failure = seen.outcome.failure
            fault = explain(f"{failure.message if failure else ''} {seen.stderr}".strip())
            return Check("sandbox", "fatal", fault.cause, fault.mend)
        return judge_probe(seen.stdout)

    async def _languages(self) -> list[Check]:
        """Ask each language for its version, all at once."""
        found: dict[str, Check] = {}

        async def ask(name: str, runtime: Runtime) -> None:
            plan = plan_command(name, runtime.version_command, runtime, self._machine, self._limits_for(runtime))
            found[name] = judge_version(name, await self._run(plan, stem=f"doctor-{name}"))

        async with trio.open_nursery() as nursery:
            for name, runtime in self._runtimes.by_name.items():
                if runtime.version_command:
                    nursery.start_soon(ask, name, runtime)
        return [found[name] for name in self._runtimes.by_name if name in found]

    def _limits_for(self, runtime: Runtime) -> Limits:
        return msgspec.structs.replace(PROBE_LIMITS, processes=runtime.limits.processes or PROBE_LIMITS.processes)

    async def _run(self, plan: RunPlan, *, stem: str) -> _Examination:
        pod = self._make_pod(plan, stem=stem)
        pieces = {stream: bytearray() for stream in Stream}
        exited = Exited(record=None, pod=_TOO_SLOW)
        try:
            with trio.move_on_after(PROBE_DEADLINE_S):
                exited = await _follow(pod, pieces)
        finally:
            with trio.move_on_after(PROBE_DEADLINE_S, shield=True):
                await pod.close()
        out, err = (bytes(data).decode(errors="replace") for data in pieces.values())
        return _Examination(classify(exited.record, exited.pod), out, err)


async def _follow(pod: Pod, pieces: dict[Stream, bytearray]) -> Exited:
    await pod.start()
    while True:
        match await pod.receive():
            case Exited() as exited:
                return exited
            case Chunk(stream=stream, data=data):
                pieces[stream] += data


def judge_probe(line: str) -> Check:
    """Read what the probe saw from inside; anything that should not be is fatal."""
    names = ("pid", "capabilities", "no_new_privileges", "filter", "network", "writable", "parent")
    seen = dict(zip(names, line.split(), strict=False))
    wrong = [
        text
        for name, right, text in (
            ("capabilities", "0", "it keeps capabilities"),
            ("no_new_privileges", "1", "it may gain privileges"),
            ("filter", "2", "no system call filter is in force"),
            ("network", "0", "the network can be reached"),
            ("writable", "0", "system files can be opened for writing"),
            ("parent", "1", "it does not live in a process namespace of its own"),
        )
        if seen.get(name) != right
    ]
    if wrong:
        return Check(
            "sandbox",
            "fatal",
            f"bubblewrap starts, but inside {', '.join(wrong)}",
            "check for a setuid or patched bwrap",
        )
    return Check("sandbox", "ok", "bubblewrap: no capabilities, no network, read-only system, filter in force")


def judge_version(name: str, seen: _Examination) -> Check:
    """Read the answer to a version command."""
    line = next(iter((seen.stdout or seen.stderr).splitlines()), "")
    if seen.outcome.reason == "succeeded":
        return Check(name, "ok", line)
    why = seen.outcome.failure.message if seen.outcome.failure else seen.outcome.reason
    return Check(
        name, "degraded", f"not usable: {line or why}", f"install {name} below /usr, or remove it from runtimes.toml"
    )


def check_swap() -> Check:
    """Swap lets a program have more memory than its limit where the limit does not count it."""
    swaps = Path("/proc/swaps").read_text().splitlines()[1:]
    if swaps:
        return Check(
            "swap",
            "degraded",
            "swap is on: without swap accounting memory limits are softer",
            "swapoff -a, or boot with swapaccount=1",
        )
    return Check("swap", "ok", "off")


def check_space(place: Path) -> Check:
    """A full disk is found before a run finds it."""
    free = shutil.disk_usage(place).free
    level = "ok" if free >= MIN_FREE_BYTES else "degraded"
    return Check(
        "space", level, f"{free // 2**20} MiB free at {place.parent}", "" if level == "ok" else "free some space"
    )
