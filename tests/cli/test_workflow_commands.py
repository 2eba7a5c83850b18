"""Workflows on the command line as people call it: run, validate, answer, show and retry, with and without a server."""

from __future__ import annotations

import json
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
vars: {greeting: Hello, times: 1}
input: {who: Ada}
nodes:
  - id: say
    type: script
    language: bash
    args: ["{{ vars.greeting }}", "{{ input.who }}"]
    source: echo "$1, $2"
  - {id: double, type: set, needs: [say], values: "{{ vars.times * 2 }}"}
"""
ASKING = """\
nodes:
  - {id: first, type: set, values: 1}
  - {id: ask, type: input, needs: [first], prompts: [{key: go, label: "Go on?", choices: [yes, no]}, {key: why, default: because}]}
  - {id: after, type: script, language: bash, needs: [ask], args: ["{{ nodes.ask.output.go }}"], source: '[ "$1" = yes ]'}
"""
WRONG = """\
nodes:
  - id: a
    type: sett
  - id: b
    type: set
    needs: [zz]
    values: "{{ nodes.q.output }}"
"""


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.fixture
def serving(shell: Shell) -> Iterator[Shell]:
    """Give a shell on a machine where a server runs; its commands find it by themselves."""
    server = ServerProcess(shell.directory / "data", EXECD_SANDBOX__WARM_SLOTS="0")
    yield shell
    server.stop()


def outputs_of(done: subprocess.CompletedProcess[bytes]) -> dict[str, object]:
    """Read the outputs off the last event of `--json`."""
    return dict(json.loads(done.stdout.splitlines()[-1])["data"]["outputs"])


def test_a_workflow_runs_with_what_was_typed(shell: Shell) -> None:
    """A variable that is text stays text, any other is read as JSON, and `--input` replaces the input."""
    path = shell.write("greet.yaml", GREETING)

    done = shell.call("run", path, "--var", "greeting=42", "--var", "times=3", "--input", '{"who": "you"}', "--json")

    assert done.returncode == 0
    assert outputs_of(done) == {"say": {"result": None, "stdout": "42, you\n", "exit_code": 0}, "double": 6}


def test_a_workflow_in_json_shows_as_plain_lines(shell: Shell) -> None:
    """Through pipes there is no control character, and what a script writes is on stdout under its node's name."""
    text = json.dumps({"nodes": [{"id": "say", "type": "script", "language": "bash", "source": "echo hi"}]})

    done = shell.call("run", shell.write("w.json", text))

    assert (done.returncode, done.stdout.decode()) == (0, "  say │ hi\n")
    assert b"\x1b" not in done.stderr
    assert "✔ say" in done.stderr.decode()


def test_a_failed_workflow_fails_the_command_and_names_the_node(shell: Shell) -> None:
    """A CI job must go red, and its last line must say where."""
    text = "nodes:\n  - {id: a, type: set, values: 1}\n  - {id: b, type: script, language: bash, source: exit 7}\n"

    done = shell.call("run", shell.write("w.yaml", text))

    assert done.returncode == 1
    assert done.stderr.decode().splitlines()[-1].startswith("✘ failed  b: The program exited with code 7. (exit)")


def test_validate_tells_every_fault_with_its_line(shell: Shell) -> None:
    """One round of corrections, not five."""
    path = shell.write("wrong.yaml", WRONG)

    done = shell.call("validate", path)

    lines = done.stderr.decode().splitlines()
    assert done.returncode == 2
    assert lines[0].startswith(f"{path}:3: nodes[0].type is 'sett'; accepted: script, ")
    assert lines[1].startswith(f"{path}:6: nodes[1].needs[0] names 'zz'")
    assert lines[2].startswith(f"{path}:7: nodes[1].values reads the node 'q'")
    assert shell.call("validate", shell.write("right.yaml", GREETING)).returncode == 0


def test_wrong_settings_say_nothing_against_a_file(shell: Shell) -> None:
    """Somebody else's variable must not fail a check in CI; a server would refuse it, and says which it is."""
    path = shell.write("right.yaml", GREETING)

    shell.environment["EXECD_HTTP__PROT"] = "1"

    done = shell.call("validate", path)
    served = shell.call("serve")

    assert (done.returncode, served.returncode) == (0, 2)
    assert done.stderr.decode().startswith("warning: settings: EXECD_HTTP__PROT: ")
    assert served.stderr.decode().startswith("error: settings: EXECD_HTTP__PROT: ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "GREETING", "--var", "nope=1"], b"`nope` is no variable of the workflow"),
        (["run", "GREETING", "--input", "{"], b"--input is no JSON"),
        (["run", "GREETING", "--env", "A=b"], b"--env is for scripts"),
        (["run", "-", "--lang", "bash", "--var", "a=b"], b"--var is for workflows"),
        (["validate", "missing.yaml"], b"cannot read missing.yaml"),
        (["answer", "exec-1-none", "nonsense"], b"`nonsense` is not a pair"),
        (["answer", "exec-1-none", "a=b"], b"needs the server"),
        (["retry", "exec-1-none"], b"no execution exec-1-none"),
    ],
)
def test_a_mistake_is_told_in_words(shell: Shell, arguments: list[str], words: bytes) -> None:
    """Each says what was wrong; nobody sees a trace."""
    path = shell.write("greet.yaml", GREETING)

    done = shell.call(
        *(path if word == "GREETING" else word for word in arguments), stdin=b"" if "-" in arguments else None
    )

    assert done.returncode == 2
    assert words in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_question_without_anybody_is_not_waited_for(shell: Shell) -> None:
    """In a cron job without a server it ends at once, and says how it could be answered."""
    done = shell.call("run", shell.write("ask.yaml", ASKING))

    assert done.returncode == 131
    assert b"nobody can answer" in done.stderr


def test_a_question_is_answered_from_another_terminal(serving: Shell) -> None:
    """Whoever sees the log pastes the command, and the one that waits goes on."""
    waiting = subprocess.Popen(
        [sys.executable, "-m", "execd", "run", serving.write("ask.yaml", ASKING)],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=serving.environment,
    )
    assert waiting.stderr is not None
    command = next(line for line in waiting.stderr if b"answer with:" in line).decode().split("execd answer ")[1]

    wrong = serving.call("answer", command.split()[0], "go=perhaps")
    right = serving.call("answer", *command.split())

    rest = waiting.stderr.read().decode()
    waiting.stderr.close()
    assert waiting.wait(LIMIT_S) == 0
    assert (wrong.returncode, right.returncode) == (2, 0)
    assert b"none of the choices" in wrong.stderr
    assert "go=yes, why=because" in rest


def test_what_failed_is_shown_and_run_again(serving: Shell) -> None:
    """`show` lists the nodes; a retry of what failed keeps the answer that was given."""
    identifier = serving.call("run", serving.write("ask.yaml", ASKING), "--detach").stdout.decode().strip()
    serving.call("answer", identifier, "--prompt", "ask.1", "go=no")
    assert serving.call("watch", identifier).returncode == 1
    shown = serving.call("show", identifier).stdout.decode()

    again = serving.call("retry", identifier, "--from", "failed")

    assert "after  ✘ failed" in shown
    assert "ask    ✔ completed" in shown
    assert '{"go":"no","why":"because"}' in shown
    assert again.returncode == 1
    assert "= ask  kept from the execution before" in again.stderr.decode()


def test_an_engine_elsewhere_needs_a_server(shell: Shell) -> None:
    """Without one nobody could report, and the command would wait for a day."""
    done = shell.call("run", shell.write("work.yaml", "kind: external\nname: work\n"))

    assert done.returncode == 2
    assert b"an engine elsewhere needs a server" in done.stderr
