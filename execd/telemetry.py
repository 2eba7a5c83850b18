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
        level: `debug`, `info`, `warning` or `error`.
        style: `console`, `json`, or `auto` for console on a terminal only.
    """
    is_console = style == "console" or (style == "auto" and sys.stderr.isatty())
    renderer: Any = structlog.dev.ConsoleRenderer() if is_console else structlog.processors.JSONRenderer()
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
    """Counts that only grow, by Prometheus-style name. One per process, handed to whoever counts."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def add(self, name: str, amount: int = 1) -> None:
        self._counts[name] += amount

    def read(self) -> dict[str, float]:
        return dict(self._counts)
