"""What the steps of a config read of each other's answers: known before anything runs, so that it can be kept of an answer
that is too large to be kept whole."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import UNSET

from execd.core.flows.configs import rows_of, table_of
from execd.core.flows.field_paths import compile_path
from execd.core.flows.js_values import is_missing, js_text
from execd.core.flows.trees import texts_in

MAX_PATHS = 200
"""Of one node; nobody reads more of one answer."""
MAX_KEPT_BYTES = 64 * 1024
"""Of all values of an answer together; what comes after them is not kept."""
_REFERENCE = re.compile(r"\.responses\.([A-Za-z0-9_-]+)((?:\.[A-Za-z0-9_\[\]-]+)*)")


def paths_read(config: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Give the paths that placeholders and conditions read, by the id of the node whose answer it is."""
    found: dict[str, dict[str, None]] = {}
    nodes = [table_of(node) for node in (*rows_of(config.get("nodes")), *rows_of(config.get("finally")))]
    for text in texts_in([config.get("variables"), nodes]):
        for name, path in _REFERENCE.findall(text):
            found.setdefault(name, {})[path] = None
    for node in nodes:
        for condition in (*rows_of(node.get("conditions")), node.get("condition")):
            name, field = table_of(condition).get("node", UNSET), table_of(condition).get("field")
            if isinstance(field, str):
                found.setdefault(js_text(name), {})[field] = None
    return {name: tuple(paths)[:MAX_PATHS] for name, paths in found.items()}


def values_at(body: Any, paths: Iterable[str]) -> dict[str, Any]:
    """Read these paths; what is not there, or is too large, is left out."""
    found: dict[str, Any] = {}
    room = MAX_KEPT_BYTES
    for path in paths:
        value = compile_path(path)(body)
        if is_missing(value):
            continue
        room -= len(msgspec.json.encode(value))
        if room < 0:
            break
        found[path] = value
    return found
