"""The table from what was observed to the verdict: every row, and that nothing unknown is ever a success."""

from __future__ import annotations

import pytest

from execd.core.events import Status
from execd.core.outcome import POD_REASONS, ExitRecord, Limiter, PodState, classify, signal_name


@pytest.mark.parametrize(
    ("record", "pod", "reason", "status"),
    [
        (ExitRecord(exit_code=0), None, "succeeded", Status.COMPLETED),
        (ExitRecord(exit_code=3), None, "exit", Status.FAILED),
        (ExitRecord(signal=11), None, "signal:SEGV", Status.FAILED),
        (ExitRecord(signal=9), None, "signal:KILL", Status.FAILED),
        (ExitRecord(exit_code=137), None, "exit", Status.FAILED),
        (ExitRecord(exit_code=0, cancelled=True), None, "cancelled", Status.CANCELLED),
        (ExitRecord(signal=15, cancelled=True, limiter=Limiter.WALL), None, "cancelled", Status.CANCELLED),
        (ExitRecord(signal=9, limiter=Limiter.WALL, configured=1.0), None, "limit:wall", Status.TIMEOUT),
        (ExitRecord(signal=24, limiter=Limiter.CPU, configured=1.0), None, "limit:cpu", Status.FAILED),
        (ExitRecord(exit_code=0, limiter=Limiter.WALL, configured=1.0), None, "limit:wall", Status.TIMEOUT),
        (ExitRecord(signal=9), PodState(oom_killed=True), "limit:memory", Status.FAILED),
        (ExitRecord(exit_code=0), PodState(reason="OOMKilled"), "limit:memory", Status.FAILED),
        (ExitRecord(exit_code=0), PodState(reason="output_incomplete"), "platform:output_incomplete", Status.FAILED),
        (ExitRecord(exec_error="ENOENT", exit_code=127), None, "config:command", Status.FAILED),
        (ExitRecord(exit_code=0), PodState(reason="Evicted"), "succeeded", Status.COMPLETED),
        (ExitRecord(), None, "platform:sandbox_lost", Status.FAILED),
        (None, None, "platform:sandbox_lost", Status.FAILED),
        (None, PodState(exit_code=0), "platform:sandbox_lost", Status.FAILED),
        (None, PodState(reason="Completed", exit_code=0), "platform:sandbox_lost", Status.FAILED),
        (None, PodState(reason="DeadlineExceeded"), "limit:wall", Status.TIMEOUT),
        (None, PodState(reason="OOMKilled", exit_code=137), "limit:memory", Status.FAILED),
        (
            None,
            PodState(reason="Evicted", message="The node was low on resource: memory."),
            "platform:evicted",
            Status.FAILED,
        ),
        (
            None,
            PodState(reason="Evicted", message='Usage of EmptyDir volume "w" exceeds the limit'),
            "limit:disk",
            Status.FAILED,
        ),
        (None, PodState(reason="sandbox_unavailable"), "platform:sandbox_unavailable", Status.FAILED),
    ],
)
def test_each_observation_has_its_verdict(
    record: ExitRecord | None, pod: PodState | None, reason: str, status: Status
) -> None:
    """Users decide by the reason whether to mend their script, raise a limit, or try again."""
    outcome = classify(record, pod)

    assert (outcome.reason, outcome.status) == (reason, status)
    assert (outcome.failure is None) == (status is Status.COMPLETED)


@pytest.mark.parametrize("reason", sorted(POD_REASONS))
def test_no_pod_reason_is_a_success(reason: str) -> None:
    """Woodpecker reported exit 0 for a pod that was not found."""
    outcome = classify(None, PodState(reason=reason, exit_code=0))

    assert outcome.status is not Status.COMPLETED
    assert outcome.retryable == POD_REASONS[reason][1]


def test_a_limit_tells_both_numbers() -> None:
    """ "Killed" without a number is a support ticket."""
    outcome = classify(ExitRecord(signal=9, limiter=Limiter.WALL, configured=2.5, observed=2.6))

    assert outcome.failure is not None
    assert "2.5 s" in outcome.failure.message
    assert outcome.failure.details == {"group": "limit", "limit": "wall", "configured": 2.5, "observed": 2.6}


def test_a_hint_is_said_and_not_more_than_a_hint() -> None:
    """What probably happened helps; the reason stays what is known."""
    outcome = classify(ExitRecord(exit_code=1, hints=("memory",)))

    assert outcome.reason == "exit"
    assert outcome.failure is not None
    assert "probably out of memory" in outcome.failure.message
    assert outcome.group == "program"


def test_signals_without_a_name_stay_numbers() -> None:
    """Real-time signals have none on every system."""
    assert (signal_name(15), signal_name(99)) == ("TERM", "99")
