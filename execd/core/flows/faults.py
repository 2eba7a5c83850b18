"""What is wrong with a config, as clients of flows read it: objects with `field`, `message`, `type` and more, in order."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import islice
from typing import Any

from msgspec import UNSET

from execd.core.flows.js_values import is_truthy

STRUCTURE, VALUE = "structure", "value"
MAX_ERRORS = 1000
"""Told at most: a config of a million wrong fields would otherwise make an answer larger than itself."""
MAX_SHOWN_CHARS = 200
"""Of a text that the config has, in a message."""


class EnoughError(Exception):
    """So many errors were found that nobody reads more: looking ends here."""


class Place:
    """Where in a config one looks: the path of a node or of the defaults, and which node it is. Immutable."""

    def __init__(self, path: str, *, index: int | None = None, node: Mapping[str, Any] | None = None) -> None:
        self.path = path
        self._index = index
        self._id: Any = None
        if node is not None:
            identifier = node.get("id", UNSET)
            self._id = identifier if is_truthy(identifier) else f"Node {index}"

    @property
    def keys(self) -> dict[str, Any]:
        """What every error there says of the node; nothing outside of nodes."""
        return {} if self._index is None else {"nodeIndex": self._index, "nodeId": self._id}


class ConfigErrors:
    """Collects them. Owned by one validation."""

    def __init__(self) -> None:
        self.found: list[dict[str, Any]] = []

    def add(
        self,
        field: str,
        message: str,
        kind: str,
        *,
        category: str | None = None,
        keys: Mapping[str, Any] | None = None,
        suggestion: str | None = None,
    ) -> None:
        """Note one; `keys` say which node it is about. Raises EnoughError when there are enough."""
        if len(self.found) >= MAX_ERRORS:
            raise EnoughError
        error: dict[str, Any] = {"field": field, "message": message, "type": kind}
        if category is not None:
            error["category"] = category
        error |= keys or {}
        if suggestion is not None:
            error["suggestion"] = suggestion
        self.found.append(error)


def shown(text: str) -> str:
    """Cut what a config says, so that an answer cannot be made huge by the question."""
    return text if len(text) <= MAX_SHOWN_CHARS else text[:MAX_SHOWN_CHARS] + "..."


def ids_suggestion(ids: Collection[str]) -> str:
    """List the ids there are."""
    return f"Valid node IDs: {', '.join(shown(name) for name in islice(ids, 100))}"
