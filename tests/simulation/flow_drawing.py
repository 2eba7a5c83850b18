"""Draws HTTP flows: steps that always run, rows of data, questions, secrets, values that come from the step before."""

from __future__ import annotations

import random
from typing import Any

from execd.core.flows.specs import FlowSpec
from tests.simulation.calls import KEY_HEADER
from tests.simulation.graph_drawing import draw_call
from tests.simulation.hidden import NAME
from tests.simulation.plan import CallPlan

Calls = tuple[tuple[str, tuple[CallPlan, ...]], ...]
RETRIES: tuple[dict[str, Any] | None, ...] = (
    None,
    None,
    {"attempts": 2},
    {"attempts": 3, "delay_s": 0.5, "on": ["lost", "network", 503]},
    {"attempts": 3, "delay_s": 0, "on": ["network"]},
)


def draw_flow(rng: random.Random, label: str) -> tuple[FlowSpec, Calls]:
    """Draw a flow, and what its requests meet."""
    count, last_count = rng.choice((1, 2, 3, 5)), rng.choice((0, 1, 1, 2))
    rows = [{"row": row, "word": f"w{row}"} for row in range(rng.choice((0, 0, 0, 1, 2, 3)))]
    place = f"{label}/rows" if rows else label
    steps = [_step(rng, place, number, is_final=number >= count) for number in range(count + last_count)]
    config: dict[str, Any] = {
        "variables": {"row": 0, "word": "alone"},
        "secrets": [NAME],
        "nodes": steps[:count],
        "finally": steps[count:],
    }
    if rows:
        config["data"] = rows
    if rng.random() < 0.15:
        config["promptTimeout"] = round(rng.uniform(1, 15), 3)
    calls = tuple((f"{place}/{step['id']}", tuple(_call(rng) for _ in range(3))) for step in steps)
    return FlowSpec(config=config), calls


def _call(rng: random.Random) -> CallPlan:
    drawn = draw_call(rng)
    return CallPlan(after_s=drawn.after_s, status=drawn.status, is_broken=drawn.is_broken, is_json=True)


def _step(rng: random.Random, place: str, number: int, *, is_final: bool) -> dict[str, Any]:
    """One step. What it asks, it sends along; the last of the same question counts."""
    name = f"f{number}"
    sent = ["row={{ .vars.row }}", "word={{ .vars.word }}"]
    step: dict[str, Any] = {"id": name, "name": name, "method": rng.choice(("GET", "GET", "POST"))}
    if number and not is_final and rng.random() < 0.4:
        sent.append(f"after={{{{ .responses.f{number - 1}.serial }}}}")
    if not is_final and rng.random() < 0.25:
        step["userPrompts"] = {"said": "What?", "word": "Which word?"}
        step["secretPrompts"] = ["word"]
        sent.append("said={{ .input.said }}")
        step["headers"] = {KEY_HEADER: "{{ .input.word }}"}
    elif rng.random() < 0.3:
        step["headers"] = {KEY_HEADER: f"{{{{ .secrets.{NAME} }}}}"}
    if step["method"] == "POST":
        step["body"] = {"word": "{{ .vars.word }}"}
    if rng.random() < 0.3:
        step["continueOnError"] = True
    retry = rng.choice(RETRIES)
    return step | {"url": f"http://outside/{place}/{name}?{'&'.join(sent)}"} | ({"retry": retry} if retry else {})
