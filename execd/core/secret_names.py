"""Which secrets something names, and where: so that what is not there is refused before anything runs."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from itertools import islice

import msgspec

from execd.core.errors import FieldFault, InvalidRequestError
from execd.core.expressions import SECRETS, compile_value, references
from execd.core.fields import MAX_FAULTS, Faults, describe, summarise, text_fault
from execd.core.flows.configs import rows_of
from execd.core.flows.specs import FlowSpec
from execd.core.masking import BLOT, MIN_SECRET_CHARS
from execd.core.nodes import type_named
from execd.core.specs import ScriptSpec
from execd.core.workflows import ExecutionSpec, StoredNode, WorkflowSpec

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)
NAME_WORDS = "letters, digits and underscores, not beginning with a digit, at most 64"
MAX_SECRET_CHARS = 32 * 1024
"""A key of a service account has 2 KiB, a chain of certificates ten; a file is no secret."""
SHOWN_NAMES = 20


def value_fault(value: str) -> str | None:
    """Say what keeps a text from being a secret, without telling it; None when nothing does."""
    if len(value) < MIN_SECRET_CHARS:
        return f"has {len(value)} characters, too few to be hidden"
    if BLOT in value:
        return f"has {BLOT} in it, as what is hidden has"
    return text_fault(value, max_chars=MAX_SECRET_CHARS)


VALUE_WORDS = f"a text of {MIN_SECRET_CHARS} to {MAX_SECRET_CHARS} characters of Unicode without NUL and {BLOT}"


def check_secret(name: str, value: object, faults: Faults | None = None) -> str:
    """Check what is to be kept, and give its value.

    Args:
        faults: what is wrong with the request besides.

    Raises:
        InvalidRequestError: it names what is wrong and never holds the value.
    """
    noted = Faults() if faults is None else faults
    if not NAME.fullmatch(name):
        noted.add("name", "is no name of a secret", NAME_WORDS)
    if not isinstance(value, str):
        noted.add("value", "is missing" if value is None else describe(value), VALUE_WORDS)
    elif (wrong := value_fault(value)) is not None:
        noted.add("value", wrong, VALUE_WORDS)
    noted.raise_if_any()
    return str(value)


def check_known(spec: ExecutionSpec, *, known: Collection[str]) -> None:
    """Refuse what names secrets that are not there. Raises InvalidRequestError with the path of each place."""
    faults = faults_of_missing(spec, known=known)
    if faults:
        raise InvalidRequestError(summarise(faults), faults=tuple(faults))


def faults_of_missing(spec: ExecutionSpec, *, known: Collection[str]) -> list[FieldFault]:
    """Name every place that reads a secret which is not there.

    Args:
        known: what the workspace has.
    """
    accepted = ", ".join(sorted(known)[:SHOWN_NAMES]) or "none: this workspace has no secrets"
    missing = ((path, name) for path, name in places_of(spec) if name not in known)
    return [
        FieldFault(path, f"reads the secret {name[:64]!r}, which this workspace has not", accepted)
        for path, name in islice(missing, MAX_FAULTS)
    ]


def places_of(spec: ExecutionSpec) -> Iterator[tuple[str, str]]:
    """Give where each secret is read, as paths of the request, and its name."""
    if isinstance(spec, ScriptSpec):
        yield from ((f"secrets.{variable}", name) for variable, name in spec.secrets.items())
    elif isinstance(spec, WorkflowSpec):
        yield from _places_in(spec.nodes, "nodes")
    elif isinstance(spec, FlowSpec):
        named = enumerate(rows_of(spec.config.get("secrets")))
        yield from ((f"secrets[{index}]", name) for index, name in named if isinstance(name, str))


def _places_in(nodes: Iterable[StoredNode], where: str) -> Iterator[tuple[str, str]]:
    for index, node in enumerate(nodes):
        path = f"{where}[{index}]"
        node_type = type_named(node.type)
        spec = msgspec.convert(node.config, node_type.spec_type)
        yield from ((f"{path}.secrets.{variable}", name) for variable, name in node_type.secrets(spec).items())
        compiled = compile_value(node_type.templated(spec), path=path, faults=Faults())
        for reference in sorted(references(compiled), key=str):
            if reference.root == SECRETS and reference.path:
                yield reference.field, str(reference.path[0])
        yield from _places_in(node.nodes, f"{path}.nodes")
