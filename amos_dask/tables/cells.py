"""Tables as worksheets hold them: their cells, what their columns are, and their checksums."""

from __future__ import annotations

import datetime
import hashlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from amos_dask.root.layout import SPLIT_NAME
from amos_dask.root.table_state import OwnSheet

if TYPE_CHECKING:  # workers, which write tables, need no pandas
    import pandas as pd

LARGEST_CELL = 32_767
LARGEST_SHEET = 1_048_576  # rows, the header included
# XML cannot hold these; openpyxl refuses them.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_MISSING = ("NAType", "NaTType")  # of pandas
_ROWS_LOOKED_AT = 20


class Cells(NamedTuple):
    """A table as a worksheet holds it."""

    columns: tuple[str, ...]
    rows: Sequence[list[Any]]  # texts, whole numbers, finite floats, times; None for a blank cell
    # From the workbook's folder to that of the paths, such as ``../``; None for no links to them.
    links_from: str | None = None


def cells_of_sheets(root: Path, path: Path, sheets: Mapping[str, pd.DataFrame]) -> dict[str, Cells]:
    """Return the worksheets of a workbook as it is going to hold them.

    The last one, ``Columns``, says what their columns are, if there is none of that title.

    Parameters
    ----------
    root, path : Path
        ROOT_DIR, and the workbook; absolute.
    sheets : mapping of str to DataFrame
        Worksheet title -> frame.
    """
    cells = cells_of_frames(root, path, sheets)
    if any(title.casefold() == COLUMNS_SHEET.casefold() for title in sheets):
        return cells
    told = columns_table({title: table.columns for title, table in cells.items()})
    return {**cells, COLUMNS_SHEET: told} if told.rows else cells


def cells_of_frames(root: Path, path: Path, sheets: Mapping[str, pd.DataFrame]) -> dict[str, Cells]:
    """Return frames, by title, as cells of a workbook that lead to the samples' files."""
    cells = {title: cells_of(frame) for title, frame in sheets.items()}
    links_from = _find_links_from(root, path, cells.values())
    return {title: table._replace(links_from=links_from) for title, table in cells.items()}


def cells_of(frame: pd.DataFrame) -> Cells:
    """Return what the cells of a frame hold: text as it is, numbers as Python's."""
    rows = [[_cell_value(value) for value in row] for row in frame.to_numpy(object)]
    return Cells(tuple(map(str, frame.columns)), rows)


def _find_links_from(root: Path, path: Path, tables: Iterable[Cells]) -> str | None:
    """Return the way from a workbook to the folder of its paths; None where there are none.

    That is the first folder, from its own up to ROOT_DIR, below which there is one of its samples'.
    """
    folders = set[str]()
    for columns, rows, _ in tables:
        if {"ID", "info"} <= set(columns):
            place = columns.index("info")
            infos = (row[place] for row in rows[:_ROWS_LOOKED_AT])
            folders |= {info.rpartition("/")[0] for info in infos if isinstance(info, str)}
    for above, folder in enumerate(path.parents if folders else ()):
        if any((folder / name).is_dir() for name in folders):
            return "../" * above
        if folder == root:
            break
    return None


def _cell_value(value: Any) -> Any:
    if isinstance(value, str):
        return _UNPRINTABLE.sub("\ufffd", value)[:LARGEST_CELL] or None
    if value is None or type(value).__name__ in _MISSING:
        return None
    if isinstance(value, (datetime.date, datetime.time)):  # a datetime is a date
        return value
    if isinstance(value, (bool, int, np.integer)):
        return int(value)
    number = float(value)
    return number if math.isfinite(number) else None


COLUMNS_SHEET = "Columns"
_COLUMNS = ("worksheet", "column", "meaning")
_ROW = re.compile(r"^\| (`.+`) \| (.+) \|$", re.MULTILINE)
_PLACEHOLDER = re.compile(r"\\\{\w+\\\}")  # as `re.escape` leaves it
_ANY_SPLIT = "split01_any"  # stands for a split of whatever name


@cache
def _read_tables() -> tuple[dict[re.Pattern[str], str], ...]:
    """Return what each table of the documents says: names of columns -> their text."""
    text = files("amos_dask.tables").joinpath("columns.md").read_text(encoding="utf-8")
    tables = []
    for part in text.split("| column |")[1:]:
        told = [(n, m.replace("`", "")) for ns, m in _ROW.findall(part) for n in ns.split(", ")]
        told.sort(key=lambda row: -len(row[0]))  # ``mask_…_existence`` before ``mask_…``
        names = ((_PLACEHOLDER.sub(".+", re.escape(n.strip("`"))), meant) for n, meant in told)
        tables.append({re.compile(name): meant for name, meant in names})
    return tuple(tables)


@cache
def explain_columns(columns: tuple[str, ...]) -> Mapping[str, str]:
    """Return what the columns of a worksheet are: of those that the documents name.

    The table of the documents is the one that tells most of them, and least of others.

    Parameters
    ----------
    columns : sequence of str
        Their names, such as ``ID``, ``mask_01_spleen``.

    Returns
    -------
    dict of str to str
        Column -> text.
    """

    def find(table: Mapping[re.Pattern[str], str]) -> dict[str, str]:
        matches = ((c, next((p for p in table if p.fullmatch(c)), None)) for c in columns)
        return {column: table[pattern] for column, pattern in matches if pattern is not None}

    found = ((find(table), len(table)) for table in _read_tables())
    return max(found, key=lambda pair: (len(pair[0]), -pair[1]))[0]


def columns_table(sheets: Mapping[str, Sequence[str]]) -> Cells:
    """Return worksheet ``Columns``: a row a column, with the first worksheet that has it.

    Parameters
    ----------
    sheets : mapping of str to sequence of str
        Worksheet title -> columns; one called as its worksheet tells the parts of a split.
    """
    rows = dict[str, list[Any]]()
    for title, columns in sheets.items():
        names = tuple(_ANY_SPLIT if name == title else name for name in columns)
        told = explain_columns(names)
        for name in columns:
            meaning = told.get(_ANY_SPLIT if name == title else name)
            if meaning is not None:
                rows.setdefault(name, [title, name, meaning])
    return Cells(_COLUMNS, [[_cell_value(value) for value in row] for row in rows.values()])


_BITS = 128
_DIGITS = 10  # programs save 15 to 17 of a number


def unpacked(sheets: Mapping[str, Cells]) -> dict[str, Cells]:
    """Return tables with their rows in lists: as `Compact` each look at them costs time."""
    return {title: table._replace(rows=list(table.rows)) for title, table in sheets.items()}


def describe(sheets: Mapping[str, Cells]) -> dict[str, OwnSheet]:
    """Return what is known of worksheets that hold tables."""
    return {title: _describe(title, table) for title, table in sheets.items()}


def _describe(title: str, table: Cells) -> OwnSheet:
    compared = [index for index, name in enumerate(table.columns) if is_compared(name, title)]
    names = [table.columns[index] for index in compared]
    rows = [[row[index] for index in compared] for row in table.rows]
    exact = checksum(names, ([repr(value) for value in row] for row in rows))
    return OwnSheet(table.columns, checksum(names, rows), exact)


def is_compared(column: str, title: str) -> bool:
    """Return whether a column is ours alone: parts of a split of one's own may be edited."""
    return column != title or title == SPLIT_NAME


def checksum(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
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
