"""How large a config may be once its defaults are in every step: a few megabytes can ask for many gigabytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from execd.core.flows.configs import rows_of, table_of

MAX_NODES = 10_000
MAX_COPIES = 1_000_000
"""Headers and validations of the defaults, over all steps."""
MAX_COPIED_CHARS = 64 * 1024 * 1024
"""Of `baseUrl`, over all steps."""


def size_fault(config: Mapping[str, Any]) -> tuple[str, str] | None:
    """Name the field that makes a config too large, and say why; None for one that may be run."""
    count = sum(len(rows_of(config.get(key))) for key in ("nodes", "finally"))
    if count > MAX_NODES:
        return "nodes", f"Config must have at most {MAX_NODES} nodes"
    defaults = table_of(config.get("defaults"))
    copied = {
        "headers": len(table_of(defaults.get("headers"))),
        "validations": len(rows_of(defaults.get("validations"))),
    }
    for name, size in copied.items():
        if count * size > MAX_COPIES:
            return (
                f"defaults.{name}",
                f"defaults.{name} must have at most {MAX_COPIES // count} entries with {count} nodes",
            )
    base = defaults.get("baseUrl")
    if isinstance(base, str) and count * len(base) > MAX_COPIED_CHARS:
        return (
            "defaults.baseUrl",
            f"baseUrl must have at most {MAX_COPIED_CHARS // count} characters with {count} nodes",
        )
    return None
