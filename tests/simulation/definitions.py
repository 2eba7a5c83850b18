"""Saved definitions: versions of them are saved while the world goes on, and people run them by name, by id, by version.

What a version is shows in what its runs give: each tells its own number. Judged afterwards: which version may have been run,
what it was given, what is remembered of its durations, and what these let execd tell of the next run.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
import trio

from execd.adapters.memory_store import MemoryStore
from execd.core.definitions import RunRequest
from execd.core.events import (
    DefinitionId,
    Event,
    ExecutionEnded,
    ExecutionId,
    ExecutionPaused,
    ExecutionRequested,
    NodeCompleted,
    NodeFailed,
    NodeId,
    NodeRetrying,
    NodeSkipped,
    NodeStarted,
    Progress,
    Status,
    WorkspaceId,
)
from execd.core.flows.specs import FlowSpec
from execd.core.history import KEPT_RUNS, RunTimes
from execd.core.script_fields import ScriptTools
from execd.core.specs import Limits
from execd.core.workflows import ExecutionSpec, WorkflowSpec, decode_spec, graph_of
from execd.library import Library
from execd.ports import DefinitionLimits, DefinitionStore, ExecutionRecord
from execd.settings import Settings, load_runtimes
from tests.simulation.evidence import Evidence
from tests.simulation.plan import CallPlan, DefinitionPlan, Ending, Plan, ProgramPlan, RunPlan, Wait
from tests.support.engines import virtual_now

NAME = "saved"
MIN_RUNS = 3
"""Of which durations are told."""
_TOOLS = ScriptTools(runtimes=load_runtimes(Settings()), defaults=Limits(), caps=Limits())
Programs = Mapping[str, tuple[ProgramPlan, ...]]


@dataclass(frozen=True)
class DrawnDefinition:
    """A definition, and what its programs and requests meet."""

    plan: DefinitionPlan
    runs: tuple[RunPlan, ...]
    programs: Programs
    calls: tuple[CallPlan, ...]


def draw_definition(rng: random.Random) -> DrawnDefinition:
    """Draw a definition, its versions and who runs which of them."""
    saved_at = (0.0, *sorted(rng.uniform(0, 30) for _ in range(rng.choice((0, 1, 1, 2)))))
    draw = rng.choice((_flow, _workflow))
    versions = tuple((at, draw(number)) for number, at in enumerate(saved_at, start=1))
    runs = tuple(_run(rng, len(versions)) for _ in range(rng.choice((4, 6, 8))))
    programs = {f"{NAME}/v{number}/{node}": (_short(rng),) for number in range(1, 4) for node in "bc"}
    calls = tuple(CallPlan(after_s=rng.choice((0.5, rng.uniform(0, 3))), is_json=True) for _ in range(3))
    return DrawnDefinition(DefinitionPlan(versions), runs, programs, calls)


def _run(rng: random.Random, most: int) -> RunPlan:
    version = rng.choice((None, None, rng.randint(1, most)))
    return RunPlan(version=version, is_by_id=rng.random() < 0.5, given=rng.choice((None, rng.randrange(1, 9))))


def _short(rng: random.Random) -> ProgramPlan:
    return ProgramPlan(acts=(Wait(rng.choice((1.0, 2.5, rng.uniform(0, 5)))),), ending=Ending.EXIT)


def _workflow(version: int) -> dict[str, Any]:
    def script(name: str, before: str) -> dict[str, Any]:
        source = f"{NAME}/v{version}/{name}"
        return {"id": name, "type": "script", "language": "python", "source": source, "needs": [before]}

    first = {"id": "a", "type": "set", "values": {"version": version, "given": "{{ input.given }}"}}
    return {
        "kind": "workflow",
        "name": NAME,
        "input": {"given": 0},
        "nodes": [first, script("b", "a"), script("c", "b")],
    }


def _flow(version: int) -> dict[str, Any]:
    """Its word is its version; whose run it is its address says."""

    def step(name: str) -> dict[str, Any]:
        sent = "row={{ .vars.row }}&word={{ .vars.word }}"
        return {"id": name, "method": "GET", "url": f"http://outside/{{{{ .vars.run }}}}/{name}?{sent}"}

    variables = {"row": 0, "word": f"v{version}", "run": "nobody"}
    return {
        "kind": "flow",
        "name": NAME,
        "variables": variables,
        "nodes": [step("f0"), step("f1")],
        "finally": [step("f2")],
    }


def given_to(plan: DefinitionPlan, run: RunPlan, label: str) -> dict[str, Any] | None:
    """Give the input of a run."""
    (_, body), *_ = plan.versions
    if body["kind"] == "flow":
        return {"run": label} | ({} if run.given is None else {"row": run.given})
    return None if run.given is None else {"given": run.given}


class Librarian:
    """Saves the versions at their times, straight into what the store holds."""

    def __init__(self, plan: DefinitionPlan, workspace: str, contents: MemoryStore, evidence: Evidence) -> None:
        self._plan = plan
        self._workspace = WorkspaceId(workspace)
        self._library = open_library(contents.definitions)
        self._evidence = evidence

    async def work(self) -> None:
        """Save one after the other."""
        first, *others = self._plan.versions
        saved = await self._library.create(self._library.draft(first[1]), workspace=self._workspace, user="librarian")
        self._note(1)
        for number, (at, body) in enumerate(others, start=1):
            await trio.sleep_until(at)
            current = await self._library.find(self._workspace, saved.definition.id)
            await self._library.change(current, self._library.draft(body), version=number, user="librarian")
            self._note(number + 1)

    def _note(self, version: int) -> None:
        self._evidence.saved_at[version] = trio.current_time()
        self._evidence.note("librarian", f"saves version {version}")


def open_library(store: DefinitionStore) -> Library:
    """Give the definitions of a store as a door has them."""
    return Library(store, tools=_TOOLS, limits=DefinitionLimits(), now=virtual_now)


@dataclass(frozen=True)
class ReadRun:
    """What a run of a definition runs."""

    spec: ExecutionSpec
    definition: DefinitionId
    version: int


async def read_run(
    store: DefinitionStore, plan: DefinitionPlan, run: RunPlan, *, label: str, workspace: str
) -> ReadRun:
    """Read a version as a door does.

    Raises:
        ExecdError: it is not there yet, or the store is away.
    """
    library = open_library(store)
    named = (await library.find(WorkspaceId(workspace), NAME)).id if run.is_by_id else NAME
    asked = RunRequest(definition=named, version=run.version, input=given_to(plan, run, label), name=label)
    found, request = await library.read_run(WorkspaceId(workspace), asked)
    return ReadRun(request.spec, found.id, found.version)


def check_run(
    plan: DefinitionPlan, run: RunPlan, at: float, record: ExecutionRecord, events: Sequence[Event], evidence: Evidence
) -> Iterator[str]:
    """The version that was asked for was run, or else the newest, with what it was given."""
    version, data = record.definition_version, events[0].data
    assert isinstance(data, ExecutionRequested)
    if (data.definition, data.version) != (record.definition, version):
        yield f"it is a run of {record.definition}, {version}, and says that it is of {data.definition}, {data.version}"
    created_at = evidence.created_at[record.id]
    allowed = [
        number
        for number, saved_at in evidence.saved_at.items()
        if saved_at <= created_at and evidence.saved_at.get(number + 1, math.inf) >= at
    ]
    if version not in (allowed if run.version is None else [run.version]):
        yield f"version {version} was run, {run.version or allowed} was asked for"
    spec = decode_spec(record.spec, kind=record.kind)
    if version is None or _told_by(spec) != (version, given_to(plan, run, record.name)):
        yield f"version {version} was run, and what ran is {_told_by(spec)}"
    evidence.count(f"definition: {'newest' if run.version is None else 'named'} version of {len(evidence.saved_at)}")


def _told_by(spec: ExecutionSpec) -> tuple[int, Any]:
    match spec:
        case FlowSpec():
            return int(spec.config["variables"]["word"][1:]), spec.input
        case WorkflowSpec():
            first = next(node for node in spec.nodes if node.id == "a")
            return first.config["values"]["version"], None if spec.input == {"given": 0} else spec.input
    raise AssertionError("nothing else is saved")


# What is remembered of a run.


def times_of(events: Sequence[Event]) -> RunTimes | None:
    """Give how long a run took, worked out from its journal; None where that says nothing."""
    ends = [event.data for event in events if isinstance(event.data, ExecutionEnded)]
    if not ends or ends[0].status is not Status.COMPLETED:
        return None
    nodes = {
        event.node: event.data.duration_ms
        for event in events
        if isinstance(event.data, NodeCompleted) and event.node is not None
    }
    has_idled = any(isinstance(event.data, ExecutionPaused) for event in events)
    return RunTimes(nodes=nodes, total_ms=None if has_idled else ends[0].duration_ms)


def check_history(
    contents: MemoryStore, journals: Mapping[ExecutionId, Sequence[Event]], evidence: Evidence
) -> Iterator[str]:
    """The last runs that succeeded are remembered, in the order of their ends, once each."""
    expected: dict[DefinitionId, list[RunTimes]] = {}
    for execution_id in evidence.ended_at:
        record, times = contents.records[execution_id], times_of(journals[execution_id])
        if record.definition is not None and times is not None:
            expected.setdefault(record.definition, []).append(times)
    for definition, runs in expected.items():
        workspace = next(r.workspace for r in contents.records.values() if r.definition == definition)
        kept = contents.definitions.history_of(workspace, definition)
        if [msgspec.to_builtins(each) for each in kept] != [msgspec.to_builtins(each) for each in runs[-KEPT_RUNS:]]:
            yield f"of {definition} the history is {kept}, it should be {runs}"


# What is told of the time left.


@dataclass
class _Now:
    """How far a chain is."""

    order: Sequence[str]
    over: set[str]
    started: dict[str, datetime]
    places: int
    """How many nodes may run at one time."""

    def percent(self, runs: Sequence[RunTimes]) -> int:
        """Give how much is over, by the weight of the nodes."""
        weights = {name: 1 + self._usual(runs, name, 0.5) if len(runs) >= MIN_RUNS else 1 for name in self.order}
        return 100 * sum(weights[name] for name in self.over) // sum(weights.values())

    def left_ms(self, runs: Sequence[RunTimes], at: datetime) -> tuple[int | None, int | None]:
        """Give the time left, and what three quarters do not exceed; None where too little is known."""
        if len(runs) < MIN_RUNS:
            return None, None
        median = self._left_ms(runs, 0.5, at)
        return median, max(median, self._left_ms(runs, 0.75, at))

    def _left_ms(self, runs: Sequence[RunTimes], share: float, at: datetime) -> int:
        """What is left of the chain, or of all that has to share the places: of each former run's work the part that is not
        over, as much longer as this quantile is than the median."""
        usual = {name: self._usual(runs, name, share) for name in self.order}
        middle = {name: self._usual(runs, name, 0.5) for name in self.order}
        left, work = 0, 0.0
        for name in (name for name in self.order if name not in self.over):
            begun = self.started.get(name)
            passed_ms = 0 if begun is None else max(0, round((at - begun).total_seconds() * 1000))
            left += max(0, usual[name] - passed_ms)
            work += middle[name] * sum(usual.values()) / max(1, sum(middle.values())) - min(usual[name], passed_ms)
        totals = sorted(run.total_ms for run in runs if run.total_ms is not None)
        factor = _rank(totals, share) / max(1, sum(usual.values())) if len(totals) >= MIN_RUNS else 1.0
        return round(max(left, work / self.places) * min(4.0, max(0.25, factor)))

    def _usual(self, runs: Sequence[RunTimes], name: str, share: float) -> int:
        return _rank(sorted(_durations(runs, name)), share)


def _durations(runs: Sequence[RunTimes], name: str) -> list[int]:
    found = [run.nodes[NodeId(name)] for run in runs]
    return [time for time in found if isinstance(time, int)]


def _rank(ordered: Sequence[int], share: float) -> int:
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def check_estimates(
    record: ExecutionRecord, events: Sequence[Event], earlier: Sequence[list[RunTimes]]
) -> Iterator[str]:
    """The time left, and how much is done, is what one of the histories makes of it that may have been read, at this point
    of the chain; before any could be read, each node is as much as any other.

    Args:
        earlier: what was remembered at each moment since it was asked for.
    """
    order = ["f0", "f1", "f2"] if record.kind == "flow" else ["a", "b", "c"]
    graph = graph_of(decode_spec(record.spec, kind=record.kind), name=record.name)
    now, percent = _Now(order, set(), {}, graph.parallelism), 0
    for event in events:
        match event.data:
            case NodeStarted():
                now.started[event.node or ""] = event.at
            case NodeRetrying():
                now.started.pop(event.node or "", None)
            case NodeCompleted() | NodeFailed():
                now.over.add(event.node or "")
            case NodeSkipped():
                return  # it is winding down
            case Progress() as told:
                shares = {max(percent, now.percent(runs)) for runs in (*earlier, [])}
                if told.percent not in shares:
                    yield f"{event.seq}: {told.percent} percent are done, it should be one of {shares}"
                percent = told.percent
                left = {now.left_ms(runs, event.at) for runs in (*earlier, [])}
                if (told.eta_ms, told.eta_p75_ms) not in left:
                    yield f"{event.seq}: {told.eta_ms} to {told.eta_p75_ms} ms are left, it should be one of {left}"


def judge_run(
    plan: Plan, record: ExecutionRecord, journals: Mapping[ExecutionId, Sequence[Event]], evidence: Evidence
) -> Iterator[str]:
    """Judge one run: which version it is of, and what it told of its time."""
    submission = next(each for each in plan.submissions if each.label == record.name)
    events = journals[record.id]
    assert plan.definition is not None
    assert submission.run is not None
    yield from check_run(plan.definition, submission.run, submission.at, record, events, evidence)
    yield from check_estimates(record, events, _histories(record, journals, evidence))
    told = sum(isinstance(event.data, Progress) and event.data.eta_ms is not None for event in events)
    evidence.census["definition: time left told"] += told


def _histories(
    record: ExecutionRecord, journals: Mapping[ExecutionId, Sequence[Event]], evidence: Evidence
) -> list[list[RunTimes]]:
    """Give what was remembered when it was asked for, and after each end since."""
    found: list[list[RunTimes]] = [[]]
    for execution_id, ended_at in evidence.ended_at.items():
        requested = journals[execution_id][0].data
        times = times_of(journals[execution_id])
        if times is None or not isinstance(requested, ExecutionRequested) or requested.definition != record.definition:
            continue
        later = [*found[-1], times][-KEPT_RUNS:]
        found = [later] if ended_at < evidence.created_at[record.id] else [*found, later]
    return found
