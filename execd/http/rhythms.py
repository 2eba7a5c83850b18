"""How a replay is asked for over HTTP: the parameters of a stream."""

from __future__ import annotations

from quart import Request, Websocket

from execd.core.fields import Range
from execd.core.replay import MAX_IDLE_LIMIT_S, MAX_SPEED, MIN_IDLE_LIMIT_S, MIN_SPEED, Rhythm
from execd.http.cursors import QUERY_NAMES
from execd.http.queries import QueryReader
from execd.http.replaying import check_replayable
from execd.ports import ExecutionRecord

REPLAY_NAMES = ("speed", "idle_limit_s")


def parse_rhythm(query: QueryReader) -> Rhythm | None:
    """Read how to replay; None where the stream is to be as ever. Faults are noted in `query`."""
    speed = query.number("speed", Range(MIN_SPEED, MAX_SPEED))
    idle_limit_s = query.number("idle_limit_s", Range(MIN_IDLE_LIMIT_S, MAX_IDLE_LIMIT_S, unit="seconds"))
    if speed is None:
        if idle_limit_s is not None:
            query.fault("idle_limit_s", "is given without `speed`", "both, or neither")
        return None
    return Rhythm(speed=speed, idle_limit_s=idle_limit_s)


def read_rhythm(request: Request | Websocket, record: ExecutionRecord) -> Rhythm | None:
    """Read the parameters of a stream of one execution; None where it is to be as ever.

    Raises:
        InvalidRequestError: a parameter is unknown or wrong.
        ConflictError: a replay is asked for of an execution that goes on.
    """
    query = QueryReader(request, known=(*QUERY_NAMES, *REPLAY_NAMES))
    rhythm = parse_rhythm(query)
    query.finish()
    if rhythm is not None:
        check_replayable(record)
    return rhythm
