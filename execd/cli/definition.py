"""`execd definition`: scripts and workflows that are kept with every version and run by name."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from execd.cli.connect import read_target, run_with_backend, target_options
from execd.cli.exit_codes import ExitCode
from execd.cli.identifiers import NAME

if TYPE_CHECKING:
    from execd.cli.backend import Backend

FIRST = click.IntRange(min=1)


class _Group(click.Group):
    """A group whose `list` may be typed `ls`, as that of executions and tokens is."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(ctx, "list" if cmd_name == "ls" else cmd_name)


@click.group(cls=_Group)
def definition() -> None:
    """Save scripts and workflows, on the running server or, without one, in the data directory.

    What is saved is run with `execd run NAME`; every version of it is kept.
    """


@definition.command()
@click.argument("file", metavar="FILE|-")
@click.option("--name", type=NAME, help="What it is called; else what the file says, else the file's name.")
@click.option("--lang", help="The language, or `workflow`; else the file's extension or its #! line tells it.")
@click.option("--expect", type=click.IntRange(min=0), metavar="N", help="Only if version N is the newest; 0: if new.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@target_options
def save(**options: Any) -> None:
    """Save a script, or a workflow in YAML or JSON: a new definition, or the next version of the one of its name.

    What is the same as the newest version is not saved again. What could not run is refused.
    """
    from execd.cli.saving import read_file, save_file

    text = read_file(options)
    run_with_backend(read_target(options), lambda backend: save_file(backend, options, text))


@definition.command("list")
@click.option("--kind", type=click.Choice(["script", "workflow", "flow", "external"]), help="Only these.")
@click.option("--name", help="Only those with this in their name.")
@click.option("--limit", type=FIRST, default=50, show_default=True, help="At most so many.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
@target_options
def list_all(**options: Any) -> None:
    """List what is saved, in its newest versions, those made last first."""
    from execd.cli.saved_lists import list_definitions

    run_with_backend(read_target(options), partial(list_definitions, options))


@definition.command()
@click.argument("name", metavar="NAME", type=NAME)
@click.option("--version", type=FIRST, metavar="N", help="Else the newest.")
@click.option("--yaml", "as_yaml", is_flag=True, help="Print only the document, as a file to edit and save again.")
@click.option("--json", "as_json", is_flag=True, help="The same in JSON.")
@target_options
def show(**options: Any) -> None:
    """Show a definition, by name or id, with what is in it."""
    if options["as_yaml"] and options["as_json"]:
        raise click.UsageError("--yaml and --json exclude one another")
    run_with_backend(read_target(options), partial(_show, options))


@definition.command()
@click.argument("name", metavar="NAME", type=NAME)
@click.option("--limit", type=FIRST, default=50, show_default=True, help="At most so many.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
@target_options
def versions(**options: Any) -> None:
    """List the versions of a definition, newest first."""
    from execd.cli.saved_lists import list_versions

    run_with_backend(read_target(options), partial(list_versions, options))


@definition.command()
@click.argument("name", metavar="NAME", type=NAME)
@click.option("--yes", is_flag=True, help="Do not ask.")
@target_options
def delete(**options: Any) -> None:
    """Delete a definition with all its versions. What was run stays; on a terminal it asks first."""
    run_with_backend(read_target(options), partial(_delete, options))


async def _show(options: dict[str, Any], backend: Backend) -> int:
    name, version = options["name"], options["version"]
    if options["as_json"]:
        click.echo(await backend.definitions.export_json(name, version=version))
        return ExitCode.OK
    if not options["as_yaml"]:
        from execd.cli.saved_lists import print_head

        found = await backend.definitions.find(name, version=version)
        print_head(found)
        name, version = found.id, found.version
    click.echo(await backend.definitions.export_yaml(name, version=version), nl=False)
    return ExitCode.OK


async def _delete(options: dict[str, Any], backend: Backend) -> int:
    found = await backend.definitions.find(options["name"])
    asks = not options["yes"] and os.isatty(0) and os.isatty(2)
    if asks and not await _is_confirmed(f"Delete {found.name} with all its versions? The newest is {found.version}."):
        return ExitCode.CANCELLED
    await backend.definitions.delete(found.id)
    click.echo(f"{found.name}: deleted with all its versions ({found.id})")
    return ExitCode.OK


async def _is_confirmed(question: str) -> bool:
    import trio

    try:
        ask = partial(click.confirm, question, err=True)
        return await trio.to_thread.run_sync(ask, abandon_on_cancel=True)
    except click.Abort:
        return False
