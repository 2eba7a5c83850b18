"""Follow one execution at the terminal: show it, feed its stdin, obey Ctrl-C, and end with its exit code."""

from __future__ import annotations

import contextlib
import enum
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING

import trio

from execd.cli.backend import Backend
from execd.cli.exit_codes import SIGNAL_BASE, ExitCode, exit_code_of_result
from execd.cli.stdio import read_chunks
from execd.cli.views import View, choose_view, decode_known
from execd.core.errors import ConflictError, ExecdError, OverloadedError
from execd.core.events import Event, ExecutionId, PodRunning, ResultStored
from execd.core.replay import Rhythm

if TYPE_CHECKING:
    from collections.abc import Mapping

    from execd.cli.asking import Questions
    from execd.cli.workflow_view import Words
    from execd.core.events import NodeId
    from execd.core.flows.titles import StepTitle

    Titles = Mapping[NodeId, StepTitle]

CONFLICT = ConflictError.status
STDIN_RETRY_S = 0.2
"""How soon stdin that the program did not read yet is offered again."""
PARTING_S = 5.0
"""How long leaving may take when it has to cancel first."""


class OnInterrupt(enum.Enum):
    """What the first Ctrl-C does; once nothing more can be done, one leaves."""

    CANCEL = "cancel"
    INTERRUPT = "interrupt"
    """And the second cancels."""
    LEAVE = "leave"


class Follower:
    """One execution being followed. `follow` is called once."""

    def __init__(
        self,
        backend: Backend,
        execution_id: ExecutionId,
        view: View,
        *,
        on_interrupt: OnInterrupt,
        stdin_fd: int | None = None,
        questions: Questions | None = None,
        rhythm: Rhythm | None = None,
    ) -> None:
        self._backend = backend
        self._id = execution_id
        self._view = view
        self._on_interrupt = on_interrupt
        self._stdin_fd = stdin_fd
        self._questions = questions
        self._rhythm = rhythm
        self._runs = trio.Event()
        self._code: int | None = None
        self._has_left = False
        self._failure: ExecdError | None = None

    async def follow(self, *, after_seq: int = 0) -> int:
        """Show the execution to its end and give the exit code.

        Raises:
            ExecdError: the journal cannot be followed any further.
        """
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as arriving:
            async with trio.open_nursery() as nursery:
                leave = nursery.cancel_scope.cancel
                nursery.start_soon(self._obey_signals, arriving, leave)
                nursery.start_soon(self._view.keep_clock)
                if self._stdin_fd is not None:
                    nursery.start_soon(self._forward_stdin, self._stdin_fd)
                if self._questions is not None:
                    nursery.start_soon(self._questions.deal)
                await self._show_journal(after_seq)
                leave()
        if self._failure is not None:
            raise self._failure
        if self._has_left and not self._backend.outlives_this_process:
            await self._cancel_before_parting()
        if self._code is None:
            self._code = exit_code_of_result(await self._backend.result(self._id))
        return self._code

    async def _show_journal(self, after_seq: int) -> None:
        try:
            async with self._backend.journal(self._id, after_seq=after_seq, rhythm=self._rhythm) as journal:
                async for stored in journal:
                    event = decode_known(stored)
                    self._take_notice(event)
                    await self._view.show(stored, event)
                    if self._questions is not None and event is not None:
                        self._questions.take_notice(event)
        except ExecdError as error:
            self._failure = error
        except BrokenPipeError:
            self._leave_with(ExitCode.BROKEN_PIPE)

    def _take_notice(self, event: Event | None) -> None:
        match event.data if event is not None else None:
            case PodRunning():
                self._runs.set()
            case ResultStored() as result:
                self._code = exit_code_of_result(result)

    async def _obey_signals(self, arriving: AsyncIterator[int], leave: Callable[[], None]) -> None:
        deeds = {
            OnInterrupt.CANCEL: [self._cancel],
            OnInterrupt.INTERRUPT: [self._interrupt, self._cancel],
            OnInterrupt.LEAVE: [],
        }[self._on_interrupt]
        async with trio.open_nursery() as nursery:
            async for number in arriving:
                if number == signal.SIGINT and deeds:
                    nursery.start_soon(deeds.pop(0))
                    continue
                self._leave_with(SIGNAL_BASE + number)
                await self._say_goodbye()
                leave()

    def _leave_with(self, code: int) -> None:
        self._has_left = True
        self._code = code

    async def _interrupt(self) -> None:
        await self._note("interrupting: what runs finishes, nothing more begins; Ctrl-C again cancels")
        await self._stop(self._backend.interrupt, "interrupt")

    async def _cancel(self) -> None:
        await self._note("cancelling; Ctrl-C again leaves at once")
        await self._stop(self._backend.cancel, "cancel")

    async def _stop(self, command: Callable[[ExecutionId], Awaitable[None]], word: str) -> None:
        try:
            await command(self._id)
        except ExecdError as error:
            if error.status != CONFLICT:
                await self._note(f"could not {word}: {error.message}")

    async def _say_goodbye(self) -> None:
        if self._backend.outlives_this_process:
            await self._note(f"left; it goes on: execd watch {self._id}")

    async def _cancel_before_parting(self) -> None:
        with trio.move_on_after(PARTING_S), contextlib.suppress(ExecdError):
            await self._backend.cancel(self._id)

    async def _forward_stdin(self, fd: int) -> None:
        """Pass on what arrives, once the program is there to have it; stop quietly when it is gone."""
        await self._runs.wait()
        try:
            async with read_chunks(fd) as chunks:
                async for data in chunks:
                    await self._send_stdin(data, is_last=False)
            await self._send_stdin(b"", is_last=True)
        except ExecdError as error:
            if error.status != CONFLICT:
                await self._note(f"stdin stopped: {error.message}")

    async def _send_stdin(self, data: bytes, *, is_last: bool) -> None:
        while True:
            try:
                await self._backend.send_stdin(self._id, data, close=is_last)
            except ExecdError as error:
                if error.code != OverloadedError.code:
                    raise
            else:
                return
            await trio.sleep(STDIN_RETRY_S)

    async def _note(self, text: str) -> None:
        with contextlib.suppress(BrokenPipeError):
            await self._view.note(text)


async def follow_by_kind(
    backend: Backend,
    execution_id: ExecutionId,
    *,
    kind: str,
    as_json: bool,
    on_interrupt: OnInterrupt,
    after_seq: int = 0,
    rhythm: Rhythm | None = None,
    titles: Titles | None = None,
) -> int:
    """Follow an execution as its kind is best shown, ask what it asks where somebody can answer, and give the exit code.

    Args:
        titles: how the steps of a flow are called, where its config is at hand.
    """
    words = _words_of(kind, execution_id, titles)
    if rhythm is not None:
        view = _replay_view(execution_id, kind=kind, as_json=as_json, rhythm=rhythm, words=words)
        replayed = Follower(backend, execution_id, view, on_interrupt=OnInterrupt.LEAVE, rhythm=rhythm)
        return await replayed.follow(after_seq=after_seq)
    if kind == "script":
        view = choose_view(as_json=as_json, types_on_terminal=False)
        return await Follower(backend, execution_id, view, on_interrupt=on_interrupt).follow(after_seq=after_seq)
    follower = _workflow_follower(backend, execution_id, as_json=as_json, on_interrupt=on_interrupt, words=words)
    return await follower.follow(after_seq=after_seq)


def _words_of(kind: str, execution_id: ExecutionId, titles: Titles | None) -> Words | None:
    if kind != "flow":
        return None
    from execd.cli.flow_wording import FlowWords

    return FlowWords(execution_id, titles or {})


def _replay_view(execution_id: ExecutionId, *, kind: str, as_json: bool, rhythm: Rhythm, words: Words | None) -> View:
    """What it asked was answered or not; nobody is asked again."""
    from execd.cli.replay_clock import ReplayClock
    from execd.cli.workflow_view import choose_workflow_view

    if as_json or kind == "script":
        return choose_view(as_json=as_json, types_on_terminal=False)
    return choose_workflow_view(
        execution_id, asks_here=True, replay=ReplayClock(rhythm.speed), words=words, fd=_lines_fd(words)
    )


def _lines_fd(words: Words | None) -> int:
    """What a flow has to say is its output; beside a workflow's programs lines are remarks."""
    return 2 if words is None else 1


def _workflow_follower(
    backend: Backend, execution_id: ExecutionId, *, as_json: bool, on_interrupt: OnInterrupt, words: Words | None
) -> Follower:
    from execd.cli.asking import NobodyThere, TerminalAsker
    from execd.cli.workflow_view import choose_workflow_view

    fd = _lines_fd(words)
    asks_here = not as_json and os.isatty(0) and os.isatty(fd)
    shown = choose_workflow_view(execution_id, asks_here=asks_here, words=words, fd=fd)
    view: View = choose_view(as_json=True, types_on_terminal=False) if as_json else shown
    questions: Questions | None = None
    if asks_here:
        questions = TerminalAsker(backend, execution_id, shown)
    elif not backend.outlives_this_process:
        questions = NobodyThere(backend, execution_id, view)
    return Follower(backend, execution_id, view, on_interrupt=on_interrupt, questions=questions)
