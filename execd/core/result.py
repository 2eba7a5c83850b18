"""The final result: what `result_stored` carries, made from the state alone."""

from __future__ import annotations

from typing import Any

from execd.core.capture import Capture
from execd.core.codec import encode_json
from execd.core.estimates import asks_people
from execd.core.event_parts import Failure, NodeResult, Usage
from execd.core.events import NOT_RUN, EventData, ExecutionFailed, NodeId, ResultStored, Status, Stream
from execd.core.graph import PlannedNode
from execd.core.history import NodeTime, RunTimes
from execd.core.moments import milliseconds_between
from execd.core.nodes.bodies import MapSpec
from execd.core.runs import NodeRun, brief
from execd.core.state import State
from execd.core.transitions import NodePhase

MAX_OUTPUTS_BYTES = 8 * 1024 * 1024
"""Of all outputs in one result: it is one event, sent whole to every viewer and held whole by each."""


def make_result(state: State) -> ResultStored:
    """Sum up an execution that has its terminal event."""
    assert state.ending is not None
    main = _main_run(state)
    verdict = main[1].verdict if main is not None else None
    stdout, stderr = (_capture(state, main, stream) for stream in (Stream.STDOUT, Stream.STDERR))
    stdout_text, stdout_base64 = stdout.show()
    stderr_text, stderr_base64 = stderr.show()
    outputs, omitted = _outputs(state)
    return ResultStored(
        status=state.ending.status,
        exit_code=verdict.exit_code if verdict is not None else None,
        signal=verdict.signal if verdict is not None else None,
        error=state.ending.error,
        stdout=stdout_text,
        stderr=stderr_text,
        stdout_base64=stdout_base64,
        stderr_base64=stderr_base64,
        streams={Stream.STDOUT: stdout.totals(), Stream.STDERR: stderr.totals()},
        outputs=outputs,
        omitted_outputs=omitted,
        nodes=tuple(_node_result(node.id, state.run_of(node.id)) for node in state.graph.nodes),
        usage=_usage_of(state),
    )


def times_of(state: State) -> RunTimes | None:
    """Say how long it took, for the history of its definition; None where that says nothing of the next execution: it did
    not succeed, nodes were pinned, or an engine elsewhere did the work."""
    is_whole = not state.graph.pins and state.graph.external is None
    if state.ending is None or state.status is not Status.COMPLETED or not is_whole:
        return None
    nodes: dict[NodeId, NodeTime] = {}
    for name, planned in state.root.plan.nodes.items():
        run = state.run_of(name)
        if run.phase is not NodePhase.FAILED and not asks_people(planned):
            nodes[name] = _time_of(run, planned)
    return RunTimes(nodes=nodes, total_ms=None if state.has_idled else state.ending.duration_ms)


def _time_of(run: NodeRun, planned: PlannedNode) -> NodeTime:
    if run.duration_ms is None:
        return None
    if isinstance(planned.node.spec, MapSpec) and isinstance(run.output, list):
        return run.duration_ms, len(run.output)
    return run.duration_ms


def _main_run(state: State) -> tuple[NodeId, NodeRun] | None:
    """A graph of one node has an exit code and streams of its own; a larger one has them per node, in its journal."""
    if len(state.graph.nodes) != 1:
        return None
    node = state.graph.nodes[0].id
    return node, state.run_of(node)


def _capture(state: State, main: tuple[NodeId, NodeRun] | None, stream: Stream) -> Capture:
    return Capture() if main is None else state.captures.get((main[0], stream), Capture())


def _outputs(state: State) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Give what the nodes gave, in the order of the graph, and who finds no room: the last nodes have it before the others."""
    runs = ((node.id, state.run_of(node.id)) for node in state.graph.nodes)
    given = {node: run.output for node, run in runs if run.phase is NodePhase.COMPLETED and run.output is not None}
    left = MAX_OUTPUTS_BYTES
    omitted: set[NodeId] = set()
    for node in sorted(given, key=set(state.root.plan.sinks).__contains__, reverse=True):
        size = len(encode_json(given[node]))
        if size > left:
            omitted.add(node)
        else:
            left -= size
    shown: dict[str, Any] = {node: output for node, output in given.items() if node not in omitted}
    return shown, tuple(node for node in given if node in omitted)


def _node_result(node: NodeId, run: NodeRun) -> NodeResult:
    is_skipped = run.phase is NodePhase.SKIPPED
    return NodeResult(
        id=node,
        status=NOT_RUN if is_skipped and run.reason == NOT_RUN else str(run.phase),
        reason=run.reason if run.reason != NOT_RUN else None,
        attempts=run.attempt,
        duration_ms=run.duration_ms,
        error=None if run.error is None else brief(run.error),
    )


def bare_ending(message: str) -> tuple[EventData, ...]:
    """Give the last two events of an execution of which only the record can be read: failed, and nothing else is known."""
    failure = Failure(code="internal_error", message=message, details={"group": "platform"})
    result = ResultStored(
        status=Status.FAILED,
        exit_code=None,
        signal=None,
        error=failure,
        stdout=None,
        stderr=None,
        stdout_base64=None,
        stderr_base64=None,
        streams={},
        outputs={},
        nodes=(),
        usage=Usage(),
    )
    return ExecutionFailed(status=Status.FAILED, duration_ms=0, error=failure), result


def _usage_of(state: State) -> Usage:
    """Sum up what it cost: all attempts of all nodes."""
    wall = None
    if state.started_at is not None and state.ended_at is not None:
        wall = milliseconds_between(state.started_at, state.ended_at)
    return Usage(wall_ms=wall, cpu_ms=state.cpu_ms, peak_memory_bytes=state.peak_memory_bytes)
