"""Draws a world from its seed. The order of the draws is part of what a seed means."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TypedDict

from execd.core.events import Stream
from tests.simulation.plan import (
    Act,
    Ask,
    CommandPlan,
    Drop,
    Ending,
    LifeEnd,
    LifePlan,
    Listen,
    NodeKind,
    NodePlan,
    Plan,
    ProgramPlan,
    RivalPlan,
    Say,
    SubmissionPlan,
    Trouble,
    ViewerPlan,
    Wait,
)

WORKSPACES = ("alpha", "beta")


def draw_plan(seed: int) -> Plan:
    """Give the world of a seed."""
    rng = random.Random(seed)
    submissions = tuple(_submission(rng, number) for number in range(rng.choice((1, 2, 2, 3, 4, 6))))
    labels = [submission.label for submission in submissions]
    is_narrow = rng.random() < 0.6
    return Plan(
        seed=seed,
        capacity=rng.choice((0, 1, 2, None)),
        slots=rng.choice((1, 1, 2, 4)),
        max_queued=rng.choice((1, 1000, 1000)),
        hot_bytes_per_execution=rng.choice((1, 500, 2000, 10_000)) if is_narrow else 4 * 1024 * 1024,
        hot_bytes_total=rng.choice((1, 2000, 20_000)) if is_narrow else 64 * 1024 * 1024,
        max_lag_bytes=rng.choice((300, 1000, 3000)) if rng.random() < 0.6 else 64 * 1024 * 1024,
        hot_history_s=rng.choice((0.0, 1.0, 300.0)),
        per_workspace=rng.choice((2, 1000, 1000)),
        lease_s=rng.choice((1.0, 5.0, 15.0)),
        submissions=submissions,
        viewers=tuple(_viewer(rng, number, labels) for number in range(rng.choice((1, 2, 3, 4, 6)))),
        commands=tuple(_command(rng, number, labels) for number in range(rng.choice((0, 0, 1, 2, 3, 5)))),
        **_lives(rng),
    )


def _submission(rng: random.Random, number: int) -> SubmissionPlan:
    key = f"key-{number}" if rng.random() < 0.5 else None
    again = (rng.choice((0.0, 0.0, 0.001, rng.uniform(0, 20))),) if key and rng.random() < 0.6 else ()
    retries = rng.choice((0, 0, 0, 1, 2))
    is_graph = rng.random() < 0.35
    return SubmissionPlan(
        label=f"s{number}",
        workspace=rng.choice(WORKSPACES),
        at=rng.choice((0.0, rng.uniform(0, 2), rng.uniform(0, 15))),
        retries=retries,
        key=key,
        again_after=again,
        programs=() if is_graph else _programs(rng, retries),
        nodes=_nodes(rng) if is_graph else (),
        parallelism=rng.choice((1, 2, 16)),
        answers_after=tuple(rng.choice((0.0, rng.uniform(0, 10))) for _ in range(rng.choice((1, 1, 2)))),
    )


def _programs(rng: random.Random, retries: int) -> tuple[ProgramPlan, ...]:
    return tuple(_program(rng) for _ in range(retries + 1))


_NODE_KINDS = (NodeKind.SCRIPT,) * 4 + (NodeKind.WAIT, NodeKind.INPUT)


def _nodes(rng: random.Random) -> tuple[NodePlan, ...]:
    """Each needs some of those before it: any acyclic graph has such an order."""
    nodes: list[NodePlan] = []
    for number in range(rng.randrange(1, 7)):
        kind = rng.choice(_NODE_KINDS)
        retries = rng.choice((0, 0, 1, 2)) if kind is NodeKind.SCRIPT else 0
        needs = tuple(node.id for node in nodes if rng.random() < 0.4)
        node = NodePlan(
            id=f"n{number}",
            kind=kind,
            needs=needs,
            retries=retries,
            may_repeat=rng.random() < 0.5,
            programs=_programs(rng, retries) if kind is NodeKind.SCRIPT else (),
            seconds=rng.choice((0.0, rng.uniform(0, 5), rng.uniform(0, 30))),
            expires=rng.random() < 0.4,
        )
        nodes.append(node)
    rng.shuffle(nodes)
    return tuple(nodes)


_ENDINGS = (Ending.EXIT,) * 11 + tuple(Ending)


def _program(rng: random.Random) -> ProgramPlan:
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


def _viewer(rng: random.Random, number: int, labels: list[str]) -> ViewerPlan:
    breaks = [
        (rng.randrange(0, 25), rng.choice((0.0, 0.1, rng.uniform(0, 10))), rng.random() < 0.3)
        for _ in range(rng.choice((0, 0, 1, 2)))
    ]
    return ViewerPlan(
        name=f"v{number}",
        label=rng.choice(labels),
        at=rng.choice((0.0, rng.uniform(0, 5), rng.uniform(0, 30))),
        after_seq=rng.choice((0, 0, 0, rng.randrange(0, 30))),
        uses_relay=rng.random() < 0.5,
        pause_s=rng.choice((0.0, 0.0, 0.01, 0.3, 2.0)),
        breaks=tuple(breaks),
        leaves_after=rng.randrange(1, 20) if rng.random() < 0.15 else None,
    )


def _command(rng: random.Random, number: int, labels: list[str]) -> CommandPlan:
    ask = rng.choice((Ask.CANCEL, Ask.CANCEL, Ask.INTERRUPT, Ask.PAUSE, Ask.PAUSE, Ask.RESUME, Ask.STDIN, Ask.STDIN))
    at = rng.choice((rng.uniform(0, 1), rng.uniform(0, 8), rng.uniform(0, 25)))
    return CommandPlan(by=f"p{number}", label=rng.choice(labels), at=at, ask=ask)


class _Lives(TypedDict):
    lives: tuple[LifePlan, ...]
    rival: RivalPlan | None


def _lives(rng: random.Random) -> _Lives:
    faulty = tuple(_life(rng) for _ in range(rng.choice((0, 1, 1, 2, 3))))
    if rng.random() < 0.8:
        return {"lives": (*faulty, _last_life(rng)), "rival": None}
    calm = LifePlan(end=LifeEnd.LAST, lasts_s=float("inf"), trouble=Trouble(slowest_s=rng.choice((0.0, 0.05))))
    return {"lives": (*faulty, calm), "rival": _rival(rng)}


def _rival(rng: random.Random) -> RivalPlan:
    freezes = [
        (rng.choice((0, 0, 1)), rng.uniform(0, 15), rng.choice((0.5, rng.uniform(1, 10), rng.uniform(5, 40))))
        for _ in range(rng.choice((1, 1, 2)))
    ]
    return RivalPlan(
        begins_after=rng.choice((0.0, rng.uniform(0, 3))), freezes=tuple(freezes), stops_after=rng.uniform(10, 80)
    )


def _last_life(rng: random.Random) -> LifePlan:
    """Its troubles end; then everything must come to its end without another restart."""
    if rng.random() < 0.5:
        return LifePlan(end=LifeEnd.LAST, lasts_s=float("inf"), trouble=Trouble(slowest_s=rng.choice((0.0, 0.05))))
    lasts_s = rng.uniform(1, 20)
    crashes = tuple(_crash(rng, lasts_s) for _ in range(rng.choice((0, 1, 2))))
    trouble = _trouble(rng, lasts_s=lasts_s)
    # With three crashes of the writer and two of its own the coordinator's budget is just not spent.
    trouble = replace(trouble, most_defects=min(trouble.most_defects, 3))
    return LifePlan(end=LifeEnd.LAST, lasts_s=float("inf"), trouble=trouble, crashes=crashes)


_LIFE_ENDS = (LifeEnd.KILL_AT_WRITE,) * 5 + (LifeEnd.KILL,) * 3 + (LifeEnd.STOP,) * 2 + (LifeEnd.BUDGET,)


def _life(rng: random.Random) -> LifePlan:
    lasts_s = rng.choice((rng.uniform(0, 1), rng.uniform(0, 5), rng.uniform(0, 20)))
    end = rng.choice(_LIFE_ENDS)
    return LifePlan(
        end=end,
        lasts_s=max(lasts_s, 10.0) if end is LifeEnd.KILL_AT_WRITE else lasts_s,
        dies_at_write=rng.choice((rng.randrange(1, 8), rng.randrange(1, 40), rng.randrange(1, 150))),
        trouble=_trouble(rng),
        crashes=tuple(_crash(rng, lasts_s) for _ in range(rng.choice((0, 0, 0, 1, 2)))),
        downtime_s=rng.choice((0.0, 0.5, 5.0)),
    )


def _trouble(rng: random.Random, *, lasts_s: float = float("inf")) -> Trouble:
    def chance() -> float:
        return rng.choice((0.0, 0.0, 0.0, 0.03, 0.2))

    return Trouble(
        slowest_s=rng.choice((0.0, 0.001, 0.05, 1.0)),
        refuse=chance(),
        tear=chance(),
        lose=chance(),
        defect=rng.choice((0.0, 0.0, 0.02, 0.1)),
        most_defects=rng.randrange(1, 5),
        read_refuse=chance(),
        lasts_s=lasts_s,
    )


def _crash(rng: random.Random, lasts_s: float) -> tuple[float, tuple[str, ...]]:
    actors = rng.choice(
        (("coordinator",), ("router",), ("watcher",), ("coordinator", "router"), ("watcher", "coordinator"))
    )
    return rng.uniform(0, max(lasts_s, 1.0)), actors
