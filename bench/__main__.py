"""Run every measurement and write docs/benchmarks.md."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path

from bench import fanout, flows, start, workflow

DOCUMENT = Path(__file__).parents[1] / "docs" / "benchmarks.md"


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench")
    parser.add_argument("--quick", action="store_true", help="fewer runs, nothing written")
    quick = parser.parse_args().quick
    sections = [_start(8 if quick else 40), _workflow((10, 100, 1000) if quick else (10, 100, 1000, 10_000))]
    sections.append(_flows(100, rounds=3 if quick else 15))
    sections.append(_fanout(100, 100 if quick else 400))
    if not quick:
        sections.append(_fanout(500, 200))
    text = "\n\n".join([_head(), *sections]) + "\n"
    sys.stdout.write(text)
    if not quick:
        DOCUMENT.write_text(text)


def _head() -> str:
    when = datetime.now(UTC).strftime("%Y-%m-%d")
    return (
        "# Benchmarks\n\n"
        f"Written by `make bench` on {when}: Linux {platform.release()}, {os.cpu_count()} processors, "
        f"Python {platform.python_version()}. Peers run beside execd in the same run; look at the ratios."
    )


def _start(runs: int) -> str:
    figures = start.measure(runs)
    bare = figures[0].p50_ms
    rows = [f"| {each.name} | {each.p50_ms:.1f} | {each.p90_ms:.1f} | {each.p50_ms / bare:.2f} |" for each in figures]
    return "\n".join(
        [
            "## `print(1)`: submit to stored result, everything included",
            "",
            "| what | p50 ms | p90 ms | over bare |",
            "|---|---|---|---|",
            *rows,
        ]
    )


def _workflow(counts: tuple[int, ...]) -> str:
    rows = [
        f"| {each.shape} | {each.count} | {each.ms_per_node:.3f} | {each.row_ms:.3f} | {each.ratio:.1f} |"
        for each in workflow.measure(counts)
    ]
    return "\n".join(
        [
            "## Workflows of `set` nodes, each node journaled on disk and streamed, over one committed SQLite row",
            "",
            "| shape | nodes | ms per node | ms per row | ratio |",
            "|---|---|---|---|---|",
            *rows,
        ]
    )


def _flows(count: int, *, rounds: int) -> str:
    figures = flows.measure(count, rounds)
    floor = figures[0].ms_per_request
    rows = [
        f"| {each.name} | {each.ms_per_request:.3f} | {max(0.0, each.ms_per_request - floor):.3f} | {each.ratio:.2f} "
        f"| {each.over_httpx2:.2f} |"
        for each in figures
    ]
    return "\n".join(
        [
            f"## Flows of {count} GETs, each step journaled on disk and streamed, over the same requests in bare loops",
            "",
            "The server is a node process on loopback; medians of turns that all ways take one after another.",
            "",
            "| what | ms per request | more than the first | over the first | over httpx2 |",
            "|---|---|---|---|---|",
            *rows,
        ]
    )


def _fanout(viewers: int, events: int) -> str:
    figures = fanout.measure(viewers=viewers, events=events, pace_s=0.02 if viewers <= 100 else 0.1)
    peer = figures[-1].per_cpu_s
    rows = [
        f"| {each.name} | {each.deliveries} | {each.cpu_us_each:.0f} | {each.per_cpu_s:.0f} | {each.per_cpu_s / peer:.2f} |"
        for each in figures
    ]
    return "\n".join(
        [
            f"## One event at a time to {viewers} SSE viewers",
            "",
            "| server | deliveries | CPU µs each | deliveries per CPU s | over peer |",
            "|---|---|---|---|---|",
            *rows,
            "",
            f"Memory of execd per idle viewer: {(figures[0].memory_per_viewer_bytes or 0) / 1024:.0f} KiB.",
        ]
    )


if __name__ == "__main__":
    main()
