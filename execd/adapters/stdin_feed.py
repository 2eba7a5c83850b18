"""What waits to be read by one program's stdin: bounded, in order, and never blocking anybody."""

from __future__ import annotations

import os

from execd.adapters.sandbox_process import SandboxDescriptors
from execd.core.errors import ConflictError, OverloadedError

BUFFER_BYTES = 1024 * 1024
"""Bytes held for a program that does not read; a terminal line has 4 KiB, a pipe 64 KiB."""

PIPE_BYTES = 64 * 1024


class StdinFeed:
    """Bytes on their way to a program, before and after it starts."""

    def __init__(self, fixed: bytes, *, is_live: bool) -> None:
        self._pending = bytearray(fixed)
        self._taken = bytearray()
        self._is_closed = not is_live
        self._fds: SandboxDescriptors | None = None

    @property
    def wants_to_write(self) -> bool:
        """Whether the pipe was full at the last attempt and should be watched for room."""
        return bool(self._pending) and self._fds is not None and self._fds.is_stdin_open

    def send_nowait(self, data: bytes) -> None:
        """Queue bytes. Raises as `Pod.send_stdin_nowait` does."""
        if self._is_closed:
            raise ConflictError("stdin is closed")
        if len(self._pending) + len(data) > BUFFER_BYTES:
            raise OverloadedError(f"the program does not read its stdin and {BUFFER_BYTES} bytes are waiting already")
        self._pending += data
        self.flush()

    def close_nowait(self) -> None:
        """End the input after what is queued. Idempotent."""
        self._is_closed = True
        self.flush()

    def connect(self, fds: SandboxDescriptors) -> None:
        """Begin to write, into the pipe of the sandbox that got the script."""
        self._fds = fds
        self.flush()

    def rewind(self) -> None:
        """Begin again for another sandbox, because the first one died before its program began and could read."""
        self._pending[:0] = self._taken
        self._taken.clear()
        self._fds = None

    def _shift(self, count: int) -> None:
        if len(self._taken) < PIPE_BYTES:  # a pipe holds no more, so beyond it the program has begun
            self._taken += self._pending[:count]
        del self._pending[:count]

    def flush(self) -> None:
        """Write what the pipe takes; a program that closed its stdin loses the rest, as with any pipe."""
        if self._fds is None or not self._fds.is_stdin_open:
            return
        try:
            while self._pending:
                self._shift(os.write(self._fds.stdin, self._pending))
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._taken += self._pending  # for another sandbox, if this one died before its program began
            self._pending.clear()
            self._fds.close_stdin()
            return
        if self._is_closed:
            self._fds.close_stdin()
