"""What is known of the nodes of something that runs: a fold of its journal. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from execd.core.event_parts import Failure
from execd.core.events import (
    Event,
    InputRequired,
    NodeCompleted,
    NodeExpanded,
    NodeFailed,
    NodeRetrying,
    NodeSkipped,
    NodeStarted,
    NodeWaiting,
    Progress,
)


@dataclass(slots=True)
class NodeEntry:
    """One node, inner ones too."""

    id: str
    status: str = "pending"
    """As in results, or `running`, `retrying`, `waiting`, `asking`."""
    label: str = ""
    type: str = ""
    attempt: int = 0
    started_at: datetime | None = None
    until: datetime | None = None
    """When it goes on, or gives up asking."""
    duration_ms: int | None = None
    error: Failure | None = None
    output: Any = None
    reason: str = ""
    """Why it was skipped."""
    items: int = 0
    """How often its body runs."""

    @property
    def depth(self) -> int:
        return self.id.count("/")


class NodeBook:
    """Every node heard of, in the order of their beginning."""

    def __init__(self) -> None:
        self.entries: dict[str, NodeEntry] = {}
        self.progress: Progress | None = None
        self.progress_at: datetime | None = None
        self._active: dict[str, NodeEntry] = {}
        self._busy: dict[str, set[str]] = {}
        """The runs of a map's body that have a node under way, by the map; kept as it changes, a map may be large."""
        self._seen: dict[str, set[str]] = {}

    def active(self) -> Iterator[NodeEntry]:
        """Give what runs or waits now, in the order of its beginning."""
        return iter(self._active.values())

    @property
    def active_count(self) -> int:
        return len(self._active)

    @property
    def waits_for_people(self) -> bool:
        """Whether nothing goes on until somebody answers."""
        return bool(self._active) and all(entry.status in {"asking", "pending"} for entry in self._active.values())

    def items_done(self, node: str) -> int:
        """Count the items of a map that have begun and of which nothing is under way."""
        return len(self._seen.get(node, ())) - len(self._busy.get(node, ()))

    def take(self, event: Event) -> None:
        """Hear the next event."""
        if isinstance(event.data, Progress):
            self.progress, self.progress_at = event.data, event.at
        elif event.node is not None:
            entry = self.entries.setdefault(event.node, NodeEntry(event.node))
            self._take(entry, event)
            self._count(entry)

    def _count(self, entry: NodeEntry) -> None:
        is_active = entry.status in _ACTIVE
        if is_active:
            self._active.setdefault(entry.id, entry)
        else:
            self._active.pop(entry.id, None)
        item, _, _ = entry.id.rpartition("/")
        if not item.endswith("]"):
            return
        node = item[: item.rindex("[")]
        self._seen.setdefault(node, set()).add(item)
        busy = self._busy.setdefault(node, set())
        if is_active:
            busy.add(item)
        else:
            busy.discard(item)

    def _take(self, entry: NodeEntry, event: Event) -> None:
        match event.data:
            case NodeStarted(label=label, type=kind):
                entry.status, entry.label, entry.type = "running", label, kind
                entry.attempt, entry.started_at, entry.until = event.attempt or 1, event.at, None
            case NodeExpanded(items=items):
                entry.items = len(items)
            case NodeWaiting(until=until):
                entry.status, entry.until = "waiting", until
            case InputRequired(expires_at=expires_at):
                entry.status, entry.until = "asking", expires_at
            case NodeRetrying(error=error, retry_at=retry_at):
                entry.status, entry.error, entry.until = "retrying", error, retry_at
            case NodeCompleted(duration_ms=duration_ms, output=output):
                entry.status, entry.duration_ms, entry.output, entry.error = "completed", duration_ms, output, None
            case NodeFailed(duration_ms=duration_ms, error=error):
                entry.status, entry.duration_ms, entry.error = "failed", duration_ms, error
            case NodeSkipped(reason=reason):
                entry.status, entry.reason = ("not_run" if reason == "not_run" else "skipped"), reason


_ACTIVE = frozenset({"running", "retrying", "waiting", "asking"})
