"""Which regular expressions of other tools a flow takes."""

from __future__ import annotations

import re

from execd.core.flows.patterns import compile_pattern

_LETTERS = re.compile(r"\\[aACEGPQpz]")
"""With a backslash they are letters in JavaScript, and something else where flows match."""


def is_plain_pattern(pattern: object) -> bool:
    """Whether a pattern of JavaScript is matched by flows, and means the same: in linear time, so without look-around."""
    return isinstance(pattern, str) and not _LETTERS.search(pattern) and compile_pattern(pattern) is not None
