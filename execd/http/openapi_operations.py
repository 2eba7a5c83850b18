"""Every operation of the doors as a table: the document and the reference are made of it, and a test holds it to the routes."""

from __future__ import annotations

from dataclasses import dataclass

from execd.core.event_types import EVENT_TYPES
from execd.core.events import Status, Stream
from execd.http.schemas import API


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter of a query or header."""

    name: str
    about: str
    where: str = "query"
    type: str = "string"
    choices: tuple[str, ...] = ()
    is_required: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path."""

    method: str
    path: str
    id: str
    about: str
    tag: str
    role: str | None = "viewer"
    """The least role; None where no credential is needed."""
    body: str | None = None
    """The schema of its JSON body."""
    is_body_required: bool = True
    takes_yaml: bool = False
    """Whether the body may be YAML too."""
    answer: str | None = None
    """The schema of its answer; None where it is none of JSON."""
    status: int = 200
    media_type: str = "application/json"
    details: str = ""
    parameters: tuple[Parameter, ...] = ()
    problems: tuple[int, ...] = ()
    """Further statuses with a problem, besides those every operation may give."""
    refusal: str = "Problem"
    """The schema of its problems; a dialect has its own."""
    is_socket: bool = False


ONE = f"{API}/executions/{{execution_id}}"
KEY = Parameter(
    name="Idempotency-Key", where="header", about="Makes the request safe to send again: 1-255 visible ASCII."
)
AFTER = Parameter(name="after", type="integer", about="The last seq seen; the header Last-Event-ID wins.")
CURSORS = (
    Parameter(name="Last-Event-ID", where="header", about="The id of the last event seen; wins over the query."),
    AFTER,
    Parameter(name="last_event_id", about="Another name of `after`."),
    Parameter(name="lastEventId", about="Another name of `after`."),
    Parameter(name="ticket", about="A one-use credential from `/api/v1/tickets`."),
)
REPLAY = (
    Parameter(
        name="speed",
        type="number",
        about="Replay what has ended in its own rhythm, so many times as fast: 0.1 to 1000.",
    ),
    Parameter(
        name="idle_limit_s",
        type="number",
        about="With `speed`: longer silences count as so many seconds, before the speed divides them.",
    ),
)
REPLAY_DETAILS = (
    " With `speed` the same events come as they came then; after a cursor the rhythm goes on from there. 409: it runs."
)
SSE_DETAILS = (
    "`event:` is the type, `id:` the seq, `data:` the event as one line of JSON. The first block carries `retry:`. "
    "Silence is broken by the two bytes `:\\n`. The stream ends after `result_stored`; when it ends before, an `evicted` "
    "event says why and its id is where to resume. 204: there is nothing after the cursor and never will be."
)
SOCKET_DETAILS = (
    "Events come as JSON text frames, in order. A client message may carry an `id`, which its `ack` or `error` repeats. "
    'Silence is broken by `{"type": "ping"}`, which needs no answer. Commands need the role runner. Close codes: '
    "1000 over, do not come back; 1012 and 4200 come back at once after the last seq; 4408 the same, and read faster; "
    "4429 and 4503 come back after a second; 4400, 4401, 4403, 4404 coming back unchanged is no use; 1011 a defect."
)


def _command(name: str, about: str) -> Operation:
    return Operation(
        method="post",
        path=f"{ONE}/{name}",
        id=name,
        about=about,
        tag="commands",
        role="runner",
        body="EmptyBody",
        is_body_required=False,
        answer="SubmittedView",
        status=202,
        problems=(404, 409, 413),
        details="202 means that it will be obeyed; the stream says when it was.",
    )


SECRET = f"{API}/secrets/{{secret_name}}"
SAVED = f"{API}/definitions/{{definition_id}}"
PAGE = (
    Parameter(name="cursor", about="`next_cursor` of the page before."),
    Parameter(name="limit", type="integer", about="1 to 200, 50 by default."),
)
VERSION = Parameter(name="version", type="integer", about="The newest by default.")
YAML_DETAILS = (
    "YAML is read by the 1.2 core schema: `yes`, `no` and `on` are texts, `1:30` and dates too; aliases, tags, keys given "
    "twice and more than 1 MiB are refused."
)

DEFINITION_OPERATIONS = (
    Operation(
        method="post", path=f"{API}/definitions", id="save_definition", about="Save a script, workflow or flow.",
        tag="definitions", role="runner", body="DefinitionBody", takes_yaml=True, answer="SavedDefinition", status=201,
        problems=(409, 413, 415),
        details="What would be refused when it is run cannot be saved. Its `priority` is not kept: that is of a run. "
        "409 `name_taken`: a name is used once in a workspace. 409 `too_many_definitions`: it has as many as it may. "
        + YAML_DETAILS,
    ),
    Operation(
        method="get", path=f"{API}/definitions", id="list_definitions", about="List definitions, those made last first.",
        tag="definitions", answer="DefinitionListView",
        parameters=(
            Parameter(name="kind", about="Only these.", choices=("script", "workflow", "reactflow", "flow", "external")),
            Parameter(name="name", about="A part of the name."),
            *PAGE,
        ),
    ),
    Operation(
        method="post", path=f"{API}/definitions/validate", id="validate_definition", about="Check without saving.",
        tag="definitions", body="DefinitionBody", takes_yaml=True, answer="ValidityView", problems=(413, 415),
        details="200 whatever is wrong with it: `errors` names every fault. Whether its name is free is not asked. `warnings` "
        "names credentials that stand there in clear, secrets that are not there yet, and what a flow will not do. `lines` "
        "says where the paths they name stand in the text.",
        parameters=(Parameter(name="document", about="`true`: give what was read, too.", choices=("true", "false")),),
    ),
    Operation(
        method="get", path=SAVED, id="show_definition", about="Look one up, by id or name.", tag="definitions",
        answer="DefinitionDetail", parameters=(VERSION,), problems=(404,),
        details="`ETag` is the version. A viewer is not shown values of `env`.",
    ),
    Operation(
        method="put", path=SAVED, id="change_definition", about="Save a new version.", tag="definitions", role="runner",
        body="DefinitionChange", takes_yaml=True, answer="SavedDefinition", problems=(404, 409, 413, 415),
        parameters=(Parameter(name="If-Match", where="header", about='The version that is changed, like `"3"`.'),),
        details="A name that is left out stays. 409 `version_conflict`: somebody saved one meanwhile, and the problem's "
        "`newest` is what they saved. Executions go on as they were submitted. Of versions beyond the server's limit the "
        "oldest are dropped, and `dropped_versions` counts them. " + YAML_DETAILS,
    ),
    Operation(
        method="delete", path=SAVED, id="delete_definition", about="Delete one with all its versions.",
        tag="definitions", role="runner", status=204, problems=(404,), details="Executions made of it stay, and go on.",
    ),
    Operation(
        method="get", path=f"{SAVED}/versions", id="list_versions", about="List its versions, newest first.",
        tag="definitions", answer="DefinitionListView", parameters=PAGE, problems=(404,),
    ),
    Operation(
        method="get", path=f"{SAVED}/export", id="export_definition", about="Give it as a file, to keep or to post again.",
        tag="definitions", media_type="application/yaml", problems=(404, 409),
        parameters=(VERSION, Parameter(name="format", about="yaml by default.", choices=("yaml", "json"))),
        details="A viewer is not given values of `env`. 409: it is nested too deeply for YAML.",
    ),
)  # fmt: skip

FILE_OPERATIONS = (
    Operation(
        method="post", path=f"{API}/import", id="import_file", about="Make a flow of another tool's file.", tag="definitions",
        body="ImportBody", answer="ImportedView", problems=(413, 415),
        details="Nothing is stored, run or fetched. Credentials become secrets unless they are to be kept. See docs/formats.md.",
    ),
    Operation(
        method="post", path=f"{API}/export", id="export_file", about="Write a flow as another tool's file.", tag="definitions",
        body="ExportBody", answer="ExportedView", problems=(413, 415), details="Nothing is stored. See docs/formats.md.",
    ),
    Operation(
        method="get", path=f"{ONE}/report", id="report", about="What became of each step of a flow, as JUnit XML.",
        tag="executions", media_type="application/xml", problems=(404, 409),
        details="409: it is no flow, or has not ended. A run that was cut short is never green.",
    ),
)  # fmt: skip

OPERATIONS: tuple[Operation, ...] = (
    *FILE_OPERATIONS,
    Operation(
        method="post", path=f"{API}/executions", id="submit", about="Run something.", tag="executions", role="runner",
        body="ExecutionBody", takes_yaml=True, answer="SubmittedView", status=202, parameters=(KEY,), problems=(404, 409, 413, 415),
        details="202 means that it is stored: it will end in a final status, whatever crashes. A saved definition is run "
        "as the version it has at this moment; 409 `definition_not_runnable`: that was good once and is not any more. Of kind "
        "`external` the answer has `job` too: what its engine reports with (ExternalSubmittedView).",
    ),
    Operation(
        method="get", path=f"{API}/executions", id="list_executions", about="List executions, newest first.",
        tag="executions", answer="ExecutionListView",
        parameters=(
            Parameter(name="status", about="Only these.", choices=tuple(Status)),
            Parameter(name="kind", about="Only these.", choices=("script", "workflow", "reactflow", "flow", "external")),
            Parameter(name="name", about="A part of the name."),
            Parameter(name="attempt_of", about="Retries of this execution."),
            Parameter(name="definition", about="Made of the definition of this id, which may be gone."),
            Parameter(name="cursor", about="`next_cursor` of the page before."),
            Parameter(name="limit", type="integer", about="1 to 200, 50 by default."),
        ),
    ),
    Operation(
        method="get", path=ONE, id="show", about="Look one execution up.", tag="executions", answer="ExecutionDetail",
        problems=(404,), details="Values of `env` are hidden.",
    ),
    Operation(
        method="get", path=f"{ONE}/result", id="result", about="Give the final result.", tag="executions",
        answer="ResultStored", problems=(404, 409),
        details="409 `not_finished` while it runs: follow the stream to `result_stored` instead of asking again.",
    ),
    Operation(
        method="get", path=f"{ONE}/events", id="events", about="Read the journal.", tag="executions", answer="EventsView",
        problems=(404,),
        parameters=(
            AFTER,
            Parameter(name="limit", type="integer", about="1 to 1000, 200 by default."),
            Parameter(name="types", about="Only these types, joined by commas: " + ", ".join(EVENT_TYPES)),
        ),
    ),
    Operation(
        method="get", path=f"{ONE}/output", id="output", about="Give what the program wrote, byte for byte.",
        tag="executions", media_type="text/plain", problems=(404, 416),
        details="While it runs: what there is. After the end one range is served (206).",
        parameters=(
            Parameter(name="stream", about="stdout by default.", choices=tuple(Stream)),
            Parameter(name="attempt", type="integer", about="Of a script that ran again; the last by default."),
            Parameter(name="node", about="A script node of a workflow, such as `build` or `each[3]/fetch`."),
            Parameter(name="Range", where="header", about="`bytes=from-to`"),
        ),
    ),
    Operation(
        method="get", path=f"{ONE}/nodes/{{node}}", id="node", about="Give what one node did and gave, whole.",
        tag="executions", answer="NodeView", problems=(404,),
        details="`node` may have slashes: `each[3]/fetch` is the node `fetch` of the fourth item of `each`. 404 also for a "
        "node that has not started yet.",
    ),
    _command("cancel", "Kill what runs, now."),
    _command("interrupt", "Let the step in flight finish and start nothing after it."),
    _command("pause", "Start no further step."),
    _command("resume", "Go on after a pause."),
    Operation(
        method="post", path=f"{ONE}/stdin", id="stdin", about="Give the program bytes to read.", tag="commands",
        role="runner", body="StdinBody", answer="SubmittedView", status=202, problems=(404, 409, 413, 415),
        details="503 `overloaded`: the program does not read and nothing was taken.",
    ),
    Operation(
        method="post", path=f"{ONE}/input", id="input", about="Answer what a node asks.", tag="commands", role="runner",
        body="InputBody", answer="SubmittedView", status=202, problems=(404, 409, 413, 415),
        details="409 `not_waiting`: no node asks anything.",
    ),
    Operation(
        method="post", path=f"{ONE}/retry", id="retry", about="Run it again, as a new execution.", tag="commands",
        role="runner", body="RetryBody", is_body_required=False, answer="SubmittedView", status=202, parameters=(KEY,),
        problems=(404, 409, 413),
        details="Only what has ended; the new execution's `attempt_of` names it. With `definition: latest` it gets again "
        "the input it was given; nodes whose fields, needs or input changed run again, and all that comes after them.",
    ),
    *DEFINITION_OPERATIONS,
    Operation(
        method="get", path=f"{ONE}/stream", id="stream", about="Follow one execution live, from any point.",
        tag="streams", media_type="text/event-stream", parameters=(*CURSORS, *REPLAY), problems=(404, 409, 429),
        details=SSE_DETAILS + REPLAY_DETAILS,
    ),
    Operation(
        method="get", path=f"{API}/stream", id="multi_stream", about="Follow several executions over one connection.",
        tag="streams", media_type="text/event-stream", problems=(404, 429),
        parameters=(Parameter(name="execution", about="Given once for each, at most 20.", is_required=True), *CURSORS),
        details=SSE_DETAILS + " Here an id is the seqs of all executions joined by `-`, in the order the URL names them.",
    ),
    Operation(
        method="get", path=f"{ONE}/ws", id="socket", about="Follow and steer one execution over a WebSocket.",
        tag="streams", is_socket=True, parameters=(*CURSORS[1:], *REPLAY), details=SOCKET_DETAILS + REPLAY_DETAILS,
    ),
    Operation(
        method="get", path=f"{API}/ws", id="multi_socket", about="Follow and steer any executions over one WebSocket.",
        tag="streams", is_socket=True, parameters=CURSORS[-1:],
        details=SOCKET_DETAILS + ' Begin with `{"type": "subscribe", "execution_id": …, "after": 0}`.',
    ),
    Operation(
        method="get", path=f"{API}/runtimes", id="runtimes", about="Name the languages and limits.", tag="executions",
        answer="RuntimesView",
    ),
    Operation(
        method="post", path=f"{API}/tokens", id="create_token", about="Make a token.", tag="access", role="admin",
        body="TokenBody", answer="TokenCreated", status=201, problems=(413, 415),
        details="The secret is in this answer and nowhere else.",
    ),
    Operation(
        method="get", path=f"{API}/tokens", id="list_tokens", about="List the workspace's tokens.", tag="access",
        role="admin", answer="TokenListView",
    ),
    Operation(
        method="delete", path=f"{API}/tokens/{{token_id}}", id="revoke_token", about="Make a token worthless.",
        tag="access", role="admin", status=204, problems=(404,), details="Sessions and tickets made from it end too.",
    ),
    Operation(
        method="get", path=f"{API}/secrets", id="list_secrets", about="List the workspace's secrets, without values.",
        tag="access", answer="SecretListView",
    ),
    Operation(
        method="put", path=SECRET, id="set_secret", about="Set a secret.", tag="access", role="admin", body="SecretBody",
        answer="SecretView", problems=(409, 413, 415),
        details="201 for a new one. It is kept encrypted and never shown again; what runs reads the new value from its next "
        "step on. 409: it comes from the server's settings, or the workspace has 1000 secrets.",
    ),
    Operation(
        method="get", path=SECRET, id="show_secret", about="Say who set a secret, and when.", tag="access",
        answer="SecretView", problems=(404,),
    ),
    Operation(
        method="delete", path=SECRET, id="delete_secret", about="Delete a secret.", tag="access", role="admin",
        status=204, problems=(404, 409), details="What runs and reads it later fails there.",
    ),
    Operation(
        method="post", path=f"{API}/tickets", id="make_ticket", about="Make a one-use credential for a URL.",
        tag="access", answer="TicketView", status=201, details="Good for one connection within 30 s: `?ticket=`.",
    ),
    Operation(
        method="post", path=f"{API}/session", id="open_session", about="Trade a token for the browser's cookie.",
        tag="access", role=None, body="LoginBody", answer="SessionView", problems=(401, 403, 413, 415),
        details="The cookie is HttpOnly and SameSite=Strict, and dies with its token.",
    ),
    Operation(
        method="get", path=f"{API}/session", id="show_session", about="Say who the credential stands for.", tag="access",
        answer="SessionView",
    ),
    Operation(
        method="delete", path=f"{API}/session", id="close_session", about="End the browser's session.", tag="access",
        role=None, status=204, problems=(403,),
    ),
    Operation(
        method="get", path="/healthz", id="healthz", about="Say that the process answers.", tag="operation", role=None,
        answer="Health",
    ),
    Operation(
        method="get", path="/readyz", id="readyz", about="Say whether new work is taken.", tag="operation", role=None,
        answer="Readiness", details="503 with the same body when a part is not well or the server is going down.",
    ),
    Operation(
        method="get", path="/metrics", id="metrics", about="Give the numbers for Prometheus.", tag="operation",
        media_type="text/plain", details="From this machine without a credential.",
    ),
    Operation(
        method="get", path="/openapi.json", id="openapi", about="Give this document.", tag="operation", role=None,
        media_type="application/json",
    ),
)  # fmt: skip
