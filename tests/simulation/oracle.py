"""The judge: pure functions over what was seen of a world and what its store holds at the end. Each gives violations."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence

from execd.actors.step_runner import LAST_WORDS_S
from execd.adapters.memory_store import MemoryStore
from execd.core.advancing import FACTS_PER_STEP
from execd.core.capture import output_bytes
from execd.core.codec import decode_event, to_fact
from execd.core.events import (
    Event,
    ExecutionEnded,
    ExecutionId,
    InputReceived,
    InputRequired,
    NodeCompleted,
    NodeFailed,
    NodeId,
    NodeRetrying,
    NodeSkipped,
    NodeStarted,
    NodeTimedOut,
    NodeWaiting,
    Output,
    OutputTruncated,
    PodTerminated,
    ResultStored,
    Status,
    StopMode,
    StopRequested,
    Stream,
)
from execd.core.external import ExternalSpec
from execd.core.flows.specs import FlowSpec
from execd.core.graph import Graph
from execd.core.masking import Mask
from execd.core.state import fold, new_state
from execd.core.transitions import IllegalTransitionError, Phase
from execd.core.workflows import decode_spec, graph_of
from execd.ports import ExecutionRecord
from tests.simulation.calls import check_calls
from tests.simulation.definitions import check_history, judge_run
from tests.simulation.elsewhere import check_external
from tests.simulation.evidence import Attempt, Evidence
from tests.simulation.flows import check_flow
from tests.simulation.graph_oracle import check_graph
from tests.simulation.graph_views import find_node
from tests.simulation.hidden import check_answers, check_hidden, secrets_in
from tests.simulation.plan import Ask, Ending, Plan, Trouble
from tests.simulation.requests import programs_by_source

Journals = dict[ExecutionId, list[Event]]

CANCEL_S = 2.0
"""What a cancel may take besides the programs' own stubbornness."""
PLATFORM_VERDICTS = {"platform:worker_lost", "platform:internal_error"}
"""Verdicts of execd itself on an attempt whose program it lost sight of."""


def judge(plan: Plan, evidence: Evidence, contents: MemoryStore) -> list[str]:
    """Give everything that is wrong; what was noted at the instant comes first."""
    journals = {key: [decode_event(event.body) for event in events] for key, events in contents.journals.items()}
    found = list(evidence.violations)
    found.extend(_check_storage(evidence, contents))
    found.extend(_check_promises(plan, evidence))
    found.extend(_check_passes(evidence, contents))
    found.extend(_check_obeyed(evidence, journals))
    found.extend(_check_cancels_in_time(plan, evidence))
    found.extend(check_answers(evidence, journals))
    found.extend(check_hidden(evidence, contents))
    found.extend(check_history(contents, journals, evidence))
    for execution_id, events in journals.items():
        record = contents.records[execution_id]
        graph = graph_of_record(record)
        mine = [attempt for attempt in evidence.attempts if attempt.execution_id == execution_id]
        reports = [report for reported, report in evidence.reports if reported == execution_id]
        match decode_spec(record.spec, kind=record.kind):
            case ExternalSpec():
                follows = check_external(events, reports)
            case FlowSpec() as spec:
                alone = plan.rival is None
                follows = () if is_given_up(events) else check_flow(record, spec, events, evidence, is_alone=alone)
            case _:
                follows = check_graph(record, graph, events, evidence, is_given_up=is_given_up(events))
        if record.definition is not None:
            found.extend(f"{record.name}: {what}" for what in judge_run(plan, record, journals, evidence))
        secrets = secrets_in(events, record.workspace)
        checks = (
            follows,
            _check_journal(record, events),
            _check_limits_in_time(plan, events),
            _check_fold(graph, events),
            _check_attempts(graph, mine),
            _check_success(events, mine),
            check_calls(record.name, events, evidence.calls, secrets),
            _check_output(events, mine, secrets),
        )
        found.extend(f"{record.name}: {what}" for check in checks for what in check)
        _count(evidence, record, events)
    return found


def _check_storage(evidence: Evidence, contents: MemoryStore) -> Iterator[str]:
    """What was once stored is there, unchanged, and there is nothing else."""
    for execution_id, events in evidence.written.items():
        if contents.journals.get(execution_id) != events:
            yield f"{evidence.labels[execution_id]}: its journal is not what was written"
    if set(contents.journals) != set(evidence.written):
        yield "there are executions that nobody wrote"


def _check_promises(plan: Plan, evidence: Evidence) -> Iterator[str]:
    """Whoever was accepted has an execution; one key, or one request without a repetition, makes one."""
    for promise in evidence.promises:
        if evidence.labels.get(promise.execution_id) != promise.label:
            yield f"{promise.label} was accepted and is forgotten"
    for label, count in Counter(evidence.labels.values()).items():
        if count > 1:
            yield f"{label} was made {count} times"


def _check_passes(evidence: Evidence, contents: MemoryStore) -> Iterator[str]:
    """What a viewer saw is still what is stored, and complete if the stream said so."""
    for seen in evidence.passes:
        journal = contents.journals[seen.execution_id]
        expected = [(event.seq, event.body) for event in journal[seen.after_seq : seen.after_seq + len(seen.events)]]
        if seen.events != expected:
            yield f"viewer {seen.viewer} saw another journal"
        if seen.has_ended and seen.last_seq < len(journal):
            yield f"viewer {seen.viewer} was told that all is over too early"


def _check_obeyed(evidence: Evidence, journals: Journals) -> Iterator[str]:
    """What was answered with yes happened."""
    for obeyed in evidence.obeyed:
        events = journals[obeyed.execution_id]
        label = evidence.labels[obeyed.execution_id]
        modes = {event.data.mode for event in events if isinstance(event.data, StopRequested)}
        result = events[-1].data
        if obeyed.ask is Ask.CANCEL and StopMode.CANCEL not in modes:
            yield f"{label}: {obeyed.by} cancelled it, and the journal does not say so"
        if obeyed.ask is Ask.CANCEL and isinstance(result, ResultStored) and result.status is not Status.CANCELLED:
            yield f"{label}: {obeyed.by} cancelled it, and it ended {result.status}"
        if obeyed.ask is Ask.STDIN:
            text = f"from {obeyed.by}\n".encode()
            if not any(text in attempt.stdin for attempt in evidence.attempts):
                yield f"{label}: the words of {obeyed.by} reached no program"


def _check_cancels_in_time(plan: Plan, evidence: Evidence) -> Iterator[str]:
    """A cancel takes as long as the most stubborn program, and little more."""
    programs = programs_by_source(plan)
    for obeyed in evidence.obeyed:
        if obeyed.ask is not Ask.CANCEL or not obeyed.is_prompt:
            continue
        label = evidence.labels[obeyed.execution_id]
        mine = [p for source, known in programs.items() if source.partition("/")[0] == label for p in known]
        most_s = CANCEL_S + max((program.ignores_stop_s for program in mine), default=0.0)
        if any(program.ending is Ending.SILENCE for program in mine):
            most_s += LAST_WORDS_S
        took_s = evidence.ended_at.get(obeyed.execution_id, math.inf) - obeyed.at
        evidence.count("cancelled in time")
        if took_s > most_s:
            yield f"{label}: {obeyed.by} cancelled it, and it took {took_s:.3f} s, {most_s} may pass"


def _check_limits_in_time(plan: Plan, events: Sequence[Event]) -> Iterator[str]:
    """Where nothing else holds it up, a body whose time is over ends as soon as its programs do."""
    (life, *others) = plan.lives
    if others or plan.rival is not None or life.trouble != Trouble() or life.crashes:
        return
    stubborn = [program.ignores_stop_s for known in programs_by_source(plan).values() for program in known]
    most_s = CANCEL_S + LAST_WORDS_S + max(stubborn, default=0.0)
    due = {event.node: event.at for event in events if isinstance(event.data, NodeTimedOut)}
    for event in events:
        if isinstance(event.data, NodeCompleted | NodeFailed) and event.node in due:
            took_s = (event.at - due[event.node]).total_seconds()
            if took_s > most_s:
                yield f"the time of {event.node} was over, and it went on for {took_s} s"


def _check_journal(record: ExecutionRecord, events: Sequence[Event]) -> Iterator[str]:
    """Numbered without gaps; one terminal event, one result, which is last; the record says the same."""
    if [event.seq for event in events] != list(range(1, len(events) + 1)):
        yield f"numbered {[event.seq for event in events]}"
    if record.head_seq != len(events):
        yield f"its record is at {record.head_seq}, its journal at {len(events)}"
    endings = [event.data for event in events if isinstance(event.data, ExecutionEnded)]
    results = [event.data for event in events if isinstance(event.data, ResultStored)]
    if len(endings) != 1 or len(results) != 1 or not isinstance(events[-1].data, ResultStored):
        yield f"{len(endings)} endings, {len(results)} results, the last event is {events[-1].type}"
        return
    if not endings[0].status is results[0].status is record.status:
        yield f"ended {endings[0].status}, its result says {results[0].status}, its record {record.status}"


def _check_fold(graph: Graph, events: Sequence[Event]) -> Iterator[str]:
    """Its journal is one that the machine could have told, and every attempt begins once and has an end."""
    if is_given_up(events):
        return
    try:
        state = fold(new_state(graph), map(to_fact, events))
    except IllegalTransitionError as error:
        yield f"its journal does not fold: {error}"
        return
    if state.phase is not Phase.STORED:
        yield f"its journal leaves it {state.phase.value}"
    begun = Counter((event.node, event.attempt) for event in events if isinstance(event.data, NodeStarted))
    ended: Counter[tuple[NodeId | None, int | None]] = Counter(
        (event.node, event.attempt)
        for event in events
        if isinstance(event.data, NodeCompleted | NodeFailed | NodeRetrying | NodeSkipped) and event.attempt is not None
    )
    for key, count in begun.items():
        if count != 1 or ended[key] == 0:
            yield f"attempt {key} began {count} times and ended {ended[key]} times"


def _check_attempts(graph: Graph, attempts: Sequence[Attempt]) -> Iterator[str]:
    """No program ran more often than its author allows."""
    for node, count in Counter(attempt.node for attempt in attempts if attempt.is_started).items():
        retries = find_node(graph, node).retry.retries
        if count > 1 + retries:
            yield f"node {node} ran {count} times with {retries} retries"


def _check_success(events: Sequence[Event], attempts: Sequence[Attempt]) -> Iterator[str]:
    """A success is the world's own: the last program of the node exited 0 and said so; and no verdict is made up."""
    scripts = {event.node for event in events if isinstance(event.data, NodeStarted) and event.data.type == "script"}
    for event in events:
        if (
            isinstance(event.data, NodeCompleted)
            and event.node in scripts
            and not any(
                attempt.node == event.node and attempt.number == event.attempt and _has_succeeded(attempt)
                for attempt in attempts
            )
        ):
            yield f"node {event.node} completed, and its program did not"
        if isinstance(event.data, PodTerminated) and event.data.reason not in PLATFORM_VERDICTS:
            attempt = _find(attempts, event.data.pod)
            code = attempt.record.exit_code if attempt is not None and attempt.record is not None else None
            if event.data.exit_code != code:
                yield f"{event.data.pod} ended with {code}, and the journal says {event.data.exit_code}"


def _has_succeeded(attempt: Attempt) -> bool:
    record = attempt.record
    return record is not None and record.exit_code == 0 and record.limiter is None and not record.cancelled


def _check_output(events: Sequence[Event], attempts: Sequence[Attempt], secrets: Sequence[str]) -> Iterator[str]:
    """What is kept is the beginning of what was written, in place; all of it where the program's end was heard."""
    verdicts = {event.data.pod: event.data for event in events if isinstance(event.data, PodTerminated)}
    for attempt in attempts:
        mine = [event for event in events if event.node == attempt.node and event.attempt == attempt.number]
        if not attempt.is_started:
            continue
        verdict = verdicts.get(attempt.pod)
        is_heard = verdict is not None and attempt.has_exited and verdict.reason not in PLATFORM_VERDICTS
        for stream in Stream:
            yield from _check_stream(stream, mine, attempt, secrets, is_heard=is_heard)


def _check_stream(
    stream: Stream, events: Sequence[Event], attempt: Attempt, secrets: Sequence[str], *, is_heard: bool
) -> Iterator[str]:
    kept, dropped = b"", 0
    for event in events:
        if isinstance(event.data, Output) and event.data.stream is stream:
            if event.data.offset != len(kept):
                yield f"{attempt.pod}: {stream} goes on at {event.data.offset} after {len(kept)} bytes"
            kept += output_bytes(event.data)
        if isinstance(event.data, OutputTruncated) and event.data.stream is stream:
            dropped = event.data.dropped_bytes
    more = dropped - attempt.dropped[stream]
    if more > 0:
        kept, dropped = _with_half_secret(kept, bytes(attempt.heard[stream]), more, secrets), dropped - more
    if not bytes(attempt.said[stream]).startswith(kept):
        yield f"{attempt.pod}: {stream} holds what was never written"
    if is_heard and kept != attempt.heard[stream]:
        yield f"{attempt.pod}: {len(kept)} of {len(attempt.heard[stream])} bytes of {stream} were kept"
    if is_heard and dropped != attempt.dropped[stream]:
        yield f"{attempt.pod}: {attempt.dropped[stream]} bytes of {stream} were dropped, {dropped} are said"


def _with_half_secret(kept: bytes, heard: bytes, more: int, secrets: Sequence[str]) -> bytes:
    """Put back the bytes that went with what was dropped behind them, because a secret may begin so."""
    finder = Mask(secrets).bytes
    for place in range(len(kept) + 1):
        piece = heard[place : place + more]
        whole = kept[:place] + piece + kept[place:]
        if heard.startswith(whole) and finder is not None and finder.count_open(heard[: place + more]) == more:
            return whole
    return kept


def _find(attempts: Sequence[Attempt], pod: str) -> Attempt | None:
    return next((attempt for attempt in attempts if attempt.pod == pod), None)


def graph_of_record(record: ExecutionRecord) -> Graph:
    """Give the graph that an execution runs."""
    return graph_of(decode_spec(record.spec, kind=record.kind), name=record.name)


def is_given_up(events: Sequence[Event]) -> bool:
    """Whether it was ended from its record alone, after several crashes: its journal has no ends for its nodes then."""
    result = events[-1].data
    is_defect = isinstance(result, ResultStored) and result.error is not None and result.error.code == "internal_error"
    return is_defect and isinstance(result, ResultStored) and not result.nodes


def _count(evidence: Evidence, record: ExecutionRecord, events: Sequence[Event]) -> None:
    evidence.count(f"ended {record.status}")
    if is_given_up(events):
        evidence.count("ended from its record alone")
    result = events[-1].data
    if isinstance(result, ResultStored) and result.error is not None:
        evidence.count(f"failure: {result.error.code}")
    if any((event.attempt or 0) > 1 for event in events):
        evidence.count("ran again")
    evidence.count(f"kind: {record.kind}")
    if len(events) > FACTS_PER_STEP:
        epochs = {evidence.epochs[record.id, event.seq] for event in events if isinstance(event.data, NodeCompleted)}
        evidence.count("graph: many nodes" + (" in two lives" if len(epochs) > 1 else ""))
    for event in events:
        if isinstance(event.data, NodeWaiting | InputRequired | InputReceived | NodeSkipped):
            evidence.count(f"event: {event.type}")
    if any(isinstance(event.data, OutputTruncated) for event in events):
        evidence.count("output dropped and said")
