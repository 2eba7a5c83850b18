"""`action-code`: runs a program of a few lines in a sandbox, Python or JavaScript.

The program is no file of its own: a frame around it reads what the nodes before it gave, runs it, and writes one line of
JSON. What the program prints goes to stderr, so that it cannot be taken for the result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from execd.core.capture import SHOWN_BYTES
from execd.core.event_parts import Failure
from execd.core.fields import Fields, is_nested_deeper
from execd.core.nodes.kinds import Beginning, Done, Fails, Printed, Reading, Runs, failure
from execd.core.nodes.n8n.kinds import FlowSpec, FlowType, Values, required_in
from execd.core.nodes.n8n.templates import MAX_DEPTH
from execd.core.script_fields import read_program
from execd.core.specs import Limits, ScriptSpec

_PYTHON = """\
import json, os, sys, traceback
out = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="replace")
os.dup2(2, 1)
given = json.load(sys.stdin)
scope = {"input": given["input"], "__name__": "__main__"}
def plain(value):
    try:
        return json.loads(json.dumps(value, default=str, allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        return str(value)
def seen():
    kept = {k: v for k, v in scope.items() if k not in ("input", "__name__", "__builtins__")}
    try:
        return repr(kept)[:2000]
    except Exception:
        return ""
def tell(**told):
    sys.stdout.flush()
    out.write(json.dumps(told, ensure_ascii=False) + "\\n")
    out.flush()
try:
    exec(compile(given["code"], "<code>", "exec"), scope)
except Exception as error:
    traceback.print_exc()
    at = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == "<code>"]
    line = at[-1] if at else getattr(error, "lineno", None)
    tell(error=f"{type(error).__name__}: {error}"[:2000] + (f" (line {line})" if line else ""))
    sys.exit(1)
tell(result=plain(scope.get("result")), scope=seen())
"""
_JAVASCRIPT = """\
import { readFileSync, writeSync } from "node:fs";
import { Console } from "node:console";
globalThis.console = new Console(process.stderr, process.stderr);
const given = JSON.parse(readFileSync(0, "utf8"));
const plain = (_, value) => (typeof value === "string" && value.toWellFormed ? value.toWellFormed() : value);
function tell(told) {
  const bytes = Buffer.from(JSON.stringify(told, plain) + "\\n");
  let done = 0;
  while (done < bytes.length) {
    try { done += writeSync(1, bytes, done); } catch (error) { if (error.code !== "EAGAIN") throw error; }
  }
}
try {
  const AsyncFunction = (async () => {}).constructor;
  const result = await new AsyncFunction("input", given.code)(given.input);
  tell({ result: result === undefined ? null : result, scope: "{}" });
} catch (error) {
  console.error(error);
  tell({ error: String(error).slice(0, 2000) });
  process.exit(1);
}
"""
_SOURCES = {"python": _PYTHON, "javascript": _JAVASCRIPT}
_ALIASES = {"py": "python", "js": "javascript", "node": "javascript"}
_RUNTIMES = {"python": "python", "javascript": "node"}
"""As config/runtimes.toml names them."""
_NO_SCRIPT = ScriptSpec(language="", source="", limits=Limits())


class CodeSpec(FlowSpec, frozen=True, kw_only=True, omit_defaults=True):
    script: ScriptSpec = _NO_SCRIPT
    """The frame around the program, with its limits."""


class CodeType(FlowType[CodeSpec]):
    name = "action-code"
    spec_type = CodeSpec
    takes_place = True
    verbatim = frozenset({"code"})
    sees_outputs = True

    def read(self, fields: Fields, reading: Reading) -> CodeSpec:
        spec = super().read(fields, reading)
        asked = str(spec.config.get("language") or "python").lower()
        language = _ALIASES.get(asked, asked)
        if language not in _SOURCES:
            fields.fault("config.language", f"is {asked[:64]!r}", ", ".join(_SOURCES))
            return spec
        program = {"language": _RUNTIMES[language], "source": _SOURCES[language]}
        path = fields.path_of("config")
        script = read_program(Fields(program, reading.faults, known=program, path=path), reading.faults, reading.tools)
        return msgspec.structs.replace(spec, script=script)

    def begin(self, spec: CodeSpec, values: Values, at: datetime) -> Beginning:
        given = {"code": required_in(values.config, "code"), "input": values.outputs}
        return Runs(msgspec.structs.replace(spec.script, stdin=msgspec.json.encode(given).decode()))

    def finish(self, spec: CodeSpec, gave: Printed, values: Callable[[], Any]) -> Done | Fails:
        told = _told(gave.stdout)
        if told is not None and is_nested_deeper(told, MAX_DEPTH):
            return failure("code:too_deep", f"The result is nested more than {MAX_DEPTH} deep.")
        if told is not None and "result" in told:
            return Done({"executed": True, "result": told["result"], "scope": str(told.get("scope", ""))})
        if len(gave.stdout or "") >= SHOWN_BYTES // 4:
            return failure("code:too_large", f"The result is larger than {SHOWN_BYTES} bytes of JSON.")
        return failure("code:no_result", "The program ended by itself, before its result could be read.")

    def explain(self, spec: CodeSpec, stdout: str | None, failure: Failure) -> Failure:
        told = _told(stdout)
        if told is None or not isinstance(told.get("error"), str):
            return failure
        return msgspec.structs.replace(failure, message=told["error"])


def _told(stdout: str | None) -> Mapping[str, Any] | None:
    try:
        told = msgspec.json.decode(stdout or "")
    except (msgspec.DecodeError, RecursionError, UnicodeError, ValueError):
        return None
    return told if isinstance(told, dict) else None
