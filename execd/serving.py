"""The server process: an engine with its doors open, from start to the second Ctrl-C.

Stopping: streams end, the listeners close, what runs gets its grace, the actors stop in order (execd/bootstrap.py). A watchdog
ends the process if that hangs, and a second signal ends it at once: the journals are safe, so a hard end costs only manners.
"""

from __future__ import annotations

import gc
import os
import resource
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog
import trio

from execd.bootstrap import now_utc, open_local_engine
from execd.core.events import WorkspaceId
from execd.http.access import OWNER_PREFIX, Role, hash_secret, issue_token
from execd.http.app import make_app
from execd.http.config import FlowsphereConfig, HttpConfig
from execd.http.server import serve_http
from execd.packaged import packaged_page
from execd.ports import Engine
from execd.settings import Settings, load_runtimes
from execd.telemetry import configure_logging
from execd.version import VERSION

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """Where a running server is, and how to get in."""

    url: str
    token: str
    """An admin's token of the workspace `default`, the same at every start."""
    login_url: str
    """Opens the page and trades the token for a cookie."""
    data_dir: Path


async def serve(settings: Settings, *, on_ready: Callable[[ServerInfo], Awaitable[None]] | None = None) -> int:
    """Serve until SIGTERM or SIGINT, then stop in order.

    Returns:
        The exit code of the process: 0 after a clean stop.

    Raises:
        ExecdError: it cannot start; the message says what to mend.
        ExceptionGroup: an actor's restart budget is spent; the process should end with a code that is not zero.
    """
    configure_logging(level=settings.log_level, style=settings.log_format)
    _raise_descriptor_limit()
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            own_ports: set[int] = set()
            async with open_local_engine(settings, own_ports=own_ports) as engine:

                def on_stop() -> None:
                    _start_watchdog(settings)
                    nursery.start_soon(_leave_at_second_signal, signals)

                await _serve_until_signal(engine, settings, signals, own_ports, on_ready, on_stop)
            nursery.cancel_scope.cancel()
    return 0


async def _serve_until_signal(
    engine: Engine,
    settings: Settings,
    signals: AsyncIterator[int],
    own_ports: set[int],
    on_ready: Callable[[ServerInfo], Awaitable[None]] | None,
    on_stop: Callable[[], None],
) -> None:
    app = make_app(engine, load_runtimes(settings), _http_config(settings), now=now_utc)
    stopping = trio.Event()
    async with trio.open_nursery() as nursery:
        bound = await nursery.start(partial(serve_http, app, app.front.config, shutdown_trigger=stopping.wait))
        own_ports.add(bound.port)
        info = await _admit_owner(engine, settings, bound.port)
        _spare_the_collector()
        if on_ready is not None:
            await on_ready(info)
        number = await anext(aiter(signals))
        log.info("stopping", signal=signal.Signals(number).name)
        on_stop()
        engine.drain()
        stopping.set()


EXIT_WATCHDOG = 70
"""EX_SOFTWARE of sysexits.h: stopping hung."""
OWNER = "owner"
"""The user of the token that a server makes for whoever started it."""
DEFAULT_WORKSPACE = WorkspaceId("default")


async def _admit_owner(engine: Engine, settings: Settings, port: int) -> ServerInfo:
    host = f"[{settings.http.host}]" if ":" in settings.http.host else settings.http.host
    url = settings.http.public_url or f"http://{host}:{port}"
    secret = await _owner_token(engine, settings.data_dir / "owner.token")
    login_url = f"{url}/?token={secret}" if settings.is_loopback else url
    return ServerInfo(url=url, token=secret, login_url=login_url, data_dir=settings.data_dir)


async def _owner_token(engine: Engine, path: Path) -> str:
    """Give the token of whoever owns the data directory: the last start's, so that viewers outlive a restart, or a new
    one, kept in a file that only the owner may read. Deleting the file or revoking the token makes a new one."""
    kept = _read_secret(path)
    if kept and await engine.tokens.find_token(hash_secret(kept)) is not None:
        return kept
    issued = await issue_token(
        engine.tokens, workspace=DEFAULT_WORKSPACE, user=OWNER, role=Role.ADMIN, now=now_utc(), id_prefix=OWNER_PREFIX
    )
    _write_secret(path, issued.secret)
    return issued.secret


def _read_secret(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _write_secret(path: Path, secret: str) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secret)


def _http_config(settings: Settings) -> HttpConfig:
    http, stream, sandbox, flowsphere = settings.http, settings.stream, settings.sandbox, settings.flowsphere
    return HttpConfig(
        host=http.host,
        port=http.port,
        public_url=http.public_url,
        allowed_hosts=http.allowed_hosts,
        allowed_origins=http.allowed_origins,
        max_connections=http.max_connections,
        body_limit_bytes=http.body_limit_bytes,
        send_deadline_s=http.send_deadline_s,
        keep_alive_s=http.keep_alive_s,
        heartbeat_s=stream.heartbeat_s,
        lifetime_s=stream.lifetime_s,
        defaults=sandbox.defaults,
        caps=sandbox.caps,
        definition_limits=settings.definitions.limits,
        jobs_secret=settings.jobs.secret,
        env_names=frozenset(settings.expressions.env),
        flowsphere=FlowsphereConfig(
            is_open=flowsphere.open,
            workspace=flowsphere.workspace,
            page_dir=flowsphere.page_dir,
            body_limit_bytes=flowsphere.body_limit_bytes,
        ),
        page_dir=packaged_page(),
        version=VERSION,
    )


def _spare_the_collector() -> None:
    """Take what start-up made out of the garbage collector's rounds, and make the full rounds rare: with thousands of viewers
    the default settings cost three times the processor time per delivery.

    The small rounds stay small: a dropped connection leaves some 400 objects that refer to one another and hold what was
    being sent. With 50,000 of them to a round, a thousand drops stopped the server for 0.4 s and held 100 MiB (docs/stalled.md).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 20, 500)


def _raise_descriptor_limit() -> None:
    """Let this process have as many open files as the system allows it: each viewer is one, and 1,024, the usual soft limit,
    is for programs that use `select`. What runs in sandboxes has the limit its spec says."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError) as error:
        log.warning("descriptor_limit_kept", limit=soft, reason=str(error))
    else:
        log.info("descriptor_limit_raised", before=soft, now=hard)


def _start_watchdog(settings: Settings) -> None:
    """End the process if stopping itself hangs."""
    deadline_s = settings.shutdown.grace_s + settings.shutdown.watchdog_s
    watchdog = threading.Timer(deadline_s, os._exit, args=(EXIT_WATCHDOG,))
    watchdog.daemon = True
    watchdog.start()


async def _leave_at_second_signal(signals: AsyncIterator[int]) -> None:
    """A person who presses Ctrl-C twice does not want to wait for the grace."""
    number = await anext(aiter(signals))
    os._exit(128 + number)
