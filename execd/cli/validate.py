"""`execd validate`: everything that is wrong with a workflow's or a flow's file, at once, without running it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from execd.cli.connect import leave_with, read_target, target_options
from execd.cli.exit_codes import ExitCode
from execd.cli.reading import read_text
from execd.core.errors import ConfigurationError, FieldFault, InvalidRequestError

if TYPE_CHECKING:
    from execd.cli.connect import Target
    from execd.settings import Settings


@click.command()
@click.argument("file", metavar="FILE|-")
@target_options
def validate(**options: Any) -> None:
    """Check a workflow or a flow in YAML or JSON: fields, needs, cycles, expressions and what they refer to.

    Each fault has its line, its path and what would be accepted. Nothing runs and no server is asked; languages and
    limits are those of this machine's settings, or, where these are wrong, the built-in ones. Exits 0 when it is right and
    2 when it is not.
    """
    leave_with(partial(_validate, read_target(options), options["file"]))


def _validate(target: Target, file: str) -> int:
    from execd.cli.workflow_files import read_request
    from execd.core.plain_credentials import warn_of_credentials
    from execd.core.requests import parse_request
    from execd.core.script_fields import ScriptTools
    from execd.settings import load_runtimes

    text = read_text(file)
    settings = _settings_or_defaults(target)
    sandbox = settings.sandbox
    tools = ScriptTools(
        runtimes=load_runtimes(settings),
        defaults=sandbox.defaults,
        caps=sandbox.caps,
        env_names=frozenset(settings.expressions.env),
    )
    try:
        body = read_request(text, file=file)
        parse_request(body, tools)
    except InvalidRequestError as error:
        if not error.faults:
            raise
        show_faults(error.faults, text, file=file)
        return ExitCode.REFUSED
    click.echo(f"{file}: right")
    show_faults(warn_of_credentials(body), text, file=file, mark="warning: ")
    return ExitCode.OK


def _settings_or_defaults(target: Target) -> Settings:
    """Load the settings. Wrong ones keep a server from starting; they say nothing against the file that is checked."""
    from execd.settings import load_settings

    try:
        return target.settings()
    except ConfigurationError as error:
        click.echo(f"warning: {error.message}; checked against the built-in languages and limits", err=True)
        return load_settings(environ={})


def show_faults(faults: Iterable[FieldFault], text: str, *, file: str, mark: str = "") -> None:
    """Say each fault with its line, its path and what would be accepted."""
    from execd.core.text_lines import lines_of

    faults = tuple(faults)
    lines = lines_of(text, [fault.path for fault in faults])
    for fault in faults:
        line = None if fault.path in {"", file} else lines.get(fault.path)
        place = file if line is None else f"{file}:{line}"
        accepted = f"; accepted: {fault.accepted}" if fault.accepted else ""
        path = click.style("the file" if fault.path in {"", file} else fault.path, bold=True)
        click.echo(f"{place}: {mark}{path} {fault.message}{accepted}", err=True)
