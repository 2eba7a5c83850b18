"""How long the nodes of an execution took: what is kept of one that succeeded, to tell how long the next may take."""

from __future__ import annotations

import msgspec

from execd.core.events import NodeId

KEPT_RUNS = 20
"""Of one definition: enough for quartiles, few enough to follow a change within a day of hourly runs."""

NodeTime = int | tuple[int, int] | None
"""Milliseconds; of a `map` with how many items it had; None where its branch was not taken."""


class RunTimes(msgspec.Struct, frozen=True, omit_defaults=True):
    """One successful execution of a saved definition."""

    nodes: dict[NodeId, NodeTime]
    """Of its own graph. A node that failed and was allowed to is not here, nor one that people take part in."""
    total_ms: int | None = None
    """From start to end; None where it was paused or asked somebody, because then people's time is in it."""
