"""Events in words, for the person at the terminal. Pure: text in rich's markup comes out, nothing is printed."""

from __future__ import annotations

from datetime import datetime

from execd.core.event_parts import Usage
from execd.core.events import (
    Event,
    ExecutionPaused,
    ExecutionQueued,
    ExecutionResumed,
    ExecutionStarted,
    NodeRetrying,
    OutputTruncated,
    PodCreated,
    ResultStored,
    Status,
    StopRequested,
)

MARKS = {
    Status.COMPLETED: ("green", "✔"),
    Status.FAILED: ("red", "✘"),
    Status.TIMEOUT: ("red", "⏱"),
    Status.CANCELLED: ("yellow", "■"),
    Status.INTERRUPTED: ("yellow", "■"),
}
"""The colour and sign of each final status."""

ISOLATION_WORDS = {
    "bubblewrap": "isolated by bubblewrap",
    "none": "[bold red]without a sandbox[/]",
    "pod": "in a pod",
}
"""What a person should know about the walls around a run."""

BYTE_UNITS = ("B", "KiB", "MiB", "GiB")


def describe_event(event: Event) -> str | None:
    """Say what happened on one line; None for what a person need not be told."""
    match event.data:
        case ExecutionQueued(position=position) if position:
            return f"[dim]◌ queued, position {position}[/]"
        case ExecutionStarted(started_from=started_from):
            return f"[dim]▸ started {started_from}[/]"
        case PodCreated(runtime=runtime, isolation=isolation):
            return f"[dim]▸ {runtime}, {ISOLATION_WORDS.get(isolation, isolation)}[/]"
        case NodeRetrying(error=error):
            return f"[yellow]↻ tries again: {_escape(error.message)}[/]"
        case StopRequested(mode=mode, by=by):
            return f"[yellow]■ {mode} asked for by {_escape(by)}[/]"
        case ExecutionPaused(by=by):
            return f"[yellow]‖ paused by {_escape(by)}[/]"
        case ExecutionResumed(by=by):
            return f"[dim]▸ resumed by {_escape(by)}[/]"
    return None


def describe_truncation(data: OutputTruncated) -> str:
    """Say what was not kept."""
    return f"{data.stream} was cut at the output limit: {format_bytes(data.dropped_bytes)} dropped"


def describe_result(result: ResultStored) -> str:
    """Say how it ended and what it cost, on one line."""
    colour, mark = MARKS[result.status]
    parts = [f"[{colour}]{mark} {result.status}[/]"]
    if result.error is not None and result.status is not Status.CANCELLED:
        parts.append(_escape(result.error.message))
    elif result.exit_code is not None:
        parts.append(f"exit {result.exit_code}")
    return "  ".join([*parts, *(f"[dim]{cost}[/]" for cost in describe_usage(result.usage))])


def describe_usage(usage: Usage) -> list[str]:
    """Give what was measured, each with its unit."""
    costs: list[str] = []
    if usage.wall_ms is not None:
        costs.append(format_seconds(usage.wall_ms / 1000))
    if usage.cpu_ms is not None:
        costs.append(f"cpu {format_seconds(usage.cpu_ms / 1000)}")
    if usage.peak_memory_bytes is not None:
        costs.append(f"peak {format_bytes(usage.peak_memory_bytes)}")
    return costs


def format_moment(at: datetime | None) -> str:
    """Give a moment in the time of this machine; nothing for none."""
    return "" if at is None else at.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def format_seconds(seconds: float) -> str:
    """Give a duration as people say it: `43 ms`, `2.1 s`, `3 min 5 s`."""
    if seconds < 1:
        return f"{round(seconds * 1000)} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def format_bytes(count: int) -> str:
    """Give a size with the largest unit that leaves at least one: `512 B`, `1.5 KiB`, `64 MiB`."""
    unit = min(max(count.bit_length() - 1, 0) // 10, len(BYTE_UNITS) - 1)
    size = count / 1024**unit
    return f"{size:.1f} {BYTE_UNITS[unit]}" if unit and size < 10 else f"{size:.0f} {BYTE_UNITS[unit]}"


def _escape(text: str) -> str:
    """Keep rich from reading markup in what users wrote."""
    return text.replace("[", "\\[")
