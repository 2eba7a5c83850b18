"""Secrets on the command line: never among its arguments, never on the screen, never in an answer."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import termios
from pathlib import Path

import pytest
import trio

from execd.cli.asking import TerminalAsker
from execd.cli.following import Follower, OnInterrupt
from execd.cli.unseen import unseen
from execd.core.event_parts import Prompt
from execd.core.events import InputReceived, InputRequired, NodeCompleted, NodeStarted
from tests.cli.test_commands import Shell
from tests.cli.test_workflow_view import Screen, journal, show, view_on
from tests.support.fake_backend import FakeBackend
from tests.support.scripted_server import ID
from tests.support.server_process import ServerProcess

VALUE = "sk-live-never-shown"
SCRIPT = 'import os; print(os.environ["TOKEN"][:3], os.environ["TOKEN"])'


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("has_server", [False, True])
def test_a_secret_is_set_used_listed_and_deleted(shell: Shell, *, has_server: bool) -> None:
    """Without a server and with one alike; its line end is no part of it."""
    server = ServerProcess(shell.directory / "data", EXECD_SANDBOX__WARM_SLOTS="0") if has_server else None
    try:
        done = shell.call("secret", "set", "KEY", stdin=f"{VALUE}\n".encode())
        ran = shell.call("run", shell.write("job.py", SCRIPT), "--secret", "TOKEN=KEY")
        refused = shell.call("run", shell.write("job.py", SCRIPT), "--secret", "TOKEN=NONE")
        listed = shell.call("secret", "list")
        as_json = shell.call("secret", "list", "--json")
        deleted = [shell.call("secret", "delete", "KEY") for _ in range(2)]
    finally:
        if server is not None:
            server.stop()

    assert (done.returncode, ran.returncode, ran.stdout) == (0, 0, b"sk- ***\n"), ran.stderr
    assert refused.returncode == 2
    assert b"secrets.TOKEN" in refused.stderr
    assert listed.stdout.startswith(b"KEY  set ")
    assert json.loads(as_json.stdout)["name"] == "KEY"
    assert [one.returncode for one in deleted] == [0, 2]
    outputs = [part for one in (done, ran, listed, as_json, *deleted) for part in (one.stdout, one.stderr)]
    assert not [part for part in outputs if VALUE.encode() in part]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "stdin", "words"),
    [
        (("set", "KEY"), b"abc\n", b"too few"),
        (("set", "KEY"), b"\xff\xfe\xff\xfe", b"UTF-8"),
        (("set", "1KEY"), b"long enough", b"no name of a secret"),
        (("set", "KEY", VALUE), b"", b"unexpected extra argument"),
        (("delete", "NONE"), b"", b"no such secret"),
    ],
)
def test_a_mistake_is_told_without_the_value(
    shell: Shell, arguments: tuple[str, ...], stdin: bytes, words: bytes
) -> None:
    """Exit code 2, and a sentence."""
    done = shell.call("secret", *arguments, stdin=stdin)

    assert done.returncode == 2
    assert words in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.slow
def test_at_a_terminal_the_value_is_asked_for_unseen(shell: Shell) -> None:
    """Somebody may look over one's shoulder, and terminals are recorded."""
    controller, terminal = pty.openpty()
    command = [sys.executable, "-m", "execd", "secret", "set", "KEY"]
    with subprocess.Popen(
        command, stdin=terminal, stdout=terminal, stderr=terminal, env=shell.environment, start_new_session=True
    ) as process:
        os.close(terminal)
        shown = b""
        while b"Value of KEY" not in shown:
            shown += os.read(controller, 1024)
        os.write(controller, VALUE.encode() + b"\n")
        while True:
            try:
                shown += os.read(controller, 1024)
            except OSError:
                break
    os.close(controller)

    assert process.returncode == 0
    assert b"KEY is set" in shown
    assert VALUE.encode() not in shown


@pytest.mark.slow
def test_validate_warns_of_a_credential_in_clear(shell: Shell) -> None:
    """With its line; it is right all the same."""
    path = shell.write(
        "w.yaml", f"nodes:\n  - id: a\n    type: http\n    url: https://x.example\n    auth:\n      bearer: {VALUE}\n"
    )

    done = shell.call("validate", path)

    assert done.returncode == 0
    assert f"{path}:6: warning: nodes[0].auth.bearer".encode() in done.stderr
    assert VALUE.encode() not in done.stderr


def is_echoing(fd: int) -> bool:
    return bool(termios.tcgetattr(fd)[3] & termios.ECHO)


def test_what_is_typed_unseen_is_shown_again_afterwards() -> None:
    """Whatever happens meanwhile: a terminal that stays silent looks broken."""
    controller, terminal = pty.openpty()

    def fail_unseen() -> None:
        with unseen(terminal):
            assert not is_echoing(terminal)
            raise EOFError

    with pytest.raises(EOFError):
        fail_unseen()

    assert is_echoing(terminal)
    os.close(controller)
    os.close(terminal)


class Typist(Screen):
    """Types a line when a prompt is there to be seen."""

    def __init__(self, fd: int, lines: dict[str, str]) -> None:
        super().__init__()
        self._fd = fd
        self._lines = lines

    async def write(self, fd: int, data: bytes) -> None:
        await super().write(fd, data)
        for prompt in [prompt for prompt in self._lines if prompt in data.decode()]:
            os.write(self._fd, self._lines.pop(prompt).encode() + b"\n")


async def test_a_secret_question_is_answered_unseen() -> None:
    """Only that one: others are shown as they are typed. Spaces at its ends belong to it."""
    controller, terminal = pty.openpty()
    screen = Typist(controller, {"User: ": " ada ", "Pass: ": " typed unseen "})
    prompts = (Prompt(key="user", label="User"), Prompt(key="pass", label="Pass", secret=True))
    asked = ("ask", InputRequired(prompt_id="ask.1", prompts=prompts))
    answered = ("ask", InputReceived(prompt_id="ask.1", by="u", values={"user": "ada", "pass": "***"}))
    end = ("ask", NodeCompleted(duration_ms=5, output={}))
    events = journal(("ask", NodeStarted(label="ask", type="input")), asked, answered, end)
    backend = FakeBackend(events, hold_before=5)
    view = view_on(screen, is_terminal=True, asks_here=True)
    asker = TerminalAsker(backend, ID, view, fd=terminal)

    with trio.fail_after(10):
        await Follower(backend, ID, view, on_interrupt=OnInterrupt.LEAVE, questions=asker).follow()

    echoed = os.read(controller, 1024)
    assert backend.answers == [("ask.1", {"user": "ada", "pass": " typed unseen "})]
    assert b"ada" in echoed
    assert b"unseen" not in echoed
    assert is_echoing(terminal)
    os.close(controller)
    os.close(terminal)


async def test_a_log_says_how_to_answer_unseen() -> None:
    """What it says is pasted, and the value must not follow it on the line."""
    screen = Screen()
    prompts = (Prompt(key="pass", label="Pass", secret=True),)

    await show(
        journal(("ask", NodeStarted(label="ask", type="input")), ("ask", InputRequired("ask.1", prompts))), screen
    )

    assert f"execd answer {ID} --prompt ask.1 pass=@-" in screen.text(2)
