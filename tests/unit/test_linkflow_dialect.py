"""The LinkFlow dialect: every event of a journal as its clients read it, and nothing a node gave."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from execd.core.codec import number_fact
from execd.core.event_parts import Failure, NodeResult, Prompt, StreamTotals, Usage
from execd.core.event_types import EVENT_TYPES
from execd.core.events import (
    EventData,
    ExecutionCompleted,
    ExecutionId,
    Fact,
    InputRequired,
    NodeCompleted,
    NodeFailed,
    NodeId,
    NodeOutput,
    NodeRetrying,
    NodeSkipped,
    NodeStarted,
    NodeWaiting,
    Output,
    OutputsReported,
    OutputTruncated,
    Progress,
    ResultStored,
    Status,
    Stream,
)
from execd.http.dialects.linkflow import (
    NAME,
    frame_connected,
    frame_heartbeat,
    frame_timeout,
    project,
    summarise,
)
from execd.http.framing import Dialect
from execd.ports import StreamedEvent
from tests.unit.test_codec import sample

AT = datetime(2026, 2, 18, 10, 30, 1, 250000, tzinfo=UTC)
SHOWN_AT = "2026-02-18T10:30:01.250Z"
EXECUTION = ExecutionId("exec-1700000000000-abcdefghi")


def streamed(data: EventData, *, node: str | None = "each[3]/fetch", seq: int = 7) -> StreamedEvent:
    fact = Fact(data=data, at=AT, node=None if node is None else NodeId(node), attempt=1 if node else None)
    stored = number_fact(EXECUTION, seq, fact)
    return StreamedEvent(seq=stored.seq, type=stored.type, body=stored.body)


def read(block: bytes) -> tuple[str | None, str, dict[str, Any]]:
    """Give a block's id, name and data; it must be one block of the shape clients parse."""
    found = re.fullmatch(rb"(?:id: (\d+)\n)?event: ([a-z.]+)\ndata: (\{[^\n]*\})\n\n", block)
    assert found is not None, block
    return None if found[1] is None else found[1].decode(), found[2].decode(), msgspec.json.decode(found[3])


def result(status: Status = Status.COMPLETED, **fields: Any) -> ResultStored:
    whole: dict[str, Any] = {
        "status": status,
        "exit_code": None,
        "signal": None,
        "error": None,
        "stdout": "secret",
        "stderr": "",
        "stdout_base64": None,
        "stderr_base64": None,
        "streams": {Stream.STDOUT: StreamTotals()},
        "outputs": {"a": {"k": "secret"}},
        "nodes": (NodeResult(id="a", status="completed", attempts=1), NodeResult(id="b", status="failed", attempts=1)),
        "usage": Usage(wall_ms=1234),
    }
    return ResultStored(**(whole | fields))


FAILURE = Failure(code="exit", message="exited with code 3", details={"secret": "secret"})
NODE = {"node_key": "each[3]/fetch"}


@pytest.mark.parametrize(
    ("data", "name", "payload"),
    [
        (NodeStarted(label="Fetch", type="http"), "node.started", NODE | {"started_at": SHOWN_AT}),
        (
            NodeCompleted(duration_ms=234, output={"body": "secret", "ok": True}),
            "node.completed",
            NODE
            | {
                "duration_ms": 234,
                "output_summary": {"output_keys": ["body", "ok"], "output_size_bytes": 27},
                "completed_at": SHOWN_AT,
            },
        ),
        (
            NodeFailed(duration_ms=5, error=FAILURE),
            "node.failed",
            NODE | {"error": "exited with code 3", "failed_at": SHOWN_AT},
        ),
        (NodeSkipped(reason="branch_not_taken"), "node.skipped", NODE | {"reason": "branch_not_taken"}),
        (NodeRetrying(error=FAILURE, retry_at=AT), "node.retrying", NODE | {"retry_at": SHOWN_AT, "attempt": 1}),
        (NodeWaiting(reason="timer", until=AT), "node.waiting", NODE | {"reason": "timer", "until": SHOWN_AT}),
        (
            InputRequired(prompt_id="p", prompts=(Prompt(key="go", label="Go?"),)),
            "node.waiting",
            NODE | {"reason": "input", "prompt_id": "p", "prompts": [{"key": "go", "label": "Go?"}]},
        ),
        (
            OutputsReported(outputs={NodeId("a"): ["secret"]}),
            "node.outputs",
            {"nodes": [{"node_key": "a", "output_summary": {"output_keys": [], "output_size_bytes": 10}}]},
        ),
        (Output(stream=Stream.STDOUT, offset=3, text="hi\n"), "log", NODE | {"stream": "stdout", "text": "hi\n"}),
        (Output(stream=Stream.STDERR, offset=3, base64="/w=="), "log", NODE | {"stream": "stderr", "base64": "/w=="}),
        (
            OutputTruncated(stream=Stream.STDOUT, dropped_bytes=9),
            "log",
            NODE | {"truncated": True, "dropped_bytes": 9},
        ),
        (Progress(done=1, total=4, percent=25), "progress", {"progress": 25, "done": 1, "total": 4}),
        (
            result(),
            "execution.completed",
            {"execution_id": EXECUTION, "total_duration_ms": 1234, "node_count": 2, "status": "completed"},
        ),
        *(
            (
                result(status, error=Failure(code="c", message="why")),
                "execution.failed",
                {
                    "execution_id": EXECUTION,
                    "error": "why",
                    "total_duration_ms": 1234,
                    "node_count": 2,
                    "failed_at": SHOWN_AT,
                    "status": str(status),
                },
            )
            for status in (Status.FAILED, Status.TIMEOUT, Status.CANCELLED, Status.INTERRUPTED)
        ),
    ],
)
@pytest.mark.behaviour(55)
def test_an_event_is_told_in_linkflows_words(data: EventData, name: str, payload: dict[str, Any]) -> None:
    """The design document's payloads, flat; further keys are allowed, missing ones are not."""
    seq, found, told = read(project(streamed(data)))

    assert (seq, found) == ("7", name)
    assert told | payload == told
    assert told["seq"] == 7


@pytest.mark.parametrize("name", EVENT_TYPES)
def test_every_event_has_a_word_or_none(name: str) -> None:
    """A new event type must not break a stream; what it is not, is silence."""
    block = project(streamed(sample(EVENT_TYPES[name])))

    assert block == b"" or read(block)[0] == "7"


def test_no_value_of_a_node_is_told() -> None:
    """Keys and sizes only: outputs hold what not everybody who watches may see."""
    told = [
        NodeCompleted(duration_ms=1, output={"k": "secret", "n": {"secret": 1}}),
        NodeOutput(delta="secret"),
        OutputsReported(outputs={NodeId("a"): {"k": "secret"}}),
        NodeFailed(duration_ms=1, error=FAILURE),
        result(),
        result(Status.FAILED, error=FAILURE),
    ]

    assert b"secret" not in b"".join(project(streamed(data)) for data in told)


def test_the_terminal_block_waits_for_the_stored_result() -> None:
    """Its id is the journal's last, so that a reconnect with it is told to stop."""
    terminal = streamed(ExecutionCompleted(status=Status.COMPLETED, duration_ms=1), node=None, seq=8)

    assert project(terminal) == b""
    assert read(project(streamed(result(), node=None, seq=9)))[0] == "9"


@pytest.mark.behaviour(55)
def test_what_is_of_no_event_has_no_id() -> None:
    """An id would move the client's cursor."""
    assert read(frame_connected(EXECUTION, Status.WAITING_INPUT, AT)) == (
        None,
        "connected",
        {"execution_id": EXECUTION, "status": "waiting", "connected_at": SHOWN_AT},
    )
    assert read(frame_heartbeat(AT)) == (None, "heartbeat", {"timestamp": SHOWN_AT})
    seq, name, data = read(frame_timeout("lifetime", 5))
    assert (seq, name, data["reason"], data["last_seq"]) == (None, "timeout", "lifetime", 5)
    assert read(frame_timeout("odd", 5))[2]["message"]


def test_a_summary_is_bounded() -> None:
    """An object of a hundred thousand keys is not a block of megabytes."""
    summary = summarise({f"{i:04}" * 100: 0 for i in range(1000)})

    assert len(summary["output_keys"]) == 100
    assert max(map(len, summary["output_keys"])) == 200
    assert summary["output_keys_total"] == 1000
    assert summarise(None) == {"output_keys": [], "output_size_bytes": 0}


def test_a_long_error_is_cut() -> None:
    """A stack trace belongs into the log."""
    block = project(streamed(NodeFailed(duration_ms=1, error=Failure(code="c", message="é" * 100_000))))

    assert len(block) < 16 * 1024


def test_one_projection_serves_all_viewers() -> None:
    """Each event is encoded once per dialect, whoever asks first; silence is remembered too."""
    asked: list[int] = []

    def count(event: StreamedEvent) -> bytes:
        asked.append(event.seq)
        return project(event)

    def make() -> Dialect:
        return Dialect(name=NAME, project=count, make_heartbeat=bytes, make_eviction=lambda _reason, _seq: b"")

    told = streamed(Progress(done=1, total=2, percent=50), node=None, seq=1)
    silent = streamed(NodeOutput(delta="x"), seq=2)
    for viewer in (make(), make()):
        block = viewer.frame(told)
        assert viewer.chunk(told) == b"%x\r\n%b\r\n" % (len(block), block)
        assert viewer.chunk(silent) == viewer.frame(silent) == b""

    assert asked == [1, 2]
