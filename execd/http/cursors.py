"""Where a viewer wants a stream to begin; pure.

The header `Last-Event-ID` wins over the query (`after`, `last_event_id`, `lastEventId`), because a browser repeats the
URL of its first connection and only the header moves on. A cursor of several executions is their seqs joined by `-`, in
the order the URL names them, so the URL and one id resume all of them exactly.
"""

from __future__ import annotations

from collections.abc import Sequence

from execd.core.errors import FieldFault, InvalidRequestError

QUERY_NAMES = ("after", "last_event_id", "lastEventId")
MAX_SEQ_DIGITS = 15
"""Below 2**53, so that every JSON reader can hold it."""


def find_cursor(header: str | None, query: Sequence[tuple[str, str | None]]) -> tuple[str, str] | None:
    """Give the name and text of the cursor that counts; None when none came. An empty header counts as none."""
    if header:
        return "Last-Event-ID", header
    for name, value in query:
        if value is not None and value != "":
            return name, value
    return None


def parse_seq(name: str, text: str) -> int:
    """Read one seq. Raises InvalidRequestError."""
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_SEQ_DIGITS):
        raise _refused(name, "is no event number", "a whole number from 0, the seq of the last event seen")
    return int(text)


def parse_cursor(found: tuple[str, str] | None, heads: Sequence[int]) -> tuple[int, ...]:
    """Read where to begin in each of several journals.

    Args:
        found: what `find_cursor` gave.
        heads: the seq of the last stored event of each, in the order the request names them.

    Raises:
        InvalidRequestError: garbage, a wrong count, or beyond the end.
    """
    if found is None:
        return (0,) * len(heads)
    name, text = found
    parts = text.split("-")
    if len(heads) > 1 and text == "0":
        return (0,) * len(heads)
    if len(parts) != len(heads):
        accepted = "a whole number from 0" if len(heads) == 1 else f"{len(heads)} event numbers joined by `-`"
        raise _refused(name, "is no cursor of this stream", accepted)
    seqs = tuple(parse_seq(name, part) for part in parts)
    for seq, head in zip(seqs, heads, strict=True):
        if seq > head:
            raise _refused(name, f"is {seq}, beyond the last event", f"at most {head}, the last event there is")
    return seqs


def join_cursor(seqs: Sequence[int]) -> str:
    """Give the cursor that `parse_cursor` reads."""
    return "-".join(map(str, seqs))


def _refused(name: str, message: str, accepted: str) -> InvalidRequestError:
    fault = FieldFault(path=name, message=message, accepted=accepted)
    return InvalidRequestError(f"{name} {message}; accepted: {accepted}", faults=(fault,))
