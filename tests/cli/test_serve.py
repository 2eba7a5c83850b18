"""The server as a process, and the commands that find it."""

from __future__ import annotations

import json
import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.server_process import COMMAND, STOP_S, ServerProcess

pytestmark = pytest.mark.slow


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    running = ServerProcess(tmp_path / "data")
    yield running
    running.stop()


def environment() -> dict[str, str]:
    """Give an environment that says nothing about execd."""
    return {name: value for name, value in os.environ.items() if not name.startswith("EXECD_")}


def call(data_dir: Path, *arguments: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run one command against whatever serves this directory."""
    return subprocess.run(
        [*COMMAND, *arguments, "--data-dir", str(data_dir)],
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        env=environment(),
        timeout=STOP_S,
        check=False,
    )


def test_commands_find_the_server_of_this_machine(server: ServerProcess) -> None:
    """No address is typed: submit and leave, watch from anywhere, list, show, all on the running server."""
    made = call(server.data_dir, "run", "-", "--lang", "bash", "--detach", stdin=b"echo from the server; exit 9")
    execution_id = made.stdout.decode().strip()

    watched = call(server.data_dir, "watch", execution_id)
    shown = json.loads(call(server.data_dir, "show", execution_id, "--json").stdout)

    assert made.returncode == 0
    assert (watched.returncode, watched.stdout) == (9, b"from the server\n")
    assert shown["execution"]["id"] == execution_id
    assert execution_id in call(server.data_dir, "ls").stdout.decode()


def test_stdin_travels_live(server: ServerProcess) -> None:
    """A pipe into the command is a pipe into the script, across the network, bytes that are no text included."""
    script = b"import sys\nsys.stdout.buffer.write(sys.stdin.buffer.read()[::-1])\n"
    path = server.data_dir / "reverse.py"
    path.write_bytes(script)

    done = call(server.data_dir, "run", str(path), stdin=b"\xff\x00abc")

    assert (done.returncode, done.stdout) == (0, b"cba\x00\xff")


def test_cancel_reaches_a_running_script(server: ServerProcess) -> None:
    """What one terminal started, another one ends; whoever watches exits with the code for it."""
    running = subprocess.Popen(
        [*COMMAND, "run", "-", "--lang", "bash", "--json", "--data-dir", str(server.data_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(),
    )
    assert running.stdin is not None
    assert running.stdout is not None
    running.stdin.write(b"echo up; sleep 60")
    running.stdin.close()
    for line in running.stdout:
        event = json.loads(line)
        if event["type"] == "output":
            break

    assert call(server.data_dir, "cancel", event["execution_id"]).returncode == 0

    last = json.loads(running.stdout.read().splitlines()[-1])
    running.stdout.close()
    assert running.wait(STOP_S) == 130
    assert last["data"]["status"] == "cancelled"


@pytest.mark.behaviour(12)
def test_watch_survives_a_crash_of_the_server(tmp_path: Path) -> None:
    """The server dies under a viewer and comes back: the viewer reconnects, misses nothing and gets the verdict."""
    first = ServerProcess(tmp_path / "data")
    port = urlsplit(first.url).port
    token = json.loads(call(first.data_dir, "token", "create", "--role", "runner", "--json").stdout)["token"]
    made = call(first.data_dir, "run", "-", "--lang", "bash", "--detach", stdin=b"echo before; sleep 60")
    watcher = subprocess.Popen(
        [*COMMAND, "watch", made.stdout.decode().strip(), "--json", "--url", first.url, "--token", token],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment(),
    )
    assert watcher.stdout is not None
    events = []
    for line in watcher.stdout:
        events.append(json.loads(line))
        if events[-1]["type"] == "output":
            break

    first.kill()
    second = ServerProcess(tmp_path / "data", port=port or 0)
    events += [json.loads(line) for line in watcher.stdout]
    watcher.stdout.close()
    code = watcher.wait(STOP_S)
    second.stop()

    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert events[-1]["data"]["error"]["code"] == "worker_lost"
    assert code == 125


def test_stopping_leaves_no_trace(server: ServerProcess) -> None:
    """After a clean stop the exit code is 0 and nobody is sent to a server that is gone."""
    assert server.stop() == 0
    assert not (server.data_dir / "server.json").exists()


def test_serve_runs_a_file_first(tmp_path: Path) -> None:
    """`execd serve --run` shows a script's output and verdict and goes on serving."""
    script = tmp_path / "first.py"
    script.write_text("print('served and run')")
    process = subprocess.Popen(
        [
            *COMMAND,
            "serve",
            "--port",
            "0",
            "--sandbox",
            "none",
            "--data-dir",
            str(tmp_path / "data"),
            "--run",
            str(script),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment(),
    )
    assert process.stdout is not None

    assert process.stdout.readline() == b"served and run\n"
    assert call(tmp_path / "data", "ls").returncode == 0

    process.terminate()
    process.communicate(timeout=STOP_S)
    assert process.returncode == 0


def test_a_port_that_is_taken_is_said_in_a_line(server: ServerProcess, tmp_path: Path) -> None:
    """The commonest mistake at a start must not look like a crash."""
    port = urlsplit(server.url).port

    second = call(tmp_path / "other", "serve", "--port", str(port), "--sandbox", "none")

    assert second.returncode != 0
    assert f"cannot listen on 127.0.0.1:{port}" in second.stderr.decode()
    assert "Traceback" not in second.stderr.decode()


def test_a_second_server_on_the_same_data_is_refused_by_name(server: ServerProcess) -> None:
    """Two writers on one journal cannot be; the message says which process is there."""
    second = call(server.data_dir, "serve", "--port", "0", "--sandbox", "none")

    assert second.returncode != 0
    assert f"another execd (process {server.pid}) uses" in second.stderr.decode()


def test_the_server_takes_all_the_descriptors_it_may_have(tmp_path: Path) -> None:
    """Each viewer is one, and the usual soft limit of 1,024 would turn the next one away."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, hard), hard))
    try:
        server = ServerProcess(tmp_path / "data")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    limits = Path(f"/proc/{server.pid}/limits").read_text().splitlines()

    server.kill()
    (line,) = [line for line in limits if line.startswith("Max open files")]
    assert line.split()[3:5] == [str(hard), str(hard)]
