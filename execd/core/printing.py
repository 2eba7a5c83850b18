"""Values and texts of others on one line, for terminals, logs and reports: nothing in them can command a terminal. Pure."""

from __future__ import annotations

import re
from typing import Any

from execd.core.codec import encode_json

SHOWN_VALUE_CHARS = 80
"""Of a value on its line; the journal has the whole."""
_COMMANDS = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b.")


def shown_value(value: Any, limit: int = SHOWN_VALUE_CHARS) -> str:
    """Give a value as JSON on one line, cut where it is long."""
    return printable(shorten(encode_json(value).decode(errors="replace"), limit))


def shorten(text: str, limit: int = SHOWN_VALUE_CHARS) -> str:
    """Cut a text where it is long."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def printable(text: str) -> str:
    """Leave out what would command a terminal, and replace what else cannot be printed."""
    cleared = _COMMANDS.sub("", text).replace("\t", "    ")
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in cleared)
