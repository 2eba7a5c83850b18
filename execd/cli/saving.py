"""What `execd definition save` does: from a file to a new definition, or to the next version of the one of its name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from execd.cli.exit_codes import ExitCode
from execd.cli.failures import show_note
from execd.cli.reading import read_text
from execd.client_records import DefinitionDetail, SavedDefinition
from execd.core.codec import encode_json
from execd.core.definitions import changed_fields
from execd.core.errors import ConflictError, ExecdError

if TYPE_CHECKING:
    from execd.cli.backend import Backend

NOT_FOUND = 404


class SaveReport(msgspec.Struct, frozen=True, kw_only=True):
    """What `--json` prints."""

    id: str
    name: str
    kind: str
    version: int
    saved: bool
    """False: it was the newest version already."""
    changed: tuple[str, ...]
    """The fields that differ from the version before."""
    dropped_versions: int = 0


def read_file(options: dict[str, Any]) -> str:
    """Read the file, which needs no backend; what cannot be read is a mistake on the command line."""
    if options["file"] == "-" and options["lang"] is None:
        raise click.UsageError("what comes from stdin has no extension; say --lang with a language, or `workflow`")
    return read_text(options["file"])


async def save_file(backend: Backend, options: dict[str, Any], text: str) -> int:
    """Save it and say what became of it."""
    body = await _read_body(backend, options, text)
    newest = await _find(backend, str(body["name"]))
    _check_expected(options["expect"], newest, name=str(body["name"]))
    report = await _save(backend, body, newest)
    if options["as_json"]:
        click.echo(encode_json(report))
    else:
        click.echo(_describe(report))
        if report.dropped_versions:
            show_note(f"no more versions are kept than the setting definitions.versions says: {_dropped(report)}")
    return ExitCode.OK


async def _read_body(backend: Backend, options: dict[str, Any], text: str) -> dict[str, Any]:
    """Make a file what the door takes. A file that is no request is a script."""
    from execd.cli.arguments import choose_language, wrong
    from execd.cli.workflow_files import is_request_file, read_request

    file, language = options["file"], options["lang"]
    if is_request_file(file, language):
        body = read_request(text, file=file)
    else:
        file_name = "" if file == "-" else Path(file).name
        runtimes = [] if language else await backend.runtimes()
        chosen = choose_language(language, file_name=file_name, source=text, runtimes=runtimes)
        body = {"kind": "script", "name": Path(file).stem, "language": chosen, "source": text}
    named = {**body, "name": options["name"] or body["name"]}
    if named["name"] == "-":
        raise wrong("--name", "is missing", "a name, because what comes from stdin has none")
    return named


async def _find(backend: Backend, name: str) -> DefinitionDetail | None:
    try:
        return await backend.definitions.find(name)
    except ExecdError as error:
        if error.status != NOT_FOUND:
            raise
        return None


def _check_expected(expected: int | None, newest: DefinitionDetail | None, *, name: str) -> None:
    """Keep a change of an old version from taking back what somebody saved after it. Raises ConflictError."""
    if expected is None or expected == (0 if newest is None else newest.version):
        return
    if newest is None:
        raise ConflictError(f"there is no {name} yet, and --expect is {expected}")
    raise ConflictError(f"the newest version of {name} is {newest.version}, saved by {newest.saved_by}, not {expected}")


async def _save(backend: Backend, body: dict[str, Any], newest: DefinitionDetail | None) -> SaveReport:
    if newest is None:
        return _report(await backend.definitions.save(body), changed=[])
    changed = changed_fields(newest.body, body)
    if newest.kind != body["kind"]:
        changed = ["kind", *changed]
    if not changed:
        return _report(newest, changed=changed, saved=False)
    return _report(await backend.definitions.update(newest.id, body, version=newest.version), changed=changed)


def _report(found: DefinitionDetail, *, changed: list[str], saved: bool = True) -> SaveReport:
    return SaveReport(
        id=found.id,
        name=found.name,
        kind=found.kind,
        version=found.version,
        saved=saved,
        changed=tuple(changed),
        dropped_versions=found.dropped_versions if isinstance(found, SavedDefinition) else 0,
    )


def _describe(report: SaveReport) -> str:
    if not report.saved:
        return f"{report.name}: unchanged, version {report.version} ({report.id})"
    changed = f", changed {', '.join(report.changed)}" if report.changed else ""
    return f"{report.name}: saved version {report.version}{changed} ({report.id})"


def _dropped(report: SaveReport) -> str:
    count = report.dropped_versions
    return "its oldest was dropped" if count == 1 else f"its oldest {count} were dropped"
