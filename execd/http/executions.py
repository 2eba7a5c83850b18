"""The routes of executions that answer at once: submit, list, look, result, events, and the commands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
from quart import Quart, Response, request

from execd.core.again import READ_TYPES, START, nodes_of, spec_from, spec_until
from execd.core.codec import StoredEvent, decode_event
from execd.core.definitions import RunRequest, digest_of_run, parse_run
from execd.core.errors import NotFoundError
from execd.core.event_types import RESULT_STORED
from execd.core.events import (
    DefinitionId,
    Event,
    ExecutionId,
    NodeCompleted,
)
from execd.core.paths import ROOT, scope_of
from execd.core.requests import ExecutionRequest, digest_of
from execd.core.workflows import ExecutionSpec, decode_spec, kind_of
from execd.http.access import Identity, Role
from execd.http.answers import JSON_TYPE, json_response
from execd.http.beside import read_beside
from execd.http.credentials import require
from execd.http.documents import read_document
from execd.http.front import Front
from execd.http.problems import NotFinishedError, UnsupportedKindError
from execd.http.queries import parse_events_query, parse_list_query
from execd.http.saved_runs import digest_of_retry, read_latest
from execd.http.schemas import (
    API,
    ExecutionListView,
    ExecutionView,
    ExternalSubmittedView,
    RetryRequest,
    SubmittedView,
    asks_for_definition,
    check_begin,
    detail_of,
    detail_with_job,
    events_view,
    job_of,
    links_of,
    parse_empty,
    parse_idempotency_key,
    parse_input,
    parse_retry,
    parse_stdin,
    parse_submission,
    read_json,
    read_optional_json,
    view_of,
)
from execd.ports import (
    Accepted,
    Cancel,
    Command,
    ExecutionRecord,
    Interrupt,
    Pause,
    Resume,
    Submission,
)

EVENTS_PAGE_BYTES = 1024 * 1024
"""Of one answer of `/events`; a page ends there even if fewer events than `limit` fit."""

EXTERNAL = "external"
"""The kind of what an engine elsewhere does."""

COMMANDS: dict[str, Callable[[str], Command]] = {
    "cancel": lambda user: Cancel(by=user),
    "interrupt": lambda user: Interrupt(by=user),
    "pause": lambda user: Pause(by=user),
    "resume": lambda user: Resume(by=user),
}
"""Commands without fields, by their name in a path or message."""


async def find_visible(front: Front, identity: Identity, execution_id: str) -> ExecutionRecord:
    """Find an execution of the caller's workspace; any other one is as unknown as one that does not exist.

    Raises:
        NotFoundError: it is not there for this caller.
    """
    record = await front.engine.find(ExecutionId(execution_id)) if "\0" not in execution_id else None
    if record is None or record.workspace != identity.workspace:
        shown = execution_id[:64].encode(errors="replace").decode()
        raise NotFoundError(f"there is no execution {shown}")
    return record


@dataclass(frozen=True, slots=True, kw_only=True)
class _Origin:
    """Where an execution comes from, besides who asked."""

    key: str | None
    request_sha256: str | None
    attempt_of: ExecutionId | None = None
    definition: DefinitionId | None = None
    definition_version: int | None = None


class ExecutionRoutes:
    """Routes under `/api/v1/executions`."""

    def __init__(self, front: Front) -> None:
        self._front = front

    def register(self, app: Quart) -> None:
        base = f"{API}/executions"
        one = f"{base}/<execution_id>"
        app.add_url_rule(base, "submit", self.submit, methods=["POST"])
        app.add_url_rule(base, "list_executions", self.list_executions, methods=["GET"])
        app.add_url_rule(one, "show", self.show, methods=["GET"])
        app.add_url_rule(f"{one}/result", "result", self.result, methods=["GET"])
        app.add_url_rule(f"{one}/events", "events", self.events, methods=["GET"])
        for name in COMMANDS:
            app.add_url_rule(
                f"{one}/{name}", f"command_{name}", self.command, methods=["POST"], defaults={"command_name": name}
            )
        app.add_url_rule(f"{one}/stdin", "stdin", self.stdin, methods=["POST"])
        app.add_url_rule(f"{one}/input", "input", self.input, methods=["POST"])
        app.add_url_rule(f"{one}/retry", "retry", self.retry, methods=["POST"])

    async def submit(self) -> Response:
        identity = await require(self._front, request, Role.RUNNER)
        key = parse_idempotency_key(request.headers.get("Idempotency-Key"))
        body = await read_document(request, self._front.config)
        if asks_for_definition(body):
            return await self._run_saved(parse_run(body), identity, key=key)
        asked = await read_beside(lambda: parse_submission(body, self._front.script_tools))
        digest = None if key is None else digest_of(asked)
        return await self._submit(asked, identity, _Origin(key=key, request_sha256=digest))

    async def list_executions(self) -> Response:
        identity = await require(self._front, request, Role.VIEWER)
        query = parse_list_query(request, identity.workspace)
        views: list[ExecutionView] = []
        cursor = query.cursor
        while True:
            left = query.limit - len(views)
            page = await self._front.engine.store.list_executions(query.which, cursor=cursor, limit=left)
            # Only what is shown is kept: a page ends early where what was asked for is long.
            views.extend(map(view_of, page.items))
            cursor = page.next_cursor
            if cursor is None or len(views) == query.limit:
                return json_response(ExecutionListView(tuple(views), cursor))

    async def show(self, execution_id: str) -> Response:
        identity = await require(self._front, request, Role.VIEWER)
        record = await find_visible(self._front, identity, execution_id)
        secret = self._front.config.jobs_secret
        if record.kind == EXTERNAL and secret and identity.role >= Role.RUNNER:
            return json_response(detail_with_job(record, secret=secret))
        return json_response(detail_of(record))

    async def result(self, execution_id: str) -> Response:
        record = await self._find(execution_id, Role.VIEWER)
        if not record.status.is_final:
            text = (
                f"the execution is {record.status}; follow {links_of(record.id)['stream']} to its result_stored event"
            )
            raise NotFinishedError(text)
        stored = await self._front.engine.store.read_events(
            record.id, after_seq=record.head_seq - 1, limit_bytes=1, types=frozenset({RESULT_STORED})
        )
        if not stored:
            raise NotFoundError(f"the journal of {record.id} has been deleted")
        return Response(_data_of(stored[0]), content_type=JSON_TYPE)

    async def events(self, execution_id: str) -> Response:
        record = await self._find(execution_id, Role.VIEWER)
        query = parse_events_query(request)
        stored = await self._front.engine.store.read_events(
            record.id, after_seq=query.after, limit_bytes=EVENTS_PAGE_BYTES, types=query.types
        )
        head_seq = max(record.head_seq, stored[-1].seq if stored else 0)
        return json_response(events_view(tuple(stored[: query.limit]), after=query.after, head_seq=head_seq))

    async def command(self, execution_id: str, command_name: str) -> Response:
        identity = await require(self._front, request, Role.RUNNER)
        record = await find_visible(self._front, identity, execution_id)
        parse_empty(await read_optional_json(request, self._front.config))
        await self._front.engine.command(record.id, COMMANDS[command_name](identity.user))
        return _accepted(record)

    async def stdin(self, execution_id: str) -> Response:
        record = await self._find(execution_id, Role.RUNNER)
        command = parse_stdin(await read_json(request, self._front.config))
        await self._front.engine.command(record.id, command)
        return _accepted(record)

    async def input(self, execution_id: str) -> Response:
        identity = await require(self._front, request, Role.RUNNER)
        record = await find_visible(self._front, identity, execution_id)
        command = parse_input(await read_json(request, self._front.config), by=identity.user)
        await self._front.engine.command(record.id, command)
        return _accepted(record)

    async def retry(self, execution_id: str) -> Response:
        identity = await require(self._front, request, Role.RUNNER)
        key = parse_idempotency_key(request.headers.get("Idempotency-Key"))
        record = await find_visible(self._front, identity, execution_id)
        asked = parse_retry(await read_optional_json(request, self._front.config))
        if not record.status.is_final:
            raise NotFinishedError(f"the execution is {record.status}; only one that has ended can be retried")
        if asked.is_latest:
            return await self._retry_latest(record, asked, identity, key=key)
        spec = decode_spec(record.spec, kind=record.kind)
        again = await self._begin_again(record, spec, asked)
        origin = _Origin(
            key=key,
            request_sha256=None if key is None else digest_of(again, salt=f"{record.id}/{asked.begin}"),
            attempt_of=record.id,
            definition=record.definition,
            definition_version=record.definition_version,
        )
        return await self._submit(again, identity, origin)

    async def _retry_latest(
        self, record: ExecutionRecord, asked: RetryRequest, identity: Identity, *, key: str | None
    ) -> Response:
        """Run it again with the newest version of its definition. A repeated request is the one it was, whatever has been
        saved or deleted since."""
        digest = None if key is None else digest_of_retry(record.id, asked.begin, asked.until)
        repeated = await self._find_repeated(identity, key, digest)
        if repeated is not None:
            return repeated
        newest, spec = await read_latest(self._front, identity, record)
        again = await self._begin_again(record, spec, asked, former=decode_spec(record.spec, kind=record.kind))
        origin = _Origin(
            key=key,
            request_sha256=digest,
            attempt_of=record.id,
            definition=newest.id,
            definition_version=newest.version,
        )
        return await self._submit(again, identity, origin)

    async def _begin_again(
        self, record: ExecutionRecord, spec: ExecutionSpec, asked: RetryRequest, *, former: ExecutionSpec | None = None
    ) -> ExecutionRequest:
        check_begin(asked.begin, nodes_of(spec))
        journal = await self._read_journal(record) if asked.begin != START else ()
        again = spec_from(spec, asked.begin, journal, former=former)
        again = spec_until(again, asked.until, begin=asked.begin)
        return ExecutionRequest(name=record.name, spec=again, priority=record.priority)

    async def _run_saved(self, asked: RunRequest, identity: Identity, *, key: str | None) -> Response:
        digest = None if key is None else digest_of_run(asked)
        repeated = await self._find_repeated(identity, key, digest)
        if repeated is not None:
            return repeated
        found, run = await self._front.library.read_run(identity.workspace, asked)
        origin = _Origin(key=key, request_sha256=digest, definition=found.id, definition_version=found.version)
        return await self._submit(run, identity, origin)

    async def _find_repeated(self, identity: Identity, key: str | None, digest: str | None) -> Response | None:
        """Answer a repeated request by what it made, before looking for what may be gone; the engine refuses other ones."""
        if key is None:
            return None
        earlier = await self._front.engine.store.find_by_idempotency_key(identity.workspace, key)
        if earlier is None or earlier.request_sha256 != digest:
            return None
        return self._submitted(Accepted(id=earlier.id, status=earlier.status, is_repeat=True), earlier.kind)

    async def _read_journal(self, record: ExecutionRecord) -> Sequence[Event]:
        """Read what the nodes of an ended execution told; their output streams are left out, and what nodes in bodies gave."""
        events: list[Event] = []
        after = 0
        while page := await self._front.engine.store.read_events(
            record.id, after_seq=after, limit_bytes=EVENTS_PAGE_BYTES, types=READ_TYPES
        ):
            told = (decode_event(stored.body) for stored in page)
            events.extend(event for event in told if not (isinstance(event.data, NodeCompleted) and _is_in_body(event)))
            after = page[-1].seq
        return events

    async def _submit(self, asked: ExecutionRequest, identity: Identity, origin: _Origin) -> Response:
        if kind_of(asked.spec) == EXTERNAL and not self._front.config.jobs_secret:
            raise UnsupportedKindError("kind 'external' needs the setting jobs.secret, which this server does not have")
        accepted = await self._front.engine.submit(
            Submission(
                workspace=identity.workspace,
                user=identity.user,
                name=asked.name,
                spec=asked.spec,
                priority=asked.priority,
                idempotency_key=origin.key,
                request_sha256=origin.request_sha256,
                attempt_of=origin.attempt_of,
                definition=origin.definition,
                definition_version=origin.definition_version,
            )
        )
        return self._submitted(accepted, kind_of(asked.spec))

    def _submitted(self, accepted: Accepted, kind: str) -> Response:
        links = links_of(accepted.id)
        headers = {"Location": links["self"]}
        if accepted.is_repeat:
            headers["Idempotent-Replayed"] = "true"
        view = SubmittedView(accepted.id, accepted.status, links)
        secret = self._front.config.jobs_secret
        if kind == EXTERNAL and secret:
            job = job_of(accepted.id, secret=secret)
            view = ExternalSubmittedView(accepted.id, accepted.status, links, job)
        return json_response(view, status=202, headers=headers)

    async def _find(self, execution_id: str, role: Role) -> ExecutionRecord:
        return await find_visible(self._front, await require(self._front, request, role), execution_id)


def _is_in_body(event: Event) -> bool:
    return event.node is not None and scope_of(event.node) != ROOT


def _accepted(record: ExecutionRecord) -> Response:
    """A command was handed on; `status` is where the execution stood before it."""
    return json_response(SubmittedView(record.id, record.status, links_of(record.id)), status=202)


class _DataOnly(msgspec.Struct):
    data: msgspec.Raw


_data_decoder = msgspec.json.Decoder(_DataOnly)


def _data_of(event: StoredEvent) -> bytes:
    return bytes(_data_decoder.decode(event.body).data)
