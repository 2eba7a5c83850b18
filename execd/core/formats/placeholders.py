"""The placeholders of a flow's texts, found by the one grammar that reading and writing share.

Source: FlowSphere's grammar (`$guid`, `$timestamp`, `.vars`, `.input`, `.responses`) with execd's `.env` and `.secrets`, and
`$status` and `$headers.name` after a response's id. A word is ASCII without hyphens, an id may have them.
"""

from __future__ import annotations

import re

import msgspec

PLACEHOLDER = re.compile(
    r"\{\{\s*(?:"
    r"\$(?P<dynamic>guid|timestamp)"
    r"|\.(?P<kind>vars|input|env|secrets)\.(?P<name>[A-Za-z0-9_]+)"
    r"|\.responses\.(?P<id>[A-Za-z0-9_-]+)(?P<path>(?:\.[$A-Za-z0-9_\[\]-]+)*)"
    r")\s*\}\}",
    re.ASCII,
)
PATH = re.compile(r"(?:\.[A-Za-z0-9_\[\]-]+)+", re.ASCII)
"""What may follow the id of a response: names of properties and one index in each."""
WORD = re.compile(r"[A-Za-z0-9_]+", re.ASCII)


class Reference(msgspec.Struct, frozen=True):
    """One placeholder of a text."""

    text: str
    """As it was written, braces included."""
    kind: str
    """dynamic, vars, input, env, secrets or responses."""
    name: str
    """What it names: `guid`, a variable, or a step's id."""
    path: str = ""
    """Of a response: `.user.id`, `.$status`, `.$headers.etag`."""


def split_text(text: str) -> list[str | Reference]:
    """Part a text into what is sent as it is and what stands for something."""
    parts: list[str | Reference] = []
    end = 0
    for found in PLACEHOLDER.finditer(text):
        if found.start() > end:
            parts.append(text[end : found.start()])
        parts.append(_reference(found))
        end = found.end()
    if end < len(text) or not parts:
        parts.append(text[end:])
    return parts


def _reference(found: re.Match[str]) -> Reference:
    text = found.group()
    if found["dynamic"]:
        return Reference(text=text, kind="dynamic", name=found["dynamic"])
    if found["kind"]:
        return Reference(text=text, kind=found["kind"], name=found["name"])
    return Reference(text=text, kind="responses", name=found["id"], path=found["path"])


def write_variable(name: str) -> str:
    """Write the placeholder of a variable."""
    return f"{{{{ .vars.{name} }}}}"


def write_response(step_id: str, path: str) -> str:
    """Write the placeholder of a part of an earlier answer."""
    return f"{{{{ .responses.{step_id}{path} }}}}"
