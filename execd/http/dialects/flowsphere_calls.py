"""The FlowSphere dialect's routes without a run: `/api/validate`, `/api/execute-step`, `/api/execute-node`, `/api/save-log`.

Each answers from its body alone. A step or node makes one request, by the same rules as any step of a flow, and stands in no
journal: what the client sends with the next one is all that is remembered.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
import trio
from quart import Quart, Response, request

from execd.core.codec import format_time
from execd.core.errors import InvalidRequestError
from execd.core.events import WorkspaceId
from execd.core.fields import is_nested_deeper
from execd.core.flows.compiling import compile_alone
from execd.core.flows.configs import environment_of, prompts_of, rows_of, secret_prompts_of, table_of
from execd.core.flows.cookies import MAX_TOLD, Told
from execd.core.flows.data_rows import read_rows
from execd.core.flows.js_values import is_truthy, js_json, js_text
from execd.core.flows.moments import Moment
from execd.core.flows.moments import Response as StepResponse
from execd.core.flows.steps import FailStep, SkipStep, Step
from execd.core.flows.trees import MAX_DEPTH
from execd.core.flows.validator import validate
from execd.core.flows.warnings import warn
from execd.http.access import Identity, Role
from execd.http.beside import read_beside
from execd.http.dialects.flowsphere_door import (
    MISSING_CONFIG,
    admit,
    answer_json,
    config_of,
    in_flowsphere_shape,
    read_table,
    refuse,
)
from execd.http.dialects.flowsphere_steps import (
    StepHead,
    StepRecord,
    completed_step,
    failed_step,
    skipped_step,
)
from execd.http.front import Front

MISSING_NODE = "Missing node in request body"
MISSING_INDEX = "Missing stepIndex in request body"
MAX_LOG_DEPTH = 150
"""Of a log, whose bodies are at most as deep as configs."""
NO_LOG = "Missing or invalid executionLog in request body"
TOO_DEEP = {
    "field": "root",
    "message": f"Config is nested deeper than {MAX_DEPTH} levels",
    "type": "structure",
    "category": "structure",
}


class FlowsphereCalls:
    """The routes; they keep nothing between requests."""

    def __init__(self, front: Front) -> None:
        self._front = front

    def register(self, app: Quart) -> None:
        routes = {
            "validate": self.validate,
            "execute-step": self.execute_step,
            "execute-node": self.execute_node,
            "save-log": self.save_log,
        }
        for path, handler in routes.items():
            name = f"flowsphere_{path.replace('-', '_')}"
            app.add_url_rule(f"/api/{path}", name, in_flowsphere_shape(handler), methods=["POST"])

    async def validate(self) -> Response:
        """Warnings are told only where there are some: FlowSphere has no such key."""
        await admit(self._front, request, Role.VIEWER)
        config = (await read_table(request)).get("config")
        if not is_truthy(config):
            return refuse(MISSING_CONFIG)
        return answer_json(await read_beside(lambda: _verdict(config)))

    async def execute_step(self) -> Response:
        identity = await admit(self._front, request, Role.RUNNER)
        body = await read_table(request)
        config = await read_beside(lambda: config_of(body))
        if body.get("stepIndex") is None:
            return refuse(MISSING_INDEX)
        index = _parse_index(body["stepIndex"], config)
        node = table_of(rows_of(config.get("nodes"))[index])
        head = StepHead(index + 1, node, config)
        given = table_of(body.get("userInput"))
        if any(key not in given for key in prompts_of(node)):
            return answer_json(_asked(head, index, unseen=secret_prompts_of(node, config)))
        row = await read_beside(lambda: _row_of(config, body.get("row")))
        earlier = rows_of(body.get("responses"))
        moment = await self._moment(identity, config, answered=given, responses=_responses(earlier), row=row)
        step = await read_beside(lambda: compile_alone(config, node, replaced=frozenset(row)))
        shown = await self._run(head, step, moment, told=_told(earlier))
        return answer_json({"success": True, "inputRequired": False, **shown})

    async def execute_node(self) -> Response:
        """Run a node, of the config or not, with bodies that stand for earlier answers; conditions and prompts do not count."""
        identity = await admit(self._front, request, Role.RUNNER)
        body = await read_table(request)
        if not is_truthy(body.get("node")):
            return refuse(MISSING_NODE)
        config, given = await read_beside(lambda: config_of(body)), body["node"]
        if not isinstance(given, Mapping) or await read_beside(lambda: is_nested_deeper(given, MAX_DEPTH)):
            return refuse(f"node must be an object of at most {MAX_DEPTH} levels")
        node = {key: value for key, value in given.items() if key not in {"conditions", "condition"}}
        mocked = table_of(body.get("mockResponses"))
        responses = {name: StepResponse(status=200, body=value) for name, value in mocked.items()}
        row = await read_beside(lambda: _row_of(config, body.get("row")))
        moment = await self._moment(identity, config, answered={}, responses=responses, row=row)
        step = await read_beside(lambda: compile_alone(config, node, replaced=frozenset(row)))
        return answer_json(_as_node(await self._run(StepHead(1, node, config), step, moment)))

    async def save_log(self) -> Response:
        """Give the log as a file; nothing is written here."""
        await admit(self._front, request, Role.VIEWER)
        body = await read_table(request)
        steps = body.get("executionLog")
        if not isinstance(steps, list):
            return refuse(NO_LOG)
        if await read_beside(lambda: is_nested_deeper(body, MAX_LOG_DEPTH)):
            return refuse(f"executionLog is nested deeper than {MAX_LOG_DEPTH} levels")
        now = self._front.now()
        text = await read_beside(lambda: write_log(steps, table_of(body.get("executionResult")), at=now))
        name = f"execution_log_{now:%Y%m%d_%H%M%S}.json"
        return answer_json({"success": True, "path": name, "filename": name, "logContent": text})

    async def _moment(
        self,
        identity: Identity,
        config: Mapping[str, Any],
        *,
        answered: Mapping[str, Any],
        responses: Mapping[str, StepResponse],
        row: Mapping[str, Any],
    ) -> Moment:
        return Moment(
            timestamp=int(self._front.now().timestamp()),
            make_guid=lambda: str(uuid.uuid4()),
            response_of=responses.get,
            input=answered,
            row=row,
            env=environment_of(config),
            secrets=await self._secrets(identity.workspace, config),
        )

    async def _secrets(self, workspace: WorkspaceId, config: Mapping[str, Any]) -> Mapping[str, str]:
        names = [name for name in rows_of(config.get("secrets")) if isinstance(name, str)]
        return await self._front.engine.vault.read(workspace, names) if names else {}

    async def _run(self, head: StepHead, step: Step, moment: Moment, told: Sequence[Told] = ()) -> dict[str, Any]:
        """Give the object of the step that was run."""
        began_at = trio.current_time()
        begun = step.begin(moment, told, self._front.now())
        if isinstance(begun, SkipStep):
            return skipped_step(head, begun.reason)
        if isinstance(begun, FailStep):
            return failed_step(head, _read(begun.details), begun.message, duration_s=0)
        end = await self._front.engine.make_call(begun)
        failure = end.outcome.failure
        if failure is None:
            record = _read(end.output)
            return completed_step(head, record) | _cookies_of(record)
        details = failure.details.get("step")
        found = None if details is None else _read(details)
        shown = failed_step(head, found, failure.message, duration_s=trio.current_time() - began_at)
        return shown | ({} if found is None else _cookies_of(found))


def _verdict(config: Any) -> dict[str, Any]:
    if is_nested_deeper(config, MAX_DEPTH):
        return {"valid": False, "errors": [TOO_DEEP]}
    errors = validate(config)
    warnings = [] if errors else warn(config)
    return {"valid": not errors, "errors": errors} | ({"warnings": warnings} if warnings else {})


def _parse_index(value: Any, config: Mapping[str, Any]) -> int:
    """Raises InvalidRequestError: there is no such step."""
    count = len(rows_of(config.get("nodes")))
    text = js_text(value)
    if not (text.isascii() and text.isdigit() and len(text) < 7 and int(text) < count):
        raise InvalidRequestError(f"Step index {text[:20]} out of range (0-{count - 1})")
    return int(text)


def _responses(value: Any) -> dict[str, StepResponse]:
    """Read what earlier steps gave; of two with one id the first counts."""
    found: dict[str, StepResponse] = {}
    for each in map(table_of, rows_of(value)):
        status = each.get("status")
        headers = {name.lower(): js_text(text) for name, text in table_of(each.get("headers")).items()}
        known = int(status) if isinstance(status, int | float) and abs(status) < 1000 else 0
        response = StepResponse(status=known, body=each.get("body"), headers=headers)
        found.setdefault(js_text(each.get("id")), response)
    return found


def _row_of(config: Mapping[str, Any], place: Any) -> Mapping[str, Any]:
    """Give the row of data that a step sees: the first one where none is asked for. Raises InvalidRequestError."""
    rows = read_rows(config.get("data"))
    if rows is None:
        return {}
    text = "0" if place is None else js_text(place)
    if not (text.isascii() and text.isdigit() and len(text) < 7 and int(text) < len(rows)):
        raise InvalidRequestError(f"Row {text[:20]} out of range (0-{len(rows) - 1})")
    return rows[int(text)]


def _cookies_of(record: StepRecord) -> dict[str, Any]:
    """What a client gives back with the response, so that the next step sends it."""
    return {"cookies": record.cookies} if record.cookies else {}


def _told(responses: Sequence[Any]) -> list[Told]:
    """Read the cookies that earlier steps gave; what is none is as if it were not there."""
    rows = [row for response in map(table_of, responses) for row in rows_of(response.get("cookies"))]
    found = []
    for row in rows[-MAX_TOLD:]:
        try:
            found.append(msgspec.convert(row, Told))
        except msgspec.ValidationError:
            continue
    return found


def _asked(head: StepHead, index: int, *, unseen: Sequence[str]) -> dict[str, Any]:
    place = {"success": True, "inputRequired": True, "stepIndex": index}
    found = {**place, **head.names(), "name": head.title, "prompts": head.prompts}
    return found | ({"secretPrompts": unseen} if unseen else {})


def _read(details: Any) -> StepRecord:
    return msgspec.json.decode(msgspec.json.encode(details), type=StepRecord)


def _as_node(step: Mapping[str, Any]) -> dict[str, Any]:
    """Give a step's object as `/api/execute-node` has it."""
    request = {"method": step.get("method"), "url": step.get("url"), **step["request"]}
    if "response" not in step:
        found = {"success": False, "request": request, "substitutions": step["substitutions"]}
        return {**found, "duration": step["duration"], "error": step["error"]}
    rest = {name: step[name] for name in ("substitutions", "validations", "duration")}
    is_success = step["status"] == "completed"
    error = {} if is_success else {"error": step["error"]}
    return {"success": is_success, "response": step["response"], "request": request, **rest, **error}


def write_log(steps: list[Any], result: Mapping[str, Any], *, at: datetime) -> str:
    """Write a log as FlowSphere saves it, indented by two."""
    success = result.get("success")
    status = {True: "success", False: "failure"}.get(success, "unknown") if isinstance(success, bool) else "unknown"
    metadata: dict[str, Any] = {
        "config_file": "studio-execution",
        "execution_status": status,
        "timestamp": format_time(at),
        "skip_steps": result.get("startStep") or result.get("stepsSkipped", 0),
        "executed_steps": len(steps),
    }
    failed = next((table_of(step) for step in steps if table_of(step).get("status") == "failed"), None)
    if status == "failure" and failed is not None:
        metadata["failed_step"] = {name: failed[name] for name in ("step", "id") if name in failed}
    return msgspec.json.format(js_json({"metadata": metadata, "steps": steps}), indent=2).decode()
