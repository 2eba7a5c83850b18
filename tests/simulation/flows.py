"""What must hold in the journal of an HTTP flow, worked out a second time from the journal, the config and what was asked."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from execd.core.events import (
    Event,
    ExecutionEnded,
    InputReceived,
    NodeCompleted,
    NodeFailed,
    NodeSkipped,
    NodeStarted,
    Status,
    StopRequested,
)
from execd.core.flows.specs import FlowSpec
from execd.ports import ExecutionRecord
from tests.simulation.calls import KEY_HEADER
from tests.simulation.evidence import Call, Evidence
from tests.simulation.graph_views import CUT_SHORT, DEFECT
from tests.simulation.hidden import answer_of, hide, secret_of

PROMPTS = ".prompts"
NO_REFERENCE = "flow:step"
"""How a step fails that reads what is not there."""


@dataclass
class _Row:
    """One run of the steps: of a row, or the only one."""

    values: Mapping[str, Any]
    ends: dict[str, str] = field(default_factory=dict)
    """How each step and question ended, by its local name, in the order of the journal."""
    started: list[str] = field(default_factory=list)
    responses: dict[str, Any] = field(default_factory=dict)
    """The body of each answer that can be read."""
    typed: dict[str, str] = field(default_factory=dict)
    """What people answered, as they meant it."""
    sent: dict[str, tuple[dict[str, str], str | None]] = field(default_factory=dict)
    """What each step must send: its query, and its key."""
    has_failed: bool = False


class _Chain:
    """Goes through one journal; `wrong` is what it found."""

    def __init__(self, record: ExecutionRecord, spec: FlowSpec) -> None:
        self.wrong: list[str] = []
        self.steps = {str(step["id"]): step for step in spec.nodes}
        self.finals = {str(step["id"]) for step in spec.config["finally"]}
        self.order = [name for step in spec.nodes for name in _names_of(step)]
        data = spec.config.get("data")
        variables = {**spec.config["variables"], **spec.input}
        self.rows = {f"rows[{row['row']}]/": _Row({**variables, **row}) for row in data or ()} or {"": _Row(variables)}
        self.hidden = [secret_of(record.workspace)]
        self.is_stopped = self.is_defect = False

    def read(self, event: Event) -> None:
        """Judge the next event."""
        scope, _, local = (event.node or "").rpartition("/")
        row = self.rows.get(f"{scope}/" if scope else "")
        match event.data:
            case StopRequested():
                self.is_stopped = True
            case ExecutionEnded():
                self._conclude(event.data)
            case NodeFailed() if event.data.error.code == DEFECT:
                self.is_defect = True
        if row is None or local not in self.order:
            return
        match event.data:
            case NodeStarted():
                self._start(row, scope, local)
            case InputReceived():
                self._hear(row, event.data)
            case NodeCompleted() | NodeFailed() | NodeSkipped():
                self._end(row, local, event.data)

    def _start(self, row: _Row, scope: str, local: str) -> None:
        name = f"{scope}/{local}"
        before = self.order[: self.order.index(local)]
        open_ones = [other for other in before if other not in row.ends]
        if any(other in row.started or not row.has_failed for other in open_ones):
            self.wrong.append(f"{name} starts before {open_ones} are over")
        if local in row.ends:
            self.wrong.append(f"{name} starts after its end")
        if self.is_stopped or (row.has_failed and local not in self.finals):
            self.wrong.append(f"{name} starts after a stop or failure")
        others = [each for each in self.rows.values() if each is not row and each.started]
        if any(set(each.started) - each.ends.keys() for each in others):
            self.wrong.append(f"{name} starts while another row is under way")
        row.started.append(local)
        if local in self.steps:
            row.sent[local] = self._expect(row, self.steps[local])

    def _expect(self, row: _Row, step: Mapping[str, Any]) -> tuple[dict[str, str], str | None]:
        query = {"row": str(row.values["row"]), "word": str(row.values["word"])}
        if "after=" in step["url"]:
            before = row.responses.get(f"f{int(step['id'][1:]) - 1}")
            query["after"] = "" if before is None else str(before["serial"])
        if "said=" in step["url"]:
            query["said"] = row.typed["said"]
        header = step.get("headers", {}).get(KEY_HEADER, "")
        key = row.typed["word"] if ".input" in header else self.hidden[0] if header else None
        return query, key

    def _hear(self, row: _Row, data: InputReceived) -> None:
        row.typed = {key: answer_of(data.by, data.prompt_id, key) for key in data.values}
        self.hidden.append(row.typed["word"])

    def _end(self, row: _Row, local: str, data: NodeCompleted | NodeFailed | NodeSkipped) -> None:
        if local in row.ends:
            self.wrong.append(f"{local} ends twice")
        row.ends[local] = data.error.code if isinstance(data, NodeFailed) else type(data).__name__
        if isinstance(data, NodeFailed):
            step = self.steps.get(local, {})
            row.has_failed |= data.error.code in {DEFECT, CUT_SHORT} or "continueOnError" not in step
            self._check_reference(row, local, data.error.code)
        output = data.output if isinstance(data, NodeCompleted) else _record_of(data)
        if local in self.steps and output and output.get("response"):
            row.responses[local] = output["response"]["body"]

    def _check_reference(self, row: _Row, local: str, code: str) -> None:
        """A step fails for a reference that leads nowhere, and only for that."""
        if local in row.sent:
            leads_nowhere = row.sent[local][0].get("after") == ""
            is_own = code not in {DEFECT, CUT_SHORT, "worker_lost"}
            if (code == NO_REFERENCE) is not leads_nowhere and (is_own or code == NO_REFERENCE):
                self.wrong.append(f"{local} fails with {code}, and had to send {row.sent[local]}")

    def _conclude(self, data: ExecutionEnded) -> None:
        for scope, row in self.rows.items():
            left = self.finals - set(row.started)
            if left and not (self.is_stopped or self.is_defect):
                self.wrong.append(f"{left} of {scope or 'it'} were not run, and nothing stopped it")
        has_failed = self.is_defect or any(row.has_failed for row in self.rows.values())
        ends = {scope: row.ends for scope, row in self.rows.items()}
        is_whole = all(row.ends.keys() == set(self.order) for row in self.rows.values())
        if data.status is Status.COMPLETED and (has_failed or not is_whole):
            self.wrong.append(f"completed, and its steps ended so: {ends}")
        if data.status is Status.FAILED and not has_failed:
            self.wrong.append(f"failed, and its steps ended so: {ends}")


def _names_of(step: Mapping[str, Any]) -> list[str]:
    return [*([f"{step['id']}{PROMPTS}"] if "userPrompts" in step else []), str(step["id"])]


def _record_of(data: NodeFailed | NodeSkipped) -> dict[str, Any]:
    found: dict[str, Any] = data.error.details.get("step", {}) if isinstance(data, NodeFailed) else {}
    return found


def check_flow(
    record: ExecutionRecord, spec: FlowSpec, events: Sequence[Event], evidence: Evidence, *, is_alone: bool
) -> list[str]:
    """One step after the other, row after row; none after a failure that stops the flow, but those of `finally` all the same;
    each sends what is its row's, its people's and the step's before it, and gives what it was answered.

    Args:
        is_alone: whether nobody else can have taken it over while a request of it was under way.
    """
    chain = _Chain(record, spec)
    for event in events:
        chain.read(event)
    calls = [call for call in evidence.calls if call.path.partition("/")[0] == record.name]
    wrong = [*chain.wrong, *_check_sent(chain, calls), *_check_given(chain, events, calls)]
    if is_alone:
        wrong += _check_repeated(chain, calls)
    evidence.census.update(_count(chain, calls))
    return wrong


def _row_of(chain: _Chain, call: Call) -> _Row:
    return chain.rows[f"rows[{call.query['row']}]/" if "/rows/" in call.path else ""]


def _check_sent(chain: _Chain, calls: Sequence[Call]) -> Iterator[str]:
    for call in calls:
        if not call.query:
            continue  # killed in the instant in which it was asked
        row, local = _row_of(chain, call), call.path.rpartition("/")[2]
        if local not in row.sent:
            yield f"{call.path} was asked by row {call.query['row']}, where it did not run"
            continue
        if (dict(call.query), call.key) != row.sent[local]:
            yield f"{call.path} was sent {call.query} and the key {call.key}, it should be {row.sent[local]}"
        if call.body and json.loads(call.body) != {"word": row.values["word"]}:
            yield f"{call.path} was sent {call.body!r} by row {row.values['row']}"


def _check_given(chain: _Chain, events: Sequence[Event], calls: Sequence[Call]) -> Iterator[str]:
    """Each answer is given once, by the step that asked for it, and nobody sees the key in it."""
    left = {call.serial: call for call in calls if call.status == 200}
    for event in events:
        if not isinstance(event.data, NodeCompleted) or (event.node or "").rpartition("/")[2] not in chain.steps:
            continue
        body = event.data.output["response"]["body"]
        call = left.pop(body["serial"], None)
        asked = None if call is None else _node_of(call)
        if call is None or asked != event.node:
            yield f"{event.node} gave {body}, which was {asked}'s"
        elif body != hide({"serial": call.serial, "words": call.words, "key": call.key}, chain.hidden):
            yield f"{event.node} gave {body}, and was answered {call.words!r}"


def _node_of(call: Call) -> str:
    local = call.path.rpartition("/")[2]
    return f"rows[{call.query['row']}]/{local}" if "/rows/" in call.path else local


def _check_repeated(chain: _Chain, calls: Sequence[Call]) -> Iterator[str]:
    """What may have been done is done again only where its author said so."""
    earlier: dict[str, Call] = {}
    for call in calls:
        if not call.query:
            continue
        name = _node_of(call)
        before, retry = earlier.get(name), chain.steps[call.path.rpartition("/")[2]].get("retry")
        if before is not None and not _may_repeat(before, retry):
            yield f"{call.method} {name} was asked again after {before.status}, broken {before.is_broken}; {retry}"
        earlier[name] = call


def _may_repeat(before: Call, retry: Mapping[str, Any] | None) -> bool:
    """Three cases: it was refused; its connection broke; its server was gone."""
    on = (retry or {}).get("on")
    if "lost" in (on or ()):
        return True
    if before.is_broken:
        return retry is not None and ("network" in on if on else before.method == "GET")
    return retry is not None and before.status == 503 and (on is None or 503 in on)


def _count(chain: _Chain, calls: Sequence[Call]) -> Counter[str]:
    rows = list(chain.rows.values())
    return Counter(
        {
            "flow: rows": "" not in chain.rows,
            "flow: a row after one that failed": any(row.has_failed for row in rows[:-1]) and bool(rows[-1].started),
            "flow: question answered": sum(bool(row.typed) for row in rows),
            "flow: value of the step before": sum(bool(call.query.get("after")) for call in calls),
            "flow: key sent": sum(call.key is not None for call in calls),
            "flow: reference that leads nowhere": sum(NO_REFERENCE in row.ends.values() for row in rows),
            "flow: always run after a failure": sum(row.has_failed and bool(chain.finals) for row in rows),
            "flow: asked again": len(calls) - len({_node_of(call) for call in calls if call.query}),
        }
    )
