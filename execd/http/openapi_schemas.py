"""What is sent and answered, as JSON Schema: made from the records themselves where there are any.

Requests are read field by field (`core.parsing`, `http.schemas`), so their shapes are declared here once more, for the
document only; a test holds them to the parsers.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from execd.core.definitions import MAX_VERSION
from execd.core.errors import FieldFault
from execd.core.event_types import EVENT_TYPES
from execd.core.masking import MIN_SECRET_CHARS
from execd.core.parsing import MAX_RETRIES
from execd.core.requests import KINDS
from execd.core.script_fields import MAX_ARGS, MAX_FILES, MAX_NAME_CHARS
from execd.core.secret_names import MAX_SECRET_CHARS, VALUE_WORDS
from execd.core.specs import InputFile, RequestedLimits
from execd.http.definitions import DefinitionDetail, DefinitionListView, SavedDefinition, ValidityView
from execd.http.flow_files import ExportBody, ExportedView, ImportBody, ImportedView
from execd.http.node_views import NodeView
from execd.http.openapi_flows import flow_schemas
from execd.http.openapi_flowsphere import FLOWSPHERE_SCHEMAS
from execd.http.openapi_jobs import JOB_RECORDS, ExternalBody
from execd.http.openapi_n8n_schemas import drawing_schemas
from execd.http.openapi_refs import REF, ref
from execd.http.openapi_workflows import UNTIL, workflow_schemas
from execd.http.schemas import EventsView, ExecutionDetail, ExecutionListView, SubmittedView
from execd.http.secrets import SecretListView, SecretView
from execd.http.tokens import RuntimesView, SessionView, TicketView, TokenCreated, TokenListView


class ScriptBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A script to run."""

    kind: Literal["script"]
    language: Annotated[str, Meta(description="The name or an alias of a runtime, see `/api/v1/runtimes`.")]
    source: Annotated[str, Meta(min_length=1, description="The program's text, without NUL.")]
    name: Annotated[str, Meta(max_length=MAX_NAME_CHARS)] | None = None
    args: Annotated[list[str], Meta(max_length=MAX_ARGS)] | None = None
    env: dict[str, str] | None = None
    secrets: Annotated[
        dict[str, str] | None,
        Meta(description="Variables whose values are secrets of the workspace: their names, by the variable's."),
    ] = None
    stdin: Annotated[str, Meta(description="Fixed text for stdin.")] | None = None
    stdin_open: Annotated[bool, Meta(description="Whether stdin stays open for what is sent while it runs.")] | None = (
        None
    )
    files: Annotated[list[InputFile], Meta(max_length=MAX_FILES)] | None = None
    limits: RequestedLimits | None = None
    priority: Annotated[int, Meta(ge=0, le=2, description="0 goes first; within the workspace only.")] | None = None
    retries: (
        Annotated[int, Meta(ge=0, le=MAX_RETRIES, description="After a lost sandbox, never after a failure.")] | None
    ) = None


class StdinBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Bytes for stdin: one of `text` and `base64`, or neither with `close`."""

    text: str | None = None
    base64: str | None = None
    close: Annotated[bool, Meta(description="Whether end-of-file follows.")] | None = None


class InputBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Answers to what a node asks."""

    prompt_id: Annotated[str, Meta(description="As `input_required` has it.")]
    values: Annotated[
        dict[str, str] | None, Meta(description="Answers by key; a default is taken for what is left out.")
    ] = None


class RetryBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, rename={"begin": "from"}):
    """Where to begin again."""

    begin: (
        Annotated[str, Meta(description="`start`, `failed` or a node; what comes before it keeps what it gave.")] | None
    ) = None
    definition: (
        Annotated[
            Literal["same", "latest"],
            Meta(
                description="`latest`: as the newest version of its definition has it. A node that changed runs again."
            ),
        ]
        | None
    ) = None
    until: Annotated[str, Meta(description=UNTIL)] | None = None


class RunBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A saved definition to run."""

    definition: Annotated[str, Meta(description="Its id or name.")]
    version: Annotated[int, Meta(ge=1, le=MAX_VERSION, description="The newest if left out.")] | None = None
    input: Annotated[
        Any,
        Meta(description="Replaces a workflow's `input`; a script whose stdin is not saved reads it as JSON there."),
    ] = None
    name: Annotated[str, Meta(max_length=MAX_NAME_CHARS)] | None = None
    priority: Annotated[int, Meta(ge=0, le=2)] | None = None
    until: Annotated[str, Meta(description=UNTIL)] | None = None


class TokenBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A token to make."""

    user: str | None = None
    role: Literal["viewer", "runner", "admin"] | None = None
    workspace: Annotated[str, Meta(description="The caller's own.")] | None = None
    expires_in_s: Annotated[float, Meta(ge=1)] | None = None


class SecretBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A secret to keep."""

    value: Annotated[str, Meta(min_length=MIN_SECRET_CHARS, max_length=MAX_SECRET_CHARS, description=VALUE_WORDS)]


class LoginBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A bearer token to trade for the session cookie."""

    token: str


class EmptyBody(msgspec.Struct, forbid_unknown_fields=True):
    """Nothing, or an empty object."""


class Problem(msgspec.Struct, kw_only=True):
    """An error (RFC 9457)."""

    type: Annotated[str, Meta(description="`urn:execd:problem:` and the code.")]
    title: str
    status: int
    code: Annotated[str, Meta(description="Stable: what programs match on.")]
    detail: Annotated[str, Meta(description="For people: what was wrong and what would be accepted.")]
    retryable: Annotated[bool, Meta(description="Whether the same request may succeed later, unchanged.")]
    instance: str = ""
    errors: Annotated[list[FieldFault], Meta(description="Every fault of the request, all at once.")] = []


class Health(msgspec.Struct):
    """The process answers."""

    status: Literal["ok"]
    version: str


class Readiness(msgspec.Struct):
    """How each part is."""

    status: Literal["ready", "not_ready"]
    parts: Annotated[dict[str, str], Meta(description="`ok`, or what is wrong with it.")]


class Evicted(msgspec.Struct):
    """A stream ended early; nothing is lost, resume from the block's id."""

    type: Literal["evicted"]
    reason: Literal["slow", "draining", "restarted", "lifetime", "credential_expired", "credential_revoked"]
    last_seq: int | list[int]


class ClientMessage(msgspec.Struct, kw_only=True):
    """What a client may send over a WebSocket."""

    type: Literal[
        "subscribe", "unsubscribe", "cancel", "interrupt", "pause", "resume", "stdin", "input", "ping", "pong"
    ]
    id: Annotated[str | int | None, Meta(description="Comes back in the answer.")] = None
    execution_id: Annotated[str | None, Meta(description="Left out on a socket of one execution.")] = None
    after: Annotated[int | None, Meta(description="Of `subscribe`: the last seq the client has.")] = None
    text: str | None = None
    base64: str | None = None
    close: bool | None = None
    prompt_id: Annotated[str | None, Meta(description="Of `input`.")] = None
    values: Annotated[dict[str, str] | None, Meta(description="Of `input`.")] = None


class ServerMessage(msgspec.Struct, kw_only=True):
    """What the server sends over a WebSocket besides events."""

    type: Annotated[
        Literal["ack", "error", "ping", "pong"], Meta(description="An error has the fields of a Problem too.")
    ]
    id: Annotated[str | int | None, Meta(description="Of the message that is answered.")] = None
    execution_id: str | None = None
    head_seq: Annotated[int | None, Meta(description="Of the ack of `subscribe`: the last event there is.")] = None
    is_complete: Annotated[bool | None, Meta(description="Of the ack of `subscribe`: nothing will follow.")] = None


ANSWERS = (ExecutionDetail, ExecutionListView, SubmittedView, EventsView, TokenCreated, TokenListView, TicketView)
OTHERS = (
    NodeView,
    ImportedView,
    ExportedView,
    SessionView,
    RuntimesView,
    Health,
    Readiness,
    Problem,
    Evicted,
    ClientMessage,
    ServerMessage,
)
FILES = (ImportedView, ExportedView)
SAVED = (DefinitionDetail, SavedDefinition, DefinitionListView, ValidityView, SecretView, SecretListView)
BODIES = (
    ScriptBody,
    ExternalBody,
    RunBody,
    StdinBody,
    InputBody,
    RetryBody,
    TokenBody,
    SecretBody,
    LoginBody,
    EmptyBody,
    ImportBody,
    ExportBody,
)


CHANGED_VERSION = {
    "type": "integer",
    "minimum": 1,
    "description": "The version that is changed, where no If-Match says it.",
}


def make_components() -> dict[str, Any]:
    """Give every schema, by name."""
    records = (*BODIES, *JOB_RECORDS, *ANSWERS, *FILES, *SAVED, *OTHERS, *EVENT_TYPES.values())
    _, components = msgspec.json.schema_components(records, ref_template=REF)
    for name, record in EVENT_TYPES.items():
        components[f"{record.__name__}Event"] = _event_schema(name, record.__name__)
    components |= workflow_schemas(components["ScriptBody"]) | drawing_schemas()
    components |= flow_schemas(components["ScriptBody"]) | FLOWSPHERE_SCHEMAS
    components["SpecBody"] = _any_of_kind("Body")
    components["ExecutionBody"] = {"description": "What to run.", "anyOf": [ref("SpecBody"), ref("RunBody")]}
    for kind in KINDS:
        body = components[f"{kind.title()}Body"]
        # A priority and `until` are of a run; a definition's priority is taken and not kept.
        body = body | {"properties": {name: shape for name, shape in body["properties"].items() if name != "until"}}
        components[f"{kind.title()}Definition"] = body | {"required": [*body["required"], "name"]}
        components[f"{kind.title()}Change"] = body | {"properties": body["properties"] | {"version": CHANGED_VERSION}}
    components["DefinitionBody"] = _any_of_kind("Definition")
    components["DefinitionChange"] = _any_of_kind("Change")
    components["Event"] = _any_event()
    components["EventsView"]["properties"]["items"]["items"] = ref("Event")
    return components


def _any_of_kind(ending: str) -> dict[str, Any]:
    bodies = {kind: f"{kind.title()}{ending}" for kind in KINDS}
    return {
        "description": "A script, a workflow, a flow or the work of an engine elsewhere.",
        "oneOf": [ref(name) for name in bodies.values()],
        "discriminator": {
            "propertyName": "kind",
            "mapping": {kind: REF.format(name=name) for kind, name in bodies.items()},
        },
    }


def _event_schema(type_name: str, record_name: str) -> dict[str, Any]:
    return {
        "type": "object",
        "title": f"{type_name} event",
        "required": ["seq", "type", "execution_id", "at", "data"],
        "properties": {
            "seq": {"type": "integer", "minimum": 1},
            "type": {"const": type_name},
            "execution_id": {"type": "string"},
            "at": {"type": "string", "format": "date-time"},
            "node": {"type": "string"},
            "attempt": {"type": "integer", "minimum": 1},
            "data": ref(record_name),
        },
    }


def _any_event() -> dict[str, Any]:
    named = {name: f"{record.__name__}Event" for name, record in EVENT_TYPES.items()}
    return {
        "description": "One numbered entry of a journal: seq is 1, 2, 3 … without gaps, the same for everyone, for ever.",
        "oneOf": [ref(name) for name in named.values()],
        "discriminator": {
            "propertyName": "type",
            "mapping": {key: REF.format(name=name) for key, name in named.items()},
        },
    }
