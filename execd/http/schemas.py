"""From bytes to checked records, and from records to answers; with `queries`, the only parser of the doors.

Parse, do not validate: after this module nobody checks a request's fields again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from quart import Request

from execd.core.again import FAILED, START
from execd.core.codec import StoredEvent, format_time
from execd.core.definitions import hide_env
from execd.core.errors import FieldFault, InvalidRequestError, PayloadTooLargeError
from execd.core.event_parts import Failure
from execd.core.events import ExecutionId, Status
from execd.core.fields import Faults, Fields, describe, is_nested_deeper, summarise, text_fault
from execd.core.job_keys import job_id_of, make_callback_token
from execd.core.requests import KINDS, ExecutionRequest, parse_request
from execd.core.script_fields import ScriptTools, decode_base64
from execd.http.config import HttpConfig
from execd.http.problems import MediaTypeError, UnsupportedKindError
from execd.ports import ExecutionRecord, ProvideInput, SendStdin

API = "/api/v1"
MAX_STDIN_BYTES = 1024 * 1024
"""What a pod's stdin buffer holds."""
MAX_KEY_CHARS = 255
MAX_JSON_DEPTH = 500
"""Nesting: half of what Python's stack holds, because what is read here is written again from deeper in the stack."""
MAX_QUERY_CHARS = 512
MAX_ANSWER_CHARS = 64 * 1024


# --- bodies


async def read_json(request: Request, config: HttpConfig) -> object:
    """Read a request's body as JSON.

    Raises:
        MediaTypeError: it says that it is something else.
        PayloadTooLargeError: it is over the limit; not all of it was read.
        InvalidRequestError: it is no JSON that a program could hold.
    """
    check_length(request, config)
    media_type = (request.mimetype or "").lower()
    if media_type not in {"application/json", ""} and not media_type.endswith("+json"):
        fault = FieldFault(path="Content-Type", message=f"is {media_type[:64]}", accepted="application/json")
        raise MediaTypeError("the body is not JSON by its Content-Type; accepted: application/json", faults=(fault,))
    body = await request.get_data(cache=False, as_text=False, parse_form_data=False)
    return decode_json(body)


async def read_optional_json(request: Request, config: HttpConfig) -> object:
    """Read a body that may be left out; `{}` then."""
    check_length(request, config)
    body = await request.get_data(cache=True, as_text=False, parse_form_data=False)
    return decode_json(body) if body.strip() else {}


def check_length(request: Request, config: HttpConfig) -> None:
    """Refuse a body by the length it announces. Raises PayloadTooLargeError."""
    if request.content_length is not None and request.content_length > config.body_limit_bytes:
        raise PayloadTooLargeError(
            f"the body has {request.content_length} bytes; accepted: at most {config.body_limit_bytes}"
        )


def decode_json(body: bytes | str) -> object:
    """Decode JSON of any shape. Raises InvalidRequestError, whatever the bytes are."""
    if not body.strip():
        raise _no_json("is empty")
    try:
        decoded = msgspec.json.decode(body)
    except RecursionError:
        raise _no_json("is nested too deeply") from None
    except UnicodeDecodeError as error:
        raise _no_json(f"is not UTF-8 at byte {error.start}") from None
    except (msgspec.DecodeError, ValueError) as error:
        words = str(error).encode(errors="replace").decode()[:100]
        raise _no_json(f"cannot be read: {words.removeprefix('JSON is ')}") from None
    # So much nesting takes two characters a level; most bodies are shorter and need no look.
    if len(body) > 2 * MAX_JSON_DEPTH and is_nested_deeper(decoded, MAX_JSON_DEPTH):
        raise _no_json("is nested too deeply")
    return decoded


def _no_json(message: str) -> InvalidRequestError:
    fault = FieldFault(path="", message=message, accepted="JSON in UTF-8")
    return InvalidRequestError(f"the body {message}; accepted: JSON in UTF-8", faults=(fault,))


def asks_for_definition(body: object) -> bool:
    """Whether a body of `POST /executions` names a saved definition instead of saying what to run."""
    return isinstance(body, Mapping) and "definition" in body and body.get("kind") is None


def parse_submission(body: object, tools: ScriptTools) -> ExecutionRequest:
    """Read the body of `POST /executions`.

    Raises:
        UnsupportedKindError: a kind this version does not run.
        InvalidRequestError: everything else that is wrong, all at once.
    """
    missing = _check_kind(body) if isinstance(body, Mapping) else ()
    try:
        request = parse_request(body, tools)
    except InvalidRequestError as error:
        faults = (*missing, *error.faults)
        raise InvalidRequestError(summarise(faults), faults=faults) from None
    if missing:
        raise InvalidRequestError(summarise(missing), faults=missing)
    return request


def _check_kind(body: Mapping[str, object]) -> tuple[FieldFault, ...]:
    """Refuse kinds there are not; a missing one is told together with whatever else is wrong."""
    kind = body.get("kind")
    accepted = ", ".join(KINDS)
    if isinstance(kind, str) and kind not in KINDS:
        fault = FieldFault(path="kind", message=f"{kind[:64]!r} is not known", accepted=accepted)
        raise UnsupportedKindError(f"kind {kind[:64]!r} is not known; accepted: {accepted}", faults=(fault,))
    return (FieldFault(path="kind", message="is missing", accepted=accepted),) if kind is None else ()


def parse_idempotency_key(header: str | None) -> str | None:
    """Check the header `Idempotency-Key`. Raises InvalidRequestError."""
    if header is None:
        return None
    if not 0 < len(header) <= MAX_KEY_CHARS or not all("!" <= char <= "~" for char in header):
        accepted = f"1 to {MAX_KEY_CHARS} visible ASCII characters"
        fault = FieldFault(path="Idempotency-Key", message="is no key", accepted=accepted)
        raise InvalidRequestError(f"Idempotency-Key is no key; accepted: {accepted}", faults=(fault,))
    return header


def parse_empty(body: object) -> None:
    """Check the body of a command that takes no fields. Raises InvalidRequestError."""
    faults = Faults()
    Fields(body, faults, known=())
    faults.raise_if_any()


def parse_stdin(body: object, *, known: tuple[str, ...] = ("text", "base64", "close")) -> SendStdin:
    """Read `{text | base64, close}`. Raises InvalidRequestError."""
    faults = Faults()
    fields = Fields(body, faults, known=known)
    text = fields.text("text", max_chars=MAX_STDIN_BYTES, accepted="text")
    encoded = fields.text("base64", max_chars=2 * MAX_STDIN_BYTES, accepted="bytes in base64")
    close = fields.flag("close", default=False)
    data = b"" if text is None else text.encode()
    if text is not None and encoded is not None:
        faults.add("base64", "stands beside text", "one of text, base64")
    elif encoded is not None:
        decoded = decode_base64(encoded)
        if decoded is None:
            faults.add("base64", "is not base64", "standard base64 with padding (RFC 4648, section 4)")
        data = decoded or b""
    elif text is None and not close and not faults.found:
        faults.add("", "has nothing to send", "text, base64, or close: true")
    if len(data) > MAX_STDIN_BYTES:
        faults.add(
            "text" if text is not None else "base64", f"is {len(data)} bytes", f"at most {MAX_STDIN_BYTES} bytes"
        )
    faults.raise_if_any()
    return SendStdin(data=data, close=close)


class RetryRequest(msgspec.Struct, frozen=True):
    """How to run an execution again."""

    begin: str
    """`start`, `failed` or a node, see `check_begin`."""
    is_latest: bool
    """Whether to take the newest version of its definition."""
    until: str | None = None
    """Run only this node and what it needs."""


def parse_retry(body: object) -> RetryRequest:
    """Read `{from: start | failed | <node>, definition: same | latest, until: <node>}`. Raises InvalidRequestError."""
    faults = Faults()
    fields = Fields(body, faults, known=("from", "definition", "until"))
    begin = fields.text("from", max_chars=MAX_QUERY_CHARS, accepted="start, failed or a node")
    definition = fields.choice("definition", ("same", "latest"), default="same")
    until = fields.text("until", max_chars=MAX_QUERY_CHARS, accepted="a node")
    faults.raise_if_any()
    return RetryRequest(START if begin is None else begin, definition == "latest", until)


def check_begin(begin: str, nodes: Sequence[str]) -> None:
    """Check where to begin against the nodes there are. Raises InvalidRequestError."""
    faults = Faults()
    Fields({"from": begin}, faults, known=("from",)).choice("from", (START, FAILED, *nodes), default=START)
    faults.raise_if_any()


def parse_input(body: object, *, by: str) -> ProvideInput:
    """Read `{prompt_id, values}`. Raises InvalidRequestError."""
    faults = Faults()
    fields = Fields(body, faults, known=("prompt_id", "values"))
    prompt_id = fields.required_text("prompt_id", max_chars=MAX_QUERY_CHARS, accepted="the id in input_required")
    values: dict[str, str] = {}
    for key, value in fields.mapping("values", max_count=100, accepted="an object of answers by key").items():
        fault = text_fault(value, max_chars=MAX_ANSWER_CHARS) if isinstance(value, str) else describe(value)
        if fault is not None:
            shown = key[:64].encode(errors="replace").decode()
            faults.add(f"values.{shown}", fault, f"text of at most {MAX_ANSWER_CHARS} characters")
        else:
            values[key] = str(value)
    faults.raise_if_any()
    return ProvideInput(by=by, prompt_id=prompt_id, values=values)


# --- answers


class ExecutionView(msgspec.Struct, frozen=True, kw_only=True):
    """One execution as it is shown."""

    id: str
    kind: str
    name: str
    workspace: str
    user: str
    status: Status
    priority: int
    created_at: str
    started_at: str | None
    finished_at: str | None
    error: Failure | None
    attempt_of: str | None
    definition: str | None
    """The saved definition it was made of, which may have changed or gone since."""
    definition_version: int | None
    head_seq: int
    """The number of the last stored event."""
    links: dict[str, str]


class ExecutionDetail(ExecutionView, frozen=True, kw_only=True):
    """One execution with what was asked of it."""

    spec: dict[str, Any]
    """As it was checked and completed; values of `env` are hidden."""


class ExecutionListView(msgspec.Struct, frozen=True):
    """Some executions, newest first."""

    items: tuple[ExecutionView, ...]
    next_cursor: str | None


class SubmittedView(msgspec.Struct, frozen=True):
    """It is stored and will end in a final status, whatever crashes."""

    id: str
    status: Status
    links: dict[str, str]


class JobView(msgspec.Struct, frozen=True):
    """What an engine elsewhere is given, to report with (docs/linkflow.md). Whoever has it can end the execution."""

    job_id: str
    callback_token: str
    progress: str
    """Where it reports how far it is."""
    callback: str
    """Where it reports the end."""


class ExternalSubmittedView(SubmittedView, frozen=True):
    """It is stored, and an engine elsewhere may begin."""

    job: JobView


class ExternalDetail(ExecutionDetail, frozen=True, kw_only=True):
    """One execution of an engine elsewhere, for those who may run it."""

    job: JobView


class EventsView(msgspec.Struct, frozen=True):
    """A piece of a journal."""

    items: tuple[msgspec.Raw, ...]
    next_after: int
    """What to ask for next; nothing more is there yet when `items` is empty."""
    head_seq: int


def job_of(execution_id: ExecutionId, *, secret: str) -> JobView:
    """Give an engine elsewhere what it reports with."""
    return JobView(
        job_id=job_id_of(execution_id),
        callback_token=make_callback_token(secret, execution_id),
        progress=f"{API}/jobs/progress",
        callback=f"{API}/jobs/callback",
    )


def links_of(execution_id: str) -> dict[str, str]:
    """Name everything there is to do with an execution."""
    base = f"{API}/executions/{execution_id}"
    parts = (
        "stream",
        "ws",
        "result",
        "events",
        "output",
        "cancel",
        "interrupt",
        "pause",
        "resume",
        "stdin",
        "input",
        "retry",
    )
    return {"self": base} | {part: f"{base}/{part}" for part in parts}


def view_of(record: ExecutionRecord) -> ExecutionView:
    """Show an execution without its spec."""
    return ExecutionView(**_shown_fields(record))


def detail_of(record: ExecutionRecord) -> ExecutionDetail:
    """Show an execution with its spec."""
    return ExecutionDetail(**_shown_fields(record), spec=hide_env(msgspec.json.decode(record.spec)))


def detail_with_job(record: ExecutionRecord, *, secret: str) -> ExternalDetail:
    """Show an execution of an engine elsewhere with what that reports with."""
    detail = msgspec.structs.asdict(detail_of(record))
    return ExternalDetail(**detail, job=job_of(record.id, secret=secret))


def _shown_fields(record: ExecutionRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "kind": record.kind,
        "name": record.name,
        "workspace": record.workspace,
        "user": record.user,
        "status": record.status,
        "priority": record.priority,
        "created_at": format_time(record.created_at),
        "started_at": None if record.started_at is None else format_time(record.started_at),
        "finished_at": None if record.finished_at is None else format_time(record.finished_at),
        "error": record.error,
        "attempt_of": record.attempt_of,
        "definition": record.definition,
        "definition_version": record.definition_version,
        "head_seq": record.head_seq,
        "links": links_of(record.id),
    }


def events_view(events: tuple[StoredEvent, ...], *, after: int, head_seq: int) -> EventsView:
    """Show events as the bytes they are stored in."""
    return EventsView(
        items=tuple(msgspec.Raw(event.body) for event in events),
        next_after=events[-1].seq if events else after,
        head_seq=head_seq,
    )
