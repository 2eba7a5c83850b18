"""What a node type is: its spec, which of its fields hold expressions, and how it begins.

A type decides and never does: `begin` is pure and says what the machine should do. There are eight beginnings, and a new
type is one file that gives some of them, and one line in the registry.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Generic, TypeVar

import msgspec

from execd.core.calls import Call
from execd.core.event_parts import Failure, Prompt
from execd.core.expressions import Compiled, compile_value
from execd.core.fields import Faults, Fields
from execd.core.script_fields import ScriptTools
from execd.core.specs import ScriptSpec

OUT = "out"
"""The port that every success takes."""
ERROR = "error"
"""The port of a failure that its node sends there."""
AFTER = "after"
"""No port but an order: taken whatever became of the node, also when it failed or was skipped."""


class Done(msgspec.Struct, frozen=True):
    """It is complete at once, without any effect."""

    output: Any
    port: str | None = None
    """The further port it takes, besides `out`."""


class Fails(msgspec.Struct, frozen=True):
    """It cannot begin with these values."""

    failure: Failure
    is_final: bool = False
    """Whether beginning again can only give the same."""


class Skips(msgspec.Struct, frozen=True):
    """It does not run, and says why; its start is never told."""

    reason: str


class Runs(msgspec.Struct, frozen=True):
    """It runs a program in a sandbox."""

    script: ScriptSpec


class Calls(msgspec.Struct, frozen=True):
    """It asks something of the outside."""

    call: Call


class Waits(msgspec.Struct, frozen=True):
    """It lets time pass until then."""

    until: datetime
    is_moment: bool
    """Whether a moment of the wall clock is meant, or a delay."""


class Asks(msgspec.Struct, frozen=True):
    """It asks a person."""

    prompts: tuple[Prompt, ...]
    expires_at: datetime | None
    is_open: bool = False
    """Whether every answer is taken: keys may be missing or others, and values of any kind."""


class Expands(msgspec.Struct, frozen=True):
    """It runs its body, once for each item."""

    items: tuple[Any, ...]
    concurrency: int
    keeps_going: bool
    """Whether an item that failed is only one more value; else it fails the node."""
    is_map: bool
    """Whether the output is a list, of one value for each item; else there is one item, and its output is the node's."""
    timeout_s: float | None = None
    """For all of it; None: as long as it takes."""


Beginning = Done | Fails | Skips | Runs | Calls | Waits | Asks | Expands


class Printed(msgspec.Struct, frozen=True):
    """What a program gave that succeeded."""

    stdout: str | None
    """The head of it; None where it is no text."""
    exit_code: int | None


S = TypeVar("S", bound=msgspec.Struct)


class Reading(msgspec.Struct, frozen=True):
    """What a request is read with."""

    faults: Faults
    tools: ScriptTools


class NodeType(ABC, Generic[S]):
    """One type of node: what its file gives the machine."""

    name: ClassVar[str]
    """As it stands in a workflow."""
    spec_type: type[S]
    fields: ClassVar[Collection[str]] = ()
    """What a request may say of it, besides what every node has."""
    takes_place: ClassVar[bool] = False
    """Whether it does something that the limit on parallel nodes counts."""
    has_body: ClassVar[bool] = False
    """Whether it has `nodes` of its own."""

    @abstractmethod
    def read(self, fields: Fields, reading: Reading) -> S:
        """Read its fields from a request, noting what is wrong; with a fault, what is given back is not used."""

    def ports(self, spec: S) -> Sequence[str]:
        """Name the ports it has besides `out` and `error`."""
        return ()

    def secrets(self, spec: S) -> Mapping[str, str]:
        """Give the variables that are secrets, by name; those that its expressions read are not among them."""
        return {}

    def templated(self, spec: S) -> Any:
        """Give the fields that may hold expressions, by name."""
        return None

    def compile(self, spec: S, *, path: str, faults: Faults) -> Compiled:
        """Read what `templated` gives, once for all runs; what `begin` gets as `values` is made by it. A dialect that has templates
        of its own reads them in its own way."""
        return compile_value(self.templated(spec), path=path, faults=faults)

    @abstractmethod
    def begin(self, spec: S, values: Any, at: datetime) -> Beginning:
        """Say how it begins.

        Args:
            values: what `templated` gave, with every expression replaced by its value.
        """

    def warnings(self, values: Any) -> Sequence[str]:
        """Say what looks wrong with these values and does not stop it."""
        return ()

    def finish(self, spec: S, gave: Any, values: Callable[[], Any]) -> Done | Fails:
        """Say what the node gives, once its program or call has succeeded.

        Args:
            gave: `Printed` of a program, the output of a call.
            values: gives what `begin` was given.
        """
        return Done(gave)

    def explain(self, spec: S, stdout: str | None, failure: Failure) -> Failure:
        """Say better than its exit code why a program failed, where it told."""
        return failure


def failure(code: str, message: str, **details: Any) -> Fails:
    """Give a failure of the program's kind: the workflow itself is at fault."""
    return Fails(Failure(code=code, message=message, details={"group": "program", **details}))


def kind_of_value(value: Any) -> str:
    """Name the JSON kind of a value, for messages."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case Mapping():
            return "an object"
    return "a list"


def as_text(value: Any) -> str:
    """Give a value where only text can stand: text as it is, everything else as compact JSON."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
