"""What an engine shows to be believed: ids that read back, signatures over bytes, and times that are near."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execd.core.events import ExecutionId
from execd.core.job_keys import (
    TOKEN_CHARS,
    execution_of,
    is_same,
    is_timely,
    job_id_of,
    make_callback_token,
    sign,
)
from execd.core.moments import parse_moment

NOW = datetime(2026, 2, 18, 10, 30, tzinfo=UTC)
BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"


@pytest.mark.behaviour(56)
def test_the_published_vector_verifies() -> None:
    """An engine that signs by LinkFlow's own words must be believed."""
    body = (
        b'{"job_id":"3f1c7c4e-3c3e-4a52-9b1b-0a3d1f0f0a11","callback_token":"'
        + b"a" * 64
        + b'","progress":80,"current_node":"http_1"}'
    )

    assert len(body) == 171
    assert (
        sign("test-engine-secret", "2026-02-18T10:30:00Z", body)
        == "800422f018fdc979feee6e239e816d4b61f5d427030548ee0bdfaddd66d7df7c"
    )


@given(st.integers(0, 2**48 - 1), st.text(BASE36, min_size=9, max_size=9))
def test_a_job_id_is_a_uuid_that_reads_back(unix_ms: int, tail: str) -> None:
    """Nothing is stored to find the execution of a job, so nothing can be lost or out of date."""
    execution_id = ExecutionId(f"exec-{unix_ms}-{tail}")

    job_id = job_id_of(execution_id)

    assert (job_id[14], job_id[19]) == ("8", job_id[19])
    assert job_id[19] in "89ab"
    assert execution_of(job_id) == execution_of(job_id.upper()) == execution_id


@pytest.mark.parametrize(
    "job_id",
    [
        "3f1c7c4e-3c3e-4a52-9b1b-0a3d1f0f0a11",
        "ffffffff-ffff-ffff-ffff-ffffffffffff",
        "00000000-0000-8001-8000-000000000000",
        "00000000-0000-8000-c000-000000000000",
        "00000000-0000-8000-8001-000000000000",
    ],
)
def test_a_uuid_of_somebody_else_is_no_job(job_id: str) -> None:
    """Every bit that is not ours must be as we make it, else two ids would mean one job."""
    assert execution_of(job_id) is None


@given(st.uuids())
def test_no_uuid_breaks_the_reading(job_id: object) -> None:
    """Whatever is sent is a job of ours or none."""
    found = execution_of(str(job_id))
    assert found is None or job_id_of(found) == str(job_id)


def test_a_token_is_of_one_execution_and_one_secret() -> None:
    """Whoever has the token of one job can end that one and no other."""
    first, second = ExecutionId("exec-1-aaaaaaaaa"), ExecutionId("exec-1-aaaaaaaab")
    tokens = {make_callback_token(secret, one) for secret in ("s" * 16, "t" * 16) for one in (first, second)}

    assert len(tokens) == 4
    assert {len(token) for token in tokens} == {TOKEN_CHARS}


@pytest.mark.behaviour(56)
def test_every_byte_is_signed() -> None:
    """Raw bytes, not their meaning: a space more is another message."""
    signature = sign("secret", "2026-02-18T10:30:00Z", b'{"a":1}')

    assert not is_same(signature, sign("secret", "2026-02-18T10:30:00Z", b'{"a": 1}'))
    assert not is_same(signature, sign("secret", "2026-02-18T10:30:01Z", b'{"a":1}'))
    assert not is_same(signature.upper(), signature)
    assert not is_same("é" * 64, signature)
    assert is_same(signature, signature)


@pytest.mark.parametrize(
    ("seconds", "passes"), [(0, True), (300, True), (-300, True), (300.001, False), (-300.001, False), (86400, False)]
)
def test_exactly_five_minutes_pass(seconds: float, passes: bool) -> None:
    """Past or future, because clocks are wrong both ways."""
    assert is_timely(NOW + timedelta(seconds=seconds), NOW) is passes


@pytest.mark.parametrize(
    "text",
    [
        "2026-02-18T10:30:00Z",
        "2026-02-18T10:30:00.000000000Z",
        "2026-02-18t10:30:00z",
        "2026-02-18T12:30:00+02:00",
        "2026-02-18T10:30:00.0-00:00",
    ],
)
def test_every_form_of_rfc_3339_is_read(text: str) -> None:
    """Go writes nine digits, PHP an offset."""
    assert parse_moment(text) == NOW


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1739872200",
        "2026-02-18",
        "2026-02-18T10:30:00",
        "20260218T103000Z",
        "2026-02-30T10:30:00Z",
        "2026-02-18T25:30:00Z",
        "0000-01-01T00:00:00Z",
        "٢٠٢٦-02-18T10:30:00Z",
        "2026-02-18T10:30:00Z" + "0" * 100,
        "now",
    ],
)
def test_what_is_no_moment_is_none(text: str) -> None:
    """Without a zone nobody knows when it was."""
    assert parse_moment(text) is None


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_the_ends_of_time_are_far_away(text: str) -> None:
    """They are read, and are not timely; nothing overflows."""
    at = parse_moment(text)

    assert at is None or not is_timely(at, NOW)
