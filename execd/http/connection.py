"""One client's connection, hardened: what goes wrong on it stays its own problem.

Hypercorn's trio worker dies of one bad request, waits for ever on a client that does not read, and forgets its idle
timer under quart-trio (all measured on 0.18.0, which is pinned: private names are used here). So this class replaces its
connection loop: every exception is logged, counted and dropped; every send makes progress within a deadline or the
connection is aborted; closing lingers, so that a refusal of a large body reaches the client that is still sending it.

HTTP/2 and permessage-deflate do not exist here: neither is bounded in memory. A proxy in front may speak both.
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass

import h11
import structlog
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.protocol.ws_stream import WSStream
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.worker_context import TrioSingleTask, WorkerContext
from hypercorn.typing import AppWrapper, ConnectionState, LifespanState
from hypercorn.utils import parse_socket_addr

from execd.http.direct import SCOPE_KEY, DirectWriter
from execd.telemetry import Counters

log = structlog.get_logger()

RECEIVE_BYTES = 64 * 1024
SLICE_BYTES = 32 * 1024
"""What must leave within one send deadline: a reader of 6.5 KiB/s keeps up with 5 s."""
LINGER_S = 1.0
"""How long a closed connection still takes what the client sends: a reset would throw away our last bytes."""
HANDOVER_S = 5.0
"""How long the application may take to be told that the client has gone."""
_ASCII_HEADERS = frozenset({b"connection", b"upgrade", b"sec-websocket-protocol", b"sec-websocket-key"})


@dataclass(frozen=True, slots=True)
class Wiring:
    """What all connections share."""

    app: AppWrapper
    config: Config
    context: WorkerContext
    send_deadline_s: float
    counters: Counters


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
        self._is_closing = False
        self._is_aborted = False
        self._protocol: Protocol

    async def run(self) -> None:
        """Serve the client until it or we close; never raises for what happens on it."""
        self._wiring.counters.add("execd_http_connections_total")
        try:
            await self._serve()
        except* OSError:
            pass
        except* Exception as group:
            self._wiring.counters.add("execd_http_connections_crashed_total")
            log.warning("connection_crashed", errors=[repr(error)[:200] for error in _leaves(group)])
        finally:
            await trio.aclose_forcefully(self._stream)

    async def _serve(self) -> None:
        socket = self._stream.socket
        client = parse_socket_addr(socket.family, socket.getpeername())
        server = parse_socket_addr(socket.family, socket.getsockname())
        async with TaskGroup() as tasks:
            self._tasks = tasks
            wiring = self._wiring
            direct = DirectWriter(self._stream.socket.fileno, is_busy=self._is_sending, send=self._send)
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
        if handover.cancelled_caught or self._is_aborted:
            self._cancel_tasks()

    def _cancel_tasks(self) -> None:
        nursery = self._tasks._nursery  # noqa: SLF001 # hypercorn's group has no other way
        if nursery is not None:
            nursery.cancel_scope.cancel()

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
                await self._send_slices(memoryview(data))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self._abort()
            except trio.TooSlowError:
                self._wiring.counters.add("execd_http_stalled_total")
                log.info("client_stalled", waited_s=self._wiring.send_deadline_s)
                self._abort()

    async def _send_slices(self, data: memoryview) -> None:
        """Send in slices that each have the deadline: a slow link is served, a stalled one is not.

        Shielded, because half a chunk cannot be taken back: what follows on this connection would be read as its rest.
        """
        for start in range(0, len(data), SLICE_BYTES):
            with trio.CancelScope(shield=True, deadline=trio.current_time() + self._wiring.send_deadline_s) as scope:
                await self._stream.send_all(data[start : start + SLICE_BYTES])
            if scope.cancelled_caught:
                raise trio.TooSlowError

    def _abort(self) -> None:
        """Give the connection up: reading stops, wherever it waits, and the application is told."""
        self._is_aborted = True
        self._is_closing = True
        self._reading.cancel()

    async def _begin_close(self) -> None:
        if self._is_closing:
            return
        self._is_closing = True
        self._reading.deadline = trio.current_time() + LINGER_S
        # Shielded like the idle timer: the request that ends here is being cancelled by quart-trio.
        with (
            trio.CancelScope(shield=True, deadline=trio.current_time() + LINGER_S),
            suppress(trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError),
        ):
            await self._stream.send_eof()

    async def _close_when_idle(self) -> None:
        """Wait for the end of idling or of the server; a request in between cancels this."""
        with trio.move_on_after(self._wiring.config.keep_alive_timeout or math.inf):
            await self._wiring.context.terminated.wait()
        self._is_closing = True
        self._reading.cancel()


class Protocol(H11Protocol):
    """HTTP/1.1 and WebSocket, and nothing they could be upgraded to."""

    async def _check_protocol(self, event: h11.Request) -> None:
        """Ignore `Upgrade: h2c` and the HTTP/2 preface: they get an answer in HTTP/1.1."""

    async def handle(self, event: Event) -> None:
        """Take what arrived. Frames before the handshake's answer end the connection (RFC 6455, section 4.1)."""
        is_early = isinstance(event, RawData) and event.data and isinstance(self.stream, WSStream)
        if is_early and isinstance(self.stream, WSStream) and not self.stream.handshake.accepted:
            await self.send(Closed())
            return
        await super().handle(event)

    async def _create_stream(self, request: h11.Request) -> None:
        """Refuse here what would meet the application's answer half-way, or be decoded where nobody catches it."""
        is_garbled = any(name in _ASCII_HEADERS and not value.isascii() for name, value in request.headers)
        is_upgrade = any(name == b"upgrade" and b"websocket" in value.lower() for name, value in request.headers)
        names = {name for name, _ in request.headers}
        # RFC 9112, section 6.1: both at once is how requests are smuggled past a proxy.
        is_doubled = b"transfer-encoding" in names and b"content-length" in names
        if is_garbled or is_doubled or (is_upgrade and self.connection.trailing_data[0]):
            await self._send_error_response(400)
            await self.send(Closed())
            return
        headers = [(name, value) for name, value in request.headers if name != b"sec-websocket-extensions"]
        plain = h11.Request(
            method=request.method, target=request.target, headers=headers, http_version=request.http_version
        )
        await super()._create_stream(plain)


def _leaves(group: BaseExceptionGroup[Exception]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found.extend(_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    return found
