"""JSON values as JavaScript sees them: their text, whether they count as true, and the number a text begins with.

Flows compare and insert values as text by these rules, and what they are sent to depends on every character. `UNSET` is
JavaScript's `undefined`: what is not there, as against null.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UNSET

MAX_SAFE_DIGITS = 21
"""Numbers of more digits have an exponent. Source: ECMA-262, Number::toString."""
_LEADING_NUMBER = re.compile(
    r"[ \t\n\r\v\f\xa0\ufeff]*([+-]?(?:Infinity|\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?))"
)
_FLOAT = re.compile(rb"\d\.0(?!\d)|\d[eE][+-]?\d")
"""A number that JSON may have and JavaScript writes in another way; some text, too."""
_WHOLE = re.compile(r"[+-]?\d+", re.ASCII)


def js_text(value: Any) -> str:
    """Give `String(value)`: `1.0` is `1`, `[1, [2, null]]` is `1,2,`, any object is `[object Object]`."""
    if isinstance(value, str):
        return value
    if value is None:
        return "null"
    if value is UNSET:
        return "undefined"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return _number_text(value)
    if isinstance(value, Mapping):
        return "[object Object]"
    return ",".join("" if item is None else js_text(item) for item in value)


def _number_text(value: float) -> str:
    """Whole numbers keep every digit, also those that JavaScript would lose."""
    if isinstance(value, int) and len(str(abs(value))) <= MAX_SAFE_DIGITS:
        return str(value)
    value = float(value)
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    return sign + _digits_text(*_shortest(abs(value)))


def _shortest(value: float) -> tuple[str, int]:
    """Give the digits that tell the number from every other, and where its point stands after the first of them."""
    mantissa, _, exponent = f"{value!r}".partition("e")
    whole, _, part = mantissa.partition(".")
    part = "" if part == "0" else part
    digits = (whole + part).lstrip("0")
    point = len(whole.lstrip("0")) if whole.strip("0") else len(part.lstrip("0")) - len(part)
    return digits.rstrip("0") or "0", point + int(exponent or 0)


def _digits_text(digits: str, point: int) -> str:
    count = len(digits)
    if count <= point <= MAX_SAFE_DIGITS:
        return digits + "0" * (point - count)
    if 0 < point <= MAX_SAFE_DIGITS:
        return f"{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return "0." + "0" * -point + digits
    exponent = f"e{'+' if point > 0 else '-'}{abs(point - 1)}"
    return digits + exponent if count == 1 else f"{digits[0]}.{digits[1:]}{exponent}"


def leading_number(value: Any) -> float | None:
    """Give `parseFloat(value)`: `"12abc"` is 12; None is `NaN`, for what begins with no number."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return None if isinstance(value, float) and math.isnan(value) else value
    found = _LEADING_NUMBER.match(js_text(value))
    if found is None:
        return None
    text = found[1]
    if text.endswith("Infinity"):
        return -math.inf if text[0] == "-" else math.inf
    return int(text) if _WHOLE.fullmatch(text) and len(text) <= MAX_SAFE_DIGITS else float(text)


def number_text(value: float | None) -> str:
    """Show what `leading_number` gave."""
    return "NaN" if value is None else js_text(value)


def is_truthy(value: Any) -> bool:
    """Whether JavaScript takes it for true: empty lists and objects too."""
    if value is None or value is UNSET or value is False or value == "":
        return False
    return not (isinstance(value, int | float) and (value == 0 or value != value))


def is_same(one: Any, other: Any) -> bool:
    """Whether two values are `===` where one of them is a number, a text or a boolean."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, int | float) and isinstance(other, int | float):
        return one == other
    return isinstance(one, str) and isinstance(other, str) and one == other


def is_number(value: Any) -> bool:
    """Whether `typeof value` is `number`."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_missing(value: Any) -> bool:
    """Whether it is null or undefined."""
    return value is None or value is UNSET


def text_length(text: str) -> int:
    """Count UTF-16 units, as `length` does."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", errors="surrogatepass")) // 2


def json_text(value: Any) -> str:
    """Give compact JSON; of undefined, JavaScript's word for it."""
    return "undefined" if value is UNSET else msgspec.json.encode(value).decode()


def js_json(value: Any) -> bytes:
    """Write JSON as `JSON.stringify` does: `1.0` is `1`, and `1e21` is `1e+21`."""
    data = msgspec.json.encode(value)
    return data if _FLOAT.search(data) is None else msgspec.json.encode(_with_js_numbers(value))


def _with_js_numbers(value: Any) -> Any:
    match value:
        case float():
            return msgspec.Raw(js_text(value).encode()) if math.isfinite(value) else None
        case Mapping():
            return {key: _with_js_numbers(item) for key, item in value.items()}
        case list() | tuple():
            return [_with_js_numbers(item) for item in value]
    return value


def kind_of(value: Any) -> str:
    """Name a value's JSON type, as schemas do; what is missing is `undefined`."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case Mapping():
            return "object"
    return "undefined" if value is UNSET else "array"


def length_of(value: Any) -> int | None:
    """Count the items of a list, the units of a text or the keys of an object; None for anything else."""
    if isinstance(value, str):
        return text_length(value)
    return len(value) if isinstance(value, Mapping | list | tuple) else None
