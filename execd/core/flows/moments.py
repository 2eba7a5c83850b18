"""What a step can see when it begins: variables, answers, earlier responses, and the values that are new each time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import msgspec

from execd.core.errors import ExecdError


class StepError(ExecdError):
    """A step cannot be made with what is there: mend the reference, or what it reads."""

    code = "flow:reference"
    status = 422


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered of a step. One that was skipped has status 0 and the body `{}`."""

    status: int
    body: Any
    headers: Mapping[str, str] = {}
    """Names in lower case; of several the values, joined by `, `."""
    time_ms: int = 0
    kept: Mapping[str, Any] = {}
    """What was read at these paths when the body was whole; of a body that is too large to be kept."""

    SKIPPED: ClassVar[Response]

    def read(self, path: str, read: Callable[[Any], Any]) -> Any:
        """Give what is at a path of the body; `read` reads it out of one."""
        return self.kept[path] if path in self.kept else read(self.body)


Response.SKIPPED = Response(status=0, body={})


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """One step's view of the flow it is in."""

    timestamp: int
    """Unix seconds."""
    make_guid: Callable[[], str]
    """A new UUID each time."""
    response_of: Callable[[str], Response | None]
    """By the id of a node; None for one that is not there or has not run."""
    input: Mapping[str, Any] = {}
    """What people answered so far."""
    gone_answers: frozenset[str] = frozenset()
    """Keys whose last answer was secret and cannot be opened any more."""
    row: Mapping[str, Any] = {}
    """What this run's row of data, or whoever started the flow, puts in the place of variables."""
    env: Mapping[str, Any] = {}
    secrets: Mapping[str, Any] = {}
    gone_secrets: frozenset[str] = frozenset()
    """Names that the flow declares and that have no value any more: to send a placeholder in their place would be no success."""

    def answer(self, key: str) -> Any:
        """Give what people answered; UNSET where nobody was asked, or said nothing. Raises StepError: it cannot be read."""
        if key in self.gone_answers:
            raise StepError(f"The answer {key!r} cannot be read any more")
        return self.input.get(key, msgspec.UNSET)
