"""A trio client of an execd elsewhere: submit, steer, list, and follow journals through any break.

Streams come over SSE and not over WebSocket: resuming is part of that protocol (`Last-Event-ID`), every proxy that passes
HTTP passes it, one library and one set of credentials serve streams and commands alike, and what a viewer sends (stdin,
cancel) is rare enough for a POST of its own.

Owns: one connection pool. Sends / receives: design.md section 5. Never: a retry of what may have happened already.
"""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any
from urllib.parse import quote, urlsplit

import httpx2
import msgspec
import trio
from msgspec.structs import asdict

from execd.client_cursor import Backoff, Cursor
from execd.client_definitions import RemoteDefinitions
from execd.client_errors import (
    RemoteError,
    UncertainError,
    UnreachableError,
    decode_answer,
    error_from_answer,
)
from execd.client_records import ExecutionDetail, ExecutionList, RuntimesView, Submitted, TokenCreated, TokenList
from execd.client_secrets import RemoteSecrets
from execd.client_sending import ATTEMPTS
from execd.client_sse import EventStreamParser
from execd.client_streams import check_stream, read_stream
from execd.core.codec import StoredEvent, decode_event
from execd.core.errors import ExecdError, TooManyStreamsError
from execd.core.event_types import EVENT_TYPES
from execd.core.events import (
    Event,
    ExecutionId,
    ResultStored,
    Status,
)
from execd.core.replay import Rhythm
from execd.version import VERSION

API = "/api/v1"
CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 30.0
SILENCE_S = 45.0
"""A stream that gave not even a heartbeat (15 s by default) for so long is dead: three are missing."""
PATIENCE_S = 120.0
"""How long a stream is tried again without any contact before it is given up: a slow restart of the server fits."""


class Reconnecting(msgspec.Struct, frozen=True):
    """A stream broke, or was refused for now, and will be opened again."""

    why: str
    wait_s: float
    code: str = ""
    """Of the error that was the reason; empty where the server just ended the stream."""


class Client:
    """One server and one credential. Made by `open_client`; several tasks may share it.

    Every method raises `RemoteError` when the server refuses, `UnreachableError` when it does not answer, and
    `UncertainError` when a request that may not be repeated was cut off.
    """

    def __init__(
        self,
        http: httpx2.AsyncClient,
        *,
        on_reconnecting: Callable[[Reconnecting], None] | None = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._http = http
        self._on_reconnecting = on_reconnecting
        self._patience_s = patience_s
        self.secrets = RemoteSecrets(self._send)
        self.definitions = RemoteDefinitions(self._send)

    # --- executions

    async def submit(self, request: Mapping[str, Any], *, idempotency_key: str) -> Submitted:
        """Have something run. The key makes it safe to send again, so it is, when no answer comes.

        Args:
            request: the body of `POST /api/v1/executions`, `kind` and all.
            idempotency_key: the same for the same wish; a random one where every call is a new wish.
        """
        answer = await self._send(
            "POST",
            "/executions",
            json=request,
            headers={"Idempotency-Key": idempotency_key},
            attempts=ATTEMPTS,
        )
        return decode_answer(answer.content, Submitted)

    async def find(self, execution_id: ExecutionId) -> ExecutionDetail:
        """Look one execution up."""
        return decode_answer(await self.find_json(execution_id), ExecutionDetail)

    async def find_json(self, execution_id: ExecutionId) -> bytes:
        """Look one execution up, as the server's own JSON."""
        return (await self._get(_execution_path(execution_id))).content

    async def list_executions(
        self, *, status: Status | None = None, limit: int | None = None, cursor: str | None = None
    ) -> ExecutionList:
        """List executions, newest first; `next_cursor` leads to the next page."""
        asked = {"status": status, "limit": limit, "cursor": cursor}
        query = {name: str(value) for name, value in asked.items() if value is not None}
        return decode_answer((await self._get("/executions", query)).content, ExecutionList)

    async def result(self, execution_id: ExecutionId) -> ResultStored:
        """Give the final result of an execution that ended; `RemoteError` with status 409 or 404 while it did not."""
        answer = await self._get(f"{_execution_path(execution_id)}/result")
        return decode_answer(answer.content, ResultStored)

    # --- commands

    async def cancel(self, execution_id: ExecutionId) -> None:
        """Kill what runs."""
        await self._command(execution_id, "cancel")

    async def interrupt(self, execution_id: ExecutionId) -> None:
        """Let the step in flight finish and start nothing after it."""
        await self._command(execution_id, "interrupt")

    async def pause(self, execution_id: ExecutionId) -> None:
        """Start no further step."""
        await self._command(execution_id, "pause")

    async def resume(self, execution_id: ExecutionId) -> None:
        """Go on after a pause."""
        await self._command(execution_id, "resume")

    async def send_stdin(self, execution_id: ExecutionId, data: bytes, *, close: bool = False) -> None:
        """Give the program bytes to read, and end-of-file after them when `close` says so."""
        body = {"base64": msgspec.to_builtins(data), "close": close}
        await self._send("POST", f"{_execution_path(execution_id)}/stdin", json=body)

    async def answer(self, execution_id: ExecutionId, *, prompt_id: str, values: Mapping[str, str]) -> None:
        """Answer what an `input` node asks; `prompt_id` is the one of its `input_required`."""
        body = {"prompt_id": prompt_id, "values": dict(values)}
        await self._send("POST", f"{_execution_path(execution_id)}/input", json=body)

    async def retry(
        self, execution_id: ExecutionId, *, begin: str, until: str | None = None, idempotency_key: str
    ) -> Submitted:
        """Run it again from `start`, from what `failed`, or from a node, and only what one node needs where `until` names it;
        the key makes it safe to send again."""
        answer = await self._send(
            "POST",
            f"{_execution_path(execution_id)}/retry",
            json={"from": begin} | ({} if until is None else {"until": until}),
            headers={"Idempotency-Key": idempotency_key},
            attempts=ATTEMPTS,
        )
        return decode_answer(answer.content, Submitted)

    async def _command(self, execution_id: ExecutionId, command: str) -> None:
        await self._send("POST", f"{_execution_path(execution_id)}/{command}", json={})

    # --- around them

    async def runtimes(self) -> RuntimesView:
        """Name the languages this server runs."""
        return decode_answer((await self._get("/runtimes")).content, RuntimesView)

    async def create_token(self, request: Mapping[str, Any]) -> TokenCreated:
        """Make a token; the answer is the only place it ever stands in."""
        return decode_answer((await self._send("POST", "/tokens", json=request)).content, TokenCreated)

    async def list_tokens(self) -> TokenList:
        """List the workspace's tokens, without the tokens themselves."""
        return decode_answer((await self._get("/tokens")).content, TokenList)

    async def revoke_token(self, token_id: str) -> None:
        """Make a token worthless from now on."""
        await self._send("DELETE", f"/tokens/{quote(token_id, safe='')}")

    # --- streams

    @trio.as_safe_channel
    async def events(
        self, execution_id: ExecutionId, *, after_seq: int = 0, rhythm: Rhythm | None = None
    ) -> AsyncGenerator[Event, None]:
        """Follow a journal as decoded events, up to and with `result_stored`.

        Use it as `async with client.events(id) as events: async for event in events: ...`. It connects again by itself,
        so a restart of the server only takes longer. Events of types this client does not know are left out; `journal`
        has them.

        Raises:
            GapError: an event is missing.
            UnreachableError: there was no contact for `patience_s`.
        """
        async with self.journal(execution_id, after_seq=after_seq, rhythm=rhythm) as journal:
            async for stored in journal:
                if stored.type in EVENT_TYPES:
                    yield decode_event(stored.body)  # as_safe_channel closes this generator

    @trio.as_safe_channel
    async def journal(
        self, execution_id: ExecutionId, *, after_seq: int = 0, rhythm: Rhythm | None = None
    ) -> AsyncGenerator[StoredEvent, None]:
        """Follow a journal as the server's own bytes: like `events`, for those who pass them on."""
        cursor = Cursor(after_seq)
        backoff = Backoff(uniform=random.SystemRandom().uniform)
        heard_at = trio.current_time()
        while not cursor.is_at_end:
            parser = EventStreamParser()
            error: ExecdError | None = None
            is_connected = False
            try:
                async with self._open_stream(execution_id, cursor.last_seq, rhythm) as response:
                    if response is None:
                        return
                    is_connected = True
                    async with aclosing(read_stream(response, parser, cursor)) as arriving:
                        async for stored in arriving:
                            backoff.reset()
                            yield stored  # as_safe_channel closes this generator
            except (UnreachableError, RemoteError) as refused:
                error = refused
            if is_connected or (error is not None and error.status == TooManyStreamsError.status):
                # A server that says "later" is there; there may be a place after hours.
                heard_at = trio.current_time()
            if not cursor.is_at_end:
                await self._wait_to_reconnect(error, backoff, parser.retry_ms, heard_at)

    @asynccontextmanager
    async def _open_stream(
        self, execution_id: ExecutionId, last_seq: int, rhythm: Rhythm | None
    ) -> AsyncIterator[httpx2.Response | None]:
        """Connect; None means the server says that nothing newer will ever come (204)."""
        headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity", "Cache-Control": "no-store"}
        if last_seq:
            headers["Last-Event-ID"] = str(last_seq)
        timeout = httpx2.Timeout(ANSWER_TIMEOUT_S, connect=CONNECT_TIMEOUT_S, read=SILENCE_S, pool=None)
        path = f"{API}{_execution_path(execution_id)}/stream"
        query = {} if rhythm is None else {name: value for name, value in asdict(rhythm).items() if value is not None}
        try:
            async with self._http.stream("GET", path, params=query, headers=headers, timeout=timeout) as response:
                await check_stream(response)
                yield None if response.status_code == httpx2.codes.NO_CONTENT else response
        except httpx2.TransportError as error:
            raise UnreachableError(_transport_message(error)) from error

    async def _wait_to_reconnect(
        self, error: ExecdError | None, backoff: Backoff, retry_ms: int | None, heard_at: float
    ) -> None:
        """Wait before the next connection, or raise what makes another one pointless."""
        if error is not None and (not error.retryable or trio.current_time() - heard_at > self._patience_s):
            raise error
        asked_s = (retry_ms or 0) / 1000
        if isinstance(error, RemoteError):
            asked_s = max(asked_s, error.retry_after_s or 0)
        wait_s = backoff.next_wait_s(at_least_s=asked_s)
        if self._on_reconnecting is not None:
            why = "the server ended the stream" if error is None else error.message
            self._on_reconnecting(Reconnecting(why=why, wait_s=wait_s, code="" if error is None else error.code))
        await trio.sleep(wait_s)

    # --- requests

    async def _get(self, path: str, query: Mapping[str, str] | None = None) -> httpx2.Response:
        return await self._send("GET", path, params=query, attempts=ATTEMPTS)

    async def _send(self, method: str, path: str, *, attempts: int = 1, **arguments: Any) -> httpx2.Response:
        """Send a request, and again while `attempts` allows it and the error says it may help."""
        backoff = Backoff(uniform=random.SystemRandom().uniform)
        for left in reversed(range(attempts)):
            try:
                return await self._send_once(method, path, **arguments)
            except (UncertainError, RemoteError) as error:
                if not left or not (error.retryable or isinstance(error, UncertainError)):
                    raise
                asked_s = error.retry_after_s if isinstance(error, RemoteError) else None
                await trio.sleep(backoff.next_wait_s(at_least_s=asked_s or 0.0))
        raise AssertionError("attempts is at least one")

    async def _send_once(self, method: str, path: str, **arguments: Any) -> httpx2.Response:
        try:
            response = await self._http.request(method, f"{API}{path}", **arguments)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.UnsupportedProtocol) as error:
            raise UnreachableError(f"{self._http.base_url}: {_transport_message(error)}") from error
        except httpx2.TransportError as error:
            raise UncertainError(f"{self._http.base_url}: {_transport_message(error)}") from error
        if not response.is_success:
            raise error_from_answer(response.status_code, response.headers, response.content)
        return response


@asynccontextmanager
async def open_client(
    url: str,
    token: str | None = None,
    *,
    on_reconnecting: Callable[[Reconnecting], None] | None = None,
    patience_s: float = PATIENCE_S,
) -> AsyncIterator[Client]:
    """Make a client, and close its connections afterwards. Nothing is sent until something is asked.

    Args:
        url: where the server is, like `http://127.0.0.1:7070`.
        token: a bearer token; None where none is needed.
        on_reconnecting: told of each break of a stream, before the wait.
        patience_s: how long a stream may be without any contact.
    """
    parts = urlsplit(url)
    headers = {"User-Agent": f"execd/{VERSION}"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    async with httpx2.AsyncClient(
        base_url=url,
        headers=headers,
        timeout=httpx2.Timeout(ANSWER_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
        # A proxy from the environment cannot reach this machine's loopback.
        trust_env=parts.hostname not in {"127.0.0.1", "::1", "localhost"},
        # Loading certificates takes longer than a request, and plain HTTP needs none.
        verify=parts.scheme != "http",
    ) as http:
        yield Client(http, on_reconnecting=on_reconnecting, patience_s=patience_s)


def _execution_path(execution_id: ExecutionId) -> str:
    return f"/executions/{quote(execution_id, safe='')}"


def _transport_message(error: Exception) -> str:
    return str(error) or type(error).__name__
