"""The commands as people call them: processes with pipes, an engine of their own and no server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from execd.cli import COMMANDS

pytestmark = pytest.mark.slow

LIMIT_S = 60


class Shell:
    """Runs `execd` with a data directory of its own and without a sandbox."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("EXECD_")} | {
            "EXECD_DATA_DIR": str(directory / "data"),
            "EXECD_SANDBOX__SANDBOX": "none",
            "EXECD_SANDBOX__WARM_SLOTS": "0",
        }

    def call(self, *arguments: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        """Run one command to its end; without `stdin` nothing is piped in."""
        return subprocess.run(
            [sys.executable, "-m", "execd", *arguments],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            env=self.environment,
            timeout=LIMIT_S,
            check=False,
        )

    def write(self, name: str, text: str) -> str:
        """Write a script and give its path."""
        path = self.directory / name
        path.write_text(text)
        return str(path)


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def test_script_keeps_its_bytes_and_its_code(shell: Shell) -> None:
    """Through a pipe `execd run x.py` is as good as `python x.py`: same bytes, same streams, same exit code."""
    script = shell.write(
        "job.py",
        "import os, sys\nos.write(1, b'\\xff\\x00 raw')\nos.write(2, b'on the side')\nsys.exit(7)\n",
    )

    done = shell.call("run", script)

    assert (done.returncode, done.stdout, done.stderr) == (7, b"\xff\x00 raw", b"on the side")


def test_events_come_as_json_lines(shell: Shell) -> None:
    """A program that reads --json gets the whole journal and nothing else."""
    done = shell.call("run", shell.write("job.sh", "echo one; echo two >&2\n"), "--json")

    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0
    assert done.stderr == b""
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert events[-1]["type"] == "result_stored"


def test_piped_stdin_reaches_the_script(shell: Shell) -> None:
    """What is piped into execd is piped into the script, up to its end."""
    script = shell.write("job.py", "import sys\nprint(sum(int(line) for line in sys.stdin))\n")

    assert shell.call("run", script, stdin=b"1\n2\n3\n").stdout == b"6\n"


def test_script_may_come_from_stdin_with_arguments_and_environment(shell: Shell) -> None:
    """The short way for something that is in no file."""
    done = shell.call("run", "-", "--lang", "bash", "--arg", "a b", "--env", "WHO=Ada", stdin=b'echo "$WHO says $1"')

    assert done.stdout == b"Ada says a b\n"


def test_time_limit_has_the_code_of_timeout(shell: Shell) -> None:
    """`--timeout` ends it, says so and exits as timeout(1) does."""
    done = shell.call("run", shell.write("job.sh", "sleep 30"), "--timeout", "0.2")

    assert done.returncode == 124
    assert b"wall time limit" in done.stderr


def test_closed_pipe_ends_the_command_quietly(shell: Shell) -> None:
    """`execd run ... | head` leaves no trace and no complaint."""
    script = shell.write("job.py", "while True: print('y' * 1000, flush=True)")
    process = subprocess.Popen(
        [sys.executable, "-m", "execd", "run", script],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=shell.environment,
    )
    assert process.stdout is not None
    assert process.stderr is not None

    process.stdout.readline()
    process.stdout.close()

    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(LIMIT_S) == 141


def test_what_ran_is_listed_shown_and_replayed(shell: Shell) -> None:
    """An execution outlives the command that started it."""
    shell.call("run", shell.write("job.sh", "echo kept; exit 4"), "--name", "keeper")

    listed = json.loads(shell.call("ls", "--json").stdout)
    shown = json.loads(shell.call("show", listed["id"], "--json").stdout)
    watched = shell.call("watch", listed["id"])

    assert (listed["name"], listed["status"]) == ("keeper", "failed")
    assert shown["result"]["exit_code"] == 4
    assert (watched.returncode, watched.stdout) == (4, b"kept\n")


def test_tokens_are_made_listed_and_revoked(shell: Shell) -> None:
    """Without a server the store itself is asked; the token is printed once and never again."""
    made = json.loads(shell.call("token", "create", "--user", "ada", "--role", "viewer", "--json").stdout)
    listed = shell.call("token", "ls").stdout
    revoked = shell.call("token", "revoke", made["id"])

    assert made["token"].encode() not in listed
    assert made["id"].encode() in listed
    assert revoked.returncode == 0
    assert shell.call("token", "revoke", made["id"]).returncode == 2


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["run", "missing.py"], 2, b"cannot read missing.py"),
        (["run", "-", "--lang", "cobol"], 2, b"language"),
        (["run", "-", "--lang", "bash", "--limit", "wall_s=soon"], 2, b"limits.wall_s"),
        (["run", "-", "--lang", "bash", "--detach"], 2, b"needs a server"),
        (["watch", "exec-1-none"], 2, b"no execution exec-1-none"),
        (["show", ""], 2, b"an empty text is no id of an execution"),
        (["watch", " "], 2, b"an empty text is no id of an execution"),
        (["cancel", "../tokens"], 2, b"'../tokens' is no id of an execution"),
        (["interrupt", "a?b"], 2, b"`execd ls` lists them"),
        (["token", "revoke", ""], 2, b"an empty text is no id of a token"),
        (["token", "create", "--user", ""], 2, b"is empty"),
        (["cancel", "exec-1-none"], 2, b"exec-1-none"),
        (["ls", "--url", "http://127.0.0.1:1"], 125, b"Is the server running?"),
        (["ls", "--url", "nonsense"], 2, b"http://"),
        (["flwo", "x.yaml"], 2, b"did you mean flow?"),
        (["frobnicate"], 2, b"No such command 'frobnicate'"),
    ],
)
def test_failure_is_told_in_words(shell: Shell, arguments: list[str], code: int, words: bytes) -> None:
    """Nobody sees a trace: each failure says what was wrong, and its code says whose fault it was."""
    done = shell.call(*arguments, stdin=b"echo" if "-" in arguments else None)

    assert done.returncode == code
    assert words in done.stderr
    assert b"Traceback" not in done.stderr


def test_watching_after_the_end_is_refused_in_the_words_of_the_command(shell: Shell) -> None:
    """`Last-Event-ID` is nothing that anybody typed; and without a server, too, nobody waits for what cannot come."""
    shell.call("run", shell.write("one.py", "print(1)"))
    ran = json.loads(shell.call("ls", "--json").stdout)

    done = shell.call("watch", ran["id"], "--after", "99")

    words = done.stderr.decode()
    assert done.returncode == 2
    assert words.splitlines()[0] == "error: --after is 99, beyond the last event"
    assert words.splitlines()[1].startswith("  accepted: at most ")
    assert "Last-Event-ID" not in words


def test_an_error_is_said_once(shell: Shell) -> None:
    """A summary of the only fault, and then the fault, reads like two faults."""
    done = shell.call("run", shell.write("one.py", "print(1)"), "--limit", "wall_s=999999")

    assert done.stderr.decode().count("999999") == 1
    assert done.stderr.decode().count("accepted") == 1
    assert done.returncode == 2


def test_a_second_command_on_the_same_data_says_who_is_there_and_what_to_do(shell: Shell) -> None:
    """Without a server each command is an engine of its own, and only one can have the data directory."""
    first = subprocess.Popen(
        [sys.executable, "-m", "execd", "run", shell.write("wait.py", "print('up', flush=True)\ninput()"), "-i"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=shell.environment,
    )
    with first:
        assert first.stdin is not None
        assert first.stdout is not None
        assert first.stdout.readline() == b"up\n"

        second = shell.call("ls")

        first.stdin.write(b"go\n")
        first.stdin.close()
    assert second.returncode == 125
    assert f"another execd (process {first.pid}) uses" in second.stderr.decode()
    assert "`execd serve`" in second.stderr.decode()
    assert first.returncode == 0


def test_a_list_through_a_pipe_is_whole(shell: Shell) -> None:
    """What a program reads has no terminal's width: a long name stays on its line, uncut."""
    name = "n" * 150
    shell.call("run", shell.write("one.py", "print(1)"), "--name", name)

    lines = shell.call("ls").stdout.decode().splitlines()

    assert len(lines) == 2
    assert name in lines[1]


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "version"])
def test_every_command_explains_itself(shell: Shell, name: str) -> None:
    """The lazy table of commands names modules that exist."""
    done = shell.call(name, "--help")

    assert done.returncode == 0
    assert b"Usage: " in done.stdout


def test_help_imports_nothing_heavy(shell: Shell) -> None:
    """`execd --help` answers at once because it imports only what it shows."""
    heavy = "{'trio', 'httpx2', 'rich', 'quart', 'hypercorn'}"
    program = f"import sys, execd.__main__\nsys.exit(len({heavy} & set(sys.modules)))"

    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=LIMIT_S).returncode == 0


def test_without_a_server_no_web_framework_is_loaded() -> None:
    """Every command that works on the data itself would start a fifth of a second later."""
    program = "import sys, execd.cli.embedded\nsys.exit(len({'quart', 'hypercorn', 'werkzeug'} & set(sys.modules)))"

    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=LIMIT_S).returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "SCRIPT", "--timeout", "nan"),
        ("run", "SCRIPT", "--timeout", "inf"),
        ("run", "SCRIPT", "--limit", "cpu_s=nan"),
        ("token", "create", "--days", "nan"),
        ("ls", "--url", "http://[::1"),
        ("ls", "--url", "http://a:b"),
    ],
)
def test_odd_arguments_are_refused_in_words(shell: Shell, arguments: tuple[str, ...]) -> None:
    """A typo is answered with what would be accepted, never with a trace."""
    script = shell.write("one.py", "print(1)")

    refused = shell.call(*(script if word == "SCRIPT" else word for word in arguments))

    assert refused.returncode == 2
    assert b"Traceback" not in refused.stderr
