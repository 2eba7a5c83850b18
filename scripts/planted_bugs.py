"""Plant bugs one by one and show that the suites catch each: `make planted-bugs`.

Each bug breaks an invariant of the design in one line. A copy of the tree gets the bug, the named tests run on it, and a
bug that no test notices fails the command. The tree itself is never touched.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
GRAPHS = "tests/unit/test_machine.py tests/unit/test_graphs.py"
SEEDS = 600
"""Worlds in which the simulation looks for each bug."""


@dataclass(frozen=True)
class Bug:
    """One line that must not be so."""

    invariant: str
    what: str
    path: str
    line: str
    wrong: str
    tests: str = "tests/actors tests/unit/test_machine.py tests/contract/test_store_contract.py"

    @property
    def is_simulated(self) -> bool:
        """Whether the simulated worlds run this code: they have no doors, no file and no sandbox."""
        return self.path.startswith(("execd/core", "execd/actors", "execd/adapters/memory"))


BUGS = (
    Bug(
        "1",
        "a seq is skipped",
        "execd/actors/journal.py",
        "enumerate(facts, start=after_seq + 1)",
        "enumerate(facts, start=after_seq + 2)",
    ),
    Bug(
        "1",
        "a page is handed out twice",
        "execd/actors/broadcast.py",
        "self.last_seq = events[-1].seq\n        self._seen",
        "self.last_seq = events[0].seq\n        self._seen",
    ),
    Bug(
        "1",
        "what was stored and not published is never shown",
        "execd/actors/stream_router.py",
        "LOOK_AGAIN_S = 5.0",
        "LOOK_AGAIN_S = 1e9",
    ),
    Bug("1", "replay is off by one", "execd/actors/broadcast.py", "seq + 1 - first)", "seq + 2 - first)"),
    Bug(
        "2",
        "published before it is stored",
        "execd/actors/result_writer.py",
        "    outcomes = await _until_available(lambda: store.write(writes), counters=counters)\n",
        "    early = tuple(event for message in batch for event in events_of(message.write))\n"
        "    await to_router.send(PublishEvents(events=early))\n"
        "    await trio.sleep(0.01)\n"
        "    outcomes = await _until_available(lambda: store.write(writes), counters=counters)\n",
    ),
    Bug(
        "2",
        "a program starts before its announcement is stored",
        "execd/actors/step_runner.py",
        "                await wait_announced(self._announced)\n",
        "",
    ),
    Bug(
        "2",
        "a request is made before its announcement is stored",
        "execd/actors/call_runner.py",
        "            await wait_announced(announced)\n",
        "",
        "tests/actors/test_calls.py",
    ),
    Bug(
        "2",
        "what runs again does so without a slot",
        "execd/core/machine.py",
        "has_slot = state.slot is SlotPlace.HELD or not state.planned(node).type.takes_place",
        "has_slot = True",
        GRAPHS,
    ),
    Bug(
        "4",
        "what only waits keeps its slot",
        "execd/core/slots.py",
        "if state.slot is SlotPlace.HELD and not (draft.goes_on or _needs_slot(state)):",
        "if False:",
        f"{GRAPHS} tests/actors/test_turns.py",
    ),
    Bug(
        "4",
        "a slot that is asked for again is never given",
        "execd/actors/slot_line.py",
        "            handle.asked_for_slot.answer(None)\n",
        "",
        "tests/actors/test_turns.py",
    ),
    Bug(
        "2",
        "terminal records are not synced",
        "execd/adapters/sqlite_store.py",
        "isinstance(write, Append) and write.is_terminal",
        "isinstance(write, Append) and False",
        "tests/contract/test_sqlite_store.py",
    ),
    Bug(
        "3",
        "a terminal status can be overwritten",
        "execd/adapters/sqlite_writes.py",
        "AND head_seq = ? AND is_final = 0",
        "AND head_seq = ?",
    ),
    Bug(
        "3",
        "the result is told twice",
        "execd/core/advancing.py",
        "    draft.tell(make_result(draft.state))\n",
        "    result = make_result(draft.state)\n    draft.tell(result)\n    draft.tell(result)\n",
    ),
    Bug(
        "3",
        "a cancel is overwritten by a success",
        "execd/core/advancing.py",
        "    if state.stop is StopMode.CANCEL:\n        return Status",
        "    if state.stop is None:\n        return Status",
    ),
    Bug(
        "4",
        "what was accepted is forgotten at a restart",
        "execd/actors/coordinator.py",
        "self._take_over(await self._lease.begin(self._owner), inbox, nursery)",
        "await self._lease.begin(self._owner)",
    ),
    Bug(
        "4",
        "accepted before it is stored",
        "execd/actors/coordinator.py",
        "        await self._to_writer.send(StoreWrite(write=write, reply=message.reply))",
        "        from execd.ports import Stored\n        message.reply.answer(Stored())\n"
        "        await self._to_writer.send(StoreWrite(write=write, reply=message.reply))",
    ),
    Bug(
        "5",
        "an actor writes past the result writer",
        "execd/actors/coordinator.py",
        "    def drain(self) -> None:",
        "    async def _shortcut(self, store) -> None:\n        await store.write([])\n\n    def drain(self) -> None:",
    ),
    Bug("6", "a stale owner may write", "execd/adapters/memory_store.py", "record.epoch != write.epoch or ", ""),
    Bug(
        "6",
        "a lease that runs protects nothing",
        "execd/adapters/sqlite_store.py",
        "if deadline > time.monotonic()}",
        "if deadline < 0}",
        "tests/contract/test_store_contract.py",
    ),
    Bug(
        "6",
        "what is adopted back starts beside its stale saga",
        "execd/actors/coordinator.py",
        "if stale is not None and record.id in self._live:",
        "if False:",
        "tests/actors/test_leases.py",
    ),
    Bug(
        "6",
        "a silent program that was lost runs on",
        "execd/actors/lease_keeper.py",
        "                if self._may_have_lapsed:\n",
        "                if False:\n",
        "tests/actors/test_leases.py",
    ),
    Bug(
        "4",
        "a dead instance's executions wait for a restart",
        "execd/actors/lease_keeper.py",
        "            if adopted:\n",
        "            if False:\n",
        "tests/actors/test_leases.py",
    ),
    Bug(
        "4",
        "a join starts before all that leads to it is decided",
        "execd/core/joining.py",
        "    if run.undecided or run.phase is not NodePhase.PENDING:",
        "    if (run.undecided and not run.taken) or run.phase is not NodePhase.PENDING:",
        GRAPHS,
    ),
    Bug(
        "4",
        "what a skipped node leads to is not skipped",
        "execd/core/joining.py",
        "    if run.phase is NodePhase.SKIPPED:\n        return ()",
        "    if run.phase is NodePhase.SKIPPED:\n        return None",
        GRAPHS,
    ),
    Bug(
        "10",
        "a failure that must stop the graph does not",
        "execd/core/nodes/conditions.py",
        "if not isinstance(result, bool):",
        "if False:",
        GRAPHS,
    ),
    Bug(
        "2",
        "more nodes run than may",
        "execd/core/state.py",
        "return len(self.running) + len(self.retrying) < self.graph.parallelism",
        "return len(self.running) + len(self.retrying) <= self.graph.parallelism",
        GRAPHS,
    ),
    Bug(
        "6",
        "a stale owner may write (SQLite)",
        "execd/adapters/sqlite_writes.py",
        "AND epoch = ? AND head_seq",
        "AND ? > 0 AND head_seq",
    ),
    Bug(
        "7",
        "a slow viewer holds up everybody",
        "execd/actors/stream_router.py",
        "            self._forget_cold()\n\n    async def _look_again",
        "            self._forget_cold()\n"
        "            while any(cursor.lag_bytes for log_ in self._logs.values() for cursor in log_.cursors):\n"
        "                await trio.sleep(0.01)\n\n    async def _look_again",
    ),
    Bug(
        "7",
        "a slow viewer is never evicted",
        "execd/actors/broadcast.py",
        "return self.lag_bytes > self._max_lag_bytes",
        "return False",
    ),
    Bug(
        "7",
        "hot history is not bounded",
        "execd/actors/broadcast.py",
        "while self.kept_bytes > self._limit_bytes and",
        "while False and",
    ),
    Bug(
        "7",
        "a wake-up is lost",
        "execd/actors/stream_router.py",
        "        channel.wake()\n        if channel.is_ended:",
        "        if channel.is_ended:",
    ),
    Bug(
        "8",
        "dropped bytes are not counted",
        "execd/core/machine.py",
        "draft.tell(OutputTruncated(stream=signal.stream, dropped_bytes=signal.dropped_bytes), node=signal.node)",
        "pass",
    ),
    Bug(
        "9",
        "a foreign execution can be seen",
        "execd/http/executions.py",
        "record is None or record.workspace != identity.workspace",
        "record is None",
        "tests/http",
    ),
    Bug(
        "3",
        "a cancel does not reach a map's body",
        "execd/core/machine.py",
        "    if mode.kills:\n        for node in sorted(draft.state.running):",
        "    if mode.kills:\n        for node in sorted(n for n in draft.state.running if '[' not in n):",
        GRAPHS,
    ),
    Bug(
        "3",
        "the end of a body's time stops nothing",
        "execd/core/machine.py",
        "    stop_within(draft, node)\n",
        "",
        GRAPHS,
    ),
    Bug(
        "3",
        "what always runs also runs after a cancel",
        "execd/core/finals.py",
        "if state.stop is not None or (root.failure is not None",
        "if (root.failure is not None",
        "tests/unit/test_flow_graphs.py",
    ),
    Bug(
        "3",
        "a report changes what is over",
        "execd/core/following.py",
        "    if run.phase.is_over:\n        return\n",
        "",
        "tests/unit/test_external_machine.py",
    ),
    Bug(
        "1",
        "progress falls",
        "execd/core/progress.py",
        "percent = max(percent_of(state), state.percent)\n    has_risen = percent > state.percent",
        "percent = percent_of(state)\n    has_risen = percent != state.percent",
        f"{GRAPHS} tests/unit/test_progress.py",
    ),
    Bug(
        "9",
        "what a node gives is told with its secrets",
        "execd/core/outside.py",
        '    NodeCompleted: lambda mask, data: {"output": _hide_value(mask, data.output)},\n',
        "",
        "tests/unit/test_machine_secrets.py",
    ),
    Bug(
        "9",
        "a secret that comes in two pieces is told",
        "execd/core/masking.py",
        "return self._take(len(self._held) - self._finder.count_open(self._held))",
        "return self._take(len(self._held))",
        "tests/unit/test_masking.py",
    ),
    Bug(
        "10",
        "an item that was not run counts as done",
        "execd/core/joining.py",
        " or run.reason == NOT_RUN:",
        ":",
        GRAPHS,
    ),
    Bug(
        "10",
        "a lost sandbox counts as success",
        "execd/core/outcome.py",
        '        reason, retryable = "platform:sandbox_lost", True\n',
        '        return Outcome(status=Status.COMPLETED, reason="succeeded")\n',
    ),
    Bug(
        "10",
        "an out-of-memory verdict is ignored",
        "execd/core/outcome.py",
        'if pod.oom_killed or pod.reason == "OOMKilled":',
        'if pod.reason == "OOMKilled":',
    ),
)


def main() -> int:
    """Print the table and give the number of bugs nobody noticed."""
    if any(_failures(ROOT, tests) for tests in {bug.tests for bug in BUGS}):
        raise SystemExit("the suites must pass before a bug is planted")
    unnoticed = 0
    sys.stdout.write("| invariant | planted bug | caught by | in the simulation, by seed |\n|---|---|---|---|\n")
    for bug in BUGS:
        with tempfile.TemporaryDirectory() as folder:
            tree = _plant(bug, Path(folder) / "tree")
            failed = _failures(tree, bug.tests)
            seed = _first_seed(tree) if bug.is_simulated else "-"
        unnoticed += not failed
        sys.stdout.write(f"| {bug.invariant} | {bug.what} | {', '.join(failed) or '**nothing**'} | {seed} |\n")
        sys.stdout.flush()
    return unnoticed


def _plant(bug: Bug, tree: Path) -> Path:
    """Copy the tree and put the bug in."""
    ignored = shutil.ignore_patterns(".venv", ".git", "__pycache__", ".*_cache", ".hypothesis", "node_modules")
    shutil.copytree(ROOT, tree, ignore=ignored)
    path = tree / bug.path
    source = path.read_text()
    if source.count(bug.line) != 1:
        raise SystemExit(f"{bug.path}: the line of '{bug.what}' stands there {source.count(bug.line)} times, not once")
    path.write_text(source.replace(bug.line, bug.wrong))
    return tree


def _failures(tree: Path, tests: str) -> list[str]:
    """Give the first tests that fail on a tree; none when all pass."""
    options = ["--maxfail", "2", "--timeout", "20", "-p", "no:cacheprovider", "-p", "no:randomly"]
    command = [sys.executable, "-m", "pytest", *options, *tests.split()]
    run = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
    failed = [line for line in run.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    names = [line.split("::")[-1].split(" ")[0] for line in failed]
    return names or ([f"pytest exit {run.returncode}"] if run.returncode else [])


def _first_seed(tree: Path) -> str:
    """Give the first seed whose world goes wrong with the bug in it."""
    command = [sys.executable, "-m", "tests.simulation", "--seeds", str(SEEDS), "--most-failures", "1"]
    run = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
    found = [line.split()[1].rstrip(":") for line in run.stdout.splitlines() if line.startswith("seed ")]
    return found[0] if found else f"not in {SEEDS}"


if __name__ == "__main__":
    sys.exit(main())
