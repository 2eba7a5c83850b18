"""The doors on the real actors: what a client sees is what the journal has, through commands and going down."""

from __future__ import annotations

import json
from functools import partial

import httpx2
import trio

from execd.client import open_client
from execd.core.events import ExecutionId, Status
from execd.http.access import Role, issue_token
from execd.http.app import make_app
from execd.http.server import serve_http
from tests.http.doors import CONFIG, RUNTIMES
from tests.support.engines import W, open_world, virtual_now
from tests.support.scripted_runner import ScriptedPod


async def greet_when_asked(pod: ScriptedPod) -> None:
    """As the program: greet, then wait for a line on stdin."""
    await pod.write(b"hello\n")
    await pod.stop_asked.wait()
    await pod.exit(signal=15, cancelled=True)


async def test_a_script_is_run_watched_and_cancelled_over_http() -> None:
    """Submit, follow with the real client, cancel, and read the same result in every place."""
    async with open_world(greet_when_asked) as world, trio.open_nursery() as nursery:
        app = make_app(world.engine, RUNTIMES, CONFIG, now=virtual_now)
        issued = await issue_token(world.engine.tokens, workspace=W, user="u", role=Role.RUNNER, now=virtual_now())
        stop = trio.Event()
        bound = await nursery.start(partial(serve_http, app, CONFIG, shutdown_trigger=stop.wait))
        seen = []
        async with open_client(bound.url, issued.secret) as client:
            submitted = await client.submit(
                {"kind": "script", "language": "python", "source": "x"}, idempotency_key="k"
            )
            async with client.events(ExecutionId(submitted.id)) as events:
                async for event in events:
                    seen.append(event)
                    if event.type == "output":
                        await client.cancel(submitted.id)
            result = await client.result(submitted.id)
            view = await client.find(submitted.id)
        async with httpx2.AsyncClient(base_url=bound.url, headers={"authorization": f"Bearer {issued.secret}"}) as http:
            journal = (await http.get(f"/api/v1/executions/{submitted.id}/events")).json()["items"]
            again = await http.get(
                f"/api/v1/executions/{submitted.id}/stream", headers={"last-event-id": str(len(seen))}
            )
            output = await http.get(f"/api/v1/executions/{submitted.id}/output")
        stop.set()

    assert [event.seq for event in seen] == list(range(1, len(seen) + 1))
    assert [event["seq"] for event in journal] == [event.seq for event in seen]
    assert result == seen[-1].data
    assert view.status is Status.CANCELLED
    assert again.status_code == 204
    assert output.content == b"hello\n"
    assert json.loads(json.dumps(journal[-1]))["data"]["status"] == "cancelled"


async def test_what_a_node_gave_is_there_whole() -> None:
    """Streams may show a part; the node's own address has all of it, during the run and after, in bodies too."""

    async def work(pod: ScriptedPod) -> None:
        await pod.write(pod.request.node.encode())
        await pod.exit(3 if pod.request.node == "bad" else 0)

    large = "x" * 50_000
    script = {"type": "script", "language": "python", "source": "x"}
    nodes = [
        {"id": "large", "type": "set", "values": large},
        {"id": "each", "type": "map", "items": [1, 2], "nodes": [{"id": "in", **script}]},
        {"id": "no", "type": "if", "condition": False},
        {"id": "never", "type": "set", "values": 1, "needs": ["no.true"]},
        {"id": "bad", "needs": ["each"], **script},
        {"id": "late", "type": "set", "values": 1, "needs": ["bad"]},
    ]
    async with open_world(work) as world, trio.open_nursery() as nursery:
        app = make_app(world.engine, RUNTIMES, CONFIG, now=virtual_now)
        issued = await issue_token(world.engine.tokens, workspace=W, user="u", role=Role.RUNNER, now=virtual_now())
        stop = trio.Event()
        bound = await nursery.start(partial(serve_http, app, CONFIG, shutdown_trigger=stop.wait))
        headers = {"authorization": f"Bearer {issued.secret}"}
        async with httpx2.AsyncClient(base_url=bound.url, headers=headers) as http:
            submitted = await http.post("/api/v1/executions", json={"kind": "workflow", "nodes": nodes})
            base = submitted.json()["links"]["self"]
            await world.watch(submitted.json()["id"])
            found = {
                name: (await http.get(f"{base}/nodes/{name}")).json()
                for name in ("large", "each[1]/in", "never", "bad", "late")
            }
            output = await http.get(f"{base}/output", params={"node": "each[1]/in"})
            missing = await http.get(f"{base}/nodes/each[7]/in")
        stop.set()

    assert found["large"]["output"] == large
    assert found["each[1]/in"]["output"]["stdout"] == "each[1]/in"
    assert output.text == "each[1]/in"
    assert (found["never"]["status"], found["never"]["reason"]) == ("skipped", "branch_not_taken")
    assert (found["bad"]["status"], found["bad"]["error"]["code"]) == ("failed", "exit")
    assert found["late"]["status"] == "not_run"
    assert missing.status_code == 404
