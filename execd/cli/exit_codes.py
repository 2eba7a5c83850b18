"""What `execd run` and `execd watch` exit with: the script's own code wherever it had one.

The numbers are those of timeout(1), env(1), docker and the shells, so that scripts around execd need not learn new ones.
As with those, a script that itself exits with one of them cannot be told apart by the code alone; `--json` can.
"""

from __future__ import annotations

import enum
import signal as signals

from execd.core.errors import ExecdError
from execd.core.events import ResultStored, Status


class ExitCode(enum.IntEnum):
    """The codes that are execd's and not the script's."""

    OK = 0
    FAILED = 1
    REFUSED = 2
    TIMEOUT = 124
    EXECD_FAILED = 125
    NOT_STARTED = 126
    CANCELLED = 130
    INTERRUPTED = 131
    BROKEN_PIPE = 141


SIGNAL_BASE = 128
"""What shells add to a signal's number."""

MEANINGS: tuple[tuple[str, str], ...] = (
    ("the script's own", "it ran to its end"),
    ("128 + n", "signal n ended it; 137 also where a memory limit did"),
    ("1", "a limit other than time ended it and it has no code of its own"),
    (
        str(int(ExitCode.REFUSED)),
        "the command line is wrong, or the request was refused: no such id, limits over the caps",
    ),
    (str(int(ExitCode.TIMEOUT)), "it reached its wall time limit"),
    (str(int(ExitCode.EXECD_FAILED)), "execd failed: no server answers, the sandbox or its worker was lost"),
    (str(int(ExitCode.NOT_STARTED)), "the program could not be started"),
    (str(int(ExitCode.CANCELLED)), "it was cancelled, or you left with Ctrl-C"),
    (str(int(ExitCode.INTERRUPTED)), "it was interrupted"),
    (str(int(ExitCode.BROKEN_PIPE)), "nobody reads the output any more (| head); on a server the script goes on"),
)
"""The table for people: the code and what it says."""

FLOW_MEANINGS: tuple[tuple[str, str], ...] = (
    (str(int(ExitCode.OK)), "every step passed or was skipped by its conditions"),
    (str(int(ExitCode.FAILED)), "a step failed: a check did not hold, or there was no answer"),
    (
        str(int(ExitCode.REFUSED)),
        "the command line or the config is wrong, or an answer is missing; nothing was requested",
    ),
    (str(int(ExitCode.TIMEOUT)), "the flow reached its time limit"),
    (str(int(ExitCode.EXECD_FAILED)), "execd failed: no server answers, or it was lost in the middle"),
    (str(int(ExitCode.CANCELLED)), "it was cancelled"),
    (str(int(ExitCode.INTERRUPTED)), "it was interrupted, with Ctrl-C or from elsewhere: the rest was not run"),
)
"""What `execd flow` exits with."""

_CODE_OF_STATUS = {
    Status.TIMEOUT: ExitCode.TIMEOUT,
    Status.CANCELLED: ExitCode.CANCELLED,
    Status.INTERRUPTED: ExitCode.INTERRUPTED,
}

_CODE_OF_GROUP = {
    "platform": ExitCode.EXECD_FAILED,
    "capacity": ExitCode.EXECD_FAILED,
    "config": ExitCode.NOT_STARTED,
}


def exit_code_of_result(result: ResultStored) -> int:
    """Give the code for how an execution ended. Zero only for success."""
    if result.status is Status.COMPLETED:
        return ExitCode.OK
    if result.status in _CODE_OF_STATUS:
        return _CODE_OF_STATUS[result.status]
    group = failure_group(result)
    if group in _CODE_OF_GROUP:
        return _CODE_OF_GROUP[group]
    if result.signal is not None:
        return _code_of_signal(result.signal)
    if result.exit_code:
        return result.exit_code
    return ExitCode.FAILED if group in {"program", "limit"} else ExitCode.EXECD_FAILED


def exit_code_of_error(error: ExecdError) -> int:
    """Give the code for a request that failed: the caller's fault, or execd's."""
    return ExitCode.REFUSED if error.code == "configuration" or error.status < 500 else ExitCode.EXECD_FAILED


def failure_group(result: ResultStored) -> str:
    """Say whose doing the end was: `program`, `limit`, `platform`, `config`, `capacity`, `cancelled`; empty if unknown."""
    return "" if result.error is None else str(result.error.details.get("group", ""))


def exit_code_help() -> str:
    """Give the table as text for `--help`."""
    return _as_text(MEANINGS)


def flow_exit_code_help() -> str:
    """Give that of flows."""
    return _as_text(FLOW_MEANINGS)


def _as_text(meanings: tuple[tuple[str, str], ...]) -> str:
    width = max(len(code) for code, _ in meanings)
    return "\n".join(f"{code:>{width}}  {meaning}" for code, meaning in meanings)


def _code_of_signal(name: str) -> int:
    try:
        return SIGNAL_BASE + signals.Signals[f"SIG{name}"]
    except KeyError:
        return SIGNAL_BASE + int(name) if name.isdigit() else ExitCode.FAILED
