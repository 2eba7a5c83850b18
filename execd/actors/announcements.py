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
    if write is None:
        return
    with suppress(ExecdError):
        if isinstance(await write.wait(), Stored):
            return
    await trio.sleep_forever()
