"""`execd import` and `execd export`: other tools' files about HTTP requests into flows, and back. Nothing in them is run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from execd.cli.arguments import wrong
from execd.cli.connect import leave_with
from execd.cli.exit_codes import ExitCode
from execd.cli.flow_files import FLOW
from execd.cli.reading import read_text

if TYPE_CHECKING:
    from execd.core.formats.drafting import Note

SOURCES = ("postman", "openapi", "curl", "har")
TARGETS = ("postman", "postman-environment", "curl")


@click.command("import")
@click.argument("file", metavar="FILE|-")
@click.option("--from", "source", type=click.Choice(SOURCES), help="What it is; else its content tells.")
@click.option(
    "-o", "--output", metavar="FILE", help="Where the flow goes, as YAML if the name says so; else to stdout."
)
@click.option(
    "--environment", "environments", multiple=True, metavar="FILE", help="A Postman environment; may be repeated."
)
@click.option("--keep-credentials", is_flag=True, help="Leave keys as they are (curl, HAR); else they become secrets.")
@click.option("--keep-all", is_flag=True, help="Of a HAR also pictures, styles and scripts.")
def import_(**options: Any) -> None:
    """Make a flow of a Postman collection, an OpenAPI or Swagger document, curl commands, or a browser's HAR recording.

    What cannot be carried over is told on stderr, and what to do about it.
    """
    leave_with(partial(_import, options))


@click.command("export")
@click.argument("file", metavar="FILE|-")
@click.option("--to", "target", type=click.Choice(TARGETS), required=True, help="What it becomes.")
@click.option("-o", "--output", metavar="FILE", help="Where it goes; else to stdout.")
@click.option("--env", "environment", metavar="NAME", help="Which environment, of postman-environment and curl.")
@click.option("--name", help="What the collection is called; else as the flow, or the file.")
def export(**options: Any) -> None:
    """Make a Postman collection, a Postman environment or a bash script of curl commands of a flow."""
    leave_with(partial(_export, options))


def _import(options: Mapping[str, Any]) -> int:
    from execd.core.formats.reading import ImportOptions, import_file

    text = read_text(options["file"])
    source = options["source"] or _guess(text)
    _refuse_unread(options, source)
    how = ImportOptions(
        environments=[read_text(file) for file in options["environments"]],
        keep_credentials=options["keep_credentials"],
        keep_all=options["keep_all"],
    )
    imported = import_file(text, source, how)
    name = "imported" if options["file"] == "-" else Path(options["file"]).name.partition(".")[0]
    config = {"kind": FLOW, "name": name, **imported.config}
    _write(_encode(config, options["output"]), options["output"])
    _tell(imported.notes)
    if options["output"]:
        click.echo(f"{len(config['nodes'])} steps; look: execd flow {options['output']} --validate", err=True)
    return ExitCode.OK


def _guess(text: str) -> str:
    from execd.core.formats.reading import guess_source

    source = guess_source(text)
    if source is None:
        raise wrong("--from", "is not given, and the content does not tell", ", ".join(SOURCES))
    return source


def _refuse_unread(options: Mapping[str, Any], source: str) -> None:
    """Refuse options that would be ignored."""
    from execd.core.formats.reading import READERS

    for name, sources in READERS.items():
        if options[name] and source not in sources:
            shown = name.replace("environments", "environment").replace("_", "-")
            raise wrong(f"--{shown}", f"means nothing for {source}", f"with {' or '.join(sources)}")


def _export(options: Mapping[str, Any]) -> int:
    from execd.cli.flow_files import with_run_values
    from execd.cli.workflow_files import read_request
    from execd.core.formats.writing import export_flow

    body = read_request(read_text(options["file"]), file=options["file"])
    if body["kind"] != FLOW:
        raise wrong("kind", f"is {body['kind']!r}", "a flow: nodes with a method and a url")
    if options["environment"] is not None:
        body = with_run_values(body, environment=options["environment"], variables=(), start_step=None)
    if options["target"] == "postman-environment" and not isinstance(body.get("environment"), str):
        raise wrong("--env", "is not given, and the flow names no environment", "one of the flow's environments")
    exported = export_flow(body, options["target"], name=options["name"] or str(body["name"]))
    _write(exported.text, options["output"])
    _tell(exported.notes)
    return ExitCode.OK


def _encode(config: dict[str, Any], output: str | None) -> str:
    if output is not None and output.endswith((".yaml", ".yml")):
        import yaml

        return yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=120)
    return json.dumps(config, indent=2, ensure_ascii=False) + "\n"


def _write(text: str, output: str | None) -> None:
    if output is None:
        click.echo(text, nl=not text.endswith("\n"))
        return
    try:
        Path(output).write_text(text)
    except OSError as error:
        raise click.UsageError(f"cannot write {output}: {error.strerror}") from None


def _tell(notes: Sequence[Note]) -> None:
    """Say on stderr what is not as it was; the flow alone is on stdout."""
    from execd.core.printing import printable

    for note in notes:
        advice = f"; {note.advice}" if note.advice else ""
        click.echo(
            f"! {click.style(printable(note.path or 'the file'), bold=True)} {printable(note.message + advice)}",
            err=True,
        )
