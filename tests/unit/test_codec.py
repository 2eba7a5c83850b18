"""The wire: every event type there and back, and the shape clients rely on."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest

from execd.core.codec import decode_event, format_time, number_fact, to_fact
from execd.core.event_parts import Failure, NodeResult, Prompt, StreamTotals, Usage
from execd.core.event_types import EVENT_TYPES
from execd.core.events import (
    DeclaredNode,
    Event,
    EventData,
    ExecutionId,
    Fact,
    NodeId,
    Output,
    ResultStored,
    Status,
    StopMode,
    Stream,
)

AT = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
SAMPLES: dict[object, object] = {
    str: "tëxt\u2028",
    int: 7,
    float: 1.5,
    bool: True,
    Status: Status.FAILED,
    Stream: Stream.STDERR,
    StopMode: StopMode.CANCEL,
    datetime: AT,
    Failure: Failure(code="exit", message="no", details={"a": [1]}),
    Usage: Usage(wall_ms=1, cpu_ms=None, peak_memory_bytes=2),
    tuple[str, ...]: ("a",),
    tuple[NodeResult, ...]: (NodeResult(id="main", status="failed", attempts=1),),
    dict[str, Any]: {"k": 1},
    dict[str, str]: {"k": "v"},
    tuple[Any, ...]: ({"k": 1},),
    tuple[DeclaredNode, ...]: (DeclaredNode(id=NodeId("a"), label="A", type="x"),),
    tuple[Prompt, ...]: (Prompt(key="k", label="l", choices=("a", "b"), default="a"),),
    dict[Stream, StreamTotals]: {Stream.STDOUT: StreamTotals(total_bytes=3)},
}


def sample(record: type[EventData]) -> EventData:
    """Fill every field with something of its type."""
    values = {}
    for field in msgspec.structs.fields(record):
        options = getattr(field.type, "__args__", ()) if field.type not in SAMPLES else ()
        known = next((SAMPLES[kind] for kind in (field.type, *options) if kind in SAMPLES), {"k": 1})
        values[field.name] = known
    return record(**values)


@pytest.mark.parametrize("name", EVENT_TYPES)
def test_every_event_type_survives_the_journal(name: str) -> None:
    """What recovery folds is what was told, field by field."""
    fact = Fact(data=sample(EVENT_TYPES[name]), at=AT, node=NodeId("main"), attempt=2)

    stored = number_fact(ExecutionId("exec-1"), 5, fact)

    assert stored.type == name
    assert to_fact(decode_event(stored.body)) == fact


@pytest.mark.behaviour(22)
def test_the_envelope_is_as_documented() -> None:
    """Clients read these keys; absent means not applicable."""
    fact = Fact(data=Output(stream=Stream.STDOUT, offset=0, text="é\n"), at=AT)

    body = json.loads(number_fact(ExecutionId("exec-1"), 1, fact).body)

    assert body == {
        "seq": 1,
        "type": "output",
        "execution_id": "exec-1",
        "at": "2026-01-02T03:04:05.678Z",
        "data": {"stream": "stdout", "offset": 0, "text": "é\n"},
    }


def test_an_event_is_one_line() -> None:
    """SSE frames are made by laying lines together; a newline inside would tear one apart."""
    fact = Fact(data=Output(stream=Stream.STDOUT, offset=0, text="a\r\nb\n\u0085\x00"), at=AT)

    assert not set(number_fact(ExecutionId("e"), 1, fact).body) & {10, 13, 0}


@pytest.mark.behaviour(22)
def test_times_are_utc_with_milliseconds() -> None:
    """Any zone in, one form out."""
    assert format_time(AT.astimezone(timezone(timedelta(hours=5)))) == "2026-01-02T03:04:05.678Z"


def test_a_result_says_null_rather_than_nothing() -> None:
    """Whoever reads `result.exit_code` finds the key, whatever happened."""
    keys = set(json.loads(msgspec.json.encode(sample(ResultStored))))

    assert {"exit_code", "signal", "error", "stdout", "stdout_base64", "usage", "nodes"} <= keys


def test_garbage_is_refused() -> None:
    """A journal entry of no known type must not be skipped silently."""
    with pytest.raises((msgspec.DecodeError, KeyError)):
        decode_event(b'{"seq":1,"type":"nonsense","execution_id":"e","at":"2026-01-01T00:00:00Z","data":{}}')
    assert isinstance(
        decode_event(
            b'{"seq":1,"type":"execution_paused","execution_id":"e","at":"2026-01-01T00:00:00Z","data":{"by":"u"}}'
        ),
        Event,
    )
