"""Messages that were taken: a signed one that comes again within its time is answered, not obeyed again.

Owns: their signatures, in memory and bounded. Nothing depends on one being remembered, because a report that is obeyed
twice says nothing new the second time; it only spares the work.
"""

from __future__ import annotations

from datetime import datetime

MAX_REMEMBERED = 10_000
"""About 2 MiB; thirty messages a second, over a window of five minutes. Beyond it the oldest are forgotten."""


class Replays:
    """The signatures of messages that were taken, oldest first."""

    def __init__(self, *, limit: int = MAX_REMEMBERED) -> None:
        self._limit = limit
        self._until: dict[str, datetime] = {}

    def __len__(self) -> int:
        return len(self._until)

    def has(self, signature: str) -> bool:
        """Whether this message was taken already."""
        return signature in self._until

    def remember(self, signature: str, *, until: datetime, now: datetime) -> None:
        """Note that it was taken.

        Args:
            until: when its time is over anyway.
        """
        self._until.pop(signature, None)
        while self._until and (len(self._until) >= self._limit or next(iter(self._until.values())) <= now):
            del self._until[next(iter(self._until))]
        self._until[signature] = until
