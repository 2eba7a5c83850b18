"""The operators of expressions. Each looks at the kinds of its operands and refuses what Python would do by surprise:
formatting by `%`, complex numbers, whole numbers of a million digits.

*Never* starts work whose size it has not counted.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

from execd.core.expressions.values import (
    INT_BITS,
    EvaluationError,
    Work,
    number_of,
    strict_kind,
    to_text,
    weigh,
    whole_of,
)
from execd.core.fields import describe

Operator = Callable[[Work, object, object], object]


def is_number(value: object) -> bool:
    """Whether arithmetic takes it: a boolean is no number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def checked(value: object) -> int | float:
    """Give the result of arithmetic if JSON can hold it."""
    if isinstance(value, int) and value.bit_length() <= INT_BITS:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise EvaluationError(
        f"gives a number that is not finite, not real, or a whole number of more than {INT_BITS} bits"
    )


def _arithmetic(compute: Callable[[int | float, int | float], object]) -> Operator:
    def apply(_work: Work, left: object, right: object) -> object:
        if not (is_number(left) and is_number(right)):
            raise _unfit(left, right, "two numbers")
        first, second = number_of(left), number_of(right)
        for number in (first, second):
            if isinstance(number, int):
                whole_of(number)
        try:
            return checked(compute(first, second))
        except ZeroDivisionError:
            raise EvaluationError("divides by zero") from None
        except OverflowError:
            raise EvaluationError("gives a number that is not finite") from None

    return apply


def _unfit(left: object, right: object, needed: str) -> EvaluationError:
    return EvaluationError(f"has {strict_kind(left)} and {strict_kind(right)}; needed are {needed}")


def _power(base: int | float, exponent: int | float) -> object:
    if isinstance(base, int) and isinstance(exponent, int) and exponent > 0:
        if abs(base) > 1 and (base.bit_length() - 1) * exponent > INT_BITS:
            raise EvaluationError(f"gives a whole number of more than {INT_BITS} bits")
        if abs(base) <= 1:
            exponent = exponent % 2 or 2
    return base**exponent


_sum = _arithmetic(operator.add)
_product = _arithmetic(operator.mul)


def add(work: Work, left: object, right: object) -> object:
    """Add numbers; join texts or lists."""
    if isinstance(left, str) and isinstance(right, str):
        work.spend_text(len(left) + len(right))
        return left + right
    if isinstance(left, list) and isinstance(right, list):
        work.spend((len(left) + len(right)) // 8 + 1)
        return left + right
    if is_number(left) and is_number(right):
        return _sum(work, left, right)
    raise _unfit(left, right, "two numbers, two texts or two lists (`~` joins anything as text)")


def multiply(work: Work, left: object, right: object) -> object:
    """Multiply numbers; repeat a text or a list."""
    if isinstance(right, str | list):
        left, right = right, left
    if isinstance(left, str):
        count = max(whole_of(right), 0)
        work.spend_text(len(left) * count)
        return left * count
    if isinstance(left, list):
        count = max(whole_of(right), 0)
        work.spend(len(left) * count // 8 + 1)
        return left * count
    return _product(work, left, right)


def concatenate(work: Work, values: list[object]) -> str:
    """Join anything as text: the `~` operator."""
    texts = [to_text(work, value) for value in values]
    work.spend_text(sum(map(len, texts)))
    return "".join(texts)


def equals(work: Work, left: object, right: object) -> bool:
    """Compare by value; 1 equals 1.0."""
    if isinstance(left, list | Mapping) and isinstance(right, list | Mapping):
        weigh(work, left)
        weigh(work, right)
    elif isinstance(left, str) and isinstance(right, str) and len(left) == len(right):
        work.spend_text(len(left))
    strict_kind(left)
    strict_kind(right)
    return left == right


def contains(work: Work, container: object, item: object) -> bool:
    """Look for a text in a text, an item in a list, a key in an object."""
    if isinstance(container, str):
        if not isinstance(item, str):
            raise EvaluationError(f"looks in a text for {strict_kind(item)}; needed is text")
        work.spend_text(len(container))
        return item in container
    if isinstance(container, list):
        weigh(work, container)
        weigh(work, item)
        return item in container
    if isinstance(container, Mapping):
        return isinstance(item, str) and item in container
    raise EvaluationError(f"looks into {strict_kind(container)}; needed is text, a list or an object")


def _ordering(compare: Callable[[Any, Any], Any]) -> Operator:
    def apply(work: Work, left: object, right: object) -> object:
        if isinstance(left, str) and isinstance(right, str):
            work.spend_text(min(len(left), len(right)))
            return bool(compare(left, right))
        if is_number(left) and is_number(right):
            return bool(compare(left, right))
        raise _unfit(left, right, "two numbers or two texts")

    return apply


ARITHMETIC: dict[str, Operator] = {
    "Add": add,
    "Sub": _arithmetic(operator.sub),
    "Mul": multiply,
    "Div": _arithmetic(operator.truediv),
    "FloorDiv": _arithmetic(operator.floordiv),
    "Mod": _arithmetic(operator.mod),
    "Pow": _arithmetic(_power),
}
"""By the name of the syntax node."""

COMPARISONS: dict[str, Operator] = {
    "eq": equals,
    "ne": lambda work, left, right: not equals(work, left, right),
    "lt": _ordering(operator.lt),
    "lteq": _ordering(operator.le),
    "gt": _ordering(operator.gt),
    "gteq": _ordering(operator.ge),
    "in": lambda work, left, right: contains(work, right, left),
    "notin": lambda work, left, right: not contains(work, right, left),
}
"""By the name of the operand."""


def negate(_work: Work, value: object) -> object:
    """Change the sign of a number."""
    return checked(-number_of(value))


def take_slice(work: Work, value: object, bounds: tuple[object, object, object]) -> object:
    """Cut a piece out of a text or a list."""
    start, stop, step = (None if bound is None else whole_of(bound) for bound in bounds)
    if step == 0:
        raise EvaluationError("has a slice with the step 0")
    if isinstance(value, str):
        work.spend_text(len(value))
        return value[start:stop:step]
    if isinstance(value, list):
        work.spend(len(value) // 8 + 1)
        return value[start:stop:step]
    raise EvaluationError(f"cuts a slice out of something that {describe(value)}; needed is text or a list")
