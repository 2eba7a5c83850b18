"""A journal read as far as it goes at this moment, where following it would wait for more."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from execd.cli.backend import Backend
from execd.cli.views import decode_known
from execd.core.events import Event, ExecutionId


async def read_journal(execution_id: ExecutionId, backend: Backend) -> AsyncGenerator[Event, None]:
    """Give the events there are now; iterate it to its end."""
    head_seq = (await backend.find(execution_id)).head_seq
    async with backend.journal(execution_id, after_seq=0) as journal:
        async for stored in journal:
            event = decode_known(stored)
            if event is not None:
                yield event  # its callers iterate it to its end
            if stored.seq >= head_seq:
                return
