"""What must be true of a workflow of `chaos.graphs`, whatever was killed while it ran."""

from __future__ import annotations

import json
from collections import Counter

from chaos.book import Book
from chaos.database import Stored
from chaos.graphs import STAGES, WIDTH
from chaos.witness import Witness


def check_graph(book: Book, witness: Witness, stored: Stored, token: str) -> None:
    """Each node completed once and began no more after that; each script began as often as was announced; the sum is right."""
    completed: Counter[str] = Counter()
    announced: Counter[str] = Counter()
    for row in stored.events:
        event = json.loads(row.body)
        node = event.get("node", "")
        if row.type == "node_started" and completed[node]:
            book.blame("reruns", stored.id, f"{node} begins again after it completed")
        if row.type == "node_completed":
            completed[node] += 1
        if row.type == "pod_created":
            announced[node] += 1
    expected = 1 + STAGES * (WIDTH + 2)
    if stored.status == "completed" and (len(completed) != expected or set(completed.values()) != {1}):
        book.blame(
            "wrong ends", stored.id, f"{len(completed)} of {expected} nodes completed: {completed.most_common(2)}"
        )
    for stage in range(STAGES):
        began, told = witness.started[f"{token}-{stage}"], announced[f"step{stage}"]
        if began > told:
            book.blame("reruns", stored.id, f"step{stage} began {began} times and was announced {told} times")
    if stored.status == "completed":
        outputs = json.loads(stored.events[-1].body)["data"]["outputs"]
        if outputs[f"join{STAGES - 1}"] != {"n": STAGES}:
            book.blame("wrong ends", stored.id, f"the last join gave {outputs[f'join{STAGES - 1}']}")
