"""Workflows in a line each, and programs that do what their source says."""

from __future__ import annotations

from typing import Any

import trio

from execd.core.event_parts import Usage
from execd.core.events import Event, ExecutionId, ResultStored
from execd.core.outcome import ExitRecord, Limiter, PodState
from execd.core.requests import parse_request
from execd.core.script_fields import ScriptTools
from execd.core.specs import Limits
from execd.core.workflows import WorkflowSpec
from execd.ports import Exited
from execd.settings import Settings, load_runtimes
from tests.support.engines import World, open_world
from tests.support.scripted_runner import ScriptedPod

TOOLS = ScriptTools(runtimes=load_runtimes(Settings()), defaults=Limits(), caps=Limits())


def workflow(*nodes: dict[str, Any], **more: Any) -> WorkflowSpec:
    """Read a workflow as a request would be read."""
    spec = parse_request({"kind": "workflow", "nodes": list(nodes), **more}, TOOLS).spec
    assert isinstance(spec, WorkflowSpec)
    return spec


def script(name: str, source: str = "x", *needs: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "type": "script", "language": "python", "source": source, "needs": list(needs), **more}


def constant(name: str, *needs: str) -> dict[str, Any]:
    return {"id": name, "type": "set", "values": name, "needs": list(needs)}


def wait(name: str, seconds: float, *needs: str) -> dict[str, Any]:
    return {"id": name, "type": "wait", "seconds": seconds, "needs": list(needs)}


async def perform(pod: ScriptedPod) -> None:
    """Do what the source says, word by word: a number is a line and that many seconds; `bad`, `lost`, `late`, `defect` and
    `hang` are ends; what is left out is a success."""
    for word in pod.request.spec.source.split():
        if not word[0].isdigit():
            await _end(pod, word)
            return
        await pod.write(f"{word}\n".encode())
        with trio.move_on_after(float(word)):
            await until_stopped(pod)
            return
    await pod.exit(0)


async def _end(pod: ScriptedPod, word: str) -> None:
    match word:
        case "bad":
            await pod.exit(3)
        case "lost":
            await pod.vanish()
        case "late":
            record = ExitRecord(signal=9, limiter=Limiter.WALL, configured=1.0, observed=1.0, usage=Usage(wall_ms=1000))
            await pod._tx.send(Exited(record=record, pod=PodState()))
        case "defect":
            await pod._tx.send("not a frame")  # type: ignore[arg-type] # the defect
        case "hang":
            await until_stopped(pod)
        case _:
            await pod.exit(0)


async def until_stopped(pod: ScriptedPod) -> None:
    """As a program that never ends by itself."""
    await pod.stop_asked.wait()
    await pod.exit(signal=15, cancelled=True)


async def finish(world: World, execution_id: ExecutionId) -> tuple[list[Event], ResultStored]:
    """Follow an execution to its end."""
    events = await world.watch(execution_id)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert isinstance(events[-1].data, ResultStored)
    return events, events[-1].data


async def run(spec: WorkflowSpec) -> tuple[list[Event], ResultStored]:
    """Run a workflow in a world of its own."""
    async with open_world(perform) as world:
        return await finish(world, await world.submit(spec=spec))
