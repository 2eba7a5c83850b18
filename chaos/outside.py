"""The outside: an HTTP server of the campaign that flows ask, and the witness of every request that was really made.

A request is `/{manner}/{token}/{step}?row=&after=`: how it is answered, which wish it is of, and which node of it. What it is
answered has a number no other answer has, so that whatever a journal says was given can be traced to one request.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import h11
import trio

from chaos.wire import HOST, READ_BYTES

SLOW_S = 0.25
"""What a slow step takes: long enough that kills fall into it."""
FLAKY_TIMES = 2
"""How often a flaky step is refused before it is answered."""


@dataclass
class Asked:
    """One request, in the order of their arrival."""

    token: str
    node: str
    """As the journal names it: with its row, if it has one."""
    method: str
    query: Mapping[str, str]
    body: bytes
    serial: int
    """Of the answer; stands in it."""
    nth: int
    """Which request of its node it is, from 1."""
    meant: int
    """The status it is to be answered with; 0: none at all, -1: half an answer."""
    starts: int | None = None
    """How many starts of this node the file held when it came; None where that could not be read."""


@dataclass(frozen=True)
class _Manner:
    """How a request is answered: `statuses` in turn, the last for ever; 0 is no answer at all, -1 half of one."""

    statuses: tuple[int, ...] = (200,)
    after_s: float = 0.0


MANNERS: Mapping[str, _Manner] = {
    "ok": _Manner(),
    "slow": _Manner(after_s=SLOW_S),
    "flaky": _Manner(statuses=(503,) * FLAKY_TIMES + (200,)),
    "fails": _Manner(statuses=(500,)),
    "silent": _Manner(statuses=(0,)),
    "cut": _Manner(statuses=(-1, 200)),
}


@dataclass
class Outside:
    """The server. `look` counts what the file under test holds, at the instant of a request."""

    look: Callable[[str, str], int | None] = lambda _token, _node: None
    on_asked: Callable[[], None] = lambda: None
    """Called at the instant of each request."""
    asked: dict[str, list[Asked]] = field(default_factory=dict)
    """By token, in the order of their arrival."""
    port: int = 0
    _serials: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _news: trio.lowlevel.ParkingLot = field(default_factory=trio.lowlevel.ParkingLot)

    @property
    def requests(self) -> list[Asked]:
        return [asked for of_one in self.asked.values() for asked in of_one]

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Listen until cancelled."""
        listeners = await trio.open_tcp_listeners(0, host=HOST)
        self.port = int(listeners[0].socket.getsockname()[1])
        task_status.started()
        await trio.serve_listeners(self._serve, listeners)

    def of(self, token: str) -> list[Asked]:
        """Give what one wish asked, in order."""
        return self.asked.get(token, [])

    async def wait_asked(self, token: str, step: str) -> None:
        """Wait until a step of a wish has asked."""
        while not any(asked.node.rpartition("/")[2] == step for asked in self.of(token)):
            await self._news.park()

    async def _serve(self, stream: trio.SocketStream) -> None:
        connection = h11.Connection(h11.SERVER)
        try:
            while await self._answer_next(stream, connection):
                connection.start_next_cycle()
        except (trio.BrokenResourceError, h11.RemoteProtocolError, h11.LocalProtocolError):
            pass  # it was killed while it spoke
        finally:
            await trio.aclose_forcefully(stream)

    async def _answer_next(self, stream: trio.SocketStream, connection: h11.Connection) -> bool:
        """Hear one request and answer it; False where the connection is over."""
        head, body = None, b""
        while not isinstance(event := await _next_event(stream, connection), h11.EndOfMessage):
            match event:
                case h11.Request():
                    head = event
                case h11.Data(data=data):
                    body += data
                case _:
                    return False
        assert head is not None
        asked, manner = self._note(head.method.decode(), head.target.decode(), body)
        asked.starts = await trio.to_thread.run_sync(self.look, asked.token, asked.node)
        await trio.sleep(manner.after_s)
        return await _tell(stream, connection, asked)

    def _note(self, method: str, target: str, body: bytes) -> tuple[Asked, _Manner]:
        parts = urlsplit(target)
        _, name, token, step = parts.path.split("/")
        query = dict(parse_qsl(parts.query))
        node = f"rows[{query['row']}]/{step}" if "row" in query else step
        earlier = self.asked.setdefault(token, [])
        nth = 1 + sum(asked.node == node for asked in earlier)
        manner = MANNERS[name]
        meant = manner.statuses[min(nth, len(manner.statuses)) - 1]
        earlier.append(Asked(token, node, method, query, body, serial=next(self._serials), nth=nth, meant=meant))
        self._news.unpark_all()
        self.on_asked()
        return earlier[-1], manner


async def _tell(stream: trio.SocketStream, connection: h11.Connection, asked: Asked) -> bool:
    if asked.meant == 0:
        return False
    body = json.dumps({"serial": asked.serial, "node": asked.node, "token": asked.token}).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    said: list[h11.Event] = [h11.Response(status_code=asked.meant if asked.meant > 0 else 200, headers=headers)]
    said += [h11.Data(data=body), h11.EndOfMessage()] if asked.meant > 0 else [h11.Data(data=body[:5])]
    await stream.send_all(b"".join(connection.send(each) or b"" for each in said))
    return asked.meant > 0


async def _next_event(stream: trio.SocketStream, connection: h11.Connection) -> Any:
    while (event := connection.next_event()) is h11.NEED_DATA:
        connection.receive_data(await stream.receive_some(READ_BYTES))
    return event
