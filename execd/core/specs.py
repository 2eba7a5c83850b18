"""What is to be run: specs as they are stored, and the limits they carry.

Parse, do not validate: whoever holds a `ScriptSpec` knows that its language exists and its limits are within the caps,
because `parse_script` is the only way to one from outside. Everything that runs is a graph; a script is a graph of one.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a run may use. Each has its own reason when it is reached (`limit:wall`, `limit:memory` …)."""

    wall_s: float = 60.0
    """Real time from start to exit, in seconds."""
    cpu_s: float = 60.0
    """Processor time of all its processes, in seconds."""
    memory_bytes: int = 512 * 1024 * 1024
    """Memory of all its processes where a cgroup is available, of each process where not."""
    processes: int = 64
    """Processes and threads at one time."""
    open_files: int = 256
    """Open files of each process."""
    output_bytes: int = 16 * 1024 * 1024
    """stdout and stderr together; more is dropped, counted and said."""
    file_bytes: int = 64 * 1024 * 1024
    """The largest file it may write, and the size of its scratch directory."""
    network: bool = False
    """Whether it may reach the network."""


class RequestedLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits as a request names them: what is left out takes the runtime's default."""

    wall_s: float | None = None
    cpu_s: float | None = None
    memory_bytes: int | None = None
    processes: int | None = None
    open_files: int | None = None
    output_bytes: int | None = None
    file_bytes: int | None = None
    network: bool | None = None


class InputFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file laid into the working directory before the program starts; exactly one of `text` and `base64` is set."""

    path: str
    """Relative, without `..`."""
    text: str | None = None
    base64: str | None = None


class ScriptSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="script"):
    """A script, complete and checked, as it is stored and run."""

    language: str
    """The name of a runtime."""
    source: str
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = {}
    secrets: Mapping[str, str] = {}
    """Variables whose values are secrets of the workspace, by the variable's name; added to `env` when it starts."""
    stdin: str | None = None
    """Fixed bytes for stdin, as text; None is an empty stdin unless it is kept open."""
    stdin_open: bool = False
    """Whether stdin stays open for bytes sent while it runs."""
    files: tuple[InputFile, ...] = ()
    limits: Limits
    retries: int = 0
    """How often it may run again when its sandbox was lost or the platform failed; never for a failure of its own."""

    def __repr__(self) -> str:
        return f"ScriptSpec({self.language}, {len(self.source)} characters)"  # `env` may hold secrets


class RetryPolicy(msgspec.Struct, frozen=True, omit_defaults=True):
    """When a node may run again."""

    retries: int = 0
    """Further attempts after the first."""
    delay_s: float = 0.0
    """Wait before the first further attempt."""
    factor: float = 2.0
    """Each further wait is so many times the one before it."""
    max_delay_s: float = 300.0
    """Waits grow no longer than this: longer ones look like a hang."""
    jitter: float = 0.0
    """By up to which part of itself a wait is lengthened, so that many that failed together do not come back together."""
    on_failure: bool = False
    """Whether a failure of its own is a reason to try again; else only one of the platform is."""
    on_lost: bool = False
    """Whether an attempt that was cut off in the middle (its worker or sandbox is gone) may be repeated: what it did
    outside, if anything, is then done twice, so only its author can say."""


class Priority(enum.IntEnum):
    """Who goes first within a workspace; between workspaces the share decides."""

    HIGH = 0
    NORMAL = 1
    LOW = 2
