"""Taking connections: as many as there are descriptors for, and some left over.

A sandbox needs descriptors for its pipes, and the store for its files; so viewers may not have the last ones. When the
places are taken, further clients wait in the kernel's backlog until somebody leaves; idle connections leave by themselves.

Never: crashes or spins when descriptors run out anyway, because something else took them.
"""

from __future__ import annotations

import errno
import resource
from typing import Any

import structlog
import trio

from execd.http.connection import Wiring, serve_connection

log = structlog.get_logger()

RESERVED_SHARE = 0.25
"""Of the descriptors, kept for sandboxes (about ten each), the store and the files served."""
EXHAUSTED_ERRNOS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
EXHAUSTED_PAUSE_S = 0.1
"""Until the next attempt: the kernel tells nobody when a descriptor comes back (trio.serve_listeners waits as long)."""
REPORT_EVERY_S = 30.0
"""Between two lines of log about a shortage: it lasts, and one line per client would be a flood of its own."""


def max_connections() -> int:
    """Give how many connections may be open at one time, by this process's limit of open files."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Without a limit, the most the kernel allows by default (fs.nr_open).
    open_files = 2**20 if soft == resource.RLIM_INFINITY else soft
    return max(1, int(open_files * (1 - RESERVED_SHARE)))


class Doorkeeper:
    """Hands out the places. Owns: who is inside."""

    def __init__(self, wiring: Wiring, *, places: int) -> None:
        self._wiring = wiring
        self._place_count = places
        self._places = trio.Semaphore(places)
        self._reported_at = -REPORT_EVERY_S

    async def accept(self, listener: trio.SocketListener, connections: trio.Nursery) -> None:
        """Accept for ever and serve each client in the nursery. Cancellation: closes the listener."""
        async with listener:
            while True:
                await self._wait_for_place()
                stream = await self._accept_one(listener)
                if stream is None:
                    self._places.release()
                else:
                    connections.start_soon(self._serve, stream)

    async def _accept_one(self, listener: trio.SocketListener) -> trio.SocketStream | None:
        """Give the next client; None, after a pause, when there is no descriptor for it."""
        try:
            return await listener.accept()
        except OSError as error:
            if error.errno not in EXHAUSTED_ERRNOS:
                raise
            self._wiring.counters.add("execd_http_accept_failures_total")
            self._report("accept_failed", reason=errno.errorcode[error.errno])
            await trio.sleep(EXHAUSTED_PAUSE_S)
            return None

    async def _wait_for_place(self) -> None:
        try:
            self._places.acquire_nowait()
        except trio.WouldBlock:
            self._wiring.counters.add("execd_http_full_total")
            self._report("connections_full", max_connections=self._place_count)
            await self._places.acquire()

    async def _serve(self, stream: trio.SocketStream) -> None:
        try:
            await serve_connection(self._wiring, stream)
        finally:
            self._places.release()

    def _report(self, event: str, **fields: Any) -> None:
        if trio.current_time() >= self._reported_at + REPORT_EVERY_S:
            self._reported_at = trio.current_time()
            log.error(event, advice="raise the hard limit of open files (ulimit -Hn, LimitNOFILE=)", **fields)
