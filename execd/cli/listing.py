"""`execd ls` and `execd show`: what ran, and how it ended."""

from __future__ import annotations

import shutil
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from execd.cli.connect import read_target, run_with_backend, target_options
from execd.cli.exit_codes import ExitCode
from execd.cli.identifiers import EXECUTION_ID
from execd.core.codec import encode_json
from execd.core.errors import ExecdError
from execd.core.events import ExecutionId, ResultStored, Status

if TYPE_CHECKING:
    from execd.cli.backend import Backend
    from execd.client_records import ExecutionView

PAGE = 100
"""Executions asked for at one time."""


@click.command()
@click.option("--status", type=click.Choice([str(status) for status in Status]), help="Only those that stand here.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="At most so many.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
@target_options
def ls(**options: Any) -> None:
    """List executions, newest first."""
    run_with_backend(read_target(options), partial(_list, options))


@click.command()
@click.argument("execution_id", metavar="ID", type=EXECUTION_ID)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with the whole result where there is one.")
@target_options
def show(execution_id: ExecutionId, **options: Any) -> None:
    """Show one execution and, if it ended, how."""
    run_with_backend(read_target(options), partial(_show, execution_id, options))


async def _list(options: dict[str, Any], backend: Backend) -> int:
    status = None if options["status"] is None else Status(options["status"])
    found = await _collect(backend, status, options["limit"])
    if options["as_json"]:
        for view in found:
            click.echo(encode_json(view))
    elif found:
        _print_table(found)
    else:
        click.echo("Nothing yet. Start with: execd run examples/hello.py", err=True)
    return ExitCode.OK


async def _collect(backend: Backend, status: Status | None, limit: int) -> list[ExecutionView]:
    found: list[ExecutionView] = []
    cursor: str | None = None
    while len(found) < limit:
        page = await backend.list_executions(status=status, limit=min(PAGE, limit - len(found)), cursor=cursor)
        found += page.items
        cursor = page.next_cursor
        if cursor is None:
            break
    return found[:limit]


def _print_table(views: list[ExecutionView]) -> None:
    """Print what fits the terminal; through a pipe everything, whatever its width."""
    from execd.cli.table import format_table
    from execd.cli.wording import MARKS, format_moment

    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    marks = [MARKS.get(view.status, ("blue", "…")) for view in views]
    rows = [
        (str(view.id), f"{mark} {view.status}", view.name, format_moment(view.created_at), _duration(view))
        for view, (_, mark) in zip(views, marks, strict=True)
    ]
    header, *lines = format_table(("ID", "STATUS", "NAME", "CREATED", "TOOK"), rows, columns=columns)
    click.echo(click.style("  ".join(header).rstrip(), bold=True))
    for (execution_id, status, *rest), (colour, _) in zip(lines, marks, strict=True):
        click.echo("  ".join([execution_id, click.style(status, fg=colour), *rest]).rstrip())


async def _show(execution_id: ExecutionId, options: dict[str, Any], backend: Backend) -> int:
    view = await backend.find(execution_id)
    result = await _find_result(backend, execution_id) if view.status.is_final else None
    if options["as_json"]:
        click.echo(encode_json({"execution": view, "result": result}))
        return ExitCode.OK
    _print_details(view, result)
    if view.kind != "script":
        from execd.cli.showing import show_nodes

        await show_nodes(view, result, backend)
    return ExitCode.OK


async def _find_result(backend: Backend, execution_id: ExecutionId) -> ResultStored | None:
    """Give the result; None where it was swept away between two requests."""
    try:
        return await backend.result(execution_id)
    except ExecdError as error:
        if error.status in {404, 409}:
            return None
        raise


def _print_details(view: ExecutionView, result: ResultStored | None) -> None:
    from rich.console import Console
    from rich.markup import escape

    from execd.cli.wording import describe_result, format_moment

    console = Console(highlight=False)
    for title, value in (
        ("id", view.id),
        ("name", view.name),
        ("kind", view.kind),
        ("user", f"{view.user} in {view.workspace}"),
        ("retry of", view.attempt_of or ""),
        ("created", format_moment(view.created_at)),
        ("started", format_moment(view.started_at)),
        ("finished", format_moment(view.finished_at)),
    ):
        if value:
            console.print(f"[bold]{title:>9}[/]  {escape(value)}", soft_wrap=True)
    ending = describe_result(result) if result is not None else str(view.status)
    console.print(f"[bold]{'status':>9}[/]  {ending}", soft_wrap=True)
    if result is not None:
        for stream, totals in result.streams.items():
            if totals.total_bytes:
                console.print(f"[bold]{stream:>9}[/]  {_describe_totals(totals.total_bytes, totals.dropped_bytes)}")


def _describe_totals(total_bytes: int, dropped_bytes: int) -> str:
    from execd.cli.wording import format_bytes

    dropped = f", {format_bytes(dropped_bytes)} of them dropped at the limit" if dropped_bytes else ""
    return f"{format_bytes(total_bytes)}{dropped}"


def _duration(view: ExecutionView) -> str:
    from execd.cli.wording import format_seconds

    if view.started_at is None or view.finished_at is None:
        return ""
    return format_seconds((view.finished_at - view.started_at).total_seconds())
