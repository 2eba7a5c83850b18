"""How a workflow looks while it runs: lines that stay, and on a terminal, below them, what runs and waits at this moment.

What programs write is shown line by line with the node's name before it: its stdout on stdout, all else on stderr.
Never: a control character of a program's, or any at all where nobody looks (a CI log). `--json` has the exact bytes.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import islice
from typing import Protocol

import click
import trio
from rich.cells import cell_len, set_cell_size

from execd.cli.node_wording import (
    Line,
    NodeWords,
    describe_progress,
)
from execd.cli.replay_clock import ReplayClock
from execd.cli.views import DESCRIPTORS, WriteBytes
from execd.cli.wording import describe_truncation
from execd.core.capture import output_bytes
from execd.core.codec import StoredEvent
from execd.core.events import (
    Event,
    InputRequired,
    NodeCompleted,
    NodeFailed,
    NodeOutput,
    NodeRetrying,
    NodeStarted,
    Output,
    OutputTruncated,
    Progress,
    ResultStored,
    Stream,
)
from execd.core.node_book import NodeBook, NodeEntry
from execd.core.printing import printable

REDRAW_S = 0.2
"""How often the times at the bottom change; a tenth of a second is shown, and more often would flicker."""
MAX_ACTIVE = 8
"""Lines at the bottom; a map over thousands has many more nodes under way."""
PROGRESS_STEP = 10
"""Percent between two lines of progress in a log."""
MAX_LINE_CHARS = 64 * 1024
"""A line of output longer than this is shown in pieces, so that memory stays bounded."""


class Words(Protocol):
    """Says what happens to nodes. One for each execution."""

    @property
    def tells_progress(self) -> bool:
        """Whether a log is told now and then how much is done."""

    def of(self, event: Event, book: NodeBook) -> list[Line]:
        """Give the lines that stay; the book has heard the event already."""

    def of_active(self, entry: NodeEntry, book: NodeBook, now: datetime) -> Line | None:
        """Give the line of what runs or waits now; None for none."""


class WorkflowView:
    """Shows one workflow. `keep_clock` runs beside it.

    Args:
        execution_id: named in the command that answers a question.
        write: writes bytes to a descriptor.
        is_terminal: whether a person looks at the lines: colours, and lines that change.
        columns: gives the terminal's width.
        now: gives the wall clock.
        replay: gives it where this is a replay.
        asks_here: whether questions are asked at this terminal, so that nobody need be told another way.
        words: what is said of events; None: as of a workflow.
        fd: where the lines go.
    """

    def __init__(
        self,
        execution_id: str,
        write: WriteBytes,
        *,
        is_terminal: bool,
        columns: Callable[[], int] = lambda: 80,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        asks_here: bool = False,
        replay: ReplayClock | None = None,
        words: Words | None = None,
        fd: int = 2,
    ) -> None:
        self._words = words or NodeWords(execution_id)
        self._fd = fd
        self._write = write
        self._is_terminal = is_terminal
        self._columns = columns
        self._now = now if replay is None else replay.now
        self._replay = replay
        self._asks_here = asks_here
        self._book = NodeBook()
        self._parts: dict[tuple[str, int], _Part] = {}
        self._shown_percent = 0
        self._has_shown_time = False
        self._is_late = False
        self._drawn = 0
        self._prompt: str | None = None
        self._has_ended = False
        # One screen and four tasks that write to it: the journal's, the clock's, the signals', the one who asks.
        self._screen = trio.Lock()

    async def show(self, stored: StoredEvent, event: Event | None) -> None:
        if event is None:
            return
        if self._replay is not None:
            self._replay.hear(event.at)
        async with self._screen:
            await self._show(event)

    async def note(self, text: str) -> None:
        async with self._screen:
            await self._print(2, [Line(f"execd: {text}", is_dim=True)])

    async def ask(self, prompt: str | None) -> None:
        """Put a prompt on the last line, for somebody to type behind it; None: there is none any more."""
        async with self._screen:
            erasing = self._erasing()
            self._prompt = prompt
            await self._redraw(erasing + self._drawing())

    async def keep_clock(self) -> None:
        if not self._is_terminal:
            await trio.lowlevel.checkpoint()
            return
        while True:
            await trio.sleep(REDRAW_S)
            if self._prompt is None:
                async with self._screen:
                    await self._redraw(self._erasing() + self._drawing())

    async def _show(self, event: Event) -> None:
        self._book.take(event)
        match event.data:
            case Output(stream=stream) as output:
                await self._show_output(str(event.node), DESCRIPTORS[stream], output_bytes(output))
                return
            case NodeOutput(delta=str() as text):
                await self._show_output(str(event.node), DESCRIPTORS[Stream.STDOUT], text.encode())
                return
            case OutputTruncated() as truncation:
                words = f"  {event.node} │ {describe_truncation(truncation)}"
                await self._print(self._fd, [Line(words, "yellow")])
                return
            case NodeStarted() if self._is_terminal:
                return
            case NodeCompleted() | NodeFailed() | NodeRetrying():
                await self._end_lines(str(event.node))
            case Progress() as progress:
                await self._show_progress(progress, event.at)
                return
            case ResultStored():
                self._has_ended = True
        lines = self._words.of(event, self._book)
        if isinstance(event.data, InputRequired) and self._asks_here:
            lines = lines[:-1]
        await self._print(self._fd, lines)

    async def _show_progress(self, progress: Progress, at: datetime) -> None:
        """In a log: every ten percent, the first time left that is known, and that it takes longer than usual."""
        is_news = progress.overrun and not self._is_late
        is_first = progress.eta_ms is not None and not self._has_shown_time
        self._is_late = progress.overrun
        is_step = progress.percent >= self._shown_percent + PROGRESS_STEP
        if self._is_terminal or not self._words.tells_progress or not (is_news or is_first or is_step):
            return
        self._shown_percent = progress.percent
        self._has_shown_time = self._has_shown_time or is_first
        line = describe_progress(self._book, at)
        await self._print(self._fd, [] if line is None else [line])

    async def _show_output(self, node: str, fd: int, data: bytes) -> None:
        part = self._parts.setdefault((node, fd), _Part())
        await self._print(fd, [_output_line(node, text) for text in part.take(data)])

    async def _end_lines(self, node: str) -> None:
        """Show the last line of an attempt even if it has no end."""
        for fd in (1, 2):
            part = self._parts.pop((node, fd), None)
            if part is not None:
                await self._print(fd, [_output_line(node, text) for text in part.finish()])

    async def _print(self, fd: int, lines: list[Line]) -> None:
        if not lines:
            return
        text = self._text_of(lines)
        if fd == self._fd:
            await self._write(fd, f"{self._erasing()}{text}{self._drawing()}".encode())
            return
        await self._redraw(self._erasing())
        await self._write(fd, text.encode())
        await self._redraw(self._drawing())

    async def _redraw(self, text: str) -> None:
        if text:
            await self._write(self._fd, text.encode())

    def _text_of(self, lines: list[Line]) -> str:
        return "".join(f"{self._styled(line)}\n" for line in lines)

    def _styled(self, line: Line) -> str:
        if not self._is_terminal:
            return line.text
        return click.style(line.text, fg=line.colour, dim=line.is_dim or None)

    def _erasing(self) -> str:
        """Give what takes the changing lines, or the prompt, off the screen."""
        drawn, self._drawn = self._drawn, 0
        if self._prompt is not None:
            return "\r\x1b[2K"
        return f"\r\x1b[{drawn}A\x1b[J" if drawn else ""

    def _drawing(self) -> str:
        """Give what puts them there again."""
        if self._prompt is not None:
            return self._prompt
        if not self._is_terminal or self._has_ended:
            return ""
        lines = [self._fit(line) for line in self._bottom()]
        self._drawn = len(lines)
        return self._text_of(lines)

    def _bottom(self) -> list[Line]:
        now = self._now()
        shown = [self._words.of_active(entry, self._book, now) for entry in islice(self._book.active(), MAX_ACTIVE)]
        lines = [line for line in shown if line is not None]
        if self._book.active_count > MAX_ACTIVE:
            lines.append(Line(f"… and {self._book.active_count - MAX_ACTIVE} more", is_dim=True))
        progress = describe_progress(self._book, now)
        return lines if progress is None else [*lines, progress]

    def _fit(self, line: Line) -> Line:
        width = max(10, self._columns() - 1)
        if cell_len(line.text) <= width:
            return line
        return Line(set_cell_size(line.text, width - 1) + "…", line.colour, line.is_dim)


class _Part:
    """A stream of bytes, cut into lines of text."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._rest = ""

    def take(self, data: bytes) -> list[str]:
        """Give the lines that are whole. A carriage return ends one too: it would write over the node's name."""
        text = self._rest + self._decoder.decode(data)
        *lines, self._rest = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        if len(self._rest) > MAX_LINE_CHARS:
            lines.append(self._rest)
            self._rest = ""
        return lines

    def finish(self) -> list[str]:
        """Give what is left."""
        rest = self._rest + self._decoder.decode(b"", final=True)
        return [rest] if rest else []


def _output_line(node: str, text: str) -> Line:
    return Line(f"  {node} │ {printable(text)}")


def choose_workflow_view(
    execution_id: str, *, asks_here: bool, replay: ReplayClock | None = None, words: Words | None = None, fd: int = 2
) -> WorkflowView:
    """Make the view for who is there to look."""
    import os
    import shutil

    from execd.cli.stdio import write_bytes

    return WorkflowView(
        execution_id,
        write_bytes,
        is_terminal=os.isatty(fd),
        columns=lambda: shutil.get_terminal_size().columns,
        asks_here=asks_here,
        replay=replay,
        words=words,
        fd=fd,
    )
