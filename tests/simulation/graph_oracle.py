"""What must hold in the journal of a graph, worked out a second time from the journal and the spec alone.

`Replay` knows nothing of the machine: it keeps how each node stands, and judges every event by what came before it. Who
may start, which port is taken, what a node gives, what a `map` puts together, and how the whole must end all follow.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from execd.core.capture import output_bytes
from execd.core.event_parts import Failure
from execd.core.events import (
    Event,
    ExecutionEnded,
    ExecutionPaused,
    ExecutionResumed,
    InputReceived,
    InputRequired,
    NodeCompleted,
    NodeExpanded,
    NodeFailed,
    NodeId,
    NodeRetrying,
    NodeSkipped,
    NodeStarted,
    NodeTimedOut,
    NodeWaiting,
    Output,
    OutputTruncated,
    Progress,
    Status,
    StopMode,
    StopRequested,
    Stream,
)
from execd.core.graph import Graph, Node, OnError
from execd.core.nodes.bodies import MapSpec
from execd.core.nodes.http_call import HttpSpec
from execd.core.nodes.llm import LlmSpec
from execd.core.nodes.scripts import StepSpec
from execd.core.nodes.waiting import WaitSpec
from execd.core.specs import ScriptSpec
from execd.ports import ExecutionRecord
from tests.simulation.calls import path_of
from tests.simulation.evidence import Evidence
from tests.simulation.graph_views import (
    CUT_SHORT,
    DEFECT,
    MILLISECOND,
    OVER,
    Scope,
    View,
    begin,
    decide,
    is_cut,
    is_met,
    join_items,
    may_repeat,
    names_in,
    needs_of,
    open_scope,
    output_of_script,
    read_by,
)
from tests.simulation.hidden import answer_of, hide, secret_of
from tests.simulation.values_oracle import NoValueError

_ITEM = re.compile(r"(.*)\[(\d+)\]")


class Replay:
    """Goes through one journal; `wrong` is what it found."""

    def __init__(self, graph: Graph, workspace: str, *, is_weighed: bool = False) -> None:
        """Args:
        is_weighed: whether its nodes weigh what former runs say; then definitions.py judges its percents.
        """
        self._is_weighed = is_weighed
        self.given: dict[tuple[str, int], dict[str, Any]] = {}
        """What the program or call of each attempt is given."""
        self._secret = secret_of(workspace)
        self._hidden = [self._secret]
        self.wrong: list[str] = []
        self.census: Counter[str] = Counter()
        self._root = open_scope("", graph, graph.input)
        self._scopes = {"": self._root}
        self._stop: StopMode | None = None
        self._is_paused = False
        self._started_in_pause: dict[str, str] = {}
        self._placed: set[str] = set()
        """Scripts and calls that run, or wait to run again."""
        self._percent = 0

    def read(self, event: Event) -> None:
        """Judge the next event."""
        data = event.data
        if isinstance(data, StopRequested):
            self._stop = data.mode
        elif isinstance(data, ExecutionPaused | ExecutionResumed):
            self._is_paused = isinstance(data, ExecutionPaused)
        elif isinstance(data, Progress):
            self._check_progress(data)
        elif isinstance(data, ExecutionEnded):
            self._check_end(data)
        elif event.node is not None and type(data) in _READERS:
            scope = self._find_scope(event.node)
            local = event.node.rpartition("/")[2]
            if scope is None or local not in scope.nodes:
                self._say(event, "there is no such node now")
                return
            _READERS[type(data)](self, event, scope, scope.nodes[local], scope.views[local])

    def _say(self, event: Event, what: str) -> None:
        self.wrong.append(f"{event.seq} {event.type} of {event.node}: {what}")

    def _find_scope(self, node: str) -> Scope | None:
        """Give the run of a graph that a node is in; the first event of an item begins its run."""
        name = node.rpartition("/")[0]
        if name in self._scopes:
            return self._scopes[name]
        item = _ITEM.fullmatch(name)
        owner = item[1] if item else name
        around = self._find_scope(owner)
        local = owner.rpartition("/")[2]
        if around is None or local not in around.nodes:
            return None
        view, body = around.views[local], around.nodes[local].body
        if view.status != "expanded" or body is None or view.expected is None:
            return None
        items, index = view.expected[1], int(item[2]) if item else 0
        if index >= len(items) or isinstance(around.nodes[local].spec, MapSpec) != bool(item):
            return None
        scope = open_scope(name, body, items[index])
        scope.around, scope.owner, scope.index = around, local, index if item else None
        self._scopes[name] = scope
        view.opened += 1
        self._check_concurrency(owner, around.nodes[local], view)
        return scope

    def _check_concurrency(self, owner: str, node: Node, view: View) -> None:
        allowed = node.spec.concurrency if isinstance(node.spec, MapSpec) else 1
        under_way = view.opened - len(view.closed)
        if under_way > allowed:
            self.wrong.append(f"{under_way} items of {owner} are under way, {allowed} may be")
        if under_way > 1:
            self.census["graph: items side by side"] += 1

    # Who may start.

    def _started(self, event: Event, scope: Scope, node: Node, view: View) -> None:
        again = view.status == "retrying"
        if view.status not in {"pending", "retrying"} or event.attempt != view.attempt + 1:
            self._say(event, f"attempt {event.attempt} after {view.attempt}, {view.status}")
        if again and view.due is not None and event.at < view.due - MILLISECOND:
            self._say(event, f"starts again at {event.at}, before {view.due}")
        if not again and not is_met(scope, node):
            self._say(event, f"starts, and its needs stand so: {needs_of(scope, node)}")
        if self._is_over_around(scope):
            self._say(event, "starts after a stop or failure around it")
        if self._is_paused:
            self._started_in_pause[event.node or ""] = f"{event.node} starts in a pause"
        if node.id in scope.graph.pins:
            self._say(event, "is pinned and starts")
        view.status, view.attempt = "running", event.attempt or 1
        view.text, view.is_text_cut = bytearray(), False
        view.expected = self._expect(event, scope, node)
        if isinstance(node.spec, StepSpec | ScriptSpec | HttpSpec | LlmSpec):
            self._placed.add(event.node or "")
            if len(self._placed) > self._root.graph.parallelism:
                self._say(event, f"{len(self._placed)} at one time, {self._root.graph.parallelism} may be")
        if len({decide(scope, need) for need in node.needs}) > 1:
            self.census["graph: join with a branch not taken"] += 1

    def _is_over_around(self, scope: Scope | None) -> bool:
        if self._stop is not None:
            return True
        while scope is not None:
            if scope.failure is not None:
                return True
            if scope.around is not None and scope.around.views[scope.owner].has_failed_body:
                return True
            scope = scope.around
        return False

    def _skipped(self, event: Event, scope: Scope, node: Node, view: View) -> None:
        assert isinstance(event.data, NodeSkipped)
        if view.status != "pending":
            self._say(event, f"is skipped and was {view.status}")
        if event.data.reason == "branch_not_taken":
            if not node.needs or any(decide(scope, need) is not False for need in node.needs):
                self._say(event, f"its needs stand so: {needs_of(scope, node)}")
        elif not self._is_over_around(scope):
            self._say(event, f"{event.data.reason}, and nothing has stopped")
        self.census[f"graph: skipped {event.data.reason}"] += 1
        view.error = Failure(code=event.data.reason, message="")
        self._end_node(scope, node, view, "skipped")

    # How a node goes on.

    def _waiting(self, event: Event, scope: Scope, node: Node, view: View) -> None:
        assert isinstance(event.data, NodeWaiting)
        view.status, view.due = "waiting", event.data.until
        if not isinstance(node.spec, WaitSpec) or view.expected is not None:
            self._say(event, f"waits, expected was {view.expected}")

    def _asking(self, event: Event, scope: Scope, node: Node, view: View) -> None:
        assert isinstance(event.data, InputRequired)
        view.status, view.due = "waiting", event.data
        labels = [prompt.label for prompt in event.data.prompts]
        expected = view.expected
        if expected is None or expected[0] != "asks" or labels != expected[1]:
            self._say(event, f"asks {labels}, expected was {expected}")

    def _answered(self, event: Event, scope: Scope, node: Node, view: View) -> None:
        assert isinstance(event.data, InputReceived)
        asked = view.due
        if view.status != "waiting" or not isinstance(asked, InputRequired) or asked.prompt_id != event.data.prompt_id:
            self._say(event, "is answered and asks not")
        view.due, view.expected = None, ("gives", event.data.values, None)
        prompts = asked.prompts if isinstance(asked, InputRequired) else ()
        by, prompt_id = event.data.by, event.data.prompt_id
        view.typed = {each.key: answer_of(by, prompt_id, each.key) for each in prompts if each.secret}
        self._hidden += view.typed.values()

    def _expanded(self, event: Event, scope: Scope, node: Node, view: View) -> None:
        assert isinstance(event.data, NodeExpanded)
        items = list(event.data.items)
        if view.expected is None or view.expected[0] != "expands" or view.expected[1] != items:
            self._say(event, f"has the items {items}, expected was {view.expected}")
        view.status, view.expected = "expanded", ("expands", items, None)
        timeout_s = node.spec.timeout_s
        view.expires_at = event.data.expires_at
        if (view.expires_at is None) is not (timeout_s is None):
            self._say(event, f"expires at {view.expires_at}, its timeout is {timeout_s}")
        self.census[f"graph: {node.type} in depth {(event.node or '').count('/')}"] += 1

    def _timed_out(self, event: Event, scope: Scope, node: Node, view: View) -> None:
        if view.status != "expanded" or view.expires_at is None or event.at < view.expires_at - MILLISECOND:
            self._say(event, f"is {view.status} and expires at {view.expires_at}")
        view.is_timed_out = not view.has_failed_body
        view.has_failed_body = True
        self.census["graph: body timed out"] += 1

    def _wrote(self, event: Event, scope: Scope, node: Node, view: View) -> None:
        assert isinstance(event.data, Output | OutputTruncated)
        if event.data.stream is not Stream.STDOUT:
            return
        if isinstance(event.data, Output):
            view.text += output_bytes(event.data)
        else:
            view.is_text_cut = True

    def _retrying(self, event: Event, scope: Scope, node: Node, view: View) -> None:
        assert isinstance(event.data, NodeRetrying)
        error = event.data.error
        if view.status != "running":
            self._say(event, f"will run again and is {view.status}")
        if not may_repeat(node, error, view.attempt):
            self._say(event, f"will run again after attempt {view.attempt}, {error.code}, against {node.retry}")
        if self._is_over_around(scope):
            self._say(event, "will run again after a stop or failure around it")
        self._check_failure(event, view, error)
        delay_s = (event.data.retry_at - event.at).total_seconds()
        shortest = min(node.retry.delay_s * node.retry.factor ** (view.attempt - 1), 300)
        if not shortest - 0.002 <= delay_s <= shortest * (1 + node.retry.jitter) + 0.002:
            self._say(event, f"waits {delay_s} s, shortest is {shortest}")
        if error.details.get("group") in {"program", "limit"}:
            self.census["graph: again after a failure of its own"] += 1
        view.status, view.error, view.due = "retrying", error, event.data.retry_at

    # How a node ends.

    def _completed(self, event: Event, scope: Scope, node: Node, view: View) -> None:
        data = event.data
        assert isinstance(data, NodeCompleted)
        if data.pinned:
            self._check_pin(event, data, scope, view)
        else:
            self._check_success(event, data, node, view)
        view.output, view.port = data.output, data.port
        self._end_node(scope, node, view, "completed", event.node)

    def _check_pin(self, event: Event, data: NodeCompleted, scope: Scope, view: View) -> None:
        pin = scope.graph.pins.get(event.node or NodeId(""))
        self.census["graph: pinned"] += 1
        if scope is not self._root or pin is None or view.status != "pending":
            self._say(event, "is said to be pinned")
        elif (pin.output, pin.port) != (data.output, data.port):
            self._say(event, f"is pinned to {pin}")

    def _check_success(self, event: Event, data: NodeCompleted, node: Node, view: View) -> None:
        expected = view.expected
        if view.status not in {"running", "waiting", "expanded"}:
            self._say(event, f"completes and is {view.status}")
        if isinstance(node.spec, StepSpec):
            expected = None if expected is not None else ("gives", output_of_script(view), None)
        elif isinstance(node.spec, HttpSpec | LlmSpec):
            expected = None if expected is not None else ("gives", data.output, None)  # calls.py has the rest
        elif isinstance(node.spec, WaitSpec | ScriptSpec):
            if isinstance(node.spec, WaitSpec) and (view.due is None or event.at < view.due - MILLISECOND):
                self._say(event, f"ends its wait before {view.due}")
            expected = ("gives", None, None)
        elif view.status == "expanded" and expected is not None:
            expected = ("gives", join_items(node, view, len(expected[1])), None)
        if expected is not None:
            expected = (expected[0], hide(expected[1], self._hidden), expected[2])
        if expected != ("gives", data.output, data.port):
            self._say(event, f"gave {data.output!r} by {data.port}, expected was {expected}")

    def _failed(self, event: Event, scope: Scope, node: Node, view: View) -> None:
        assert isinstance(event.data, NodeFailed)
        error = event.data.error
        is_over_around = self._is_over_around(scope)
        if view.status not in {"running", "waiting", "expanded", "retrying"}:
            self._say(event, f"fails and is {view.status}")
        if error.code == CUT_SHORT or (view.status == "retrying" and error.code != DEFECT):
            if not is_over_around:
                self._say(event, f"is cut off as {view.status}, and nothing has stopped")
            self.census[f"graph: {view.status} cut short"] += 1
        else:
            self._check_failure(event, view, error)
            if view.status == "expanded":
                self._check_item_failure(event, node, view, error)
            elif view.status == "running" and may_repeat(node, error, view.attempt) and not is_over_around:
                self._say(event, f"fails after attempt {view.attempt}, {error.code}, against {node.retry}")
        if error.code == DEFECT:
            self._started_in_pause.pop(event.node or "", None)
        view.error, view.output = error, {"error": msgspec.to_builtins(error)}
        if error.code == DEFECT or (node.on_error is OnError.STOP and error.code != CUT_SHORT):
            scope.failure = scope.failure or error
        if error.code == DEFECT:
            self._root.failure = self._root.failure or error
        self.census[f"graph: failed and {node.on_error}"] += 1
        self._end_node(scope, node, view, "failed", event.node)

    def _check_failure(self, event: Event, view: View, error: Failure) -> None:
        """What follows from its spec alone fails as that says, or not at all."""
        expected = view.expected
        if error.code == DEFECT or view.status == "expanded":
            return
        if expected is not None and expected[0] != "asks" and expected[:2] != ("fails", error.code):
            self._say(event, f"{error.code}, expected was {expected}")
        if expected is None and error.code in {"expression", "condition", "items", "wait"}:
            self._say(event, f"{error.code}, and its fields have values")
        if error.code == "input_expired":
            expires_at = view.due.expires_at if isinstance(view.due, InputRequired) else None
            if expires_at is None or event.at < expires_at - MILLISECOND:
                self._say(event, f"expires before {expires_at}")

    def _check_item_failure(self, event: Event, node: Node, view: View, error: Failure) -> None:
        if view.is_timed_out:
            if error.code != "limit:wall":
                self._say(event, f"{error.code}, and its time was over")
            return
        first = next((scope for scope in view.closed if scope.failure is not None), None)
        if _keeps_going(node) or first is None or first.failure is None:
            self._say(event, f"{error.code}, and no item of it has failed")
        elif error.code != first.failure.code or (first.index is not None and error.details["item"] != first.index):
            self._say(event, f"{error}, its first item to fail was {first.index}: {first.failure}")

    def _end_node(self, scope: Scope, node: Node, view: View, status: str, name: str | None = None) -> None:
        view.status = status
        self._placed.discard(name or "")
        scope.left -= 1
        if scope.left == 0 and scope.around is not None:
            owner = scope.around.views[scope.owner]
            owner.closed.append(scope)
            owner.has_failed_body |= scope.failure is not None and not _keeps_going(scope.around.nodes[scope.owner])

    # What its spec makes of what is there.

    def _expect(self, event: Event, scope: Scope, node: Node) -> tuple[str, Any, str | None] | None:
        try:
            if isinstance(node.spec, StepSpec | HttpSpec | LlmSpec):
                self.given[event.node or "", event.attempt or 1] = read_by(node.spec, self._names(scope))
            return begin(node, self._names(scope))
        except NoValueError:
            return "fails", "expression", None

    def _names(self, scope: Scope) -> dict[str, Any]:
        return names_in(scope, self._root, self._secret)

    # The whole.

    def _check_progress(self, data: Progress) -> None:
        """Skipped nodes count nowhere; of a `map` that runs its items count, each to the millionth of a node."""
        views = self._root.views
        skipped = sum(view.status == "skipped" for view in views.values())
        total = len(views) - skipped
        done = total - self._root.left
        shares = done * 10**6 + sum(self._item_shares(name) for name in views)
        percent = max(self._percent, 100 * shares // (total * 10**6))
        percent = data.percent if self._is_weighed else percent
        if (data.done, data.total, data.percent) != (done, total, percent):
            self.wrong.append(f"progress {data}, and {done} of {total} are over, {shares} shares")
        if data.percent < self._percent + (not self._is_weighed):
            self.wrong.append(f"progress {data.percent} after {self._percent}")
        self._percent = data.percent

    def _item_shares(self, name: str) -> int:
        view = self._root.views[name]
        if view.status != "expanded" or view.expected is None or not isinstance(self._root.nodes[name].spec, MapSpec):
            return 0
        over = [scope for scope in view.closed if scope.failure is not None or not is_cut(scope)]
        return len(over) * (10**6 // max(1, len(view.expected[1])))

    def _check_end(self, data: ExecutionEnded) -> None:
        for scope in self._scopes.values():
            for name, view in scope.views.items():
                if view.status not in OVER:
                    self.wrong.append(f"at the end {scope.name}/{name} is {view.status}")
        self.wrong.extend(self._started_in_pause.values())
        expected = self._verdict()
        if data.status is not expected:
            self.wrong.append(f"ended {data.status}, and should be {expected}")
        failure = self._root.failure
        timed_out_whole = self._stop is StopMode.TIMEOUT and data.error is not None and data.error.code == "limit:wall"
        has_failed = data.status in {Status.FAILED, Status.TIMEOUT} and not timed_out_whole
        if has_failed and (failure is None or data.error != failure):
            self.wrong.append(f"ended with {data.error}, its first failure was {failure}")
        if data.status is Status.COMPLETED and len(self._root.nodes) > 1 and self._percent != 100:
            self.wrong.append(f"completed at {self._percent} percent")
        self._count_stops()

    def _count_stops(self) -> None:
        views = self._root.views.values()
        done = [view for view in views if view.status == "completed"]
        undone = [view for view in views if view.error is not None and view.error.code == "not_run"]
        is_cut = any(
            view.error is not None and view.error.code == CUT_SHORT and len(view.closed) > 50 for view in views
        )
        if self._stop is not None and (is_cut or (len(done) > 50 and len(undone) > 50)):
            self.census[f"graph: stopped among many nodes by {self._stop}"] += 1

    def _verdict(self) -> Status:
        failure = self._root.failure
        if self._stop is StopMode.CANCEL:
            return Status.CANCELLED
        if self._stop is StopMode.TIMEOUT:
            return Status.TIMEOUT
        if failure is not None:
            return Status.TIMEOUT if failure.code == "limit:wall" else Status.FAILED
        return Status.INTERRUPTED if self._stop is not None and is_cut(self._root) else Status.COMPLETED


def _keeps_going(node: Node) -> bool:
    return isinstance(node.spec, MapSpec) and node.spec.on_item_error == "continue"


_READERS: dict[type, Callable[[Replay, Event, Scope, Node, View], None]] = {
    NodeStarted: Replay._started,
    NodeSkipped: Replay._skipped,
    NodeWaiting: Replay._waiting,
    InputRequired: Replay._asking,
    InputReceived: Replay._answered,
    NodeExpanded: Replay._expanded,
    NodeTimedOut: Replay._timed_out,
    Output: Replay._wrote,
    OutputTruncated: Replay._wrote,
    NodeRetrying: Replay._retrying,
    NodeCompleted: Replay._completed,
    NodeFailed: Replay._failed,
}


def check_graph(
    record: ExecutionRecord, graph: Graph, events: Sequence[Event], evidence: Evidence, *, is_given_up: bool
) -> Iterator[str]:
    """Judge one journal.

    Args:
        is_given_up: whether it was ended from its record alone: then its nodes have no ends.
    """
    replay = Replay(graph, record.workspace, is_weighed=record.definition is not None)
    for event in events:
        if not (is_given_up and isinstance(event.data, ExecutionEnded)):
            replay.read(event)
    evidence.census.update(replay.census)
    yield from replay.wrong
    yield from _check_given(record, replay, evidence)


def _check_given(record: ExecutionRecord, replay: Replay, evidence: Evidence) -> Iterator[str]:
    """Programs and calls were given what their specs make of what was there, secrets as they are."""
    for attempt in evidence.attempts:
        given = replay.given.get((attempt.node, attempt.number))
        if attempt.execution_id == record.id and attempt.is_started and given is not None:
            evidence.census["graph: program with a secret"] += bool(given["env"])
            if attempt.env != given["env"]:
                yield f"{attempt.node}.{attempt.number} was given {attempt.env}, it should be {given['env']}"
    keys: dict[str, set[str | None]] = {}
    for (node, _), given in replay.given.items():
        keys.setdefault(path_of(record.name, node), set()).add(given.get("key"))
    for call in evidence.calls:
        if call.path.partition("/")[0] == record.name:
            evidence.census["graph: call with a secret"] += call.key is not None
            if call.key not in keys.get(call.path, ()):
                yield f"{call.path} was sent the key {call.key}, it should be one of {keys.get(call.path)}"
