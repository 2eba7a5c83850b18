"""The shapes of what an engine elsewhere is asked for, is given and reports.

The parsers of the same are core/external.py and core/job_reports.py.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from execd.core.external import MAX_EXTERNAL_NODES, MAX_LABEL_CHARS, MAX_NODE_ID_CHARS, MAX_TIMEOUT_S
from execd.core.script_fields import MAX_NAME_CHARS
from execd.http.schemas import ExternalDetail, ExternalSubmittedView


class ExternalNodeBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A node of an engine elsewhere."""

    id: Annotated[str, Meta(min_length=1, max_length=MAX_NODE_ID_CHARS, description="Printable, without `/`.")]
    label: Annotated[str, Meta(max_length=MAX_LABEL_CHARS)] | None = None
    type: Annotated[str, Meta(max_length=MAX_LABEL_CHARS, description="What its engine calls it.")] | None = None


class ExternalBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Work of an engine elsewhere, which reports to `/api/v1/jobs`. Needs the setting `jobs.secret`."""

    kind: Literal["external"]
    name: Annotated[str, Meta(max_length=MAX_NAME_CHARS)] | None = None
    nodes: (
        Annotated[
            list[ExternalNodeBody],
            Meta(max_length=MAX_EXTERNAL_NODES, description="Those left out are added when they are reported."),
        ]
        | None
    ) = None
    timeout_s: (
        Annotated[float, Meta(ge=1, le=MAX_TIMEOUT_S, description="Until the end is reported; a day if left out.")]
        | None
    ) = None
    progress: (
        Annotated[
            Literal["linkflow", "percent"],
            Meta(
                description="What a progress of 80 or 50 with a `current_node` means: that the node went well or failed "
                "(`linkflow`, the default), or only how far the whole is."
            ),
        ]
        | None
    ) = None
    input: Annotated[Any, Meta(description="For the engine to read.")] = None


class JobNodeBody(msgspec.Struct, kw_only=True):
    """How one node stands. Unknown keys are passed over."""

    node_id: str
    node_type: str
    status: Literal["pending", "running", "completed", "failed", "skipped"]
    node_name: str | None = None
    output: Any = None
    error: Annotated[Any, Meta(description="Text, or an object with a `message` and a `code`.")] = None
    started_at: Annotated[str | None, Meta(description="RFC 3339.")] = None
    completed_at: str | None = None
    sequence: int | None = None


class JobAttemptBody(msgspec.Struct, kw_only=True):
    """A call that a node made to the outside; checked, and used for the node's error and duration."""

    connector_key: str
    connector_operation: str
    status: Literal["success", "client_error", "server_error", "timeout", "network_error", "cancelled"]
    node_id: str | None = None
    attempt_no: Annotated[int, Meta(ge=1, le=100)] | None = None
    status_code: Annotated[int, Meta(ge=100, le=599)] | None = None
    duration_ms: Annotated[int, Meta(ge=0)] | None = None
    request_fingerprint: Annotated[str, Meta(min_length=64, max_length=64)] | None = None
    error_code: str | None = None
    error_message: str | None = None


class JobProgressBody(msgspec.Struct, kw_only=True):
    """How far an engine elsewhere is. Unknown keys are passed over."""

    job_id: Annotated[str, Meta(description="A UUID, from the answer to the submission.")]
    callback_token: Annotated[str, Meta(min_length=64, max_length=64)]
    progress: Annotated[int, Meta(ge=0, le=100)]
    current_node: str | None = None
    connector_attempts: list[JobAttemptBody] | None = None
    deterministic_fixtures: list[Any] | None = None


class JobCallbackBody(msgspec.Struct, kw_only=True):
    """How an engine elsewhere ended, or that it waits. Unknown keys are passed over."""

    job_id: str
    callback_token: Annotated[str, Meta(min_length=64, max_length=64)]
    execution_id: str | int
    status: Literal["completed", "failed", "waiting"]
    nodes: Annotated[list[JobNodeBody], Meta(max_length=MAX_EXTERNAL_NODES)] | None = None
    error: Any = None
    duration_ms: int | None = None
    connector_attempts: list[JobAttemptBody] | None = None
    deterministic_fixtures: list[Any] | None = None


class JobAnswer(msgspec.Struct, kw_only=True):
    """The report is stored, or changes nothing."""

    success: Literal[True]
    idempotent: Annotated[bool, Meta(description="The job was over, or this message was taken before.")] = False
    execution_id: Annotated[str | None, Meta(description="Of a callback.")] = None
    status: Annotated[str | None, Meta(description="Of a callback.")] = None


class JobRefusal(msgspec.Struct, kw_only=True):
    """Why a report was not taken: `error`, or `message` and `errors` where the body is invalid."""

    error: str | None = None
    message: str | None = None
    errors: dict[str, list[str]] | None = None


class LinkflowRefusal(msgspec.Struct, kw_only=True):
    """Why there is no stream."""

    message: str


class LinkflowBlock(msgspec.Struct, kw_only=True):
    """One block of a stream in LinkFlow's words."""

    event: Annotated[str, Meta(description="`node.started`, `execution.completed` …")]
    data: Annotated[str, Meta(description="A flat JSON object.")]
    id: Annotated[str | None, Meta(description="The seq; not of `connected`, `heartbeat` and `timeout`.")] = None


JOB_RECORDS = (
    ExternalSubmittedView,
    ExternalDetail,
    JobProgressBody,
    JobCallbackBody,
    JobAnswer,
    JobRefusal,
    LinkflowRefusal,
    LinkflowBlock,
)
