"""Reading fields out of plain JSON and collecting every fault on the way, so that a caller learns of all of them at once.

A reader never raises for one field: it notes a fault and gives the default, and `Faults.raise_if_any` ends the matter.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Generic, NoReturn, TypeVar

from execd.core.errors import FieldFault, InvalidRequestError

T = TypeVar("T", int, float)

MAX_FAULTS = 50
"""Told at most; a body of two million wrong fields would otherwise make an answer larger than itself."""
SHOWN_NAME_CHARS = 64
"""Of an unknown field's name, so that an answer cannot be made huge by the question."""


class Faults:
    """What is wrong with one request. Owned by whoever parses it."""

    def __init__(self) -> None:
        self.found: list[FieldFault] = []

    def add(self, path: str, message: str, accepted: str) -> None:
        if len(self.found) < MAX_FAULTS:
            self.found.append(FieldFault(path=path, message=message, accepted=accepted))

    def refuse(self, path: str, message: str, accepted: str) -> NoReturn:
        """Raise InvalidRequestError with this and all that was found before: there is nothing further to look at."""
        self.add(path, message, accepted)
        raise InvalidRequestError(summarise(self.found), faults=tuple(self.found))

    def raise_if_any(self) -> None:
        """Raise InvalidRequestError with all of them, if there are any."""
        if self.found:
            raise InvalidRequestError(summarise(self.found), faults=tuple(self.found))


def summarise(faults: Sequence[FieldFault]) -> str:
    """Give one sentence that names the first fault and counts the others."""
    first = faults[0]
    text = f"{first.path or 'the body'} {first.message}; accepted: {first.accepted}"
    return text if len(faults) == 1 else f"{text} (and {len(faults) - 1} more)"


def describe(value: object) -> str:
    """Say what kind of thing a value is and how large, never the value itself."""
    match value:
        case None:
            return "is null"
        case bool():
            return "is a boolean"
        case int() | float():
            return "is a number"
        case str():
            return f"is text of {len(value)} characters"
        case Mapping():
            return f"is an object of {len(value)} fields"
        case Sequence():
            return f"is a list of {len(value)}"
    return f"is a {type(value).__name__}"


def text_fault(value: str, *, max_chars: int) -> str | None:
    """Say what no program or store could take in a text; None when there is nothing."""
    if len(value) > max_chars:
        return f"has {len(value)} characters"
    if "\0" in value:
        return f"has a NUL character at {value.index(chr(0))}"
    try:
        value.encode()
    except UnicodeEncodeError as error:
        return f"has a lone surrogate at {error.start}"
    return None


def is_nested_deeper(value: object, depth: int) -> bool:
    """Whether lists and objects stand in one another more than so deep. Does not recurse."""
    level = [value]
    for _ in range(depth + 1):
        level = [inner for found in level for inner in _inside(found)]
        if not level:
            return False
    return True


def _inside(value: object) -> Collection[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list | tuple) else ()


class Range(Generic[T]):
    """What a number may be, both ends included."""

    def __init__(self, low: T, high: T, *, unit: str = "") -> None:
        self.low: T = low
        self.high: T = high
        self.unit = f" {unit}" if unit else ""

    def __str__(self) -> str:
        return f"from {self.low} to {self.high}{self.unit}"


class Fields:
    """The fields of one JSON object, read one by one.

    Args:
        table: the object; anything else is a fault of the whole path.
        faults: where faults are noted.
        path: where the object stands in the body.
        known: every field it may have; others are faults that name them.
    """

    def __init__(self, table: object, faults: Faults, *, known: Collection[str], path: str = "") -> None:
        self._faults = faults
        self._path = path
        self._table: Mapping[str, object] = {}
        if not isinstance(table, Mapping):
            faults.add(path, describe(table), "a JSON object")
            return
        self._table = table
        for name in table:
            if name not in known:
                shown = str(name)[:SHOWN_NAME_CHARS].encode(errors="replace").decode()
                faults.add(self.path_of(shown), "is not a known field", ", ".join(sorted(known)) or "no fields")

    def path_of(self, name: str) -> str:
        """Give the path of a field; `` for the object itself."""
        return f"{self._path}.{name}" if self._path and name else self._path or name

    def has(self, name: str) -> bool:
        """Whether it is there and not null: null stands for leaving it out."""
        return self._table.get(name) is not None

    def raw(self, name: str) -> object:
        """Give a field as it came; None where it is left out."""
        return self._table.get(name)

    def required(self, name: str, accepted: str) -> None:
        """Note a fault if a field of any kind is left out."""
        if name not in self._table:
            self.fault(name, "is missing", accepted)

    def fault(self, name: str, message: str, accepted: str) -> None:
        self._faults.add(self.path_of(name), message, accepted)

    def text(self, name: str, *, max_chars: int, accepted: str) -> str | None:
        """Read a text; None where it is left out or wrong."""
        value = self._table.get(name)
        if value is None:
            return None
        if not isinstance(value, str):
            self.fault(name, describe(value), accepted)
            return None
        found = text_fault(value, max_chars=max_chars)
        if found is not None:
            self.fault(name, found, f"{accepted}, at most {max_chars} characters of Unicode without NUL")
            return None
        return value

    def required_text(self, name: str, *, max_chars: int, accepted: str) -> str:
        """Read a text that must be there and not be empty; gives `` after noting a fault."""
        if not self.has(name):
            self.fault(name, "is missing", accepted)
        elif self._table[name] == "":
            self.fault(name, "is empty", accepted)
        return self.text(name, max_chars=max_chars, accepted=accepted) or ""

    def choice(self, name: str, choices: Sequence[str], *, default: str) -> str:
        """Read one of a few words."""
        value = self._table.get(name)
        if value is None:
            return default
        if not isinstance(value, str) or value not in choices:
            found = describe(value) if not isinstance(value, str) else "is not one of them"
            self.fault(name, found, ", ".join(choices))
            return default
        return value

    def integer(self, name: str, allowed: Range[int], *, default: int) -> int:
        value = self._table.get(name)
        if value is None:
            return default
        if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            self.fault(name, describe(value), f"a whole number {allowed}")
            return default
        if not allowed.low <= value <= allowed.high:
            self.fault(name, f"is {value:.20g}", f"a whole number {allowed}")
            return default
        return value

    def number(self, name: str, allowed: Range[float], *, default: float) -> float:
        value = self._table.get(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            self.fault(name, describe(value), f"a number {allowed}")
            return default
        if not allowed.low <= value <= allowed.high:
            self.fault(name, f"is {value:.20g}", f"a number {allowed}")
            return default
        return float(value)

    def flag(self, name: str, *, default: bool) -> bool:
        value = self._table.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.fault(name, describe(value), "true or false")
            return default
        return value

    def items(self, name: str, *, max_count: int, accepted: str) -> Sequence[object]:
        """Read a list; empty where it is left out or wrong."""
        value = self._table.get(name)
        if value is None:
            return ()
        if not isinstance(value, Sequence) or isinstance(value, str | bytes):
            self.fault(name, describe(value), accepted)
            return ()
        if len(value) > max_count:
            self.fault(name, describe(value), f"{accepted}, at most {max_count}")
            return ()
        return value

    def mapping(self, name: str, *, max_count: int, accepted: str) -> Mapping[str, object]:
        """Read an object whose names are free; empty where it is left out or wrong."""
        value = self._table.get(name)
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            self.fault(name, describe(value), accepted)
            return {}
        if len(value) > max_count:
            self.fault(name, describe(value), f"{accepted}, at most {max_count}")
            return {}
        return value


MAX_NAME_CHARS = 200
"""Of a workspace, a user or a key: fits a line, and an index."""


def check_names(**names: str | None) -> None:
    """Check what goes into every journal and index, and comes from callers that are trusted to mean well.

    Raises:
        InvalidRequestError: one is empty, too long or no Unicode text; each is named.
    """
    faults = Faults()
    for field, text in names.items():
        if text is None:
            continue
        fault = text_fault(text, max_chars=MAX_NAME_CHARS)
        if not text:
            fault = "is empty"
        elif set(text) & set("\r\n"):
            fault = "has a line break"
        if fault is not None:
            faults.add(field, fault, f"one line of 1 to {MAX_NAME_CHARS} characters of Unicode without NUL")
    faults.raise_if_any()
