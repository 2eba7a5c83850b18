"""Flows on the command line as people and CI jobs call them: cards, answers, reports, exit codes, and files of other tools."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.cli.test_commands import LIMIT_S, Shell
from tests.support.server_process import ServerProcess

pytestmark = pytest.mark.slow

FORMATS = Path(__file__).parents[1] / "unit" / "formats"


class Shop(BaseHTTPRequestHandler):
    """An API. `/held` is answered when the test says so."""

    protocol_version = "HTTP/1.1"
    seen: list[str]
    asked: threading.Event
    go_on: threading.Event

    def answer(self) -> None:
        sent = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
        self.seen.append(f"{self.command} {self.path} {sent}".strip())
        if self.path == "/held":
            self.asked.set()
            self.go_on.wait(LIMIT_S)
        body: Any = {"path": self.path, "token": "t-1", "role": "clerk", "say": "\x1b[2Jboo"}
        data = json.dumps(body).encode()
        self.send_response(500 if self.path == "/broken" else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = answer  # noqa: N815 - the name http.server looks for
    do_POST = answer  # noqa: N815 - the name http.server looks for

    def log_message(self, *_args: Any) -> None:
        pass


class Api:
    """Where the shop listens and what it saw."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.asked = threading.Event()
        self.go_on = threading.Event()
        members = {"seen": self.seen, "asked": self.asked, "go_on": self.go_on}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Shop,), members))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def stop(self) -> None:
        self.go_on.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def flow(self, *nodes: dict[str, Any], **keys: Any) -> str:
        """Write a config with this API as its base."""
        return json.dumps({"defaults": {"baseUrl": self.url}, "nodes": nodes, **keys})


@pytest.fixture
def api() -> Iterator[Api]:
    api = Api()
    yield api
    api.stop()


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def step(identifier: str, path: str, **fields: Any) -> dict[str, Any]:
    return {"id": identifier, "method": "GET", "url": path, **fields}


def order(api: Api) -> str:
    """Give a flow with one step of every end."""
    return api.flow(
        step(
            "login",
            "/login",
            name="Log in",
            method="POST",
            validations=[{"httpStatusCode": 200}, {"jsonpath": ".token"}],
        ),
        step("admin", "/admin", conditions=[{"node": "login", "field": ".role", "equals": "admin"}]),
        step("broken", "/broken"),
        step("never", "/never"),
    )


def test_each_step_has_a_card_and_the_end_a_summary(shell: Shell, api: Api) -> None:
    """Whoever reads a CI log sees what was requested, what came, why it failed, what was skipped and why; no control character."""
    done = shell.call("flow", shell.write("order.json", order(api)))

    lines = done.stdout.decode().splitlines()
    assert done.returncode == 1
    assert lines[0].startswith(f"✔ Log in  POST {api.url}/login  200 OK  ")
    assert lines[1] == "    ✔ status 200 · .token"
    assert lines[2] == f"⊘ admin  GET {api.url}/admin  skipped: node 'login' field .role: expected 'admin', got 'clerk'"
    assert lines[3].startswith(f"✘ broken  GET {api.url}/broken  500 Internal Server Error  ")
    assert lines[4] == "    ✘ HTTP status validation failed: expected 200, got 500"
    assert lines[5].startswith('    answered: {"path":"/broken"')
    assert lines[6] == f"- never  GET {api.url}/never  not run"
    assert lines[7].startswith("✘ failed  ")
    assert "--from broken" in lines[8]
    assert lines[9] == "Summary: 1 executed, 1 skipped, 1 failed, 1 not run"
    assert b"\x1b" not in done.stdout + done.stderr


def test_a_report_has_every_step(shell: Shell, api: Api) -> None:
    """A CI server shows each step by its name; an answer that was right stays out of it, for it may hold a token."""
    report = shell.directory / "out.xml"

    done = shell.call("flow", shell.write("order.json", order(api)), "--junit", str(report))

    suite = ElementTree.parse(report).getroot()[0]
    cases = {case.get("name"): [child.tag for child in case] for case in suite.iter("testcase")}
    assert done.returncode == 1
    assert (suite.get("name"), suite.get("failures"), suite.get("skipped")) == ("order", "1", "2")
    assert cases == {
        "Log in": ["system-out"],
        "admin": ["skipped"],
        "broken": ["failure", "system-out"],
        "never": ["skipped"],
    }
    assert "t-1" not in "".join(suite[1].itertext())


def test_a_flow_that_passes_exits_with_zero(shell: Shell, api: Api) -> None:
    """Also through `execd run`, for a config of FlowSphere says nothing of its kind."""
    path = shell.write("fine.json", api.flow(step("a", "/a")))

    assert shell.call("flow", path).stdout.decode().splitlines()[-1] == "Summary: 1 executed, 0 skipped"
    done = shell.call("run", path)
    assert (done.returncode, api.seen) == (0, ["GET /a", "GET /a"])
    assert done.stdout.decode().startswith(f"✔ a  GET {api.url}/a  200 OK")


def test_what_was_typed_takes_the_place_of_what_is_written(shell: Shell, api: Api) -> None:
    """Variables by type, an environment, a later start, and answers; a secret one is not repeated."""
    node = step(
        "b",
        "/b?n={{ .vars.n }}&who={{ .vars.who }}&e={{ .env.site }}&p={{ .input.password }}",
        userPrompts={"password": "Password:"},
    )
    environments = {"test": {"site": "t"}, "live": {"site": "l"}}
    text = api.flow(step("a", "/a"), node, variables={"n": 1}, environments=environments, environment="test")
    typed = ["--var", "n=2", "--var", "who=Ada", "--env", "live", "--start-step", "2", "--input", "password=hunter2"]

    done = shell.call("flow", shell.write("w.json", text), *typed)

    assert done.returncode == 0
    assert api.seen == ["GET /b?n=2&who=Ada&e=l&p=hunter2"]
    assert "skipped: --start-step: execution begins at step 2" in done.stdout.decode()
    assert "! answered by local: password=***" in done.stdout.decode()


def test_rows_are_shown_one_by_one(shell: Shell, api: Api) -> None:
    """With what is in them."""
    text = api.flow(step("a", "/{{ .vars.name }}"), data={"csv": "name,token\nAda,x\nGrace,y"})

    lines = shell.call("flow", shell.write("rows.json", text)).stdout.decode().splitlines()

    assert (lines[0], lines[2]) == ("row 1 of 2  name=Ada, token=***", "row 2 of 2  name=Grace, token=***")
    assert lines[-1] == "Summary: 2 executed, 0 skipped"


def test_validate_says_what_flowsphere_says(shell: Shell, api: Api) -> None:
    """And what is wrong with its line; nothing is requested either way."""
    right = shell.call("flow", shell.write("right.json", order(api)), "--validate")
    wrong = shell.call(
        "flow", shell.write("wrong.json", api.flow({"id": "a", "method": "GOT", "url": "/a"})), "--validate"
    )

    assert (right.returncode, right.stdout.decode()) == (
        0,
        "✓ Config validation passed\n  4 node(s) validated successfully\n",
    )
    assert wrong.returncode == 2
    assert 'nodes[0].method is refused: Invalid HTTP method: "GOT"' in wrong.stderr.decode()
    assert api.seen == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--var", "nope=1"], b"`nope` is no variable of the flow"),
        (["--var", "nope"], b"`nope` is not a pair"),
        (["--env", "nope"], b"`nope` is no environment of the flow"),
        (["--start-step", "9"], b"accepted: 1 to 4"),
        (["--junit", "/nowhere/out.xml"], b"cannot write /nowhere/out.xml"),
        (["--detach"], b"--detach needs a server"),
        (["--detach", "--junit", "out.xml"], b"do not go with --detach"),
    ],
)
def test_a_mistake_is_told_before_anything_is_requested(
    shell: Shell, api: Api, arguments: list[str], words: bytes
) -> None:
    """Each in words, each with the code for a request that is wrong."""
    done = shell.call("flow", shell.write("order.json", order(api)), *arguments)

    assert done.returncode == 2
    assert words in done.stderr
    assert b"Traceback" not in done.stderr
    assert api.seen == []


@pytest.mark.parametrize("name", ["login-and-look.yaml", "pages.yaml", "rows.json", "smoke-test.yaml", "token.yaml"])
def test_the_examples_pass_against_the_api_beside_them(shell: Shell, name: str) -> None:
    """Somebody's first flow should be green, without the internet and without writing a server first."""
    examples = Path(__file__).parents[2] / "examples"
    api = subprocess.Popen(
        [sys.executable, examples / "api.py", "0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert api.stdout is not None
    address = api.stdout.readline().decode().strip()
    path = shell.write(name, (examples / "flows" / name).read_text().replace("http://127.0.0.1:8099", address))
    answers = ("--input", "user=ada", "--input", "password=hunter2") if name == "token.yaml" else ()

    done = shell.call("flow", path, *answers)
    api.kill()
    api.wait()
    api.stdout.close()

    assert done.returncode == 0, done.stdout.decode()


def test_a_file_that_cannot_be_read_is_named_with_the_place(shell: Shell) -> None:
    """Not `the request`: there may be ten files in the command that a CI job runs."""
    path = shell.write("cut.json", '{"nodes": [\n  {"id": "a",\n')

    run = shell.call("flow", path).stderr.decode()
    checked = shell.call("flow", path, "--validate").stderr.decode()

    assert run.startswith(f"error: {path} cannot be read at line 3, column 1: ")
    assert checked.startswith(f"{path}: the file cannot be read at line 3, column 1: ")


def test_a_question_without_an_answer_is_not_waited_for(shell: Shell, api: Api) -> None:
    """A CI job has no terminal: it is told which option is missing before the first request."""
    done = shell.call(
        "flow", shell.write("ask.json", api.flow(step("a", "/a"), step("b", "/b", userPrompts={"who": "Who?"})))
    )

    assert done.returncode == 2
    assert "--input who=…" in done.stderr.decode()
    assert api.seen == []


def test_a_server_runs_it_and_shows_it_again(shell: Shell, api: Api) -> None:
    """On the server of this machine, left to it or followed, and seen again with the same cards."""
    server = ServerProcess(shell.directory / "data", EXECD_SANDBOX__WARM_SLOTS="0")
    path = shell.write("order.json", order(api))
    identifier = shell.call("flow", path, "--detach").stdout.decode().strip()

    watched = shell.call("watch", identifier)
    again = shell.call("retry", identifier, "--from", "broken")
    server.stop()

    assert (watched.returncode, again.returncode) == (1, 1)
    assert f"⊘ admin  GET {api.url}/admin  skipped" in watched.stdout.decode()
    assert f"- never  GET {api.url}/never  not run" in watched.stdout.decode()
    assert f"✔ Log in  POST {api.url}/login" in watched.stdout.decode()
    assert "= Log in  kept from the execution before" in again.stdout.decode()
    assert watched.stdout.decode().splitlines()[-1] == "Summary: 1 executed, 1 skipped, 1 failed, 1 not run"


@pytest.mark.parametrize(
    ("signals", "code", "words"),
    [(1, 131, "✔ held"), (2, 130, "■ held")],
)
def test_ctrl_c_interrupts_and_a_second_cancels(shell: Shell, api: Api, signals: int, code: int, words: str) -> None:
    """The step in flight finishes and its answer is shown; whoever cannot wait for that presses again."""
    report = shell.directory / "out.xml"
    path = shell.write("held.json", api.flow(step("held", "/held"), step("after", "/after")))
    process = subprocess.Popen(
        [sys.executable, "-m", "execd", "flow", path, "--junit", str(report)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=shell.environment,
    )
    assert process.stdout is not None
    assert api.asked.wait(LIMIT_S)
    for word in (b"interrupt asked for", b"cancel asked for")[:signals]:
        process.send_signal(signal.SIGINT)
        assert word in process.stdout.readline()
    if signals == 1:
        api.go_on.set()

    stdout, _ = process.communicate(timeout=LIMIT_S)

    assert process.returncode == code
    assert words in stdout.decode()
    assert "not run" in stdout.decode()
    assert api.seen == ["GET /held"]
    assert ElementTree.parse(report).getroot().get("errors") != "0"


def test_a_terminal_is_asked_and_shows_no_password(shell: Shell, api: Api) -> None:
    """What is typed as a name is seen, what is typed as a password is not, and one that was given is not asked for."""
    node = step(
        "a",
        "/{{ .input.city }}/{{ .input.name }}",
        method="POST",
        body={"p": "{{ .input.password }}"},
        userPrompts={"city": "City:", "name": "Your name:", "password": "Your password:"},
    )
    path = shell.write("ask.json", api.flow(node))
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "execd", "flow", path, "--input", "city=Oslo"],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=shell.environment,
    )
    os.close(slave)
    screen = read_until(master, "Your name: ")
    os.write(master, b"Ada\n")
    screen += read_until(master, "Your password: ")
    os.write(master, b"hunter2\n")
    screen += read_until(master, "Summary: ")

    assert process.wait(LIMIT_S) == 0
    os.close(master)
    assert api.seen == ['POST /Oslo/Ada {"p":"hunter2"}']
    assert "Ada" in screen
    assert "hunter2" not in screen


def read_until(fd: int, words: str) -> str:
    """Read a terminal up to these words."""
    text = ""
    while words not in text:
        text += os.read(fd, 4096).decode()
    return text


@pytest.mark.parametrize(
    "file", ["checkout.har", "library.openapi.yaml", "pets.swagger.json", "shop.postman_collection.json"]
)
def test_what_is_imported_is_a_flow(shell: Shell, file: str) -> None:
    """Its kind is seen from its content, what is missing is told aside, and the flow can be run as it stands."""
    output = str(shell.directory / "flow.yaml")

    imported = shell.call("import", str(FORMATS / file), "-o", output)

    assert imported.returncode == 0
    assert imported.stdout == b""
    assert b"! " in imported.stderr
    assert shell.call("flow", output, "--validate").returncode == 0
    assert shell.call("import", str(FORMATS / file)).stdout.startswith(b'{\n  "kind": "flow"')


def test_curl_commands_become_a_flow_and_a_flow_curl_commands(shell: Shell, api: Api) -> None:
    """What was pasted runs, and comes back as a script."""
    text = f"curl {api.url}/a; curl -X POST {api.url}/b -d '{{\"x\": 1}}' -H 'Content-Type: application/json'\n"
    flow = shell.write("flow.json", shell.call("import", "-", stdin=text.encode()).stdout.decode())

    assert shell.call("flow", flow).returncode == 0
    assert api.seen == ["GET /a", 'POST /b {"x":1}']
    script = shell.call("export", flow, "--to", "curl").stdout.decode()
    assert f"{api.url}/b" in script
    assert json.loads(shell.call("export", flow, "--to", "postman").stdout)["item"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["import", "order.json"], b"the content does not tell"),
        (["import", "order.json", "--from", "curl", "--keep-all"], b"means nothing for curl"),
        (["import", "missing.har"], b"cannot read missing.har"),
        (["export", "order.json", "--to", "postman-environment"], b"names no environment"),
        (["export", "order.json"], b"Missing option '--to'"),
    ],
)
def test_a_mistake_with_files_is_told_in_words(shell: Shell, api: Api, arguments: list[str], words: bytes) -> None:
    """And nobody sees a trace."""
    path = shell.write("order.json", order(api))

    done = shell.call(*(path if word == "order.json" else word for word in arguments))

    assert done.returncode == 2
    assert words in done.stderr
    assert b"Traceback" not in done.stderr
