"""`execd watch`: follow what runs, or replay what ran."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from execd.cli.connect import read_target, run_with_backend, target_options
from execd.cli.identifiers import EXECUTION_ID
from execd.core.errors import ExecdError, FieldFault, InvalidRequestError
from execd.core.replay import MAX_IDLE_LIMIT_S, MAX_SPEED, MIN_IDLE_LIMIT_S, MIN_SPEED, Rhythm

if TYPE_CHECKING:
    from execd.cli.backend import Backend

CURSOR_NAMES = frozenset({"after", "Last-Event-ID"})
"""What the place in a journal is called elsewhere: in a query, and in the header of a reconnect."""


@click.command()
@click.argument("execution_id", metavar="ID", type=EXECUTION_ID)
@click.option("--after", type=click.IntRange(min=0), default=0, metavar="N", help="Begin after event N.")
@click.option("--json", "as_json", is_flag=True, help="Print the events, one JSON object per line, and nothing else.")
@click.option(
    "--speed",
    type=click.FloatRange(MIN_SPEED, MAX_SPEED),
    metavar="N",
    help="Replay what has ended in its own rhythm, N times as fast (0.1 to 1000).",
)
@click.option(
    "--idle-limit",
    type=click.FloatRange(MIN_IDLE_LIMIT_S, MAX_IDLE_LIMIT_S),
    metavar="S",
    help="In a replay, count longer silences as S seconds; without --speed it is replayed as fast as it was.",
)
@target_options
def watch(**options: Any) -> None:
    """Show an execution from its start, live once level, to its end; with --speed, replay one that has ended.

    The connection is made again by itself. Ctrl-C leaves; the execution goes on. Exits like `execd run`.
    """
    run_with_backend(read_target(options), lambda backend: _watch(backend, options))


async def _watch(backend: Backend, options: dict[str, Any]) -> int:
    from execd.cli.flow_files import titles_in
    from execd.cli.following import OnInterrupt, follow_by_kind

    execution_id = options["execution_id"]
    found = await backend.find(execution_id)
    try:
        return await follow_by_kind(
            backend,
            execution_id,
            kind=found.kind,
            as_json=options["as_json"],
            on_interrupt=OnInterrupt.LEAVE,
            after_seq=options["after"],
            rhythm=_rhythm_of(options),
            titles=titles_in(found.spec),
        )
    except ExecdError as error:
        raise _in_words_of_the_command(error) from error


def _rhythm_of(options: dict[str, Any]) -> Rhythm | None:
    speed, idle_limit_s = options["speed"], options["idle_limit"]
    if speed is None and idle_limit_s is None:
        return None
    return Rhythm(speed=1.0 if speed is None else speed, idle_limit_s=idle_limit_s)


def _in_words_of_the_command(error: ExecdError) -> ExecdError:
    """Name the option that was typed, where the server names the header that carried it."""
    if not any(fault.path in CURSOR_NAMES for fault in error.faults):
        return error
    faults = tuple(
        FieldFault(
            path="--after" if fault.path in CURSOR_NAMES else fault.path, message=fault.message, accepted=fault.accepted
        )
        for fault in error.faults
    )
    return InvalidRequestError(f"--after {faults[0].message}", faults=faults)
