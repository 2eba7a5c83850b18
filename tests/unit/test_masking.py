"""What must not be seen: found in every usual form, whole or in pieces, and nothing else lost."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from execd.core.capture import output_bytes
from execd.core.events import Output, Stream
from execd.core.masking import BLOT, Mask, PieceMask, StreamMask
from execd.core.text import OutputDecoder

KEY = 'sk/"very" sécret\n+key='
SMALL = st.text(alphabet="abc", min_size=4, max_size=9)
"""Few letters, so that secrets meet, overlap and repeat themselves."""


def cut(text: Any, places: list[int]) -> list[Any]:
    """Cut a text at these places, wherever they fall."""
    ends = sorted({place % (len(text) + 1) for place in places})
    return [text[begin:end] for begin, end in zip([0, *ends], [*ends, len(text)], strict=True)]


def masked_in_pieces(mask: Mask, pieces: list[bytes]) -> bytes:
    assert mask.bytes is not None
    stream = PieceMask(mask.bytes)
    return b"".join([*(stream.feed(piece) for piece in pieces), stream.finish()])


@settings(deadline=None, max_examples=500)
@given(st.lists(SMALL, min_size=1, max_size=4), st.text(alphabet="abcd", max_size=60), st.lists(st.integers(0, 60)))
@example(["abca", "abcabc"], "xabcabcx", [5])
@example(["aaaa"], "a" * 11, [1, 5, 6])
@example(["abcb", "cbaa"], "abcbaa", [4])
def test_any_cutting_of_a_stream_gives_the_same_masked_text(secrets: list[str], text: str, places: list[int]) -> None:
    """A key arrives as the pipe cuts it; what is told must not depend on that, nor hold any of the keys."""
    mask = Mask(secrets)
    whole = mask.data(text.encode())

    assert masked_in_pieces(mask, cut(text.encode(), places)) == whole
    assert mask.text(text).encode() == whole
    stream = StreamMask(mask)
    assert "".join([*(stream.feed(piece) for piece in cut(text, places)), stream.finish()]) == mask.text(text)
    assert not any(secret.encode() in whole for secret in secrets)


@settings(deadline=None)
@given(st.text(min_size=4, max_size=20), st.binary(max_size=30), st.binary(max_size=30), st.lists(st.integers(0, 200)))
def test_any_secret_is_found_in_every_form_and_any_cut(
    secret: str, before: bytes, after: bytes, places: list[int]
) -> None:
    """Whatever it is made of; and what stands around it arrives."""
    secret = secret.replace("\0", "0").replace("*", "x").encode(errors="replace").decode()
    around = (before.replace(b"*", b""), after.replace(b"*", b""))
    mask = Mask([secret])
    forms = [secret, json.dumps(secret)[1:-1], quote(secret, safe=""), quote_plus(secret)]
    forms.append(base64.b64encode(secret.encode()).decode())

    for form in forms:
        data = around[0] + form.encode() + around[1]
        assert form.encode() not in masked_in_pieces(mask, cut(data, places))
        assert masked_in_pieces(mask, cut(data, places)) == mask.data(data)


@pytest.mark.parametrize("around", range(6))
def test_base64_of_something_longer_is_found_wherever_the_secret_begins(around: int) -> None:
    """`user:password` in a header, a key in a file: what a program encodes is seldom the key alone."""
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        text = encode(b"x" * around + KEY.encode() + b"y" * around).decode()

        hidden = Mask([KEY]).text(text)

        assert BLOT in hidden
        assert len(hidden) <= 4 * around + 6


def test_base64_in_lines_is_found() -> None:
    """base64(1) breaks its lines."""
    secret = "k3y-" * 40

    assert Mask([secret]).data(base64.encodebytes(secret.encode())) == b"***\n"


def test_values_are_masked_inside_and_in_keys() -> None:
    """An answer is an object, and a key of an object is text too; two that look alike afterwards are both kept."""
    mask = Mask(["hunter22", "other-key"])
    value = {"a": ["x hunter22 y", {"hunter22": 1, "other-key": 2}], "n": 12.5, "t": True, "z": None}

    assert mask.value(value) == {"a": ["x *** y", {"***": 1, "*** (2)": 2}], "n": 12.5, "t": True, "z": None}


def test_a_number_that_is_a_secret_is_masked() -> None:
    """A PIN that was read as JSON is a number and still the PIN."""
    assert Mask(["274951"]).value([274951, 12749511, 1, True, 2749.51]) == [BLOT, BLOT, 1, True, 2749.51]
    assert Mask(["2749.51"]).value([2749.51]) == [BLOT]


def test_overlapping_secrets_leave_nothing_of_either() -> None:
    """Half of the second would stand there otherwise."""
    assert Mask(["user:hunter22", "hunter22@host"]).text("to user:hunter22@host.") == "to ***."


# --- output of programs


def decoded(mask: Mask, pieces: list[bytes]) -> list[Output]:
    decoder = OutputDecoder(Stream.STDOUT, mask)
    return [output for piece in pieces for output in decoder.feed(piece)] + decoder.finish()


@settings(deadline=None)
@given(st.lists(st.integers(0, 80)), st.booleans())
def test_output_is_masked_and_its_offsets_are_without_gaps(places: list[int], is_text: bool) -> None:
    """Offsets count what is told, so that whoever puts the pieces together misses nothing."""
    noise = "ä" if is_text else "\udcff"
    data = f"{noise} {KEY} und {KEY} {noise}".encode(errors="surrogateescape")

    outputs = decoded(Mask([KEY]), cut(data, places))

    told = b"".join(map(output_bytes, outputs))
    assert told == f"{noise} *** und *** {noise}".encode(errors="surrogateescape")
    offset = 0
    for output in outputs:
        assert output.offset == offset
        offset += len(output_bytes(output))


def test_less_than_a_secret_is_held_back() -> None:
    """A prompt that ends like the key begins waits for what follows; anything else is told at once."""
    decoder = OutputDecoder(Stream.STDOUT, Mask(["secret-key"]))

    assert [output.text for output in decoder.feed(b"password: ")] == ["password: "]
    assert [output.text for output in decoder.feed(b"is sec")] == ["is "]
    assert [output.text for output in decoder.feed(b"ond")] == ["second"]
    assert [output.text for output in decoder.feed(b" secret-ke")] == [" "]
    assert [output.text for output in decoder.finish()] == ["secret-ke"]


def test_half_a_secret_at_the_output_limit_counts_as_dropped() -> None:
    """The limit cut it; what is left of it would be most of it."""
    decoder = OutputDecoder(Stream.STDOUT, Mask(["secret-key"]))

    told = decoder.feed(b"it is secret-ke")

    assert ([output.text for output in told], decoder.cut(), decoder.finish()) == (["it is "], 9, [])


def test_without_secrets_nothing_is_held_or_copied() -> None:
    """Most programs are given none, and pay nothing."""
    decoder = OutputDecoder(Stream.STDOUT)

    assert [output.text for output in decoder.feed(b"secret")] == ["secret"]
    assert decoder.cut() == 0
    assert Mask([]).value(value := {"a": ["b"]}) is value
