"""What a person reads at the terminal: tables that fit, errors said once, waits explained."""

from __future__ import annotations

import pytest

from execd.cli.connect import show_reconnecting
from execd.cli.failures import show_error
from execd.cli.table import format_columns, format_table
from execd.client import Reconnecting
from execd.core.errors import FieldFault, InvalidRequestError, StoreLockedError

HEADER = ("ID", "STATUS", "NAME", "CREATED", "TOOK")
ROW = ("exec-1795274066604-szu0k4tg9", "✔ completed", "a" * 60, "2026-11-21 15:14:26", "69 ms")


def lines_of(*rows: tuple[str, ...], columns: int | None) -> list[str]:
    return ["  ".join(cells) for cells in format_table(HEADER, rows, columns=columns)]


@pytest.mark.parametrize("columns", [132, 100, 80, 70, 60, 50, 40, 30])
def test_no_line_is_wider_than_the_terminal(columns: int) -> None:
    """A wrapped table cannot be read."""
    assert max(map(len, lines_of(ROW, ROW, columns=columns))) <= columns


@pytest.mark.parametrize("columns", [80, 60, 45])
def test_the_id_stays_whole_as_long_as_it_can(columns: int) -> None:
    """It is what people copy into the next command."""
    assert ROW[0] in lines_of(ROW, columns=columns)[1]


def test_a_short_name_leaves_the_times_alone() -> None:
    """Nothing is shortened that fits."""
    short = (*ROW[:2], "a.py", *ROW[3:])

    assert lines_of(short, columns=80)[1].rstrip() == (
        "exec-1795274066604-szu0k4tg9  ✔ completed  a.py  2026-11-21 15:14:26  69 ms"
    )


def test_without_a_width_nothing_is_cut() -> None:
    """A pipe has none."""
    assert all(cell in lines_of(ROW, columns=None)[1] for cell in ROW)


def test_a_wide_name_is_measured_in_cells() -> None:
    """A character of two cells counts as two, or the table wraps after all."""
    wide = (*ROW[:2], "日本語の名前" * 10, *ROW[3:])

    (cells,) = format_table(HEADER, [wide], columns=80)[1:]

    assert sum(len(cell) + (cell.count("日") + cell.count("本") + cell.count("語")) for cell in cells) <= 80


def test_a_name_cannot_command_the_terminal() -> None:
    """A name with a line end or an escape sequence in it would break the table, or worse."""
    odd = (*ROW[:2], "a\nb\x1b[2J", *ROW[3:])

    assert "a\ufffdb\ufffd[2J" in lines_of(odd, columns=None)[1]


def test_one_fault_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    """The server's message sums the fault up; saying both reads like two faults."""
    fault = FieldFault(path="limits.wall_s", message="is 9", accepted="at most 5")

    show_error(InvalidRequestError("limits.wall_s is 9; accepted: at most 5", faults=(fault,)))

    assert capsys.readouterr().err == "error: limits.wall_s is 9\n  accepted: at most 5\n"


def test_several_faults_are_each_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    """All at once, so that one try mends them all."""
    faults = (
        FieldFault(path="name", message="is empty", accepted="a name"),
        FieldFault(path="", message="has no kind", accepted=""),
    )

    show_error(InvalidRequestError("name is empty; accepted: a name (and 1 more)", faults=faults))

    assert capsys.readouterr().err == (
        "error: 2 things are wrong\n  name is empty\n    accepted: a name\n  the request has no kind\n"
    )


def test_a_message_of_its_own_is_kept_above_the_faults(capsys: pytest.CaptureFixture[str]) -> None:
    """It says something that the faults do not."""
    fault = FieldFault(path="limits", message="`x=1` names no limit", accepted="wall_s=…")

    show_error(InvalidRequestError("the command line is wrong", faults=(fault,)))

    assert capsys.readouterr().err == (
        "error: the command line is wrong\n  limits `x=1` names no limit\n    accepted: wall_s=…\n"
    )


def test_a_taken_data_directory_comes_with_the_way_out(capsys: pytest.CaptureFixture[str]) -> None:
    """That two commands cannot have it is our limit; that a server lifts it is what people need to know."""
    show_error(StoreLockedError("another execd (process 7) uses /data"))

    assert "`execd serve`" in capsys.readouterr().err


def test_too_many_streams_is_no_lost_connection(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing was lost: there is a limit, it has a name, and it is waited for."""
    why = "this workspace watches 5 streams, as many as it may"

    show_reconnecting(Reconnecting(why=why, wait_s=5.0, code="too_many_streams"))

    words = capsys.readouterr().err
    assert why in words
    assert "stream.per_workspace" in words
    assert "trying again in 5.0 s" in words
    assert "lost" not in words


def test_a_table_of_definitions_cuts_the_name_only() -> None:
    """The other columns are what it is looked up for; through a pipe nothing is cut."""
    row = ("a" * 60, "workflow", "17", "2026-11-21 15:14:26", "ada")
    header = ("NAME", "KIND", "VERSION", "SAVED", "BY")

    narrow = ["  ".join(cells) for cells in format_columns(header, [row], columns=70, gives_way=0)]
    piped = ["  ".join(cells) for cells in format_columns(header, [row], columns=None, gives_way=0)]

    assert max(map(len, narrow)) <= 70
    assert narrow[1].endswith("…  workflow  17       2026-11-21 15:14:26  ada")
    assert piped[1].startswith("a" * 60 + "  workflow")
