"""What an engine elsewhere reports, read from the bodies that LinkFlow's engines send.

Unknown keys are passed over: engines are newer than what they report to. What is known is checked, and every fault is told.

Source: the request classes of LinkFlow's job callbacks (`/api/v1/jobs/progress`, `/api/v1/jobs/callback`).
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from execd.core.calls import MAX_OUTPUT_BYTES
from execd.core.event_parts import Failure
from execd.core.events import NodeId
from execd.core.external import MAX_EXTERNAL_NODES, MAX_LABEL_CHARS, UNKNOWN_TYPE, read_node_id
from execd.core.fields import Faults, Fields, Range
from execd.core.job_keys import TOKEN_CHARS
from execd.core.moments import milliseconds_between, parse_moment

ATTEMPT_STATUSES = ("success", "client_error", "server_error", "timeout", "network_error", "cancelled")
MAX_ATTEMPTS = 1000
MAX_ERROR_CHARS = 4096
"""Kept of an error's text; longer ones are cut."""
MAX_TEXT_CHARS = 64 * 1024
MAX_DURATION_MS = 366 * 24 * 3600 * 1000
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)
_CODE = re.compile(r"[A-Za-z0-9_.:-]{1,64}", re.ASCII)


class ReportedNode(enum.StrEnum):
    """How a node stands, in the engine's words."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"


class ReportedEnd(enum.StrEnum):
    """How the whole stands, in the engine's words."""

    COMPLETED = "completed"
    FAILED = "failed"
    WAITING = "waiting"
    """It is not over: the engine waits for something, and will report again."""


class ProgressReport(msgspec.Struct, frozen=True, kw_only=True):
    """How far it is."""

    progress: int
    """From 0 to 100; what it means is said by `ExternalSpec.progress`."""
    node: NodeId | None = None
    failure: Failure | None = None
    """What the last call of that node to the outside failed with, if it did."""
    duration_ms: int | None = None
    """Of the node's calls to the outside together."""


class NodeReport(msgspec.Struct, frozen=True, kw_only=True):
    """How one node stands."""

    id: NodeId
    status: ReportedNode
    label: str
    type: str
    output: Any = None
    failure: Failure | None = None
    duration_ms: int | None = None


class EndReport(msgspec.Struct, frozen=True, kw_only=True):
    """How the whole stands, and every node; applied as one."""

    status: ReportedEnd
    nodes: tuple[NodeReport, ...] = ()
    """In the order the engine numbers them."""
    failure: Failure | None = None


JobReport = ProgressReport | EndReport


class JobMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A report and what it shows to be believed."""

    job_id: str
    callback_token: str
    report: JobReport
    execution_id: str = ""
    """Which execution it says it is about; only at the end, and as text, also where a number came."""


def parse_progress(body: object) -> JobMessage:
    """Read the body of a progress report. Raises InvalidRequestError."""
    faults = Faults()
    fields = _open_fields(body, faults, "")
    job_id, token = _read_keys(fields)
    fields.required("progress", "a whole number from 0 to 100")
    progress = fields.integer("progress", Range(0, 100), default=0)
    node = read_node_id(fields, "current_node") if fields.has("current_node") else None
    failure, duration_ms = _read_attempts(fields, faults, node)
    _read_fixtures(fields)
    faults.raise_if_any()
    report = ProgressReport(progress=progress, node=node, failure=failure, duration_ms=duration_ms)
    return JobMessage(job_id=job_id, callback_token=token, report=report)


def parse_callback(body: object) -> JobMessage:
    """Read the body of a report on the whole. Raises InvalidRequestError."""
    faults = Faults()
    fields = _open_fields(body, faults, "")
    job_id, token = _read_keys(fields)
    execution_id = _read_execution_id(fields)
    fields.required("status", ", ".join(ReportedEnd))
    status = fields.choice("status", tuple(ReportedEnd), default=ReportedEnd.WAITING)
    nodes = _read_nodes(fields, faults)
    failure = _read_failure(fields.raw("error"))
    fields.integer("duration_ms", Range(0, MAX_DURATION_MS, unit="ms"), default=0)
    _read_attempts(fields, faults, None)
    _read_fixtures(fields)
    faults.raise_if_any()
    report = EndReport(status=ReportedEnd(status), nodes=nodes, failure=failure)
    return JobMessage(job_id=job_id, callback_token=token, report=report, execution_id=execution_id)


def _open_fields(table: object, faults: Faults, path: str) -> Fields:
    return Fields(table, faults, known=table if isinstance(table, Mapping) else (), path=path)


def _read_keys(fields: Fields) -> tuple[str, str]:
    job_id = fields.required_text("job_id", max_chars=64, accepted="a UUID")
    if job_id and not _UUID.fullmatch(job_id):
        fields.fault("job_id", "is no UUID", "a UUID")
    token = fields.required_text("callback_token", max_chars=512, accepted=f"text of {TOKEN_CHARS} characters")
    if token and len(token) != TOKEN_CHARS:
        fields.fault("callback_token", f"has {len(token)} characters", f"text of {TOKEN_CHARS} characters")
    return job_id, token


def _read_execution_id(fields: Fields) -> str:
    """LinkFlow's own ids are numbers; whatever this execd gave out is text."""
    value = fields.raw("execution_id")
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return fields.required_text("execution_id", max_chars=200, accepted="the execution's id")


def _read_nodes(fields: Fields, faults: Faults) -> tuple[NodeReport, ...]:
    placed: list[tuple[int, NodeReport]] = []
    for index, item in enumerate(fields.items("nodes", max_count=MAX_EXTERNAL_NODES, accepted="a list of nodes")):
        node = _open_fields(item, faults, f"nodes[{index}]")
        name = read_node_id(node, "node_id")
        kind = node.required_text("node_type", max_chars=MAX_LABEL_CHARS, accepted="the node's type")
        node.required("status", ", ".join(ReportedNode))
        status = node.choice("status", tuple(ReportedNode), default=ReportedNode.PENDING)
        label = node.text("node_name", max_chars=MAX_LABEL_CHARS, accepted="the node's name") or name
        report = NodeReport(
            id=name,
            status=ReportedNode(status),
            label=label,
            type=kind or UNKNOWN_TYPE,
            output=_bounded(node.raw("output")),
            failure=_read_failure(node.raw("error")),
            duration_ms=_read_duration(node),
        )
        placed.append((node.integer("sequence", Range(0, 2**53), default=index), report))
    return tuple(report for _, report in sorted(placed, key=lambda place: place[0]))


def _bounded(output: object) -> Any:
    """Give an output that a journal takes; in place of a larger one, how large it was. A refusal would lose the end of a run."""
    if output is None:
        return None
    size = len(msgspec.json.encode(output))
    return output if size <= MAX_OUTPUT_BYTES else {"omitted_bytes": size}


def _read_duration(node: Fields) -> int | None:
    moments = []
    for name in ("started_at", "completed_at"):
        text = node.text(name, max_chars=64, accepted="a time (RFC 3339)")
        moments.append(None if text is None else parse_moment(text))
    began, ended = moments
    return None if began is None or ended is None else milliseconds_between(began, ended)


def _read_attempts(fields: Fields, faults: Faults, node: NodeId | None) -> tuple[Failure | None, int | None]:
    """Check the calls that nodes made to the outside; give how the last one of this node failed, and what all of them took."""
    failure: Failure | None = None
    durations: list[int] = []
    listed = fields.items("connector_attempts", max_count=MAX_ATTEMPTS, accepted="a list of attempts")
    for index, item in enumerate(listed):
        attempt = _open_fields(item, faults, f"connector_attempts[{index}]")
        status, duration_ms = _read_attempt(attempt)
        if node is None or attempt.raw("node_id") not in {None, node}:
            continue
        durations.append(duration_ms)
        message = attempt.raw("error_message")
        failure = None if status == "success" else _failure(attempt.raw("error_code") or status, message)
    return failure, sum(durations) if durations else None


def _read_attempt(attempt: Fields) -> tuple[str, int]:
    for name in ("connector_key", "connector_operation"):
        attempt.required_text(name, max_chars=MAX_LABEL_CHARS, accepted="text")
    for name in ("node_id", "provider", "idempotency_key", "error_code", "happened_at"):
        attempt.text(name, max_chars=MAX_LABEL_CHARS, accepted="text")
    attempt.text("error_message", max_chars=MAX_TEXT_CHARS, accepted="text")
    fingerprint = attempt.text("request_fingerprint", max_chars=TOKEN_CHARS, accepted="text")
    if fingerprint is not None and len(fingerprint) != TOKEN_CHARS:
        attempt.fault("request_fingerprint", f"has {len(fingerprint)} characters", f"text of {TOKEN_CHARS} characters")
    attempt.integer("attempt_no", Range(1, 100), default=1)
    attempt.integer("status_code", Range(100, 599), default=100)
    attempt.flag("is_retry", default=False)
    attempt.required("status", ", ".join(ATTEMPT_STATUSES))
    status = attempt.choice("status", ATTEMPT_STATUSES, default="success")
    return status, attempt.integer("duration_ms", Range(0, MAX_DURATION_MS, unit="ms"), default=0)


def _read_fixtures(fields: Fields) -> None:
    """Recordings for LinkFlow's own replays: nothing here needs them."""
    fields.items("deterministic_fixtures", max_count=MAX_ATTEMPTS, accepted="a list of fixtures")


def _read_failure(error: object) -> Failure | None:
    """Read an error of whatever shape: a text, or an object with a message and a code. What is told is never refused."""
    if isinstance(error, Mapping):
        found = error.get("message") or error.get("error")
        return _failure(error.get("code"), found) if error else None
    return None if error is None or error == "" else _failure(None, error)


def _failure(code: object, message: object) -> Failure:
    shown = message if isinstance(message, str) and message else "The engine reported that it failed."
    text = shown[:MAX_ERROR_CHARS].encode(errors="replace").decode()
    known = str(code) if isinstance(code, str | int) and _CODE.fullmatch(str(code)) else "failed"
    return Failure(code=f"engine:{known}", message=text, details={"group": "program"})


FAILED_WITHOUT_WORDS = _failure(None, None)
"""What is told of a failure of which the engine said no more."""
