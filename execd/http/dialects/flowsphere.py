"""The FlowSphere dialect: the journal of a flow as the frames its page and clients read. Pure.

    event: step
    data: {"step":1,…}
    id: 7

One line of JSON, line feeds only, the name never repeated in the data. `id:` is the seq of the last event that is told with
the frame; it comes last, for readers that look at the first two lines only. Each step is told once, when it is over, however often
it was tried; what has no word there (retries, progress, pauses) is left out.

A `Teller` makes the frames of one journal, for one viewer, and keeps the log that its last frame repeats: the texts of the
steps, not made again. Steps that would make that log too large are in it without headers and bodies, or are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from execd.core.event_parts import Failure, Prompt
from execd.core.event_types import RESULT_STORED
from execd.core.events import NOT_RUN, ExecutionId, NodeId, Status
from execd.core.flows.compiling import step_ids
from execd.core.flows.configs import rows_of, table_of
from execd.core.flows.data_rows import read_rows
from execd.core.flows.specs import FlowSpec
from execd.core.joining import CUT_SHORT
from execd.http.dialects.flowsphere_steps import (
    StepHead,
    StepRecord,
    completed_step,
    failed_step,
    lean_step,
    skipped_step,
    write_json,
)
from execd.ports import StreamedEvent

CONTENT_TYPE = "text/event-stream"
HEADERS = {"Cache-Control": "no-cache", "Connection": "keep-alive", "X-Accel-Buffering": "no"}
HEARTBEAT = b": hb\n\n"
MAX_LOG_BYTES = 3 * 1024 * 1024
"""Of the steps that the last frame repeats whole. Its reader sends them back twice over to save them, and 10 MiB are taken."""
MAX_LEAN_BYTES = 1024 * 1024
"""Of those that come after them, without headers and bodies; of the rest it says how many there are."""
PROMPTS = ".prompts"
_ENDS = {Status.CANCELLED, Status.INTERRUPTED}


class Frame(msgspec.Struct, frozen=True):
    """One frame."""

    name: str
    data: bytes
    """JSON."""
    seq: int
    """Of the event it tells."""
    is_last: bool = True
    """Whether nothing more of that event is told: only then a reader may resume after it."""

    @property
    def block(self) -> bytes:
        identity = b"id: %d\n" % self.seq if self.is_last else b""
        return b"event: %b\ndata: %b\n%b\n" % (self.name.encode(), self.data, identity)


class Drawing:
    """The steps of a flow by their nodes. Immutable, but for what it has looked up."""

    def __init__(self, spec: FlowSpec) -> None:
        config = spec.config
        self._config = config
        self._nodes = [*rows_of(config.get("nodes")), *rows_of(config.get("finally"))]
        self._ids = step_ids(config)
        self._places = {name: index for index, name in enumerate(self._ids)}
        self._row_count = len(read_rows(config.get("data")) or ())

    @property
    def total_steps(self) -> int:
        """How many steps there are; with rows of data, each row's are counted."""
        return len(self._nodes) * (self._row_count or 1)

    def find(self, node: NodeId | None) -> StepHead | None:
        """Give the step a node is, or asks people for; None for one that is neither."""
        row, _, name = (node or "").rpartition("/")
        place = self._places.get(NodeId(name.removesuffix(PROMPTS)))
        return None if place is None else self._head(place, _row_of(row))

    def survives(self, head: StepHead) -> bool:
        """Whether the flow goes on after this step has failed."""
        return table_of(self._nodes[(head.number - 1) % len(self._nodes)]).get("continueOnError") is True

    def prompt_of(self, index: int) -> str | None:
        """Name what the step at this place asks, as the machine names it; None where there is no such step."""
        if not 0 <= index < self.total_steps:
            return None
        row, place = divmod(index, len(self._nodes))
        scope = f"rows[{row}]/" if self._row_count else ""
        return f"{scope}{self._ids[place]}{PROMPTS}.1"

    def _head(self, place: int, row: int) -> StepHead:
        return StepHead(row * len(self._nodes) + place + 1, table_of(self._nodes[place]), self._config)


def _row_of(scope: str) -> int:
    number = scope.partition("[")[2].rstrip("]")
    return int(number) if number else 0


class _Completed(msgspec.Struct):
    output: StepRecord


class _Details(msgspec.Struct, frozen=True):
    step: StepRecord | None = None


class _Error(msgspec.Struct):
    code: str
    message: str
    details: _Details = _Details()


class _Failed(msgspec.Struct):
    duration_ms: int
    error: _Error


class _Skipped(msgspec.Struct):
    reason: str


class _Started(msgspec.Struct):
    type: str


class _Asked(msgspec.Struct):
    prompts: tuple[Prompt, ...] = ()
    expires_at: str | None = None


class _End(msgspec.Struct):
    """What of a stored result is told. The rest, which may be megabytes, is passed over unread."""

    status: Status
    error: Failure | None = None


class _Envelope(msgspec.Struct):
    data: msgspec.Raw
    node: NodeId | None = None
    attempt: int | None = None


_envelope = msgspec.json.Decoder(_Envelope)
Shape = Callable[[Mapping[str, Any]], Mapping[str, Any]]


class Teller:
    """Makes the frames of one journal, event by event. Owns: the log and the counts so far."""

    def __init__(
        self,
        execution_id: ExecutionId,
        drawing: Drawing,
        *,
        has_log: bool = True,
        shape: Shape = dict,
    ) -> None:
        """Args:
        has_log: whether the last frame repeats the steps.
        shape: gives a step as it stands in the log, where that is not as in its frame.
        """
        self._id = execution_id
        self._drawing = drawing
        self._has_log = has_log
        self._shape = shape
        self._log: list[bytes] = []
        self._left, self._left_lean = MAX_LOG_BYTES, MAX_LEAN_BYTES
        self._left_out = 0
        self._counts = {"completed": 0, "skipped": 0, "failed": 0}
        self._last_step = 0
        self._failed_step: int | None = None
        self._has_started = False
        self._tellers: dict[str, Callable[[int, _Envelope], list[Frame]]] = {
            "execution_started": self._begin,
            "node_started": self._step_start,
            "input_required": self._ask,
            "node_completed": self._complete,
            "node_failed": self._fail,
            "node_skipped": self._skip,
            RESULT_STORED: self._end,
        }

    def tell(self, event: StreamedEvent) -> list[Frame]:
        """Give the frames of an event; most have none."""
        tell = self._tellers.get(event.type)
        return [] if tell is None else tell(event.seq, _envelope.decode(event.body))

    def start(self, seq: int) -> list[Frame]:
        """Give the first frame, the first time it is asked for."""
        if self._has_started:
            return []
        self._has_started = True
        data = {"totalSteps": self._drawing.total_steps, "executionId": self._id}
        return [Frame("start", write_json(data), seq)]

    def broken_off(self, reason: str, seq: int) -> list[Frame]:
        """Give the last frames of a stream that ends before its run: `data` says under which id that can be found."""
        text = f"The stream ends here ({reason}); the run is {self._id}."
        end = {"success": False, "error": text, "executionId": self._id}
        error = {"message": text, "executionId": self._id}
        return [
            Frame("error", write_json(error), seq, is_last=False),
            Frame("end", write_json(end), seq, is_last=False),
        ]

    def _begin(self, seq: int, event: _Envelope) -> list[Frame]:
        return self.start(seq)

    def _step_start(self, seq: int, event: _Envelope) -> list[Frame]:
        """A further attempt of the same step is no news to a reader that counts."""
        head = self._drawing.find(event.node)
        is_step = msgspec.json.decode(event.data, type=_Started).type == "flow_step"
        if head is None or not is_step or event.attempt != 1:
            return []
        return [Frame("step_start", write_json(head.line()), seq)]

    def _ask(self, seq: int, event: _Envelope) -> list[Frame]:
        head = self._drawing.find(event.node)
        if head is None:
            return []
        asked = msgspec.json.decode(event.data, type=_Asked)
        data: dict[str, Any] = {"executionId": self._id, "stepIndex": head.number - 1, "step": head.number}
        data |= {"name": head.title, "prompts": {prompt.key: prompt.label for prompt in asked.prompts}}
        secret = [prompt.key for prompt in asked.prompts if prompt.secret]
        data |= {"secretPrompts": secret} if secret else {}
        data |= {"expiresAt": asked.expires_at} if asked.expires_at else {}
        return [Frame("input_required", write_json(data), seq)]

    def _complete(self, seq: int, event: _Envelope) -> list[Frame]:
        head = self._drawing.find(event.node)
        if head is None or _is_asking(event.node):
            return []
        record = msgspec.json.decode(event.data, type=_Completed).output
        return self._step(seq, completed_step(head, record))

    def _skip(self, seq: int, event: _Envelope) -> list[Frame]:
        head = self._drawing.find(event.node)
        reason = msgspec.json.decode(event.data, type=_Skipped).reason
        if head is None or _is_asking(event.node) or reason == NOT_RUN:
            return []
        return self._step(seq, skipped_step(head, reason))

    def _fail(self, seq: int, event: _Envelope) -> list[Frame]:
        """A question that nobody answered fails its step; one that was taken back with the rest has no step to tell of."""
        head = self._drawing.find(event.node)
        if head is None:
            return []
        found = msgspec.json.decode(event.data, type=_Failed)
        if _is_asking(event.node) and found.error.code == CUT_SHORT:
            return []
        if self._failed_step is None and not self._drawing.survives(head):
            self._failed_step = head.number
        seconds = found.duration_ms / 1000
        record = found.error.details.step
        return self._step(seq, failed_step(head, record, found.error.message, duration_s=seconds))

    def _step(self, seq: int, step: dict[str, Any]) -> list[Frame]:
        self._counts[step["status"]] += 1
        self._last_step = step["step"]
        data = write_json(step)
        if self._has_log:
            self._keep(step, data)
        return [*self.start(seq), Frame("step", data, seq)]

    def _keep(self, step: dict[str, Any], data: bytes) -> None:
        kept = data if self._shape is dict else write_json(self._shape(step))
        if len(kept) <= self._left:
            self._left -= len(kept)
            self._log.append(kept)
            return
        lean = write_json(self._shape(lean_step(step)))
        self._left = 0
        self._left_lean -= len(lean)
        if self._left_lean >= 0:
            self._log.append(lean)
        else:
            self._left_lean = 0
            self._left_out += 1

    def _end(self, seq: int, event: _Envelope) -> list[Frame]:
        end = msgspec.json.decode(event.data, type=_End)
        frames = self.start(seq)
        if end.status in _ENDS:
            places = {"lastCompletedStep": self._last_step, "totalSteps": self._drawing.total_steps}
            return [*frames, Frame("interrupted", self._with_log(places), seq)]
        is_success = end.status is Status.COMPLETED
        if not is_success:
            step = {} if self._failed_step is None else {"step": self._failed_step}
            message = "It failed." if end.error is None else end.error.message
            frames.append(Frame("error", write_json({"message": message, **step}), seq, is_last=False))
        return [*frames, Frame("end", self._with_log(self._verdict(is_success=is_success)), seq)]

    def _verdict(self, *, is_success: bool) -> dict[str, Any]:
        counts = self._counts
        return {
            "success": is_success,
            "stepsExecuted": counts["completed"],
            "stepsSkipped": counts["skipped"],
            "stepsFailed": counts["failed"],
        }

    def _with_log(self, data: Mapping[str, Any]) -> bytes:
        """The steps are put in as they were told."""
        if not self._has_log:
            return write_json(data)
        more = b',"stepsLeftOut":%d' % self._left_out if self._left_out else b""
        return b'%b,"executionLog":[%b]%b}' % (write_json(data)[:-1], b",".join(self._log), more)


def _is_asking(node: NodeId | None) -> bool:
    return node is not None and node.endswith(PROMPTS)
