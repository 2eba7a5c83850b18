"""From plain JSON to a checked request of any kind; what every door calls."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec

from execd.core.again import spec_until
from execd.core.dialects.n8n_flows import DRAWING_KIND, parse_drawing
from execd.core.errors import FieldFault, InvalidRequestError
from execd.core.external import parse_external
from execd.core.fields import Faults, Fields
from execd.core.flows.parsing import flow_warnings, parse_flow
from execd.core.parsing import parse_script
from execd.core.script_fields import MAX_NAME_CHARS, ScriptTools
from execd.core.specs import Priority
from execd.core.workflow_parsing import parse_workflow
from execd.core.workflows import SPEC_TYPES, ExecutionSpec

KINDS = (*SPEC_TYPES, DRAWING_KIND)
"""What can be run today."""


class ExecutionRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to run and how to queue it, checked."""

    name: str
    spec: ExecutionSpec
    priority: int = Priority.NORMAL


def parse_request(body: object, tools: ScriptTools) -> ExecutionRequest:
    """Read a request to run something.

    Args:
        body: the decoded JSON of `POST /api/v1/executions`.

    Raises:
        InvalidRequestError: `faults` has an entry for everything that is wrong.
    """
    kind = body.get("kind") if isinstance(body, Mapping) else None
    if kind == "workflow":
        workflow = parse_workflow(body, tools)
        spec = spec_until(workflow.spec, workflow.until)
        return ExecutionRequest(name=workflow.name, spec=spec, priority=workflow.priority)
    if kind == "external":
        external = parse_external(body)
        return ExecutionRequest(name=external.name, spec=external.spec)
    if kind == DRAWING_KIND:
        drawing = parse_drawing(body, tools)
        assert isinstance(body, Mapping)
        spec = spec_until(drawing.spec, _read_until(body))
        return ExecutionRequest(name=drawing.name, spec=spec, priority=drawing.priority)
    if kind == "flow":
        assert isinstance(body, Mapping)
        flow = parse_flow(body)
        return ExecutionRequest(name=flow.name, spec=spec_until(flow.spec, _read_until(body)), priority=flow.priority)
    if kind is not None and kind != "script":
        shown = f"is {kind[:64]!r}" if isinstance(kind, str) else "is no text"
        fault = FieldFault(path="kind", message=shown, accepted=", ".join(KINDS))
        raise InvalidRequestError(f"kind {shown}; accepted: {fault.accepted}", faults=(fault,))
    script = parse_script(body, runtimes=tools.runtimes, defaults=tools.defaults, caps=tools.caps)
    return ExecutionRequest(name=script.name, spec=script.spec, priority=script.priority)


def _read_until(body: Mapping[str, object]) -> str | None:
    """Read it where other keys may be anything: left unread, it would run what nobody asked for."""
    faults = Faults()
    until = Fields(body, faults, known=tuple(body)).text("until", max_chars=MAX_NAME_CHARS, accepted="one of its nodes")
    faults.raise_if_any()
    return until


def warnings_of(body: object) -> tuple[FieldFault, ...]:
    """Say what a request that may run will not do, or not as its author may think."""
    return flow_warnings(body) if isinstance(body, Mapping) and body.get("kind") == "flow" else ()


def digest_of(request: ExecutionRequest, *, salt: str = "") -> str:
    """Give what tells a repeated request from a key used twice; spaces and the order of fields do not count."""
    return hashlib.sha256(salt.encode() + msgspec.json.encode(request, order="deterministic")).hexdigest()
