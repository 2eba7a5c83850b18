"""Draws a world from its seed. The order of the draws is part of what a seed means."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TypedDict

from tests.simulation.definitions import DrawnDefinition, draw_definition
from tests.simulation.elsewhere import draw_external
from tests.simulation.flow_drawing import draw_flow
from tests.simulation.graph_drawing import draw_graph, has_script_in_map, is_large
from tests.simulation.plan import (
    Ask,
    CommandPlan,
    LifeEnd,
    LifePlan,
    Plan,
    RivalPlan,
    SubmissionPlan,
    Trouble,
    ViewerPlan,
)
from tests.simulation.program_drawing import draw_program

WORKSPACES = ("alpha", "beta")


def draw_plan(seed: int) -> Plan:
    """Give the world of a seed."""
    rng = random.Random(seed)
    is_calm = rng.random() < 0.25
    count = rng.choice((2, 4, 6, 8)) if is_calm else rng.choice((1, 2, 2, 3, 4, 6))
    drawn = draw_definition(rng) if rng.random() < 0.25 else None
    submissions = tuple(_submission(rng, number) for number in range(count))
    if drawn is not None:
        submissions += tuple(_runs(rng, drawn, first=count))
    labels = [submission.label for submission in submissions]
    is_narrow = rng.random() < 0.6
    has_many = any(submission.graph is not None and is_large(submission.graph) for submission in submissions)
    return Plan(
        seed=seed,
        capacity=rng.choice((0, 1, 2, None)),
        slots=rng.choice((1, 1, 2) if is_calm else (1, 1, 2, 4)),
        max_queued=rng.choice((1, 1000, 1000)),
        hot_bytes_per_execution=rng.choice((1, 500, 2000, 10_000)) if is_narrow else 4 * 1024 * 1024,
        hot_bytes_total=rng.choice((1, 2000, 20_000)) if is_narrow else 64 * 1024 * 1024,
        max_lag_bytes=rng.choice((300, 1000, 3000)) if rng.random() < 0.6 else 64 * 1024 * 1024,
        hot_history_s=rng.choice((0.0, 1.0, 300.0)),
        per_workspace=rng.choice((2, 1000, 1000)),
        lease_s=rng.choice((1.0, 5.0, 15.0)),
        submissions=submissions,
        definition=None if drawn is None else drawn.plan,
        viewers=tuple(_viewer(rng, number, labels) for number in range(rng.choice((1, 2, 3, 4, 6)))),
        commands=(
            *(_command(rng, number, labels) for number in range(rng.choice((0, 1, 1, 2, 3, 5)))),
            *_hasty(rng, submissions, is_calm=is_calm),
        ),
        **(_CALM if is_calm else _lives(rng, has_many=has_many)),
    )


def _submission(rng: random.Random, number: int) -> SubmissionPlan:
    key = f"key-{number}" if rng.random() < 0.5 else None
    again = (rng.choice((0.0, 0.0, 0.001, rng.uniform(0, 20))),) if key and rng.random() < 0.6 else ()
    retries = rng.choice((0, 0, 0, 1, 2))
    kind = rng.random()
    drawn = draw_graph(rng, f"s{number}") if kind < 0.5 else None
    flow, calls = draw_flow(rng, f"s{number}") if 0.75 < kind <= 0.9 else (None, ())
    return SubmissionPlan(
        label=f"s{number}",
        workspace=rng.choice(WORKSPACES),
        at=0.0 if drawn and is_large(drawn.graph) else rng.choice((0.0, rng.uniform(0, 2), rng.uniform(0, 15))),
        retries=retries,
        key=key,
        again_after=again,
        programs=() if drawn else tuple(draw_program(rng) for _ in range(retries + 1)),
        graph=drawn.graph if drawn else None,
        flow=flow,
        external=draw_external(rng) if kind > 0.9 else None,
        node_programs=tuple(drawn.programs.items()) if drawn else (),
        node_calls=tuple(drawn.calls.items()) if drawn else calls,
        answers_after=tuple(rng.choice((0.0, rng.uniform(0, 10))) for _ in range(rng.choice((1, 1, 2)))),
    )


def _runs(rng: random.Random, drawn: DrawnDefinition, *, first: int) -> Iterator[SubmissionPlan]:
    """People who run the definition, most of them after some of the others are through."""
    workspace = rng.choice(WORKSPACES)
    for number, run in enumerate(drawn.runs, start=first):
        label = f"s{number}"
        yield SubmissionPlan(
            label=label,
            workspace=workspace,
            at=rng.choice((rng.uniform(0, 5), rng.uniform(0, 60))),
            retries=0,
            key=f"key-{number}" if rng.random() < 0.5 else None,
            again_after=(),
            programs=(),
            run=run,
            node_programs=tuple(drawn.programs.items()),
            node_calls=tuple((f"{label}/f{step}", drawn.calls) for step in range(3)),
        )


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


def _hasty(rng: random.Random, submissions: Sequence[SubmissionPlan], *, is_calm: bool) -> Iterator[CommandPlan]:
    """Who sends many nodes off and stops them at once: it is heard between two of their steps. In a calm world most
    workflows are cancelled at some point of them, because only there can be told how long that may take."""
    for submission in submissions:
        if submission.graph is None:
            continue
        has_many = is_large(submission.graph)
        if rng.random() < (0.7 if is_calm else 0.4 * has_many):
            is_within_map = not has_many and has_script_in_map(submission.graph)
            after = rng.choice((100, 501, 1003)) if has_many else rng.randrange(3, 30 if is_within_map else 60)
            yield CommandPlan(
                by="hasty",
                label=submission.label,
                at=0.0,
                ask=Ask.CANCEL,
                after_events=after,
                is_within_map=is_within_map,
            )
        elif has_many and rng.random() < 0.5:
            ask = rng.choice((Ask.INTERRUPT, Ask.PAUSE))
            after = rng.choice((1, 100, 501))
            yield CommandPlan(by="hasty", label=submission.label, at=0.0, ask=ask, after_events=after)


class _Lives(TypedDict):
    lives: tuple[LifePlan, ...]
    rival: RivalPlan | None


_CALM: _Lives = {"lives": (LifePlan(end=LifeEnd.LAST, lasts_s=float("inf")),), "rival": None}
"""One life without any trouble."""


def _lives(rng: random.Random, *, has_many: bool) -> _Lives:
    faulty = tuple(_life(rng) for _ in range(rng.choice((0, 1, 1, 2, 3))))
    if has_many and rng.random() < 0.6:
        # It dies among the first steps of many nodes.
        dies_at_write = rng.randrange(2, 9)
        faulty = (LifePlan(end=LifeEnd.KILL_AT_WRITE, lasts_s=20.0, dies_at_write=dies_at_write), *faulty)
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
