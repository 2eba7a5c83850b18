"""The campaign: request after request until the time is up; then everything accepted must end, and the server be as before.

Owns: what was found, what was counted, and the ids that requests may name.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import trio

from chaos.server import Server
from fuzz.judging import judge
from fuzz.requests import Door, Request, draw_request, read_doors
from fuzz.sending import JOBS_SECRET, Answer, Sender

SETTINGS: Mapping[str, str] = {
    "EXECD_STREAM__HOT_HISTORY_S": "2",
    "EXECD_OUTBOUND__IDLE": "4",
    "EXECD_JOBS__SECRET": JOBS_SECRET,
}
"""What is kept for a while by design is let go before it is counted."""
WORKERS = 4
WARM_ROUNDS = 6
"""Of all doors, before memory and descriptors are looked at for the first time: whatever is loaded late is loaded then."""
SWEEP_S = 5.0
"""Between two looks at what runs: what is found twice is cancelled, so that no mutated limit fills the queue."""
SETTLE_S = 90.0
QUIET_S = 12.0
"""After the last execution has ended: what is kept for late viewers is let go."""
MAX_GROWTH = 1.5
GROWTH_BYTES = 96 * 1024 * 1024
"""An allocator gives little back; more than this beside half as much again is kept by somebody."""
MAX_MORE_FILES = 16
FINAL = frozenset({"completed", "failed", "timeout", "cancelled", "interrupted"})
KEPT_IDS = 40
BAD_LINES = (b"Traceback", b'"error"', b'"critical"', b"crashed")


@dataclass
class Finding:
    """A promise that was broken."""

    number: int
    """Of the request; -1 for one that belongs to none."""
    text: str


@dataclass
class Book:
    """What a campaign writes down."""

    findings: list[Finding] = field(default_factory=list)
    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    """By door and status."""
    accepted: set[str] = field(default_factory=set)
    requests: int = 0
    executions: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    memory: tuple[int, int] = (0, 0)
    """Resident bytes after the warm-up, and in the end."""
    files: tuple[int, int] = (0, 0)
    slowest_s: float = 0.0
    slowest: str = ""

    def blame(self, number: int, text: str) -> None:
        self.findings.append(Finding(number, text))


class Campaign:
    """One server and what is done to it."""

    def __init__(self, server: Server, token: str, doors: list[Door], *, seed: int, api_url: str) -> None:
        self.book = Book()
        self._server = server
        self._token = token
        self._doors = doors
        self._seed = seed
        self._sender = Sender(server.port, token)
        self._number = 0
        self._ids: dict[str, list[str]] = {
            "execution": ["exec-1-aaaaaaaaa"],
            "flow": ["1"],
            "definition": ["def-aaaaaaaaa"],
            "prompt": ["f.1", "b.prompts.1"],
            "url": [api_url],
        }
        self._seen: set[str] = set()

    async def play(self, *, seconds: float) -> None:
        """Warm up, measure, go on until the time is up, let all end, measure again."""
        await self._work(until=time.monotonic() + seconds, count=len(self._doors) * WARM_ROUNDS)
        await self._settle()
        before = self._measure()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._sweep)
            await self._work(until=time.monotonic() + seconds)
            nursery.cancel_scope.cancel()
        await self._settle()
        await self._check_ends()
        self._compare(before, self._measure())
        self._read_log()

    async def repeat(self, number: int) -> tuple[Request, Answer]:
        """Send one request again."""
        request = draw_request(self._doors, seed=self._seed, number=number)
        return request, await self._sender.send(request, self._names(number))

    async def _work(self, *, until: float, count: int | None = None) -> None:
        last = None if count is None else self._number + count
        async with trio.open_nursery() as nursery:
            for _ in range(WORKERS):
                nursery.start_soon(self._send_until, until, last)

    async def _send_until(self, until: float, last: int | None) -> None:
        while time.monotonic() < until and (last is None or self._number < last) and self._server.is_running:
            number, self._number = self._number, self._number + 1
            await self._send(number)

    async def _send(self, number: int) -> None:
        request = draw_request(self._doors, seed=self._seed, number=number)
        began_at = time.monotonic()
        answer = await self._sender.send(request, self._names(number))
        self._note(request, answer, time.monotonic() - began_at)
        for text in judge(request, answer):
            self.book.blame(number, f"{request.method} {request.target[:120]} ({request.way}): {text}")

    def _note(self, request: Request, answer: Answer, took_s: float) -> None:
        book = self.book
        book.requests += 1
        book.statuses[f"{request.door.method} {request.door.path}", answer.status] += 1
        if took_s > book.slowest_s and not answer.header(b"content-type").startswith("text/event-stream"):
            book.slowest_s, book.slowest = took_s, f"{request.door.method} {request.door.path}"
        if answer.status in {200, 201, 202}:
            self._learn(request, answer)

    def _learn(self, request: Request, answer: Answer) -> None:
        """Keep the ids of what was made."""
        begun = answer.header(b"x-execution-id")
        made = _id_in(answer.body) if request.door.method == "POST" else ""
        for kind, path in (("definition", "/definitions"), ("flow", "/flows")):
            if made and request.door.path.endswith(path):
                self._remember(kind, made)
        if not begun and made.startswith("exec-") and answer.status == 202:
            begun = made
        if begun:
            self.book.accepted.add(begun)
            self._remember("execution", begun)

    def _remember(self, kind: str, identifier: str) -> None:
        self._ids[kind] = [*self._ids[kind], identifier][-KEPT_IDS:]

    def _names(self, number: int) -> dict[str, str]:
        rng = Random(f"{self._seed}/{number}/names")
        return {kind: rng.choice(known) for kind, known in self._ids.items()}

    async def _sweep(self) -> None:
        while True:
            await trio.sleep(SWEEP_S)
            alive = set(await self._alive())
            for identifier in alive & self._seen:
                await self._ask("POST", f"/api/v1/executions/{identifier}/cancel")
            self._seen = alive

    async def _settle(self) -> None:
        """Cancel what is left and wait until nothing is."""
        with trio.move_on_after(SETTLE_S) as waiting:
            while alive := await self._alive():
                for identifier in alive:
                    await self._ask("POST", f"/api/v1/executions/{identifier}/cancel")
                await trio.sleep(0.5)
        if waiting.cancelled_caught:
            self.book.blame(-1, f"executions that do not end: {(await self._alive())[:10]}")
        await trio.sleep(QUIET_S)

    async def _alive(self) -> list[str]:
        return [each["id"] for each in await self._listed() if each["status"] not in FINAL]

    async def _listed(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        cursor = ""
        while True:
            page = json.loads((await self._ask("GET", f"/api/v1/executions?limit=100{cursor}")).body)
            found += page["items"]
            if not page.get("next_cursor"):
                return found
            cursor = f"&cursor={page['next_cursor']}"

    async def _check_ends(self) -> None:
        """Everything that was accepted is there, has ended, and says so last."""
        listed = {each["id"]: each for each in await self._listed()}
        for identifier in self.book.accepted - listed.keys():
            self.book.blame(-1, f"accepted and gone: {identifier}")
        self.book.executions = len(listed)
        self.book.ends = Counter(each["status"] for each in listed.values())
        for identifier in listed:
            stored = await self._ask("GET", f"/api/v1/executions/{identifier}/events?types=result_stored")
            if len(json.loads(stored.body)["items"]) != 1:
                self.book.blame(-1, f"it has not exactly one result_stored: {identifier}")

    async def _ask(self, method: str, target: str) -> Answer:
        door = Door(method, target, None, (), is_socket=False, statuses=frozenset())
        return await self._sender.send(Request(-1, door, method, target, (), b"", "whole"), {})

    def _measure(self) -> tuple[int, int]:
        lines = Path(f"/proc/{self._server.pid}/status").read_text().splitlines()
        resident = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))
        return resident, self._server.open_files()

    def _compare(self, before: tuple[int, int], after: tuple[int, int]) -> None:
        self.book.memory, self.book.files = (before[0], after[0]), (before[1], after[1])
        if after[0] > before[0] * MAX_GROWTH + GROWTH_BYTES:
            self.book.blame(-1, f"memory grew from {before[0]} to {after[0]} bytes")
        if after[1] > before[1] + MAX_MORE_FILES:
            self.book.blame(-1, f"descriptors grew from {before[1]} to {after[1]}: {self._open_kinds()}")

    def _open_kinds(self) -> str:
        """Say what is open, by kind."""
        names = [os.readlink(path) for path in Path(f"/proc/{self._server.pid}/fd").iterdir() if path.is_symlink()]
        return str(Counter(name.partition(":[")[0] for name in names).most_common(12))

    def _read_log(self) -> None:
        if not self._server.is_running:
            self.book.blame(-1, "the server is gone")
        for line in self._server.log_path.read_bytes().splitlines():
            if any(word in line for word in BAD_LINES):
                self.book.blame(-1, f"in the log: {line[:600].decode(errors='replace')}")


async def open_campaign(server: Server, *, seed: int, api_url: str) -> Campaign:
    """Start the server and read what doors it says it has."""
    token = await server.start()
    door = Door("GET", "/openapi.json", None, (), is_socket=False, statuses=frozenset())
    told = await Sender(server.port, token).send(Request(-1, door, "GET", "/openapi.json", (), b"", "whole"), {})
    return Campaign(server, token, read_doors(json.loads(told.body)), seed=seed, api_url=api_url)


def _id_in(body: bytes) -> str:
    try:
        told = json.loads(body)
    except ValueError:
        return ""
    return str(told.get("id", "")) if isinstance(told, dict) else ""
