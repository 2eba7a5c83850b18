"""What must hold in the journal of a graph: order, places, waits, answers, and no attempt repeated without its author's word."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from execd.core.events import (
    Event,
    ExecutionId,
    InputReceived,
    InputRequired,
    NodeCompleted,
    NodeFailed,
    NodeRetrying,
    NodeSkipped,
    NodeStarted,
)
from execd.core.specs import Graph, ScriptSpec, WaitSpec
from tests.simulation.evidence import Evidence

CUT_OFF = {"worker_lost", "sandbox_lost", "internal_error"}
"""Failures of an attempt whose deeds nobody knows."""


def check_graph(graph: Graph, events: Sequence[Event]) -> Iterator[str]:
    """Judge one journal."""
    yield from _check_needs(graph, events)
    yield from _check_places(graph, events)
    yield from _check_repetitions(graph, events)
    yield from _check_waits(graph, events)
    yield from _check_questions(events)


def check_answers(evidence: Evidence, journals: Mapping[ExecutionId, Sequence[Event]]) -> Iterator[str]:
    """An answer that was taken is in the journal, under the name of who gave it."""
    for answer in evidence.answers:
        events = journals[answer.execution_id]
        received = {(e.data.prompt_id, e.data.by) for e in events if isinstance(e.data, InputReceived)}
        if (answer.prompt_id, answer.by) not in received:
            yield f"{evidence.labels[answer.execution_id]}: the answer of {answer.by} was taken and is not there"


def _check_needs(graph: Graph, events: Sequence[Event]) -> Iterator[str]:
    needs = {node.id: node.needs for node in graph.nodes}
    completed = set()
    for event in events:
        if isinstance(event.data, NodeStarted) and event.node is not None:
            missing = set(needs[event.node]) - completed
            if missing:
                yield f"node {event.node} starts before {', '.join(sorted(missing))}"
        if isinstance(event.data, NodeCompleted):
            completed.add(event.node)


def _check_places(graph: Graph, events: Sequence[Event]) -> Iterator[str]:
    """No more scripts at one time than the graph allows."""
    scripts = {node.id for node in graph.nodes if isinstance(node.spec, ScriptSpec)}
    running = set()
    for event in events:
        if isinstance(event.data, NodeStarted) and event.node in scripts:
            running.add(event.node)
        if isinstance(event.data, NodeCompleted | NodeFailed | NodeRetrying):
            running.discard(event.node)
        if len(running) > graph.parallelism:
            yield f"{len(running)} nodes run at one time, {graph.parallelism} may"


def _check_repetitions(graph: Graph, events: Sequence[Event]) -> Iterator[str]:
    may_repeat = {node.id for node in graph.nodes if node.retry.on_lost}
    for event in events:
        if isinstance(event.data, NodeRetrying) and event.data.error.code in CUT_OFF and event.node not in may_repeat:
            yield f"node {event.node} is repeated after {event.data.error.code}"


def _check_waits(graph: Graph, events: Sequence[Event]) -> Iterator[str]:
    waits = {node.id: node.spec.seconds or 0.0 for node in graph.nodes if isinstance(node.spec, WaitSpec)}
    began = {event.node: event.at for event in events if isinstance(event.data, NodeStarted)}
    for event in events:
        if isinstance(event.data, NodeCompleted) and event.node in waits:
            took_s = (event.at - began[event.node]).total_seconds()
            if took_s < waits[event.node] - 0.001:
                yield f"node {event.node} waited {took_s} s of {waits[event.node]}"


def _check_questions(events: Sequence[Event]) -> Iterator[str]:
    """One answer to each question, and none to one that nobody asked or that is over."""
    asked: dict[str, int] = {}
    for event in events:
        if isinstance(event.data, InputRequired):
            asked[event.data.prompt_id] = 0
        if isinstance(event.data, InputReceived):
            if asked.get(event.data.prompt_id) != 0:
                yield f"question {event.data.prompt_id} was answered, and not open"
            asked[event.data.prompt_id] = 1
        if isinstance(event.data, NodeSkipped | NodeFailed) and event.node is not None:
            asked.pop(f"{event.node}.{event.attempt}", None)
