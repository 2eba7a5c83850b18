"""Warm slots on the real machine: what happens to them when they die, age, or do not fit."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.support.local_runs import (
    children_of,
    follow,
    is_running,
    open_runner,
    prepare,
    processes_with,
    request_for,
    run,
    wait_until,
)

pytestmark = pytest.mark.slow


async def test_a_slot_that_dies_after_its_claim_is_replaced_silently(tmp_path: Path) -> None:
    """Nothing of the user's had begun, so nobody needs to hear of it; even the input is not lost."""
    async with open_runner(tmp_path, "warm") as runner:
        pod = await prepare(runner, "print(input())", stdin="eins\n")
        assert pod.process_id is not None
        (shim,) = children_of(pod.process_id)
        os.kill(pod.process_id, signal.SIGKILL)
        await wait_until(lambda: not is_running(shim))
        seen = await follow(pod)
        await pod.close()

    assert pod.started_from == "warm"
    assert seen.stdout == b"eins\n"
    assert seen.reason == "succeeded"


async def test_a_slot_that_dies_unclaimed_is_no_runs_failure(tmp_path: Path) -> None:
    """The claim looks first; a dead slot means a cold start."""
    async with open_runner(tmp_path, "warm") as runner:
        await runner.pool.wait_filled()
        (waiting,) = processes_with(str(runner.directory))
        (shim,) = children_of(waiting)
        os.kill(waiting, signal.SIGKILL)
        await wait_until(lambda: not is_running(shim))
        pod = runner.prepare(request_for("print(1)"))
        seen = await follow(pod)
        await pod.close()

    assert pod.started_from == "cold"
    assert seen.stdout == b"1\n"


async def test_an_empty_pool_starts_cold_and_fills_again(tmp_path: Path) -> None:
    """A burst is served by cold starts; the next one finds the pool full."""
    async with open_runner(tmp_path, "warm") as runner:
        await runner.pool.wait_filled()
        pods = [runner.prepare(request_for("print(1)")) for _ in range(3)]
        for pod in pods:
            await follow(pod)
            await pod.close()
        again = await run(runner, "print(2)")

    assert [pod.started_from for pod in pods] == ["warm", "cold", "cold"]
    assert again.pod.started_from == "warm"


@pytest.mark.parametrize(
    "spec",
    [
        {"limits": {"file_bytes": 1 << 20}},
        {"env": {"PYTHONHASHSEED": "0"}},
        {"env": {"LC_ALL": "C"}},
    ],
)
async def test_what_is_fixed_when_a_slot_is_made_starts_cold(tmp_path: Path, spec: dict[str, object]) -> None:
    """A size of scratch space or a variable read at start cannot be changed under a waiting interpreter."""
    async with open_runner(tmp_path, "warm") as runner:
        seen = await run(runner, "import os; print(hash('x') if os.environ.get('PYTHONHASHSEED') else 1)", **spec)
        once_more = await run(runner, "import os; print(hash('x') if os.environ.get('PYTHONHASHSEED') else 1)", **spec)

    assert seen.pod.started_from == "cold"
    assert seen.stdout == once_more.stdout


async def test_a_slot_is_never_used_twice(tmp_path: Path) -> None:
    """User code can leave anything behind in an interpreter, so nothing of it may meet the next user."""
    async with open_runner(tmp_path, "warm") as runner:
        first = await run(runner, "import builtins, os; builtins.left = 1; open('/tmp/left', 'w'); print(os.getpid())")
        second = await run(runner, "import builtins, os; print(hasattr(builtins, 'left'), os.path.exists('/tmp/left'))")

    assert first.pod.started_from == second.pod.started_from == "warm"
    assert second.stdout == b"False False\n"


async def test_an_old_slot_is_replaced(tmp_path: Path) -> None:
    """A waiting interpreter does not see system updates; after its age there is a new one."""
    async with open_runner(tmp_path, "warm", warm_age_s=0.2) as runner:
        await runner.pool.wait_filled()
        (old,) = processes_with(str(runner.directory))
        await wait_until(lambda: old not in processes_with(str(runner.directory)))
        seen = await run(runner, "print(1)")

    assert seen.stdout == b"1\n"
