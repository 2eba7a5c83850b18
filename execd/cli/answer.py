"""`execd answer`: tell a workflow what it asked."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from execd.cli.connect import read_target, run_with_backend, target_options
from execd.cli.exit_codes import ExitCode
from execd.cli.identifiers import EXECUTION_ID
from execd.cli.reading import UNSEEN, read_unseen
from execd.core.errors import ConflictError, InvalidRequestError

if TYPE_CHECKING:
    from execd.cli.backend import Backend
    from execd.core.events import ExecutionId, InputRequired


@click.command()
@click.argument("execution_id", metavar="ID", type=EXECUTION_ID)
@click.argument("answers", metavar="[KEY=VALUE]...", nargs=-1)
@click.option("--prompt", "prompt_id", help="Which question; needed only where several are open.")
@target_options
def answer(execution_id: ExecutionId, **options: Any) -> None:
    """Answer what a workflow asks. Keys with a default may be left out.

    Like: execd answer exec-1700000000000-a1b2c3d4e deploy=yes

    KEY=@- is for an answer that is secret: it is asked for unseen, or read from a line of stdin.
    """
    run_with_backend(read_target(options), partial(_answer, execution_id, options))


async def _answer(execution_id: ExecutionId, options: dict[str, Any], backend: Backend) -> int:
    values = _read_answers(options["answers"])
    if not backend.outlives_this_process:
        raise InvalidRequestError(
            "an answer needs the server the workflow runs on: `execd serve`, or name one with --url"
        )
    prompt_id = options["prompt_id"] or await _only_question(execution_id, backend)
    await backend.answer(execution_id, prompt_id=prompt_id, values=values)
    return ExitCode.OK


def _read_answers(pairs: Iterable[str]) -> dict[str, str]:
    from execd.cli.arguments import read_pairs

    found = read_pairs(pairs, option="answers", accepted=f"KEY=VALUE, or KEY={UNSEEN} to be asked unseen")
    return {key: read_unseen(key) if value == UNSEEN else value for key, value in found.items()}


async def _only_question(execution_id: ExecutionId, backend: Backend) -> str:
    from execd.cli.node_wording import how_to_answer

    asked = await open_questions(execution_id, backend)
    if len(asked) == 1:
        return asked[0].prompt_id
    if not asked:
        raise ConflictError(f"{execution_id} asks nothing now")
    ways = "; ".join(how_to_answer(one, execution_id=execution_id) for one in asked)
    raise InvalidRequestError(f"{len(asked)} questions are open; say which: {ways}")


async def open_questions(execution_id: ExecutionId, backend: Backend) -> list[InputRequired]:
    """Give what is asked and not answered, oldest first, by the journal as far as it goes now."""
    from execd.cli.journals import read_journal
    from execd.core.events import InputRequired, NodeCompleted, NodeFailed

    asked: dict[str, InputRequired] = {}
    async for event in read_journal(execution_id, backend):
        match event.data:
            case InputRequired() as question:
                asked[str(event.node)] = question
            case NodeCompleted() | NodeFailed():
                asked.pop(str(event.node), None)
    return list(asked.values())
