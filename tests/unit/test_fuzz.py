"""The fuzz campaign's own promises: a number is one request, no door is left out, and the judge knows a bad answer."""

from __future__ import annotations

from datetime import UTC, datetime

from execd.core.runtimes import Runtimes
from execd.http.config import HttpConfig
from execd.http.openapi import make_document
from fuzz.campaign import Book
from fuzz.judging import judge
from fuzz.report import document
from fuzz.requests import draw_request, read_doors
from fuzz.seeds import BODIES
from fuzz.sending import Answer

DOORS = read_doors(make_document(HttpConfig(), Runtimes(by_name={})))


def test_a_number_is_one_request() -> None:
    """Else nobody could send it again."""
    for number in range(200):
        assert draw_request(DOORS, seed=1, number=number) == draw_request(DOORS, seed=1, number=number)

    assert draw_request(DOORS, seed=2, number=5) != draw_request(DOORS, seed=1, number=5)


def test_every_door_is_tried_and_every_body_has_a_right_one() -> None:
    """A new door is fuzzed from the day it is described."""
    drawn = {draw_request(DOORS, seed=1, number=number).door for number in range(len(DOORS) * 6)}

    assert drawn == set(DOORS)
    assert {door.schema for door in DOORS} - {None} <= BODIES.keys()


def test_the_judge_knows_a_bad_answer() -> None:
    """A check that nothing fails is none."""
    request = next(
        each
        for number in range(2000)
        if (each := draw_request(DOORS, seed=1, number=number)).door.path == "/api/v1/executions"
        and each.method == "POST"
    )
    problem = ((b"content-type", b"application/problem+json"),)
    bare = b'{"code":"invalid_request","detail":"no"}'
    bad = (
        Answer(is_late=True),
        Answer(),
        Answer(500, is_whole=True),
        Answer(503, is_whole=True),
        Answer(400, body=b"<html>", is_whole=True),
        Answer(400, body=b"[]", is_whole=True),
        Answer(400, problem, bare, is_whole=True),
        Answer(200, body=b"{", is_whole=False),
    )
    good = (
        Answer(was_given_up=True),
        Answer(202, is_whole=True),
        Answer(503, ((b"retry-after", b"1"),), is_whole=True),
    )

    assert [bool(judge(request, answer)) for answer in bad] == [True] * len(bad)
    assert [judge(request, answer) for answer in good] == [[]] * len(good)


def test_the_document_names_what_was_done() -> None:
    """Who reads it can do the same."""
    book = Book(requests=3, executions=1)
    book.statuses["POST /x", 500] += 1
    text = document(book, minutes=5, seed=7)

    assert "make fuzz MINUTES=5" in text
    assert "--seed 7 --only NUMBER" in text
    assert "| `POST /x` | 1 | 0 | 0 | 1 | 0 |" in text
    assert f"{datetime.now(UTC):%Y}" in text
