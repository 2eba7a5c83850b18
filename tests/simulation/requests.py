"""What people ask execd to run: the specs of a plan, and what their journals ask back."""

from __future__ import annotations

from collections.abc import Sequence

from execd.core.codec import StoredEvent, decode_event
from execd.core.events import InputReceived, InputRequired
from execd.core.specs import Limits, ScriptSpec
from execd.core.workflows import ExecutionSpec, WorkflowSpec, store_node
from tests.simulation.plan import Plan, ProgramPlan, SubmissionPlan


def make_spec(plan: SubmissionPlan) -> ExecutionSpec:
    """Give the spec of a submission. A script's source is its name: by it the machine knows which program to play."""
    graph = plan.graph
    if plan.external is not None:
        return plan.external.spec
    if plan.flow is not None:
        return plan.flow
    if graph is None:
        return ScriptSpec(language="python", source=plan.label, limits=Limits(), retries=plan.retries)
    return WorkflowSpec(
        nodes=tuple(map(store_node, graph.nodes)),
        parallelism=graph.parallelism,
        timeout_s=graph.timeout_s,
        input=graph.input,
        vars=graph.vars,
        pins=graph.pins,
    )


def programs_by_source(plan: Plan) -> dict[str, tuple[ProgramPlan, ...]]:
    """Give what each source of a world does."""
    found = {submission.label: submission.programs for submission in plan.submissions}
    for submission in plan.submissions:
        found.update(submission.node_programs)
    return found


def open_prompts(journal: Sequence[StoredEvent]) -> list[InputRequired]:
    """Give the questions nobody has answered yet; one of an execution that ended is no question any more."""
    asked: dict[str, InputRequired] = {}
    for stored in journal:
        if stored.type not in {"input_required", "input_received"}:
            continue
        data = decode_event(stored.body).data
        if isinstance(data, InputRequired):
            asked[data.prompt_id] = data
        elif isinstance(data, InputReceived):
            asked.pop(data.prompt_id, None)
    return list(asked.values())
