"""The local runner: scripts in bubblewrap sandboxes on this machine, as a `ports.Runner`.

Owns the instance directory, the cgroup parents, the warm pool and the roster of pods; closing it leaves nothing behind.
Never silently weaker: when bubblewrap is configured and does not work, `prepare` refuses with the doctor's cause.
"""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Protocol

import structlog
import trio

from execd.adapters.bubblewrap import find_interpreter
from execd.adapters.cgroups import ROOT as CGROUP_ROOT
from execd.adapters.cgroups import CgroupTree, open_cgroup_tree
from execd.adapters.doctor import Doctor
from execd.adapters.instance_directory import install_shim, open_instance_directory
from execd.adapters.local_pod import LocalPod
from execd.adapters.pod_roster import PodRoster
from execd.adapters.run_plan import Machine, RunPlan, blueprint_of, plan_command, plan_run
from execd.adapters.sandbox_process import LaunchSettings, SandboxLauncher
from execd.adapters.warm_pool import WarmKind, WarmPool
from execd.core.errors import ConfigurationError, RunnerUnavailableError
from execd.core.runtimes import Runtimes, effective_limits
from execd.core.specs import Limits
from execd.ports import PodObservation, PodRequest, RunnerReport

log = structlog.get_logger()

CLOSE_DEADLINE_S = 15.0
"""For all pods that their owners left; each takes a few milliseconds, and has its own bound."""
REPORT_AGE_S = 60.0
"""How long a report is believed by `/readyz`; a probe costs about 50 ms."""


class SandboxChoices(Protocol):
    """What of `settings.SandboxSettings` matters here; adapters do not import settings."""

    @property
    def sandbox(self) -> str: ...
    @property
    def warm_slots(self) -> int: ...
    @property
    def warm_age_s(self) -> float: ...
    @property
    def uid(self) -> int: ...
    @property
    def gid(self) -> int: ...
    @property
    def stop_grace_s(self) -> float: ...
    @property
    def defaults(self) -> Limits: ...


class LocalRunner:
    """A `ports.Runner`. Opened by `open_local_runner`."""

    name = "local"

    def __init__(
        self,
        launcher: SandboxLauncher,
        runtimes: Runtimes,
        *,
        machine: Machine,
        pool: WarmPool,
        roster: PodRoster,
        grace_s: float,
        fault: str,
    ) -> None:
        self.pool = pool
        self._launcher = launcher
        self._runtimes = runtimes
        self.machine = machine
        self._roster = roster
        self._grace_s = grace_s
        self._fault = fault
        self._numbers = itertools.count(1)
        self._pods: dict[str, LocalPod] = {}
        self._report: RunnerReport | None = None
        self._reported_at = -float("inf")

    @property
    def isolation(self) -> str:
        return self._launcher.settings.isolation

    @property
    def directory(self) -> Path:
        """The directory of this process alone; gone when the runner is closed."""
        return self._launcher.settings.box_parent

    @property
    def cgroups(self) -> CgroupTree:
        return self._launcher.cgroups

    def prepare(self, request: PodRequest) -> LocalPod:
        """As in the port."""
        runtime_name = self._runtimes.resolve(request.spec.language)
        if runtime_name is None:
            raise ConfigurationError(f"no runtime is called {request.spec.language!r}")
        if self._fault:
            raise RunnerUnavailableError(self._fault)
        plan = plan_run(request.spec, runtime_name, self._runtimes.by_name[runtime_name], self.machine)
        return self.make_pod(plan, stem=f"{request.execution_id}-{request.node}-{request.attempt}")

    def plan_command(self, runtime_name: str, argv: tuple[str, ...]) -> RunPlan:
        """Plan a bare command of a runtime, as the doctor asks for versions."""
        return plan_command(runtime_name, argv, self._runtimes.by_name[runtime_name], self.machine, Limits())

    def make_pod(self, plan: RunPlan, *, stem: str) -> LocalPod:
        """Make the pod of a plan, around a warm sandbox where there is one."""
        name = f"{_safe(stem)}-{next(self._numbers)}"
        claimed = self.pool.claim_nowait(plan.blueprint) if plan.becomes_program else None
        pod = LocalPod(
            name,
            plan,
            launcher=self._launcher,
            roster=self._roster,
            claimed=claimed,
            grace_s=self._grace_s,
            on_closed=self._forget,
        )
        self._pods[name] = pod
        return pod

    async def observe(self) -> Sequence[PodObservation]:
        """As in the port."""
        return await self._roster.observe()

    async def report(self) -> RunnerReport:
        """As in the port, at most `REPORT_AGE_S` old."""
        if self._report is None or trio.current_time() - self._reported_at > REPORT_AGE_S:
            return await self.probe()
        return self._report

    async def probe(self) -> RunnerReport:
        """Look at everything anew; what is found decides whether `prepare` refuses."""
        self._report = self._judge(await self._doctor().examine())
        self._reported_at = trio.current_time()
        return self._report

    async def probe_isolation(self) -> None:
        """Look only at what decides whether `prepare` refuses; a third of the time of `probe`."""
        self._judge(await self._doctor().examine_isolation())

    def _doctor(self) -> Doctor:
        return Doctor(self._launcher, self._runtimes, self.machine, make_pod=self.make_pod)

    def _judge(self, report: RunnerReport) -> RunnerReport:
        faults = [check for check in report.checks if check.level == "fatal"]
        self._fault = "; ".join(f"{check.found}: {check.mend}" for check in faults)
        return report

    async def close(self) -> None:
        """Close every pod that its owner did not."""
        for pod in list(self._pods.values()):
            await pod.close()

    def _forget(self, pod: str) -> None:
        self._pods.pop(pod, None)


@asynccontextmanager
async def open_local_runner(
    settings: SandboxChoices, runtimes: Runtimes, *, data_dir: Path, cgroup_root: Path = CGROUP_ROOT
) -> AsyncIterator[LocalRunner]:
    """Open the runner, with its warm pool filling in the background.

    Args:
        data_dir: where work directories may lie when execd is not root.
        cgroup_root: where cgroups are mounted; a place without any does without them, as the report then says.

    Must be entered on a thread that lives as long as the runner: sandboxes die with the thread that started them.

    Cancellation: closes every pod and sandbox, each under its own bound.
    """
    with open_instance_directory(data_dir) as directory:
        cgroups = open_cgroup_tree(cgroup_root)
        roster = PodRoster()
        try:
            runner = await _make_runner(settings, runtimes, directory, cgroups, roster)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(runner.pool.run)
                try:
                    yield runner
                finally:
                    with trio.move_on_after(CLOSE_DEADLINE_S, shield=True):
                        await runner.close()
                    nursery.cancel_scope.cancel()
        finally:
            roster.close()
            cgroups.close()


async def _make_runner(
    settings: SandboxChoices, runtimes: Runtimes, directory: Path, cgroups: CgroupTree, roster: PodRoster
) -> LocalRunner:
    python = find_interpreter()
    fault = "" if python is not None else "there is no python3 below /usr: install the system's Python 3.9 or later"
    python = python or Path("/usr/bin/python3")
    if not fault:
        fault = await trio.to_thread.run_sync(partial(_try_install, directory, python))
    is_enclosed = settings.sandbox == "bubblewrap"
    machine = Machine(
        python=python,
        is_enclosed=is_enclosed,
        bounds_memory=cgroups.bounds_memory,
        bounds_processes=cgroups.bounds_processes,
    )
    launch = LaunchSettings(
        isolation=settings.sandbox,
        python=python,
        shim_directory=directory / "shim",
        box_parent=directory,
        lower_user=(settings.uid, settings.gid) if os.geteuid() == 0 and is_enclosed else None,
    )
    launcher = SandboxLauncher(launch, cgroups)
    kinds = warm_kinds(runtimes, settings.defaults, machine) if settings.warm_slots else ()
    names = itertools.count(1)
    pool = WarmPool(
        launcher, kinds, size=settings.warm_slots, age_s=settings.warm_age_s, name=lambda: f"warm-{next(names)}"
    )
    runner = LocalRunner(
        launcher,
        runtimes,
        machine=machine,
        pool=pool,
        roster=roster,
        grace_s=settings.stop_grace_s,
        fault=fault,
    )
    if not fault:
        await runner.probe_isolation()
    return runner


def warm_kinds(runtimes: Runtimes, defaults: Limits, machine: Machine) -> tuple[WarmKind, ...]:
    """Say which slots to keep: one sort for each runtime that can wait, made for that runtime's default limits."""
    kinds = []
    for runtime in runtimes.by_name.values():
        if runtime.warm:
            limits = effective_limits(defaults, runtime.limits)
            key = blueprint_of(runtime, limits, machine, becomes_program=True, is_warm=False)
            warm = blueprint_of(runtime, limits, machine, becomes_program=True, is_warm=True)
            kinds.append(WarmKind(key=key, blueprint=warm, limits=limits))
    return tuple(kinds)


def _try_install(directory: Path, python: Path) -> str:
    try:
        install_shim(directory, python)
    except (OSError, subprocess.SubprocessError) as error:
        return f"{python} cannot compile the shim ({error}): Python 3.9 or later is needed"
    return ""


def _safe(stem: str) -> str:
    """Keep what may stand in a directory's name."""
    return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in stem)[:120]
