"""One started sandbox: its processes, pipes, sockets, cgroup and work directory, and nothing about scripts or frames.

A `Sandbox` is made by `SandboxLauncher.launch` and is used once. Owns every descriptor it opened and the processes behind
them; `bury` gives all of it back.

Children are started from the thread that runs trio, never by trio's own process functions: `--die-with-parent` follows the
parent *thread*, and trio's worker threads end after ten idle seconds (prctl(2), PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import structlog
import trio

from execd.adapters.bubblewrap import (
    BOX,
    SHIM_DIRECTORY,
    Enclosure,
    bubblewrap_arguments,
    lower_user_prefix,
)
from execd.adapters.cgroups import Cgroup, CgroupTree, CgroupUsage
from execd.adapters.seccomp import compiled_filter
from execd.core.specs import Limits

log = structlog.get_logger()

DIAGNOSTICS_LIMIT_BYTES = 8192
CREDENTIALS = struct.Struct("3i")


class LaunchSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What all sandboxes of one runner share."""

    isolation: str
    """`bubblewrap` or `none`."""
    python: Path
    """The interpreter the shim runs under, as it is found inside."""
    shim_directory: Path
    box_parent: Path
    """Where work directories lie when there is no bubblewrap."""
    lower_user: tuple[int, int] | None
    """uid and gid to switch to before bubblewrap; None when execd is not root."""


class Blueprint(msgspec.Struct, frozen=True, kw_only=True):
    """What must be known before a sandbox starts; two with the same blueprint are interchangeable."""

    interpreter: tuple[str, ...]
    """How to start the shim, without its file: `/usr/bin/python3 -u`."""
    preload: tuple[str, ...] = ()
    enclosure: Enclosure


class Sandbox:
    """A shim and its waiting child, reachable through two sockets and four pipes."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], fds: SandboxDescriptors) -> None:
        self.name = name
        self.fds = fds
        self.pidfd = os.pidfd_open(process.pid)
        self.shim_pidfd: int | None = None
        """The shim inside bubblewrap; None until it said hello, or when it is our direct child."""
        self.child_pid: int | None = None
        self.cgroup: Cgroup | None = None
        self.box: Path | None = None
        """The work directory on disk, when there is no bubblewrap."""
        self._process = process
        self._greeters = [fds.control, fds.script]
        self._is_buried = False

    @property
    def pid(self) -> int:
        return self._process.pid

    async def wait_ready(self) -> bool:
        """Wait until shim and child said hello, and learn their process ids; False when they died instead.

        Cancellation: safe; may be called again.
        """
        while self._greeters:
            await trio.lowlevel.wait_readable(self._greeters[0])
            greeter = self._greeters.pop(0)
            pid = _read_greeting(greeter)
            if pid is None:
                return False
            if greeter is self.fds.script:
                self.child_pid = pid
            elif pid != self.pid and not self._watch_shim(pid):
                return False
        return True

    def _watch_shim(self, pid: int) -> bool:
        """False where there is no descriptor for it: a sandbox that cannot be watched is none."""
        try:
            self.shim_pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return True
        except OSError as error:
            log.warning("shim_not_watched", sandbox=self.name, error=str(error))
            return False
        return True

    def enter_cgroup(self, cgroup: Cgroup | None) -> bool:
        """Put the waiting child, and so the program, into its group; False when the child is gone."""
        self.cgroup = cgroup
        if cgroup is None:
            return True
        try:
            cgroup.add(self.child_pid or 0)
        except OSError as error:
            log.warning("cgroup_refused_process", sandbox=self.name, error=str(error))
            return False
        return True

    def is_alive(self) -> bool:
        """Look at the process table, without waiting."""
        return not _is_readable(self.pidfd)

    def is_gone(self) -> bool:
        """Whether bubblewrap and the shim, and with it everything inside, have ended."""
        return all(_is_readable(fd) for fd in (self.pidfd, self.shim_pidfd) if fd is not None)

    def kill(self) -> None:
        """Kill everything at once. Idempotent."""
        if self._is_buried:
            return
        for fd in (self.pidfd, self.shim_pidfd):
            if fd is not None:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(fd, signal.SIGKILL)
        if self.box is not None and self.child_pid is not None and not self.is_gone():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.child_pid, signal.SIGKILL)
        if self.cgroup is not None:
            self.cgroup.kill()

    def diagnostics(self) -> str:
        """Give what bubblewrap or the shim complained about, if anything."""
        try:
            return os.read(self.fds.diagnostics, DIAGNOSTICS_LIMIT_BYTES).decode(errors="replace").strip()
        except (BlockingIOError, OSError):
            return ""

    async def put_away(self) -> None:
        """Kill what still runs and give everything back. Idempotent. Whoever waits bounds it."""
        self.kill()
        if not self._is_buried:
            for fd in (self.pidfd, self.shim_pidfd):
                if fd is not None:
                    await trio.lowlevel.wait_readable(fd)
            self.bury()
        await self.remove_cgroup()

    def bury(self) -> CgroupUsage:
        """Take the exit status, measure, remove the directory and close every descriptor. Only when `is_gone`. Idempotent.

        The cgroup itself is removed by `remove_cgroup`, because the kernel may need a moment more.
        """
        usage = self.cgroup.usage() if self.cgroup is not None and not self._is_buried else CgroupUsage()
        if self._is_buried:
            return usage
        self._is_buried = True
        self._process.wait()
        if self.box is not None:
            shutil.rmtree(self.box, ignore_errors=True)
        self.fds.close()
        for fd in (self.pidfd, self.shim_pidfd):
            if fd is not None:
                os.close(fd)
        return usage

    async def remove_cgroup(self) -> None:
        """Remove the group; tries for as long as the kernel buries its last process. Whoever waits bounds it."""
        while self.cgroup is not None and not self.cgroup.remove():
            self.cgroup.kill()
            await trio.sleep(0.002)
        self.cgroup = None


class SandboxDescriptors:
    """execd's ends of everything that connects it to one sandbox. All of them non-blocking."""

    def __init__(self) -> None:
        with contextlib.ExitStack() as undo:
            self.control, control = _socket_pair(undo)
            self.script, script = _socket_pair(undo)
            self.record, record = _pipe(undo)
            stdin, self.stdin = _pipe(undo)
            self.stdout, stdout = _pipe(undo)
            self.stderr, stderr = _pipe(undo)
            self.diagnostics, self._diagnostics_end = _pipe(undo)
            undo.pop_all()
        self._their_sockets = (control, script)
        self._their_pipes: tuple[int, ...] = (record, stdin, stdout, stderr)
        self._is_stdin_open = True
        for greeter in (self.control, self.script):
            greeter.setblocking(False)  # noqa: FBT003 - its only signature
            # The kernel then says who greets, in our numbers: the only way out of a process namespace.
            greeter.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        for fd in (self.record, self.stdin, self.stdout, self.stderr, self.diagnostics):
            os.set_blocking(fd, False)

    @property
    def inherited(self) -> tuple[int, ...]:
        """The shim's ends, in the order of its command line."""
        return (*(end.fileno() for end in self._their_sockets), *self._their_pipes)

    @property
    def diagnostics_end(self) -> int:
        return self._diagnostics_end

    def close_theirs(self) -> None:
        """Close the other ends here, once the sandbox has them; without it no end-of-file would ever come."""
        for end in self._their_sockets:
            end.close()
        for fd in (*self._their_pipes, self._diagnostics_end):
            os.close(fd)
        self._their_pipes = ()

    def close_stdin(self) -> None:
        """Let the program see end-of-file. Idempotent."""
        if self._is_stdin_open:
            self._is_stdin_open = False
            os.close(self.stdin)

    @property
    def is_stdin_open(self) -> bool:
        return self._is_stdin_open

    def close(self) -> None:
        self.control.close()
        self.script.close()
        self.close_stdin()
        for fd in (self.record, self.stdout, self.stderr, self.diagnostics):
            os.close(fd)


def _socket_pair(undo: contextlib.ExitStack) -> tuple[socket.socket, socket.socket]:
    pair = socket.socketpair()
    for end in pair:
        undo.callback(end.close)
    return pair


def _pipe(undo: contextlib.ExitStack) -> tuple[int, int]:
    ends = os.pipe()
    for fd in ends:
        undo.callback(os.close, fd)
    return ends


def _watch(name: str, process: subprocess.Popen[bytes], fds: SandboxDescriptors) -> Sandbox:
    try:
        return Sandbox(name, process, fds)
    except OSError:  # no descriptor left to watch it with
        process.kill()
        process.wait()
        raise


class SandboxLauncher:
    """Starts sandboxes. Never blocks but for the vfork itself, about 0.3 ms."""

    def __init__(self, settings: LaunchSettings, cgroups: CgroupTree) -> None:
        self.settings = settings
        self.cgroups = cgroups

    @property
    def is_enclosed(self) -> bool:
        return self.settings.isolation == "bubblewrap"

    def launch(self, name: str, blueprint: Blueprint) -> Sandbox:
        """Start a sandbox whose child waits for its script.

        Raises:
            OSError: the machine has no such program, or no more processes or descriptors.
        """
        fds = SandboxDescriptors()
        box = None if self.is_enclosed else self._make_box(name)
        try:
            try:
                process = self._spawn(blueprint, fds, box)
            finally:
                fds.close_theirs()
            sandbox = _watch(name, process, fds)
        except BaseException:
            fds.close()
            if box is not None:
                shutil.rmtree(box, ignore_errors=True)
            raise
        sandbox.box = box
        return sandbox

    async def make_ready(self, sandbox: Sandbox, limits: Limits) -> bool:
        """Wait until the child waits for its script inside its cgroup; False when there is no child.

        Cancellation: the sandbox stays as it is; kill and bury it.
        """
        if not self.cgroups.controllers:
            return await sandbox.wait_ready()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, self.cgroups.prime)
            is_ready = await sandbox.wait_ready()
        return is_ready and await trio.to_thread.run_sync(self._place, sandbox, limits)

    def _place(self, sandbox: Sandbox, limits: Limits) -> bool:
        try:
            cgroup = self.cgroups.make(sandbox.name, limits)
        except OSError as error:
            log.warning("cgroup_not_made", sandbox=sandbox.name, error=str(error))
            return False
        return sandbox.enter_cgroup(cgroup)

    def _make_box(self, name: str) -> Path:
        box = self.settings.box_parent / name
        box.mkdir(mode=0o700)
        return box

    def _spawn(self, blueprint: Blueprint, fds: SandboxDescriptors, box: Path | None) -> subprocess.Popen[bytes]:
        if box is not None:
            command = self._shim_command(blueprint, self.settings.shim_directory, fds.inherited, "plain")
            return _popen(command, fds, (), cwd=box)
        command = self._shim_command(blueprint, Path(SHIM_DIRECTORY), fds.inherited, "init")
        with _filter_descriptor() as seccomp_fd:
            arguments = bubblewrap_arguments(
                blueprint.enclosure,
                command,
                shim_directory=self.settings.shim_directory,
                seccomp_fd=seccomp_fd,
            )
            prefix = lower_user_prefix(*self.settings.lower_user) if self.settings.lower_user else []
            return _popen([*prefix, *arguments], fds, (seccomp_fd,), cwd=Path("/"))

    def _shim_command(self, blueprint: Blueprint, directory: Path, inherited: Sequence[int], role: str) -> list[str]:
        numbers = [str(fd) for fd in inherited]
        return [*blueprint.interpreter, str(directory / "shim.pyc"), *numbers, role, *blueprint.preload]

    def directory_of(self, sandbox: Sandbox) -> str:
        """Give the working directory as the program sees it."""
        return BOX if sandbox.box is None else str(sandbox.box)


def _popen(
    command: Sequence[str], fds: SandboxDescriptors, more_fds: tuple[int, ...], *, cwd: Path
) -> subprocess.Popen[bytes]:
    # All three standard streams are the diagnostics pipe: Python then makes its stream objects for pipes, as it would
    # for the program's own, which the child puts in their place. A session of its own keeps Ctrl-C on a terminal away.
    return subprocess.Popen(
        command,
        stdin=fds.diagnostics_end,
        stdout=fds.diagnostics_end,
        stderr=fds.diagnostics_end,
        pass_fds=(*fds.inherited, *more_fds),
        cwd=cwd,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LANG": "C.UTF-8"},
        start_new_session=True,
    )


@contextlib.contextmanager
def _filter_descriptor() -> Iterator[int]:
    fd = os.memfd_create("seccomp")
    try:
        os.write(fd, compiled_filter())
        os.lseek(fd, 0, os.SEEK_SET)
        yield fd
    finally:
        os.close(fd)


def _read_greeting(greeter: socket.socket) -> int | None:
    """Take one byte and the sender's process id as we know it."""
    try:
        data, ancillary, _, _ = greeter.recvmsg(1, socket.CMSG_SPACE(CREDENTIALS.size))
    except OSError:
        return None
    for level, kind, content in ancillary:
        if data and level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
            return int(CREDENTIALS.unpack(content)[0])
    return None


def _is_readable(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))
