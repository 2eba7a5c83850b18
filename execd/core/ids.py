"""What ids look like: of executions, `exec-<unix ms>-<tail>`, of definitions, `def-<tail>`, and of nodes. Pure.

A tail is nine characters of base 36, drawn where there is randomness.
"""

from __future__ import annotations

import re

TAIL_CHARS = 9
TAILS = 36**TAIL_CHARS
"""How many there are: about 2**46.5, so that a browser keeps every one exactly as a number."""
EXECUTION_ID = re.compile(r"exec-([0-9]{1,15})-([0-9a-z]{9})", re.ASCII)
DEFINITION_ID = re.compile(r"def-([0-9a-z]{9})", re.ASCII)
NODE_ID = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}", re.ASCII)
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def spell_tail(number: int) -> str:
    """Give the tail that is this number, from 0 and below `TAILS`; `int(tail, 36)` reads it back."""
    spelled = ""
    for _ in range(TAIL_CHARS):
        number, digit = divmod(number, len(_DIGITS))
        spelled = _DIGITS[digit] + spelled
    return spelled
