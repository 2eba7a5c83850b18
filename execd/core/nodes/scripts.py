"""`script`: runs a program in a sandbox. What it reads comes as JSON on stdin, what it gives is its last line of stdout."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from execd.core.fields import Fields
from execd.core.http_answers import MAX_JSON_DEPTH, depth_fits
from execd.core.nodes.kinds import Beginning, Done, NodeType, Printed, Reading, Runs, as_text, failure
from execd.core.script_fields import PROGRAM_FIELDS, read_program
from execd.core.specs import ScriptSpec


class WholeScriptType(NodeType[ScriptSpec]):
    """A script that is an execution of its own: nothing in it is an expression."""

    name = "script"
    spec_type = ScriptSpec
    fields = ()
    takes_place = True

    def read(self, fields: Fields, reading: Reading) -> ScriptSpec:
        return read_program(fields, reading.faults, reading.tools)

    def secrets(self, spec: ScriptSpec) -> Mapping[str, str]:
        return spec.secrets

    def begin(self, spec: ScriptSpec, values: Any, at: datetime) -> Runs:
        return Runs(spec)

    def finish(self, spec: ScriptSpec, gave: Printed, values: Callable[[], Any]) -> Done:
        return Done(None)


class StepSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A script as a step. Its source is never expanded: values reach it as input, arguments and environment."""

    script: ScriptSpec
    input: Any = None
    """Given to it as JSON on stdin; null leaves stdin as the script has it."""


class StepType(NodeType[StepSpec]):
    name = "script"
    spec_type = StepSpec
    fields = ("input", *PROGRAM_FIELDS)
    takes_place = True

    def read(self, fields: Fields, reading: Reading) -> StepSpec:
        if fields.has("input") and fields.has("stdin"):
            fields.fault("input", "stands beside stdin", "one of input, stdin")
        return StepSpec(script=read_program(fields, reading.faults, reading.tools), input=fields.raw("input"))

    def secrets(self, spec: StepSpec) -> Mapping[str, str]:
        return spec.script.secrets

    def templated(self, spec: StepSpec) -> Any:
        return {"input": spec.input, "args": list(spec.script.args), "env": dict(spec.script.env)}

    def begin(self, spec: StepSpec, values: Any, at: datetime) -> Beginning:
        changes: dict[str, Any] = {
            "args": tuple(as_text(value) for value in values["args"]),
            "env": {name: as_text(value) for name, value in values["env"].items()},
        }
        if any("\0" in text for text in (*changes["args"], *changes["env"].values())):
            return failure("argument", "An argument or variable has a NUL character, which no program can be given.")
        if values["input"] is not None:
            changes["stdin"] = msgspec.json.encode(values["input"]).decode()
        return Runs(msgspec.structs.replace(spec.script, **changes))

    def finish(self, spec: StepSpec, gave: Printed, values: Callable[[], Any]) -> Done:
        return Done(output_of_script(gave.stdout, gave.exit_code))


def output_of_script(stdout: str | None, exit_code: int | None) -> dict[str, Any]:
    """Give a step's output: the text it wrote (None where that is no text), its exit code, and as `result` the JSON value
    of its last line, if that is one."""
    return {"result": _last_json(stdout or ""), "stdout": stdout, "exit_code": exit_code}


def _last_json(text: str) -> Any:
    """What is no JSON is only text, and so is what is nested deeper than can be kept."""
    last = text.rstrip().rpartition("\n")[2]
    try:
        value = msgspec.json.decode(last) if last else None
    except (msgspec.DecodeError, RecursionError, UnicodeError, ValueError):
        return None
    return value if depth_fits(value, MAX_JSON_DEPTH) else None
