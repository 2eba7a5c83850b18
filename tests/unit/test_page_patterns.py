"""What the page must guess as the engine does: it has no Python, so the same patterns stand in its JavaScript."""

from __future__ import annotations

import re
from pathlib import Path

from execd.core.flows import hiding
from execd.core.ids import NODE_ID

PAGE = Path(__file__).parents[2] / "web/flows.js"


def pattern_in_page(name: str) -> tuple[str, str]:
    found = re.search(rf"^const {name} = /(.*)/([a-z]*);$", PAGE.read_text(), re.MULTILINE)
    assert found is not None
    return found[1], found[2]


def test_the_page_hides_what_the_terminal_hides() -> None:
    """Else an answer that is unseen in one place would stand in clear in the other."""
    assert pattern_in_page("SECRET") == (hiding._SECRET_NAME.pattern, "i")


def test_the_page_names_steps_as_the_engine_does() -> None:
    """Else the steps of a flow that has not begun would stand there twice."""
    assert pattern_in_page("NAME") == (f"^{NODE_ID.pattern}$", "")
