"""The wall clock of a replay: what the time was then, going on at the speed of the replay."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import trio


class ReplayClock:
    """Set by every event that is shown."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._at: datetime | None = None
        self._heard_at = 0.0

    def hear(self, at: datetime) -> None:
        """Take the moment of an event that is shown now."""
        self._at, self._heard_at = at, trio.current_time()

    def now(self) -> datetime:
        """Give the moment the replay has reached."""
        if self._at is None:
            return datetime.now(UTC)
        return self._at + timedelta(seconds=(trio.current_time() - self._heard_at) * self._speed)
