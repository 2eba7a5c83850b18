"""`execd retry`: run what ended again, whole or from where it broke."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from execd.cli.connect import read_target, run_with_backend, target_options
from execd.cli.exit_codes import ExitCode
from execd.cli.identifiers import EXECUTION_ID, NAME
from execd.core.errors import InvalidRequestError

if TYPE_CHECKING:
    from execd.cli.backend import Backend
    from execd.core.events import ExecutionId


@click.command()
@click.argument("execution_id", metavar="ID", type=EXECUTION_ID)
@click.option(
    "--from",
    "begin",
    type=NAME,
    default="start",
    metavar="start|failed|NODE",
    help="All of it (default); what failed and what follows; or a node and what follows.",
)
@click.option("--until", type=NAME, metavar="NODE", help="Only this node and what it needs.")
@click.option("--watch/--detach", default=True, help="Follow it (default), or print its id and leave it to the server.")
@click.option("--json", "as_json", is_flag=True, help="Print the events, one JSON object per line, and nothing else.")
@target_options
def retry(execution_id: ExecutionId, **options: Any) -> None:
    """Run an execution that ended again, as one of its own; nodes before --from keep what they gave.

    Exits like `execd run`.
    """
    run_with_backend(read_target(options), partial(_retry, execution_id, options))


async def _retry(execution_id: ExecutionId, options: dict[str, Any], backend: Backend) -> int:
    from execd.cli.following import OnInterrupt, follow_by_kind

    if not options["watch"] and not backend.outlives_this_process:
        raise InvalidRequestError("--detach needs a server: start one with `execd serve`, or name one with --url")
    kind = (await backend.find(execution_id)).kind
    again = await backend.retry(execution_id, begin=options["begin"], until=options["until"])
    if not options["watch"]:
        click.echo(again)
        return ExitCode.OK
    return await follow_by_kind(backend, again, kind=kind, as_json=options["as_json"], on_interrupt=OnInterrupt.CANCEL)
