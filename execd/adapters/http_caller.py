"""The adapter behind `HttpCaller`: h11 on trio, with a pool of kept connections.

h11 and not httpx2, whose client costs four times a bare h11 loop on a kept connection (see docs/decisions.md). Here a call
owns its connection, so a cancelled one closes its socket and is done, and every address is judged where it is connected to.

Owns: the pool. Never: an asynchronous clean-up, a cookie jar, a proxy.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

import h11
import msgspec

from execd.adapters.address_policy import AddressPolicy
from execd.adapters.answer_stream import AnswerStream
from execd.adapters.call_budget import CallBudget
from execd.adapters.connection_pool import ConnectionPool, PoolLimits, PoolStatistics
from execd.adapters.dialer import Dialer, Resolver, SystemResolver
from execd.adapters.http_connection import ConnectionDiedError, HttpConnection
from execd.adapters.http_message import REPEATABLE_METHODS, encode_request, follow_redirect
from execd.adapters.http_target import Target, parse_target
from execd.ports.http_caller import HttpAnswer, HttpCallError, HttpRequest, Redirect, Timings

DRAIN_BYTES = 64 * 1024
"""How much of a redirect's body is read to keep its connection; nobody wants the text itself."""


class PooledHttpCaller:
    """Implements `HttpCaller`. Made by `open_http_caller`; all tasks of an engine share one."""

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool

    async def call(self, request: HttpRequest) -> HttpAnswer:
        """See `HttpCaller.call`."""
        budget = CallBudget.of(request)
        with budget:
            target, request = _prepare(request)
            redirects: list[Redirect] = []
            while True:
                connection, stream = await self._exchange(request, target, budget)
                try:
                    hop = (
                        follow_redirect(request, target, stream.status, stream.headers)
                        if request.max_redirects
                        else None
                    )
                    if hop is None:
                        return await _read_answer(stream, connection, request, target, redirects, budget)
                    if len(redirects) == request.max_redirects:
                        raise _too_many(request)
                    redirects.append(_describe(stream, target, hop.target))
                    await stream.read_up_to(DRAIN_BYTES)
                finally:
                    self._pool.release(connection, target, verify_tls=request.verify_tls)
                request, target = hop.request, hop.target

    @asynccontextmanager
    async def open_stream(self, request: HttpRequest, budget: CallBudget) -> AsyncIterator[AnswerStream]:
        """Send a request and give its answer to be read piece by piece, inside the budget's scope. Follows no redirect.

        Raises:
            HttpCallError: there is no answer.
        """
        target, request = _prepare(request)
        connection, stream = await self._exchange(request, target, budget)
        try:
            yield stream
        finally:
            self._pool.release(connection, target, verify_tls=request.verify_tls)

    def statistics(self) -> PoolStatistics:
        """Count connections."""
        return self._pool.statistics()

    async def _exchange(
        self, request: HttpRequest, target: Target, budget: CallBudget
    ) -> tuple[HttpConnection, AnswerStream]:
        """Send one request and wait for the head of its answer. The connection is then the caller's to release."""
        head = encode_request(request, target)
        is_repeatable = request.method.upper() in REPEATABLE_METHODS
        for fresh_only in (False, True):
            connection = await self._pool.acquire(
                target, budget, verify_tls=request.verify_tls, is_repeatable=is_repeatable, fresh_only=fresh_only
            )
            try:
                return connection, await _send(connection, head, request.body, budget)
            except ConnectionDiedError as error:
                self._pool.release(connection, target, verify_tls=request.verify_tls)
                if not is_repeatable:
                    raise HttpCallError(
                        "the server closed the kept connection before it answered", code="protocol", was_sent=True
                    ) from error
            except BaseException:
                self._pool.release(connection, target, verify_tls=request.verify_tls)
                raise
        raise AssertionError("a fresh connection has no past to die of")


@asynccontextmanager
async def open_http_caller(
    policy: AddressPolicy,
    *,
    limits: PoolLimits | None = None,
    resolver: Resolver | None = None,
    tls: ssl.SSLContext | None = None,
    own_ports: Collection[int] = (),
) -> AsyncIterator[PooledHttpCaller]:
    """Make a caller, and close its idle connections afterwards.

    Args:
        policy: where requests may go.
        limits: how many connections there may be; None means the defaults.
        resolver: how names are looked up; None means `getaddrinfo`.
        tls: which certificates are believed; None means those of the system.
        own_ports: ports of this machine that are refused, besides those of the policy; looked at anew for each connection.
    """
    pool = ConnectionPool(Dialer(policy, resolver or SystemResolver(), tls, own_ports), limits or PoolLimits())
    try:
        yield PooledHttpCaller(pool)
    finally:
        pool.close()


def _prepare(request: HttpRequest) -> tuple[Target, HttpRequest]:
    target = parse_target(request.url)
    if target.userinfo is not None and request.auth is None:
        request = msgspec.structs.replace(request, auth=target.userinfo)
    return target, request


async def _send(connection: HttpConnection, head: h11.Request, body: bytes | None, budget: CallBudget) -> AnswerStream:
    budget.has_head = False
    await connection.send(head, body, budget)
    received = await connection.receive_head(budget)
    budget.has_head = True
    return AnswerStream(received, connection, budget)


async def _read_answer(
    stream: AnswerStream,
    connection: HttpConnection,
    request: HttpRequest,
    target: Target,
    redirects: list[Redirect],
    budget: CallBudget,
) -> HttpAnswer:
    body = await stream.read_up_to(request.max_response_bytes)
    return HttpAnswer(
        status=stream.status,
        reason=stream.reason,
        headers=stream.headers,
        body=body.data,
        truncated=body.truncated,
        seen_bytes=body.seen_bytes,
        is_decoded=stream.is_decoded,
        url=target.url,
        redirects=tuple(redirects),
        timings=_timings(connection, budget),
        http_version=stream.http_version,
    )


def _timings(connection: HttpConnection, budget: CallBudget) -> Timings:
    first_byte_ms = (connection.first_byte_at - connection.sent_at) * 1000
    if connection.exchanges:
        return Timings(first_byte_ms=first_byte_ms, total_ms=budget.elapsed_ms())
    times = connection.times
    return Timings(
        dns_ms=times.dns_ms,
        connect_ms=times.connect_ms,
        tls_ms=times.tls_ms,
        first_byte_ms=first_byte_ms,
        total_ms=budget.elapsed_ms(),
    )


def _describe(stream: AnswerStream, target: Target, there: Target) -> Redirect:
    return Redirect(status=stream.status, url=target.url, location=there.url, headers=stream.headers)


def _too_many(request: HttpRequest) -> HttpCallError:
    return HttpCallError(f"more than {request.max_redirects} redirects", code="redirect_loop", was_sent=True)
