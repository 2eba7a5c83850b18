"""The nodes of a workflow as `execd show` lists them: how each stands, how long it took, and what it gave, shortened."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Any

import click

from execd.cli.backend import Backend
from execd.cli.journals import read_journal
from execd.cli.node_wording import describe_progress, how_to_answer, is_of_script, reason_of
from execd.cli.wording import format_seconds
from execd.client_records import ExecutionView
from execd.core.events import InputRequired, ResultStored
from execd.core.flows.hiding import hide_named
from execd.core.node_book import NodeBook, NodeEntry
from execd.core.printing import shown_value

MARKS = {
    "completed": ("✔", "green"),
    "failed": ("✘", "red"),
    "skipped": ("-", None),
    "not_run": ("-", None),
    "pending": ("·", None),
    "running": ("▸", "blue"),
    "retrying": ("↻", "yellow"),
    "waiting": ("◷", "yellow"),
    "asking": ("?", "cyan"),
}
"""The sign and colour of each status of a node."""
STATUS_CELLS = max(map(len, MARKS))


async def show_nodes(view: ExecutionView, result: ResultStored | None, backend: Backend) -> None:
    """Print the nodes: those of the outer graph when it is over, every one that has begun while it is not."""
    if result is not None:
        _print_entries(_entries_of(result))
        return
    book = NodeBook()
    asked: dict[str, InputRequired] = {}
    async for event in read_journal(view.id, backend):
        book.take(event)
        if isinstance(event.data, InputRequired):
            asked[str(event.node)] = event.data
    _print_entries(list(book.entries.values()))
    progress = describe_progress(book, datetime.now(UTC))
    if progress is not None:
        click.echo(f"           {progress.text}")
    for node, question in asked.items():
        if book.entries[node].status == "asking":
            click.echo(f"   answer  {how_to_answer(question, execution_id=view.id)}")


def _entries_of(result: ResultStored) -> list[NodeEntry]:
    return [
        NodeEntry(
            id=node.id,
            status=node.status,
            attempt=node.attempts,
            duration_ms=node.duration_ms,
            error=node.error,
            output=_shown_output(node.id, result.outputs.get(node.id)),
        )
        for node in result.nodes
    ]


def _shown_output(node: str, output: Any) -> Any:
    """What people answered to a flow is shown without what looks secret by its name."""
    return hide_named(output) if node.endswith(".prompts") else output


def _print_entries(entries: list[NodeEntry]) -> None:
    names = ["  " * entry.depth + entry.id for entry in entries]
    width = min(40, max(map(len, names), default=0))
    columns = _columns()
    for title, name, entry in zip(["nodes", *[""] * len(names)], names, entries, strict=False):
        mark, colour = MARKS.get(entry.status, ("·", None))
        took = "" if entry.duration_ms is None else format_seconds(entry.duration_ms / 1000)
        attempts = f" x{entry.attempt}" if entry.attempt > 1 else ""
        head = f"{name:<{width}}  {mark} {entry.status.replace('_', ' '):<{STATUS_CELLS}}  {took + attempts:>11}  "
        rest = reason_of(entry.error) if entry.error is not None else ""
        if not rest and entry.output is not None:
            rest = shown_value(_news_of(entry.output), limit=max(20, columns - len(head) - 13))
        line = click.style(head if rest else head.rstrip(), fg=colour) + rest
        click.echo(f"{click.style(f'{title:>9}', bold=True)}  {line}")


def _news_of(output: Any) -> Any:
    """Of a script, the value it gave, or the text it wrote where it gave none."""
    if not is_of_script(output):
        return output
    return output["stdout"] if output["result"] is None else output["result"]


def _columns() -> int:
    import shutil

    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 200
