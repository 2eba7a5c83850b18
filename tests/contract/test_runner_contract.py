"""What every Runner promises, on the real local one: cold in bubblewrap, warm in bubblewrap, and without a sandbox."""

from __future__ import annotations

import hashlib
import os
import resource
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import trio
import trio.testing

from execd.adapters.local_pod import STRAGGLERS_S, LocalPod
from execd.adapters.local_sandbox import LocalRunner
from execd.core.errors import ConfigurationError, ConflictError, OverloadedError
from execd.core.events import Status
from execd.core.specs import InputFile
from execd.ports import Chunk, Dropped, Exited, Started
from tests.support.local_runs import (
    PATIENCE_S,
    Seen,
    finish,
    follow,
    is_running,
    open_descriptors,
    open_runner,
    prepare,
    processes_with,
    receive_until,
    request_for,
    run,
    run_request,
    wait_until,
)

pytestmark = pytest.mark.slow


@pytest.fixture(params=["cold", "warm", "none"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def runner(kind: str, tmp_path: Path) -> AsyncIterator[LocalRunner]:
    async with open_runner(tmp_path, kind) as opened:
        yield opened


# --- frames and bytes -----------------------------------------------------------------------------------------------


async def test_a_run_is_started_output_exited(runner: LocalRunner, kind: str) -> None:
    """The order of frames is what the saga's machine is built on."""
    seen = await run(runner, "print(1)")

    assert isinstance(seen.frames[0], Started)
    assert seen.stdout == b"1\n"
    assert isinstance(seen.frames[-1], Exited)
    assert seen.reason == "succeeded"
    assert seen.pod.started_from == ("warm" if kind == "warm" else "cold")
    assert seen.pod.isolation == ("none" if kind == "none" else "bubblewrap")


async def test_bytes_arrive_exactly(runner: LocalRunner) -> None:
    """Programs write bytes, not text: invalid UTF-8, NUL and CR must survive."""
    source = "import sys; sys.stdout.buffer.write(bytes(range(256)) * 3 + b'\\xff\\xfe\\x00\\r\\n')"

    seen = await run(runner, source)

    assert seen.stdout == bytes(range(256)) * 3 + b"\xff\xfe\x00\r\n"


async def test_five_mebibytes_arrive_whole_in_chunks_of_at_most_64_kib(runner: LocalRunner) -> None:
    """Large output must neither be cut nor held in one piece."""
    source = """
import hashlib, os, sys
data = os.urandom(5 << 20)
sys.stdout.buffer.write(data)
sys.stderr.write(hashlib.sha256(data).hexdigest())
"""
    seen = await run(runner, source)

    assert hashlib.sha256(seen.stdout).hexdigest().encode() == seen.stderr
    assert max(len(frame.data) for frame in seen.frames if isinstance(frame, Chunk)) <= 64 * 1024
    assert seen.exited.record is not None
    assert seen.exited.record.stdout_bytes == 5 << 20


async def test_stdout_and_stderr_stay_apart(runner: LocalRunner) -> None:
    """Results on stdout must not be mixed with complaints on stderr."""
    seen = await run(runner, "import sys; print('out'); print('err', file=sys.stderr)")

    assert (seen.stdout, seen.stderr) == (b"out\n", b"err\n")


async def test_output_arrives_while_the_program_runs(runner: LocalRunner) -> None:
    """Live output is the point; a program that waits for input has said its prompt before."""
    pod = await prepare(runner, "print('ready'); print(input()[::-1])", stdin_open=True)

    seen = await receive_until(pod, b"ready")
    pod.send_stdin_nowait(b"abc\n")
    await finish(seen)
    await pod.close()

    assert seen.stdout == b"ready\ncba\n"


async def test_receive_can_be_cancelled_without_loss(runner: LocalRunner) -> None:
    """Callers put deadlines around receive; a frame that was read must not be dropped with the cancelled call."""
    pod = await prepare(runner, "for i in range(300): print(i)")
    seen = Seen(pod)

    await pod.start()
    with trio.fail_after(PATIENCE_S):
        while not seen.frames or not isinstance(seen.frames[-1], Exited):
            with trio.move_on_after(0.0005):
                seen.frames.append(await pod.receive())
    await pod.close()

    assert seen.stdout == b"".join(b"%d\n" % i for i in range(300))


@pytest.mark.behaviour(25)
async def test_output_beyond_the_limit_is_dropped_counted_and_said(runner: LocalRunner) -> None:
    """The program goes on, its first bytes are kept, and nobody believes that this was all."""
    source = "import os; os.write(1, b'a' * 700); os.write(2, b'b' * 700); os.write(1, b'c' * 1000); print('end')"

    seen = await run(runner, source, limits={"output_bytes": 1000})

    assert len(seen.stdout) + len(seen.stderr) == 1000
    assert sum(seen.dropped.values()) == 700 + 700 + 1000 + 4 - 1000
    assert [type(frame) for frame in seen.frames[-3:]].count(Dropped) == len(seen.dropped)
    assert seen.reason == "succeeded"


async def test_a_program_nobody_receives_from_waits(runner: LocalRunner) -> None:
    """Back-pressure: memory for unread output is bounded by the pipe."""
    source = "import os, sys\nfor i in range(64): os.write(1, b'x' * 65536)\n"
    pod = await prepare(runner, source)

    await pod.start()
    await trio.testing.wait_all_tasks_blocked(0.05)
    assert pod.process_id is not None
    seen = await finish(Seen(pod))
    await pod.close()

    assert len(seen.stdout) == 64 * 65536


# --- stdin, arguments, files, environment ---------------------------------------------------------------------------


async def test_without_stdin_there_is_end_of_file(runner: LocalRunner) -> None:
    """A program that reads stdin must not hang for ever."""
    seen = await run(runner, "import sys; print(repr(sys.stdin.read()))")

    assert seen.stdout == b"''\n"


async def test_fixed_stdin_is_read_as_it_is(runner: LocalRunner) -> None:
    """Nothing is appended; a megabyte passes through a pipe of 64 KiB."""
    text = "zeile ä\n" * 150_000

    seen = await run(runner, "import sys, hashlib; print(hashlib.md5(sys.stdin.buffer.read()).hexdigest())", stdin=text)

    assert seen.stdout.decode().strip() == hashlib.md5(text.encode()).hexdigest()


async def test_live_stdin_ends_when_closed(runner: LocalRunner) -> None:
    """Programs that read to the end must be able to get there."""
    pod = await prepare(runner, "import sys; print('go'); print(len(sys.stdin.read()))", stdin_open=True)

    seen = await receive_until(pod, b"go")
    pod.send_stdin_nowait(b"12345")
    pod.close_stdin_nowait()
    pod.close_stdin_nowait()
    await finish(seen)

    assert seen.stdout == b"go\n5\n"
    with pytest.raises(ConflictError):
        pod.send_stdin_nowait(b"more")
    await pod.close()


async def test_stdin_nobody_reads_is_refused_beyond_its_buffer(runner: LocalRunner) -> None:
    """A viewer that pastes into a program that does not read must not fill our memory."""
    pod = await prepare(runner, "print('go'); import time; time.sleep(60)", stdin_open=True)

    await receive_until(pod, b"go")
    with pytest.raises(OverloadedError):
        send_repeatedly(pod, 40)
    await pod.close()


def send_repeatedly(pod: LocalPod, count: int) -> None:
    for _ in range(count):
        pod.send_stdin_nowait(b"x" * 65536)


async def test_arguments_environment_and_files_are_there(runner: LocalRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the request names is there, and what the service has in its environment is not."""
    monkeypatch.setenv("EXECD_TEST_SECRET", "hush")
    source = "import sys, os, helper; print(sys.argv, os.environ['A'], open('d/in.bin','rb').read(), helper.x, sorted(os.environ))"
    files = (
        InputFile(path="d/in.bin", base64="AP8="),
        InputFile(path="helper.py", text="x = 42"),
    )

    seen = await run(runner, source, args=("1", "zwei"), env={"A": "b c"}, files=files)

    assert seen.stdout.startswith(b"['main.py', '1', 'zwei'] b c b'\\x00\\xff' 42 "), seen.stderr
    assert b"SECRET" not in seen.stdout


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x", ""])
async def test_files_stay_in_the_working_directory(runner: LocalRunner, path: str) -> None:
    """An input file must not be able to replace anything of the machine or the service."""
    with pytest.raises(ConfigurationError):
        await prepare(runner, "", files=(InputFile(path=path, text="x"),))


# --- ends -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "reason", "code"),
    [
        ("", "succeeded", 0),
        ("raise SystemExit(7)", "exit", 7),
        ("import sys; sys.exit('no')", "exit", 1),
        ("1/0", "exit", 1),
        ("import os; os._exit(137)", "exit", 137),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "signal:SEGV", None),
        ("import os, signal; os.kill(os.getpid(), 9)", "signal:KILL", None),
        ("raise KeyboardInterrupt", "signal:INT", None),
        ("import os; os.abort()", "signal:ABRT", None),
        ("def f(:", "exit", 1),
    ],
)
async def test_each_end_has_its_name(runner: LocalRunner, source: str, reason: str, code: int | None) -> None:
    """An exit code of 137 is not a SIGKILL, and nobody may guess."""
    seen = await run(runner, source)

    assert (seen.reason, seen.outcome.exit_code) == (reason, code), seen.stderr


async def test_a_command_that_is_not_there_is_a_fault_of_the_configuration(runner: LocalRunner) -> None:
    """`exit 127` from a shell and a missing interpreter need different mending."""
    plan = runner.plan_command("bash", ("no-such-program",))

    seen = await follow(pod := runner.make_pod(plan, stem="x"))
    await pod.close()

    assert seen.reason == "config:command"
    assert seen.exited.record is not None
    assert seen.exited.record.exec_error == "ENOENT"


@pytest.mark.behaviour(30)
async def test_daemonised_children_are_gone(runner: LocalRunner) -> None:
    """A run that ended must not go on computing, nor hold the output open."""
    source = """
import subprocess, sys
for i in range(4):
    subprocess.Popen(["sleep", "86399"], start_new_session=True, stdin=subprocess.DEVNULL)
print("done")
"""
    seen = await run(runner, source)

    assert seen.stdout == b"done\n"
    assert seen.reason == "succeeded"
    assert processes_with("86399") == []


# --- limits ---------------------------------------------------------------------------------------------------------


async def test_wall_time_is_limited(runner: LocalRunner) -> None:
    """A program that sleeps for ever is a timeout, with both numbers."""
    seen = await run(runner, "import time; time.sleep(60)", limits={"wall_s": 0.3})

    assert seen.reason == "limit:wall"
    assert seen.outcome.status is Status.TIMEOUT
    assert seen.outcome.failure is not None
    assert seen.outcome.failure.details["configured"] == 0.3
    assert seen.outcome.failure.details["observed"] >= 0.3


async def test_wall_time_is_limited_for_those_who_ignore_sigterm(runner: LocalRunner) -> None:
    """After the grace there is no choice."""
    source = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)"

    seen = await run(runner, source, limits={"wall_s": 0.2})

    assert seen.reason == "limit:wall"
    assert seen.outcome.signal == "KILL"


async def test_processor_time_is_limited(runner: LocalRunner) -> None:
    """A loop is ended by its own limit, not by the wall."""
    seen = await run(runner, "while True: pass", limits={"cpu_s": 1.0})

    assert seen.reason == "limit:cpu", seen.exited


async def test_processor_time_counts_children_together(runner: LocalRunner) -> None:
    """Many short processes must not add up to more than one long one may have."""
    source = """
import os
for i in range(4):
    if os.fork() == 0:
        while True: pass
os.wait()
"""
    seen = await run(runner, source, limits={"cpu_s": 1.0})

    assert seen.reason == "limit:cpu", seen.exited


async def test_memory_is_limited(runner: LocalRunner) -> None:
    """One greedy script must not take the machine with it; its end names memory."""
    source = "x = []\nwhile True: x.append(bytearray(b'x') * (1 << 22))"

    seen = await run(runner, source, limits={"memory_bytes": 64 << 20})

    if runner.machine.bounds_memory:
        assert seen.reason == "limit:memory", seen.exited
    else:
        assert seen.reason == "exit"
        assert seen.exited.record is not None
        assert "memory" in seen.exited.record.hints


async def test_a_fork_bomb_is_bounded(runner: LocalRunner, kind: str) -> None:
    """Processes are the one resource that takes the whole machine down in a second."""
    if kind == "none" and not runner.machine.bounds_processes:
        pytest.skip("without sandbox and cgroup nothing bounds processes; `execd doctor` says how to get one")
    source = """
import os, time
made = 0
try:
    while made < 500:
        if os.fork() == 0: time.sleep(60)
        made += 1
finally:
    print(made)
"""
    seen = await run(runner, source, limits={"processes": 20})

    assert int(seen.stdout) < 20
    assert seen.reason == "exit"
    assert seen.exited.record is not None
    assert "processes" in seen.exited.record.hints


async def test_open_files_are_limited(runner: LocalRunner) -> None:
    """The hint says which limit it was, because the exit code cannot."""
    seen = await run(runner, "x = [open('/dev/null') for i in range(100)]", limits={"open_files": 50})

    assert seen.exited.record is not None
    assert seen.exited.record.hints == ("open_files",)


async def test_file_size_is_limited(runner: LocalRunner) -> None:
    """Python turns SIGXFSZ into an OSError; the hint remains."""
    seen = await run(runner, "open('f', 'wb').write(b'x' * (2 << 20))", limits={"file_bytes": 1 << 20})

    assert seen.exited.record is not None
    assert {"file_size", "disk"} & set(seen.exited.record.hints), seen.stderr


async def test_file_size_has_a_name_where_it_kills(runner: LocalRunner) -> None:
    """A shell does not handle SIGXFSZ; then it is a limit with its number."""
    seen = await run(runner, "exec truncate -s 2M f", "bash", limits={"file_bytes": 1 << 20})

    assert seen.reason == "limit:file_size", seen.exited


@pytest.mark.parametrize("kind", ["ungrouped", "none-ungrouped"])
async def test_memory_is_limited_without_cgroups(kind: str, tmp_path: Path) -> None:
    """Most laptops give no cgroup; each process is bounded all the same, and the hint says what it was."""
    source = "x = []\nwhile True: x.append(bytearray(b'x') * (1 << 22))"
    async with open_runner(tmp_path, kind) as runner:
        seen = await run(runner, source, limits={"memory_bytes": 64 << 20})
        fine = await run(runner, "console.log('fine')", "node")

    assert seen.reason == "exit"
    assert seen.exited.record is not None
    assert seen.exited.record.hints == ("memory",)
    assert fine.stdout == b"fine\n", fine.stderr


async def test_a_greedy_node_script_is_limited_without_cgroups(tmp_path: Path) -> None:
    """V8 reserves addresses it never uses, so its bound counts what can be written instead."""
    async with open_runner(tmp_path, "ungrouped") as runner:
        source = "const x = []; for (;;) x.push(Buffer.alloc(1 << 22, 1))"
        seen = await run(runner, source, "node", limits={"memory_bytes": 256 << 20, "processes": 128})

    assert seen.outcome.status is Status.FAILED
    assert seen.exited.record is not None
    assert "memory" in seen.exited.record.hints, seen.stderr


async def test_a_fork_bomb_is_bounded_without_cgroups(tmp_path: Path) -> None:
    """The user namespace counts a sandbox's processes apart from all others."""
    source = "import os, time\nfor i in range(500):\n    if os.fork() == 0: time.sleep(60)\n"
    async with open_runner(tmp_path, "ungrouped") as runner:
        seen = await run(runner, source, limits={"processes": 20})

    assert seen.reason == "exit"
    assert seen.exited.record is not None
    assert "processes" in seen.exited.record.hints


# --- cancel, loss, nothing left -------------------------------------------------------------------------------------


async def test_cancel_lets_a_program_say_goodbye(runner: LocalRunner) -> None:
    """SIGTERM reaches the program itself, through the sandbox."""
    source = """
import signal, sys, time
def bye(*_): print("bye"); sys.exit(0)
signal.signal(signal.SIGTERM, bye)
print("go")
time.sleep(60)
"""
    pod = await prepare(runner, source)
    seen = await receive_until(pod, b"go\n")

    pod.stop()
    pod.stop()
    await finish(seen)
    await pod.close()

    assert seen.stdout == b"go\nbye\n"
    assert seen.reason == "cancelled"


@pytest.mark.behaviour(30)
async def test_cancel_ends_a_program_that_ignores_it(runner: LocalRunner) -> None:
    """Cancelling is a promise with a time: the grace and a second."""
    source = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('go')\ntime.sleep(60)"
    pod = await prepare(runner, source)
    seen = await receive_until(pod, b"go")

    pod.stop()
    with trio.fail_after(0.3 + 1.0):
        await finish(seen)
    await pod.close()

    assert seen.reason == "cancelled"
    assert seen.outcome.signal == "KILL"


async def test_a_pod_stopped_before_it_starts_never_runs(runner: LocalRunner) -> None:
    """A cancel can overtake the announcement that a start waits for."""
    pod = await prepare(runner, "print('ran')")

    pod.stop()
    seen = await follow(pod)
    await pod.close()

    assert seen.reason == "cancelled"
    assert seen.stdout == b""


async def test_a_sandbox_killed_from_outside_is_lost_and_never_a_success(runner: LocalRunner) -> None:
    """The machine's OOM killer may take bubblewrap or the shim; what is left then proves nothing."""
    pod = await prepare(runner, "print('go'); import time; time.sleep(60)")
    seen = await receive_until(pod, b"go")

    kill(pod)
    await finish(seen)
    await pod.close()

    assert seen.exited.record is None
    assert seen.reason == "platform:sandbox_lost"
    assert seen.outcome.retryable


def freeze_shim(pod: LocalPod) -> None:
    """Stop the shim from outside: it then answers nobody, as if it hung."""
    assert pod.process_id is not None
    shims = [int(pid) for pid in Path(f"/proc/{pod.process_id}/task/{pod.process_id}/children").read_text().split()]
    for pid in shims if pod.isolation == "bubblewrap" else [pod.process_id]:
        os.kill(pid, signal.SIGSTOP)


async def test_a_hung_shim_does_not_make_a_run_endless(runner: LocalRunner) -> None:
    """The timer outside is the backstop of the timer inside, and says only what it knows."""
    pod = await prepare(runner, "print('go'); import time; time.sleep(60)", limits={"wall_s": 0.3})
    seen = await receive_until(pod, b"go")

    freeze_shim(pod)
    await finish(seen)
    await pod.close()

    assert seen.reason == "limit:wall"
    assert seen.exited.record is None
    assert seen.exited.pod.reason == "DeadlineExceeded"


async def test_a_hung_shim_does_not_make_a_cancel_endless(runner: LocalRunner) -> None:
    """Cancelled within the grace and a second, whoever hangs."""
    pod = await prepare(runner, "print('go'); import time; time.sleep(60)")
    seen = await receive_until(pod, b"go")

    freeze_shim(pod)
    pod.stop()
    with trio.fail_after(0.3 + 1.0):
        await finish(seen)
    await pod.close()

    assert seen.reason == "cancelled"


async def test_close_kills_at_once(runner: LocalRunner) -> None:
    """Whoever closes wants the machine back now."""
    pod = await prepare(runner, "import subprocess; print('go'); subprocess.run(['sleep', '86398'])")
    await receive_until(pod, b"go")

    with trio.fail_after(2):
        await pod.close()
        await pod.close()

    assert processes_with("86398") == []


async def test_close_finishes_though_it_is_cancelled(runner: LocalRunner) -> None:
    """A saga is cancelled while it cleans up; the sandbox must go all the same."""
    pod = await prepare(runner, "import subprocess; print('go'); subprocess.run(['sleep', '86397'])")
    await receive_until(pod, b"go")

    with trio.CancelScope() as scope:
        scope.cancel()
        await pod.close()

    assert processes_with("86397") == []


async def test_nothing_is_left_behind(kind: str, tmp_path: Path) -> None:
    """A service runs for months: each process, directory, group and descriptor that stays is the end of it some day."""
    before = open_descriptors()
    async with open_runner(tmp_path, kind) as runner:
        await run(runner, "open('f', 'w').write('x')")
        for _ in range(3):
            await run(runner, "print(1)")
        during = len(open_descriptors())
        for _ in range(3):
            await run(runner, "1/0")
        if runner.pool.size:
            await runner.pool.wait_filled()
        assert abs(len(open_descriptors()) - during) <= 10 * runner.pool.size
        directory, groups = runner.directory, runner.cgroups.directories

    assert open_descriptors() == before
    assert not directory.exists()
    assert not [group for group in groups if group.exists()]
    assert processes_with(str(directory)) == []


async def test_observe_tells_what_runs_and_what_is_gone(runner: LocalRunner) -> None:
    """The pod watcher's second opinion does not come through the pod's own pipes."""
    pod = await prepare(runner, "input()", stdin_open=True)
    await pod.start()

    with trio.fail_after(PATIENCE_S):
        assert [(o.pod, o.phase) for o in await runner.observe()] == [(pod.name, "running")]
        kill(pod)
        assert [(o.pod, o.phase) for o in await runner.observe()] == [(pod.name, "gone")]
    await pod.close()


def kill(pod: LocalPod) -> None:
    """Kill the outermost process from outside, as the machine's OOM killer would."""
    assert pod.process_id is not None
    os.kill(pod.process_id, signal.SIGKILL)


# --- many, and other languages --------------------------------------------------------------------------------------


async def test_twenty_at_once(runner: LocalRunner) -> None:
    """Neighbours share nothing: each gets its own answer."""
    answers: dict[int, bytes] = {}

    async def one(number: int) -> None:
        answers[number] = (await run_request(runner, request_for(f"print({number} ** 2)"))).stdout

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(one, number)

    assert answers == {number: b"%d\n" % number**2 for number in range(20)}


@pytest.mark.parametrize(
    ("language", "source"),
    [
        ("node", "process.stdin.on('data', d => process.stdout.write(String(d).toUpperCase()))"),
        ("bash", 'read line; echo "${line^^}"; exit 0'),
    ],
)
async def test_other_languages_run(runner: LocalRunner, language: str, source: str) -> None:
    """A language is a table; nothing but Python may depend on the shim being Python."""
    seen = await run(runner, source, language, stdin="abc\n")

    assert seen.stdout == b"ABC\n", seen.stderr
    assert seen.reason == "succeeded"


async def test_an_unknown_language_is_refused(runner: LocalRunner) -> None:
    """A definition removed from runtimes.toml must not be guessed at."""
    with pytest.raises(ConfigurationError):
        await prepare(runner, "", "cobol")


# --- whoever receives late ------------------------------------------------------------------------------------------


async def test_a_reader_that_pauses_behind_the_end_loses_nothing(tmp_path: Path) -> None:
    """The processes are gone and their last words still in the pipes: giving up on those who hold pipes open must not cost
    them, nor make `output_incomplete` of a whole output."""
    async with open_runner(tmp_path) as runner:
        pod = await prepare(runner, "import sys; sys.stdout.buffer.write(bytes(65536))")
        await pod.start()
        await wait_until(lambda: not is_running(pod.process_id or 0))
        seen = Seen(pod, [await pod.receive()])
        await trio.sleep(STRAGGLERS_S + 0.2)

        await finish(seen)
        await pod.close()

    assert (seen.reason, len(seen.stdout)) == ("succeeded", 65536)


async def test_for_want_of_descriptors_a_run_is_refused_and_leaks_nothing(tmp_path: Path) -> None:
    """Wherever in a start they run out: an end that says so, never a crash, and not one descriptor or process more."""
    async with open_runner(tmp_path) as runner:
        await run(runner, "pass")
        before = open_descriptors()
        reasons = []
        for spare in range(36):
            pod = await prepare(runner, "print(1)")
            with spare_descriptors(spare):
                reasons.append((await follow(pod)).reason)
                await pod.close()

        assert set(reasons) == {"succeeded", "platform:sandbox_unavailable"}
        assert open_descriptors() == before
        assert processes_with(str(runner.directory)) == []


@contextmanager
def spare_descriptors(count: int) -> Iterator[None]:
    """Let this process open no more than `count` files more; the gaps below its highest are plugged."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    plugs: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, open_descriptors())) + 1 + count, hard))
    try:
        with suppress(OSError):
            while True:
                plugs.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        for _ in range(count):
            os.close(plugs.pop())
        yield
    finally:
        for plug in plugs:
            os.close(plug)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
