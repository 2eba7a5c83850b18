"""`execd flow`: HTTP requests one after another, from a file, with a card for each and a verdict for CI."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from execd.cli.connect import leave_with, read_target, run_with_backend, target_options
from execd.cli.exit_codes import ExitCode, flow_exit_code_help
from execd.cli.reading import read_text
from execd.core.errors import ExecdError, InvalidRequestError

if TYPE_CHECKING:
    from execd.cli.backend import Backend
    from execd.cli.following import Follower
    from execd.cli.recording import Recorder
    from execd.cli.views import View
    from execd.core.events import ExecutionId


@click.command(epilog="\b\nExit codes:\n" + flow_exit_code_help())
@click.argument("file", metavar="FILE|-")
@click.option("--env", "environment", metavar="NAME", help="Which of the flow's environments is meant.")
@click.option(
    "--var", "variables", multiple=True, metavar="NAME=VALUE", help="A variable of the flow; may be repeated."
)
@click.option(
    "--input", "inputs", multiple=True, metavar="KEY=VALUE", help="An answer to what it asks; may be repeated."
)
@click.option("--start-step", type=click.IntRange(min=1), metavar="N", help="Skip the steps before the Nth.")
@click.option(
    "--validate", "only_validates", is_flag=True, help="Say everything that is wrong with it, and run nothing."
)
@click.option("--junit", metavar="FILE", help="Write what became of every step as JUnit XML.")
@click.option("--name", help="What it is called in lists; else its own name, or the file's.")
@click.option("--watch/--detach", default=True, help="Follow it (default), or print its id and leave it to the server.")
@click.option("--json", "as_json", is_flag=True, help="Print the events, one JSON object per line, and nothing else.")
@target_options
def flow(**options: Any) -> None:
    """Run a flow, a list of HTTP requests in YAML or JSON, and show each step as it ends. FlowSphere's configs run as they are.

    It runs on the server of --url or EXECD_URL, else on the one running on this machine, else in this process. What it asks
    is asked here, secrets unseen; without a terminal every answer has to be given with --input, and nothing is waited for.
    Ctrl-C lets the step in flight finish and runs no other; a second one cancels.
    """
    text = read_text(options["file"])
    target = read_target(options)
    if options["only_validates"]:
        leave_with(partial(_validate, text, options))
    _check_options(options)
    run_with_backend(target, lambda backend: _run(options, text, backend))


def _check_options(options: Mapping[str, Any]) -> None:
    if not options["watch"] and (options["junit"] or options["inputs"]):
        raise click.UsageError("--junit and --input need somebody who follows it, so they do not go with --detach")
    if options["junit"]:
        # Told before anything runs: a report that cannot be written is missed when all is over.
        folder = Path(options["junit"]).absolute().parent
        if Path(options["junit"]).is_dir() or not os.access(folder, os.W_OK):
            raise click.UsageError(f"cannot write {options['junit']}")


def _read_body(text: str, options: Mapping[str, Any]) -> dict[str, Any]:
    from execd.cli.arguments import wrong
    from execd.cli.flow_files import FLOW, with_run_values
    from execd.cli.workflow_files import read_request

    body = read_request(text, file=options["file"])
    if body["kind"] != FLOW:
        raise wrong("kind", f"is {body['kind']!r}, and `execd run` runs that", "a flow: nodes with a method and a url")
    body = with_run_values(
        body,
        environment=options["environment"],
        variables=options["variables"],
        start_step=options["start_step"],
    )
    return {**body, "name": options["name"] or body["name"]}


def _validate(text: str, options: Mapping[str, Any]) -> int:
    from execd.cli.validate import show_faults
    from execd.core.flows.parsing import flow_warnings, parse_flow
    from execd.core.plain_credentials import warn_of_credentials

    try:
        body = _read_body(text, options)
        parse_flow(body)
    except InvalidRequestError as error:
        if not error.faults:
            raise
        show_faults(error.faults, text, file=options["file"])
        return ExitCode.REFUSED
    warnings = [*flow_warnings(body), *warn_of_credentials(body)]
    show_faults(warnings, text, file=options["file"], mark="warning: ")
    click.echo("✓ Config validation passed")
    click.echo(f"  {len(body['nodes'])} node(s) validated successfully")
    return ExitCode.OK


async def _run(options: dict[str, Any], text: str, backend: Backend) -> int:
    from execd.cli.arguments import read_pairs

    body = _read_body(text, options)
    if not options["watch"]:
        return await _detach(body, backend)
    given = read_pairs(options["inputs"], option="--input")
    asks_here = not options["as_json"] and os.isatty(0) and os.isatty(1)
    if not asks_here:
        _check_answers(body, given)
    execution_id = await backend.submit_body(body)
    follower, recorder = _follower(backend, execution_id, body, given=given, as_json=options["as_json"])
    try:
        return await follower.follow()
    finally:
        if options["junit"]:
            _write_report(options["junit"], recorder, execution_id, body)


async def _detach(body: dict[str, Any], backend: Backend) -> int:
    if not backend.outlives_this_process:
        raise InvalidRequestError("--detach needs a server: start one with `execd serve`, or name one with --url")
    click.echo(await backend.submit_body(body))
    return ExitCode.OK


def _check_answers(body: Mapping[str, Any], given: Mapping[str, str]) -> None:
    """Refuse before anything is requested what would stop in the middle for want of an answer."""
    from execd.cli.arguments import wrong
    from execd.cli.flow_files import asked_keys

    missing = [key for key in asked_keys(body) if key not in given]
    if missing:
        options = " ".join(f"--input {key}=…" for key in missing)
        raise wrong(
            "--input", f"lacks {', '.join(missing)}, which the flow asks for, and there is no terminal", options
        )


def _follower(
    backend: Backend, execution_id: ExecutionId, body: Mapping[str, Any], *, given: Mapping[str, str], as_json: bool
) -> tuple[Follower, Recorder]:
    from execd.cli.asking import GivenAnswers, Questions, TerminalAsker
    from execd.cli.flow_wording import FlowWords
    from execd.cli.following import Follower, OnInterrupt
    from execd.cli.recording import Recorder
    from execd.cli.views import choose_view
    from execd.cli.workflow_view import choose_workflow_view
    from execd.core.flows.titles import titles_of

    asks_here = not as_json and os.isatty(0) and os.isatty(1)
    cards = choose_workflow_view(execution_id, asks_here=True, words=FlowWords(execution_id, titles_of(body)), fd=1)
    view: View = choose_view(as_json=True, types_on_terminal=False) if as_json else cards
    recorder = Recorder(view)
    questions: Questions = GivenAnswers(backend, execution_id, view, given)
    if asks_here:
        questions = TerminalAsker(backend, execution_id, cards, given=given)
    follower = Follower(backend, execution_id, recorder, on_interrupt=OnInterrupt.INTERRUPT, questions=questions)
    return follower, recorder


def _write_report(file: str, recorder: Recorder, execution_id: ExecutionId, body: Mapping[str, Any]) -> None:
    from execd.core.formats.junit_export import export_junit

    report = recorder.record.report(execution_id, name=str(body["name"]), config=body)
    try:
        Path(file).write_text(export_junit([report]))
    except OSError as error:
        raise ExecdError(f"the flow has ended, but {file} cannot be written: {error.strerror}") from None
