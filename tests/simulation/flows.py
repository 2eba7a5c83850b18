"""HTTP flows: chains of requests, some of which run whatever happened before; drawn, and judged by their order alone."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from execd.core.events import (
    Event,
    ExecutionEnded,
    NodeCompleted,
    NodeFailed,
    NodeStarted,
    Status,
    StopRequested,
)
from execd.core.flows.specs import FlowSpec
from tests.simulation.evidence import Call
from tests.simulation.graph_drawing import draw_call
from tests.simulation.graph_views import DEFECT
from tests.simulation.plan import CallPlan

Calls = tuple[tuple[str, tuple[CallPlan, ...]], ...]


def draw_flow(rng: random.Random, label: str) -> tuple[FlowSpec, Calls]:
    """Draw a flow, and what its requests meet."""
    count, last_count = rng.choice((1, 2, 3, 5)), rng.choice((0, 1, 1, 2))
    steps = [_step(rng, label, f"f{number}") for number in range(count + last_count)]
    config = {"nodes": steps[:count], "finally": steps[count:]}
    calls = tuple((f"{label}/{step['id']}", tuple(draw_call(rng) for _ in range(3))) for step in steps)
    return FlowSpec(config=config), calls


def _step(rng: random.Random, label: str, name: str) -> dict[str, Any]:
    step: dict[str, Any] = {"id": name, "name": name, "method": "GET", "url": f"http://outside/{label}/{name}"}
    if rng.random() < 0.3:
        step["continueOnError"] = True
    if rng.random() < 0.3:
        step["retry"] = {"attempts": 2}
    return step


class _Chain:
    """Goes through one journal; `wrong` is what it found."""

    def __init__(self, label: str, spec: FlowSpec, calls: Sequence[Call]) -> None:
        self.wrong: list[str] = []
        self._steps = {str(step["id"]): step for step in spec.nodes}
        self._finals = {str(step["id"]) for step in spec.config["finally"]}
        self._answered = {call.path.removeprefix(f"{label}/") for call in calls if call.status}
        self._started: set[str] = set()
        self._ends: dict[str, bool] = {}
        self._has_failed = self._is_stopped = self._is_defect = False

    def read(self, event: Event) -> None:
        """Judge the next event."""
        match event.data:
            case StopRequested():
                self._is_stopped = True
            case NodeStarted():
                self._start(event.node or "")
            case NodeCompleted() | NodeFailed():
                self._end(event.node or "", event.data)
            case ExecutionEnded():
                self._conclude(event.data)

    def _start(self, name: str) -> None:
        order = list(self._steps)
        open_ones = [other for other in order[: order.index(name)] if other not in self._ends]
        if self._is_stopped or (self._has_failed and name not in self._finals):
            self.wrong.append(f"{name} starts after a stop or failure")
        if any(other in self._started or not self._has_failed for other in open_ones):
            self.wrong.append(f"{name} starts before {open_ones} are over")
        self._started.add(name)

    def _end(self, name: str, data: NodeCompleted | NodeFailed) -> None:
        code = data.error.code if isinstance(data, NodeFailed) else None
        self._ends[name] = code is None
        self._is_defect |= code == DEFECT
        self._has_failed |= code is not None and (code == DEFECT or "continueOnError" not in self._steps[name])
        if code is None and name not in self._answered:
            self.wrong.append(f"{name} completed, and nobody answered it")

    def _conclude(self, data: ExecutionEnded) -> None:
        if not (self._is_stopped or self._is_defect) and self._finals - self._started:
            self.wrong.append(f"{self._finals - self._started} were not run, and nothing stopped it")
        if data.status is Status.COMPLETED and (self._has_failed or self._steps.keys() - self._ends.keys()):
            self.wrong.append(f"completed, and its steps ended so: {self._ends}")
        if data.status is Status.FAILED and not self._has_failed:
            self.wrong.append(f"failed, and its steps ended so: {self._ends}")


def check_flow(label: str, spec: FlowSpec, events: Sequence[Event], calls: Sequence[Call]) -> list[str]:
    """One step after the other; none after a failure that stops the flow, but those of `finally` all the same."""
    chain = _Chain(label, spec, calls)
    for event in events:
        chain.read(event)
    return chain.wrong
