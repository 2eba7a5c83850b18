"""From a journal back to the state it was told from."""

from __future__ import annotations

from collections.abc import Sequence

import structlog
import trio

from execd.core.codec import StoredEvent, decode_event, to_fact
from execd.core.errors import StoreUnavailableError
from execd.core.events import ExecutionId
from execd.core.state import State, fold, new_state
from execd.core.workflows import decode_spec, graph_of
from execd.ports import ExecutionRecord, Store

log = structlog.get_logger()

JOURNAL_PAGE_BYTES = 1024 * 1024
"""What recovery reads of a journal at once."""
READ_RETRY_S = 0.5
"""Between two attempts to read a journal."""


async def read_state(record: ExecutionRecord, store: Store) -> State:
    """Fold the journal: the same function that made the state makes it again."""
    state = new_state(graph_of(decode_spec(record.spec, kind=record.kind), name=record.name))
    while page := await _read_page(record.id, state.head_seq, store):
        state = fold(state, (to_fact(decode_event(event.body)) for event in page))
    return state


async def _read_page(execution_id: ExecutionId, after_seq: int, store: Store) -> Sequence[StoredEvent]:
    """A store that is away is asked again, as the writer does: recovery only takes longer, and no saga is blamed."""
    while True:
        try:
            return await store.read_events(execution_id, after_seq=after_seq, limit_bytes=JOURNAL_PAGE_BYTES)
        except StoreUnavailableError as error:
            log.warning("store_unavailable", error=error.message, retry_in_s=READ_RETRY_S)
        await trio.sleep(READ_RETRY_S)
