"""What every side effect waits for: the write that announces it."""

from __future__ import annotations

from contextlib import suppress

import trio

from execd.core.errors import ExecdError
from execd.mailbox import Reply
from execd.ports import Stored, WriteOutcome


async def wait_announced(write: Reply[WriteOutcome] | None) -> None:
    """Wait until a write is stored; for ever if it is refused, because then the saga ends, and whoever waits with it.

    Args:
        write: None when it is stored already.
    """
    if write is None or is_stored(write):
        return
    with suppress(ExecdError):
        await write.wait()
    if not is_stored(write):
        await trio.sleep_forever()


def is_stored(write: Reply[WriteOutcome]) -> bool:
    """Whether a write has been answered, and well."""
    return write.is_answered and not write.has_failed and isinstance(write.value, Stored)
