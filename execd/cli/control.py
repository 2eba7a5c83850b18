"""`execd cancel` and `execd interrupt`: end what runs."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from execd.cli.connect import read_target, run_with_backend, target_options
from execd.cli.exit_codes import ExitCode
from execd.cli.identifiers import EXECUTION_ID

if TYPE_CHECKING:
    from execd.cli.backend import Backend
    from execd.core.events import ExecutionId


@click.command()
@click.argument("execution_id", metavar="ID", type=EXECUTION_ID)
@target_options
def cancel(execution_id: ExecutionId, **options: Any) -> None:
    """Kill an execution now; returning means it will end, `execd watch` shows when."""
    run_with_backend(read_target(options), partial(_cancel, execution_id))


@click.command()
@click.argument("execution_id", metavar="ID", type=EXECUTION_ID)
@target_options
def interrupt(execution_id: ExecutionId, **options: Any) -> None:
    """Let the step in flight finish and start nothing after it."""
    run_with_backend(read_target(options), partial(_interrupt, execution_id))


async def _cancel(execution_id: ExecutionId, backend: Backend) -> int:
    await backend.cancel(execution_id)
    return ExitCode.OK


async def _interrupt(execution_id: ExecutionId, backend: Backend) -> int:
    await backend.interrupt(execution_id)
    return ExitCode.OK
