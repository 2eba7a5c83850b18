"""The time left in words, and replays at the terminal: asked for as typed, shown with the clock of then."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from execd.cli.following import Follower, OnInterrupt
from execd.cli.replay_clock import ReplayClock
from execd.cli.time_left import describe_time_left, in_round_numbers
from execd.cli.workflow_view import WorkflowView
from execd.core.events import NodeStarted, Progress
from execd.core.replay import Rhythm
from tests.cli.test_commands import Shell
from tests.cli.test_workflow_view import Screen, journal, show, view_on
from tests.support.fake_backend import FakeBackend
from tests.support.scripted_server import AT, ID, ScriptedServer, make_journal, open_scripted, output


def told(eta_ms: int | None = 12_000, p75_ms: int | None = 20_000, **more: object) -> Progress:
    return Progress(done=1, total=3, percent=40, eta_ms=eta_ms, eta_p75_ms=p75_ms, **more)  # type: ignore[arg-type]  # as tests call it


@pytest.mark.parametrize(
    ("progress", "passed_s", "words"),
    [
        (told(), 0, "about 12 s left, likely under 20 s"),
        (told(), 4.2, "about 8 s left, likely under 16 s"),
        (told(), 14, "about 1 s left, likely under 6 s"),
        (told(), 20.5, "about 1 s left"),
        (told(), 21.1, "longer than usual"),
        (told(overrun=True), 0, "longer than usual"),
        (told(12_000, 12_400), 0, "about 12 s left, likely under 13 s"),
        (told(12_000, 12_000), 0, "about 12 s left"),
        (told(150_000, 4_000_000), 0, "about 3 min left, likely under 1 h 7 min"),
        (told(excludes_people=True), 0, "about 12 s left, likely under 20 s, besides the time people take"),
        (told(None, None), 0, None),
        (Progress(done=3, total=3, percent=100, eta_ms=0, eta_p75_ms=0), 0, None),
    ],
)
def test_the_time_left_in_words(progress: Progress, passed_s: float, words: str | None) -> None:
    """In round numbers nobody takes for a promise; late is said, and so is what nobody can know."""
    assert describe_time_left(progress, passed_s) == words


def test_round_numbers() -> None:
    """Whole seconds, then whole minutes, always up."""
    assert [in_round_numbers(s) for s in (-5, 0.2, 59, 60, 61, 3600, 7260)] == [
        "1 s", "1 s", "59 s", "1 min", "2 min", "1 h 0 min", "2 h 1 min",
    ]  # fmt: skip


async def test_a_log_says_the_time_left_when_it_is_known_and_when_it_is_over() -> None:
    """One line at the beginning, then with every ten percent, and one when it is late."""
    screen = Screen()

    await show(
        journal(
            Progress(done=0, total=3, percent=0, eta_ms=12_000, eta_p75_ms=20_000),
            Progress(done=0, total=3, percent=1, eta_ms=10_000, eta_p75_ms=20_000),
            Progress(done=0, total=3, percent=1, eta_ms=5000, eta_p75_ms=5000, overrun=True),
            Progress(done=1, total=3, percent=40, eta_ms=5000, eta_p75_ms=5000),
        ),
        screen,
    )

    assert screen.text(2).splitlines()[:3] == [
        "… 0 of 3 nodes, 0 %, about 12 s left, likely under 20 s",
        "… 0 of 3 nodes, 1 %, longer than usual",
        "… 1 of 3 nodes, 40 %, about 5 s left",
    ]


async def test_a_person_at_a_terminal_sees_it_shrink(autojump_clock: MockClock) -> None:
    """Below what runs, without anything being sent."""
    screen = Screen()
    now = AT
    view = WorkflowView(ID, screen.write, is_terminal=True, now=lambda: now)
    events = journal(("a", NodeStarted(label="a", type="script")), told())
    backend = FakeBackend(events, hold_before=5)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Follower(backend, ID, view, on_interrupt=OnInterrupt.LEAVE).follow)
        await backend.holding.wait()
        await trio.sleep(1)
        assert "about 12 s left, likely under 20 s" in screen.writes[-1][1]
        now += timedelta(seconds=10)
        await trio.sleep(1)
        assert "about 2 s left, likely under 10 s" in screen.writes[-1][1]
        now += timedelta(seconds=30)
        await trio.sleep(1)
        assert "longer than usual" in screen.writes[-1][1]
        backend.go_on.set()


async def test_the_clock_of_a_replay_goes_on_from_what_was_shown(autojump_clock: MockClock) -> None:
    """A node that ran a minute then is seen to run a minute, at ten times the speed within six seconds."""
    clock = ReplayClock(10.0)
    clock.hear(AT)
    await trio.sleep(6)

    assert clock.now() == AT + timedelta(minutes=1)


async def test_a_replay_asks_for_its_rhythm() -> None:
    """What was typed reaches the backend, and the journal is shown as ever."""
    backend = FakeBackend(journal(told()))
    screen = Screen()
    rhythm = Rhythm(speed=5, idle_limit_s=2)

    code = await Follower(backend, ID, view_on(screen), on_interrupt=OnInterrupt.LEAVE, rhythm=rhythm).follow()

    assert (code, backend.rhythms) == (0, [rhythm])


async def test_the_client_asks_for_a_replay_in_the_address() -> None:
    """Also when it connects again: in the middle of a replay it goes on with the replay."""
    server = ScriptedServer(make_journal(output("a\n"), output("b\n")))
    async with (
        open_scripted(server) as client,
        client.events(ID, after_seq=1, rhythm=Rhythm(speed=2, idle_limit_s=0.5)) as events,
    ):
        assert len([event async for event in events]) == len(server.journal) - 1

    assert dict(server.requests[0].url.params) == {"speed": "2", "idle_limit_s": "0.5"}
    assert server.resumed_after == [1]


@pytest.mark.slow
def test_watch_replays_without_a_server(tmp_path: Path) -> None:
    """The same bytes in the same order; what runs, or was never run, is refused in words."""
    shell = Shell(tmp_path)
    ran = shell.call("run", shell.write("job.sh", "echo one; echo two >&2\n"), "--json")
    execution_id = json.loads(ran.stdout.splitlines()[0])["execution_id"]

    again = shell.call("watch", execution_id, "--speed", "1000", "--idle-limit", "1", "--json")
    wrong = shell.call("watch", execution_id, "--speed", "0")

    assert (again.returncode, again.stdout) == (0, ran.stdout)
    assert wrong.returncode == 2
    assert b"0.1" in wrong.stderr
