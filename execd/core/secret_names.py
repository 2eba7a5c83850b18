"""Which secrets something names, and where: so that what is not there is refused before anything runs."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator

import msgspec

from execd.core.errors import FieldFault, InvalidRequestError
from execd.core.expression_paths import SECRETS
from execd.core.expressions import compile_value, references
from execd.core.fields import Faults, summarise, text_fault
from execd.core.masking import BLOT, MIN_SECRET_CHARS
from execd.core.nodes import TYPES_BY_NAME
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


def check_known(spec: ExecutionSpec, missing: Collection[str], *, known: Iterable[str]) -> None:
    """Refuse what names secrets that are not there.

    Args:
        missing: what its plan names and the workspace has not.
        known: what it has.

    Raises:
        InvalidRequestError: with the path of each place.
    """
    if not missing:
        return
    accepted = ", ".join(sorted(known)[:SHOWN_NAMES]) or "none: this workspace has no secrets"
    faults = [
        FieldFault(path=path, message=f"reads the secret {name!r}, which this workspace has not", accepted=accepted)
        for path, name in places_of(spec)
        if name in missing
    ]
    raise InvalidRequestError(summarise(faults), faults=tuple(faults[:50]))


def places_of(spec: ExecutionSpec) -> Iterator[tuple[str, str]]:
    """Give where each secret is read, as paths of the request, and its name."""
    if isinstance(spec, ScriptSpec):
        yield from ((f"secrets.{variable}", name) for variable, name in spec.secrets.items())
    elif isinstance(spec, WorkflowSpec):
        yield from _places_in(spec.nodes, "nodes")


def _places_in(nodes: Iterable[StoredNode], where: str) -> Iterator[tuple[str, str]]:
    for index, node in enumerate(nodes):
        path = f"{where}[{index}]"
        node_type = TYPES_BY_NAME[node.type]
        spec = msgspec.convert(node.config, node_type.spec_type)
        yield from ((f"{path}.secrets.{variable}", name) for variable, name in node_type.secrets(spec).items())
        compiled = compile_value(node_type.templated(spec), path=path, faults=Faults())
        for reference in sorted(references(compiled), key=str):
            if reference.root == SECRETS and reference.path:
                yield reference.field, str(reference.path[0])
        yield from _places_in(node.nodes, f"{path}.nodes")
