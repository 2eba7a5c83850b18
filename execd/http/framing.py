"""How a stream of Server-Sent Events speaks: the seam between the journal and the wire, one `Dialect` for each vocabulary.

A dialect is a record of pure functions. To add one: write the projection in `execd/http/dialects/<name>.py`, make a
`Dialect` of it, and give that to `JournalFeed` (execd/http/sse.py) and `DirectWriter.begin` (execd/http/direct.py). All
the rest is shared with the native stream (execd/http/streams.py: `subscribe`, `pace_of`, `shortcut`, `stream_response`):
cursors, replay that becomes live, eviction, heartbeats, age, the short cut.

What a dialect need not care about:
- *Once for all viewers.* `Dialect.frame` and `Dialect.chunk` keep what they make with the event, under the dialect's
  name, so the projection runs once per event however many watch. Hence it may look at the event, and at what is the same
  for everybody who watches that execution (labels from its spec, say): never at the viewer, its cursor or the clock.
- *Silence.* An event for which the projection gives `b""` is passed over. The cursor goes on, a heartbeat comes no later
  for it, and who resumes after the last block it was sent passes over the same events again and gets none twice.
- *The end.* A stream ends with `result_stored`, so a terminal block is made of that event: then its `id:` is the journal's
  last seq, and a reconnect that carries it is told 204. The five terminal events before it are `b""`.

A dialect whose blocks depend on more than one event (a recapitulation before the end, pacing, one write a block) brings a
`Feed` of its own, which may wrap a `JournalFeed`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from execd.ports import StreamedEvent


def no_opening() -> bytes:
    """Give nothing: the first block is that of the first event."""
    return b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One vocabulary. Blocks are whole: each ends with an empty line."""

    name: str
    """The key of its blocks in `StreamedEvent.frames`."""
    project: Callable[[StreamedEvent], bytes]
    """Gives an event's block, or blocks; `b""` where the dialect has no word for it."""
    make_heartbeat: Callable[[], bytes]
    make_eviction: Callable[[str, int], bytes]
    """Gives the block that ends a stream early, from the reason (`lifetime`, `slow`, `draining` …) and the last seq."""
    make_opening: Callable[[], bytes] = no_opening
    """Gives what is sent at once, before any event; one without an `id:` leaves every client's cursor where it was."""
    _chunk_name: str = field(init=False)
    """The key of its blocks as chunks; made once, because it is looked up for every viewer and event."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "_chunk_name", f"{self.name}/chunk")

    def frame(self, event: StreamedEvent) -> bytes:
        """Give an event's block; made once for all viewers."""
        frame = event.frames.get(self.name)
        if frame is None:
            frame = event.frames[self.name] = self.project(event)
        return frame

    def chunk(self, event: StreamedEvent) -> bytes:
        """Give an event's block as one chunk (RFC 9112, section 7.1); an empty one would end the response."""
        chunk = event.frames.get(self._chunk_name)
        if chunk is None:
            block = self.frame(event)
            chunk = event.frames[self._chunk_name] = b"%x\r\n%b\r\n" % (len(block), block) if block else b""
        return chunk
