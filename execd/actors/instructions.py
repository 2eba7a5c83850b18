"""What people tell a saga, as its machine hears it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from execd.core.events import StopMode
from execd.core.signals import InputProvided, PauseAsked, Reported, ResumeAsked, Signal, StopAsked
from execd.ports import Cancel, Command, Interrupt, Pause, ProvideInput, Report, Resume


def to_signal(command: Command, at: datetime) -> Signal:
    """Give the signal of a command that is one; stdin is none, and goes to the programs themselves."""
    return _SIGNALS[type(command)](command, at)


def _who(command: Command) -> str:
    assert isinstance(command, Cancel | Interrupt | Pause | Resume)
    return command.by


def _to_input(command: Command, at: datetime) -> Signal:
    assert isinstance(command, ProvideInput)
    return InputProvided(at=at, by=command.by, prompt_id=command.prompt_id, values=command.values)


def _to_report(command: Command, at: datetime) -> Signal:
    assert isinstance(command, Report)
    return Reported(at=at, report=command.report)


_SIGNALS: dict[type[Command], Callable[[Command, datetime], Signal]] = {
    Cancel: lambda command, at: StopAsked(at=at, by=_who(command), mode=StopMode.CANCEL),
    Interrupt: lambda command, at: StopAsked(at=at, by=_who(command), mode=StopMode.INTERRUPT),
    Pause: lambda command, at: PauseAsked(at=at, by=_who(command)),
    Resume: lambda command, at: ResumeAsked(at=at, by=_who(command)),
    ProvideInput: _to_input,
    Report: _to_report,
}
