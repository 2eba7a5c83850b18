"""A flow as it is stored and run: its config as its author wrote it, and what one run of it was given."""

from __future__ import annotations

from typing import Any

import msgspec

from execd.core.events import NodeId
from execd.core.flows.configs import rows_of
from execd.core.pins import Pin


class FlowSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="flow"):
    """A flow that can be compiled, whatever its config is."""

    config: dict[str, Any]
    """In the shape of FlowSphere, with execd's further keys."""
    start_step: int = 0
    """The steps before it are skipped; from 0."""
    input: dict[str, Any] = {}
    """Takes the place of the config's variables of the same names."""
    pins: dict[NodeId, Pin] = {}
    """See `Graph`."""

    @property
    def nodes(self) -> tuple[Any, ...]:
        """The steps as they are written, those of `finally` after the others."""
        return (*rows_of(self.config.get("nodes")), *rows_of(self.config.get("finally")))
