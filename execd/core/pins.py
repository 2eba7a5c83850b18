"""What a node gave, known before it runs."""

from __future__ import annotations

from typing import Any

import msgspec


class Pin(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a node gave, said in advance."""

    output: Any = None
    port: str | None = None
    sealed: dict[str, str] = {}
    """Of an answer, what is secret; see `InputReceived`."""
