"""Every behaviour has a test that can fail, and the document says which."""

from __future__ import annotations

from tests.behaviours import DOCUMENT, NUMBERS, OPEN, collect, rewrite, sentences


def test_every_behaviour_has_a_test_or_a_reason() -> None:
    """What was promised and is shown by nothing is a wish; and a number that is shown is not open any more."""
    shown = set(collect())

    assert sorted(set(NUMBERS) - shown) == sorted(OPEN), "no test, or open although there is one"


def test_the_document_has_a_sentence_for_every_number_and_names_its_tests() -> None:
    """`make behaviours` writes the column of tests; the sentences are people's."""
    assert sorted(sentences()) == list(NUMBERS)
    assert DOCUMENT.read_text() == rewrite(DOCUMENT.read_text()), "run `make behaviours`"
