"""Reads everything one sandbox says, as frames: one epoll over its pipes and process, pulled, never pushed.

There is no task and no queue between the program and whoever receives: while nobody pulls, the pipes fill and the program
waits. All reading happens synchronously after one wait, so a cancelled wait loses nothing.
"""

from __future__ import annotations

import contextlib
import os
import select

from execd.adapters.sandbox_process import Sandbox
from execd.adapters.shim_protocol import (
    RECORD_LIMIT_BYTES,
    EndRecord,
    ExecErrorRecord,
    StartedRecord,
    decode_record,
)
from execd.adapters.stdin_feed import StdinFeed
from execd.core.events import Stream
from execd.ports import Chunk, Dropped, Frame, Started

CHUNK_BYTES = 64 * 1024
TAIL_BYTES = 4096
"""How much of stderr is kept to look for hints in."""


class FramePump:
    """The reading side of one sandbox. Owns the epoll; the descriptors stay the sandbox's."""

    def __init__(self, sandbox: Sandbox, feed: StdinFeed, *, output_limit_bytes: int) -> None:
        self.sandbox = sandbox
        self.is_started = False
        self.exec_error: ExecErrorRecord | None = None
        self.end: EndRecord | None = None
        self.received_bytes = dict.fromkeys(Stream, 0)
        """What came through each pipe, kept or not."""
        self.dropped_bytes = dict.fromkeys(Stream, 0)
        self.stderr_tail = b""
        self.is_broken = False
        """Whether a pipe failed before its end-of-file: what arrived is then not all there was."""
        self._room_bytes = output_limit_bytes
        self._feed = feed
        self._records = b""
        self._epoll = select.epoll()
        self._streams = {sandbox.fds.stdout: Stream.STDOUT, sandbox.fds.stderr: Stream.STDERR}
        self._ends = {fd for fd in (sandbox.pidfd, sandbox.shim_pidfd) if fd is not None}
        self._open = {*self._streams, sandbox.fds.record, *self._ends}
        for fd in self._open:
            self._epoll.register(fd, select.EPOLLIN)
        self._watches_stdin = False

    def fileno(self) -> int:
        """Give a descriptor that is readable when `pump` has something to do."""
        return self._epoll.fileno()

    @property
    def has_something(self) -> bool:
        """Whether `pump` would find something to do now."""
        return bool(self._epoll.poll(0, 1))

    @property
    def is_complete(self) -> bool:
        """Whether both streams and the records are at their end and every process is gone."""
        return not self._open

    @property
    def is_gone(self) -> bool:
        """Whether the processes are gone, though their pipes may still be open in somebody's hands."""
        return not self._open & self._ends

    def pump(self) -> list[Frame]:
        """Take what is there now, at most one chunk of each stream."""
        frames: list[Frame] = []
        for fd, _ in self._epoll.poll(0):
            if fd in self._streams:
                frames += self._read_stream(fd)
            elif fd == self.sandbox.fds.record:
                frames += self._read_records()
            elif fd in self._ends:
                self._forget(fd)
        self._feed_stdin()
        return frames

    def final_frames(self) -> list[Frame]:
        """Say what the output limit cost; to be given just before the end."""
        return [Dropped(stream, count) for stream, count in self.dropped_bytes.items() if count]

    def give_up(self) -> None:
        """Stop waiting for pipes that survivors hold open."""
        self.is_broken = True
        self._open.clear()

    def close(self) -> None:
        """Idempotent; strictly before the sandbox closes its descriptors."""
        self._epoll.close()

    def watch_stdin(self) -> None:
        """Bring the epoll in line with whether stdin has something to write."""
        fd = self.sandbox.fds.stdin
        if self._feed.wants_to_write and not self._watches_stdin:
            self._epoll.register(fd, select.EPOLLOUT)
        elif self._watches_stdin and not self._feed.wants_to_write and self.sandbox.fds.is_stdin_open:
            self._epoll.unregister(fd)
        # A closed descriptor has left the epoll by itself.
        self._watches_stdin = self._feed.wants_to_write

    def _feed_stdin(self) -> None:
        if self._watches_stdin:
            self._feed.flush()
        self.watch_stdin()

    def _read_stream(self, fd: int) -> list[Frame]:
        stream = self._streams[fd]
        data = self._read(fd, CHUNK_BYTES)
        if not data:
            return []
        self.received_bytes[stream] += len(data)
        if stream is Stream.STDERR:
            self.stderr_tail = (self.stderr_tail + data)[-TAIL_BYTES:]
        kept = data[: self._room_bytes]
        self._room_bytes -= len(kept)
        self.dropped_bytes[stream] += len(data) - len(kept)
        return [Chunk(stream, kept)] if kept else []

    def _read_records(self) -> list[Frame]:
        self._records += self._read(self.sandbox.fds.record, RECORD_LIMIT_BYTES)
        *lines, self._records = self._records.split(b"\n")
        frames: list[Frame] = []
        for line in lines:
            match decode_record(line):
                case StartedRecord() if not self.is_started:
                    self.is_started = True
                    frames.append(Started())
                case ExecErrorRecord() as failure:
                    self.exec_error = failure
                case EndRecord() as end:
                    self.end = end
                case _:
                    self.is_broken = True
        return frames

    def _read(self, fd: int, count: int) -> bytes:
        try:
            data = os.read(fd, count)
        except BlockingIOError:
            return b""
        except OSError:
            self.is_broken = True
            data = b""
        if not data:
            self._forget(fd)
        return data

    def _forget(self, fd: int) -> None:
        self._open.discard(fd)
        with contextlib.suppress(OSError):
            self._epoll.unregister(fd)
