"""From plain JSON to a checked script request; the only way to a `ScriptSpec` from outside.

Used alike by HTTP, the command line and embedding programs. Every fault is collected and told at once, with its path.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from execd.core.fields import Faults, Fields, Range
from execd.core.runtimes import Runtimes
from execd.core.script_fields import MAX_NAME_CHARS, PROGRAM_FIELDS, ScriptTools, read_program
from execd.core.specs import Limits, Priority, ScriptSpec

MAX_RETRIES = 10
"""A platform that fails eleven times in a row does not mend itself by a twelfth."""

SCRIPT_FIELDS = ("kind", "name", "priority", "retries", "stdin_open", *PROGRAM_FIELDS)


class ScriptRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A script and how to queue it, checked."""

    name: str
    spec: ScriptSpec
    priority: int = Priority.NORMAL


def parse_script(body: object, *, runtimes: Runtimes, defaults: Limits, caps: Limits) -> ScriptRequest:
    """Read a request to run a script.

    Args:
        body: the decoded JSON of `POST /api/v1/executions`.
        defaults: limits of a run that asks for none; a runtime's own come on top, and caps bound both.
        caps: the most a run may ask for.

    Raises:
        InvalidRequestError: `faults` has an entry for everything that is wrong.
    """
    faults = Faults()
    fields = Fields(body, faults, known=SCRIPT_FIELDS)
    if not isinstance(body, Mapping):
        faults.raise_if_any()
    fields.choice("kind", ("script",), default="script")
    spec = msgspec.structs.replace(
        read_program(fields, faults, ScriptTools(runtimes=runtimes, defaults=defaults, caps=caps)),
        stdin_open=fields.flag("stdin_open", default=False),
        retries=fields.integer("retries", Range(0, MAX_RETRIES), default=0),
    )
    name = read_name(fields)
    priority = read_priority(fields)
    faults.raise_if_any()
    return ScriptRequest(name=name or f"{spec.language} script", spec=spec, priority=priority)


def read_priority(fields: Fields) -> int:
    """Read who goes first within a workspace."""
    return fields.integer("priority", Range(int(Priority.HIGH), int(Priority.LOW)), default=int(Priority.NORMAL))


def read_name(fields: Fields) -> str | None:
    """Read the name of an execution: one line, for people."""
    name = fields.text("name", max_chars=MAX_NAME_CHARS, accepted="one line of text")
    if name is not None and any(not char.isprintable() for char in name):
        fields.fault(
            "name", "has control characters", f"one line of printable text, at most {MAX_NAME_CHARS} characters"
        )
        return None
    return name
