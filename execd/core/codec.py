"""How events and specs become bytes and come back; the one place that knows the wire schema's version.

The bytes of an event in the native dialect are made once, when it is numbered, and the same bytes go to the store and
to every viewer. Times are RFC 3339 in UTC with milliseconds.
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

import msgspec

from execd.core.event_types import EVENT_TYPES, TYPE_NAMES
from execd.core.events import (
    Event,
    EventData,
    ExecutionId,
    Fact,
    NodeId,
)

SCHEMA_VERSION = 1
"""Raised when stored events change shape; the store keeps it, and refuses a file written by a newer execd."""


class StoredEvent(msgspec.Struct, frozen=True):
    """A numbered event as it is kept and sent: what routing needs, and the bytes nobody encodes again."""

    execution_id: ExecutionId
    seq: int
    type: str
    body: bytes
    """The whole `Event` as JSON on one line."""


def format_time(at: datetime) -> str:
    """Give RFC 3339 with milliseconds and a `Z`, as every time on the wire."""
    in_utc = at if at.tzinfo is UTC else at.astimezone(UTC)
    return in_utc.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def _encode_other(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise NotImplementedError(f"{type(value).__name__} has no place on the wire")


class _Envelope(msgspec.Struct, omit_defaults=True):
    seq: int
    type: str
    execution_id: str
    at: str
    node: str | None = None
    attempt: int | None = None
    data: Any = None


class _StoredEnvelope(msgspec.Struct):
    seq: int
    type: str
    execution_id: str
    at: datetime
    data: msgspec.Raw
    node: str | None = None
    attempt: int | None = None


_encoder = msgspec.json.Encoder(enc_hook=_encode_other)
_envelope_decoder = msgspec.json.Decoder(_StoredEnvelope)
_data_decoders: dict[str, msgspec.json.Decoder[Any]] = {
    name: msgspec.json.Decoder(record) for name, record in EVENT_TYPES.items()
}


def number_fact(execution_id: ExecutionId, seq: int, fact: Fact) -> StoredEvent:
    """Make the event `seq` of a journal out of a fact, encoded for ever."""
    type_name = TYPE_NAMES[type(fact.data)]
    envelope = _Envelope(
        seq=seq,
        type=type_name,
        execution_id=execution_id,
        at=format_time(fact.at),
        node=fact.node,
        attempt=fact.attempt,
        data=fact.data,
    )
    return StoredEvent(execution_id=execution_id, seq=seq, type=type_name, body=_encoder.encode(envelope))


def decode_event(body: bytes) -> Event:
    """Read back what `number_fact` wrote.

    Raises:
        msgspec.ValidationError: the bytes are no event of this schema version.
    """
    envelope = _envelope_decoder.decode(body)
    data: EventData = _data_decoders[envelope.type].decode(envelope.data)
    return Event(
        seq=envelope.seq,
        type=envelope.type,
        execution_id=ExecutionId(envelope.execution_id),
        at=envelope.at,
        data=data,
        node=None if envelope.node is None else NodeId(envelope.node),
        attempt=envelope.attempt,
    )


def to_fact(event: Event) -> Fact:
    """Take the number off again, to fold a journal with the function that first made its state."""
    return Fact(data=event.data, at=event.at, node=event.node, attempt=event.attempt)


def encode_json(value: Any) -> bytes:
    """Encode any record or plain value as compact JSON."""
    return _encoder.encode(value)
