"""One cgroup per run where the machine lets us: memory and processes of a whole tree, bounded, measured and named.

Three situations: v2 delegated to us, v1 hierarchies we may write to (root, or a directory of ours), or nothing; then the
shim's resource limits alone remain, per process, and the report says so. Only the program is moved in, not the shim: when
the kernel kills everything in the group, somebody is left to write the exit record.

Source: Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst; notes/code-execution.md 2.5.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec
import structlog

from execd.adapters.instance_directory import PREFIX, instance_name, is_abandoned
from execd.core.specs import Limits

log = structlog.get_logger()

ROOT = Path("/sys/fs/cgroup")
V1_CONTROLLERS = ("memory", "pids", "cpuacct")
V2_CONTROLLERS = ("memory", "pids")
NS_PER_MS, US_PER_MS = 1_000_000, 1_000
DYING_LOOKS, DYING_LOOK_S = 50, 0.01
"""How often, and how far apart, the start looks whether killed processes have gone: half a second in all, before serving."""


class CgroupUsage(msgspec.Struct, frozen=True):
    """What a group measured; None where this kernel does not."""

    oom_kills: int = 0
    """How many processes the kernel killed because the group's memory was used up."""
    peak_memory_bytes: int | None = None
    cpu_ms: int | None = None
    refused_forks: int = 0


class Cgroup:
    """The group of one run. Owns its directories, one per hierarchy."""

    def __init__(self, version: int, directories: Mapping[str, Path]) -> None:
        self._version = version
        self._directories = directories
        self._distinct = tuple(dict.fromkeys(directories.values()))
        for directory in self._distinct:
            directory.mkdir()
        self._limits: tuple[int, int] | None = None

    def limit(self, limits: Limits) -> None:
        """Set or change the bounds; nothing is written when they are as before."""
        wanted = (limits.memory_bytes, limits.processes)
        if wanted == self._limits:
            return
        self._limits = wanted
        self._write("pids", "pids.max", limits.processes)
        if self._version == 2:
            self._write("memory", "memory.max", limits.memory_bytes)
            self._try_write("memory", "memory.swap.max", 0)
            self._try_write("memory", "memory.oom.group", 1)
            return
        # memory+swap may never be below memory: open the outer bound before moving the inner one.
        self._try_write("memory", "memory.memsw.limit_in_bytes", -1)
        self._write("memory", "memory.limit_in_bytes", limits.memory_bytes)
        self._try_write("memory", "memory.memsw.limit_in_bytes", limits.memory_bytes)

    def add(self, pid: int) -> None:
        """Move a process in, before it makes others. Raises OSError when it is gone."""
        for directory in self._distinct:
            (directory / "cgroup.procs").write_text(str(pid))

    @property
    def bounds_memory(self) -> bool:
        return "memory" in self._directories

    @property
    def bounds_processes(self) -> bool:
        return "pids" in self._directories

    def usage(self) -> CgroupUsage:
        """Read what the run cost; to be called when it is over."""
        refused = _keyed(self._read("pids", "pids.events")).get("max", 0)
        if self._version == 2:
            cpu_us = _keyed(self._read("cpu", "cpu.stat")).get("usage_usec")
            return CgroupUsage(
                oom_kills=_keyed(self._read("memory", "memory.events")).get("oom_kill", 0),
                peak_memory_bytes=_number(self._read("memory", "memory.peak")),
                cpu_ms=None if cpu_us is None else cpu_us // US_PER_MS,
                refused_forks=refused,
            )
        cpu_ns = _number(self._read("cpuacct", "cpuacct.usage"))
        return CgroupUsage(
            oom_kills=_keyed(self._read("memory", "memory.oom_control")).get("oom_kill", 0),
            peak_memory_bytes=_number(self._read("memory", "memory.max_usage_in_bytes")),
            cpu_ms=None if cpu_ns is None else cpu_ns // NS_PER_MS,
            refused_forks=refused,
        )

    def kill(self) -> None:
        """Kill everything inside."""
        for directory in self._distinct:
            _kill_members(directory)

    def remove(self) -> bool:
        """Remove the group; False while the kernel is still burying a process of it."""
        removed = [_remove(directory) for directory in self._distinct]  # all of them, then the verdict
        return all(removed)

    def _write(self, controller: str, name: str, value: int) -> None:
        directory = self._directories.get(controller)
        if directory is not None:
            (directory / name).write_text(str(value))

    def _try_write(self, controller: str, name: str, value: int) -> None:
        with contextlib.suppress(OSError):  # not every kernel has swap accounting or group kills
            self._write(controller, name, value)

    def _read(self, controller: str, name: str) -> str:
        directory = self._directories.get(controller)
        try:
            return "" if directory is None else (directory / name).read_text()
        except OSError:
            return ""


class CgroupTree:
    """Where this execd makes its groups: one parent per hierarchy, removed at the end."""

    def __init__(self, version: int, parents: Mapping[str, Path]) -> None:
        self.version = version
        """0 (none), 1 or 2."""
        self._parents = parents

    @property
    def controllers(self) -> tuple[str, ...]:
        return tuple(self._parents)

    @property
    def directories(self) -> tuple[Path, ...]:
        return tuple(dict.fromkeys(self._parents.values()))

    @property
    def bounds_memory(self) -> bool:
        return "memory" in self._parents

    @property
    def bounds_processes(self) -> bool:
        return "pids" in self._parents

    def make(self, name: str, limits: Limits) -> Cgroup | None:
        """Make the group of a run; None where there are none.

        Raises:
            OSError: the kernel refused, though it did not at the start.
        """
        if not self._parents:
            return None
        group = Cgroup(self.version, {controller: parent / name for controller, parent in self._parents.items()})
        try:
            group.limit(limits)
        except OSError:
            group.remove()
            raise
        return group

    def prime(self) -> None:
        """Make the next `Cgroup.add` cheap, for about 20 ms. Blocks for about 8 ms: call it on a thread, early.

        The first process to be moved after a while waits for an RCU grace period under a lock that all moves share
        (`cgroup_threadgroup_rwsem`); the ones right behind it do not. So a move that changes nothing goes ahead.
        """
        for parent in list(self._parents.values())[:1]:
            with contextlib.suppress(OSError):
                (parent.parent / "cgroup.procs").write_text("0")

    def close(self) -> None:
        """Remove the parents and whatever is left in them."""
        for parent in self.directories:
            remove_tree(parent)


def open_cgroup_tree(root: Path = ROOT) -> CgroupTree:
    """Find out what this machine allows, sweep what dead execd processes left, and make the parents.

    Args:
        root: where the hierarchies are mounted; a place without any means none.
    """
    for version, bases in ((2, _v2_bases(root)), (1, _v1_bases(root))):
        for base in dict.fromkeys(bases.values()):
            sweep_groups(base)
        parents = _make_parents(bases)
        if "memory" in parents or "pids" in parents:
            return CgroupTree(version, parents)
    return CgroupTree(0, {})


def _make_parents(bases: Mapping[str, Path]) -> dict[str, Path]:
    name, parents = instance_name(), dict[str, Path]()
    for controller, base in bases.items():
        parent = base / name
        with contextlib.suppress(OSError):
            parent.mkdir(exist_ok=True)
            if (parent / f"{controller}.stat").exists() or (parent / "cgroup.procs").exists():
                parents[controller] = parent
    if parents and len(set(parents.values())) == 1 and (parent / "cgroup.subtree_control").exists():
        _enable(parent, tuple(parents))
    return parents


def _own_paths() -> dict[str, str]:
    """Read which group this process is in: by v1 controller, and under `` for v2."""
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    fields = (line.split(":", 2) for line in lines)
    return {name: path for _, names, path in fields for name in names.split(",")}


def _v1_bases(root: Path) -> dict[str, Path]:
    bases = {}
    for controller, path in _own_paths().items():
        if controller not in V1_CONTROLLERS:
            continue
        own = root / controller / path.lstrip("/")
        base = own if own.is_dir() else root / controller  # inside a container the path may be the host's
        if (base / "cgroup.procs").exists() and os.access(base, os.W_OK):
            bases[controller] = base
    return bases


def _v2_bases(root: Path) -> dict[str, Path]:
    path = _own_paths().get("")
    if path is None or not (root / "cgroup.controllers").exists():
        return {}
    own = root / path.lstrip("/")
    available = (own / "cgroup.controllers").read_text().split() if (own / "cgroup.controllers").exists() else []
    if not set(V2_CONTROLLERS) <= set(available) or not os.access(own, os.W_OK):
        return {}
    controllers = tuple(name for name in (*V2_CONTROLLERS, "cpu") if name in available)
    return dict.fromkeys(controllers, own) if _enable_below(own, controllers) else {}


def _enable_below(own: Path, controllers: tuple[str, ...]) -> bool:
    """Delegate controllers to children of our group; its processes must first sit in a leaf ("no internal processes")."""
    if _enable(own, controllers):
        return True
    leaf = own / "execd-service"
    try:
        leaf.mkdir(exist_ok=True)
        (leaf / "cgroup.procs").write_text(str(os.getpid()))
    except OSError:
        return False
    if _enable(own, controllers):
        return True
    with contextlib.suppress(OSError):  # others live in our group: leave it as it was
        (own / "cgroup.procs").write_text(str(os.getpid()))
        leaf.rmdir()
    return False


def _enable(directory: Path, controllers: tuple[str, ...]) -> bool:
    try:
        (directory / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in controllers))
    except OSError:
        return False
    return True


def sweep_groups(base: Path) -> list[str]:
    """Kill and remove the groups of dead execd processes; give their names."""
    abandoned = [entry for entry in base.glob(f"{PREFIX}*-*-*-*") if is_abandoned(entry.name)]
    for entry in abandoned:
        log.info("cgroup_swept", cgroup=str(entry), removed=_remove_dying(entry))
    return [entry.name for entry in abandoned]


def _remove_dying(parent: Path) -> bool:
    """Remove a group whose members were just killed: the kernel keeps it until the last of them has gone."""
    for _ in range(DYING_LOOKS):
        if remove_tree(parent):
            return True
        time.sleep(DYING_LOOK_S)
    return False


def remove_tree(parent: Path) -> bool:
    """Kill and remove a group and its children; False when something would not go."""
    children = [entry for entry in parent.iterdir() if entry.is_dir()] if parent.is_dir() else []
    for child in children:
        _kill_members(child)
    return all([*(_remove(child) for child in children), _remove(parent)])


def _kill_members(directory: Path) -> None:
    with contextlib.suppress(OSError):
        for pid in (directory / "cgroup.procs").read_text().split():
            os.kill(int(pid), signal.SIGKILL)


def _remove(directory: Path) -> bool:
    try:
        directory.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _keyed(text: str) -> dict[str, int]:
    """Read lines of `name number`."""
    pairs = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def _number(text: str) -> int | None:
    return int(text) if text.strip().isdigit() else None
