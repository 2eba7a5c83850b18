"""`execd run` of what is saved: which word means a definition, and how it runs."""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from execd.cli.exit_codes import ExitCode
from execd.cli.failures import show_note
from execd.core.errors import ExecdError, FieldFault, InvalidRequestError, NotFoundError

if TYPE_CHECKING:
    from execd.cli.backend import Backend
    from execd.client_records import DefinitionDetail

NOT_FOUND = 404


def names_definition(options: dict[str, Any]) -> bool:
    """Say whether what `execd run` was given is a definition's name or id.

    A file that is there wins, so that saving something can never change what a command runs that ran a file before. A word
    with a slash, or with a language beside it, is always a file; --definition and --version always mean a definition.
    """
    if options["is_definition"] or options["version"] is not None:
        return True
    word = options["file"]
    if options["lang"] is not None or word == "-" or "/" in word:
        return False
    return not Path(word).exists() or Path(word).is_dir()


async def run_saved(options: dict[str, Any], backend: Backend) -> int:
    """Run the version that is found now, follow it and give the exit code."""
    found = await _find(options, backend)
    given = _read_input(options["input_text"])
    stdin_fd = _choose_stdin(options, found)
    submitted = await backend.definitions.run(
        found.id,
        version=found.version,
        input=given,
        name=options["name"],
        until=options["until"],
        idempotency_key=secrets.token_hex(16),
    )
    if not options["watch"]:
        click.echo(submitted.id)
        return ExitCode.OK
    if sys.stderr.isatty() and not options["as_json"]:
        show_note(f"{found.name}, version {found.version}")
    return await _follow(backend, submitted.id, found, as_json=options["as_json"], stdin_fd=stdin_fd)


async def _follow(
    backend: Backend, execution_id: Any, found: DefinitionDetail, *, as_json: bool, stdin_fd: int | None
) -> int:
    from execd.cli.flow_files import FLOW
    from execd.cli.following import Follower, OnInterrupt, follow_by_kind
    from execd.cli.views import choose_view
    from execd.core.flows.titles import titles_of

    if stdin_fd is None:
        return await follow_by_kind(
            backend,
            execution_id,
            kind=found.kind,
            as_json=as_json,
            on_interrupt=OnInterrupt.CANCEL,
            titles=titles_of(found.body) if found.kind == FLOW else None,
        )
    view = choose_view(as_json=as_json, types_on_terminal=os.isatty(stdin_fd))
    follower = Follower(backend, execution_id, view, on_interrupt=OnInterrupt.CANCEL, stdin_fd=stdin_fd)
    return await follower.follow()


async def _find(options: dict[str, Any], backend: Backend) -> DefinitionDetail:
    word = options["file"]
    try:
        return await backend.definitions.find(word, version=options["version"])
    except ExecdError as error:
        if error.status != NOT_FOUND or options["version"] is not None:
            raise
        where = "" if options["is_definition"] else f"cannot read {word}: there is no such file, and "
        words = f"{where}nothing is saved as {word}; `execd definition list` shows what is"
        raise NotFoundError(words) from error


def _read_input(text: str | None) -> Any:
    from execd.cli.workflow_files import read_value

    return None if text is None else read_value(text, option="--input")


def _choose_stdin(options: dict[str, Any], found: DefinitionDetail) -> int | None:
    """Follow stdin for a script that is saved as reading it live.

    Raises:
        InvalidRequestError: it was asked for and is not so saved.
    """
    from execd.cli.stdio import is_piped

    asked = options["interactive"] or options["stdin"] is not None
    if options["stdin"] not in {None, "-"}:
        raise click.UsageError("--stdin FILE is for files; pipe it into a saved script")
    if asked and not options["watch"]:
        raise click.UsageError("--stdin - needs somebody to follow it, so it does not go with --detach")
    if found.kind == "script" and found.body.get("stdin_open") is True:
        return 0 if options["watch"] else None
    if asked:
        fault = FieldFault("--stdin", "has no place", "--input, or a script saved with `stdin_open: true`")
        raise InvalidRequestError(f"{found.name} reads no stdin", faults=(fault,))
    if found.kind == "script" and options["input_text"] is None and is_piped(0):
        show_note(f"{found.name} does not read what is piped in: give it --input, or save it with `stdin_open: true`")
    return None
