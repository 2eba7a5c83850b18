"""The doors where an engine elsewhere reports: progress after progress, and how it ended.

An engine proves itself with a signature over the bytes of each message and with the token of its job; both are made from
`jobs.secret`, and nothing of them is kept. The checks are made in one order, the first that fails answers, and a 200 is
sent only when what was reported is stored.

Source: LinkFlow's job callbacks, whose engines report here unchanged (docs/linkflow.md).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from quart import Quart, Response, request

from execd.core.errors import ConflictError, FieldFault, InvalidRequestError, NotFoundError, OverloadedError
from execd.core.events import ExecutionId
from execd.core.job_keys import (
    WINDOW_S,
    execution_of,
    is_same,
    is_timely,
    make_callback_token,
    sign,
)
from execd.core.job_reports import EndReport, JobMessage, parse_callback, parse_progress
from execd.core.moments import parse_moment
from execd.http.answers import json_response
from execd.http.front import Front
from execd.http.replays import Replays
from execd.http.schemas import API, check_length, decode_json
from execd.ports import ExecutionRecord, Report

TIMESTAMP = "X-LinkFlow-Timestamp"
SIGNATURE = "X-LinkFlow-Signature"


class _RefusedError(Exception):
    """A check failed, and this answers."""

    def __init__(self, status: int, error: str) -> None:
        super().__init__(error)
        self.response = json_response({"error": error}, status=status)


@dataclass(frozen=True, slots=True)
class _Signed:
    """A message whose signature is right."""

    body: bytes
    key: str
    """The signature and where it was sent, because the same bytes may mean something else elsewhere."""
    at: datetime


class JobRoutes:
    """`/api/v1/jobs/progress` and `/api/v1/jobs/callback`. Owns: which messages were taken."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._replays = Replays()

    def register(self, app: Quart) -> None:
        app.add_url_rule(f"{API}/jobs/progress", "job_progress", self.progress, methods=["POST"])
        app.add_url_rule(f"{API}/jobs/callback", "job_callback", self.callback, methods=["POST"])

    async def progress(self) -> Response:
        return await _answer(lambda: self._receive(parse_progress))

    async def callback(self) -> Response:
        return await _answer(lambda: self._receive(parse_callback))

    async def _receive(self, parse: Callable[[object], JobMessage]) -> Response:
        signed = await self._verify()
        message = parse(decode_json(signed.body))
        record = await self._find_job(message)
        if record.status.is_final or self._replays.has(signed.key):
            return _accepted(message, record, is_repeat=True)
        if isinstance(message.report, EndReport):
            await self._check_execution(message, record)
        try:
            await self._front.engine.command(record.id, Report(report=message.report))
        except ConflictError:
            return await self._answer_late(message, record)
        until = signed.at + timedelta(seconds=WINDOW_S)
        self._replays.remember(signed.key, until=until, now=self._front.now())
        return _accepted(message, record, is_repeat=False)

    async def _verify(self) -> _Signed:
        """Check who sends: the secret, the headers, the time, and then the bytes."""
        secret = self._front.config.jobs_secret
        if not secret:
            raise _RefusedError(500, "Engine callback secret is not configured.")
        timestamp, signature = request.headers.get(TIMESTAMP), request.headers.get(SIGNATURE)
        if not timestamp or not signature:
            raise _RefusedError(401, "Missing callback signature headers.")
        at = parse_moment(timestamp)
        if at is None:
            raise _RefusedError(401, "Invalid callback timestamp.")
        if not is_timely(at, self._front.now()):
            raise _RefusedError(401, "Callback timestamp expired.")
        check_length(request, self._front.config)
        body = await request.get_data(cache=False, as_text=False, parse_form_data=False)
        if not is_same(signature, sign(secret, timestamp, body)):
            raise _RefusedError(401, "Invalid callback signature.")
        return _Signed(body, f"{request.path} {signature}", at)

    async def _find_job(self, message: JobMessage) -> ExecutionRecord:
        execution_id = execution_of(message.job_id)
        record = None if execution_id is None else await self._front.engine.find(execution_id)
        if record is None or record.kind != "external":
            raise _RefusedError(404, "Job not found")
        if not is_same(message.callback_token, make_callback_token(self._front.config.jobs_secret, record.id)):
            raise _RefusedError(401, "Invalid callback token")
        return record

    async def _check_execution(self, message: JobMessage, record: ExecutionRecord) -> None:
        if message.execution_id == record.id:
            return
        if await self._front.engine.find(ExecutionId(message.execution_id)) is None:
            raise _RefusedError(404, "Execution not found")
        raise _RefusedError(403, "Execution does not match job")

    async def _answer_late(self, message: JobMessage, record: ExecutionRecord) -> Response:
        """It ended between the look at it and the report: the report changes nothing, as of any that is over."""
        newest = await self._front.engine.find(record.id)
        if newest is None:
            raise _RefusedError(404, "Job not found")
        if not newest.status.is_final:
            raise OverloadedError("the execution changes hands just now; send the report again")
        return _accepted(message, newest, is_repeat=True)


async def _answer(receive: Callable[[], Awaitable[Response]]) -> Response:
    try:
        return await receive()
    except _RefusedError as refused:
        return refused.response
    except NotFoundError:
        return json_response({"error": "Job not found"}, status=404)
    except InvalidRequestError as error:
        return json_response({"message": error.message, "errors": _by_field(error.faults)}, status=422)


def _by_field(faults: tuple[FieldFault, ...]) -> Mapping[str, list[str]]:
    """Give the faults as LinkFlow's validation does."""
    found: dict[str, list[str]] = {}
    for fault in faults:
        found.setdefault(fault.path or "body", []).append(f"{fault.message}; accepted: {fault.accepted}")
    return found


def _accepted(message: JobMessage, record: ExecutionRecord, *, is_repeat: bool) -> Response:
    answer: dict[str, Any] = {"success": True}
    if is_repeat:
        answer["idempotent"] = True
    if isinstance(message.report, EndReport):
        answer |= {"execution_id": record.id, "status": record.status if is_repeat else message.report.status}
    return json_response(answer)
