"""Saved scripts and workflows: what may be saved, and what a run of a saved one asks for.

A definition holds the fields of a request as their author wrote them, and is read anew by `parse_request` for each run, so
that limits and runtimes are those of the day. Saving needs the same reading: what would be refused when it is submitted
cannot be saved.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from execd.core.errors import ConflictError, FieldFault, InvalidRequestError
from execd.core.external import ExternalSpec
from execd.core.fields import Faults, Fields, Range, summarise
from execd.core.flows.specs import FlowSpec
from execd.core.ids import DEFINITION_ID
from execd.core.parsing import read_name, read_priority
from execd.core.requests import KINDS, ExecutionRequest, parse_request
from execd.core.script_fields import MAX_NAME_CHARS, ScriptTools
from execd.core.specs import Priority, ScriptSpec
from execd.core.workflows import ExecutionSpec, WorkflowSpec

RUN_FIELDS = ("definition", "version", "input", "name", "priority", "until")
MAX_VERSION = 10**9
_APART = frozenset({"kind", "name", "priority"})
"""Not part of a body: kind and name stand beside it, and a priority is of a run."""
_NAME_WORDS = "one line of text that is no id"


class NotRunnableError(ConflictError):
    """The saved version cannot run here any more (a runtime went, a cap fell): mend it and save a new version."""

    code = "definition_not_runnable"


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be saved, checked."""

    name: str
    kind: str
    body: bytes
    """Its other fields as JSON, in the author's order; a priority is left out, because it is of a run."""
    sha256: str
    """Of `body`."""


class RunRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request to run a saved definition, checked as far as that can be done without it."""

    definition: str
    """Its id or name."""
    version: int | None = None
    """None: the newest."""
    input: Any = None
    """None: as saved."""
    name: str | None = None
    """None: the definition's."""
    priority: int = Priority.NORMAL
    until: str | None = None
    """Run only this node and what it needs; None: all of it."""


def parse_definition(body: object, tools: ScriptTools, *, name: str | None = None) -> Draft:
    """Read what is to be saved.

    Args:
        body: the decoded JSON or YAML: a request of its kind, as `POST /api/v1/executions` takes it, with a name.
        name: taken where the body has none; None: it must have one.

    Raises:
        InvalidRequestError: `faults` has an entry for everything that is wrong.
    """
    faults: list[FieldFault] = []
    if isinstance(body, Mapping):
        if name is not None and body.get("name") is None:
            body = {**body, "name": name}
        faults += _faults_of_head(body)
    try:
        parse_request(body, tools)
    except InvalidRequestError as error:
        faults += error.faults
    if faults:
        raise InvalidRequestError(summarise(faults), faults=tuple(faults))
    assert isinstance(body, Mapping)
    kept = _encode(fields_of(body))
    return Draft(name=body["name"], kind=body["kind"], body=kept, sha256=hashlib.sha256(kept).hexdigest())


def fields_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """Give what of a request is saved as a definition's body."""
    return {field: value for field, value in body.items() if field not in _APART}


def changed_fields(saved: Mapping[str, Any], body: Mapping[str, Any]) -> list[str]:
    """Name the fields of a saved body that a request would change, add or leave out; their order and a priority are none."""
    fields = fields_of(body)
    names = [*saved, *(name for name in fields if name not in saved)]
    return [name for name in names if _encoded(saved, name) != _encoded(fields, name)]


def _encoded(fields: Mapping[str, Any], name: str) -> bytes:
    """Encoded, because Python takes `true` for 1 and 1.0 for 1."""
    return msgspec.json.encode(fields[name], order="deterministic") if name in fields else b""


def _faults_of_head(body: Mapping[str, Any]) -> list[FieldFault]:
    """Say what a definition needs and an execution does not."""
    found = []
    name = body.get("name")
    if body.get("kind") is None:
        found.append(FieldFault(path="kind", message="is missing", accepted=", ".join(KINDS)))
    if name is None or name == "":
        found.append(
            FieldFault(path="name", message="is missing" if name is None else "is empty", accepted=_NAME_WORDS)
        )
    elif isinstance(name, str) and DEFINITION_ID.fullmatch(name):
        found.append(FieldFault(path="name", message="looks like an id", accepted=_NAME_WORDS))
    if body.get("until") is not None:
        found.append(FieldFault(path="until", message="is of a run", accepted="nothing here; say it when you run it"))
    return found


def _encode(value: dict[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(value)
    except RecursionError:
        fault = FieldFault(path="", message="is nested too deeply", accepted="JSON nested less than 500 deep")
        raise InvalidRequestError(summarise((fault,)), faults=(fault,)) from None


def document_of(*, kind: str, name: str, body: bytes) -> dict[str, Any]:
    """Put a saved version together again: what `parse_definition` and `parse_request` take."""
    return {"kind": kind, "name": name, **msgspec.json.decode(body)}


def request_of(*, kind: str, name: str, body: bytes, tools: ScriptTools) -> ExecutionRequest:
    """Read a saved version for a run.

    Raises:
        NotRunnableError: it was good when it was saved and is not any more; `faults` say why.
    """
    try:
        return parse_request(document_of(kind=kind, name=name, body=body), tools)
    except InvalidRequestError as error:
        faults = tuple(msgspec.structs.replace(fault, path=f"definition.{fault.path}") for fault in error.faults)
        raise NotRunnableError(f"the saved version cannot run here now: {error.message}", faults=faults) from None


def parse_run(body: object) -> RunRequest:
    """Read `{definition, version?, input?, name?, priority?, until?}`. Raises InvalidRequestError."""
    faults = Faults()
    fields = Fields(body, faults, known=RUN_FIELDS)
    asked = RunRequest(
        definition=fields.required_text("definition", max_chars=MAX_NAME_CHARS, accepted="the id or name of one"),
        version=fields.integer("version", Range(1, MAX_VERSION), default=1) if fields.has("version") else None,
        input=fields.raw("input"),
        name=read_name(fields) or None,
        priority=read_priority(fields),
        until=fields.text("until", max_chars=MAX_NAME_CHARS, accepted="one of its nodes"),
    )
    faults.raise_if_any()
    return asked


def digest_of_run(asked: RunRequest) -> str:
    """Give what tells a repeated run from a key used twice: what was asked, not what the definition has become since."""
    encoded = msgspec.json.encode(asked, order="deterministic")
    return hashlib.sha256(b"definition/" + encoded).hexdigest()


def with_input(spec: ExecutionSpec, given: Any) -> ExecutionSpec:
    """Give a run its input: a workflow or an engine elsewhere as `input`, a script as JSON on stdin, a flow as values of its
    variables.

    Args:
        given: None: as saved.

    Raises:
        InvalidRequestError: a script whose definition says what is on its stdin takes no input.
    """
    if given is None:
        return spec
    if isinstance(spec, WorkflowSpec | ExternalSpec):
        return msgspec.structs.replace(spec, input=given)
    if isinstance(spec, FlowSpec):
        return _with_variables(spec, given)
    if spec.stdin is not None:
        fault = FieldFault(
            path="input", message="has no place: the script's stdin is saved with it", accepted="no input"
        )
        raise InvalidRequestError(summarise((fault,)), faults=(fault,))
    return msgspec.structs.replace(spec, stdin=msgspec.json.encode(given).decode())


def _with_variables(spec: FlowSpec, given: Any) -> FlowSpec:
    is_simple = isinstance(given, Mapping) and all(isinstance(value, str | int | float) for value in given.values())
    if not is_simple:
        accepted = "an object of texts, numbers and booleans that take the place of variables"
        fault = FieldFault(path="input", message="is no such object", accepted=accepted)
        raise InvalidRequestError(summarise((fault,)), faults=(fault,))
    return msgspec.structs.replace(spec, input={**spec.input, **given})


def renew(newest: ExecutionSpec, *, former: ExecutionSpec, former_body: bytes) -> ExecutionSpec:
    """Give the newest version the input of a run of a former one: what that run was given it is given again, and what it
    took from its definition comes from the newest.

    Args:
        former: what ran.
        former_body: the version it was made of.

    Raises:
        ConflictError: one is a script and the other is none, so there is no telling what the input would be.
    """
    saved: dict[str, Any] = msgspec.json.decode(former_body)
    match newest, former:
        case WorkflowSpec() | ExternalSpec(), WorkflowSpec() | ExternalSpec() if type(newest) is type(former):
            return newest if former.input == saved.get("input") else with_input(newest, former.input)
        case FlowSpec(), FlowSpec():
            return newest if former.input == saved.get("input", {}) else with_input(newest, former.input)
        case ScriptSpec(), ScriptSpec():
            was_given = saved.get("stdin") is None and former.stdin is not None and newest.stdin is None
            return msgspec.structs.replace(newest, stdin=former.stdin) if was_given else newest
    raise ConflictError("the newest version is of another kind than what ran; retry with definition: same, or run it")


def hide_env(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Hide the values of `env` in a script or in the scripts of a workflow, as it was written or as it is stored."""
    shown = dict(fields)
    for name, value in fields.items():
        if name == "env" and isinstance(value, Mapping):
            shown[name] = dict.fromkeys(value, "***")
        elif name == "nodes" and isinstance(value, list):
            shown[name] = [hide_env(node) if isinstance(node, Mapping) else node for node in value]
        elif name in {"config", "script"} and isinstance(value, Mapping):
            shown[name] = hide_env(value)
    return shown
