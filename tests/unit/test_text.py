"""Bytes to JSON and back: nothing lost, nothing split, nothing replaced."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from execd.core.capture import SHOWN_BYTES, Capture, output_bytes
from execd.core.events import Output, Stream
from execd.core.text import OutputDecoder


def decode(chunks: list[bytes]) -> list[Output]:
    decoder = OutputDecoder(Stream.STDOUT)
    return [piece for chunk in chunks for piece in decoder.feed(chunk)] + decoder.finish()


@given(st.lists(st.binary(max_size=20)))
def test_any_bytes_come_back_in_order_with_contiguous_offsets(chunks: list[bytes]) -> None:
    """Offsets let a client prove that it has everything."""
    pieces = decode(chunks)

    assert b"".join(output_bytes(piece) for piece in pieces) == b"".join(chunks)
    place = 0
    for piece in pieces:
        assert piece.offset == place
        assert (piece.text is None) != (piece.base64 is None)
        place += len(output_bytes(piece))


@given(st.text(), st.integers(1, 5))
def test_text_cut_anywhere_stays_text(text: str, size: int) -> None:
    """A character split over two reads of a pipe is never shown as two halves."""
    data = text.encode()
    pieces = decode([data[start : start + size] for start in range(0, len(data), size)])

    assert all(piece.text is not None for piece in pieces)
    assert "".join(piece.text or "" for piece in pieces) == text


def test_a_whole_line_is_not_held_back() -> None:
    """What is complete is given at once: live means now."""
    assert OutputDecoder(Stream.STDOUT).feed("né\n".encode())[0].text == "né\n"


def test_at_most_three_bytes_wait_for_the_rest_of_a_character() -> None:
    """A truncated character at the end of a stream is given as the bytes it is."""
    decoder = OutputDecoder(Stream.STDERR)

    assert [piece.text for piece in decoder.feed(b"ok" + "😀".encode()[:3])] == ["ok"]
    assert [output_bytes(piece) for piece in decoder.finish()] == ["😀".encode()[:3]]


def test_a_byte_that_can_never_become_text_does_not_wait() -> None:
    """0xFF begins no character; holding it back would delay it for nothing."""
    assert [output_bytes(piece) for piece in OutputDecoder(Stream.STDOUT).feed(b"\xff")] == [b"\xff"]


@given(st.lists(st.binary(max_size=50)), st.integers(0, 10**6))
def test_a_capture_is_a_value(chunks: list[bytes], dropped: int) -> None:
    """Two futures of one capture do not see each other, though they share a buffer."""
    capture = Capture()
    for chunk in chunks:
        left, right = capture.extend(chunk), capture.extend(b"!" + chunk)
        assert _shown(left) == _shown(capture) + chunk
        assert _shown(right) == _shown(capture) + b"!" + chunk
        capture = left
    whole = b"".join(chunks)
    assert _shown(capture) == whole
    assert capture.drop(dropped).totals().total_bytes == len(whole) + dropped


def _shown(capture: Capture) -> bytes:
    text, encoded = capture.show()
    return output_bytes(Output(stream=Stream.STDOUT, offset=0, text=text, base64=encoded))


def test_a_capture_keeps_the_head_and_counts_the_rest() -> None:
    """The result shows how it began and says how much there was; a character on the border is left out whole."""
    capture = Capture().extend(b"a" * (SHOWN_BYTES - 1)).extend("é".encode() * 100)

    text, encoded = capture.show()

    assert encoded is None
    assert text == "a" * (SHOWN_BYTES - 1)
    totals = capture.totals()
    assert (totals.total_bytes, totals.shown_bytes) == (SHOWN_BYTES + 199, SHOWN_BYTES - 1)
