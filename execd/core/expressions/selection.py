"""The tests of expressions, the filters that apply a filter or a test to every item, and the few functions.

Filters and tests are found by name in the tables below and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from execd.core.expressions.filters import PLAIN_FILTERS, attributes
from execd.core.expressions.operators import COMPARISONS, contains, is_number
from execd.core.expressions.values import (
    EvaluationError,
    Filter,
    Missing,
    Work,
    items_of,
    number_of,
    strict,
    strict_kind,
    text_of,
    whole_of,
)

Test: TypeAlias = Callable[..., object]

ITEM_STEPS = 4
"""What calling a filter or test for one item costs, besides what it counts itself."""


def _of_kind(*kinds: type) -> Test:
    return lambda _work, value, /: isinstance(value, kinds)


def _compared(operand: str) -> Test:
    compare = COMPARISONS[operand]
    return lambda work, value, other, /: compare(work, value, other)


def _divisible(_work: Work, value: object, by: object, /) -> bool:
    if by == 0:
        raise EvaluationError("divides by zero")
    return whole_of(value) % whole_of(by) == 0


def _starts(work: Work, value: object, beginning: object, /) -> bool:
    work.spend_text(len(text_of(beginning)))
    return text_of(value).startswith(text_of(beginning))


def _ends(work: Work, value: object, end: object, /) -> bool:
    work.spend_text(len(text_of(end)))
    return text_of(value).endswith(text_of(end))


def _empty(_work: Work, value: object, /) -> bool:
    if value is None or isinstance(value, str | list | Mapping):
        return not value
    raise EvaluationError(f"has {strict_kind(value)}; needed is null, text, a list or an object")


TESTS: dict[str, Test] = {
    "boolean": _of_kind(bool),
    "contains": lambda work, value, item, /: contains(work, value, item),
    "defined": lambda _work, value, /: type(value) is not Missing,
    "divisibleby": _divisible,
    "empty": _empty,
    "endswith": _ends,
    "eq": _compared("eq"),
    "equalto": _compared("eq"),
    "even": lambda _work, value, /: whole_of(value) % 2 == 0,
    "false": lambda _work, value, /: value is False,
    "float": _of_kind(float),
    "ge": _compared("gteq"),
    "gt": _compared("gt"),
    "in": _compared("in"),
    "integer": lambda _work, value, /: isinstance(value, int) and not isinstance(value, bool),
    "le": _compared("lteq"),
    "lt": _compared("lt"),
    "mapping": _of_kind(Mapping),
    "ne": _compared("ne"),
    "none": lambda _work, value, /: value is None,
    "number": lambda _work, value, /: is_number(value),
    "odd": lambda _work, value, /: whole_of(value) % 2 == 1,
    "sequence": _of_kind(list, str),
    "startswith": _starts,
    "string": _of_kind(str),
    "true": lambda _work, value, /: value is True,
    "undefined": lambda _work, value, /: type(value) is Missing,
}
SEES_MISSING = frozenset({"default", "d", "defined", "undefined"})
"""The filters and tests to which a missing value may be given."""


def _nothing(value: object) -> object:
    return value


def _map(work: Work, value: object, name: object = None, /, *args: object, **kwargs: object) -> list[object]:
    if name is None:
        return _map_attribute(work, value, **kwargs)
    items = items_of(value)
    work.spend(len(items) * ITEM_STEPS)
    change = FILTERS[text_of(name)]
    look = _nothing if name in SEES_MISSING else strict
    return [strict(change(work, look(item), *args, **kwargs)) for item in items]


def _map_attribute(work: Work, value: object, *, attribute: object, default: object = None) -> list[object]:
    found = attributes(work, value, attribute)
    if default is None:
        return [strict(item) for item in found]
    return [default if type(item) is Missing else item for item in found]


def _picked(
    work: Work, items: list[object], looked_at: list[object], name: object, args: tuple[object, ...]
) -> tuple[list[object], list[object]]:
    """Part the items into those that pass a test (or are true, without one) and the others."""
    work.spend(len(items) * ITEM_STEPS)
    test = TESTS[text_of(name)] if name is not None else lambda _work, value, /: bool(value)
    look = _nothing if name in SEES_MISSING else strict
    passed: list[object] = []
    others: list[object] = []
    for item, seen in zip(items, looked_at, strict=True):
        (passed if test(work, look(seen), *args) else others).append(item)
    return passed, others


def _select(work: Work, value: object, name: object = None, /, *args: object) -> list[object]:
    items = items_of(value)
    return _picked(work, items, items, name, args)[0]


def _reject(work: Work, value: object, name: object = None, /, *args: object) -> list[object]:
    items = items_of(value)
    return _picked(work, items, items, name, args)[1]


def _select_by(work: Work, value: object, attribute: object, name: object = None, /, *args: object) -> list[object]:
    items = items_of(value)
    return _picked(work, items, attributes(work, items, attribute), name, args)[0]


def _reject_by(work: Work, value: object, attribute: object, name: object = None, /, *args: object) -> list[object]:
    items = items_of(value)
    return _picked(work, items, attributes(work, items, attribute), name, args)[1]


FILTERS: dict[str, Filter] = {
    **PLAIN_FILTERS,
    "map": _map,
    "reject": _reject,
    "rejectattr": _reject_by,
    "select": _select,
    "selectattr": _select_by,
}
NAMED_ARGUMENT: dict[str, tuple[int, Mapping[str, Callable[..., object]]]] = {
    "map": (0, FILTERS),
    "reject": (0, TESTS),
    "rejectattr": (1, TESTS),
    "select": (0, TESTS),
    "selectattr": (1, TESTS),
}
"""Which argument of a filter names another filter or test, and the table it must be in."""


def _range(work: Work, start: object, stop: object = None, step: object = 1, /) -> list[object]:
    first, last = (0, whole_of(start)) if stop is None else (whole_of(start), whole_of(stop))
    if number_of(step) == 0:
        raise EvaluationError("has the step 0")
    numbers = range(first, last, whole_of(step))
    work.spend((numbers[-1] - numbers[0]) // numbers.step + 1 if numbers else 1)
    return list(numbers)


def _zip(work: Work, /, *lists: object) -> list[object]:
    columns = [items_of(column) for column in lists]
    work.spend(sum(len(column) for column in columns) + 1)
    if len({len(column) for column in columns}) > 1:
        raise EvaluationError("needs lists of one length")
    return [list(row) for row in zip(*columns, strict=True)]


FUNCTIONS: dict[str, Callable[..., object]] = {"range": _range, "zip": _zip}
"""All that can be called by its name."""
