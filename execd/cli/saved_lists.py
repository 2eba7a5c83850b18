"""How saved definitions are listed: the newest version of each, or the versions of one."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from execd.cli.exit_codes import ExitCode
from execd.cli.wording import format_bytes, format_moment
from execd.core.codec import encode_json

if TYPE_CHECKING:
    from execd.cli.backend import Backend
    from execd.client_records import DefinitionDetail, DefinitionList, DefinitionView

PAGE = 100
"""Versions asked for at one time."""

ReadPage = Callable[[int, str | None], "Awaitable[DefinitionList]"]
"""Gives a page of so many from a cursor on."""


async def list_definitions(options: dict[str, Any], backend: Backend) -> int:
    """Print the newest version of each definition."""

    async def read_page(limit: int, cursor: str | None) -> DefinitionList:
        return await backend.definitions.list(kind=options["kind"], name=options["name"], limit=limit, cursor=cursor)

    found = await _collect(read_page, options["limit"])
    if not found and not options["as_json"]:
        click.echo("Nothing is saved yet. Start with: execd definition save FILE", err=True)
        return ExitCode.OK
    rows = [(view.name, view.kind, str(view.version), format_moment(view.saved_at), view.saved_by) for view in found]
    _print(found, ("NAME", "KIND", "VERSION", "SAVED", "BY"), rows, as_json=options["as_json"])
    return ExitCode.OK


async def list_versions(options: dict[str, Any], backend: Backend) -> int:
    """Print the versions of one definition."""

    async def read_page(limit: int, cursor: str | None) -> DefinitionList:
        return await backend.definitions.versions(options["name"], limit=limit, cursor=cursor)

    found = await _collect(read_page, options["limit"])
    rows = [(view.name, str(view.version), format_moment(view.saved_at), view.saved_by, _size(view)) for view in found]
    _print(found, ("NAME", "VERSION", "SAVED", "BY", "SIZE"), rows, as_json=options["as_json"])
    return ExitCode.OK


def print_head(found: DefinitionDetail) -> None:
    """Print what a definition is, as comments of the document that follows."""
    click.echo(click.style(f"# {found.id}, version {found.version}, {_size(found)}", dim=True))
    click.echo(
        click.style(f"# saved by {found.saved_by} in {found.workspace}, {format_moment(found.saved_at)}", dim=True)
    )


async def _collect(read_page: ReadPage, limit: int) -> list[DefinitionView]:
    found: list[DefinitionView] = []
    cursor: str | None = None
    while len(found) < limit:
        page = await read_page(min(PAGE, limit - len(found)), cursor)
        found += page.items
        cursor = page.next_cursor
        if cursor is None:
            break
    return found[:limit]


def _print(
    found: list[DefinitionView], header: tuple[str, ...], rows: Sequence[tuple[str, ...]], *, as_json: bool
) -> None:
    """Print what fits the terminal; through a pipe everything, whatever its width."""
    from execd.cli.table import format_columns

    if as_json:
        for view in found:
            click.echo(encode_json(view))
        return
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    title, *lines = format_columns(header, rows, columns=columns, gives_way=0)
    click.echo(click.style("  ".join(title).rstrip(), bold=True))
    for line in lines:
        click.echo("  ".join(line).rstrip())


def _size(view: DefinitionView) -> str:
    return format_bytes(view.size_bytes)
