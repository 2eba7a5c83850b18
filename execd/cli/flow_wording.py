"""What happens to the steps of a flow, in words: a card of a few lines for each, for terminals and logs alike. Pure but for
the row that was named last.

Nothing a server said can command the terminal, and no value of a check that held is shown: it may be a token.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from execd.cli.node_wording import (
    Line,
    describe_active,
    describe_execution,
    describe_question,
    left,
    reason_of,
)
from execd.cli.wording import MARKS, describe_usage, format_seconds
from execd.core.event_parts import Failure
from execd.core.events import (
    NOT_RUN,
    Event,
    InputReceived,
    InputRequired,
    NodeCompleted,
    NodeExpanded,
    NodeFailed,
    NodeId,
    NodeRetrying,
    NodeSkipped,
    ResultStored,
    Status,
)
from execd.core.flows.hiding import hide_named, looks_secret
from execd.core.flows.step_words import (
    SHOWN_BODY_CHARS,
    SHOWN_URL_CHARS,
    checks_of,
    has_failed,
    is_step,
    messages_of,
    plain,
    record_of,
    request_line,
    response_line,
    table,
    was_cut_short,
)
from execd.core.flows.titles import StepTitle
from execd.core.masking import BLOT
from execd.core.node_book import NodeBook, NodeEntry
from execd.core.printing import printable, shorten, shown_value

_ROW = re.compile(r"rows\[(\d+)\]/")


class FlowWords:
    """Says what happens to one flow's steps. Implements `Words` of workflow_view.

    Args:
        titles: how the steps are called, by their node; those of a flow nobody has read are called by their ids.
    """

    tells_progress = False
    """The cards are the progress; a line in a log after each would say nothing more."""

    def __init__(self, execution_id: str, titles: Mapping[NodeId, StepTitle]) -> None:
        self._id = execution_id
        self._titles = titles
        self._rows: Sequence[Any] = ()
        self._row: int | None = None

    def of(self, event: Event, book: NodeBook) -> list[Line]:
        """Say what happened; nothing for what needs no words. The book has heard the event already."""
        if event.node is None:
            return self._of_end(event.data, book) if isinstance(event.data, ResultStored) else describe_execution(event)
        if isinstance(event.data, NodeExpanded):
            self._rows = event.data.items
        lines = self._of_node(event, book.entries[event.node])
        return [*self._row_line(event.node), *lines] if lines else []

    def of_active(self, entry: NodeEntry, book: NodeBook, now: datetime) -> Line | None:
        """Say what a step does at this moment; None for what holds steps."""
        if entry.type == "flow_rows":
            return None
        if entry.status in {"asking", "retrying"}:
            line = describe_active(entry, book, now)
            step = entry.id.removesuffix(".prompts")
            return Line(line.text.replace(entry.id, self._title(step), 1), line.colour)
        ran_s = max(0.0, (now - entry.started_at).total_seconds()) if entry.started_at else 0.0
        attempt = f"  attempt {entry.attempt}" if entry.attempt > 1 else ""
        return Line(f"▸ {self._title(entry.id)}  {self._request(entry.id)}  {format_seconds(ran_s)}{attempt}", "blue")

    def _of_node(self, event: Event, entry: NodeEntry) -> list[Line]:
        match event.data:
            case InputRequired() as asked:
                name = self._title(entry.id.removesuffix(".prompts"))
                return describe_question(asked, name=name, at=event.at, execution_id=self._id)
            case InputReceived(values=values, by=by):
                return [Line(f"! answered by {printable(by)}: {_answers(values)}", is_dim=True)]
            case NodeRetrying(error=error, retry_at=retry_at):
                text = f"attempt {entry.attempt} failed: {reason_of(error)}; again in {left(retry_at, event.at)}"
                return [Line(f"↻ {self._title(entry.id)}  {text}", "yellow")]
            case NodeFailed(error=error) if not is_step(entry) and error.code != "flow:rows":
                return [Line(f"✘ {self._title(entry.id.removesuffix('.prompts'))}  {reason_of(error)}", "red")]
        return self._of_step(event, entry) if is_step(entry) else []

    def _of_step(self, event: Event, entry: NodeEntry) -> list[Line]:
        title = self._title(entry.id)
        match event.data:
            case NodeCompleted(pinned=True):
                return [Line(f"= {title}  kept from the execution before", is_dim=True)]
            case NodeCompleted(output=output, duration_ms=duration_ms):
                return _card(f"✔ {title}", table(output), duration_ms, colour="green")
            case NodeFailed(error=error, duration_ms=duration_ms) if was_cut_short(error):
                return [Line(f"■ {title}  {self._request(entry.id)}  {_took(duration_ms)}  cut short", "yellow")]
            case NodeFailed(error=error, duration_ms=duration_ms):
                return [*_card(f"✘ {title}", record_of(error), duration_ms, colour="red"), *_why(error)]
            case NodeSkipped(reason=reason) if reason == NOT_RUN:
                return [Line(f"- {title}  {self._request(entry.id)}  not run", is_dim=True)]
            case NodeSkipped(reason=reason):
                return [
                    Line(f"⊘ {title}  {self._request(entry.id)}  skipped: {printable(shorten(reason, 500))}", "cyan")
                ]
        return []

    def _of_end(self, result: ResultStored, book: NodeBook) -> list[Line]:
        colour, mark = MARKS[result.status]
        parts = [f"{mark} {_END_WORDS.get(result.status, result.status)}"]
        failed = [entry for entry in book.entries.values() if is_step(entry) and has_failed(entry)]
        if result.error is not None and result.status in {Status.FAILED, Status.TIMEOUT} and not failed:
            parts.append(reason_of(result.error))
        lines = [Line("  ".join([*parts, *describe_usage(result.usage)]), colour)]
        if result.status is not Status.COMPLETED and len(failed) == 1 and "/" not in failed[0].id:
            again = f"execd retry {self._id} --from {failed[0].id}"
            lines.append(Line(f"  again from there: {printable(again)}", is_dim=True))
        return [*lines, Line(f"Summary: {summary_of(book)}")]

    def _row_line(self, node: str) -> list[Line]:
        found = _ROW.match(node)
        if found is None or int(found[1]) == self._row:
            return []
        self._row = int(found[1])
        values = self._rows[self._row] if self._row < len(self._rows) else {}
        shown = ", ".join(f"{key}={plain(value)}" for key, value in hide_named(table(values)).items())
        return [Line(f"row {self._row + 1} of {len(self._rows)}  {printable(shorten(shown, 120))}")]

    def _title(self, node: str) -> str:
        inner = NodeId(node.rpartition("/")[2])
        return printable(self._titles[inner].name if inner in self._titles else inner)

    def _request(self, node: str) -> str:
        """Give what is requested as far as it is written."""
        title = self._titles.get(NodeId(node.rpartition("/")[2]))
        return "" if title is None else printable(shorten(title.request, SHOWN_URL_CHARS))


def summary_of(book: NodeBook) -> str:
    """Count the steps: `2 executed, 1 skipped, 1 failed`."""
    steps = [entry for entry in book.entries.values() if is_step(entry)]
    counts = {status: sum(entry.status == status for entry in steps) for status in ("completed", "skipped", "not_run")}
    failed = sum(map(has_failed, steps))
    cut_short = sum(entry.status == "failed" for entry in steps) - failed
    parts = [f"{counts['completed']} executed", f"{counts['skipped']} skipped"]
    rest = {"failed": failed, "cut short": cut_short, "not run": counts["not_run"]}
    return ", ".join(parts + [f"{count} {word}" for word, count in rest.items() if count])


_END_WORDS = {Status.COMPLETED: "passed"}


def _card(head: str, record: Mapping[str, Any], duration_ms: int, *, colour: str) -> list[Line]:
    parts = [head, request_line(record), response_line(record), _took(duration_ms)]
    lines = [Line("  ".join(part for part in parts if part.strip()), colour)]
    held = checks_of(record, passed=True)
    # The status stands above; alone it says nothing more.
    if len(held) > 1 or (held and not held[0].startswith("status ")):
        lines.append(Line(f"    ✔ {printable(shorten(' · '.join(held), 300))}", is_dim=True))
    unknown = record.get("unknown")
    if isinstance(unknown, list) and unknown:
        names = ", ".join(map(plain, unknown))
        lines.append(Line(f"    ! sent as it is written: {printable(shorten(names, 300))}", "yellow"))
    return lines


def _why(error: Failure) -> list[Line]:
    lines = [Line(f"    ✘ {message}", "red") for message in messages_of(error)]
    response = table(record_of(error).get("response"))
    body = response.get("body")
    if body not in (None, ""):
        text = (
            printable(shorten(body, SHOWN_BODY_CHARS)) if isinstance(body, str) else shown_value(body, SHOWN_BODY_CHARS)
        )
        lines.append(Line(f"    answered: {text}", is_dim=True))
    return lines


def _answers(values: Mapping[str, Any]) -> str:
    """What looks secret by its name is not repeated on a screen or in a log."""
    shown = {key: BLOT if looks_secret(key) else plain(value) for key, value in values.items()}
    return printable(shorten(", ".join(f"{key}={value}" for key, value in shown.items()), 300))


def _took(duration_ms: int) -> str:
    return format_seconds(duration_ms / 1000)
