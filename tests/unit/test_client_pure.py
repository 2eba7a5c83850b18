"""The client's pure parts: the parser of event streams, the cursor, the back-off."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execd.client_cursor import Arrival, Backoff, Cursor
from execd.client_errors import GapError
from execd.client_sse import EventStreamParser, ServerSentEvent

STREAM = (
    b"\xef\xbb\xbf: hello\nretry: 1500\nid: 1\nevent: output\ndata: {}\n\n"
    b"data: a\r\ndata:b\r\rid: 2\n\nid:\0\ndata\n\nevent: torn\ndata: x"
)
EVENTS = [
    ServerSentEvent(name="output", id="1", data=b"{}"),
    ServerSentEvent(name="message", id="1", data=b"a\nb"),
    ServerSentEvent(name="message", id="2", data=b""),
]


def test_stream_is_read_as_the_standard_says() -> None:
    """Comments, byte order mark, all three line ends, joined data, NUL ids and a torn end, in one stream."""
    parser = EventStreamParser()

    assert parser.feed(STREAM) == EVENTS
    assert parser.retry_ms == 1500


@given(st.lists(st.integers(0, len(STREAM)), max_size=30))
def test_where_chunks_are_cut_does_not_matter(cuts: list[int]) -> None:
    """A network may cut anywhere, also within a CRLF or the byte order mark."""
    places = [0, *sorted(cuts), len(STREAM)]
    parser = EventStreamParser()

    found = [event for start, stop in pairwise(places) for event in parser.feed(STREAM[start:stop])]

    assert found == EVENTS


def test_cursor_takes_each_event_once_and_in_order() -> None:
    """Repeated events are known as such, missing ones are an error and leave the cursor where it was."""
    cursor = Cursor(2)

    assert cursor.accept(2, "output") is Arrival.REPEATED
    assert cursor.accept(3, "output") is Arrival.NEW
    with pytest.raises(GapError):
        cursor.accept(5, "output")
    assert cursor.accept(4, "result_stored") is Arrival.NEW
    assert (cursor.last_seq, cursor.is_at_end) == (4, True)


def test_waits_double_up_to_the_cap() -> None:
    """A server that is away is asked less and less often, but never rarely."""
    backoff = Backoff(first_s=0.25, cap_s=5.0, uniform=lambda _, high: high)

    assert [backoff.next_wait_s() for _ in range(6)] == [0.25, 0.5, 1.0, 2.0, 4.0, 5.0]
    backoff.reset()
    assert backoff.next_wait_s(at_least_s=3.0) == 3.0


def test_jitter_takes_off_up_to_half() -> None:
    """A thousand viewers do not come back in the same instant."""
    asked: list[tuple[float, float]] = []
    backoff = Backoff(first_s=1.0, cap_s=5.0, uniform=lambda low, high: asked.append((low, high)) or low)

    backoff.next_wait_s()

    assert asked == [(0.5, 1.0)]
