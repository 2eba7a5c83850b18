"""The rhythm of a replay: how long to wait before an event, from when it and the one before it happened. Pure."""

from __future__ import annotations

from datetime import datetime

import msgspec

MIN_SPEED, MAX_SPEED = 0.1, 1000.0
MIN_IDLE_LIMIT_S, MAX_IDLE_LIMIT_S = 0.0, 24 * 3600.0


class Rhythm(msgspec.Struct, frozen=True):
    """How a journal is played. Source: asciinema, `play --speed --idle-time-limit`; the limit comes first, then the speed."""

    speed: float = 1.0
    """2 is twice as fast as it was."""
    idle_limit_s: float | None = None
    """Longer silences of the journal count as so long; None: as long as they were."""

    def wait_s(self, before: datetime, after: datetime) -> float:
        """Give how long to wait between two events; a clock that was set back in between is no wait."""
        gap_s = max(0.0, (after - before).total_seconds())
        if self.idle_limit_s is not None:
            gap_s = min(gap_s, self.idle_limit_s)
        return gap_s / self.speed


class _Moment(msgspec.Struct):
    at: datetime


_decoder = msgspec.json.Decoder(_Moment)


def moment_of(body: bytes) -> datetime:
    """Read from an event's bytes when it happened."""
    return _decoder.decode(body).at
