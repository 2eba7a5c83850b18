"""What is said between execd and the shim inside a sandbox: messages going in, records coming out.

In go marshalled dicts (see shim.py for why); out come lines of JSON that are read strictly, because they come from where
programs live.
"""

from __future__ import annotations

import base64
import marshal
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

import msgspec

from execd.core.errors import ConfigurationError
from execd.core.specs import InputFile, Limits

MARSHAL_VERSION = 2
"""The newest format that every Python 3 reads."""
RECORD_LIMIT_BYTES = 4096
"""The shim's records have a few hundred; more is not the shim."""


class StartedRecord(msgspec.Struct, frozen=True, tag="started", forbid_unknown_fields=True):
    """The child has everything it needs and becomes the program now."""


class ExecErrorRecord(msgspec.Struct, frozen=True, tag="exec_error", forbid_unknown_fields=True):
    """The program could not be started."""

    name: str
    """`ENOENT`, `EACCES` …"""


class EndRecord(msgspec.Struct, frozen=True, tag="exit", forbid_unknown_fields=True):
    """The last record: how the program ended and what it cost."""

    exit_code: int | None
    signal: int | None
    limiter: str | None
    configured: float | None
    observed: float | None
    cancelled: bool
    wall_ms: int
    cpu_ms: int
    peak_memory_bytes: int


Record = StartedRecord | ExecErrorRecord | EndRecord

_decoder: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Record)


def decode_record(line: bytes) -> Record | None:
    """Read one record; None for what is not one."""
    try:
        return _decoder.decode(line)
    except msgspec.DecodeError:
        return None


def encode_message(message: Mapping[str, Any]) -> bytes:
    """Frame one message for the shim or its child."""
    body = marshal.dumps(dict(message), MARSHAL_VERSION)
    return len(body).to_bytes(4, "big") + body


def run_message(limits: Limits, *, grace_s: float) -> bytes:
    """Tell the shim that the program begins now, and what it has to enforce."""
    return encode_message(
        {
            "op": "run",
            "wall_s": limits.wall_s,
            "cpu_s": limits.cpu_s,
            "file_bytes": limits.file_bytes,
            "grace_s": grace_s,
        }
    )


def stop_message(*, grace_s: float) -> bytes:
    """Tell the shim to end the program: SIGTERM, then after the grace SIGKILL."""
    return encode_message({"op": "stop", "grace_s": grace_s})


def file_contents(files: tuple[InputFile, ...]) -> list[tuple[str, bytes]]:
    """Decode input files and check where they want to lie.

    Raises:
        ConfigurationError: a path leaves the working directory, or a content is not base64.
    """
    return [(_checked_path(file.path), _content(file)) for file in files]


def _checked_path(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\0" in path:
        raise ConfigurationError(f"files: {path!r} is not a relative path below the working directory")
    return "/".join(parts)


def _content(file: InputFile) -> bytes:
    if file.base64 is None:
        return (file.text or "").encode("utf-8", "surrogatepass")
    try:
        return base64.b64decode(file.base64, validate=True)
    except ValueError as error:
        raise ConfigurationError(f"files: the content of {file.path!r} is not base64") from error
