"""When a step is tried again: `retry: {attempts, delay_s, backoff, max_delay_s, on}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from execd.core.calls import CallFailure
from execd.core.flows.configs import rows_of, table_of
from execd.core.flows.js_values import is_number
from execd.core.specs import RetryPolicy

MAX_ATTEMPTS = 11
"""As nodes of a workflow have it: the first, and ten more."""
NETWORK, TIMEOUT, LOST = "network", "timeout", "lost"
DEFAULT_ON: tuple[int | str, ...] = (NETWORK, TIMEOUT, 429, 502, 503, 504)
"""What may be over by the next attempt."""
BACKOFFS = {"exponential": 2.0, "fixed": 1.0, "constant": 1.0}
MAX_DELAY_S = 300.0


class RetryRule(msgspec.Struct, frozen=True):
    """What is worth another attempt."""

    statuses: frozenset[str] = frozenset()
    """`503`, `5xx`."""
    network: bool = False
    timeout: bool = False
    is_asked_for: bool = False
    """Whether its author named the reasons: then what may have been done is done again, too."""

    def wants_status(self, status: int) -> bool:
        return str(status) in self.statuses or f"{status // 100}xx" in self.statuses

    def wants_failure(self, failure: CallFailure) -> bool:
        return failure.retryable and (self.timeout if failure.code == "timeout" else self.network)


def read_rule(value: Any) -> RetryRule:
    """Read what `on` names."""
    if not isinstance(value, Mapping):
        return RetryRule()
    named = rows_of(value.get("on"))
    reasons = [str(reason).lower() for reason in (named or DEFAULT_ON)]
    return RetryRule(
        statuses=frozenset(reasons),
        network=NETWORK in reasons,
        timeout=TIMEOUT in reasons,
        is_asked_for=bool(named),
    )


def read_policy(value: Any) -> RetryPolicy:
    """Read how often, and with what waits; what cannot be read is the default."""
    table = table_of(value)
    if not table:
        return RetryPolicy()
    backoff = table.get("backoff", 2.0)
    return RetryPolicy(
        retries=int(_bounded(table.get("attempts"), 2, 1, MAX_ATTEMPTS)) - 1,
        delay_s=_bounded(table.get("delay_s"), 1.0, 0.0, MAX_DELAY_S),
        factor=_bounded(BACKOFFS.get(backoff) if isinstance(backoff, str) else backoff, 2.0, 1.0, 10.0),
        jitter=0.1,
        max_delay_s=_bounded(table.get("max_delay_s"), MAX_DELAY_S, 0.0, MAX_DELAY_S),
        on_failure=True,
        on_lost=LOST in rows_of(table.get("on")),
    )


def _bounded(value: Any, default: float, low: float, high: float) -> float:
    return min(max(float(value), low), high) if is_number(value) else default
