"""One HTTP call to the outside, as a request of the port and back: what call runners do for sagas, and the engine for whoever
wants one call and no execution.

Never: a credential in a log.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import trio

from execd.core.calls import CallEnd, CallFailure, Credentials, HttpCall, HttpResult, ReadCall
from execd.ports import BasicAuth, BearerAuth, HttpAnswer, HttpCaller, HttpCallError, HttpRequest

LARGE_BODY_BYTES = 64 * 1024
"""Reading more than this as JSON may take longer than a turn of the scheduler should: some 3 ms, and a thread 0.1 ms."""
CONNECT_S = 10.0
"""A server that does not take a connection within this is down, however long an answer may take."""


async def fetch(caller: HttpCaller, call: HttpCall) -> HttpResult | CallFailure:
    """Send a request and give what came of it. Cancellation: the connection is closed."""
    try:
        return _to_result(await caller.call(_to_request(call)))
    except HttpCallError as error:
        return _to_failure(error)


async def make_call(caller: HttpCaller, call: ReadCall, *, now: Callable[[], datetime]) -> CallEnd:
    """Make a call whose node reads the answer in its own way; a large one beside the others' work."""
    result = await fetch(caller, call.http)
    is_large = call.is_costly or (isinstance(result, HttpResult) and len(result.body) > LARGE_BODY_BYTES)
    if isinstance(result, CallFailure) or not is_large:
        return call.conclude(result, now())
    return await trio.to_thread.run_sync(call.conclude, result, now())


def _to_request(call: HttpCall) -> HttpRequest:
    return HttpRequest(
        method=call.method,
        url=call.url,
        headers=call.headers,
        body=call.body,
        auth=None if call.auth is None else _to_auth(call.auth),
        cookies=call.cookies,
        keeps_cookies=call.keeps_cookies,
        connect_s=min(CONNECT_S, call.timeout_s),
        read_s=call.timeout_s,
        total_s=call.timeout_s if call.total_s is None else call.total_s,
        max_response_bytes=call.max_response_bytes,
        max_redirects=call.max_redirects,
        verify_tls=call.verify_tls,
    )


def _to_auth(credentials: Credentials) -> BasicAuth | BearerAuth:
    if credentials.token is not None:
        return BearerAuth(credentials.token)
    return BasicAuth(username=credentials.username, password=credentials.password)


def _to_result(answer: HttpAnswer) -> HttpResult:
    return HttpResult(
        status=answer.status,
        reason=answer.reason,
        headers=answer.headers,
        body=answer.body,
        truncated=answer.truncated,
        is_decoded=answer.is_decoded,
        url=answer.url,
        duration_ms=round(answer.timings.total_ms),
        told_cookies=_told_cookies(answer),
    )


def _told_cookies(answer: HttpAnswer) -> tuple[tuple[str, str], ...]:
    hops = [*((hop.url, hop.headers) for hop in answer.redirects), (answer.url, answer.headers)]
    return tuple((url, value) for url, headers in hops for name, value in headers if name == "set-cookie")


def _to_failure(error: HttpCallError) -> CallFailure:
    found = {"errno": error.errno_name, "endpoint": error.endpoint}
    return CallFailure(
        code=error.code,
        message=error.message,
        retryable=error.retryable,
        was_sent=error.was_sent,
        had_head=error.had_head,
        details={name: value for name, value in found.items() if value is not None},
    )
