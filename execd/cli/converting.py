"""`execd import` and `execd export`: other tools' files about HTTP requests into flows, and back. Nothing in them is run."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from execd.cli.connect import leave_with
from execd.cli.exit_codes import ExitCode
from execd.cli.flow_files import FLOW, wrong
from execd.cli.reading import read_text

if TYPE_CHECKING:
    from execd.core.formats.drafting import Exported, Imported, Note

SOURCES = ("postman", "openapi", "curl", "har")
TARGETS = ("postman", "postman-environment", "curl")
_CURL = re.compile(r"^\s*(?:[A-Za-z_][A-Za-z0-9_]*=\S*\s+)*curl(?:\.exe)?\s", re.MULTILINE)
_OPENAPI = re.compile(r"^(?:openapi|swagger)\s*:", re.MULTILINE)


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
    text = read_text(options["file"])
    source = options["source"] or _guess(text)
    _refuse_unread(options, source)
    imported = _importers(options)[source](text)
    name = "imported" if options["file"] == "-" else Path(options["file"]).name.partition(".")[0]
    config = {"kind": FLOW, "name": name, **imported.config}
    _write(_encode(config, options["output"]), options["output"])
    _tell(imported.notes)
    if options["output"]:
        click.echo(f"{len(config['nodes'])} steps; look: execd flow {options['output']} --validate", err=True)
    return ExitCode.OK


def _importers(options: Mapping[str, Any]) -> dict[str, Callable[[str], Imported]]:
    from execd.core.formats.credentials import Credentials
    from execd.core.formats.curl_import import import_curl
    from execd.core.formats.har_import import Keep, import_har
    from execd.core.formats.openapi_import import import_openapi
    from execd.core.formats.postman_import import import_collection

    credentials = Credentials.AS_WRITTEN if options["keep_credentials"] else Credentials.AS_SECRETS
    environments = [read_text(file) for file in options["environments"]]
    return {
        "postman": partial(import_collection, environments=environments),
        "openapi": import_openapi,
        "curl": partial(import_curl, credentials=credentials),
        "har": partial(
            import_har, keep=Keep.EVERYTHING if options["keep_all"] else Keep.API_CALLS, credentials=credentials
        ),
    }


def _guess(text: str) -> str:
    """Say what a file is by what only its kind has."""
    found = _json_or_none(text)
    if isinstance(found, dict):
        if isinstance(found.get("log"), dict):
            return "har"
        if "openapi" in found or "swagger" in found:
            return "openapi"
        if "item" in found or "collection" in found or "requests" in found:
            return "postman"
    elif _OPENAPI.search(text):
        return "openapi"
    elif _CURL.search(text):
        return "curl"
    raise wrong("--from", "is not given, and the content does not tell", ", ".join(SOURCES))


def _json_or_none(text: str) -> Any:
    try:
        return json.loads(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError):
        return None


def _refuse_unread(options: Mapping[str, Any], source: str) -> None:
    """Refuse options that would be ignored."""
    readers = {"environments": ("postman",), "keep_credentials": ("curl", "har"), "keep_all": ("har",)}
    for name, sources in readers.items():
        if options[name] and source not in sources:
            shown = name.replace("environments", "environment").replace("_", "-")
            raise wrong(f"--{shown}", f"means nothing for {source}", f"with {' or '.join(sources)}")


def _export(options: Mapping[str, Any]) -> int:
    from execd.cli.flow_files import with_run_values
    from execd.cli.workflow_files import read_request

    body = read_request(read_text(options["file"]), file=options["file"])
    if body["kind"] != FLOW:
        raise wrong("kind", f"is {body['kind']!r}", "a flow: nodes with a method and a url")
    if options["environment"] is not None:
        body = with_run_values(body, environment=options["environment"], variables=(), start_step=None)
    exported = _exported(body, options)
    _write(exported.text, options["output"])
    _tell(exported.notes)
    return ExitCode.OK


def _exported(body: dict[str, Any], options: Mapping[str, Any]) -> Exported:
    from execd.core.formats.curl_export import export_curl
    from execd.core.formats.postman_export import export_collection, export_environment

    name = options["name"] or str(body["name"])
    if options["target"] == "curl":
        return export_curl(body)
    if options["target"] == "postman":
        return export_collection(body, name=name)
    if not isinstance(body.get("environment"), str):
        raise wrong("--env", "is not given, and the flow names no environment", "one of the flow's environments")
    return export_environment(body, name=body["environment"])


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
