"""One client's connection, hardened: what goes wrong on it stays its own problem.

Hypercorn's trio worker dies of one bad request, waits for ever on a client that does not read, and forgets its idle
timer under quart-trio (all measured on 0.18.0, which is pinned: private names are used here). So this class replaces its
connection loop: every exception is logged, counted and dropped; every send makes progress within a deadline or the
connection is aborted; closing lingers, so that a refusal of a large body reaches the client that is still sending it.

HTTP/2 and permessage-deflate do not exist here: neither is bounded in memory. A proxy in front may speak both.
"""

from __future__ import annotations

import math
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import h11
import structlog
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.protocol.ws_stream import FrameTooLargeError, WebsocketBuffer, WSStream
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.worker_context import TrioSingleTask, WorkerContext
from hypercorn.typing import AppWrapper, ConnectionState, LifespanState
from hypercorn.utils import parse_socket_addr
from wsproto.events import Message

from execd.http.app_tasks import AppTasks
from execd.http.direct import SCOPE_KEY, DirectWriter
from execd.telemetry import Counters

log = structlog.get_logger()

RECEIVE_BYTES = 64 * 1024
SLICE_BYTES = 32 * 1024
"""What must leave within one send deadline: a reader of 6.5 KiB/s keeps up with 5 s."""
LINGER_S = 1.0
"""How long a closed connection still takes what the client sends: a reset would throw away our last bytes."""
DRAINING_SEND_S = 1.0
"""The send deadline once the server goes down: who does not read is not told goodbye, and must not hold up who does."""
HANDOVER_S = 5.0
"""How long the application may take to be told that the client has gone."""
STALL_SHARE = (1.0, 2.0)
"""Of the send deadline, at random: a thousand viewers that stall at one event are not all dropped at one moment."""
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: closing throws away what the kernel holds for a client that does not read, instead of offering it on."""
_ASCII_HEADERS = frozenset({b"connection", b"upgrade", b"sec-websocket-protocol", b"sec-websocket-key"})


@dataclass(frozen=True, slots=True)
class Wiring:
    """What all connections share."""

    app: AppWrapper
    config: Config
    context: WorkerContext
    socket_config: Config
    """For a connection that became a WebSocket."""
    send_deadline_s: float
    counters: Counters
    uniform: Callable[[float, float], float]
    """Where jitter comes from, like `random.uniform`."""
    draining: trio.Event
    """Set when the server begins to go down."""
    connections: set[Connection]
    """Those that are open."""

    def hurry(self) -> None:
        """Shorten every send that is under way; called when the server begins to go down."""
        for connection in self.connections:
            connection.hurry()


async def serve_connection(wiring: Wiring, stream: trio.SocketStream) -> None:
    """Serve one client; what `trio.serve_listeners` calls for each."""
    await Connection(wiring, stream).run()


class Connection:
    """One client and its protocol; owns the socket."""

    def __init__(self, wiring: Wiring, stream: trio.SocketStream) -> None:
        self._wiring = wiring
        self._stream = stream
        self._send_lock = trio.Lock()
        self._idle_task = TrioSingleTask()
        self._reading = trio.CancelScope()
        self._serving = trio.CancelScope()
        self._is_closing = False
        self._is_aborted = False
        self._sending: trio.CancelScope | None = None
        self._protocol: Protocol

    async def run(self) -> None:
        """Serve the client until it or we close; never raises for what happens on it."""
        self._wiring.counters.add("execd_http_connections_total")
        self._wiring.connections.add(self)
        try:
            # Outside hypercorn's group: what cancels its nursery would get past it, and end the server.
            with self._serving:
                await self._serve()
        except* OSError:
            pass
        except* Exception as group:
            self._wiring.counters.add("execd_http_connections_crashed_total")
            log.warning("connection_crashed", errors=[repr(error)[:200] for error in _leaves(group)])
        finally:
            self._wiring.connections.discard(self)
            await trio.aclose_forcefully(self._stream)

    def hurry(self) -> None:
        """Give a send that is under way only a little longer."""
        if self._sending is not None:
            self._sending.deadline = min(self._sending.deadline, trio.current_time() + DRAINING_SEND_S)

    async def _serve(self) -> None:
        own = self._stream.socket
        client = parse_socket_addr(own.family, own.getpeername())
        server = parse_socket_addr(own.family, own.getsockname())
        async with AppTasks() as tasks:
            self._tasks = tasks
            wiring = self._wiring
            direct = DirectWriter(own.fileno, is_busy=self._is_sending, send=self._send)
            state = ConnectionState(LifespanState({SCOPE_KEY: direct}))
            self._protocol = Protocol(
                wiring.app,
                wiring.config,
                wiring.context,
                tasks,
                state,
                ssl=False,
                client=client,
                server=server,
                send=self._send_event,
            )
            self._protocol.socket_config = wiring.socket_config
            try:
                await self._converse(tasks)
            except trio.Cancelled:
                # Given up, or the server's time is over: a send under way is shielded and ends only with its socket.
                own.close()
                raise

    async def _converse(self, tasks: TaskGroup) -> None:
        await self._protocol.initiate()
        await self._idle_task.restart(tasks, self._close_when_idle)
        await self._read()
        await self._tell_client_has_gone()

    async def _read(self) -> None:
        with self._reading:
            while True:
                try:
                    data = bytes(await self._stream.receive_some(RECEIVE_BYTES))
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    return
                if not self._is_closing:
                    await self._protocol.handle(RawData(data))
                if not data:
                    return

    async def _tell_client_has_gone(self) -> None:
        """Hand the disconnect to the application; one that does not take it is cancelled."""
        await self._idle_task.stop()
        with trio.move_on_after(HANDOVER_S) as handover:
            await self._protocol.handle(Closed())
        if handover.cancelled_caught:
            self._serving.cancel()

    async def _send_event(self, event: Event) -> None:
        """What the protocol calls: bytes to send, the end, or a change between idle and busy."""
        if isinstance(event, RawData):
            await self._send(event.data)
        elif isinstance(event, Closed):
            await self._begin_close()
            await self._protocol.handle(Closed())
        elif isinstance(event, Updated):
            # Shielded because quart-trio cancels the request that ends here, and with it the timer being started.
            # Nothing in it waits for a client; the deadline is for the day it does.
            with trio.CancelScope(shield=True, deadline=trio.current_time() + HANDOVER_S):
                await self._note_idle(is_idle=event.idle)

    async def _note_idle(self, *, is_idle: bool) -> None:
        if is_idle:
            await self._idle_task.restart(self._tasks, self._close_when_idle)
        else:
            await self._idle_task.stop()

    def _is_sending(self) -> bool:
        return self._send_lock.locked() or self._is_aborted or self._is_closing

    async def _send(self, data: bytes) -> None:
        async with self._send_lock:
            if self._is_aborted:
                return
            try:
                is_sent = await self._send_slices(memoryview(data))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self._abort()
            else:
                if not is_sent:
                    self._drop_stalled()

    def _drop_stalled(self) -> None:
        self._wiring.counters.add("execd_http_stalled_total")
        log.info("client_stalled", deadline_s=self._wiring.send_deadline_s)
        with suppress(OSError):
            self._stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self._abort()

    async def _send_slices(self, data: memoryview) -> bool:
        """Send in slices that each have the deadline: a slow link is served, a stalled one is not. False for stalled.

        Shielded, because half a chunk cannot be taken back: what follows on this connection would be read as its rest.
        """
        wiring = self._wiring
        patience_s = wiring.send_deadline_s * wiring.uniform(*STALL_SHARE)
        if wiring.draining.is_set():
            patience_s = min(patience_s, DRAINING_SEND_S)
        try:
            for start in range(0, len(data), SLICE_BYTES):
                with trio.CancelScope(shield=True, deadline=trio.current_time() + patience_s) as self._sending:
                    await self._stream.send_all(data[start : start + SLICE_BYTES])
                if self._sending.cancelled_caught:
                    return False
            return True
        finally:
            self._sending = None

    def _abort(self) -> None:
        """Give the connection up: reading and the application are cancelled, wherever they wait.

        The application is not merely told: a stream that is a page behind would make its next page first, for nobody.
        """
        self._is_aborted = True
        self._is_closing = True
        self._serving.cancel()

    async def _begin_close(self) -> None:
        if self._is_closing:
            return
        self._is_closing = True
        self._reading.deadline = trio.current_time() + LINGER_S
        # Shielded like the idle timer: the request that ends here is being cancelled by quart-trio.
        with (
            trio.CancelScope(shield=True, deadline=trio.current_time() + LINGER_S),
            suppress(trio.BrokenResourceError, trio.ClosedResourceError),
        ):
            async with self._send_lock:
                await self._stream.send_eof()

    async def _close_when_idle(self) -> None:
        """Wait for the end of idling or of the server; a request in between cancels this."""
        with trio.move_on_after(self._wiring.config.keep_alive_timeout or math.inf):
            await self._wiring.context.terminated.wait()
        self._is_closing = True
        self._reading.cancel()


class Protocol(H11Protocol):
    """HTTP/1.1 and WebSocket, and nothing they could be upgraded to."""

    socket_config: Config
    _brings_body = False

    async def _check_protocol(self, event: h11.Request) -> None:
        """Ignore `Upgrade: h2c` and the HTTP/2 preface: they get an answer in HTTP/1.1."""

    async def handle(self, event: Event) -> None:
        """Take what arrived. Frames before the handshake's answer end the connection (RFC 6455, section 4.1)."""
        is_early = isinstance(event, RawData) and event.data and isinstance(self.stream, WSStream)
        if is_early and isinstance(self.stream, WSStream) and not self.stream.handshake.accepted:
            await self.send(Closed())
            return
        await super().handle(event)
        if isinstance(self.stream, WSStream) and self.stream.buffer.length > self.stream.buffer.max_length:
            # The client was told 1009; hypercorn would go on to read the rest of the message.
            await self.send(Closed())

    async def _send_h11_event(self, event: Any) -> None:
        """Say that the connection ends with an answer whose request was not read to its end: nobody should send the next one."""
        if isinstance(event, h11.Response) and self._has_unread_body:
            headers = [*(header for header in event.headers if header[0] != b"connection"), (b"connection", b"close")]
            event = h11.Response(status_code=event.status_code, headers=headers, reason=event.reason)
        await super()._send_h11_event(event)

    @property
    def _has_unread_body(self) -> bool:
        return self._brings_body and self.connection.their_state is h11.SEND_BODY

    async def _create_stream(self, request: h11.Request) -> None:
        """Refuse here what would meet the application's answer half-way, or be decoded where nobody catches it."""
        is_garbled = any(name in _ASCII_HEADERS and not value.isascii() for name, value in request.headers)
        is_upgrade = any(name == b"upgrade" and b"websocket" in value.lower() for name, value in request.headers)
        names = {name for name, _ in request.headers}
        # RFC 9112, section 6.1: both at once is how requests are smuggled past a proxy.
        is_doubled = b"transfer-encoding" in names and b"content-length" in names
        self._brings_body = bool(names & {b"transfer-encoding", b"content-length"})
        if is_garbled or is_doubled or (is_upgrade and self.connection.trailing_data[0]):
            await self._send_error_response(400)
            await self.send(Closed())
            return
        headers = [(name, value) for name, value in request.headers if name != b"sec-websocket-extensions"]
        plain = h11.Request(
            method=request.method, target=request.target, headers=headers, http_version=request.http_version
        )
        if is_upgrade:
            self.config = self.socket_config
        await super()._create_stream(plain)
        if isinstance(self.stream, WSStream):
            self.stream.buffer = MessageBuffer(self.config.websocket_max_message_size)


class MessageBuffer(WebsocketBuffer):
    """The pieces of one WebSocket message; hypercorn's own takes four bytes for each character, and keeps what is too much."""

    def __init__(self, max_length: int) -> None:
        super().__init__(max_length)
        self._pieces: list[Any] = []

    def extend(self, event: Message[Any]) -> None:
        """Add a piece. Raises FrameTooLargeError, upon which hypercorn closes with 1009."""
        self.length += len(event.data)
        if self.length > self.max_length:
            self._pieces.clear()
            raise FrameTooLargeError
        self._pieces.append(event.data)

    def clear(self) -> None:
        self._pieces.clear()
        self.length = 0

    def to_message(self) -> dict[str, Any]:
        """Give it as ASGI has it."""
        is_text = isinstance(self._pieces[0], str)
        whole = ("" if is_text else b"").join(self._pieces)
        return {"type": "websocket.receive", "bytes": None if is_text else whole, "text": whole if is_text else None}


def _leaves(group: BaseExceptionGroup[Exception]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found.extend(_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    return found
