"""Worksheets: frames written with a frozen header, sensible widths and text that stays text."""

from __future__ import annotations

import datetime
import hashlib
import math
import re
import warnings
import zipfile
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from openpyxl import Workbook, load_workbook
from openpyxl.cell.cell import WriteOnlyCell
from openpyxl.styles import Font, PatternFill
from openpyxl.utils import get_column_letter, quote_sheetname
from openpyxl.utils.exceptions import InvalidFileException
from openpyxl.workbook.defined_name import DefinedName

from amos_dask.errors import ManifestError
from amos_dask.root.layout import SPLIT_NAME
from amos_dask.root.table_state import OwnSheet

LARGEST_CELL = 32_767
LARGEST_SHEET = 1_048_576  # rows, the header included
# Excel's rules for worksheet titles; a split's name is part of file names as well.
_FORBIDDEN_IN_TITLE = frozenset("[]:*?/\\'\"<>|")
_LONGEST_TITLE = 31
_WIDTHS = (8, 48)
_ROWS_THAT_SET_WIDTHS = 200
_HEADER_FONT = Font(bold=True)
_HEADER_FILL = PatternFill("solid", fgColor="E8EEF4")
# What openpyxl lets through of its parts when a workbook is damaged.
_DAMAGED = (
    *(OSError, LookupError, ValueError, TypeError, AttributeError),
    *(InvalidFileException, zipfile.BadZipFile, zlib.error),
    SyntaxError,  # of XML, whether openpyxl reads it with lxml or without
)
# The name that lists the worksheets in which tables go on.
_MARK = "amos_dask_further_worksheets"
# XML cannot hold these; openpyxl refuses them.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


def read_sheet(path: Path, title: str, *, values_of: Collection[str] = ()) -> pd.DataFrame:
    """Read a worksheet as a frame of objects: text, numbers, and None where blank.

    Parameters
    ----------
    path : Path
        The workbook.
    title : str
        The worksheet.
    values_of : collection of str
        Columns that must not hold formulas, whose text is not their value. If any are given, other
        columns with formulas are left out.

    Raises
    ------
    ManifestError
        When the workbook or the worksheet cannot be read, or there is a formula.
    """
    rows, formulas = list[list[Any]](), dict[int, str]()
    with closing(load(path, read_only=True)) as workbook:
        if title not in workbook.sheetnames:
            found = ", ".join(workbook.sheetnames)
            raise ManifestError(f"{path}: there is no worksheet {title!r}; found {found}.")
        try:
            for row in read_table(workbook, title):
                rows.append([cell.value for cell in row])
                for index, cell in enumerate(row):
                    if cell.data_type == "f":
                        formulas.setdefault(index, cell.coordinate)
        except _DAMAGED as error:
            raise _damaged_error(path, error) from error
    if not rows:
        raise ManifestError(f"{path}: worksheet {title!r} is empty.")
    for index, place in formulas.items() if values_of else ():
        if rows[0][index : index + 1] and rows[0][index] in values_of:
            raise ManifestError(
                f"{path}: cell {place} of worksheet {title!r} holds a formula; put its value there."
            )
    # Notes that someone wrote beside the table have no column name; rows may end early.
    left_out = formulas if values_of else {}
    named = [i for i, name in enumerate(rows[0]) if name is not None and i not in left_out]
    columns = pd.Index([str(rows[0][i]) for i in named])
    if not columns.is_unique:
        repeated = columns[columns.duplicated()][0]
        raise ManifestError(f"{path}: worksheet {title!r} has two columns {repeated!r}.")
    body = [[row[i] if i < len(row) else None for i in named] for row in rows[1:]]
    return pd.DataFrame(body, columns=columns, dtype=object)


def sheet_names(path: Path) -> list[str]:
    """Return the titles of a workbook's worksheets."""
    with closing(load(path, read_only=True)) as workbook:
        return list(workbook.sheetnames)


def require_title(title: str) -> None:
    """Raise `ManifestError` when a name cannot be a worksheet's title."""
    if (
        not 1 <= len(title) <= _LONGEST_TITLE
        or _FORBIDDEN_IN_TITLE & set(title)
        or not title.isprintable()
        or title.strip(" .") != title
        or title.casefold() == "history"
    ):
        raise ManifestError(
            f"{title!r} cannot name a worksheet: use 1 to 31 letters, digits, _ or -."
        )


def require_columns(frame: pd.DataFrame, columns: Iterable[str], path: Path) -> None:
    """Raise `ManifestError` naming the first of the columns that a frame lacks."""
    for name in columns:
        if name not in frame.columns:
            raise ManifestError(f"{path}: column {name!r} is missing.")


# A table longer than a worksheet goes on in others. A name of the workbook lists them: a worksheet
# that somebody copied is called alike.


def find_further(workbook: Workbook, title: str) -> list[str]:
    """Return the worksheets in which a table goes on after its first one.

    A workbook of version 0.1.0 has no list of them; there one goes on after a full one.
    """
    further = re.compile(rf"{re.escape(title)} \(\d+\)", re.IGNORECASE)
    marked = [name for name in _marked(workbook) if further.fullmatch(name)]
    if marked:
        return marked
    found = [title]
    while (name := f"{title} ({len(found) + 1})") in workbook.sheetnames:
        if not _is_full(workbook[found[-1]]):
            break
        found.append(name)
    return found[1:]


def _is_full(sheet: Any) -> bool:
    return sum(1 for _ in sheet.iter_rows(max_col=1)) == LARGEST_SHEET


def read_table(workbook: Workbook, title: str) -> Iterator[tuple[Any, ...]]:
    """Yield the cells of a table's header and of all its rows."""
    yield from workbook[title].iter_rows()
    for name in find_further(workbook, title):
        yield from workbook[name].iter_rows(min_row=2)


def fits_one(frame: pd.DataFrame) -> bool:
    """Return whether one worksheet is enough for a table."""
    return len(frame) < LARGEST_SHEET


def add_table(workbook: Workbook, title: str, frame: pd.DataFrame) -> None:
    """Write a table's worksheets at the end of a workbook."""
    for sheet, part in add_worksheets_of(workbook, title, frame):
        # Styled once: openpyxl looks a style up each time one is set.
        text = text_like(sheet)
        for values in cell_values(part):
            sheet.append(
                [
                    _text_cell(sheet, text, v) if isinstance(v, str) else _cell(sheet, v)
                    for v in values
                ]
            )


def add_worksheets_of(
    workbook: Workbook, title: str, frame: pd.DataFrame
) -> list[tuple[Any, pd.DataFrame]]:
    """Make a table's worksheets at the end of a workbook; return each with its part of the rows.

    They have everything but those rows.
    """
    n_rows = LARGEST_SHEET - 1  # without the header
    titles = [title]
    sheets = [workbook.create_sheet(title)]
    for _ in range(n_rows, len(frame), n_rows):
        free = (f"{title} ({number})" for number in count(2))
        titles.append(next(name for name in free if name not in workbook.sheetnames))
        sheets.append(workbook.create_sheet(titles[-1]))
    _mark(workbook, [*_marked(workbook), *titles[1:]])
    parts = [frame.iloc[k * n_rows : (k + 1) * n_rows] for k in range(len(sheets))]
    for sheet, part in zip(sheets, parts, strict=True):
        _lay_out(sheet, part)
    return list(zip(sheets, parts, strict=True))


def remove_further(workbook: Workbook, title: str) -> None:
    """Remove the worksheets in which a table goes on."""
    for name in find_further(workbook, title):
        del workbook[name]
    _mark(workbook, [name for name in _marked(workbook) if name in workbook.sheetnames])


def _marked(workbook: Workbook) -> list[str]:
    """Return the worksheets that go on with another one's table."""
    mark = workbook.defined_names.get(_MARK)
    places = [] if mark is None else [title for title, _ in mark.destinations]
    return [title for title in places if title in workbook.sheetnames]


def _mark(workbook: Workbook, titles: list[str]) -> None:
    workbook.defined_names.pop(_MARK, None)
    if titles:
        places = ",".join(f"{quote_sheetname(title)}!$A$1" for title in titles)
        workbook.defined_names[_MARK] = DefinedName(_MARK, attr_text=places, hidden=True)


def text_like(sheet: Any) -> Any:
    """Return a cell that looks as those with text do."""
    cell = WriteOnlyCell(sheet)
    cell.number_format = "@"
    return cell


def _text_cell(sheet: Any, like: Any, value: str) -> Any:
    cell: Any = WriteOnlyCell(sheet)
    # Not through cell.value: openpyxl takes a leading = for a formula.
    cell._style, cell._value, cell.data_type = like._style, value, "s"
    return cell


def _cell(sheet: Any, value: Any) -> Any:
    if not isinstance(value, float):
        return value
    cell: Any = WriteOnlyCell(sheet, value)
    cell._value = repr(value)  # openpyxl would write 16 digits, which may not be enough
    return cell


def cell_values(frame: pd.DataFrame) -> list[list[Any]]:
    """Return what the cells of a frame's rows hold; None for a blank one."""
    return [[_cell_value(value) for value in row] for row in frame.to_numpy(object)]


def _cell_value(value: Any) -> Any:
    if isinstance(value, str):
        return _UNPRINTABLE.sub("\ufffd", value)[:LARGEST_CELL]
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, (datetime.date, datetime.time)):  # a datetime is a date
        return value
    if isinstance(value, (bool, int, np.integer)):
        return int(value)
    number = float(value)
    return number if math.isfinite(number) else None


def _lay_out(sheet: Any, frame: pd.DataFrame) -> None:
    """Write the header, and what goes before it: a write-only sheet is streamed."""
    sheet.freeze_panes = "B2"
    narrowest, widest = _WIDTHS
    rows = cell_values(frame.iloc[:_ROWS_THAT_SET_WIDTHS])
    for index, name in enumerate(frame.columns):
        shown = [len(str(row[index])) for row in rows if row[index] is not None]
        width = min(max([len(str(name)), narrowest, *shown]), widest) + 2
        sheet.column_dimensions[get_column_letter(index + 1)].width = width
    if len(frame.columns):
        sheet.auto_filter.ref = f"A1:{get_column_letter(len(frame.columns))}{len(frame) + 1}"
    header = WriteOnlyCell(sheet)
    header.font, header.fill = _HEADER_FONT, _HEADER_FILL
    sheet.append([_text_cell(sheet, header, str(name)) for name in frame.columns])


def load(path: Path, *, read_only: bool = False) -> Workbook:
    """Open a workbook; raise `ManifestError` when that cannot be done."""
    if not path.is_file():
        raise ManifestError(f"{path}: there is no such workbook.")
    try:
        with warnings.catch_warnings(action="ignore"):  # of parts that openpyxl does not carry
            return load_workbook(path, read_only=read_only)
    except _DAMAGED as error:
        raise _damaged_error(path, error) from error


def _damaged_error(path: Path, error: Exception) -> ManifestError:
    return ManifestError(f"{path}: not a readable Excel workbook ({error}).")


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
