"""Flows as an editor draws them, for tests."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

TRIGGER = ("trigger_1", "trigger-manual", {})


def drawn(*nodes: tuple[str, str, dict[str, Any]], edges: str = "", **more: Any) -> dict[str, Any]:
    """Draw a flow.

    Args:
        nodes: (id, type, config); each is labelled with its id in capitals.
        edges: `a>b c:true>d`, or empty: each node leads to the next.
    """
    chain = " ".join(f"{one[0]}>{other[0]}" for one, other in pairwise(nodes))
    return {
        "name": "drawn",
        "data": {
            "nodes": [
                {
                    "id": name,
                    "type": kind,
                    "position": {"x": 100 * place, "y": 0},
                    "data": {"type": kind, "label": name.upper(), "config": config},
                }
                for place, (name, kind, config) in enumerate(nodes)
            ],
            "edges": [_edge(place, text) for place, text in enumerate((edges or chain).split())],
        },
        **more,
    }


def _edge(place: int, text: str) -> dict[str, Any]:
    begin, _, target = text.partition(">")
    source, _, handle = begin.partition(":")
    edge = {"id": f"e{place}", "source": source, "target": target, "type": "smoothstep"}
    return {**edge, "sourceHandle": handle} if handle else edge
