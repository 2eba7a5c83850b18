"""Many viewers in one cheap process: raw sockets, no parsing but counting, so that the server is what is measured."""

from __future__ import annotations

import selectors
import socket
import time
from dataclasses import dataclass


@dataclass
class Tally:
    """What all viewers received together."""

    deliveries: int = 0
    received_bytes: int = 0
    wall_s: float = 0.0


MARK = b"event: output"


def connect(port: int, request: bytes, count: int) -> list[socket.socket]:
    """Open `count` streams."""
    connections = []
    for _ in range(count):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.sendall(request)
        connections.append(connection)
    return connections


def read_to_end(connections: list[socket.socket], *, deadline_s: float) -> Tally:
    """Read every stream until the server ends it, counting output events."""
    tally = Tally()
    tails: dict[socket.socket, bytes] = {}
    began = time.perf_counter()
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            connection.setblocking(False)
            selector.register(connection, selectors.EVENT_READ)
        while selector.get_map() and time.perf_counter() - began < deadline_s:
            for key, _ in selector.select(1):
                connection = key.fileobj
                assert isinstance(connection, socket.socket)
                data = connection.recv(262144)
                joined = tails.get(connection, b"") + data
                tally.deliveries += joined.count(MARK)
                tally.received_bytes += len(data)
                tails[connection] = joined[-(len(MARK) - 1) :]
                if not data or joined.endswith(b"0\r\n\r\n"):
                    selector.unregister(connection)
                    connection.close()
    tally.wall_s = time.perf_counter() - began
    return tally
