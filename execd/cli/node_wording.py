"""What happens to the nodes of a workflow, in words: one line each, for terminals and logs alike. Pure.

Nothing a workflow or its programs wrote can command the terminal: control characters are left out or replaced.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from execd.cli.reading import UNSEEN
from execd.cli.time_left import describe_time_left
from execd.cli.wording import MARKS, describe_usage, format_moment, format_seconds
from execd.core.event_parts import Failure, Prompt
from execd.core.events import (
    NOT_RUN,
    Event,
    ExecutionPaused,
    ExecutionQueued,
    ExecutionResumed,
    InputReceived,
    InputRequired,
    NodeCompleted,
    NodeExpanded,
    NodeFailed,
    NodeRetrying,
    NodeSkipped,
    NodeStarted,
    NodeTimedOut,
    NodeWaiting,
    NodeWarned,
    PodCreated,
    ResultStored,
    Status,
    StopMode,
    StopRequested,
)
from execd.core.node_book import NodeBook, NodeEntry
from execd.core.printing import printable, shorten, shown_value

SHOWN_ERROR_CHARS = 500
AT_ONCE = frozenset({"set", "if", "switch", "wait", "input", "map"})
"""Types that need no line for their beginning: their end or their wait follows at once."""
_SKIP_WORDS = {"branch_not_taken": "its branch was not taken", "skipped_by_engine": "not run", NOT_RUN: "not run"}


@dataclass(frozen=True, slots=True)
class Line:
    """One line and how it looks where there are colours."""

    text: str
    colour: str | None = None
    is_dim: bool = False


class NodeWords:
    """The words of workflows. Implements `Words` of workflow_view."""

    tells_progress = True

    def __init__(self, execution_id: str) -> None:
        self._id = execution_id

    def of(self, event: Event, book: NodeBook) -> list[Line]:
        """See `describe_node_event`."""
        return describe_node_event(event, book, execution_id=self._id)

    def of_active(self, entry: NodeEntry, book: NodeBook, now: datetime) -> Line:
        """See `describe_active`."""
        return describe_active(entry, book, now)


def describe_node_event(event: Event, book: NodeBook, *, execution_id: str) -> list[Line]:
    """Say what happened; nothing for what needs no words. The book has heard the event already."""
    if event.node is None:
        return describe_execution(event)
    entry = book.entries[event.node]
    name = "  " * entry.depth + entry.id
    if isinstance(event.data, InputRequired):
        return describe_question(event.data, name=name, at=event.at, execution_id=execution_id)
    line = _describe_end_of_node(event, name) or _describe_node(event, entry, name)
    return [] if line is None else [line]


def _describe_node(event: Event, entry: NodeEntry, name: str) -> Line | None:
    """Say what a node begins to do, or waits for."""
    match event.data:
        case NodeStarted(label=label, type=kind) if kind not in AT_ONCE:
            attempt = f"  attempt {entry.attempt}" if entry.attempt > 1 else ""
            said = f"  {printable(label)}" if label != entry.id.rpartition("/")[2] else ""
            return Line(f"▸ {name}{said}{attempt}", is_dim=True)
        case NodeExpanded(items=items, concurrency=concurrency, is_map=True):
            return Line(f"▸ {name}  {_count(len(items), 'item')}, {concurrency} at a time", is_dim=True)
        case NodeTimedOut(timeout_s=timeout_s):
            return Line(f"■ {name}  its {timeout_s:g} s are over; what runs of it is stopped", "yellow")
        case NodeRetrying(error=error, retry_at=retry_at):
            again = _in(retry_at, event.at)
            return Line(f"↻ {name}  attempt {entry.attempt} failed: {reason_of(error)}; again {again}", "yellow")
        case NodeWaiting(until=until):
            return Line(f"◷ {name}  waits, goes on {_in(until, event.at)}, at {format_moment(until)}", "yellow")
        case NodeWarned(messages=messages):
            return Line(f"! {name}  {printable('; '.join(messages))}", "yellow")
        case InputReceived(by=by, values=values):
            answers = ", ".join(f"{key}={shorten(value)}" for key, value in values.items())
            return Line(f"! {name}  answered by {printable(by)}: {printable(answers)}", is_dim=True)
        case PodCreated(isolation="none"):
            return Line(f"▸ {name}  without a sandbox", "red")
    return None


def _describe_end_of_node(event: Event, name: str) -> Line | None:
    match event.data:
        case NodeCompleted(pinned=True):
            return Line(f"= {name}  kept from the execution before", is_dim=True)
        case NodeCompleted(output=output, port=port, duration_ms=duration_ms):
            taken = f"  -> {port}" if port else ""
            shown = "" if port else _shown_output(output)
            return Line(f"✔ {name}  {format_seconds(duration_ms / 1000)}{taken}{shown}", "green")
        case NodeFailed(error=Failure(code="cut_short"), duration_ms=duration_ms):
            return Line(f"■ {name}  {format_seconds(duration_ms / 1000)}  cut short", "yellow")
        case NodeFailed(error=error, duration_ms=duration_ms):
            return Line(f"✘ {name}  {format_seconds(duration_ms / 1000)}  {reason_of(error)}", "red")
        case NodeSkipped(reason=reason):
            words = _SKIP_WORDS.get(reason, printable(shorten(reason, SHOWN_ERROR_CHARS)))
            return Line(f"- {name}  {words}", is_dim=True)
    return None


def describe_execution(event: Event) -> list[Line]:
    """Say what happened to the whole; nothing for what needs no words."""
    match event.data:
        case ExecutionQueued(position=position) if position:
            return [Line(f"◌ queued, position {position}", is_dim=True)]
        case ExecutionPaused(by=by):
            return [Line(f"‖ paused by {printable(by)}", "yellow")]
        case ExecutionResumed(by=by):
            return [Line(f"▸ resumed by {printable(by)}", is_dim=True)]
        case StopRequested(mode=StopMode.TIMEOUT):
            return [Line("■ its time is over", "yellow")]
        case StopRequested(by=by, mode=mode):
            return [Line(f"■ {mode} asked for by {printable(by)}", "yellow")]
        case ResultStored() as result:
            return [describe_end(result)]
    return []


def describe_question(asked: InputRequired, *, name: str, at: datetime, execution_id: str) -> list[Line]:
    """Say what is asked, until when, and the command that answers."""
    until = f"  (expires {_in(asked.expires_at, at)})" if asked.expires_at is not None else ""
    questions = [Line(f"? {name}  {question_of(prompt)}{until}", "cyan") for prompt in asked.prompts]
    return [*questions, Line(f"  answer with: {how_to_answer(asked, execution_id=execution_id)}", is_dim=True)]


def question_of(prompt: Prompt) -> str:
    """Give a prompt with its choices and default: `Deploy? [yes|no] (no)`."""
    choices = f" [{'|'.join(prompt.choices)}]" if prompt.choices else ""
    default = f" ({prompt.default})" if prompt.default is not None else ""
    return printable(f"{prompt.label}{choices}{default}")


def how_to_answer(asked: InputRequired, *, execution_id: str) -> str:
    """Give the command that answers, ready to be changed and pasted."""
    values = [
        f"{p.key}={UNSEEN}" if p.secret else f"{p.key}={p.default or (p.choices[0] if p.choices else '...')}"
        for p in asked.prompts
    ]
    return printable(shlex.join(["execd", "answer", execution_id, "--prompt", asked.prompt_id, *values]))


def describe_end(result: ResultStored) -> Line:
    """Say how the whole ended and what it cost."""
    colour, mark = MARKS[result.status]
    parts = [f"{mark} {result.status}"]
    if result.error is not None and result.status not in {Status.CANCELLED, Status.INTERRUPTED}:
        same = [node.id for node in result.nodes if node.error == result.error]
        # Of several that failed alike it cannot be told here which of them was allowed to.
        culprit = f"{same[0]}: " if len(same) == 1 else ""
        parts.append(f"{culprit}{reason_of(result.error)}")
    return Line("  ".join([*parts, *describe_usage(result.usage)]), colour)


def describe_active(entry: NodeEntry, book: NodeBook, now: datetime) -> Line:
    """Say what a node does at this moment, with the time that has passed or is left."""
    name = "  " * entry.depth + entry.id
    match entry.status:
        case "waiting" if entry.until is not None:
            return Line(f"◷ {name}  {left(entry.until, now)} left", "yellow")
        case "asking":
            rest = f", {left(entry.until, now)} left" if entry.until is not None else ""
            return Line(f"? {name}  waits for an answer{rest}", "cyan")
        case "retrying" if entry.until is not None:
            return Line(f"↻ {name}  attempt {entry.attempt + 1} in {left(entry.until, now)}", "yellow")
    ran_s = max(0.0, (now - entry.started_at).total_seconds()) if entry.started_at else 0.0
    items = f"  {book.items_done(entry.id)} of {entry.items} items" if entry.items > 1 else ""
    attempt = f"  attempt {entry.attempt}" if entry.attempt > 1 else ""
    return Line(f"▸ {name}  {format_seconds(ran_s)}{items}{attempt}", "blue")


def describe_progress(book: NodeBook, now: datetime) -> Line | None:
    """Say how much of the outer graph is done, and how long the rest may take; None where there is nothing to tell yet."""
    told, told_at = book.progress, book.progress_at
    if told is None or told_at is None:
        return None
    passed_s = 0.0 if book.waits_for_people else max(0.0, (now - told_at).total_seconds())
    time_left = describe_time_left(told, passed_s)
    parts = [f"… {told.done} of {told.total} nodes", f"{told.percent} %", *([time_left] if time_left else [])]
    return Line(", ".join(parts), is_dim=True)


def reason_of(error: Failure) -> str:
    """Give a failure's words, and its code where the words do not have it."""
    return printable(shorten(error.message, SHOWN_ERROR_CHARS)) + f" ({printable(error.code)})"


def _shown_output(output: Any) -> str:
    """A script's text has been shown already; what is left to say of it is the value it gave."""
    value = output.get("result") if is_of_script(output) else output
    return "" if value is None else f"  {shown_value(value)}"


def is_of_script(output: Any) -> bool:
    """Whether a node's output is what a script gives: its text beside the value."""
    return isinstance(output, dict) and output.keys() == {"result", "stdout", "exit_code"}


def left(until: datetime, now: datetime) -> str:
    """Give the time until a moment; none once it has passed."""
    return format_seconds(max(0.0, (until - now).total_seconds()))


def _in(moment: datetime, now: datetime) -> str:
    return f"in {left(moment, now)}" if moment > now else "now"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
