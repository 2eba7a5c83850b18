"""One stored journal: whether it is whole, and what it says."""

from __future__ import annotations

import base64
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from chaos.book import Book
from chaos.database import Stored
from chaos.viewers import TERMINAL


@dataclass
class Journal:
    """What a journal says, read without execd."""

    error_code: str | None = None
    attempts: int = 0
    pods: int = 0
    """How many sandboxes it announced."""
    first_at: str = ""
    last_at: str = ""
    pieces: dict[tuple[int, str], list[bytes]] = field(default_factory=dict)
    """Output by attempt and stream."""
    result: dict[str, Any] = field(default_factory=dict)

    def output(self, stream: str) -> bytes:
        """Give what the last attempt wrote and execd kept."""
        return b"".join(self.pieces.get((self.attempts, stream), []))


def read_journal(stored: Stored) -> Journal:
    """Read what there is, whole or not."""
    journal = Journal()
    for row in stored.events:
        event = json.loads(row.body)
        data = event.get("data", {})
        journal.first_at = journal.first_at or event["at"]
        journal.last_at = event["at"]
        if row.type == "node_started":
            journal.attempts = event["attempt"]
        elif row.type == "pod_created":
            journal.pods += 1
        elif row.type == "output":
            journal.pieces.setdefault((event["attempt"], data["stream"]), []).append(_bytes(data))
        elif row.type in TERMINAL:
            journal.error_code = (data.get("error") or {}).get("code")
        elif row.type == "result_stored":
            journal.result = data
    return journal


def check_journal(book: Book, stored: Stored) -> None:
    """Numbers without gaps, one end, one result, last; the status is the one it tells; no byte of output is missing."""
    _check_rows(book, stored)
    types = Counter(row.type for row in stored.events)
    ends = [row.type for row in stored.events if row.type in TERMINAL]
    if not stored.is_final or not ends:
        book.blame("lost", stored.id, f"it is {stored.status} for ever: {len(ends)} terminal events")
        return
    if len(ends) != 1 or types["result_stored"] != 1:
        book.blame("doubles", stored.id, f"it has the ends {ends} and {types['result_stored']} results")
    if stored.events[-1].type != "result_stored" or stored.events[-2].type != ends[-1]:
        book.blame("wrong ends", stored.id, f"its last events are {[row.type for row in stored.events[-2:]]}")
        return
    _check_told_end(book, stored, ends[-1])
    _check_offsets(book, stored)


def _check_rows(book: Book, stored: Stored) -> None:
    numbers = [row.seq for row in stored.events]
    if numbers != list(range(1, len(numbers) + 1)) or len(numbers) != stored.head_seq:
        book.blame("gaps", stored.id, f"head_seq is {stored.head_seq}, the events are {_shorten(numbers)}")
    for row in stored.events:
        event = json.loads(row.body)
        if (event["seq"], event["type"], event["execution_id"]) != (row.seq, row.type, stored.id):
            book.blame("differs", stored.id, f"row {row.seq} {row.type} holds {event['seq']} {event['type']}")


def _check_told_end(book: Book, stored: Stored, terminal: str) -> None:
    end, result = (json.loads(row.body)["data"] for row in stored.events[-2:])
    told = {stored.status, terminal.removeprefix("execution_"), end["status"], result["status"]}
    if len(told) != 1:
        book.blame("differs", stored.id, f"row, terminal event and result name different statuses: {told}")
    if end.get("error") != result["error"]:
        book.blame("differs", stored.id, f"the end says {end.get('error')}, the result {result['error']}")
    durations = [json.loads(row.body)["data"].get("duration_ms", 0) for row in stored.events]
    durations += [node.get("duration_ms") or 0 for node in result["nodes"]]
    if min(durations) < 0 or (result["usage"]["wall_ms"] or 0) < 0:
        book.blame("wrong ends", stored.id, f"a duration is negative: {min(durations)} ms")


def _check_offsets(book: Book, stored: Stored) -> None:
    """Each piece begins where the one before it ended, and the total of the last attempt is what the result says."""
    ends: dict[tuple[str, int, str], int] = {}
    for row in stored.events:
        if row.type != "output":
            continue
        event = json.loads(row.body)
        place = (event["node"], event["attempt"], event["data"]["stream"])
        if event["data"]["offset"] != ends.get(place, 0):
            text = f"event {row.seq} begins at {event['data']['offset']}, the one before ended at {ends.get(place, 0)}"
            book.blame("gaps", stored.id, text)
        ends[place] = event["data"]["offset"] + len(_bytes(event["data"]))
    journal = read_journal(stored)
    if len(journal.result["nodes"]) != 1:
        return  # the streams of a result are those of a script's one node
    for stream, totals in journal.result["streams"].items():
        kept = ends.get((journal.result["nodes"][0]["id"], journal.attempts, stream), 0)
        if totals["total_bytes"] - totals["dropped_bytes"] != kept:
            book.blame("gaps", stored.id, f"{stream}: {kept} bytes stand in the journal, the result says {totals}")


def _bytes(data: dict[str, Any]) -> bytes:
    return base64.b64decode(data["base64"]) if "base64" in data else str(data["text"]).encode()


def _shorten(numbers: list[int]) -> str:
    return str(numbers) if len(numbers) < 20 else f"{numbers[:10]} … {numbers[-5:]}"
