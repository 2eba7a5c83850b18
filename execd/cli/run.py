"""`execd run`: a script or a workflow from a file, from stdin or saved, run and shown live."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from execd.cli.connect import read_target, run_with_backend, target_options
from execd.cli.exit_codes import ExitCode, exit_code_help
from execd.cli.reading import read_text
from execd.core.errors import InvalidRequestError

if TYPE_CHECKING:
    from execd.cli.backend import Backend, RunRequest

FIXED_STDIN_BYTES = 256 * 1024
"""A file of at most this size goes with the request; a larger one is fed while the script runs."""

FILE_OPTIONS = ("lang", "args", "env", "secrets", "limits", "timeout", "retries", "variables")
"""What says how a file is read or changes what it asks for."""


@click.command(epilog="\b\nExit codes:\n" + exit_code_help())
@click.argument("file", metavar="FILE|NAME|-")
@click.option(
    "--definition",
    "is_definition",
    is_flag=True,
    help="It is a saved definition's name or id, even if a file has that name.",
)
@click.option("--version", type=click.IntRange(min=1), metavar="N", help="Of a saved definition; else its newest.")
@click.option("--lang", help="The language, or `workflow`; else the file's extension or its #! line tells it.")
@click.option("--watch/--detach", default=True, help="Follow it (default), or print its id and leave it to the server.")
@click.option("--arg", "args", multiple=True, help="An argument for the script; may be repeated.")
@click.option("--env", "env", multiple=True, metavar="K=V", help="An environment variable for it; may be repeated.")
@click.option(
    "--secret", "secrets", multiple=True, metavar="VARIABLE=NAME", help="A variable with a secret's value; repeat."
)
@click.option(
    "--limit", "limits", multiple=True, metavar="NAME=VALUE", help="Like wall_s=5, memory_bytes=512M; repeat."
)
@click.option("--timeout", type=float, metavar="SECONDS", help="The same as --limit wall_s=SECONDS.")
@click.option("--stdin", "stdin", metavar="FILE|-", help="What it reads; - follows this terminal or pipe, live.")
@click.option("-i", "interactive", is_flag=True, help="The same as --stdin -.")
@click.option(
    "--input", "input_text", metavar="JSON|@FILE", help="What a workflow finds as `input`; a flow's variables."
)
@click.option("--var", "variables", multiple=True, metavar="NAME=VALUE", help="A workflow's variable; may be repeated.")
@click.option("--until", metavar="NODE", help="Run only this node of a workflow and what it needs.")
@click.option("--name", help="What it is called in lists; else the file's name.")
@click.option("--retries", type=click.IntRange(min=0), default=0, help="Run again so often if its sandbox is lost.")
@click.option("--json", "as_json", is_flag=True, help="Print the events, one JSON object per line, and nothing else.")
@target_options
def run(**options: Any) -> None:
    """Run a script, a workflow or flow in YAML or JSON, or what is saved, and show what it does as it does it.

    A word that is no file here, and has no slash in it, is the name or id of a saved definition.

    It runs on the server of --url or EXECD_URL, else on the one running on this machine, else in this process. What is
    piped in is a script's stdin. What a workflow asks is asked here, or, without a terminal, answered by `execd answer`.
    Ctrl-C cancels it, a second one leaves at once. For flows `execd flow` has more: environments, answers, reports.
    """
    from execd.cli.saved_run import names_definition
    from execd.cli.workflow_files import is_request_file

    if names_definition(options):
        _refuse(options, FILE_OPTIONS, "is for files; a saved definition has its own, and takes --input")
        run_with_backend(read_target(options), lambda backend: _run_saved(options, backend))
    if is_request_file(options["file"], options["lang"]):
        _refuse(
            options,
            ("args", "env", "secrets", "limits", "timeout", "stdin", "interactive", "retries"),
            "is for scripts",
        )
        text = read_text(options["file"])
        run_with_backend(read_target(options), lambda backend: _run_workflow(options, text, backend))
    _refuse(options, ("input_text", "variables", "until"), "is for workflows")
    script = read_text(options["file"])
    plan = _plan_stdin(options)
    run_with_backend(read_target(options), lambda backend: _run(backend, options, script, plan))


async def _run_saved(options: dict[str, Any], backend: Backend) -> int:
    from execd.cli.saved_run import run_saved

    _check_detach(options, backend)
    return await run_saved(options, backend)


async def _run_workflow(options: dict[str, Any], text: str, backend: Backend) -> int:
    from execd.cli.flow_files import FLOW
    from execd.cli.following import OnInterrupt, follow_by_kind
    from execd.cli.workflow_files import read_request, with_values
    from execd.core.flows.titles import titles_of

    _check_detach(options, backend)
    body = read_request(text, file=options["file"])
    is_flow = body["kind"] == FLOW
    if is_flow:
        _refuse(options, ("until",), "is for workflows")
    body = with_values(body, input_text=options["input_text"], variables=options["variables"])
    if options["until"] is not None:
        body["until"] = options["until"]
    execution_id = await backend.submit_body({**body, "name": options["name"] or body["name"]})
    if not options["watch"]:
        click.echo(execution_id)
        return ExitCode.OK
    return await follow_by_kind(
        backend,
        execution_id,
        kind=body["kind"],
        as_json=options["as_json"],
        on_interrupt=OnInterrupt.CANCEL,
        titles=titles_of(body) if is_flow else None,
    )


def _check_detach(options: dict[str, Any], backend: Backend) -> None:
    if not options["watch"] and not backend.outlives_this_process:
        raise InvalidRequestError("--detach needs a server: start one with `execd serve`, or name one with --url")


def _refuse(options: dict[str, Any], names: Iterable[str], why: str) -> None:
    """Refuse options that would be ignored."""
    for name in names:
        if options[name]:
            words = {
                "input_text": "input",
                "variables": "var",
                "args": "arg",
                "limits": "limit",
                "secrets": "secret",
                "interactive": "i",
            }
            raise click.UsageError(f"--{words.get(name, name)} {why}")


class _Stdin:
    """Where the script's stdin comes from: text that goes with the request, or a descriptor followed live, or neither."""

    def __init__(self, *, text: str | None = None, fd: int | None = None) -> None:
        self.text = text
        self.fd = fd


async def _run(backend: Backend, options: dict[str, Any], script: str, stdin: _Stdin) -> int:
    from execd.cli.following import Follower, OnInterrupt
    from execd.cli.views import choose_view

    _check_detach(options, backend)
    request = await _make_request(backend, options, script, stdin)
    execution_id = await backend.submit(request)
    if not options["watch"]:
        click.echo(execution_id)
        return ExitCode.OK
    types_on_terminal = stdin.fd == 0 and os.isatty(0)
    view = choose_view(as_json=options["as_json"], types_on_terminal=types_on_terminal)
    follower = Follower(backend, execution_id, view, on_interrupt=OnInterrupt.CANCEL, stdin_fd=stdin.fd)
    return await follower.follow()


async def _make_request(backend: Backend, options: dict[str, Any], script: str, stdin: _Stdin) -> RunRequest:
    from execd.cli.arguments import choose_language, parse_environment, parse_limits
    from execd.cli.backend import RunRequest

    limits = parse_limits(options["limits"])
    if options["timeout"] is not None:
        limits |= parse_limits([f"wall_s={options['timeout']}"])
    file_name = "" if options["file"] == "-" else Path(options["file"]).name
    runtimes = [] if options["lang"] else await backend.runtimes()
    return RunRequest(
        source=script,
        language=choose_language(options["lang"], file_name=file_name, source=script, runtimes=runtimes),
        name=options["name"] or file_name or "stdin",
        args=options["args"],
        env=parse_environment(options["env"]),
        secrets=parse_environment(options["secrets"], option="secret"),
        limits=limits,
        stdin=stdin.text,
        stdin_open=stdin.fd is not None,
        retries=options["retries"],
    )


def _plan_stdin(options: dict[str, Any]) -> _Stdin:
    """Decide where stdin comes from.

    The cases: a file small enough to go along; a larger or binary one; `-` or `-i`; nothing said, but something piped.
    """
    from execd.cli.stdio import is_piped

    asked = "-" if options["interactive"] else options["stdin"]
    if asked is not None and asked != "-":
        return _stdin_of_file(asked, may_follow=options["watch"])
    is_free = options["file"] != "-"
    if asked == "-" and not is_free:
        raise click.UsageError("the script already comes from stdin, so its own stdin cannot")
    if asked == "-" and not options["watch"]:
        raise click.UsageError("--stdin - needs somebody to follow it, so it does not go with --detach")
    return _Stdin(fd=0) if asked == "-" or (is_free and options["watch"] and is_piped(0)) else _Stdin()


def _stdin_of_file(file: str, *, may_follow: bool) -> _Stdin:
    try:
        fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise click.UsageError(f"cannot read {file}: {error.strerror}") from None
    head = os.read(fd, FIXED_STDIN_BYTES + 1)
    try:
        text = head.decode()
    except UnicodeDecodeError:
        text = None
    if text is not None and len(head) <= FIXED_STDIN_BYTES:
        os.close(fd)
        return _Stdin(text=text)
    if not may_follow:
        raise click.UsageError(f"{file} is not text or over 256 KiB: that must be fed live, which --detach cannot")
    os.lseek(fd, 0, os.SEEK_SET)
    return _Stdin(fd=fd)
