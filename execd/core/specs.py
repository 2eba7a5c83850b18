"""What is to be run: specs as they are stored, and the limits they carry.

Parse, do not validate: whoever holds a `ScriptSpec` knows that its language exists and its limits are within the caps,
because `parse_script` is the only way to one from outside. Everything that runs is a graph; a script is a graph of one.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from datetime import datetime

import msgspec

from execd.core.events import NodeId, Prompt

SCRIPT_NODE = NodeId("main")
"""The id of a script's one node."""


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
    stdin: str | None = None
    """Fixed bytes for stdin, as text; None is an empty stdin unless it is kept open."""
    stdin_open: bool = False
    """Whether stdin stays open for bytes sent while it runs."""
    files: tuple[InputFile, ...] = ()
    limits: Limits
    retries: int = 0
    """How often it may run again when its sandbox was lost or the platform failed; never for a failure of its own."""


class WaitSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="wait"):
    """A node that lets time pass, also while execd is down; exactly one of the two is set."""

    seconds: float | None = None
    """From its start."""
    until: datetime | None = None
    """UTC; a moment that has passed is no wait at all."""


class InputSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="input"):
    """A node that asks a person and goes on with the answer."""

    prompts: tuple[Prompt, ...]
    expires_s: float | None = None
    """How long it asks before it fails; None: for ever."""


NodeSpec = ScriptSpec | WaitSpec | InputSpec


class RetryPolicy(msgspec.Struct, frozen=True, omit_defaults=True):
    """When a node may run again."""

    retries: int = 0
    """Further attempts after the first, for outcomes that are retryable."""
    delay_s: float = 0.0
    """Wait before the first further attempt; doubles each time."""
    on_lost: bool = False
    """Whether an attempt that was cut off in the middle (its worker or sandbox is gone) may be repeated: what it did
    outside, if anything, is then done twice, so only its author can say."""


class Node(msgspec.Struct, frozen=True, omit_defaults=True):
    """One step of a graph."""

    id: NodeId
    type: str
    label: str
    spec: NodeSpec
    needs: tuple[NodeId, ...] = ()
    """The nodes that must have succeeded before it starts."""
    retry: RetryPolicy = RetryPolicy()


class Graph(msgspec.Struct, frozen=True):
    """What a machine runs: nodes, joined by what each needs; acyclic."""

    nodes: tuple[Node, ...]
    parallelism: int = 16
    """How many nodes may run, or wait to run again, at one time; one that waits for a person or a moment takes no place."""


class WorkflowSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="workflow"):
    """A graph of nodes, complete and checked, as it is stored and run."""

    nodes: tuple[Node, ...]
    parallelism: int = 16
    """See `Graph`."""


ExecutionSpec = ScriptSpec | WorkflowSpec

SPEC_TYPES: dict[str, type[ExecutionSpec]] = {"script": ScriptSpec, "workflow": WorkflowSpec}
"""The spec of each kind of execution."""


def script_graph(spec: ScriptSpec, *, name: str) -> Graph:
    """Make the one-node graph of a script. Its `retries` are its author's word that it may be repeated."""
    retry = RetryPolicy(retries=spec.retries, on_lost=spec.retries > 0)
    return Graph(nodes=(Node(id=SCRIPT_NODE, type="script", label=name, spec=spec, retry=retry),))


class Priority(enum.IntEnum):
    """Who goes first within a workspace; between workspaces the share decides."""

    HIGH = 0
    NORMAL = 1
    LOW = 2


def kind_of(spec: ExecutionSpec) -> str:
    """Name the kind of execution, as records and events do."""
    return next(kind for kind, spec_type in SPEC_TYPES.items() if isinstance(spec, spec_type))


def encode_spec(spec: ExecutionSpec) -> bytes:
    """Give a spec as it is stored."""
    return msgspec.json.encode(spec)


def decode_spec(stored: bytes, *, kind: str) -> ExecutionSpec:
    """Read back what `encode_spec` gave.

    Args:
        kind: as the record has it.
    """
    return msgspec.json.decode(stored, type=SPEC_TYPES[kind])


def graph_of(spec: ExecutionSpec, *, name: str) -> Graph:
    """Compile a spec of any kind to the graph that runs it; the one place that knows the kinds."""
    if isinstance(spec, ScriptSpec):
        return script_graph(spec, name=name)
    return Graph(nodes=spec.nodes, parallelism=spec.parallelism)
