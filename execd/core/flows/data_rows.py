"""Rows of data a flow runs with, once for each: a list of objects, or CSV with a line of names."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from itertools import islice
from typing import Any

from execd.core.errors import InvalidRequestError

MAX_ROWS = 10_000
"""As items of a `map`."""
MAX_COLUMNS = 1000
"""Of CSV: every row has a value for each."""


class DataError(InvalidRequestError):
    """The rows cannot be read; the message says why. Mend the config; the same fails again."""


def read_rows(data: Any) -> tuple[dict[str, Any], ...] | None:
    """Read `data` of a config; None where it has none.

    Raises:
        DataError: it is neither a list of objects nor CSV.
    """
    if data is None:
        return None
    if isinstance(data, Mapping) and isinstance(data.get("csv"), str):
        rows = _read_csv(data["csv"])
    elif isinstance(data, list | tuple) and all(isinstance(row, Mapping) for row in data):
        rows = tuple(dict(row) for row in data)
    else:
        raise DataError('data must be a list of objects, or {"csv": text}')
    if not 1 <= len(rows) <= MAX_ROWS:
        found = f"more than {MAX_ROWS}" if len(rows) > MAX_ROWS else "none"
        raise DataError(f"data must have 1 to {MAX_ROWS} rows (got {found})")
    return rows


def _read_csv(text: str) -> tuple[dict[str, Any], ...]:
    """Values stay texts; a row shorter than the line of names lacks the rest."""
    try:
        reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline=""), restkey="", strict=True)
        if len(reader.fieldnames or ()) > MAX_COLUMNS:
            raise DataError(f"data.csv must have at most {MAX_COLUMNS} columns")
        rows = [
            {name: value for name, value in row.items() if name and value is not None}
            for row in islice(reader, MAX_ROWS + 1)
        ]
    except csv.Error as error:
        raise DataError(f"data.csv cannot be read: {error}") from None
    if not reader.fieldnames or len(set(reader.fieldnames)) < len(reader.fieldnames):
        raise DataError("data.csv must begin with a line of names, each of them once")
    return tuple(rows)
