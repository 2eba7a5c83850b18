"""Regular expressions of other tools: taken where flows match them, and never half understood."""

from __future__ import annotations

import pytest

from execd.core.flows.patterns import is_found
from execd.core.formats.patterns import is_plain_pattern


@pytest.mark.parametrize("pattern", [r"^[\w.-]+$", "(?<year>\\d{4})", "a|b", ""])
def test_what_flows_match_is_taken(pattern: str) -> None:
    """What most checks are made of means the same in both."""
    assert is_plain_pattern(pattern)


@pytest.mark.parametrize(
    "pattern", ["(?=a)", "(?<!a)b", r"(a)\1", r"\u0041", "[^]", "(", "a{1500}", "a" * 2001, r"\p{L}", r"\Aa", None, 7]
)
def test_what_flows_cannot_match_is_not_taken(pattern: object) -> None:
    """It would be a check that never holds."""
    assert not is_plain_pattern(pattern)
    assert pattern != "a{1500}" or not is_found("a{1500}", "a" * 1500)
