"""Long computations beside the event loop: reading a workflow of thousands of nodes takes a tenth of a second, and nobody else
should wait for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import trio
from quart import request

T = TypeVar("T")

LARGE_BYTES = 32 * 1024
"""A body of this size is read in some 5 ms, as long as a thread may keep the interpreter to itself; a thread costs 0.1 ms."""


async def read_beside(read: Callable[[], T]) -> T:
    """Call `read`, which is pure: here, or in a thread where the body of the request at hand is large. Raises what it raises.

    Cancellation: waits for the thread, which is done in a moment.
    """
    if request.content_length is not None and request.content_length <= LARGE_BYTES:
        return read()
    return await trio.to_thread.run_sync(read)
