"""Bytes in and out of this process, exactly as they are and without holding up the event loop."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncGenerator

import trio

READ_BYTES = 48 * 1024
"""One read of stdin: a multiple of three, so base64 needs no padding, and under a pipe's 64 KiB."""


async def write_bytes(fd: int, data: bytes) -> None:
    """Write all of it, in a thread: a terminal or a pager may take its time.

    Raises:
        BrokenPipeError: nobody reads there any more.
    Cancellation: returns at once; the thread gives up with the process.
    """
    await trio.to_thread.run_sync(_write_all, fd, data, abandon_on_cancel=True)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


@trio.as_safe_channel
async def read_chunks(fd: int) -> AsyncGenerator[bytes, None]:
    """Give what arrives at a descriptor as it arrives, until its end.

    The descriptor stays in blocking mode, because a terminal's is shared with stdout: epoll says when a read will not
    block. Regular files cannot be waited for and never block for long.
    """
    while True:
        try:
            await trio.lowlevel.wait_readable(fd)
        except PermissionError:
            await trio.lowlevel.checkpoint()
        data = os.read(fd, READ_BYTES)
        if not data:
            return
        yield data


def is_piped(fd: int) -> bool:
    """Whether somebody feeds this descriptor: a pipe, a file or a socket, and neither a terminal nor `/dev/null`."""
    try:
        mode = os.fstat(fd).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)
