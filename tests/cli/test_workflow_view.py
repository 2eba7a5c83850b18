"""A workflow at the terminal and in a log: lines that stay, what moves below them, and questions asked and answered."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from datetime import timedelta

import pytest
import trio
from trio.testing import MockClock

from execd.cli.asking import NobodyThere, TerminalAsker
from execd.cli.following import Follower, OnInterrupt
from execd.cli.workflow_view import WorkflowView
from execd.core.codec import StoredEvent, number_fact
from execd.core.event_parts import Failure, Prompt
from execd.core.events import (
    EventData,
    ExecutionCompleted,
    ExecutionRequested,
    ExecutionStarted,
    Fact,
    InputReceived,
    InputRequired,
    NodeCompleted,
    NodeExpanded,
    NodeFailed,
    NodeId,
    NodeOutput,
    NodeRetrying,
    NodeSkipped,
    NodeStarted,
    NodeWaiting,
    Output,
    Progress,
    Status,
    Stream,
)
from tests.support.fake_backend import FakeBackend
from tests.support.scripted_server import AT, ID, make_result

STARTED = NodeStarted(label="fetch", type="script")
FAILURE = Failure(code="exit", message="The program exited with code 3.")
ASKED = InputRequired(prompt_id="ask.1", prompts=(Prompt(key="go", label="Go on?", choices=("yes", "no")),))
_ASKING = [("ask", NodeStarted(label="ask", type="input")), ("ask", ASKED)]
_ANSWERED = [
    ("ask", InputReceived(prompt_id="ask.1", by="ada", values={"go": "yes"})),
    ("ask", NodeCompleted(duration_ms=5, output={"go": "yes"})),
]


def journal(*middle: tuple[str, EventData] | EventData) -> list[StoredEvent]:
    """Give the journal of a workflow with these facts, some of them of a node."""
    pairs = [fact if isinstance(fact, tuple) else ("", fact) for fact in middle]
    facts = [
        Fact(data=ExecutionRequested(kind="workflow", name="w", user="u", workspace="default"), at=AT),
        Fact(data=ExecutionStarted(runner="local", started_from="cold"), at=AT),
        *(Fact(data=data, at=AT, node=NodeId(node) if node else None, attempt=1) for node, data in pairs),
        Fact(data=ExecutionCompleted(status=Status.COMPLETED, duration_ms=12), at=AT),
        Fact(data=make_result(exit_code=None), at=AT),
    ]
    return [number_fact(ID, seq, fact) for seq, fact in enumerate(facts, start=1)]


class Screen:
    """What was written to each descriptor."""

    def __init__(self) -> None:
        self.writes: list[tuple[int, str]] = []

    async def write(self, fd: int, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.writes.append((fd, data.decode()))

    def text(self, fd: int) -> str:
        return "".join(text for where, text in self.writes if where == fd)


def view_on(screen: Screen, *, is_terminal: bool = False, columns: int = 80, asks_here: bool = False) -> WorkflowView:
    return WorkflowView(
        ID, screen.write, is_terminal=is_terminal, columns=lambda: columns, now=lambda: AT, asks_here=asks_here
    )


async def show(events: Sequence[StoredEvent], screen: Screen, *, is_terminal: bool = False, columns: int = 80) -> None:
    """Follow a journal that is over."""
    view = view_on(screen, is_terminal=is_terminal, columns=columns)
    await Follower(FakeBackend(events), ID, view, on_interrupt=OnInterrupt.LEAVE).follow()


def wrote(text: str, *, stream: Stream = Stream.STDOUT) -> Output:
    return Output(stream=stream, offset=0, text=text)


async def test_a_log_has_a_line_for_each_thing_that_happens() -> None:
    """Whoever reads a CI log tomorrow sees what ran, how long, what was tried again and why."""
    screen = Screen()

    await show(
        journal(
            ("fetch", STARTED),
            ("fetch", NodeRetrying(error=FAILURE, retry_at=AT + timedelta(seconds=2))),
            ("fetch", NodeCompleted(duration_ms=1200, output={"count": 3})),
            ("w", NodeWaiting(reason="timer", until=AT + timedelta(seconds=90))),
            ("each", NodeExpanded(items=(1, 2), concurrency=4, keeps_going=False, is_map=True)),
            ("each[1]/inner", NodeFailed(duration_ms=7, error=FAILURE)),
            ("check", NodeCompleted(duration_ms=0, output={"result": True}, port="true")),
            ("other", NodeSkipped(reason="branch_not_taken")),
            Progress(done=1, total=2, percent=50),
        ),
        screen,
    )

    lines = screen.text(2).splitlines()
    assert lines[0] == "▸ fetch"
    assert lines[1] == "↻ fetch  attempt 1 failed: The program exited with code 3. (exit); again in 2.0 s"
    assert lines[2] == '✔ fetch  1.2 s  {"count":3}'
    assert lines[3].startswith("◷ w  waits, goes on in 1 min 30 s, at ")
    assert lines[4:] == [
        "▸ each  2 items, 4 at a time",
        "✘   each[1]/inner  7 ms  The program exited with code 3. (exit)",
        "✔ check  0 ms  -> true",
        "- other  its branch was not taken",
        "… 1 of 2 nodes, 50 %",
        "✔ completed  12 ms",
    ]


async def test_output_stands_under_the_name_of_its_node() -> None:
    """Two programs that write at the same time can be told apart, and each stream goes where it went."""
    screen = Screen()

    await show(
        journal(
            ("a", STARTED),
            ("b", STARTED),
            ("a", wrote("half ")),
            ("b", wrote("on the side\n", stream=Stream.STDERR)),
            ("a", wrote("a line\nno end")),
            ("a", NodeCompleted(duration_ms=1)),
            ("b", NodeOutput(delta="a token\n")),
        ),
        screen,
    )

    assert screen.text(1) == "  a │ half a line\n  a │ no end\n  b │ a token\n"
    assert "  b │ on the side\n" in screen.text(2)


@pytest.mark.parametrize("is_terminal", [True, False])
async def test_nobody_commands_the_terminal(is_terminal: bool) -> None:
    """A program's escape sequences, a name with one in it, and a carriage return would write over other lines."""
    screen = Screen()
    hostile = "red \x1b[31mtext\x1b[2J\x1b]0;title\x07 bell\x07 50%\r100%\n"

    await show(
        journal(
            ("a", NodeStarted(label="odd\x1b[2J", type="script")),
            ("a", wrote(hostile)),
            ("a", NodeFailed(duration_ms=1, error=Failure(code="x", message="so\x1b[2J bad"))),
        ),
        screen,
        is_terminal=is_terminal,
    )

    everything = screen.text(1) + screen.text(2)
    ours = re.compile(r"\x1b\[[0-9]*m|\r\x1b\[[0-9]+A\x1b\[J")
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", ours.sub("", everything))
    assert "  a │ red text bell" in everything
    assert "so bad" in everything


async def test_what_runs_stands_below_what_was(autojump_clock: MockClock) -> None:
    """On a terminal the node in flight has a line of its own that goes when it ends, and never wraps."""
    screen = Screen()
    long = "n" * 100
    events = journal((long, NodeStarted(label="x", type="script")), (long, NodeCompleted(duration_ms=1)))
    backend = FakeBackend(events, hold_before=4)
    view = view_on(screen, is_terminal=True, columns=40)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Follower(backend, ID, view, on_interrupt=OnInterrupt.LEAVE).follow)
        await trio.sleep(1)
        below = screen.writes[-1][1]
        backend.go_on.set()

    shown = re.sub(r"\x1b\[[0-9;]*m", "", below.rpartition("\x1b[J")[2])
    assert shown == "▸ " + "n" * 36 + "…\n"
    assert screen.writes[-1][1].endswith("✔ completed  12 ms\x1b[0m\n")


async def test_a_log_says_how_to_answer() -> None:
    """Where nobody can type, the question comes with the command that answers it."""
    screen = Screen()

    await show(journal(*_ASKING, *_ANSWERED), screen)

    assert f"? ask  Go on? [yes|no]\n  answer with: execd answer {ID} --prompt ask.1 go=yes\n" in screen.text(2)
    assert "! ask  answered by ada: go=yes\n" in screen.text(2)


async def test_a_question_is_asked_and_answered_at_the_terminal() -> None:
    """What is none of the choices is asked again, and what is one goes to the server."""
    screen = Screen()
    backend = FakeBackend(journal(*_ASKING, *_ANSWERED), hold_before=5)
    view = view_on(screen, is_terminal=True, asks_here=True)
    reading, typing = os.pipe()
    os.write(typing, b"maybe\nyes\n")
    asker = TerminalAsker(backend, ID, view, fd=reading)

    with trio.fail_after(10):
        await Follower(backend, ID, view, on_interrupt=OnInterrupt.LEAVE, questions=asker).follow()

    os.close(reading)
    os.close(typing)
    assert backend.answers == [("ask.1", {"go": "yes"})]
    assert "accepted: yes, no" in screen.text(2)
    assert "answer with" not in screen.text(2)


async def test_a_replayed_question_is_not_asked_again(autojump_clock: MockClock) -> None:
    """Watching what was answered long ago must not stop at a prompt."""
    screen = Screen()
    backend = FakeBackend(journal(*_ASKING, *_ANSWERED))
    view = view_on(screen, is_terminal=True, asks_here=True)
    reading, typing = os.pipe()

    await Follower(
        backend, ID, view, on_interrupt=OnInterrupt.LEAVE, questions=TerminalAsker(backend, ID, view, fd=reading)
    ).follow()

    os.close(reading)
    os.close(typing)
    assert backend.answers == []
    assert "Go on? [yes|no]: " not in screen.text(2)


async def test_where_nobody_can_answer_it_is_not_waited_for(autojump_clock: MockClock) -> None:
    """Without a terminal and without a server a question would wait for ever: it is said, and the execution ended."""
    screen = Screen()
    backend = FakeBackend(journal(*_ASKING), hold_before=5, outlives_this_process=False)
    view = view_on(screen)

    await Follower(
        backend, ID, view, on_interrupt=OnInterrupt.CANCEL, questions=NobodyThere(backend, ID, view)
    ).follow()

    assert backend.interrupted == [ID]
    assert "nobody can answer" in screen.text(2)
