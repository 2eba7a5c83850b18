"""The state a saga begins with: the one of its submission, or the fold of its journal; with what the history of its definition
tells of durations.

Reads the store and writes nothing. Never: blames a saga for a store that is away.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog
import trio

from execd.core.codec import StoredEvent, decode_event, to_fact
from execd.core.errors import StoreUnavailableError
from execd.core.events import ExecutionId
from execd.core.history import RunTimes
from execd.core.state import State, fold, new_state, with_history
from execd.core.workflows import decode_spec, graph_of
from execd.ports import ExecutionRecord, Store

log = structlog.get_logger()

JOURNAL_PAGE_BYTES = 1024 * 1024
"""What recovery reads of a journal at once."""
SLOW_NODES = 1000
"""From so many nodes on the history is evaluated in a thread."""
READ_RETRY_S = 0.5
"""Between two attempts to read a journal."""


async def read_state(record: ExecutionRecord, store: Store, *, begun: State | None) -> State:
    """Give the state to go on from.

    Args:
        begun: of a submission that has not run; None folds the journal: the same function that made the state makes it again.
    """
    fresh = begun or new_state(
        graph_of(decode_spec(record.spec, kind=record.kind), name=record.name), execution_id=record.id
    )
    state = await _learn(fresh, await _read_history(record, store))
    if begun is not None:
        return state
    while page := await _read_page(record.id, state.head_seq, store):
        state = fold(state, (to_fact(decode_event(event.body)) for event in page))
    return state


async def _learn(state: State, history: Sequence[RunTimes]) -> State:
    """Ten thousand nodes with twenty runs each take a tenth of a second, in which others' events should not wait."""
    if not history or len(state.root.plan.nodes) < SLOW_NODES:
        return with_history(state, history)
    return await trio.to_thread.run_sync(with_history, state, history)


async def _read_history(record: ExecutionRecord, store: Store) -> Sequence[RunTimes]:
    """Read once how long the definition takes; a store that is away costs the time left, and no time."""
    if record.definition is None:
        return ()
    try:
        return await store.read_history(record.workspace, record.definition)
    except StoreUnavailableError as error:
        log.warning("history_unavailable", error=error.message)
        return ()


async def _read_page(execution_id: ExecutionId, after_seq: int, store: Store) -> Sequence[StoredEvent]:
    """A store that is away is asked again, as the writer does: recovery only takes longer, and no saga is blamed."""
    while True:
        try:
            return await store.read_events(execution_id, after_seq=after_seq, limit_bytes=JOURNAL_PAGE_BYTES)
        except StoreUnavailableError as error:
            log.warning("store_unavailable", error=error.message, retry_in_s=READ_RETRY_S)
        await trio.sleep(READ_RETRY_S)
