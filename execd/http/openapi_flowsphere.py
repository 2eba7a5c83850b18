"""The operations and shapes of the FlowSphere dialect; see docs/flowsphere.md. Nothing is closed: its clients send more."""

from __future__ import annotations

from functools import partial
from typing import Any

from execd.http.openapi_operations import Operation, Parameter
from execd.http.openapi_refs import ref

_operation = partial(Operation, tag="flowsphere", refusal="FlowsphereRefusal")
_OPEN = "Where the setting `flowsphere.open` says so, callers of this machine need no credential."
_FRAMES = (
    "Frames `event: name`, `data: {…}`, `id: seq`: `start`, `input_required`, `step_start`, `step`, `error`, and in the end "
    "`end` or `interrupted`. docs/flowsphere.md has the payloads."
)

FLOWSPHERE_OPERATIONS = (
    _operation(
        method="post", path="/api/execute-stream", id="flowsphere_execute_stream", about="Run a flow and watch it.",
        role="runner", body="FlowsphereRun", answer="FlowsphereFrame", media_type="text/event-stream", problems=(413, 429),
        details=f"Not validated. {_FRAMES} Going away interrupts it, unless `options.detach`. {_OPEN}",
    ),
    _operation(
        method="get", path="/api/execute-stream/{execution_id}", id="flowsphere_stream_again",
        about="Watch a flow that runs or ran, from the start or after a frame.", answer="FlowsphereFrame",
        media_type="text/event-stream", problems=(404, 429), details=f"{_FRAMES} Going away stops nothing.",
        parameters=(
            Parameter(name="Last-Event-ID", where="header", about="The id of the last frame seen; wins over the query."),
            Parameter(name="after", about="The same, for who cannot set a header."),
        ),
    ),
    _operation(
        method="post", path="/api/execute", id="flowsphere_execute", about="Run a flow, wait, and get its log.", role="runner",
        body="FlowsphereRun", answer="FlowsphereEnd", problems=(413, 429),
        details="Validated first. Nobody is asked: answers to prompts come in `options.userInput`.",
    ),
    _operation(
        method="post", path="/api/validate", id="flowsphere_validate", about="Say what is wrong with a config.",
        body="FlowsphereConfig", answer="FlowsphereVerdict", problems=(413,),
    ),
    _operation(
        method="post", path="/api/provide-input", id="flowsphere_provide_input", about="Answer what a step asks.",
        role="runner", body="FlowsphereAnswer", answer="FlowsphereDone", problems=(404, 413),
    ),
    _operation(
        method="post", path="/api/stop", id="flowsphere_stop", about="Interrupt a flow, or break it off.", role="runner",
        body="FlowsphereStop", answer="FlowsphereDone", problems=(404, 409, 413),
    ),
    _operation(
        method="post", path="/api/execute-step", id="flowsphere_execute_step", role="runner", body="FlowsphereStepBody",
        about="Run one step of a config, with what earlier ones gave.", answer="FlowsphereStep", problems=(413,),
        details="It stands in no journal; a failed step is an answer like any other.",
    ),
    _operation(
        method="post", path="/api/execute-node", id="flowsphere_execute_node", role="runner", body="FlowsphereNodeBody",
        about="Run one node with bodies that stand for earlier answers.", answer="FlowsphereNode", problems=(413,),
    ),
    _operation(
        method="post", path="/api/save-log", id="flowsphere_save_log", about="Get a log as a file to keep.",
        body="FlowsphereLog", answer="FlowsphereFile", problems=(413,),
    ),
    _operation(
        method="get", path="/api/templates/nodes", id="flowsphere_templates", about="List node templates by category.",
        answer="FlowsphereTemplates",
    ),
    _operation(
        method="get", path="/api/templates/nodes/{category}/{template_id}", id="flowsphere_template",
        about="Get one node template.", answer="FlowsphereTemplate", problems=(404,),
    ),
)  # fmt: skip

_OBJECT: dict[str, Any] = {"type": "object"}
_TEXT = {"type": "string"}
_FLAG = {"type": "boolean"}
_CONFIG = {"type": "object", "description": "A flow, see docs/flows.md; `kind` is not needed."}
_STEPS = {"type": "array", "items": ref("FlowsphereStep")}


def _shape(title: str, about: str, *required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "title": title, "description": about, "required": [*required], "properties": properties}


_OPTIONS = _shape(
    "FlowsphereOptions",
    "All but `startStep` are execd's own.",
    startStep={"type": "integer", "minimum": 0, "default": 0, "description": "Steps before it are skipped; from 0."},
    detach={**_FLAG, "default": False, "description": "Whether it goes on when its client goes away."},
    executionLog={**_FLAG, "default": True, "description": "Whether the last frame repeats the steps."},
    heartbeats={**_FLAG, "default": False, "description": "Whether comments break silence. Not for FlowSphere's page."},
    userInput={"type": "object", "description": "Answers to prompts, for `/api/execute`."},
)
_PLACE = {"type": "integer", "minimum": 0}

FLOWSPHERE_SCHEMAS: dict[str, Any] = {
    "FlowsphereRun": _shape("FlowsphereRun", "A flow to run.", "config", config=_CONFIG, options=_OPTIONS),
    "FlowsphereConfig": _shape("FlowsphereConfig", "A config to check.", "config", config=_CONFIG),
    "FlowsphereFrame": _shape(
        "FlowsphereFrame", "The data of a frame; its name is in the frame only.", executionId=_TEXT, totalSteps=_PLACE
    ),
    "FlowsphereEnd": _shape(
        "FlowsphereEnd", "How a run ended.", "success", success=_FLAG, stepsExecuted=_PLACE, stepsSkipped=_PLACE,
        stepsFailed=_PLACE, executionLog=_STEPS,
    ),
    "FlowsphereVerdict": _shape(
        "FlowsphereVerdict", "What is wrong; `warnings` only where there are some.", "valid", "errors", valid=_FLAG,
        errors={"type": "array", "items": _OBJECT}, warnings={"type": "array", "items": _OBJECT},
    ),
    "FlowsphereAnswer": _shape(
        "FlowsphereAnswer", "What a person says.", "executionId", "stepIndex", executionId=_TEXT, stepIndex=_PLACE,
        userInput=_OBJECT,
    ),
    "FlowsphereStop": _shape(
        "FlowsphereStop", "Which run is to stop, and how hard.", "executionId", executionId=_TEXT,
        mode={"enum": ["interrupt", "cancel"], "default": "interrupt"},
    ),
    "FlowsphereDone": _shape("FlowsphereDone", "Done.", "success", success=_FLAG),
    "FlowsphereStepBody": _shape(
        "FlowsphereStepBody", "A step to run by itself.", "config", "stepIndex", config=_CONFIG, stepIndex=_PLACE,
        responses={"type": "array", "description": "`{id, status, body, cookies}` of earlier steps.", "items": _OBJECT},
        userInput=_OBJECT, row=_PLACE,
    ),
    "FlowsphereStep": _shape(
        "FlowsphereStep", "A step that is over; or, with `inputRequired`, what has to be asked first.", step=_PLACE, id=_TEXT,
        name=_TEXT, method=_TEXT, url=_TEXT, request=_OBJECT, response=_OBJECT, substitutions={"type": "array"},
        validations={"type": "array"}, duration={"type": "number"}, status={"enum": ["completed", "skipped", "failed"]},
        skipReason=_TEXT, error=_TEXT, inputRequired=_FLAG, prompts=_OBJECT,
        secretPrompts={"type": "array", "items": _TEXT}, cookies={"type": "array"},
    ),
    "FlowsphereNodeBody": _shape(
        "FlowsphereNodeBody", "A node to run.", "node", "config", node=_OBJECT, config=_CONFIG,
        mockResponses={"type": "object", "description": "Bodies by id of node."}, row=_PLACE,
    ),
    "FlowsphereNode": _shape(
        "FlowsphereNode", "What came of it.", "success", success=_FLAG, response=_OBJECT, request=_OBJECT,
        substitutions={"type": "array"}, validations={"type": "array"}, duration={"type": "number"}, error=_TEXT,
    ),
    "FlowsphereLog": _shape(
        "FlowsphereLog", "What a run told.", "executionLog", executionLog=_STEPS, executionResult=_OBJECT
    ),
    "FlowsphereFile": _shape(
        "FlowsphereFile", "A file; nothing is written on the server.", "success", success=_FLAG, path=_TEXT, filename=_TEXT,
        logContent=_TEXT,
    ),
    "FlowsphereTemplates": {"type": "object", "additionalProperties": {"type": "array", "items": _OBJECT}},
    "FlowsphereTemplate": _OBJECT,
    "FlowsphereRefusal": _shape("FlowsphereRefusal", "Why not.", "success", "error", success={"const": False}, error=_TEXT),
}  # fmt: skip
