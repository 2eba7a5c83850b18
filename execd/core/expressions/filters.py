"""The filters of expressions that shape values: the whole list, nothing else can be called by `|`.

Texts compare exactly, in sorting and grouping too (`map('lower')` first for anything else); a value that does not fit is
an error, never a silent empty. There is no clock, no randomness, no pattern language and no way to an attribute.
A filter gets the work to count its steps in, the value, and the arguments as they stand in the expression.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from execd.core.expressions.operators import checked
from execd.core.expressions.texts import TEXT_FILTERS
from execd.core.expressions.times import from_timestamp, to_format, to_timestamp
from execd.core.expressions.values import (
    EvaluationError,
    Filter,
    Missing,
    Work,
    identity_key,
    items_of,
    lookup,
    number_of,
    strict,
    strict_kind,
    table_of,
    text_of,
    to_text,
    weigh,
    whole_of,
)

MAX_ROUND_DIGITS = 20
"""More digits than a float has; Python would compute ten to that power."""
CALL_STEPS = 10
"""What a filter costs that makes several lists, even for an empty one: `map` may call it for every item."""
MAX_NUMBER_CHARS = 100
"""Of a text that `int` and `float` read."""


def _default(_work: Work, value: object, /, default_value: object = "", boolean: object = False) -> object:  # noqa: FBT002 - as Jinja has it
    return default_value if type(value) is Missing or (boolean and not value) else value


def _length(_work: Work, value: object, /) -> int:
    if isinstance(value, str | list | Mapping):
        return len(value)
    raise EvaluationError(f"has {strict_kind(value)}; needed is text, a list or an object")


def _join(work: Work, value: object, /, separator: object = "", attribute: object = None) -> str:
    items = _attributes(work, items_of(value), attribute)
    between = text_of(separator)
    work.spend(len(items))
    texts = [to_text(work, strict(item)) for item in items]
    work.spend_text(sum(map(len, texts)) + len(between) * len(texts))
    return between.join(texts)


def _first(_work: Work, value: object, /) -> object:
    sequence = value if isinstance(value, str) else items_of(value)
    return sequence[0] if sequence else Missing("the first of an empty list or text does not exist")


def _last(_work: Work, value: object, /) -> object:
    sequence = value if isinstance(value, str) else items_of(value)
    return sequence[-1] if sequence else Missing("the last of an empty list or text does not exist")


def _reverse(work: Work, value: object, /) -> object:
    if isinstance(value, str):
        work.spend_text(len(value))
        return value[::-1]
    items = items_of(value)
    work.spend(len(items) // 8 + 1)
    return items[::-1]


def _round(_work: Work, value: object, /, digits: object = 0, method: object = "common") -> object:
    number, places = number_of(value), whole_of(digits)
    if abs(places) > MAX_ROUND_DIGITS:
        raise EvaluationError(f"rounds to at most {MAX_ROUND_DIGITS} digits")
    if method == "common":
        return checked(round(number, places) if places else round(number))
    if method not in ("ceil", "floor"):
        raise EvaluationError("knows the methods common, ceil and floor")
    step = math.ceil if method == "ceil" else math.floor
    return checked(step(number * 10**places) / 10**places if places else step(number))


def _absolute(_work: Work, value: object, /) -> object:
    return checked(abs(number_of(value)))


_NO_DEFAULT = Missing("")


def _to_number(read: Callable[[str | int | float], int | float]) -> Filter:
    def apply(_work: Work, value: object, /, default: object = _NO_DEFAULT) -> object:
        if isinstance(value, int | float) or (isinstance(value, str) and len(value) <= MAX_NUMBER_CHARS):
            try:
                return checked(read(value))
            except (ValueError, OverflowError, EvaluationError):
                pass
        if default is not _NO_DEFAULT:
            return default
        raise EvaluationError(f"has {strict_kind(value)} that is no such number")

    return apply


def _read_int(value: str | int | float) -> int:
    try:
        return int(value)
    except ValueError:
        return int(float(value))


_WORDS = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
    "": False,
}


def _boolean(_work: Work, value: object, /) -> bool:
    if value is None or isinstance(value, int | float):
        return bool(value)
    if isinstance(value, str) and len(value) <= MAX_NUMBER_CHARS and value.strip().lower() in _WORDS:
        return _WORDS[value.strip().lower()]
    raise EvaluationError(
        f"has {strict_kind(value)}; needed is a boolean, a number, null, or one of {', '.join(_WORDS)}"
    )


def _list(work: Work, value: object, /) -> list[object]:
    if not isinstance(value, str | list | Mapping):
        raise EvaluationError(f"has {strict_kind(value)}; needed is text, a list or an object")
    work.spend(len(value) // 4 + 1)
    return list(value)


def _keys(work: Work, value: object, /) -> list[object]:
    table = table_of(value)
    work.spend(len(table) // 4 + 1)
    return list(table)


def _values(work: Work, value: object, /) -> list[object]:
    table = table_of(value)
    work.spend(len(table) // 4 + 1)
    return list(table.values())


def _items(work: Work, value: object, /) -> list[object]:
    table = table_of(value)
    work.spend(len(table))
    return [[key, item] for key, item in table.items()]


def _from_items(work: Work, value: object, /) -> dict[str, object]:
    pairs = items_of(value)
    work.spend(len(pairs))
    table: dict[str, object] = {}
    for pair in pairs:
        if not (isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str)):
            raise EvaluationError("needs pairs of a text and a value")
        table[pair[0]] = pair[1]
    return table


def _merge(work: Work, value: object, /, other: object) -> dict[str, object]:
    left, right = table_of(value), table_of(other)
    work.spend((len(left) + len(right)) // 4 + 1)
    return {**left, **right}


def _flatten(work: Work, value: object, /) -> list[object]:
    flat: list[object] = []
    for item in items_of(value):
        parts = item if isinstance(item, list) else [item]
        work.spend(1 + len(parts) // 8)
        flat.extend(parts)
    return flat


def _attributes(work: Work, items: list[object], attribute: object) -> list[object]:
    """Follow a dotted path into every item, by keys and places only."""
    if attribute is None:
        return items
    path = [attribute] if type(attribute) is int else text_of(attribute).split(".")
    work.spend(len(items) * len(path) * 2)
    for part in path:
        key = (
            int(part)
            if isinstance(part, str) and part.isascii() and part.isdecimal() and len(part) < MAX_ROUND_DIGITS
            else part
        )
        items = [lookup(item, key, "an item", hides_keys=True, hides_key=True) for item in items]
    return items


def attributes(work: Work, value: object, attribute: object) -> list[object]:
    """Give, for each item of a list, what a dotted path leads to there; `Missing` where nothing is."""
    return _attributes(work, items_of(value), attribute)


def _sort(work: Work, value: object, /, reverse: object = False, *, attribute: object = None) -> list[object]:  # noqa: FBT002 - as Jinja has it
    items = items_of(value)
    keys = _orderable(work, items, attribute)
    order = sorted(range(len(items)), key=keys.__getitem__, reverse=bool(reverse))
    return [items[place] for place in order]


def _orderable(work: Work, items: list[object], attribute: object) -> list[Any]:
    """Give what to order by: all numbers, or all texts; weighed, so that comparing them is cheap."""
    work.spend(CALL_STEPS)
    keys = [strict(key) for key in _attributes(work, items, attribute)]
    weigh(work, keys)
    work.spend(len(keys) * max(1, len(keys).bit_length() // 4))
    text_count = sum(isinstance(key, str) for key in keys)
    if text_count not in (0, len(keys)):
        raise EvaluationError("orders numbers or texts, not both together")
    return keys if text_count else [number_of(key) for key in keys]


def _least(work: Work, value: object, /, *, attribute: object = None) -> object:
    items = items_of(value)
    keys = _orderable(work, items, attribute)
    return items[keys.index(min(keys))] if keys else Missing("the least of an empty list does not exist")


def _greatest(work: Work, value: object, /, *, attribute: object = None) -> object:
    items = items_of(value)
    keys = _orderable(work, items, attribute)
    return items[keys.index(max(keys))] if keys else Missing("the greatest of an empty list does not exist")


def _sum(work: Work, value: object, /, attribute: object = None, start: object = 0) -> object:
    items = _attributes(work, items_of(value), attribute)
    work.spend(len(items))
    for item in items:
        if type(item) not in (int, float):
            number_of(strict(item))
    weigh(work, items)
    return checked(sum(items, number_of(start)))  # type: ignore[arg-type] # all are numbers: the others were refused


def _unique(work: Work, value: object, /, *, attribute: object = None) -> list[object]:
    items = items_of(value)
    seen: dict[object, object] = {}
    weigh(work, items)
    work.spend(CALL_STEPS)
    for item, key in zip(items, _attributes(work, items, attribute), strict=True):
        work.spend(1)
        seen.setdefault(identity_key(work, strict(key)), item)
    return list(seen.values())


def _group_by(work: Work, value: object, /, attribute: object) -> list[object]:
    """Group in the order of first appearance: `[{"grouper": …, "list": […]}, …]`."""
    items = items_of(value)
    groups: dict[object, dict[str, object]] = {}
    weigh(work, items)
    work.spend(CALL_STEPS)
    for item, key in zip(items, _attributes(work, items, attribute), strict=True):
        work.spend(2)
        group = groups.setdefault(identity_key(work, strict(key)), {"grouper": key, "list": []})
        items_of(group["list"]).append(item)
    return list(groups.values())


PLAIN_FILTERS: dict[str, Filter] = {
    **TEXT_FILTERS,
    "abs": _absolute,
    "bool": _boolean,
    "count": _length,
    "d": _default,
    "default": _default,
    "first": _first,
    "flatten": _flatten,
    "float": _to_number(float),
    "from_items": _from_items,
    "groupby": _group_by,
    "int": _to_number(_read_int),
    "items": _items,
    "join": _join,
    "keys": _keys,
    "last": _last,
    "length": _length,
    "list": _list,
    "max": _greatest,
    "merge": _merge,
    "min": _least,
    "reverse": _reverse,
    "rfc3339": from_timestamp,
    "round": _round,
    "sort": _sort,
    "strftime": to_format,
    "sum": _sum,
    "timestamp": to_timestamp,
    "unique": _unique,
    "values": _values,
}
"""By name. What works on items by the name of another filter or test is in `expression_selection`."""
