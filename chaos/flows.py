"""HTTP flows under kills: chains of requests to the campaign's own server, which counts them.

Each step tells the next one's request the number of its own answer, so a value that went astray is seen outside. The steps
of `finally` read nothing: they run whatever became of the others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chaos.recipes import CANCELLED, COMPLETED, INTERRUPTED, Ending, Recipe
from chaos.wire import HOST

LOST: dict[str, Any] = {"attempts": 11, "delay_s": 0, "on": ["lost", "network", "timeout", 503]}
"""Of a step that may be done again whatever became of it; losing all of them takes eleven kills within one flow."""
AGAIN: dict[str, Any] = {"attempts": 4, "delay_s": 0.05, "backoff": 1}
"""Of one that may be done again where it was not done."""
FAILED: Ending = ("failed", "http:validation")
UNANSWERED: Ending = ("failed", "http:protocol")
ROWS_FAILED: Ending = ("failed", "flow:rows")
ROWS = 4
BAD_ROW = 1
ASKING = ("ask", "again")
"""The steps that ask people, in their order."""
STOPPED_AT = "s1"
"""The step at whose first request a flow is stopped."""
LONG = 8

Config = Callable[[str, int], dict[str, Any]]
"""Gives a config by its token and the port of the outside."""


def _step(name: str, address: str, method: str = "GET", *, after: str = "", **more: Any) -> dict[str, Any]:
    """A step of a manner; `address` is `{manner}/{token}` behind the server's own."""
    query = f"?after={{{{ .responses.{after}.serial }}}}" if after else "?after="
    body = {"body": {"from": name}} if method == "POST" else {}
    return {"id": name, "method": method, "url": f"{address}/{name}{query}", **body, **more}


def _address(port: int, manner: str, token: str) -> str:
    return f"http://{HOST}:{port}/{manner}/{token}"


def _chain(manners: str, methods: str, **more: Any) -> Config:
    """A chain of steps `s0`, `s1` … of these manners, and two that always run."""

    def make(token: str, port: int) -> dict[str, Any]:
        steps = [
            _step(f"s{n}", _address(port, manner, token), method, after=f"s{n - 1}" if n else "", **more)
            for n, (manner, method) in enumerate(zip(manners.split(), methods.split(), strict=True))
        ]
        return {"nodes": steps, "finally": _finals(token, port, **more)}

    return make


def _finals(token: str, port: int, **more: Any) -> list[dict[str, Any]]:
    return [
        _step("f0", _address(port, "ok", token), **more),
        _step("f1", _address(port, "slow", token), "POST", **more),
    ]


def _rows(token: str, port: int) -> dict[str, Any]:
    """Rows of data, one of which fails; each sends its own word."""
    data = [
        {"row": row, "word": f"{token}-{row}", "manner": "fails" if row == BAD_ROW else "slow"} for row in range(ROWS)
    ]
    address = f"http://{HOST}:{port}/{{{{ .vars.manner }}}}/{token}"
    own = "row={{ .vars.row }}&word={{ .vars.word }}"
    steps = [
        {"id": "s0", "method": "GET", "url": f"{_address(port, 'ok', token)}/s0?{own}&after=", "retry": LOST},
        {
            "id": "s1",
            "method": "POST",
            "url": f"{address}/s1?{own}&after={{{{ .responses.s0.serial }}}}",
            "body": {"word": "{{ .vars.word }}"},
            "retry": LOST,
        },
    ]
    last = {"id": "f0", "method": "GET", "url": f"{_address(port, 'ok', token)}/f0?{own}&after=", "retry": LOST}
    variables = {"row": 0, "word": "none", "manner": "ok"}
    return {"variables": variables, "data": data, "nodes": steps, "finally": [last]}


def _asking(token: str, port: int) -> dict[str, Any]:
    """Two steps that ask the same key, and one secret that only the outside may see."""
    slow = _address(port, "slow", token)
    said = "&said={{ .input.said }}"
    first, second, third = (
        _step("s0", slow, retry=LOST),
        _step("ask", slow, "POST", after="s0", retry=LOST),
        _step("again", slow, after="ask", retry=LOST),
    )
    first_more = {
        "userPrompts": {"said": "What?", "key": "Which key?"},
        "secretPrompts": ["key"],
        "body": {"key": "{{ .input.key }}"},
    }
    asked = first_more | {"url": second["url"] + said}
    again = {"userPrompts": {"said": "What now?"}, "url": third["url"] + said}
    return {"nodes": [first, {**second, **asked}, {**third, **again}], "finally": _finals(token, port, retry=LOST)}


def said_at(token: str, step: str) -> dict[str, str]:
    """Give what is answered to a step, its own each."""
    secret = {"key": secret_of(token)} if step == ASKING[0] else {}
    return {"said": f"{token}-{step}", **secret}


def secret_of(token: str) -> str:
    """Give the answer that only the outside may see."""
    return f"key-that-nobody-sees-{token}"


_SLOW = " ".join(["slow"] * LONG)
_MIXED = "GET POST GET GET POST GET GET GET"

FLOWS: tuple[Recipe, ...] = tuple(
    Recipe(name, "", "", ends=ends, has_whole_output=False, flow=config, steer=steer)
    for name, ends, config, steer in (
        ("flow", (COMPLETED,), _chain(_SLOW, _MIXED), ""),
        ("flow, lost", (COMPLETED,), _chain(_SLOW, _MIXED, retry=LOST), ""),
        ("flow, flaky", (COMPLETED,), _chain("ok flaky slow flaky", "GET POST POST GET", retry=AGAIN), ""),
        ("flow, cut", (COMPLETED,), _chain("ok cut slow", "GET GET POST", retry=AGAIN), ""),
        ("flow, unsafe", (UNANSWERED,), _chain("ok silent slow", "GET POST GET", retry=AGAIN), ""),
        ("flow, unsafe, cut", (UNANSWERED,), _chain("slow cut ok", "GET POST GET", retry=AGAIN), ""),
        ("flow, failing", (FAILED,), _chain("slow fails slow", "GET GET POST", retry=LOST), ""),
        ("flow, rows", (ROWS_FAILED,), _rows, ""),
        ("flow, asking", (COMPLETED,), _asking, "answer"),
        ("flow, interrupt", (COMPLETED, INTERRUPTED), _chain(_SLOW, _MIXED, retry=LOST), "interrupt"),
        ("flow, cancel", (CANCELLED, COMPLETED), _chain(_SLOW, _MIXED, retry=LOST), "cancel"),
    )
)

AT_THE_DOOR: tuple[Recipe, ...] = tuple(
    Recipe(name, "", "", ends=ends, has_whole_output=False, flow=config, door=door, steer=steer)
    for name, ends, config, door, steer in (
        ("flow at the door", (COMPLETED,), _chain(_SLOW, _MIXED, retry=LOST), "attached", ""),
        ("flow at the door, asking", (COMPLETED,), _asking, "detached", "answer"),
        ("flow at the door, left", (INTERRUPTED,), _chain(_SLOW, _MIXED, retry=LOST), "attached", "leave"),
        ("flow at the door, detached", (COMPLETED,), _chain(_SLOW, _MIXED, retry=LOST), "detached", "leave"),
        ("flow at the door, unsafe", (UNANSWERED,), _chain("slow silent ok", "GET POST GET"), "detached", ""),
    )
)
"""Run over FlowSphere's door, which knows no `Idempotency-Key`: these are sent once."""
