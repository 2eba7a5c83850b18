"""What people ask execd to run: the specs of a plan, and what their journals ask back."""

from __future__ import annotations

from collections.abc import Sequence

from execd.core.codec import StoredEvent, decode_event
from execd.core.events import InputReceived, InputRequired, NodeId, Prompt
from execd.core.specs import (
    ExecutionSpec,
    InputSpec,
    Limits,
    Node,
    NodeSpec,
    RetryPolicy,
    ScriptSpec,
    WaitSpec,
    WorkflowSpec,
)
from tests.simulation.plan import NodeKind, NodePlan, Plan, ProgramPlan, SubmissionPlan


def make_spec(plan: SubmissionPlan) -> ExecutionSpec:
    """Give the spec of a submission. A script's source is its name: by it the machine knows which program to play."""
    if not plan.nodes:
        return _script(plan.label, retries=plan.retries)
    nodes = tuple(_node(plan.label, node) for node in plan.nodes)
    return WorkflowSpec(nodes=nodes, parallelism=plan.parallelism)


def programs_by_source(plan: Plan) -> dict[str, tuple[ProgramPlan, ...]]:
    """Give what each source of a world does."""
    found = {submission.label: submission.programs for submission in plan.submissions}
    for submission in plan.submissions:
        for node in submission.nodes:
            found[f"{submission.label}/{node.id}"] = node.programs
    return found


def open_prompts(journal: Sequence[StoredEvent]) -> list[str]:
    """Give the questions nobody has answered yet; one of an execution that ended is no question any more."""
    asked: dict[str, None] = {}
    for stored in journal:
        if stored.type not in {"input_required", "input_received"}:
            continue
        data = decode_event(stored.body).data
        if isinstance(data, InputRequired):
            asked[data.prompt_id] = None
        elif isinstance(data, InputReceived):
            asked.pop(data.prompt_id, None)
    return list(asked)


def _script(source: str, *, retries: int) -> ScriptSpec:
    return ScriptSpec(language="python", source=source, limits=Limits(), retries=retries)


def _node(label: str, plan: NodePlan) -> Node:
    return Node(
        id=NodeId(plan.id),
        type=plan.kind.value,
        label=plan.id,
        spec=_node_spec(f"{label}/{plan.id}", plan),
        needs=tuple(NodeId(need) for need in plan.needs),
        retry=RetryPolicy(retries=plan.retries, delay_s=plan.seconds / 10, on_lost=plan.may_repeat),
    )


def _node_spec(source: str, plan: NodePlan) -> NodeSpec:
    match plan.kind:
        case NodeKind.SCRIPT:
            return _script(source, retries=0)
        case NodeKind.WAIT:
            return WaitSpec(seconds=plan.seconds)
        case NodeKind.INPUT:
            prompts = (Prompt(key="name", label="Who are you?"),)
            return InputSpec(prompts=prompts, expires_s=plan.seconds + 1 if plan.expires else None)
