"""Regular expressions that authors write, and bodies they do not know are matched with.

RE2 and not Python's own `re`: its time grows with the length of the text and no faster, so no pattern can hold up the
process. It has no look-around and no back-references.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import re2

MAX_PATTERN_CHARS = 2000
_OPTIONS = re2.Options()
_OPTIONS.log_errors = False
_OPTIONS.max_mem = 4 * 1024 * 1024


@lru_cache(maxsize=1024)
def compile_pattern(pattern: str) -> Any | None:
    """Read a pattern; None for one that is not taken."""
    if len(pattern) > MAX_PATTERN_CHARS:
        return None
    try:
        return re2.compile(pattern, _OPTIONS)
    except re2.error:
        return None


def is_found(pattern: str, text: str) -> bool:
    """Whether the pattern matches anywhere in the text; one that is not taken never does."""
    compiled = compile_pattern(pattern)
    return compiled is not None and compiled.search(text.encode(errors="replace").decode()) is not None
