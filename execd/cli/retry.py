"""`execd retry`: run what ended again, whole or from where it broke."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import click
import msgspec

from execd.cli.connect import read_target, run_with_backend, target_options
from execd.cli.exit_codes import ExitCode
from execd.cli.identifiers import EXECUTION_ID, NAME
from execd.core.errors import ExecdError, InvalidRequestError
from execd.core.fields import summarise

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
    from execd.cli.flow_files import titles_in
    from execd.cli.following import OnInterrupt, follow_by_kind

    if not options["watch"] and not backend.outlives_this_process:
        raise InvalidRequestError("--detach needs a server: start one with `execd serve`, or name one with --url")
    found = await backend.find(execution_id)
    try:
        again = await backend.retry(execution_id, begin=options["begin"], until=options["until"])
    except ExecdError as error:
        raise _in_words_of_the_command(error, options) from error
    if not options["watch"]:
        click.echo(again)
        return ExitCode.OK
    return await follow_by_kind(
        backend,
        again,
        kind=found.kind,
        as_json=options["as_json"],
        on_interrupt=OnInterrupt.CANCEL,
        titles=titles_in(found.spec),
    )


def _in_words_of_the_command(error: ExecdError, options: dict[str, Any]) -> ExecdError:
    """Name the option and what was typed, where the server names its field."""
    typed = {"from": options["begin"], "until": options["until"]}
    if not any(fault.path in typed for fault in error.faults):
        return error
    faults = tuple(
        msgspec.structs.replace(fault, path=f"--{fault.path}", message=f"`{typed[fault.path]}` {fault.message}")
        if fault.path in typed
        else fault
        for fault in error.faults
    )
    return InvalidRequestError(summarise(faults), faults=faults)
