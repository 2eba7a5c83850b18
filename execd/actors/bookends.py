"""What the coordinator writes itself: the first events of an execution, and the last of one that nobody can run.

Pure: everything between these two is its saga's.
"""

from __future__ import annotations

from datetime import datetime

from execd.actors.messages import SubmitExecution
from execd.core.codec import StoredEvent, number_fact
from execd.core.errors import InvalidRequestError
from execd.core.event_parts import Failure
from execd.core.events import ExecutionId, ExecutionQueued, ExecutionRequested, Fact, Status
from execd.core.outcome import LOST_TEXTS
from execd.core.result import bare_ending
from execd.core.state import State, fold
from execd.core.workflows import encode_spec, kind_of
from execd.ports import Append, Create, ExecutionRecord


def first_write(message: SubmitExecution, *, owner: str, place: tuple[int, int], now: datetime) -> tuple[Create, State]:
    """Give what stores a submission, and the state it leads to.

    Args:
        place: its position in its workspace's line, and how many wait in all.

    Raises:
        InvalidRequestError: it holds half a character, which no request over HTTP can.
    """
    try:
        return _first_write(message, owner=owner, place=place, now=now)
    except UnicodeEncodeError as error:
        raise InvalidRequestError(f"the spec cannot be stored: a text has a lone surrogate at {error.start}") from None


def _first_write(
    message: SubmitExecution, *, owner: str, place: tuple[int, int], now: datetime
) -> tuple[Create, State]:
    asked = message.submission
    position, ahead = place
    requested = ExecutionRequested(
        kind=kind_of(asked.spec),
        name=asked.name,
        user=asked.user,
        workspace=asked.workspace,
        attempt_of=asked.attempt_of,
        definition=asked.definition,
        version=asked.definition_version,
    )
    facts = [Fact(data=requested, at=now), Fact(data=ExecutionQueued(position=position, ahead=ahead), at=now)]
    record = ExecutionRecord(
        id=message.execution_id,
        kind=kind_of(asked.spec),
        workspace=asked.workspace,
        user=asked.user,
        name=asked.name,
        spec=encode_spec(asked.spec),
        status=Status.QUEUED,
        priority=asked.priority,
        created_at=now,
        attempt_of=asked.attempt_of,
        definition=asked.definition,
        definition_version=asked.definition_version,
        owner=owner,
        head_seq=len(facts),
        idempotency_key=asked.idempotency_key,
        request_sha256=asked.request_sha256,
    )
    write = Create(record=record, events=_number(record.id, facts, after_seq=0))
    return write, fold(message.state, facts)


def last_write(record: ExecutionRecord, *, now: datetime) -> Append:
    """Give what ends an execution as `internal_error` from its record alone, without its state."""
    facts = [Fact(data=data, at=now) for data in bare_ending(LOST_TEXTS["internal_error"])]
    return Append(
        execution_id=record.id,
        epoch=record.epoch,
        after_seq=record.head_seq,
        events=_number(record.id, facts, after_seq=record.head_seq),
        status=Status.FAILED,
        finished_at=now,
        error=Failure(code="internal_error", message=LOST_TEXTS["internal_error"]),
    )


def _number(execution_id: ExecutionId, facts: list[Fact], *, after_seq: int) -> tuple[StoredEvent, ...]:
    return tuple(number_fact(execution_id, seq, fact) for seq, fact in enumerate(facts, start=after_seq + 1))
