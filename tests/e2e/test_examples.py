"""The examples, run as they stand: each is right, ends, and gives what its comments say. No internet, one engine each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trio

import execd
from execd.cli.workflow_files import read_request
from execd.core.events import Event, InputRequired, NodeRetrying, NodeSkipped, NodeWaiting, ResultStored, Status
from execd.embed import EmbeddedEngine, Run
from execd.settings import SandboxSettings, Settings

pytestmark = pytest.mark.slow

EXAMPLES = sorted((Path(__file__).parents[2] / "examples" / "workflows").glob("*.yaml"))
LIMIT_S = 60


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[EmbeddedEngine]:
    """Give an engine without a sandbox: what the examples do is harmless, and other tests are about walls."""
    settings = Settings(data_dir=tmp_path, sandbox=SandboxSettings(sandbox="none", warm_slots=0))
    async with execd.open_engine(settings) as opened:
        yield opened


def example(name: str, **changes: Any) -> dict[str, Any]:
    """Read one example, with some of its fields changed."""
    path = next(path for path in EXAMPLES if path.stem == name)
    return {**read_request(path.read_text(), file=str(path)), **changes}


async def finish(run: Run, answers: dict[str, str] | None = None) -> tuple[list[Event], ResultStored]:
    """Follow a run to its end, answering what it asks."""
    events = []
    with trio.fail_after(LIMIT_S):
        async for event in run.events():
            events.append(event)
            if isinstance(event.data, InputRequired):
                assert answers is not None
                await run.answer(event.data.prompt_id, answers)
    result = events[-1].data
    assert isinstance(result, ResultStored)
    return events, result


async def run_example(engine: EmbeddedEngine, name: str, **changes: Any) -> dict[str, Any]:
    """Run one to success and give its outputs."""
    _events, result = await finish(await engine.submit_workflow(example(name, **changes)))
    assert result.status is Status.COMPLETED, result.error
    return result.outputs


def skipped(events: list[Event]) -> set[str]:
    return {str(event.node) for event in events if isinstance(event.data, NodeSkipped)}


def test_there_are_enough_to_begin_with() -> None:
    """People copy what is nearest to what they want; an example nobody tests below would rot."""
    tested = {"approval", "branch", "check-rows", "clean-up", "fan-out", "flaky", "nightly-report", "sub-workflow"}

    assert {path.stem for path in EXAMPLES} == tested | {"wait-until"}


async def test_fan_out_counts_every_file(engine: EmbeddedEngine) -> None:
    """What `map` gave comes back as one list, in the order of its items."""
    outputs = await run_example(engine, "fan-out")

    assert outputs["total"] == {"files": 3, "words": 23, "longest": {"name": "tyger.txt", "words": 10}}


@pytest.mark.parametrize(
    ("decision", "taken", "passed"), [("approve", "release", "give_up"), ("reject", "give_up", "release")]
)
async def test_approval_decides_what_runs(engine: EmbeddedEngine, decision: str, taken: str, passed: str) -> None:
    """The step after the question runs only if somebody said so, and a default stands for what was left out."""
    run = await engine.submit_workflow(example("approval"))

    events, result = await finish(run, {"decision": decision})

    assert result.status is Status.COMPLETED
    assert result.outputs["approve"] == {"decision": decision, "note": "no remark"}
    assert taken in result.outputs
    assert skipped(events) == {passed}


async def test_flaky_step_succeeds_in_the_end(engine: EmbeddedEngine) -> None:
    """Run until it has failed at least once: then the attempts, the waits between them and the success are all there."""
    while True:
        events, result = await finish(await engine.submit_workflow(example("flaky")))
        assert result.outputs["report"] == "17 orders"
        retries = [event for event in events if isinstance(event.data, NodeRetrying)]
        if retries:
            break

    (fetch,) = (node for node in result.nodes if node.id == "fetch")
    assert fetch.attempts == len(retries) + 1
    waits = [
        (event.data.retry_at - event.at).total_seconds() for event in retries if isinstance(event.data, NodeRetrying)
    ]
    assert waits == sorted(waits)
    assert waits[0] >= 0.1


@pytest.mark.parametrize(
    ("amount", "handler", "passed"),
    [
        (1200, "manager", {"clerk", "refuse"}),
        (25, "clerk", {"manager", "refuse"}),
        (0, "nobody", {"manager", "clerk"}),
    ],
)
async def test_order_takes_one_branch_and_joins(
    engine: EmbeddedEngine, amount: int, handler: str, passed: set[str]
) -> None:
    """Exactly one branch runs, and what comes after the join sees which."""
    run = await engine.submit_workflow(example("branch", input={"customer": "Ada", "amount": amount}))

    events, result = await finish(run)

    assert result.outputs["done"]["route"]["handled_by"] == handler
    assert skipped(events) == passed


async def test_failed_import_is_rolled_back(engine: EmbeddedEngine) -> None:
    """The failure takes its own way, and the workflow as a whole succeeds."""
    outputs = await run_example(engine, "clean-up")

    assert outputs["roll_back"].startswith("rolled back: ")
    assert outputs["release"]["stdout"] == "released scratch-42\n"


async def test_import_that_works_is_not_rolled_back(engine: EmbeddedEngine) -> None:
    """The port `error` is for failures only."""
    events, result = await finish(await engine.submit_workflow(example("clean-up", vars={"rows": 3})))

    assert result.outputs["import"]["result"] == 3
    assert result.outputs["release"]["stdout"] == "released scratch-42\n"
    assert skipped(events) == {"roll_back"}


async def test_nightly_report_hands_json_from_language_to_language(engine: EmbeddedEngine) -> None:
    """Bash to Python and back, with the numbers intact."""
    outputs = await run_example(engine, "nightly-report")

    assert outputs["transform"]["result"] == {"currency": "EUR", "totals": {"north": 140.0, "south": 80.0}}
    assert outputs["mail"] == "North sold for 140.0 EUR."
    assert outputs["store"]["stdout"].split() == ["stored", "28", "bytes"]


async def test_wait_lasts_until_its_moment(engine: EmbeddedEngine) -> None:
    """The script starts after the moment that was asked for, and not before."""
    start = datetime.now(UTC) + timedelta(seconds=1)
    moment = start.isoformat(timespec="milliseconds")

    events, result = await finish(await engine.submit_workflow(example("wait-until", input={"start": moment})))

    waited = [event.node for event in events if isinstance(event.data, NodeWaiting)]
    began = next(event.at for event in events if event.node == "work")
    assert waited == ["until", "settle"]
    assert began >= start + timedelta(seconds=0.19)
    assert result.outputs["work"]["result"] is not None


async def test_sub_workflow_runs_once_for_each_region(engine: EmbeddedEngine) -> None:
    """Each run of the body sees its own input and nothing else."""
    outputs = await run_example(engine, "sub-workflow")

    assert outputs["regions"] == ["Invoice north: 36.0", "Invoice south: 6.0"]


async def test_bad_rows_are_collected(engine: EmbeddedEngine) -> None:
    """Two bad rows do not stop the two good ones, and are counted."""
    outputs = await run_example(engine, "check-rows")

    assert outputs["report"] == {"good": [1, 3], "bad_count": 2}
    assert outputs["complain"] == "2 rows are wrong"
    assert outputs["check"][1]["error"]["code"] == "exit"


async def test_rejected_release_can_be_asked_again(engine: EmbeddedEngine) -> None:
    """A retry from a node keeps what came before: nothing is built twice, only the question is asked again."""
    run = await engine.submit_workflow(example("approval"))
    await finish(run, {"decision": "reject"})

    events, result = await finish(await run.retry("approve"), {"decision": "approve"})

    assert result.outputs["release"]["stdout"] == "released app-1.4.2.tar.gz\n"
    assert not [event for event in events if event.node == "build" and event.type == "node_started"]
