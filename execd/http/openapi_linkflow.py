"""The operations that LinkFlow's clients and engines use, for the table of all of them."""

from __future__ import annotations

from execd.http.openapi_operations import Operation, Parameter
from execd.http.schemas import API

SIGNED = (
    Parameter(name="X-LinkFlow-Timestamp", where="header", about="RFC 3339, within 300 s of now.", is_required=True),
    Parameter(
        name="X-LinkFlow-Signature", where="header", is_required=True,
        about="Lower-case hex HMAC-SHA256 over the timestamp, a dot, and the body's bytes, with `jobs.secret`.",
    ),
)  # fmt: skip
JOB_DETAILS = (
    "200 means that it is stored; with `idempotent` that it changes nothing, because the job is over or the message was taken "
    "before. 401: headers, time, signature or token are wrong. 422: `errors` has the faults by field."
)
STREAM_DETAILS = (
    "First `connected`, then the journal from the start or after the cursor, then live: `node.started`, `node.completed`, "
    "`node.failed`, `node.skipped`, `node.retrying`, `node.waiting`, `node.outputs`, `log`, `progress`, and in the end "
    "`execution.completed` or `execution.failed`. `heartbeat` breaks a silence; `timeout` says why the stream ends early. "
    "Only what is of the journal has an `id:`, its seq. An id of another numbering is no cursor. 204: the run is over and "
    "the cursor has its end. docs/linkflow.md has the payloads."
)

LINKN8N_OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="get", path=f"{API}/workspaces/{{workspace}}/executions/{{execution_id}}/stream", id="linkflow_stream",
        about="Follow one execution live, in LinkFlow's words.", tag="streams", media_type="text/event-stream",
        answer="LinkflowBlock", refusal="LinkflowRefusal", problems=(404, 429), details=STREAM_DETAILS,
        parameters=(
            Parameter(name="Last-Event-ID", where="header", about="The id of the last block seen; wins over the query."),
            Parameter(name="from", about="The same, for who cannot set a header."),
            Parameter(name="ticket", about="A one-use credential from `/api/v1/tickets`."),
        ),
    ),
    Operation(
        method="post", path=f"{API}/jobs/progress", id="job_progress", about="Report how far an engine elsewhere is.",
        tag="jobs", role=None, body="JobProgressBody", answer="JobAnswer", refusal="JobRefusal", parameters=SIGNED,
        problems=(401, 404, 413, 422, 503), details=JOB_DETAILS,
    ),
    Operation(
        method="post", path=f"{API}/jobs/callback", id="job_callback", tag="jobs", role=None,
        about="Report how an engine elsewhere ended, with all its nodes, or that it waits.",
        body="JobCallbackBody", answer="JobAnswer", refusal="JobRefusal", parameters=SIGNED,
        problems=(401, 403, 404, 413, 422, 503), details=JOB_DETAILS,
    ),
)  # fmt: skip
