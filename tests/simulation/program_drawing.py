"""Draws what programs do."""

from __future__ import annotations

import random

from execd.core.events import Stream
from tests.simulation.plan import Act, Drop, Ending, Listen, ProgramPlan, Say, Wait

_ENDINGS = (Ending.EXIT,) * 11 + tuple(Ending)


def draw_program(rng: random.Random) -> ProgramPlan:
    """Draw what a script of its own does."""
    pace = rng.choice((0.0, 0.05, 0.3, 1.0))
    size = rng.choice((10, 80, 400, 2000))
    acts: list[Act] = []
    for _ in range(rng.choice((0, 1, 3, 6, 12, 24))):
        acts.extend(_act(rng, pace, size))
    ending = rng.choice(_ENDINGS)
    return ProgramPlan(
        acts=tuple(acts),
        ending=ending,
        code=rng.choice((0, 0, 0, 1, 7)) if ending is Ending.EXIT else rng.choice((9, 11)),
        ignores_stop_s=rng.choice((0.0, 0.0, 0.5, 3.0)),
        is_seen_gone_first=rng.random() < 0.2,
        is_refused=rng.random() < 0.03,
    )


def draw_step(rng: random.Random, *, is_long: float) -> ProgramPlan:
    """Draw what a step of a workflow does: mostly it is short and succeeds, so that others have their turn, and often its
    last line is a value.

    Args:
        is_long: how probably it takes some seconds.
    """
    if rng.random() < 0.15:
        return draw_program(rng)
    pace = rng.choice((0.0, 0.0, 0.1, 1.0))
    acts = [act for _ in range(rng.choice((0, 0, 1, 3))) for act in _act(rng, pace, 80)]
    if rng.random() < is_long:
        acts.append(Wait(rng.uniform(5, 20)))
    if rng.random() < 0.5:
        acts.append(Say(Stream.STDOUT, b'\n{"n": %d}\n' % rng.randrange(4)))
    return ProgramPlan(
        acts=tuple(acts),
        ending=Ending.EXIT,
        code=rng.choice((0,) * 9 + (1, 7)),
        ignores_stop_s=rng.choice((0.0, 0.0, 0.5, 3.0)),
    )


def _act(rng: random.Random, pace: float, size: int) -> list[Act]:
    stream = rng.choice((Stream.STDOUT, Stream.STDOUT, Stream.STDERR))
    kind = rng.random()
    if kind < 0.04:
        return [Drop(stream, rng.randrange(1, 10_000))]
    if kind < 0.08:
        return [Listen(rng.uniform(0, 3))]
    wait = [Wait(rng.uniform(0, 2 * pace))] if pace and rng.random() < 0.6 else []
    return [Say(stream, _data(rng, size)), *wait]


def _data(rng: random.Random, size: int) -> bytes:
    """Give lines, characters cut in two, bytes that are no text, or next to nothing."""
    kind = rng.random()
    length = rng.randrange(0, size)
    if kind < 0.5:
        return (b"%d\n" % rng.randrange(10**6)) * (length // 7 + 1)
    if kind < 0.75:
        whole = ("é€𝄞x" * (length // 10 + 2)).encode()
        start = rng.randrange(0, 10)
        return whole[start : start + length + 1]
    if kind < 0.95:
        return rng.randbytes(length)
    return b""
