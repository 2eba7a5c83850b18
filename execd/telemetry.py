"""Logging: an event name and fields, console on a terminal, JSON elsewhere; and counters for `/metrics`.

Never: user output, tokens or environment values in a log.
"""

from __future__ import annotations

import logging
import sys
from collections import Counter
from typing import Any

import structlog


def configure_logging(*, level: str, style: str) -> None:
    """Set up structlog for this process; logs go to stderr.

    Args:
        level: `debug`, `info`, `warning` or `error`; `auto` is `info`, but `warning` on the console, where a person
            reads along and one line per request would be in the way.
        style: `console`, `json`, or `auto` for console on a terminal only.
    """
    is_console = style == "console" or (style == "auto" and sys.stderr.isatty())
    # Plain traces: the default ones print local variables, and one of those may be somebody's token.
    console = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    renderer: Any = console if is_console else structlog.processors.JSONRenderer()
    if level == "auto":
        level = "warning" if is_console else "info"
    processors: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if not is_console:
        processors.append(structlog.processors.format_exc_info)
    structlog.configure(
        processors=[*processors, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


class Counters:
    """Counts that only grow, by Prometheus-style name, `name_total` or `name_total{label=value}`. One per engine, handed
    to whoever counts."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self.troubles: dict[str, str] = {}
        """What hinders a part at this moment, by its name in `/readyz`; whoever is hindered says so, and takes it back."""

    def add(self, name: str, amount: int = 1) -> None:
        self._counts[name] += amount

    def read(self) -> dict[str, float]:
        return dict(self._counts)
