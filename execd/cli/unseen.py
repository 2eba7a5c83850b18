"""Typing that is not shown: for answers and values that are secret."""

from __future__ import annotations

import os
import termios
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def unseen(fd: int) -> Iterator[None]:
    """Show nothing of what is typed while the block runs, but the line ends. What is no terminal shows nothing anyway."""
    if not os.isatty(fd):
        yield
        return
    before = termios.tcgetattr(fd)
    hidden = termios.tcgetattr(fd)
    hidden[3] = hidden[3] & ~termios.ECHO | termios.ECHONL
    termios.tcsetattr(fd, termios.TCSADRAIN, hidden)
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
