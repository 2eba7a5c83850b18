"""How a journal looks while it arrives: raw bytes with progress beside them, or one JSON event per line.

A view owns where the cursor of the terminal stands; nothing else writes while it is open. Never: a changed byte of what
the script wrote.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable
from typing import TYPE_CHECKING, Protocol

import trio

from execd.cli import wording
from execd.cli.exit_codes import failure_group
from execd.cli.time_left import describe_time_left
from execd.core.capture import output_bytes
from execd.core.codec import StoredEvent, decode_event
from execd.core.event_types import EVENT_TYPES
from execd.core.events import (
    Event,
    ExecutionEnded,
    ExecutionStarted,
    Output,
    OutputTruncated,
    Progress,
    ResultStored,
    Stream,
)

if TYPE_CHECKING:
    from rich.console import Console

DESCRIPTORS = {Stream.STDOUT: 1, Stream.STDERR: 2}
QUIET_BEFORE_CLOCK_S = 1.0
"""How long a script is silent before the running time is shown in its place."""

WriteBytes = Callable[[int, bytes], Awaitable[None]]


class View(Protocol):
    """Shows one journal. Used by one task, `keep_clock` beside it."""

    async def show(self, stored: StoredEvent, event: Event | None) -> None:
        """Show the next event; `event` is None where this execd does not know its type."""

    async def note(self, text: str) -> None:
        """Say something of the command's own, where a person reads along."""

    async def keep_clock(self) -> None:
        """Show the running time while nothing else happens; returns at once where nobody looks."""


class JsonView:
    """One native event per line on stdout, nothing else."""

    def __init__(self, write: WriteBytes) -> None:
        self._write = write

    async def show(self, stored: StoredEvent, event: Event | None) -> None:
        await self._write(1, stored.body + b"\n")

    async def note(self, text: str) -> None:
        await trio.lowlevel.checkpoint()

    async def keep_clock(self) -> None:
        await trio.lowlevel.checkpoint()


class QuietView:
    """The script's bytes, and of execd's only what must not go unsaid: lost output, and an end the script did not choose."""

    def __init__(self, write: WriteBytes) -> None:
        self._write = write

    async def show(self, stored: StoredEvent, event: Event | None) -> None:
        match event.data if event is not None else None:
            case Output() as output:
                await self._write(DESCRIPTORS[output.stream], output_bytes(output))
            case OutputTruncated() as truncation:
                await self.note(wording.describe_truncation(truncation))
            case ResultStored(error=error) as result if error is not None and failure_group(result) != "program":
                await self.note(error.message)

    async def note(self, text: str) -> None:
        await self._write(2, f"execd: {text}\n".encode())

    async def keep_clock(self) -> None:
        await trio.lowlevel.checkpoint()


class TerminalView:
    """The script's bytes, with lines about progress between them on stderr.

    Args:
        console: rich's, on stderr.
        write: writes bytes to a descriptor.
        shares_screen: whether a stream of the script ends on the same screen as the progress.
        has_clock: whether the running time may be shown; not where the user types on the same line.
    """

    def __init__(
        self, console: Console, write: WriteBytes, *, shares_screen: dict[Stream, bool], has_clock: bool
    ) -> None:
        self._console = console
        self._write = write
        self._shares_screen = shares_screen
        self._has_clock = has_clock
        self._is_at_line_start = True
        self._clock_is_shown = False
        self._started_at_s: float | None = None
        self._last_shown_at_s = trio.current_time()
        self._progress: tuple[Progress, float] | None = None
        # One screen and three tasks that write to it: the journal's, the clock's and the one of the user's signals.
        self._screen = trio.Lock()

    async def show(self, stored: StoredEvent, event: Event | None) -> None:
        if event is not None:
            self._keep_time(event)
            async with self._screen:
                await self._show_event(event)

    async def _show_event(self, event: Event) -> None:
        match event.data:
            case Output() as output:
                await self._show_output(output)
            case OutputTruncated() as truncation:
                await self._print(f"[yellow]… {wording.describe_truncation(truncation)}[/]")
            case ResultStored() as result:
                await self._print(wording.describe_result(result))
            case _:
                line = wording.describe_event(event)
                if line is not None:
                    await self._print(line)

    async def note(self, text: str) -> None:
        async with self._screen:
            await self._print(f"[dim]{text}[/]")

    async def keep_clock(self) -> None:
        if not self._has_clock:
            await trio.lowlevel.checkpoint()
            return
        while True:
            await trio.sleep(QUIET_BEFORE_CLOCK_S)
            async with self._screen:
                await self._show_clock()

    async def _show_clock(self) -> None:
        silent_s = trio.current_time() - self._last_shown_at_s
        if self._started_at_s is not None and self._is_at_line_start and silent_s >= QUIET_BEFORE_CLOCK_S:
            words = [f"running {wording.format_seconds(trio.current_time() - self._started_at_s)}", *self._time_left()]
            self._clock_is_shown = True
            await self._write(2, f"\r\x1b[2K\x1b[2m… {', '.join(words)}\x1b[0m".encode())

    def _time_left(self) -> list[str]:
        if self._progress is None:
            return []
        progress, at_s = self._progress
        left = describe_time_left(progress, trio.current_time() - at_s)
        return [left] if left else []

    def _keep_time(self, event: Event) -> None:
        self._last_shown_at_s = trio.current_time()
        if isinstance(event.data, ExecutionStarted):
            self._started_at_s = self._last_shown_at_s
        elif isinstance(event.data, ExecutionEnded):
            self._started_at_s = None
        elif isinstance(event.data, Progress):
            self._progress = event.data, self._last_shown_at_s

    async def _show_output(self, output: Output) -> None:
        data = output_bytes(output)
        await self._clear_clock()
        await self._write(DESCRIPTORS[output.stream], data)
        if self._shares_screen[output.stream]:
            self._is_at_line_start = data.endswith(b"\n")

    async def _print(self, line: str) -> None:
        await self._clear_clock()
        if not self._is_at_line_start:
            line = f"\n{line}"
            self._is_at_line_start = True
        with self._console.capture() as capture:
            self._console.print(line, highlight=False, soft_wrap=True)
        await self._write(2, capture.get().encode())

    async def _clear_clock(self) -> None:
        if self._clock_is_shown:
            self._clock_is_shown = False
            await self._write(2, b"\r\x1b[2K")


def choose_view(*, as_json: bool, types_on_terminal: bool) -> View:
    """Choose by what was asked and by who is there to look.

    Args:
        as_json: whether `--json` was given.
        types_on_terminal: whether the user types the script's stdin on this terminal.
    """
    import sys

    from execd.cli.stdio import write_bytes

    if as_json:
        return JsonView(write_bytes)
    if not sys.stderr.isatty():
        return QuietView(write_bytes)
    from rich.console import Console

    shares_screen = {Stream.STDOUT: sys.stdout.isatty(), Stream.STDERR: True}
    console = Console(stderr=True)
    return TerminalView(console, write_bytes, shares_screen=shares_screen, has_clock=not types_on_terminal)


async def show_journal(journal: AsyncIterable[StoredEvent], view: View) -> None:
    """Show a journal to its end, with the clock running beside it."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(view.keep_clock)
        async for stored in journal:
            await view.show(stored, decode_known(stored))
        nursery.cancel_scope.cancel()


def decode_known(stored: StoredEvent) -> Event | None:
    """Decode an event; None for a type only a newer execd knows."""
    return decode_event(stored.body) if stored.type in EVENT_TYPES else None
