"""Credentials that stand plainly in a workflow: not wrong, and worth a word, because whoever sees the workflow has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from execd.core.calls import is_credential
from execd.core.errors import FieldFault

MAX_WARNINGS = 50
_ACCEPTED = "{{ secrets.NAME }}"


def warn_of_credentials(body: object) -> list[FieldFault]:
    """Look through a request as its author wrote it, right or not; expressions are taken for secrets."""
    found: list[FieldFault] = []
    for path in _in_nodes(body, ""):
        if len(found) < MAX_WARNINGS:
            found.append(FieldFault(path, "stands here in clear, for everybody who may see this workflow", _ACCEPTED))
    return found


def _in_nodes(body: object, where: str) -> Iterator[str]:
    nodes = body.get("nodes") if isinstance(body, Mapping) else None
    for index, node in enumerate(nodes if isinstance(nodes, list) else ()):
        if isinstance(node, Mapping):
            path = f"{where}nodes[{index}]."
            yield from (path + place for place, value in _credentials_of(node) if _is_plain(value))
            yield from _in_nodes(node, path)


def _credentials_of(node: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    if node.get("type") == "llm":
        yield "api_key", node.get("api_key")
    if node.get("type") == "http":
        auth = _table(node.get("auth"))
        yield "auth.bearer", auth.get("bearer")
        yield "auth.basic.password", _table(auth.get("basic")).get("password")
        for name, value in _table(node.get("headers")).items():
            if is_credential(str(name)):
                yield f"headers.{str(name)[:64]}", value


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _is_plain(value: object) -> bool:
    return isinstance(value, str) and value != "" and "{{" not in value
