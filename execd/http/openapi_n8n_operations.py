"""The operations of the n8n-pattern dialect; see docs/n8n.md."""

from __future__ import annotations

from functools import partial

from execd.http.openapi_operations import KEY, Operation, Parameter
from execd.http.schemas import API

_FLOW = f"{API}/flows/{{flow_id}}"
_RUN = f"{API}/executions/{{execution_id}}/"
_SKIP = Parameter(name="skip", type="integer", about="0 by default.")
_operation = partial(Operation, tag="flows", refusal="N8nFlowRefusal")
_ID_WORDS = "An id is a number, as text too, or that of the definition. "
_SLASH = "The slash at the end tells it from execd's own answer. "

N8N_OPERATIONS = (
    _operation(
        method="post", path=f"{API}/executions/stream", id="run_flow", about="Run a flow and watch it.", role="runner",
        body="N8nFlowStart", answer="N8nFlowFrame", media_type="text/event-stream", parameters=(KEY,),
        problems=(404, 409, 413, 422, 429),
        details="Data-only frames, one write each, the last always `executionFinished` or `executionError`. The run goes on "
        "when the client goes away; `X-Execution-Id` names it.",
    ),
    _operation(
        method="get", path=f"{API}/ws/execute/{{flow_id}}", id="flow_socket", about="Run a flow and watch it.", role="runner",
        is_socket=True, details='Say `{"action": "start", "input_data": {}}`; the frames come as messages.',
    ),
    _operation(
        method="get", path="/ws/execute/{flow_id}", id="flow_socket_at_root", about="The same, at the root.", role="runner",
        is_socket=True,
    ),
    _operation(
        method="post", path=f"{API}/flows", id="create_flow", about="Save a flow.", role="runner", body="N8nFlowBody",
        answer="N8nFlowView", problems=(409, 413, 422),
        details="It is a definition of the kind `reactflow`, and runs by `definition` like any other.",
    ),
    _operation(
        method="get", path=f"{API}/flows", id="list_flows", about="List flows, those made last first.", answer="N8nFlowList",
        parameters=(_SKIP, Parameter(name="limit", type="integer", about="1 to 200, 100 by default."),
                    Parameter(name="status", about="Only these.")),
    ),
    _operation(
        method="get", path=_FLOW, id="show_flow", about="Show a flow.", answer="N8nFlowView", problems=(404,), details=_ID_WORDS
    ),
    _operation(
        method="put", path=_FLOW, id="replace_flow", about="Change what is named, as a new version.", role="runner",
        body="N8nFlowBody", answer="N8nFlowView", problems=(404, 409, 413, 422), details=_ID_WORDS,
    ),
    _operation(
        method="patch", path=_FLOW, id="change_flow", about="Change what is named, as a new version.", role="runner",
        body="N8nFlowBody", answer="N8nFlowView", problems=(404, 409, 413, 422), details=_ID_WORDS,
    ),
    _operation(
        method="delete", path=_FLOW, id="delete_flow", about="Delete a flow with all its versions.", role="runner",
        answer="Done", problems=(404,), details="Its executions stay.",
    ),
    _operation(
        method="post", path=f"{_FLOW}/archive", id="archive_flow", about="Give a flow the status archived.", role="runner",
        answer="N8nFlowView", problems=(404, 409),
    ),
    _operation(
        method="post", path=f"{_FLOW}/duplicate", id="duplicate_flow", about="Save a copy as a draft.", role="runner",
        answer="N8nFlowView", problems=(404, 409),
    ),
    _operation(
        method="get", path=f"{API}/node-types", id="list_node_types", about="List the node types of flows.",
        answer="NodeCatalogue", parameters=(Parameter(name="category", about="Only these."),),
    ),
    _operation(
        method="get", path=f"{API}/node-types/categories", id="list_node_categories", about="List their categories.",
        answer="NodeCatalogue",
    ),
    _operation(
        method="get", path=f"{API}/node-types/{{node_type}}", id="show_node_type", about="Show one node type.",
        problems=(404,),
    ),
    _operation(
        method="get", path=f"{API}/executions/", id="list_runs", about="List runs.", answer="N8nFlowRuns", details=_SLASH,
        parameters=(
            Parameter(name="flow_id", about="Of this flow."),
            Parameter(name="status", about="Only these.", choices=("running", "completed", "failed", "cancelled")),
            _SKIP,
            Parameter(name="limit", type="integer", about="1 to 200, 50 by default."),
        ),
    ),
    _operation(
        method="post", path=f"{API}/executions/", id="run_and_wait", about="Run a flow and wait for its end.", role="runner",
        body="N8nFlowStart", answer="N8nFlowRun", parameters=(KEY,), problems=(404, 409, 413, 422, 429), details=_SLASH,
    ),
    _operation(
        method="get", path=_RUN, id="show_run", about="Show a run with its nodes.", answer="N8nFlowRun", problems=(404,),
        details=_SLASH,
    ),
    _operation(
        method="post", path=f"{_RUN}cancel/", id="cancel_run", about="Cancel a run.", role="runner", answer="Done",
        problems=(404,), details=_SLASH + "400: it is not running.",
    ),
)  # fmt: skip
