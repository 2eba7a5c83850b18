"""A view that remembers what it shows, so that a report can be made of it."""

from __future__ import annotations

from execd.cli.views import View
from execd.core.codec import StoredEvent
from execd.core.events import Event
from execd.core.flows.reporting import FlowRecord


class Recorder:
    """Hands on what it is shown, and keeps what a report needs in `record`. Implements `View`."""

    def __init__(self, view: View) -> None:
        self._view = view
        self.record = FlowRecord()

    async def show(self, stored: StoredEvent, event: Event | None) -> None:
        if event is not None:
            self.record.take(event)
        await self._view.show(stored, event)

    async def note(self, text: str) -> None:
        await self._view.note(text)

    async def keep_clock(self) -> None:
        await self._view.keep_clock()
