"""What the cells of a table say, however a program saved them: compared by a checksum."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd
from openpyxl import Workbook

from amos_dask.root.layout import SPLIT_NAME
from amos_dask.root.own_files import OwnSheet
from amos_dask.tables.workbook import cell_values, read_table

_BITS = 128
_DIGITS = 10  # programs save 15 to 17 of a number


def describe(title: str, frame: pd.DataFrame) -> OwnSheet:
    """Return what is known of a worksheet that holds a frame."""
    columns = [str(name) for name in frame.columns]
    compared = [index for index, name in enumerate(columns) if _is_compared(name, title)]
    names = [columns[index] for index in compared]
    rows = cell_values(frame.iloc[:, compared])
    exact = _checksum(names, ([repr(value) for value in row] for row in rows))
    return OwnSheet(tuple(columns), _checksum(names, rows), exact)


def describe_worksheet(workbook: Workbook, title: str, columns: Sequence[str]) -> OwnSheet:
    """Return what is known of a worksheet, of those of our columns that it has."""
    cells = read_table(workbook, title)
    header = [None if cell.value is None else str(cell.value) for cell in next(cells, ())]
    found = [name for name in columns if name in header]
    compared = [name for name in found if _is_compared(name, title)]
    places = [header.index(name) for name in compared]
    rows = ([_read(row[at]) if at < len(row) else None for at in places] for row in cells)
    return OwnSheet(tuple(found), _checksum(compared, rows))


def _is_compared(column: str, title: str) -> bool:
    """Return whether a column is ours alone: parts of a split of one's own may be edited."""
    return column != title or title == SPLIT_NAME


def _read(cell: Any) -> Any:
    return f"formula {cell.value}" if cell.data_type == "f" else cell.value


def _checksum(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a checksum that does not depend on the order of the rows; blank ones are none."""
    total = 0
    for row in rows:
        texts = [cell_text(value) for value in row]
        if any(texts):
            total += int.from_bytes(_digest(texts))
    return f"{_digest(columns).hex()}-{total % (1 << _BITS):x}"


def _digest(texts: Iterable[str]) -> bytes:
    return hashlib.blake2b("\x1f".join(texts).encode(), digest_size=_BITS // 8).digest()


def cell_text(value: Any) -> str:
    """Return what a cell says as a text."""
    if value is None:
        return ""
    if isinstance(value, float) and not value.is_integer():
        return f"{value:.{_DIGITS}g}"
    if isinstance(value, (int, float)):
        return str(int(value))
    return str(value).replace("\r\n", "\n").replace("\r", "\n")
