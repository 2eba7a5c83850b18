"""What becomes of a workflow's questions: they are asked at this terminal, or, where nobody could ever answer, ended.

A question in a journal may have been answered long ago: its answer comes right behind it, so each is left alone for a
moment first.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from typing import Protocol

import trio

from execd.cli.backend import Backend
from execd.cli.node_wording import how_to_answer, question_of
from execd.cli.unseen import unseen
from execd.cli.views import View
from execd.cli.workflow_view import WorkflowView
from execd.core.answers import check_answers
from execd.core.errors import ConflictError, ExecdError
from execd.core.event_parts import Prompt
from execd.core.events import Event, ExecutionId, InputReceived, InputRequired, NodeCompleted, NodeFailed
from execd.core.flows.hiding import looks_secret

REPLAY_S = 0.3
"""How long a question stands before it counts as open: a replayed one is answered within one page of the journal."""
READ_BYTES = 4096
"""The longest line a terminal gives."""


class Questions(Protocol):
    """Hears of questions, and deals with them in a task of its own."""

    def take_notice(self, event: Event) -> None:
        """Hear the next event; returns at once."""

    async def deal(self) -> None:
        """Deal with what is asked, until cancelled."""


class OpenQuestions:
    """The questions nobody has answered yet, by node. Owns: which one is being dealt with.

    Args:
        stands_s: how long one stands before it counts as open; 0 where nobody else can answer.
    """

    def __init__(self, stands_s: float = REPLAY_S) -> None:
        self._stands_s = stands_s
        self._open: dict[str, InputRequired] = {}
        self._changed = trio.Event()
        self._dealing = trio.CancelScope()

    def take_notice(self, event: Event) -> None:
        """Hear the next event."""
        match event.data:
            case InputRequired() as asked:
                self._open[str(event.node)] = asked
            case InputReceived() | NodeCompleted() | NodeFailed() if event.node in self._open:
                gone = next(iter(self._open)) == event.node
                del self._open[event.node]
                if gone:
                    self._dealing.cancel()
            case _:
                return
        self._changed.set()

    async def next(self) -> InputRequired:
        """Wait until something has been asked for a moment, and give the oldest."""
        while True:
            while not self._open:
                self._changed = trio.Event()
                await self._changed.wait()
            oldest = next(iter(self._open.values()))
            await trio.sleep(self._stands_s)
            if next(iter(self._open.values()), None) is oldest:
                return oldest

    def dealing(self) -> trio.CancelScope:
        """Give a scope that is cancelled when the oldest question is over."""
        self._dealing = trio.CancelScope()
        return self._dealing


class TerminalAsker:
    """Asks at this terminal and hands the answers on.

    Args:
        given: answers that need not be asked for, by their keys.
        fd: where people type.
    """

    def __init__(
        self,
        backend: Backend,
        execution_id: ExecutionId,
        view: WorkflowView,
        *,
        given: Mapping[str, str] | None = None,
        fd: int = 0,
    ) -> None:
        self._given = given or {}
        self._backend = backend
        self._id = execution_id
        self._view = view
        self._fd = fd
        self._typed = b""
        self._questions = OpenQuestions()

    def take_notice(self, event: Event) -> None:
        self._questions.take_notice(event)

    async def deal(self) -> None:
        while True:
            asked = await self._questions.next()
            with self._questions.dealing():
                if not await self._ask(asked):
                    return
            await self._view.ask(None)

    async def _ask(self, asked: InputRequired) -> bool:
        """Ask until the answers are taken; False when there is nobody to type any more."""
        while True:
            values: dict[str, str] = {}
            for prompt in asked.prompts:
                typed = self._given.get(prompt.key)
                if typed is None:
                    typed = await self._ask_one(prompt, asked)
                if typed is None:
                    await self._view.ask(None)
                    await self._view.note(f"answer it with: {how_to_answer(asked, execution_id=self._id)}")
                    return False
                values[prompt.key] = typed
            await self._view.ask(None)
            try:
                check_answers(asked, values)
                await self._backend.answer(self._id, prompt_id=asked.prompt_id, values=values)
            except ExecdError as error:
                await self._view.note(f"not answered: {error.message}")
                self._given = {}  # what was refused is asked for
                if error.status in {ConflictError.status, 403}:
                    await trio.sleep_forever()  # until the journal says how it ended
            else:
                await trio.sleep_forever()  # until the journal has the answer

    async def _ask_one(self, prompt: Prompt, asked: InputRequired) -> str | None:
        """Read one answer, unseen where it is secret, of a flow by its name; None at the end of what is typed."""
        is_secret = prompt.secret or (asked.is_open and looks_secret(prompt.key))
        question = question_of(prompt)
        while True:
            with unseen(self._fd) if is_secret else contextlib.nullcontext():
                await self._view.ask(f"  {question}{'' if question.endswith((':', '?')) else ':'} ")
                line = await self._read_line()
            if line is None:
                return None
            value = line.rstrip("\r") if prompt.secret else line.strip() or (prompt.default or "")
            if (value or asked.is_open) and (not prompt.choices or value in prompt.choices):
                return value
            accepted = ", ".join(prompt.choices) or "an answer"
            await self._view.ask(None)
            await self._view.note(f"accepted: {accepted}")

    async def _read_line(self) -> str | None:
        while b"\n" not in self._typed:
            await trio.lowlevel.wait_readable(self._fd)
            data = os.read(self._fd, READ_BYTES)
            if not data:
                return None
            self._typed += data
        line, _, self._typed = self._typed.partition(b"\n")
        return line.decode(errors="replace")


class GivenAnswers:
    """Answers with what the command line gave, and nobody waits for the rest: an execution that asks more is ended."""

    def __init__(self, backend: Backend, execution_id: ExecutionId, view: View, given: Mapping[str, str]) -> None:
        self._backend = backend
        self._id = execution_id
        self._view = view
        self._given = given
        self._questions = OpenQuestions(stands_s=0)

    def take_notice(self, event: Event) -> None:
        self._questions.take_notice(event)

    async def deal(self) -> None:
        while True:
            asked = await self._questions.next()
            with self._questions.dealing():
                await self._answer(asked)
                await trio.sleep_forever()  # until the journal has the answer, or the end

    async def _answer(self, asked: InputRequired) -> None:
        missing = [prompt.key for prompt in asked.prompts if prompt.key not in self._given and prompt.default is None]
        if missing:
            options = " ".join(f"--input {key}=…" for key in missing)
            await self._view.note(f"it asks for what was not given, and is interrupted; give it with {options}")
            with contextlib.suppress(ExecdError):
                await self._backend.interrupt(self._id)
            return
        values = {prompt.key: self._given[prompt.key] for prompt in asked.prompts if prompt.key in self._given}
        try:
            await self._backend.answer(self._id, prompt_id=asked.prompt_id, values=values)
        except ExecdError as error:
            await self._view.note(f"not answered: {error.message}")
            if error.status != ConflictError.status:
                with contextlib.suppress(ExecdError):
                    await self._backend.interrupt(self._id)


class NobodyThere:
    """Ends an execution that asks where nobody can answer: no terminal here, and no server that others could reach."""

    def __init__(self, backend: Backend, execution_id: ExecutionId, view: View) -> None:
        self._backend = backend
        self._id = execution_id
        self._view = view
        self._questions = OpenQuestions()

    def take_notice(self, event: Event) -> None:
        self._questions.take_notice(event)

    async def deal(self) -> None:
        asked = await self._questions.next()
        if asked.expires_at is not None:
            await trio.sleep_forever()  # it ends by itself
        await self._view.note(
            "it asks, and without a terminal or a server nobody can answer; it is interrupted. "
            "Run it in a terminal, or start `execd serve` first"
        )
        with contextlib.suppress(ExecdError):
            await self._backend.interrupt(self._id)
