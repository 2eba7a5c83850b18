"""What the node types of flows share: their spec, and how a config becomes the values that a node begins with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, ClassVar, Protocol, TypeVar, cast

import msgspec

from execd.core.errors import ExecdError
from execd.core.expressions import Compiled, Limits, Reference, Work
from execd.core.fields import Faults, Fields, describe, is_nested_deeper
from execd.core.nodes.kinds import NodeType, Reading, as_text, kind_of_value
from execd.core.nodes.n8n.templates import MAX_DEPTH, NOTHING, Filling, Names, Ref, choose, follow

S = TypeVar("S", bound="FlowSpec")

MAX_WARNINGS = 50
"""Of one attempt; a text full of braces would otherwise fill the journal."""
MAX_SEEN_BYTES = 16 * 1024 * 1024
"""Of all outputs together that a code node is given."""


class FlowSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A node of a flow: its config as its author wrote it."""

    node: str = ""
    """Its id: what was given for it in the input is laid over its config."""
    config: dict[str, Any] = {}
    refs: dict[str, Ref] = {}
    """Where the references in its config lead, by what stands between their braces."""


class Values(msgspec.Struct, frozen=True, kw_only=True):
    """What a node of a flow begins with."""

    config: Mapping[str, Any]
    """With every reference replaced that leads somewhere."""
    input: Any
    """Of the flow."""
    outputs: Mapping[str, Any]
    """What the nodes before it gave, by id; empty for types that do not look at it."""
    unresolved: tuple[str, ...]


class Seen(Protocol):
    """What a node may see of the others: `execd.core.views.NodesView`."""

    def __getitem__(self, name: str, /) -> Mapping[str, Any]: ...

    def before(self, name: str) -> list[str]: ...


class ConfigError(ExecdError):
    """A value of a config is nothing the node can begin with; the message never holds it."""

    code = "config"
    status = 422


class FlowType(NodeType[S]):
    """A node type of flows."""

    fields = ("type", "label", "config")
    verbatim: ClassVar[frozenset[str]] = frozenset()
    """Config that is never filled in."""
    json_texts: ClassVar[frozenset[str]] = frozenset()
    """Config that may be an object written as text: it is read before it is filled in, so that no value breaks it."""
    sees_outputs: ClassVar[bool] = False

    def read(self, fields: Fields, reading: Reading) -> S:
        """Read `{type, config}`; which node it is and where its references lead is the compiler's to add."""
        config = fields.raw("config")
        if config is None:
            return self.spec_type()
        if not isinstance(config, dict):
            fields.fault("config", describe(config), "an object")
            return self.spec_type()
        if is_nested_deeper(config, MAX_DEPTH):
            fields.fault("config", "is nested too deep", f"at most {MAX_DEPTH} levels")
            return self.spec_type()
        return self.spec_type(config=config)

    def compile(self, spec: S, *, path: str, faults: Faults) -> Compiled:
        """Every flow node reads the input: what was given for it there is laid over its config."""
        reads = frozenset({Reference(root="input", path=(), field="")})
        return Compiled(constant=None, render=lambda work: self._render(spec, work), references=reads, limits=Limits())

    def warnings(self, values: Values) -> Sequence[str]:
        told = values.unresolved[:MAX_WARNINGS]
        return [f"{{{{{inner}}}}} leads to nothing and stays as it is" for inner in told]

    def _render(self, spec: S, work: Work) -> Values:
        seen, given = cast(Seen, work.scope["nodes"]), work.scope["input"]
        own = given.get(spec.node) if isinstance(given, Mapping) else None
        config = {**spec.config, **own} if isinstance(own, Mapping) else spec.config
        filling = Filling(_finder(spec, seen))
        filled = {name: self._fill(filling, name, value) for name, value in config.items()}
        return Values(
            config=filled,
            input=given,
            outputs=_outputs(seen, spec.node) if self.sees_outputs else {},
            unresolved=tuple(filling.unresolved),
        )

    def _fill(self, filling: Filling, name: str, value: Any) -> Any:
        if name in self.verbatim:
            return value
        parsed = parse_json_text(value) if name in self.json_texts else value
        return filling.fill(parsed if isinstance(parsed, dict | list) else value)


def _finder(spec: FlowSpec, seen: Seen) -> Callable[[str], Any]:
    """Make what looks references up. Those that came with the input are resolved among the nodes that come before."""

    @cache
    def names() -> Names:
        return Names(seen.before(spec.node))

    def look_up(inner: str) -> Any:
        ref = spec.refs.get(inner) or choose(names().candidates(inner))
        if not isinstance(ref, Ref):
            return NOTHING
        view = seen[ref.node]
        return follow(view["output"], ref.path) if view.get("status") in {"completed", "failed"} else NOTHING

    return look_up


def _outputs(seen: Seen, node: str) -> dict[str, Any]:
    views = {name: seen[name] for name in seen.before(node)}
    found = {name: view["output"] for name, view in views.items() if view.get("status") == "completed"}
    if sum(len(msgspec.json.encode(output)) for output in found.values()) > MAX_SEEN_BYTES:
        raise ConfigError(f"the nodes before it gave more than {MAX_SEEN_BYTES} bytes together")
    return found


def parse_json_text(value: Any) -> Any:
    """Read a text as JSON; what is no text, no JSON, or is nested deeper than can be kept, is given back as it is."""
    if not isinstance(value, str):
        return value
    try:
        parsed = msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError, UnicodeError, ValueError):
        return value
    return value if is_nested_deeper(parsed, MAX_DEPTH) else parsed


def text_in(config: Mapping[str, Any], name: str, *, default: str = "") -> str:
    """Give a value as text; what is missing or null is the default."""
    value = config.get(name)
    return default if value is None else as_text(value)


def required_in(config: Mapping[str, Any], name: str) -> str:
    """Give a value as text. Raises ConfigError when it is missing or empty."""
    text = text_in(config, name)
    if not text.strip():
        raise ConfigError(f"`config.{name}` is missing or empty")
    return text


def number_in(config: Mapping[str, Any], name: str) -> float | None:
    """Give a number, which editors send as text often enough; None where it is left out. Raises ConfigError."""
    value = config.get(name)
    if value is None or value == "":
        return None
    number = as_number(value)
    if number is None:
        raise ConfigError(f"`config.{name}` gave {kind_of_value(value)}; it must give a number")
    return number


def as_number(value: Any) -> float | None:
    """Give the number that a value is, or that a text spells; None where it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if number - number == 0 else None


def table_in(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Give an object, which may be written as JSON text or as a list of `{key, value}`. Raises ConfigError."""
    value = parse_json_text(config.get(name))
    if value is None or value == "":
        return {}
    if isinstance(value, list) and all(isinstance(row, dict) and isinstance(row.get("key"), str) for row in value):
        return {row["key"]: row.get("value") for row in value}
    if not isinstance(value, dict):
        raise ConfigError(f"`config.{name}` gave {kind_of_value(value)}; it must give an object")
    return value
