"""What becomes of a workflow's questions: they are asked at this terminal, or, where nobody could ever answer, ended.

A question in a journal may have been answered long ago: its answer comes right behind it, so each is left alone for a
moment first.
"""

from __future__ import annotations

import contextlib
import os
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
    """The questions nobody has answered yet, by node. Owns: which one is being dealt with."""

    def __init__(self) -> None:
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
            await trio.sleep(REPLAY_S)
            if next(iter(self._open.values()), None) is oldest:
                return oldest

    def dealing(self) -> trio.CancelScope:
        """Give a scope that is cancelled when the oldest question is over."""
        self._dealing = trio.CancelScope()
        return self._dealing


class TerminalAsker:
    """Asks at this terminal and hands the answers on."""

    def __init__(self, backend: Backend, execution_id: ExecutionId, view: WorkflowView, *, fd: int = 0) -> None:
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
                with unseen(self._fd) if prompt.secret else contextlib.nullcontext():
                    typed = await self._ask_one(prompt)
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
                if error.status in {ConflictError.status, 403}:
                    await trio.sleep_forever()  # until the journal says how it ended
            else:
                await trio.sleep_forever()  # until the journal has the answer

    async def _ask_one(self, prompt: Prompt) -> str | None:
        """Read one answer; None at the end of what is typed."""
        while True:
            await self._view.ask(f"  {question_of(prompt)}: ")
            line = await self._read_line()
            if line is None:
                return None
            value = line.rstrip("\r") if prompt.secret else line.strip() or (prompt.default or "")
            if value and (not prompt.choices or value in prompt.choices):
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
