"""One WebSocket connection: what it follows, what it may ask, and why it ends.

Owns: the subscriptions of one client. One task reads the client, one follows each execution; what else may end it, and what
keeps it alive, is of its line (`socket_line.py`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import trio

from execd.core.codec import encode_json
from execd.core.errors import ExecdError
from execd.core.event_types import RESULT_STORED
from execd.core.fields import Faults, Fields, Range, describe
from execd.core.replay import Rhythm
from execd.http.access import Identity, Role
from execd.http.executions import COMMANDS, find_visible
from execd.http.front import Front
from execd.http.problems import problem_of
from execd.http.replaying import open_replay
from execd.http.schemas import decode_json, parse_input, parse_stdin
from execd.http.socket_line import SocketLine
from execd.http.sse import REVOKED, Pace
from execd.ports import Command, EvictedError, ExecutionRecord, Subscription

CLOSE_CODES: Mapping[str, int] = {
    "complete": 1000,
    "internal_error": 1011,
    "draining": 1012,
    "restarted": 1012,
    "lifetime": 4200,
    "invalid_request": 4400,
    "unauthenticated": 4401,
    "credential_expired": 4401,
    REVOKED: 4401,
    "forbidden": 4403,
    "host_not_allowed": 4403,
    "origin_not_allowed": 4403,
    "not_found": 4404,
    "slow": 4408,
    "too_many_streams": 4429,
    "overloaded": 4503,
    "store_unavailable": 4503,
}
"""Why a socket is closed, in its close frame: the code says what to do, the word which case it was.

1000: it is over, do not come back. 1012, 4200: come back at once, after the last seq. 4408: come back after the last seq,
and read faster. 4429, 4503: wait a second, then come back. 4400, 4401, 4403, 4404: coming back unchanged is no use.
"""

STDIN_FIELDS = ("text", "base64", "close")
INPUT_FIELDS = ("prompt_id", "values")
KNOWN_FIELDS = ("type", "id", "execution_id", "after", *STDIN_FIELDS, *INPUT_FIELDS)
MESSAGE_TYPES = ("subscribe", "unsubscribe", *COMMANDS, "stdin", "input", "ping", "pong")
MAX_FOLLOWED = 20
"""Executions on one socket; each takes one place of the workspace's limit."""
MAX_ID_CHARS = 200


@dataclass(frozen=True, slots=True)
class Place:
    """Where a client is in a journal, and how it goes on."""

    after_seq: int = 0
    rhythm: Rhythm | None = None
    """Of a replay; None: as fast as may be, then live."""


@dataclass(frozen=True, slots=True)
class Message:
    """What a client said."""

    type: str
    id: str | int | None
    fields: Fields
    table: Mapping[str, object]


class SocketSession:
    """Serves one accepted socket.

    Args:
        send: sends one text frame; waits while the client does not read, within the server's deadline.
        only: the execution a socket is bound to; None where the client names them.
    """

    def __init__(
        self,
        front: Front,
        identity: Identity,
        send: Callable[[str], Awaitable[None]],
        *,
        pace: Pace,
        only: ExecutionRecord | None,
    ) -> None:
        self._front = front
        self._identity = identity
        self._line = SocketLine(pace, send, ping=encode_json({"type": "ping"}).decode())
        self._only = only
        self._followed: dict[str, trio.CancelScope] = {}

    async def run(self, receive: Callable[[], Awaitable[str | bytes]], *, place: Place) -> str:
        """Serve until there is a reason to end, and give it (a key of `CLOSE_CODES`)."""
        with self._line.scope:
            async with trio.open_nursery() as nursery:
                for watch in (*self._line.watches, self._end_when_draining):
                    nursery.start_soon(watch)
                if self._only is not None:
                    await self._follow_only(nursery, self._only, place)
                nursery.start_soon(self._read, nursery, receive)
        return self._line.reason

    async def _send(self, message: Mapping[str, Any]) -> None:
        await self._send_frame(encode_json(message))

    async def _send_frame(self, frame: bytes) -> None:
        await self._line.send(frame.decode())

    async def _end_when_draining(self) -> None:
        await self._front.streams.draining.wait()
        self._line.end("draining")

    # --- following

    async def _follow_only(self, nursery: trio.Nursery, record: ExecutionRecord, place: Place) -> None:
        if _is_complete(record, place.after_seq):
            self._line.end("complete")
            return
        try:
            await nursery.start(partial(self._follow, record, place))
        except ExecdError as error:
            await self._send(error_message(error))
            self._line.end(error.code)

    async def _follow(self, record: ExecutionRecord, place: Place, *, task_status: trio.TaskStatus[None]) -> None:
        scope = trio.CancelScope()
        subscribing = self._front.engine.subscribe(record.id, workspace=record.workspace, after_seq=place.after_seq)
        with scope:
            async with subscribing as subscription:
                self._followed[record.id] = scope
                task_status.started()
                try:
                    await self._forward(await self._paced(subscription, place.rhythm))
                finally:
                    del self._followed[record.id]

    async def _paced(self, subscription: Subscription, rhythm: Rhythm | None) -> Subscription:
        return (
            subscription if rhythm is None else await open_replay(subscription, rhythm, store=self._front.engine.store)
        )

    async def _forward(self, subscription: Subscription) -> None:
        try:
            while True:
                for event in await subscription.receive():
                    await self._send_frame(event.body)
                    if event.type == RESULT_STORED and self._only is not None:
                        self._line.end("complete")
        except trio.EndOfChannel:
            return
        except EvictedError as error:
            await self._tell_evicted(subscription, error)

    async def _tell_evicted(self, subscription: Subscription, error: EvictedError) -> None:
        await self._send(
            {
                "type": "evicted",
                "execution_id": subscription.execution_id,
                "reason": error.reason,
                "last_seq": error.last_seq,
            }
        )
        if self._only is not None or error.reason == "draining":
            self._line.end(error.reason)

    # --- what the client says

    async def _read(self, nursery: trio.Nursery, receive: Callable[[], Awaitable[str | bytes]]) -> None:
        while True:
            said = await receive()
            message_id: str | int | None = None
            try:
                message = parse_message(said)
                message_id = message.id
                extra = await self._obey(message, nursery)
            except ExecdError as error:
                await self._send(error_message(error) | _with_id(message_id))
            else:
                if extra is not None:
                    await self._send(extra | _with_id(message_id))

    async def _obey(self, message: Message, nursery: trio.Nursery) -> dict[str, Any] | None:
        """Do what was asked; give the answer, None where none is due."""
        match message.type:
            case "pong":
                return None
            case "ping":
                return {"type": "pong"}
        await self._front.access.check(self._identity)
        match message.type:
            case "subscribe":
                return await self._subscribe(message, nursery)
            case "unsubscribe":
                return self._unsubscribe(message)
        return await self._command(message)

    async def _subscribe(self, message: Message, nursery: trio.Nursery) -> dict[str, Any]:
        faults = Faults()
        if self._only is not None:
            faults.add("type", "is not for a socket of one execution", f"{', '.join(COMMANDS)}, stdin, input, ping")
        if len(self._followed) >= MAX_FOLLOWED:
            faults.add("execution_id", f"would be number {MAX_FOLLOWED + 1}", f"at most {MAX_FOLLOWED} on one socket")
        faults.raise_if_any()
        record = await self._find(message)
        after_seq = _after(message.table, record)
        if record.id in self._followed:
            faults.refuse("execution_id", "is followed already", "an execution that is not")
        answer = {"type": "ack", "execution_id": record.id, "head_seq": record.head_seq}
        if _is_complete(record, after_seq):
            return answer | {"is_complete": True}
        await nursery.start(partial(self._follow, record, Place(after_seq)))
        return answer | {"is_complete": False}

    def _unsubscribe(self, message: Message) -> dict[str, Any]:
        """Stop following; one that is not followed (any more) is no fault: it may just have ended."""
        scope = self._followed.get(str(message.table.get("execution_id", "")))
        if scope is not None and self._only is None:
            scope.cancel()
        return {"type": "ack"}

    async def _command(self, message: Message) -> dict[str, Any]:
        self._identity.require(Role.RUNNER)
        record = await self._find(message)
        await self._front.engine.command(record.id, self._read_command(message))
        return {"type": "ack"}

    def _read_command(self, message: Message) -> Command:
        if message.type == "stdin":
            return parse_stdin(_only(message.table, STDIN_FIELDS))
        if message.type == "input":
            return parse_input(_only(message.table, INPUT_FIELDS), by=self._identity.user)
        return COMMANDS[message.type](self._identity.user)

    async def _find(self, message: Message) -> ExecutionRecord:
        """Find the execution a message is about; on a socket of one it need not be named."""
        faults = Faults()
        fields = Fields(message.table, faults, known=KNOWN_FIELDS)
        if self._only is not None:
            named = fields.text("execution_id", max_chars=MAX_ID_CHARS, accepted=self._only.id)
            if named not in {None, self._only.id}:
                faults.add("execution_id", "is another execution than this socket's", self._only.id)
            faults.raise_if_any()
            return self._only
        named = fields.required_text("execution_id", max_chars=MAX_ID_CHARS, accepted="the id of an execution")
        faults.raise_if_any()
        return await find_visible(self._front, self._identity, named)


def error_message(error: ExecdError) -> dict[str, Any]:
    """Give a problem as a message: the same fields, but `type` says that it is an error; `code` says which."""
    return problem_of(error) | {"type": "error"}


def parse_message(said: str | bytes) -> Message:
    """Read one client message. Raises InvalidRequestError."""
    faults = Faults()
    if isinstance(said, bytes):
        faults.refuse("", "is a binary frame", "a text frame with a JSON object")
    table = decode_json(said)
    if not isinstance(table, Mapping):
        faults.refuse("", describe(table), "a JSON object")
    fields = Fields(table, faults, known=KNOWN_FIELDS)
    message_type = fields.choice("type", MESSAGE_TYPES, default="")
    if not fields.has("type"):
        faults.add("type", "is missing", ", ".join(MESSAGE_TYPES))
    message_id = table.get("id")
    if (
        isinstance(message_id, bool)
        or not isinstance(message_id, str | int | None)
        or len(str(message_id)) > MAX_ID_CHARS
    ):
        faults.add("id", "is no id", f"a text of at most {MAX_ID_CHARS} characters, or a whole number")
        message_id = None
    faults.raise_if_any()
    return Message(message_type, message_id, fields, table)


def _after(table: Mapping[str, object], record: ExecutionRecord) -> int:
    faults = Faults()
    fields = Fields(table, faults, known=KNOWN_FIELDS)
    after_seq = fields.integer("after", Range(0, record.head_seq), default=0)
    faults.raise_if_any()
    return after_seq


def _is_complete(record: ExecutionRecord, after_seq: int) -> bool:
    return record.status.is_final and after_seq >= record.head_seq


def _with_id(message_id: str | int | None) -> dict[str, Any]:
    return {} if message_id is None else {"id": message_id}


def _only(table: Mapping[str, object], names: Sequence[str]) -> dict[str, object]:
    return {name: table[name] for name in names if name in table}
