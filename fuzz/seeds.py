"""Right requests, from which wrong ones are made. Texts with `@` stand for what the server made meanwhile: `@execution`, `@flow`,
`@definition`, `@prompt`, and `@url`, an API that answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SCRIPT: dict[str, Any] = {
    "kind": "script",
    "language": "python",
    "source": "print(input())",
    "name": "s",
    "args": ["a"],
    "env": {"A": "1"},
    "stdin": "x\n",
    "files": {"a.txt": "text"},
    "limits": {"wall_s": 5, "memory_bytes": 134217728},
    "priority": 5,
    "retries": 0,
}
WORKFLOW: dict[str, Any] = {
    "kind": "workflow",
    "name": "w",
    "vars": {"v": 1},
    "input": {"i": 2},
    "parallelism": 2,
    "timeout_s": 20,
    "nodes": [
        {"id": "a", "type": "set", "values": {"x": "{{ vars.v + input.i }}"}},
        {"id": "b", "type": "if", "needs": ["a"], "when": "{{ nodes.a.output.x > 1 }}"},
        {
            "id": "c",
            "type": "http",
            "needs": ["b.true"],
            "url": "@url",
            "timeout_s": 3,
            "retry": {"retries": 1, "delay_s": 0.1},
        },
        {"id": "d", "type": "wait", "needs": ["a"], "seconds": 0.1},
        {
            "id": "e",
            "type": "map",
            "needs": ["a"],
            "items": "{{ [1, 2, 3] }}",
            "concurrency": 2,
            "nodes": [{"id": "i", "type": "set", "values": "{{ item * 2 }}"}],
        },
        {
            "id": "f",
            "type": "input",
            "needs": ["d"],
            "prompts": [{"key": "k", "label": "K?", "choices": ["y", "n"]}],
            "expires_s": 3,
        },
        {"id": "g", "type": "switch", "needs": ["a"], "cases": {"one": "{{ true }}"}},
    ],
}
CONFIG: dict[str, Any] = {
    "variables": {"v": "book", "n": 3},
    "defaults": {"baseUrl": "@url", "timeout": 3, "headers": {"X-A": "{{ .vars.v }}"}},
    "nodes": [
        {
            "id": "a",
            "name": "A",
            "method": "GET",
            "url": "/a?{{ .vars.v }}",
            "validations": [{"httpStatusCode": 200}, {"jsonpath": ".id"}],
        },
        {
            "id": "b",
            "method": "POST",
            "url": "/b",
            "userPrompts": {"p": "P?"},
            "body": {"x": "{{ .responses.a.id }}", "p": "{{ .input.p }}"},
            "conditions": [{"node": "a", "field": ".id", "greaterThan": 0}],
            "launchBrowser": ".url",
            "timeout": 2,
        },
        {
            "id": "c",
            "method": "PUT",
            "url": "/c",
            "body": [1, "{{ $guid }}"],
            "retry": {"attempts": 2, "delay_s": 0.1, "on": ["5xx"]},
            "auth": {"type": "basic", "username": "u", "password": "p"},
            "continueOnError": True,
        },
    ],
    "promptTimeout": 2,
    "cookies": True,
    "maskSecrets": True,
}
FLOW: dict[str, Any] = {
    **CONFIG,
    "kind": "flow",
    "name": "f",
    "input": {"v": "pen"},
    "startStep": 0,
    "data": {"csv": "v\none\ntwo"},
    "finally": [{"id": "z", "method": "GET", "url": "/z"}],
    "environments": {"_common": {"E": "1"}, "t": {"E": "2"}},
    "environment": "t",
}
EXTERNAL: dict[str, Any] = {
    "kind": "external",
    "name": "e",
    "nodes": [{"id": "n", "label": "N", "type": "t"}],
    "timeout_s": 20,
    "input": {"a": 1},
}
DRAWN: dict[str, Any] = {
    "nodes": [
        {"id": "t", "type": "trigger-manual", "position": {"x": 0, "y": 0}, "data": {"label": "T", "config": {}}},
        {
            "id": "h",
            "type": "action-http",
            "position": {"x": 1, "y": 0},
            "data": {"label": "H", "config": {"method": "GET", "url": "@url"}},
        },
        {
            "id": "c",
            "type": "logic-condition",
            "position": {"x": 2, "y": 0},
            "data": {"label": "C", "config": {"condition": "{{ h.status }}"}},
        },
    ],
    "edges": [{"id": "1", "source": "t", "target": "h"}, {"id": "2", "source": "h", "target": "c"}],
}
REACTFLOW: dict[str, Any] = {"kind": "reactflow", "name": "r", "data": DRAWN, "input": {"a": 1}}
SPECS = (SCRIPT, WORKFLOW, FLOW, EXTERNAL, REACTFLOW)
RUN: dict[str, Any] = {
    "config": CONFIG,
    "options": {"startStep": 0, "detach": False, "heartbeats": True, "userInput": {"p": "x"}},
}
JOB: dict[str, Any] = {"job_id": "@execution", "callback_token": "t"}

FILES = (
    "curl -X POST http://127.0.0.1:1/a -H 'A: b' -d '{\"x\": 1}' -u u:p --compressed\ncurl http://127.0.0.1:1/b",
    '{"openapi":"3.0.0","info":{"title":"T"},"servers":[{"url":"http://127.0.0.1:1"}],"paths":{"/a/{id}":{"get":{"responses":{"200":{}}}}}}',
    '{"info":{"name":"P","schema":"https://schema.getpostman.com/json/collection/v2.1.0/collection.json"},"item":[{"name":"a",'
    '"request":{"method":"GET","url":"{{base}}/a"},"event":[{"listen":"test","script":{"exec":["pm.test("x", () => '
    'pm.response.to.have.status(200))"]}}]}]}',
    '{"log":{"version":"1.2","entries":[{"request":{"method":"GET","url":"http://127.0.0.1:1/a","headers":[]},"response":{"status":200,'
    '"content":{"mimeType":"application/json","text":"{}"}}}]}}',
)
"""Of other tools."""

BODIES: Mapping[str, tuple[Any, ...]] = {
    "ImportBody": tuple({"text": text, "source": "auto", "environments": [], "keep_all": True} for text in FILES),
    "ExportBody": tuple(
        {"flow": FLOW, "target": target, "name": "x"} for target in ("curl", "postman", "postman-environment")
    ),
    "ExecutionBody": (*SPECS, {"definition": "@definition", "input": {"a": 1}, "version": 1}),
    "EmptyBody": ({},),
    "StdinBody": ({"text": "x\n", "close": True}, {"base64": "eA=="}),
    "InputBody": ({"prompt_id": "@prompt", "values": {"k": "y", "p": "x"}},),
    "RetryBody": ({"from": "failed", "definition": "same"}, {"from": "a", "until": "b"}),
    "DefinitionBody": SPECS,
    "DefinitionChange": tuple({**spec, "version": 1} for spec in SPECS),
    "TokenBody": ({"user": "u", "role": "viewer", "workspace": "default", "expires_in_s": 60},),
    "SecretBody": ({"value": "long enough"},),
    "LoginBody": ({"token": "execd_wrong"},),
    "JobProgressBody": ({**JOB, "progress": 0.5, "current_node": "n", "connector_attempts": []},),
    "JobCallbackBody": (
        {
            **JOB,
            "execution_id": "@execution",
            "status": "completed",
            "nodes": [{"node_id": "n", "node_type": "t", "status": "completed"}],
        },
    ),
    "N8nFlowStart": ({"flow_id": "@flow", "input_data": {"a": 1}},),
    "N8nFlowBody": ({"name": "n", "description": "d", "status": "active", "data": DRAWN},),
    "FlowsphereRun": (RUN,),
    "FlowsphereConfig": ({"config": CONFIG},),
    "FlowsphereAnswer": ({"executionId": "@execution", "stepIndex": 1, "userInput": {"p": "x"}},),
    "FlowsphereStop": ({"executionId": "@execution", "mode": "interrupt"},),
    "FlowsphereStepBody": (
        {
            "config": CONFIG,
            "stepIndex": 0,
            "responses": [{"id": "a", "status": 200, "body": {"id": 1}}],
            "userInput": {"p": "x"},
        },
    ),
    "FlowsphereNodeBody": ({"node": CONFIG["nodes"][1], "config": CONFIG, "mockResponses": {"a": {"id": 1}}},),
    "FlowsphereLog": (
        {"executionLog": [{"step": 1, "status": "completed", "duration": 1.0}], "executionResult": {"success": True}},
    ),
}
"""By the name of the schema in the description."""
COMMANDS: tuple[dict[str, Any], ...] = (
    {"action": "subscribe", "execution": "@execution", "after": 0},
    {"action": "unsubscribe", "execution": "@execution"},
    {"action": "cancel", "id": "1"},
    {"action": "pause"},
    {"action": "resume"},
    {"action": "interrupt"},
    {"action": "start", "input_data": {}},
    {"action": "stdin", "text": "x"},
    {"action": "input", "prompt_id": "@prompt", "values": {"k": "y"}},
    {"action": "ping"},
)
"""Of WebSockets."""
VALUES: Mapping[str, tuple[str, ...]] = {
    "execution_id": ("@execution",),
    "execution": ("@execution",),
    "definition_id": ("@definition",),
    "flow_id": ("@flow",),
    "definition": ("@definition",),
    "workspace": ("default",),
    "node": ("a", "main", "rows[0]/a"),
    "secret_name": ("KEY", "OTHER"),
    "token_id": ("token-0",),
    "category": ("auth", "validation"),
    "template_id": ("api-key",),
    "node_type": ("trigger-manual",),
    "after": ("0", "3"),
    "Last-Event-ID": ("1",),
    "last_event_id": ("1",),
    "lastEventId": ("1",),
    "limit": ("5",),
    "stream": ("stdout",),
    "types": ("output",),
    "status": ("completed",),
    "kind": ("flow", "script"),
    "speed": ("100",),
    "idle_limit_s": ("0.1",),
    "version": ("1",),
    "format": ("yaml",),
    "Range": ("bytes=0-5",),
    "If-Match": ('"1"',),
    "Idempotency-Key": ("k1", "k2"),
    "attempt": ("1",),
    "name": ("s",),
}
"""Of parameters of paths, queries and headers."""
