"""Saved flows, their catalogue and their history, in the n8n-pattern dialect and through execd's own doors."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from execd.core.dialects.n8n_documents import definition_of, flow_id_of
from execd.core.nodes.n8n import find_flow_type
from execd.http.dialects.n8n_catalogue import CATEGORIES, NODE_TYPES
from tests.support.flow_doors import FlowDoor, open_flow_door
from tests.support.flows import TRIGGER, drawn
from tests.support.performers import until_stopped
from tests.support.scripted_runner import ScriptedPod

FLOWS = "/api/v1/flows/"
RUNS = "/api/v1/executions/"
FLOW = drawn(TRIGGER, ("r", "response-data", {"body": "{{trigger.name}}"}), description="says it", template_id=3)


def test_a_flow_id_and_its_definition_spell_one_number() -> None:
    """`7`, `"7"` and `def-000000007` are one flow; what is no number is an id or a name."""
    assert definition_of(7) == definition_of("7") == definition_of("007") == "def-000000007"
    assert flow_id_of("def-000000007") == 7
    assert definition_of(flow_id_of("def-zzzzzzzzz")) == "def-zzzzzzzzz"
    assert flow_id_of("def-zzzzzzzzz") == 36**9 - 1 < 2**53
    assert definition_of("def-000000007") == "def-000000007"
    assert definition_of("my flow") == "my flow"
    assert definition_of(str(10**30)) == str(10**30)


async def test_a_flow_id_of_thousands_of_digits_is_unknown() -> None:
    """Python reads no such number, and refuses with an error of its own: it must not become one of the server."""
    async with open_flow_door() as door:
        endless = "9" * 5000
        assert (await door.ask("GET", f"{FLOWS}{endless}")).status == 404
        assert (await door.ask("GET", f"/api/v1/executions/?flow_id={endless}")).status < 500


async def test_a_flow_is_kept_as_it_was_drawn_and_found_by_each_of_its_names() -> None:
    """Positions and all that execd does not read come back as they went."""
    async with open_flow_door() as door:
        made = (await door.ask("POST", FLOWS, FLOW)).json()
        assert made["data"] == FLOW["data"]
        assert (made["description"], made["status"], made["version"], made["template_id"]) == ("says it", "draft", 1, 3)
        assert (made["user_id"], made["problems"], made["warnings"]) == ("u", [], [])

        for name in (made["id"], str(made["id"]), made["definition"], "drawn"):
            found = await door.ask("GET", f"{FLOWS}{name}")
            assert (found.status, found.json()) == (200, made)


async def test_a_flow_is_changed_field_by_field_and_every_version_stays() -> None:
    """PUT and PATCH change what is named; the native door has the versions."""
    async with open_flow_door() as door:
        made = (await door.ask("POST", FLOWS, FLOW)).json()
        one = f"{FLOWS}{made['id']}"

        renamed = (await door.ask("PATCH", one, {"name": "other", "unknown": 1})).json()
        published = (await door.ask("PUT", f"{one}/", {"status": "published"})).json()
        archived = (await door.ask("POST", f"{one}/archive")).json()

        assert (renamed["name"], renamed["version"], renamed["data"]) == ("other", 2, FLOW["data"])
        assert (published["name"], published["status"], published["created_at"]) == (
            "other",
            "published",
            made["created_at"],
        )
        assert (archived["status"], archived["version"]) == ("archived", 4)
        versions = (await door.ask("GET", f"/api/v1/definitions/{made['definition']}/versions")).json()["items"]
        assert [version["version"] for version in versions] == [4, 3, 2, 1]
        assert {version["kind"] for version in versions} == {"reactflow"}


async def test_flows_are_listed_copied_and_deleted() -> None:
    """Newest first, with skip and limit; a copy is a draft of a name of its own."""
    async with open_flow_door() as door:
        ids = [(await door.ask("POST", FLOWS, FLOW | {"name": f"f{n}"})).json()["id"] for n in range(3)]
        copies = [(await door.ask("POST", f"{FLOWS}{ids[0]}/duplicate")).json() for _ in range(2)]
        assert [copy["name"] for copy in copies] == ["f0 (Copy)", "f0 (Copy 2)"]
        await door.ask("POST", f"{FLOWS}{ids[1]}/archive")

        listed = (await door.ask("GET", f"{FLOWS}?skip=1&limit=3")).json()
        assert [flow["name"] for flow in listed] == ["f0 (Copy)", "f2", "f1"]
        assert [flow["name"] for flow in (await door.ask("GET", f"{FLOWS}?status=archived")).json()] == ["f1"]

        gone = await door.ask("DELETE", f"{FLOWS}{ids[2]}")
        assert gone.json() == {"status": "success", "message": "Flow deleted"}
        assert (await door.ask("GET", f"{FLOWS}{ids[2]}")).json() == {"detail": f"Flow {ids[2]} not found"}


async def test_a_draft_may_be_unfinished_and_what_is_published_must_run() -> None:
    """An editor saves while people draw; what is wrong is told with every answer."""
    async with open_flow_door() as door:
        unfinished = drawn(("a", "teleport", {}), ("b", "response-data", {"body": "{{nobody.x}}"}))
        made = (await door.ask("POST", FLOWS, unfinished)).json()
        assert [problem["path"] for problem in made["problems"]] == ["data.nodes[0].data.type"]

        published = await door.ask("PATCH", f"{FLOWS}{made['id']}", {"status": "published"})
        assert published.status == 422
        assert published.json()["detail"][0]["loc"] == ["body", "data", "nodes", 0, "data", "type"]
        empty = await door.ask("POST", FLOWS, {"name": "empty"})
        assert (empty.status, empty.json()["data"]) == (200, {})


@pytest.mark.parametrize(
    "body",
    [
        [],
        {},
        {"name": ""},
        {"name": 1},
        {"name": "def-000000007"},
        {"name": "x", "data": []},
        {"name": "x", "status": 5},
    ],
)
async def test_what_is_no_flow_document_is_refused(body: Any) -> None:
    """Nothing is half saved."""
    async with open_flow_door() as door:
        answer = await door.ask("POST", FLOWS, body)
        assert answer.status == 422, answer.body
        assert (await door.ask("GET", FLOWS)).json() == []


async def test_a_name_is_taken_once_and_a_foreign_flow_is_unknown() -> None:
    """As every definition; and nobody sees another workspace's flows."""
    async with open_flow_door() as door:
        flow_id = await door.save(FLOW)
        assert (await door.ask("POST", FLOWS, FLOW)).status == 409
        for method in ("GET", "PATCH", "DELETE"):
            assert (await door.ask(method, f"{FLOWS}{flow_id}", {}, role="foreign")).status == 404
        assert (await door.ask("GET", FLOWS, role="foreign")).json() == []
        assert (await door.ask("GET", FLOWS, role="")).status == 401
        assert (await door.ask("POST", FLOWS, FLOW | {"name": "n"}, role="viewer")).status == 403


async def test_the_native_door_runs_a_flow_by_its_definition(autojump_clock: MockClock) -> None:
    """One store, one machine: the same flow, the same journal."""
    async with open_flow_door() as door:
        flow_id = await door.save(FLOW)
        accepted = await door.ask(
            "POST", "/api/v1/executions", {"definition": definition_of(flow_id), "input": {"name": "Ada"}}
        )
        assert accepted.status == 202
        events = await door.world.watch(accepted.json()["id"])
        assert events[-1].data.outputs["r"]["body"] == "Ada"

        direct = await door.ask("POST", "/api/v1/executions", {"kind": "reactflow", **FLOW, "input": {"name": "Bob"}})
        assert (await door.world.watch(direct.json()["id"]))[-1].data.outputs["r"]["body"] == "Bob"
        wrong = await door.ask("POST", "/api/v1/executions", {"kind": "reactflow", "nodes": [{"id": "a"}]})
        assert (wrong.status, wrong.json()["errors"][0]["path"]) == (400, "nodes[0].data.type")


async def test_a_flow_is_run_again_from_what_failed(autojump_clock: MockClock) -> None:
    """Retry, pins and the newest version work for flows as for workflows."""
    attempts = []

    async def fail_first(pod: ScriptedPod) -> None:
        attempts.append(pod)
        is_first = len(attempts) == 1
        await pod.write(b'{"error": "no"}\n' if is_first else b'{"result": 5, "scope": ""}\n')
        await pod.exit(1 if is_first else 0)

    flow = drawn(TRIGGER, ("c", "action-code", {"code": "x"}), ("r", "response-data", {"body": "{{c.result}}"}))
    async with open_flow_door(fail_first) as door:
        run = (await door.ask("POST", "/api/v1/executions/", {"flow_id": await door.save(flow)})).json()
        assert (run["status"], run["error_message"]) == ("failed", "no")
        for definition in ("same", "latest"):
            again = await door.ask(
                "POST", f"/api/v1/executions/{run['id']}/retry", {"from": "failed", "definition": definition}
            )
            assert again.status == 202, again.body
            events = await door.world.watch(again.json()["id"])
            assert events[-1].data.outputs["r"]["body"] == 5
            assert [e.node for e in events if e.type == "node_started"] == ["c", "r"]


# --- history


async def test_a_run_is_waited_for_and_shown_with_its_nodes(autojump_clock: MockClock) -> None:
    """The fields of the origin; the native answer at the path without the slash is as it was."""
    flow = drawn(
        TRIGGER,
        ("if_1", "logic-condition", {"value1": "a", "value2": "a"}),
        ("r", "response-data", {"body": "{{trigger.q}}"}),
        ("n", "logic-transform", {}),
        edges="trigger_1>if_1 if_1:true>r if_1:false>n",
    )
    async with open_flow_door() as door:
        flow_id = await door.save(flow)
        run = (await door.ask("POST", "/api/v1/executions/", {"flow_id": flow_id, "input_data": {"q": 1}})).json()

        assert (run["status"], run["flow_id"], run["input_data"]) == ("completed", flow_id, {"q": 1})
        assert run["output_data"] == {"responded": True, "status": 200, "body": 1}
        assert (run["total_nodes"], run["completed_nodes"], run["success_rate"]) == (4, 3, 75)
        assert {node["node_id"]: node["status"] for node in run["node_executions"]} == {
            "trigger_1": "completed",
            "if_1": "completed",
            "r": "completed",
            "n": "skipped",
        }
        shown = await door.ask("GET", f"/api/v1/executions/{run['id']}/")
        assert shown.json() == run
        native = (await door.ask("GET", f"/api/v1/executions/{run['id']}")).json()
        assert (native["status"], native["kind"]) == ("completed", "workflow")

        listed = (await door.ask("GET", f"/api/v1/executions/?flow_id={flow_id}&status=completed")).json()
        assert [one["id"] for one in listed] == [run["id"]]
        assert (await door.ask("GET", "/api/v1/executions/?flow_id=8")).json() == []
        assert (await door.ask("GET", "/api/v1/executions/none/")).json() == {"detail": "Execution not found"}


async def test_runs_are_listed_by_skip_and_limit_with_short_inputs(autojump_clock: MockClock) -> None:
    """However many are skipped; the whole of an input is at the run itself."""
    async with open_flow_door() as door:
        flow_id = await door.save(drawn(TRIGGER))
        ids = []
        for number in range(5):
            asked = {"flow_id": flow_id, "input_data": {"number": number, "text": "x" * 20_000}}
            ids.append(str((await door.ask("POST", RUNS, asked)).json()["id"]))
        ids.reverse()

        async def listed(query: str) -> list[dict[str, Any]]:
            return list((await door.ask("GET", f"{RUNS}?{query}")).json())

        assert [one["id"] for one in await listed("")] == ids
        assert [one["id"] for one in await listed("skip=1&limit=3&status=completed")] == ids[1:4]
        assert await listed("skip=5") == await listed("status=cancelled") == []
        assert len((await listed("limit=1"))[0]["input_data"]["text"]) < 5000
        assert len((await door.ask("GET", f"{RUNS}{ids[0]}/")).json()["input_data"]["text"]) == 20_000


async def cancel(door: FlowDoor, execution_id: str) -> tuple[int, Any]:
    answer = await door.ask("POST", f"/api/v1/executions/{execution_id}/cancel/")
    return answer.status, answer.json()


async def test_a_run_is_cancelled_once(autojump_clock: MockClock) -> None:
    """200, then 400 because it is not running, and 404 for what is not there."""
    async with open_flow_door(until_stopped) as door:
        async with door.open(await door.save(drawn(("c", "action-code", {"code": "x"})))) as answer:
            await answer.wait_for(b"nodeExecutionBefore")
            execution_id = answer.headers["x-execution-id"]
            done = {"status": "cancelled", "message": "Execution cancelled successfully"}
            assert await cancel(door, execution_id) == (200, done)
            with trio.fail_after(5):
                await answer.is_over.wait()
        assert await cancel(door, execution_id) == (400, {"detail": "Execution is not running"})
        assert await cancel(door, "none") == (404, {"detail": "Execution not found"})


# --- the catalogue


async def test_the_catalogue_lists_what_the_compiler_knows() -> None:
    """A palette must not offer what cannot run."""
    async with open_flow_door() as door:
        listed = (await door.ask("GET", "/api/v1/node-types/")).json()
        assert [one["id"] for one in listed] == list(NODE_TYPES)
        assert all(find_flow_type(one["id"]) is not None for one in listed)
        assert {one["category"] for one in listed} == {one["id"] for one in CATEGORIES}

        ai = (await door.ask("GET", "/api/v1/node-types/?category=ai")).json()
        assert {one["category"] for one in ai} == {"ai"}
        assert (await door.ask("GET", "/api/v1/node-types/categories")).json() == list(CATEGORIES)
        assert (await door.ask("GET", "/api/v1/node-types/action-http")).json()["label"] == "HTTP Request"
        assert (await door.ask("GET", "/api/v1/node-types/nope")).status == 404
        assert (await door.ask("GET", "/api/v1/node-types/", role="")).status == 401
