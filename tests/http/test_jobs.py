"""An engine elsewhere reports: every check in its order, and what was answered 200 is in the journal."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest
import trio
from trio.testing import MockClock

from execd.adapters.memory_store import MemoryStore
from execd.core.errors import StoreUnavailableError
from execd.core.events import Event, ExecutionId
from execd.core.job_keys import job_id_of, make_callback_token, sign
from execd.http.access import Role, issue_token
from execd.http.app import ExecdApp, make_app
from execd.http.replays import Replays
from tests.http.asgi import Answer, call
from tests.http.doors import CONFIG, RUNTIMES
from tests.http.fake_engine import EPOCH
from tests.support.engines import TEST_SETTINGS, W, World, open_world, virtual_now
from tests.support.scripted_runner import ScriptedPod

SECRET = "test-engine-secret"
PROGRESS, CALLBACK = "/api/v1/jobs/progress", "/api/v1/jobs/callback"


async def run_nothing(pod: ScriptedPod) -> None:
    await pod.exit(0)


@dataclass
class Office:
    """The doors on the real actors, with an engine's secret."""

    app: ExecdApp
    world: World
    secrets: dict[str, str]
    store: MemoryStore

    async def ask(self, method: str, target: str, body: Any = None, *, role: str = "runner", **headers: str) -> Answer:
        named = {"authorization": f"Bearer {self.secrets[role]}"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        return await call(
            self.app, method, target, headers=named, body=b"" if body is None else msgspec.json.encode(body)
        )

    async def begin(self, **fields: Any) -> tuple[ExecutionId, dict[str, Any]]:
        """Submit work of an engine elsewhere; give its id and what the engine reports with."""
        answer = await self.ask("POST", "/api/v1/executions", {"kind": "external", "name": "flow"} | fields)
        assert answer.status == 202, answer.body
        job = answer.json()["job"]
        return ExecutionId(answer.json()["id"]), {"job_id": job["job_id"], "callback_token": job["callback_token"]}

    async def report(self, target: str, body: Any, *, at: datetime | None = None, **changes: str) -> Answer:
        """Report as an engine does, signed now."""
        raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
        return await self.send(target, raw, signed_headers(raw, at or virtual_now()) | changes)

    async def send(self, target: str, raw: bytes, headers: Mapping[str, str]) -> Answer:
        return await call(self.app, "POST", target, headers=headers, body=raw)

    async def types(self, execution_id: ExecutionId) -> list[str]:
        """Give what the journal has, as stored."""
        return [event.type for event in self.store.journals[execution_id]]


def signed_headers(raw: bytes, at: datetime, secret: str = SECRET) -> dict[str, str]:
    timestamp = at.isoformat().replace("+00:00", "Z")
    return {"X-LinkFlow-Timestamp": timestamp, "X-LinkFlow-Signature": sign(secret, timestamp, raw)}


@asynccontextmanager
async def open_office(
    *, secret: str = SECRET, store: MemoryStore | None = None, **settings: Any
) -> AsyncIterator[Office]:
    chosen = store or MemoryStore()
    changed = msgspec.structs.replace(TEST_SETTINGS, queue=msgspec.structs.replace(TEST_SETTINGS.queue, **settings))
    async with open_world(run_nothing, store=chosen, settings=changed) as world:
        app = make_app(world.engine, RUNTIMES, replace(CONFIG, jobs_secret=secret), now=virtual_now)
        secrets = {}
        for role in Role:
            issued = await issue_token(world.engine.tokens, workspace=W, user="u", role=role, now=EPOCH)
            secrets[role.word] = issued.secret
        yield Office(app, world, secrets, chosen)


def node(name: str, status: str, **fields: Any) -> dict[str, Any]:
    return {"node_id": name, "node_type": "http", "status": status, **fields}


async def test_an_engine_is_followed_from_its_first_node_to_its_end() -> None:
    """The whole way, as LinkFlow's engine goes it: one progress after each node, then one callback."""
    async with open_office() as office:
        execution_id, keys = await office.begin(nodes=[{"id": "a", "label": "A", "type": "http"}, {"id": "b"}])

        first = await office.report(PROGRESS, keys | {"progress": 80, "current_node": "a"})
        second = await office.report(PROGRESS, keys | {"progress": 50, "current_node": "b"})
        nodes = [node("a", "completed", output={"k": 1}), node("b", "failed", error="no"), node("c", "skipped")]
        end = {"execution_id": execution_id, "status": "failed", "nodes": nodes, "error": {"message": "b failed"}}
        last = await office.report(CALLBACK, keys | end)

        events = await office.world.watch(execution_id)
        shown = (await office.ask("GET", f"/api/v1/executions/{execution_id}/result")).json()
        one = (await office.ask("GET", f"/api/v1/executions/{execution_id}/nodes/a")).json()

    assert [(answer.status, answer.json()) for answer in (first, second)] == [(200, {"success": True})] * 2
    assert last.json() == {"success": True, "execution_id": execution_id, "status": "failed"}
    assert [told(event) for event in events] == [
        "execution_requested",
        "execution_queued",
        "execution_started",
        "node_started a",
        "node_completed a",
        "progress",
        "node_started b",
        "node_failed b",
        "progress",
        "nodes_declared",
        "node_skipped c",
        "outputs_reported",
        "execution_failed",
        "result_stored",
    ]
    assert (shown["status"], shown["error"]["message"], shown["outputs"]) == ("failed", "b failed", {"a": {"k": 1}})
    assert [(found["id"], found["status"]) for found in shown["nodes"]] == [
        ("a", "completed"),
        ("b", "failed"),
        ("c", "skipped"),
    ]
    assert (one["status"], one["output"]) == ("completed", {"k": 1})
    assert not office.world.runner.started


def told(event: Event) -> str:
    return event.type + (f" {event.node}" if event.node else "")


async def test_the_answer_says_that_it_is_stored() -> None:
    """200 only after the store has it: an engine that was thanked may forget."""
    async with open_office() as office:
        execution_id, keys = await office.begin()
        await office.report(PROGRESS, keys | {"progress": 80, "current_node": "a"})
        after_progress = await office.types(execution_id)
        await office.report(CALLBACK, keys | {"execution_id": execution_id, "status": "completed"})
        after_callback = await office.types(execution_id)

    assert after_progress[-1] == "node_completed"
    assert after_callback[-1] == "result_stored"


@pytest.mark.behaviour(56)
async def test_checks_are_made_in_their_order() -> None:
    """Each check answers before the next one is looked at; the bodies are LinkFlow's."""
    async with open_office() as office:
        execution_id, keys = await office.begin()
        other, _ = await office.begin()
        raw = msgspec.json.encode(keys | {"progress": 1})
        now = virtual_now()
        good = signed_headers(raw, now)
        broken = {"X-LinkFlow-Signature": "0" * 64}

        def end(**changes: Any) -> dict[str, Any]:
            return keys | {"execution_id": execution_id, "status": "completed"} | changes

        answers = [
            await office.send(PROGRESS, b"{", {}),
            await office.send(PROGRESS, b"{", {"X-LinkFlow-Timestamp": "x"}),
            await office.send(PROGRESS, b"{", broken),
            await office.send(PROGRESS, b"{", {"X-LinkFlow-Timestamp": "yesterday"} | broken),
            await office.send(PROGRESS, b"{", {"X-LinkFlow-Timestamp": "2020-01-01T00:00:00Z"} | broken),
            await office.send(PROGRESS, b"{", good | broken),
            await office.send(PROGRESS, raw + b" ", good),
            await office.report(PROGRESS, b"{"),
            await office.report(PROGRESS, {"job_id": 7, "progress": "x"}),
            await office.report(PROGRESS, keys | {"progress": 1, "job_id": "3f1c7c4e-3c3e-4a52-9b1b-0a3d1f0f0a11"}),
            await office.report(PROGRESS, keys | {"progress": 1, "callback_token": "a" * 64}),
            await office.report(CALLBACK, end(execution_id=12)),
            await office.report(CALLBACK, end(execution_id=other)),
            await office.report(CALLBACK, end(execution_id=other, callback_token="b" * 64)),
        ]

        journal = await office.types(execution_id)

    assert [(answer.status, answer.json().get("error")) for answer in answers] == [
        *[(401, "Missing callback signature headers.")] * 3,
        (401, "Invalid callback timestamp."),
        (401, "Callback timestamp expired."),
        *[(401, "Invalid callback signature.")] * 2,
        (422, None),
        (422, None),
        (404, "Job not found"),
        (401, "Invalid callback token"),
        (404, "Execution not found"),
        (403, "Execution does not match job"),
        (401, "Invalid callback token"),
    ]
    assert list(answers[7].json()["errors"]) == ["body"]
    assert set(answers[8].json()["errors"]) == {"job_id", "callback_token", "progress"}
    assert journal == ["execution_requested", "execution_queued", "execution_started"]


@pytest.mark.behaviour(56)
async def test_without_a_secret_nothing_is_believed() -> None:
    """Neither a report nor a job that nobody could report on."""
    async with open_office(secret="") as office:
        answers = [await office.send(target, b"", {}) for target in (PROGRESS, CALLBACK)]
        submitted = await office.ask("POST", "/api/v1/executions", {"kind": "external"})

    assert [answer.status for answer in answers] == [500, 500]
    assert answers[0].json() == {"error": "Engine callback secret is not configured."}
    assert (submitted.status, submitted.json()["code"]) == (400, "unsupported_kind")


@pytest.mark.parametrize(("seconds", "status"), [(300, 200), (-300, 200), (301, 401), (-301, 401)])
@pytest.mark.behaviour(56)
async def test_a_message_may_be_five_minutes_old_or_early(seconds: int, status: int, autojump_clock: MockClock) -> None:
    """Exactly so much passes."""
    async with open_office() as office:
        _, keys = await office.begin()
        answer = await office.report(PROGRESS, keys | {"progress": 1}, at=virtual_now() + timedelta(seconds=seconds))

    assert answer.status == status


async def test_a_script_is_no_job() -> None:
    """A UUID made from the id of what runs here opens nothing."""
    async with open_office() as office:
        body = {"kind": "script", "language": "python", "source": "x"}
        execution_id = ExecutionId((await office.ask("POST", "/api/v1/executions", body)).json()["id"])
        keys = {
            "job_id": job_id_of(execution_id),
            "callback_token": make_callback_token(SECRET, execution_id),
        }
        answer = await office.report(PROGRESS, keys | {"progress": 1})

    assert (answer.status, answer.json()) == (404, {"error": "Job not found"})


@pytest.mark.behaviour(56)
async def test_the_same_message_counts_once() -> None:
    """Sent again within its time it is answered, and says nothing new."""
    async with open_office() as office:
        execution_id, keys = await office.begin()
        raw = msgspec.json.encode(
            keys | {"progress": 30, "execution_id": execution_id, "status": "waiting", "nodes": [node("a", "running")]}
        )
        headers = signed_headers(raw, virtual_now())
        answers = [await office.send(target, raw, headers) for target in (PROGRESS, PROGRESS, CALLBACK, CALLBACK)]
        journal = await office.types(execution_id)

    assert [answer.json().get("idempotent", False) for answer in answers] == [False, True, False, True]
    assert answers[3].json() == {
        "success": True,
        "idempotent": True,
        "execution_id": execution_id,
        "status": "waiting_input",
    }
    assert journal.count("progress") == journal.count("node_waiting") == 1


@pytest.mark.behaviour(2, 56, 57)
async def test_what_is_over_stays_as_it_ended() -> None:
    """A late callback overwrites neither an end nor a cancel."""
    async with open_office() as office:
        execution_id, keys = await office.begin()
        await office.report(PROGRESS, keys | {"progress": 10, "current_node": "a"})
        await office.ask("POST", f"/api/v1/executions/{execution_id}/cancel")
        events = await office.world.watch(execution_id)

        end = keys | {"execution_id": execution_id, "status": "completed"}
        callback = await office.report(CALLBACK, end)
        progress = await office.report(PROGRESS, keys | {"progress": 90})
        again = await office.ask("POST", f"/api/v1/executions/{execution_id}/cancel")
        journal = await office.types(execution_id)

    assert [told(event) for event in events][-3:] == ["node_failed a", "execution_cancelled", "result_stored"]
    assert callback.json() == {"success": True, "idempotent": True, "execution_id": execution_id, "status": "cancelled"}
    assert progress.json() == {"success": True, "idempotent": True}
    assert again.status == 409
    assert journal[-1] == "result_stored"
    assert len(journal) == len(events)


async def test_many_callbacks_at_one_instant_make_one_end() -> None:
    """Engines try again; every one of them is thanked, and the journal has one terminal event."""
    async with open_office() as office:
        execution_id, keys = await office.begin()
        answers: list[Answer] = []

        async def report(number: int) -> None:
            status = "completed" if number % 2 else "failed"
            body = keys | {"execution_id": execution_id, "status": status, "nodes": [node(f"n{number}", "completed")]}
            answers.append(await office.report(CALLBACK, body))

        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(report, number)
        journal = await office.types(execution_id)

    assert {answer.status for answer in answers} == {200}
    assert sum(not answer.json().get("idempotent", False) for answer in answers) == 1
    assert (journal.count("result_stored"), journal[-1]) == (1, "result_stored")


async def test_it_takes_no_slot() -> None:
    """Engines elsewhere do not keep scripts here from running, nor the other way."""
    async with open_office(slots=1) as office:
        jobs = [await office.begin() for _ in range(5)]
        body = {"kind": "script", "language": "python", "source": "x"}
        script = ExecutionId((await office.ask("POST", "/api/v1/executions", body)).json()["id"])
        await office.world.watch(script)
        for execution_id, keys in jobs:
            answer = await office.report(CALLBACK, keys | {"execution_id": execution_id, "status": "completed"})
            assert answer.json()["success"]
        statistics = office.world.engine.statistics()

    assert statistics["execd_executions_running"] == statistics["execd_executions_queued"] == 0


async def test_there_is_a_most_that_may_be_open() -> None:
    """Each takes some memory, for as long as its engine likes."""
    async with open_office(max_parked=2) as office:
        for _ in range(2):
            await office.begin()
        answer = await office.ask("POST", "/api/v1/executions", {"kind": "external"})

    assert (answer.status, answer.json()["code"]) == (503, "overloaded")


@pytest.mark.parametrize("command", ["pause", "resume", "interrupt"])
async def test_what_cannot_be_done_is_refused(command: str) -> None:
    """With the reason, and nothing in the journal."""
    async with open_office() as office:
        execution_id, _ = await office.begin()
        answer = await office.ask("POST", f"/api/v1/executions/{execution_id}/{command}")
        journal = await office.types(execution_id)

    assert answer.status == 409
    assert "engine elsewhere" in answer.json()["detail"]
    assert journal[-1] == "execution_started"


async def test_a_retry_is_a_new_job_from_the_start() -> None:
    """Only its engine could begin in the middle."""
    async with open_office() as office:
        execution_id, keys = await office.begin(nodes=[{"id": "a"}], input={"x": 1})
        await office.report(CALLBACK, keys | {"execution_id": execution_id, "status": "failed"})
        target = f"/api/v1/executions/{execution_id}/retry"
        again = await office.ask("POST", target)
        middle = await office.ask("POST", target, {"from": "failed"})
        somewhere = await office.ask("POST", target, {"from": "a"})
        shown = await office.ask("GET", again.json()["links"]["self"])

    assert again.status == 202
    assert again.json()["job"]["job_id"] != keys["job_id"]
    assert (middle.status, somewhere.status) == (409, 400)
    assert (shown.json()["attempt_of"], shown.json()["spec"]["input"]) == (execution_id, {"x": 1})


async def test_only_who_may_run_is_told_the_token() -> None:
    """Whoever has it can end the execution."""
    async with open_office() as office:
        execution_id, keys = await office.begin()
        target = f"/api/v1/executions/{execution_id}"
        runner, viewer = [await office.ask("GET", target, role=role) for role in ("runner", "viewer")]
        stream = await office.ask("GET", f"{target}/events", role="viewer")
        listed = await office.ask("GET", "/api/v1/executions?kind=external", role="runner")

    assert runner.json()["job"]["callback_token"] == keys["callback_token"]
    assert "job" not in viewer.json()
    for answer in (viewer, stream, listed):
        assert keys["callback_token"].encode() not in answer.body


async def test_a_repeated_submission_gives_the_same_job() -> None:
    """An answer that was lost on the way can be had again."""
    async with open_office() as office:
        body = {"kind": "external", "name": "n"}
        first, second = [
            (await office.ask("POST", "/api/v1/executions", body, idempotency_key="k")).json() for _ in range(2)
        ]

    assert first["job"] == second["job"]


async def test_it_can_be_saved_and_run_with_an_input() -> None:
    """As every other kind."""
    async with open_office() as office:
        saved = await office.ask(
            "POST", "/api/v1/definitions", {"kind": "external", "name": "flow", "nodes": [{"id": "a"}]}
        )
        run = await office.ask("POST", "/api/v1/executions", {"definition": "flow", "input": [1]})
        shown = await office.ask("GET", run.json()["links"]["self"])

    assert (saved.status, run.status) == (201, 202)
    assert run.json()["job"]["job_id"]
    assert (shown.json()["spec"]["input"], shown.json()["kind"]) == ([1], "external")


async def test_an_engine_that_is_silent_is_timed_out(autojump_clock: MockClock) -> None:
    """Its viewers must not wait for ever."""
    async with open_office() as office:
        execution_id, keys = await office.begin(timeout_s=60)
        await office.report(PROGRESS, keys | {"progress": 10, "current_node": "a"})
        began = trio.current_time()
        events = await office.world.watch(execution_id)
        assert trio.current_time() - began == pytest.approx(60, abs=0.1)
        late = await office.report(CALLBACK, keys | {"execution_id": execution_id, "status": "completed"})

    assert [event.type for event in events][-2:] == ["execution_timeout", "result_stored"]
    assert late.json()["status"] == "timeout"


def test_what_is_remembered_is_bounded() -> None:
    """The oldest are forgotten, first those whose time is over."""
    replays = Replays(limit=3)
    for second in range(5):
        replays.remember(str(second), until=EPOCH + timedelta(seconds=second + 10), now=EPOCH)
    assert [replays.has(str(second)) for second in range(5)] == [False, False, True, True, True]

    replays.remember("late", until=EPOCH + timedelta(seconds=60), now=EPOCH + timedelta(seconds=13))

    assert len(replays) == 2
    assert replays.has("4")


class _Away(MemoryStore):
    """A store that can be away."""

    is_away = False

    async def write(self, batch: Any) -> Any:
        if self.is_away:
            raise StoreUnavailableError("away")
        return await super().write(batch)


async def test_what_could_not_be_stored_is_not_answered_as_taken(autojump_clock: MockClock) -> None:
    """The engine tries again with the same message, and that one counts."""
    store = _Away()
    async with open_office(store=store) as office:
        _, keys = await office.begin()
        raw = msgspec.json.encode(keys | {"progress": 80, "current_node": "a"})
        headers = signed_headers(raw, virtual_now())
        store.is_away = True
        refused = await office.send(PROGRESS, raw, headers)
        store.is_away = False
        await trio.sleep(30)
        taken = await office.send(PROGRESS, raw, headers)
        again = await office.send(PROGRESS, raw, headers)

    assert refused.status == 503
    assert (taken.json(), again.json()) == ({"success": True}, {"success": True, "idempotent": True})


def test_nobody_prints_the_secret() -> None:
    """Records of settings end up in logs and traces."""
    assert SECRET not in repr(replace(CONFIG, jobs_secret=SECRET))
