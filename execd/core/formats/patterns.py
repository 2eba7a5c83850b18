"""Which regular expressions of other tools a flow takes: flows match in linear time, so look-around and the like are not."""

from __future__ import annotations

import re
import warnings

MAX_PATTERN_CHARS = 2000
_NOT_LINEAR = re.compile(r"\(\?(?:[=!>(]|<[=!])|\\[1-9Zuk]")
"""Look-around, atomic groups, back-references, and JavaScript's `\\u`."""


def is_plain_pattern(pattern: object) -> bool:
    """Whether a pattern of JavaScript means the same to an engine that takes linear time."""
    if not isinstance(pattern, str) or len(pattern) > MAX_PATTERN_CHARS or _NOT_LINEAR.search(pattern):
        return False
    try:
        with warnings.catch_warnings(action="ignore"):
            re.compile(pattern)
    except (re.error, RecursionError, OverflowError):
        return False
    return True
