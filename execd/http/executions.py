"""The routes of executions that answer at once: submit, list, look, result, events, and the commands."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
from quart import Quart, Response, request

from execd.core.again import nodes_of, spec_from
from execd.core.codec import StoredEvent, decode_event
from execd.core.errors import NotFoundError
from execd.core.event_types import RESULT_STORED, TYPE_NAMES
from execd.core.events import (
    Event,
    ExecutionId,
    NodeCompleted,
    NodeFailed,
)
from execd.core.requests import ExecutionRequest, digest_of
from execd.core.workflows import decode_spec
from execd.http.access import Identity, Role
from execd.http.answers import JSON_TYPE, json_response
from execd.http.credentials import require
from execd.http.front import Front
from execd.http.problems import NotFinishedError
from execd.http.queries import parse_events_query, parse_list_query
from execd.http.schemas import (
    API,
    ExecutionListView,
    SubmittedView,
    detail_of,
    events_view,
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

NODE_ENDS = frozenset({TYPE_NAMES[NodeCompleted], TYPE_NAMES[NodeFailed]})

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
        body = await read_json(request, self._front.config)
        asked = parse_submission(body, runtimes=self._front.runtimes, config=self._front.config)
        return await self._submit(asked, identity, key=key)

    async def list_executions(self) -> Response:
        identity = await require(self._front, request, Role.VIEWER)
        query = parse_list_query(request, identity.workspace)
        page = await self._front.engine.store.list_executions(query.which, cursor=query.cursor, limit=query.limit)
        return json_response(ExecutionListView(tuple(map(view_of, page.items)), page.next_cursor))

    async def show(self, execution_id: str) -> Response:
        return json_response(detail_of(await self._find(execution_id, Role.VIEWER)))

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
        spec = decode_spec(record.spec, kind=record.kind)
        begin = parse_retry(await read_optional_json(request, self._front.config), nodes=nodes_of(spec))
        if not record.status.is_final:
            raise NotFinishedError(f"the execution is {record.status}; only one that has ended can be retried")
        journal = await self._read_journal(record) if begin != "start" else ()
        again = spec_from(spec, begin, journal)
        asked = ExecutionRequest(name=record.name, spec=again, priority=record.priority)
        return await self._submit(asked, identity, key=key, attempt_of=record.id, begin=begin)

    async def _read_journal(self, record: ExecutionRecord) -> Sequence[Event]:
        """Read what the nodes of an ended execution told; their output streams are left out."""
        events: list[Event] = []
        after = 0
        while page := await self._front.engine.store.read_events(
            record.id, after_seq=after, limit_bytes=EVENTS_PAGE_BYTES, types=NODE_ENDS
        ):
            events.extend(decode_event(stored.body) for stored in page)
            after = page[-1].seq
        return events

    async def _submit(
        self,
        asked: ExecutionRequest,
        identity: Identity,
        *,
        key: str | None,
        attempt_of: ExecutionId | None = None,
        begin: str = "",
    ) -> Response:
        salt = "" if attempt_of is None else f"{attempt_of}/{begin}"
        accepted = await self._front.engine.submit(
            Submission(
                workspace=identity.workspace,
                user=identity.user,
                name=asked.name,
                spec=asked.spec,
                priority=asked.priority,
                idempotency_key=key,
                request_sha256=None if key is None else digest_of(asked, salt=salt),
                attempt_of=attempt_of,
            )
        )
        return _submitted(accepted)

    async def _find(self, execution_id: str, role: Role) -> ExecutionRecord:
        return await find_visible(self._front, await require(self._front, request, role), execution_id)


def _submitted(accepted: Accepted) -> Response:
    links = links_of(accepted.id)
    headers = {"Location": links["self"]}
    if accepted.is_repeat:
        headers["Idempotent-Replayed"] = "true"
    return json_response(SubmittedView(accepted.id, accepted.status, links), status=202, headers=headers)


def _accepted(record: ExecutionRecord) -> Response:
    """A command was handed on; `status` is where the execution stood before it."""
    return json_response(SubmittedView(record.id, record.status, links_of(record.id)), status=202)


class _DataOnly(msgspec.Struct):
    data: msgspec.Raw


_data_decoder = msgspec.json.Decoder(_DataOnly)


def _data_of(event: StoredEvent) -> bytes:
    return bytes(_data_decoder.decode(event.body).data)
