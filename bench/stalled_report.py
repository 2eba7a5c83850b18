"""The document of the campaign against slow and hostile viewers."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime

from bench.stalled_rounds import GOOD_EACH, GRACE_S, HOSTILE, LINE_BYTES, PACE_S, STALLED, Round, percentile

SETTLED_S = 2.0
"""After the first line: by then a viewer that does not read has filled its buffers."""
KINDS = {"sse": "SSE", "websocket": "WebSocket"}


def report(repetitions: Sequence[Sequence[Round]], lines: int) -> str:
    """Give the whole document; the first round of each repetition is the one without a crowd."""
    parts = [_head(lines), _latency(repetitions), _memory(repetitions), _drops(repetitions), _reading(repetitions)]
    return "\n\n".join(parts) + "\n"


def _head(lines: int) -> str:
    when = datetime.now(UTC).strftime("%Y-%m-%d")
    hostile = ", ".join(f"{count} {kind}" for kind, count in HOSTILE.items())
    return (
        "# Slow and hostile viewers\n\n"
        f"Written by `make stalled` on {when}: Linux {platform.release()}, {os.cpu_count()} processors, "
        f"Python {platform.python_version()}; load average in the end {os.getloadavg()[1]:.1f}, "
        "about 1 of which is the campaign's own. "
        "Look at the ratios: the rounds alternate in one run; on a busy machine they scatter.\n\n"
        f"Each round is an `execd serve` of its own, whose script prints {lines} lines of {LINE_BYTES} bytes, one every "
        f"{PACE_S * 1000:.0f} ms, and {2 * GOOD_EACH} good viewers ({GOOD_EACH} SSE, {GOOD_EACH} WebSocket) in a process of their "
        "own, which measure each line from the script's own time stamp to their hands. The crowd is a third process: "
        f"{STALLED['sse']} SSE and {STALLED['websocket']} WebSocket viewers of the same execution with receive buffers of 4 KiB "
        f"that never read; and, in the last kind of round, also the hostile (`bench/crowd.py` says what each does): {hostile}. "
        "*Held*: the send deadline is 120 s, so that all thousand stay attached; elsewhere it is the default, 5 s."
    )


def _latency(repetitions: Sequence[Sequence[Round]]) -> str:
    rows = [
        "## What the good viewers notice",
        "",
        "From script to viewer, in ms; the ratio is to the round alone of the same repetition.",
        "",
    ]
    rows += ["| round | kind | p50 | p99 | p99 ratio | p50, settled | p99, settled | p99 ratio, settled |"]
    rows += ["|---|---|---|---|---|---|---|---|"]
    for rounds in repetitions:
        for played in rounds:
            for kind, words in KINDS.items():
                cells = [
                    *_cells(played.delays_ms(kind=kind), rounds[0].delays_ms(kind=kind)),
                    *_cells(
                        played.delays_ms(kind=kind, since_s=SETTLED_S),
                        rounds[0].delays_ms(kind=kind, since_s=SETTLED_S),
                    ),
                ]
                rows.append(f"| {played.name} | {words} | {' | '.join(cells)} |")
    rows += [
        "",
        f"*Settled* leaves out the first {SETTLED_S:.0f} s, in which the thousand are level and cost what good viewers cost.",
    ]
    return "\n".join(rows)


def _cells(delays: list[float], alone: list[float]) -> list[str]:
    p99 = percentile(delays, 0.99)
    return [f"{percentile(delays, 0.5):.1f}", f"{p99:.1f}", f"{p99 / percentile(alone, 0.99):.2f}"]


def _memory(repetitions: Sequence[Sequence[Round]]) -> str:
    rows = [
        "## Memory",
        "",
        "| round | RSS before, MiB | attached, MiB | peak, MiB | per viewer attached | per viewer stalled | kernel per viewer |",
    ]
    rows += ["|---|---|---|---|---|---|---|"]
    for rounds in repetitions:
        for played in rounds:
            rows.append("| " + " | ".join([played.name, *_memory_cells(played, rounds[0])]) + " |")
    rows += [
        "",
        "Per viewer in KiB: what the server grew by when they attached; at the peak, less what it grew by without them; and TCP",
        "memory of the machine at its peak. The hot history of the execution (`execd_hot_bytes`) is the same in all rounds.",
    ]
    return "\n".join(rows)


def _memory_cells(played: Round, alone: Round) -> list[str]:
    idle, attached = played.idle, played.samples[0]
    cells = [
        f"{idle.rss_bytes / 2**20:.0f}",
        f"{attached.rss_bytes / 2**20:.0f}",
        f"{played.peak_rss_bytes / 2**20:.0f}",
    ]
    count = sum(played.crowd.values())
    if not count:
        return [*cells, "", "", ""]
    without = alone.peak_rss_bytes - alone.idle.rss_bytes
    each = [
        (attached.rss_bytes - idle.rss_bytes) / sum(STALLED.values()),
        (played.peak_rss_bytes - idle.rss_bytes - without) / count,
        (played.peak_kernel_bytes - idle.kernel_bytes) / count,
    ]
    return [*cells, *(f"{value / 1024:.0f}" for value in each)]


def _drops(repetitions: Sequence[Sequence[Round]]) -> str:
    rows = ["## Who is dropped, and going down", ""]
    rows += [
        "| round | good viewers that saw all | dropped | first, s | the thousandth, s | connections crashed "
        "| attached at SIGTERM | exit after, s | code |"
    ]
    rows += ["|---|---|---|---|---|---|---|---|---|"]
    for rounds in repetitions:
        for played in rounds:
            metrics = played.samples[-1].metrics
            cells = [
                played.name,
                f"{played.whole_count} of {len(played.watchers)}",
                f"{metrics.get('execd_http_stalled_total', 0):.0f}",
                _seconds(played.reached_s("execd_http_stalled_total", 1)),
                _seconds(played.reached_s("execd_http_stalled_total", sum(STALLED.values()))),
                f"{metrics.get('execd_http_connections_crashed_total', 0):.0f}",
                str(played.attached_at_exit),
                f"{played.exit_s:.1f}",
                str(played.exit_code),
            ]
            rows.append("| " + " | ".join(cells) + " |")
    rows += [
        "",
        "Dropped: `execd_http_stalled_total`, seconds from the first line. "
        f"The configured grace (`shutdown.grace_s`) is {GRACE_S:.0f} s.",
        "A connection that sends what the protocol forbids counts as crashed; it is closed, and nobody else notices.",
    ]
    return "\n".join(rows)


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _reading(repetitions: Sequence[Sequence[Round]]) -> str:
    """Say what holds, from the figures alone."""
    every = [played for rounds in repetitions for played in rounds]
    whole = sum(played.whole_count for played in every)
    slowest = max(every, key=lambda played: played.exit_s)
    lines = [
        f"- {whole} of {sum(len(played.watchers) for played in every)} good viewers saw every event once, in order, to the end.",
        *(f"- {_median_ratio(repetitions, index)}" for index in range(1, len(repetitions[0]))),
        f"- The slowest exit took {slowest.exit_s:.1f} s of a grace of {GRACE_S:.0f} s ({slowest.name}); "
        f"the codes were {sorted({played.exit_code for played in every})}.",
        f"- The largest resident memory was {max(played.peak_rss_bytes for played in every) / 2**20:.0f} MiB.",
    ]
    return "\n".join(["## In short", "", *lines])


def _median_ratio(repetitions: Sequence[Sequence[Round]], index: int) -> str:
    """Say how the settled p99 of one kind of round stands to the rounds alone, over all repetitions and both kinds of viewers."""
    ratios = [
        percentile(rounds[index].delays_ms(kind=kind, since_s=SETTLED_S), 0.99)
        / percentile(rounds[0].delays_ms(kind=kind, since_s=SETTLED_S), 0.99)
        for rounds in repetitions
        for kind in KINDS
    ]
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    name = repetitions[0][index].name
    return f"{name}: the settled p99 is {statistics.median(ratios):.2f} times that of the rounds alone ({spread})."
