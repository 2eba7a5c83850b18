"""The short cut to the socket: every byte once and in order, whatever the kernel takes and whenever it is cancelled."""

from __future__ import annotations

import os

import trio

from execd.http.direct import DirectWriter
from execd.ports import StreamedEvent


def event(seq: int, size: int = 10) -> StreamedEvent:
    return StreamedEvent(seq=seq, type="output", body=b"x" * size)


def chunk(seq: int, size: int = 10) -> bytes:
    block = b"id: %d\nevent: output\ndata: %b\n\n" % (seq, b"x" * size)
    return b"%x\r\n%b\r\n" % (len(block), block)


async def test_a_flush_that_is_cancelled_loses_nothing() -> None:
    """A heartbeat that falls due at this instant must not tear a chunk in two."""
    sent: list[bytes] = []

    async def send(data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        sent.append(data)

    writer = DirectWriter(lambda: -1, is_busy=lambda: False, send=send)
    assert not writer.take([event(1), event(2)])
    with trio.CancelScope() as scope:
        scope.cancel()
        await writer.flush()
    await writer.flush()
    await writer.flush()

    assert sent == [chunk(1) + chunk(2)]


async def test_what_the_kernel_does_not_take_follows_in_order() -> None:
    """A full pipe takes a part; the rest is kept, and nothing overtakes it."""
    sent: list[bytes] = []

    async def send(data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        sent.append(data)

    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    writer = DirectWriter(lambda: writing, is_busy=lambda: False, send=send)
    try:
        assert writer.take([event(1)])
        assert not writer.take([event(2, 1_000_000)])
        assert not writer.take([event(3)])
        await writer.flush()
        taken = os.read(reading, 1_000_000)
    finally:
        os.close(reading)
        os.close(writing)

    assert taken + b"".join(sent) == chunk(1) + chunk(2, 1_000_000) + chunk(3)


async def test_nothing_is_written_while_a_send_is_under_way() -> None:
    """It would land in the middle of somebody else's bytes."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)

    async def send(_data: bytes) -> None:
        raise AssertionError("not yet")

    writer = DirectWriter(lambda: writing, is_busy=lambda: True, send=send)
    try:
        assert not writer.take([event(1)])
        os.close(writing)
        assert os.read(reading, 10) == b""
    finally:
        os.close(reading)
