"""Attempts to get out of a sandbox, or to lie about what happened in it; each is an attack that worked on somebody.

Source: notes/code-execution.md 2.2 and 8F. The scripts print what they managed; the tests want to read nothing.
"""

# ruff: noqa: E501 - attacks are quoted as they are

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from execd.adapters.local_sandbox import LocalRunner
from execd.core.errors import RunnerUnavailableError
from tests.support.local_runs import (
    finish,
    open_runner,
    prepare,
    processes_with,
    receive_until,
    request_for,
    run,
    wait_until,
)

pytestmark = pytest.mark.slow


@pytest.fixture(params=["cold", "warm"])
async def runner(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[LocalRunner]:
    async with open_runner(tmp_path, request.param) as opened:
        yield opened


async def test_no_system_file_can_be_opened_for_writing(runner: LocalRunner) -> None:
    """Started by root, bubblewrap leaves 763 sysctl files writable; `core_pattern` alone is root on the host."""
    source = """
import os
for top in ("/proc/sys", "/usr/bin", "/etc", "/dev", "/.execd", "/sys"):
    for folder, _, names in os.walk(top):
        for name in names:
            path = os.path.join(folder, name)
            if path in ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/ptmx", "/dev/pts/ptmx"):
                continue
            if os.path.islink(path): continue
            try:
                os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK)); print("writable", path)
            except OSError: pass
for path in ("/x", "/usr/x", "/dev/x", "/etc/x", "/.execd/x", "/proc/x"):
    try:
        open(path, "w"); print("created", path)
    except OSError: pass
"""
    seen = await run(runner, source)

    assert seen.stdout == b""
    assert seen.reason == "succeeded", seen.stderr


async def test_nothing_but_the_three_streams_is_open(runner: LocalRunner) -> None:
    """An inherited descriptor is a door: the control socket, the record pipe, another run's output, the database."""
    source = "import os\nfor n in sorted(os.listdir('/proc/self/fd')):\n    try: print(n, os.readlink('/proc/self/fd/' + n)[:5])\n    except OSError: pass"

    seen = await run(runner, source)
    shell = await run(runner, "cd /proc/self/fd; echo *", "bash")

    assert seen.stdout.split() == [b"0", b"pipe:", b"1", b"pipe:", b"2", b"pipe:"], seen.stdout
    assert set(shell.stdout.split()) <= {b"0", b"1", b"2", b"3", b"255"}


async def test_the_shim_cannot_be_killed_stopped_or_confused(runner: LocalRunner) -> None:
    """Without its supervisor a run could outlive its limits or forge its own end."""
    source = """
import os, signal
for number in range(1, 65):
    try: os.kill(1, number)
    except OSError as e: print(number, e)
print("tried")
"""
    seen = await run(runner, source)

    assert seen.stdout == b"tried\n"
    assert seen.reason == "succeeded"


async def test_the_shims_descriptors_and_memory_cannot_be_opened(runner: LocalRunner) -> None:
    """Whoever writes to the record pipe writes the verdict."""
    source = """
import os, ctypes
for path in ("/proc/1/fd", "/proc/1/mem", "/proc/1/environ", "/proc/1/maps", "/proc/1/cwd", "/proc/1/root"):
    try:
        print("opened", path, os.listdir(path) if os.path.isdir(path) else open(path, "rb").read(1))
    except OSError: pass
for fd in range(3, 40):
    try:
        os.open(f"/proc/1/fd/{fd}", os.O_WRONLY); print("fd", fd)
    except OSError: pass
libc = ctypes.CDLL(None, use_errno=True)
print(libc.syscall(438, os.pidfd_open(1), 3, 0), libc.ptrace(16, 1, 0, 0))
"""
    seen = await run(runner, source)

    assert seen.stdout == b"-1 -1\n", seen.stderr


async def test_forged_records_on_the_output_are_output(runner: LocalRunner) -> None:
    """The verdict comes through its own pipe; text that looks like one is only text."""
    source = 'print(\'{"type":"exit","exit_code":0,"signal":null}\'); raise SystemExit(9)'

    seen = await run(runner, source)

    assert seen.outcome.exit_code == 9


async def test_kernel_doors_are_shut(runner: LocalRunner) -> None:
    """Each of these calls has been the first step of an escape."""
    source = """
import ctypes, errno, os, socket, fcntl
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *args):
    ctypes.set_errno(0)
    result = libc.syscall(*args)
    code = ctypes.get_errno()
    if result >= 0 or code not in (errno.EPERM, errno.ENOSYS): print("allowed", name, result, errno.errorcode.get(code))
call("unshare user", 272, 0x10000000)
call("unshare mount", 272, 0x00020000)
call("setns", 308, 0, 0)
call("mount", 165, b"none", b"/tmp", b"tmpfs", 0, 0)
call("pivot_root", 155, b"/tmp", b"/tmp")
call("chroot", 161, b"/tmp")
call("ptrace", 101, 0, 0, 0, 0)
call("process_vm_readv", 310, 1, 0, 0, 0, 0, 0)
call("kcmp", 312, 1, 1, 0, 0, 0)
call("bpf", 321, 0, 0, 0)
call("perf_event_open", 298, 0, 0, -1, -1, 0)
call("userfaultfd", 323, 0)
call("io_uring_setup", 425, 1, 0)
call("add_key", 248, b"user", b"x", b"y", 1, -3)
call("keyctl", 250, 0, -3, 0)
call("request_key", 249, b"user", b"x", 0, -3)
call("open_by_handle_at", 304, -1, 0, 0)
call("init_module", 175, 0, 0, 0)
call("kexec_load", 246, 0, 0, 0, 0)
call("reboot", 169, 0, 0, 0, 0)
call("clone newuser", 56, 0x10000000 | 17, 0, 0, 0, 0)
call("clone3", 435, 0, 0)
call("syslog", 103, 3, 0, 0)
for family in (16, 17, 38, 40):
    try:
        socket.socket(family, socket.SOCK_RAW if family < 20 else socket.SOCK_STREAM); print("socket", family)
    except OSError: pass
master, slave = os.openpty()
for request in (0x5412, 0x5412 | 1 << 32):
    ctypes.set_errno(0)
    if libc.ioctl(slave, ctypes.c_ulong(request), b"x") == 0 or ctypes.get_errno() != errno.EPERM: print("ioctl", hex(request))
"""
    if os.uname().machine != "x86_64":
        pytest.skip("these are call numbers of x86_64: `make test` on such a machine")

    seen = await run(runner, source)

    assert seen.stdout == b"", seen.stderr
    assert seen.reason == "succeeded", seen.stderr


async def test_privileges_are_gone_and_stay_gone(runner: LocalRunner) -> None:
    """No capability, no set-user-id, no other user."""
    source = """
import os
status = dict(l.split(":", 1) for l in open("/proc/self/status") if ":" in l)
print([status[k].strip() for k in ("CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb", "NoNewPrivs", "Seccomp")], os.getresuid(), os.getgroups())
for call in (lambda: os.setuid(0), lambda: os.setgroups([0])):
    try: call(); print("became")
    except OSError: pass
"""
    seen = await run(runner, source)

    zero = "0" * 16
    assert eval(seen.stdout.decode().split(" (")[0]) == [zero] * 5 + ["1", "2"]
    assert b"(65534, 65534, 65534)" in seen.stdout
    assert b"became" not in seen.stdout


async def test_the_network_is_unreachable(runner: LocalRunner, tmp_path: Path) -> None:
    """Neither the internet, nor the cloud's metadata address, nor execd's own port, nor its sockets by name."""
    with await open_listener() as listener:
        port = listener.socket.getsockname()[1]
        source = f"""
import socket
for address in (("127.0.0.1", {port}), ("169.254.169.254", 80), ("192.0.2.1", 80)):
    try: socket.create_connection(address, 0.5); print("connected", address)
    except OSError: pass
s = socket.socket(socket.AF_UNIX)
try: s.connect("\\0execd-escape-test"); print("abstract")
except OSError: pass
"""
        seen = await run(runner, source)

    assert seen.stdout == b""


class open_listener:  # noqa: N801 - used like a function
    """A TCP listener on loopback and an abstract socket, as a service has them."""

    def __await__(self):  # type: ignore[no-untyped-def]
        return self._open().__await__()

    async def _open(self) -> open_listener:
        import socket

        self.socket = socket.create_server(("127.0.0.1", 0))
        self.abstract = socket.socket(socket.AF_UNIX)
        self.abstract.bind("\0execd-escape-test")
        self.abstract.listen()
        return self

    def __enter__(self) -> open_listener:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()
        self.abstract.close()


async def test_scratch_space_is_bounded(runner: LocalRunner) -> None:
    """A tmpfs without a size grows to half of the machine's memory."""
    source = """
import os
for place in ("/tmp", "/box", "/dev/shm"):
    written = 0
    try:
        for n in range(2000):
            with open(f"{place}/{n}", "wb", buffering=0) as f:
                written += f.write(b"x" * (1 << 20))
    except OSError as e: pass
    print(place, written >> 20)
    for n in range(2000):
        try: os.unlink(f"{place}/{n}")
        except OSError: break
"""
    seen = await run(runner, source, limits={"file_bytes": 64 << 20})

    sizes = dict(line.split() for line in seen.stdout.decode().splitlines())
    assert int(sizes["/tmp"]) <= 64
    assert int(sizes["/box"]) <= 64
    assert int(sizes["/dev/shm"]) <= 16


async def test_a_background_child_cannot_hold_the_end_back(runner: LocalRunner) -> None:
    """A child that keeps the pipe open would otherwise hold a finished run for ever."""
    source = (
        "import os, time\nif os.fork() == 0:\n    os.setsid(); time.sleep(60)\nprint('done')\nimport os; os._exit(0)"
    )

    with trio.fail_after(5):
        seen = await run(runner, source)

    assert seen.stdout == b"done\n"
    assert seen.reason == "succeeded"


async def test_a_neighbours_files_memory_and_processes_are_invisible(runner: LocalRunner) -> None:
    """Two tenants run at one time under one uid of this machine."""
    pod = await prepare(
        runner,
        "open('/tmp/secret','w').write('x'); open('/box/secret','w').write('x'); open('/dev/shm/secret','w').write('x')\nprint('go'); input()",
        stdin_open=True,
    )
    first = await receive_until(pod, b"go")
    source = """
import os
print([p for p in ("/tmp/secret", "/box/secret", "/dev/shm/secret") if os.path.exists(p)], sorted(int(p) for p in os.listdir("/proc") if p.isdigit()) == [1, os.getpid()])
"""
    second = await run(runner, source)
    pod.close_stdin_nowait()
    await finish(first)
    await pod.close()

    assert second.stdout == b"[] True\n"


async def test_a_fork_bomb_next_door_starves_nobody(runner: LocalRunner) -> None:
    """Limits on processes must be counted per run, not per user of the machine."""
    bomb = "import os, time\nprint('go')\nwhile True:\n    try:\n        if os.fork() == 0: time.sleep(60)\n    except OSError: time.sleep(0.01)"
    pods = [await prepare(runner, bomb, limits={"processes": 40}) for _ in range(2)]
    for pod in pods:
        await receive_until(pod, b"go")

    source = "import os, time\nn = 0\nfor i in range(30):\n    if os.fork() == 0: time.sleep(5); os._exit(0)\n    n += 1\nprint(n); os._exit(0)"
    seen = await run(runner, source, limits={"processes": 40})
    for pod in pods:
        await pod.close()

    assert seen.stdout == b"30\n", seen.stderr


async def test_nothing_of_the_service_is_in_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Tokens live in the service's environment."""
    monkeypatch.setenv("EXECD_TEST_SECRET", "hush")
    source = """
import os, subprocess
found = [open(f"/proc/{p}/environ").read() for p in ("self",)]
print(sorted(os.environ), found)
"""
    for kind in ("cold", "warm", "none"):
        async with open_runner(tmp_path / kind, kind) as runner:
            seen = await run(runner, source)
            shell = await run(runner, "env; cat /proc/self/environ", "bash")
        assert b"SECRET" not in seen.stdout + shell.stdout
        assert b"hush" not in seen.stdout + shell.stdout


async def test_links_in_place_of_input_files_are_not_followed(runner: LocalRunner) -> None:
    """Judge0 fell three times to links that root followed; here nothing outside ever opens a path of the sandbox."""
    seen = await run(
        runner, "import os; os.symlink('/etc/passwd', 'out'); os.remove('main.py'); os.symlink('/', 'main.py')"
    )

    assert seen.reason == "succeeded"


async def test_sandboxes_live_longer_than_trios_worker_threads(tmp_path: Path) -> None:
    """`--die-with-parent` follows the parent *thread*: one started on a worker dies after exactly ten idle seconds."""
    async with open_runner(tmp_path, "warm") as runner:
        old = await prepare(runner, "print('go'); input(); print('alive')", stdin_open=True)
        seen = await receive_until(old, b"go")
        before = time.monotonic()
        await wait_for_workers_to_end()
        assert time.monotonic() - before >= 9
        old.send_stdin_nowait(b"\n")
        await finish(seen)
        await old.close()
        warm = await run(runner, "print(1)")

    assert seen.stdout == b"go\nalive\n"
    assert (warm.pod.started_from, warm.stdout) == ("warm", b"1\n")


async def wait_for_workers_to_end() -> None:
    """Start a worker thread of trio's and wait until it has died of idleness."""
    worker = await trio.to_thread.run_sync(threading.current_thread)
    await wait_until(lambda: not worker.is_alive())


async def test_root_is_refused_as_the_user_of_sandboxes(tmp_path: Path) -> None:
    """Bubblewrap started by uid 0 is no sandbox, so there is no sandbox."""
    if os.geteuid() != 0:
        pytest.skip("only root can be refused: `sudo make test`")

    async with open_runner(tmp_path, "cold", uid=0) as runner:
        report = await runner.report()
        with pytest.raises(RunnerUnavailableError, match="root"):
            runner.prepare(request_for("print(1)"))

    assert not report.ready


async def test_sandboxes_die_with_execd(tmp_path: Path) -> None:
    """`kill -9` of the service must not leave programs running that nobody watches."""
    source = f"""
import sys, trio
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from tests.support.local_runs import open_runner, prepare, receive_until
async def main():
    async with open_runner(Path({str(tmp_path)!r}), sys.argv[1]) as runner:
        pod = await prepare(runner, "import subprocess; p = subprocess.Popen(['sleep', '86390']); print('go'); p.wait()")
        await receive_until(pod, b"go")
        print(runner.directory, *runner.cgroups.directories, flush=True)
        await trio.sleep_forever()
trio.run(main)
"""
    for kind in ("cold", "none"):
        service = subprocess.Popen([sys.executable, "-c", source, kind], stdout=subprocess.PIPE)  # noqa: ASYNC220 - it is to be killed like a service
        assert service.stdout is not None
        left = [Path(text) for text in (await trio.to_thread.run_sync(service.stdout.readline)).decode().split()]
        service.kill()
        service.wait()
        service.stdout.close()

        await wait_until(lambda: not processes_with("86390"))
        async with open_runner(tmp_path, kind):
            assert left
            assert not [path for path in left if path.exists()]
