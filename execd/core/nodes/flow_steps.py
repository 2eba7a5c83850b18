"""The node types a flow is made of: its steps, what they ask people, its rows of data. No workflow can name them.

None of their fields is an expression: they are given the whole scope, and read it through the step's own grammar.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from itertools import count
from typing import Any, TypeVar

import msgspec

from execd.core.calls import ReadCall
from execd.core.event_parts import Failure, Prompt
from execd.core.events import NOT_RUN, NodeId
from execd.core.expressions import DEFAULT_LIMITS, Compiled
from execd.core.fields import Faults, Fields
from execd.core.flows.cookies import Told
from execd.core.flows.moments import Moment, Response
from execd.core.flows.steps import FailStep, SkipStep, Step
from execd.core.moments import later
from execd.core.nodes.kinds import Asks, Beginning, Calls, Done, Expands, Fails, NodeType, Reading, Skips, failure

S = TypeVar("S", bound=msgspec.Struct)


class FlowStepSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A step and what it may look at."""

    step: Step
    nodes: Mapping[str, NodeId]
    """The node of each id a config uses; of ids that are there twice the first."""
    asking: tuple[NodeId, ...] = ()
    """The nodes that asked people before this step, and for it."""
    earlier: tuple[NodeId, ...] = ()
    """The steps before it, where their cookies are kept."""
    input: Mapping[str, Any] = {}
    """What takes the place of variables."""
    env: Mapping[str, Any] = {}
    secrets: tuple[str, ...] = ()
    """The names of those it may read."""


class FlowPromptSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a step asks people before anything else."""

    prompts: tuple[Prompt, ...]
    expires_s: float | None = None


class FlowRowsSpec(msgspec.Struct, frozen=True):
    """Rows of data; the flow runs once for each."""

    rows: tuple[dict[str, Any], ...]


class FlowRowEndSpec(msgspec.Struct, frozen=True):
    """The end of a row's run, so that what is kept of a row is small."""


class FlowVerdictSpec(msgspec.Struct, frozen=True):
    """Whether all rows succeeded."""

    rows: NodeId


class _FlowType(NodeType[S]):
    """What all types of flows share: they come from a config and never from a request's nodes."""

    def read(self, fields: Fields, reading: Reading) -> S:
        raise AssertionError("a flow's nodes are compiled from its config")

    def compile(self, spec: S, *, path: str, faults: Faults) -> Compiled:
        """Give `begin` the scope itself."""
        return Compiled(constant=None, render=lambda work: work.scope, references=frozenset(), limits=DEFAULT_LIMITS)


class FlowStepType(_FlowType[FlowStepSpec]):
    name = "flow_step"
    spec_type = FlowStepSpec
    takes_place = True

    def secrets(self, spec: FlowStepSpec) -> Mapping[str, str]:
        return {name: name for name in spec.secrets}

    def begin(self, spec: FlowStepSpec, values: Any, at: datetime) -> Beginning:
        begun = spec.step.begin(_moment(spec, values, at), _told(spec, values), at)
        match begun:
            case ReadCall():
                return Calls(begun)
            case SkipStep(reason=reason):
                return Skips(reason)
            case FailStep(message=message, details=details):
                found = Failure(code="flow:step", message=message, details={"group": "program", "step": details})
                return Fails(found, is_final=True)


class FlowPromptType(_FlowType[FlowPromptSpec]):
    name = "input"
    spec_type = FlowPromptSpec

    def begin(self, spec: FlowPromptSpec, values: Any, at: datetime) -> Asks:
        expires_at = None if spec.expires_s is None else later(at, spec.expires_s)
        return Asks(prompts=spec.prompts, expires_at=expires_at, is_open=True)


class FlowRowsType(_FlowType[FlowRowsSpec]):
    name = "flow_rows"
    spec_type = FlowRowsSpec
    has_body = True

    def begin(self, spec: FlowRowsSpec, values: Any, at: datetime) -> Expands:
        return Expands(items=spec.rows, concurrency=1, keeps_going=True, is_map=True)


class FlowRowEndType(_FlowType[FlowRowEndSpec]):
    name = "flow_row_end"
    spec_type = FlowRowEndSpec

    def begin(self, spec: FlowRowEndSpec, values: Any, at: datetime) -> Done:
        return Done({"row": values["index"], "status": "completed"})


class FlowVerdictType(_FlowType[FlowVerdictSpec]):
    name = "flow_verdict"
    spec_type = FlowVerdictSpec

    def begin(self, spec: FlowVerdictSpec, values: Any, at: datetime) -> Beginning:
        rows = values["nodes"][spec.rows]["output"]
        broken = [(index, row["error"]) for index, row in enumerate(rows) if "error" in row]
        if not broken:
            return Done({"rows": len(rows), "failed": 0})
        index, error = broken[0]
        text = f"{len(broken)} of {len(rows)} rows failed; row {index + 1}: {error['message']}"
        return failure("flow:rows", text, rows=[index for index, _ in broken][:1000])


FLOW_TYPES: tuple[NodeType[Any], ...] = (
    FlowStepType(),
    FlowPromptType(),
    FlowRowsType(),
    FlowRowEndType(),
    FlowVerdictType(),
)


def _moment(spec: FlowStepSpec, scope: Mapping[str, Any], at: datetime) -> Moment:
    nodes = scope["nodes"]
    answered: dict[str, Any] = {}
    gone: set[str] = set()
    for name in spec.asking:
        view = nodes[name]
        given = view.get("output") or {}
        answered |= given
        gone = (gone - given.keys()) | set(view.get("gone", ()))
    row = scope.get("item")
    secrets = scope.get("secrets", {})
    return Moment(
        timestamp=int(at.timestamp()),
        make_guid=_guids(scope, spec.step.id),
        response_of=partial(_response_of, spec.nodes, nodes),
        input=answered,
        gone_answers=frozenset(gone),
        row={**spec.input, **row} if isinstance(row, Mapping) else spec.input,
        env={**scope.get("env", {}), **spec.env},
        secrets={name: secrets[name] for name in spec.secrets if name in secrets},
        gone_secrets=frozenset(spec.secrets) - secrets.keys(),
    )


def _guids(scope: Mapping[str, Any], step: str) -> Any:
    """New in each execution, row, step and place; the same when an attempt is made again, so that it may serve as the key
    by which a server knows a repetition."""
    seed = f"{scope['execution']['id']}/{scope.get('index', '')}/{step}"
    places = count()
    return lambda: str(uuid.UUID(bytes=hashlib.sha256(f"{seed}/{next(places)}".encode()).digest()[:16], version=4))


def _response_of(names: Mapping[str, NodeId], nodes: Mapping[str, Any], name: str) -> Response | None:
    """Three cases: it gave a response, also when it failed and the flow went on; it was skipped; it has not run."""
    node = names.get(name)
    if node is None:
        return None
    view = nodes[node]
    if "reason" in view:
        return None if view["reason"] == NOT_RUN else Response.SKIPPED
    output = view.get("output") or {}
    record = output["error"].get("details", {}).get("step", {}) if "error" in output else output
    response = record.get("response")
    if response is None:
        return None
    time_ms = round(record.get("duration", 0) * 1000)
    kept = response.get("values", {})
    return Response(
        status=response["status"], body=response["body"], headers=response["headers"], time_ms=time_ms, kept=kept
    )


def _told(spec: FlowStepSpec, scope: Mapping[str, Any]) -> list[Told]:
    told: list[Told] = []
    for name in spec.earlier:
        output = scope["nodes"][name].get("output") or {}
        record = output["error"].get("details", {}).get("step", {}) if "error" in output else output
        told += [Told(*row) for row in record.get("cookies", ())]
    return told
