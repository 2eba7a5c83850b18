"""`auth` of a config or a step: basic, bearer or a key in a header or in the query; `none` takes back a default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from execd.core.calls import Credentials, Headers
from execd.core.flows.js_values import js_text
from execd.core.masking import BLOT

TYPES = ("basic", "bearer", "api_key", "none")
PLACES = ("header", "query")


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What a request proves itself with."""

    credentials: Credentials | None = None
    headers: Headers = ()
    query: str = ""
    """What is added to the URL, without a mark in front."""
    shown: dict[str, str] = {}
    """The headers as they may be seen."""


def prove(auth: Any) -> Proof:
    """Read `auth` with its placeholders replaced; what is none proves nothing."""
    table = auth if isinstance(auth, Mapping) else {}
    match table.get("type"):
        case "basic":
            pair = Credentials(username=_line(table.get("username")), password=_line(table.get("password")))
            return Proof(credentials=pair, shown={"Authorization": f"Basic {BLOT}"})
        case "bearer":
            token = Credentials(token=_line(table.get("token")))
            return Proof(credentials=token, shown={"Authorization": f"Bearer {BLOT}"})
        case "api_key":
            return _prove_key(table)
    return Proof()


def _prove_key(table: Mapping[str, Any]) -> Proof:
    name, value = _line(table.get("name")) or "X-API-Key", _line(table.get("value"))
    if table.get("in") == "query":
        return Proof(query=f"{quote(name, safe='')}={quote(value, safe='')}")
    return Proof(headers=((name, value),), shown={name: BLOT})


def _line(value: Any) -> str:
    return "" if value is None else js_text(value).replace("\r", "").replace("\n", "")
