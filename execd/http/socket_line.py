"""What every accepted WebSocket lives by: heartbeats into its silence, and the reasons for which it ends.

Owns: when something was last sent, and the scope in which the tasks of one socket run. Whichever of them finds a reason to
end names it, and all end together.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from execd.http.sse import REVOKED, Pace


class SocketLine:
    """One accepted socket.

    Args:
        send: sends one text frame; waits while the client does not read, within the server's deadline.
        ping: the frame that breaks a silence, so that the transport notices a vanished peer.
    """

    def __init__(self, pace: Pace, send: Callable[[str], Awaitable[None]], *, ping: str) -> None:
        self._pace = pace
        self._send = send
        self._ping = ping
        self._sent_at = trio.current_time()
        self.reason = "internal_error"
        """Why it ended: a key of `CLOSE_CODES`."""
        self.scope = trio.CancelScope()
        self.watches = (self._keep_alive, self._end_in_time, self._end_when_revoked)
        """To be run beside whatever serves the socket, in `scope`."""

    async def send(self, frame: str) -> None:
        self._sent_at = trio.current_time()
        await self._send(frame)

    def end(self, reason: str) -> None:
        """End all that runs in the scope."""
        self.reason = reason
        self.scope.cancel()

    async def _keep_alive(self) -> None:
        while True:
            await trio.sleep_until(self._sent_at + self._pace.heartbeat_s)
            if trio.current_time() >= self._sent_at + self._pace.heartbeat_s:
                await self.send(self._ping)

    async def _end_in_time(self) -> None:
        await trio.sleep(self._pace.lifetime_s)
        self.end(self._pace.lifetime_reason)

    async def _end_when_revoked(self) -> None:
        while await self._pace.may_stay():  # noqa: ASYNC110 - another process may revoke it, so there is nothing to wait for
            await trio.sleep(self._pace.heartbeat_s)
        self.end(REVOKED)
