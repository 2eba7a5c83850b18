"""Saved definitions on the command line as people call it: save, look, run by name and delete, with and without a server."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.test_commands import LIMIT_S, Shell
from tests.support.server_process import ServerProcess

pytestmark = pytest.mark.slow

GREETING = """\
kind: workflow
input: {who: Ada}
nodes:
  - {id: say, type: set, values: "Hello {{ input.who }}"}
"""
READING = """\
kind: script
name: sum
language: python
source: |
  import sys
  print(sum(int(line) for line in sys.stdin))
stdin_open: true
"""


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.fixture
def serving(shell: Shell) -> Iterator[Shell]:
    """Give a shell on a machine where a server runs that keeps two versions; its commands find it by themselves."""
    server = ServerProcess(shell.directory / "data", EXECD_SANDBOX__WARM_SLOTS="0", EXECD_DEFINITIONS__VERSIONS="2")
    yield shell
    server.stop()


def text_of(done: subprocess.CompletedProcess[bytes]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


def run_result(done: subprocess.CompletedProcess[bytes]) -> dict[str, object]:
    return dict(json.loads(done.stdout.splitlines()[-1])["data"]["outputs"])


def test_a_file_is_saved_changed_and_run_by_name(shell: Shell) -> None:
    """Without a server: what one command saves, the next one runs. What is the same is not saved again."""
    path = shell.write("greet.yaml", GREETING)

    first = text_of(shell.call("definition", "save", path))
    same = text_of(shell.call("definition", "save", path))
    shell.write("greet.yaml", GREETING.replace("Hello", "Salut"))
    changed = json.loads(text_of(shell.call("definition", "save", path, "--json")))
    newest = shell.call("run", "greet", "--json")
    older = shell.call("run", "greet", "--version", "1", "--input", '{"who": "Bo"}', "--json")

    assert first.startswith("greet: saved version 1 (def-")
    assert same.startswith("greet: unchanged, version 1 (def-")
    assert (changed["version"], changed["saved"], changed["changed"]) == (2, True, ["nodes"])
    assert run_result(newest) == {"say": "Salut Ada"}
    assert run_result(older) == {"say": "Hello Bo"}


def test_a_server_keeps_it_lists_it_and_says_what_goes(serving: Shell) -> None:
    """The same commands; of the versions, the oldest goes, and that is told where it was saved."""
    path = serving.directory / "greet.yaml"
    said = []
    for word in ("one", "two", "three"):
        path.write_text(GREETING.replace("Hello", word))
        said.append(serving.call("definition", "save", str(path)))
    serving.call("definition", "save", serving.write("sum.yaml", READING))

    listed = text_of(serving.call("definition", "ls")).splitlines()
    versions = [
        json.loads(line) for line in text_of(serving.call("definition", "versions", "greet", "--json")).splitlines()
    ]
    gone = serving.call("definition", "show", "greet", "--version", "1")

    assert b"definitions.versions says: its oldest was dropped" in said[2].stderr
    assert [line.split()[:3] for line in listed] == [
        ["NAME", "KIND", "VERSION"],
        ["sum", "script", "1"],
        ["greet", "workflow", "3"],
    ]
    assert [version["version"] for version in versions] == [3, 2]
    assert (gone.returncode, b"version 1 of greet was dropped" in gone.stderr) == (2, True)


def test_what_is_shown_can_be_saved_again(shell: Shell) -> None:
    """`show --yaml > file`, edit, save: the way people change what is saved."""
    shell.call("definition", "save", shell.write("greet.yaml", GREETING))
    exported = text_of(shell.call("definition", "show", "greet", "--yaml"))

    again = text_of(shell.call("definition", "save", shell.write("other.yaml", exported)))
    as_json = json.loads(text_of(shell.call("definition", "show", "greet", "--json")))
    shown = text_of(shell.call("definition", "show", "greet"))

    assert again.startswith("greet: unchanged, version 1")
    assert as_json["nodes"] == [{"id": "say", "type": "set", "values": "Hello {{ input.who }}"}]
    assert shown.startswith("# def-")
    assert shown.endswith(exported)


def test_a_script_is_saved_by_its_file_and_takes_input(shell: Shell) -> None:
    """Its language is told as `execd run` tells it; what is run by name is as good as `python x.py`."""
    shell.call("definition", "save", shell.write("double.py", "print(int(input()) * 2)\nraise SystemExit(3)"))

    done = shell.call("run", "double", "--input", "21")

    assert (done.returncode, done.stdout) == (3, b"42\n")


def test_a_script_saved_as_reading_live_reads_what_is_piped(serving: Shell) -> None:
    """`seq 3 | execd run sum`; with nothing piped it reads the end at once."""
    serving.call("definition", "save", serving.write("sum.yaml", READING))

    assert serving.call("run", "sum", stdin=b"1\n2\n3\n").stdout == b"6\n"
    assert serving.call("run", "sum").stdout == b"0\n"


def test_a_file_that_is_there_is_run_and_not_what_is_saved(shell: Shell) -> None:
    """Saving something never changes what a command runs that ran a file before; --definition says it outright."""
    shell.call("definition", "save", shell.write("word.py", "print('saved')"))
    shell.write("word", "#!/usr/bin/env bash\necho file\n")

    def run(*arguments: str) -> bytes:
        command = [sys.executable, "-m", "execd", "run", *arguments]
        environment = shell.environment | {"PYTHONPATH": os.getcwd()}
        done = subprocess.run(
            command,
            cwd=shell.directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=LIMIT_S,
        )
        return done.stdout

    assert run("word") == b"file\n"
    assert run("word", "--definition") == b"saved\n"
    (shell.directory / "word").unlink()
    (shell.directory / "word").mkdir()
    assert run("word") == b"saved\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "nothing"], b"nothing is saved as nothing; `execd definition list` shows what is"),
        (["run", "nothing", "--definition"], b"error: nothing is saved as nothing"),
        (["run", "greet", "--version", "9"], b"there is no version 9 of greet; its newest is 1"),
        (["run", "greet", "--var", "a=b"], b"--var is for files"),
        (["run", "greet", "--env", "a=b"], b"--env is for files"),
        (["run", "greet", "--input", "{"], b"--input is no JSON"),
        (["run", "greet", "-i"], b"greet reads no stdin"),
        (["run", "greet", "--detach"], b"--detach needs a server"),
        (["definition", "save", "missing.yaml"], b"cannot read missing.yaml"),
        (["definition", "save", "-"], b"say --lang"),
        (["definition", "save", "-", "--lang", "bash"], b"--name is missing"),
        (["definition", "save", "FILE", "--expect", "7"], b"the newest version of greet is 1, saved by local, not 7"),
        (["definition", "save", "FILE", "--name", "def-000000001"], b"name looks like an id"),
        (["definition", "show", "nothing"], b"there is no definition nothing"),
        (["definition", "show", "greet", "--yaml", "--json"], b"exclude one another"),
        (["definition", "versions", "nothing"], b"there is no definition nothing"),
        (["definition", "delete", "nothing"], b"there is no definition nothing"),
        (["definition", "delete", " "], b"is empty"),
    ],
)
def test_a_mistake_is_told_in_words(shell: Shell, arguments: list[str], words: bytes) -> None:
    """Each says what was wrong, with the code for it; nobody sees a trace."""
    path = shell.write("greet.yaml", GREETING)
    shell.call("definition", "save", path)

    done = shell.call(
        *(path if word == "FILE" else word for word in arguments), stdin=b"" if "-" in arguments else None
    )

    assert done.returncode == 2
    assert words in done.stderr
    assert b"Traceback" not in done.stderr


def test_deleting_asks_on_a_terminal_only(shell: Shell) -> None:
    """A person is asked once and may think better of it; a script that says delete means it."""
    path = shell.write("greet.yaml", GREETING)
    shell.call("definition", "save", path)

    code, said = on_terminal(shell, "definition", "delete", "greet", typed=b"n\n")
    kept = shell.call("definition", "show", "greet").returncode
    without_asking = on_terminal(shell, "definition", "delete", "greet", "--yes", typed=b"")
    shell.call("definition", "save", path)
    piped = shell.call("definition", "delete", "greet")

    assert b"Delete greet with all its versions? The newest is 1." in said
    assert (code, kept) == (130, 0)
    assert (without_asking[0], b"?" in without_asking[1]) == (0, False)
    assert (piped.returncode, piped.stdout.startswith(b"greet: deleted")) == (0, True)


def on_terminal(shell: Shell, *arguments: str, typed: bytes) -> tuple[int, bytes]:
    """Run one command on a terminal of its own, and give its code and what showed."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "execd", *arguments], stdin=theirs, stdout=theirs, stderr=theirs, env=shell.environment
    )
    os.close(theirs)
    os.write(ours, typed)
    said = b""
    while True:
        try:
            said += os.read(ours, 4096)
        except OSError:
            break
    os.close(ours)
    return process.wait(LIMIT_S), said
