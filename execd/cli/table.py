"""The tables of `execd ls` and of definitions, made to fit. Pure.

What gives way in a narrow terminal for `execd ls`, in this order: the name's end; the date and the seconds of CREATED; the
words of STATUS; CREATED and TOOK as a whole; the id's end last, because an id that is cut cannot be pasted.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size

GAP = 2
"""Blanks between two columns."""
NAME_CELLS = 12
"""What a name should keep before the other columns are shortened."""
SECONDS_CELLS = len(":00")
ID, STATUS, NAME, CREATED, TOOK = range(5)

Row = tuple[str, ...]


def format_table(header: Row, rows: Sequence[Row], *, columns: int | None) -> list[Row]:
    """Give the header and the rows with every cell padded to its column, none wider together than `columns`.

    Args:
        columns: of the terminal; None for whatever width it takes.
    """
    table = [header, *(tuple(_printable(cell) for cell in row) for row in rows)]
    for shorten in (_drop_date, _drop_status_words, _drop_times):
        if columns is None or _width(table) - _name_width(table) + min(_name_width(table), NAME_CELLS) <= columns:
            break
        table = shorten(table)
    widths = _widths(table)
    if columns is not None:
        widths[NAME] = max(1, min(widths[NAME], columns - (sum(widths) - widths[NAME]) - GAP * _gaps(widths)))
        widths[ID] = max(1, min(widths[ID], columns - (sum(widths) - widths[ID]) - GAP * _gaps(widths)))
    return [tuple(_fit(cell, width) for cell, width in zip(row, widths, strict=True) if width) for row in table]


def format_columns(header: Row, rows: Sequence[Row], *, columns: int | None, gives_way: int) -> list[Row]:
    """Give the header and the rows with every cell padded to its column; where that is too wide, one column is cut."""
    table = [header, *(tuple(_printable(cell) for cell in row) for row in rows)]
    widths = _widths(table)
    if columns is not None:
        widths[gives_way] = max(NAME_CELLS, widths[gives_way] - max(0, _width(table) - columns))
    return [tuple(_fit(cell, width) for cell, width in zip(row, widths, strict=True)) for row in table]


def _widths(table: Sequence[Row]) -> list[int]:
    return [max(cell_len(cell) for cell in column) for column in zip(*table, strict=True)]


def _gaps(widths: Sequence[int]) -> int:
    return sum(width > 0 for width in widths) - 1


def _width(table: Sequence[Row]) -> int:
    widths = _widths(table)
    return sum(widths) + GAP * _gaps(widths)


def _name_width(table: Sequence[Row]) -> int:
    return _widths(table)[NAME]


def _drop_date(table: Sequence[Row]) -> list[Row]:
    """`2026-01-01 10:20:30` becomes `01-01 10:20`."""
    return [table[0], *(_with(row, CREATED, row[CREATED][5:-SECONDS_CELLS]) for row in table[1:])]


def _drop_status_words(table: Sequence[Row]) -> list[Row]:
    return [_with(table[0], STATUS, " "), *(_with(row, STATUS, row[STATUS][:1]) for row in table[1:])]


def _drop_times(table: Sequence[Row]) -> list[Row]:
    return [_with(_with(row, CREATED, ""), TOOK, "") for row in table]


def _with(row: Row, index: int, cell: str) -> Row:
    return (*row[:index], cell, *row[index + 1 :])


def _printable(cell: str) -> str:
    """Keep line ends and the terminal's own commands out: a name may be anything."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in cell)


def _fit(cell: str, width: int) -> str:
    if cell_len(cell) <= width:
        return set_cell_size(cell, width)
    return set_cell_size(cell, width - 1) + "…"
