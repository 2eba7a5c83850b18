"""Bugs in flows, in what people are asked, and in what is saved: done twice, mixed up, told to the wrong one, or never."""

from __future__ import annotations

from planted.bug import Bug

CHAINS = "tests/unit/test_flow_graphs.py"
REQUESTS = "tests/unit/test_flow_requests.py"

FLOWS = (
    Bug(
        "2",
        "an unsafe request is repeated after a loss",
        "execd/core/advancing.py",
        "state.runs[node].attempt <= policy.retries and (policy.on_lost or not outcome.was_cut_off)",
        "state.runs[node].attempt <= policy.retries",
        f"{CHAINS} tests/actors/test_calls.py",
    ),
    Bug(
        "2",
        "a POST that nobody answered is sent again unasked",
        "execd/core/flows/endings.py",
        "is_unsure = failure.was_sent and sent.method not in REPEATABLE_METHODS",
        "is_unsure = False",
        REQUESTS,
    ),
    Bug(
        "4",
        "what always runs is skipped where a step has failed",
        "execd/core/finals.py",
        "    if not (run.failure is not None and run.plan.finals and state.planned(node).node.is_always_run):\n",
        "    if True:\n",
        CHAINS,
    ),
    Bug(
        "10",
        "a step counts as done although its checks failed",
        "execd/core/flows/endings.py",
        "    if message is None:\n        return succeeded(record)",
        "    if message is None or response.status:\n        return succeeded(record)",
        REQUESTS,
    ),
    Bug(
        "10",
        "a row that failed counts as done",
        "execd/core/nodes/flow_steps.py",
        'if "error" in row]\n',
        'if "error" in row and not index]\n',
        CHAINS,
    ),
    Bug(
        "10",
        "rows of data are mixed up",
        "execd/core/nodes/flow_steps.py",
        "return Expands(items=spec.rows,",
        "return Expands(items=spec.rows[::-1],",
        CHAINS,
    ),
    Bug(
        "10",
        "a row's values do not count",
        "execd/core/nodes/flow_steps.py",
        "row={**spec.input, **row} if isinstance(row, Mapping) else spec.input,",
        "row=spec.input,",
        CHAINS,
    ),
    Bug(
        "10",
        "an answer goes to whatever asks",
        "execd/core/machine.py",
        "    return asking is not None and asking.prompt_id == prompt_id\n",
        "    return asking is not None\n",
        "tests/actors/test_commanding.py tests/unit/test_machine.py tests/unit/test_graphs.py",
    ),
    Bug(
        "10",
        "an earlier answer hides a later one",
        "execd/core/nodes/flow_steps.py",
        "    for name in spec.asking:\n",
        "    for name in reversed(spec.asking):\n",
        CHAINS,
    ),
    Bug(
        "9",
        "a secret answer is kept as it was typed",
        "execd/actors/secret_keeper.py",
        "return msgspec.structs.replace(signal, sealed=sealed)",
        "return msgspec.structs.replace(signal, sealed=typed)",
        "tests/actors/test_secret_lives.py",
    ),
    Bug(
        "10",
        "after a crash a secret answer is three asterisks",
        "execd/actors/secret_keeper.py",
        "self.outside = Outside(env=self._vault.env, answers=answers)",
        "self.outside = Outside(env=self._vault.env)",
        "tests/actors/test_secret_lives.py",
    ),
    Bug(
        "10",
        "the newest version is run in place of the one that was named",
        "execd/library.py",
        "found = await self.find(workspace, asked.definition, version=asked.version)",
        "found = await self.find(workspace, asked.definition)",
        "tests/http/test_definitions.py tests/http/test_saved_runs.py",
    ),
    Bug(
        "10",
        "a run of a definition is not given its input",
        "execd/library.py",
        "spec = spec_until(with_input(self.read(found).spec, asked.input), asked.until)",
        "spec = spec_until(self.read(found).spec, asked.until)",
        "tests/http/test_definitions.py tests/http/test_saved_runs.py",
    ),
    Bug(
        "10",
        "how long it takes is learned from runs that failed",
        "execd/core/result.py",
        "if state.ending is None or state.status is not Status.COMPLETED or not is_whole:",
        "if state.ending is None or not is_whole:",
        "tests/unit/test_progress.py tests/actors/test_history.py",
    ),
    Bug(
        "10",
        "the time left does not pass",
        "execd/core/progress.py",
        "        return max(0, expected.running_ms - passed_ms)\n",
        "        return expected.running_ms\n",
        "tests/unit/test_progress.py",
    ),
    Bug(
        "3",
        "who leaves FlowSphere's door leaves the flow running",
        "execd/http/dialects/flowsphere_runs.py",
        "            await self._run.interrupt()\n",
        "            pass\n",
        "tests/contract/test_flowsphere_end_to_end.py",
    ),
)
