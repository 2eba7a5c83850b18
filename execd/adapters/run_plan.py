"""From what is asked to what a sandbox is told: pure, so that limits and environments can be read off in a test."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from execd.adapters.bubblewrap import SEARCH_PATH, Enclosure
from execd.adapters.sandbox_process import Blueprint
from execd.adapters.shim_protocol import file_contents
from execd.core.runtimes import Runtime
from execd.core.specs import Limits, ScriptSpec

BARE_SHIM_FLAGS = ("-I", "-S")
"""For shims that only exec: no site, a third cheaper."""
START_VARIABLES = ("PYTHON", "LC_", "LD_", "LANG", "MALLOC_", "GLIBC_")
"""Variables with these beginnings are read when an interpreter starts: a script that sets one gets a fresh interpreter."""
SHIM_PROCESSES = 1
"""The shim counts against the limit on processes of its user namespace."""


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What decides how limits are enforced here."""

    python: Path
    is_enclosed: bool
    bounds_memory: bool
    """Whether a cgroup bounds the memory of all processes together; without one each process is bounded."""
    bounds_processes: bool
    """The same for the number of processes; without one only bubblewrap's user namespace makes a bound possible."""


class RunPlan(msgspec.Struct, frozen=True, kw_only=True):
    """One run, decided."""

    runtime: str
    blueprint: Blueprint
    message: Mapping[str, Any]
    """For the child, complete but for the working directory."""
    limits: Limits
    stdin: bytes
    stdin_open: bool
    becomes_program: bool
    """Whether the shim's child turns into the program itself, which is what lets it wait warm."""


def plan_run(spec: ScriptSpec, name: str, runtime: Runtime, machine: Machine) -> RunPlan:
    """Decide how a script runs.

    Raises:
        ConfigurationError: an input file's path or content is not acceptable.
    """
    becomes = runtime.warm and not _needs_fresh_interpreter(spec)
    command = [word.replace("{file}", runtime.file_name) for word in runtime.argv] + list(spec.args)
    source = (runtime.file_name, spec.source.encode("utf-8", "surrogatepass"))
    message = {
        "path": runtime.file_name,
        "args": [*_words_after_file(runtime), *spec.args],
        "argv": None if becomes else command,
        "compile": list(runtime.compile),
        "files": [source, *file_contents(spec.files)],
        "env": {**base_environment(), **runtime.env, **spec.env},
        "rlimits": resource_limits(spec.limits, runtime, machine),
    }
    return RunPlan(
        runtime=name,
        blueprint=blueprint_of(runtime, spec.limits, machine, becomes_program=becomes, is_warm=False),
        message=message,
        limits=spec.limits,
        stdin=(spec.stdin or "").encode("utf-8", "surrogatepass"),
        stdin_open=spec.stdin_open,
        becomes_program=becomes,
    )


def plan_command(name: str, argv: tuple[str, ...], runtime: Runtime, machine: Machine, limits: Limits) -> RunPlan:
    """Decide how a bare command of a runtime runs, for the doctor."""
    message = {
        "path": "",
        "args": [],
        "argv": list(argv),
        "compile": [],
        "files": [],
        "env": {**base_environment(), **runtime.env},
        "rlimits": resource_limits(limits, runtime, machine),
    }
    blueprint = blueprint_of(runtime, limits, machine, becomes_program=False, is_warm=False)
    return RunPlan(
        runtime=name,
        blueprint=blueprint,
        message=message,
        limits=limits,
        stdin=b"",
        stdin_open=False,
        becomes_program=False,
    )


def blueprint_of(
    runtime: Runtime, limits: Limits, machine: Machine, *, becomes_program: bool, is_warm: bool
) -> Blueprint:
    """Say what sandbox a run needs; a warm one differs in its preloaded modules only."""
    flags = runtime.argv[1 : runtime.argv.index("{file}")] if becomes_program else BARE_SHIM_FLAGS
    return Blueprint(
        interpreter=(str(machine.python), *flags),
        preload=runtime.preload if is_warm else (),
        enclosure=Enclosure(scratch_bytes=limits.file_bytes, network=limits.network),
    )


def base_environment() -> dict[str, str]:
    """Give the variables every program finds; nothing of the service's own."""
    return {"PATH": SEARCH_PATH, "HOME": "/tmp", "LANG": "C.UTF-8"}  # noqa: S108 - inside the sandbox


def resource_limits(limits: Limits, runtime: Runtime, machine: Machine) -> list[tuple[str, int, int]]:
    """Give (name, soft, hard) for the child to set on itself.

    RLIMIT_CPU is a second higher at the top, so that the signal is SIGXCPU, which has a name, before it is SIGKILL.
    RLIMIT_NPROC only inside a user namespace: outside it counts every process of the uid on the machine.
    """
    cpu_s = math.ceil(limits.cpu_s)
    chosen = [
        ("RLIMIT_CORE", 0, 0),
        ("RLIMIT_CPU", cpu_s, cpu_s + 1),
        ("RLIMIT_FSIZE", limits.file_bytes, limits.file_bytes),
        ("RLIMIT_NOFILE", limits.open_files, limits.open_files),
    ]
    if machine.is_enclosed:
        processes = limits.processes + SHIM_PROCESSES
        chosen.append(("RLIMIT_NPROC", processes, processes))
    if not machine.bounds_memory:
        name = "RLIMIT_AS" if runtime.memory_rlimit == "address_space" else "RLIMIT_DATA"
        chosen.append((name, limits.memory_bytes, limits.memory_bytes))
    return chosen


def _needs_fresh_interpreter(spec: ScriptSpec) -> bool:
    # A NUL byte makes the tokenizer of `python3 file` and that of compile() complain in different words.
    return "\0" in spec.source or any(name.startswith(START_VARIABLES) for name in spec.env)


def _words_after_file(runtime: Runtime) -> tuple[str, ...]:
    return runtime.argv[runtime.argv.index("{file}") + 1 :] if "{file}" in runtime.argv else ()
