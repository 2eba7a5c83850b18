"""Where a viewer stands in a journal, and how long it waits before it connects again; both pure."""

from __future__ import annotations

import enum
from collections.abc import Callable

from execd.client_errors import GapError
from execd.core.event_types import RESULT_STORED


class Arrival(enum.Enum):
    """What to do with an event that arrived."""

    NEW = "new"
    REPEATED = "repeated"


class Cursor:
    """Accepts each event of one journal once, in order. Owned by one task.

    Args:
        after_seq: the last event the viewer has; 0 for none.
    """

    def __init__(self, after_seq: int = 0) -> None:
        self.last_seq = after_seq
        self.is_at_end = False
        """Whether `result_stored` was accepted: there will never be more."""

    def accept(self, seq: int, type_name: str) -> Arrival:
        """Step onto an event.

        Raises:
            GapError: it is not the next one. The cursor stays where it is.
        """
        if seq <= self.last_seq:
            return Arrival.REPEATED
        if seq != self.last_seq + 1:
            raise GapError(last_seq=self.last_seq, next_seq=seq)
        self.last_seq = seq
        self.is_at_end = type_name == RESULT_STORED
        return Arrival.NEW


class Backoff:
    """Waits that double up to a cap, each shortened at random by up to half, so that viewers do not return all at once.

    Args:
        first_s: the first wait; a server that restarts is back in about this time.
        cap_s: the longest wait; longer would leave a viewer blind after the server is back.
        uniform: where the randomness comes from, like `random.uniform`.
    """

    def __init__(self, *, first_s: float = 0.25, cap_s: float = 5.0, uniform: Callable[[float, float], float]) -> None:
        self._first_s = first_s
        self._cap_s = cap_s
        self._uniform = uniform
        self._failures = 0

    def reset(self) -> None:
        """Begin again with the first wait, after something worked."""
        self._failures = 0

    def next_wait_s(self, *, at_least_s: float = 0.0) -> float:
        """Give the next wait; never shorter than what the server asked for."""
        longest_s = min(self._cap_s, self._first_s * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return max(at_least_s, self._uniform(longest_s / 2, longest_s))
