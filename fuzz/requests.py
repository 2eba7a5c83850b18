"""One request, drawn from the server's own description of its doors. The number and the seed fix all of it but the ids in it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from random import Random
from typing import Any
from urllib.parse import quote

from fuzz.mutations import ODD_TEXTS, mutate, odd_value, spoil_bytes
from fuzz.seeds import BODIES, COMMANDS, VALUES

SIGNED = ("X-LinkFlow-Signature", "@signature")
"""Made when it is sent, over the bytes that are sent."""
ODD_HEADERS = (
    ("Content-Type", "text/plain"),
    ("Content-Type", "application/yaml"),
    ("Content-Type", "application/json; charset=utf-16"),
    ("Content-Type", "x" * 5000),
    ("Content-Encoding", "gzip"),
    ("Accept", "\x01"),
    ("Authorization", "Bearer nobody"),
    ("Authorization", "Basic eDp5"),
    ("Origin", "http://evil.example"),
    ("Host", "evil.example"),
    ("Cookie", "execd_session=x; =; ;;"),
    ("Last-Event-ID", "9" * 30),
    ("Last-Event-ID", "é"),
    ("Idempotency-Key", "k" * 300),
    ("Range", "bytes=9-1"),
    ("If-Match", "W/x"),
    ("Expect", "100-continue"),
    ("Transfer-Encoding", "gzip"),
    ("Upgrade", "h2c"),
    ("X-HTTP-Method-Override", "DELETE"),
    ("X-Odd", "y" * 20_000),
)
WAYS = ("whole", "chunked", "pieces", "cut", "short")
"""How a body goes out: at once, in chunks, dripping, given up in the middle, and less than was announced."""
BEGINNING = frozenset({"ExecutionBody", "FlowsphereRun", "N8nFlowStart", "N8nFlowBody", "DefinitionBody"})
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "ODD")


@dataclass(frozen=True, slots=True)
class Door:
    """One method of one path, as the server describes it."""

    method: str
    path: str
    schema: str | None
    parameters: tuple[tuple[str, str], ...]
    """Where and by which name."""
    is_socket: bool
    statuses: frozenset[int]
    """What it may answer with."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent. Ids stand in it as `@execution` until then."""

    number: int
    door: Door
    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    way: str
    messages: tuple[bytes, ...] = ()
    """Of a WebSocket: whole frames but their masks."""


def read_doors(document: dict[str, Any]) -> list[Door]:
    """Read the description."""
    return [
        _read_door(method, path, operation)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    ]


def _read_door(method: str, path: str, operation: dict[str, Any]) -> Door:
    contents = operation.get("requestBody", {}).get("content", {})
    refs = [content.get("schema", {}).get("$ref", "") for content in contents.values()]
    return Door(
        method=method.upper(),
        path=path,
        schema=refs[0].rpartition("/")[2] if refs else None,
        parameters=tuple((each["in"], each["name"]) for each in operation.get("parameters", [])),
        is_socket="101" in operation["responses"],
        statuses=frozenset(map(int, operation["responses"])),
    )


def draw_request(doors: list[Door], *, seed: int, number: int) -> Request:
    """Draw one: each door in its turn, so that none is left out; every third time one that begins something."""
    rng = Random(f"{seed}/{number}")
    door = doors[number % len(doors)]
    if rng.random() < 1 / 3:
        door = rng.choice([each for each in doors if each.schema in BEGINNING])
    target, headers = _draw_place(rng, door)
    if rng.random() < 0.15:
        headers.append(rng.choice(ODD_HEADERS))
    body = _draw_body(rng, door) if door.schema is not None else b""
    if "/jobs/" in door.path and rng.random() < 0.7:
        headers.append(SIGNED)
    method = door.method if rng.random() < 0.97 else rng.choice(METHODS)
    way = "whole" if door.is_socket or rng.random() < 0.85 else rng.choice(WAYS)
    messages = _draw_messages(rng) if door.is_socket else ()
    return Request(number, door, method, target, tuple(headers), body, way, messages)


def _draw_place(rng: Random, door: Door) -> tuple[str, list[tuple[str, str]]]:
    target = door.path
    query: list[tuple[str, str]] = []
    headers = [("Content-Type", "application/json")] if door.schema else []
    for where, name in door.parameters:
        value = rng.choice(ODD_TEXTS) if rng.random() < 0.15 else rng.choice(VALUES.get(name, ("x",)))
        if where == "path":
            target = target.replace(f"{{{name}}}", quote(value[:2000], safe="@") or "%20")
        elif rng.random() < 0.25:
            (query if where == "query" else headers).append((name, value[:2000]))
    if rng.random() < 0.1:
        query.append((rng.choice(("x", "ticket", "limit", "cursor")), rng.choice(ODD_TEXTS)[:2000]))
    if query:
        target += "?" + "&".join(f"{quote(name)}={quote(value, safe='@')}" for name, value in query)
    return target, headers


def _draw_body(rng: Random, door: Door) -> bytes:
    """Four sorts: right, spoilt in a few places, another value altogether, spoilt as bytes."""
    seeds = BODIES.get(door.schema or "", ({},))
    value = rng.choice(seeds)
    luck = rng.random()
    if 0.3 <= luck < 0.85:
        value = mutate(rng, value, times=rng.choice((1, 1, 2, 3, 8)))
    elif luck >= 0.95:
        value = odd_value(rng)
    data = json.dumps(value, ensure_ascii=rng.random() < 0.5).encode(errors="replace")
    return spoil_bytes(rng, data) if 0.85 <= luck < 0.95 else data


def _draw_messages(rng: Random) -> tuple[bytes, ...]:
    """Frames with their first byte: right commands, spoilt ones, binary, pieces without an end, pings, odd opcodes."""
    found = []
    for _ in range(rng.randint(1, 6)):
        command = mutate(rng, rng.choice(COMMANDS), times=rng.randrange(3))
        data = json.dumps(command).encode()
        data = spoil_bytes(rng, data) if rng.random() < 0.2 else data
        first = 0x81 if rng.random() < 0.8 else rng.choice((0x01, 0x02, 0x80, 0x82, 0x83, 0x88, 0x89, 0x8A, 0xC1, 0xF1))
        found.append(bytes([first]) + data[:60_000])
    return tuple(found)
