"""What must be true of a flow of `chaos.flows`, whatever was killed while it ran: judged from its journal and from what the
outside was really asked."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from chaos.book import Book, Wish
from chaos.database import Stored
from chaos.flows import AGAIN, ASKING, LOST, said_at
from chaos.outside import Asked

STEP = "flow_step"
OVER = {"node_completed", "node_failed", "node_skipped"}
SENT_AGAIN = {503}
"""Answers of the outside that say that nothing was done."""


@dataclass(frozen=True)
class _Step:
    """One step, or one of a row."""

    name: str
    row: int | None
    method: str
    retry: dict[str, Any] | None
    is_final: bool
    before: str
    """The step whose answer's number it sends along; empty for one that sends none."""


@dataclass
class FlowStory:
    """One flow's journal, and what was wrong with it."""

    steps: dict[str, _Step]
    starts: Counter[str] = field(default_factory=Counter)
    ends: dict[str, str] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)
    """Steps that failed with their server."""
    serials: dict[str, int] = field(default_factory=dict)
    """Of the answer that each completed step gave."""
    answers: dict[str, Any] = field(default_factory=dict)
    is_stopped: bool = False
    failed_rows: set[int | None] = field(default_factory=set)
    wrong: list[tuple[str, str]] = field(default_factory=list)
    """(fault, what)."""

    @property
    def has_rightly_lost(self) -> bool:
        """Whether it lost a step that must not be done again, or that nobody wanted any more."""
        return bool(self.lost) and (self.is_stopped or all(self.steps[name].retry != LOST for name in self.lost))

    def read(self, event: dict[str, Any]) -> None:
        """Take the next event."""
        kind, node, data = event["type"], event.get("node", ""), event["data"]
        match kind:
            case "stop_requested":
                self.is_stopped = True
            case "node_started" if data["type"] == STEP:
                self._start(self.steps[node], event["attempt"])
            case "input_received":
                self.answers[node] = data
            case _ if kind in OVER and node in self.steps:
                self._end(self.steps[node], kind, data)

    def _start(self, step: _Step, attempt: int) -> None:
        names = list(self.steps)
        open_ones = [name for name in names[: names.index(step.name)] if name not in self.ends]
        later = [name for name in names[names.index(step.name) + 1 :] if name in self.starts]
        if open_ones or later:
            self.say("reruns", f"{step.name} starts while {open_ones} are open and {later} had started")
        if step.name in self.ends or attempt != self.starts[step.name] + 1:
            self.say("reruns", f"{step.name} starts for time {attempt}, it is {self.ends.get(step.name)}")
        if self.is_stopped:
            self.say("wrong ends", f"{step.name} starts after the stop")
        if step.row in self.failed_rows and not step.is_final:
            self.say("wrong ends", f"{step.name} starts after a failure")
        self.starts[step.name] += 1

    def _end(self, step: _Step, kind: str, data: dict[str, Any]) -> None:
        if step.name in self.ends:
            self.say("doubles", f"{step.name} ends twice")
        self.ends[step.name] = kind
        if kind == "node_failed":
            self.failed_rows.add(step.row)
            if data["error"]["code"] == "worker_lost":
                self.lost.add(step.name)
        if kind == "node_completed":
            self._give(step, data["output"])

    def _give(self, step: _Step, output: dict[str, Any]) -> None:
        told = output["response"]["body"]
        if told.get("node") != step.name:
            self.say("wrong ends", f"{step.name} gave what {told.get('node')} was answered")
        self.serials[step.name] = told.get("serial", 0)

    def say(self, fault: str, what: str) -> None:
        self.wrong.append((fault, what))


def check_flow(book: Book, wish: Wish, stored: Stored, asked: Sequence[Asked]) -> FlowStory:
    """Judge one flow."""
    config = wish.body.get("config", wish.body)
    story = FlowStory(_steps_of(config))
    for row in stored.events:
        story.read(json.loads(row.body))
    checks: tuple[Callable[[FlowStory, Wish, Sequence[Asked]], None], ...] = (
        _check_requests,
        _check_values,
        _check_gifts,
        _check_finals,
        _check_answers,
        _check_frames,
    )
    for check in checks:
        check(story, wish, asked)
    is_whole = all(end == "node_completed" for end in story.ends.values()) and story.ends.keys() == story.steps.keys()
    if (stored.status == "completed") is not is_whole:
        story.say("wrong ends", f"it is {stored.status}, and its steps ended so: {story.ends}")
    for fault, what in story.wrong:
        book.blame(fault, stored.id, f"{wish.recipe.name}: {what}")
    return story


def _steps_of(config: dict[str, Any]) -> dict[str, _Step]:
    rows: Sequence[int | None] = range(len(config["data"])) if "data" in config else (None,)
    found = [step for row in rows for step in _steps_of_row(config, row)]
    return {step.name: step for step in found}


def _steps_of_row(config: dict[str, Any], row: int | None) -> list[_Step]:
    scope = "" if row is None else f"rows[{row}]/"
    found: list[_Step] = []
    for is_final, nodes in ((False, config["nodes"]), (True, config["finally"])):
        for place, node in enumerate(nodes):
            before = "" if is_final or place == 0 else found[-1].name
            found.append(
                _Step(f"{scope}{node['id']}", row, node["method"], node.get("retry"), is_final=is_final, before=before)
            )
    return found


def _check_requests(story: FlowStory, wish: Wish, asked: Sequence[Asked]) -> None:
    """Each request was announced, in the file, when it came; in order; and none was sent again that must not be."""
    order = list(story.steps)
    earlier: dict[str, Asked] = {}
    latest = -1
    for each in asked:
        place = order.index(each.node)
        if place < latest:
            story.say("reruns", f"{each.node} was asked after {order[latest]}")
        latest = place
        if each.nth > story.starts[each.node]:
            story.say("reruns", f"{each.node} was asked {each.nth} times and announced {story.starts[each.node]} times")
        if each.starts is not None and each.nth > each.starts:
            story.say("reruns", f"{each.node} was asked for time {each.nth}, the file held {each.starts} starts")
        before = earlier.get(each.node)
        if before is not None and not _may_repeat(story.steps[each.node], before):
            story.say("reruns", f"{each.method} {each.node} was sent again after {before.meant}")
        earlier[each.node] = each


def _may_repeat(step: _Step, before: Asked) -> bool:
    """What was not done may be done again; what is repeatable, also where the connection broke; the rest only if it said so."""
    if step.retry == AGAIN:
        return before.meant in SENT_AGAIN or (step.method == "GET" and before.meant == -1)
    return step.retry == LOST


def _check_values(story: FlowStory, wish: Wish, asked: Sequence[Asked]) -> None:
    """What a request carried is what its step had to send: the number of the answer before it, its row's word, its answer."""
    for each in asked:
        step = story.steps[each.node]
        expected = str(story.serials[step.before]) if step.before else ""
        if each.query.get("after", "") != expected:
            story.say("differs", f"{each.node} sent {each.query.get('after')}, the step before it gave {expected}")
        body = json.loads(each.body) if each.body else {}
        if step.row is not None:
            words = {each.query["word"], body.get("word", each.query["word"])}
            if words != {f"{wish.token}-{step.row}"}:
                story.say("differs", f"{each.node} sent the words {words}")
        if step.name in ASKING:
            said = {"said": each.query["said"], **({"key": body["key"]} if step.name == ASKING[0] else {})}
            if said != said_at(wish.token, step.name):
                story.say("differs", f"{each.node} sent the answers {said}")


def _check_gifts(story: FlowStory, wish: Wish, asked: Sequence[Asked]) -> None:
    """A completed step was answered so, by the request that was its last."""
    last = {each.node: each for each in asked}
    for name, serial in story.serials.items():
        if name not in last or last[name].serial != serial or last[name].meant != 200:
            story.say("wrong ends", f"{name} completed with answer {serial}; the outside knows {last.get(name)}")


def _check_finals(story: FlowStory, wish: Wish, asked: Sequence[Asked]) -> None:
    """What always runs has run wherever something else did, unless somebody stopped the flow."""
    if story.is_stopped:
        return
    left = [name for name, step in story.steps.items() if step.is_final and not story.starts[name]]
    if left:
        story.say("wrong ends", f"{left} always run, and were not run; nobody stopped it")


def _check_answers(story: FlowStory, wish: Wish, asked: Sequence[Asked]) -> None:
    """An answer that was taken is in the journal, to the question it was given to, and what is secret is not readable there."""
    for step in wish.answered:
        if f"{step}.prompts" not in story.answers:
            story.say("lost", f"the answer to {step} was taken and is not in the journal")
    for node, data in story.answers.items():
        step = node.removesuffix(".prompts")
        expected = said_at(wish.token, step) | ({"key": "***"} if step == ASKING[0] else {})
        if data["values"] != expected:
            story.say("differs", f"{node} was answered {data['values']}")
        if step == ASKING[0] and set(data.get("sealed", {})) != {"key"}:
            story.say("differs", f"{node} keeps sealed {set(data.get('sealed', {}))}")


def _check_frames(story: FlowStory, wish: Wish, asked: Sequence[Asked]) -> None:
    """FlowSphere's door told each step once, in order, as the journal has it."""
    told = [(frame.data["step"], frame.data["status"]) for frame in wish.frames if frame.name == "step"]
    ends = [(place, end) for place, name in enumerate(story.steps, start=1) if (end := story.ends.get(name))]
    expected = [(place, end.removeprefix("node_")) for place, end in ends if end != "node_skipped"]
    is_whole = any(frame.name in {"end", "interrupted"} for frame in wish.frames)
    if told != expected[: len(told)] or (is_whole and told != expected):
        story.say("differs", f"FlowSphere's door told {told}, the journal has {expected}")
