"""From a saved definition to what is submitted: a run by id or name, and a retry with the newest version."""

from __future__ import annotations

import hashlib

import msgspec

from execd.core.again import spec_until
from execd.core.definitions import RunRequest, renew, request_of, with_input
from execd.core.errors import ConflictError
from execd.core.events import ExecutionId
from execd.core.requests import ExecutionRequest
from execd.core.workflows import ExecutionSpec, decode_spec
from execd.http.access import Identity
from execd.http.definitions import find_saved
from execd.http.front import Front
from execd.ports import Definition, ExecutionRecord


async def read_saved(front: Front, identity: Identity, asked: RunRequest) -> tuple[Definition, ExecutionRequest]:
    """Find what is to be run and give it its input.

    Raises:
        NotFoundError: the workspace has no such definition or version.
        NotRunnableError: it cannot run here any more.
        InvalidRequestError: it takes no input, or has no such node.
    """
    found = await find_saved(front, identity, asked.definition, version=asked.version)
    saved = _read(front, found)
    spec = spec_until(with_input(saved.spec, asked.input), asked.until)
    return found, ExecutionRequest(name=asked.name or found.name, spec=spec, priority=asked.priority)


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
    if newest is None or former is None:
        raise ConflictError(f"the definition {record.definition} was deleted; retry with definition: same")
    ran = decode_spec(record.spec, kind=record.kind)
    return newest, renew(_read(front, newest).spec, former=ran, former_body=former.body)


def digest_of_retry(execution_id: ExecutionId, begin: str, until: str | None) -> str:
    """Give what tells a repeated retry with the newest version from a key used twice, whatever that version is."""
    return hashlib.sha256(msgspec.json.encode(["retry/latest", execution_id, begin, until])).hexdigest()


def _read(front: Front, found: Definition) -> ExecutionRequest:
    return request_of(kind=found.kind, name=found.name, body=found.body, tools=front.script_tools)
