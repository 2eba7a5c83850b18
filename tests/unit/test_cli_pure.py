"""The command line's pure parts: what was typed, what is said, and the exit codes."""

from __future__ import annotations

import pytest

from execd.cli.arguments import choose_language, parse_environment, parse_limits
from execd.cli.exit_codes import exit_code_of_error, exit_code_of_result
from execd.cli.wording import describe_result, format_bytes, format_seconds
from execd.client_errors import RemoteError, UnreachableError
from execd.core.errors import ConfigurationError, InvalidRequestError, NotFoundError
from execd.core.event_parts import Failure, Usage
from execd.core.events import Status
from tests.support.fake_backend import RUNTIMES
from tests.support.scripted_server import make_result


def ended(status: Status, group: str, *, exit_code: int | None = None, signal: str | None = None) -> int:
    """Give the exit code for an end like this."""
    failure = Failure(code="x", message="x", details={"group": group})
    return exit_code_of_result(make_result(status=status, exit_code=exit_code, signal=signal, error=failure))


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        (exit_code_of_result(make_result()), 0),
        (ended(Status.FAILED, "program", exit_code=3), 3),
        (ended(Status.FAILED, "program", signal="SEGV"), 139),
        (ended(Status.FAILED, "program", signal="34"), 162),
        (ended(Status.TIMEOUT, "limit", signal="KILL"), 124),
        (ended(Status.FAILED, "limit", signal="KILL"), 137),
        (ended(Status.FAILED, "limit", exit_code=0), 1),
        (ended(Status.FAILED, "platform"), 125),
        (ended(Status.FAILED, "platform", exit_code=0), 125),
        (ended(Status.FAILED, ""), 125),
        (ended(Status.FAILED, "config"), 126),
        (ended(Status.CANCELLED, "cancelled", signal="TERM"), 130),
        (ended(Status.INTERRUPTED, "cancelled"), 131),
    ],
)
def test_exit_code_says_how_it_ended(code: int, wanted: int) -> None:
    """The table of `execd run --help`, row by row; only success is zero."""
    assert code == wanted


def test_exit_code_of_an_error_says_whose_fault_it_is() -> None:
    """A refused request is the caller's, a silent server is not."""
    busy = RemoteError("busy", code="overloaded", status=503, retryable=True)

    assert [exit_code_of_error(error) for error in (NotFoundError("x"), ConfigurationError("x"))] == [2, 2]
    assert [exit_code_of_error(error) for error in (UnreachableError("x"), busy)] == [125, 125]


@pytest.mark.parametrize(
    ("name", "source", "language"),
    [
        ("job.py", "", "python"),
        ("job.mjs", "", "node"),
        ("job.js", "", "node"),
        ("JOB.SH", "", "bash"),
        ("job", "#!/usr/bin/env python3.12\n", "python"),
        ("job", "#!/usr/bin/env -S FOO=1 node --no-warnings\n", "node"),
        ("job.xyz", "#!/bin/sh -e\n", "bash"),
    ],
)
def test_language_is_told_by_name_or_first_line(name: str, source: str, language: str) -> None:
    """People do not type what their file already says."""
    assert choose_language(None, file_name=name, source=source, runtimes=RUNTIMES) == language


def test_unknown_language_names_the_choices() -> None:
    """A guess that fails says what would have helped."""
    with pytest.raises(InvalidRequestError) as caught:
        choose_language(None, file_name="job.xyz", source="hello", runtimes=RUNTIMES)

    assert caught.value.faults[0].accepted == "--lang with one of python, node, bash"


def test_asked_language_is_passed_on() -> None:
    """The server decides about a language by name, it may know more than this table."""
    assert choose_language("zig", file_name="x.py", source="", runtimes=RUNTIMES) == "zig"


def test_limits_are_read_with_their_units() -> None:
    """Seconds, counts, sizes and the one switch."""
    typed = ["wall_s=2.5", "memory_bytes=512M", "file_bytes=1.5KiB", "output_bytes=7", "processes=3", "network=yes"]

    assert parse_limits(typed) == {
        "wall_s": 2.5,
        "memory_bytes": 512 << 20,
        "file_bytes": 1536,
        "output_bytes": 7,
        "processes": 3,
        "network": True,
    }


@pytest.mark.parametrize(
    "typed", ["wall_s", "walls=3", "wall_s=soon", "memory_bytes=", "memory_bytes=infG", "network=perhaps"]
)
def test_wrong_limit_is_refused_with_a_hint(typed: str) -> None:
    """Nothing is guessed from what cannot be read."""
    with pytest.raises(InvalidRequestError) as caught:
        parse_limits([typed])

    assert caught.value.faults[0].accepted


def test_environment_is_read_from_pairs() -> None:
    """A value may be empty and may have an equals sign; a name may not be missing."""
    assert parse_environment(["A=1", "B=x=y", "C="]) == {"A": "1", "B": "x=y", "C": ""}
    for wrong in ("A", "=1"):
        with pytest.raises(InvalidRequestError):
            parse_environment([wrong])


def test_amounts_are_written_for_people() -> None:
    """One unit, no false precision."""
    assert [format_bytes(count) for count in (0, 1023, 1024, 15 << 20, 3 << 40)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "15 MiB",
        "3072 GiB",
    ]
    assert [format_seconds(seconds) for seconds in (0.0432, 2.06, 185, 7260)] == [
        "43 ms",
        "2.1 s",
        "3 min 5 s",
        "2 h 1 min",
    ]


def test_verdict_is_one_line_with_its_cost() -> None:
    """Status, what it says of itself, time, processor and memory."""
    usage = Usage(wall_ms=1200, cpu_ms=30, peak_memory_bytes=12 << 20)

    line = describe_result(make_result(usage=usage))

    assert line == "[green]✔ completed[/]  exit 0  [dim]1.2 s[/]  [dim]cpu 30 ms[/]  [dim]peak 12 MiB[/]"
