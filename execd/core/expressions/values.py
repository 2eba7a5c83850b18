"""The values expressions work on, how a path walks into them, and the bounds on the work of one evaluation.

A value is JSON and nothing else. A path looks up keys of objects and places of lists: attributes and methods of Python do
not exist here, because nothing in these modules ever calls `getattr`.

*Owns* nothing. *Never* changes a value it was given, and never puts one into a message: only its kind and size.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any, TypeAlias

import msgspec

from execd.core.fields import describe

TEXT_UNITS_PER_STEP = 32
"""Characters that cost as much as one step, which is 0.1 to 0.4 µs; slow text operations count more for themselves."""
PARTS_PER_STEP = 4
"""Parts of a value that `weigh` passes in the time of one step."""
SHORT_LIST = 16
"""Up to this many items, looking at each is the quicker way to measure a list."""
INT_BITS = 64
"""What arithmetic may reach: the whole numbers every JSON reader of ours keeps."""
SHOWN_KEYS = 10
SHOWN_KEY_CHARS = 40


Filter: TypeAlias = Callable[..., object]
"""Gets the work to count its steps in, the value, and the arguments as they stand in the expression."""


_compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False, check_circular=False)
_canonical = json.JSONEncoder(ensure_ascii=False, sort_keys=True, allow_nan=False, check_circular=False)


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one field's expressions may cost."""

    expression_chars: int = 10_000
    """Of one expression; a page of text, more belongs into a script node."""
    total_expression_chars: int = 100_000
    """Of all expressions of one compiled value, their braces and more: reading them takes at most 0.5 s."""
    depth: int = 100
    """Of nesting: of values, and of the operations of one expression. Bounds the stack."""
    result_bytes: int = 1024 * 1024
    """Of JSON text, for all that the expressions of one render give together."""
    steps: int = 150_000
    """Of one render: an item looked at is one, so are 32 characters of text. Reached within about 60 ms."""


class EvaluationError(Exception):
    """An expression cannot be evaluated; caught by `render`, which adds the path and the expression."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Missing:
    """What a path leads to where nothing is. Only `default` and the tests `defined` and `undefined` may look at it."""

    __slots__ = ("_keys", "_reason")

    def __init__(self, reason: str, *, keys: Mapping[str, object] | None = None) -> None:
        self._reason = reason
        self._keys = keys

    def message(self) -> str:
        """Say what is missing and what is there instead."""
        if self._keys is None:
            return self._reason
        return f"{self._reason}; it has: {show_keys(self._keys)}" if self._keys else f"{self._reason}; it is empty"


class Work:
    """One evaluation: the scope it reads, and how much it may still do. Owned by one `render`."""

    __slots__ = ("bytes_left", "limits", "scope", "steps_left")

    def __init__(self, scope: Mapping[str, object], limits: Limits) -> None:
        self.scope = scope
        self.limits = limits
        self.steps_left = limits.steps
        self.bytes_left = limits.result_bytes

    def spend(self, steps: int) -> None:
        """Count steps before they are done."""
        self.steps_left -= steps
        if self.steps_left < 0:
            raise EvaluationError(f"takes more than {self.limits.steps} steps of work")

    def spend_text(self, chars: int) -> None:
        """Count the work on a text, and refuse one that would be too long, before it is made."""
        if chars > self.limits.result_bytes:
            raise EvaluationError(f"makes a text of {chars} characters; at most {self.limits.result_bytes}")
        self.spend(1 + chars // TEXT_UNITS_PER_STEP)

    def spend_result(self, size: int) -> None:
        """Count what goes into the rendered value."""
        self.bytes_left -= size
        if self.bytes_left < 0:
            raise EvaluationError(f"gives more than {self.limits.result_bytes} bytes of JSON")


def strict(value: object) -> object:
    """Give the value; raise where there is none."""
    if type(value) is Missing:
        raise EvaluationError(value.message())
    return value


def show_keys(table: Mapping[str, object]) -> str:
    """List the first names of an object, each cut to what a message can carry."""
    shown = [str(key)[:SHOWN_KEY_CHARS].encode(errors="replace").decode() for key in islice(table, SHOWN_KEYS)]
    more = len(table) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def lookup(value: object, key: object, where: str, *, hides_keys: bool = False, hides_key: bool = False) -> object:
    """Look up a key of an object or a place of a list.

    Args:
        where: how the expression names `value`, for the message.
        hides_keys: the value may come from a secret, so its keys are not told.
        hides_key: the key was computed, so it is not told either.

    Returns:
        The value there, or `Missing` with what is there instead.
    """
    if type(key) is int and isinstance(value, list | str):
        if -len(value) <= key < len(value):
            return value[key]
    elif isinstance(value, Mapping):
        if not isinstance(key, str | int) or isinstance(key, bool):
            raise EvaluationError(f"a key of {where} {describe(key)}; keys are text")
        if str(key) in value:
            return value[str(key)]
    if type(value) is Missing:
        return value
    name = f"'{_show(str(key))}'" if not hides_key else "such key"
    if not isinstance(value, Mapping):
        return Missing(f"{where} has no {name}: it {describe(value)}")
    return Missing(f"{where} has no {name}", keys=None if hides_keys else value)


def _show(name: str) -> str:
    return name[:SHOWN_KEY_CHARS].encode(errors="replace").decode()


def weigh(work: Work, value: object) -> int:
    """Measure a value as JSON text, and prove that walking it is cheap: its depth and size are within the limits.

    The size counts characters in UTF-8 and punctuation; escapes are not counted. Shared parts count once for each place,
    as they would in the text. Whatever walks a value deeply (a comparison, a sort, an encoding) weighs it first.
    """
    size = _scalar_size(value)
    if size is None:
        size = _weigh_parts(work, value)
    elif size > work.limits.result_bytes:
        raise _too_large(work)
    return size


def _weigh_parts(work: Work, value: object) -> int:
    """Walk the parts with a stack of our own, and stop as soon as a limit is passed."""
    limit, depth = work.limits.result_bytes, work.limits.depth
    size = 0
    stack: list[Iterator[object]] = [iter((value,))]
    while stack:
        for item in stack[-1]:
            found = _scalar_size(item)
            if found is None:
                parts, found = _open(work, item)
                stack.append(parts)
                size += found
                break
            size += found
            if size > limit:
                break
        else:
            stack.pop()
        if size > limit:
            raise _too_large(work)
        if len(stack) > depth + 1:
            raise EvaluationError(f"has a value nested more than {depth} deep")
    return size


def _too_large(work: Work) -> EvaluationError:
    return EvaluationError(f"has a value of more than {work.limits.result_bytes} bytes of JSON")


def _scalar_size(value: object) -> int | None:
    """Measure what has no parts; None for what has. The commonest come first."""
    kind = type(value)
    if kind is dict or kind is list:
        return None
    if isinstance(value, str):
        return len(value) + 2 if value.isascii() else len(value.encode(errors="surrogatepass")) + 2
    if isinstance(value, int):
        return value.bit_length() // 3 + 2
    if isinstance(value, float):
        if not math.isfinite(value):
            raise EvaluationError("gives a number that JSON cannot hold: infinite, or none at all")
        return 20
    return 4 if value is None else None


def _open(work: Work, item: object) -> tuple[Iterator[object], int]:
    """Give the parts of an object or list that are to be walked, and the size of the rest of it."""
    if isinstance(item, list):
        work.spend(2 + len(item) // PARTS_PER_STEP)
        flat = _flat_size(item) if len(item) > SHORT_LIST else None
        return (iter(item), 2 + len(item)) if flat is None else (iter(()), flat)
    if isinstance(item, Mapping):
        work.spend(3 + len(item) // PARTS_PER_STEP)
        return iter(item.values()), 2 + 4 * len(item) + sum(map(len, item))
    if type(item) is Missing:
        raise EvaluationError(item.message())
    raise EvaluationError("gives something that is no JSON value")


def _flat_size(items: list[Any]) -> int | None:
    """Measure a list of whole numbers or of ASCII texts without a step of Python for each; None for any other list."""
    kinds = set(map(type, items))
    if kinds == {int}:
        return sum(map(int.bit_length, items)) // 3 + 3 * len(items)
    if kinds == {str} and all(map(str.isascii, items)):
        return sum(map(len, items)) + 3 * len(items)
    return None


def to_text(work: Work, value: object) -> str:
    """Give the text of a value: text as it is, everything else as compact JSON."""
    if isinstance(value, str):
        return value
    work.spend_text(weigh(work, value))
    return str(value) if type(value) is int else _compact.encode(value)


def identity_key(work: Work, value: object) -> tuple[str, object]:
    """Give something hashable that is equal for equal values: 1 and 1.0 are, 1 and true are not."""
    if value is None or isinstance(value, bool):
        return "word", value
    if isinstance(value, int | float):
        return "number", value
    if isinstance(value, str):
        return "text", value
    work.spend_text(weigh(work, value))
    return "json", _canonical.encode(value)


def text_of(value: object) -> str:
    """Take a text, or refuse by kind."""
    if isinstance(value, str):
        return value
    raise _unfit(value, "text")


def items_of(value: object) -> list[object]:
    """Take a list, or refuse by kind."""
    if isinstance(value, list):
        return value
    raise _unfit(value, "a list")


def table_of(value: object) -> Mapping[str, object]:
    """Take an object, or refuse by kind."""
    if isinstance(value, Mapping):
        return value
    raise _unfit(value, "an object")


def number_of(value: object) -> int | float:
    """Take a number, which a boolean is not, or refuse by kind."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    raise _unfit(value, "a number")


def whole_of(value: object) -> int:
    """Take a whole number of at most 64 bits, or refuse by kind."""
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() <= INT_BITS:
        return value
    raise _unfit(value, "a whole number")


def _unfit(value: object, needed: str) -> EvaluationError:
    return EvaluationError(f"has {strict_kind(value)}; needed is {needed}")


def strict_kind(value: object) -> str:
    """Say what kind of thing an operand is; a missing one raises with its own reason."""
    return describe(strict(value)).removeprefix("is ")
