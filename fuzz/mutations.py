"""Right values with something wrong in them: what is made keeps most of its shape, so that it gets past the first check."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

ODD_TEXTS = (
    *(
        "",
        " ",
        "\0",
        "a\r\nX-Odd: 1",
        "\u2028",
        "é漢\U0001f600",
        "a" * 70_000,
        "../../etc/passwd",
        "%2e%2e%2f",
        "'\"<script>",
    ),
    *("{{", "{{ ", "}}{{" * 2000, "{{ " * 2000, "{{ secrets.NONE }}", "{{ .responses.a.b }}", "{{ nodes.a.output.b }}"),
    *(
        "{% raw %}" * 2000,
        "{{ 9 ** 9 ** 9 }}",
        "{{ range(10**9) | list }}",
        "{{ ''.__class__ }}",
        "__proto__",
        "null",
        "NaN",
    ),
    *(
        "-1",
        "1e309",
        "9" * 400,
        "0x10",
        "exec-1-aaaaaaaaa",
        "http://[",
        "http://169.254.169.254/",
        "file:///etc/passwd",
    ),
    *("(" * 500, "(a+)+$", "2026-13-45T99:99:99Z", "\ufeff", "true", "\x7f", "a" * 300),
)
ODD_NUMBERS = (0, -1, 1, 2**31, 2**53 + 1, 2**63, -(2**63), 2**64, 0.1, -0.0, 1e308, 1e-320, 10**30)
ODD_KEYS = ("", "__proto__", "constructor", "id", "nodes", "a.b", "x" * 5000, "\0", "type", "é")
DEEP = 600
REACH = 200
"""How deep a value is spoilt; with `DEEP` less than Python's stack."""
LONG = 3000
RAW = b'\x00\xff\xfe\xed\xa0\x80[]{},:"\\ueE+-.0123456789nft \n'


def odd_value(rng: Random) -> Any:
    """Give any JSON value, the awkward ones first."""
    make: list[Callable[[], Any]] = [
        lambda: rng.choice(ODD_TEXTS),
        lambda: rng.choice(ODD_NUMBERS),
        lambda: rng.choice((None, True, False, [], {})),
        lambda: [rng.choice(ODD_TEXTS[:12]) for _ in range(rng.randint(1, 4))],
        lambda: {rng.choice(ODD_KEYS): rng.choice(ODD_NUMBERS)},
        lambda: [0] * LONG,
        lambda: _nested(rng.randint(50, DEEP)),
    ]
    return rng.choice(make)()


def _nested(depth: int) -> Any:
    value: Any = 1
    for level in range(depth):
        value = [value] if level % 2 else {"a": value}
    return value


def mutate(rng: Random, value: Any, *, times: int) -> Any:
    """Spoil a JSON value in so many places; it is a copy that is spoilt."""
    spoilt = json.loads(json.dumps(value))
    for _ in range(times):
        places = list(_places(spoilt))
        if not places:
            return odd_value(rng)
        container, key = rng.choice(places)
        _spoil(rng, container, key)
    return spoilt


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Give every place that is not too deep: what is put there may be deep itself, and must still be written."""
    level = [value]
    for _ in range(REACH):
        inner = []
        for container in level:
            keys = (
                container
                if isinstance(container, dict)
                else range(len(container))
                if isinstance(container, list)
                else ()
            )
            for key in keys:
                yield container, key
                inner.append(container[key])
        level = inner


def _spoil(rng: Random, container: Any, key: Any) -> None:
    """Six ways: another value, none, one more, a neighbour's, the same twice, one of another kind with the same look."""
    value = container[key]
    match rng.randrange(6):
        case 0:
            container[key] = odd_value(rng)
        case 1:
            del container[key]
        case 2 if isinstance(container, dict):
            container[rng.choice(ODD_KEYS)] = odd_value(rng)
        case 2:
            container.insert(key, odd_value(rng))
        case 3:
            container[key] = rng.choice(list(container.values()) if isinstance(container, dict) else container)
        case 4:
            container[key] = [value, value]
        case _:
            container[key] = value * 2 if isinstance(value, str) and len(value) < LONG else str(value)[:LONG]


def spoil_bytes(rng: Random, data: bytes) -> bytes:
    """Change, drop or double a few bytes."""
    spoilt = bytearray(data[:200_000])
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(spoilt) + 1)
        match rng.randrange(3):
            case 0:
                spoilt[place:place] = bytes(rng.choice(RAW) for _ in range(rng.randint(1, 8)))
            case 1:
                del spoilt[place : place + rng.randint(1, 30)]
            case _:
                spoilt[place:place] = spoilt[: rng.randint(1, 50)]
    return bytes(spoilt)
