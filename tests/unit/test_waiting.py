"""Which moments a `wait` takes: those that every reader can write down, in UTC."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from execd.core.nodes.kinds import Fails, Waits
from execd.core.nodes.waiting import WaitSpec, WaitType

AT = datetime(2026, 1, 1, tzinfo=UTC)


def begun(until: object) -> object:
    return WaitType().begin(WaitSpec(until="{{ x }}"), {"seconds": None, "until": until}, AT)


@pytest.mark.parametrize("until", ["2026-01-31T09:00:00Z", "2026-01-31T11:00:00+02:00", "2026-01-31T09:00:00"])
def test_a_moment_is_told_in_utc(until: str) -> None:
    """As every time in a journal, whatever its author's zone; without one it is UTC."""
    waits = begun(until)

    assert waits == Waits(until=datetime(2026, 1, 31, 9, tzinfo=UTC), is_moment=True)
    assert isinstance(waits, Waits)
    assert waits.until.tzinfo is UTC


@pytest.mark.parametrize(
    "until",
    ["9999-12-31T23:59:59-05:00", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+05:00", "tomorrow", "", 5, ["x"]],
)
def test_what_no_reader_could_write_down_is_no_moment(until: object) -> None:
    """In another zone the first and the last hours there are lie outside of what there is: viewers crashed of it."""
    begins = begun(until)

    assert isinstance(begins, Fails)
    assert begins.failure.code == "wait"
