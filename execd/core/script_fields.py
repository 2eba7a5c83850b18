"""The fields a script has wherever it stands: as an execution of its own, or as a step of a workflow."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping

import msgspec

from execd.core.fields import Faults, Fields, Range, describe, text_fault
from execd.core.runtimes import Runtime, Runtimes, effective_limits
from execd.core.specs import InputFile, Limits, RequestedLimits, ScriptSpec

MAX_SOURCE_CHARS = 8 * 1024 * 1024
"""Far above any script; the body limit of the door in front is lower."""
MAX_NAME_CHARS = 200
"""Fits one line of a list."""
MAX_ARGS = 1000
MAX_ARG_CHARS = 128 * 1024
"""Linux takes no longer argument or variable (MAX_ARG_STRLEN)."""
MAX_ENV = 1000
MAX_FILES = 1000
MAX_PATH_CHARS = 1024
MAX_PATH_PART_BYTES = 255
"""NAME_MAX of every common file system."""
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_ENV_NAME_WORDS = "letters, digits and underscores, not beginning with a digit"
_ARGS = "a list of texts"
_ENV = "an object of texts"
_SECRETS = "an object that gives, for each variable, the name of a secret"
_FILES = "a list of {path, text} or {path, base64}"


PROGRAM_FIELDS = ("language", "source", "args", "env", "secrets", "stdin", "files", "limits")
"""What says which program runs, and how."""


class ScriptTools(msgspec.Struct, frozen=True, kw_only=True):
    """What scripts are read against."""

    runtimes: Runtimes
    defaults: Limits
    """Limits of a run that asks for none; a runtime's own come on top, and caps bound both."""
    caps: Limits
    """The most a run may ask for."""
    env_names: frozenset[str] = frozenset()
    """Variables of the server that expressions may read."""


def read_program(fields: Fields, faults: Faults, tools: ScriptTools) -> ScriptSpec:
    """Read the `PROGRAM_FIELDS`; what is wrong is noted in `faults`."""
    language, runtime = _read_language(fields, tools.runtimes)
    env = _read_env(fields, faults)
    return ScriptSpec(
        language=language,
        source=fields.required_text("source", max_chars=MAX_SOURCE_CHARS, accepted="the program's text"),
        args=_read_args(fields, faults),
        env=env,
        secrets=_read_secrets(fields, env),
        stdin=fields.text("stdin", max_chars=MAX_SOURCE_CHARS, accepted="text for stdin"),
        files=_read_files(fields, faults, script_name=None if runtime is None else runtime.file_name),
        limits=_read_limits(fields, faults, runtime=runtime, tools=tools),
    )


def _read_language(fields: Fields, runtimes: Runtimes) -> tuple[str, Runtime | None]:
    accepted = ", ".join(runtimes.by_name)
    asked = fields.required_text("language", max_chars=MAX_NAME_CHARS, accepted=accepted)
    if not asked:
        return "", None
    name = runtimes.resolve(asked)
    if name is None:
        fields.fault("language", f"{asked[:64]!r} is not known here", accepted)
        return "", None
    return name, runtimes.by_name[name]


def _read_args(fields: Fields, faults: Faults) -> tuple[str, ...]:
    found: list[str] = []
    for index, value in enumerate(fields.items("args", max_count=MAX_ARGS, accepted=_ARGS)):
        text = _plain_text(value, faults, f"{fields.path_of('args')}[{index}]")
        if text is not None:
            found.append(text)
    return tuple(found)


def _plain_text(value: object, faults: Faults, path: str) -> str | None:
    wrong = text_fault(value, max_chars=MAX_ARG_CHARS) if isinstance(value, str) else describe(value)
    if wrong is None:
        return str(value)
    faults.add(path, wrong, f"text without NUL, at most {MAX_ARG_CHARS} characters")
    return None


def _read_env(fields: Fields, faults: Faults) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in fields.mapping("env", max_count=MAX_ENV, accepted=_ENV).items():
        shown = name[:64].encode(errors="replace").decode()
        path = f"{fields.path_of('env')}.{shown}"
        if not _ENV_NAME.fullmatch(name):
            faults.add(path, "is no name of a variable", _ENV_NAME_WORDS)
            continue
        text = _plain_text(value, faults, path)
        if text is not None:
            found[name] = text
    return found


def _read_secrets(fields: Fields, env: Mapping[str, str]) -> dict[str, str]:
    """Read which variables are secrets; whether the workspace has them is seen when it is submitted."""
    found: dict[str, str] = {}
    for variable, name in fields.mapping("secrets", max_count=MAX_ENV, accepted=_SECRETS).items():
        shown = f"secrets.{variable[:64].encode(errors='replace').decode()}"
        if not _ENV_NAME.fullmatch(variable):
            fields.fault(shown, "is no name of a variable", _ENV_NAME_WORDS)
        elif variable in env:
            fields.fault(shown, "is in env too", "one of them")
        elif not isinstance(name, str) or not _ENV_NAME.fullmatch(name):
            fields.fault(shown, describe(name), "the name of a secret")
        else:
            found[variable] = name
    return found


def _read_files(fields: Fields, faults: Faults, *, script_name: str | None) -> tuple[InputFile, ...]:
    found: dict[str, InputFile] = {}
    for index, value in enumerate(fields.items("files", max_count=MAX_FILES, accepted=_FILES)):
        path = f"{fields.path_of('files')}[{index}]"
        file = _read_file(Fields(value, faults, known=("path", "text", "base64"), path=path))
        if file is None:
            continue
        if file.path in found or file.path == script_name:
            faults.add(f"{path}.path", "is there already", "a path that neither another file nor the script has")
        found[file.path] = file
    _refuse_files_as_directories(found, faults, where=fields.path_of("files"))
    return tuple(found.values())


def _refuse_files_as_directories(files: Mapping[str, InputFile], faults: Faults, *, where: str) -> None:
    for path in files:
        parts = path.split("/")
        for length in range(1, len(parts)):
            if "/".join(parts[:length]) in files:
                faults.add(where, f"has {path!r} inside a file", "paths whose directories are no files")


def _read_file(fields: Fields) -> InputFile | None:
    path = fields.required_text("path", max_chars=MAX_PATH_CHARS, accepted="a relative path")
    if path and not _is_inner_path(path):
        fields.fault("path", "leaves the working directory or is no plain path", "a relative path without `.` and `..`")
        return None
    if fields.has("text") == fields.has("base64"):
        fields.fault("", "has both text and base64" if fields.has("text") else "has no content", "one of text, base64")
        return None
    text = fields.text("text", max_chars=MAX_SOURCE_CHARS, accepted="the file's text")
    encoded = fields.text("base64", max_chars=2 * MAX_SOURCE_CHARS, accepted="the file's bytes in base64")
    if encoded is not None and decode_base64(encoded) is None:
        fields.fault("base64", "is not base64", "standard base64 with padding (RFC 4648, section 4)")
        return None
    return InputFile(path=path, text=text, base64=encoded) if path else None


def _is_inner_path(path: str) -> bool:
    parts = path.split("/")
    return all(
        part not in {"", ".", ".."} and len(part.encode(errors="replace")) <= MAX_PATH_PART_BYTES for part in parts
    )


def decode_base64(encoded: str) -> bytes | None:
    """Give the bytes; None when it is not strict standard base64."""
    try:
        return base64.b64decode(encoded.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        return None


_LIMIT_UNITS = {"wall_s": "seconds", "cpu_s": "seconds", "processes": "processes", "open_files": "files"}
_LOWEST: Mapping[str, float] = {
    # Below these nothing starts: an interpreter needs so much before its first line.
    "wall_s": 0.01,
    "cpu_s": 0.01,
    "memory_bytes": 1024 * 1024,
    "processes": 1,
    "open_files": 8,
    "output_bytes": 0,
    "file_bytes": 0,
}


def _read_limits(fields: Fields, faults: Faults, *, runtime: Runtime | None, tools: ScriptTools) -> Limits:
    own = runtime.limits if runtime is not None else RequestedLimits()
    table = fields.raw("limits")
    requested = RequestedLimits()
    if table is not None:
        inner = Fields(table, faults, known=RequestedLimits.__struct_fields__, path=fields.path_of("limits"))
        requested = _read_requested(inner, tools.caps)
    return effective_limits(_bounded(effective_limits(tools.defaults, own), tools.caps), requested)


def _read_requested(fields: Fields, caps: Limits) -> RequestedLimits:
    found: dict[str, float | int | bool] = {}
    for name, cap in msgspec.structs.asdict(caps).items():
        if not fields.has(name):
            continue
        unit = _LIMIT_UNITS.get(name, "bytes")
        if name == "network":
            found[name] = _read_network(fields, is_allowed=cap)
        elif isinstance(cap, float):
            found[name] = fields.number(name, Range(_LOWEST[name], cap, unit=f"{unit} (the cap here)"), default=cap)
        else:
            allowed = Range(int(_LOWEST[name]), cap, unit=f"{unit} (the cap here)")
            found[name] = fields.integer(name, allowed, default=cap)
    return msgspec.convert(found, RequestedLimits)


def _read_network(fields: Fields, *, is_allowed: bool) -> bool:
    is_asked = fields.flag("network", default=False)
    if is_asked and not is_allowed:
        fields.fault("network", "is true", "false (the cap here)")
    return is_asked and is_allowed


def _bounded(limits: Limits, caps: Limits) -> Limits:
    """Defaults above the caps are the caps: whoever set a cap meant it."""
    bounds = msgspec.structs.asdict(caps)
    return Limits(**{name: min(value, bounds[name]) for name, value in msgspec.structs.asdict(limits).items()})
