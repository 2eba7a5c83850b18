"""The witness: a listener of the campaign to which scripts tell that they began and finished. It sees runs, not claims."""

from __future__ import annotations

from collections import Counter

import trio

from chaos.wire import HOST

MAX_LINE_BYTES = 200


class Witness:
    """Counts what scripts told, by their token."""

    def __init__(self) -> None:
        self.started: Counter[str] = Counter()
        self.finished: Counter[str] = Counter()
        self.port = 0

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Listen until cancelled."""
        listeners = await trio.open_tcp_listeners(0, host=HOST)
        self.port = int(listeners[0].socket.getsockname()[1])
        task_status.started()
        await trio.serve_listeners(self._hear, listeners)

    async def _hear(self, stream: trio.SocketStream) -> None:
        """Take one line; the answer lets the script go on, so what it does next comes after it was counted."""
        try:
            line = b""
            while not line.endswith(b"\n") and len(line) < MAX_LINE_BYTES:
                received = await stream.receive_some(MAX_LINE_BYTES)
                if not received:
                    break
                line += received
            word, _, token = line.decode().strip().partition(" ")
            {"started": self.started, "finished": self.finished}.get(word, Counter[str]())[token] += 1
            await stream.send_all(b"k")
        except trio.BrokenResourceError:
            pass
        finally:
            await trio.aclose_forcefully(stream)
