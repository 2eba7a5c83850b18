"""Following an execution at the terminal: bytes, exit codes, stdin and signals, on a backend that plays a journal."""

from __future__ import annotations

import io
import os
import signal

import msgspec
import pytest
import trio
import trio.testing
from rich.console import Console
from trio.testing import MockClock

from execd.cli.following import Follower, OnInterrupt
from execd.cli.views import JsonView, QuietView, TerminalView, View
from execd.client_errors import GapError
from execd.core.event_parts import Failure
from execd.core.events import Output, OutputTruncated, Status, Stream
from tests.support.fake_backend import FakeBackend
from tests.support.scripted_server import ID, make_journal, make_result, output

RAW = b"\xff\x00caf\xc3"


class Screen:
    """What was written to each descriptor, and in which order."""

    def __init__(self, *, breaks: bool = False) -> None:
        self.breaks = breaks
        self.writes: list[tuple[int, bytes]] = []

    async def write(self, fd: int, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        if self.breaks and fd == 1:
            raise BrokenPipeError
        self.writes.append((fd, data))

    def text(self, fd: int) -> bytes:
        return b"".join(data for where, data in self.writes if where == fd)


def terminal_view(screen: Screen, *, has_clock: bool = True) -> TerminalView:
    """Give the view of a person at a terminal."""
    console = Console(file=io.StringIO(), force_terminal=False)
    shares = {Stream.STDOUT: True, Stream.STDERR: True}
    return TerminalView(console, screen.write, shares_screen=shares, has_clock=has_clock)


def follower(backend: FakeBackend, view: View, *, on_interrupt: OnInterrupt = OnInterrupt.CANCEL) -> Follower:
    """Give a follower without stdin."""
    return Follower(backend, ID, view, on_interrupt=on_interrupt)


async def test_bytes_come_out_as_they_went_in() -> None:
    """Text and base64 pieces end as the script's own bytes on its own streams, and nothing is added."""
    backend = FakeBackend(
        make_journal(
            output("a\n"),
            Output(stream=Stream.STDOUT, offset=2, base64="/wBjYWbD"),
            output("oops", stream=Stream.STDERR),
        )
    )
    screen = Screen()

    code = await follower(backend, QuietView(screen.write)).follow()

    assert code == 0
    assert screen.text(1) == b"a\n" + RAW
    assert screen.text(2) == b"oops"


async def test_json_is_the_journal_line_by_line() -> None:
    """With --json stdout has each event's own bytes and stderr has nothing."""
    backend = FakeBackend(make_journal(output("a\n")))
    screen = Screen()

    await follower(backend, JsonView(screen.write)).follow()

    assert screen.text(1).splitlines() == [stored.body for stored in backend.events]
    assert screen.text(2) == b""


async def test_lost_output_is_said_even_when_quiet() -> None:
    """What a limit dropped is never a secret."""
    backend = FakeBackend(make_journal(OutputTruncated(stream=Stream.STDOUT, dropped_bytes=2048)))
    screen = Screen()

    await follower(backend, QuietView(screen.write)).follow()

    assert screen.text(2) == b"execd: stdout was cut at the output limit: 2.0 KiB dropped\n"


async def test_verdict_begins_on_its_own_line() -> None:
    """A script that does not end its last line does not get the verdict glued to it."""
    backend = FakeBackend(make_journal(output("no newline")))
    screen = Screen()

    await follower(backend, terminal_view(screen)).follow()

    last_fd, last = screen.writes[-1]
    assert last_fd == 2
    assert last.startswith("\n✔ completed".encode())


async def test_running_time_shows_in_silence_and_goes_before_output(autojump_clock: MockClock) -> None:
    """The clock never stands in the way of what the script writes."""
    journal = make_journal(output("late\n"))
    backend = FakeBackend(journal, hold_before=5)
    screen = Screen()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(follower(backend, terminal_view(screen)).follow)
        await trio.sleep(3.5)
        backend.go_on.set()

    position = screen.writes.index((1, b"late\n"))
    assert any(b"running" in data for fd, data in screen.writes[:position] if fd == 2)
    assert screen.writes[position - 1] == (2, b"\r\x1b[2K")


async def test_broken_pipe_cancels_nothing_on_a_server() -> None:
    """`| head` ends the viewer, not the execution."""
    backend = FakeBackend(make_journal(output("a\n")))

    code = await follower(backend, QuietView(Screen(breaks=True).write)).follow()

    assert code == 141
    assert backend.cancelled == []


async def test_broken_pipe_ends_an_execution_of_this_process() -> None:
    """Without a server nobody could ever see the rest, so it is cancelled and says so in its journal."""
    backend = FakeBackend(make_journal(output("a\n")), outlives_this_process=False)

    assert await follower(backend, QuietView(Screen(breaks=True).write)).follow() == 141
    assert backend.cancelled == [ID]


async def test_first_interrupt_cancels_and_waits_for_the_verdict() -> None:
    """Ctrl-C asks the server; what follows is still shown and the code is the verdict's."""
    result = make_result(status=Status.CANCELLED, exit_code=None)
    backend = FakeBackend(make_journal(output("a\n"), result=result), hold_before=5)
    codes: list[int] = []

    async def follow() -> None:
        codes.append(await follower(backend, QuietView(Screen().write)).follow())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow)
        await backend.holding.wait()
        os.kill(os.getpid(), signal.SIGINT)
        with trio.fail_after(5):
            await backend.was_cancelled.wait()
        backend.go_on.set()

    assert codes == [130]
    assert backend.cancelled == [ID]


@pytest.mark.parametrize(("on_interrupt", "interrupts"), [(OnInterrupt.CANCEL, 2), (OnInterrupt.LEAVE, 1)])
async def test_last_interrupt_leaves(on_interrupt: OnInterrupt, interrupts: int) -> None:
    """The second Ctrl-C of a run, and the first of a watch, end the command while the execution goes on."""
    backend = FakeBackend(make_journal(output("a\n")), hold_before=5)
    codes: list[int] = []

    async def follow() -> None:
        codes.append(await follower(backend, QuietView(Screen().write), on_interrupt=on_interrupt).follow())

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow)
            await backend.holding.wait()
            for _ in range(interrupts):
                os.kill(os.getpid(), signal.SIGINT)
                await trio.testing.wait_all_tasks_blocked()

    assert codes == [130]
    assert len(backend.cancelled) == interrupts - 1


async def test_stdin_is_forwarded_live_then_ended() -> None:
    """What is piped in reaches the script piece by piece, through a script that is slow to read, and then its end."""
    read_end, write_end = os.pipe()
    backend = FakeBackend(make_journal(output("a\n")), hold_before=5, busy_sends=1)
    viewer = Follower(backend, ID, QuietView(Screen().write), on_interrupt=OnInterrupt.CANCEL, stdin_fd=read_end)
    try:
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(viewer.follow)
                os.write(write_end, b"one\n")
                await backend.got_stdin.wait()
                os.write(write_end, b"two\n")
                os.close(write_end)
    finally:
        os.close(read_end)

    assert backend.stdin == [(b"one\n", False), (b"two\n", False), (b"", True)]


async def test_gap_reaches_the_caller_bare() -> None:
    """An error of the stream is not hidden in a group."""
    backend = FakeBackend(make_journal()[:3], fails_with=GapError(last_seq=3, next_seq=5))

    with pytest.raises(GapError):
        await follower(backend, QuietView(Screen().write)).follow()


async def test_watching_after_the_end_still_gives_the_verdict() -> None:
    """`watch --after N` at the last event has nothing to show and yet the right exit code."""
    error = Failure(code="exit", message="The program exited with code 3.", details={"group": "program"})
    journal = make_journal(result=make_result(status=Status.FAILED, exit_code=3, error=error))

    assert await follower(FakeBackend(journal), QuietView(Screen().write)).follow(after_seq=len(journal)) == 3


async def test_event_of_a_newer_execd_is_passed_over() -> None:
    """An unknown type is no reason to stop watching."""
    journal = make_journal(output("a\n"))
    journal[1] = msgspec.structs.replace(journal[1], type="brand_new")
    screen = Screen()

    assert await follower(FakeBackend(journal), terminal_view(screen)).follow() == 0
    assert screen.text(1) == b"a\n"
