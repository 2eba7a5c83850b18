"""Serving the application: listeners, the order of going down, and nothing of hypercorn's own serve loop.

Going down (notes of hypercorn 0.18, section 3.4): the draining flag is set, SSE streams end with their final chunk and
WebSockets with 1012; when none is open, or the drain budget is spent, the listeners close; what is still answered gets
a grace; then every connection is cut. A live stream never holds it up.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import structlog
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.worker_context import WorkerContext

from execd.core.errors import ConfigurationError
from execd.http.accepting import Doorkeeper, max_connections
from execd.http.app import ExecdApp
from execd.http.config import HttpConfig
from execd.http.connection import Wiring

log = structlog.get_logger()

USER_TIMEOUT_S = 20.0
"""How long sent bytes may stay unacknowledged: a peer that vanished is noticed within a heartbeat and this. It also ends a
client that takes nothing for so long, so it is never less than the send deadline."""
UNSENT_BYTES = 128 * 1024
"""What the kernel takes for one client beyond what is on its way: without this up to 4 MiB (tcp_wmem), of machine memory that
no figure of ours shows, and seconds later that a client is found to be stalled."""
BACKLOG = 1024
GRACE_S = 3.0
"""For requests in flight after the listeners have closed."""
HEAD_BYTES = 64 * 1024
"""Of a request's line and headers together (nginx: 32 KiB in all, Node: 16 KiB; cookies of a shared localhost add up)."""
MESSAGE_BYTES = 2 * 1024 * 1024
"""Of one WebSocket message: a full stdin message in base64 fits."""


@dataclass(frozen=True, slots=True)
class Bound:
    """Where the server listens."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """What to type on this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)  # noqa: S104 # recognised, not bound
        return f"http://{f'[{host}]' if ':' in host and not host.startswith('[') else host}:{self.port}"


async def serve_http(
    app: ExecdApp,
    config: HttpConfig,
    *,
    shutdown_trigger: Callable[[], Awaitable[object]],
    task_status: trio.TaskStatus[Bound] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until the trigger returns, then drain; `started` gives the address once connections are accepted.

    Args:
        shutdown_trigger: returns when the server should go down; the rest is done here, within
            `drain_s` + 3 s, and calls `engine.drain()`.

    Raises:
        ConfigurationError: the address cannot be listened on; before `started`.

    Cancellation: cuts every connection at once.
    """
    listeners = await _open_listeners(config)
    context = WorkerContext(None)
    wiring = Wiring(
        app=ASGIWrapper(app),
        config=_hypercorn_config(config),
        socket_config=_socket_config(config),
        context=context,
        send_deadline_s=config.send_deadline_s,
        counters=app.front.counters,
        uniform=app.front.uniform,
        draining=app.front.streams.draining,
        connections=set(),
    )
    doorkeeper = Doorkeeper(wiring, places=config.max_connections or max_connections())
    async with trio.open_nursery() as connections:
        async with trio.open_nursery() as accepting:
            for listener in listeners:
                accepting.start_soon(doorkeeper.accept, listener, connections)
            task_status.started(_bound(listeners))
            await shutdown_trigger()
            await drain(app, config, hurry=wiring.hurry)
            accepting.cancel_scope.cancel()
        await context.terminated.set()
        connections.cancel_scope.deadline = trio.current_time() + GRACE_S
    log.info("http_stopped", open_streams=app.front.streams.open_count)


async def drain(app: ExecdApp, config: HttpConfig, *, hurry: Callable[[], None]) -> None:
    """End every stream politely, within the budget; `hurry` shortens what is being sent."""
    streams = app.front.streams
    log.info("http_draining", open_streams=streams.open_count)
    streams.draining.set()
    app.front.engine.drain()
    hurry()
    with trio.move_on_after(config.drain_s):
        await streams.wait_empty()


async def _open_listeners(config: HttpConfig) -> list[trio.SocketListener]:
    try:
        listeners = await trio.open_tcp_listeners(config.port, host=config.host, backlog=BACKLOG)
    except OSError as error:
        where = f"{config.host}:{config.port}"
        why = error.strerror or str(error)
        raise ConfigurationError(f"cannot listen on {where}: {why}; choose another http.host or http.port") from error
    for listener in listeners:
        # Accepted sockets inherit it. Linux only; elsewhere the send deadline alone bounds a vanished peer.
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            user_timeout_s = max(USER_TIMEOUT_S, config.send_deadline_s)
            listener.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(user_timeout_s * 1000))
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            listener.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        listener.socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return listeners


def _bound(listeners: list[trio.SocketListener]) -> Bound:
    host, port, *_ = listeners[0].socket.getsockname()
    return Bound(host=host, port=port)


def _hypercorn_config(config: HttpConfig) -> Config:
    chosen = Config()
    chosen.logger_class = ServerLog  # type: ignore[assignment] # it has every method that is called
    chosen.include_server_header = False
    chosen.h11_max_incomplete_size = HEAD_BYTES
    chosen.keep_alive_timeout = config.keep_alive_s
    chosen.keep_alive_max_requests = 2**31
    chosen.websocket_max_message_size = MESSAGE_BYTES
    chosen.graceful_timeout = GRACE_S
    return chosen


def _socket_config(config: HttpConfig) -> Config:
    """A WebSocket's messages wait one at a time: ten of them, the default, may be 20 MiB."""
    chosen = _hypercorn_config(config)
    chosen.max_app_queue_size = 1
    return chosen


class ServerLog:
    """Hypercorn's messages as ours. Access lines are the boundary's business."""

    def __init__(self, config: Config) -> None:
        pass

    async def access(self, *_: Any) -> None:
        """Nothing: one line per request is enough."""

    async def exception(self, message: str, *args: Any, **_: Any) -> None:
        log.exception("server_exception", message=message % args if args else message)

    async def warning(self, message: str, *args: Any, **_: Any) -> None:
        log.warning("server_warning", message=message % args if args else message)

    async def info(self, message: str, *args: Any, **_: Any) -> None:
        log.debug("server_info", message=message % args if args else message)
