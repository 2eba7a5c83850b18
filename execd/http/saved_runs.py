"""A retry of what was made of a saved definition, with its newest version."""

from __future__ import annotations

import hashlib

import msgspec

from execd.core.definitions import renew
from execd.core.errors import ConflictError
from execd.core.events import ExecutionId
from execd.core.workflows import ExecutionSpec, decode_spec
from execd.http.access import Identity
from execd.http.front import Front
from execd.ports import Definition, ExecutionRecord


async def read_latest(front: Front, identity: Identity, record: ExecutionRecord) -> tuple[Definition, ExecutionSpec]:
    """Find the newest version of what an execution was made of, and give it the input that execution was given.

    Raises:
        ConflictError: there is none, or it is of another kind.
        NotRunnableError: it cannot run here any more.
    """
    if record.definition is None:
        raise ConflictError("the execution was not made of a saved definition; retry it with definition: same")
    definitions = front.engine.definitions
    newest = await definitions.find_definition(identity.workspace, record.definition)
    former = await definitions.find_definition(identity.workspace, record.definition, version=record.definition_version)
    if newest is None:
        raise ConflictError(f"the definition {record.definition} was deleted; retry with definition: same")
    if former is None:
        raise ConflictError(
            f"version {record.definition_version} of {newest.name}, which it was made of, was dropped as newer ones were "
            "saved, so there is no telling what changed; retry with definition: same"
        )
    ran = decode_spec(record.spec, kind=record.kind)
    return newest, renew(front.library.read(newest).spec, former=ran, former_body=former.body)


def digest_of_retry(execution_id: ExecutionId, begin: str, until: str | None) -> str:
    """Give what tells a repeated retry with the newest version from a key used twice, whatever that version is."""
    return hashlib.sha256(msgspec.json.encode(["retry/latest", execution_id, begin, until])).hexdigest()
